"""From which volume one deployment costs no more than another: exactly, for every whole number of documents a day.

Two bills differ by a line and two staircases. Linear envelopes say where the difference can be at most 0, and only the
steps in there are looked at; on a step it is linear. So the answer is that of trying every volume, at any volume (see
`MOST_STEPS`).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.analysis.deciding.volume import Bill
from evals.stats import Array

FARTHEST = 10**10
"""Documents a day above which nothing is said: a volume beyond it is `never`."""
GRID = np.unique(np.round(np.geomspace(1, 10**8, 240)))
"""Documents a day that are tried in draws: each is a twelfth more than the one before."""
MOST_STEPS = 200_000
"""Steps that are looked at. Where two deployments cost so nearly the same in the long run that more would be undecided, the
volume from which b surely costs no more stands for the exact one."""


@dataclass(frozen=True, kw_only=True)
class BreakEven:
    """Documents a day from which b costs no more than a; `None` is never."""

    first_win: int | None
    always_win: int | None


def break_even(a: Bill, b: Bill) -> BreakEven:
    """First volume (from 1 on) at which b costs no more than a, and the one from which it never costs more again."""
    return BreakEven(first_win=_first(a, b), always_win=_always(a, b))


def _first(a: Bill, b: Bill) -> int | None:
    """The first volume at which b - a is at most 0."""
    for start, end in _spans(a, b, lowest=True):
        for left, right in islice(_steps(a, b, start, end), MOST_STEPS):
            if (found := _first_below(a, b, left, right)) is not None:
                return found
        if _count(a, b, start, end) > MOST_STEPS and (sure := _always(a, b)) is not None and sure <= end:
            return sure
    return None


def _always(a: Bill, b: Bill) -> int | None:
    """One more than the last volume at which b - a is above 0."""
    spans = list(_spans(a, b, lowest=False))
    if spans and spans[-1][1] >= FARTHEST:
        end = _equal_in_the_long_run(a, b)
        if end is None:
            return None
        spans[-1] = (min(spans[-1][0], end), end)
    for start, end in reversed(spans):
        if _count(a, b, start, end) > MOST_STEPS:
            return end + 1
        for left, right in _steps_back(a, b, start, end):
            if (found := _last_above(a, b, left, right)) is not None:
                return found + 1
    return 1


def _count(a: Bill, b: Bill, start: int, end: int) -> float:
    """About how many steps there are from start to end."""
    return sum((end - start) / float(one.capacity) for one in (a, b) if one.capacity is not None and one.per_replica)


def _equal_in_the_long_run(a: Bill, b: Bill) -> int | None:
    """Where both cost the same a document in the long run, their difference repeats: the first volume of the repetition
    if b never costs more in it; else `None`."""
    ramps = [one.per_doc + (0 if one.capacity is None else Fraction(one.per_replica) / one.capacity) for one in (a, b)]
    carried = [Fraction(one.capacity) for one in (a, b) if one.capacity is not None and one.per_replica]
    if ramps[0] != ramps[1]:
        return None
    period = math.lcm(*(one.numerator for one in carried))
    if sum(period / one for one in carried) > MOST_STEPS:
        return None
    start = max(_flat(a), _flat(b)) + 1
    steps = _steps(a, b, start, start + period)
    return None if any(_last_above(a, b, *step) is not None for step in steps) else start


def _spans(a: Bill, b: Bill, *, lowest: bool) -> Iterator[tuple[int, int]]:
    """Ranges of volumes in which the lower envelope of b - a is at most 0, or the upper one above 0."""
    edges = sorted({0, FARTHEST, *(edge for one in (a, b) if (edge := _flat(one)) < FARTHEST)})
    for left, right in pairwise(edges):
        start = left + 1
        ends = [_envelope(a, b, volume, lowest=lowest) for volume in (start, right)]
        inside = [value <= 0 if lowest else value > 0 for value in ends]
        if not any(inside):
            continue
        if not all(inside):  # linear on this range: one crossing
            crossing = start + Fraction(ends[0] * (right - start), ends[0] - ends[1])
            if inside[0]:
                right = min(right, math.ceil(crossing))
            else:
                start = max(start, math.floor(crossing))
        yield start, right


def _flat(one: Bill) -> int:
    """Up to this volume the least number of replicas does."""
    return 0 if one.capacity is None else math.floor(one.least * one.capacity)


def _envelope(a: Bill, b: Bill, volume: int, *, lowest: bool) -> Fraction:
    """A bound of b - a that is linear between the edges: a staircase lies within one step of its ramp."""
    return Fraction(_ramp(b, volume, up=not lowest) - _ramp(a, volume, up=lowest))


def _ramp(one: Bill, volume: int, *, up: bool) -> Any:
    if one.capacity is None:
        return one.fixed + one.per_doc * volume
    replicas: Any = one.least if volume <= _flat(one) else Fraction(volume) / one.capacity + (1 if up else 0)
    return one.fixed + one.per_doc * volume + one.per_replica * (replicas + one.spare)


def _steps(a: Bill, b: Bill, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Ranges of volumes inside of start..end without a step of either."""
    while start <= end:
        stops = [end, *(math.floor(_stairs(one, start) * one.capacity) for one in (a, b) if one.capacity is not None)]
        stop = max(start, min(stops))
        yield start, stop
        start = stop + 1


