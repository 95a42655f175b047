"""`import`: from a foreign file to runs that every other command reads."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from foreign_logs import PLANTED, choice, failed, promptfoo_file, row, sample, samples_file, spoilt

import evals
from evals import store
from evals.cli import main
from evals.stats import wilson

Out = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, which is the current one, with its results."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def graded(folder: str, model: str, right: set[int], n: int = 40) -> Path:
    """A samples file of one model over n documents."""
    return samples_file(Path(folder), [sample(i, {"exact_match": float(i in right)}) for i in range(n)], model=model)


def runs(results: Path) -> list[Path]:
    return sorted(path.parent for path in results.glob("*/*/*/manifest.json"))


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


# One run ------------------------------------------------------------------------------------------------------


def test_a_samples_file_is_a_run(results: Path, capsys: Out) -> None:
    path = graded("a", "org/m1", set(range(30)))
    assert main(["import", f"file={path}"]) == 0
    told = capsys.readouterr().out
    (folder,) = runs(results)
    assert str(folder) in told and folder.parent == results / "gsm8k" / "org_m1"
    assert {p.name for p in folder.iterdir()} >= {"manifest.json", "config.yaml", "records.jsonl", "summary.json"}
    summary = store.read_json(folder / "summary.json")
    expected = wilson(30, 40)
    assert summary["quality"]["score"] == {"value": 0.75, "low": expected.low, "high": expected.high, "n": 40}
    assert summary["quality"]["exact"]["value"] == 0.75
    for name in ("f1", "f1_strict", "schema_valid", "parse_strict", "hallucination_rate"):
        assert summary["quality"][name]["value"] is None, name
    assert summary["cost"]["usd_per_1k"] is None and summary["cost"]["billed"] is None
    assert summary["latency"]["p50_s"] is None and summary["throughput"]["docs_per_min"] is None
    assert "0.750" in told and "neither tokens nor dollars" in told


def test_where_it_comes_from_is_told(results: Path) -> None:
    path = graded("a", "org/m1", {1})
    evals.import_logs(str(path))
    manifest = store.read_json(runs(results)[0] / "manifest.json")
    said = manifest["imported_from"]
    import hashlib

    assert said["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest() and said["file"] == path.name
    assert (said["harness"], said["version"], said["model"], said["task"]) == ("lm_eval", "0.4.13", "org/m1", "gsm8k")
    assert said["created"] == "2026-11-25T09:46:40+00:00" and manifest["started_at"].startswith("2026-11-25T09-46-40")
    assert runs(results)[0].name == "2026-11-25T09-46-40.000000Z"
    assert manifest["load"] == "imported(lm_eval)" and manifest["location"] is None


def test_load_runs_and_results_read_it(results: Path) -> None:
    evals.import_logs(str(graded("a", "org/m1", {0, 1, 2})))
    frame = evals.load_runs()
    assert list(frame["score"])[:4] == [1, 1, 1, 0] and frame["score"].mean() == 3 / 40
    assert frame["cost_usd"].isna().all() and frame["latency_s"].isna().all() and frame["f1"].isna().all()
    table = evals.results()
    assert table["score"].iloc[0] == 3 / 40 and pd.isna(table["usd_per_1k"].iloc[0])
    shown = table._repr_html_()
    assert "score [95 %]" in shown and "0.075" in shown and "F1 [95 %]" not in shown


def test_a_mean_of_numbers_is_no_exact_match(results: Path) -> None:
    lines = [sample(i, {"rouge": i / 20}) for i in range(20)]
    evals.import_logs(str(samples_file(Path("a"), lines)))
    summary = store.read_json(runs(results)[0] / "summary.json")
    assert summary["quality"]["score"]["value"] == pytest.approx(sum(i / 20 for i in range(20)) / 20)
    assert summary["quality"]["exact"] == {"value": None, "low": None, "high": None, "n": 0}


# Together -----------------------------------------------------------------------------------------------------


def test_compare_gives_a_verdict(results: Path, capsys: Out) -> None:
    for folder, model, right in (("a", "org/old", set(range(100))), ("b", "org/new", set(range(60)))):
        evals.import_logs(str(graded(folder, model, right, n=120)))
    assert main(["compare", "baseline=org_old", "candidate=org_new", "out=o"]) == 1
    told = capsys.readouterr().out
    found = json.loads(Path("o/compare.json").read_text())
    (score,) = [row for row in found["metrics"] if row["metric"] == "score"]
    assert score["verdict"] == "regressed" and score["difference"] == pytest.approx(-40 / 120)
    assert score["test"] == "McNemar, exact"
    assert [row["metric"] for row in found["metrics"]] == ["score", "failed", "cost", "p50_s", "p95_s"]
    assert len(found["newly_broken"]) == 40 and "org_new regressed" in told
    assert main(["compare", "baseline=org_old", "candidate=org_new", "metrics=[exact]", "regression=false"]) == 0
    gate = ["compare", "baseline=org_old", "candidate=org_new", "gate.score.min=0.95", "gate.exact.min=0.1", "out=o"]
    assert main(gate) == 1
    names = [row["metric"] for row in json.loads(Path("o/compare.json").read_text())["metrics"]]
    assert names == ["score", "exact", "failed", "cost", "p50_s", "p95_s"]
    assert main(["compare", "baseline=org_old", "candidate=org_new", "gate.f1.min=0.9"]) == 2


def test_compare_of_means_is_a_paired_t(results: Path) -> None:
    from scipy.stats import ttest_rel

    values = {"a": [0.1 * (i % 7) for i in range(50)], "b": [0.1 * (i % 7) + 0.01 * (i % 3) for i in range(50)]}
    for name, found in values.items():
        lines = [sample(i, {"rouge": value}) for i, value in enumerate(found)]
        evals.import_logs(str(samples_file(Path(name), lines, model=name)))
    result = evals.compare(baseline="a", candidate="b").result
    (score,) = [row for row in result["metrics"] if row["metric"] == "score"]
    assert score["p"] == pytest.approx(ttest_rel(values["b"], values["a"]).pvalue)
    (exact,) = [row for row in result["metrics"] if row["metric"] == "exact"]
    assert exact["verdict"] == "not measured"


def test_unlike_documents_and_scorers_are_refused(capsys: Out) -> None:
    evals.import_logs(str(graded("a", "m1", {1})))
    evals.import_logs(str(graded("b", "m2", {1}, n=39)))
    assert main(["compare", "baseline=m1", "candidate=m2"]) == 2
    assert "dataset differs" in capsys.readouterr().err
    assert main(["compare", "baseline=m1", "candidate=m2", "allow=[dataset]"]) in (0, 1)
    assert "39 documents are in both" in capsys.readouterr().out
    lines = [sample(i, {"other": 1.0}) for i in range(40)]
    evals.import_logs(str(samples_file(Path("c"), lines, model="m3")))
    assert main(["compare", "baseline=m1", "candidate=m3"]) == 2
    assert "scorer differs" in capsys.readouterr().err


def test_frontier_and_history_know_the_task(results: Path, capsys: Out) -> None:
    rows = [
        row(
            i,
            column=column,
            provider=name,
            passed=i % 3 >= column,
            cost=0.001 * (2 - column),
            latencyMs=100 * (1 + column),
        )
        for i in range(30)
        for column, name in enumerate(("dear:x", "cheap:y"))
    ]
    evals.import_logs(str(promptfoo_file(Path("r.json"), rows)), task="mine")
    capsys.readouterr()
    assert main(["frontier", "task=mine", "out=o"]) == 0
    points = {p["option"]: p for p in json.loads(Path("o/frontier.json").read_text())["points"]}
    assert points["dear_x"]["quality"] == 1.0 and points["cheap_y"]["quality"] == pytest.approx(2 / 3)
    assert points["dear_x"]["cost"] == pytest.approx(2.0) and points["cheap_y"]["cost"] == pytest.approx(1.0)
    assert points["dear_x"]["load"] == "imported(promptfoo)" and all(p["on_frontier"] for p in points.values())
    assert len(evals.frontier(task="mine").points) == 2
    assert main(["frontier", "task=mine", "quality=f1"]) == 2
    capsys.readouterr()
    assert main(["history", "task=mine"]) == 0
    assert "score [95 %]" in capsys.readouterr().out
    assert main(["frontier", "task=nothing"]) == 2
    assert "task=nothing is not known" in capsys.readouterr().err


def test_history_marks_a_real_change(capsys: Out) -> None:
    for day, right in ((0, 120), (1, 60)):
        lines = [sample(i, {"exact_match": float(i < right)}) for i in range(120)]
        evals.import_logs(str(samples_file(Path(f"d{day}"), lines, model="m", seconds=1795600000.5 + 86400 * day)))
    rows = evals.history(task="gsm8k").rows
    assert [row["started_at"][:10] for row in rows] == ["2026-11-25", "2026-11-26"]
    assert any(change.startswith("score -0.500") for change in rows[1]["changes"])
    assert main(["history", "task=gsm8k", "out=o"]) == 0
    assert "\u25bc score -0.500" in capsys.readouterr().out
    assert "score_low" in Path("o/history.csv").read_text().splitlines()[0]


def test_history_does_not_compare_what_is_not_known_alike() -> None:
    """Without its results file a log does not say its prompt as the other does."""
    evals.import_logs(str(graded("a", "m", {1})))
    lines = [sample(i, {"exact_match": 1.0}) for i in range(40)]
    later = samples_file(Path("b"), lines, date="2026-11-26T10-00-00.000000", results=False)
    evals.import_logs(str(later), model="m", task="gsm8k")
    rows = evals.history(task="gsm8k").rows
    assert rows[1]["step"].startswith("not comparable: other prompt")


# promptfoo and money ------------------------------------------------------------------------------------------


def test_costs_are_declared_by_the_harness(results: Path) -> None:
    evals.import_logs(str(promptfoo_file(Path("r.json"), [row(i) for i in range(12)])))
    summary = store.read_json(runs(results)[0] / "summary.json")
    assert summary["cost"]["usd_per_1k"] == pytest.approx(2.0) and summary["cost"]["provenance"] == "declared"
    assert summary["cost"]["note"] == "cost as promptfoo 0.121.11 reports it"
    assert summary["latency"]["n"] == 12 and summary["latency"]["load"] == "imported(promptfoo)"
    assert summary["throughput"]["docs_per_min"] is None
    price = store.read_json(runs(results)[0] / "manifest.json")["prices"]["default"]
    assert price["source"] == "r.json" and price["date"] == "2026-11-25" and price["provenance"] == "declared"


def test_one_unknown_cost_makes_the_runs_unknown(results: Path) -> None:
    rows = [*(row(i) for i in range(11)), row(11, cost=0, response={"cost": 0})]
    evals.import_logs(str(promptfoo_file(Path("r.json"), rows)))
    summary = store.read_json(runs(results)[0] / "summary.json")
    assert summary["cost"]["usd_per_1k"] is None and summary["cost"]["billed"] is None


def test_tokens_are_priced_where_the_user_declares_it(results: Path, capsys: Out) -> None:
    bare = [row(i, cost=0, response={"cost": 0}) for i in range(12)]
    path = promptfoo_file(Path("r.json"), bare)
    assert main(["import", f"file={path}"]) == 0
    assert "the log has tokens and no dollars" in capsys.readouterr().out
    words = ["price.input_usd_per_mtok=10", "price.cache_read_usd_per_mtok=1", "price.output_usd_per_mtok=100"]
    assert main(["import", f"file={path}", "again=true", *words, "price.source=page", "price.date=2026-11-01"]) == 0
    first, second = runs(results)
    assert store.read_json(first / "summary.json")["cost"]["usd_per_1k"] is None
    cost = store.read_json(second / "summary.json")["cost"]
    assert cost["usd_per_1k"] == pytest.approx((15 * 10 + 5 * 1 + 10 * 100) / 1e6 * 1000)
    again = evals.add_cost(
        evals.load_runs(first), prices={"openai_gpt-4o": {"input_usd_per_mtok": 10, "output_usd_per_mtok": 100}}
    )
    assert again["cost_usd"].iloc[0] == pytest.approx((20 * 10 + 10 * 100) / 1e6)
    assert main(["import", f"file={path}", "again=true", "price.input_usd_per_mtok=0"]) == 2


def test_cached_answers_enter_no_latency_and_no_cost(results: Path) -> None:
    cached = row(
        0, latencyMs=1, cost=0, response={"cached": True, "cost": 0, "tokenUsage": {"total": 30, "cached": 30}}
    )
    made = evals.import_logs(str(promptfoo_file(Path("r.json"), [cached, *(row(i) for i in range(1, 8))])))
    (summary,) = made.summaries
    assert (summary["latency"]["n"], summary["fresh_n"], summary["n"]) == (7, 7, 8)
    assert summary["cost"]["usd_per_1k"] is None  # what the cached one would cost is not known
    assert made.rows[0]["cached"] == 1


def test_failures_count_as_zero_and_are_told(results: Path, capsys: Out) -> None:
    path = promptfoo_file(Path("r.json"), [failed(0), *(row(i) for i in range(1, 4))])
    assert main(["import", f"file={path}"]) == 0
    told = capsys.readouterr().out
    assert "failed: 1 rate_limit; counted as zero, without those that are not the model's 1.000" in told
    summary = store.read_json(runs(results)[0] / "summary.json")
    assert summary["failed"] == 1 and summary["quality"]["score"]["value"] == 0.75
    assert summary["quality_without_failed_infrastructure"]["score"]["value"] == 1.0


def test_what_could_not_be_scored_is_left_out(results: Path, capsys: Out) -> None:
    def bare(made: dict[str, Any]) -> None:
        made["gradingResult"] = {"pass": True, "score": 1, "reason": "No assertions"}
        del made["testCase"]["assert"]

    rows = [spoilt(row(0), bare), row(1), row(2, passed=False)]
    assert main(["import", f"file={promptfoo_file(Path('r.json'), rows)}"]) == 0
    assert "(of 2 scored)" in capsys.readouterr().out
    quality = store.read_json(runs(results)[0] / "summary.json")["quality"]
    assert quality["score"]["value"] == 0.5 and quality["score"]["n"] == 2 and quality["exact"]["value"] is None


def test_repeats_are_averaged_inside_a_document(results: Path) -> None:
    again = [spoilt(row(i, passed=False), lambda made: made.update(testIdx=made["testIdx"] + 100)) for i in range(6)]
    (summary,) = evals.import_logs(str(promptfoo_file(Path("r.json"), [*map(row, range(6)), *again]))).summaries
    expected = wilson(3, 6)
    assert (summary["n"], summary["repeats"]) == (6, 2)
    assert summary["quality"]["score"] == {"value": 0.5, "low": expected.low, "high": expected.high, "n": 6}


# Safety -------------------------------------------------------------------------------------------------------


def test_no_secret_and_no_document_reaches_a_file(results: Path, capsys: Out) -> None:
    text = f"Error: Incorrect API key provided: {PLANTED}"
    evals.import_logs(str(promptfoo_file(Path("r.json"), [row(0), failed(1, text)])), out="o")
    evals.import_logs(str(graded("a", "m", {1})), out="o2")
    main(["import", "file=r.json,a", "again=true"])
    said = capsys.readouterr()
    for blob in (
        everything(results),
        everything(Path("o")),
        everything(Path("o2")),
        said.out.encode(),
        said.err.encode(),
    ):
        assert PLANTED.encode() not in blob and b"secret document" not in blob
    assert len(runs(results)) == 4 and b"Error: Incorrect" in everything(results)


def test_texts_of_a_log_are_escaped(results: Path) -> None:
    evil = "=HYPERLINK(1)<script>alert(1)</script>\x1b[31m"
    log = promptfoo_file(Path("r.json"), [row(0, provider=evil)], metadata={"promptfooVersion": evil})
    made = evals.import_logs(str(log), out="o")
    assert "<script>" not in made._repr_html_() and "\x1b" not in str(made)
    with Path("o/import.csv").open(newline="") as file:
        (line,) = list(csv.DictReader(file))
    assert line["model"].startswith("'=") and line["version"].startswith("'=")


# Twice, several, named ----------------------------------------------------------------------------------------


def test_the_same_file_twice_is_one_run(results: Path, capsys: Out) -> None:
    path = graded("a", "m", {1})
    copy = Path("elsewhere.jsonl")
    copy.write_bytes(path.read_bytes())
    assert main(["import", f"file={path}"]) == 0
    for same in (path, copy):
        capsys.readouterr()
        assert main(["import", f"file={same}"]) == 0
        assert "was imported before" in capsys.readouterr().out and len(runs(results)) == 1
    assert main(["import", f"file={path}", "again=true"]) == 0
    assert len(runs(results)) == 2


def test_another_metric_of_a_file_is_another_run(results: Path) -> None:
    path = samples_file(Path("a"), [choice(i, {"acc": 1.0, "acc_norm": float(i % 2)}) for i in range(4)])
    first = evals.import_logs(str(path))
    assert any("the score is acc, the first of acc, acc_norm" in note for note in first.notes)
    second = evals.import_logs(str(path), metric="acc_norm")
    assert [one.rows[0]["score"]["value"] for one in (first, second)] == [1.0, 0.5]
    hashes = {store.read_json(folder / "manifest.json")["hashes"]["scorer"] for folder in runs(results)}
    assert len(hashes) == 2


def test_a_folder_a_glob_and_a_list(results: Path, capsys: Out) -> None:
    graded("out/m1", "m1", {1}), graded("out/m2", "m2", {2}), promptfoo_file(Path("out/r.json"), [row(0)])
    assert main(["import", "file=out"]) == 0
    assert {folder.parent.name for folder in runs(results)} == {"m1", "m2", "openai_gpt-4o"}
    for words in ("file=out/*/samples_*.jsonl", "file=[out/m1,out/m2]", "file=out/m1,out/m2"):
        capsys.readouterr()
        assert main(["import", words]) == 0
        told = capsys.readouterr().out
        assert told.count("was imported before") == 2


def test_names_are_the_users_to_give(results: Path, capsys: Out) -> None:
    path = graded("a", "org/m1", {1})
    assert main(["import", f"file={path}", "task=my task", "model=Llama 3 (8b)", "option=l3"]) == 0
    (folder,) = runs(results)
    assert folder.parent == results / "my_task" / "l3"
    assert store.read_json(folder / "manifest.json")["model"] == "Llama 3 (8b)"
    graded("b", "m2", {1}, n=3), graded("b2", "m3", {1}, n=3)
    capsys.readouterr()
    assert main(["import", "file=b,b2", "option=x"]) == 2
    assert "option=x names one run, the files hold 2 (m2, m3)" in capsys.readouterr().err


def test_unlike_runs_of_one_task_are_told(results: Path, capsys: Out) -> None:
    graded("a/1", "m1", {1}), graded("a/2", "m2", {1}, n=10)
    assert main(["import", "file=a"]) == 0
    assert "gsm8k: documents or scoring differ between m1 and m2" in capsys.readouterr().out


# Mistakes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("x.json", "{broken", "x.json:1 is no valid JSON"),
        ("x.json", "", "x.json:1 is no valid JSON"),
        ("x.json", '{"a": 1}', "x.json is no log of Inspect"),
        ("x.json", "[1, 2]", "x.json is no log of Inspect"),
        ("x.json", "3", "x.json is no log of Inspect"),
        ("x.json", '{"results": {"gsm8k": {"acc": 1}}}', "per-document file is samples_*.jsonl"),
        ("x.json", '{"results": {"version": 1, "results": []}}', "version 1 are not known"),
        ("x.jsonl", '{"a": 1}\n{"b": 2}\n', "x.jsonl"),
        ("x.bin", "\x00\x01", "x.bin"),
    ],
)
def test_what_is_no_log_is_one_line_and_leaves_nothing(
    results: Path, capsys: Out, name: str, content: str, told: str
) -> None:
    Path(name).write_text(content)
    assert main(["import", f"file={name}"]) == 2
    error = capsys.readouterr().err
    assert told in error and len(error.strip().splitlines()) == 1
    assert not results.exists()


def test_one_bad_file_of_several_leaves_nothing(results: Path, capsys: Out) -> None:
    graded("a", "m", {1})
    Path("bad.json").write_text("{")
    assert main(["import", "file=a,bad.json"]) == 2
    assert not results.exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "file=FILE names the log"),
        (["file=nothing.json"], "file=nothing.json is not there"),
        (["file=empty"], "file=empty holds no log"),
        (["file=a", "metric=acc"], "metric=acc is not in"),
        (["file=b", "filter=flexible"], "filter=flexible is not in"),
        (["file=a", "fil=x"], "fil is not known; did you mean file"),
    ],
)
def test_a_users_mistake_is_one_line(results: Path, capsys: Out, words: list[str], told: str) -> None:
    Path("empty").mkdir()
    graded("a", "m", {1})
    samples_file(Path("b"), [sample(0, {"acc": 1.0}, filter="strict"), sample(0, {"acc": 1.0}, filter="flex")])
    assert main(["import", *words]) == 2
    assert told in capsys.readouterr().err and not results.exists()


def test_a_run_that_cannot_be_written_leaves_nothing(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from evals.commands import run

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(run, "conclude", full)
    with pytest.raises(OSError, match="No space"):
        evals.import_logs(str(graded("a", "m", {1})))
    assert not list(results.rglob("*.json"))
    assert not (results / "gsm8k").exists()


def test_a_torn_line_is_told(results: Path, capsys: Out) -> None:
    path = graded("a", "m", {1}, n=5)
    path.write_bytes(path.read_bytes()[:-30])
    assert main(["import", f"file={path}"]) == 0
    assert "the last line (5) is torn and was dropped: 1 line" in capsys.readouterr().out
    assert store.read_json(runs(results)[0] / "summary.json")["n"] == 4


def test_the_table_as_files(results: Path) -> None:
    evals.import_logs(str(promptfoo_file(Path("r.json"), [row(i) for i in range(12)])), out="o")
    with Path("o/import.csv").open(newline="") as file:
        (line,) = list(csv.DictReader(file))
    assert float(line["score"]) == 1.0 and float(line["usd_per_1k"]) == pytest.approx(2.0) and line["n"] == "12"
    found = json.loads(Path("o/import.json").read_text())
    assert found["runs"][0]["metric"] == "pass" and isinstance(found["notes"], list)
    assert not math.isnan(found["runs"][0]["score"]["low"])


def test_an_import_can_be_the_reference(results: Path, capsys: Out) -> None:
    """`results/baselines/TASK.json` holds scores and no text; the candidate is compared with it like with a run."""
    for folder, model, right in (("a", "old", set(range(110))), ("b", "new", set(range(60)))):
        evals.import_logs(str(graded(folder, model, right, n=120)))
    assert main(["compare", "candidate=old", "save=true"]) == 0
    reference = (results / "baselines" / "gsm8k.json").read_text()
    assert "so 3" not in reference and '"score":1' in reference
    assert main(["compare", "candidate=new", "out=o"]) == 1
    (score,) = [row for row in json.loads(Path("o/compare.json").read_text())["metrics"] if row["metric"] == "score"]
    assert score["verdict"] == "regressed" and score["difference"] == pytest.approx(-50 / 120)
    assert main(["compare", "candidate=old"]) == 0
