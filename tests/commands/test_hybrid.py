"""Hybrids as a user runs them: two models, one policy, one folder; the bill, the ledger of what left, and the mends."""

import csv
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.cli import main
from evals.core import Call, Policy, Record
from evals.engine.batch import run_batch
from evals.loading import load_task
from evals.policy import choose
from evals.policy.saved import load_policy, save_policy

PRICE = {"input_usd_per_mtok": 2.0, "output_usd_per_mtok": 8.0}
SIGNAL = {
    "inputs": ["answer_chars"],
    "mean": [0.0],
    "scale": [1.0],
    "coef": [1.0],
    "intercept": 0.0,
    "link": "identity",
}
CASCADE = Policy(kind="cascade", cheap="rules", strong="remote", signal=SIGNAL, threshold=40.5)
"""The rules answer `{"who": "Acme", "when": "March D, 2024"}`: 40 characters for days of one digit, 41 for the others."""


@pytest.fixture
def hybrid(project: Path, provider: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The project with a remote model of its own, whose documents the server knows by their marks."""
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for row in rows:
        row["text"] = f"[[id:{row['id']}]] {row['text']}"
    write(project, rows)
    provider.replies = {row["id"]: json.dumps(row["target"]) for row in rows}
    provider.reset(replies=provider.replies, retry_after_s=0.05)
    models = project / "configs" / "model"
    models.mkdir()
    spec = {
        "_target_": "evals.models.openai.OpenAI",
        "name": "remote",
        "location": "remote",
        "terms": None,
        "card": {"verified": True},
        "id": "m-1",
        "base_url": provider.openai_url,
        "key_env": "MY_KEY",
        "price": PRICE,
        "priced_as": None,
    }
    (models / "remote.yaml").write_text(json.dumps(spec))
    (models / "second.yaml").write_text(json.dumps({**spec, "name": "second", "id": "m-2"}))
    monkeypatch.setenv("MY_KEY", "sk-planted-4711")
    monkeypatch.setenv("EVALS_CACHE", str(project / "cache"))
    save_policy(CASCADE, project / "policy.json")
    return provider


def write(project: Path, rows: list[dict[str, Any]]) -> None:
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]


RUN = ["run", "task=mine", "model=hybrid", "model.cheap=rules", "model.strong=remote", "policy=policy.json"]


def folders(project: Path, option: str = "hybrid*") -> list[Path]:
    return sorted(path.parent for path in (project / "results" / "mine").glob(f"{option}/*/manifest.json"))


def summary(project: Path) -> dict[str, Any]:
    return store.read_json(folders(project)[-1] / "summary.json")


def test_a_cascade_is_stored_with_both_models_and_why(project: Path, hybrid: Any, capsys: Any) -> None:
    assert main([*RUN, "machine.usd_per_hour=3600"]) == 0
    (folder,) = folders(project)
    records = store.answered(folder)
    sent = {name for (name, _), record in records.items() if len(record.calls) == 2}
    assert len(records) == 40 and set(hybrid.log()["documents"]) == sent and 4 < len(sent) < 36
    for (name, _), record in records.items():
        first, *more = record.calls
        assert (first.role, first.model) == ("answer", "rules") and record.answer == len(more)
        assert record.route["threshold"] == 40.5 and record.route["kind"] == "cascade"
        assert (record.route["score"] > 40.5) == (name in sent)
        assert [(call.role, call.model) for call in more] == [("escalation", "remote")] * len(more)
    manifest, found = store.read_json(folder / "manifest.json"), summary(project)
    assert manifest["option"].startswith("hybrid(rules->remote,cascade-") and manifest["location"] == "mixed"
    assert manifest["hybrid"]["strong"]["location"] == "remote" and manifest["backend"]["strong"]["id"] == "m-1"
    assert manifest["hybrid"]["policy"]["threshold"] == 40.5
    assert list(manifest["prices"]) == ["remote/default"]
    assert found["hybrid"]["sent_to_strong"]["value"] == len(sent) / 40
    assert found["hybrid"]["sent_to_strong"]["low"] < len(sent) / 40 < found["hybrid"]["sent_to_strong"]["high"]
    assert {n: part["answers"] for n, part in found["hybrid"]["models"].items()} == {
        "rules": 40 - len(sent),
        "remote": len(sent),
    }
    assert "of the documents went to remote" in capsys.readouterr().out


def test_dollars_are_the_providers_and_the_machines(project: Path, hybrid: Any) -> None:
    """By an independent sum over the records: API tokens by their price, seconds of the rules by the hour."""
    assert main([*RUN, "machine.usd_per_hour=1"]) == 0
    (folder,) = folders(project)
    tokens = hybrid.log()["totals"]["tokens_good"]
    api = (2 * (tokens["input"] + tokens["cached"] + tokens["written"]) + 8 * tokens["output"]) / 1e6
    seconds = {k: r.calls[0].timing.total_s / 3600 for k, r in store.answered(folder).items() if r.calls[0].timing}
    found, frame = summary(project), evals.load_runs(folder)
    models = found["hybrid"]["models"]
    assert models["remote"]["usd"] == pytest.approx(api, abs=1e-9)
    assert models["rules"]["usd"] == pytest.approx(sum(seconds.values()), abs=1e-9), (
        "one at a time: spans do not overlap"
    )
    assert found["cost"]["billed"] == pytest.approx(api + sum(seconds.values()), abs=1e-9)
    assert frame["cost_usd"].sum() == pytest.approx(found["cost"]["billed"], abs=1e-9)
    assert found["cost"]["kind"] == "mixed" and found["cost"]["provenance"] == "declared"
    for row in frame.itertuples():
        assert (row.cost_usd > seconds[row.sample_id, 0] + 1e-9) == (row.answered_by == "remote")
    assert frame["own_s"].sum() == pytest.approx(3600 * sum(seconds.values()))


def test_without_a_machine_price_there_is_no_cost_but_the_apis_is_told(project: Path, hybrid: Any) -> None:
    assert main(RUN) == 0
    found = summary(project)
    assert found["cost"]["usd_per_1k"] is None and "machine.usd_per_hour" in found["cost"]["note"]
    assert found["hybrid"]["models"]["rules"]["usd"] is None and found["hybrid"]["models"]["remote"]["usd"] > 0
    frame = evals.load_runs(folders(project)[0])
    assert frame["cost_usd"].isna().all()
    priced = evals.add_cost(frame, machines={"*": 2.0})
    api = found["hybrid"]["models"]["remote"]["usd"]
    assert priced["cost_usd"].sum() == pytest.approx(api + 2 * frame["own_s"].sum() / 3600, abs=1e-9)
    with pytest.raises(evals.UserError, match="tokens of two models"):
        evals.add_cost(frame, prices={"hybrid": {"input_usd_per_mtok": 1, "output_usd_per_mtok": 1}})


def test_two_apis_have_each_their_price_and_their_limits(project: Path, hybrid: Any) -> None:
    save_policy(Policy(kind="random_mix", cheap="remote", strong="second", share=0.3), project / "mix.json")
    said = ["model.cheap=remote", "model.strong=second", "model.strong.price.output_usd_per_mtok=80", "policy=mix.json"]
    assert main([*RUN[:3], *said]) == 0
    (folder,) = folders(project)
    records, found = store.answered(folder), summary(project)
    assert {len(record.calls) for record in records.values()} == {1}
    dear = [r.calls[0] for r in records.values() if r.calls[0].model == "second"]
    usages = [call.completion.usage for call in dear if call.completion]
    want = sum(2 * (u.input_uncached or 0) + 2 * (u.cache_read or 0) + 80 * (u.output or 0) for u in usages) / 1e6
    assert found["hybrid"]["models"]["second"]["usd"] == pytest.approx(want, abs=1e-12) and 3 <= len(dear) <= 25
    manifest = store.read_json(folder / "manifest.json")
    assert manifest["location"] == "remote" and manifest["load"] == "closed_loop(8)"
    assert found["cost"]["kind"] == "api" and found["cost"]["billed"] is not None
    assert {r["model"]: r["count"] for r in store.read_json(folder / "egress.json")["sent"]} == {
        "remote": 40 - len(dear),
        "second": len(dear),
    }


def test_measured_is_what_the_policy_simulates_from_stored_runs(project: Path, hybrid: Any) -> None:
    """Each model alone, then the policy over their records by hand, then live: every document alike."""
    for model in ("rules", "remote"):
        assert main(["run", "task=mine", f"model={model}"]) == 0
    assert main(RUN) == 0
    alone = {model: store.answered(folders(project, model)[0]) for model in ("rules", "remote")}
    live = store.answered(folders(project)[0])
    task = load_task("mine", path="docs.jsonl")
    policy = load_policy("policy.json").policy
    for sample in task.samples():
        request, calls = task.request(sample), list[Call]()
        while (side := choose(policy, request, calls)) is not None:
            record: Record = alone["rules" if side == "cheap" else "remote"][sample.id, 0]
            calls += [call for call in record.calls if call.completion]
        found = live[sample.id, 0]
        assert [call.model for call in found.calls] == [call.model for call in calls]
        assert found.text == (calls[-1].completion.text if calls[-1].completion else None)


def test_a_strong_model_that_fails_leaves_the_cheap_answer_live_and_simulated(
    project: Path, hybrid: Any, capsys: Any
) -> None:
    """The strong model answers half of the documents with HTTP 500: the cheap answers stand, in the run as in the
    simulation."""
    assert main(["run", "task=mine", "model=rules"]) == 0
    for words in (["run", "task=mine", "model=remote"], RUN):
        hybrid.reset(
            replies=hybrid.replies, faults={"500": 0.5}, fault_attempts=0
        )  # a document's first try fares alike
        assert main([*words, "attempts=1"]) == 4, (
            "a strong model that is down is told, though every document is answered"
        )
    assert "in vain, so that the answers of rules stand: " in capsys.readouterr().out
    live = store.answered(folders(project)[0])
    alone = {model: store.answered(folders(project, model)[0]) for model in ("rules", "remote")}
    lost = {key for key, record in alone["remote"].items() if record.answer is None}
    fell = {key for key, record in live.items() if record.route.get("fell_back")}
    sent = {key for key, record in live.items() if len(record.calls) > 1}
    assert fell == lost & sent and 0 < len(fell) < len(sent)
    assert {live[key].text for key in fell} == {alone["rules"][key].text for key in fell}
    assert all(record.answer is not None for record in live.values())
    capsys.readouterr()
    assert main(["route", "task=mine", "policy=policy.json", "out=routed"]) == 0
    with (project / "routed" / "route_documents.csv").open() as file:
        told = {one["sample_id"]: one["answers"] for one in csv.DictReader(file)}
    frame = evals.load_runs(folders(project)[0])
    assert told == dict(zip(frame["sample_id"], frame["answered_by"], strict=True))
    (row,) = store.read_json(project / "routed" / "route.json")["hybrids"]
    assert summary(project)["quality"]["f1"]["value"] == pytest.approx(row["quality"]["value"], abs=1e-12)
    assert summary(project)["hybrid"]["fell_back"] == {"server": len(fell)}
    hybrid.reset(replies=hybrid.replies)
    assert main([*RUN, "attempts=1", "retry_errors=true"]) == 0
    again = store.answered(folders(project)[0])
    assert not any(record.route.get("fell_back") for record in again.values())
    assert {(name, 0) for name in hybrid.log()["documents"]} == fell, "only what the strong model had failed"


# Going on, budgets, the cache ---------------------------------------------------------------------------------


def test_the_same_policy_goes_on_and_another_is_another_option(project: Path, hybrid: Any) -> None:
    said = [*RUN, "budget.usd=0.002", "max_tokens=40"]
    assert main(said) == 1
    (folder,) = folders(project)
    begun = len((folder / "records.jsonl").read_text().splitlines())
    assert 0 < begun < 40 and all(r.answer is not None for r in store.answered(folder).values())
    (project / "policy.json").rename(project / "moved.json")
    moved = [word.replace("policy.json", "moved.json") for word in said]
    assert main([*moved, "budget.usd=1"]) == 0
    assert folders(project) == [folder], "the policy is known by what it says, not by where it lies"
    good = hybrid.log()["totals"]["good"]
    assert good == sum(len(record.calls) == 2 for record in store.answered(folder).values()), "nothing is bought twice"
    save_policy(
        Policy(kind="cascade", cheap="rules", strong="remote", signal=SIGNAL, threshold=0.0), Path("moved.json")
    )
    assert main(moved[:-1] + ["budget.usd=1"]) == 0 and len(folders(project)) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="signals of a POSIX system")
def test_sigkill_and_the_same_command_buys_again_only_what_was_in_flight(project: Path, hybrid: Any) -> None:
    hybrid.reset(replies=hybrid.replies, latency_ms=60)
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-m", "evals", *RUN, "concurrency=3"]
    process = subprocess.Popen(command, cwd=project, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 60
    while hybrid.log(documents=False)["totals"]["good"] < 6 and time.monotonic() < end:
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert main([*RUN, "concurrency=3"]) == 0
    (folder,) = folders(project)
    records = store.answered(folder)
    sent = {name for (name, _), record in records.items() if len(record.calls) == 2}
    log = hybrid.log()
    assert len(records) == 40 and set(log["documents"]) == sent
    assert sum(entry["received"] - 1 for entry in log["documents"].values()) <= 3
    (row,) = store.read_json(folder / "egress.json")["sent"]
    assert row["class"] == "public" and row["count"] >= len(sent) - 6, "at most a second's counts went with the kill"


def test_the_cache_serves_a_side_what_a_run_of_it_alone_bought(project: Path, hybrid: Any) -> None:
    assert main(["run", "task=mine", "model=remote"]) == 0
    assert main([*RUN, "cache=read"]) == 0
    assert hybrid.log()["totals"]["good"] == 40, "not one more"
    sent = [r for r in store.answered(folders(project)[0]).values() if len(r.calls) == 2]
    assert sent and all(record.calls[1].cached for record in sent)
    assert store.read_json(folders(project)[0] / "egress.json")["sent"] == []


def test_names_of_sides_come_from_the_policy_and_keys_reach_them(project: Path, hybrid: Any) -> None:
    assert main(["run", "task=mine", "model=hybrid", "policy=policy.json", "limit=4"]) == 0
    save_policy(Policy(kind="random_mix", cheap="fake", strong="rules", share=0.0), project / "mix.json")
    assert main([*RUN[:3], "model.cheap=fake", "model.cheap.reply=hello", "model.strong=rules", "policy=mix.json"]) == 0
    (folder,) = folders(project, "hybrid(fake*".replace("(", "_"))
    assert {record.text for record in store.answered(folder).values()} == {"hello"}
    assert "hybrid(fake+reply=hello->rules,random_mix-" in store.read_json(folder / "manifest.json")["option"]


def test_a_hybrid_of_ones_own_is_one_yaml(project: Path, hybrid: Any) -> None:
    spec = {
        "_target_": "evals.models.hybrid.Hybrid",
        "name": "ours",
        "cheap": "rules",
        "strong": {"name": "fake", "reply": "hello"},
        "policy": {"format": 1, "kind": "rule", "rule": {"feature": "chars", "op": ">", "value": 0}},
    }
    (project / "configs" / "model" / "ours.yaml").write_text(json.dumps(spec))
    assert main(["run", "task=mine", "model=ours"]) == 0
    (folder,) = folders(project, "ours*")
    assert {record.text for record in store.answered(folder).values()} == {"hello"}
    record = next(iter(store.answered(folder).values()))
    assert record.route["features"]["chars"] > 0 and record.calls[0].role == "answer"
    assert main(["run", "task=mine", "model=ours", "model.cheap=fake", "limit=4"]) == 0
    assert main([*RUN[:3], "model.cheap=rules", "model.policy={kind: single}", "limit=4"]) == 0
    (alone,) = folders(project, "hybrid_rules,single*".replace(",", "_"))
    assert store.read_json(alone / "summary.json")["hybrid"]["strong"] is None


def test_from_python_too(project: Path, hybrid: Any) -> None:
    done = evals.run(
        task="mine", model="hybrid", policy="policy.json", overrides={"model.cheap": "rules", "model.strong": "remote"}
    )
    assert done.summary["hybrid"]["strong"] == "remote" and done.summary["n"] == 40


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["model=hybrid", "model.cheap=rules", "model.strong=remote"], "route task=mine save=FILE"),
        (
            ["model=hybrid", "model.cheap=ruls", "policy=policy.json"],
            "model.cheap=ruls is not known; did you mean rules",
        ),
        (["model=hybrid", "model.cheap=hybrid", "policy=policy.json"], "not a hybrid again"),
        (["model=hybrid", "model.cheap=rules", "model.strong=rules", "policy=policy.json"], "are the same: rules"),
        (["model=hybrid", "model.cheap=fake", "policy=policy.json"], "was fitted with cheap=rules"),
        (["model=hybrid", "policy=nowhere.json"], "policy=nowhere.json is not there; python -m evals route"),
        (["model=rules", "model.cheap=fake"], "rules is no hybrid; say model=hybrid"),
        (["model=hybrid", "model.cheap=rules,fake", "policy=policy.json"], "needs -m"),
        (["model=hybrid", "model.cheap=rules", "model.policy={kind: cascade}"], "a policy of kind cascade has a"),
        (["model=hybrid", "policy=other.json"], "fitted on another task (leases, here mine)"),
        (["model=hybrid", "policy=policy.json", "processing=batch"], "a hybrid has no batch API"),
        (["model=hybrid", "policy=policy.json", "model.strong.price.output_usd_per_mtok=0"], "above 0"),
        (["model=rules", "policy=policy.json"], "model=hybrid model.cheap=... model.strong=..."),
        (["model=rules", "privacy=somewhat"], "privacy='somewhat'"),
        (["model=remote", "privacy=local_only"], "remote is not location: own"),
        (["model=hybrid", "policy=two.json", "privacy=local_only"], "neither model of this hybrid is location: own"),
    ],
)
def test_mistakes_are_told_in_one_line_before_anything_is_sent(
    project: Path, hybrid: Any, capsys: pytest.CaptureFixture[str], more: list[str], said: str
) -> None:
    about = {"task": "leases"}
    save_policy(
        Policy(kind="random_mix", cheap="rules", strong="remote", share=0.5, about=about), project / "other.json"
    )
    save_policy(Policy(kind="random_mix", cheap="remote", strong="second", share=0.5), project / "two.json")
    if any(word.startswith("model.strong.price") for word in more):
        more = [*more, "model.cheap=rules", "model.strong=remote"]
    assert main(["run", "task=mine", *more]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and said in error[0]
    assert hybrid.log()["totals"]["received"] == 0 and not list((project / "results").rglob("*"))


# Privacy ------------------------------------------------------------------------------------------------------


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Whoever looks up a name or connects is told so, and kept."""
    tried: list[Any] = []

    def refuse(*args: Any, **more: Any) -> Any:
        tried.append(args)
        raise OSError("sockets are blocked")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr("evals.engine.loop.new_loop", lambda fast: None)  # uvloop has sockets of its own
    return tried


def test_the_block_itself_is_felt(project: Path, hybrid: Any, no_sockets: list[Any]) -> None:
    """Without the key, the same hybrid does try to connect: what the next tests see missing could be seen."""
    assert main([*RUN, "attempts=1"]) == 4
    told = summary(project)["hybrid"]
    assert no_sockets and told["fell_back"] == {"server": told["models"]["remote"]["calls"]}


def test_local_only_never_opens_a_socket_and_has_no_fallback(project: Path, hybrid: Any, no_sockets: list[Any]) -> None:
    """The cascade would send some documents on: here their cheap answers stand, and nobody is even connected to."""
    assert main([*RUN, "privacy=local_only"]) == 0
    (folder,) = folders(project)
    records = store.answered(folder).values()
    assert no_sockets == [] and {len(record.calls) for record in records} == {1}
    assert any(record.route["score"] > record.route["threshold"] for record in records)
    assert all(record.route["held"] == "privacy=local_only" and record.answer == 0 for record in records)
    assert store.read_json(folder / "egress.json") == {"format": 1, "privacy": "local_only", "sent": []}
    assert "privacy=local_only" in store.read_json(folder / "manifest.json")["option"], "another option: no escalation"
    assert "strong" not in store.read_json(folder / "manifest.json")["backend"]


def test_a_remote_model_is_refused_before_a_socket(project: Path, hybrid: Any, no_sockets: list[Any]) -> None:
    assert main(["run", "task=mine", "model=remote", "privacy=local_only"]) == 2
    assert no_sockets == [] and not list((project / "results").rglob("*"))


def test_restricted_documents_stay_and_the_ledger_says_what_left(project: Path, hybrid: Any) -> None:
    rows = rows_of(project)
    for i, row in enumerate(rows):
        row["data_class"] = ("public", "internal", "restricted")[i % 3]
    write(project, rows)
    classes = {row["id"]: row["data_class"] for row in rows}
    for more, may in (([], {"public"}), (["model.strong.terms=accepted", "resume=false"], {"public", "internal"})):
        hybrid.reset(replies=hybrid.replies)
        assert main([*RUN, *more]) == 0
        folder = max(folders(project), key=lambda path: path.name)
        records = store.answered(folder)
        assert all(record.answer is not None for record in records.values()), (
            "a cheap answer of one's own always stands"
        )
        seen = set(hybrid.log()["documents"])
        assert {classes[name] for name in seen} == may
        assert seen == {n for (n, _), r in records.items() if classes[n] in may and r.route["score"] > 40.5}
        ledger = store.read_json(folder / "egress.json")["sent"]
        assert {row["class"]: row["count"] for row in ledger} == {
            one: sum(classes[name] == one for name in seen) for one in may
        }
        assert {row["host"] for row in ledger} == {hybrid.url.removeprefix("http://")}


def test_restricted_documents_of_a_hybrid_of_apis_are_error_rows(project: Path, hybrid: Any, no_sockets: Any) -> None:
    write(project, [{**row, "data_class": "restricted"} for row in rows_of(project)])
    save_policy(Policy(kind="random_mix", cheap="remote", strong="second", share=0.5), project / "mix.json")
    assert main([*RUN[:3], "policy=mix.json"]) == 0
    (folder,) = folders(project)
    assert no_sockets == [] and summary(project)["errors"] == {"privacy": 40}
    assert store.read_json(folder / "egress.json")["sent"] == []


def test_the_ledger_counts_every_attempt_of_a_plain_run_and_its_sessions(project: Path, hybrid: Any) -> None:
    hybrid.reset(replies=hybrid.replies, faults={"500": 0.5}, seed=3)
    assert main(["run", "task=mine", "model=remote", "budget.usd=0.001", "max_tokens=40", "attempts=3"]) == 1
    assert main(["run", "task=mine", "model=remote", "max_tokens=40", "attempts=3"]) == 0
    (folder,) = folders(project, "remote*")
    (row,) = store.read_json(folder / "egress.json")["sent"]
    assert row["count"] == hybrid.log()["totals"]["received"] > 40 and row["class"] == "public"
    assert main(["run", "task=mine", "model=rules", "privacy=local_only"]) == 0
    assert store.read_json(folders(project, "rules")[0] / "egress.json")["sent"] == []


def test_a_server_of_ones_own_is_local(project: Path, hybrid: Any) -> None:
    said = ["run", "task=mine", "model=remote", "model.location=own", "privacy=local_only", "limit=4"]
    assert main(said) == 0 and hybrid.log()["totals"]["good"] == 4
    assert store.read_json(folders(project, "remote")[0] / "egress.json")["sent"] == []


def test_a_batch_is_in_the_ledger(project: Path, hybrid: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(run_batch.__kwdefaults__, "first_pause_s", 0.05)
    assert main(["run", "task=mine", "model=remote", "processing=batch"]) == 0
    (row,) = store.read_json(folders(project, "remote*")[0] / "egress.json")["sent"]
    assert row["count"] == 40
