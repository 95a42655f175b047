"""mu of deployments whose capacity is known, by simulated queues; figures of a load; what a stored bench is good for."""

import heapq
import json
import math
import random
from pathlib import Path
from typing import Any

import pytest
from made_runs import call, record

from evals import store
from evals.analysis.capacity import (
    SHARE,
    Shot,
    Step,
    backlog,
    figures,
    is_sustained,
    lag,
    mu,
    newest_bench,
    next_rate,
    seconds_at_mu,
)
from evals.engine.load import arrivals

TARGET_S = 0.5


def queue(rate: float, seconds: float, *, slots: int = 4, service_s: float = 0.05, spread: float = 0.2, seed: int = 0) -> list[Shot]:  # fmt: skip
    """Poisson arrivals at `slots` servers, first come, first served; service within `spread` of its mean."""
    random_ = random.Random(seed)
    free = [0.0] * slots
    heapq.heapify(free)
    shots = []
    for due in arrivals(rate, seconds, seed=seed):
        end = max(due, heapq.heappop(free)) + service_s * random_.uniform(1 - spread, 1 + spread)
        heapq.heappush(free, end)
        shots.append(shot(due, end))
    return shots


def shot(due: float | None, ended: float, **more: Any) -> Shot:
    latency = ended - (due or 0.0)
    return Shot(**{"due_s": due, "ended_s": ended, "latency_s": latency, "answered": True, "valid": True, **more})


def offered(rate: float, seconds: float = 10.0, *, target: float = TARGET_S, void: str | None = None, **more: Any) -> dict[str, Any]:  # fmt: skip
    shots = queue(rate, seconds, **more)
    load = {"load": "server", "loop": "open", "rate_docs_per_s": rate, "void": void}
    load |= figures(shots, target_s=target, seconds=seconds) | {"backlog": backlog(shots, rate, seconds)}
    return load | {"sustained": is_sustained(load)}


def searched(offline: float, seconds: float = 10.0, **more: Any) -> tuple[list[dict[str, Any]], Step]:
    loads: list[dict[str, Any]] = []
    while (step := next_rate(loads, offline, precision=0.05, most=12)).rate is not None:
        loads.append(offered(step.rate, seconds, **{"seed": len(loads), **more}))
    return loads, step


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offline", [40.0, 80.0, 100.0])
def test_mu_of_four_slots_of_50_ms_is_within_10_percent_of_80(offline: float, seed: int) -> None:
    """Whatever the offline run said: too little, what is true, too much."""
    loads, step = searched(offline, 20.0, seed=seed)
    found = mu(loads)
    assert found["value"] == pytest.approx(80, rel=0.1)
    assert found["low"] <= found["value"] < found["high"] <= 80 * 1.1
    assert "was sustained" in step.why and "was not" in step.why
    assert len(loads) <= 10


@pytest.mark.parametrize("rho", [0.5, 0.8, 0.9])
def test_a_backlog_that_only_varies_does_not_grow(rho: float) -> None:
    growing = sum(backlog(queue(80 * rho, 20, seed=seed), 80 * rho, 20)["growing"] for seed in range(40))
    assert growing <= 2


@pytest.mark.parametrize(("slots", "rate"), [(16, 8.0), (16, 14.0), (64, 60.0), (1000, 60.0)])
def test_documents_of_all_lengths_are_no_growing_backlog(slots: int, rate: float) -> None:
    """From a fifth of a mean second to nearly two of them: many are under way, always as many."""
    made = [backlog(queue(rate, 20, slots=slots, service_s=1.0, spread=0.8, seed=seed), rate, 20) for seed in range(40)]
    assert sum(one["growing"] for one in made) <= 2
    assert sum(one["usual"] for one in made) / 40 >= 0.9 * rate, "Little: the rate times a second"
    over = [backlog(queue(80, 20, slots=64, service_s=1.0, spread=0.8, seed=seed), 80, 20) for seed in range(20)]
    assert all(one["growing"] for one in over)
    assert sum(one["growth_docs_per_s"] for one in over) / 20 == pytest.approx(80 - 64, rel=0.2)


def test_a_backlog_that_grows_is_seen_before_the_target_is_missed() -> None:
    loads = [offered(88, 20, target=60.0, seed=seed) for seed in range(20)]
    assert all(load["share"]["value"] == 1.0 and load["backlog"]["growing"] for load in loads)
    assert not any(load["sustained"] for load in loads)
    assert sum(load["backlog"]["growth_docs_per_s"] for load in loads) / 20 == pytest.approx(8, rel=0.3)


