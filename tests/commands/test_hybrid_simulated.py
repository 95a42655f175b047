"""Measured agrees with simulated: a saved policy replayed on stored runs, then run live, over at least 100 documents of
`test` at temperature 0: whom it chose and what was answered, for every document; dollars; latency."""

import csv
import json
import os
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_hybrid import hybrid  # noqa: F401

import evals
from evals import catalog, store
from evals.core import Policy
from evals.policy import signals
from evals.policy.saved import save_policy

N = 120
FEWER = 100
"""With real weights."""
NAMES = ["Ax", "Acme Ltd", "Borealis Freight GmbH", "Cobalt Holdings plc", "Eastgate & Sons Shipping Company Limited"]


def documents() -> list[dict[str, Any]]:
    """Short agreements, some without a date."""
    draw, rows = random.Random(5), []
    for i in range(N):
        name, day = draw.choice(NAMES), i % 28 + 1
        dated = f" on March {day}, 2024" if draw.random() < 0.7 else ""
        text = f"[[id:d{i}]] Agreement {i} was signed by {name}{dated}. The other party signs later."
        target = {"who": name, "when": f"2024-03-{day:02d}" if dated else None}
        rows.append({"id": f"d{i}", "text": text, "target": target, "tags": ["simple" if i % 2 else "complex"]})
    return rows


def write(project: Path, n: int = N) -> dict[str, str]:
    rows = documents()[:n]
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {str(row["id"]): json.dumps(row["target"]) for row in rows}


def cut_at_the_middle(alone: Path, cheap: str, strong: str, name: str) -> Policy:
    """A cascade whose threshold is the median of one signal of the cheap model's stored answers."""
    task = evals.load_task("mine", path="docs.jsonl")
    records = store.answered(alone)
    values = []
    for sample in task.samples():
        record = records[sample.id, 0]
        done = record.calls[record.answer].completion if record.answer is not None else None
        if done is not None:
            values.append(signals(task.request(sample), done)[name])
    signal = {"inputs": [name], "mean": [0.0], "scale": [1.0], "coef": [-1.0], "intercept": 0.0, "link": "identity"}
    return Policy(kind="cascade", cheap=cheap, strong=strong, signal=signal, threshold=-float(np.median(values)) - 1e-9)


def replayed(policy: Policy, project: Path, **more: Any) -> tuple[dict[str, Any], dict[str, dict[str, str]], Any]:
    """The simulation's figures, whom it asks for each document, and each document's row of its table."""
    save_policy(policy, project / "policy.json")
    found = evals.route(task="mine", policy="policy.json", out=str(project / "route"), **more)
    (row,) = found.report["hybrids"]
    with (project / "route" / "route_documents.csv").open() as file:
        chosen = {one["sample_id"]: one for one in csv.DictReader(file)}
    with (project / "route" / "route_table.csv").open() as file:
        rows = {one["sample_id"]: one for one in csv.DictReader(file) if one["option"] == row["option"]}
    return row, chosen, rows


def agree(project: Path, done: Any, chosen: dict[str, dict[str, str]], alone: dict[str, Path]) -> None:
    """For every document: who was asked, and the answer."""
    live, stored = store.answered(done.folder), {side: store.answered(path) for side, path in alone.items()}
    assert len(live) >= FEWER and set(chosen) == {name for name, _ in live}
    share = sum(one["side"] == "strong" for one in chosen.values()) / len(live)
    assert 0.1 < share < 0.9 and done.summary["hybrid"]["sent_to_strong"]["value"] == pytest.approx(share)
    for key, record in live.items():
        told = chosen[key[0]]
        asked = [call.role for call in record.calls if call.role != "retry"]
        assert asked == (["answer", "escalation"] if told["side"] == "strong" else ["answer"]), key
        assert record.text == stored[told["side"]][key].text, key
        name = "score" if "score" in record.route else "p_error"
        assert record.route[name] == float(told["score"]), "the very number that the simulation compared"


