"""Outcomes of a table's documents by cell: what every quality of a summary is made of.

A cell is a set of documents that are never taken apart: those of one slice and one combination of tags, or those of one
row of a grouped summary. Repeats are averaged inside a document first; documents of one group are one unit. Where
documents stand alone, equal outcomes of a cell are counted together, so that ten million documents are some thousand
numbers.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.analysis.tables.columns import SHARES
from evals.analysis.tables.rows import Codes, Mask, Rows
from evals.stats import Array, Estimate, ratio_bootstrap, wilson
from evals.stats.intervals import DRAWN_ALONE, distinct_pairs

F1 = {"tp": (2, 2), "wrong": (0, 2), "miss": (0, 1), "hall": (0, 1)}
RATIOS: dict[str, dict[str, tuple[int, int]]] = {
    "f1": F1,
    "f1_strict": {f"strict_{name}": weights for name, weights in F1.items()},
    "hallucination_rate": {"hall": (1, 1), "tn": (0, 1)},
}
"""Metric -> column -> how often it counts above and below the line: F1 = 2TP / (2TP + 2 WRONG + MISS + HALL)."""
DENSE = 2**23
"""Distinct numbers that are counted by place; more of them are sorted."""

Index = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Which document each row belongs to."""

    of_row: Index | None
    """A number a row; `None`: every row is a document of its own."""
    first: Index | None
    """Each document's first row."""
    rows: Array | None
    """How many rows each document has."""

    def mean(self, values: Array) -> Array:
        """A column's mean over what is known of a document; NaN where nothing is."""
        if self.of_row is None or self.rows is None:
            return values
        known = ~np.isnan(values)
        sums = np.bincount(self.of_row, np.where(known, values, 0.0), len(self.rows))
        counts = self.rows if known.all() else np.bincount(self.of_row, known, len(self.rows))
        return np.asarray(np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0))

    def head(self, values: Any) -> Any:
        """A column that says the same of all rows of a document."""
        return values if self.first is None else values[self.first]

    @property
    def n(self) -> int | None:
        """How many; `None` where there are as many as rows."""
        return None if self.rows is None else len(self.rows)


def documents(rows: Rows, *, single: bool, keep: Mask | None = None, apart: Codes | None = None) -> Documents:
    """The documents of the rows that are kept. `single`: the rows are of one run, which holds each (document, repeat)
    once, so that without repeats no two rows are of one document. `apart`: rows with unlike codes are never of one."""
    if single and not rows.numbers("repeat").any():
        return Documents(of_row=None, first=None, rows=None)
    ids = rows.ids()
    if apart is not None:
        ids = ids * (int(apart.max(initial=0)) + 1) + apart
    _, first, of_row, counts = np.unique(
        ids if keep is None else ids[keep], return_index=True, return_inverse=True, return_counts=True
    )
    order = np.argsort(first, kind="stable")  # in the order in which documents are met
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return Documents(of_row=place[of_row], first=first[order], rows=counts[order].astype(np.float64))


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Numerators and denominators of units (documents or groups), or each distinct one of a cell once."""

    cell: Index
    top: Array
    whole: Array
    times: Index | None
    """How many units; `None`: one each."""


@dataclass(frozen=True, kw_only=True)
class Outcomes:
    """What the qualities of any set of cells are computed from."""

    documents: Array
    """Cell -> how many."""
    unit_cell: Index | None
    """Where documents stand in groups: each unit's cell (a group has a unit in each of its cells)..."""
    unit_group: Index | None
    """... and its group."""
    unit_size: Array | None
    """... and its documents."""
    ratios: Mapping[str, Pairs]
    shares: Mapping[str, Array]
    """Metric -> sums, a cell each; with groups a unit each. NaN: no document has it."""

    def quality(self, cells: Mask | None = None) -> dict[str, Any]:
        """Metric -> {value, low, high, n} of the documents in these cells (all where none are named)."""
        n = int(self.documents[slice(None) if cells is None else cells].sum())
        found = {name: self._ratio(self.ratios[name], cells) for name in ("f1", "f1_strict")}
        found |= {name: self._share(name, cells, n) for name in SHARES}
        found["hallucination_rate"] = self._ratio(self.ratios["hallucination_rate"], cells)
        return {name: {**plain(estimate), "n": n} for name, estimate in found.items()}

    def _ratio(self, pairs: Pairs, cells: Mask | None) -> Estimate:
        chosen = slice(None) if cells is None else cells[pairs.cell]
        top, whole = pairs.top[chosen], pairs.whole[chosen]
        if self.unit_group is not None:
            return ratio_bootstrap(*self._by_group(chosen, top, whole))
        if pairs.times is None:
            return ratio_bootstrap(top, whole)
        top, whole, times = distinct_pairs(top, whole, pairs.times[chosen])  # one pair may be in several cells
        return ratio_bootstrap(top, whole, times=times)

    def _share(self, name: str, cells: Mask | None, n: int) -> Estimate:
        sums = self.shares[name]
        if np.isnan(sums).any():
            return Estimate(np.nan, np.nan, np.nan, n)
        if self.unit_group is None or self.unit_cell is None or self.unit_size is None:
            return wilson(min(float(sums[slice(None) if cells is None else cells].sum()), n), n)
        chosen = slice(None) if cells is None else cells[self.unit_cell]
        return ratio_bootstrap(*self._by_group(chosen, sums[chosen], self.unit_size[chosen]))

    def _by_group(self, chosen: Any, *columns: Array) -> Iterator[Array]:
        """Units summed inside their group."""
        assert self.unit_group is not None
        first, codes = np.unique(self.unit_group[chosen], return_index=True, return_inverse=True)[1:]
        order = np.argsort(first, kind="stable")
        return (_binned(codes, column, len(first))[order] for column in columns)


