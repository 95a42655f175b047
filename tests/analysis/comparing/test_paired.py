"""Paired figures against values computed otherwise: statsmodels, loops over resamples, closed forms, coverage."""

import math
import random

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from evals.analysis.comparing import paired
from evals.stats import paired_ratio_difference


def array(*values: float) -> paired.Array:
    return np.array(values, np.float64)


def test_shares_equal_statsmodels_and_the_published_formula() -> None:
    a, b = array(*[1] * 30 + [1] * 9 + [0] * 2 + [0] * 19), array(*[1] * 30 + [0] * 9 + [1] * 2 + [0] * 19)
    found = paired.share(a, b)
    assert found.p == pytest.approx(mcnemar([[30, 9], [2, 19]], exact=True).pvalue)
    p12, p21 = 10 / 62, 3 / 62
    half = 1.959964 * math.sqrt((p12 + p21 - (p21 - p12) ** 2) / 62)
    assert found.difference.value == pytest.approx(-7 / 60)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (p21 - p12 - half, p21 - p12 + half), abs=1e-6
    )
    assert found.baseline == pytest.approx(39 / 60) and found.own.value == pytest.approx(32 / 60)


@pytest.mark.parametrize(
    ("both", "lost", "won", "n"), [(0.9, 0.04, 0.04, 100), (0.95, 0.02, 0.02, 60), (0.5, 0.2, 0.1, 40)]
)
def test_the_interval_of_a_share_covers(both: float, lost: float, won: float, n: int) -> None:
    """Nominal 95 %, near the ceiling and away from it."""
    rng = np.random.default_rng(3)
    draws = rng.multinomial(n, [both, lost, won, 1 - both - lost - won], size=2000)
    inside = 0
    for ones, only_a, only_b, none in draws:
        a = np.repeat([1.0, 1.0, 0.0, 0.0], [ones, only_a, only_b, none])
        b = np.repeat([1.0, 0.0, 1.0, 0.0], [ones, only_a, only_b, none])
        found = paired.share(a, b).difference
        inside += found.low <= won - lost <= found.high
    assert inside / 2000 >= 0.94  # where hardly a document differs it is too wide, never too narrow


def test_a_mean_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    a = rng.normal(5, 2, 30)
    b = a + rng.normal(0.4, 1, 30)
    found = paired.mean(a, b)
    expected = stats.ttest_rel(b, a)
    assert found.p == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval()
    assert (found.difference.low, found.difference.high) == pytest.approx((interval.low, interval.high))
    assert found.sd == pytest.approx(np.std(b - a, ddof=1))


def test_a_clustered_mean_is_statsmodels_cr1() -> None:
    import statsmodels.api as sm

    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(12), 5)
    a, b = rng.normal(size=60), rng.normal(0.5, 1, 60) + rng.normal(size=12)[groups]
    fitted = sm.OLS(b - a, np.ones(60)).fit(
        cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True
    )
    found = paired.mean(a, b, groups)
    error = found.sd / math.sqrt(60)
    assert error == pytest.approx(math.sqrt(12 / 11) * _sandwich(b - a, groups), rel=1e-9)
    assert error == pytest.approx(float(fitted.bse[0]), rel=0.02)  # statsmodels' CR1 has (n-1)/(n-k) in it too
    assert found.p == pytest.approx(2 * stats.t.sf(abs(found.difference.value) / error, 11))


def _sandwich(values: paired.Array, groups: "np.ndarray[tuple[int], np.dtype[np.int64]]") -> float:
    rest = values - values.mean()
    return math.sqrt(sum(rest[groups == g].sum() ** 2 for g in set(groups))) / len(values)


def test_a_ratio_is_the_naive_bootstrap_of_documents() -> None:
    rng = random.Random(5)
    rows = [(rng.randint(0, 6), rng.randint(6, 9), rng.randint(0, 6), rng.randint(6, 9)) for _ in range(40)]
    table = np.array(rows, np.float64)
    found = paired.ratio(*table.T)
    assert found is not None
    naive = []
    for _ in range(3000):
        drawn = [rows[rng.randrange(40)] for _ in range(40)]
        sums = [sum(row[i] for row in drawn) for i in range(4)]
        naive.append(sums[2] / sums[3] - sums[0] / sums[1])
    naive.sort()
    assert found.difference.value == pytest.approx(
        table[:, 2].sum() / table[:, 3].sum() - table[:, 0].sum() / table[:, 1].sum()
    )
    assert found.difference.low == pytest.approx(naive[75], abs=0.01)
    assert found.difference.high == pytest.approx(naive[2925], abs=0.01)
    assert found.sd / math.sqrt(40) == pytest.approx(np.std(naive), rel=0.1), "the delta method agrees"


def test_a_ratio_of_nothing_is_not_scored() -> None:
    assert paired.ratio(array(0, 0), array(0, 0), array(1, 1), array(2, 2)) is None


