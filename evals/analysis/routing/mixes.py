"""Random mixes of single options: the reference that any routing has to beat. Pure.

A mix sends each document to one of two options by chance; its hits, whole and cost are linear in the share, its quality
is their ratio. The hull is the best mix of any two options at a cost. Arrays end in (hits, whole, cost).
"""

from itertools import combinations

import numpy as np

from evals.analysis.routing.crossfit import mix_quality
from evals.stats import Array

TINY = 1e-9


def hull_quality(singles: Array, cost: Array) -> Array:
    """The best quality that single options and mixes of two have at a cost. `singles`: draws x options x 3, cost: draws
    x any. NaN where not even the cheapest is affordable."""
    best = np.full(cost.shape, -np.inf)
    for at in range(singles.shape[1]):
        hits, whole, own = (singles[:, at, part, None] for part in range(3))
        best = np.maximum(best, np.where(cost >= own * (1 - TINY), hits / whole, -np.inf))
    for i, j in combinations(range(singles.shape[1]), 2):
        base, top = singles[:, i], singles[:, j]
        swap = (base[:, 2] > top[:, 2])[:, None]
        low, high = np.where(swap, top, base), np.where(swap, base, top)
        mixed = mix_quality(low.T[:, :, None], high.T[:, :, None], cost)
        best = np.maximum(best, np.where(cost >= low[:, 2, None] * (1 - TINY), mixed, -np.inf))
    return np.where(np.isfinite(best), best, np.nan)


def hull_cost(singles: Array, quality: Array) -> Array:
    """The least cost at which a single option or a mix of two reaches a quality; NaN where none does."""
    least = np.full(quality.shape, np.inf)
    ratio = singles[:, :, 0] / singles[:, :, 1]
    for at in range(singles.shape[1]):
        least = np.minimum(least, np.where(ratio[:, at, None] >= quality - 1e-12, singles[:, at, 2, None], np.inf))
    for i, j in combinations(range(singles.shape[1]), 2):
        a, b = singles[:, i, :, None], singles[:, j, :, None]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            share = (quality * a[:, 1] - a[:, 0]) / ((b[:, 0] - a[:, 0]) - quality * (b[:, 1] - a[:, 1]))
        fits = (share >= 0) & (share <= 1)
        share = np.where(fits, share, 0.0)
        least = np.minimum(least, np.where(fits, (1 - share) * a[:, 2] + share * b[:, 2], np.inf))
    return np.where(np.isfinite(least), least, np.nan)


def area(cost: Array, quality: Array, low: float, high: float) -> float | None:
    """AIQ: mean height, from `low` to `high` cost, of the non-decreasing concave hull of points (Hu et al. 2024,
    RouterBench). `None` where the costs do not differ, or no point is affordable at `low`."""
    known = ~(np.isnan(cost) | np.isnan(quality))
    if not high > low or not (known & (cost <= low * (1 + TINY) + TINY)).any():
        return None
    order = np.lexsort((-quality[known], cost[known]))
    hull: list[tuple[float, float]] = []
    for x, y in zip(cost[known][order], quality[known][order], strict=True):
        if hull and y <= hull[-1][1]:
            continue
        if hull and x <= hull[-1][0]:
            hull.pop()
        while len(hull) > 1 and _below(hull[-2], hull[-1], (x, y)):
            hull.pop()
        hull.append((float(x), float(y)))
    xs, ys = np.array(hull).T
    at = np.unique(np.concatenate([[low, high], xs[(xs > low) & (xs < high)]]))
    return float(np.trapezoid(np.interp(at, xs, ys), at) / (high - low))


def _below(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0
