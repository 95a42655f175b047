"""Human review of one run's answers: who goes to a person when P(error) is above t, and what that leaves and costs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.analysis.routing.calibration import calibration_error, fit_signal, predicted, ranking
from evals.analysis.routing.candidates import fitted, matrix, usable
from evals.analysis.routing.coverage import residual_error, review_cost, review_share, risk_coverage
from evals.analysis.routing.crossfit import cross_fitted
from evals.analysis.routing.documents import Documents
from evals.stats import Array, Estimate, mean_t, wilson

LEAST = 40
"""Fewer documents than this cannot be ranked by a fit on themselves."""
MANY = 200
"""Under so many, a fit's figures are a first look."""
SHARES = tuple(at / 20 for at in range(21))


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for."""

    target: float = 0.02
    """Mean error that may be left over all documents."""
    minutes_each: float = 3.0
    usd_per_hour: float | None = None
    reviewer_error: float = 0.0
    """Mean error of a document that a person has seen."""
    volume_per_day: float = 1000.0
    signal: Mapping[str, Any] | None = None
    """P(error) as saved elsewhere, instead of a fit on these documents."""
    folds: int = 5
    repeats: int = 5
    draws: int = 2000
    seed: int = 0
    level: float = 0.95


@dataclass(frozen=True, kw_only=True)
class Reviewed:
    """`report`: the figures; `rows`: a row a document, the most suspect first; `signal`: P(error) fitted on all of them."""

    report: dict[str, Any]
    rows: list[dict[str, Any]]
    signal: Mapping[str, Any] | None


def review(found: Documents, wanted: Wanted, notes: Sequence[str] = ()) -> Reviewed:
    """The figures of one option's documents (`found` has that option alone, `error` 0..1)."""
    notes = list(notes)
    error, columns = found.error[0], found.signals[0]
    score, about, signal = _p_error(found, wanted, notes)
    share = review_share(
        error,
        score,
        wanted.target,
        reviewer_error=wanted.reviewer_error,
        groups=found.groups,
        draws=wanted.draws,
        seed=wanted.seed,
        level=wanted.level,
    )
    reached = not np.isnan(share.value)
    threshold = threshold_for(error, score, wanted.target, wanted.reviewer_error) if reached else None
    sent = score > threshold if threshold is not None else np.ones(found.n, bool)
    curve = risk_coverage(error, score)
    report = {
        "n": found.n,
        "target": wanted.target,
        "reviewer_error": wanted.reviewer_error,
        "error": _told(_mean(error)),
        "p_error": {**about, "auc": _number(ranking(score, error)), "ece": calibration_error(score, error)},
        "area": {"risk_coverage": curve.area, "best": curve.best_area, "random": curve.random_area},
        "share": _told(share),
        "threshold": threshold,
        "sent": int(sent.sum()),
        "residual": _told(_mean(np.where(sent, wanted.reviewer_error, error))),
        "found": _told(_mean(error[sent] > 0)) if sent.any() else None,
        "work": _work(wanted, share),
        "curve": [
            {"share": one, "error": residual_error(error, score, one, reviewer_error=wanted.reviewer_error)}
            for one in SHARES
        ],
        "notes": notes,
    }
    if reached and sent.mean() > share.value + 0.005:
        notes.append(
            f"documents of equal P(error) go together: the threshold sends {100 * sent.mean():.1f} % of these documents"
        )
    if not reached:
        notes.append(f"target={wanted.target:g} is below reviewer_error={wanted.reviewer_error:g}: no share reaches it")
    order = sorted(range(found.n), key=lambda at: (-score[at], found.ids[at]))
    rows = [
        {
            "sample_id": found.ids[at],
            "p_error": float(score[at]),
            "review": bool(sent[at]),
            "error": float(error[at]),
            "reasons": reasons(
                {name: float(values[at]) for name, values in columns.items()}, bool(found.failed[0][at])
            ),
        }
        for at in order
    ]
    return Reviewed(report=report, rows=rows, signal=signal)


