"""Geometry of a frontier: dominance, convex hull, hypervolume. Arrays are options x objectives, NaN is not known.

Dominance and hypervolume are `moocore`'s (Fonseca, Paquete & Lopez-Ibanez 2006; Kung et al. 1975 for the maxima).
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evals.stats.draws import signs
from evals.stats.intervals import Array

Mask = NDArray[np.bool_]


def non_dominated(points: Array, directions: Sequence[str]) -> Mask:
    """Options that no other beats: as good on every objective and better on one. Ties are kept; an option that lacks
    an objective is never on the frontier."""
    import moocore

    known = ~np.isnan(points).any(axis=1)
    found = np.zeros(len(points), dtype=bool)
    if known.any():
        costs = np.ascontiguousarray(points[known] * signs(directions))
        found[known] = moocore.is_nondominated(costs, keep_weakly=True)
    return found


def dominators(points: Array, directions: Sequence[str]) -> list[list[int]]:
    """For each option, which ones dominate it."""
    costs = points * signs(directions)
    found = []
    for here in costs:
        beats = (costs <= here).all(axis=1) & (costs < here).any(axis=1)  # NaN compares as false
        found.append([int(at) for at in np.flatnonzero(beats)])
    return found


def on_hull(points: Array, directions: Sequence[str]) -> Mask:
    """Options on the convex hull of the frontier: no random mix of others is as good everywhere and better somewhere.

    By linear program for each option of the frontier: the greatest total gain of a mix over it is 0. On the hull's
    edges counts as on it. The axes are scaled to 0..1 first.
    """
    from scipy.optimize import linprog

    front = np.flatnonzero(non_dominated(points, directions))
    found = np.zeros(len(points), dtype=bool)
    if not len(front):
        return found
    costs = points[front] * signs(directions)
    spread = np.ptp(costs, axis=0)
    costs = (costs - costs.min(axis=0)) / np.where(spread > 0, spread, 1.0)
    rest = np.unique(costs, axis=0)
    for at, here in zip(front, costs, strict=True):
        gain = linprog(
            (rest - here).sum(axis=1),
            A_ub=(rest - here).T,
            b_ub=np.zeros(len(here)),
            A_eq=np.ones((1, len(rest))),
            b_eq=[1.0],
        )
        found[at] = bool(gain.success) and -gain.fun < 1e-9
    return found


def hypervolume(points: Array, directions: Sequence[str], reference: Array) -> float:
    """Volume that the options dominate, up to `reference` (a bad value of each objective), in the objectives' units."""
    import moocore

    known = points[~np.isnan(points).any(axis=1)]
    if not len(known):
        return 0.0
    way = signs(directions)
    return float(moocore.hypervolume(np.ascontiguousarray(known * way), ref=reference * way))


def reference_point(points: Array, directions: Sequence[str]) -> Array:
    """Where the hypervolume is counted from: 0 of what is to be maximised (the worst where that is below 0), 1.1 times
    the worst of what is to be minimised."""
    known = points[~np.isnan(points).any(axis=1)]
    if not len(known):
        return np.full(points.shape[1], np.nan)
    worst = np.where(signs(directions) < 0, np.minimum(known.min(axis=0), 0.0), 1.1 * known.max(axis=0))
    return np.asarray(worst, np.float64)
