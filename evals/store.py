"""The run folder: written crash-safely, read back line by line. Knows files, no models and no metrics.

    results/<task>/<option>/<UTC stamp>/
        manifest.json  config.yaml  records.jsonl  scores-<scorer hash>.jsonl  summary.json  run.log

`records.jsonl` is the only truth: append-only, handed to the operating system before it is scored, fsynced in
batches; a torn last line is dropped on reading, and of one (sample_id, repeat) the last good line wins.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from evals.core import Call, Completion, Price, Record, Score, Timing, Usage, stable_hash
from evals.errors import StoreError

try:
    import orjson  # faster, and not needed
except ImportError:
    orjson = None  # type: ignore[assignment]

FORMAT = 1
FSYNC_EVERY_S = 1.0
CANARY = "+canary"
"""End of an option's name whose runs are canaries: few documents, asked often; no run of the whole."""
BENCH = "~bench"
"""End of an option's name whose folders are benches: `bench.json` and the records of each load, no run of documents."""


def results_root() -> Path:
    """`$EVALS_RESULTS`, else `./results`."""
    return Path(os.environ.get("EVALS_RESULTS") or "results")


def stamp() -> str:
    """UTC time with microseconds and no colons: sorts by time, and is a file name everywhere."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H-%M-%S.%fZ")


def safe_name(text: str) -> str:
    """A folder name that every system takes."""
    return re.sub(r"[^\w.+=~-]", "_", text).strip(".") or "_"


class RunFolder:
    """One run's folder, open for writing. Use as a context manager: it holds the run's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None
        self._files: dict[str, IO[bytes]] = {}
        self._synced = time.monotonic()

    @classmethod
    def create(cls, task: str, option: str) -> "RunFolder":
        """A new folder under the results root, made when it is entered."""
        return cls(results_root() / safe_name(task) / safe_name(option) / stamp())

    def __enter__(self) -> "RunFolder":
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _cannot_write(self.path, error) from error
        self._lock = _locked(self.path / "run.lock")
        drop_torn_line(self.path / "records.jsonl")
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        failed = [(name, reason) for name, file in self._files.items() if (reason := _closed(file))]
        if self._lock:
            self._lock.close()
            (self.path / "run.lock").unlink(missing_ok=True)
        if error is not None:
            with contextlib.suppress(OSError):  # only what is empty: nothing was begun, so nothing is left behind
                for folder in (self.path, *self.path.parents[:2]):
                    folder.rmdir()
        if failed and error is None:
            raise _cannot_write(self.path / failed[0][0], failed[0][1])

    def append(self, record: Record, *, name: str = "records.jsonl") -> None:
        """Hand one record to the operating system; at most `FSYNC_EVERY_S` later it is on the disk."""
        self._append(name, _line({"answer": record.answer}, record), sync=True)

    def append_score(self, scorer: str, record: Record, score: Score, sample: Mapping[str, Any]) -> None:
        """One line of the derived scores; `sample` is what a table needs to know of the document."""
        about = {"sample_id": record.sample_id, "repeat": record.repeat, "sample": sample}
        self._append(f"scores-{scorer}.jsonl", _line(about, score), sync=False)

    def _append(self, name: str, line: bytes, *, sync: bool) -> None:
        try:
            file = self._files.get(name) or self._files.setdefault(name, (self.path / name).open("ab"))
            file.write(line + b"\n")
            if not sync:
                return
            file.flush()
            if time.monotonic() - self._synced > FSYNC_EVERY_S:
                os.fsync(file.fileno())
                self._synced = time.monotonic()
        except OSError as error:
            raise _cannot_write(self.path / name, error) from error

    def flush(self) -> None:
        """Hand everything appended so far to the operating system."""
        for file in self._files.values():
            file.flush()

    def content_hash(self) -> str:
        """Hash of what was answered, whatever the order: the sum of the hashes of every key and request."""
        kept: dict[tuple[str, int], tuple[bool, int]] = {}
        for record in records(self.path):
            key, good = (record.sample_id, record.repeat), record.answer is not None
            if good or not kept.get(key, (False, 0))[0]:
                kept[key] = good, int(stable_hash([*key, record.request_hash]), 16)
        total = sum(value for _, value in kept.values())
        return f"{total % 2**64:016x}"

    def write(self, name: str, value: Mapping[str, Any] | str) -> None:
        """Write one small file whole: the old one stays until the new one is on the disk."""
        text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"
        write_whole(self.path / name, text)


