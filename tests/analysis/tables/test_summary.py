"""The summary's figures against sums done by hand: what is counted, what is left out, what is not measured."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_runs import MANIFEST, at
from scipy import stats as oracle

from evals.analysis.tables.summary import latency, quality, summarise
from evals.analysis.tables.table import TYPES
from evals.stats import wilson

COUNTS = ("tp", "wrong", "miss", "hall", "tn")
OUTCOMES = st.fixed_dictionaries({name: st.integers(0, 3) for name in COUNTS})


def row(name: str, i: int = 0, **more: Any) -> dict[str, Any]:
    """One document of the table: right in one field, asked `i` seconds after the start, answered in one."""
    unknown = {key: np.nan if kind == "number" else None for key, kind in TYPES.items()}
    times = {"started_at": at(i), "queued_s": 0.0, "latency_s": 1.0}
    counts = {name: 0.0 for name in COUNTS} | {"tp": 1.0} | {k: float(v) for k, v in more.items() if k in COUNTS}
    strict = {f"strict_{key}": counts[key] for key in COUNTS[:4]}
    right = float(counts["wrong"] + counts["miss"] + counts["hall"] == 0)
    shares = {"exact": right, "exact_strict": right, "schema_valid": 1.0, "parse_strict": 1.0, "parse_lenient": 1.0}
    about = {"repeat": 0.0, "slice": None, "group": None, "tags": [], "failed": False, "cached": False, "error": None}
    waste = ("wrong_grounded", "invented", "wasted_usd", "wasted_assumed", "wasted_unknown")
    zero = dict.fromkeys((*waste, "truncated_chars", "truncated_tokens"), 0.0)
    done = {"sample_id": name, "finish_reason": "stop"}
    return {**unknown, **done, **times, **counts, **strict, **shares, **about, **zero, **more}


def frame(*rows: Mapping[str, Any]) -> pd.DataFrame:
    kinds = {"number": float, "flag": bool}
    return pd.DataFrame(list(rows)).astype({key: kinds[kind] for key, kind in TYPES.items() if kind in kinds})


def summary(*rows: Mapping[str, Any], **manifest: Any) -> dict[str, Any]:
    return summarise(frame(*rows), {**MANIFEST, **manifest})


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(OUTCOMES, min_size=1, max_size=3), min_size=1, max_size=6))
def test_f1_is_micro_f1_with_repeats_averaged_inside_a_document(documents: list[list[dict[str, int]]]) -> None:
    rows = [row(f"d{i}", repeat=r, **told) for i, repeats in enumerate(documents) for r, told in enumerate(repeats)]
    total = {name: sum(Fraction(sum(t[name] for t in d), len(d)) for d in documents) for name in COUNTS}
    whole = 2 * total["tp"] + 2 * total["wrong"] + total["miss"] + total["hall"]
    negative = total["hall"] + total["tn"]
    found = quality(frame(*rows))
    f1, invented = found["f1"]["value"], found["hallucination_rate"]["value"]
    assert f1 == (pytest.approx(float(2 * total["tp"] / whole)) if whole else None)
    assert invented == (pytest.approx(float(total["hall"] / negative)) if negative else None)
    assert {estimate["n"] for estimate in found.values()} == {len(documents)}


def test_precision_and_recall_agree_with_f1() -> None:
    told = {"tp": 7, "wrong": 3, "miss": 2, "hall": 4}
    precision, recall = 7 / (7 + 3 + 4), 7 / (7 + 3 + 2)
    expected = 2 * precision * recall / (precision + recall)
    assert quality(frame(row("a", **told)))["f1"]["value"] == pytest.approx(expected)


def test_a_document_answered_often_weighs_no_more_than_another() -> None:
    rows = [row("a", repeat=r, exact=1.0) for r in range(9)] + [row("b", tp=0, miss=1), row("c", tp=0, miss=1)]
    found = quality(frame(*rows))
    assert found["exact"]["value"] == pytest.approx(1 / 3) and found["f1"]["value"] == pytest.approx(2 / 4)
    edge = wilson(1, 3)
    assert (found["exact"]["low"], found["exact"]["high"]) == (edge.low, edge.high), "three documents, not eleven"


def test_documents_of_one_group_stay_together() -> None:
    told = [{"tp": i % 7, "miss": i % 3 + 1} for i in range(12)]
    alone = quality(frame(*[row(f"d{i}", **one) for i, one in enumerate(told)]))["f1"]
    rows = [row(f"d{i}-{j}", group=f"g{i}", **one) for i, one in enumerate(told) for j in range(5)]
    grouped, loose = quality(frame(*rows))["f1"], quality(frame(*[{**r, "group": None} for r in rows]))["f1"]
    assert {**grouped, "n": 12} == pytest.approx(alone), "five copies of a document say no more than one"
    assert grouped["n"] == 60 and loose["high"] - loose["low"] < 0.7 * (grouped["high"] - grouped["low"])
    few = quality(frame(*[r for r in rows if r["group"] in ("g1", "g2", "g3")]))["f1"]
    assert few["value"] is not None and few["low"] is None, "three groups say nothing of their spread"


def test_failures_are_counted_both_ways() -> None:
    bad = {"failed": True, "tp": 0, "miss": 1, "schema_valid": 0.0}
    rows = [row(f"d{i}") for i in range(6)] + [row("x", error="server", **bad), row("y", error="context_length", **bad)]
    found = summary(*rows)
    assert (found["n"], found["failed"], found["failed_infrastructure"]) == (8, 2, 1)
    assert found["errors"] == {"server": 1, "context_length": 1}
    assert found["quality"]["f1"]["value"] == pytest.approx(12 / 14)
    assert found["quality_without_failed_infrastructure"]["f1"]["value"] == pytest.approx(12 / 13)
    assert summary(*rows[:6])["quality_without_failed_infrastructure"] is None
    nothing = summary(rows[6])["quality_without_failed_infrastructure"]
    assert nothing["f1"] == {"value": None, "low": None, "high": None, "n": 0}


def test_truncated_cut_and_refused_documents_are_counted() -> None:
    rows = [row("a", truncated_chars=5.0), row("b", truncated_tokens=2.0), row("c", finish_reason="length")]
    found = summary(*rows, row("d", finish_reason="refusal"), row("e", cached=True))
    assert [found[k] for k in ("truncated_documents", "cut_answers", "refused", "fresh_n", "n")] == [2, 1, 1, 4, 5]


@pytest.mark.parametrize(("n", "noted"), [(0, False), (1, True), (199, True), (200, False)])
def test_a_p95_of_too_few_documents_says_so(n: int, noted: bool) -> None:
    rows = [row(f"d{i}", i, latency_s=float(i + 1)) for i in range(n)] or [row("a", latency_s=np.nan, started_at=None)]
    found = latency(frame(*rows), MANIFEST)
    assert bool(found["note"]) is noted and found["n"] == n
    assert (found["load"] is None, found["p95_s"] is None) == (n == 0, n == 0)


def test_quantiles_and_their_order_statistic_interval() -> None:
    rows = [row(f"d{i}", i, latency_s=float(i + 1), ttft_s=i / 10) for i in range(300)]
    found = latency(frame(*reversed(rows)), MANIFEST)
    assert (found["p50_s"], found["ttft_p50_s"]) == pytest.approx((150.5, 14.95))
    assert found["p95_s"] == pytest.approx(np.quantile(np.arange(1, 301), 0.95))
    low, high = found["p95_interval_s"]
    assert oracle.binom.cdf(high - 1, 300, 0.95) - oracle.binom.cdf(low - 1, 300, 0.95) >= 0.95
    assert low < found["p95_s"] < high <= 300


def test_what_failed_at_once_makes_no_model_quicker_and_a_time_out_counts_as_long_as_it_lasted() -> None:
    answers = [row(f"a{i}", i, latency_s=2.0) for i in range(3)]
    refused = [row(f"f{i}", 10 + i, latency_s=0.01, failed=True, error="server") for i in range(3)]
    hung = [row("h", 20, latency_s=60.0, failed=True, error="timeout")]
    found = latency(frame(*answers, *refused, *hung), MANIFEST)
    assert (found["n"], found["p50_s"]) == (4, 2.0) and found["p95_s"] > 50


def test_cached_rows_enter_neither_latency_nor_throughput_nor_cost() -> None:
    fresh = [row(f"d{i}", 2 * i, output_tokens=10.0) for i in range(4)]
    stored = [row(f"c{i}", 50 + i, latency_s=100.0, output_tokens=10.0, cached=True) for i in range(4)]
    priced = {"machine": {"usd_per_hour": 3600}}
    one, both = summary(*fresh, **priced), summary(*fresh, *stored, **priced)
    for part in ("latency", "throughput", "cost"):
        assert one[part] == both[part], part
    assert one["throughput"] == pytest.approx({"docs_per_min": 60, "tokens_per_s": 10, "busy_s": 4, "n": 4})
    assert one["cost"]["usd_per_1k"] == pytest.approx(1000) and one["cost"]["billed"] == pytest.approx(4)
    assert both["n"] == 8 and both["fresh_n"] == 4


def test_a_cost_that_is_not_known_is_none_and_says_why() -> None:
    priced = {"machine": {"usd_per_hour": 1}}
    free, elsewhere, rented = (
        summary(row("a")),
        summary(row("a"), machine=None),
        summary(row("a"), location="api", **priced),
    )
    for found in (free, elsewhere, rented):
        assert {found["cost"][k] for k in ("usd_per_1k", "provenance", "billed", "notional", "wasted")} == {None}
    assert "machine.usd_per_hour" in free["cost"]["note"] and rented["cost"]["note"] is None
    untimed = summary(row("a", latency_s=np.nan, started_at=None), **priced)
    assert untimed["cost"]["usd_per_1k"] is None and untimed["throughput"]["docs_per_min"] is None
    wasted = summary(row("a", 0), row("b", 1, wasted_usd=0.5), row("c", 2, wasted_usd=0.25), **priced)["cost"]
    assert wasted["wasted"] == 0.75 and wasted["provenance"] == "declared"


def remote(*rows: Mapping[str, Any], provenance: str = "declared") -> dict[str, Any]:
    return dict(summary(*rows, location="api", prices={"default": {"name": "m", "provenance": provenance}})["cost"])


def test_a_remote_cost_is_a_mean_over_documents_and_counts_what_was_wasted() -> None:
    dollars = [0.001, 0.002, 0.004, 0.009]
    rows = [row(f"d{i}", cost_usd=usd, notional_usd=usd, wasted_usd=usd / 2) for i, usd in enumerate(dollars)]
    found = remote(*rows)
    low, high = oracle.t.interval(0.95, 3, loc=np.mean(dollars), scale=oracle.sem(dollars))
    assert [found[k] for k in ("usd_per_1k", "low", "high")] == pytest.approx([4.0, 1000 * low, 1000 * high])
    assert [found[k] for k in ("billed", "notional", "wasted")] == pytest.approx([0.016, 0.016, 0.008])
    assert (found["n"], found["provenance"], found["note"]) == (4, "declared", None)
    again = [row("d3", repeat=r, notional_usd=0.009, cost_usd=0.0, cached=True) for r in (1, 2)]
    assert remote(*rows, *again)["usd_per_1k"] == found["usd_per_1k"], "a document asked often is one document"


def test_a_remote_cost_with_an_unknown_part_is_not_known_and_a_guess_is_assumed() -> None:
    one = row("a", cost_usd=0.5, notional_usd=0.5, wasted_usd=0.25)
    silent = remote(one, row("b"))
    assert {silent[k] for k in ("usd_per_1k", "low", "high", "billed", "notional", "provenance")} == {None}
    assert silent["wasted"] == 0.25 and silent["note"] == "1 documents reported no usage: their cost is not known"
    assert remote(one, provenance="measured")["provenance"] == "measured"
    guessed = remote({**one, "wasted_assumed": 2.0}, {**one, "sample_id": "b", "wasted_unknown": 1.0})
    assert guessed["provenance"] == "assumed" and guessed["usd_per_1k"] == 500
    assert "2 unreadable replies are assumed" in guessed["note"] and "1 attempts that timed out" in guessed["note"]


def test_slices_and_tags_are_summaries_of_their_own_documents() -> None:
    easy = [row(f"e{i}", slice="simple", tags=["simple", "lease"]) for i in range(6)]
    hard = [
        row(f"h{i}", tp=1, wrong=1, slice="complex", tags=["complex", "ocr", "lease"][: 2 + i % 2]) for i in range(6)
    ]
    found = summary(*easy, *hard, row("x", tags=["ocr"], tp=0, miss=1))
    assert list(found["slices"]) == ["simple", "complex"] and list(found["tags"]) == ["lease", "ocr"]
    assert found["slices"] == {"simple": quality(frame(*easy)), "complex": quality(frame(*hard))}
    assert found["tags"]["lease"] == quality(frame(*easy, *hard[1::2]))
    assert found["tags"]["ocr"]["exact"]["n"] == 7 and found["tags"]["ocr"]["f1"]["value"] == pytest.approx(12 / 25)
    assert summary(row("a"))["slices"] == summary(row("a"))["tags"] == {}


def test_shares_of_grouped_documents_are_as_wide_as_their_groups_are_few() -> None:
    groups = [row(f"d{i}", exact=float(i // 50 % 2), group=f"g{i // 50}") for i in range(600)]
    single = [row(f"d{i}", exact=float(i // 50 % 2)) for i in range(600)]
    wide, narrow = quality(frame(*groups))["exact"], quality(frame(*single))["exact"]
    assert wide["value"] == narrow["value"] == 0.5 and wide["n"] == 600
    assert wide["high"] - wide["low"] > 4 * (narrow["high"] - narrow["low"])