def test_latency_counts_from_the_schedule() -> None:
    """The same stall of 10 s: a closed loop sees one slow document, an open one all that came meanwhile."""
    stalled = [shot(at / 10, max(at / 10, 10.0) + 0.1) for at in range(200)]
    found = figures(stalled, target_s=1.0, seconds=20)
    assert found["latency_s"]["p95"]["value"] > 8 and found["share"]["value"] == pytest.approx(0.55, abs=0.01)
    closed = [shot(None, 0.1 * at, latency_s=10.0 if at == 5 else 0.1) for at in range(1, 201)]
    assert figures(closed, target_s=1.0, seconds=20)["latency_s"]["p95"]["value"] == pytest.approx(0.1)


def test_goodput_is_valid_and_in_time_and_the_models_own_faults_are_no_lack_of_capacity() -> None:
    shots = [shot(i / 10, i / 10 + 0.2, valid=i % 10 != 0) for i in range(100)]
    found = figures(shots, target_s=0.5, seconds=10)
    assert found["valid"] == 90 and found["in_time"] == 100
    assert found["goodput_docs_per_s"] == pytest.approx(90 / 10.1, rel=0.01)
    assert (found["share"]["value"], found["share"]["n"]) == (1.0, 90)
    lost = [shot(i / 10, i / 10 + 0.2, answered=i % 10 != 0, valid=i % 10 != 0) for i in range(100)]
    found = figures(lost, target_s=0.5, seconds=10)
    assert (found["share"]["value"], found["share"]["n"], found["failed"]) == (0.9, 100, 10)
    assert found["share"]["low"] < 0.9 < found["share"]["high"]
    none = figures([shot(0.0, 0.1, valid=False)] * 9, target_s=0.5, seconds=1)
    assert none["share"]["value"] is None and none["goodput_docs_per_s"] == 0
    assert figures([shot(0.0, 0.1, valid=False)] * 9, target_s=0.5, seconds=1, valid_only=False)["share"]["value"] == 1


def test_time_outs_count_with_what_they_took_and_other_failures_do_not() -> None:
    good = [shot(0.0, 1.0) for _ in range(90)]
    out = [shot(0.0, 60.0, answered=False, valid=False, timed_out=True) for _ in range(10)]
    refused = [shot(0.0, 0.001, answered=False, valid=False) for _ in range(100)]
    found = figures([*good, *out, *refused], target_s=2.0, seconds=10)
    assert found["latency_s"]["p95"]["value"] == 60.0 and found["latency_s"]["p50"]["value"] == 1.0
    assert found["latency_s"]["p50"]["n"] == 100 and found["failed"] == 110 and found["timed_out"] == 10


def test_long_documents_are_shown_apart_from_short_ones() -> None:
    shots = [shot(0.0, 1.0 if tokens < 500 else 9.0, prompt_tokens=tokens) for tokens in range(0, 1000, 50)]
    halves = figures(shots, target_s=2.0, seconds=1.0)["latency_by_length"]
    assert halves["short"]["p95"]["value"] == 1.0 and halves["long"]["p50"]["value"] == 9.0
    assert halves["short"]["p50"]["n"] == halves["long"]["p50"]["n"] == 10 and halves["split_tokens"] == 475
    for same in ([shot(0.0, 1.0)] * 3, [shot(0.0, 1.0, prompt_tokens=7)] * 3):
        assert figures(same, target_s=2.0, seconds=1.0)["latency_by_length"] is None


def test_few_documents_have_an_interval_and_a_word() -> None:
    few = figures([shot(0.0, 0.1 * i) for i in range(1, 61)], target_s=5.0, seconds=10)
    p95 = few["latency_s"]["p95"]
    assert few["latency_note"] == "n too small for p95: 60, at least 200"
    assert p95["low"] is not None and p95["high"] is None, "60 documents do not bound their p95 from above"
    many = figures([shot(0.0, 0.01 * i) for i in range(1, 401)], target_s=5.0, seconds=10)
    assert many["latency_note"] is None and many["latency_s"]["p95"]["low"] < 3.8 < many["latency_s"]["p95"]["high"]


