"""Detectable differences against simulation and plain enumeration; spreads against numpy; forecasts against their law."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evals.analysis import planning
from evals.analysis.forecast import Conditions, forecast, further_mean
from evals.stats import Estimate, mcnemar_exact, minimum_detectable_difference, sample_size


def table(f1: "np.ndarray[Any, Any]", exact: "np.ndarray[Any, Any]", groups: Any = None) -> pd.DataFrame:
    """Documents with ten leaves each, of which `f1` are right and the others wrong."""
    n = len(f1)
    zero = np.zeros(n)
    return pd.DataFrame(
        {
            **{"sample_id": [f"d{i}" for i in range(n)], "group": groups if groups is not None else [None] * n},
            **{"tp": 10 * f1, "wrong": 10 - 10 * f1, "miss": zero, "hall": zero, "exact": exact},
        }
    )


def two(n: int = 60, seed: int = 0, sd: float = 0.2, share: float = 0.2) -> dict[str, pd.DataFrame]:
    random = np.random.default_rng(seed)
    base = random.uniform(0.3, 0.7, n)
    right = random.random(n) < 0.5
    flipped = random.random(n) < share
    return {
        "a": table(base, right.astype(float)),
        "b": table(base + random.normal(0, sd, n), (right ^ flipped).astype(float)),
    }


# Power --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("difference", "discordance", "n"), [(0.1, 0.2, 30), (0.3, 0.3, 12), (0.05, 0.4, 40), (0.2, 0.1, 25)]
)
def test_mcnemar_power_is_the_sum_over_every_table(difference: float, discordance: float, n: int) -> None:
    share = max(difference, discordance)
    better, worse = (share + difference) / 2, (share - difference) / 2
    naive = 0.0
    for won in range(n + 1):
        for lost in range(n + 1 - won):
            if mcnemar_exact(lost, won) <= 0.05:
                naive += float(stats.multinomial.pmf([won, lost, n - won - lost], n, [better, worse, 1 - share]))
    assert planning.mcnemar_power(difference, discordance, n) == pytest.approx(naive, abs=1e-9)


def test_without_a_difference_the_power_of_an_exact_test_is_at_most_its_size() -> None:
    assert all(planning.mcnemar_power(0.0, share, n) <= 0.05 for share in (0.05, 0.3, 0.9) for n in (10, 60, 400))
    assert planning.mcnemar_power(0.0, 0.0, 60) == 0.0


def test_sixty_documents_and_fourteen_points() -> None:
    """With a paired standard deviation of 0.37, 60 documents detect 14 points of F1."""
    assert planning.detectable("f1", 0.37**2, 60) == pytest.approx(0.136, abs=0.001)
    assert planning.detectable("exact", 0.0, 60) == pytest.approx(0.1286, abs=1e-4), "six that all go one way"


@pytest.mark.parametrize("size", [0.0, 0.05, 0.2, 0.6])
@pytest.mark.parametrize("n", [20, 100, 500])
def test_what_is_detectable_has_the_power_that_is_said(size: float, n: int) -> None:
    found = planning.detectable("exact", size, n)
    assert planning.mcnemar_power(found, size, n) == pytest.approx(0.8, abs=1e-3)
    assert planning.mcnemar_power(found * 0.97, size, n) < 0.8


def test_too_few_documents_detect_nothing() -> None:
    assert math.isinf(planning.detectable("exact", 0.2, 5)), "five discordant documents never reach 5 %"
    assert math.isinf(planning.detectable("f1", 0.25, 2)) and math.isinf(planning.detectable("f1", 0.25, 1))


@given(st.sampled_from(["f1", "exact"]), st.floats(0.01, 0.5), st.sampled_from([0.05, 0.1, 0.2]))
@settings(max_examples=25, deadline=None)
def test_documents_needed_and_difference_detected_are_each_others_inverse(
    metric: str, size: float, difference: float
) -> None:
    n = planning.needed(metric, size, difference)
    assert planning.detectable(metric, size, int(n)) <= difference * 1.0001
    if metric == "f1":
        assert n == sample_size(math.sqrt(size), difference)
        assert n <= 2 or planning.detectable(metric, size, int(n) - 1) > difference * 0.9999


def test_more_comparisons_need_more() -> None:
    sizes = [planning.detectable(m, 0.1, 100, alpha=0.05 / k) for m in planning.METRICS for k in (1, 3, 10)]
    assert sizes == sorted(sizes[:3]) + sorted(sizes[3:]) and len(set(sizes)) == 6


# Spread -------------------------------------------------------------------------------------------------------


def test_the_spread_of_one_pair_is_numpys() -> None:
    frames = two()
    found = planning.spread(frames)
    assert found is not None and found.provenance == "measured" and found.f1.n == 60
    difference = (
        frames["b"]["tp"] - frames["a"]["tp"]
    ) / 10  # of equal denominators the linear form is the value itself
    assert found.f1.value == pytest.approx(difference.var(ddof=1))
    assert found.f1.low < found.f1.value < found.f1.high
    flipped = float((frames["a"]["exact"] != frames["b"]["exact"]).mean())
    assert found.exact.value == pytest.approx(flipped) and found.exact.low < flipped < found.exact.high
    (pair,) = found.pairs
    assert (pair["a"], pair["b"], pair["n"]) == ("a", "b", 60) and pair["sd_f1"] == pytest.approx(difference.std())
    rows = planning.detection(found, [60], power=0.8, alpha=0.05)
    assert rows[0]["difference"] == pytest.approx(minimum_detectable_difference(float(difference.std()), 60))
    assert rows[0]["low"] < rows[0]["difference"] < rows[0]["high"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f1", "exact"])
def test_the_interval_covers_the_true_spread(kind: str) -> None:
    """95 % nominal; of 200 draws at 60 documents BCa of a variance and Wilson of a share cover 89 % and more."""
    hits = 0
    for seed in range(200):
        found = planning.spread(two(seed=seed))
        assert found is not None
        interval, truth = (found.f1, 0.2**2) if kind == "f1" else (found.exact, 0.2)
        hits += interval.low <= truth <= interval.high
    assert 0.89 <= hits / 200 <= 0.99


def test_documents_that_go_together_count_for_fewer() -> None:
    frames = two(40)
    doubled = {name: pd.concat([part, part.assign(sample_id=part["sample_id"] + "x")]) for name, part in frames.items()}
    apart = planning.spread(doubled)
    grouped = planning.spread({n: p.assign(group=p["sample_id"].str.rstrip("x")) for n, p in doubled.items()})
    assert apart is not None and grouped is not None
    assert grouped.f1.n == 40 and apart.f1.n == 80 and "groups" in grouped.notes[0] and not apart.notes
    assert (grouped.exact.high - grouped.exact.low) > (apart.exact.high - apart.exact.low)
    assert grouped.f1.value == pytest.approx(2 * apart.f1.value, rel=0.02), "80 documents that are 40 twice"


def test_pairs_that_never_differ_say_nothing_and_one_option_is_doubled() -> None:
    frames = two()
    same = planning.spread({"a": frames["a"], "again": frames["a"], "b": frames["b"]})
    assert same is not None and len(same.pairs) == 2 and "a and again do not differ" in same.notes[0]
    alone = planning.spread({"a": frames["a"]})
    assert alone is not None and alone.provenance == "assumed" and "one option alone" in alone.text
    assert alone.f1.value == pytest.approx(2 * (frames["a"]["tp"] / 10).var(ddof=1))
    p = frames["a"]["exact"].mean()
    assert alone.exact.value == pytest.approx(2 * p * (1 - p)) and alone.exact.high == 0.5
    assert planning.spread({}) is None and planning.spread({"a": frames["a"].head(3)}) is None
    assert planning.assumed().provenance == "assumed" and "assumed" in planning.assumed().text


def test_options_with_other_documents_are_paired_over_what_they_share() -> None:
    frames = two()
    found = planning.spread({"a": frames["a"], "b": frames["b"], "c": frames["b"].head(10).assign(tp=5.0, wrong=5.0)})
    assert found is not None and sorted(pair["n"] for pair in found.pairs) == [10, 10, 60] and found.f1.n == 60


# Forecast -----------------------------------------------------------------------------------------------------


def test_the_mean_of_further_documents_is_inside_as_often_as_said() -> None:
    random, hits = np.random.default_rng(0), 0
    for _ in range(600):
        found = further_mean(random.normal(5, 2, 10), 30)
        hits += found.low <= random.normal(5, 2, 30).mean() <= found.high
    assert 0.925 <= hits / 600 <= 0.975


def test_further_means_of_little() -> None:
    one = further_mean(np.array([2.0]), 10)
    assert one.value == 2.0 and math.isnan(one.low)
    assert (
        math.isnan(further_mean(np.array([2.0, np.nan]), 10).value) and further_mean(np.array([0.0, 9.0]), 5).low == 0
    )
    assert isinstance(one, Estimate)


MANIFEST: dict[str, Any] = {
    **{"option": "m", "model": "m", "load": "closed_loop(4)", "concurrency": 4, "location": "remote", "repeats": 1},
    "prices": {"default": {"provenance": "declared", "source": "declared", "date": "2026-11-01"}},
}


def answered(n: int = 20) -> pd.DataFrame:
    i = np.arange(n, dtype=float)
    return pd.DataFrame(
        {
            **{"run": "r", "sample_id": [f"d{k:.0f}" for k in i], "failed": i == 0, "cached": False, "in_flight": 3.5},
            **{"latency_s": 2 + i % 3, "input_tokens": 100 + i, "cache_read_tokens": np.nan, "output_tokens": 10.0},
            **{"cache_write_tokens": np.nan, "notional_usd": 0.01 + i / 1000, "wasted_assumed": 0.0},
        }
    )


def test_a_forecast_is_the_pilots_mean_times_the_documents() -> None:
    frame = answered()
    row = forecast(frame, MANIFEST, Conditions(documents=1000))
    assert (
        row["usd"] == pytest.approx(frame["notional_usd"].mean() * 1000)
        and row["usd_low"] < row["usd"] < row["usd_high"]
    )
    assert row["minutes"] == pytest.approx(frame["latency_s"].mean() * 1000 / 4 / 60)
    assert row["docs_per_min"] * row["minutes"] == pytest.approx(1000)
    assert row["input_tokens"] == pytest.approx(109.5) and row["output_tokens"] == row["output_tokens_low"] == 10.0
    assert (row["failed"], row["usd_provenance"], row["usd_date"]) == (0.05, "declared", "2026-11-01")
    assert "Little's law" in row["extrapolated"][0] and "keep 4 busy" not in row["extrapolated"][0]
    assert "keep 4 busy" in forecast(frame.head(8), MANIFEST, Conditions(documents=10))["extrapolated"][0]
    limited = forecast(frame, MANIFEST, Conditions(documents=1000, requests_per_min=10))
    assert limited["minutes"] == 100 and "limits a minute" in limited["extrapolated"][1]


def test_what_was_not_measured_is_none_and_never_zero() -> None:
    silent = answered().assign(notional_usd=lambda f: f["notional_usd"].where(f.index > 0), output_tokens=np.nan)
    row = forecast(silent, MANIFEST, Conditions(documents=100))
    assert row["usd"] is None and row["usd_low"] is None and row["output_tokens"] is None and row["minutes"] > 0
    batch = forecast(answered(), {**MANIFEST, "processing": "batch"}, Conditions(documents=100))
    assert batch["minutes"] is None and "batch" in batch["extrapolated"][0] and batch["usd"] > 0
    own = {**MANIFEST, "location": "own", "prices": None, "concurrency": 1, "backend": {"start_s": 30.0}}
    row = forecast(answered(), own, Conditions(documents=100))
    assert row["usd"] is None and row["minutes"] == pytest.approx(answered()["latency_s"].mean() * 100 / 60 + 0.5)
    priced = forecast(answered(), own, Conditions(documents=100, usd_per_hour=2.0))
    assert priced["usd"] == pytest.approx(priced["minutes"] / 60 * 2) and priced["usd_provenance"] == "declared"
    assert priced["extrapolated"] == []
