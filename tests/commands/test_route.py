"""`route` from the command line: runs, tables, saved and replayed policies, files, and what the user can get wrong."""

import csv
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_data
from compared import model, once, run

import evals
from evals.cli import main

TABLE = real_data.TABLES / "routellm_gsm8k.jsonl"
real = pytest.mark.skipif(not TABLE.is_file(), reason=f"the real table {TABLE} is not here")


@pytest.fixture
def two(project: Path) -> Path:
    """A cheap model that invents a name, or leaves the date out, in every third document, and a strong one."""

    def spoil(i: int) -> dict[str, str | None]:
        return {"who": "Globex Inc", "when": None} if i % 3 == 0 else {}

    def make() -> None:
        model(project, "weak", spoil)
        model(project, "fine", {1: {"who": "Nobody"}}, latency=0.02)
        for name in ("weak", "fine"):
            run(project, name)

    return once(project, "two-routed", make)


def test_runs_are_simulated_and_told(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["route", "task=mine", "out=told", "machine.usd_per_hour=1"]) == 0
    said = capsys.readouterr().out
    assert "weak -> fine" in said and "P(error)" in said and "best signal" in said
    assert "cannot be told from zero: 40 documents, under 200" in said
    assert "no runs of dev to fit on" in said
    report = json.loads((two / "told" / "route.json").read_text())
    by = {row["way"]: row for row in report["hybrids"]}
    assert by["grounded_share"]["share_strong"] == pytest.approx(14 / 40)
    # what it should have been: the strong model's one error is not among the documents that escalate
    assert by["grounded_share"]["quality"]["value"] == pytest.approx(1.0)
    assert by["grounded_share"]["gain_mix"]["low"] > 0.05
    assert by["oracle"]["quality"]["value"] == 1.0
    assert {row["option"] for row in report["singles"]} == {"weak", "fine"}
    assert report["calibration"] and report["signals"] and report["aiq"]
    rows = list(csv.DictReader((two / "told" / "route.csv").read_text().splitlines()))
    assert {row["kind"] for row in rows} >= {"single", "cascade", "preroute", "oracle", "random_mix"}
    pytest.importorskip("matplotlib")
    assert (two / "told" / "route.png").read_bytes().startswith(b"\x89PNG")


def test_the_table_of_hybrids_is_one_that_frontier_reads(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "task=mine", "out=told", "machine.usd_per_hour=1"]) == 0
    words = [
        "table=told/route_table.csv",
        "columns.model=model",
        "columns.sample_id=sample_id",
        "columns.option=option",
    ]
    assert main(["frontier", *words, "quality=score", "cost=cost_usd", "out=front"]) == 0
    points = json.loads((two / "front" / "frontier.json").read_text())["points"]
    assert {point["option"] for point in points} >= {"weak", "fine", "hybrid(weak->fine, P(error))"}
    report = json.loads((two / "told" / "route.json").read_text())
    single = {row["option"]: row["quality"]["value"] for row in report["singles"]}
    assert {p["option"]: p["quality"] for p in points if p["option"] in single} == pytest.approx(single)


def test_a_policy_is_saved_replayed_and_used_by_a_service(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["route", "task=mine", "save=deep/policy.json", "kind=cascade", "way=grounded_share"]) == 0
    saved = evals.load_policy("deep/policy.json")
    about = saved.policy.about
    assert (saved.policy.cheap, saved.policy.strong) == ("weak", "fine")
    assert about["task"] == "mine" and about["split"] == "test" and about["fitted_on"] == 40
    assert set(about["runs"]) == {"weak", "fine"} and about["simulated"]["documents"] == 40
    assert about["places"] == {
        "cheap": {"location": "own", "terms": None},
        "strong": {"location": "own", "terms": None},
    }
    assert saved.choose({}) == "cheap"
    assert (
        saved.choose({}, [{"grounded_share": 0.0}]) == "strong" and saved.choose({}, [{"grounded_share": 1.0}]) is None
    )
    capsys.readouterr()
    assert main(["route", "task=mine", "policy=deep/policy.json", "out=again"]) == 0
    assert "flatter" in capsys.readouterr().out
    rows = list(csv.DictReader((two / "again" / "route_documents.csv").read_text().splitlines()))
    assert [row["sample_id"] for row in rows if row["side"] == "strong"] == sorted(f"d{i}" for i in range(0, 40, 3))


