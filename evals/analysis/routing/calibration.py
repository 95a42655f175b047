"""P(error) out of features or signals: a scikit-learn pipeline, exported as coefficients; and is it calibrated?

Standardised inputs, logistic regression (L2, C = 1), then isotonic regression on predictions that were made without the
document. An error is 0..1: a document that is wrong by a third counts as one third of an error and two thirds of none,
so that P(error) is the expected error. Sources: Platt (1999), Zadrozny & Elkan (2002), Naeini et al. (2015) for ECE.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.stats import Array

Places = NDArray[np.intp]
LEAST = 20
"""Fewer documents than this fit nothing: P(error) is then the mean error."""
INNER = 3
"""Inner folds for the isotonic curve."""
MANY = 2000
"""From so many documents on one quarter is held out for the curve, instead of folds."""


def standardised(inputs: Array) -> tuple[Array, Array, Array]:
    """Columns as `(x - mean) / scale`, not known as 0; mean and scale of what is known. Constant columns have scale 1."""
    known = ~np.isnan(inputs)
    count = np.maximum(known.sum(axis=0), 1)
    mean = np.where(known, inputs, 0.0).sum(axis=0) / count
    spread = np.sqrt((np.where(known, inputs - mean, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1), spread, 1.0)
    return np.where(known, (inputs - mean) / scale, 0.0), mean, scale


def fit_signal(
    names: Sequence[str], inputs: Array, error: Array, folds: NDArray[np.int64] | None = None, *, calibrate: bool = True
) -> dict[str, Any]:
    """The fitted signal of a policy (`core.Policy.signal`). `inputs`: documents x names, NaN where not known.

    `folds`: each document's inner fold, groups kept together; `None`: by position.
    """
    z, mean, scale = standardised(inputs)
    curve = _curve(z, error, folds) if calibrate else None
    coef, intercept = _logistic(z, error)
    return {
        "inputs": list(names),
        "mean": [float(one) for one in mean],
        "scale": [float(one) for one in scale],
        "coef": [float(one) for one in coef],
        "intercept": intercept,
        "link": "logistic",
        "calibration": curve,
    }


def _logistic(z: Array, error: Array) -> tuple[Array, float]:
    """Coefficients and intercept; with errors all alike, or too few documents, the mean alone."""
    total = float(error.sum())
    if len(error) < LEAST or not z.shape[1] or not 0 < total < len(error):
        share = (total + 0.5) / (len(error) + 1)
        return np.zeros(z.shape[1]), float(np.log(share / (1 - share)))
    import sklearn
    from sklearn.linear_model import LogisticRegression

    whole = np.isin(error, (0.0, 1.0)).all()
    rows, labels = (z, error) if whole else (np.vstack([z, z]), np.repeat([1.0, 0.0], len(error)))
    weights = None if whole else np.concatenate([error, 1 - error])
    with sklearn.config_context(assume_finite=True, skip_parameter_validation=True):  # both were seen to above
        found = LogisticRegression(C=1.0, solver="newton-cholesky", max_iter=200).fit(rows, labels, weights)
    return np.asarray(found.coef_[0], np.float64), float(found.intercept_[0])


def _curve(z: Array, error: Array, folds: NDArray[np.int64] | None) -> dict[str, list[float]] | None:
    """The isotonic curve of predictions that were made without the document; `None` for too few documents."""
    n = len(error)
    if n < 2 * LEAST:
        return None
    codes = np.arange(n) % INNER if folds is None else folds % INNER if n < MANY else folds
    held = [codes == at for at in range(INNER)] if n < MANY else [codes == codes.max()]
    made, truth = [], []
    for out in held:
        if out.any() and not out.all():
            coef, intercept = _logistic(z[~out], error[~out])
            made.append(1 / (1 + np.exp(-(z[out] @ coef + intercept))))
            truth.append(error[out])
    return isotonic(np.concatenate(made), np.concatenate(truth)) if made else None


def isotonic(score: Array, error: Array) -> dict[str, list[float]]:
    """Isotonic regression of the error on the score, as the points of a curve that is linear between them."""
    from sklearn.isotonic import IsotonicRegression

    found = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score, error)
    x, y = np.asarray(found.X_thresholds_, np.float64), np.asarray(found.y_thresholds_, np.float64)
    return {"x": [float(one) for one in x], "y": [float(one) for one in y]}


def predicted(signal: Mapping[str, Any], inputs: Array) -> Array:
    """`policy.error_score` of many documents at once; `inputs` as in `fit_signal`."""
    mean, scale = np.array(signal["mean"], np.float64), np.array(signal["scale"], np.float64)
    z = np.where(np.isnan(inputs), 0.0, (inputs - mean) / scale)
    total = z @ np.array(signal["coef"], np.float64) + signal["intercept"]
    if signal.get("link", "logistic") == "logistic":
        total = 1 / (1 + np.exp(-np.clip(total, -700, None)))
    curve = signal.get("calibration")
    return np.asarray(np.interp(total, curve["x"], curve["y"]) if curve else total, np.float64)


# Is it calibrated? --------------------------------------------------------------------------------------------


def reliability(score: Array, error: Array, *, bins: int = 10) -> list[dict[str, float]]:
    """Equal-count bins of rising score: `{low, high, n, predicted, observed}`; equal scores share a bin."""
    order = np.argsort(score, kind="stable")
    edges = np.unique(np.quantile(score, np.linspace(0, 1, bins + 1)))
    place = np.clip(np.searchsorted(edges, score[order], side="left") - 1, 0, max(len(edges) - 2, 0))
    rows = []
    for at in np.unique(place):
        own = order[place == at]
        rows.append(
            {
                "low": float(score[own].min()),
                "high": float(score[own].max()),
                "n": len(own),
                "predicted": float(score[own].mean()),
                "observed": float(error[own].mean()),
            }
        )
    return rows


def calibration_error(score: Array, error: Array, *, bins: int = 10) -> float:
    """ECE: mean distance of predicted and observed over the bins of `reliability`, weighted by their documents."""
    rows = reliability(score, error, bins=bins)
    return sum(row["n"] * abs(row["predicted"] - row["observed"]) for row in rows) / len(score)


def ranking(score: Array, error: Array) -> float:
    """AUC: the chance that the worse of two documents has the higher score, ties half (Mann-Whitney); errors in 0..1
    count by their share. NaN where there is only one kind."""
    bad, good = float(error.sum()), float((1 - error).sum())
    if bad <= 0 or good <= 0:
        return float("nan")
    order = np.argsort(score, kind="stable")
    ends = np.append(score[order][1:] != score[order][:-1], True)
    group = np.cumsum(np.append(True, ends[:-1])) - 1
    wrong = np.bincount(group, weights=error[order])
    right = np.bincount(group, weights=1 - error[order])
    below = np.cumsum(right) - right
    return float((wrong * (below + right / 2)).sum() / (bad * good))
