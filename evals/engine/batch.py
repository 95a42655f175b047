"""Documents through a provider's batch service: handed in, waited for, collected into the same records.

The provider works for hours, so a run may be killed at any time and must find its batches again: each id is handed to
`remember` before anything else happens, with the positions in the run's order (samples as they come, each with all
its repeats) that the batch holds. The same command then waits for these and hands in only what no batch holds. What
a batch could not answer becomes an error row; nothing is handed in twice by itself.
"""

import asyncio
import itertools
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

from evals.core import Call, Completion, Request, Role, Sample, Task
from evals.engine.attempts import ATTEMPTS
from evals.engine.budget import Bound, Budget
from evals.engine.cache import Asked
from evals.engine.generate import Sink, merged, record_of, seeded
from evals.engine.means import Forbid
from evals.errors import RETRYABLE, CallFailed, EvalsError, FatalCall
from evals.models.base import Batcher, BatchState

MAX_REQUESTS = 10_000
FIRST_PAUSE_S, LONGEST_PAUSE_S, GROWTH = 5.0, 300.0, 1.5
LOST_POLLS = 50
"""Polls in a row without a reply, after which the run ends; it can be continued."""
Outcome = Completion | CallFailed


@dataclass(frozen=True, kw_only=True, slots=True)
class Submitted:
    """One batch in the provider's hands."""

    id: str
    """The provider's own."""
    first: int
    end: int
    """It holds the positions from `first` up to, not including, `end`, those that were answered before left out."""
    requests: int = 0
    usd: float = 0.0
    """Upper bound of its cost, reserved in the budget until it is collected."""
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Wanted:
    """One document as it stands in the run's order."""

    position: int
    sample: Sample
    repeat: int
    request: Request

    def requests(self) -> list[tuple[str, Request]]:
        """What is handed in for it: (key, request), one for each part."""
        asked = self.request.parts or (self.request,)
        return [(f"d{self.position}-{number}-{one.hash[:12]}", one) for number, one in enumerate(asked)]


async def run_batch(
    *,
    task: Task,
    model: Batcher,
    name: str,
    sink: Sink,
    samples: Callable[[], Iterable[Sample]],
    remember: Callable[[Sequence[Submitted]], None],
    known: Sequence[Submitted] = (),
    repeats: int = 1,
    skip: Container[tuple[str, int]] = (),
    max_requests: int = MAX_REQUESTS,
    budget: Budget | None = None,
    forbid: Forbid | None = None,
    on_state: Callable[[Submitted, BatchState], None] | None = None,
    on_send: Callable[[Request], None] | None = None,
    first_pause_s: float = FIRST_PAUSE_S,
    longest_pause_s: float = LONGEST_PAUSE_S,
) -> None:
    """Answer every sample through batches of at most `max_requests` requests.

    `samples` makes the same iterator anew each time: documents are not held while a batch is under way. `known` is
    what `remember` was last given. `name` is the model's, for the records, whose calls have no timing: a batch's wait
    is no latency. `on_state` hears of every poll, `on_send` of every request before it is handed in.
    """
    batches = _Batches(task, model, name, sink, samples, remember, list(known), repeats, skip, max_requests)
    batches.budget, batches.forbid, batches.on_state, batches.on_send = budget, forbid, on_state, on_send
    batches.first_pause_s, batches.longest_pause_s = first_pause_s, longest_pause_s
    await batches.run()