def test_many_ratios_of_one_draw_are_each_alone() -> None:
    rng = np.random.default_rng(9)
    parts = [tuple(rng.integers(1, 9, (4, 50)).astype(np.float64)) for _ in range(3)]
    groups = np.repeat(np.arange(25), 2)
    for labels in (None, groups):
        for part, sums in zip(parts, paired.ratio_draws(parts, labels), strict=True):
            alone, shared = paired.ratio(*part, labels), paired.ratio(*part, labels, sums=sums)
            assert alone == shared and alone is not None
            expected = paired_ratio_difference(*part, groups=labels)
            assert (alone.difference.low, alone.difference.high) == pytest.approx((expected.low, expected.high))


def test_a_percentile_is_the_naive_bootstrap_of_documents() -> None:
    rng = np.random.default_rng(7)
    a = rng.lognormal(0, 0.5, 300)
    b = a * rng.lognormal(0.2, 0.2, 300)
    found = paired.percentile(a, b, 0.95)
    picks = rng.integers(300, size=(2000, 300))
    naive = [float(np.quantile(b[pick], 0.95) / np.quantile(a[pick], 0.95) - 1) for pick in picks]
    assert found.relative.value == pytest.approx(np.quantile(b, 0.95) / np.quantile(a, 0.95) - 1)
    low, high = np.quantile(naive, [0.025, 0.975])
    assert (found.relative.low, found.relative.high) == pytest.approx((low, high), abs=0.03)
    assert paired.percentile(a, a * 2, 0.5).p < 2 / 2001


def test_a_relative_mean_covers() -> None:
    """Cost as a share of the baseline's: 95 % nominal."""
    rng, inside = np.random.default_rng(11), 0
    for _ in range(600):
        a = rng.gamma(4, 1, 80)
        found = paired.relative_mean(a, a * rng.normal(1.2, 0.3, 80)).relative
        inside += found.low <= 0.2 <= found.high
    assert 0.93 <= inside / 600 <= 0.97


def test_where_no_document_differs_the_interval_is_what_n_leaves_possible() -> None:
    ones = np.ones(100)
    for found in (paired.share(ones, ones), paired.mean(ones, ones), paired.ratio(ones, ones, ones, ones)):
        assert found is not None and found.p == 1.0 and found.note == paired.SAME_ANSWERS
        assert found.difference.value == 0.0 and 0.03 < found.difference.high < 0.07
    bound = paired.unchanged(183)
    assert bound.high == pytest.approx(1 - 0.025 ** (1 / 183))
    assert paired.unchanged_needed(0.02) == 183 and bound.high < 0.02 < paired.unchanged(182).high


@pytest.mark.parametrize("n", [1, 2, 3])
def test_few_documents_have_an_answer_and_no_false_certainty(n: int) -> None:
    a, b = np.zeros(n), np.ones(n)
    share = paired.share(a, b)
    assert share.p >= 0.25 and share.difference.low < 0.5
    assert math.isnan(paired.percentile(a + 1, b + 1, 0.95).p)
    mean = paired.mean(a, b + np.arange(n))
    assert n > 1 or math.isnan(mean.p)


def test_documents_that_all_differ_alike_say_no_more_than_their_signs() -> None:
    """Five documents from 0 to 1: a sign test's p is 2 / 32, however equal they are."""
    zeros, ones = np.zeros(5), np.ones(5)
    for found in (paired.ratio(zeros, ones, ones, ones), paired.mean(zeros, ones)):
        assert found is not None and found.p == pytest.approx(2 / 32)
    ratio = paired.ratio(np.zeros(34), np.ones(34), np.ones(34), np.ones(34))
    assert ratio is not None and ratio.p < 1e-9 and ratio.difference.value == 1.0
    assert ratio.difference.low == pytest.approx(0.025 ** (1 / 34)) and ratio.difference.high == 1.0
    assert paired.percentile(np.arange(1.0, 7), np.arange(1.0, 7) * 3, 0.5).p == pytest.approx(2 / 64)


def test_a_plain_change_of_latency_survives_holm_over_many_tests() -> None:
    """2,001 draws alone give at best p = .001, which 100 tests would turn into .1 whatever the change."""
    rng = np.random.default_rng(3)
    a = rng.lognormal(0, 0.3, 400)
    for q in (0.5, 0.95):
        assert paired.percentile(a, a * 3, q).p * 100 < 0.01
        few = paired.percentile(a[:100], a[:100] * 3, q)
        assert few.p < 1e-6 if q == 0.5 else few.p == pytest.approx(2 / 2001)


@pytest.mark.slow
def test_no_change_of_latency_is_seldom_one() -> None:
    rng, false = np.random.default_rng(4), 0
    for _ in range(150):
        base = rng.lognormal(0, 0.5, 250)
        a, b = base * rng.lognormal(0, 0.2, 250), base * rng.lognormal(0, 0.2, 250)
        false += paired.percentile(a, b, 0.95).p < 0.05
    assert false <= 17  # nominal 7.5; 17 and more have a chance below one in a thousand