def threshold_for(error: Array, score: Array, target: float, reviewer_error: float = 0.0) -> float:
    """The highest t such that sending every document above t leaves at most `target`: documents of equal score go
    together, so that a service that compares does what was counted. Half way between two scores."""
    order = np.argsort(score, kind="stable")
    rising, n = score[order], len(score)
    ends = np.flatnonzero(np.append(rising[1:] != rising[:-1], True)) + 1  # how many pass below each cut
    passing = np.concatenate([[0], ends])
    left = np.concatenate([[0.0], error[order].cumsum()])[passing] + reviewer_error * (n - passing)
    good = np.flatnonzero(left / n <= target + 1e-12)
    most = int(passing[good[-1]]) if len(good) else 0
    if most == n:
        return float(rising[-1])
    return float(rising[0] - 1e-9) if most == 0 else float((rising[most - 1] + rising[most]) / 2)


def _p_error(
    found: Documents, wanted: Wanted, notes: list[str]
) -> tuple[Array, dict[str, Any], Mapping[str, Any] | None]:
    """P(error) of each document, what it was made of, and the model of it for documents to come."""
    error, columns, good = found.error[0], found.signals[0], ~found.failed[0]
    if wanted.signal is not None:
        names = list(wanted.signal["inputs"])
        inputs = np.stack([columns.get(name, np.full(found.n, np.nan)) for name in names], axis=1)
        score = np.where(good, predicted(wanted.signal, inputs), np.inf)
        return _finite(score), {"from": "saved", "inputs": names}, wanted.signal
    names = usable(columns, good, tags=False)
    if int(good.sum()) < LEAST or not names:
        why = f"{int(good.sum())} answers, {LEAST} are the least" if names else "no signal differs between the answers"
        notes.append(f"P(error) cannot be fitted here ({why}): documents are taken in no order")
        score = np.where(good, float(error[good].mean()) if good.any() else 1.0, 1.0)
        return score, {"from": "mean", "inputs": []}, None
    if found.n < MANY:
        notes.append(f"n={found.n} is too small to tell how well documents are ranked: read the intervals")
    plan = cross_fitted(found.n, groups=found.groups, folds=wanted.folds, repeats=wanted.repeats, seed=wanted.seed)
    out = fitted(columns, error, good, plan, tags=False).out.mean(axis=0)
    whole = fit_signal(names, matrix(columns, names, found.n)[good], error[good])
    return np.where(good, out, 1.0), {"from": plan.about, "inputs": names}, whole


def _finite(score: Array) -> Array:
    """A failed answer is the most suspect of all, and stays a number."""
    known = score[np.isfinite(score)]
    return np.where(np.isfinite(score), score, max(1.0, float(known.max()) if len(known) else 1.0))


def reasons(signals: Mapping[str, float], failed: bool) -> list[str]:
    """What speaks against an answer, in words."""
    if failed:
        return ["no answer"]
    found = ["not valid under the schema"] if signals.get("schema_valid") == 0 else []
    found += ["no JSON"] if signals.get("parse_lenient") == 0 else []
    found += ["cut at max_tokens"] if signals.get("truncated") == 1 else []
    if count := _known(signals.get("ungrounded")):
        found.append(f"{count:.0f} value{'s' if count > 1 else ''} not in the document")
    if (share := _known(signals.get("consistent_share"))) is not None and share < 1:
        found.append("fields contradict each other")
    if (share := _known(signals.get("null_share"))) is not None and share > 0.5:
        found.append(f"{100 * share:.0f} % of the fields are empty")
    return found


def _known(value: float | None) -> float | None:
    return None if value is None or np.isnan(value) else value


def _mean(values: Array) -> Estimate:
    """Wilson's interval of a share, the t interval of other means."""
    values = np.asarray(values, np.float64)
    if np.isin(values, (0.0, 1.0)).all():
        return wilson(float(values.sum()), len(values))
    return mean_t(values)


def _work(wanted: Wanted, share: Estimate) -> dict[str, Any]:
    """Minutes and dollars a day at the volume, by the share and by both ends of its interval."""
    found: dict[str, Any] = {"volume_per_day": wanted.volume_per_day, "minutes_each": wanted.minutes_each}
    found["usd_per_hour"] = wanted.usd_per_hour
    for word, one in (("value", share.value), ("low", share.low), ("high", share.high)):
        minutes, usd = None, None
        if not np.isnan(one):
            minutes, usd = review_cost(
                one, wanted.volume_per_day, minutes_each=wanted.minutes_each, usd_per_hour=wanted.usd_per_hour
            )
        found[word] = {"minutes_per_day": minutes, "usd_per_day": usd}
    return found


def _told(one: Estimate) -> dict[str, Any]:
    return {"value": _number(one.value), "low": _number(one.low), "high": _number(one.high), "n": one.n}


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
