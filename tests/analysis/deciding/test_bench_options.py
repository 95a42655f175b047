"""A bench's mu as the throughput of an option: replicas, dollars, p95 under load, where it is from, when it is not used."""

import json
from pathlib import Path
from typing import Any

import pytest
from made_options import ask, row
from made_runs import call, folder, record

from evals import store
from evals.analysis.deciding.decide import decide
from evals.analysis.deciding.measured import Terms, options
from evals.analysis.deciding.options import Option
from evals.analysis.tables.table import load_runs

MACHINE = {"name": "this", "cpu": "X", "cores": 2}
PER_DAY = 86_400 * 0.7 / 3
"""Documents a day that a replica carries for each document a second."""


def benched(root: Path, mu: float | None = 2.0, *, stamp: str = "2026-11-25T10", records: bool = True, **manifest: Any) -> Path:  # fmt: skip
    """A bench of `local`: 300 documents under the load that mu rests on, each in 0.5 s and after 0.25 s of waiting."""
    where = root / f"local{store.BENCH}" / stamp
    where.mkdir(parents=True)
    about = {"option": "local~bench", "machine": MACHINE, "hashes": {"scorer": "s1"}, **manifest}
    p95 = {"value": 0.75, "low": 0.75, "high": 0.75, "n": 300}
    load = {"load": "server", "rate_docs_per_s": mu, "sustained": True, "records": "records-server-01.jsonl"}
    found = {
        "mu_docs_per_s": {"value": mu, "low": mu and mu * 0.9, "high": mu and mu * 1.1},
        "target": {"p95_s": 1.0},
        "share": 0.95,
        "documents": 40,
        "created": stamp,
        "why": "no rate was sustained",
        "loads": [{**load, "n": 300, "latency_s": {"p95": p95}}],
    }
    (where / "manifest.json").write_text(json.dumps(about))
    (where / "bench.json").write_text(json.dumps(found))
    if records:
        told = [record(f"d{i}", call(i, 0.5, queued=0.25)) for i in range(300)]
        (where / "records-server-01.jsonl").write_text("".join(store.encode(one) + "\n" for one in told))
    return where


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """One document after another, 4 s each."""
    return folder(tmp_path, "local", seconds=4.0, machine=MACHINE)


def local(run: Path, **more: Any) -> Option:
    asked = Terms(**{"metrics": ["f1"], "draws": 300, "machine": {"name": "this", "usd_per_hour": 1}, **more})
    (found,), _ = options(load_runs([run]), {"local": store.read_json(run / "manifest.json")}, asked)
    return found


def test_mu_is_the_throughput_and_its_p95_is_that_under_load(run: Path, tmp_path: Path) -> None:
    before = local(run)
    assert float(before.deployment.docs_per_s.value) == 0.25 and before.deployment.docs_per_s.provenance == "assumed"
    where = benched(tmp_path)
    found = local(run)
    rate = found.deployment.docs_per_s
    assert (float(rate.value), rate.low, rate.high, rate.provenance) == (2.0, 1.8, 2.2, "measured")
    assert rate.source == f"bench {where}" and rate.date == "2026-11-25"
    assert (
        "throughput is measured: bench 2026-11-25, 40 documents, 2 docs/s [1.8, 2.2] with 95 % inside 1 s"
        in found.notes
    )
    assert found.load == "server, 2 docs/s" and found.latency_p95_s.value == 0.75
    assert len(found.seconds) == 300 and set(found.seconds) == {0.75}, "waits behind others are in it"


def test_dollars_follow_mu_and_the_machines_price(run: Path, tmp_path: Path) -> None:
    def dollars(usd_per_hour: float) -> float:
        found = local(run, machine={"name": "this", "usd_per_hour": usd_per_hour})
        return row(decide([found], ask(volume=12 * PER_DAY)), "local")["usd_per_day"]

    benched(tmp_path, 2.0)
    assert dollars(1) == pytest.approx(6 * 24) and dollars(2) == pytest.approx(2 * 6 * 24)
    benched(tmp_path, 1.0, stamp="2026-11-26T10")
    assert dollars(1) == pytest.approx(12 * 24), "half of mu, twice the replicas"
    assert dollars(2) == pytest.approx(4 * 6 * 24)


def test_another_machine_makes_it_assumed_and_is_told(run: Path, tmp_path: Path) -> None:
    benched(tmp_path)
    found = local(run, machine={"name": "h100", "usd_per_hour": 4})
    assert found.deployment.docs_per_s.provenance == "assumed" and "taken for h100" in found.notes[-1]


def test_what_is_declared_comes_before_a_bench(run: Path, tmp_path: Path) -> None:
    benched(tmp_path)
    assert float(local(run, docs_per_s={"local": 7}).deployment.docs_per_s.value) == 7


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"machine": {**MACHINE, "cpu": "Y"}}, "other cpu"),
        ({"backend": {"weights": "other"}}, "other backend"),
        ({"hashes": {"prompt": "another"}}, "other prompt"),
    ],
)
def test_a_bench_of_something_else_is_told_and_not_used(run: Path, tmp_path: Path, manifest: Any, said: str) -> None:
    benched(tmp_path, **manifest)
    found = local(run)
    assert float(found.deployment.docs_per_s.value) == 0.25 and found.load == "single_stream"
    assert any("is not used" in note and said in note for note in found.notes)


def test_a_bench_without_mu_is_told(run: Path, tmp_path: Path) -> None:
    benched(tmp_path, None)
    found = local(run)
    assert float(found.deployment.docs_per_s.value) == 0.25
    assert any("bench 2026-11-25 is not used: no rate was sustained" in note for note in found.notes)


def test_a_mu_that_no_rate_bounds_has_no_spread(run: Path, tmp_path: Path) -> None:
    where = benched(tmp_path, records=False)
    told = json.loads((where / "bench.json").read_text())
    told["mu_docs_per_s"]["high"] = None
    (where / "bench.json").write_text(json.dumps(told))
    found = local(run)
    assert found.deployment.docs_per_s.low is found.deployment.docs_per_s.high is None
    assert any("not bounded" in note for note in found.notes)
    assert found.load == "single_stream", "its records are gone, so the run's own latencies are told"


def test_an_offline_run_is_told_as_one(tmp_path: Path) -> None:
    run = folder(tmp_path, "local", load="offline(16)", machine={"name": "this"})
    assert "throughput is measured: offline run" in local(run).notes
