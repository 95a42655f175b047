"""Two answers to the same documents: difference, interval, p value and what the documents can show. Pure.

Every function takes one value a document (repeats averaged before), in the same order on both sides, and cluster
labels where documents stand in groups. Where no document differs, a resample cannot either: instead of an interval of
width zero the exact upper bound of the share of documents that could differ is given, 1 - (alpha/2)^(1/n), Clopper and
Pearson (1934), as if each of them differed wholly.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import special
from scipy import stats as distributions

from evals.stats import (
    LEAST_FOR_BOOTSTRAP,
    Array,
    Axis,
    Estimate,
    mcnemar_exact,
    mean_t,
    paired_difference,
    paired_draws,
    quantile,
    ratio_bootstrap,
    wilson,
)
from evals.stats.draws import resampled, totals

LEVEL = 0.95
SAME_ANSWERS = "no document differs"
ENOUGH_BEYOND = 10
"""So many documents beyond a quantile make its draws' law near enough to the normal one: 200 documents for p95."""
NOTHING = Estimate(math.nan, math.nan, math.nan, 0)


@dataclass(frozen=True, kw_only=True)
class Tested:
    """One metric of both sides over the same documents."""

    baseline: float
    own: Estimate
    """The candidate's value with its interval."""
    difference: Estimate
    relative: Estimate = NOTHING
    """Difference as a share of the baseline's value; NaN where that says nothing."""
    p: float = math.nan
    sd: float = math.nan
    """Spread of the difference of one document, so that its standard error is sd / sqrt(n); NaN: not known."""
    test: str = ""
    note: str | None = None


def share(a: Array, b: Array, groups: Array | None = None) -> Tested:
    """A yes/no metric: exact McNemar and the Bonett-Price interval.

    Bonett and Price (2012), J. Educ. Behav. Stat. 37(4): p12 = (n12 + 1) / (n + 2), p21 likewise, interval
    (p21 - p12) +- z sqrt((p12 + p21 - (p21 - p12)^2) / (n + 2)). With repeats or groups: paired t, clustered.
    """
    n = len(a)
    whole = bool(np.isin(a, (0.0, 1.0)).all() and np.isin(b, (0.0, 1.0)).all())
    own = wilson(float(b.sum()), n) if groups is None else ratio_bootstrap(*_sums(b, np.ones(n), groups))
    if groups is not None or not whole:
        return replace(mean(a, b, groups), own=own)
    lost, won = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    if not lost and not won:
        return Tested(baseline=float(a.mean()), own=own, difference=unchanged(n), p=1.0, sd=0.0, note=SAME_ANSWERS)
    p12, p21 = (lost + 1) / (n + 2), (won + 1) / (n + 2)
    half = float(special.ndtri(0.5 + LEVEL / 2)) * math.sqrt((p12 + p21 - (p21 - p12) ** 2) / (n + 2))
    value = (won - lost) / n
    low, high = max(-1.0, min(p21 - p12 - half, value)), min(1.0, max(p21 - p12 + half, value))
    return Tested(
        baseline=float(a.mean()),
        own=own,
        difference=Estimate(value, low, high, n),
        p=mcnemar_exact(lost, won),
        sd=float((b - a).std(ddof=1)) if n > 1 else math.nan,
        test="McNemar, exact",
    )


def mean(a: Array, b: Array, groups: Array | None = None) -> Tested:
    """A mean over documents: paired t, clustered (CR1) where documents stand in groups."""
    found = Tested(baseline=float(a.mean()), own=mean_t(b), difference=paired_difference(a, b, groups=groups))
    if len(a) and bool((a == b).all()):
        scale = max(float(np.abs(a).max()), float(np.abs(b).max()))
        return replace(found, difference=unchanged(len(a), scale), p=1.0, sd=0.0, note=SAME_ANSWERS)
    p, sd = _t(found.difference, len(a), groups)
    return replace(found, p=p, sd=sd, test="paired t" if groups is None else "paired t, clustered")


