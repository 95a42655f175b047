"""Two runs over the same documents, joined and tested: what regressed, what improved, and what cannot be told.

The unit is the document: repeats are averaged inside one first, documents of one group are drawn together. Every
figure is paired; p values are adjusted by Holm over everything that one comparison tests. Verdicts, in this order:
equivalent (the whole interval lies within the margin), regressed or improved (Holm's p under 5 %), inconclusive.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.comparing import paired
from evals.analysis.comparing.baseline import NUMERIC, Side
from evals.analysis.comparing.paired import Tested
from evals.analysis.tables.rows import FrameRows, waited
from evals.errors import INFRASTRUCTURE, DataError
from evals.stats import Array, holm, minimum_detectable_difference, sample_size

SAME = ("dataset", "schema", "prompt", "scorer")
"""What must be equal unless the user allows otherwise."""
SHARES = ("exact", "exact_strict", "schema_valid", "parse_strict", "parse_lenient", "failed")
RATIOS = ("f1", "f1_strict", "hallucination_rate")
TIMES = {"p50_s": 0.5, "p95_s": 0.95}
LOWER_IS_BETTER = frozenset({"hallucination_rate", "failed", "cost", *TIMES})
METRICS = ("f1", "f1_strict", "exact", "schema_valid", "hallucination_rate", "failed", "cost", "p50_s", "p95_s")
"""Compared unless told otherwise."""
KNOWN = (*RATIOS, *SHARES, "score", "cost", *TIMES)
OF_FIELDS = (*RATIOS, "exact_strict", "schema_valid", "parse_strict", "parse_lenient")
"""What only an extraction has; `score` is the main score of a run that has none of it (an import)."""
SLICED = ("f1", "exact")
"""Compared inside every slice: each more test makes all of them less sharp."""
ALPHA = 0.05
NO_COST = "no cost is known; machine.usd_per_hour=... prices a machine of your own"
SMALL_N_FOR_P95 = 200


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Both sides cut to the documents they share, a row a document in one order."""

    a: pd.DataFrame
    b: pd.DataFrame
    leaves_a: pd.DataFrame
    """(sample, path) -> counts of the five outcomes."""
    leaves_b: pd.DataFrame
    only_baseline: int
    only_candidate: int
    repeats: int

    @property
    def groups(self) -> Array | None:
        """Cluster labels, `None` where no document stands in a group."""
        named = self.a["group"]
        return None if named.isna().all() else named.fillna(self.a.index.to_series()).to_numpy()


def unlike(a: Side, b: Side) -> dict[str, str]:
    """What should be equal and is not: name -> both values in words. What neither side tells is not known to differ."""
    if a.about["task"] != b.about["task"]:
        raise DataError(f"{a.where} is of task {a.about['task']}, {b.where} of {b.about['task']}")
    found = {}
    for name in SAME:
        left, right = (s.about["dataset"] if name == "dataset" else s.about["hashes"].get(name) for s in (a, b))
        if left != right:
            found[name] = f"{name} differs (baseline {left or 'not recorded'}, {b.option} {right or 'not recorded'})"
    return found


def conditions(a: Side, b: Side) -> list[str]:
    """Why latencies (and the cost of own machines, which is made of them) cannot be compared."""
    found = []
    names = ["load", "processing", *(["machine"] if a.about["location"] == b.about["location"] == "own" else [])]
    for name in names:
        left, right = (_condition(side.about.get(name)) for side in (a, b))
        if left and right and left != right:
            found.append(f"{name}: {left} against {right}")
    return found


def _condition(value: Any) -> str | None:
    if isinstance(value, Mapping):
        return f"{value.get('cpu')}, {value.get('cores')} cores" if "cpu" in value else None
    return None if value is None else str(value)


def check(a: Side, b: Side, allow: Sequence[str]) -> list[str]:
    """Refuse what is unlike and not allowed (`DataError`); what is allowed comes back in words, to be said."""
    found = unlike(a, b)
    if refused := [name for name in found if name not in allow]:
        told = "; ".join(found[name] for name in refused)
        raise DataError(f"not compared: {told}; allow=[{','.join(refused)}] compares them all the same, and says so")
    return [f"compared although {text}" for text in found.values()]


# Joining ------------------------------------------------------------------------------------------------------


