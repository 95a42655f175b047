"""Closed and open loops against a deployment of known slots and service time, on a clock that jumps: what is sent when,
what a document's seconds count from, and who was late."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from engine_fakes import Kept, Plain, jumping, now, samples

from evals.core import Call, Completion, Record, Request, Timing, Usage
from evals.engine.load import Due, Load, Prepared, Unlimited, arrivals, from_schedule, rounds
from evals.errors import CallFailed, FatalCall
from evals.models.base import Mark


class Served:
    """A deployment of so many slots, each busy for `service_s` with a document; the others wait for their turn."""

    name = "served"

    def __init__(self, slots: int, service_s: float, error: CallFailed | None = None) -> None:
        self.slots, self.service_s, self.error = asyncio.Semaphore(slots), service_s, error
        self.sent_at: list[float] = []

    async def start(self) -> Mapping[str, Any]:
        return {}

    async def generate(self, request: Request, mark: Mark) -> Completion:
        self.sent_at.append(now())
        mark("sent")
        async with self.slots:
            await asyncio.sleep(self.service_s)
        if self.error:
            raise self.error
        return Completion(text="ok", finish_reason="stop", usage=Usage(input_uncached=2, output=1))

    async def close(self) -> None:
        pass


def load(model: Any, n: int = 5, **more: Any) -> Load:
    given = {"sink": Kept(), "task": Prepared(Plain(), samples(n)), "model": model, "clock": now, **more}
    return Load(**given)


def due(rate: float, seconds: float, n: int = 5, seed: int = 0) -> list[Due]:
    pairs = rounds(samples(n), seed=seed)
    times = arrivals(rate, seconds, seed=seed)
    return [Due(at_s=at, sample=one, repeat=repeat) for at, (one, repeat) in zip(times, pairs, strict=False)]


def test_arrivals_are_poisson_given_their_number() -> None:
    found = np.array(arrivals(50, 200, seed=3))
    assert len(found) == 10_000 and found[0] >= 0 and found[-1] <= 200 and (np.diff(found) >= 0).all()
    gaps = np.diff(found)
    assert gaps.std() / gaps.mean() == pytest.approx(1, abs=0.05), "exponential gaps: their deviation is their mean"
    counts = np.histogram(found, bins=200, range=(0, 200))[0]
    assert counts.var() / counts.mean() == pytest.approx(1, abs=0.3)
    assert arrivals(50, 200, seed=3) == list(found) and arrivals(50, 200, seed=4) != list(found)
    assert len(arrivals(0.001, 1, seed=0)) == 1


def test_rounds_ask_each_document_once_a_round_in_another_order() -> None:
    pairs = rounds(samples(4), seed=1)
    first, second = ([next(pairs) for _ in range(4)] for _ in range(2))
    assert {one.id for one, _ in first} == {one.id for one, _ in second} == {"d0", "d1", "d2", "d3"}
    assert [number for _, number in first + second] == [0] * 4 + [1] * 4
    assert len({tuple(one.id for one, _ in part) for part in (first, second)}) == 2


def test_an_open_loop_sends_when_it_is_due_whatever_is_under_way() -> None:
    async def work() -> None:
        model = Served(slots=1, service_s=1.0)
        schedule = due(rate=3, seconds=10)
        began = now()
        found = load(model, limiter=Unlimited())
        await found.open(schedule)
        assert [at - began for at in model.sent_at] == pytest.approx([one.at_s for one in schedule], abs=1e-6)
        shots = sorted(found.shots, key=lambda one: one.due_s or 0.0)
        assert len(shots) == 30 and all(one.lag_s == pytest.approx(0, abs=1e-6) for one in shots)
        # One slot of 1 s: the k-th is answered 1 s after the later of its instant and the end of the one before.
        end = 0.0
        for one in shots:
            end = max(end, one.due_s or 0.0) + 1.0
            assert one.ended_s == pytest.approx(end, abs=1e-6)

    jumping(work())


def test_a_document_is_asked_again_under_another_number() -> None:
    async def work() -> None:
        found = load(Served(slots=9, service_s=0.1), n=3, limiter=Unlimited())
        await found.open(due(rate=5, seconds=2, n=3))
        keys = [(one.record.sample_id, one.record.repeat) for one in found.shots]
        assert len(set(keys)) == len(keys) == 10 and max(repeat for _, repeat in keys) == 3
        assert [one.record for one in found.shots] == found.sink.records  # type: ignore[attr-defined]

    jumping(work())


def test_a_closed_loop_keeps_so_many_under_way_until_it_is_enough() -> None:
    async def work() -> None:
        model = Served(slots=4, service_s=0.5)
        found = load(model, concurrency=8)
        await found.closed(rounds(samples(5), seed=0), lambda done, seconds: seconds >= 9.9)
        assert len(found.shots) == 8 + 4 * 19 and found.stopped_s == pytest.approx(9.5)
        full = [one for one in found.shots if one.ended_s <= 9.5]
        assert len(full) / 9.5 == pytest.approx(8.0), "four slots of half a second"
        assert all(one.due_s is None and one.lag_s is None for one in found.shots)

    jumping(work())


def test_a_generator_that_is_late_says_so_and_the_wait_counts() -> None:
    async def work() -> None:
        found = load(Served(slots=9, service_s=0.01), clock=time.monotonic, limiter=Unlimited())
        schedule = due(rate=100, seconds=0.4)
        blocked = asyncio.create_task(_block(0.1, 0.15))
        await found.open(schedule)
        await blocked
        late = [one for one in found.shots if 0.1 < (one.due_s or 0.0) < 0.2]
        assert late and all((one.lag_s or 0.0) > 0.03 for one in late), "sent only when the loop was free again"
        for one in late:
            timing = one.record.calls[0].timing
            assert timing is not None and timing.queued_s >= (one.lag_s or 0.0) - 1e-6
        assert max(found.beats) > 0.1, "the event loop's beats say so too"

    asyncio.run(work())


async def _block(after_s: float, seconds: float) -> None:
    await asyncio.sleep(after_s)
    time.sleep(seconds)


def test_records_count_from_the_schedule() -> None:
    timing = Timing(started_at="2026-01-01T00:00:10.000000+00:00", queued_s=0.5, ttft_s=None, total_s=2.0)
    record = Record(sample_id="a", repeat=0, request_hash="h", calls=(Call(role="answer", model="m", timing=timing),), answer=None)  # fmt: skip
    moved = from_schedule(record, 0.25).calls[0].timing
    assert moved is not None and moved.queued_s == 0.75 and moved.total_s == 2.0
    assert moved.started_at == "2026-01-01T00:00:09.750000+00:00"
    assert from_schedule(record, 0.0) is record


def test_failures_are_rows_and_a_429_holds_nothing_back() -> None:
    async def work() -> None:
        model = Served(slots=99, service_s=0.1, error=CallFailed("rate_limit", "slow down", retry_after_s=60))
        found = load(model, limiter=Unlimited(), attempts=1)
        schedule = due(rate=10, seconds=3)
        began = now()
        await found.open(schedule)
        assert {one.record.error for one in found.shots} == {"rate_limit"} and len(found.shots) == 30
        assert [at - began for at in model.sent_at] == pytest.approx([one.at_s for one in schedule], abs=1e-6)

    jumping(work())


def test_what_would_fail_for_all_ends_the_load() -> None:
    async def work() -> None:
        found = load(Served(slots=1, service_s=0.1, error=FatalCall("auth", "no such key")), limiter=Unlimited())
        with pytest.raises(ExceptionGroup) as caught:
            await found.open(due(rate=10, seconds=3))
        assert isinstance(caught.value.exceptions[0], FatalCall)

    jumping(work())


def test_requests_are_made_beforehand() -> None:
    task, documents = Plain(), samples(3)
    prepared = Prepared(task, documents)
    assert prepared.request(documents[1]) is prepared.request(documents[1])
    assert prepared.request(documents[1]).hash == task.request(documents[1]).hash
    assert (prepared.name, prepared.version, prepared.split) == ("plain", "1", "test")
    assert prepared.merge(documents[0], ["a", "b"]) == "a+b" and prepared.score(documents[0], "x").metrics == {}