def relative_mean(a: Array, b: Array, groups: Array | None = None) -> Tested:
    """A mean that is read in shares of the baseline's (cost): mean(b) / mean(a) - 1 beside the difference.

    Delta method: u = (b - R a) / mean(a) has mean 0 and the spread of the ratio R (Cochran 1977, section 6.3).
    """
    found, base = mean(a, b, groups), float(a.mean())
    if not base > 0:
        return found
    ratio = float(b.mean()) / base
    spread = paired_difference(np.zeros(len(a)), (b - ratio * a) / base, groups=groups)
    value = ratio - 1
    if found.note:  # no document differs
        bound = unchanged(len(a), 1.0)
        return replace(found, relative=replace(bound, value=value))
    return replace(found, relative=Estimate(value, value + spread.low, value + spread.high, len(a)))


Parts = tuple[Array, Array, Array, Array]
"""Numerator and denominator of the baseline, then of the candidate, a value a document."""


def ratio(
    num_a: Array, den_a: Array, num_b: Array, den_b: Array, groups: Array | None = None, *, sums: Array | None = None
) -> Tested | None:
    """A ratio of sums (micro F1, rates): paired bootstrap of documents; p by the delta method. `None`: 0/0.

    The linearised value of a document is R + (num - R den) / mean(den); their paired t test is that of the ratios.
    `sums`: draws of the four sums that were made for many ratios at once (`ratio_draws`).
    """
    if not den_a.sum() or not den_b.sum():
        return None
    n = len(num_a)
    units = n if groups is None else len(np.unique(groups))
    sums = ratio_draws([(num_a, den_a, num_b, den_b)], groups)[0] if sums is None else sums
    sums = sums[(sums[:, 1] > 0) & (sums[:, 3] > 0)]
    before, after = float(num_a.sum() / den_a.sum()), float(num_b.sum() / den_b.sum())
    drawn = sums[:, 2] / sums[:, 3]
    own = _interval(after, drawn, units)
    if own.low == own.high and after in (0.0, 1.0):  # every document alike: as many equal documents can say
        own = wilson(units * after, units)
    found = Tested(
        baseline=before, own=own, difference=_interval(after - before, drawn - sums[:, 0] / sums[:, 1], units)
    )
    found = replace(found, own=replace(own, n=n), difference=replace(found.difference, n=n))
    if found.difference.low == found.difference.high:  # all differ alike: another kind of document may be there
        found = replace(found, difference=_beside(found.difference, units))
    if bool((num_a == num_b).all() and (den_a == den_b).all()):
        return replace(found, difference=unchanged(n), p=1.0, sd=0.0, note=SAME_ANSWERS)
    p, sd = _t(paired_difference(_linear(num_a, den_a), _linear(num_b, den_b), groups=groups), n, groups)
    return replace(found, p=p, sd=sd, test="paired bootstrap, p by delta method")


def ratio_draws(
    ratios: Sequence[Parts], groups: Array | None = None, *, draws: int = 2000, seed: int = 0
) -> list[Array]:
    """draws x 4 sums for each ratio; one draw of documents (of groups) serves all of them."""
    if not ratios:
        return []
    table = totals(np.stack([part for four in ratios for part in four], axis=1), groups)
    sums = np.concatenate([counts @ table for counts in resampled(len(table), draws=draws, seed=seed)])
    return [sums[:, 4 * i : 4 * i + 4] for i in range(len(ratios))]


def _interval(value: float, drawn: Array, n: int) -> Estimate:
    """Percentile interval of the draws, widened to hold the value; none for fewer than five documents."""
    if n < LEAST_FOR_BOOTSTRAP or not len(drawn):
        return Estimate(value, math.nan, math.nan, n)
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), n)


def _linear(numerator: Array, denominator: Array) -> Array:
    value = numerator.sum() / denominator.sum()
    return np.asarray(value + (numerator - value * denominator) / denominator.mean())


def percentile_draws(
    a: Array, b: Array, qs: Sequence[float], groups: Array | None = None, *, draws: int = 2000, seed: int = 0
) -> list[Array]:
    """draws x 2 (both sides) for each quantile; one draw of documents serves all of them. Empty: too few documents."""
    if len(a) < LEAST_FOR_BOOTSTRAP or not qs:
        return [np.empty((0, 2)) for _ in qs]
    axes = [Axis(values=np.stack([a, b]), q=q) for q in qs]
    drawn = paired_draws(axes, groups=groups, draws=draws, seed=seed)
    return [drawn[:, :, at] for at in range(len(qs))]


