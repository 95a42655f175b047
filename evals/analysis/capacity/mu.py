"""mu: the highest offered rate that is sustained, and the interval in which it lies.

A rate is sustained where at least `SHARE` of its documents are answered inside the latency target and no backlog grows.
Loads are read together: the share can only fall as the rate rises, so that a lucky load above an unlucky one is no proof
(isotonic regression, Barlow et al. 1972).
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.optimize import isotonic_regression

from evals.analysis.capacity.figures import ENOUGH_FOR_P95, SHARE
from evals.stats import Array

STEEP, SPREAD = math.log(10.0), 0.7
"""How steeply the log odds of being in time fall around mu, for each hundred percent of it: log mean and deviation of
what is believed before a load is seen: the middle 95 % is 2.5 to 39."""
GRID, BEYOND = 400, 1.25
"""Rates that mu may be: up to so many times the highest that was offered."""
AGAINST = 6.0
"""What a growing backlog takes off the log likelihood of a mu above its rate: it is called so at three deviations."""


def is_sustained(load: Mapping[str, Any]) -> bool | None:
    """Of one open loop by itself; `None` where it is void or nothing of it counts."""
    if load["void"] or load["share"]["value"] is None:
        return None
    return bool(load["share"]["value"] >= SHARE and not load["backlog"]["growing"])


def verdicts(loads: Sequence[Mapping[str, Any]]) -> dict[float, bool]:
    """Is each offered rate sustained, from low to high, by all loads together? Those that are void say nothing."""
    kept = [one for one in loads if one["sustained"] is not None]
    if not kept:
        return {}
    rates = np.unique([one["rate_docs_per_s"] for one in kept])
    at = np.searchsorted(rates, [one["rate_docs_per_s"] for one in kept])
    weights = np.array([one["share"]["n"] for one in kept], np.float64)
    shares = np.array([0.0 if one["backlog"]["growing"] else one["share"]["value"] for one in kept])
    whole = np.bincount(at, weights)
    means = np.bincount(at, weights * shares) / whole
    fitted = isotonic_regression(means, weights=whole, increasing=False).x
    return {float(rate): bool(share >= SHARE - 1e-12) for rate, share in zip(rates, fitted, strict=True)}


def mu(loads: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """{value, low, high} in documents a second: the highest rate that was sustained with the 95 % interval of the rate at
    which just `SHARE` are in time. `high` is `None` where no rate failed, `low` is 0 where none was sustained."""
    kept = [one for one in loads if one["sustained"] is not None]
    found = verdicts(kept)
    if not found:
        return {"value": None, "low": None, "high": None}
    value = max((rate for rate, held in found.items() if held), default=None)
    above = min((rate for rate, held in found.items() if not held), default=None)
    low, high = _interval(kept)
    return {
        "value": value,
        "low": 0.0 if value is None else min(low, value),
        "high": None if above is None else max(high, value or above),
    }


def _interval(loads: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """The middle 95 % of mu's posterior on a grid: log odds of being in time fall linearly with the rate and are those of
    `SHARE` at mu. Documents count as the independent ones that say the same, by the largest design effect of all loads
    (where all are in time it cannot be seen, and one that is swamped makes the interval rather too wide), and of a load no
    more than `ENOUGH_FOR_P95`: the line is not exact. Where less than half are in time it is none any more: such a load
    says that it is less than half. A backlog that grows says that mu lies below, whatever was in time so far."""
    rates = np.array([one["rate_docs_per_s"] for one in loads], np.float64)
    growing = np.array([bool(one["backlog"]["growing"]) for one in loads])
    alike = max(one["share"]["design_effect"] for one in loads)
    n = np.where(growing, 0.0, np.minimum([one["share"]["n"] / alike for one in loads], ENOUGH_FOR_P95))
    shares = np.maximum([one["share"]["value"] for one in loads], 0.5)
    grid = np.geomspace(rates.min() / 4, rates.max() * BEYOND, GRID)
    steep = np.linspace(STEEP - 3 * SPREAD, STEEP + 3 * SPREAD, 41)
    odds = math.log(SHARE / (1 - SHARE)) + np.exp(steep)[:, None] * (1 - rates / grid[:, None, None])
    odds = np.where(shares > 0.5, odds, np.maximum(odds, 0.0))
    likelihood = -(n * (shares * np.logaddexp(0, -odds) + (1 - shares) * np.logaddexp(0, odds))).sum(axis=2)
    likelihood -= (((steep - STEEP) / SPREAD) ** 2) / 2
    likelihood -= AGAINST * (grid[:, None] > rates[growing]).sum(axis=1)[:, None]
    return _middle(grid, np.exp(likelihood - likelihood.max()).sum(axis=1))


def _middle(grid: Array, density: Array) -> tuple[float, float]:
    """2.5 % and 97.5 % of it."""
    whole = np.cumsum(density) / density.sum()
    low, high = np.interp([0.025, 0.975], whole, grid)
    return float(low), float(high)
