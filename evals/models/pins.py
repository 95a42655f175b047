"""`<cache>/weights.lock.json`: what came of each source, what was made here, which hashes were taken; and one process at
a time where weights arrive."""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from evals.errors import WeightsError
from evals.models.downloads import CHUNK, Console, Progress, read_json, writing
from evals.models.sources import Source

Section = Literal["pins", "made", "checked"]


def lock_file(base: Path) -> Path:
    """Where it lies in the cache."""
    return base / "weights.lock.json"


def entry(base: Path, section: Section, key: str) -> dict[str, Any]:
    """One entry, empty where there is none."""
    return dict(section_of(base, section).get(key, {}))


def section_of(base: Path, section: Section) -> dict[str, dict[str, Any]]:
    """Every entry of a section by its key."""
    found = read_json(lock_file(base)).get(section, {})
    return dict(found) if isinstance(found, dict) else {}


def pin(base: Path, source: Source) -> dict[str, Any]:
    """What the first fetch of a source brought."""
    return entry(base, "pins", source.key)


def update(base: Path, changes: Mapping[Section, Mapping[str, Any]]) -> None:
    """Add entries to the lock file, whatever another process adds meanwhile."""
    with writing(lock_file(base)), alone(base / "weights.lock", ""):
        value = {"format": 1, "pins": {}, "made": {}, "checked": {}, **read_json(lock_file(base))}
        for section, entries in changes.items():
            value[section] = {**value[section], **entries}
        fresh = base / f"weights.lock.json.{os.getpid()}"
        fresh.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(fresh, lock_file(base))


def stamp(path: Path, sha256: str) -> dict[str, Any]:
    """A file's hash, with the size and time for which it holds."""
    stat = path.stat()
    return {"sha256": sha256, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def sha256(path: Path, base: Path) -> str:
    """sha256 of a file; remembered while its size and time stand, since gigabytes take seconds."""
    known = entry(base, "checked", str(path))
    if known and known == stamp(path, known.get("sha256", "")):
        return str(known["sha256"])
    fresh = digest(path, Console())
    with suppress(WeightsError):  # only a memory: a cache that cannot be written costs time, not the run
        update(base, {"checked": {str(path): stamp(path, fresh)}})
    return fresh


def digest(path: Path, progress: Progress) -> str:
    """sha256 of a file, read now."""
    size, done, found = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            found.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done, size)
    return found.hexdigest()


@contextmanager
def alone(path: Path, message: str) -> Iterator[None]:
    """One process at a time, where the system has advisory locks."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    try:
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if message:
                    print(message, file=sys.stderr)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
    finally:
        stream.close()
