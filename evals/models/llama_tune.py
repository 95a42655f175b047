"""Threads, processes, slots, batch size, flash attention and repacked weights for one model on this machine, by a short
measurement.

Kept in `<cache>/llama_cpp/tuned`, by build, processor, cores and weights. The yardstick is documents a second of a
typical extraction (`PROMPT` tokens read, `ANSWER` tokens decoded), with every core busy and none shared: a second thread
on a busy core makes both slower.

Where it costs next to nothing, so few tokens are evaluated together while answering that every answer is the one that
its document would get alone (`decode_rows`).
"""

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from evals.models.llama_native import NativeSettings, devices
from evals.models.llama_probe import cache_folder, cpu_identity, cpu_library, file_hash
from evals.models.llama_rates import Rates, measured

PROMPT, ANSWER = 800, 170
"""Tokens of the typical document that settings are ranked by: after the shared head, most of a contract; and its
answer, keys and punctuation with it."""
BUDGET_S = 300.0
"""After so many seconds nothing further is tried, and the best so far is taken."""
SLOTS = (1, 2, 4, 8, 16, 32)
BATCHES = (512, 128)
_GAIN = 1.05
"""What another setting must be faster by, to be taken instead of the plain one: less is noise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuned:
    """What serves this machine best, and by what measurement."""

    processes: int
    threads: int
    """Of each process."""
    slots: int
    """Of each process."""
    n_batch: int
    flash_attn: bool
    use_extra_bufts: bool
    decode_rows: int | None
    """Tokens evaluated together at most while answering; `None`: all there are, and answers depend on their neighbours."""
    same_rows: int | None
    """So many give the same scores to the bit as one by one; `None`: not measured."""
    measured: Mapping[str, float]
    """What was tried -> documents a second, of all processes together."""
    busy: bool = False
    """Did other programs use the machine meanwhile? Then the choice is not worth much."""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """What the user fixed; `None` is open."""

    processes: int | None = None
    threads: int | None = None
    slots: int | None = None
    n_batch: int | None = None
    flash_attn: bool | None = None
    use_extra_bufts: bool | None = None
    batch_invariant: bool | None = None
    """Must answers not depend on what is evaluated beside them? `None`: where that costs next to nothing."""

    @property
    def open(self) -> bool:
        """Is there anything to choose?"""
        known = (self.processes, self.threads, self.slots, self.n_batch, self.flash_attn)
        return None in known or bool(self.batch_invariant)


Room = Callable[[int], int]
"""Number of processes -> slots that the memory has beside their weights, of all of them together."""
Measure = Callable[[Sequence[NativeSettings], Sequence[int], Sequence[int]], "list[Rates | None]"]
"""Settings of processes that run side by side, slots and batch sizes to try -> what each measured, `None`: it died."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Choice:
    """Settings, and the documents a second that they were measured to give."""

    rate: float
    settings: NativeSettings
    same_rows: int | None = None


def tuned(path: str, base: NativeSettings, asked: Asked, cores: int, *, room: Room, again: bool = False) -> Tuned:
    """The kept choice for this model here, or a new one."""
    file = cache_folder() / "llama_cpp" / "tuned" / f"{_key(path, base, asked, cores, room)}.json"
    known, by = _read(file)
    # Measuring again is done once a run: its other processes take what the first one found.
    if known is not None and (not again or by == _run()):
        return known
    print(f"{Path(path).name}: measuring which settings are fastest here: once, a minute or two", file=sys.stderr)
    made = choose(base, asked, cores, room=room, measure=lambda *one: measured(path, *one))
    if made.busy:
        print("other programs were busy meanwhile: model.tune=again measures anew", file=sys.stderr)
    _write(file, made)
    return made