def join(a: Side, b: Side) -> Pair:
    """Inner join on (dataset, sample, repeat); raises `DataError` where nothing is shared."""
    keys = ["sample_id", "repeat"]
    left, right = (side.rows.set_index(keys) for side in (a, b))
    shared = left.index.intersection(right.index)
    if not len(shared):
        raise DataError(f"{a.where} and {b.where} share no document")
    shared = pd.MultiIndex.from_tuples(list(shared), names=keys)
    names = shared.get_level_values("sample_id")
    pair = [_documents(side.loc[shared]) for side in (left, right)]
    return Pair(
        a=pair[0],
        b=pair[1],
        leaves_a=_leaves(a.fields, shared),
        leaves_b=_leaves(b.fields, shared),
        only_baseline=a.rows["sample_id"].nunique() - names.nunique(),
        only_candidate=b.rows["sample_id"].nunique() - names.nunique(),
        repeats=int(pd.Series(names).value_counts().max()),
    )


def _documents(rows: pd.DataFrame) -> pd.DataFrame:
    """A row a document: repeats averaged; latency only of fresh answers (`rows.waited`)."""
    rows = rows.assign(
        latency_s=rows["latency_s"].where(waited(FrameRows(rows))),
        failed=rows["failed"].astype(np.float64),
        infra=rows["error"].isin(INFRASTRUCTURE).astype(np.float64),
    )
    numbers = [name for name in NUMERIC if name in rows.columns]
    by_sample = rows.groupby(level="sample_id", sort=True)
    means = by_sample[[*numbers, "failed", "infra"]].mean()
    silent = by_sample["notional_usd"].count() < by_sample.size()  # one unknown cost makes the document's unknown
    means["notional_usd"] = means["notional_usd"].where(~silent)
    return means.join(by_sample[["slice", "group"]].first())


def _leaves(fields: pd.DataFrame, shared: pd.MultiIndex) -> pd.DataFrame:
    outcomes = ["tp", "wrong", "miss", "hall", "tn"]
    keys = shared.to_frame(index=False)
    kept = fields.astype({"repeat": np.float64}).merge(keys, on=["sample_id", "repeat"])
    counts = kept.groupby(["sample_id", "path", "outcome"]).size().unstack(fill_value=0)
    asked = keys["sample_id"].value_counts().reindex(counts.index.get_level_values("sample_id"))
    return counts.reindex(columns=outcomes, fill_value=0).div(asked.to_numpy(np.float64), axis=0)


# Testing ------------------------------------------------------------------------------------------------------


def tested(pair: Pair, metric: str, where: "pd.Series[bool] | None" = None, drawn: Array | None = None) -> Tested | str:
    """One metric over the shared documents (of a slice); a word instead where it was not measured. `drawn`: draws of a
    quantile that were made for several at once."""
    keep = np.ones(len(pair.a), dtype=bool) if where is None else where.to_numpy()
    a, b = pair.a[keep], pair.b[keep]
    groups = None if pair.groups is None else pair.groups[keep]
    if metric in RATIOS:
        return _ratio_of((*_ratio(a, metric), *_ratio(b, metric)), groups)
    column = "notional_usd" if metric == "cost" else "latency_s" if metric in TIMES else metric
    left, right = _array(a[column]), _array(b[column])
    if metric in SHARES and not (np.isnan(left).all() or np.isnan(right).all()):
        return paired.share(np.nan_to_num(left), np.nan_to_num(right), groups)
    known = ~np.isnan(left) & ~np.isnan(right)
    if not known.any():
        return NO_COST if metric == "cost" else "not measured"
    cut = None if groups is None else groups[known]
    if metric in TIMES:
        return paired.percentile(left[known], right[known], TIMES[metric], cut, drawn=drawn)
    if metric == "score":  # right or wrong, or a mean; what could not be scored on either side is left out
        binary = np.isin(np.concatenate([left[known], right[known]]), (0.0, 1.0)).all()
        return (paired.share if binary else paired.mean)(left[known], right[known], cut)
    if not known.all():
        return f"{int((~known).sum())} documents have no known cost"
    return paired.relative_mean(left * 1000, right * 1000, groups)


def _ratio(frame: pd.DataFrame, metric: str) -> tuple[Array, Array]:
    if metric == "hallucination_rate":
        return _array(frame["hall"]), _array(frame["hall"] + frame["tn"])
    prefix = "strict_" if metric == "f1_strict" else ""
    tp, wrong, miss, hall = (_array(frame[f"{prefix}{name}"]) for name in ("tp", "wrong", "miss", "hall"))
    return 2 * tp, 2 * tp + 2 * wrong + miss + hall


def _array(column: "pd.Series[Any]") -> Array:
    return column.to_numpy(np.float64)


