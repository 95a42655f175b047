"""The table a column at a time: from a frame, or straight from the files of runs, so that ten million rows need the
memory of a few columns.

Text comes as codes: an integer a row and the distinct values, -1 where there is none.
"""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evals import store
from evals.analysis.tables import columnar
from evals.analysis.tables.columns import MONEY
from evals.analysis.tables.routed import machine_dollars
from evals.analysis.tables.spans import seconds, union_seconds, while_full
from evals.pricing import machine_cost_usd
from evals.stats import Array

if TYPE_CHECKING:
    import pyarrow as pa

Codes = NDArray[np.int32]
Mask = NDArray[np.bool_]
Tags = tuple[str, ...]


class Rows(Protocol):
    """Columns of a table, each read when it is asked for."""

    @property
    def n(self) -> int:
        """How many rows."""
        ...

    def numbers(self, name: str) -> Array:
        """A column of numbers; NaN is not known."""
        ...

    def flags(self, name: str) -> Mask:
        """A column of yes and no."""
        ...

    def words(self, name: str) -> tuple[Codes, list[str]]:
        """A column of few distinct words."""
        ...

    def tags(self) -> tuple[Codes, list[Tags]]:
        """Each row's tags, as a code of their combination."""
        ...

    def ids(self) -> NDArray[np.int64]:
        """A number a row, equal where the document is."""
        ...

    def starts(self) -> Array:
        """When the row was begun, seconds; NaN where nothing was timed."""
        ...


def fresh(rows: Rows) -> Mask:
    """Rows that were timed in this run."""
    timed: Mask = ~np.isnan(rows.numbers("latency_s")) & ~rows.flags("cached")
    return timed


def answered(rows: Rows) -> Mask:
    """Rows whose seconds, where they were timed, are a person's wait for an answer. What failed at once kept nobody
    waiting; a time-out counts with what it took, which is less than the answer would have (censored)."""
    codes, words = rows.words("error")
    timed_out = np.array([*(word == "timeout" for word in words), False])[codes]
    mask: Mask = ~rows.flags("failed") | timed_out
    return mask


def waited(rows: Rows) -> Mask:
    """Fresh rows that were `answered`: those that a latency is of."""
    return fresh(rows) & answered(rows)


def busy_seconds(rows: Rows) -> float | None:
    """Seconds in which at least one fresh document was under way: pauses between sessions of a run do not count."""
    start, queued, took = _times(rows)
    queued += took
    queued += start
    return union_seconds(start, queued)


def full_machine(rows: Rows, places: int) -> tuple[float, float]:
    """Documents, and seconds, of the time in which fresh ones took nearly all of so many places (`while_full`)."""
    start, queued, took = _times(rows)
    start += queued
    return while_full(start, start + took, places)


def _times(rows: Rows) -> tuple[Array, Array, Array]:
    """When each fresh document was begun, how long it waited, and how long it took."""
    start, took = rows.starts(), rows.numbers("latency_s")
    timed = ~np.isnan(took) & ~np.isnan(start) & ~rows.flags("cached")
    chosen = slice(None) if timed.all() else timed
    return start[chosen], np.nan_to_num(rows.numbers("queued_s")[chosen]), took[chosen]


@dataclass(frozen=True)
class FrameRows:
    """A frame with the columns of `load_runs`."""

    frame: pd.DataFrame

    @property
    def n(self) -> int:
        return len(self.frame)

    def numbers(self, name: str) -> Array:
        if name == "score" and name not in self.frame:
            return np.full(self.n, np.nan)
        return np.asarray(self.frame[name].to_numpy(np.float64), np.float64)

    def flags(self, name: str) -> Mask:
        return self.frame[name].to_numpy(bool)

    def words(self, name: str) -> tuple[Codes, list[str]]:
        codes, values = pd.factorize(self.frame[name])
        return codes.astype(np.int32), [str(value) for value in values]

    def tags(self) -> tuple[Codes, list[Tags]]:
        known: dict[Tags, int] = {}
        codes = [known.setdefault(tuple(tags), len(known)) for tags in self.frame["tags"]]
        return np.array(codes, np.int32), list(known)

    def ids(self) -> NDArray[np.int64]:
        return np.asarray(pd.factorize(self.frame["sample_id"])[0], np.int64)

    def starts(self) -> Array:
        return seconds(self.frame["started_at"])


