"""The commands by name from Python: the same runs as the command line, in a notebook's running loop too."""

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.cli import main
from evals.commands.run import Finished
from evals.errors import ConfigError, DataError


def settled(folder: Path) -> dict[str, Any]:
    """A manifest without what differs between two runs of one command."""
    manifest = store.read_json(folder / "manifest.json")
    return {k: v for k, v in manifest.items() if k not in ("launcher", "started_at", "backend", "git")}


def test_run_is_what_the_command_line_does(project: Path) -> None:
    done = evals.run(task="mine", model="rules", limit=8, overrides={"task.max_chars": 60})
    assert main(["run", "task=mine", "model=rules", "limit=8", "task.max_chars=60"]) == 0
    assert isinstance(done, Finished) and done.exit_code == 0
    first, second = sorted(done.folder.parent.iterdir())
    assert first.resolve() == done.folder.resolve() and settled(first) == settled(second)
    assert done.summary == store.read_json(first / "summary.json")
    assert done.summary["quality"] == store.read_json(second / "summary.json")["quality"]
    assert store.read_json(first / "manifest.json")["launcher"] == "evals.run"


def test_overrides_reach_their_group(project: Path) -> None:
    done = evals.run(
        task="mine",
        model="fake",
        limit=4,
        overrides={"model.reply": '{"who": "Acme", "when": null}', "machine.usd_per_hour": 3600},
    )
    assert done.summary["option"] == 'fake+reply={"who": "Acme", "when": null}'
    assert (done.summary["quality"]["schema_valid"]["value"], done.summary["cost"]["provenance"]) == (1.0, "declared")
    assert evals.run(task="mine", model="fake", limit=4).summary["option"] == "fake", "nothing is kept for the next run"


def test_inside_a_running_loop(project: Path) -> None:
    async def notebook() -> list[Finished]:
        first = evals.run(task="mine", model="fake", limit=4, overrides={"model.latency_s": 0.001}, concurrency=4)
        return [first, evals.score(task="mine", rescore=str(first.folder))]

    before = threading.active_count()
    done, again = asyncio.run(notebook())
    assert done.summary["n"] == 4 and again.folder == done.folder and again.summary == done.summary
    assert threading.active_count() == before, "no thread is left behind"


