"""Deployments whose capacity is known: Poisson arrivals at servers, first come, first served, without waiting for them."""

import heapq
import random
from typing import Any

from evals.analysis.capacity import Shot, Step, backlog, figures, is_sustained, next_rate
from evals.engine.load import arrivals

TARGET_S = 0.5


def queue(rate: float, seconds: float, *, slots: int = 4, service_s: float = 0.05, spread: float = 0.2, seed: int = 0) -> list[Shot]:  # fmt: skip
    """`slots` servers; service within `spread` of its mean."""
    random_ = random.Random(seed)
    free = [0.0] * slots
    heapq.heapify(free)
    shots = []
    for due in arrivals(rate, seconds, seed=seed):
        end = max(due, heapq.heappop(free)) + service_s * random_.uniform(1 - spread, 1 + spread)
        heapq.heappush(free, end)
        shots.append(shot(due, end))
    return shots


def shot(due: float | None, ended: float, **more: Any) -> Shot:
    """One that was answered, and valid."""
    latency = ended - (due or 0.0)
    return Shot(**{"due_s": due, "ended_s": ended, "latency_s": latency, "answered": True, "valid": True, **more})


def offered(
    rate: float,
    seconds: float = 10.0,
    *,
    target: float = TARGET_S,
    void: str | None = None,
    documents: int | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A load of `bench`: what counts has a target's time before and behind it."""
    edge = min(target, seconds)
    shots = queue(rate, seconds + 2 * edge, **more)
    return judged(shots, rate, seconds, edge, target=target, void=void, documents=documents)


def judged(
    shots: list[Shot],
    rate: float,
    seconds: float,
    edge: float,
    *,
    target: float,
    void: str | None = None,
    documents: int | None = None,
) -> dict[str, Any]:
    """The figures of an open loop and its verdict, as `bench` keeps them."""
    load = {"load": "server", "loop": "open", "rate_docs_per_s": rate, "void": void, "documents": documents}
    load |= figures(shots, target_s=target, seconds=seconds, begin_s=edge)
    load |= {"backlog": backlog(shots, rate, seconds + 2 * edge)}
    return load | {"sustained": is_sustained(load)}


def searched(
    offline: float, seconds: float = 10.0, *, documents: int | None = None, **more: Any
) -> tuple[list[dict[str, Any]], Step]:
    """The loads of a search, each so many seconds or, where more documents are asked for, as long as they take."""
    loads: list[dict[str, Any]] = []
    while (step := next_rate(loads, offline, precision=0.05, most=16, documents=documents)).rate is not None:
        lasts = max(seconds, (step.documents or 0) / step.rate)
        loads.append(offered(step.rate, lasts, **{"seed": len(loads), "documents": step.documents, **more}))
    return loads, step