@dataclass(frozen=True)
class FileRows:
    """The tables of runs, one after the other."""

    paths: Sequence[Path]
    manifests: Sequence[Mapping[str, Any]]
    dollars: tuple[tuple[float, float] | None, ...] = ()
    """Of each run on a machine of one's own that has a price: dollars while it was busy, seconds of latency."""

    @classmethod
    def of(cls, folders: Sequence[Path]) -> "FileRows":
        """The tables of these run folders, made where they must be."""
        manifests = [store.read_json(folder / "manifest.json") for folder in folders]
        paths = [columnar.table_path(folder, one) for folder, one in zip(folders, manifests, strict=True)]
        dollars = tuple(_machine_dollars(cls([path], [one]), one) for path, one in zip(paths, manifests, strict=True))
        return cls(paths, manifests, dollars)

    @functools.cached_property
    def _metadata(self) -> list[Any]:
        import pyarrow.parquet as pq

        return [pq.read_metadata(path) for path in self.paths]

    @functools.cached_property
    def sizes(self) -> list[int]:
        """Rows of each file."""
        return [int(one.num_rows) for one in self._metadata]

    @property
    def n(self) -> int:
        return sum(self.sizes)

    def numbers(self, name: str) -> Array:
        if name in MONEY[:3] and any(self.dollars):
            return self._with_machine(name, self._dollars(name))
        return self._with_machine(name, np.asarray(self._filled(name, np.float64)))

    def flags(self, name: str) -> Mask:
        return np.asarray(self._filled(name, np.bool_))

    def words(self, name: str) -> tuple[Codes, list[str]]:
        return self._coded(name, name, _words)

    def tags(self) -> tuple[Codes, list[Tags]]:
        return self._coded("tags", "tags.list.element", _combinations)

    def ids(self) -> NDArray[np.int64]:
        found, at = np.empty(self.n, np.uint64), 0
        for part in self._parts("sample_id", ()):
            found[at : at + len(part)] = pd.util.hash_array(part.to_numpy(zero_copy_only=False))
            at += len(part)
        return np.asarray(np.unique(found, return_inverse=True)[1], np.int64)

    def starts(self) -> Array:
        return self._times("started_at")

    def _times(self, name: str) -> Array:
        found, at = np.empty(self.n), 0
        for part in self._parts(name, ()):
            found[at : at + len(part)] = _moments(part)
            at += len(part)
        return found

    def about(self, key: str) -> tuple[Codes, list[str]]:
        """What the manifests say, as a column of words."""
        values = [str(one.get(key)) for one in self.manifests]
        known = list(dict.fromkeys(values))
        return np.repeat(np.array([known.index(value) for value in values], np.int32), self.sizes), known

    def _parts(self, name: str, coded: Sequence[str]) -> "Iterator[pa.Array]":
        import pyarrow.parquet as pq

        for path, metadata in zip(self.paths, self._metadata, strict=True):
            with pq.ParquetFile(path, metadata=metadata, read_dictionary=list(coded)) as file:
                for group in range(file.num_row_groups):
                    yield from file.read_row_group(group, columns=[name], use_threads=False)[name].chunks

    def _filled(self, name: str, kind: Any) -> Any:
        found, at = np.empty(self.n, kind), 0
        for part in self._parts(name, ()):
            found[at : at + len(part)] = part.to_numpy(zero_copy_only=False)
            at += len(part)
        return found

    def _coded(self, name: str, leaf: str, distinct: Any) -> tuple[Codes, list[Any]]:
        """Each part's codes in the words of all parts."""
        found, at, known = np.empty(self.n, np.int32), 0, dict[Any, int]()
        for part in self._parts(name, [leaf]):
            codes, values = distinct(part)
            places = [known.setdefault(value, len(known)) for value in values]
            found[at : at + len(part)] = np.array([*places, -1], np.int32)[codes]
            at += len(part)
        return found, list(known)

    def _with_machine(self, name: str, found: Array) -> Array:
        """A mixed hybrid's dollars with those of its machine."""
        mixed = [one.get("location") == "mixed" for one in self.manifests]
        if name not in MONEY[:3] or not any(mixed):
            return found
        own_s, at, starts = self._filled("own_s", np.float64), 0, self._times("own_started_at")
        for size, manifest, is_mixed in zip(self.sizes, self.manifests, mixed, strict=True):
            rows = slice(at, at + size)
            if is_mixed:
                price = (manifest.get("machine") or {}).get("usd_per_hour")
                dollars = machine_dollars(own_s[rows], starts[rows], price)
                found[rows] += (
                    dollars if name != "wasted_usd" else np.where(self._lost()[rows], np.nan_to_num(dollars), 0)
                )
            at += size
        return found

    def _lost(self) -> Mask:
        """Rows that bought no answer."""
        codes, words = self.words("finish_reason")
        return self.flags("failed") | (codes == words.index("length") if "length" in words else False)

    def _dollars(self, name: str) -> Array:
        """A run's dollars on a machine of one's own, shared out by latency; what bought no answer is wasted."""
        found, at = self._filled(name, np.float64), 0
        seconds = self._filled("latency_s", np.float64)
        for size, dollars in zip(self.sizes, self.dollars, strict=True):
            if dollars is not None:
                found[at : at + size] = seconds[at : at + size] / dollars[1] * dollars[0]
            at += size
        if name == "wasted_usd":
            lost = self._lost()
            own = np.repeat([dollars is not None for dollars in self.dollars], self.sizes)
            found[own & ~lost] = 0.0
        return np.asarray(found)


