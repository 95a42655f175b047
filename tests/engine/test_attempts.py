"""One request and its attempts: what is repeated, when, and what each attempt leaves in the record."""

import asyncio
from typing import Any

import pytest
from engine_fakes import Kept, Plain, Scripted, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Call, Usage
from evals.engine.generate import ATTEMPTS, Engine
from evals.engine.limits import Limiter
from evals.errors import RETRYABLE, CallFailed, ConfigError, FatalCall
from evals.models.fake import Fake

KINDS = "context_length content_filter too_large crashed timeout rate_limit server bad_body internal".split()


def run(model: Scripted, documents: Any = 1, **options: Any) -> tuple[Kept, float]:
    """The records, and how many seconds it took by the clock that jumps."""
    kept = Kept()
    asked = samples(documents) if isinstance(documents, int) else documents
    options = {"limiter": Limiter(clock=now), **options}

    async def work() -> float:
        began = now()
        await Engine(task=Plain(), model=model, sink=kept, **options).run(asked)
        return now() - began

    return kept, jumping(work())


def only(kept: Kept) -> tuple[Call, ...]:
    (record,) = kept.records
    return record.calls


def test_a_good_answer_is_one_call() -> None:
    kept, _ = run(Scripted({"Text.": ["fine"]}))
    (call,) = only(kept)
    assert kept.records[0].answer == 0 and kept.records[0].text == "fine"
    assert call.role == "answer" and call.timing and call.timing.backoff_s == 0.0 and not call.cached


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_another_attempt_may_cure_is_repeated(kind: Any) -> None:
    model = Scripted({"Text.": [failure(kind), "fine"]})
    kept, _ = run(model)
    calls = only(kept)
    if kind in RETRYABLE:
        assert [call.role for call in calls] == ["answer", "retry"] and kept.records[0].answer == 1
        assert calls[0].error == kind and calls[0].error_text == f"a {kind} failure"
        assert kept.records[0].text == "fine"
    else:
        assert len(calls) == 1 and kept.records[0].answer is None and kept.records[0].error == kind


def test_a_bug_of_the_backend_is_a_row() -> None:
    kept, _ = run(Scripted({"Text.": [ValueError("oh")]}), 3)
    assert [record.error for record in kept.records] == ["internal"] * 3
    assert kept.records[0].calls[0].error_text == "ValueError: oh"


def test_at_most_so_many_attempts() -> None:
    for attempts, options in ((ATTEMPTS, {}), (1, {"attempts": 1}), (3, {"attempts": 3})):
        model = Scripted({"Text.": [failure("server")]})
        kept, _ = run(model, **options)
        assert len(only(kept)) == len(model.sent) == attempts
        assert [call.role for call in only(kept)] == ["answer", *["retry"] * (attempts - 1)]


def test_a_model_of_this_machine_is_asked_once_unless_told_otherwise() -> None:
    async def calls(**options: Any) -> int:
        kept, model = Kept(), Fake(error_rate=1)
        await Engine(task=Plain(), model=model, sink=kept, limiter=Limiter(clock=now), **options).run(samples(1))
        return len(only(kept))

    assert jumping(calls()) == 1 and jumping(calls(attempts=3)) == 3


def test_tokens_of_a_failed_attempt_are_kept() -> None:
    billed = Usage(input_uncached=7, output=3)
    kept, _ = run(Scripted({"Text.": [failure("bad_body", usage=billed), "fine"]}))
    assert [call.usage for call in only(kept)] == [billed, None]


def test_a_hung_connection_costs_one_attempt_time_out() -> None:
    model = Scripted({"Text.": [1e6, "fine"]})
    kept, took = run(model, attempt_timeout_s=60)
    assert [call.error for call in only(kept)] == ["timeout", None] and model.cancelled == 1
    assert only(kept)[0].error_text == "no answer within 60 s"
    assert 60 <= took <= 60.5 + 0.001


def test_the_deadline_cuts_the_last_attempt_and_nothing_follows() -> None:
    model = Scripted({"Text.": [1e6]})
    kept, took = run(model, attempt_timeout_s=60, timeout_s=150)
    calls = only(kept)
    assert [call.error for call in calls] == ["timeout"] * 3 and took == pytest.approx(150)
    assert calls[-1].error_text == "no answer within 150 s"
    assert kept.records[0].error == "timeout"


def test_without_an_attempt_time_out_only_the_deadline_cuts() -> None:
    kept, took = run(Scripted({"Text.": [1e6]}), timeout_s=7)
    assert [call.error for call in only(kept)] == ["timeout"] and took == pytest.approx(7)


def test_retry_after_is_waited_for() -> None:
    model = Scripted({"Text.": [failure("rate_limit", retry_after_s=20.0), "fine"]})
    kept, took = run(model)
    assert took == pytest.approx(20) and only(kept)[1].timing.backoff_s == 20.0  # type: ignore[union-attr]


def test_retry_after_never_passes_the_deadline() -> None:
    model = Scripted({"Text.": [failure("rate_limit", retry_after_s=100.0), "fine"]})
    kept, took = run(model, timeout_s=30)
    assert took < 1 and kept.records[0].error == "rate_limit" and len(model.sent) == 1


