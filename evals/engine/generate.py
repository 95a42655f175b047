"""Documents in, records out: a fixed set of workers pulls from one iterator, every failure becomes a row.

Memory does not grow with the number of documents, and no result depends on the number of workers. Waits stay apart:
`queued_s` is the wait for a place, `total_s` the service, `backoff_s` the pause after a failed attempt. The engine owns
the clock; a backend only calls `mark`. What need not be done before the next request is sent (scoring) is done after it,
a few documents at a time: otherwise replies would wait for it, and their latencies would be ours.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from evals.core import Call, Completion, Record, Request, Role, Sample, Task, Usage
from evals.engine.attempts import ATTEMPTS, Attempts, Counters, combined
from evals.engine.budget import Budget
from evals.engine.cache import Asked, ResponseCache
from evals.engine.limits import Limiter
from evals.engine.loop import run_until_done
from evals.engine.means import Forbid, Means
from evals.errors import BudgetReached, EvalsError, FatalCall
from evals.models.base import Model, Router

__all__ = ["ATTEMPTS", "Engine", "Sink", "run_until_done"]

Sink = Callable[[Sample, Record], None]
HEARTBEAT_S = 0.05
AT_ONCE = 8
"""Records that are followed up in one go: one at a time, each would find the processor's caches full of other work."""