def choose(base: NativeSettings, asked: Asked, cores: int, *, room: Room, measure: Measure) -> Tuned:
    """One process on all cores first: repacked weights, flash attention, batch size and slots; then more processes."""
    began, tried = time.monotonic(), {}

    def late() -> bool:
        return time.monotonic() - began > BUDGET_S

    busy = _load() > 0.25 * cores
    slots = [asked.slots] if asked.slots else [n for n in SLOTS if n <= max(1, room(1))]
    sizes = [asked.n_batch] if asked.n_batch else [n for n in BATCHES if n <= base.n_ctx] or [base.n_batch]
    made: list[_Choice] = []
    for flash, repacked in _kinds(base, asked):
        if made and late():
            break
        settings = replace(base, threads=asked.threads or cores, flash_attn=flash, use_extra_bufts=repacked)
        shape = ([made[0].settings.slots], [made[0].settings.n_batch]) if made else (slots, sizes)
        (rates,) = measure([replace(settings, slots=max(shape[0]))], *shape)
        if rates is None:
            continue
        made.append(_best(rates, settings, asked))
        tried[_said(1, made[-1].settings)] = made[-1].rate
    near = [one for one in made if one.rate * _GAIN >= max(each.rate for each in made)]
    # Of those that are about as fast, that on which answers depend least on what is evaluated together; else the first.
    best = max(near, key=lambda one: one.settings.decode_rows or 0, default=None)
    if best is None:  # nothing could be measured here: the plainest settings, which loading will judge
        alone = 1 if asked.batch_invariant else None
        plain = replace(base, threads=asked.threads or cores, slots=asked.slots or 1, decode_rows=alone)
        best = _Choice(rate=0.0, settings=replace(plain, flash_attn=bool(asked.flash_attn)))
    processes = asked.processes or 1
    if processes > 1:  # where they cannot be measured side by side, they share the cores all the same
        each_threads = asked.threads or max(1, cores // processes)
        best = replace(best, settings=replace(best.settings, threads=each_threads))
    for count, threads in _splits(asked, cores, room):
        if late() and count != asked.processes:
            break
        slots_each = asked.slots or max(1, min(best.settings.slots, room(count) // count))
        side = replace(best.settings, threads=threads, slots=slots_each)
        found = measure([side] * count, [side.slots], [side.n_batch])
        each = [_best(one, side, asked) for one in found if one is not None]
        if len(each) < count:
            continue
        both = sum(one.rate for one in each)
        # Each process must round as the others do: the least that any of them found, and none where one has no bound.
        rows = [one.settings.decode_rows for one in each]
        side = replace(side, decode_rows=None if None in rows else min(row for row in rows if row))
        tried[_said(count, side)] = both
        if both > best.rate * _GAIN or count == asked.processes:
            processes = count
            best = _Choice(rate=both, settings=side, same_rows=min(one.same_rows or 1 for one in each))
    chosen = best.settings
    return Tuned(
        processes=processes,
        threads=chosen.threads,
        slots=chosen.slots,
        n_batch=chosen.n_batch,
        flash_attn=chosen.flash_attn,
        use_extra_bufts=chosen.use_extra_bufts,
        decode_rows=chosen.decode_rows,
        same_rows=best.same_rows,
        measured={name: round(value, 4) for name, value in tried.items()},
        busy=busy,
        seconds=round(time.monotonic() - began, 1),
    )


def _kinds(base: NativeSettings, asked: Asked) -> Iterator[tuple[bool, bool]]:
    """(flash attention, repacked weights) to try. Plain weights have matrix kernels of their own, faster on some."""
    flash = (True, False) if asked.flash_attn is None else (asked.flash_attn,)
    repacked = (True, False) if asked.use_extra_bufts is None and base.use_extra_bufts else (base.use_extra_bufts,)
    yield from ((flash[0], each) for each in repacked)
    yield from ((other, repacked[0]) for other in flash[1:])


def _splits(asked: Asked, cores: int, room: Room) -> list[tuple[int, int]]:
    """(processes, threads of each) that use every core once, with the memory for at least a slot each."""
    if asked.processes is not None:
        return [(asked.processes, asked.threads or max(1, cores // asked.processes))] if asked.processes > 1 else []
    counts = [n for n in (2, 4, 8) if n <= cores and n <= room(n) // (asked.slots or 1)]
    return [(n, cores // n) for n in counts if asked.threads is None or cores // n == asked.threads]


def _best(rates: Rates, settings: NativeSettings, asked: Asked) -> _Choice:
    """The best slots and batch size; the plainer one where the gain is noise, and the bounded one where it costs little."""
    size, read = _leading({int(n): rate for n, rate in rates.read.items()})
    made = []
    for rows, decode in ((rates.same_rows, rates.bounded), (None, rates.decode)):
        count, rate = _leading({int(n): each for n, each in sorted(decode.items(), key=lambda one: int(one[0]))})
        used = replace(settings, slots=count, n_batch=size, decode_rows=rows)
        made.append(_Choice(rate=1 / (PROMPT / read + ANSWER / rate), settings=used, same_rows=rates.same_rows))
    bounded, free = made
    if asked.batch_invariant is None:
        return free if free.rate > bounded.rate * _GAIN else bounded
    return bounded if asked.batch_invariant else free


def _leading(rates: Mapping[int, float]) -> tuple[int, float]:
    best = next(iter(rates.items()))
    for key, rate in rates.items():
        if rate > best[1] * _GAIN:
            best = (key, rate)
    return best


def _said(processes: int, settings: NativeSettings) -> str:
    flash = "flash" if settings.flash_attn else "no flash"
    weights = "repacked" if settings.use_extra_bufts else "plain"
    rows = f", {settings.decode_rows} rows" if settings.decode_rows else ""
    shape = f"{settings.slots} slots{rows}, batch {settings.n_batch}"
    return f"{processes} x {settings.threads} threads, {shape}, {flash}, {weights}"


def _load(stat: Path = Path("/proc/stat"), wait_s: float = 0.5) -> float:
    """Cores that are busy just now (the last minute's load average would count the job of ours that has ended); where the
    system does not tell, programs that wanted one over the last minute."""
    try:
        before = _ticks(stat)
        time.sleep(wait_s)
        idle, every = (now - then for now, then in zip(_ticks(stat), before, strict=True))
        return (os.cpu_count() or 1) * (1 - idle / every)
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def _ticks(stat: Path) -> tuple[int, int]:
    """Of all cores together, since the machine was started: ticks without work, and all ticks."""
    first = [int(word) for word in stat.read_text().splitlines()[0].split()[1:9]]  # what is beyond counts guests again
    return first[3] + first[4], sum(first)


def _key(path: str, base: NativeSettings, asked: Asked, cores: int, room: Room) -> str:
    library, stat = cpu_library(), Path(path).stat()
    weights = [Path(path).name, stat.st_size, stat.st_mtime_ns]
    build = [file_hash(library) if library else None, cpu_identity()[1], devices() if base.n_gpu_layers else [], cores]
    # What is free differs a little each time.
    roomy = [1 << max(1, min(room(n), max(SLOTS))).bit_length() - 1 for n in (1, 2, 4, 8) if n <= cores]
    about = [weights, build, asdict(base), asdict(asked), roomy]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _run() -> str:
    """The run that this process was started by: its number, and when it began, since numbers come again."""
    parent = os.getppid()
    try:
        began = Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        began = ""
    return f"{parent} {began}".strip()


def _read(file: Path) -> tuple[Tuned | None, str | None]:
    """What was kept, and by which run."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Tuned(**kept["tuned"]), kept["run"]
    except (OSError, ValueError, TypeError, KeyError):
        return None, None


def _write(file: Path, made: Tuned) -> None:
    """A cache that cannot be written costs the next run some minutes, and this one nothing."""
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"run": _run(), "tuned": asdict(made)}, indent=1) + "\n", encoding="utf-8")
        part.replace(file)
