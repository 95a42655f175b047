"""The command line as a user meets it: what works, and one clear line for what does not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import evals
from evals import store
from evals.cli import main

RUN = ["run", "task=mine", "model=rules"]


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def runs(project: Path, option: str = "rules") -> list[Path]:
    return sorted((project / "results" / "mine" / option).iterdir())


def test_a_run_is_stored_whole(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(RUN) == 0
    (folder,) = runs(project)
    assert {p.name for p in folder.iterdir()} >= {"manifest.json", "config.yaml", "records.jsonl", "summary.json"}
    assert {p.name for p in project.iterdir()} == {"configs", "docs.jsonl", "results", "tasks"}, "nothing else is left"
    assert ":" not in folder.name and str(folder.name) in capsys.readouterr().out
    summary = store.read_json(folder / "summary.json")
    assert summary["n"] == 40 and summary["quality"]["f1"]["value"] == 1.0 and summary["failed"] == 0
    assert summary["quality"]["f1"]["low"] < 1.0, "a perfect score has an interval too"
    assert summary["cost"]["usd_per_1k"] is None and "machine.usd_per_hour" in summary["cost"]["note"]
    frame = evals.load_runs(str(project / "results" / "**"))
    assert len(frame) == 40 and set(frame["option"]) == {"rules"} and frame["cost_usd"].isna().all()
    assert evals.load_runs(folder, fields=True)["outcome"].eq("tp").all()


def test_a_declared_price_gives_dollars(project: Path) -> None:
    assert main([*RUN, "machine.usd_per_hour=3600"]) == 0
    (folder,) = runs(project)
    summary, frame = store.read_json(folder / "summary.json"), evals.load_runs(folder)
    assert summary["cost"]["provenance"] == "declared"
    assert frame["cost_usd"].sum() == pytest.approx(summary["throughput"]["busy_s"])


def test_limit_is_a_stratified_sample(project: Path) -> None:
    assert main([*RUN, "limit=8"]) == 0
    frame = evals.load_runs(runs(project)[0])
    assert frame["slice"].value_counts().to_dict() == {"simple": 6, "complex": 2}
    assert list(frame["sample_id"]) != [f"d{i}" for i in range(8)]


def test_slice_and_its_empty_case(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*RUN, "slice=[complex]"]) == 0
    assert len(evals.load_runs(runs(project)[0])) == 10
    assert main([*RUN, "slice=[complx]"]) == 2
    assert "its tags are complex, simple" in capsys.readouterr().err


def test_a_sweep_ends_in_one_table(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=mine", "-m", "model=rules,fake"]) == 0
    out = capfd.readouterr().out
    assert out.rindex("fake") > out.rindex("rules") and len(runs(project)) == len(runs(project, "fake")) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "task=mine", "model=rule"], "did you mean rules?"),
        (["run", "task=min", "model=rules"], "did you mean mine?"),
        ([*RUN, "+typo=3"], "typo is not known"),
        ([*RUN, "experiment=smok"], "experiment=smok is not known; did you mean smoke"),
        ([*RUN, "limt=3"], "limt is not known; did you mean limit"),
        ([*RUN, "seed=abc"], "seed='abc'"),
        ([*RUN, "limit=0"], "limit=0 must be at least 1"),
        ([*RUN, "model.thread=1"], "model.thread is not known"),
        ([*RUN, "split=train"], "split=train: mine has dev, test"),
        ([*RUN, "prompt=other"], "prompt=other"),
        ([*RUN, "task.path=nowhere.jsonl"], "nowhere.jsonl is not there"),
        ([*RUN, "task.max_chars=many"], "task.max_chars='many'"),
        ([*RUN, "limit"], "did you mean KEY=limit?"),
        (["run", "task=mine", "model=rules,fake"], "needs -m"),
        (["rum"], "did you mean run"),
        (["score", "task=mine"], "give either predictions=FILE.jsonl or rescore=RUN"),
    ],
)
def test_mistakes_are_one_line(project: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(words) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and said in error[0]
    assert not (project / "results").exists(), "nothing is left behind"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "holds no documents"),
        (
            '{"id": "a", "text": "x", "target": {}}\n{"id": "a", "text": "y", "target": {}}\n',
            ":2: the id 'a' occurs twice",
        ),
        ('{"id": "a", "text": "x", "tar', ":1 is no JSON line"),
        ('{"id": "a", "body": "x", "target": {}}\n', ":1 has no 'text'"),
        ('{"id": "a", "text": "x", "target": {"whom": "y"}}\n', "unknown field 'whom'; did you mean who"),
        ("[1, 2]\n", "should be a JSON object"),
    ],
)
def test_bad_documents_are_named(project: Path, capsys: pytest.CaptureFixture[str], content: str, said: str) -> None:
    (project / "docs.jsonl").write_text(content)
    assert main(RUN) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["a b.jsonl", "é=ü.jsonl", "x[1].jsonl", "~t.jsonl", "{a},b.jsonl", "it's.jsonl"])
def test_paths_that_hydra_refuses_are_quoted(project: Path, name: str) -> None:
    (project / "docs.jsonl").rename(project / name)
    assert main([*RUN, f"task.path={name}", "limit=4"]) == 0


def test_an_interrupted_run_goes_on_and_asks_nothing_twice(project: Path) -> None:
    assert main(RUN) == 0
    (folder,) = runs(project)
    whole = lines(folder / "records.jsonl")
    for name in ("summary.json", "table.parquet"):
        (folder / name).unlink()
    (folder / "records.jsonl").write_text("\n".join(whole[:17]) + "\n" + whole[17][:40])
    assert main(RUN) == 0
    assert runs(project) == [folder], "the same command, the same run"
    again = [json.loads(line) for line in lines(folder / "records.jsonl")]
    assert lines(folder / "records.jsonl")[:17] == whole[:17]
    assert sorted(r["sample_id"] for r in again) == sorted(f"d{i}" for i in range(40))
    assert store.read_json(folder / "summary.json")["quality"]["f1"]["value"] == 1.0
    assert main(RUN) == 0 and len(runs(project)) == 2, "a finished run is not continued"


def test_predictions_and_rescore(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [{"id": f"d{i}", "output": {"who": "ACME Limited", "when": None}} for i in range(39)]
    (project / "answers.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers))
    assert main(["score", "task=mine", "predictions=answers.jsonl"]) == 0
    (folder,) = runs(project, "answers")
    summary = store.read_json(folder / "summary.json")
    assert summary["n"] == 40 and summary["failed"] == 1 and summary["latency"]["p50_s"] is None
    assert summary["quality"]["f1"]["value"] == pytest.approx(2 * 39 / (2 * 39 + 39 + 2))
    before = lines(folder / "records.jsonl")
    assert main(["score", "task=mine", f"rescore={folder}"]) == 0
    assert lines(folder / "records.jsonl") == before
    assert store.read_json(folder / "summary.json")["quality"] == summary["quality"]
    (project / "answers.jsonl").write_text('{"id": "d999", "output": "{}"}\n')
    assert main(["score", "task=mine", "predictions=answers.jsonl"]) == 2
    assert "the id 'd999' is not in task=mine" in capsys.readouterr().err


def test_infrastructure_failures_are_counted_both_ways(project: Path) -> None:
    assert main(["run", "task=mine", "model=fake", "model.error_rate=0.5", 'model.reply="{}"']) == 4
    (folder,) = [p for p in (project / "results" / "mine").glob("*/*")]
    summary = store.read_json(folder / "summary.json")
    assert 5 < summary["failed_infrastructure"] < 35
    assert summary["quality_without_failed_infrastructure"]["f1"]["n"] == 40 - summary["failed"]


def test_results_that_cannot_be_written(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "results").write_text("a file where the folder should be")
    assert main(RUN) == 2
    assert "set EVALS_RESULTS" in capsys.readouterr().err


def test_help_is_quick_and_names_every_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0 and main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {key} " in out for key in ("limit", "slice", "seed", "repeats", "prompt", "shots"))


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    words = [sys.executable, "-c", "from evals.cli import main; raise SystemExit(main(['models']))"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        told = process.stderr.read()
    assert (process.returncode, told) == (0, "")