def _steps_back(a: Bill, b: Bill, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The same, the last one first."""
    while start <= end:
        under = [math.floor((_stairs(one, end) - 1) * one.capacity) for one in (a, b) if _climbs(one, end)]
        first = min(end, max([start, *(volume + 1 for volume in under)]))
        yield first, end
        end = first - 1


def _climbs(one: Bill, volume: int) -> bool:
    """Is the volume above those that the least number of replicas carries?"""
    return one.capacity is not None and volume > _flat(one)


def _stairs(one: Bill, volume: int) -> int:
    return int(max(one.least, math.ceil(volume / one.capacity)))


def _first_below(a: Bill, b: Bill, left: int, right: int) -> int | None:
    start, slope = b.usd(left) - a.usd(left), b.per_doc - a.per_doc
    if start <= 0:
        return left
    if slope >= 0:
        return None
    found = left + math.ceil(start / -slope)
    return found if found <= right else None


def _last_above(a: Bill, b: Bill, left: int, right: int) -> int | None:
    end, slope = b.usd(right) - a.usd(right), b.per_doc - a.per_doc
    if end > 0:
        return right
    if slope >= 0:
        return None
    found = right - (math.floor(-end / -slope) + 1)
    return found if found >= left else None


def drawn_break_even(a: Bill, b: Bill, draws: int) -> tuple[Array, Array]:
    """First and permanent win of b over a in each draw, infinity where never.

    With a a line, p the difference of what a document costs and F that of the fixed costs:
    r = max(least, ceil(F / (pK - c))), first win (F + r c) / p; permanent with F + c in F's place. Where a has machines
    too, the volumes of `GRID` are tried: the answers are as coarse as it and the steps of both.
    """
    if a.capacity is not None:
        return _on_grid(a, b, draws)
    shape = np.zeros(draws)
    price = np.asarray(a.per_doc - b.per_doc, np.float64) + shape
    fixed = np.asarray(b.fixed - a.fixed, np.float64) + shape
    with np.errstate(divide="ignore", invalid="ignore"):
        if b.capacity is None:
            at = np.where(price > 0, np.maximum(np.ceil(fixed / price), 1.0), np.where(fixed <= 0, 1.0, np.inf))
            return at, np.where((price < 0) & (fixed <= 0), np.inf, at)
        replica, carried = (np.asarray(one, np.float64) + shape for one in (b.per_replica, b.capacity))
        fixed = fixed + replica * b.spare
        gain = price * carried - replica
        found = []
        for more in (fixed, fixed + replica):
            rank = np.maximum(np.ceil(more / gain), b.least)
            at = np.maximum(np.ceil((fixed + rank * replica) / price), 1.0)
            found.append(np.where((gain > 0) & (price > 0), at, np.inf))
    return found[0], found[1]


def _on_grid(a: Bill, b: Bill, draws: int) -> tuple[Array, Array]:
    """In each draw the first volume of the grid at which b costs no more, and the first after the last at which it does
    or did right after its own last step, where it is dearest."""
    dear = np.stack([_dearer(a, b, at, draws) for at in GRID], axis=1)
    after = np.stack([_dearer(a, b, _last_step(b, at), draws) for at in GRID], axis=1) | dear
    rising = np.append(GRID, np.inf)
    first = rising[np.where((~dear).any(axis=1), np.argmin(dear, axis=1), len(GRID))]
    last = np.where(after.any(axis=1), after.shape[1] - np.argmax(after[:, ::-1], axis=1), 0)
    return np.asarray(first), np.asarray(rising[last])


def _dearer(a: Bill, b: Bill, at: Any, draws: int) -> "NDArray[np.bool_]":
    return np.asarray(b.usd(at) - a.usd(at) + np.zeros(draws) > 0)


def _last_step(one: Bill, at: float) -> Any:
    """The first volume after the last step of a staircase at or before this one."""
    if one.capacity is None:
        return at
    carried = np.asarray(one.capacity, np.float64)
    stairs = np.floor((at - 1) / carried)
    return np.where(stairs < one.least, at, np.minimum(np.floor(stairs * carried) + 1, at))
