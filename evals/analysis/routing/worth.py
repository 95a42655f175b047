"""What P(error) and its signals are worth: reliability, ranking, risk-coverage, area under the curve of all thresholds."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evals.analysis.routing import candidates as ways
from evals.analysis.routing import mixes
from evals.analysis.routing.calibration import calibration_error, ranking, reliability
from evals.analysis.routing.candidates import Candidate
from evals.analysis.routing.coverage import risk_coverage
from evals.analysis.routing.crossfit import Pair
from evals.analysis.routing.documents import Documents, Mask
from evals.stats import Array

LEAST = 20
"""Fewer documents than this rank nothing."""


def calibrated(every: Documents, made: Sequence[tuple[Pair, Candidate]], rows: Mask) -> list[dict[str, Any]]:
    """Of each option whose errors are predicted: reliability, ECE, AUC and risk-coverage, out of fold."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for pair, way in made:
        if way.score is None or way.name == "twin" or (pair.cheap, way.name) in found:
            continue
        use = rows & ~np.isnan(way.score) & ~(every.failed[pair.cheap] & pair.cascade)
        if not use.any():
            continue
        score, error = way.score[use], every.error[pair.cheap][use]
        curve = risk_coverage(error, score)
        at = np.unique(np.linspace(0, len(score) - 1, min(len(score), 101)).round().astype(int))
        found[pair.cheap, way.name] = {
            "option": every.options[pair.cheap],
            "predictor": way.name,
            "inputs": list(way.detail.get("inputs", ())),
            "documents": int(use.sum()),
            "mean_error": float(error.mean()),
            "ece": calibration_error(score, error),
            "auc": _known(ranking(score, error)),
            "aurc": curve.area,
            "aurc_best": curve.best_area,
            "aurc_random": curve.random_area,
            "reliability": reliability(score, error),
            "coverage": [float(one) for one in curve.coverage[at]],
            "risk": [float(one) for one in curve.risk[at]],
        }
    return list(found.values())


def areas(every: Documents, made: Sequence[tuple[Pair, Candidate]], rows: Mask) -> list[dict[str, Any]]:
    """AIQ of each pair's P(error): the area under the hull of all its thresholds, and of its random mixes, from the
    cheap option's cost to the strong one's (of strong calls where no dollars are known)."""
    told = []
    for pair, way in made:
        if way.score is None or way.name == "twin":
            continue
        use = rows & ~np.isnan(way.score)
        order = np.argsort(-way.score[use], kind="stable")
        steps, base = pair.step[:, use][:, order], pair.base[:, use].sum(axis=1, keepdims=True)
        curve = base + np.concatenate([np.zeros((3, 1)), steps.cumsum(axis=1)], axis=1)
        ends = np.stack([_alone(every, pair, side, use) for side in (pair.cheap, pair.strong)], axis=1)
        points = np.concatenate([curve, ends], axis=1)
        low, high = ends[2]
        told.append(
            {
                "cheap": every.options[pair.cheap],
                "strong": every.options[pair.strong],
                "way": way.name,
                "aiq": mixes.area(points[2], points[0] / points[1], low, high),
                "aiq_mix": mixes.area(ends[2], ends[0] / ends[1], low, high),
                "cost": "dollars" if pair.dollars else "strong calls",
            }
        )
    return told


def _alone(every: Documents, pair: Pair, at: int, use: Mask) -> Array:
    """Hits, whole and cost of one of the two options alone."""
    cost = every.cost[at] if pair.dollars else np.full(every.n, float(at == pair.strong))
    return np.asarray(np.stack([every.hits[at], every.whole[at], cost])[:, use].sum(axis=1), np.float64)


def signals_told(kept: Documents, cheap: set[str]) -> list[dict[str, Any]]:
    """Each signal of each cheap option: how well it ranks that option's errors, without any fitting."""
    told = []
    for at, option in enumerate(kept.options):
        if option not in cheap:
            continue
        for kind, columns in (("signal", kept.signals[at]), ("feature", kept.features)):
            told += [{"option": option, **one} for one in _ranked(kind, columns, kept.error[at], ~kept.failed[at])]
    return told


def _ranked(kind: str, columns: Mapping[str, Array], error: Array, answered: Mask) -> list[dict[str, Any]]:
    told = []
    for name, values in sorted(columns.items()):
        use = answered & ~np.isnan(values)
        if use.sum() < LEAST or values[use].min() == values[use].max():
            continue
        sign = float(ways.oriented(name, values)["coef"][0]) if kind == "signal" else 1.0
        auc = ranking(sign * values[use], error[use])
        told.append({"kind": kind, "name": name, "documents": int(use.sum()), "auc": _known(auc)})
    return told


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
