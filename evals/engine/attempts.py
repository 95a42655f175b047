"""One request -> its calls: time-outs, retries, and who is asked before anything is sent.

An attempt is one `generate` of the model. Before it the budget is asked, then the limiter; what is waited for them is
`queued_s`, and does not count against the deadline, which is for the provider's slowness and not for our own limits.
What failed for a reason that another attempt may cure (`errors.RETRYABLE`) is repeated after a pause drawn from
[0, 0.5 s x 2^n], at most 30 s ("full jitter"), or after what the server asked for where that is longer; never past the
deadline. Every attempt is a `Call`, with its own timing and its own bill.
"""

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from evals.core import Call, Completion, Request, Role, Timing, Usage
from evals.engine.budget import Bound, Budget
from evals.engine.cache import Asked, ResponseCache
from evals.engine.limits import Limiter, Place
from evals.errors import RETRYABLE, CallFailed, FatalCall, UserError
from evals.models.base import MarkName, Model

ATTEMPTS = 6
BACKOFF_S, LONGEST_BACKOFF_S = 0.5, 30.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Counters:
    """What is going on at this moment, for those who watch."""

    in_flight: int
    waiting: int
    """Attempts that wait for the limiter or the budget."""
    backing_off: int
    """Requests that wait before they are repeated."""
    attempts: int
    """Begun so far, by this engine."""
    retries: int
    cached: int
    """Requests the response cache served."""
    errors: dict[str, int]
    """Failed attempts by kind, those that were repeated included."""


def combined(all_counters: Sequence[Counters]) -> Counters:
    """The sum over several models."""
    if len(all_counters) == 1:
        return all_counters[0]
    names = ("in_flight", "waiting", "backing_off", "attempts", "retries", "cached")
    errors: dict[str, int] = {}
    for one in all_counters:
        for kind, count in one.errors.items():
            errors[kind] = errors.get(kind, 0) + count
    return Counters(**{name: sum(getattr(one, name) for one in all_counters) for name in names}, errors=errors)


class Stamps:
    """The marks of one attempt on the engine's monotonic clock."""

    __slots__ = ("at", "lag_s", "started_at", "taken_up")

    def __init__(self) -> None:
        self.taken_up = time.monotonic()
        self.started_at = datetime.now(UTC).isoformat(timespec="microseconds")
        self.at: dict[str, float] = {}
        self.lag_s = 0.0

    def __call__(self, name: MarkName, offset_s: float | None = None) -> None:
        """Stamp now, or `offset_s` seconds after `sent` for what happened in another process."""
        now = time.monotonic()
        self.at.setdefault(name, now if offset_s is None else self.at.get("sent", now) + offset_s)

    def timing(self, backoff_s: float = 0.0) -> Timing:
        """The attempt's timing; `last` falls back to now, for calls that failed."""
        at = self.at
        sent = at.get("sent", self.taken_up)
        first, prefill, last = at.get("first"), at.get("prefill_done"), at.get("last") or time.monotonic()
        return Timing(
            started_at=self.started_at,
            queued_s=round(sent - self.taken_up, 6),
            ttft_s=None if first is None else round(first - sent, 6),
            total_s=round(last - sent, 6),
            loop_lag_s=round(self.lag_s, 6),
            prefill_s=None if prefill is None else round(prefill - sent, 6),
            decode_s=None if prefill is None else round(last - prefill, 6),
            backoff_s=round(backoff_s, 6),
        )


