"""The next rate to offer, and mu of deployments whose capacity is known."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulated_queues import searched

from evals.analysis.capacity import SHARE, Step, counted, is_sustained, mu, next_rate
from evals.analysis.capacity.mu import verdicts


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("offline", [40.0, 80.0, 100.0])
def test_mu_of_four_slots_of_50_ms_is_within_10_percent_of_80(offline: float, seed: int) -> None:
    """Whatever the offline run said: too little, what is true, too much."""
    loads, step = searched(offline, 20.0, seed=seed)
    found = mu(loads)
    assert found["value"] == pytest.approx(80, rel=0.1)
    assert found["low"] <= found["value"] <= found["high"] <= 80 * 1.3
    assert "was sustained" in step.why and "was not" in step.why
    assert len(loads) <= 10


def test_mu_of_a_slow_deployment_rests_on_as_many_documents_as_a_p95() -> None:
    """Four slots of 5 s within a target of 22 s: of an endless stream 0.70 a second are sustained, 0.88 of the capacity.
    Twenty documents a load say 1.26 of it, since a queue that begins empty takes long to be full."""
    true, slow = 0.705, {"service_s": 5.0, "spread": 0.5, "target": 22.0}
    made = [searched(0.78, 44.0, documents=200, **{**slow, "seed": 100 * seed})[0] for seed in range(12)]
    found = [mu(loads) for loads in made]
    assert sum(one["value"] for one in found) / 12 == pytest.approx(true, rel=0.12)
    assert all(one["value"] == pytest.approx(true, rel=0.25) for one in found)
    assert sum(one["low"] <= true <= one["high"] for one in found) >= 10
    for loads in made:
        value = mu(loads)["value"]
        above = min(rate for rate, held in verdicts(loads).items() if not held)
        assert counted(loads, value) >= 160 and counted(loads, above) >= 160
        assert above / value <= 1.05 + 1e-9


def verdict(rate: float, sustained: bool | None, *, n: int = 400, share: float | None = None, documents: int | None = None) -> dict[str, Any]:  # fmt: skip
    value = share if share is not None else 1.0 if sustained else 0.5
    void = "late" if sustained is None else None
    found = {"value": value, "n": n, "design_effect": 1.0}
    return {"rate_docs_per_s": rate, "sustained": sustained, "void": void, "share": found, "backlog": {"growing": False}, "documents": documents}  # fmt: skip


def ask(*loads: dict[str, Any], most: int = 12, offline: float = 10.0, documents: int | None = None) -> Step:
    return next_rate(loads, offline, precision=0.05, most=most, documents=documents)


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


def test_around_mu_many_documents_tell_rates_apart() -> None:
    few = [verdict(7, True, n=20), verdict(9, True, n=20)]
    assert ask(*few, documents=200) == Step(rate=10), "few point the way"
    middle = ask(*few, verdict(10, False, n=20), documents=200)
    assert middle.rate == pytest.approx(math.sqrt(90)) and middle.documents == 200
    near = [*few, verdict(9.5, True, n=200, documents=200), verdict(9.9, False, n=20)]
    assert ask(*near) == Step(why="9.5 docs/s was sustained, 9.9 was not"), (
        "without a number of them nothing is lacking"
    )
    assert ask(*near, documents=200) == Step(rate=9.9, documents=200)
    part = [*near, verdict(9.9, False, n=150, documents=200)]
    assert ask(*part, documents=200) == Step(rate=9.9, documents=50)
    end = ask(*part, verdict(9.9, False, n=50, documents=50), documents=200)
    assert end.rate is None and end.why == "9.5 docs/s was sustained, 9.9 was not"
    lower = ask(*few, verdict(9.5, True, n=20), verdict(9.9, False, n=20), verdict(9.5, False, n=200, documents=200), documents=200)  # fmt: skip
    assert lower.rate == pytest.approx(math.sqrt(9 * 9.5)), "the short load was lucky"
    assert lower.documents == 200


def test_a_lost_load_near_mu_is_offered_again_for_as_many_documents() -> None:
    lost = verdict(9.5, None, documents=200)
    assert ask(verdict(9, True), verdict(10, False), lost, documents=200) == Step(rate=9.5, documents=200)


def test_loads_that_are_lost_near_mu_are_given_up() -> None:
    loads = [verdict(9, True, n=20), verdict(9.4, False, n=20)]
    for _ in range(9):
        step = ask(*loads, documents=200)
        if step.rate is None:
            break
        loads.append(verdict(step.rate, None, documents=step.documents))
    assert step.why == "9 docs/s was sustained, 9.4 was not"
    assert [one["rate_docs_per_s"] for one in loads[2:]] == [9] * 3 + [9.4] * 3


def test_answers_of_which_none_counts_end_the_search_in_their_own_words() -> None:
    nothing = verdict(7, None) | {"void": None}
    nothing["share"] = {**nothing["share"], "value": None, "n": 0}
    assert ask(nothing).rate == 7 and ask(nothing, nothing).rate == 7
    assert ask(*[nothing] * 3).why == "of 3 loads at 7 docs/s no answer counts: too few are valid"


def test_many_documents_just_too_late_lower_the_rate_by_little() -> None:
    lucky, long = verdict(8, True, n=20), verdict(8, False, n=200, share=0.944, documents=200)
    step = ask(lucky, verdict(9, False, n=20), long, documents=200)
    assert step.rate == pytest.approx(8 / 1.2) and step.documents == 200
    assert ask(verdict(8, False, n=20), documents=200) == Step(rate=4), "few point the way"


def test_a_rate_below_which_nothing_was_sustained_is_not_offered_for_many() -> None:
    low = ask(verdict(7, False), verdict(1, False), documents=200)
    assert low.rate is None and "not even 1 docs/s" in low.why


def test_a_bench_ends_whatever_its_loads_say() -> None:
    """Loads that contradict each other, and never enough documents: a bounded number of them."""
    loads: list[dict[str, Any]] = []
    while (step := ask(*loads, most=16, documents=200)).rate is not None:
        said = (True, True, False, None, True)[len(loads) % 5]
        loads.append(verdict(step.rate, said, n=1, documents=step.documents))
        assert len(loads) <= 32
    assert step.why


def test_loads_are_read_together() -> None:
    lucky = [verdict(5, True), verdict(8, False, n=400, share=0.90), verdict(9, True, n=20)]
    assert verdicts(lucky) == {5.0: True, 8.0: False, 9.0: False}, "the share can only fall"
    assert verdicts([verdict(8, True, n=20), verdict(8, False, n=400, share=0.94)]) == {8.0: False}
    assert verdicts([verdict(8, False, n=20, share=0.9), verdict(8, True, n=400, share=0.97)]) == {8.0: True}
    growing = verdict(8, False, share=1.0) | {"backlog": {"growing": True}}
    assert verdicts([verdict(5, True), growing, verdict(9, None)]) == {5.0: True, 8.0: False}
    assert mu([verdict(5, True), growing])["high"] == pytest.approx(8, rel=0.1)


@given(st.lists(st.tuples(st.floats(0.1, 50), st.integers(1, 500), st.floats(0, 1), st.booleans()), min_size=1, max_size=12))  # fmt: skip
def test_mu_lies_in_its_interval_and_below_every_rate_that_failed(made: list[tuple[float, int, float, bool]]) -> None:
    loads = []
    for rate, n, share, grows in made:
        load = verdict(rate, share >= SHARE and not grows, n=n, share=share) | {"backlog": {"growing": grows}}
        loads.append(load)
    found, judged = mu(loads), verdicts(loads)
    held = [judged[rate] for rate in sorted(judged)]
    assert held == sorted(held, reverse=True), "from some rate on, none"
    assert found["value"] == max((rate for rate, one in judged.items() if one), default=None)
    assert (found["high"] is None) == all(held)
    assert 0 <= found["low"] <= (found["value"] or 0.0) <= (found["high"] or math.inf)


def test_mu_has_an_interval() -> None:
    assert mu([]) == {"value": None, "low": None, "high": None}
    sure = mu([verdict(5, True), verdict(8, True), verdict(9, False)])
    assert sure["value"] == 8 and 7.9 < sure["low"] <= 8 and 8 < sure["high"] < 9
    few = mu([verdict(5, True, n=3), verdict(8, True, n=3), verdict(9, False, n=3)])
    assert few["value"] == 8 and few["low"] < 5 and few["high"] > 9, "three of three in time say next to nothing"
    alike = [verdict(8, True, n=200, share=0.97), verdict(9, False, n=200, share=0.92)]
    for load in alike:
        load["share"] = {**load["share"], "design_effect": 10.0}
    narrow = mu([verdict(8, True, n=200, share=0.97), verdict(9, False, n=200, share=0.92)])
    wide = mu(alike)
    assert wide["low"] < narrow["low"] < 8 and wide["high"] > narrow["high"] > 8, "ten that say the same are one"
    alone = mu([verdict(5, True)])
    assert (alone["value"], alone["low"], alone["high"]) == (5.0, 5.0, None)
    lost = mu([verdict(5, False)])
    assert lost["value"] is None and lost["low"] == 0 and lost["high"] <= 5
    assert mu([verdict(5, True), verdict(9, None)])["high"] is None, "what is void bounds nothing"


def test_a_share_below_95_percent_is_not_sustained() -> None:
    load = verdict(5, None) | {"void": None}
    assert is_sustained(load | {"share": {"value": SHARE, "n": 100}}) is True
    assert is_sustained(load | {"share": {"value": 0.949, "n": 1000}}) is False
    assert is_sustained(load | {"share": {"value": None, "n": 0}}) is None