@dataclass(kw_only=True)
class Engine:
    """Runs one task's documents through one model, or through those that a router chooses."""

    task: Task
    model: Model | Router
    sink: Sink
    """Called with each finished record, in order of completion, before its worker goes on: stores it."""
    after: Sink | None = None
    """Called with each record a little later, in the same order: scores it. All are followed up when `run` ends."""
    concurrency: int = 1
    repeats: int = 1
    timeout_s: float = 600.0
    """Deadline of a document, of each part where it has parts: all attempts and the pauses between them."""
    skip: Container[tuple[str, int]] = ()
    """(sample id, repeat) that are answered already."""
    attempts: int | None = None
    """`None`: 6 for a model that is reached over a network (it has an `account`), 1 for one of this machine."""
    attempt_timeout_s: float | None = None
    """A hung connection is cut after so long, and asked again."""
    seed: int = 0
    """Of the pauses before attempts are repeated."""
    limiter: Limiter | None = None
    """`None`: no limit a minute; 429 narrows the window all the same."""
    cache: ResponseCache | None = None
    budget: Budget | None = None
    forbid: Forbid | None = None
    """Why this model may not see a document, or `None`: such a document is an error row, and nothing is sent."""
    on_send: Callable[[Request], None] | None = None
    """Called right before each attempt is made."""
    means: Mapping[str, Means] = field(default_factory=dict)
    """Of a router: how each of its models is asked, instead of the fields of the same names here."""
    on_call: Callable[[Call], None] | None = None
    """Called after each attempt, before the record is made."""
    _router: Router | None = field(init=False)
    _means: dict[str, Means] = field(init=False)
    _askers: dict[str, Attempts] = field(init=False)
    """By the word that a router says; the only model's is ""."""
    _stop: EvalsError | None = field(init=False, default=None)
    """Why no further document is begun; those under way are finished."""
    _ended: bool = field(init=False, default=False)
    _passes: int = field(init=False, default=0)
    """Turns of the event loop that were seen."""
    _pass_due: bool = field(init=False, default=False)
    _stored: deque[tuple[Sample, Record]] = field(init=False, default_factory=deque)
    """Records that are not followed up yet."""
    _wake: asyncio.Event = field(init=False, default_factory=asyncio.Event)
    _working: int = field(init=False, default=0)
    """Workers that have not come to their end."""

    def __post_init__(self) -> None:
        self._router = self.model if isinstance(self.model, Router) else None
        models = self._router.models if self._router else {"": self.model}
        one = Means(
            attempts=self.attempts,
            attempt_timeout_s=self.attempt_timeout_s,
            limiter=self.limiter,
            cache=self.cache,
            budget=self.budget,
            forbid=self.forbid,
            on_send=self.on_send,
        )
        self._means = {key: self.means.get(key, one) for key in models}
        self._askers = {key: self._asker(model, self._means[key]) for key, model in models.items()}  # type: ignore[arg-type]

    def _asker(self, model: Model, means: Means) -> Attempts:
        limiter = means.limiter or Limiter()
        limiter.concurrency = limiter.concurrency or self.concurrency
        return Attempts(
            model=model,
            limiter=limiter,
            budget=means.budget,
            cache=means.cache,
            attempts=means.attempts or (ATTEMPTS if hasattr(model, "account") else 1),
            attempt_timeout_s=means.attempt_timeout_s,
            timeout_s=self.timeout_s,
            seed=self.seed,
            on_call=self.on_call,
            on_send=means.on_send,
        )

    def counters(self) -> Counters:
        """What is going on at this moment."""
        return combined([asker.counters() for asker in self._askers.values()])

    async def run(self, samples: Iterable[Sample]) -> None:
        """Answer every sample `repeats` times.

        The first error of the sink or of the data, or a fatal call, ends the run at once and is raised as it is; so is
        `BudgetReached`, once the documents under way are recorded.
        """
        wanted = self._wanted(samples)
        beat = asyncio.create_task(self._heartbeat())
        self._working = self.concurrency
        tasks = [asyncio.create_task(self._work(wanted)) for _ in range(self.concurrency)]
        tasks.append(asyncio.create_task(self._follow_up()))
        try:
            await _all_or_first_error(tasks)
        finally:
            beat.cancel()
            for means in self._means.values():
                if means.cache:
                    means.cache.flush()
            self._catch_up(len(self._stored))
        if stop := self._stop or self._lost():
            raise stop

    def _lost(self) -> EvalsError | None:
        """Why an answer could not be kept in a cache."""
        return next((m.cache.failed for m in self._means.values() if m.cache and m.cache.failed), None)

    def _wanted(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, int] | None]:
        """Each (sample, repeat) that is to be answered; `None` for each that is passed over."""
        for sample in samples:
            for repeat in range(self.repeats):
                yield None if (sample.id, repeat) in self.skip else (sample, repeat)

    async def _work(self, wanted: Iterator[tuple[Sample, int] | None]) -> None:
        try:
            for item in wanted:
                before = self._watch_passes()
                if item is not None:
                    await self._document(*item)
                if self._stop or self._ended:
                    break
                # Nobody else had a turn, neither other workers nor Ctrl-C; or more is stored than is followed up.
                while self._passes == before or len(self._stored) > AT_ONCE * self.concurrency:
                    await asyncio.sleep(0)
        except BaseException:
            self._ended = True  # now: before the others hear of it they would send more
            raise
        finally:
            self._working -= 1
            self._wake.set()

    async def _follow_up(self) -> None:
        """Follow up what is stored, while replies are awaited."""
        try:
            while self._working or self._stored:
                await self._wake.wait()
                self._wake.clear()
                self._catch_up(AT_ONCE)
                if len(self._stored) >= self._enough() or not self._working:
                    self._wake.set()
                await asyncio.sleep(0)
        except BaseException:
            self._ended = True
            raise

    def _enough(self) -> int:
        """Records that are worth a go; fewer wait for the next beat."""
        return max(1, min(AT_ONCE, self.concurrency // 4))

    def _catch_up(self, most: int) -> None:
        try:
            for _ in range(min(most, len(self._stored))):
                self.after(*self._stored.popleft())  # type: ignore[misc]
        except BaseException:
            self._stored.clear()  # this one is not tried again on the way out
            raise

    def _done(self, sample: Sample, record: Record) -> None:
        self.sink(sample, record)
        if self.after:
            self._stored.append((sample, record))
            if len(self._stored) >= self._enough():
                self._wake.set()

    def _watch_passes(self) -> int:
        if not self._pass_due:
            self._pass_due = True
            asyncio.get_running_loop().call_soon(self._passed)
        return self._passes

    def _passed(self) -> None:
        self._pass_due = False
        self._passes += 1

    async def _document(self, sample: Sample, repeat: int) -> None:
        request = seeded(self.task.request(sample), repeat)
        asked = Asked(request.hash, sample.id, repeat)
        calls: list[Call] = []
        router, route = self._router, dict[str, Any]()
        try:
            if router is None:
                await self._ask("", "answer", sample, request, asked, calls)
            else:
                route = await self._through(router, sample, request, asked, calls)
        except BudgetReached as reached:
            self._stop = self._stop or reached
            if not calls or request.parts or router:  # what was bought is in the cache, and goes on from there
                return
        self._done(sample, record_of(asked, request, calls, route))
        self._stop = self._stop or self._lost()

    async def _through(
        self, router: Router, sample: Sample, request: Request, asked: Asked, calls: list[Call]
    ) -> dict[str, Any]:
        """Ask whom the router says, each at most once, until it says nobody; what its choices rested on."""
        left = set(self._askers)
        try:
            while (key := _told(router.choose, request, calls)) in left:
                left.discard(key)
                await self._ask(key, "escalation" if calls else "answer", sample, request, asked, calls)
            if calls:
                return dict(_told(router.why, request, calls))
            text = f"the document is {request.data_class}: no model of {router.name} may see it"
            calls.append(Call(role="answer", model=router.name, error="privacy", error_text=text))
        except _Stumbled as error:
            calls.append(Call(role="answer", model=router.name, error="internal", error_text=str(error)))
        return {}

    async def _ask(
        self, key: str, role: Role, sample: Sample, request: Request, asked: Asked, calls: list[Call]
    ) -> None:
        """Ask one model for a document, of one in parts for each of them."""
        asker, forbid = self._askers[key], self._means[key].forbid
        if forbid and (reason := forbid(request)):
            calls.append(Call(role=role, model=asker.model.name, error="privacy", error_text=reason))
            return
        try:
            if not request.parts:
                await asker.ask(request, asked, calls, role)
                return
            texts = []
            for number, part in enumerate(request.parts):
                done = await asker.ask(part, Asked(part.hash, sample.id, asked.repeat, number), calls, "part")
                if done is not None:
                    texts.append(done.text)
        except FatalCall as error:
            error.text = f"{asker.model.name}: {error.text}" if key else error.text
            raise
        if texts:
            calls.append(merged(self.task, sample, texts, role))

    async def _heartbeat(self) -> None:
        """How late the event loop runs, kept as the worst lag each call has lived through."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(HEARTBEAT_S)
            lag = time.monotonic() - before - HEARTBEAT_S
            for asker in self._askers.values():
                for stamps in asker.flying:
                    stamps.lag_s = max(stamps.lag_s, lag)
            if self._stored:
                self._wake.set()


class _Stumbled(Exception):
    """A policy that cannot judge a document: a row, as with any backend's own bug."""


def _told(ask: Callable[[Request, Sequence[Call]], Any], request: Request, calls: Sequence[Call]) -> Any:
    try:
        return ask(request, calls)
    except Exception as error:
        raise _Stumbled(" ".join(f"the choice failed: {type(error).__name__}: {error}".split())[:500]) from error


def seeded(request: Request, repeat: int) -> Request:
    """The request of one repeat: where answers are drawn, each repeat draws its own."""
    if not repeat or not request.temperature:
        return request
    parts = tuple(replace(part, seed=part.seed + repeat) for part in request.parts)
    return replace(request, seed=request.seed + repeat, parts=parts)


def merged(task: Task, sample: Sample, texts: list[str], role: Role = "answer") -> Call:
    """The call that stands for the answer of a document in parts: one text of each part that has one."""
    done = Completion(text=task.merge(sample, texts), finish_reason="stop", usage=Usage())
    return Call(role=role, model="merge", completion=done)


def record_of(asked: Asked, request: Request, calls: list[Call], route: Mapping[str, Any] = {}) -> Record:
    """The record of a document: its answer is the last call that has one, of parts the merged one. Where a strong model
    fails that is the cheap one's answer, which stands."""
    stumbled = calls[-1].role == "answer" and calls[-1].completion is None  # the choice itself failed, or the first ask
    places = [at for at, call in enumerate(calls) if call.completion and _whole(call, request) and not stumbled]
    return Record(
        sample_id=asked.sample_id,
        repeat=asked.repeat,
        request_hash=asked.hash,
        calls=tuple(calls),
        answer=places[-1] if places else None,
        truncated_chars=request.truncated_chars,
        route=route,
    )


def _whole(call: Call, request: Request) -> bool:
    return call.role in ("answer", "escalation") or not request.parts


async def _all_or_first_error(workers: list["asyncio.Task[None]"]) -> None:
    """Wait for all; the first error, or our own cancellation, ends the others and is raised alone."""
    try:
        await asyncio.wait(workers, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for worker in workers:
            worker.cancel()
        results = await asyncio.gather(*workers, return_exceptions=True)
    errors = [error for error in results if isinstance(error, BaseException)]
    errors = [error for error in errors if not isinstance(error, asyncio.CancelledError)] or errors
    if errors:
        raise errors[0]
