"""Three tables that others published, against loops in plain Python that share no code with the tool.

What the tool answers:
- aider_polyglot_leaderboard (69 rows of Aider's polyglot benchmark, pass_rate_2 against total_cost): 18 costs are not
  known (17 are written as 0, one is missing) and on no frontier; one name occurs twice and is numbered; 8 options are on
  the frontier, 7 of them on its hull (Grok 3 Mini Beta (high) is not: a mix of two others is better); quality has
  Wilson intervals of 225 cases; no P, since no case is in the table.
- aider_quant (one 32B model at 14 hosts and quantisations): 9 costs of 0 are not known; over quality and cost 2 of the
  5 others are on the frontier; over quality and latency, which all have, 1: Fireworks, as good as the best and quickest.
- routellm_gsm8k (right or wrong of two models, 1,319 prompts): quality 0.638 and 0.857 with Wilson intervals; the
  dearer is better in every draw, so both are on the frontier with certainty.
"""

import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from real_data import TABLES

import evals
from evals.analysis.tables.imported import read_table

pytestmark = pytest.mark.skipif(not TABLES.is_dir(), reason=f"the real tables of {TABLES} are not here")
Row = dict[str, Any]


def raw(name: str) -> list[Row]:
    return [json.loads(line) for line in (TABLES / name).read_text(encoding="utf-8").splitlines() if line.strip()]


def aider(name: str, **more: Any) -> dict[str, Any]:
    columns = {"model": "model", "n": "test_cases"}
    found = evals.frontier(table=str(TABLES / name), columns=columns, quality="pass_rate_2", **more)
    return found.report


def known(rows: list[Row], other: str) -> list[Row]:
    """Rows whose second figure is known: a cost or time of 0 is not."""
    return [row for row in rows if row.get(other)]


def beaten_by(rows: list[Row], other: str) -> dict[int, list[int]]:
    """For each row (by place), which rows are as good and as cheap and in one of them better."""
    found = {}
    for i, here in enumerate(rows):
        by = []
        for j, there in enumerate(rows):
            as_good = there["pass_rate_2"] >= here["pass_rate_2"] and there[other] <= here[other]
            if as_good and (there["pass_rate_2"] > here["pass_rate_2"] or there[other] < here[other]):
                by.append(j)
        found[i] = by
    return found


def hull(rows: list[Row], other: str, front: list[int]) -> set[int]:
    """Of the frontier's options those that no mix of two others reaches: at their cost, by straight lines."""
    found = set()
    for at in front:
        here, under = rows[at], False
        for a, b in itertools.combinations([one for one in front if one != at], 2):
            low, high = sorted((rows[a], rows[b]), key=lambda row: float(row[other]))
            if low[other] <= here[other] <= high[other] and high[other] > low[other]:
                share = (here[other] - low[other]) / (high[other] - low[other])
                mixed = low["pass_rate_2"] + share * (high["pass_rate_2"] - low["pass_rate_2"])
                under = under or mixed > here["pass_rate_2"] + 1e-9
        if not under:
            found.add(at)
    return found


def labelled(rows: list[Row]) -> list[str]:
    """Names, those that occur again numbered."""
    seen: dict[str, int] = {}
    names = []
    for row in rows:
        seen[row["model"]] = seen.get(row["model"], 0) + 1
        names.append(row["model"] + (f" ({seen[row['model']]})" if seen[row["model"]] > 1 else ""))
    return names


@pytest.mark.parametrize(
    ("name", "axis", "other", "sizes"),
    [
        ("aider_polyglot_leaderboard.jsonl", "cost", "total_cost", (8, 7)),
        ("aider_polyglot_leaderboard.jsonl", "latency", "seconds_per_case", (10, 7)),
        ("aider_quant.jsonl", "cost", "total_cost", (2, 2)),
        ("aider_quant.jsonl", "latency", "seconds_per_case", (1, 1)),
    ],
)
def test_frontier_hull_and_dominance_are_those_of_loops(
    name: str, axis: str, other: str, sizes: tuple[int, int]
) -> None:
    rows = raw(name)
    for row, label in zip(rows, labelled(rows), strict=True):
        row["label"] = label
    report = aider(name, **{axis: other}, objectives=["quality", axis])
    points = {point["option"]: point for point in report["points"]}
    assert set(points) == {row["label"] for row in rows}
    priced = known(rows, other)
    by = beaten_by(priced, other)
    front = [at for at, them in by.items() if not them]
    on_hull = hull(priced, other, front)
    assert (len(front), len(on_hull)) == sizes
    for at, row in enumerate(priced):
        point = points[row["label"]]
        assert point["on_frontier"] == (at in front) and point["on_hull"] == (at in on_hull)
        assert sorted(point["dominated_by"]) == sorted(priced[i]["label"] for i in by[at])
        assert point["quality"] == pytest.approx(row["pass_rate_2"] / 100) and point[axis] == row[other]
        assert point["p_non_dominated"] is None
    for row in rows:
        if not row.get(other):
            point = points[row["label"]]
            assert point[axis] is None and not point["on_frontier"] and point["dominated_by"] == [] and point["flags"]


