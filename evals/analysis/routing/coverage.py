"""Who is to be trusted with how much: risk against coverage, and how many documents a person has to see. Pure.

`error` is a document's error in 0..1 (1 - exact, or 1 - F1), `score` what it is sorted by (P(error): high is bad), made
by a model that has not seen the document. Documents of equal score are taken in any order: figures are the mean over
these orders. Source: El-Yaniv & Wiener (2010); Geifman & El-Yaniv (2017) for the area.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.stats import LEAST_FOR_BOOTSTRAP, Array, Estimate
from evals.stats.draws import resampled

Groups = Sequence[object] | NDArray[Any] | None


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Mean error of the documents that are let through, by the share of them; least suspect first."""

    coverage: Array
    """k/n for k = 1..n."""
    risk: Array
    area: float
    """AURC: mean of `risk`; less is better."""
    best_area: float
    """What sorting by the error itself would give."""
    random_area: float
    """What any order gives on average: the mean error."""


def risk_coverage(error: Array, score: Array) -> RiskCoverage:
    """The risk-coverage curve. Raises `ValueError` for NaN or no document."""
    error, score = _checked(error, score)
    n = len(error)
    count = np.arange(1, n + 1)
    risk = _passed(error, score)[1:] / count
    best = np.sort(error).cumsum() / count
    return RiskCoverage(
        coverage=count / n,
        risk=risk,
        area=float(risk.mean()),
        best_area=float(best.mean()),
        random_area=float(error.mean()),
    )


def _passed(error: Array, score: Array, weights: Array | None = None) -> Array:
    """Sum of the errors of the first k documents, k = 0..n, linear inside ties."""
    order = np.argsort(score, kind="stable")
    ends = np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True)) + 1
    sums = np.concatenate([[0.0], error[order].cumsum()])
    return np.asarray(np.interp(np.arange(len(error) + 1), np.append(0, ends), sums[np.append(0, ends)]))


def residual_error(error: Array, score: Array, share: float, *, reviewer_error: float = 0.0) -> float:
    """Mean error of all documents when a person reviews this share of them, the most suspect first.

    Reviewed documents keep `reviewer_error`.
    """
    error, score = _checked(error, score)
    n = len(error)
    passed = np.interp((1 - share) * n, np.arange(n + 1), _passed(error, score))
    return float(passed / n + reviewer_error * share)


def review_share(
    error: Array,
    score: Array,
    target: float,
    *,
    reviewer_error: float = 0.0,
    groups: Groups = None,
    draws: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The least share of documents to review, the most suspect first, for a mean error of at most `target` over all.

    The interval is the percentile bootstrap of documents (of groups where given): its upper bound is what to plan with.
    `target` below `reviewer_error`: NaN, since no share reaches it. Fewer than five documents have no interval.
    """
    error, score = _checked(error, score)
    codes = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    units = len(error) if codes is None else int(codes.max()) + 1
    if target < 0 or not 0 <= reviewer_error <= 1:
        raise ValueError(f"target {target} and reviewer_error {reviewer_error} must lie in 0..1")
    if reviewer_error > target and error.mean() > target:
        return Estimate(np.nan, np.nan, np.nan, units)
    order, ends = _ties(score)
    value = float(_least(error[order], np.ones((1, len(error))), ends, target, reviewer_error)[0])
    if units < LEAST_FOR_BOOTSTRAP:
        return Estimate(value, np.nan, np.nan, units)
    found = []
    for counts in resampled(units, draws=draws, seed=seed):
        weights = counts if codes is None else counts[:, codes]
        found.append(_least(error[order], weights[:, order], ends, target, reviewer_error))
    low, high = np.quantile(np.concatenate(found), [0.5 - level / 2, 0.5 + level / 2])
    return Estimate(value, min(float(low), value), max(float(high), value), units)


def _ties(score: Array) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    order = np.argsort(score, kind="stable")
    return order, np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True))


def _least(error: Array, weights: Array, ends: NDArray[np.intp], target: float, reviewer_error: float) -> Array:
    """The least share to review of each row of weights: what can pass is the most whose error stays within the target.

    Error over all, when the first k pass: (sum of their errors + reviewer_error * (n - k)) / n, linear inside ties.
    """
    whole = weights.sum(axis=1, keepdims=True)
    passed = np.hstack([np.zeros((len(weights), 1)), weights.cumsum(axis=1)[:, ends] / whole])
    wrong = np.hstack([np.zeros((len(weights), 1)), (weights * error).cumsum(axis=1)[:, ends] / whole])
    total = wrong + reviewer_error * (1 - passed)
    fits = total <= target + 1e-12
    last = passed.shape[1] - 1 - np.argmax(fits[:, ::-1], axis=1)
    rows = np.arange(len(weights))
    share = np.where(fits.any(axis=1), passed[rows, last], 0.0)
    following = np.minimum(last + 1, passed.shape[1] - 1)
    rise = total[rows, following] - total[rows, last]
    step = passed[rows, following] - passed[rows, last]
    with np.errstate(divide="ignore", invalid="ignore"):
        more = np.where(rise > 0, (target - total[rows, last]) / rise * step, 0.0)
    return np.asarray(1 - np.clip(share + np.where(fits.any(axis=1), np.clip(more, 0, step), 0.0), 0, 1))


def review_threshold(score: Array, share: float) -> float:
    """The score above which documents are reviewed, so that (up to ties) this share is. Half way between two scores."""
    rising = np.sort(np.asarray(score, np.float64))
    kept = round((1 - share) * len(rising))
    if kept >= len(rising):
        return float(rising[-1])
    return float(rising[0] - 1e-9) if kept == 0 else float((rising[kept - 1] + rising[kept]) / 2)


def review_cost(
    share: float, documents: float, *, minutes_each: float, usd_per_hour: float | None
) -> tuple[float, float | None]:
    """Minutes of people's time for so many documents, and dollars (`None`: no hourly rate)."""
    minutes = share * documents * minutes_each
    return minutes, None if usd_per_hour is None else minutes / 60 * usd_per_hour


def _checked(error: Array, score: Array) -> tuple[Array, Array]:
    error, score = np.asarray(error, np.float64), np.asarray(score, np.float64)
    if len(error) != len(score) or not len(error):
        raise ValueError(f"{len(error)} errors and {len(score)} scores: there should be as many, and at least one")
    if np.isnan(error).any() or np.isnan(score).any():
        raise ValueError("errors and scores must be known for every document")
    return error, score