def test_two_apis_agree_to_the_last_document_and_dollar(
    project: Path,
    hybrid: Any,  # noqa: F811
) -> None:
    replies = write(project)
    hybrid.reset(replies=replies, latency_ms=120, jitter=0.5)
    dear = {"model.price.output_usd_per_mtok": 80.0}
    alone = {
        "cheap": evals.run(task="mine", model="remote").folder,
        "strong": evals.run(task="mine", model="second", overrides=dear).folder,
    }
    policy = cut_at_the_middle(alone["cheap"], "remote", "second", "answer_chars")
    row, chosen, rows = replayed(policy, project)
    done = evals.run(
        task="mine",
        model="hybrid",
        policy="policy.json",
        overrides={"model.cheap": "remote", "model.strong": "second", "model.strong.price.output_usd_per_mtok": 80.0},
    )
    agree(project, done, chosen, alone)
    frame = evals.load_runs(done.folder).set_index("sample_id")
    for name, one in rows.items():
        assert frame.loc[name, "cost_usd"] == pytest.approx(float(one["cost_usd"]), abs=1e-9)
    assert done.summary["cost"]["usd_per_1k"] == pytest.approx(row["usd_per_1k"]["value"], abs=1e-9)
    assert done.summary["quality"]["f1"]["value"] == pytest.approx(row["quality"]["value"], abs=1e-12)
    low, high = row["latency_p95_s"]["low"], row["latency_p95_s"]["high"]
    own_low, own_high = done.summary["latency"]["p95_interval_s"]
    assert own_low <= high and low <= own_high, "the intervals meet: another run draws other latencies"
    middle = np.median([float(one["latency_s"]) for one in rows.values()])
    assert done.summary["latency"]["p50_s"] == pytest.approx(middle, rel=0.25)


@pytest.mark.slow
def test_two_local_models_agree_to_the_last_document(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real weights: the smallest model asks gemma270m where its own log-probability is below the median."""
    pytest.importorskip("llama_cpp")
    from evals.models.weights import locate

    monkeypatch.setenv("EVALS_CACHE", os.environ.get("EVALS_CACHE") or str(Path(__file__).parents[2] / ".evals"))
    for model in ("smollm2_135m", "gemma270m"):
        if locate(catalog.option("model", model)) is None:
            pytest.skip(f"the weights of {model} are not here")
    write(project, FEWER)
    # One at a time: decoded together, an answer differs by what is beside it.
    asked: dict[str, Any] = {"task": "mine", "max_tokens": 20, "machine": "this", "concurrency": 1}
    price = {"machine.usd_per_hour": 0.5}
    plain = {**price, "model.tune": "off"}
    alone = {
        "cheap": evals.run(model="smollm2_135m", overrides=plain, **asked).folder,
        "strong": evals.run(model="gemma270m", overrides=plain, **asked).folder,
    }
    cheap, strong = (f"{name}+max_tokens=20" for name in ("smollm2_135m", "gemma270m"))
    policy = cut_at_the_middle(alone["cheap"], cheap, strong, "mean_logprob")
    row, chosen, rows = replayed(policy, project)
    sides = {"model.cheap": "smollm2_135m", "model.strong": "gemma270m"}
    sides |= {f"model.{side}.tune": "off" for side in ("cheap", "strong")}
    done = evals.run(model="hybrid", policy="policy.json", overrides={**price, **sides}, **asked)
    agree(project, done, chosen, alone)
    frame = evals.load_runs(done.folder).set_index("sample_id")
    assert done.summary["quality"]["f1"]["value"] == pytest.approx(row["quality"]["value"], abs=1e-12)
    measured = frame["latency_s"].mean() / np.mean([float(one["latency_s"]) for one in rows.values()])
    assert 1 / 3 < measured < 3, "on one quiet machine it is 1; others may be using it"
    spent = done.summary["cost"]["billed"]
    assert spent == pytest.approx(done.summary["throughput"]["busy_s"] / 3600 * 0.5, abs=1e-9)
    assert sum(part["usd"] for part in done.summary["hybrid"]["models"].values()) == pytest.approx(spent, abs=1e-9)
