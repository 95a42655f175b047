"""How many documents detect which difference, from the spread that was measured. Pure: tables in, figures out.

Two options on the same documents. F1: the paired test of `analysis.paired.ratio`, whose power is that of a t test with
the spread of the documents' linearised differences u_b - u_a, u = R + (num - R den) / mean(den). Exact match: McNemar's
exact test, whose power rests on the discordance, the share of documents that the two answer differently.

Both spreads are means over documents (of squared differences), over all pairs of options: their interval is the
existing one of a mean (BCa up to 500 documents, t above; Wilson for a share), and the interval of an answer is what the
answer would be at either end of the spread's interval. With groups, a group's deviations are summed before they are
squared (CR1, Liang & Zeger 1986), so that n documents that go together count for fewer.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy import optimize, stats

from evals.stats import (
    LEAST_FOR_BOOTSTRAP,
    Array,
    Estimate,
    bca_mean,
    mean_t,
    minimum_detectable_difference,
    ratio_bootstrap,
    sample_size,
    wilson,
)
from evals.stats.draws import totals

METRICS = ("f1", "exact")
LADDER = (50, 100, 200, 500, 1000, 2000)
POINTS = (0.01, 0.02, 0.03, 0.05, 0.10)
MOST = 10_000_000
"""Documents beyond which no number is given."""
ASSUMED_SD = (0.33, 0.28, 0.39)
"""Value and ends where nothing was measured: 3 points need about 700 to 1,400 documents, 5 points 250 to 480."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What the answers rest on: variance of a document's paired difference in F1, and discordance of exact match."""

    f1: Estimate
    exact: Estimate
    provenance: Literal["measured", "assumed"]
    text: str
    """Where it is from, in words."""
    pairs: Sequence[Mapping[str, Any]] = ()
    """`{a, b, n, sd_f1, discordance}` of each pair of options."""
    notes: Sequence[str] = ()


def assumed() -> Spread:
    """The spread of a plan without any measurement."""
    value, low, high = (sd * sd for sd in ASSUMED_SD)
    found = Estimate(value, low, high, 0)
    why = "assumed: no two runs of this data with 5 documents in common that differ"
    return Spread(f1=found, exact=found, provenance="assumed", text=why)


# Spread -------------------------------------------------------------------------------------------------------


def spread(frames: Mapping[str, pd.DataFrame]) -> Spread | None:
    """The spread over all pairs of these options' tables (`load_run`); of one option alone what two that go
    separate ways would have (an assumption on the safe side); `None` where five documents are not there."""
    tables = {name: _documents(frame) for name, frame in frames.items()}
    pairs: list[dict[str, Any]] = []
    squares, notes = [], []
    for a, b in combinations(tables, 2):
        found = _pair(tables[a], tables[b])
        if found is None:
            continue
        if not any(part.any() for part in found):
            notes.append(f"{a} and {b} do not differ in any document: not counted")
            continue
        squares.append(found)
        pairs.append({"a": a, "b": b, "n": len(found[1]), **_sizes(*found)})
    if not squares:
        return _alone(tables, notes)
    f1, exact = (pd.concat([pair[i] for pair in squares], axis=1).mean(axis=1) for i in (0, 1))
    if any(table["group"].notna().any() for table in tables.values()):
        notes.append("documents stand in groups: F1 is planned with that, exact match as if each stood alone")
    n = max(pair["n"] for pair in pairs)
    of = f"{len(pairs)} pairs of {_count(pairs)} options" if len(pairs) > 1 else f"{pairs[0]['a']} and {pairs[0]['b']}"
    where = f"{of} over {'up to ' if len({p['n'] for p in pairs}) > 1 else ''}{n} documents"
    return Spread(
        f1=_mean(f1),
        exact=_share(exact, tables),
        provenance="measured",
        text=f"measured on {where}",
        pairs=pairs,
        notes=notes,
    )


def _count(pairs: Sequence[Mapping[str, Any]]) -> int:
    return len({pair[side] for pair in pairs for side in ("a", "b")})


def _documents(frame: pd.DataFrame) -> pd.DataFrame:
    """A row a document, repeats averaged: numerator and denominator of F1, exact match, group."""
    hits = 2 * frame["tp"]
    rows = frame[["sample_id", "group"]].assign(
        num=hits, den=hits + 2 * frame["wrong"] + frame["miss"] + frame["hall"], exact=frame["exact"].fillna(0.0)
    )
    return rows.groupby("sample_id").agg({"num": "mean", "den": "mean", "exact": "mean", "group": "first"})


