"""What an option must hold, in MEASURING's order: privacy, quality floor, p95 latency, budget, operations, lead time.

Each is met, failed or inconclusive. A quality floor is met where its one-sided 95 % lower bound reaches it, failed where
the upper one does not; between the two, more documents settle it. A p95 limit is the same with the share of documents
answered in time (failed ones never are) and a floor of 95 %. A budget is met where 95 % of the draws keep it.
"""

import math
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.analysis.deciding.options import Option, Proof
from evals.analysis.deciding.volume import DAYS_A_MONTH
from evals.policy import forbidden
from evals.stats import Array, wilson

SURE = 0.95
ORDER = ("privacy", "quality", "latency", "budget", "operations", "lead time")
CLASSES = ("public", "internal", "restricted")
CLASS_WORDS = {
    "public": "data may leave",
    "internal": "data may leave only where the terms are accepted",
    "restricted": "data never leaves",
}


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What is asked for; `None` and an empty mapping ask for nothing."""

    privacy: str = "public"
    """Class of the documents: public, internal (only where terms are accepted), restricted (never leaves)."""
    quality: Mapping[str, float] = field(default_factory=dict)
    """Metric -> floor."""
    slices: Mapping[str, float] = field(default_factory=dict)
    fields: Mapping[str, float] = field(default_factory=dict)
    latency_p95_s: float | None = None
    usd_per_day: float | None = None
    usd_per_month: float | None = None
    ops_hours_per_month: float | None = None
    lead_weeks: float | None = None
    growth: float = 1.0
    """The budget must also hold at volume x growth."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One constraint of one option."""

    name: str
    """One of `ORDER`."""
    key: str
    """The key that sets it."""
    verdict: str
    """met, failed, inconclusive."""
    text: str
    limit: Any = None
    relaxed: Any = None
    """The limit at which it would be met; `None`: it cannot be said."""
    needed: int | None = None
    """Documents that would settle it."""
    settle: str | None = None
    """What would settle it, where it is not documents."""

    @property
    def met(self) -> bool:
        """Does it hold?"""
        return self.verdict == "met"


Spent = Callable[[float], "Array | float | None"]
"""Draws of dollars a day at volume x factor; `None` where they are not known."""


def checks(option: Option, limits: Limits, spent: Spent) -> list[Check]:
    """Every constraint that is set, in order."""
    return in_order([*standing(option, limits), *budgets(limits, spent)])


def in_order(found: Sequence[Check]) -> list[Check]:
    """As `ORDER` has them."""
    return sorted(found, key=lambda one: ORDER.index(one.name))


def standing(option: Option, limits: Limits) -> list[Check]:
    """The constraints that no volume changes: all but the budget."""
    found = [_privacy(option, limits.privacy)]
    for metric, floor in limits.quality.items():
        found.append(_floor(option.quality.get(metric), metric, floor, f"min.{metric}"))
    for name, floor in limits.slices.items():
        found.append(_floor(option.slices.get(name), f"quality in {name}", floor, f"min_slice.{name}"))
    for name, floor in limits.fields.items():
        found.append(_floor(option.fields.get(name), f"f1 of {name}", floor, f"min_field.{name}"))
    if limits.latency_p95_s is not None:
        found.append(_latency(option, limits.latency_p95_s))
    found += _declared("operations", "ops_hours_per_month", option.ops_hours_per_month, limits.ops_hours_per_month)
    return [*found, *_declared("lead time", "lead_weeks", option.lead_weeks, limits.lead_weeks)]


def budgets(limits: Limits, spent: Spent) -> list[Check]:
    """The budget at the volume, and at volume x growth."""
    given = (("usd_per_day", limits.usd_per_day, 1.0), ("usd_per_month", limits.usd_per_month, float(DAYS_A_MONTH)))
    return [
        _budget(key, limit, days, factor, spent(factor))
        for key, limit, days in given
        for factor in dict.fromkeys((1.0, limits.growth))
        if limit is not None
    ]


def _privacy(option: Option, data_class: str) -> Check:
    for location, terms in option.places:
        if why := forbidden(data_class, location=location, terms=terms):  # type: ignore[arg-type]
            words = CLASS_WORDS[data_class]
            eased = "internal" if data_class == "restricted" and terms == "accepted" else "public"
            text = f"{words}: {why.split(': ', 1)[-1]}"
            return Check(name="privacy", key="privacy", verdict="failed", text=text, limit=data_class, relaxed=eased)
    return Check(name="privacy", key="privacy", verdict="met", text=CLASS_WORDS[data_class], limit=data_class)


