"""Risk and coverage, and how many documents a person has to see: against naive loops."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.analysis.routing.coverage import residual_error, review_cost, review_share, review_threshold, risk_coverage

rows = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 5)), min_size=1, max_size=12).map(
    lambda pairs: (np.array([e for e, _ in pairs]), np.array([float(s) for _, s in pairs]))
)


def mean_over_orders(error: np.ndarray, score: np.ndarray) -> list[float]:
    """Mean error of the first k documents, over random orders of equal scores."""
    random = np.random.default_rng(0)
    sums = np.zeros(len(error))
    for _ in range(4000):
        order = np.lexsort((random.random(len(error)), score))
        sums += error[order].cumsum()
    return list(sums / 4000 / np.arange(1, len(error) + 1))


@settings(max_examples=15, deadline=None)
@given(rows)
def test_risk_is_the_mean_over_orders_of_equal_scores(pair: tuple[np.ndarray, np.ndarray]) -> None:
    found = risk_coverage(*pair)
    assert list(found.risk) == pytest.approx(mean_over_orders(*pair), abs=0.06)
    assert found.risk[-1] == pytest.approx(pair[0].mean()) and found.best_area <= found.area + 1e-12
    assert found.area == pytest.approx(found.risk.mean())


def test_without_ties_it_is_plain() -> None:
    found = risk_coverage(np.array([0.0, 1.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0, 4.0]))
    assert list(found.risk) == [0, 0.5, pytest.approx(1 / 3), 0.5] and list(found.coverage) == [0.25, 0.5, 0.75, 1]
    assert found.random_area == 0.5 and found.best_area == pytest.approx((0 + 0 + 1 / 3 + 1 / 2) / 4)


@settings(max_examples=60, deadline=None)
@given(rows, st.floats(0, 1), st.sampled_from([0.0, 0.02]))
def test_the_least_share_reaches_the_target_and_less_does_not(
    pair: tuple[np.ndarray, np.ndarray], target: float, reviewer: float
) -> None:
    error, score = pair
    share = review_share(error, score, target, reviewer_error=reviewer, draws=100).value
    if np.isnan(share):
        assert reviewer > target
        return
    assert residual_error(error, score, share, reviewer_error=reviewer) <= target + 1e-9
    grid = np.linspace(0, 1, 401)
    fits = [one for one in grid if residual_error(error, score, one, reviewer_error=reviewer) <= target]
    assert share <= min(fits) + 1e-9


def test_nothing_to_review_and_everything() -> None:
    score = np.arange(20.0)
    assert review_share(np.zeros(20), score, 0.0).value == 0.0
    assert review_share(np.ones(20), score, 0.0).value == 1.0
    assert review_share(np.ones(20), score, 0.25).value == pytest.approx(0.75)
    assert np.isnan(review_share(np.ones(20), score, 0.01, reviewer_error=0.05).value)


def test_the_interval_covers_the_share_that_is_true() -> None:
    """P(error) = score, uniform: letting the c least suspect through leaves c^2 / 2."""
    truth, hits = 1 - np.sqrt(2 * 0.1), 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        score = random.random(200)
        error = (random.random(200) < score) * 1.0
        found = review_share(error, score, 0.1, draws=400, seed=seed)
        assert found.low <= found.value <= found.high
        hits += found.low <= truth <= found.high
    assert hits >= 51


def test_groups_widen_the_interval() -> None:
    random = np.random.default_rng(1)
    score = np.repeat(random.random(40), 10)
    error = (np.repeat(random.random(40), 10) < score) * 1.0
    alone = review_share(error, score, 0.1, draws=400)
    grouped = review_share(error, score, 0.1, groups=np.repeat(np.arange(40), 10), draws=400)
    assert grouped.n == 40 and grouped.high - grouped.low > 1.5 * (alone.high - alone.low)


def test_a_threshold_sends_its_share_to_review() -> None:
    score = np.random.default_rng(0).random(200)
    for share in (0.0, 0.25, 1.0):
        assert (score > review_threshold(score, share)).mean() == pytest.approx(share)


def test_minutes_and_dollars() -> None:
    assert review_cost(0.1, 5000, minutes_each=3, usd_per_hour=60) == (1500, 1500)
    assert review_cost(0.1, 5000, minutes_each=3, usd_per_hour=None) == (1500, None)


@pytest.mark.parametrize(("error", "score"), [([], []), ([1.0], [1.0, 2.0]), ([np.nan], [1.0]), ([1.0], [np.nan])])
def test_what_cannot_be_sorted_is_an_error(error: list[float], score: list[float]) -> None:
    with pytest.raises(ValueError, match="errors"):
        risk_coverage(np.array(error), np.array(score))