def _closed(file: IO[bytes]) -> OSError | None:
    """Close a file; why its last bytes could not be written, where they could not."""
    try:
        file.close()
    except OSError as error:
        return error
    return None


def write_whole(path: Path, text: str) -> None:
    """Replace a file in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8", errors="surrogatepass", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise _cannot_write(path, error) from error


def newest(task: str, option: str, run_key: str) -> Path | None:
    """The newest folder with this run key, finished or not."""
    folder = results_root() / safe_name(task) / safe_name(option)
    for path in sorted(folder.glob("*/manifest.json"), reverse=True):
        if read_json(path).get("run_key") == run_key:
            return path.parent
    return None


def unfinished(task: str, option: str, run_key: str) -> Path | None:
    """The newest folder with this run key, where it has no summary: what the same command goes on with."""
    path = newest(task, option, run_key)
    return None if path is None or (path / "summary.json").exists() else path


def records(folder: Path) -> Iterator[Record]:
    """Every readable record in file order, later lines replacing earlier ones of the same key only in `answered`."""
    for line in _lines(folder / "records.jsonl"):
        yield decode(line)


def answered(folder: Path) -> dict[tuple[str, int], Record]:
    """(sample id, repeat) -> the last good record; a failed one only where there is no good one."""
    found: dict[tuple[str, int], Record] = {}
    for record in records(folder):
        key = (record.sample_id, record.repeat)
        if record.answer is not None or key not in found or found[key].answer is None:
            found[key] = record
    return found


def scores(folder: Path, scorer: str | None = None) -> Iterator[dict[str, Any]]:
    """The lines of one scores file (the newest where none is named) as plain data, NaN restored."""
    files = sorted(folder.glob(f"scores-{scorer or '*'}.jsonl"), key=lambda path: path.stat().st_mtime)
    for line in _lines(files[-1]) if files else ():
        line["metrics"] = {k: math.nan if v is None else v for k, v in line["metrics"].items()}
        yield line


def read_json(path: Path) -> dict[str, Any]:
    """One of the folder's JSON files."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise StoreError(f"{path} is not there: is {path.parent} a run folder?") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} is no valid JSON ({error})") from error
    if not isinstance(value, dict):
        raise StoreError(f"{path} should hold an object")
    return value


def drop_torn_line(path: Path) -> None:
    """Cut off a last line that a crash left without its end, so that the next one starts clean."""
    if not path.exists() or not path.stat().st_size:
        return
    with path.open("rb+") as file:
        data_end = file.seek(0, os.SEEK_END)
        at, block = data_end, b""
        while at > 0 and b"\n" not in block:
            step = min(65536, at)
            at -= step
            file.seek(at)
            block = file.read(step)
        keep = at + block.rfind(b"\n") + 1
        if keep < data_end:
            file.truncate(keep)


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    yield json.loads(line.decode("utf-8", "surrogatepass"))
                except (json.JSONDecodeError, UnicodeDecodeError):
                    continue  # torn by a crash: whatever it was is asked again
    except FileNotFoundError:
        return


# Nouns <-> JSON -----------------------------------------------------------------------------------------------


_ATOMS = frozenset({str, int, bool, type(None)})
_FIELDS: dict[type, tuple[str, ...]] = {}
"""Field names of every noun met so far: asking `dataclasses` each time costs more than all the rest."""


