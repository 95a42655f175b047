"""Random mixes and their hull, against brute force."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evals.analysis.routing.crossfit import mix_quality
from evals.analysis.routing.mixes import area, hull_cost, hull_quality

options = st.lists(st.tuples(st.floats(1, 50), st.floats(51, 100), st.floats(0.01, 10)), min_size=2, max_size=5).map(
    np.array
)


def all_mixes(singles: np.ndarray, steps: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Cost and quality of many mixes of any two options."""
    share = np.linspace(0, 1, steps + 1)[:, None]
    made = [(1 - share) * a + share * b for a in singles for b in singles]
    found = np.concatenate(made)
    return found[:, 2], found[:, 0] / found[:, 1]


@settings(max_examples=60, deadline=None)
@given(options, st.floats(0.01, 12))
def test_the_hull_is_the_best_of_all_mixes(singles: np.ndarray, budget: float) -> None:
    cost, quality = all_mixes(singles)
    found = hull_quality(singles[None], np.array([[budget]]))[0, 0]
    affordable = quality[cost <= budget]
    if not len(affordable):
        assert np.isnan(found)
        return
    assert found >= affordable.max() - 1e-9
    assert found <= affordable.max() + 0.02
    assert hull_cost(singles[None], np.array([[found - 1e-9]]))[0, 0] <= budget * (1 + 1e-6)


@settings(max_examples=60, deadline=None)
@example(np.array([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]]), 5e-324)
@given(options, st.floats(0, 1))
def test_the_least_cost_of_a_quality(singles: np.ndarray, wanted: float) -> None:
    cost, quality = all_mixes(singles)
    found = hull_cost(singles[None], np.array([[wanted]]))[0, 0]
    good = cost[quality >= wanted]
    if not len(good):
        assert np.isnan(found) or found <= cost.max()
        return
    assert found <= good.min() + 1e-9
    assert found >= good.min() - 0.06 * np.ptp(singles[:, 2]) - 1e-9


def test_a_mix_of_ratios_is_no_straight_line() -> None:
    base, top = np.array([10.0, 100.0, 0.0]), np.array([50.0, 50.0, 10.0])
    assert mix_quality(base, top, np.array(5.0)) == pytest.approx(30 / 75)
    assert mix_quality(base, top, np.array(-1.0)) == 0.1 and mix_quality(base, top, np.array(99.0)) == 1.0


def test_the_area_under_a_hull_by_hand() -> None:
    cost, quality = np.array([0.0, 1.0, 2.0, 1.5]), np.array([0.2, 0.8, 1.0, 0.1])
    assert area(cost, quality, 0, 2) == pytest.approx((0.5 + 0.9) / 2)
    assert area(np.array([0.0, 2.0]), np.array([0.2, 1.0]), 0, 2) == pytest.approx(0.6)
    assert area(np.array([0.0, 2.0]), np.array([0.9, 0.5]), 0, 2) == pytest.approx(0.9)  # it never falls
    assert area(cost, quality, 1, 1) is None and area(cost + 5, quality, 0, 2) is None
