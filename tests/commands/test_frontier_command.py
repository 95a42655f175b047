"""`frontier` from the command line: runs, tables, files, and what the user can get wrong."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from real_data import TABLES

import evals
from evals import cli

real = pytest.mark.skipif(not TABLES.is_dir(), reason=f"the real tables of {TABLES} are not here")


def ran(*words: str) -> int:
    return cli.main(["frontier", *words])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "Scores of é.csv"
    path.write_text(
        "Model Name,acc,usd,secs\na,50,1,3\nb,60,4,2\nc,70,5,1\nfree,99,0,1\n=cmd,40,9,9\n", encoding="utf-8"
    )
    return path


def test_a_table_becomes_csv_json_png_and_html(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    words = [f"table={table}", "columns.model=Model Name", "quality=acc", "cost=usd", f"out={out}"]
    assert ran(*words) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^ *\*\+? +a ", printed, re.M) and "not free" in printed and "no intervals" in printed
    report = json.loads((out / "frontier.json").read_text(encoding="utf-8"))
    by = {point["option"]: point for point in report["points"]}
    names = {
        "option",
        "model",
        "quality",
        "cost",
        "latency",
        "on_frontier",
        "on_hull",
        "p_non_dominated",
        "dominated_by",
    }
    assert set(report) >= {"objectives", "points"} and set(by["a"]) >= names
    assert [name for name in by if by[name]["on_frontier"]] == ["a", "b", "c"] and not by["b"]["on_hull"]
    assert by["free"]["cost"] is None and not by["free"]["on_frontier"]
    assert "'=cmd" in (out / "frontier.csv").read_text(encoding="utf-8")
    assert (out / "frontier.html").stat().st_size > 5000
    pytest.importorskip("matplotlib")
    assert (out / "frontier.png").read_bytes().startswith(b"\x89PNG")


def test_latency_named_is_an_objective(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = evals.frontier(table=str(table), columns={"model": "Model Name"}, quality="acc", cost="usd", latency="secs")
    assert [one["name"] for one in found.report["objectives"]] == ["quality", "cost", "latency"]
    assert "<iframe" in found._repr_html_() and len(found.points) == 5


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "either task=NAME or table=FILE"),
        (["task=legal_extract", "table=x.csv"], "either task=NAME or table=FILE"),
        (["table=none.csv", "quality=acc"], "none.csv is not there"),
        (["table=none.csv"], "quality=COLUMN"),
        (["task=legal_extract", "cost=usd"], "cost=... is for table=FILE"),
        (["table=x.csv", "columns.modle=a"], "columns.modle is not known; did you mean columns.model"),
        (["table=x.csv", "statistic=p42"], "p50"),
        (["table=x.csv", "draws=3"], "at least 100"),
        (["task=legal_extract", "runs=nowhere"], "no complete run of legal_extract"),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran(*words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_later_pilot_does_not_hide_a_whole_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["model=rules"], ["model=fake"], ["model=rules", "limit=5"]):
        cli.main(["run", "task=mine", *words])
    capsys.readouterr()
    assert ran("task=mine") == 0
    printed = capsys.readouterr().out
    assert "40 documents answered by all options" in printed
    assert "has 5 documents, another run of this option 40" in " ".join(printed.split())


def test_runs_of_a_task(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["model=rules"], ["model=fake"], ["model=rules", "resume=false"], ["model=rules", "split=dev"]):
        cli.main(["run", "task=mine", *words])
    capsys.readouterr()
    assert ran("task=mine", "machine.usd_per_hour=0.36", f"out={project / 'out'}") == 0
    printed = capsys.readouterr().out
    assert "40 documents answered by all options" in printed and "a newer run of this option" in printed
    report = json.loads((project / "out" / "frontier.json").read_text())
    by = {point["option"]: point for point in report["points"]}
    assert set(by) == {"rules", "fake"}
    rows = evals.load_runs(report["left_out"][0]["run"])
    newest = next(
        r
        for r in sorted((project / "results/mine/rules").iterdir(), reverse=True)
        if "test" in (r / "manifest.json").read_text()
    )
    rows = evals.load_runs(newest)
    counts = rows[["tp", "wrong", "miss", "hall"]].sum()
    f1 = 2 * counts["tp"] / (2 * counts["tp"] + 2 * counts["wrong"] + counts["miss"] + counts["hall"])
    assert by["rules"]["quality"] == pytest.approx(f1)
    priced = evals.add_cost(rows, machines={"rules": 0.36})
    assert by["rules"]["cost"] == pytest.approx(1000 * priced["cost_usd"].mean())
    assert by["rules"]["load"] == "single_stream"


def test_slices_metrics_and_runs_without_a_price(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["run", "task=mine", "model=rules"])
    capsys.readouterr()
    assert ran("task=mine", "quality=exact", "slice=[complex]") == 0
    printed = capsys.readouterr().out
    assert "10 documents" in printed and "machine.usd_per_hour" in printed and "quality and latency" in printed
    assert ran("task=mine", "slice=[complecs]") == 2 and "did you mean complex" in capsys.readouterr().err
    assert ran("task=mine", "quality=exakt") == 2 and "did you mean exact" in capsys.readouterr().err


@real
def test_the_leaderboard_against_a_naive_method() -> None:
    found = evals.frontier(
        table=str(TABLES / "aider_polyglot_leaderboard.jsonl"),
        columns={"model": "model", "n": "test_cases"},
        quality="pass_rate_2",
        cost="total_cost",
    )
    raw = pd.DataFrame(
        [json.loads(line) for line in (TABLES / "aider_polyglot_leaderboard.jsonl").read_text().splitlines()]
    )
    known = raw[raw["total_cost"].fillna(0) > 0]
    best = [
        row.model
        for row in known.itertuples()
        if not (
            (known["total_cost"] <= row.total_cost)
            & (known["pass_rate_2"] >= row.pass_rate_2)
            & ((known["total_cost"] < row.total_cost) | (known["pass_rate_2"] > row.pass_rate_2))
        ).any()
    ]
    points = found.points
    assert set(points.loc[points["on_frontier"], "model"]) == set(best) and len(best) == 8
    assert points["cost"].isna().sum() == 18 and points["p_non_dominated"].isna().all()


@real
def test_the_prompts_of_two_models() -> None:
    models = ["mixtral-8x7b", "gpt-4-1106"]
    found = evals.frontier(
        table=str(TABLES / "routellm_gsm8k.jsonl"),
        columns={"sample_id": "id", "model": models},
        cost=["mixtral_response_chars", "gpt4_response_chars"],
    )
    by = {point["option"]: point for point in found.report["points"]}
    assert found.report["documents"] == 1319
    assert by["gpt-4-1106"]["quality"] == pytest.approx(1130 / 1319)
    assert by["mixtral-8x7b"]["p_non_dominated"] == by["gpt-4-1106"]["p_non_dominated"] == 1.0