def test_pauses_are_drawn_alike_in_every_run_and_unlike_for_every_sample() -> None:
    def pauses(seed: int) -> list[list[float]]:
        kept, _ = run(Scripted({"Text.": [failure("server")]}), 4, concurrency=4, seed=seed)
        return [
            [call.timing.backoff_s for call in record.calls[1:] if call.timing]
            for record in sorted(kept.records, key=lambda r: r.sample_id)
        ]

    first = pauses(0)
    assert first == pauses(0) != pauses(1) and len({tuple(row) for row in first}) == 4
    for row in first:
        assert all(0 <= pause <= min(30, 0.5 * 2**n) for n, pause in enumerate(row))


@settings(max_examples=60, deadline=None)
@given(
    script=st.lists(st.sampled_from([*sorted(RETRYABLE), "content_filter", "fine", "hang"]), min_size=1, max_size=8),
    attempts=st.integers(1, 7),
    timeout_s=st.floats(1, 200),
    wait_s=st.none() | st.floats(0, 50),
)
def test_no_script_passes_the_deadline_or_the_attempts(
    script: list[str], attempts: int, timeout_s: float, wait_s: float | None
) -> None:
    steps: list[Any] = [
        word if word == "fine" else 1e6 if word == "hang" else failure(word, retry_after_s=wait_s) for word in script
    ]
    model = Scripted({"Text.": steps})
    kept, took = run(model, attempts=attempts, timeout_s=timeout_s, attempt_timeout_s=20)
    calls = only(kept)
    assert took <= timeout_s + 1e-6 and len(calls) == len(model.sent) <= attempts
    assert all(call.error in RETRYABLE for call in calls[:-1])
    assert (kept.records[0].answer is not None) == (calls[-1].completion is not None)
    assert sum(call.completion is not None for call in calls) <= 1  # a good answer is never bought twice
    assert [call.role for call in calls] == ["answer", *["retry"] * (len(calls) - 1)]


def test_waiting_for_our_own_limits_is_no_slowness_of_the_provider() -> None:
    async def work() -> Kept:
        kept = Kept()
        limiter = Limiter(requests_per_min=6, clock=now)
        model = Scripted(latency_s=1.0)
        engine = Engine(task=Plain(), model=model, sink=kept, concurrency=8, timeout_s=5, limiter=limiter)
        await engine.run(samples(8))
        assert [round(b - a, 3) for a, b in zip(model.at, model.at[1:], strict=False)] == [10.0] * 7
        return kept

    assert all(record.answer is not None for record in jumping(work()).records)


def test_a_fatal_call_ends_the_run_with_one_error() -> None:
    def script(request: Any, number: int) -> Any:
        return FatalCall("auth", "bad key") if request.sample_id == "d5" else "fine"

    model = Scripted(script, latency_s=1.0)
    kept = Kept()

    async def work() -> None:
        await Engine(task=Plain(), model=model, sink=kept, concurrency=4).run(samples(2000))

    with pytest.raises(FatalCall, match="bad key"):
        jumping(work())
    # d4 to d7 are answered in the same turn of the loop: each of the others may have sent its next one before
    assert {f"d{i}" for i in range(4)} <= {record.sample_id for record in kept.records} and len(model.sent) <= 11
    assert model.flying == 0


def test_a_mistake_of_the_users_that_shows_late_ends_the_run_too() -> None:
    with pytest.raises(ConfigError, match="no such setting"):
        run(Scripted({"Text.": [ConfigError("no such setting")]}), 100, concurrency=8)


def test_two_thousand_fatal_calls_are_still_one_error() -> None:
    model = Scripted({"Text.": [FatalCall("unknown_model", "no such model")]})
    with pytest.raises(FatalCall, match="unknown_model: no such model"):
        run(model, 2000, concurrency=64)
    assert len(model.sent) <= 64


def test_on_call_hears_every_attempt_and_the_counters_agree() -> None:
    heard: list[Call] = []
    kept = Kept()

    async def work() -> Engine:
        model = Scripted({"Text.": [failure("server"), failure("bad_body"), "fine"]}, latency_s=0.1)
        engine = Engine(task=Plain(), model=model, sink=kept, on_call=heard.append)
        run = asyncio.create_task(engine.run(samples(1)))
        await asyncio.sleep(0.05)
        assert engine.counters().in_flight == 1
        await asyncio.sleep(0.1)
        while engine.counters().in_flight:
            await asyncio.sleep(0.01)
        assert engine.counters().backing_off == 1
        await run
        return engine

    counters = jumping(work()).counters()
    assert tuple(heard) == only(kept)
    assert (counters.attempts, counters.retries, counters.errors) == (3, 2, {"server": 1, "bad_body": 1})
    assert counters.in_flight == counters.waiting == counters.backing_off == 0


def test_a_time_out_that_the_model_raises_itself_is_a_row_too() -> None:
    kept, _ = run(Scripted({"Text.": [TimeoutError(), "fine"]}))
    assert [call.error for call in only(kept)] == ["timeout", None]


def test_an_error_text_is_one_line() -> None:
    kept, _ = run(Scripted({"Text.": [CallFailed("too_large", "one\ntwo")]}))
    assert only(kept)[0].error_text == "one two"
