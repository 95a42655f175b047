"""Prices joined to a table: by usage, by machine, and what stays unknown."""

import numpy as np
import pandas as pd
import pytest

import evals
from evals.core import Price
from evals.errors import ConfigError


def table(**columns: object) -> pd.DataFrame:
    base = {
        "option": ["a", "a", "b", "b"],
        "model": ["a", "a", "b", "b"],
        "sample_id": ["x", "y", "x", "y"],
        "input_tokens": [1000.0, 2000.0, np.nan, 500.0],
        "output_tokens": [100.0, 0.0, 10.0, 10.0],
        "cost_usd": [9.0, 9.0, 0.0, 0.0],
        "latency_s": [1.0, 3.0, 2.0, 2.0],
        "failed": [False] * 4,
    }
    return pd.DataFrame({**base, **columns})


RATES = {"input_usd_per_mtok": 2.0, "output_usd_per_mtok": 10.0, "date": "2026-11-01", "source": "the invoice"}


def test_an_old_run_is_priced_anew() -> None:
    before = table()
    found = evals.add_cost(before, prices={"a": RATES})
    assert found["cost_usd"].tolist()[:2] == pytest.approx([0.002 + 0.001, 0.004])
    assert found["price_date"].tolist()[:2] == ["2026-11-01"] * 2 and found["price_source"][0] == "the invoice"
    assert before["cost_usd"].tolist() == [9, 9, 0, 0]
    twice = evals.add_cost(found, prices={"a": Price(name="a", input_usd_per_mtok=4, output_usd_per_mtok=20)})
    assert twice["cost_usd"].tolist()[:2] == pytest.approx([0.006, 0.008])


def test_zero_by_omission_and_usage_not_reported_are_unknown() -> None:
    found = evals.add_cost(table())
    assert found["cost_usd"].isna().tolist() == [False, False, True, True]
    assert found["cost_flag"].tolist()[2:] == ["cost of 0 is taken as not recorded"] * 2
    priced = evals.add_cost(table(), prices={"a": RATES, "b": RATES})
    assert np.isnan(priced["cost_usd"][2]) and "usage not reported" in priced["cost_flag"][2]
    assert priced["cost_usd"][3] == pytest.approx(0.0011)


def test_the_tier_that_served_is_the_tier_that_is_billed() -> None:
    batch = {**RATES, "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 5.0}
    found = evals.add_cost(table(tier=["batch", None, None, None]), prices={"a": {"default": RATES, "batch": batch}})
    assert found["cost_usd"].tolist()[:2] == pytest.approx([0.0015, 0.004])


def test_cached_answers_were_not_paid_again() -> None:
    found = evals.add_cost(table(cached=[True, False, False, False]), prices={"a": RATES})
    assert found["cost_usd"][0] == 0 and found["notional_usd"][0] == pytest.approx(0.003)


def test_a_machine_s_hours_are_shared_out_by_latency() -> None:
    found = evals.add_cost(table(location="own"), machines={"a": 3600.0})
    assert found["cost_usd"].tolist()[:2] == pytest.approx([1.0, 3.0]) and found["cost_usd"][2] == 0
    everywhere = evals.add_cost(table(location=["own", "own", "api", "api"]), machines={"*": 3600.0})
    assert everywhere["cost_usd"].isna().tolist() == [False, False, True, True]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"prices": {"c": RATES}}, "'c', which is no option"),
        ({"prices": {"a": {**RATES, "output_usd_per_mtok": 0}}}, "above 0"),
        ({"prices": {"a": {"input": 3}}}, "'input' is not known"),
        ({"machines": {"a": -1}}, "at least 0"),
    ],
)
def test_mistakes(arguments: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        evals.add_cost(table(), **arguments)


@pytest.mark.parametrize("rate", [float("inf"), float("nan"), "2", -1, True])
def test_a_rate_that_is_no_finite_number_is_refused(rate: object) -> None:
    for prices, machines in (({"a": {**RATES, "input_usd_per_mtok": rate}}, {}), ({}, {"a": rate})):
        with pytest.raises(ConfigError, match="finite number|at least 0|above 0"):
            evals.add_cost(table(), prices=prices, machines=machines)
