"""Gates: met, failed, inconclusive, and how many documents would tell."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from evals.analysis.comparing import gates
from evals.errors import ConfigError
from evals.stats import quantile, wilson


def row(metric: str = "f1", **more: Any) -> dict[str, Any]:
    found = {"metric": metric, "slice": None, "field": None, "candidate": 0.8, "candidate_low": 0.75, "n": 100}
    found |= {"candidate_high": 0.85, "difference": -0.02, "low": -0.05, "high": 0.01, "verdict": "inconclusive"}
    found |= {"relative": 0.2, "relative_low": 0.1, "relative_high": 0.3, "note": None, "needed": 400}
    return found | more


def result(metric: str, kind: str, limit: float, **more: Any) -> dict[str, Any]:
    (found,) = gates.evaluate({metric: {kind: limit}}, [row(metric, **more)])
    return found


@pytest.mark.parametrize(
    ("metric", "kind", "limit", "said"),
    [
        ("f1", "min", 0.75, "met"),
        ("f1", "min", 0.76, "inconclusive"),
        ("f1", "min", 0.85, "inconclusive"),
        ("f1", "min", 0.86, "failed"),
        ("f1", "max", 0.85, "met"),
        ("f1", "max", 0.84, "inconclusive"),
        ("f1", "max", 0.74, "failed"),
        ("f1", "margin", 0.06, "met"),
        ("f1", "margin", 0.05, "inconclusive"),
        ("f1", "margin", 0.0, "inconclusive"),
        ("cost", "max_increase", 0.3, "met"),
        ("cost", "max_increase", 0.2, "inconclusive"),
        ("p95_s", "max_increase", 0.09, "failed"),
    ],
)
def test_the_whole_interval_decides(metric: str, kind: str, limit: float, said: str) -> None:
    found = result(metric, kind, limit)
    assert found["result"] == said and found["gate"] == f"{metric}.{kind}" and found["limit"] == limit


def test_a_margin_is_of_what_is_worse() -> None:
    """Of failures more is worse: +0.05 against a margin of 0.02 fails, -0.05 never does."""
    worse = result("failed", "margin", 0.02, difference=0.05, low=0.03, high=0.07)
    better = result("failed", "margin", 0.02, difference=-0.05, low=-0.07, high=-0.03)
    assert (worse["result"], better["result"]) == ("failed", "met")
    lost = result("f1", "margin", 0.02, difference=-0.05, low=-0.07, high=-0.03)
    assert lost["result"] == "failed" and result("f1", "margin", 0.02)["needed"] == 400


@given(st.integers(20, 400), st.floats(0.05, 0.95), st.floats(0.02, 0.98))
def test_so_many_documents_would_tell(n: int, share: float, limit: float) -> None:
    """With the same share seen in `needed` documents the interval no longer holds the limit; in one fewer it does."""
    own = wilson(share * n, n)
    found = result("exact", "min", limit, candidate=share, candidate_low=own.low, candidate_high=own.high, n=n)
    if found["result"] == "inconclusive" and found["needed"] is not None and found["needed"] < 10**6:
        enough, few = (wilson(share * k, k) for k in (found["needed"], found["needed"] - 1))
        assert found["needed"] > n and not enough.low + 1e-9 < limit < enough.high - 1e-9
        assert found["needed"] == n + 1 or few.low - 1e-9 < limit < few.high + 1e-9
    elif found["result"] != "inconclusive":
        assert not own.low < limit < own.high


def test_without_a_formula_the_interval_shrinks_by_the_root_of_n() -> None:
    """Half the width from 0.80 down is 0.05; to 0.79 it must be a fifth of it: 25 times the documents."""
    assert result("f1", "min", 0.79)["needed"] == 2500


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_a_quantile_without_a_bound_says_from_when_it_has_one(q: float) -> None:
    import numpy as np

    metric = {0.5: "p50_s", 0.95: "p95_s"}[q]
    n = gates.bound_needs(q)
    values = np.arange(1.0, n + 1)
    assert not math.isnan(quantile(values, q).high) and math.isnan(quantile(values[:-1], q).high)
    assert stats.binom.cdf(n - 1, n, q) >= 0.975 > stats.binom.cdf(n - 2, n - 1, q)
    found = result(metric, "max", 5.0, candidate=1.0, candidate_low=0.9, candidate_high=math.nan, n=n - 1)
    assert (found["result"], found["needed"]) == ("inconclusive", n)
    late = result(metric, "max", 5.0, candidate=9.0, candidate_low=6.0, candidate_high=math.nan)
    assert late["result"] == "failed", "the lower bound is enough to fail"


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"f2": {"min": 1}}, "gate.f2 is no metric; did you mean f1"),
        ({"f1": 0.9}, "gate.f1 should hold min, max, margin, max_increase"),
        ({"f1": {"mim": 1}}, "gate.f1.mim is not known; did you mean min"),
        ({"f1": {"min": "0.9"}}, "should be a number"),
        ({"f1": {"min": True}}, "should be a number"),
        ({"f1": {"min": math.inf}}, "should be a number"),
        ({"f1": {"margin": -0.1}}, "must be at least 0"),
        ({"f1": {"min": 90}}, "gate.f1.min=90: f1 is a share of 1, not in percent"),
        ({"failed": {"max": 5}}, "not in percent"),
        ({"exact": {"margin": 2}}, "not in percent"),
        ({"f1": {"max_increase": 0.1}}, "use margin"),
        ({"cost": {"margin": 0.1}}, "use gate.cost.max_increase"),
    ],
)
def test_mistakes_are_one_line(given_: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        gates.checked(given_)


def test_nulls_are_no_gates_and_a_file_names_itself() -> None:
    assert gates.checked({"f1": {"min": None, "max": 1}, "cost": {"max": None}}) == {"f1": {"max": 1.0}}
    with pytest.raises(ConfigError, match=r"gates\.yaml\.f2"):
        gates.checked({"f2": {}}, "gates.yaml")


@pytest.mark.parametrize(
    "more", [{"candidate": None}, {"candidate": math.nan}, {"difference": None, "verdict": "refused"}]
)
def test_a_gate_that_nobody_could_fail_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="gate.f1.margin: f1 is"):
        result("f1", "margin", 0.1, **more)


def test_only_the_whole_is_gated() -> None:
    rows = [row("f1", slice="simple", candidate_low=0.0), row("f1", field="who", candidate_low=0.0), row("f1")]
    (found,) = gates.evaluate({"f1": {"min": 0.75}}, rows)
    assert found["result"] == "met"


def test_scales_of_their_own_have_gates_beyond_1() -> None:
    assert gates.checked({"score": {"min": 4}, "p95_s": {"max": 5}, "cost": {"max_increase": 2}})["score"] == {
        "min": 4.0
    }
