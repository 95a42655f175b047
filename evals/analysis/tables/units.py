"""A table with documents -> arrays of options x documents, cut to what all options answered, repeats averaged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from evals.errors import DataError
from evals.stats import (
    LEAST_FOR_BOOTSTRAP,
    Array,
    Axis,
    Estimate,
    bca_mean,
    clustered_mean,
    mean_t,
    quantile,
    ratio_bootstrap,
    wilson,
)
from evals.stats.draws import totals

COLUMNS = {"quality": "score", "cost": "cost_usd", "latency": "latency_s"}
RATIO = ("hits", "whole")
"""Columns whose totals' ratio is the quality, where the table has them (micro F1)."""
QUANTILES = {"p50": 0.5, "p95": 0.95}


@dataclass(frozen=True, kw_only=True)
class Units:
    """The documents that every option answered."""

    ids: Sequence[str]
    groups: NDArray[np.int64] | None
    about: pd.DataFrame
    """A row an option: option, model, load, n, flags."""
    values: dict[str, Array]
    """Column -> options x documents."""


def paired_units(frame: pd.DataFrame, notes: list[str]) -> Units:
    """Rows joined by document, so that their order never matters; what the cut loses is noted."""
    options = sorted(map(str, frame["option"].unique()))
    columns = [name for name in (*COLUMNS.values(), *RATIO) if name in frame]
    grouped: Any = frame.groupby(["sample_id", "option"], sort=True)[columns]
    means, sizes_of = grouped.mean(), grouped.size()
    known = grouped.count().eq(sizes_of, axis=0)
    if "latency_s" in columns:
        known["latency_s"] = True  # cached rows were not timed, which says nothing of the others
    wide: Any = means.where(known).unstack("option")
    answered: Any = sizes_of.unstack("option").notna()[options]
    common = answered.all(axis=1)
    sizes = answered.sum()
    if not common.any():
        raise DataError("the options have no document in common; a frontier compares them on the same documents")
    if (lost := int((~common).sum())) > 0:
        few = ", ".join(f"{name} has {count}" for name, count in sizes.items() if count < len(common))
        notes.append(f"{lost} of {len(common)} documents are not answered by every option and left out ({few})")
    kept = wide[common]
    values = {name: np.ascontiguousarray(kept[name][options].to_numpy(np.float64).T) for name in columns}
    if "hits" not in columns and "score" in columns:
        values, kept = _scorable(values, kept, notes)
    if frame["repeat"].nunique() > 1 if "repeat" in frame else False:
        notes.append("repeats are averaged inside a document first, latency too")
    return Units(ids=list(kept.index), groups=_groups(frame, kept.index), about=_about(frame, options), values=values)


def _scorable(values: dict[str, Array], kept: Any, notes: list[str]) -> tuple[dict[str, Array], Any]:
    """Documents that could not be scored for one option are left out for all."""
    good = ~np.isnan(values["score"]).any(axis=0)
    if good.all() or not good.any():
        return values, kept
    notes.append(f"{int((~good).sum())} documents could not be scored for some option and are left out for all")
    return {name: found[:, good] for name, found in values.items()}, kept[good]


def _groups(frame: pd.DataFrame, ids: Any) -> NDArray[np.int64] | None:
    if "group" not in frame or not frame["group"].notna().any():
        return None
    named = frame.groupby("sample_id")["group"].first().reindex(ids)
    return np.asarray(pd.factorize(named.fillna(pd.Series(ids, index=ids)))[0], np.int64)


def _about(frame: pd.DataFrame, options: Sequence[str]) -> pd.DataFrame:
    order: Any = list(options)
    first: Any = frame.drop_duplicates("option").set_index("option").reindex(order)
    flags: list[list[str]] = [[] for _ in order]
    if "cost_flag" in frame:
        for own, flag in zip(flags, frame.groupby("option")["cost_flag"].first().reindex(order), strict=True):
            own += [flag] if isinstance(flag, str) else []
    for own, name in zip(flags, order, strict=True):
        own += _failures(frame[frame["option"] == name])
    return pd.DataFrame(
        {
            "option": list(options),
            "model": list(first["model"]) if "model" in first else list(options),
            "load": list(first["load"]) if "load" in first else None,
            "n": list(frame.groupby("option")["sample_id"].nunique().reindex(order)),
            "flags": flags,
        }
    )


def _failures(rows: pd.DataFrame) -> list[str]:
    """The share of an option's answers that failed; a latency of those that were not timed is of the others alone."""
    if "failed" not in rows or not (failed := rows["failed"].astype(bool)).any():
        return []
    said = f"{int(failed.sum())} of {len(rows)} answers failed ({100 * failed.mean():.0f} %)"
    if "latency_s" in rows and rows.loc[failed, "latency_s"].isna().any():
        said += f": latency is of the {int(rows['latency_s'].notna().sum())} that were timed"
    return [said]


def axis_of(units: Units, name: str, statistic: str) -> Axis | None:
    """The axis of every option; `None` where the table does not have it."""
    if name == "quality" and "hits" in units.values:
        return Axis(values=units.values["hits"], weights=units.values["whole"])
    values = units.values.get(COLUMNS[name])
    if values is None:
        return None
    return Axis(values=values, q=QUANTILES[statistic] if name == "latency" and statistic != "mean" else None)


def interval_of(
    axis: Axis,
    at: int,
    groups: NDArray[np.int64] | None,
    *,
    level: float,
    drawn: Array | None = None,
    share: bool = True,
) -> Estimate:
    """One option's figure with the interval that suits it (quantiles are linear between order statistics, Hyndman and
    Fan's type 7, as numpy's and the llmperf summaries'): Wilson for right/wrong, bootstrap for ratios (of the draws
    that are there already), order statistics for quantiles, for means BCa up to 500 documents, t above, clustered t
    with groups. `share=False`: values that are all 0 or 1 are amounts (dollars) and not right or wrong."""
    values = axis.values[at]
    if axis.q is not None:
        return quantile(values, axis.q, level=level)
    if axis.weights is not None:
        table = totals(np.stack([values, axis.weights[at]], axis=1), groups)
        if drawn is not None and not np.isnan(drawn).any() and np.ptp(drawn) > 0 and len(table) >= LEAST_FOR_BOOTSTRAP:
            low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
            value = float(table[:, 0].sum() / table[:, 1].sum())
            return Estimate(value, min(float(low), value), max(float(high), value), len(table))
        return ratio_bootstrap(table[:, 0], table[:, 1], level=level)
    if groups is not None:
        return clustered_mean(values, groups, level=level)
    if share and np.isin(values, (0.0, 1.0)).all():
        return wilson(float(values.sum()), len(values), level=level)
    return bca_mean(values, level=level) if 10 <= len(values) <= 500 else mean_t(values, level=level)
