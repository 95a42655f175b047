"""A library in this machine that takes several documents at once, as `run` drives it: how many are under way and what the
manifest calls that, crashes in mid-run, and what is left running when a run is stopped."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from processes import HERE, gone, spawned

from evals import store
from evals.cli import main
from evals.commands import answering, manifest
from evals.commands.settings.run import RunSettings
from evals.errors import ConfigError

ROOT = Path(__file__).parents[2]
REPLY = json.dumps({"who": "Acme Ltd", "when": "2024-03-01"})


@pytest.fixture
def local(project: Path) -> Path:
    """The project, with such a library as model `slots`."""
    models = project / "configs" / "model"
    models.mkdir()
    (project / "loads").mkdir()
    spec: dict[str, Any] = {"_target_": "batched_fake.Slots", "name": "slots", "location": "own", "terms": None}
    spec |= {"card": {"verified": True}, "source": None, "reply": REPLY, "loads": str(project / "loads")}
    options = {"slots": 8, "processes": 1, "step_s": 0.002, "steps": 3, "fewer_at": None, "dies_at": None}
    (models / "slots.yaml").write_text(json.dumps(spec | options))
    return project


def folders(project: Path, option: str = "slots*") -> list[Path]:
    return sorted(path.parent for path in (project / "results" / "mine").glob(f"{option}/*/manifest.json"))


def ran(project: Path, *words: str, code: int = 0, option: str = "slots*") -> dict[str, Any]:
    """The manifest of a run that has just been made."""
    before = set(folders(project, option))
    assert main(["run", "task=mine", "model=slots", *words]) == code
    (new,) = set(folders(project, option)) - before
    return store.read_json(new / "manifest.json") | {"folder": new}


def in_flight(folder: Path) -> int:
    return max(call.in_flight for record in store.answered(folder).values() for call in record.calls)


@pytest.mark.parametrize(
    ("words", "concurrency", "load"),
    [
        ([], 8, "offline(8)"),
        (["model.processes=2", "model.slots=3"], 6, "offline(6)"),
        (["model.slots=1"], 1, "single_stream"),
        (["concurrency=1"], 1, "single_stream"),
        (["concurrency=3"], 3, "closed_loop(3)"),
        (["concurrency=12"], 12, "closed_loop(12)"),
    ],
)
def test_the_manifest_says_what_was_really_under_way(
    local: Path, words: list[str], concurrency: int, load: str
) -> None:
    about = ran(local, *words)
    assert (about["concurrency"], about["load"]) == (concurrency, load)
    assert in_flight(about["folder"]) == concurrency
    assert store.read_json(about["folder"] / "summary.json")["latency"]["load"] == load
    assert len(store.answered(about["folder"])) == 40


def test_the_run_key_does_not_hang_on_what_is_found_at_start(local: Path) -> None:
    first = ran(local, "model.fewer_at=2")
    second = ran(local, "model.fewer_at=2")
    assert (first["load"], second["load"]) == ("offline(8)", "offline(6)")
    assert first["run_key"] == second["run_key"]


def test_a_crash_in_mid_run_is_rows_and_the_run_goes_on(local: Path) -> None:
    rows = [json.loads(line) for line in (local / "docs.jsonl").read_text().splitlines()]
    rows[20]["text"] += " !abort:3"
    (local / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    about = ran(local, "model.slots=3", "model.processes=2", code=4)
    records = store.answered(about["folder"])
    failed = {key: record for key, record in records.items() if record.answer is None}
    assert len(records) == 40 and ("d20", 0) in failed and len(failed) == 3
    assert {record.error for record in failed.values()} == {"crashed"}
    assert "SIGABRT with 3 requests in hand" in (about["folder"] / "run.log").read_text()


def test_a_second_process_that_cannot_load_is_in_the_manifest(local: Path) -> None:
    about = ran(local, "model.processes=2", "model.dies_at=2")
    assert about["load"] == "offline(8)"
    assert about["backend"]["capacity"]["processes"] == 1 and "SIGKILL" in about["backend"]["capacity"]["lost"][0]


def test_plan_takes_such_a_run_for_its_basis_and_no_other(local: Path) -> None:
    def planned() -> dict[str, Any]:
        assert main(["plan", "task=mine", "model=slots", "out=out"]) == 0
        found: dict[str, Any] = store.read_json(Path("out/plan.json"))["models"][0]
        return found

    assert (planned()["provenance"], planned()["load"]) == ("assumed", "offline")
    ran(local, "concurrency=1")
    assert planned()["provenance"] == "assumed", "another load"
    ran(local)
    assert planned()["minutes"] is not None and planned()["load"] == "offline(8)"


def test_a_hybrid_gives_its_own_side_what_it_takes(local: Path) -> None:
    policy = "model.policy={kind: rule, rule: {feature: chars, op: '>', value: 0}}"
    words = ["run", "task=mine", "model=hybrid", "model.cheap=slots", "model.strong=fake", policy]
    assert main(words) == 0
    (folder,) = folders(local, "hybrid*")
    about = store.read_json(folder / "manifest.json")
    assert (about["concurrency"], about["load"]) == (8, "closed_loop(8)")


# What follows from the settings alone -------------------------------------------------------------------------


def settings(**model: Any) -> RunSettings:
    spec = {"_target_": "evals.models.fake.Fake", "name": "m", "location": "own", **model}
    return RunSettings(task={"name": "mine"}, model=spec)


TAKES = {"capacity": {"slots": 4, "processes": 2, "at_once": 8}}


def test_elsewhere_concurrency_is_as_ever() -> None:
    remote, server = settings(location="remote"), settings(base_url="http://127.0.0.1:8080/v1")
    assert answering.concurrency(remote, {}) == 8 and manifest.load(remote, {}) == "closed_loop(8)"
    assert answering.concurrency(server, {}) == 1 and manifest.load(server, {}) == "single_stream"
    assert answering.concurrency(settings(), {}) == 1 and manifest.load(settings(), {}) == "single_stream"
    said = replace(settings(), concurrency=5)
    assert answering.concurrency(said, TAKES) == 5 and manifest.load(said, TAKES) == "closed_loop(5)"
    assert manifest.load(replace(remote, processing="batch"), {}) == "batch"


def test_a_server_of_ones_own_is_asked_one_at_a_time_also_in_a_hybrid() -> None:
    sides = {
        "cheap": {"_target_": "batched_fake.Slots", "name": "a", "location": "own"},
        "strong": {"_target_": "evals.models.openai.OpenAI", "name": "b", "location": "own", "base_url": "http://x"},
    }
    both = settings(_target_="evals.models.hybrid.Hybrid", **sides)
    assert answering.concurrency(both, {"cheap": TAKES, "strong": {}, "start_s": 1.0}) == 1
    sides["strong"] |= {"location": "remote"}
    both = settings(_target_="evals.models.hybrid.Hybrid", **sides)
    assert answering.concurrency(both, {"cheap": TAKES, "strong": {}, "start_s": 1.0}) == 8
    assert answering.concurrency(both, {}) == 1


def test_a_model_that_is_nothing_is_one_line(local: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError, match=r"model._target_=batched_fake.Nothing cannot be imported"):
        manifest.load(settings(_target_="batched_fake.Nothing"), {})
    assert main(["run", "task=mine", "model=slots", "model._target_=batched_fake.Nothing"]) == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error and "batched_fake.Nothing cannot be imported" in error


# Stopped ------------------------------------------------------------------------------------------------------


def start(project: Path, words: list[str]) -> "subprocess.Popen[str]":
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "made")))
    command = [sys.executable, "-m", "evals", *words]
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.skipif(not HERE, reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_is_stopped_leaves_nothing_running_and_goes_on(local: Path, number: signal.Signals) -> None:
    words = ["run", "task=mine", "model=slots", "model.slots=2", "model.processes=2", "model.step_s=0.1"]
    process = start(local, words)
    end = time.monotonic() + 60
    while time.monotonic() < end and not any(
        path.read_bytes().count(b"\n") >= 5 for path in local.glob("results/mine/*/*/records.jsonl")
    ):
        time.sleep(0.02)
    pids = spawned(process.pid)
    assert len(pids) == 2
    process.send_signal(number)
    _, error = process.communicate(timeout=40)
    assert "Traceback" not in error and gone(pids)
    assert process.returncode == (130 if number == signal.SIGINT else -9)
    again = start(local, words)
    _, error = again.communicate(timeout=90)
    assert again.returncode == 0, error
    (folder,) = folders(local)
    assert sorted(key for key, _ in store.answered(folder)) == sorted(f"d{i}" for i in range(40))
    lines = (folder / "records.jsonl").read_text().splitlines()
    assert len(lines) == 40, "nothing was asked twice"
