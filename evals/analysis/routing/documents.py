"""What routing needs of stored results, as arrays over the documents that every option answered.

Quality is the ratio of totals `hits / whole` (micro F1: 2 TP over 2 TP + 2 WRONG + MISS + HALL; a right/wrong metric:
right over 1), a document's error 1 - hits / whole. Features and signals come from `evals.policy`, so that a simulated
decision is the live one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evals import policy
from evals.core import Record, Request
from evals.errors import DataError
from evals.policy.features import TAG, named
from evals.stats import Array

Mask = NDArray[np.bool_]
COMPARED = 20_000
"""So many pairs of answers are compared at most, about a millisecond each."""
NOBODY = Request(messages=())
"""Stands for the request where the documents are not at hand: an answer's own signals are all there is."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Documents answered by every option. Arrays are options x documents; NaN is not known."""

    ids: Sequence[str]
    options: Sequence[str]
    hits: Array
    whole: Array
    cost: Array
    """Dollars; an option of which one document's cost is not known has none."""
    latency: Array
    failed: Mask
    groups: NDArray[np.int64] | None = None
    data_class: Sequence[str] = ()
    features: Mapping[str, Array] = field(default_factory=dict)
    """Name -> a value a document."""
    signals: Sequence[Mapping[str, Array]] = ()
    """Of each option: name -> a value a document."""
    places: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)
    """Option -> `{location, terms}`."""
    agreement: Mapping[frozenset[str], Array] = field(default_factory=dict)
    """Two options -> how far their answers to each document agree, 0..1; of few documents and options alone."""

    @property
    def n(self) -> int:
        """How many documents."""
        return len(self.ids)

    @property
    def error(self) -> Array:
        """Options x documents: 1 - hits / whole; a document without anything to find or to invent has none."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.whole > 0, 1 - self.hits / self.whole, 0.0)

    def at(self, option: str) -> int:
        """The option's place."""
        return list(self.options).index(option)


def documents(
    frame: pd.DataFrame,
    *,
    requests: Mapping[str, Request] | None = None,
    records: Mapping[str, Mapping[str, Record]] = {},
    places: Mapping[str, Mapping[str, str | None]] = {},
    features: Sequence[str] = (),
    signals: Sequence[str] = (),
    notes: list[str] | None = None,
) -> Documents:
    """The table's documents. `frame`: `option, sample_id`, `hits, whole` or `score`, `cost_usd`, `latency_s`, ...

    `requests`: sample id -> what was asked, for features; `records`: option -> sample id -> record, for signals.
    `features` and `signals` name columns of the frame that are used beside them. Of repeats the first is taken. Raises
    `DataError` where no document is answered by all options.
    """
    notes = [] if notes is None else notes
    if "repeat" in frame and frame["repeat"].nunique() > 1:
        notes.append("of repeats the first is taken")
        frame = frame[frame["repeat"] == frame["repeat"].min()]
    options = sorted(map(str, frame["option"].unique()))
    wide: Any = frame.drop_duplicates(["option", "sample_id"]).set_index(["option", "sample_id"])
    ids = _common(wide, options, notes)
    cells: Any = wide.reindex(pd.MultiIndex.from_product([options, ids]))
    shape = (len(options), len(ids))

    def column(name: str) -> Array:
        if name not in cells:
            return np.full(shape, np.nan)
        return np.asarray(cells[name].to_numpy(np.float64), np.float64).reshape(shape)

    hits, whole = _quality(column, "hits" in cells)
    cost = column("cost_usd")
    cost = np.where(np.isnan(cost).any(axis=1, keepdims=True), np.nan, cost)
    failed = cells["failed"].fillna(False).to_numpy(bool).reshape(shape) if "failed" in cells else np.zeros(shape, bool)
    first = cells.loc[options[0]]
    own = _signals(requests, records, options, ids)
    for at, option in enumerate(options):
        own[at] |= {name: cells.loc[option][name].to_numpy(np.float64) for name in signals}
    named_features = {name: first[name].to_numpy(np.float64) for name in features}
    classes = first["data_class"].fillna("public") if "data_class" in first else []
    found = Documents(
        ids=ids,
        options=options,
        hits=hits,
        whole=whole,
        cost=cost,
        latency=column("latency_s"),
        failed=failed,
        groups=_groups(first, ids),
        data_class=list(map(str, classes)),
        features={**_features(requests, first, ids), **named_features},
        signals=own,
        places=places,
        agreement=_agreement(requests, records, options, ids),
    )
    return _scorable(found, notes)


def _common(wide: Any, options: Sequence[str], notes: list[str]) -> list[str]:
    answered = [set(wide.loc[option].index) for option in options]
    shared, every = set.intersection(*answered), set.union(*answered)
    if not shared:
        raise DataError("the options have no document in common; routing chooses between them document by document")
    if len(shared) < len(every):
        notes.append(f"{len(every) - len(shared)} of {len(every)} documents are not answered by every option: left out")
    return sorted(map(str, shared))


def _quality(column: Any, ratio: bool) -> tuple[Array, Array]:
    if ratio:
        return column("hits"), column("whole")
    score: Array = column("score")
    return score, np.where(np.isnan(score), np.nan, 1.0)


def _scorable(found: Documents, notes: list[str]) -> Documents:
    good: Mask = np.asarray(~(np.isnan(found.hits) | np.isnan(found.whole)).any(axis=0))
    if good.all():
        return found
    if not good.any():
        raise DataError("no document could be scored for every option")
    notes.append(f"{int((~good).sum())} documents could not be scored for some option and are left out for all")
    return subset(found, good)