def _machine_dollars(rows: FileRows, manifest: Mapping[str, Any]) -> tuple[float, float] | None:
    price = (manifest.get("machine") or {}).get("usd_per_hour") if manifest.get("location") == "own" else None
    if price is None:
        return None
    spent = machine_cost_usd(busy_seconds(rows), price)
    return None if spent is None else (spent, float(np.nansum(rows.numbers("latency_s"))))


def _moments(part: "pa.Array") -> Array:
    """A part's ISO 8601 times as seconds: arrow reads what the engine writes, pandas the rest."""
    import pyarrow as pa

    try:
        found = part.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    except pa.ArrowInvalid:
        return seconds(pd.Series(part.to_pylist(), dtype="str"))
    return np.asarray(found.to_numpy(zero_copy_only=False), np.float64) / 1e6


def _words(part: "pa.DictionaryArray") -> tuple[NDArray[np.int64], list[str]]:
    codes = part.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return np.asarray(codes, np.int64), part.dictionary.to_pylist()


def _combinations(part: "pa.ListArray") -> tuple[NDArray[np.int64], list[Tags]]:
    """Lists of words as codes of their combinations: a row's words are the digits of one number, where that fits."""
    lengths = np.diff(part.offsets.to_numpy())
    digits, words = _words(part.flatten())
    table = np.full((len(part), int(lengths.max(initial=0))), -1, np.int64)
    table[np.arange(table.shape[1]) < lengths[:, None]] = digits
    if (len(words) + 1) ** table.shape[1] < 2**63:
        weights = np.array([(len(words) + 1) ** at for at in range(table.shape[1])], np.int64)
        codes, kinds = pd.factorize((table + 1) @ weights)
        first = np.zeros(len(kinds), np.int64)
        first[codes[::-1]] = np.arange(len(codes))[::-1]
    else:
        _, first, codes = np.unique(table, axis=0, return_index=True, return_inverse=True)
    return codes.reshape(-1), [tuple(words[at] for at in table[row] if at >= 0) for row in first]