def _floor(proof: Proof | None, title: str, floor: float, key: str) -> Check:
    about: dict[str, Any] = {"name": "quality", "key": key, "limit": floor}
    if proof is None or math.isnan(proof.value):
        return Check(**about, verdict="inconclusive", text=f"{title} is not known", settle=f"measure {title}")
    low, high = proof.low, proof.high
    if proof.n is None and low is None:
        low = high = proof.value
    if low is None or high is None or math.isnan(low):
        text = f"{title} {proof.value:.3f} of {proof.n} documents has no interval"
        return Check(**about, verdict="inconclusive", text=text, settle="more documents")
    said = f"{title} {proof.value:.3f} [{low:.3f}, {high:.3f}]"
    if low == high == proof.value:
        said = f"{title} {proof.value:.3f}"
    if low >= floor:
        return Check(**about, verdict="met", text=f"{said} reaches {floor:g}", relaxed=low)
    if high < floor:
        return Check(
            **about, verdict="failed", text=f"{said} is below {floor:g}", relaxed=math.floor(low * 1000) / 1000
        )
    needed = documents_needed(proof.value, low if proof.value >= floor else high, floor, proof.n)
    return Check(
        **about,
        verdict="inconclusive",
        text=f"{said} may or may not reach {floor:g}",
        relaxed=math.floor(low * 1000) / 1000,
        needed=needed,
        settle=None if needed else "more documents",
    )


def documents_needed(value: float, bound: float, floor: float, n: int | None) -> int | None:
    """How many documents in all would part the value from the floor, if the value stays what it is: the interval's half
    width shrinks with the square root of their number. `None` where the value is the floor, or n is not known."""
    if n is None or value == floor:
        return None
    return max(n + 1, math.ceil(n * ((value - bound) / (value - floor)) ** 2))


def _latency(option: Option, limit: float) -> Check:
    about: dict[str, Any] = {"name": "latency", "key": "max.latency_p95_s", "limit": limit}
    proof = option.latency_p95_s
    if option.deployment.kind == "batch":
        return Check(**about, verdict="failed", text="a batch promises no latency")
    if proof is None or math.isnan(proof.value):
        why = f" of {option.load}" if option.load else ""
        settle = "`bench`, or a run with concurrency=1"
        return Check(**about, verdict="inconclusive", text=f"p95 latency is not known{why}", settle=settle)
    said = f"p95 {proof.value:.3g} s ({option.load})"
    if option.seconds is None:
        high = proof.value if proof.high is None else proof.high
        low = proof.value if proof.low is None else proof.low
        verdict = "met" if high <= limit else "failed" if low > limit else "inconclusive"
        return Check(**about, verdict=verdict, text=f"{said} against {limit:g} s", relaxed=high, settle="a timed run")
    within, n = int((option.seconds <= limit).sum()), len(option.seconds)
    share = wilson(within, n, level=2 * SURE - 1)
    text = f"{said}: {within} of {n} within {limit:g} s"
    finite = np.sort(option.seconds)
    place = bisect_left(range(1, n + 1), SURE, key=lambda k: wilson(k, n, level=2 * SURE - 1).low)
    ease = float(finite[place]) if place < n else None
    eased = None if ease is None or math.isinf(ease) else ease
    if share.low >= SURE:
        return Check(**about, verdict="met", text=text, relaxed=eased)
    if share.high < SURE:
        return Check(**about, verdict="failed", text=text, relaxed=eased or _finite(finite))
    bound = share.low if share.value > SURE else share.high
    needed = documents_needed(share.value, bound, SURE, n)
    return Check(
        **about,
        verdict="inconclusive",
        text=f"{text}, too few to tell",
        relaxed=eased,
        needed=needed,
        settle=None if needed else "more documents",
    )


def _finite(rising: Array) -> float | None:
    last = rising[math.ceil(SURE * len(rising)) - 1]
    return None if math.isinf(last) else float(last)


def _budget(key: str, limit: float, days: float, factor: float, spent: "Array | float | None") -> Check:
    at = "" if factor == 1 else f" at {factor:g} times the volume"
    about: dict[str, Any] = {"name": "budget", "key": f"max.{key}", "limit": limit}
    if spent is None:
        return Check(
            **about, verdict="inconclusive", text=f"dollars are not known{at}", settle="a price for what has none"
        )
    cost = np.atleast_1d(np.asarray(spent, np.float64)) * days
    share, upper = float((cost <= limit + 1e-9).mean()), float(np.quantile(cost, SURE))
    said = f"${float(np.median(cost)):,.2f} {'a month' if days > 1 else 'a day'}{at} against ${limit:,.2f}"
    if share >= SURE:
        return Check(**about, verdict="met", text=said, relaxed=upper)
    if share <= 1 - SURE:
        return Check(**about, verdict="failed", text=said, relaxed=upper)
    text = f"{said}: {100 * share:.0f} % of the draws keep it"
    return Check(**about, verdict="inconclusive", text=text, relaxed=upper, settle="what moves the dollars most")


def _declared(name: str, key: str, value: float | None, limit: float | None) -> list[Check]:
    if limit is None:
        return []
    about: dict[str, Any] = {"name": name, "key": f"max.{key}", "limit": limit, "relaxed": value}
    words = key.replace("_", " ")
    if value is None:
        return [Check(**about, verdict="inconclusive", text=f"{words} not declared", settle=f"declare {key}")]
    verdict = "met" if value <= limit else "failed"
    return [Check(**about, verdict=verdict, text=f"{value:g} {words} against {limit:g}")]


def feasible(found: Sequence[Check]) -> bool | None:
    """All met; `None` where none fails and some cannot be told."""
    if any(one.verdict == "failed" for one in found):
        return False
    return True if all(one.met for one in found) else None