def subset(found: Documents, kept: Mask) -> Documents:
    """Some of the documents."""
    at = [int(one) for one in np.flatnonzero(kept)]
    return replace(
        found,
        ids=[found.ids[one] for one in at],
        hits=found.hits[:, kept],
        whole=found.whole[:, kept],
        cost=found.cost[:, kept],
        latency=found.latency[:, kept],
        failed=found.failed[:, kept],
        groups=None if found.groups is None else found.groups[kept],
        data_class=[found.data_class[one] for one in at] if found.data_class else [],
        features={name: values[kept] for name, values in found.features.items()},
        signals=[{name: values[kept] for name, values in own.items()} for own in found.signals],
        agreement={pair: values[kept] for pair, values in found.agreement.items()},
    )


def joined(first: Documents, second: Documents) -> Documents:
    """The documents of two splits, of the options that both have; ids that both splits have are of the second."""
    options = [option for option in second.options if option in set(first.options)]
    known = set(second.ids)
    first = subset(first, np.array([one not in known for one in first.ids], bool))
    rows = [[part.at(option) for option in options] for part in (first, second)]
    parts = list(zip((first, second), rows, strict=True))

    def stacked(name: str) -> Any:
        return np.hstack([getattr(part, name)[own] for part, own in parts])

    def side_by_side(left: Mapping[str, Array], right: Mapping[str, Array]) -> dict[str, Array]:
        return {
            name: np.concatenate([_column(left, name, first.n), _column(right, name, second.n)])
            for name in {**left, **right}
        }

    groups = None
    if first.groups is not None or second.groups is not None:
        a, b = [np.arange(p.n) if p.groups is None else p.groups for p in (first, second)]
        groups = np.concatenate([a, b + a.max(initial=-1) + 1])
    return Documents(
        ids=[*first.ids, *second.ids],
        options=options,
        hits=stacked("hits"),
        whole=stacked("whole"),
        cost=stacked("cost"),
        latency=stacked("latency"),
        failed=stacked("failed"),
        groups=groups,
        data_class=[*first.data_class, *second.data_class],
        features=side_by_side(first.features, second.features),
        signals=[side_by_side(first.signals[a], second.signals[b]) for a, b in zip(*rows, strict=True)],
        places=second.places,
        agreement={
            pair: np.concatenate([first.agreement[pair], values])
            for pair, values in second.agreement.items()
            if pair in first.agreement
        },
    )


def _column(given: Mapping[str, Array], name: str, n: int) -> Array:
    return given[name] if name in given else np.full(n, 0.0 if name.startswith(TAG) else np.nan)


def _groups(first: Any, ids: Sequence[str]) -> NDArray[np.int64] | None:
    if "group" not in first or not first["group"].notna().any():
        return None
    named_ones = first["group"].astype(object).where(first["group"].notna(), pd.Series(ids, index=first.index))
    return np.asarray(pd.factorize(named_ones)[0], np.int64)


def _signals(
    requests: Mapping[str, Request] | None,
    records: Mapping[str, Mapping[str, Record]],
    options: Sequence[str],
    ids: Sequence[str],
) -> list[dict[str, Array]]:
    """Of each option; document by document, so that its text is read once for all of them."""
    found: list[list[Mapping[str, float]]] = [[] for _ in options]
    for name in ids:
        request = (requests or {}).get(name, NOBODY)
        for own, option in zip(found, options, strict=True):
            record = records.get(option, {}).get(name)
            call = record.calls[record.answer] if record is not None and record.answer is not None else None
            own.append(policy.signals(request, call.completion) if call is not None and call.completion else {})
    return [_columns(own) for own in found]


def _agreement(
    requests: Mapping[str, Request] | None,
    records: Mapping[str, Mapping[str, Record]],
    options: Sequence[str],
    ids: Sequence[str],
) -> dict[frozenset[str], Array]:
    pairs = list(combinations([name for name in options if name in records], 2))
    if requests is None or len(pairs) * len(ids) > COMPARED:
        return {}
    found = {}
    for a, b in pairs:
        texts = [[_text(records[option].get(name)) for name in ids] for option in (a, b)]
        schemas = [requests.get(name, NOBODY).schema for name in ids]
        if not all(schemas):
            return {}
        rows = [policy.agreement(x, y, s or {}) for x, y, s in zip(*texts, schemas, strict=True)]
        found[frozenset((a, b))] = np.array(rows, np.float64)
    return found


def _text(record: Record | None) -> str:
    return (record.text if record is not None else None) or ""


def _features(requests: Mapping[str, Request] | None, first: Any, ids: Sequence[str]) -> dict[str, Array]:
    if requests is not None and all(name in requests for name in ids):
        return _columns([policy.features(requests[name]) for name in ids])
    found: list[dict[str, float]] = [{} for _ in ids]
    tags = first["tags"] if "tags" in first else [(name,) for name in first["slice"]] if "slice" in first else []
    for own, given in zip(found, tags, strict=False):
        own |= named({"tags": tuple(str(tag) for tag in given if isinstance(tag, str))})
    columns = _columns(found)
    if "chars" in first and first["chars"].notna().any():
        columns["chars"] = first["chars"].to_numpy(np.float64)
    return columns


def _columns(found: Sequence[Mapping[str, float]]) -> dict[str, Array]:
    names = dict.fromkeys(name for one in found for name in one)
    return {
        name: np.array([one.get(name, 0.0 if name.startswith(TAG) else np.nan) for one in found], np.float64)
        for name in names
    }