@dataclass(kw_only=True)
class Attempts:
    """Asks one model until it answers, or until asking again is no use."""

    model: Model
    limiter: Limiter
    budget: Budget | None = None
    cache: ResponseCache | None = None
    attempts: int = ATTEMPTS
    attempt_timeout_s: float | None = None
    """A connection silent for so long is cut, and the attempt has failed; `None`: only the deadline cuts."""
    timeout_s: float = 600.0
    """Deadline of a request with all its attempts and the pauses between them."""
    seed: int = 0
    on_call: Callable[[Call], None] | None = None
    on_send: Callable[[Request], None] | None = None
    """Called right before each attempt is made."""
    flying: set[Stamps] = field(default_factory=set)
    """The attempts under way."""
    begun: int = 0
    retries: int = 0
    served: int = 0
    backing_off: int = 0
    errors: dict[str, int] = field(default_factory=dict)

    def counters(self) -> Counters:
        """A snapshot."""
        return Counters(
            in_flight=len(self.flying),
            waiting=self.limiter.waiting + (self.budget.waiting if self.budget else 0),
            backing_off=self.backing_off,
            attempts=self.begun,
            retries=self.retries,
            cached=self.served,
            errors=dict(self.errors),
        )

    async def ask(self, request: Request, asked: Asked, calls: list[Call], role: Role = "answer") -> Completion | None:
        """The completion, `None` where none is to be had. Every attempt is added to `calls`, also before an exception.

        Raises `FatalCall`, and `BudgetReached` before an attempt that the budget does not allow.
        """
        if self.cache and (call := self.cache.get(asked, role)):
            self.served += 1
            calls.append(call)
            return call.completion
        loop, whole = asyncio.get_running_loop(), role != "part"
        deadline = loop.time() + self.timeout_s
        pause_s = 0.0
        for number in range(1, self.attempts + 1):
            call, failure, queued_s = await self._attempt(request, role, deadline, pause_s)
            deadline += queued_s
            calls.append(call)
            if self.cache and call.completion:
                self.cache.put(asked, call, commit=not whole)
            if self.on_call:
                self.on_call(call)
            if failure is None or failure.kind not in RETRYABLE or number == self.attempts:
                break
            pause_s = max(self._jitter_s(asked, number), failure.retry_after_s or 0.0)
            if loop.time() + pause_s >= deadline:
                break
            await self._pause(pause_s)
            role = "retry"
        return calls[-1].completion

    async def _pause(self, pause_s: float) -> None:
        self.backing_off += 1
        try:
            await asyncio.sleep(pause_s)
        finally:
            self.backing_off -= 1
        self.retries += 1

    def _jitter_s(self, asked: Asked, number: int) -> float:
        drawn = random.Random(f"{self.seed} {asked.sample_id} {asked.repeat} {asked.part} {number}").random()
        return drawn * min(LONGEST_BACKOFF_S, BACKOFF_S * 2.0 ** (number - 1))

    async def _attempt(
        self, request: Request, role: Role, deadline: float, pause_s: float
    ) -> tuple[Call, CallFailed | None, float]:
        """One attempt once budget and limiter let it pass: its call, its failure, and how long they held it up."""
        stamps = Stamps()
        budget, limiter = self.budget, self.limiter
        bound = budget.take(request) if budget else None
        place = limiter.take() if bound or not budget else None
        queued_s = 0.0
        if place is None:
            loop = asyncio.get_running_loop()
            queued_s = -loop.time()
            bound, place = await self._admitted(request, bound)
            queued_s += loop.time()
        completion, failure = None, None
        usage: Usage | None = None
        self.begun += 1
        self.flying.add(stamps)
        in_flight = len(self.flying)
        try:
            if self.on_send:
                self.on_send(request)
            completion, failure = await self._generate(request, stamps, deadline + queued_s)
            usage = completion.usage if completion else failure.usage if failure else None
        finally:
            self.flying.discard(stamps)
            limiter.leave(place, failure, usage, answered=completion is not None)
            if budget and bound:
                budget.settle(bound, usage, failure.kind if failure else None)
        if failure:
            self.errors[failure.kind] = self.errors.get(failure.kind, 0) + 1
        call = Call(
            role=role,
            model=self.model.name,
            timing=stamps.timing(pause_s),
            completion=completion,
            error=failure.kind if failure else None,
            error_text=failure.text if failure else None,
            usage=failure.usage if failure else None,
            in_flight=in_flight,
        )
        return call, failure, queued_s

    async def _admitted(self, request: Request, bound: Bound | None) -> tuple[Bound | None, Place]:
        """Budget first, then the limiter, as they come. A wait that came to nothing leaves no reservation behind."""
        place = None
        if self.budget and bound is None:
            bound = await self.budget.wait(request)
        try:
            place = self.limiter.take() or await self.limiter.wait(request)
            if self.budget:
                self.budget.check()
        except BaseException:
            if self.budget and bound:
                self.budget.release(bound)
            if place:
                self.limiter.leave(place, None, Usage(input_uncached=0), answered=False)
            raise
        return bound, place

    async def _generate(
        self, request: Request, stamps: Stamps, deadline: float
    ) -> tuple[Completion | None, CallFailed | None]:
        """The completion, or why there is none. Raised are what ends the run (`FatalCall`, `UserError`), cancellation."""
        cut = deadline
        if self.attempt_timeout_s is not None:
            cut = min(cut, asyncio.get_running_loop().time() + self.attempt_timeout_s)
        try:
            async with asyncio.timeout_at(cut):
                completion = await self.model.generate(request, stamps)
            stamps("last")
            return completion, None
        except (FatalCall, UserError):
            raise
        except CallFailed as error:
            return None, error
        except TimeoutError:
            limit = self.timeout_s if cut == deadline else self.attempt_timeout_s
            return None, CallFailed("timeout", f"no answer within {limit:g} s")
        except Exception as error:  # a backend's own bug is a row too, and the run goes on
            return None, CallFailed("internal", f"{type(error).__name__}: {error}")