def suited(pair: Pair, metrics: Sequence[str], gated: Collection[str] = ()) -> list[str]:
    """The metrics; where neither side has field outcomes, their own main score instead of what is made of fields and
    bears no gate. Where the score is right or wrong it is the exact match, and is tested once."""
    if pair.a["tp"].notna().any() or pair.b["tp"].notna().any():
        return list(metrics)
    same = all(side["exact"].equals(side["score"]) for side in (pair.a, pair.b))
    instead = (*OF_FIELDS, *(["exact"] if same else []))
    return ["score", *(name for name in metrics if name != "score" and (name in gated or name not in instead))]


def findings(
    pair: Pair, metrics: Sequence[str], by: Sequence[str], latency: Sequence[str], cost: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """A row a metric, slice and field. `latency` and `cost`: why they are refused, where they are."""
    wanted = list(_wanted(pair, metrics, by))
    ratios = {place: _parts(pair, *place) for place in wanted if place[0] in RATIOS}
    drawn = dict(zip(ratios, paired.ratio_draws(list(ratios.values()), pair.groups), strict=True))
    timed = dict(_timed(pair, [metric for metric, *_ in wanted if metric in TIMES])) if not latency else {}
    for place in wanted:
        metric, cut, path = place
        refused = latency if metric in TIMES else cost if metric == "cost" else ()
        if place in ratios:
            found = _ratio_of(ratios[place], pair.groups, drawn[place])
        else:
            found = tested(pair, metric, None if cut is None else pair.a["slice"] == cut, timed.get(metric))
        yield _row(metric, found, slice=cut, field=path, refused=refused)


def _timed(pair: Pair, metrics: Sequence[str]) -> Iterator[tuple[str, Array]]:
    """Draws of the whole's latency quantiles, one draw of documents for all of them."""
    left, right = _array(pair.a["latency_s"]), _array(pair.b["latency_s"])
    known = ~np.isnan(left) & ~np.isnan(right)
    cut = None if pair.groups is None else pair.groups[known]
    if known.any():
        yield from zip(
            metrics, paired.percentile_draws(left[known], right[known], [TIMES[m] for m in metrics], cut), strict=True
        )


Place = tuple[str, str | None, str | None]
"""Metric, slice, field."""


def _wanted(pair: Pair, metrics: Sequence[str], by: Sequence[str]) -> Iterator[Place]:
    yield from ((metric, None, None) for metric in metrics)
    if "slice" in by:
        for name in sorted(pair.a["slice"].dropna().unique(), reverse=True):
            yield from ((metric, name, None) for metric in metrics if metric in SLICED)
    if "field" in by:
        sides = (pair.leaves_a, pair.leaves_b)
        paths = dict.fromkeys(path for side in sides for path in side.index.get_level_values("path").unique())
        yield from (("f1", None, path) for path in paths)


def _parts(pair: Pair, metric: str, cut: str | None, path: str | None) -> paired.Parts:
    """What a ratio is made of, for every document; zeros where it is not of the slice or has no such field."""
    sides = [pair.a, pair.b]
    if path is not None:
        leaves = [side[side.index.get_level_values("path") == path] for side in (pair.leaves_a, pair.leaves_b)]
        sides = [side.droplevel("path").reindex(pair.a.index, fill_value=0.0) for side in leaves]
    keep = np.ones(len(pair.a)) if cut is None else (pair.a["slice"] == cut).to_numpy(np.float64)
    (num_a, den_a), (num_b, den_b) = (_ratio(side, metric) for side in sides)
    return num_a * keep, den_a * keep, num_b * keep, den_b * keep


def _ratio_of(parts: paired.Parts, groups: Array | None, sums: Array | None = None) -> Tested | str:
    """Over the documents in which either side has something to count."""
    keep = (parts[1] + parts[3]) > 0
    num_a, den_a, num_b, den_b = (part[keep] for part in parts)
    cut = None if groups is None else groups[keep]
    return paired.ratio(num_a, den_a, num_b, den_b, cut, sums=sums) or "no document has anything to count"


def _row(
    metric: str, found: Tested | str, *, slice: str | None = None, field: str | None = None, refused: Sequence[str] = ()
) -> dict[str, Any]:
    """A finding as plain data; without p where it is refused or was not measured."""
    row: dict[str, Any] = {"metric": metric, "slice": slice, "field": field}
    if isinstance(found, str):
        return row | dict.fromkeys(VALUES) | {"n": 0, "verdict": "not measured", "note": found}
    row |= {"baseline": found.baseline, "candidate": found.own.value}
    row |= {"candidate_low": found.own.low, "candidate_high": found.own.high}
    told = {"n": found.difference.n, "sd": found.sd, "test": found.test, "note": found.note}
    if refused:
        told |= {"sd": math.nan, "verdict": "refused", "note": f"unlike conditions ({'; '.join(refused)})"}
        return row | dict.fromkeys(VALUES[4:]) | told
    if metric == "p95_s" and found.difference.n < SMALL_N_FOR_P95 and not found.note:
        told["note"] = f"n too small for p95 (under {SMALL_N_FOR_P95})"
    row |= {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
    row |= {"relative": found.relative.value, "relative_low": found.relative.low, "relative_high": found.relative.high}
    return row | {"p": found.p} | told


VALUES = (
    *("baseline", "candidate", "candidate_low", "candidate_high", "difference", "low", "high"),
    *("relative", "relative_low", "relative_high", "p", "sd", "test"),
)


# Judging ------------------------------------------------------------------------------------------------------


def judge(rows: list[dict[str, Any]], *, margin: float, relative_margin: float) -> list[dict[str, Any]]:
    """The rows with Holm's p over all of them, what they can detect, and a verdict. Quality margins are absolute, those
    of cost and latency shares of the baseline."""
    adjusted = holm([row["p"] if is_tested(row) else math.nan for row in rows])
    tests = max(1, sum(not math.isnan(p) for p in adjusted))
    for row, p in zip(rows, adjusted, strict=True):
        row["p_holm"] = 1.0 if row.get("note") == paired.SAME_ANSWERS else p
        row["margin"] = relative_margin if _is_relative(row["metric"]) else margin
        sd, n = row["sd"], row["n"]
        known = sd is not None and not math.isnan(sd) and n > 1
        row["detectable"] = minimum_detectable_difference(sd, n) if known else None
        row["needed"] = None
        row["verdict"] = row.get("verdict") or _verdict(row)
        if row["verdict"] == "inconclusive":
            row["needed"] = _needed(row, tests) if known else None
    return rows


def is_tested(row: Mapping[str, Any]) -> bool:
    """Where no document differs p can only be 1: such a test takes nothing from the others (Tarone 1990)."""
    return row.get("p") is not None and row["note"] != paired.SAME_ANSWERS


def _is_relative(metric: str) -> bool:
    return metric == "cost" or metric in TIMES


def _verdict(row: Mapping[str, Any]) -> str:
    names = ("relative_low", "relative_high") if _is_relative(row["metric"]) else ("low", "high")
    low, high = (row[name] for name in names)
    if low > -row["margin"] and high < row["margin"]:
        return "equivalent"
    if row["p_holm"] < ALPHA and row["difference"]:
        better = (row["difference"] > 0) != (row["metric"] in LOWER_IS_BETTER)
        return "improved" if better else "regressed"
    return "inconclusive"


def _needed(row: Mapping[str, Any], tests: int) -> int | None:
    """Documents that show the difference seen, or one of the margin where less was seen (power .8); where so many are
    there already, what Holm's strictest step needs."""
    scale = abs(row["baseline"]) if _is_relative(row["metric"]) else 1.0
    size = max(abs(row["difference"]), row["margin"] * scale)
    if row["sd"] == 0:
        return paired.unchanged_needed(row["margin"])
    if not size > 0:
        return None
    found = sample_size(row["sd"], size)
    return found if found > row["n"] else max(sample_size(row["sd"], size, alpha=ALPHA / tests), row["n"] + 1)


def overall(rows: Sequence[Mapping[str, Any]]) -> str:
    """One word for a candidate: of the quality of the whole; regressed where any of it did, else as the first metric."""
    quality = [row for row in rows if not row["slice"] and not row["field"] and not _is_relative(row["metric"])]
    words = [row["verdict"] for row in quality]
    for word in ("regressed", "improved"):
        if word in words:
            return word
    return next((word for word in words if word != "not measured"), "inconclusive")


def without_infrastructure(pair: Pair) -> list[str]:
    """The difference in F1 (or the main score) with the documents left out that failed on the way, in words; nothing where none did."""
    spoilt = (pair.a["infra"] > 0) | (pair.b["infra"] > 0)
    if not spoilt.any():
        return []
    metric = suited(pair, ["f1"])[0]
    found = tested(pair, metric, ~spoilt)
    said = "nothing is left" if isinstance(found, str) else _signed(found)
    return [
        f"{int(spoilt.sum())} documents failed on the way and count as zero; without them the {metric} difference is {said}"
    ]


def _signed(found: Tested) -> str:
    return f"{found.difference.value:+.3f} [{found.difference.low:+.3f}, {found.difference.high:+.3f}]"
