"""The next rate to offer: short loads until the rates around mu are near each other, then as many documents at each as a
p95 asks for."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evals.analysis.capacity.mu import verdicts

FIRST, STEPS, FURTHER = 0.7, (0.9, 1.0, 1.25, 2.0), 1.6
"""Rates that are offered first, as shares of the offline throughput; from there on each is so many times the one before."""
HALF, LITTLE = 2.0, 1.2
"""By how much a rate is lowered below which none was sustained: by little where it rests on many documents."""
LOWEST, HIGHEST = 1 / 16, 16.0
"""Shares of the offline throughput beyond which no rate is offered."""
NEAR = 1.3
"""Rates around mu that are within this ratio are told apart by many documents; before, a few point the way."""
ENOUGH = 0.8
"""Of the documents that were asked for: how many come within a time, and are valid, is chance."""
TRIES = 3
"""How often a rate is offered whose load is void."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next rate to offer, or why there is none."""

    rate: float | None = None
    documents: int | None = None
    """That are to count at this rate; `None`: few will do."""
    why: str = ""


def next_rate(
    loads: Sequence[Mapping[str, Any]], offline: float, *, precision: float, most: int, documents: int | None = None
) -> Step:
    """From the open loops so far: up from `FIRST` of the offline throughput until one is not sustained (down where that
    is not), then the middle between the two until they are within `precision` of each other and rest on so many
    `documents` each (`None`: on what a load has). What was void is offered again, `TRIES` times in all; then it is the end
    of the road upwards; where no answer counted, of the whole. At most `most` different rates, and twice as many loads."""
    if not loads:
        return Step(rate=FIRST * offline)
    last = loads[-1]
    if last["sustained"] is None and _lost(loads, last["rate_docs_per_s"]) < TRIES:
        return Step(rate=last["rate_docs_per_s"], documents=last.get("documents"))
    if last["sustained"] is None and not last["void"]:
        return Step(
            why=f"of {TRIES} loads at {docs(last['rate_docs_per_s'])} docs/s no answer counts: too few are valid"
        )
    found, void = verdicts(loads), _void(loads)
    if len(found) + len(void) >= most:
        return Step(why=f"{len(found) + len(void)} rates were offered (loads={most})")
    if len(loads) >= 2 * most:
        return Step(why=f"{len(loads)} loads were made, twice the {most} that are rates at most (loads={most})")
    failed = [rate for rate, held in found.items() if not held]
    top = min([*failed, *void], default=None)
    below = [rate for rate, held in found.items() if held and (top is None or rate < top)]
    if len(void) > 1 and not found:
        return Step(why=f"the load generator itself was late at {docs(max(void))} docs/s and at {docs(min(void))}")
    if top is None:
        following = _up(max(below), offline)
    elif not below:
        following = _down(top, offline, void, LITTLE if documents and counted(loads, top) else HALF)
    else:
        following = _between(max(below), top, void, precision)
    return _sure(loads, following, max(below, default=None), None if top in void else top, documents)


def _lost(loads: Sequence[Mapping[str, Any]], rate: float) -> int:
    """Loads at a rate that say nothing."""
    return sum(one["rate_docs_per_s"] == rate and one["sustained"] is None for one in loads)


def _void(loads: Sequence[Mapping[str, Any]]) -> list[float]:
    """Rates whose every load was void."""
    settled = {one["rate_docs_per_s"] for one in loads if one["sustained"] is not None}
    return sorted({one["rate_docs_per_s"] for one in loads} - settled)


def _between(bottom: float, top: float, void: Sequence[float], precision: float) -> Step:
    if top in void:
        return Step(why=f"{docs(bottom)} docs/s was sustained, and at {docs(top)} the load generator itself was late")
    if top / bottom <= 1 + precision:
        return Step(why=f"{docs(bottom)} docs/s was sustained, {docs(top)} was not")
    return Step(rate=math.sqrt(top * bottom))


def _sure(
    loads: Sequence[Mapping[str, Any]], step: Step, bottom: float | None, top: float | None, documents: int | None
) -> Step:
    """The step with the documents that it takes; at the end, first those that one of the two rates lacks, unless loads for
    them were lost time and again, or no rate was sustained at all."""
    if documents is None or (step.rate is None and bottom is None):
        return step
    if step.rate is not None:
        near = top is not None and (counted(loads, top) > 0 if bottom is None else top / bottom <= NEAR)
        return Step(rate=step.rate, documents=documents) if near else step
    for rate in (bottom, top):
        there = documents if rate is None or _lost(loads, rate) >= TRIES else counted(loads, rate)
        if there < ENOUGH * documents:
            return Step(rate=rate, documents=documents - there)
    return step


def counted(loads: Sequence[Mapping[str, Any]], rate: float) -> int:
    """Documents behind the share at a rate, of loads that were made for so many."""
    return sum(
        int(one["share"]["n"])
        for one in loads
        if one["rate_docs_per_s"] == rate and one["documents"] and one["sustained"] is not None
    )


def _up(rate: float, offline: float) -> Step:
    further = [step * offline for step in STEPS if step * offline > rate * 1.001]
    following = further[0] if further else FURTHER * rate
    if following > HIGHEST * offline:
        return Step(why=f"{docs(rate)} docs/s was sustained, {rate / offline:.0f} times the offline throughput")
    return Step(rate=following)


def _down(rate: float, offline: float, void: Sequence[float], times: float) -> Step:
    if rate / times < LOWEST * offline:
        late = "; the load generator itself was late" if rate in void else ""
        return Step(
            why=f"not even {docs(rate)} docs/s was sustained, {rate / offline:.2g} of the offline throughput{late}"
        )
    return Step(rate=rate / times)


def docs(rate: float) -> str:
    """Documents a second, three digits."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"