def test_throughput_of_a_closed_loop_is_of_the_time_in_which_it_was_full() -> None:
    full = [shot(None, 0.5 * (at // 4 + 1)) for at in range(80)]  # four at a time, twice a second
    tail = [shot(None, 10.0 + at, latency_s=1.0) for at in range(1, 5)]
    found = figures([*full, *tail], target_s=None, seconds=14, stopped_s=10.0)
    assert found["throughput_docs_per_s"]["value"] == pytest.approx(8.0)
    assert found["throughput_docs_per_s"]["low"] == pytest.approx(8.0, rel=0.15)
    assert found["share"] is None and found["goodput_docs_per_s"] is None


def test_tokens_and_what_is_not_reported() -> None:
    told = [shot(None, float(at), prompt_tokens=100.0, cached_tokens=25.0, output_tokens=10.0, ttft_s=0.1, tpot_s=0.02) for at in range(1, 11)]  # fmt: skip
    found = figures(told, target_s=None, seconds=10)
    assert found["tokens_per_s"] == {"prompt": 100.0, "output": 10.0} and found["prompt_cached_share"] == 0.25
    assert found["ttft_s"]["p50"]["value"] == pytest.approx(0.1) and found["tpot_s"]["p50"]["value"] == 0.02
    silent = figures([shot(None, 1.0)], target_s=None, seconds=1)
    assert silent["tokens_per_s"] == {"prompt": None, "output": None} and silent["prompt_cached_share"] is None
    assert silent["ttft_s"]["p50"]["value"] is None


def test_a_late_generator_makes_a_load_void() -> None:
    assert lag([0.001] * 99, [0.001] * 99, 1.0)["void"] is None
    assert "sent 50.0 ms late (p99, at most 10 ms)" in lag([0.05] * 99, [], 1.0)["void"]
    assert lag([0.05] * 99, [], 10.0)["void"] is None, "1 % of a target of 10 s is 100 ms"
    assert "event loop was 50.0 ms late" in lag([0.001] * 99, [0.05] * 99, 1.0)["void"]
    assert lag([None, None], [], 1.0) == {"lag_p99_s": None, "loop_lag_p99_s": None, "void": None}


# The search ---------------------------------------------------------------------------------------------------


def verdict(rate: float, sustained: bool | None, *, n: int = 400, share: float | None = None) -> dict[str, Any]:
    value = share if share is not None else 1.0 if sustained else 0.5
    void = "late" if sustained is None else None
    return {"rate_docs_per_s": rate, "sustained": sustained, "void": void, "share": {"value": value, "n": n}, "backlog": {"growing": False}}  # fmt: skip


def ask(*loads: dict[str, Any], most: int = 12, offline: float = 10.0) -> Step:
    return next_rate(loads, offline, precision=0.05, most=most)


def test_the_next_rate() -> None:
    assert ask().rate == 7
    assert ask(verdict(7, True)).rate == 9 and ask(verdict(7, False)).rate == 3.5
    both = ask(verdict(7, True), verdict(9, False)).rate
    assert both == pytest.approx(math.sqrt(63))
    assert ask(verdict(20, True)).rate == pytest.approx(32)
    end = ask(verdict(7, True), verdict(7.3, False))
    assert end.rate is None and end.why == "7 docs/s was sustained, 7.3 was not"
    low = ask(verdict(7, False), verdict(1, False))
    assert low.rate is None and "not even 1 docs/s" in low.why
    assert "16 times the offline" in ask(verdict(160, True)).why
    assert "2 rates were offered (loads=2)" in ask(verdict(7, True), verdict(9, False), most=2).why


def test_what_is_void_is_offered_again_and_then_ends_the_road() -> None:
    lost = verdict(7, None)
    assert ask(lost).rate == 7 and ask(lost, lost).rate == 7
    assert ask(lost, lost, lost).rate == 3.5
    both = ask(*[lost] * 3, *[verdict(3.5, None)] * 3)
    assert both.rate is None and both.why == "the load generator itself was late at 7 docs/s and at 3.5"
    assert ask(lost, lost, verdict(7, True)).rate == 9, "it was a hiccup"
    end = ask(verdict(7, True), *[verdict(9, None)] * 3)
    assert end.rate is None and "at 9 the load generator itself was late" in end.why


def test_mu_has_an_interval_of_rates_that_were_offered() -> None:
    assert mu([]) == {"value": None, "low": None, "high": None}
    sure = mu([verdict(5, True), verdict(8, True), verdict(9, False)])
    assert sure == {"value": 8.0, "low": 8.0, "high": 9.0}
    close = mu([verdict(5, True), verdict(8, True, n=40, share=0.96), verdict(9, False)])
    assert (close["value"], close["low"], close["high"]) == (8.0, 5.0, 9.0), "39 of 40 may be luck"
    few = mu([verdict(5, True, n=3), verdict(8, True, n=3), verdict(9, False)])
    assert (few["value"], few["low"], few["high"]) == (8.0, 0.0, 9.0), "three of three in time say next to nothing"
    assert mu([verdict(5, True)]) == {"value": 5.0, "low": 5.0, "high": None}
    assert mu([verdict(5, False)]) == {"value": None, "low": 0.0, "high": 5.0}
    assert mu([verdict(5, True), verdict(9, None)])["high"] is None, "what is void bounds nothing"


def test_a_share_below_95_percent_is_not_sustained() -> None:
    load = verdict(5, None) | {"void": None}
    assert is_sustained(load | {"share": {"value": SHARE, "n": 100}}) is True
    assert is_sustained(load | {"share": {"value": 0.949, "n": 1000}}) is False
    assert is_sustained(load | {"share": {"value": None, "n": 0}}) is None


# Stored benches -----------------------------------------------------------------------------------------------

ABOUT: dict[str, Any] = {
    "option": "m+quant=q4",
    "hashes": {"prompt": "p", "schema": "s", "scorer": "any"},
    "backend": {"build": "b1", "weights": {"file": "m.gguf"}, "start_s": 1.5, "settings": {"n_ctx": 4096}},
    "machine": {"cpu": "X", "cores": 2, "arch": "x86_64", "name": "this", "usd_per_hour": 1},
}


def stored(root: Path, stamp: str, value: float | None = 8.0, **manifest: Any) -> Path:
    folder = root / f"{ABOUT['option']}{store.BENCH}" / stamp
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({**ABOUT, **manifest}))
    found = {"mu_docs_per_s": {"value": value, "low": 7.0, "high": 9.0}, "created": stamp, "why": "too slow"}
    (folder / "bench.json").write_text(json.dumps(found))
    return folder


def test_the_newest_bench_of_the_same_option_and_machine(tmp_path: Path) -> None:
    run = tmp_path / ABOUT["option"] / "2026-11-01"
    assert newest_bench(run, ABOUT) == (None, None)
    stored(tmp_path, "2026-11-02", 6.0)
    good = stored(tmp_path, "2026-11-03", backend={**ABOUT["backend"], "start_s": 99.0}, machine={**ABOUT["machine"], "usd_per_hour": 9})  # fmt: skip
    found, passed = newest_bench(run, ABOUT)
    assert found is not None and found["run"] == str(good) and passed is None
    stored(tmp_path, "2026-11-04", backend={**ABOUT["backend"], "build": "b2"})
    found, passed = newest_bench(run, ABOUT)
    assert found is not None and found["run"] == str(good)
    assert passed == "bench 2026-11-04 is not used: other backend (build, settings or weights)"
    stored(tmp_path, "2026-11-05", machine={**ABOUT["machine"], "cores": 64})
    assert newest_bench(run, ABOUT)[1] == "bench 2026-11-05 is not used: other cores"
    stored(tmp_path, "2026-11-06", None)
    assert newest_bench(run, ABOUT)[1] == "bench 2026-11-06 is not used: too slow"


def test_seconds_under_the_load_of_mu_count_from_the_schedule(tmp_path: Path) -> None:
    load = {"rate_docs_per_s": 8.0, "sustained": True, "records": "records-server-01.jsonl"}
    bench = {"run": str(tmp_path), "mu_docs_per_s": {"value": 8.0}, "loads": [{"load": "offline"}, load]}
    assert seconds_at_mu(bench) is None
    rows = [record("a", call(0, 2.0, queued=1.5)), record("b", call(0, 0.1, error="rate_limit"))]
    (tmp_path / "records-server-01.jsonl").write_text("".join(store.encode(one) + "\n" for one in rows))
    found = seconds_at_mu(bench)
    assert found is not None and found[0] is load and list(found[1]) == [3.5, math.inf]
