"""How much may be under way: requests and tokens a minute of an account, and a window that yields to 429.

**A minute's limits** are spaced evenly (the generic cell rate algorithm): request n+1 is due `60 s / N` after request n,
and a process that fell behind may catch up at most one second's worth (`burst`). So no sliding minute sees more than
`N + burst` requests, with `burst = max(1, N / 60)`. Tokens likewise, with the largest single request on top; they are
estimated before the call and corrected by the real usage after it. The instants lie in a small file for each account,
so that concurrent processes keep one limit together; each process books one place ahead of time at most, which makes
them take turns.

**The window** is this process's own: it holds `concurrency` attempts until the first 429, is cut to 0.7 of what is in
flight then (once for all attempts that were under way at the time: they met the same congestion), stays as it is on a
5xx, and grows with every answer, by `concurrency / 32` a round of answers. A `Retry-After` stops all workers of the
account, those of other processes too, within a second.

With no limit set and no 429 seen, an attempt costs a few comparisons; one `stat` a second looks for others' pauses.
"""

import asyncio
import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evals import store
from evals.core import Request, Usage
from evals.engine.account import Account
from evals.errors import CallFailed, ConfigError, StoreError

SHRINK = 0.7
LOOK_EVERY_S = 1.0
LONGEST_PAUSE_S = 600.0
"""A longer `Retry-After` is believed this far; then one attempt probes."""
CHARS_PER_TOKEN = 4.0


@dataclass(frozen=True, slots=True)
class Place:
    """The right to have one attempt under way."""

    congestions: int
    """How many the limiter had seen when this attempt left: it cannot tell of a later one."""
    tokens: float = 0.0
    """Taken from the minute's tokens, as estimated."""
    raw: float = 0.0
    """The estimate before it was scaled by what was measured."""