def plain(estimate: Estimate) -> dict[str, float | None]:
    """An estimate for JSON: what is not known is `None`."""
    found = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def outcomes(rows: Rows, cells: Codes, count: int, told: Documents, keep: Mask | None = None) -> Outcomes:
    """The outcomes of the rows that are kept and their documents, by `cells` (a code a row, below `count`)."""

    def column(name: str) -> Array:
        """Of each document; 0 where it has none, but NaN where no document has one."""
        values = rows.numbers(name)
        values = told.mean(values if keep is None else values[keep])
        lacking = np.isnan(values)
        if not lacking.any() or lacking.all():
            return values
        return np.where(lacking, 0.0, values)

    cell = told.head(cells if keep is None else cells[keep])
    sizes = np.bincount(cell, minlength=count).astype(np.float64)
    group = _groups(rows, told, keep)
    if group is None:
        compact = len(cell) > DRAWN_ALONE
        ratios = {name: _pairs(cell, *_sums(column, weights), compact) for name, weights in RATIOS.items()}
        shares = {name: _binned(cell, column(name), count) for name in SHARES}
        return Outcomes(
            documents=sizes,
            unit_cell=None,
            unit_group=None,
            unit_size=None,
            ratios=ratios,
            shares=shares,
        )
    unit, first = _in_order(group * count + cell)
    unit_cell, unit_group = np.asarray(cell[first], np.int64), group[first]

    def summed(values: Array) -> Array:
        return _binned(unit, values, len(first))

    ratios = {
        name: Pairs(cell=unit_cell, top=summed(top), whole=summed(whole), times=None)
        for name, weights in RATIOS.items()
        for top, whole in [_sums(column, weights)]
    }
    return Outcomes(
        documents=sizes,
        unit_cell=unit_cell,
        unit_group=unit_group,
        unit_size=np.bincount(unit, minlength=len(first)).astype(np.float64),
        ratios=ratios,
        shares={name: summed(column(name)) for name in SHARES},
    )


def _binned(codes: Any, values: Array, count: int) -> Array:
    return np.asarray(np.bincount(codes, values, count), np.float64)


def _sums(column: Any, weights: Mapping[str, tuple[int, int]]) -> tuple[Array, Array]:
    """Numerator and denominator of a ratio, a document each."""
    sides: list[Array | None] = [None, None]
    for name, factors in weights.items():
        values = np.nan_to_num(found) if np.isnan((found := column(name))[:1]).any() else found
        for side, factor in enumerate(factors):
            if factor:
                part = values if factor == 1 else factor * values
                before = sides[side]
                sides[side] = part.copy() if before is None else np.add(before, part, out=before)
    top, whole = sides
    assert top is not None and whole is not None
    return top, whole


def _groups(rows: Rows, told: Documents, keep: Mask | None) -> Index | None:
    """Each document's group, documents without one being groups of their own; `None` where there is no group."""
    codes, words = rows.words("group")
    if not words:
        return None
    found = np.asarray(told.head(codes if keep is None else codes[keep]), np.int64)
    alone = found < 0
    found[alone] = len(words) + np.arange(int(alone.sum()))
    return None if alone.all() else found


def _in_order(values: Index) -> tuple[Index, Index]:
    """Codes by first occurrence, and where each is met first."""
    _, first, codes = np.unique(values, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return place[codes], first[order]


def _pairs(cell: Any, top: Array, whole: Array, compact: bool) -> Pairs:
    if not compact:
        return Pairs(cell=np.asarray(cell, np.int64), top=top, whole=whole, times=None)
    top_codes, tops = _levels(top)
    whole_codes, wholes = _levels(whole)
    width = int(cell.max()) + 1
    size = width * len(tops) * len(wholes)
    code = (np.asarray(cell, np.int64) * len(tops) + top_codes) * len(wholes) + whole_codes
    if size <= DENSE:
        counts = np.bincount(code, minlength=size)
        kinds = np.flatnonzero(counts)
        times = counts[kinds]
    else:
        kinds, times = np.unique(code, return_counts=True)
    rest, at_whole = np.divmod(kinds, len(wholes))
    at_cell, at_top = np.divmod(rest, len(tops))
    return Pairs(cell=at_cell, top=tops[at_top], whole=wholes[at_whole], times=times)


def _levels(values: Array) -> tuple[NDArray[np.int32], Array]:
    """A column as codes of its distinct values: small counts by themselves, anything else sorted."""
    largest = float(values.max(initial=0.0))
    if largest < 1024 and float(values.min(initial=0.0)) >= 0:
        codes = values.astype(np.int32)
        if (codes == values).all():
            return codes, np.arange(int(largest) + 1, dtype=np.float64)
    levels, places = np.unique(values, return_inverse=True)
    return places.astype(np.int32), levels
