"""`canary` as a user starts it, against a server whose answers, and name, change behind the same alias."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.cli import main

PRICE = ["model.price.input_usd_per_mtok=2", "model.price.output_usd_per_mtok=8"]


@pytest.fixture
def remote(project: Path, provider: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, which knows the project's documents by their marks."""
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for row in rows:
        row["text"] = f"[[id:{row['id']}]] {row['text']}"
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    provider.replies = {row["id"]: row["target"] for row in rows}
    say(provider)
    monkeypatch.setenv("MY_KEY", "sk-test")
    monkeypatch.setenv("EVALS_CACHE", str(project / "cache"))
    return provider


def say(remote: Any, spoil: int = 0, **settings: Any) -> None:
    """The right answers, but for every `spoil`th document's name."""
    replies = {
        name: json.dumps({**target, **({"who": "Other plc"} if spoil and i % spoil == 0 else {})})
        for i, (name, target) in enumerate(remote.replies.items())
    }
    remote.reset(replies=replies, retry_after_s=0.05, **settings)


def canary(remote: Any, *more: str, code: int = 0) -> dict[str, Any]:
    """Run one; the content of canary.json."""
    words = ["canary", "task=mine", "model=openai_compatible", "model.id=m-1", f"model.base_url={remote.openai_url}"]
    assert main([*words, "model.key_env=MY_KEY", *PRICE, "out=out", *more]) == code
    return store.read_json(Path("out/canary.json"))


def row(result: dict[str, Any], metric: str, against: str = "reference") -> dict[str, Any]:
    (found,) = [r for r in result["metrics"] if (r["metric"], r["against"]) == (metric, against)]
    return found


def stored(project: Path) -> list[Path]:
    return sorted(path.parent for path in (project / "results").rglob("*+canary/*/manifest.json"))


