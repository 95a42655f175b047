"""Records beside their scores as plain data, streamed from both files; their bytes are hashed on the way.

Where scores stand in the order of the records, nothing is held. Where they do not, or a record failed (a later line may
have mended it), an index of the records is made: 16 bytes a line, whatever the ids.
"""

import contextlib
import hashlib
import json
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from evals.errors import StoreError

try:
    import orjson  # faster, and not needed
except ImportError:
    orjson = None  # type: ignore[assignment]

Line = dict[str, Any]


def parsed(raw: bytes) -> Line | None:
    """A line as plain data; `None` where a crash tore it."""
    if orjson is not None:
        try:
            found = orjson.loads(raw)
        except orjson.JSONDecodeError:  # torn, or what `json` wrote: a lone surrogate, an integer of more than 64 bits
            found = _slowly(raw)
    else:
        found = _slowly(raw)
    return found if isinstance(found, dict) else None


def _slowly(raw: bytes) -> Any:
    try:
        return json.loads(raw.decode("utf-8", "surrogatepass"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None


class Lines:
    """One file, read once from its beginning to its end inside `with`; `identity` then says what was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._hash, self._size = hashlib.sha256(), 0
        self._file: IO[bytes] | None = None

    def __enter__(self) -> "Lines":
        with contextlib.suppress(FileNotFoundError):
            self._file = self.path.open("rb")
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def __iter__(self) -> Iterator[Line]:
        for number, raw in enumerate(self._file or (), 1):
            self._hash.update(raw)
            self._size += len(raw)
            if (line := parsed(raw)) is not None:
                if "sample_id" not in line or "repeat" not in line:
                    raise StoreError(f"{self.path}:{number} is no line of a run: it has no sample_id or no repeat")
                yield line

    def identity(self) -> dict[str, Any]:
        """Size and sha256 of the file's bytes (`None`: it is not there); what was not iterated over is read now."""
        if self._file is None:
            return {"size": None, "sha256": None}
        while part := self._file.read(1 << 20):
            self._hash.update(part)
            self._size += len(part)
        return {"size": self._size, "sha256": self._hash.hexdigest()}


def paired(records: Lines, scores: Lines) -> Iterator[tuple[Line, Line]]:
    """Each line of scores with the record that counts: of one key the last good line, a failed one only where there is
    no good one. A score without a record is left out."""
    stream: Iterator[Line] | None = iter(records)
    index: _Index | None = None
    try:
        for line in scores:
            key = _key(line)
            record = next(stream, None) if stream else None
            if record is None or record.get("answer") is None or _key(record) != key:
                if index is None:
                    stream, index = None, _Index(records.path)
                record = index.find(key)
            if record is not None:
                yield record, line
    finally:
        if index is not None:
            index.close()


def _key(line: Line) -> tuple[str, int]:
    return line["sample_id"], line["repeat"]


class _Index:
    """Hash of (sample id, repeat) -> where the line that counts begins, as two sorted arrays."""

    def __init__(self, path: Path) -> None:
        self._path, self._file = path, path.open("rb") if path.exists() else None
        hashes, places = array("q"), array("q")
        at = 0
        for raw in self._file or ():
            if (line := parsed(raw)) is not None:
                hashes.append(hash(_key(line)))
                places.append(2 * at + (line.get("answer") is not None))
            at += len(raw)
        self._hashes, self._places = _last_good(np.asarray(hashes, np.int64), np.asarray(places, np.int64))

    def find(self, key: tuple[str, int]) -> Line | None:
        wanted = hash(key)
        at = int(np.searchsorted(self._hashes, wanted))
        if self._file is None or at == len(self._hashes) or self._hashes[at] != wanted:
            return None
        self._file.seek(int(self._places[at]) // 2)
        found = parsed(self._file.readline())
        return found if found is not None and _key(found) == key else self._by_reading(key)

    def _by_reading(self, key: tuple[str, int]) -> Line | None:
        """Two keys of one 64-bit hash: one of them is looked for line by line."""
        found = None
        with self._path.open("rb") as file:
            for raw in file:
                line = parsed(raw)
                if line is not None and _key(line) == key and (found is None or line.get("answer") is not None):
                    found = line
        return found

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


def _last_good(hashes: NDArray[np.int64], places: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of each hash the last good line's place, else the last line's. A place is twice the offset, plus 1 if good."""
    order = np.lexsort((places // 2, places % 2, hashes))
    hashes, places = hashes[order], places[order]
    last = np.append(hashes[1:] != hashes[:-1], True) if len(hashes) else np.zeros(0, bool)
    return hashes[last], places[last]
