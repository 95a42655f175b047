"""What the user allowed although it misleads is said in all four outputs, and where the figures are from."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from compared import model, run

import evals
from evals.cli import main

WRONG = {"who": "Other plc"}


@pytest.fixture
def two(project: Path) -> Path:
    model(project, "old", {0: WRONG}, latency=0.002)
    model(project, "new", {i: WRONG for i in range(12)}, latency=0.002)
    run(project, "old")
    (project / "tasks" / "mine" / "prompt_short.md").write_text("## user\nGo: {{document}}\n")
    lines = (project / "docs.jsonl").read_text().splitlines()
    (project / "less.jsonl").write_text("\n".join(lines[:30]) + "\n")
    return project


@pytest.mark.parametrize(
    ("how", "allow", "said"),
    [
        (["prompt=short"], "prompt", "compared although prompt differs"),
        (["task.path=less.jsonl"], "dataset", "compared although dataset differs"),
        (["concurrency=4"], "load", "latencies compared although conditions differ (load: single_stream against"),
    ],
)
def test_what_is_allowed_is_said_in_all_four_outputs(
    how: list[str], allow: str, said: str, two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = run(two, "new", *how)
    words = ["compare", "baseline=old", f"candidate={folder}", "by=[]", "out=out", "regression=false"]
    capsys.readouterr()
    if allow != "load":
        assert main(words) == 2 and f"allow=[{allow}]" in capsys.readouterr().err
    else:
        assert main(words) == 0 and "although" not in capsys.readouterr().out
    assert main([*words, f"allow=[{allow}]"]) == 0
    assert said in " ".join(capsys.readouterr().out.split())
    assert any(said in line for line in json.loads(Path("out/compare.json").read_text())["candidates"][0]["told"])
    assert said in Path("out/compare.md").read_text().replace("\\_", "_")
    assert said in (ElementTree.parse("out/compare.xml").getroot()[0].findtext("system-out") or "")
    found = evals.compare(candidate=str(folder), baseline="old", allow=[allow], by=[])
    assert said in found._repr_html_(), "and in a notebook"


def test_every_output_names_the_runs_it_is_of(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run(two, "new")
    capsys.readouterr()
    assert main(["compare", "baseline=old", "candidate=new", "by=[]", "out=out"]) == 1
    old = next((two / "results" / "mine" / "old").iterdir())
    for text in (capsys.readouterr().out, Path("out/compare.md").read_text().replace("\\_", "_")):
        assert str(folder) in text and str(old) in text
    assert str(folder) in Path("out/compare.xml").read_text() and str(old) in Path("out/compare.json").read_text()


def test_no_document_is_shown_where_none_is_wanted(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(two, "new")
    capsys.readouterr()
    assert main(["compare", "baseline=old", "candidate=new", "by=[]", "show=0"]) == 1
    out = capsys.readouterr().out
    assert "newly broken: 11\n" in out and "the first 0" not in out


def test_a_latency_gate_says_how_many_documents_it_needs(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(two, "new")
    capsys.readouterr()
    assert main(["compare", "baseline=old", "candidate=new", "by=[]", "gate.p95_s.max=60", "strict=true"]) == 3
    assert "inconclusive, needs about 72 documents" in " ".join(capsys.readouterr().out.split())