def test_the_leaderboard_s_traps_are_all_told() -> None:
    rows = raw("aider_polyglot_leaderboard.jsonl")
    columns = {"model": "model", "score": "pass_rate_2", "cost_usd": "total_cost", "n": "test_cases"}
    frame, notes = read_table(TABLES / "aider_polyglot_leaderboard.jsonl", {**columns, "successes": "pass_num_2"})
    flags = dict(zip(frame["option"], frame["cost_flag"], strict=True))
    for row, label in zip(rows, labelled(rows), strict=True):
        wanted = None
        if row.get("total_cost") is None:
            wanted = "cost is missing"
        elif row["total_cost"] == 0:
            wanted = "cost of 0 is taken as not recorded"
        assert (flags[label] if isinstance(flags[label], str) else None) == wanted
    twice = sorted({row["model"] for row in rows if sum(r["model"] == row["model"] for r in rows) > 1})
    told = " ".join(notes)
    assert twice == ["Qwen2.5-Coder-32B-Instruct"] and f"{twice[0]!r} 2 times" in told
    apart = [
        row["model"]
        for row in rows
        if row.get("pass_num_2") is not None
        and abs(row["pass_num_2"] / row["test_cases"] - row["pass_rate_2"] / 100) > 0.00051
    ]
    assert apart and repr(apart[0]) in told and "disagree with their counts" in told


def test_wilson_of_the_leaderboard_is_the_formula() -> None:
    z, rows = 1.959963984540054, raw("aider_polyglot_leaderboard.jsonl")
    points = {p["option"]: p for p in aider("aider_polyglot_leaderboard.jsonl", cost="total_cost")["points"]}
    for row, label in zip(rows, labelled(rows), strict=True):
        share, n = row["pass_rate_2"] / 100, row["test_cases"]
        middle = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        assert points[label]["quality_low"] == pytest.approx(middle - half, abs=1e-9)
        assert points[label]["quality_high"] == pytest.approx(middle + half, abs=1e-9) and points[label]["n"] == n


def prompts(folder: Path, rows: list[Row]) -> dict[str, dict[str, Any]]:
    path = folder / "some.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    found = evals.frontier(
        table=str(path),
        columns={"sample_id": "id", "model": ["mixtral-8x7b", "gpt-4-1106"]},
        cost=["mixtral_response_chars", "gpt4_response_chars"],
        draws=4000,
    )
    return {point["option"]: point for point in found.report["points"]}


def naive_probabilities(rows: list[Row], draws: int) -> tuple[float, float]:
    """Share of draws of prompts in which each model is not dominated: right answers up, characters down."""
    rng, kept = random.Random(8), [0, 0]
    for _ in range(draws):
        drawn = [rows[rng.randrange(len(rows))] for _ in rows]
        right = [sum(row[name] for row in drawn) for name in ("mixtral-8x7b", "gpt-4-1106")]
        size = [sum(row[name] for row in drawn) for name in ("mixtral_response_chars", "gpt4_response_chars")]
        for me, it in ((0, 1), (1, 0)):
            as_good = right[it] >= right[me] and size[it] <= size[me]
            kept[me] += not (as_good and (right[it] > right[me] or size[it] < size[me]))
    return kept[0] / draws, kept[1] / draws


def test_the_prompts_of_two_models(tmp_path: Path) -> None:
    rows = raw("routellm_gsm8k.jsonl")
    points = prompts(tmp_path, rows)
    for name, sizes in (("mixtral-8x7b", "mixtral_response_chars"), ("gpt-4-1106", "gpt4_response_chars")):
        assert points[name]["quality"] == pytest.approx(sum(row[name] for row in rows) / 1319)
        assert points[name]["cost"] == pytest.approx(sum(row[sizes] for row in rows) / 1319)
        assert points[name]["p_non_dominated"] == 1.0 and points[name]["on_hull"] and points[name]["n"] == 1319
    assert naive_probabilities(rows, 60) == (1.0, 1.0)


def test_where_few_prompts_leave_it_open_the_probability_is_the_naive_one(tmp_path: Path) -> None:
    """25 prompts of which the better model got some fewer right: neither membership is certain."""
    rows = raw("routellm_gsm8k.jsonl")
    lost = [row for row in rows if row["mixtral-8x7b"] and not row["gpt-4-1106"]][:5]
    won = [row for row in rows if row["gpt-4-1106"] and not row["mixtral-8x7b"]][:4]
    same = [row for row in rows if row["gpt-4-1106"] and row["mixtral-8x7b"]][:16]
    few = [*lost, *won, *same]
    points, naive = prompts(tmp_path, few), naive_probabilities(few, 4000)
    assert any(0.05 < share < 0.95 for share in naive)
    for name, share in zip(("mixtral-8x7b", "gpt-4-1106"), naive, strict=True):
        assert points[name]["p_non_dominated"] == pytest.approx(share, abs=0.04)
