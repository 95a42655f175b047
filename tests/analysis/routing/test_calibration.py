"""P(error): the same as scikit-learn's pipeline, calibrated, and the same live; figures by naive methods."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.analysis.routing.calibration import calibration_error, fit_signal, isotonic, predicted, ranking, reliability
from evals.policy import error_score


def data(n: int = 500, seed: int = 0, parts: bool = False) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    inputs = random.normal(3, 2, (n, 3))
    chance = 1 / (1 + np.exp(-(inputs[:, 0] - 3) + 0.5))
    error = random.binomial(4, chance) / 4 if parts else (random.random(n) < chance) * 1.0
    return inputs, error


def test_coefficients_are_those_of_a_scikit_learn_pipeline() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    inputs, error = data()
    signal = fit_signal(["a", "b", "c"], inputs, error, calibrate=False)
    pipeline = make_pipeline(StandardScaler(), LogisticRegression(tol=1e-10, max_iter=1000)).fit(inputs, error)
    assert predicted(signal, inputs) == pytest.approx(pipeline.predict_proba(inputs)[:, 1], abs=1e-4)
    assert signal["coef"][0] > 1 and abs(signal["coef"][1]) < 0.4


def test_errors_that_are_parts_count_by_their_share() -> None:
    """As if each document stood four times in the data, right or wrong."""
    from sklearn.linear_model import LogisticRegression

    inputs, error = data(parts=True)
    signal = fit_signal(["a", "b", "c"], inputs, error, calibrate=False)
    z = (inputs - inputs.mean(axis=0)) / inputs.std(axis=0)
    rows = np.repeat(z, 4, axis=0)
    labels = (np.tile(np.arange(4), len(error)) < np.repeat(error * 4, 4)) * 1
    found = LogisticRegression(C=0.25, tol=1e-10, max_iter=1000).fit(rows, labels)
    assert signal["coef"] == pytest.approx(list(found.coef_[0]), abs=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.booleans())
def test_one_document_at_a_time_gives_the_same_score(seed: int, parts: bool) -> None:
    """What the simulation compares is what a live hybrid compares."""
    inputs, error = data(80, seed, parts)
    inputs[np.random.default_rng(seed).random(inputs.shape) < 0.1] = np.nan
    signal = fit_signal(["a", "b", "c"], inputs, error)
    together = predicted(signal, inputs)
    for row, score in zip(inputs, together, strict=True):
        alone = error_score(signal, dict(zip(["a", "b", "c"], row, strict=True)))
        assert alone == pytest.approx(score, abs=1e-12)


def test_the_isotonic_curve_is_scikit_learns() -> None:
    from sklearn.isotonic import IsotonicRegression

    random = np.random.default_rng(0)
    score = random.random(200)
    error = (random.random(200) < score**2) * 1.0
    curve = isotonic(score, error)
    at = np.linspace(-0.1, 1.1, 77)
    reference = IsotonicRegression(out_of_bounds="clip").fit(score, error).predict(at)
    assert np.interp(at, curve["x"], curve["y"]) == pytest.approx(reference)
    assert curve["y"] == sorted(curve["y"])


def test_calibration_mends_a_score_that_is_not_a_probability() -> None:
    inputs, error = data(4000, 1)
    fresh, truth = data(4000, 2)
    bent, fresh_bent = np.exp(inputs), np.exp(fresh)  # logistic regression fits this badly
    plain = fit_signal(["a", "b", "c"], bent, error, calibrate=False)
    mended = fit_signal(["a", "b", "c"], bent, error)
    assert calibration_error(predicted(mended, fresh_bent), truth) < 0.06
    assert (
        calibration_error(predicted(mended, fresh_bent), truth)
        < calibration_error(predicted(plain, fresh_bent), truth) / 2
    )


@pytest.mark.parametrize("error", [np.zeros(50), np.ones(50), np.full(50, 1.0)])
def test_errors_that_are_all_alike_fit_a_constant(error: np.ndarray) -> None:
    signal = fit_signal(["a"], np.arange(50.0)[:, None], error)
    score = predicted(signal, np.arange(50.0)[:, None])
    assert np.ptp(score) == 0 and abs(score[0] - error[0]) < 0.02


def test_few_documents_or_constant_inputs_fit_nothing_wild() -> None:
    few = fit_signal(["a"], np.arange(6.0)[:, None], np.array([0, 1, 0, 1, 1, 1.0]))
    assert few["coef"] == [0.0] and few["calibration"] is None
    flat = fit_signal(["a", "b"], np.ones((60, 2)), np.arange(60) % 2 * 1.0)
    assert flat["scale"] == [1.0, 1.0] and np.isfinite(flat["coef"]).all()


def test_reliability_by_hand() -> None:
    score = np.array([0.1] * 10 + [0.8] * 10)
    error = np.array([0.0] * 9 + [1.0] + [1.0] * 6 + [0.0] * 4)
    rows = reliability(score, error, bins=2)
    assert [(row["n"], row["predicted"], row["observed"]) for row in rows] == [
        (10, pytest.approx(0.1), 0.1),
        (10, pytest.approx(0.8), 0.6),
    ]
    assert calibration_error(score, error, bins=2) == pytest.approx(0.1)
    assert sum(row["n"] for row in reliability(np.zeros(7), np.ones(7))) == 7


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.25, 0.5, 1.0])), min_size=2, max_size=25))
def test_auc_counts_pairs(rows: list[tuple[int, float]]) -> None:
    score, error = np.array(rows, np.float64).T
    top = whole = 0.0
    for s, e in rows:
        for t, f in rows:
            weight = e * (1 - f)
            whole += weight
            top += weight * (1.0 if s > t else 0.5 if s == t else 0.0)
    found = ranking(score, error)
    assert np.isnan(found) if error.sum() == 0 or (1 - error).sum() == 0 else found == pytest.approx(top / whole)


def test_auc_is_scikit_learns() -> None:
    from sklearn.metrics import roc_auc_score

    inputs, error = data(300)
    assert ranking(inputs[:, 0], error) == pytest.approx(roc_auc_score(error, inputs[:, 0]))
