"""The figures of a load: by simulated queues whose capacity is known, and by hand."""

import pytest
from simulated_queues import offered, queue, shot

from evals.analysis.capacity import backlog, figures, lag


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


def test_documents_of_an_open_loop_count_between_its_edges() -> None:
    """Ten a second for 30 s; those due in the first ten seconds take 0.1 s, the others 2 s."""
    shots = [shot(at / 10, at / 10 + (0.1 if at < 100 else 2.0)) for at in range(300)]
    found = figures(shots, target_s=1.0, seconds=10, begin_s=10.0)
    assert (found["n"], found["in_time"], found["share"]["value"]) == (100, 0, 0.0)
    assert found["latency_s"]["p50"]["value"] == pytest.approx(2.0)
    assert found["throughput_docs_per_s"]["value"] == pytest.approx(8.0, rel=0.03), "none ends in the first two seconds"
    before = figures(shots, target_s=1.0, seconds=10, begin_s=0.0)
    assert before["share"]["value"] == 1.0 and before["goodput_docs_per_s"] == pytest.approx(10)


def test_documents_that_are_late_together_are_fewer_than_they_seem() -> None:
    together = [shot(at / 10, at / 10 + (2.0 if 100 <= at < 120 else 0.1)) for at in range(400)]
    apart = [shot(at / 10, at / 10 + (2.0 if at % 20 == 0 else 0.1)) for at in range(400)]
    one, other = (figures(made, target_s=1.0, seconds=40, begin_s=0.0)["share"] for made in (together, apart))
    assert one["value"] == other["value"] == 0.95 and one["n"] == other["n"] == 400 and one["good"] == 380
    assert one["design_effect"] > 5 and other["design_effect"] == pytest.approx(1, abs=0.2)
    assert one["low"] < other["low"] < 0.95 < other["high"] < one["high"]


def test_throughput_of_a_closed_loop_is_of_the_time_in_which_it_was_full() -> None:
    full = [shot(None, 0.5 * (at // 4 + 1)) for at in range(80)]  # four at a time, twice a second
    tail = [shot(None, 10.0 + at, latency_s=1.0) for at in range(1, 5)]
    found = figures([*full, *tail], target_s=None, seconds=14, places=4, stopped_s=10.0)
    assert found["throughput_docs_per_s"]["value"] == pytest.approx(8.0)
    assert found["throughput_docs_per_s"]["low"] == pytest.approx(8.0, rel=0.15)
    assert found["share"] is None and found["goodput_docs_per_s"] is None


def test_the_first_round_of_a_closed_loop_is_none_of_its_throughput() -> None:
    """Thirty-two begin together and are read first: the first are answered after 60 s, then one each second."""
    shots = [shot(None, 60.0 + at) for at in range(96)]
    found = figures(shots, target_s=None, seconds=160, places=32, stopped_s=130.0)
    assert found["throughput_docs_per_s"]["value"] == pytest.approx(1.0)
    assert found["throughput_docs_per_s"]["n"] == 71 - 32 and found["n"] == 96
    few = figures(shots[:34], target_s=None, seconds=160, places=32, stopped_s=93.0)
    assert few["throughput_docs_per_s"]["value"] == pytest.approx(34 / 160), "too few are left: all of them"


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