@dataclass
class _Batches:
    task: Task
    model: Batcher
    name: str
    sink: Sink
    samples: Callable[[], Iterable[Sample]]
    remember: Callable[[Sequence[Submitted]], None]
    open: list[Submitted]
    repeats: int
    skip: Container[tuple[str, int]]
    max_requests: int
    budget: Budget | None = None
    forbid: Forbid | None = None
    on_state: Callable[[Submitted, BatchState], None] | None = None
    on_send: Callable[[Request], None] | None = None
    first_pause_s: float = FIRST_PAUSE_S
    longest_pause_s: float = LONGEST_PAUSE_S

    async def run(self) -> None:
        held = list(self.open)
        for batch in held:
            if self.budget:
                self.budget.hold(_bound(batch))
        new = (
            wanted
            for wanted in self._wanted()
            if not any(batch.first <= wanted.position < batch.end for batch in held) and not self._refused(wanted)
        )
        left = await self._submit_all(new)
        while self.open:
            await self._collect(*await self._one_done())
            if left:  # the budget stopped it: what was collected may have cost less than its bound
                left = await self._submit_all(itertools.chain([left], new))
        if left and self.budget:
            self.budget.refuse(self._bound_of(left))

    # Handing in -------------------------------------------------------------------------------------------------

    def _wanted(self, first: int = 0, end: int | None = None) -> Iterator[_Wanted]:
        """What is to be answered, from position `first` on, in the run's order."""
        order = ((sample, repeat) for sample in self.samples() for repeat in range(self.repeats))
        for position, (sample, repeat) in itertools.islice(enumerate(order), first, end):
            if (sample.id, repeat) not in self.skip:
                yield _Wanted(position, sample, repeat, seeded(self.task.request(sample), repeat))

    def _refused(self, wanted: _Wanted) -> bool:
        reason = self.forbid(wanted.request) if self.forbid else None
        if reason:
            self._record(wanted, [Call(role="answer", model=self.name, error="privacy", error_text=reason)])
        return bool(reason)

    async def _submit_all(self, new: Iterator[_Wanted]) -> _Wanted | None:
        """Hand in as much as the budget allows, in several batches; the first document it does not allow."""
        chunk: list[tuple[str, Request]] = []
        bound, first, end = Bound(0.0, 0, 0), 0, 0
        left = None
        for wanted in new:
            asked, more = wanted.requests(), self._bound_of(wanted)
            total = Bound(bound.usd + more.usd, bound.tokens + more.tokens, 0)
            if self.budget and not self.budget.allows(total):
                left = wanted
                break
            if chunk and len(chunk) + len(asked) > self.max_requests:
                await self._submit(chunk, first, end, bound)
                chunk, total = [], more
            first = first if chunk else wanted.position
            chunk.extend(asked)
            bound, end = total, wanted.position + 1
            await asyncio.sleep(0)  # reading documents must not block Ctrl-C
        if chunk:
            await self._submit(chunk, first, end, bound)
        return left

    async def _submit(self, chunk: Sequence[tuple[str, Request]], first: int, end: int, bound: Bound) -> None:
        stopped = None
        for _, request in chunk if self.on_send else ():
            self.on_send(request)  # type: ignore[misc]
        handing = asyncio.create_task(self._handed_in(chunk))
        try:
            given = await asyncio.shield(handing)
        except asyncio.CancelledError as error:  # Ctrl-C: a batch that nobody remembers would be paid for twice
            given, stopped = await handing, error
        count = len(chunk)
        self.open.append(Submitted(id=given, first=first, end=end, requests=count, usd=bound.usd, tokens=bound.tokens))
        self.remember(tuple(self.open))
        if stopped:
            raise stopped
        if self.budget:
            self.budget.hold(bound)

    async def _handed_in(self, chunk: Sequence[tuple[str, Request]]) -> str:
        """The provider's id. Tried again only where the provider said no: after silence it may hold the batch."""
        pause_s = self.first_pause_s
        for number in itertools.count(1):
            try:
                return await self.model.submit(chunk)
            except FatalCall:
                raise
            except CallFailed as error:
                refused = error.kind == "rate_limit" or (error.kind == "server" and error.status is not None)
                if not refused:
                    raise EvalsError(
                        f"{self.name}: a batch was handed in and no reply came ({error}); look at the provider's list "
                        "of batches, and cancel it there, before the same command hands it in again"
                    ) from None
                if number == ATTEMPTS:
                    raise
                await asyncio.sleep(max(pause_s, error.retry_after_s or 0.0))
            pause_s = min(pause_s * GROWTH, self.longest_pause_s)
        raise AssertionError("unreachable")

    def _bound_of(self, wanted: _Wanted) -> Bound:
        if self.budget is None:
            return Bound(0.0, 0, 0)
        bounds = [self.budget.bound_of(request) for _, request in wanted.requests()]
        return Bound(sum(b.usd for b in bounds), sum(b.tokens for b in bounds), 0)

    # Waiting and collecting -------------------------------------------------------------------------------------

    async def _one_done(self) -> tuple[Submitted, str | None]:
        """The first open batch that has ended, and why it failed as a whole, where it did."""
        pause_s, lost = self.first_pause_s, 0
        while True:
            for batch in self.open:
                try:
                    state = await self.model.poll(batch.id)
                    lost = 0
                except FatalCall:
                    raise
                except CallFailed as error:
                    lost += 1
                    if error.kind not in RETRYABLE or lost >= LOST_POLLS:
                        raise
                    continue
                if self.on_state:
                    self.on_state(batch, state)
                if state.done:
                    return batch, state.reason
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * GROWTH, self.longest_pause_s)

    async def _collect(self, batch: Submitted, reason: str | None) -> None:
        outcomes = await self._outcomes(batch)
        fatal = next((one for one in outcomes.values() if isinstance(one, FatalCall)), None)
        if not outcomes and reason:
            fatal = FatalCall("bad_request", f"batch {batch.id} failed as a whole: {reason}")
        if fatal and not any(isinstance(one, Completion) for one in outcomes.values()):
            self._forget(batch)
            raise fatal
        missing = CallFailed("server", reason or f"batch {batch.id} ended without a word on this request")
        for wanted in self._wanted(batch.first, batch.end):
            if self.forbid and self.forbid(wanted.request):
                continue  # has its row, and was never handed in
            role: Role = "part" if wanted.request.parts else "answer"
            found = [outcomes.pop(key, missing) for key, _ in wanted.requests()]
            calls = [self._call(role, one) for one in found]
            texts = [one.text for one in found if isinstance(one, Completion)]
            if wanted.request.parts and texts:
                calls.append(merged(self.task, wanted.sample, texts))
            self._record(wanted, calls)
            await asyncio.sleep(0)
        self._forget(batch)

    async def _outcomes(self, batch: Submitted) -> dict[str, Outcome]:
        pause_s = self.first_pause_s
        for number in itertools.count(1):
            outcomes: dict[str, Outcome] = {}
            try:
                async for key, outcome in self.model.collect(batch.id):
                    outcomes[key] = outcome
                return outcomes
            except FatalCall:
                raise
            except CallFailed as error:
                if error.kind not in RETRYABLE or number == ATTEMPTS:
                    raise
                await asyncio.sleep(max(pause_s, error.retry_after_s or 0.0))
            pause_s = min(pause_s * GROWTH, self.longest_pause_s)
        raise AssertionError("unreachable")

    def _call(self, role: Role, outcome: Outcome) -> Call:
        failure = outcome if isinstance(outcome, CallFailed) else None
        if self.budget and outcome.usage is not None:
            self.budget.count(Bound(0.0, 0, 0), outcome.usage, failure.kind if failure else None)
        if isinstance(outcome, Completion):
            return Call(role=role, model=self.name, completion=outcome)
        return Call(role=role, model=self.name, error=outcome.kind, error_text=outcome.text, usage=outcome.usage)

    def _record(self, wanted: _Wanted, calls: list[Call]) -> None:
        asked = Asked(wanted.request.hash, wanted.sample.id, wanted.repeat)
        self.sink(wanted.sample, record_of(asked, wanted.request, calls))

    def _forget(self, batch: Submitted) -> None:
        """Collected: it is not waited for any more, nor is its cost reserved."""
        self.open.remove(batch)
        self.remember(tuple(self.open))
        if self.budget:
            self.budget.release(_bound(batch))


def _bound(batch: Submitted) -> Bound:
    return Bound(batch.usd, batch.tokens, 0)
