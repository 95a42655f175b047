"""p values, non-inferiority and power against statsmodels, simulation and the doctrine's own figures."""

import math

import numpy as np
import pytest
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from evals.stats import (
    Estimate,
    benjamini_hochberg,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    noninferior,
    sample_size,
)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 1), (3, 9), (10, 10), (0, 14), (25, 7)])
def test_mcnemar(only_a: int, only_b: int) -> None:
    table = [[50, only_a], [only_b, 20]]
    assert mcnemar_exact(only_a, only_b) == pytest.approx(mcnemar(table, exact=True).pvalue)


def test_mcnemar_without_discordant_pairs() -> None:
    assert mcnemar_exact(0, 0) == 1.0
    with pytest.raises(ValueError, match="negative"):
        mcnemar_exact(-1, 2)


@pytest.mark.parametrize(("ours", "theirs"), [(holm, "holm"), (benjamini_hochberg, "fdr_bh")])
def test_adjusted_p(ours, theirs: str) -> None:  # type: ignore[no-untyped-def]
    p = np.random.default_rng(1).random(25) ** 3
    assert ours(list(p)) == pytest.approx(multipletests(p, method=theirs)[1])
    with_gap = ours([p[0], math.nan, *p[1:]])
    assert math.isnan(with_gap[1]) and [with_gap[0], *with_gap[2:]] == pytest.approx(ours(list(p)))
    assert ours([]) == [] and ours([0.3]) == [0.3]
    with pytest.raises(ValueError, match=r"0\.\.1"):
        ours([1.2])


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.01, 0.03, "non-inferior"),
        (-0.09, -0.03, "inferior"),
        (-0.03, 0.01, "inconclusive"),
        (math.nan, math.nan, "inconclusive"),
    ],
)
def test_noninferior(low: float, high: float, verdict: str) -> None:
    assert noninferior(Estimate((low + high) / 2, low, high, 50), 0.02) == verdict


@pytest.mark.parametrize("n", [2, 5, 60, 3000])
def test_detectable_difference_is_statsmodels(n: int) -> None:
    theirs = TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8)
    assert minimum_detectable_difference(0.4, n) == pytest.approx(0.4 * float(np.squeeze(theirs)), rel=1e-4)


@pytest.mark.parametrize(("sd", "difference"), [(0.4, 0.05), (0.3, 0.1), (1.0, 2.0), (0.3, 0.001)])
def test_sample_size_is_the_least_that_detects_it(sd: float, difference: float) -> None:
    n = sample_size(sd, difference)
    assert minimum_detectable_difference(sd, n) <= difference * (1 + 1e-9)
    assert n == 2 or minimum_detectable_difference(sd, n - 1) > difference * (1 - 1e-9)


def test_the_doctrine_s_sample_sizes() -> None:
    """MEASURING: 5 points need 250-470 documents; "these 60 documents can detect 14 points"."""
    assert 250 <= sample_size(0.35, 0.05) <= 470
    assert minimum_detectable_difference(0.38, 60) == pytest.approx(0.14, abs=0.005)


def test_edges_of_power() -> None:
    assert minimum_detectable_difference(0.4, 1) == math.inf and minimum_detectable_difference(0.0, 10) == 0.0
    assert math.isnan(minimum_detectable_difference(math.nan, 10)) and sample_size(0.0, 0.1) == 2
    assert sample_size(0.4, -0.05) == sample_size(0.4, 0.05)
    with pytest.raises(ValueError, match="difference of 0"):
        sample_size(0.4, 0.0)


def test_holm_holds_false_winners_of_twenty_equal_models() -> None:
    """Binary scores of 20 models that are as good as the baseline, 200 documents, 400 trials."""
    random, raw, held = np.random.default_rng(3), 0, 0
    for _ in range(400):
        ease = random.random(200)
        base = random.random(200) < ease
        p = []
        for _ in range(20):
            other = random.random(200) < ease
            p.append(mcnemar_exact(int((base & ~other).sum()), int((other & ~base).sum())))
        raw, held = raw + (min(p) < 0.05), held + (min(holm(p)) < 0.05)
    assert raw / 400 > 0.2 and held / 400 <= 0.05