def plain(value: Any) -> Any:
    """A noun as plain JSON data: fields at their default are left out, NaN becomes null."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is tuple or kind is list:
        return [part if type(part) in _ATOMS else plain(part) for part in value]
    names = None if kind is dict else _names(kind)
    if names is not None or isinstance(value, Mapping):
        parts = value if names is None else _said(value, names)
        return {key: part if type(part) in _ATOMS else plain(part) for key, part in parts.items()}
    if isinstance(value, float):  # numpy's
        return float(value) if math.isfinite(value) else None
    return [plain(part) for part in value] if isinstance(value, list | tuple) else value


def _names(kind: type) -> tuple[str, ...] | None:
    if kind not in _FIELDS and dataclasses.is_dataclass(kind):
        _FIELDS[kind] = tuple(field.name for field in dataclasses.fields(kind))
    return _FIELDS.get(kind)


def _said(noun: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """What a noun says: what is empty is left out, but for `metrics`, which every score has."""
    found = {}
    for name in names:
        part = getattr(noun, name)
        if type(part) not in _ATOMS and not part and name != "metrics" and isinstance(part, tuple | Mapping):
            continue
        if part is not None:
            found[name] = part
    return found


def _line(about: Mapping[str, Any], noun: Any) -> bytes:
    """A line of JSON: `about` and a noun's own fields. orjson writes NaN as null, as `plain` does; what it refuses (a
    lone surrogate, an integer of more than 64 bits) is written by `json`."""
    if orjson is not None:
        options = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
        with contextlib.suppress(TypeError):
            return orjson.dumps({**about, **_one_level(noun)}, default=_one_level, option=options)
    line = {**plain(about), **plain(noun)}
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"), default=str).encode("utf-8", "surrogatepass")


def _one_level(value: Any) -> Any:
    """`plain` of a value's own level, for orjson, which goes on with the parts."""
    if (names := _names(type(value))) is not None:
        return _said(value, names)
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, tuple) else float(value) if isinstance(value, float) else str(value)


def encode(record: Record) -> str:
    """One line of `records.jsonl`."""
    return _line({"answer": record.answer}, record).decode("utf-8", "surrogatepass")


def decode(line: Mapping[str, Any]) -> Record:
    """A record from its plain data."""
    calls = []
    for call in line.get("calls", ()):
        done = call.get("completion")
        if done is not None:
            done = Completion(**{"text": "", **done, "usage": Usage(**done.get("usage", {}))})
        timing = {"ttft_s": None, **call["timing"]} if call.get("timing") else None
        usage = Usage(**call["usage"]) if call.get("usage") else None
        kept = {"completion": done, "timing": Timing(**timing) if timing else None, "usage": usage}
        calls.append(Call(**{**call, **kept}))
    return Record(**{**line, "calls": tuple(calls)})


def prices(manifest: Mapping[str, Any]) -> dict[str, Price] | None:
    """Tier -> price of a manifest's snapshot; `None` where the run has none."""
    found = manifest.get("prices")
    return {tier: _price(line) for tier, line in found.items()} if found else None


def _price(line: Mapping[str, Any]) -> Price:
    return Price(**{**line, "longer": tuple(_price(part) for part in line.get("longer", ()))})


# The lock -----------------------------------------------------------------------------------------------------


def _locked(path: Path) -> IO[bytes]:
    try:
        file = path.open("ab")
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        _lock(file)
    except OSError:
        file.close()
        raise StoreError(f"{path.parent} is being written by another process; wait for it, or resume=false") from None
    return file


def _lock(file: IO[bytes]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _cannot_write(path: Path, error: OSError) -> StoreError:
    mend = (
        "set EVALS_RESULTS to a folder that can be written" if error.errno != 28 else "free some space and run it again"
    )
    return StoreError(f"{path} cannot be written: {error.strerror or error}; {mend}")
