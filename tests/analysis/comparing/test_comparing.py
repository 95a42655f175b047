"""Joining and testing two sides against loops, scipy and statsmodels; slices, fields, groups, repeats, odd inputs."""

import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import made, record, score
from made_sides import FIELDS, HASHES, WORDS, Leaves, drawn, side
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from evals.analysis.comparing import compare, paired
from evals.analysis.comparing.baseline import Side, read_side
from evals.errors import DataError


def found(a: Side, b: Side, **more: Any) -> list[dict[str, Any]]:
    pair = compare.join(a, b)
    wanted = {"metrics": ["f1", "exact"], "by": ["slice", "field"], "latency": [], "cost": []} | more
    return list(compare.findings(pair, wanted["metrics"], wanted["by"], wanted["latency"], wanted["cost"]))


def one(rows: list[dict[str, Any]], metric: str, **where: Any) -> dict[str, Any]:
    wanted = {"slice": None, "field": None, **where}
    (row,) = [r for r in rows if r["metric"] == metric and wanted.items() <= r.items()]
    return row


def naive_f1(leaves: Leaves, keep: Any) -> float:
    """2 TP / (2 TP + 2 WRONG + MISS + HALL) of the leaves that `keep(document, path)` takes."""
    count = dict.fromkeys(WORDS, 0)
    for (name, _), them in leaves.items():
        for path, word in them:
            if keep(name, path):
                count[word] += 1  # type: ignore[index]
    hits = 2 * count["tp"]
    return hits / (hits + 2 * count["wrong"] + count["miss"] + count["hall"])


def naive_exact(leaves: Leaves, keep: Any) -> dict[str, bool]:
    return {
        name: all(word in ("tp", "tn") for _, word in them) for (name, _), them in leaves.items() if keep(name, None)
    }


def in_slice(word: str) -> Any:
    return lambda name, path: ("simple" if int(name[1:]) % 3 else "complex") == word


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_whole_each_slice_and_each_field_agree_with_loops(seed: int) -> None:
    a, b = drawn(seed), drawn(seed + 10, right=0.8)
    rows = found(side(a), side(b))
    places: list[tuple[dict[str, Any], Any]] = [({}, lambda name, path: True)]
    places += [({"slice": word}, in_slice(word)) for word in ("simple", "complex")]
    places += [({"field": path}, lambda name, path_, path=path: path_ == path) for path in FIELDS]
    assert len(rows) == 2 * 3 + len(FIELDS), "f1 and exact of the whole and of two slices, f1 of each field"
    for where, keep in places:
        row = one(rows, "f1", **where)
        before, after = naive_f1(a, keep), naive_f1(b, keep)
        assert (row["baseline"], row["candidate"]) == (pytest.approx(before), pytest.approx(after))
        assert row["difference"] == pytest.approx(after - before) and row["low"] < row["difference"] < row["high"]
    for where, keep in places[:3]:
        row, left, right = one(rows, "exact", **where), naive_exact(a, keep), naive_exact(b, keep)
        lost, won = sum(left[d] > right[d] for d in left), sum(right[d] > left[d] for d in left)
        table = [[sum(left[d] and right[d] for d in left), lost], [won, sum(not (left[d] or right[d]) for d in left)]]
        assert row["n"] == len(left) and row["difference"] == pytest.approx((won - lost) / len(left))
        assert row["p"] == pytest.approx(mcnemar(table, exact=True).pvalue) if lost + won else row["p"] == 1.0