def percentile(a: Array, b: Array, q: float, groups: Array | None = None, *, drawn: Array | None = None) -> Tested:
    """A quantile (latency): paired bootstrap of documents, difference and share; p from the draws' signs.

    p = 2 min(P(d <= 0), P(d >= 0)), each with one draw added (Davison and Hinkley 1997, section 4.2.5). Where no draw
    lies beyond 0 and `ENOUGH_BEYOND` documents lie beyond the quantile, the normal tail of value / (the draws' spread),
    so that Holm's step over many tests is not stopped by the number of draws. Never below the sign test's least p.
    """
    found = Tested(baseline=float(np.quantile(a, q)), own=quantile(b, q), difference=NOTHING)
    value = found.own.value - found.baseline
    if bool((a == b).all()):
        return replace(found, difference=Estimate(0.0, math.nan, math.nan, len(a)), p=1.0, note=SAME_ANSWERS)
    if len(a) < LEAST_FOR_BOOTSTRAP:
        return replace(found, difference=Estimate(value, math.nan, math.nan, len(a)), note="n too small")
    drawn = percentile_draws(a, b, [q], groups)[0] if drawn is None else drawn
    draws, (left, right) = len(drawn), drawn.T
    gaps, shares = right - left, right / np.where(left > 0, left, np.nan) - 1
    tail = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.quantile(gaps, tail)
    beyond, spread = min(int((gaps <= 0).sum()), int((gaps >= 0).sum())), float(gaps.std(ddof=1))
    p = 2 * (1 + beyond) / (draws + 1)
    if not beyond and len(a) * min(q, 1 - q) >= ENOUGH_BEYOND:
        p = min(p, 2 * float(special.ndtr(-abs(value) / spread))) if spread > 0 else 0.0
    p = min(1.0, max(p, _least_p(len(a) if groups is None else len(np.unique(groups)))))
    relative = NOTHING
    if found.baseline > 0 and not np.isnan(shares).any():
        bounds = np.quantile(shares, tail)
        relative = Estimate(value / found.baseline, float(bounds[0]), float(bounds[1]), len(a))
    return replace(
        found,
        difference=Estimate(value, float(low), float(high), len(a)),
        relative=relative,
        p=p,
        sd=spread * math.sqrt(len(a)),
        test="paired bootstrap",
    )


def unchanged(n: int, scale: float = 1.0, *, level: float = LEVEL) -> Estimate:
    """No document differs: 0, within what so many documents leave possible."""
    bound = scale * (1 - ((1 - level) / 2) ** (1 / n)) if n else math.nan
    return Estimate(0.0, -bound, bound, n)


def _beside(found: Estimate, n: int) -> Estimate:
    """An interval for a difference of two shares that every one of n documents shows alike."""
    bound = unchanged(n).high
    return replace(found, low=max(-1.0, found.value - bound), high=min(1.0, found.value + bound))


def unchanged_needed(margin: float, *, level: float = LEVEL) -> int:
    """Documents of which none may differ before less than `margin` of all are sure to."""
    return math.ceil(math.log((1 - level) / 2) / math.log1p(-margin)) if 0 < margin < 1 else 1


def _sums(numerator: Array, denominator: Array, groups: Array | None) -> tuple[Array, Array]:
    sums = totals(np.stack([numerator, denominator], axis=1), groups)
    return sums[:, 0], sums[:, 1]


def _least_p(n: int) -> float:
    """Two-sided sign test where all n documents (or groups) differ the same way: no test can say more of so few."""
    return min(1.0, 2 * 0.5**n)


def _t(difference: Estimate, n: int, groups: Array | None) -> tuple[float, float]:
    """p and spread behind a t interval; NaN where there is none."""
    clusters = n if groups is None else len(np.unique(groups))
    if clusters < 2 or math.isnan(difference.low):
        return math.nan, math.nan
    error = (difference.high - difference.low) / 2 / float(distributions.t.ppf(0.5 + LEVEL / 2, clusters - 1))
    if error == 0:  # all differ alike: no more can be said than by their signs
        return _least_p(clusters) if difference.value else 1.0, 0.0
    p = 2 * float(distributions.t.sf(abs(difference.value) / error, clusters - 1))
    return min(1.0, p), error * math.sqrt(n)
