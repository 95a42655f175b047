"""A load on a deployment: closed (so many documents under way, the next when one is answered) or open (each when it is due).

An open loop sends at its scheduled instants whatever is in flight, as callers do who do not know of each other; a
document's seconds count from its scheduled instant, so that a deployment which stalls is not spared the documents that
would have come meanwhile. What the load generator itself is late by is kept beside it (`Shot.lag_s`), and so is how late
the event loop runs (`Load.beats`): a load that is bent by either says nothing of the deployment.
"""

import asyncio
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from evals.core import Record, Request, Sample, Score, Task, Usage
from evals.engine.generate import Engine
from evals.engine.limits import Limiter, Place
from evals.errors import CallFailed

BEAT_S = 0.02
AT_ONCE = 8
"""Documents that are due at once are begun in goes of so many, so that replies are heard between them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Due:
    """A document and when it is to be sent, in seconds from the load's begin."""

    at_s: float
    sample: Sample
    repeat: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """A document of a load, answered or not. Seconds are from the load's begin."""

    sample: Sample
    record: Record
    """Of an open loop `queued_s` of its first call counts from the scheduled instant."""
    ended_s: float
    due_s: float | None = None
    """`None` in a closed loop."""
    lag_s: float | None = None
    """How late the load generator sent it; `None`: a closed loop, or it was not sent at all."""


def arrivals(rate: float, seconds: float, *, seed: int) -> list[float]:
    """Instants of a Poisson process of `rate` a second, given that exactly its mean number of them falls into `seconds`: the
    offered rate is then the rate that is asked for, not one that is off by the chance of so few arrivals."""
    count = max(1, round(rate * seconds))
    drawn = random.Random(f"arrivals {seed} {rate!r} {seconds!r}")
    return sorted(drawn.uniform(0.0, seconds) for _ in range(count))


def rounds(samples: Sequence[Sample], *, seed: int) -> Iterator[tuple[Sample, int]]:
    """The documents over and over, each round in another order, with the number of the round."""
    number = 0
    while True:
        order = list(samples)
        random.Random(f"round {seed} {number}").shuffle(order)
        for sample in order:
            yield sample, number
        number += 1


class Prepared:
    """A task whose requests are made beforehand, so that making them delays no send."""

    def __init__(self, task: Task, samples: Sequence[Sample]) -> None:
        self._task = task
        self._requests = {sample.id: task.request(sample) for sample in samples}
        self.name, self.version, self.split = task.name, task.version, task.split

    def samples(self) -> Iterator[Sample]:
        """Those of the task."""
        return self._task.samples()

    def request(self, sample: Sample) -> Request:
        """What was made."""
        return self._requests[sample.id]

    def merge(self, sample: Sample, texts: Sequence[str]) -> str:
        """As the task does."""
        return self._task.merge(sample, texts)

    def score(self, sample: Sample, text: str | None) -> Score:
        """As the task does."""
        return self._task.score(sample, text)


class Unlimited(Limiter):
    """Holds nothing back: what is due is sent."""

    def take(self) -> Place:
        """A place, always."""
        self.in_flight += 1
        return Place(0)

    def leave(self, place: Place, failure: CallFailed | None, usage: Usage | None, *, answered: bool) -> None:
        """Give it back; a 429 narrows nothing."""
        self.in_flight -= 1


@dataclass(slots=True)
class _Arrival:
    due: Due
    sent_s: float | None = None


_ARRIVAL: ContextVar[_Arrival | None] = ContextVar("arrival", default=None)


@dataclass(kw_only=True)
class Load(Engine):
    """One load. The engine's `sink` is called as ever, with the record counted from its scheduled instant."""

    clock: Callable[[], float] = time.monotonic
    shots: list[Shot] = field(init=False, default_factory=list)
    beats: list[float] = field(init=False, default_factory=list)
    """How late the event loop was, at each of its beats, in seconds."""
    stopped_s: float | None = field(init=False, default=None)
    """When the last document of a closed loop was begun: from then on fewer and fewer are under way."""
    _began: float = field(init=False, default=0.0)
    _wanted_pairs: Iterator[tuple[Sample, int]] = field(init=False, default_factory=lambda: iter(()))

    def __post_init__(self) -> None:
        ledger = self.on_send

        def leaves(request: Request) -> None:
            arrival = _ARRIVAL.get()
            if arrival is not None and arrival.sent_s is None:
                arrival.sent_s = self._now()
            if ledger:
                ledger(request)

        self.on_send = leaves
        super().__post_init__()

    async def closed(self, documents: Iterator[tuple[Sample, int]], enough: Callable[[int, float], bool]) -> None:
        """Keep `concurrency` documents under way until `enough(answered so far, seconds so far)`, then wait for those
        that are under way."""
        self._wanted_pairs = self._until(documents, enough)
        self._began = self.clock()
        beat = asyncio.create_task(self._watch())
        try:
            await self.run(())
        finally:
            beat.cancel()

    async def open(self, schedule: Sequence[Due]) -> None:
        """Send each document when it is due, and wait for all. Raises `BudgetReached` once nothing more may be sent."""
        self._began = self.clock()
        beats = [asyncio.create_task(self._watch()), asyncio.create_task(self._heartbeat())]
        try:
            async with asyncio.TaskGroup() as group:
                for number, due in enumerate(schedule):
                    if (wait := due.at_s - self._now()) > 0:
                        await asyncio.sleep(wait)
                    elif number % AT_ONCE == 0:
                        await asyncio.sleep(0)
                    if self._stop:
                        break
                    group.create_task(self._arrive(due))
        finally:
            for beat in beats:
                beat.cancel()
        if self._stop:
            raise self._stop

    def _now(self) -> float:
        return self.clock() - self._began

    def _until(
        self, documents: Iterator[tuple[Sample, int]], enough: Callable[[int, float], bool]
    ) -> Iterator[tuple[Sample, int]]:
        while not enough(len(self.shots), self._now()):
            self.stopped_s = self._now()
            yield next(documents)

    def _wanted(self, samples: object) -> Iterator[tuple[Sample, int] | None]:
        yield from self._wanted_pairs

    async def _arrive(self, due: Due) -> None:
        _ARRIVAL.set(_Arrival(due))
        await self._document(due.sample, due.repeat)

    def _done(self, sample: Sample, record: Record) -> None:
        ended, arrival = self._now(), _ARRIVAL.get()
        if arrival is None:
            self.shots.append(Shot(sample=sample, record=record, ended_s=ended))
        else:
            due = arrival.due.at_s
            lag = None if arrival.sent_s is None else max(0.0, arrival.sent_s - due)
            record = from_schedule(record, lag or 0.0)
            self.shots.append(Shot(sample=sample, record=record, ended_s=ended, due_s=due, lag_s=lag))
        super()._done(sample, record)

    async def _watch(self) -> None:
        while True:
            before = self.clock()
            await asyncio.sleep(BEAT_S)
            self.beats.append(max(0.0, self.clock() - before - BEAT_S))


def from_schedule(record: Record, lag_s: float) -> Record:
    """The record with the wait of its first call, and when it began, counted from `lag_s` earlier."""
    if not record.calls or record.calls[0].timing is None or not lag_s:
        return record
    first, timing = record.calls[0], record.calls[0].timing
    begun = timing.started_at
    if begun is not None:
        begun = (datetime.fromisoformat(begun) - timedelta(seconds=lag_s)).isoformat(timespec="microseconds")
    timing = replace(timing, started_at=begun, queued_s=round(timing.queued_s + lag_s, 6))
    return replace(record, calls=(replace(first, timing=timing), *record.calls[1:]))