def test_the_same_model_twice_is_no_change(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = canary(remote)
    assert (
        first["verdict"] == "reference"
        and first["billed_usd"] > 0
        and first["against"] == []
        and "kept as the reference" in capsys.readouterr().out
    )
    assert store.read_json(stored(project)[0] / "manifest.json")["canary"] == {"reference": True}
    second = canary(remote)
    out = capsys.readouterr().out
    assert second["verdict"] == "no change seen" and second["exit_code"] == 0 and second["n"] == 20
    assert "no change seen (would detect" in out and "one field in 2 of 20 documents" in out
    for metric in ("f1", "exact", "answers", "output_tokens"):
        assert row(second, metric)["note"] == "no document differs" and row(second, metric)["p"] == 1.0
    log = remote.log()
    assert log["totals"]["good"] == 120, "every answer was asked afresh"
    assert sorted(entry["good"] for entry in log["documents"].values()) == [6] * 20, "the same documents each time"
    third = canary(remote)
    assert [part["name"] for part in third["against"]] == ["reference", "previous"]
    assert third["against"][0]["run"] == str(stored(project)[0]) and third["against"][1]["run"] == str(
        stored(project)[1]
    )


def test_other_answers_behind_the_same_name_are_a_change(
    project: Path, remote: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    canary(remote)
    say(remote, 2, served_suffix="-2027-01-01")
    found = canary(remote, code=1)
    out = capsys.readouterr().out
    assert (
        found["verdict"] == "changed" and row(found, "f1")["verdict"] == row(found, "answers")["verdict"] == "changed"
    )
    part = found["against"][0]
    assert part["other_model"] and any(
        "served model changed from m-1 to m-1-2027-01-01" in line for line in part["served"]
    )
    assert "! openai_compatible: the served model changed" in out
    frame = evals.load_runs(stored(project)[1])
    spoilt = sorted(frame.loc[frame["exact"] == 0, "sample_id"].unique())
    assert sorted(part["changed_documents"]) == spoilt and 5 < len(spoilt) < 15
    assert row(found, "exact")["difference"] == pytest.approx(-len(spoilt) / 20)
    again = canary(remote, "save=true", code=1)
    assert row(again, "f1", "previous")["note"] == "no document differs", "against the last one nothing changed"
    assert canary(remote)["verdict"] == "no change seen", "the saved one is the reference now"


def test_another_model_that_answers_the_same_is_a_change_unless_it_is_not_watched(remote: Any) -> None:
    canary(remote)
    say(remote, served_suffix="-b")
    assert canary(remote, code=1)["why"] == ["another model answers than at the reference"]
    assert canary(remote, "watch=[quality,answers]")["verdict"] == "no change seen"


def test_one_document_that_never_answers_as_before_is_no_proof_and_not_silent(project: Path, remote: Any) -> None:
    canary(remote)
    names = {name for name in remote.log()["documents"]}
    at = next(i for i, name in enumerate(remote.replies) if i > 20 and name in names)
    remote.reset(
        replies={
            name: json.dumps({**target, **({"who": "Other plc"} if i == at else {})})
            for i, (name, target) in enumerate(remote.replies.items())
        }
    )
    found = canary(remote)
    assert found["verdict"] == "inconclusive" and "1 of 20 documents" in found["why"][0]
    assert row(found, "answers")["p"] == pytest.approx(0.1, abs=0.02)
    assert canary(remote, "strict=true", code=3)["exit_code"] == 3


def test_a_changed_fingerprint_is_called_out_and_is_no_verdict(project: Path, remote: Any) -> None:
    canary(remote)
    records = stored(project)[0] / "records.jsonl"
    records.write_text(records.read_text().replace("fp_testserver01", "fp_an_older_one"))
    found = canary(remote)
    assert found["verdict"] == "no change seen"
    assert "fingerprint changed from fp_an_older_one to fp_testserver01" in found["against"][0]["served"][0]


def test_a_canary_is_taken_for_no_run(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    canary(remote)
    assert main(["run", "task=mine", "model=rules"]) == 0
    assert set(evals.load_runs()["option"]) == {"rules"} and len(evals.results()) == 1
    capsys.readouterr()
    assert main(["frontier", "task=mine", "statistic=p50", "objectives=[quality,latency]", "out=out"]) == 0
    assert "+canary" in capsys.readouterr().out
    (left,) = store.read_json(Path("out/frontier.json"))["left_out"]
    assert left["reason"] == "a canary: few documents, asked often" and left["option"].endswith("+canary")
    assert main(["history", "task=mine"]) == 0 and "canary" not in capsys.readouterr().out
    (folder,) = stored(project)
    assert len(evals.load_runs(folder)) == len(evals.load_runs(folder.parent)) == 60


def test_another_prompt_begins_anew_and_says_so(project: Path, remote: Any) -> None:
    canary(remote)
    (project / "tasks/mine/prompt.md").write_text("## system\nExtract it.\n## user\n{{document}}\n")
    found = canary(remote)
    assert found["verdict"] == "reference" and "other prompt" in found["notes"][0]


def test_cached_answers_are_refused(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    canary(remote)
    records = stored(project)[0] / "records.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    lines[0]["calls"][0]["cached"] = True
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(AssertionError):
        canary(remote)
    assert "1 answers of the response cache" in capsys.readouterr().err


def test_failures_on_the_way_are_no_change_of_the_model(project: Path, remote: Any) -> None:
    canary(remote)
    say(remote, faults={"500": 0.4}, fault_attempts=0, seed=4)
    found = canary(remote, "attempts=1", code=4)
    assert found["verdict"] == "inconclusive" and "not the model's" in found["why"][0]
    say(remote)
    after = canary(remote)
    assert len(after["against"]) == 1 and after["verdict"] == "no change seen", (
        "the spoilt one is compared with nothing"
    )


def test_cut_short_it_does_not_count(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    words = "canary task=mine model=openai_compatible model.id=m-1 model.key_env=MY_KEY max_tokens=40 budget.usd=0.002"
    assert main([*words.split(), f"model.base_url={remote.openai_url}", *PRICE]) == 1
    error = capsys.readouterr().err
    assert "budget.usd=0.002" in error and "cut short" in error and "ask it anew: python -m evals canary" in error
    assert canary(remote, "max_tokens=40")["verdict"] == "reference"


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("repeats=1", "repeats=1 must be at least 2"),
        ("n=3", "n=3 must be at least 5"),
        ("watch=[prices]", "watch"),
        ("cache=read", "cache is not known"),
        ("budget.usd=-1", "budget.usd=-1 must be above 0"),
    ],
)
def test_mistakes_are_one_line(project: Path, capsys: pytest.CaptureFixture[str], word: str, said: str) -> None:
    assert main(["canary", "task=mine", "model=rules", word]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0]


def test_from_python_and_as_files(project: Path) -> None:
    evals.canary(task="mine", model="rules", n=8)
    found = evals.canary(task="mine", model="rules", n=8, out="out")
    assert found.exit_code == 0 and found.result == store.read_json(Path("out/canary.json"))
    shown = found._repr_html_()
    assert "<table" in shown and "against the reference" in shown and "no document differs" in shown
    with Path("out/canary.csv").open() as file:
        assert [line["metric"] for line in csv.DictReader(file)] == [
            "f1",
            "exact",
            "answers",
            "output_tokens",
            "p50_s",
            "p95_s",
        ]