def test_a_field_s_interval_is_the_naive_bootstrap_of_documents() -> None:
    a, b = drawn(4), drawn(5, right=0.8)
    row, rng, names = one(found(side(a), side(b)), "f1", field="who"), random.Random(1), [name for name, _ in a]
    word = {name: (dict(a[name, 0])["who"], dict(b[name, 0])["who"]) for name in names}
    parts = {"tp": (2, 2), "wrong": (0, 2), "miss": (0, 1), "hall": (0, 1), "tn": (0, 0)}
    differences = []
    for _ in range(3000):
        pick = [word[names[rng.randrange(len(names))]] for _ in names]
        f1 = [sum(parts[two[i]][0] for two in pick) / sum(parts[two[i]][1] for two in pick) for i in (0, 1)]
        differences.append(f1[1] - f1[0])
    differences.sort()
    assert row["low"] == pytest.approx(differences[75], abs=0.025)
    assert row["high"] == pytest.approx(differences[2925], abs=0.025)


def test_holm_is_statsmodels_over_what_is_tested_and_nothing_else() -> None:
    a, b = drawn(6), drawn(7, right=0.75)
    rows = found(side(a), side(b), metrics=["f1", "exact", "schema_valid", "cost", "p95_s"])
    compare.judge(rows, margin=0.02, relative_margin=0.1)
    tested = [row for row in rows if compare.is_tested(row)]
    assert [row["metric"] for row in rows if not compare.is_tested(row)] == ["schema_valid", "cost", "p95_s"]
    assert one(rows, "schema_valid")["p_holm"] == 1.0 and one(rows, "schema_valid")["note"] == paired.SAME_ANSWERS
    assert one(rows, "cost")["verdict"] == one(rows, "p95_s")["verdict"] == "not measured"
    expected = multipletests([row["p"] for row in tested], method="holm")[1]
    assert [row["p_holm"] for row in tested] == pytest.approx(list(expected))


def test_repeats_are_averaged_inside_a_document_first() -> None:
    a, b = drawn(8, repeats=3), drawn(9, repeats=3, right=0.8)
    pair = compare.join(side(a), side(b))
    assert len(pair.a) == 60 and pair.repeats == 3
    rows = found(side(a), side(b))
    mean = {
        name: np.mean([all(w in ("tp", "tn") for _, w in leaves[name, r]) for r in range(3)])
        for leaves, name in ((b, name) for name, r in b if r == 0)
    }
    before = {
        name: np.mean([all(w in ("tp", "tn") for _, w in a[name, r]) for r in range(3)]) for name, r in a if r == 0
    }
    gaps = [mean[name] - before[name] for name in mean]
    row = one(rows, "exact")
    assert row["difference"] == pytest.approx(np.mean(gaps)) and row["n"] == 60
    assert row["p"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue), "shares of repeats: the paired t test"
    assert one(rows, "f1")["candidate"] == pytest.approx(naive_f1(b, lambda name, path: True))


