"""Money, tokens and minutes that a run may take: stopped before the limit is crossed, with what is in flight counted.

Before an attempt an upper bound of it is reserved; after it the real usage is counted instead, failed attempts
included. An attempt that would cross the limit waits while others are in flight (they may turn out cheaper than their
bounds); when none is, the budget is reached for good. So the limit holds as long as no attempt exceeds its bound.

The bound of a request is half its characters as input tokens and `max_tokens` as output. Once twenty answers have
reported their usage, input is bounded by 1.5 times the most tokens a character seen so far, and output is raised to
1.5 times the longest answer seen where a model does not keep to `max_tokens`.
"""

import asyncio
import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, NoReturn

from evals.core import Request, Usage
from evals.errors import BudgetReached, ConfigError

MEASURED = 20
MARGIN = 1.5
UNBILLED = frozenset({"rate_limit", "server", "auth", "bad_request", "unknown_model", "context_length", "too_large"})
"""Failures that cost nothing unless a usage came with them; of the others the bound is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Spent:
    """What was used up."""

    usd: float = 0.0
    tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Bound:
    """What one attempt may cost at most."""

    usd: float
    tokens: int
    chars: int


class Budget:
    """Limits of a run; `None` is no limit. `cost` prices a usage and is needed for `usd`; `spent` is what earlier
    sessions of the same run used; `bound` replaces the built-in upper bound of a request; `usd_per_hour` is that of a machine
    of one's own beside what `cost` prices: it is counted for every hour of the run, whoever answers."""

    def __init__(
        self,
        *,
        usd: float | None = None,
        tokens: int | None = None,
        minutes: float | None = None,
        cost: Callable[[Usage], float | None] | None = None,
        bound: Callable[[Request], Usage] | None = None,
        spent: Spent = Spent(),
        usd_per_hour: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        for name, value in (("usd", usd), ("tokens", tokens), ("minutes", minutes)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"budget.{name}={value:g} must be above 0")
        if usd is not None and (cost is None or cost(Usage(input_uncached=1, output=1)) is None):
            raise ConfigError("budget.usd needs a price: none is known for this model")
        self._cost, self._bound = cost, bound
        self._learnt = _Learnt()
        machine = usd_per_hour / 3600
        self._pool = _Pool(usd=usd, tokens=tokens, minutes=minutes, spent=spent, usd_per_s=machine, clock=clock)

    def shared(self, cost: Callable[[Usage], float | None]) -> "Budget":
        """For another model of the same run: its own prices and lengths of answers, the same limits and spendings."""
        other = Budget(cost=cost)
        other._pool = self._pool
        return other

    @property
    def waiting(self) -> int:
        """Attempts that wait for others to end."""
        return self._pool.waiting

    @property
    def assumed_usd(self) -> float:
        """Part of what is spent that no usage tells of: bounds of attempts that failed or answered without one."""
        return self._pool.assumed_usd

    @property
    def spent(self) -> Spent:
        """So far, earlier sessions included."""
        return self._pool.spent()

    def take(self, request: Request) -> Bound | None:
        """Reserve at once what the request may cost; `None`: `wait` for it."""
        self._pool.check()
        bound = self.bound_of(request)
        if self._pool.queue or not self._pool.fits(bound):
            return None
        return self._pool.reserved(bound)

    async def wait(self, request: Request) -> Bound:
        """Reserve as soon as it fits, first come, first served. Raises `BudgetReached` where it never will."""
        bound = self.bound_of(request)
        await self._pool.wait(bound)
        return bound

    def settle(self, bound: Bound, usage: Usage | None, failure: str | None) -> None:
        """Count what an attempt really took; `failure` is the kind of its error."""
        self._pool.unreserve(bound)
        self.count(bound, usage, failure)
        if usage and failure is None:
            self._learnt.add(bound.chars, usage)
        self._pool.admit()

    def count(self, bound: Bound, usage: Usage | None, failure: str | None) -> None:
        """Count a usage; where none was reported, and the provider may bill all the same, its bound."""
        total = total_tokens(usage)
        dollars = self._cost(usage) if self._cost and usage and total is not None else None
        if total is None and failure in UNBILLED:
            return
        pool = self._pool
        pool.spent_tokens += bound.tokens if total is None else total
        if self._cost is not None:
            pool.spent_usd += bound.usd if dollars is None else dollars
            pool.assumed_usd += bound.usd if dollars is None else 0.0

    def allows(self, bound: Bound) -> bool:
        """Would so much fit beside what is spent and reserved?"""
        self._pool.check()
        return not self._pool.queue and self._pool.fits(bound)

    def hold(self, bound: Bound) -> None:
        """Reserve whether or not it fits: it is under way already."""
        self._pool.reserved(bound)

    def refuse(self, bound: Bound) -> NoReturn:
        """End here: raise `BudgetReached` for what does not fit."""
        self._pool.reached = self._pool.reached or self._pool.why(bound)
        raise BudgetReached(self._pool.reached)

    def release(self, bound: Bound) -> None:
        """Give a reservation back: nothing was sent."""
        self._pool.unreserve(bound)
        self._pool.admit()

    def check(self) -> None:
        """Raise `BudgetReached` where the minutes are over: to be asked after any long wait."""
        self._pool.check()

    def bound_of(self, request: Request) -> Bound:
        """Upper bound of one attempt."""
        chars = _chars(request)
        usage = self._bound(request) if self._bound else self._learnt.bound(chars, request.max_tokens)
        return Bound(self._dollars(usage), total_tokens(usage) or 0, chars)

    def _dollars(self, usage: Usage) -> float:
        """Of a bound: input may be written to the provider's cache, which some bill above plain input."""
        if self._cost is None:
            return 0.0
        written = replace(usage, input_uncached=0, cache_write=usage.input_uncached)
        return max(self._cost(usage) or 0.0, self._cost(written) or 0.0)


class _Pool:
    """The limits, what is spent and reserved, and who waits: shared by the models of a run."""

    def __init__(
        self,
        *,
        usd: float | None,
        tokens: int | None,
        minutes: float | None,
        spent: Spent,
        usd_per_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.usd, self.tokens, self.minutes = usd, tokens, minutes
        self.usd_per_s = usd_per_s
        self.waiting = 0
        self.spent_usd, self.spent_tokens, self.assumed_usd = spent.usd, spent.tokens, 0.0
        self.reached: str | None = None
        self.queue: deque[tuple[Bound, asyncio.Future[None]]] = deque()
        self._earlier_s, self._clock = spent.seconds, clock
        self.held_usd, self.held_tokens = 0.0, 0
        self.in_flight = 0
        self._began: float | None = None

    def spent(self) -> Spent:
        """So far, earlier sessions included."""
        seconds = self.seconds()
        return Spent(usd=self.spent_usd + self.usd_per_s * seconds, tokens=self.spent_tokens, seconds=seconds)

    def seconds(self) -> float:
        """That the run has taken, earlier sessions included."""
        return self._earlier_s + (0.0 if self._began is None else self._clock() - self._began)

    async def wait(self, bound: Bound) -> None:
        """Reserve as soon as it fits."""
        mine = (bound, asyncio.get_running_loop().create_future())
        self.queue.append(mine)
        self.waiting += 1
        try:
            self.admit()
            await mine[1]
        except asyncio.CancelledError:
            if mine[1].done() and not mine[1].cancelled() and mine[1].exception() is None:
                self.unreserve(bound)  # reserved and cancelled in one breath
                self.admit()
            raise
        finally:
            self.waiting -= 1
            if mine in self.queue:
                self.queue.remove(mine)
                self.admit()

    def fits(self, bound: Bound) -> bool:
        usd = self.spent().usd + self.held_usd + bound.usd
        tokens = self.spent_tokens + self.held_tokens + bound.tokens
        return (self.usd is None or usd <= self.usd) and (self.tokens is None or tokens <= self.tokens)

    def reserved(self, bound: Bound) -> Bound:
        self.held_usd += bound.usd
        self.held_tokens += bound.tokens
        self.in_flight += 1
        return bound

    def unreserve(self, bound: Bound) -> None:
        self.in_flight -= 1
        self.held_usd = self.held_usd - bound.usd if self.in_flight else 0.0  # no rounding error piles up
        self.held_tokens -= bound.tokens

    def admit(self) -> None:
        """Let those who wait go on, in their order, as far as the limits allow."""
        while self.queue:
            bound, future = self.queue[0]
            if future.done():
                self.queue.popleft()
            elif self.reached is None and self.fits(bound):
                self.queue.popleft()
                self.reserved(bound)
                future.set_result(None)
            elif self.reached is not None or not self.in_flight:
                self.reached = self.reached or self.why(bound)
                self.queue.popleft()
                future.set_exception(BudgetReached(self.reached))
            else:
                return

    def why(self, bound: Bound) -> str:
        if self.usd is not None and self.spent().usd + bound.usd > self.usd:
            return f"budget.usd={self.usd:g} is reached: {self.bill()}, and the next call may cost ${bound.usd:.4f}"
        return (
            f"budget.tokens={self.tokens} is reached: {self.spent_tokens} are used, and the next call may take "
            f"{bound.tokens}"
        )

    def bill(self) -> str:
        """What is spent, in words."""
        if not self.usd_per_s:
            return f"${self.spent_usd:.4f} are spent"
        seconds = self.seconds()
        machine = f"${self.usd_per_s * seconds:.4f} by {seconds / 60:.1f} minutes of the machine"
        return f"${self.spent_usd:.4f} are spent by calls and {machine}"

    def check(self) -> None:
        if self._began is None:
            self._began = self._clock()
        if self.minutes is not None and self.seconds() >= 60 * self.minutes:
            self.reached = self.reached or f"budget.minutes={self.minutes:g} is reached"
        if self.usd is not None and self.usd_per_s and self.spent().usd >= self.usd:
            self.reached = self.reached or f"budget.usd={self.usd:g} is reached: {self.bill()}"
        if self.reached is not None:
            raise BudgetReached(self.reached)


class _Learnt:
    """How many tokens a character makes, and how long answers get."""

    def __init__(self) -> None:
        self._n = self._longest = 0
        self._density = 0.0

    def add(self, chars: int, usage: Usage) -> None:
        self._n += 1
        read = (usage.input_uncached or 0) + (usage.cache_read or 0) + (usage.cache_write or 0)
        self._density = max(self._density, read / max(chars, 1))
        self._longest = max(self._longest, usage.output or 0)

    def bound(self, chars: int, max_tokens: int) -> Usage:
        density = MARGIN * self._density if self._n >= MEASURED else max(0.5, MARGIN * self._density)
        longest = max_tokens if self._longest <= max_tokens else max(max_tokens, math.ceil(MARGIN * self._longest))
        return Usage(input_uncached=math.ceil(density * chars), output=longest)


_schemas: dict[int, tuple[Mapping[str, Any], int]] = {}


def _chars(request: Request) -> int:
    text = sum(len(message.content) for message in request.messages)
    if request.schema is None:
        return text
    known = _schemas.get(id(request.schema))
    if known is None or known[0] is not request.schema:
        if len(_schemas) > 64:
            _schemas.clear()
        known = _schemas[id(request.schema)] = (request.schema, len(json.dumps(request.schema, default=str)))
    return text + known[1]


def total_tokens(usage: Usage | None) -> int | None:
    """All tokens of a usage, `None` where neither input nor output is reported."""
    if usage is None or (usage.input_uncached is None and usage.output is None):
        return None
    return sum(n or 0 for n in (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output))
