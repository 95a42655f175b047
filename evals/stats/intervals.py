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
    numerator: Array, denominator: Array, *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> Estimate:
    """sum(numerator) / sum(denominator) over documents, percentile bootstrap of documents; for micro F1 and rates.

    Both arrays hold one total per document (or cluster of documents). Where every document agrees, so that a
    resample cannot differ, the Wilson interval of `n` equal documents is given instead of one of width zero.
    """
    n = len(numerator)
    whole = denominator.sum()
    if n == 0 or whole == 0:
        return Estimate(math.nan, math.nan, math.nan, n)
    value = float(numerator.sum() / whole)
    if n < LEAST_FOR_BOOTSTRAP:
        return Estimate(value, math.nan, math.nan, n)
    low, high = np.quantile(_ratios(numerator, denominator, draws, seed), [0.5 - level / 2, 0.5 + level / 2])
    if low == high and value in (0.0, 1.0):
        edge = wilson(n * value, n, level=level)
        return Estimate(value, edge.low, edge.high, n)
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def _ratios(numerator: Array, denominator: Array, draws: int, seed: int) -> Array:
    """One ratio per resample, in blocks that stay below some 10 MB however many documents there are."""
    random, n = np.random.default_rng(seed), len(numerator)
    block = max(1, min(draws, 500_000 // n))
    pairs = np.stack([numerator, denominator], axis=1)
    found = []
    for start in range(0, draws, block):
        weights = random.multinomial(n, np.full(n, 1 / n), size=min(block, draws - start)).astype(np.float64)
        found.append(weights @ pairs)
    sums = np.concatenate(found)
    sums = sums[sums[:, 1] > 0]
    return np.asarray(sums[:, 0] / sums[:, 1])


def quantile(values: Array, q: float, *, level: float = 0.95) -> Estimate:
    """Empirical quantile (linear between order statistics) with the distribution-free order-statistic interval.

    Bounds are NaN where `n` is too small for the interval to reach the level.
    """
    kept = np.sort(values[~np.isnan(values)])
    n = len(kept)
    if n == 0:
        return Estimate(math.nan, math.nan, math.nan, 0)
    tail = (1 - level) / 2
    below = int(stats.binom.ppf(tail, n, q))  # largest l with P(B < l) <= tail
    if stats.binom.cdf(below - 1, n, q) > tail:
        below -= 1
    above = int(stats.binom.ppf(1 - tail, n, q)) + 1  # smallest u with P(B >= u) <= tail
    low = float(kept[below - 1]) if below >= 1 else math.nan
    high = float(kept[above - 1]) if above <= n else math.nan
    return Estimate(float(np.quantile(kept, q)), low, high, n)


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