def test_in_python_it_is_one_function(two: Path) -> None:
    found = evals.route(task="mine", cheap="weak", strong="fine", save="p.json")
    assert found.policy is not None and found.report["saved"]["file"] == "p.json"
    assert {"option", "quality", "gain_mix_low"} <= set(found.hybrids.columns)


def test_what_is_fitted_on_dev_is_counted_on_test(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("weak", "fine"):
        run(
            two, name, "split=dev"
        )  # the fixture's file serves both: its documents are the same, so none is left to fit
    capsys.readouterr()
    assert main(["route", "task=mine"]) == 0
    assert "not fitted on dev (0 documents that are not counted, under 20): cross-fitted" in capsys.readouterr().out
    lines = (two / "docs.jsonl").read_text().splitlines()
    (two / "docs.jsonl").write_text("\n".join(line.replace('"id": "d', '"id": "e') for line in lines) + "\n")
    for name in ("weak", "fine"):
        text = (two / "configs" / "model" / f"{name}.yaml").read_text()
        (two / "configs" / "model" / f"{name}.yaml").write_text(text.replace('"d', '"e'))
        run(two, name, "split=dev")
    capsys.readouterr()
    assert main(["route", "task=mine", "runs=results"]) == 0
    said = capsys.readouterr().out
    assert "fitted on 40 documents of dev" in said and "no longer those that were answered" in said


def test_documents_that_changed_are_not_used(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (two / "docs.jsonl").open("a") as file:
        file.write(json.dumps({"id": "new", "text": "x", "target": {"who": None, "when": None}}) + "\n")
    capsys.readouterr()
    assert main(["route", "task=mine"]) == 0
    assert "no features of the text, no grounding" in capsys.readouterr().out
    assert main(["route", "task=mine", "save=p.json"]) == 2
    assert "save: without the task's documents" in capsys.readouterr().err


MISTAKES: list[tuple[list[str], str]] = [
    (["task=mine", "cheap=waek"], "did you mean weak"),
    (["task=mine", "floor=70"], "floor=70 is a quality and must lie in 0..1"),
    (["task=mine", "volume=-1"], "volume=-1"),
    (["task=mine", "share=2"], "share=2"),
    (["task=mine", "folds=1"], "folds=1"),
    (["task=mine", "fit=dev"], "fit=dev: no complete run of mine (dev)"),
    (["task=mine", "save=p.json", "way=magic"], "nothing of way=magic was simulated; there are"),
    (["task=mine", "policy=none.json"], "none.json is no file"),
    (["task=mine", "policy=other.json"], "was fitted on another task (yours, here mine)"),
    (["task=mine", "policy=schema.json"], "was fitted on another schema"),
    (["task=mine", "policy=absent.json"], "fitted on the option 'gone', of which there is no run here"),
    (["task=mine", "cost=usd"], "cost=... is for table=FILE"),
    (["task=mine", "slice=[nothing]"], "no document has the tag nothing"),
    (["table=x.csv", "save=p.json"], "are for runs"),
    (["task=mine", "policy=other.json", "save=p.json"], "policy=FILE is replayed as it is"),
    ([], "either task=NAME or table=FILE"),
]


def test_a_mistake_is_one_clear_line(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"format": 1, "kind": "random_mix", "cheap": "weak", "strong": "fine", "share": 0.5}
    for name, about in (("other", {"task": "yours"}), ("schema", {"task": "mine", "schema": "0"})):
        (two / f"{name}.json").write_text(json.dumps({**plain, "about": about}))
    (two / "absent.json").write_text(json.dumps({**plain, "strong": "gone"}))
    for words, says in MISTAKES:
        capsys.readouterr()
        assert main(["route", *words]) == 2, words
        said = capsys.readouterr().err
        assert says in said and said.count("\n") == 1, (words, said)


def test_few_documents_or_one_option(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["route", "task=mine", "slice=[complex]"]) == 2
    assert "10 documents are too few" in capsys.readouterr().err
    assert main(["route", "task=mine", "runs=results/mine/weak"]) == 2
    assert "only 'weak'" in capsys.readouterr().err


# Tables -------------------------------------------------------------------------------------------------------


def written(path: Path, n: int = 300) -> Path:
    """A long table: two models, a confidence that tells the small one's errors, prices, and a column of lengths."""
    random = np.random.default_rng(0)
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["doc", "name", "right", "usd", "sure", "pages"])
        for at in range(n):
            small = int(random.random() < 0.6)
            out.writerow([f"=x{at}", "small", small, 0.001, 0.3 + 0.5 * small + 0.2 * random.random(), at % 7])
            out.writerow([f"=x{at}", "large", int(random.random() < 0.9), 0.01, 0.9, at % 7])
    return path


LONG = ["columns.model=name", "columns.sample_id=doc", "quality=right", "cost=usd"]


def test_a_table_with_a_confidence_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = written(tmp_path / "scores é.csv")
    assert main(["route", f"table={path}", *LONG, "signals=[sure]", "features=[pages]", "out=told"]) == 0
    report = json.loads((tmp_path / "told" / "route.json").read_text())
    by = {row["way"]: row for row in report["hybrids"]}
    assert by["P(error)"]["verdict"] == "gains" and by["P(error)"]["against"] == "hull"
    assert by["pre-router"]["verdict"].startswith("cannot be told from zero")
    assert by["P(error)"]["saved_usd_per_month_single"]["low"] > 0
    table = pd.read_csv(tmp_path / "told" / "route_table.csv")
    assert {"small", "large", "hybrid(small->large, P(error))"} <= set(table["option"])
    assert "'=x0" in set(table["sample_id"]) and "=x0" not in set(table["sample_id"])
    assert "saves $" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["columns.model=name", "quality=right"], "columns.sample_id=COLUMN"),
        (["columns.model=name", "columns.sample_id=doc"], "quality=COLUMN"),
        ([*LONG, "signals=[sures]"], "no column 'sures'"),
        ([*LONG, "text=words"], "has no column 'words'"),
    ],
)
def test_a_table_that_lacks_something(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    path = written(tmp_path / "scores.csv", 30)
    assert main(["route", f"table={path}", *words]) == 2
    assert says in capsys.readouterr().err


@real
def test_a_real_table_agrees_with_naive_loops(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in TABLE.read_text(encoding="utf-8").splitlines()]
    names = ["mixtral-8x7b", "gpt-4-1106"]
    columns = {"model": names, "sample_id": "id"}
    report = evals.route(table=str(TABLE), columns=columns, text="prompt", draws=300).report
    single = {row["option"]: row["quality"]["value"] for row in report["singles"]}
    assert single == pytest.approx({name: sum(row[name] for row in rows) / len(rows) for name in names})
    by = {row["way"]: row for row in report["hybrids"]}
    assert by["oracle"]["quality"]["value"] == pytest.approx(
        sum(row[names[0]] or row[names[1]] for row in rows) / len(rows)
    )
    assert by["oracle"]["share_strong"] == pytest.approx(sum(row[names[1]] > row[names[0]] for row in rows) / len(rows))
    mix = by["random 50%"]
    share = mix["share_strong"]
    line = (1 - share) * single[names[0]] + share * single[names[1]]
    assert mix["gain_mix"]["value"] == pytest.approx(mix["quality"]["value"] - line)
    nothing = evals.route(table=str(TABLE), columns=columns, draws=300).report
    assert any("no signal and no feature" in note for note in nothing["notes"])
    assert {row["way"] for row in nothing["hybrids"]} == {"oracle", "random 50%"}


def test_hybrids_stand_on_the_frontier_beside_the_options(two: Path) -> None:
    assert main(["frontier", "task=mine", "hybrids=true", "machine.usd_per_hour=1", "out=front"]) == 0
    report = json.loads((two / "front" / "frontier.json").read_text())
    names = {point["option"] for point in report["points"]}
    assert names == {"weak", "fine", "hybrid(weak->fine, P(error))", "hybrid(weak->fine, pre-router)"}
    assert any(note.startswith("hybrids are simulated, cross-fitted") for note in report["notes"])
    assert main(["frontier", "table=x.csv", "quality=a", "hybrids=true"]) == 2


def test_a_live_run_of_a_saved_policy_does_what_was_replayed(two: Path) -> None:
    """Every document, through the file: who answers, and with what."""
    words = ["save=p.json", "kind=cascade", "way=grounded_share"]
    assert main(["route", "task=mine", *words]) == 0
    assert main(["route", "task=mine", "policy=p.json", "out=again"]) == 0
    folder = run(two, "hybrid", "model.cheap=weak", "model.strong=fine", "policy=p.json")
    rows = csv.DictReader((two / "again" / "route_documents.csv").read_text().splitlines())
    replayed = {row["sample_id"]: row["answers"] for row in rows}
    records = [json.loads(line) for line in (folder / "records.jsonl").read_text().splitlines()]
    live = {one["sample_id"]: one["calls"][one["answer"]]["model"] for one in records}
    assert live == replayed and set(live.values()) == {"weak", "fine"}
    said = json.loads((two / "again" / "route.json").read_text())["hybrids"][0]
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["quality"]["f1"]["value"] == pytest.approx(said["quality"]["value"])
    [left] = evals.route(task="mine").report["left_out"]
    assert left["run"] == str(folder.relative_to(two)) or left["reason"] == "a hybrid itself"


def test_runs_of_dev_of_another_scorer_fit_nothing(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("weak", "fine"):
        folder = run(two, name, "split=dev")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["hashes"]["schema"] = "another"
        (folder / "manifest.json").write_text(json.dumps(manifest))
    capsys.readouterr()
    assert main(["route", "task=mine"]) == 0
    assert "the runs of dev are of another schema: cross-fitted" in capsys.readouterr().out
    assert main(["route", "task=mine", "fit=dev"]) == 2
    assert "fit=dev: the runs of dev are of another schema" in capsys.readouterr().err


def test_a_table_says_what_may_leave(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "t.csv"
    lines = ["doc,name,right,where,kind,sure"]
    for at in range(60):
        kind = "restricted" if at < 20 else "public"
        lines += [f"{at},small,{at % 2},own,{kind},{at % 2}", f"{at},large,1,api,{kind},1"]
    path.write_text("\n".join(lines))
    words = ["columns.model=name", "columns.sample_id=doc", "quality=right", "columns.location=where", "signals=[sure]"]
    found = evals.route(
        table=str(path),
        columns={"model": "name", "sample_id": "doc", "location": "where", "data_class": "kind"},
        quality="right",
        signals=["sure"],
        draws=200,
    ).report
    by = {row["way"]: row for row in found["hybrids"]}
    assert by["privacy"]["share_strong"] == pytest.approx(40 / 60)
    assert by["sure"]["share_strong"] == pytest.approx(20 / 60)  # its other ten errors are of restricted documents
    path.write_text("\n".join(lines).replace("restricted", "secret"))
    assert main(["route", f"table={path}", *words, "columns.data_class=kind"]) == 2
    assert "'secret'; a data class is one of public, internal, restricted" in capsys.readouterr().err