def test_an_error_inside_a_running_loop_is_the_same_error(project: Path) -> None:
    async def notebook() -> None:
        evals.run(task="mine", model="rules", split="train")

    with pytest.raises(ConfigError, match=r"^split=train: mine has dev, test$"):
        asyncio.run(notebook())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"overrides": {"modle.n_ctx": 1}}, "overrides: 'modle.n_ctx' should be GROUP.KEY with a group of task, model"),
        ({"overrides": {"limit": 1}}, "overrides: 'limit' should be GROUP.KEY"),
        ({"overrides": {"model": "fake"}}, "overrides: 'model' should be GROUP.KEY"),
        ({"overrides": {"model.": "fake"}}, "overrides: 'model.' should be GROUP.KEY"),
        ({"overrides": {"task.max_char": 1}}, "overrides: task.max_char is not known; did you mean task.max_chars"),
        ({"overrides": {"task.max_chars": "many"}}, "task.max_chars='many'"),
        ({"overrides": {"task.max_chars": 0}}, "task.max_chars=0 must be at least 1"),
        ({"overrides": {"model._target_": "evals.models.fake.Fak"}}, "model._target_=evals.models.fake.Fak cannot be"),
        ({"model": "rulse"}, "model=rulse is not known; did you mean rules?"),
        ({"task": "mien"}, "task=mien is not known; did you mean mine?"),
        ({"machine": "thsi"}, "machine=thsi is not known; did you mean this?"),
        ({"split": "train"}, "split=train: mine has dev, test"),
        ({"prompt": "other"}, "prompt=other"),
    ],
)
def test_a_mistake_is_a_config_error_and_leaves_nothing(project: Path, words: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evals.run(**{"task": "mine", "model": "rules", **words})
    assert str(caught.value).startswith(said) and "\n" not in str(caught.value)
    assert not (project / "results").exists()


def test_score_takes_predictions(project: Path) -> None:
    rows = [{"id": f"d{i}", "output": {"who": "Acme", "when": f"{i % 28 + 1} March 2024"}} for i in range(40)]
    (project / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = evals.score(task="mine", predictions="a.jsonl", option="by hand")
    assert (done.summary["option"], done.summary["n"], done.summary["quality"]["exact"]["value"]) == ("by hand", 40, 1)
    assert done.summary["latency"]["n"] == 0 and done.summary["quality"]["exact_strict"]["value"] == 0
    with pytest.raises(DataError, match="the id 'd5' is not in task=mine"):
        evals.score(task="mine", predictions="a.jsonl", overrides={"task.path": cut(project, 5)})
    with pytest.raises(ConfigError, match="a group of task$"):
        evals.score(task="mine", predictions="a.jsonl", overrides={"model.name": "x"})


def cut(project: Path, n: int) -> str:
    """The first documents alone."""
    lines = (project / "docs.jsonl").read_text().splitlines(keepends=True)
    (project / "few.jsonl").write_text("".join(lines[:n]))
    return "few.jsonl"


def test_results_is_one_row_a_run(project: Path) -> None:
    assert len(evals.results("results/**")) == 0
    done = [evals.run(task="mine", model=name, limit=8) for name in ("rules", "fake")]
    frame = evals.results()
    assert frame.index.tolist() == [("mine", "rules"), ("mine", "fake")] and frame.index.names == ["task", "option"]
    for one, (_, row) in zip(done, frame.iterrows(), strict=True):
        f1 = one.summary["quality"]["f1"]
        assert [row["f1"], row["f1_low"], row["f1_high"]] == [f1["value"], f1["low"], f1["high"]]
        assert (row["n"], row["failed"], row["p50_s"]) == (8, 0, one.summary["latency"]["p50_s"])
    assert evals.results("results/mine/fake/*").index.tolist() == [("mine", "fake")]
    assert len(evals.load_runs()) == 16


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"limit": 0}, "limit=0 must be at least 1"),
        ({"limt": 3}, "limt is not known; did you mean limit"),
        ({"seed": "abc"}, "seed='abc'"),
        ({"slice": "simple"}, "slice='simple'"),
        ({"overrides": {"machine.usd_per_hour": -1}}, "machine.usd_per_hour=-1 must be dollars an hour"),
        (
            {"overrides": {"machine.usd_per_hr": 1}},
            "machine.usd_per_hr is not known; did you mean machine.usd_per_hour",
        ),
        ({"out": "docs.jsonl"}, "out=docs.jsonl is no folder"),
    ],
)
def test_python_is_told_what_the_command_line_is_told(project: Path, words: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evals.run(task="mine", model="rules", **words)  # type: ignore[arg-type]
    assert said in str(caught.value) and not (project / "results").exists()


def test_a_run_is_the_same_from_python_and_written_where_out_says(project: Path) -> None:
    from evals import store
    from evals.cli import main

    assert main(["run", "task=mine", "model=rules", "limit=4", "temperature=0"]) == 0
    done = evals.run(task="mine", model="rules", limit=4, temperature=0, out="made")
    (first,) = [p for p in done.folder.parent.iterdir() if p != done.folder]
    keys = {store.read_json(folder / "manifest.json")["run_key"] for folder in (first, done.folder)}
    assert len(keys) == 1 and sorted(p.name for p in (project / "made").iterdir()) == ["run.csv", "run.json"]


def test_results_are_looked_for_where_they_are_written(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALS_RESULTS", str(project / "x[1]"))
    evals.run(task="mine", model="rules", limit=4)
    assert len(evals.load_runs()) == len(evals.load_runs(project / "x[1]")) == 4 and len(evals.results()) == 1
    assert len(evals.load_runs(str(project / "x*"))) == 4