def test_groups_are_clusters() -> None:
    """Ten documents a group, alike inside it: the clustered interval is wider, its p by G - 1 degrees of freedom."""
    rng = random.Random(3)
    good = {g: rng.random() < 0.5 for g in range(6)}
    right: list[tuple[str, str]] = [("who", "tp")]
    a: Leaves = {(f"d{i:03}", 0): right for i in range(60)}
    b: Leaves = {(f"d{i:03}", 0): right if good[i // 10] else [("who", "wrong")] for i in range(60)}
    alone, clustered = (one(found(side(a, groups=g), side(b, groups=g)), "exact") for g in (None, 10))
    gaps = [0.0 if good[g] else -1.0 for g in range(6)]
    assert clustered["difference"] == alone["difference"] == pytest.approx(np.mean(gaps))
    assert clustered["p"] == pytest.approx(stats.ttest_1samp(gaps, 0).pvalue)
    assert clustered["high"] - clustered["low"] > 2 * (alone["high"] - alone["low"])
    assert alone["test"] == "McNemar, exact" and clustered["test"] == "paired t, clustered"


def test_nothing_but_shared_documents_are_compared() -> None:
    a, b = drawn(1), {key: leaves for key, leaves in drawn(2).items() if key[0] >= "d020"}
    pair = compare.join(side(a), side(b))
    assert (len(pair.a), pair.only_baseline, pair.only_candidate) == (40, 20, 0)
    shuffled = side(b)
    shuffled = replace(shuffled, rows=shuffled.rows.sample(frac=1, random_state=1))
    assert found(side(a), shuffled) == found(side(a), side(b)), "the order of rows never matters"
    with pytest.raises(DataError, match="share no document"):
        compare.join(side({key: v for key, v in a.items() if key[0] < "d020"}), side(b))


def test_one_document_has_an_answer_and_no_false_certainty() -> None:
    rows = found(side({("d000", 0): [("who", "tp")]}), side({("d000", 0): [("who", "wrong")]}), by=[])
    compare.judge(rows, margin=0.02, relative_margin=0.1)
    for name in ("f1", "exact"):
        row = one(rows, name)
        assert row["difference"] == -1.0 and row["verdict"] == "inconclusive" and row["n"] == 1
    assert math.isnan(one(rows, "f1")["low"]) and one(rows, "exact")["p"] == 1.0


def test_where_all_failed_it_is_a_finding_and_not_a_crash() -> None:
    a, b = drawn(1), drawn(1)
    lost = side({key: [(path, "miss") for path, _ in leaves] for key, leaves in b.items()})
    lost = replace(lost, rows=lost.rows.assign(failed=True, error="timeout", exact=0.0, schema_valid=0.0))
    rows = found(side(a), lost, metrics=["f1", "exact", "failed", "cost", "p50_s"])
    compare.judge(rows, margin=0.02, relative_margin=0.1)
    assert one(rows, "f1")["candidate"] == 0.0 and one(rows, "f1")["verdict"] == "regressed"
    failed = one(rows, "failed")
    assert failed["candidate"] == 1.0 and failed["verdict"] == "regressed", "a higher share of failures is worse"
    (said,) = compare.without_infrastructure(compare.join(side(a), lost))
    assert "60 documents failed on the way" in said and "nothing is left" in said
    assert compare.overall(rows) == "regressed"


def test_no_discordant_pair_is_no_proof_of_equality() -> None:
    same = {(f"d{i:03}", 0): [("who", "tp")] for i in range(30)}
    rows = found(side(same), side(same))
    compare.judge(rows, margin=0.02, relative_margin=0.1)
    for row in rows:
        assert row["p"] == 1.0 and row["verdict"] == "inconclusive" and row["needed"] == 183
        assert row["high"] == pytest.approx(1 - 0.025 ** (1 / row["n"]))


def test_unlike_conditions_refuse_latency_and_name_why() -> None:
    rng = np.random.default_rng(1)
    leaves, times = drawn(1), rng.lognormal(size=60)
    a, b = side(leaves, latency=list(times)), side(leaves, latency=list(times * 2), load="closed_loop(8)")
    assert compare.conditions(a, b) == ["load: single_stream against closed_loop(8)"]
    slower = side(leaves, latency=list(times * 2), machine={"cpu": "y", "cores": 2})
    assert compare.conditions(a, slower) == ["machine: x, 2 cores against y, 2 cores"]
    assert compare.conditions(a, side(leaves, machine={"cpu": "y", "cores": 2}, location="api")) == []
    row = one(found(a, b, metrics=["p50_s"], by=[], latency=["load: 1 against 8"]), "p50_s")
    assert row["verdict"] == "refused" and row["p"] is None and row["difference"] is None
    assert row["candidate"] == pytest.approx(np.median(times * 2)) and "load: 1 against 8" in row["note"]
    like = one(found(a, side(leaves, latency=list(times * 2)), metrics=["p50_s"], by=[]), "p50_s")
    assert like["relative"] == pytest.approx(1.0) and like["p"] < 0.01


def test_an_answer_of_the_cache_has_no_latency() -> None:
    leaves = drawn(1)
    a, b = side(leaves, latency=[1.0] * 60), side(leaves, latency=[2.0] * 60)
    b = replace(b, rows=b.rows.assign(cached=b.rows["sample_id"] < "d050"))
    row = one(found(a, b, metrics=["p50_s"], by=[]), "p50_s")
    assert row["n"] == 10 and row["candidate"] == 2.0


@pytest.mark.parametrize(
    ("more", "different"),
    [
        ({}, []),
        ({"dataset": "e"}, ["dataset"]),
        ({"hashes": {**HASHES, "prompt": "p2"}}, ["prompt"]),
        ({"hashes": {**HASHES, "schema": None}}, ["schema"]),
        ({"dataset": "e", "hashes": {**HASHES, "scorer": "s2"}}, ["dataset", "scorer"]),
    ],
)
def test_what_is_unlike_is_refused_unless_allowed_and_then_told(more: dict[str, Any], different: list[str]) -> None:
    a, b = side(drawn(1)), side(drawn(1), **more)
    if different:
        with pytest.raises(DataError, match=rf"allow=\[{','.join(different)}\]"):
            compare.check(a, b, [])
        with pytest.raises(DataError, match="not compared"):
            compare.check(a, b, different[1:])
    told = compare.check(a, b, different)
    assert [line.split()[2] for line in told] == different
    with pytest.raises(DataError, match="of task mine"):
        compare.check(a, side(drawn(1), task="yours"), [])


@pytest.mark.parametrize(
    ("low", "high", "p", "difference", "metric", "said"),
    [
        (-0.01, 0.01, 0.9, 0.0, "f1", "equivalent"),
        (-0.2, -0.1, 0.001, -0.15, "f1", "regressed"),
        (0.1, 0.2, 0.001, 0.15, "f1", "improved"),
        (0.1, 0.2, 0.001, 0.15, "hallucination_rate", "regressed"),
        (-0.2, -0.1, 0.001, -0.15, "failed", "improved"),
        (-0.2, 0.01, 0.2, -0.1, "f1", "inconclusive"),
        (-0.019, -0.001, 0.001, -0.01, "f1", "equivalent"),  # real, and within what does not matter
    ],
)
def test_verdicts(low: float, high: float, p: float, difference: float, metric: str, said: str) -> None:
    row = {"metric": metric, "slice": None, "field": None, "baseline": 0.5, "difference": difference}
    row |= {"low": low, "high": high, "p": p, "sd": 0.4, "n": 50, "note": None}
    (judged,) = compare.judge([row], margin=0.02, relative_margin=0.1)
    assert judged["verdict"] == said
    assert (judged["needed"] is not None) == (said == "inconclusive")


def test_what_n_detects_has_the_power_it_says() -> None:
    """A true difference as large as `detectable` is found in four of five samples."""
    rng = np.random.default_rng(2)
    row = {"metric": "f1", "slice": None, "field": None, "baseline": 0.5, "difference": 0.0, "low": -1, "high": 1}
    row |= {"p": 0.5, "sd": 0.3, "n": 40, "note": None}
    (judged,) = compare.judge([row], margin=0.02, relative_margin=0.1)
    samples = rng.normal(judged["detectable"], 0.3, (4000, 40))
    assert (stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.025)


def test_stored_runs_are_the_sides_they_were(tmp_path: Path) -> None:
    """From folders: the same figures as from the sides made by hand."""
    outcomes = {"old": ["tp", "tp", "wrong"], "new": ["tp", "hall", "tp"]}
    sides = []
    for name, words in outcomes.items():
        named = [record(f"d{i}") for i in range(3)]
        scored = [(one_, score(word)) for one_, word in zip(named, words, strict=True)]  # type: ignore[arg-type]
        folder = made(tmp_path / name / "run", named, scored, option=name, hashes=HASHES, dataset={"sha256": "x"})
        sides.append(read_side(folder))
    row = one(found(*sides, by=[]), "f1")
    assert row["baseline"] == pytest.approx(4 / 6) and row["candidate"] == pytest.approx(4 / 5)
