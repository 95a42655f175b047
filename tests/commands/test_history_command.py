"""`history` as a user meets it: two options by turns, a part of the runs, the reference alone, files."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from compared import model, once, run

import evals
from evals.cli import main
from evals.commands.history import cells

WRONG = {"who": "Other plc"}


@pytest.fixture
def turns(project: Path) -> Path:
    """old, new, old, new, old: the second `new` is far better, the second `old` about the same, the third far worse."""

    def make() -> None:
        for name, wrong in (("old", 1), ("new", 14), ("old", 2), ("new", 3), ("old", 20)):
            model(project, name, dict.fromkeys(range(wrong), WRONG), latency=0.002)
            run(project, name, "resume=false", "cache=off", "machine.usd_per_hour=0.5")

    return once(project, "turns", make)


def printed(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(["history", "task=mine", *words]) == code
    said = capsys.readouterr()
    return " ".join((said.err if code else said.out).split())


def test_options_by_turns_are_each_compared_with_their_own_run_before(
    turns: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = printed(capsys, "out=out")
    rows = list(csv.DictReader(Path("out/history.csv").read_text().splitlines()))
    assert [row["option"] for row in rows] == ["new", "new", "old", "old", "old"]
    assert [row["step"] == "first" for row in rows] == [True, False, True, False, False]
    assert [bool(row["changes"]) for row in rows] == [False, True, False, False, True]
    assert rows[1]["changes"].startswith("f1 +") and rows[4]["changes"].startswith("f1 -")
    said = [cells(row)[-1] for row in evals.history(task="mine").rows]
    assert said[1].startswith("▲ f1 +0.138") and said[4].startswith("▼ f1 -0.225")
    assert said[3].startswith("no change shown by 40 documents in common: f1 -0.01") and said[0] == "first"
    assert out.startswith("history of mine") and "▲ f1" in out
    assert "load: single_stream" in out and "* n too small for p95" in out and "Holm over all steps shown" in out
    figures = json.loads(Path("out/history.json").read_text())
    assert figures[1]["difference"]["f1"][0] == pytest.approx(11 / 80) and figures[0]["usd_per_1k"]["value"] > 0


def test_a_part_of_the_runs(turns: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "old" not in printed(capsys, "option=new").replace("history", "")
    kept = printed(capsys, "runs=results/mine/old")
    assert kept.count(" old 20") == 3 and " new 20" not in kept
    shutil.move("results/mine", "elsewhere")
    assert printed(capsys, "runs=elsewhere/*/*").count(" old 20") == 3
    assert "is found at elsewhere" in printed(capsys, "runs=elsewhere", "option=nobody", code=2)


def test_the_reference_alone_is_a_history_and_is_called_one(turns: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = evals.compare(candidate="new", save=True)
    before = evals.history(task="mine", option="new").rows[-1]
    shutil.rmtree("results/mine")
    (row,) = evals.history(task="mine").rows
    assert row["run"] == str(saved) and row["n"] == 40 and row["f1"] == before["f1"] and row["p95_s"] == before["p95_s"]
    assert "(reference)" in printed(capsys)


def test_unlike_loads_and_costs_that_are_not_known_are_told(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model(project, "old", latency=0.002)
    run(project, "old", "resume=false", "cache=off")
    run(project, "old", "resume=false", "cache=off", "concurrency=4")
    out = printed(capsys)
    assert "UNLIKE loads" in out and "single_stream (old" in out and "no price was declared" in out
    assert "UNLIKE loads" in evals.history(task="mine")._repr_html_()
