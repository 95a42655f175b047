"""A run through a remote model, as a user starts it, against a server that keeps its own ledger: nothing lost, nothing
paid twice, every dollar accounted for, and no key anywhere."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.cli import main
from evals.engine.batch import run_batch

KEY = "sk-planted-4711-do-not-write-me"
PRICE = ["model.price.input_usd_per_mtok=2", "model.price.output_usd_per_mtok=8"]


@pytest.fixture
def remote(project: Path, provider: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The server, with the project's documents known to it by their marks; the key in the environment."""
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for row in rows:
        row["text"] = f"[[id:{row['id']}]] {row['text']}"
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    replies = {row["id"]: json.dumps({"who": row["target"]["who"], "when": row["target"]["when"]}) for row in rows}
    provider.reset(replies=replies, retry_after_s=0.05)
    provider.replies = replies
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.setenv("EVALS_CACHE", str(project / "cache"))
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    return provider


def words(remote: Any, *more: str, model_id: str = "m-1") -> list[str]:
    url = f"model.base_url={remote.openai_url}"
    return [
        "run",
        "task=mine",
        "model=openai_compatible",
        f"model.id={model_id}",
        url,
        "model.key_env=MY_KEY",
        *PRICE,
        *more,
    ]


def reset(remote: Any, **settings: Any) -> None:
    remote.reset(replies=remote.replies, retry_after_s=0.05, **settings)


def folders(project: Path) -> list[Path]:
    return sorted(path.parent for path in (project / "results").rglob("manifest.json"))


def summary(project: Path) -> dict[str, Any]:
    return store.read_json(folders(project)[-1] / "summary.json")


def test_the_bill_is_the_providers(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(remote)) == 0
    found, ledger = summary(project), remote.log()["totals"]
    tokens = ledger["tokens_good"]
    dollars = (2 * (tokens["input"] + tokens["cached"] + tokens["written"]) + 8 * tokens["output"]) / 1e6
    assert found["n"] == 40 and found["quality"]["exact"]["value"] == 1.0 and ledger["received"] == 40
    assert found["cost"]["billed"] == found["cost"]["notional"] == pytest.approx(dollars)
    assert found["cost"]["usd_per_1k"] == pytest.approx(dollars / 40 * 1000)
    assert found["cost"]["wasted"] == 0 and found["cost"]["provenance"] == "declared" and found["cost"]["n"] == 40
    manifest = store.read_json(folders(project)[0] / "manifest.json")
    assert manifest["prices"]["default"]["input_usd_per_mtok"] == 2.0 and manifest["load"] == "closed_loop(8)"
    assert manifest["backend"]["id"] == "m-1" and found["latency"]["ttft_p50_s"] > 0
    frame = evals.load_runs(folders(project)[0])
    assert frame["cost_usd"].sum() == pytest.approx(dollars) and frame["served_model"].eq("m-1").all()
    assert "billed $" in capsys.readouterr().out


