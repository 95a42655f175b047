"""Each interval against an oracle and a closed form."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as oracle
from statsmodels.stats.proportion import proportion_confint

from evals.stats import (
    Estimate,
    bca_mean,
    clustered_mean,
    design_effect,
    intervals,
    mean_t,
    quantile,
    ratio_bootstrap,
    wilson,
)


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


# Clustered and BCa --------------------------------------------------------------------------------------------


def test_clustered_mean_is_cr1_of_statsmodels() -> None:
    from statsmodels.api import OLS

    random = np.random.default_rng(7)
    groups = random.integers(0, 15, 90)
    values = random.normal(size=90) + groups / 5
    fit = OLS(values, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": groups}, use_t=True)
    low, high = fit.conf_int()[0]
    found = clustered_mean(values, groups)
    assert (found.value, found.low, found.high) == pytest.approx((values.mean(), low, high))
    assert found.n == len(set(groups))


def test_clusters_of_one_are_the_t_interval() -> None:
    values = np.random.default_rng(8).normal(size=30)
    found, plain = clustered_mean(values, np.arange(30)), mean_t(values)
    assert (found.low, found.high, found.n) == pytest.approx((plain.low, plain.high, plain.n))


def test_bca_is_scipys() -> None:
    values = np.random.default_rng(9).lognormal(0, 1, 60)
    theirs = oracle.bootstrap((values,), np.mean, method="BCa", n_resamples=20000, rng=1).confidence_interval
    found = bca_mean(values, draws=20000)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_edges_of_clustered_and_bca() -> None:
    assert math.isnan(clustered_mean(np.array([1.0, 2.0]), ["a", "a"]).low)
    assert clustered_mean(np.array([]), []).n == 0 and math.isnan(bca_mean(np.array([np.nan])).value)
    equal = bca_mean(np.full(9, 0.1))
    assert equal.low == equal.high == equal.value == pytest.approx(0.1)
    assert math.isnan(bca_mean(np.ones(4)).low)


def coverage(intervals: "list[Estimate]", truth: float) -> float:
    return sum(one.low <= truth <= one.high for one in intervals) / len(intervals)


@pytest.mark.parametrize(("share", "n"), [(0.97, 30), (0.9, 60), (0.99, 200)])
def test_wilson_covers_near_the_ceiling(share: float, n: int) -> None:
    """Exactly, not by simulation; it moves in steps, so the two ends are wider than the doctrine's 93-97."""
    inside = [k for k in range(n + 1) if wilson(k, n).low <= share <= wilson(k, n).high]
    assert 0.93 <= oracle.binom.pmf(inside, n, share).sum() <= 0.985


def test_clustered_fields_cover_and_naive_ones_do_not() -> None:
    """100 documents of 12 fields, right with a chance of their own: intraclass correlation 0.5."""
    random, clustered, naive = np.random.default_rng(10), [], []
    for _ in range(1500):
        chance = random.beta(0.8, 0.2, 100)
        values = (random.random((100, 12)) < chance[:, None]).astype(float).ravel()
        clustered.append(clustered_mean(values, np.repeat(np.arange(100), 12)))
        naive.append(mean_t(values))
    assert 0.93 <= coverage(clustered, 0.8) <= 0.97
    assert coverage(naive, 0.8) < 0.65


def test_t_and_bca_cover() -> None:
    """t: normal values, n = 20. BCa: exponential values, n = 80."""
    random = np.random.default_rng(11)
    normal = [mean_t(random.normal(3, 1, 20)) for _ in range(2000)]
    skewed = [bca_mean(random.exponential(1, 80), draws=800, seed=seed) for seed in range(1500)]
    assert 0.93 <= coverage(normal, 3) <= 0.97
    assert 0.925 <= coverage(skewed, 1) <= 0.97


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=40), st.floats(0, 1))
def test_a_quantile_of_what_is_partly_in_order_is_numpy_s(values: list[float], q: float) -> None:
    found = intervals.quantiles(np.array([*values, np.nan]), [0.5, q, 0.95])
    assert [one.value for one in found] == pytest.approx(np.quantile(values, [0.5, q, 0.95]).tolist(), rel=1e-15)
    assert found[1] == quantile(np.array(values), q)


def counts(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Small counts, of which few are distinct."""
    random = np.random.default_rng(6)
    whole = random.integers(1, 9, n).astype(float)
    return random.binomial(whole.astype(int), 0.7).astype(float), whole


def test_equal_documents_drawn_together_have_the_law_of_documents_drawn_alone() -> None:
    top, whole = counts(300)
    tops, wholes, times = intervals.distinct_pairs(top, whole)
    assert sorted(zip(np.repeat(tops, times), np.repeat(wholes, times), strict=True)) == sorted(
        zip(top, whole, strict=True)
    )
    alone = intervals._ratios(top, whole, None, 4000, 0)
    together = intervals._ratios(tops, wholes, times, 4000, 1)
    assert oracle.ks_2samp(alone, together).pvalue > 0.01
    halves = intervals.distinct_pairs(np.append(tops, tops), np.append(wholes, wholes), np.append(times, times))
    assert (halves[0] == tops).all() and (halves[2] == 2 * times).all()


def test_many_documents_whatever_their_order_have_one_interval() -> None:
    top, whole = counts(intervals.DRAWN_ALONE + 1)
    order = np.random.default_rng(7).permutation(len(top))
    assert ratio_bootstrap(top, whole) == ratio_bootstrap(top[order], whole[order])
    tops, wholes, times = intervals.distinct_pairs(top, whole)
    assert ratio_bootstrap(top, whole) == ratio_bootstrap(tops, wholes, times=times)


def test_the_interval_of_the_linearised_ratio_is_that_of_the_bootstrap(monkeypatch: pytest.MonkeyPatch) -> None:
    top, whole = counts(5000)
    drawn = ratio_bootstrap(top, whole)
    monkeypatch.setattr(intervals, "DRAWN_AT_ALL", 1)
    found = ratio_bootstrap(top, whole)
    assert (found.value, found.n) == (drawn.value, drawn.n) and found.n == 5000
    wide = drawn.high - drawn.low
    assert abs(found.low - drawn.low) < 0.06 * wide and abs(found.high - drawn.high) < 0.06 * wide


def test_totals_that_are_not_known_have_no_ratio() -> None:
    for known in (0, 4):
        numerator = np.array([1.0] * known + [math.nan] * (6 - known))
        found = ratio_bootstrap(numerator, numerator + 1)
        assert math.isnan(found.value) and math.isnan(found.low) and math.isnan(found.high)


def test_design_effect_of_independent_repeated_and_autoregressive_values() -> None:
    random = np.random.default_rng(3)
    assert design_effect(random.random(100_000)) == pytest.approx(1, abs=0.15)
    assert design_effect(np.repeat(random.random(20_000), 5)) == pytest.approx(5, rel=0.1)
    values = np.zeros(100_000)
    for at in range(1, len(values)):
        values[at] = 0.8 * values[at - 1] + random.standard_normal()
    assert design_effect(values) == pytest.approx((1 + 0.8) / (1 - 0.8), rel=0.15), "AR(1), closed form"


@given(st.lists(st.integers(0, 1), max_size=60))
def test_design_effect_is_one_or_more(values: list[int]) -> None:
    found = design_effect(np.array(values, np.float64))
    assert 1 <= found <= max(1, len(values))
    if len(values) < 10 or len(set(values)) < 2:
        assert found == 1