def _pair(a: pd.DataFrame, b: pd.DataFrame) -> "tuple[pd.Series[float], pd.Series[float]] | None":
    """Squared deviations of the F1 difference (a value a group) and squared exact differences (a value a document)."""
    shared = a.index.intersection(b.index)
    a, b = a.loc[shared], b.loc[shared]
    if len(shared) < LEAST_FOR_BOOTSTRAP or not a["den"].sum() or not b["den"].sum():
        return None
    return _squares(_linear(b) - _linear(a), a["group"]), (b["exact"] - a["exact"]) ** 2


def _linear(table: pd.DataFrame) -> "pd.Series[float]":
    ratio = table["num"].sum() / table["den"].sum()
    return ratio + (table["num"] - ratio * table["den"]) / table["den"].mean()


def _squares(values: "pd.Series[float]", groups: "pd.Series[Any]") -> "pd.Series[float]":
    """What averages to n times the variance of the mean: D_g^2 G^2 / ((G - 1) n), D_g the sum of a group's deviations."""
    names = groups.fillna(groups.index.to_series())
    sums = (values - values.mean()).groupby(names).sum()
    groups_n, n = len(sums), len(values)
    return sums**2 * (groups_n**2 / ((groups_n - 1) * n)) if groups_n > 1 else sums * math.nan


def _sizes(f1: "pd.Series[float]", exact: "pd.Series[float]") -> dict[str, float]:
    return {"sd_f1": math.sqrt(f1.mean()), "discordance": float(exact.mean())}


def _mean(values: "pd.Series[float]") -> Estimate:
    array: Array = np.asarray(values, np.float64)
    return bca_mean(array) if len(array) <= 500 else mean_t(array)


def _share(values: "pd.Series[float]", tables: Mapping[str, pd.DataFrame]) -> Estimate:
    """Discordance: Wilson; where documents stand in groups, the bootstrap of whole groups."""
    groups = pd.concat([table["group"] for table in tables.values()])
    groups = groups[~groups.index.duplicated()].reindex(values.index)
    array: Array = np.asarray(values, np.float64)
    if groups.isna().all():
        return wilson(float(array.sum()), len(array))
    sums = totals(np.stack([array, np.ones(len(array))], axis=1), groups.fillna(groups.index.to_series()).to_numpy())
    return ratio_bootstrap(sums[:, 0], sums[:, 1])


def _alone(tables: Mapping[str, pd.DataFrame], notes: Sequence[str]) -> Spread | None:
    """Twice the variance of the one option with most documents: what independent options would have."""
    if not tables:
        return None
    name = max(tables.items(), key=lambda item: len(item[1]))[0]
    if len(tables[name]) < LEAST_FOR_BOOTSTRAP or not tables[name]["den"].sum():
        return None
    table = tables[name]
    squares = _squares(_linear(table), table["group"])
    if not squares.any():
        return None
    one = _mean(squares)
    right = wilson(float(table["exact"].sum()), len(table))
    ends = [2 * p * (1 - p) for p in (right.value, right.low, right.high)]
    top = 0.5 if right.low <= 0.5 <= right.high else max(ends)
    return Spread(
        f1=Estimate(2 * one.value, 2 * one.low, 2 * one.high, one.n),
        exact=Estimate(ends[0], min(ends), top, right.n),
        provenance="assumed",
        text=f"one option alone ({name}, {len(table)} documents): twice its variance is assumed, as if two options "
        "had nothing in common",
        notes=notes,
    )


# Detection ----------------------------------------------------------------------------------------------------


def mcnemar_power(difference: float, discordance: float, n: int, alpha: float = 0.05) -> float:
    """Power of the exact McNemar test of n documents, over how many of them turn out discordant.

    D ~ Binomial(n, q), q = max(discordance, difference) since a difference needs as many discordant documents; given D,
    those that favour the better one are Binomial(D, 1/2 + difference / 2q); the test rejects where 2 P(X <= min) <=
    alpha (unconditional power of the conditional test, Connor 1987, Biometrics 43).
    """
    share = max(discordance, abs(difference))
    if n < 1 or share == 0:
        return 0.0
    share = min(share, 1.0)
    half = 7 * math.sqrt(n * share * (1 - share)) + 7
    found, edge = _edges(max(0, math.floor(n * share - half)), min(n, math.ceil(n * share + half)), alpha)
    better = 0.5 + abs(difference) / (2 * share)
    rejects = stats.binom.cdf(edge, found, better) + stats.binom.sf(found - edge - 1, found, better)
    return float((stats.binom.pmf(found, n, share) * np.where(edge >= 0, rejects, 0.0)).sum())


