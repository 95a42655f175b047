"""The result table of a notebook: every figure is there, and nothing of a name is markup."""

import re
from pathlib import Path

import pytest

import evals
from evals import store
from evals.cli import main
from evals.report import html


def summaries(project: Path) -> list[dict[str, object]]:
    return [store.read_json(path) for path in sorted(project.glob("results/mine/*/*/summary.json"))]


def test_figures_are_those_of_the_console(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=mine", "model=rules"]) == 0
    shown = html.results(summaries(project))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith(" rules"))
    for figure in re.findall(r"[\d.,]+(?: \[[\d., ]+\])?", line)[:3]:
        assert figure in shown
    assert "no machine price declared" in shown and "F1 simple" in shown and "F1 complex" in shown


def test_a_name_is_never_markup(project: Path) -> None:
    assert main(["run", "task=mine", "model=rules", "limit=4"]) == 0
    (found,) = summaries(project)
    found |= {"option": "<script>alert(1)</script>", "task": "<b>", "errors": {"<img>": 1}}
    shown = html.results([found])
    assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown


def test_a_bar_lies_between_nothing_and_everything() -> None:
    bars = [html._bar({"value": v, "low": max(v - 0.1, 0), "high": min(v + 0.1, 1)}) for v in (0.0, 0.5, 1.0)]
    for bar in bars:
        assert all(0 <= float(left) <= 100 for left in re.findall(r"left:([\d.]+)%", bar))
    assert html._bar({"value": None, "low": None, "high": None}) == "-"


def test_a_notebook_sees_runs_and_results(project: Path) -> None:
    done = evals.run(task="mine", model="rules", limit=8)
    frame = evals.results(str(project / "results" / "**"))
    assert done._repr_html_() == frame._repr_html_() and "<table" in frame._repr_html_()
    assert frame.loc[("mine", "rules"), "n"] == 8
    assert "<table" in frame[["n"]]._repr_html_(), "a part of the frame is shown as the frame it is"
    assert evals.results(str(project / "nowhere"))._repr_html_()
