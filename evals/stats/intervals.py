"""Intervals of one option's figure.

Sources: Wilson (1927) score interval; Efron & Tibshirani (1993) for the bootstrap; order-statistic intervals for
quantiles from the binomial distribution (David & Nagaraja 2003, section 7.1).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

Array = NDArray[np.float64]
LEAST_FOR_BOOTSTRAP = 5
"""Fewer documents than this say nothing of their spread: no interval is given."""
DRAWN_ALONE = 2000
DRAWN_AT_ALL = 100_000
"""See `ratio_bootstrap`."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its two-sided interval; `n` documents stand behind it. NaN bounds: no interval can be given."""

    value: float
    low: float
    high: float
    n: int


def wilson(successes: float, n: int, *, level: float = 0.95) -> Estimate:
    """Share `successes / n` with Wilson's score interval. `successes` may be fractional (repeats averaged)."""
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    if not 0 <= successes <= n:
        raise ValueError(f"successes {successes} must lie in 0..{n}")
    z = float(special.ndtri(0.5 + level / 2))
    share = successes / n
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Estimate(share, max(0.0, min(middle - half, share)), min(1.0, max(middle + half, share)), n)


def design_effect(values: Array) -> float:
    """How many times the variance of a mean of successive `values` is that of independent ones, 1 or more: from the means
    of blocks of about sqrt(n) of them (batch means, Law & Kelton 2000, section 9.5). 1 for fewer than ten, and where all are
    equal; what is left over of the last block is not used."""
    size = math.isqrt(len(values))
    spread = float(values.var()) if len(values) else 0.0
    if len(values) < 10 or not spread:
        return 1.0
    means = values[: len(values) // size * size].reshape(-1, size).mean(axis=1)
    return max(1.0, size * float(means.var(ddof=1)) / spread)


def mean_t(values: Array, *, level: float = 0.95) -> Estimate:
    """Mean with Student's t interval; NaN values are left out."""
    kept = values[~np.isnan(values)]
    n = len(kept)
    if n < 2:
        return Estimate(float(kept.mean()) if n else math.nan, math.nan, math.nan, n)
    half = float(stats.t.ppf(0.5 + level / 2, n - 1) * kept.std(ddof=1) / math.sqrt(n))
    mean = float(kept.mean())
    return Estimate(mean, mean - half, mean + half, n)


def ratio_bootstrap(
    numerator: Array,
    denominator: Array,
    *,
    times: "NDArray[np.int64] | None" = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """sum(numerator) / sum(denominator) over documents, percentile bootstrap of documents; for micro F1 and rates.

    Both arrays hold one total per document (or cluster of documents), or each distinct pair once and `times` how many
    documents have it: above `DRAWN_ALONE` documents, equal ones are drawn together, which is the same law at a cost that
    does not grow with them. Above `DRAWN_AT_ALL` distinct pairs the interval is the normal one of the linearised ratio,
    se^2 = n/(n-1) sum (a - r b)^2 / (sum b)^2 (Cochran 1977, chapter 6; there no draw could tell it from the other).
    Where every document agrees, so that a resample cannot differ, the Wilson interval of `n` equal documents is given
    instead of one of width zero.
    """
    if times is None and len(numerator) > DRAWN_ALONE:
        numerator, denominator, times = distinct_pairs(numerator, denominator)
    n = len(numerator) if times is None else int(times.sum())
    whole = denominator.sum() if times is None else float(denominator @ times)
    if n == 0 or not whole > 0:  # 0/0, and totals that are not known
        return Estimate(math.nan, math.nan, math.nan, n)
    value = float((numerator.sum() if times is None else numerator @ times) / whole)
    if n < LEAST_FOR_BOOTSTRAP:
        return Estimate(value, math.nan, math.nan, n)
    if times is not None and len(times) > DRAWN_AT_ALL:
        error = math.sqrt(n / (n - 1) * float((numerator - value * denominator) ** 2 @ times)) / whole
        half = float(special.ndtri(0.5 + level / 2)) * error
        return Estimate(value, value - half, value + half, n)
    drawn = _ratios(numerator, denominator, times, draws, seed)
    low, high = np.quantile(drawn, [0.5 - level / 2, 0.5 + level / 2])
    if low == high and value in (0.0, 1.0):
        edge = wilson(n * value, n, level=level)
        return Estimate(value, edge.low, edge.high, n)
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def distinct_pairs(
    numerator: Array, denominator: Array, times: "NDArray[np.int64] | None" = None
) -> tuple[Array, Array, NDArray[np.int64]]:
    """Each distinct pair once, in rising order, and how often it occurs (each given pair `times` often)."""
    if not len(numerator):
        return numerator, denominator, np.zeros(0, np.int64)
    order = np.lexsort((denominator, numerator))
    numerator, denominator = numerator[order], denominator[order]
    new = np.append(True, (numerator[1:] != numerator[:-1]) | (denominator[1:] != denominator[:-1]))
    first = np.flatnonzero(new)
    counts = np.diff(np.append(first, len(order))) if times is None else np.add.reduceat(times[order], first)
    return numerator[first], denominator[first], counts


def _ratios(numerator: Array, denominator: Array, times: "NDArray[np.int64] | None", draws: int, seed: int) -> Array:
    """One ratio per resample, in blocks that stay below some 10 MB however many documents there are."""
    random, kinds = np.random.default_rng(seed), len(numerator)
    n = kinds if times is None else int(times.sum())
    shares = np.full(n, 1 / n) if times is None else times / n
    block = max(1, min(draws, 500_000 // kinds))
    pairs = np.stack([numerator, denominator], axis=1)
    found = []
    for start in range(0, draws, block):
        weights = random.multinomial(n, shares, size=min(block, draws - start)).astype(np.float64)
        found.append(weights @ pairs)
    sums = np.concatenate(found)
    sums = sums[sums[:, 1] > 0]
    return np.asarray(sums[:, 0] / sums[:, 1])


def quantile(values: Array, q: float, *, level: float = 0.95) -> Estimate:
    """Empirical quantile (linear between order statistics, type 7 of Hyndman & Fan 1996, numpy's default) with the
    distribution-free order-statistic interval.

    Bounds are NaN where `n` is too small for the interval to reach the level.
    """
    return quantiles(values, [q], level=level)[0]


def quantiles(values: Array, qs: Sequence[float], *, level: float = 0.95) -> list[Estimate]:
    """Several quantiles of the same values (see `quantile`); nothing but the places that they need is put in order."""
    kept = values[~np.isnan(values)]
    n = len(kept)
    if n == 0:
        return [Estimate(math.nan, math.nan, math.nan, 0) for _ in qs]
    bounds = [_order_bounds(n, q, (1 - level) / 2) for q in qs]
    at = [int((n - 1) * q) for q in qs]
    places = {*at, *(min(one + 1, n - 1) for one in at), *(b - 1 for pair in bounds for b in pair if 1 <= b <= n)}
    kept.partition(sorted(places))
    found = []
    for q, here, (below, above) in zip(qs, at, bounds, strict=True):
        low = float(kept[below - 1]) if below >= 1 else math.nan
        high = float(kept[above - 1]) if above <= n else math.nan
        found.append(Estimate(_between(kept[here], kept[min(here + 1, n - 1)], (n - 1) * q - here), low, high, n))
    return found


def _between(low: float, high: float, share: float) -> float:
    """Linear, from the nearer end, as numpy does it."""
    return float(low + (high - low) * share if share < 0.5 else high - (high - low) * (1 - share))


def _order_bounds(n: int, q: float, tail: float) -> tuple[int, int]:
    """Ranks (from 1) of the order statistics that hold the quantile but for `tail` on each side."""
    below = int(stats.binom.ppf(tail, n, q))  # largest l with P(B < l) <= tail
    if stats.binom.cdf(below - 1, n, q) > tail:
        below -= 1
    return below, int(stats.binom.ppf(1 - tail, n, q)) + 1  # smallest u with P(B >= u) <= tail


def clustered_mean(values: Array, groups: "Sequence[object] | NDArray[Any]", *, level: float = 0.95) -> Estimate:
    """Mean with a cluster-robust t interval, variant CR1: for values that stand in groups (fields of a document).

    se^2 = G/(G-1) * sum over groups of (sum of residuals)^2 / n^2, t with G-1 degrees of freedom (Liang & Zeger 1986;
    small-sample factor and degrees of freedom as in Cameron & Miller 2015, section VI). `n` of the result counts
    groups. One group has no interval; NaN values are left out.
    """
    kept = ~np.isnan(values)
    values, codes = values[kept], np.unique(np.asarray(groups)[kept], return_inverse=True)[1]
    n, clusters = len(values), int(codes.max()) + 1 if len(codes) else 0
    if clusters < 2:
        return Estimate(float(values.mean()) if n else math.nan, math.nan, math.nan, clusters)
    mean = float(values.mean())
    residuals = np.bincount(codes, weights=values - mean, minlength=clusters)
    error = math.sqrt(clusters / (clusters - 1) * float(residuals @ residuals)) / n
    half = float(stats.t.ppf(0.5 + level / 2, clusters - 1)) * error
    return Estimate(mean, mean - half, mean + half, clusters)


def bca_mean(values: Array, *, draws: int = 2000, seed: int = 0, level: float = 0.95) -> Estimate:
    """Mean with the bias-corrected and accelerated bootstrap interval; for skewed values of unknown law.

    Bias z0 = ndtri(share of resampled means below the mean, ties half), acceleration
    a = sum(d^3) / (6 (sum d^2)^1.5) of the jackknife's deviations d (Efron 1987; Efron & Tibshirani 1993, 14.3).
    NaN values are left out; fewer than five have no interval; where all are equal, its width is zero.
    """
    kept = values[~np.isnan(values)]
    n = len(kept)
    mean = float(kept.mean()) if n else math.nan
    if n < LEAST_FOR_BOOTSTRAP:
        return Estimate(mean, math.nan, math.nan, n)
    deviations = kept - mean
    spread = float(deviations @ deviations)
    if spread <= (1e-12 * max(1.0, abs(mean))) ** 2 * n:
        return Estimate(mean, mean, mean, n)
    random, block = np.random.default_rng(seed), max(1, min(draws, 2_000_000 // n))
    parts = [kept[random.integers(0, n, (min(block, draws - at), n))].mean(axis=1) for at in range(0, draws, block)]
    means = np.concatenate(parts)
    below = (float((means < mean).sum()) + float((means == mean).sum()) / 2) / draws
    bias = float(special.ndtri(min(max(below, 1 / draws), 1 - 1 / draws)))
    lean = float((deviations**3).sum()) / (6 * spread**1.5)  # the mean's jackknife deviations are -d/(n-1)
    z = float(special.ndtri(0.5 + level / 2))
    tails = [float(special.ndtr(bias + (bias + edge) / (1 - lean * (bias + edge)))) for edge in (-z, z)]
    low, high = np.quantile(means, tails)
    return Estimate(mean, float(low), float(high), n)