def test_no_key_reaches_a_byte_that_is_written(project: Path, remote: Any, capfd: pytest.CaptureFixture[str]) -> None:
    reset(remote, faults={"401": 0.0, "500": 0.3, "unreadable": 0.2})
    assert main(words(remote, "attempts=4")) == 0
    assert main([*words(remote), "--cfg", "job"]) == 0
    assert main(words(remote, "+model.extra.foo=1", "seed=3")) == 2  # refused by the server, whose words are shown
    out = capfd.readouterr()
    assert KEY not in out.out + out.err
    written = [path for path in project.rglob("*") if path.is_file()]
    assert any(path.suffix == ".sqlite" for path in written)
    for path in written:
        assert KEY.encode() not in path.read_bytes(), path
    assert any(KEY in json.dumps(request["headers"]) for request in remote.last(5)), "it was sent all the same"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model.key_env=UNSET_KEY"], "UNSET_KEY is not set"),
        (["model.price.input_usd_per_mtok=null"], "model.price.input_usd_per_mtok=None"),
        (["model.price.input_usd_per_mtok=null", "model.price.output_usd_per_mtok=null"], "price of openai_compatible"),
        (["model.price.output_usd_per_mtok=0"], "above 0"),
        (["budget.usd=-1"], "budget.usd=-1 must be above 0"),
        (["cache=sometimes"], "cache='sometimes'"),
        (["model.base_url=ftp://x/v1"], "base_url"),
        (["retry_errors=true"], "no run of this command is found"),
    ],
)
def test_mistakes_are_told_before_anything_is_sent(
    project: Path, remote: Any, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    assert main(words(remote, *more)) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and said in error[0]
    assert remote.log()["totals"]["received"] == 0
    assert not list((project / "results").rglob("*")), "nothing is left behind"


def test_what_is_fatal_is_asked_a_few_times_and_not_for_every_document(
    project: Path, remote: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(words(remote, model_id="missing-model")) == 2
    assert "missing-model" in capsys.readouterr().err and remote.log()["totals"]["received"] <= 8
    monkeypatch.setenv("MY_KEY", "wrong")
    assert main(words(remote)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "(auth)" in error and "the same command goes on" in error


def test_faults_are_cured_counted_and_never_paid_twice(project: Path, remote: Any) -> None:
    faults = {"429": 0.1, "500": 0.1, "hang": 0.05, "truncated": 0.1, "unreadable": 0.1, "drop": 0.05}
    reset(remote, faults=faults, seed=5)
    assert main(words(remote, "attempt_timeout_s=1", "stream=false")) == 0
    found, log = summary(project), remote.log()
    assert found["failed"] == 0 and found["quality"]["exact"]["value"] == 1.0
    assert log["totals"]["good"] == 40 and all(entry["good"] == 1 for entry in log["documents"].values())
    frame = evals.load_runs(folders(project)[0])
    billed = log["totals"]["faults"].get("truncated", 0) + log["totals"]["faults"].get("unreadable", 0)
    assert billed > 0 and frame["wasted_assumed"].sum() == billed
    assert found["cost"]["wasted"] == pytest.approx(frame["notional_usd"].sum() - _good(frame), rel=1e-6)
    assert found["cost"]["provenance"] == "assumed" and frame["retries"].sum() == sum(log["totals"]["faults"].values())


def _good(frame: Any) -> float:
    """Dollars of the answers alone, at the price of the test."""
    bought = frame["input_tokens"] + frame["cache_read_tokens"].fillna(0) + frame["cache_write_tokens"].fillna(0)
    return float((2 * bought + 8 * frame["output_tokens"]).sum() / 1e6)


def test_a_budget_stops_before_it_is_crossed_and_goes_on_when_raised(
    project: Path, remote: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    said = words(remote, "max_tokens=40")
    assert main([*said, "budget.usd=0.004"]) == 1
    error = capsys.readouterr().err
    assert "budget.usd=0.004" in error and "go" in error
    first = remote.log()["totals"]
    tokens = first["tokens_good"]
    assert 0 < first["good"] < 40 and (2 * tokens["input"] + 8 * tokens["output"]) / 1e6 <= 0.004
    (folder,) = folders(project)
    assert len((folder / "records.jsonl").read_text().splitlines()) == first["good"]
    assert main([*said, "budget.usd=1"]) == 0
    assert folders(project) == [folder] and remote.log()["totals"]["good"] == 40
    assert summary(project)["n"] == 40


def test_the_cache_serves_another_run_only_when_it_is_asked_to(project: Path, remote: Any) -> None:
    assert main(words(remote)) == 0 and main(words(remote)) == 0
    assert remote.log()["totals"]["good"] == 80, "a second run buys fresh answers"
    assert main(words(remote, "cache=read")) == 0
    found = summary(project)
    assert remote.log()["totals"]["good"] == 80 and found["fresh_n"] == 0
    assert found["cost"]["billed"] == 0.0 and found["cost"]["notional"] > 0 and found["latency"]["n"] == 0
    assert found["latency"]["p50_s"] is None and found["quality"]["exact"]["value"] == 1.0
    assert main(words(remote, "cache=off")) == 0 and remote.log()["totals"]["good"] == 120


def test_only_failures_are_repeated_and_scoring_again_asks_nobody(project: Path, remote: Any) -> None:
    reset(remote, faults={"500": 0.2}, fault_attempts=0, seed=2)
    assert main(words(remote, "attempts=1")) == 4
    failed = summary(project)["failed"]
    assert 0 < failed < 40
    reset(remote)
    assert main(words(remote, "attempts=1", "retry_errors=true")) == 0
    (folder,) = folders(project)
    assert remote.log()["totals"]["received"] == failed and summary(project)["failed"] == 0
    assert main(["score", "task=mine", f"rescore={folder}"]) == 0
    assert remote.log()["totals"]["received"] == failed and summary(project)["quality"]["exact"]["value"] == 1.0


def test_a_document_goes_only_where_its_class_lets_it(project: Path, remote: Any) -> None:
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["data_class"] = ("public", "internal", "restricted")[i % 3]
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for more, classes in (
        ([], {"public"}),
        (["model.terms=accepted"], {"public", "internal"}),
        (["model.location=own"], {"public", "internal", "restricted"}),
    ):
        reset(remote)
        assert main(words(remote, *more, "resume=false")) == 0
        seen = set(remote.log()["documents"])
        assert seen == {row["id"] for row in rows if row["data_class"] in classes}
        assert summary(project)["errors"].get("privacy", 0) == 40 - len(seen)


def test_a_model_without_a_temperature_says_so(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(remote, "model.drop=[temperature]", "limit=8")) == 0
    assert "takes no temperature" in capsys.readouterr().out
    assert all("temperature" not in request["body"] for request in remote.last(8))


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a POSIX system")
def test_sigkill_and_the_same_command_send_again_only_what_was_in_flight(project: Path, remote: Any) -> None:
    reset(remote, latency_ms=80)
    said = words(remote, "concurrency=4")
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        [sys.executable, "-m", "evals", *said],
        cwd=project,
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 60
    while remote.log(documents=False)["totals"]["good"] < 11 and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert main(said) == 0
    log = remote.log()
    assert sum(entry["received"] - 1 for entry in log["documents"].values()) <= 4 and len(log["documents"]) == 40
    (folder,) = folders(project)
    assert main([*said, "resume=false"]) == 0
    other = next(path for path in folders(project) if path != folder)
    assert _answers(folder) == _answers(other)


def _answers(folder: Path) -> dict[str, Any]:
    """Records without times and request ids."""
    return {
        name[0]: (record.request_hash, record.text, record.answer) for name, record in store.answered(folder).items()
    }


BATCH = ["processing=batch", "model.price.input_usd_per_mtok=1", "model.price.output_usd_per_mtok=4"]


@pytest.mark.parametrize("kind", ["openai", "anthropic"])
def test_a_batch_is_answered_into_the_same_records(
    project: Path, remote: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(run_batch.__kwdefaults__, "first_pause_s", 0.05)  # the constant was bound long ago
    if kind == "openai":
        said = words(remote, *BATCH)
    else:
        said = [
            "run",
            "task=mine",
            "model=claude",
            "model.key_env=MY_KEY",
            f"model.base_url={remote.url}",
            "processing=batch",
        ]
    assert main(said) == 0
    found = summary(project)
    assert found["n"] == 40 and found["failed"] == 0 and found["quality"]["exact"]["value"] == 1.0
    assert found["latency"]["n"] == 0 and found["latency"]["p50_s"] is None, "a batch's wait is no latency"
    manifest = store.read_json(folders(project)[0] / "manifest.json")
    assert manifest["load"] == "batch" and len(manifest["prices"]) == 1
    tokens, price = remote.log()["totals"]["tokens_good"], manifest["prices"]["default"]
    bought = tokens["input"] * price["input_usd_per_mtok"] + tokens["output"] * price["output_usd_per_mtok"]
    assert found["cost"]["billed"] == pytest.approx(bought / 1e6, rel=1e-9) and bought > 0


def test_a_model_without_a_batch_service_says_so(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "task=mine", "model=rules", "processing=batch"]) == 2
    assert "rules has no batch API here" in capsys.readouterr().err


def test_what_is_wrong_with_a_document_is_a_row_and_not_the_end(project: Path, remote: Any) -> None:
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for i, word in ((3, "CONTEXT OVERFLOW"), (5, "FILTER ME"), (8, "FILTER OUTPUT")):
        rows[i]["text"] += f" {word}"
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert main(words(remote)) == 0
    found = summary(project)
    assert found["errors"] == {"content_filter": 2, "context_length": 1} and found["failed_infrastructure"] == 0
    assert remote.log()["totals"]["received"] == 40, "nothing of it is worth another attempt"
    assert found["quality"]["exact"]["value"] == pytest.approx(37 / 40)
