"""Intervals. Pure: numbers in, numbers out; the document is the unit.

Sources: Wilson (1927) score interval; Efron & Tibshirani (1993) for the bootstrap; order-statistic intervals for
quantiles from the binomial distribution (David & Nagaraja 2003, section 7.1).
"""

import math
from dataclasses import dataclass

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
