"""How one model is asked: what an `Engine` says of its only model, and once for each model of a router."""

from collections.abc import Callable
from dataclasses import dataclass

from evals.core import Request
from evals.engine.budget import Budget
from evals.engine.cache import ResponseCache
from evals.engine.limits import Limiter

Forbid = Callable[[Request], str | None]


@dataclass(frozen=True, kw_only=True)
class Means:
    """The fields are those of `Engine`."""

    attempts: int | None = None
    attempt_timeout_s: float | None = None
    limiter: Limiter | None = None
    cache: ResponseCache | None = None
    budget: Budget | None = None
    forbid: Forbid | None = None
    on_send: Callable[[Request], None] | None = None
