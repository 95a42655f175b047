"""Two options on the same documents: the difference is taken inside each document, so that its difficulty cancels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.stats.draws import resampled, totals
from evals.stats.intervals import LEAST_FOR_BOOTSTRAP, Array, Estimate, clustered_mean, mean_t

Groups = Sequence[object] | NDArray[Any] | None


def paired_difference(
    a: Array, b: Array, *, groups: Groups = None, level: float = 0.95, bound: float | None = None
) -> Estimate:
    """Mean of `b - a` over documents with Student's t interval; with `groups`, the clustered one (CR1, G-1 df).

    A document that lacks either value is left out; `n` counts what is left (groups where given). Where all
    differences are equal the interval has no width, unless `bound` says how far one document's difference can go
    (1.0 for scores between 0 and 1): then it is value +- bound * (1 - ((1-level)/2)^(1/n)), the exact binomial bound
    (Clopper & Pearson 1934) on documents of another kind of which none was seen.
    """
    difference = np.asarray(b, np.float64) - np.asarray(a, np.float64)
    found = mean_t(difference, level=level) if groups is None else clustered_mean(difference, groups, level=level)
    return _widened(found, bound, level)


def paired_ratio_difference(
    num_a: Array,
    den_a: Array,
    num_b: Array,
    den_b: Array,
    *,
    groups: Groups = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    bound: float | None = None,
) -> Estimate:
    """sum(num_b)/sum(den_b) - sum(num_a)/sum(den_a), percentile bootstrap of documents (of groups where given).

    For micro F1 (num = 2 TP, den = 2 TP + 2 WRONG + MISS + HALL) and rates; one draw of documents serves both options
    (Efron & Tibshirani 1993, ch. 8). Fewer than five documents have no interval; an empty denominator has no value.
    `bound` as in `paired_difference`, where no resample can differ.
    """
    table = totals(np.stack([num_a, den_a, num_b, den_b], axis=1).astype(np.float64), groups)
    n, whole = len(table), table.sum(axis=0)
    if n == 0 or not (whole[1] > 0 and whole[3] > 0):
        return Estimate(math.nan, math.nan, math.nan, n)
    value = float(whole[2] / whole[3] - whole[0] / whole[1])
    if n < LEAST_FOR_BOOTSTRAP:
        return Estimate(value, math.nan, math.nan, n)
    sums = np.concatenate([counts @ table for counts in resampled(n, draws=draws, seed=seed)])
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    low, high = np.quantile(sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1], [0.5 - level / 2, 0.5 + level / 2])
    return _widened(Estimate(value, min(float(low), value), max(float(high), value), n), bound, level)


def _widened(found: Estimate, bound: float | None, level: float) -> Estimate:
    if bound is None or not found.high - found.low <= 1e-12:
        return found
    half = bound * (1 - ((1 - level) / 2) ** (1 / found.n))
    return Estimate(found.value, found.value - half, found.value + half, found.n)