class Limiter:
    """Lets attempts pass: `take` at once, or `wait`, first come, first served; then `leave`.

    `account` names whom the provider counts (never a key); `folder` is where the account's file lies, in `limits/`;
    without it, limits hold for this process alone. `concurrency` may be left to the engine. `period_s` and `clock` are
    for tests.
    """

    def __init__(
        self,
        account: str = "",
        *,
        requests_per_min: float | None = None,
        tokens_per_min: float | None = None,
        folder: Path | None = None,
        concurrency: int | None = None,
        longest_pause_s: float = LONGEST_PAUSE_S,
        period_s: float = 60.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for name, value in (("requests_per_min", requests_per_min), ("tokens_per_min", tokens_per_min)):
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name}={value:g} must be above 0")
        self.concurrency, self.longest_pause_s = concurrency, longest_pause_s
        self.window = math.inf
        """Attempts that may be in flight; infinite until the first 429: then the workers are the limit."""
        self.in_flight = 0
        self.waiting = 0
        self._clock = clock
        self._request_s = period_s / requests_per_min if requests_per_min else 0.0
        self._token_s = period_s / tokens_per_min if tokens_per_min else 0.0
        self._limited = bool(requests_per_min or tokens_per_min)
        self._burst_s = period_s / 60
        self._furthest_s = max(8 * period_s, longest_pause_s)
        self._congestions = 0
        self._paused_until = self._look_at = 0.0
        self._scale = 1.0
        self._turn = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._account = Account(folder / "limits" / store.safe_name(account) if folder and account else None)
        if self._limited:
            self._account.check()

    def take(self) -> Place | None:
        """A place if there is one now and nobody waits for it."""
        now = self._clock()
        if now >= self._look_at:
            self._look(now)
        if self._limited or self.waiting or self.in_flight >= self.window or now < self._paused_until:
            return None
        self.in_flight += 1
        return Place(self._congestions)

    async def wait(self, request: Request) -> Place:
        """A place, as soon as it is this one's turn and window, minute and pause allow it."""
        self.waiting += 1
        try:
            async with self._turn:  # first come, first served
                await self._until_room()
                raw = _raw_tokens(request) if self._token_s else 0.0
                tokens = raw * self._scale
                if self._limited:
                    await self._until(self._booked(tokens))
                while self._clock() < self._pause_end():  # a pause that was called meanwhile, perhaps longer ever again
                    await self._until(self._pause_end())
                await self._until_room()
                self.in_flight += 1
                return Place(self._congestions, tokens, raw)
        finally:
            self.waiting -= 1

    def leave(self, place: Place, failure: CallFailed | None, usage: Usage | None, *, answered: bool) -> None:
        """Give a place back and say what became of the attempt: `answered`, failed, or (neither) cancelled."""
        self.in_flight -= 1
        if failure and failure.kind == "rate_limit":
            self._congested(place)
        elif answered and self.window < math.inf:
            self._grow()
        if failure and failure.retry_after_s:
            self._pause(failure.retry_after_s)
        if place.tokens:
            self._correct(place, failure, usage)
        if self._room is not None and not self._room.done() and self.in_flight < self._most():
            self._room.set_result(None)

    # The window -------------------------------------------------------------------------------------------------

    def _most(self) -> int | float:
        return self.window if self.window == math.inf else int(self.window)

    async def _until_room(self) -> None:
        while self.in_flight >= self._most():
            self._room = asyncio.get_running_loop().create_future()
            await self._room

    def _congested(self, place: Place) -> None:
        if place.congestions != self._congestions:
            return  # sent before the window was cut: the same congestion
        self._congestions += 1
        self.window = max(1.0, SHRINK * min(self.window, self.in_flight + 1))

    def _grow(self) -> None:
        full = self.concurrency or 1
        self.window += max(1.0, full / 32) / self.window
        if self.window >= full:
            self.window = math.inf

    # The minute and the pause -----------------------------------------------------------------------------------

    def _booked(self, tokens: float) -> float:
        """When an attempt that takes so many tokens may leave; from now on it counts."""
        now = self._clock()
        with self._account.held(now, self._furthest_s) as at:
            due = max(now, at.paused_until)
            if self._request_s:
                due = max(due, at.request_at - max(0.0, self._burst_s - self._request_s))
                at.request_at = max(at.request_at, due) + self._request_s
            if self._token_s:
                due = max(due, at.token_at - self._burst_s)
                at.token_at = max(at.token_at, due) + tokens * self._token_s
            self._paused_until = max(self._paused_until, at.paused_until)
        return due

    def _correct(self, place: Place, failure: CallFailed | None, usage: Usage | None) -> None:
        real = _tokens(usage)
        if real is None and failure and failure.kind == "rate_limit":
            real = 0.0  # refused: nothing was read
        if real is None:
            return
        if failure is None:
            self._scale += 0.1 * (real / place.raw - self._scale)
        now = self._clock()
        with self._account.held(now, self._furthest_s) as at:
            at.token_at += (real - place.tokens) * self._token_s

    def _pause(self, seconds: float) -> None:
        now = self._clock()
        until = now + min(seconds, self.longest_pause_s)
        self._paused_until = max(self._paused_until, until)
        with contextlib.suppress(StoreError):  # a pause that cannot be shared still holds here
            with self._account.held(now, self._furthest_s) as at:
                at.paused_until = max(at.paused_until, until)

    def _pause_end(self) -> float:
        if (now := self._clock()) >= self._look_at:
            self._look(now)
        return self._paused_until

    def _look(self, now: float) -> None:
        self._look_at = now + LOOK_EVERY_S
        until = self._account.paused_until()
        if until - now <= self.longest_pause_s:  # beyond it, a clock was set back
            self._paused_until = max(self._paused_until, until)

    async def _until(self, at: float) -> None:
        while (left := at - self._clock()) > 0:
            await asyncio.sleep(left)


def _raw_tokens(request: Request) -> float:
    """Tokens of a request before anything was measured: its text, and the longest answer."""
    return sum(len(message.content) for message in request.messages) / CHARS_PER_TOKEN + request.max_tokens


def _tokens(usage: Usage | None) -> float | None:
    if usage is None or (usage.input_uncached is None and usage.output is None):
        return None
    return float(sum(n or 0 for n in (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output)))