@lru_cache(maxsize=64)
def _edges(first: int, last: int, alpha: float) -> tuple[Array, Array]:
    """Counts of discordant documents from `first` to `last`, and below each the most of them that still reject; -1: none.

    A search for a difference asks for the same ones again and again.
    """
    found = np.arange(first, last + 1, dtype=np.float64)
    edge = stats.binom.ppf(alpha / 2, found, 0.5)
    return found, np.where(stats.binom.cdf(edge, found, 0.5) <= alpha / 2, edge, edge - 1)


def detectable(metric: str, size: float, n: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The least difference that n documents show with this power; inf: none.

    `size` is the variance of a document's difference (f1) or the discordance (exact).
    """
    if math.isnan(size):
        return math.nan
    if metric == "f1":
        found = minimum_detectable_difference(math.sqrt(size), n, power=power, alpha=alpha)
        return found if found <= 1 else math.inf
    if mcnemar_power(1.0, size, n, alpha) < power:
        return math.inf
    return float(optimize.brentq(lambda d: mcnemar_power(d, size, n, alpha) - power, 1e-9, 1.0, xtol=1e-6))


def needed(metric: str, size: float, difference: float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """How many documents show this difference; inf: more than ten million. Of exact match by bisection, although the
    power of an exact test has small teeth."""
    if math.isnan(size):
        return math.nan
    if metric == "f1":
        return sample_size(math.sqrt(size), difference, power=power, alpha=alpha)
    low = high = 2
    while mcnemar_power(difference, size, high, alpha) < power:
        low, high = high, high * 2
        if high > MOST:
            return math.inf
    while low < high:
        middle = (low + high) // 2
        if mcnemar_power(difference, size, middle, alpha) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def ladder(n: int | None, asked: int | None) -> list[int]:
    """Document counts of the table: round ones, the task's own and the user's."""
    return sorted({*LADDER, *(count for count in (n, asked) if count)})


def detection(found: Spread, counts: Sequence[int], *, power: float, alpha: float) -> list[dict[str, Any]]:
    """`{metric, n, difference, low, high}` of each count: the interval is that of the spread, carried through."""
    rows = []
    for n in counts:
        for metric in METRICS:
            ends = _ends(getattr(found, metric))
            value, low, high = (detectable(metric, size, n, power=power, alpha=alpha) for size in ends)
            bounds = {"low": min(low, value), "high": max(high, value)}  # brentq leaves the last digits open
            rows.append({"metric": metric, "n": n, "difference": value, **bounds})
    return rows


def requirement(found: Spread, *, power: float, alpha: float) -> list[dict[str, Any]]:
    """`{metric, difference, n, low, high}`: documents needed for 1, 2, 3, 5 and 10 points."""
    rows = []
    for difference in POINTS:
        for metric in METRICS:
            ends = _ends(getattr(found, metric))
            counts = [needed(metric, size, difference, power=power, alpha=alpha) for size in ends]
            rows.append(
                {"metric": metric, "difference": difference, **dict(zip(("n", "low", "high"), counts, strict=True))}
            )
    return rows


def _ends(size: Estimate) -> tuple[float, float, float]:
    return size.value, size.low, size.high


def described(found: Spread) -> dict[str, Any]:
    """The spread as plain data: the standard deviation of F1's paired difference and the discordance, with intervals."""
    roots = [math.sqrt(max(part, 0.0)) if not math.isnan(part) else math.nan for part in _ends(found.f1)]
    names = [f"{name}{end}" for name in ("sd_f1", "discordance") for end in ("", "_low", "_high")]
    told: dict[str, Any] = dict(zip(names, [*roots, *_ends(found.exact)], strict=True))
    return {"provenance": found.provenance, "text": found.text, "n": found.f1.n, **told, "pairs": list(found.pairs)}
