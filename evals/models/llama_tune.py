"""Threads, processes, slots, batch size and flash attention for one model on this machine, by a short measurement.

Measured in children of its own, so that a setting that dies costs nothing; kept in `<cache>/llama_cpp/tuned`, by
build, processor, cores and weights. The yardstick is documents a second of a typical extraction (`PROMPT` tokens read,
`ANSWER` tokens decoded), with every core busy and none shared: a second thread on a busy core makes both slower.
"""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from evals.models.llama_native import Native, NativeSettings, Piece
from evals.models.llama_probe import cache_folder, child_env, cpu_identity, cpu_library, file_hash

PROMPT, ANSWER = 800, 100
"""Tokens of the typical document that settings are ranked by: after the shared head, most of a contract."""
SLOTS = (1, 2, 4, 8, 16)
BATCHES = (512, 128)
_READ = 256
"""Tokens of a prompt that is read to time reading."""
_STEPS = 4
_TIMEOUT_S = 900.0
_GAIN = 1.05
"""What another setting must be faster by, to be taken instead of the plain one: less is noise."""
_MODULE = "evals.models.llama_tune"


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

    @property
    def open(self) -> bool:
        """Is there anything to choose?"""
        return None in asdict(self).values()


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What one child measured."""

    read: Mapping[str, float]
    """`n_batch` -> prompt tokens a second."""
    decode: Mapping[str, float]
    """Slots -> tokens a second, of all of them together."""


Measure = Callable[[Sequence[NativeSettings], Sequence[int], Sequence[int]], "list[Rates | None]"]
"""Settings of processes that run side by side, slots and batch sizes to try -> what each measured, `None`: it died."""


def tuned(path: str, base: NativeSettings, asked: Asked, cores: int, *, room: int, again: bool = False) -> Tuned:
    """The kept choice for this model here, or a new one. `room`: slots that the memory has, of all processes."""
    file = cache_folder() / "llama_cpp" / "tuned" / f"{_key(path, base, asked, cores, room)}.json"
    known, by = _read(file)
    # Measuring again is done once a run: its other processes take what the first one found.
    if known is not None and (not again or by == os.getppid()):
        return known
    print(f"{Path(path).name}: measuring which settings are fastest here: once, a minute or less", file=sys.stderr)
    made = choose(base, asked, cores, room=room, measure=lambda *one: _measured(path, *one))
    if made.busy:
        print("other programs were busy meanwhile: model.tune=again measures anew", file=sys.stderr)
    _write(file, made)
    return made


def choose(base: NativeSettings, asked: Asked, cores: int, *, room: int, measure: Measure) -> Tuned:
    """One process on all cores first: flash attention, batch size and slots; then more processes of fewer threads."""
    began, tried = time.monotonic(), {}
    busy = _load() > 0.25 * cores
    slots = [asked.slots] if asked.slots else [n for n in SLOTS if n <= max(1, room)]
    batches = [asked.n_batch] if asked.n_batch else [n for n in BATCHES if n <= base.n_ctx]
    best: tuple[float, NativeSettings] | None = None
    for flash in (True, False) if asked.flash_attn is None else (asked.flash_attn,):
        settings = replace(base, threads=asked.threads or cores, flash_attn=flash, slots=max(slots))
        (rates,) = measure([settings], slots, batches or [base.n_batch])
        if rates is None:
            continue
        rate, at = _best(rates)
        tried[_said(1, replace(settings, slots=at[0], n_batch=at[1]))] = rate
        # Flash attention comes first: with it, answers depend least on what is evaluated together.
        if best is None or rate > best[0] * _GAIN:
            best = (rate, replace(settings, slots=at[0], n_batch=at[1]))
    if best is None:  # nothing could be measured here: the plainest settings, which loading will judge
        plain = replace(base, threads=asked.threads or cores, slots=asked.slots or 1)
        best = (0.0, replace(plain, flash_attn=bool(asked.flash_attn)))
    rate, settings = best
    processes = asked.processes or 1
    for count, threads in _splits(asked, cores, room // settings.slots):
        side = replace(settings, threads=threads)
        found = measure([side] * count, [settings.slots], [settings.n_batch])
        if any(one is None for one in found):
            continue
        both = sum(_best(one)[0] for one in found if one is not None)
        tried[_said(count, side)] = both
        if both > rate * _GAIN or count == asked.processes:
            rate, processes, settings = both, count, side
    return Tuned(
        processes=processes,
        threads=settings.threads,
        slots=settings.slots,
        n_batch=settings.n_batch,
        flash_attn=settings.flash_attn,
        measured={name: round(value, 4) for name, value in tried.items()},
        busy=busy,
        seconds=round(time.monotonic() - began, 1),
    )


def _splits(asked: Asked, cores: int, most: int) -> list[tuple[int, int]]:
    """(processes, threads of each) that use every core once."""
    if asked.processes is not None:
        return [(asked.processes, asked.threads or max(1, cores // asked.processes))] if asked.processes > 1 else []
    counts = [n for n in (2, 4, 8) if n <= cores and n <= most]
    return [(n, cores // n) for n in counts if asked.threads is None or cores // n == asked.threads]


def _best(rates: Rates) -> tuple[float, tuple[int, int]]:
    """Documents a second of the best slots and batch size; the plainer one where the gain is noise."""
    size, read = _leading({int(n): rate for n, rate in rates.read.items()})
    count, decode = _leading({int(n): rate for n, rate in sorted(rates.decode.items(), key=lambda one: int(one[0]))})
    return 1 / (PROMPT / read + ANSWER / decode), (count, size)


def _leading(rates: Mapping[int, float]) -> tuple[int, float]:
    best = next(iter(rates.items()))
    for key, rate in rates.items():
        if rate > best[1] * _GAIN:
            best = (key, rate)
    return best


def _said(processes: int, settings: NativeSettings) -> str:
    flash = "flash" if settings.flash_attn else "no flash"
    return f"{processes} x {settings.threads} threads, {settings.slots} slots, batch {settings.n_batch}, {flash}"


def _measured(
    path: str, sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]
) -> list[Rates | None]:
    """Run one child a process, all at once."""
    asked = {"slots": list(slots), "batches": list(batches)}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", _MODULE, path, json.dumps({**asked, "settings": asdict(side)})],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            env=child_env(),
        )
        for side in sides
    ]
    found: list[Rates | None] = []
    for child in children:
        try:
            out, _ = child.communicate(timeout=_TIMEOUT_S)
            found.append(Rates(**json.loads(out.splitlines()[-1])) if child.returncode == 0 else None)
        except (subprocess.TimeoutExpired, ValueError, IndexError, TypeError):
            child.kill()
            child.communicate()
            found.append(None)
    return found


def _child(path: str, asked: Mapping[str, Any]) -> Rates:
    """What a child does: read a prompt in each batch size, decode a few tokens in each number of slots."""
    settings = NativeSettings(**asked["settings"])
    length = min(_READ, settings.n_ctx - _STEPS - 1)
    settings = replace(settings, n_ctx=max(512, length + _STEPS + 1), n_batch=max(asked["batches"]))
    native = Native(path, settings)
    if not native.open(settings):
        raise native.no_context()
    tokens = [100 + number % 1000 for number in range(length)]
    native.evaluate([Piece(0, 0, tokens[:8], True)])  # the first pages of the weights
    read = {}
    for size in asked["batches"]:
        native.keep(0, 0)
        began = time.perf_counter()
        for at in range(0, length, size):
            native.evaluate([Piece(0, at, tokens[at : at + size], False)])
        read[str(size)] = length / (time.perf_counter() - began)
    for slot in range(1, max(asked["slots"])):
        native.copy(0, slot, length)
    decode = {}
    for count in asked["slots"]:
        began = time.perf_counter()
        for step in range(_STEPS):
            native.evaluate([Piece(slot, length + step, [200 + step], True) for slot in range(count)])
        decode[str(count)] = count * _STEPS / (time.perf_counter() - began)
        for slot in range(count):
            native.keep(slot, length)
    native.close()
    return Rates(read=read, decode=decode)


def _load() -> float:
    """Programs that want a core, over the last minute."""
    try:
        return os.getloadavg()[0]
    except (OSError, AttributeError):
        return 0.0


def _key(path: str, base: NativeSettings, asked: Asked, cores: int, room: int) -> str:
    library, stat = cpu_library(), Path(path).stat()
    weights = [Path(path).name, stat.st_size, stat.st_mtime_ns]
    build = [file_hash(library) if library else None, cpu_identity()[1], cores]
    roomy = 1 << min(room, max(SLOTS)).bit_length() - 1  # what is free differs a little each time
    about = [weights, build, asdict(base), asdict(asked), roomy]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:24]


def _read(file: Path) -> tuple[Tuned | None, int | None]:
    """What was kept, and whose child measured it."""
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return Tuned(**kept["tuned"]), kept["parent"]
    except (OSError, ValueError, TypeError, KeyError):
        return None, None


def _write(file: Path, made: Tuned) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f"{file.name}.{os.getpid()}.part")
    part.write_text(json.dumps({"parent": os.getppid(), "tuned": asdict(made)}, indent=1) + "\n", encoding="utf-8")
    part.replace(file)


if __name__ == "__main__":
    print(json.dumps(asdict(_child(sys.argv[1], json.loads(sys.argv[2])))))
