"""Paired bootstrap over documents: one draw serves every option and every objective.

Source: Efron & Tibshirani (1993), ch. 8 (the unit that was sampled is the unit that is resampled). The pairing is what
keeps two options that share their hard documents apart: their draws rise and fall together.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.stats.intervals import Array

Direction = str
"""`max` or `min`."""
BLOCK = 1_000_000
"""Counts held at once while resampling (documents x draws)."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One objective of every option: arrays of options x documents. NaN: this document has no value there."""

    values: Array
    weights: Array | None = None
    """Denominators: the axis is sum(values) / sum(weights) instead of the mean, as for micro F1."""
    q: float | None = None
    """The axis is this quantile of the values (linear between order statistics) instead of the mean."""


def totals(table: Array, groups: "Sequence[object] | NDArray[Any] | None") -> Array:
    """Rows summed inside their group, where there are groups: what is resampled."""
    if groups is None:
        return table
    codes = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.zeros((int(codes.max()) + 1 if len(codes) else 0, table.shape[1]))
    np.add.at(sums, codes, table)
    return sums


def resampled(n: int, *, draws: int, seed: int) -> Iterator[Array]:
    """Blocks of draws x n: how often each of n documents is drawn, n of them with replacement."""
    random, block = np.random.default_rng(seed), max(1, min(draws, BLOCK // max(n, 1)))
    for start in range(0, draws, block):
        size = min(block, draws - start)
        counts = np.empty((size, n))
        for row in counts:  # one draw fits the processor's cache: faster than a whole block at once
            row[:] = np.bincount(random.integers(0, n, n), minlength=n)
        yield counts


def paired_draws(
    axes: Sequence[Axis], *, groups: "Sequence[object] | NDArray[Any] | None" = None, draws: int = 2000, seed: int = 0
) -> Array:
    """draws x options x axes: each axis of each option under the same resampled documents (groups where given).

    Figures are rounded to 12 digits of the axis's largest, so that options that are equal in a draw tie in it. NaN:
    a draw held no value of that option.
    """
    documents = axes[0].values.shape[1]
    codes = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = documents if codes is None else int(codes.max()) + 1
    plans = [_quantile_plan(row, axis.q) for axis in axes if axis.q is not None for row in axis.values]
    columns = _columns(axes, plans)
    found = []
    for counts in resampled(units, draws=draws, seed=seed):
        weights = counts if codes is None else counts[:, codes]
        found.append(_figures(axes, plans, weights, weights @ columns))
    joined = np.concatenate(found)
    for at, axis in enumerate(axes):
        if axis.q is None:
            joined[:, :, at] = rounded(joined[:, :, at])
    return joined


def _columns(axes: Sequence[Axis], plans: "Sequence[_Plan]") -> Array:
    """documents x columns: what is summed in each draw, all of it in one product."""
    parts: list[Array] = []
    for axis in axes:
        if axis.q is None:
            known = ~np.isnan(axis.values)
            below = np.where(known, 1.0 if axis.weights is None else axis.weights, 0.0)
            parts += [np.where(known, axis.values, 0.0), below]
    return np.concatenate([*parts, *(plan.inside.T for plan in plans)]).T


def _figures(axes: Sequence[Axis], plans: "Sequence[_Plan]", counts: Array, sums: Array) -> Array:
    """draws x options x axes of one block."""
    options, at, found = len(axes[0].values), 0, []
    left = sums.shape[1] - 2 * len(plans)
    quantiles = iter(zip(plans, range(left, sums.shape[1], 2), strict=True))
    for axis in axes:
        if axis.q is None:
            top, below = sums[:, at : at + options], sums[:, at + options : at + 2 * options]
            at += 2 * options
            with np.errstate(divide="ignore", invalid="ignore"):
                found.append(np.where(below > 0, top / below, np.nan))
        else:
            rows = [next(quantiles) for _ in range(options)]
            found.append(np.stack([_quantiles(plan, counts, *sums[:, here : here + 2].T) for plan, here in rows], 1))
    return np.stack(found, axis=2)


def rounded(figures: Array) -> Array:
    """To 12 digits of the largest figure: sums in another order are no difference."""
    largest = float(np.nanmax(np.abs(figures), initial=0.0))
    return figures if largest == 0 else np.round(figures, 12 - math.ceil(math.log10(largest)))


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """How to find one row's quantile in a draw. It lies near the sample's own, so only a window of six standard errors
    is counted through; the few draws that leave it are counted in full."""

    q: float
    order: NDArray[np.intp]
    first: int
    last: int
    rising: Array
    inside: Array
    """documents x 2: has a value; has one below the window."""


def _quantile_plan(values: Array, q: float) -> _Plan:
    order = np.argsort(values, kind="stable")[: int((~np.isnan(values)).sum())]  # NaN sorts last
    n = len(order)
    half = math.ceil(6 * math.sqrt(n * q * (1 - q))) + 6
    first, last = max(0, int(q * n) - half), min(n, int(q * n) + half)
    inside = np.zeros((len(values), 2))
    inside[order, 0], inside[order[:first], 1] = 1.0, 1.0
    return _Plan(q=q, order=order, first=first, last=last, rising=values[order], inside=inside)


def _quantiles(plan: _Plan, counts: Array, whole: Array, before: Array) -> Array:
    if not len(plan.order):
        return np.full(len(counts), np.nan)
    window = slice(plan.first, plan.last)
    found = _ranked(plan.rising[window], before, counts[:, plan.order[window]], (whole - 1) * plan.q)
    left = np.flatnonzero(np.isnan(found) & (whole > 0))
    if len(left):
        rank = (whole[left] - 1) * plan.q
        found[left] = _ranked(plan.rising, np.zeros(len(left)), counts[np.ix_(left, plan.order)], rank)
    return found


def _ranked(rising: Array, before: Array, counts: Array, rank: Array) -> Array:
    """The value at a fractional rank of each draw; NaN where it is outside of the values given."""
    reached = before[:, None] + counts.cumsum(axis=1)
    lower = (reached <= np.floor(rank)[:, None]).sum(axis=1)
    upper = (reached <= np.ceil(rank)[:, None]).sum(axis=1)
    fits = (upper < len(rising)) & (np.floor(rank) >= before) & (rank >= 0)
    low, high = rising[np.where(fits, lower, 0)], rising[np.where(fits, upper, 0)]
    return np.where(fits, low + (high - low) * (rank - np.floor(rank)), np.nan)


def dominated(points: Array) -> NDArray[np.bool_]:
    """draws x options: is another option at least as good everywhere and better somewhere? All axes are minimised.

    Ties are kept; an option without a figure is dominated by none and dominates none.
    """
    beaten = np.zeros(points.shape[:2], dtype=bool)
    for other in range(points.shape[1]):
        rival = points[:, other : other + 1, :]
        beaten |= (rival <= points).all(axis=2) & (rival < points).any(axis=2)
    return beaten


def non_dominated_probability(
    values: "Array | Sequence[Axis]",
    directions: Sequence[Direction],
    *,
    groups: "Sequence[object] | NDArray[Any] | None" = None,
    draws: int = 2000,
    seed: int = 0,
) -> Array:
    """For each option, the share of paired draws in which no other option dominates it.

    `values`: options x documents x objectives (means are compared), or one `Axis` an objective. Dominance as in Pareto:
    at least as good on every objective and better on one; ties are kept. A draw without any figure of an option counts
    against it.
    """
    axes = _axes(values)
    drawn = paired_draws(axes, groups=groups, draws=draws, seed=seed)
    return np.asarray((~dominated(drawn * signs(directions)) & ~np.isnan(drawn).any(axis=2)).mean(axis=0))


def signs(directions: Sequence[Direction]) -> Array:
    """What makes every objective one to minimise."""
    if strange := [way for way in directions if way not in ("max", "min")]:
        raise ValueError(f"a direction is max or min, not {strange[0]!r}")
    return np.array([-1.0 if way == "max" else 1.0 for way in directions])


def _axes(values: "Array | Sequence[Axis]") -> Sequence[Axis]:
    if isinstance(values, np.ndarray):
        return [Axis(values=values[:, :, at]) for at in range(values.shape[2])]
    return values


def cheapest_probability(
    quality: "Array | Axis",
    cost: "Array | Axis",
    floor: float,
    *,
    groups: "Sequence[object] | NDArray[Any] | None" = None,
    draws: int = 2000,
    seed: int = 0,
) -> Array:
    """For each option, the share of paired draws in which it costs least of those whose quality reaches `floor`.

    Options that cost the same share the draw. What the shares lack to 1 is the chance that none reaches the floor.
    """
    axes = [one if isinstance(one, Axis) else Axis(values=one) for one in (quality, cost)]
    drawn = paired_draws(axes, groups=groups, draws=draws, seed=seed)
    price = np.where(drawn[:, :, 0] >= floor, drawn[:, :, 1], np.inf)
    price[np.isnan(price)] = np.inf
    least = price.min(axis=1, keepdims=True)
    wins = (price == least) & np.isfinite(price)
    return np.asarray((wins / np.maximum(wins.sum(axis=1, keepdims=True), 1)).mean(axis=0))
