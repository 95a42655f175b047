"""`route` over runs that another harness made: no documents are at hand, and that is said."""

from pathlib import Path

import pytest
from foreign_logs import sample, samples_file

from evals.cli import main


def test_runs_of_another_harness(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
    for folder, model, wrong in (("a", "small", 3), ("b", "large", 11)):
        rows = [sample(i, {"exact_match": float(i % wrong != 0)}) for i in range(44)]
        path = samples_file(Path(folder), rows, model=model)
        assert main(["import", f"file={path}"]) == 0
    capsys.readouterr()
    task = next((tmp_path / "results").iterdir()).name
    assert main(["route", f"task={task}", "out=o"]) == 0
    said = capsys.readouterr().out
    assert "no features of the text, no grounding" in said and "upper bound" in said
