"""Each interval against an oracle and a closed form."""

import math

import numpy as np
import pytest
from scipy import stats as oracle
from statsmodels.stats.proportion import proportion_confint

from evals.stats import mean_t, quantile, ratio_bootstrap, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (29, 30), (1, 200), (57, 100)])
def test_wilson(successes: int, n: int) -> None:
    low, high = proportion_confint(successes, n, method="wilson")
    found = wilson(successes, n)
    assert (found.value, found.low, found.high) == pytest.approx((successes / n, max(low, 0), min(high, 1)), abs=1e-9)


def test_nothing_measured_is_no_interval() -> None:
    assert math.isnan(wilson(0, 0).value) and math.isnan(mean_t(np.array([np.nan])).value)
    assert math.isnan(ratio_bootstrap(np.zeros(3), np.zeros(3)).value)


def test_mean_t() -> None:
    values = np.random.default_rng(1).normal(5, 2, 40)
    low, high = oracle.t.interval(0.95, 39, loc=values.mean(), scale=oracle.sem(values))
    found = mean_t(values)
    assert (found.low, found.high) == pytest.approx((low, high))


@pytest.mark.parametrize(("n", "q"), [(200, 0.95), (30, 0.5), (1000, 0.99)])
def test_quantile_interval_covers_at_its_level(n: int, q: float) -> None:
    found = quantile(np.arange(1, n + 1, dtype=float), q)
    below, above = int(found.low), int(found.high)
    covered = oracle.binom.cdf(above - 1, n, q) - oracle.binom.cdf(below - 1, n, q)
    assert covered >= 0.95 and found.value == pytest.approx(np.quantile(np.arange(1, n + 1), q))


def test_a_quantile_of_few_values_has_no_upper_bound() -> None:
    assert math.isnan(quantile(np.arange(20.0), 0.95).high)


def test_ratio_bootstrap_agrees_with_the_normal_interval_of_a_proportion() -> None:
    hits = np.array([1.0] * 300 + [0.0] * 200)
    found = ratio_bootstrap(hits, np.ones(500))
    half = 1.96 * math.sqrt(0.6 * 0.4 / 500)
    assert (found.value, found.low, found.high) == pytest.approx((0.6, 0.6 - half, 0.6 + half), abs=0.006)


def test_ratio_bootstrap_covers() -> None:
    random, covered = np.random.default_rng(3), 0
    for trial in range(150):
        size = random.integers(5, 15, 80).astype(float)
        rate = random.beta(8, 4, 80)
        hits = random.binomial(size.astype(int), rate).astype(float)
        found = ratio_bootstrap(hits, size, draws=400, seed=trial)
        covered += found.low <= 2 / 3 <= found.high
    assert 0.88 <= covered / 150 <= 1.0


def test_a_perfect_score_keeps_an_interval() -> None:
    found = ratio_bootstrap(np.ones(40), np.ones(40))
    assert found.value == found.high == 1.0 and found.low == pytest.approx(wilson(40, 40).low)


def test_four_documents_have_no_interval() -> None:
    found = ratio_bootstrap(np.array([1.0, 0, 1, 1]), np.ones(4))
    assert found.value == 0.75 and math.isnan(found.low)
