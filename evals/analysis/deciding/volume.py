"""What a day costs at so many documents. Pure; exact where the figures are.

    api(v) = p v                              local(v) = F + R(v) c
    cascade(v) = F + R(v) c + e p v           preroute(v) = F + R((1 - e) v) c + e p v
    R(v) = max(least, ceil(v / K)) + spare    K = 86400 mu utilisation / peak

p: dollars of a document that the API answers; e: share of documents that are sent to it; F: fixed dollars a day; c:
dollars a replica and day; K: documents a day that a replica carries; mu: documents a second that it was measured to
sustain; peak: the busiest hour against the mean one. A cascade's cheap model is paid for every document, a pre-router's
for its share. Where both models of a hybrid stand on one machine, a document takes 1/mu + e/mu' seconds of it; where both
are APIs, the cheap one's dollars are added. Of a saved policy e is weighed by what the documents that it sends on take of
the strong model against any (`escalated_ratio`). Each adds what people and judges cost a document. An unknown factor makes the
cost unknown, never 0.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from evals.analysis.deciding.figures import Figure, provenance_of

Kind = Literal["api", "batch", "local", "preroute", "cascade"]
KINDS: tuple[Kind, ...] = ("api", "batch", "local", "preroute", "cascade")
PARTS: dict[str, int] = {"api": 0, "batch": 1, "local": 2, "preroute": 3, "cascade": 3}
"""How many moving parts a deployment has, to rank by: API < batch API < local < hybrid."""
OWN, REMOTE = ("local", "preroute", "cascade"), ("api", "batch", "preroute", "cascade")
DAY_S = 86_400
DAYS_A_MONTH = Fraction(365, 12)
Value = Any
"""A `Fraction`, a float or an array of draws."""
Get = Callable[[Figure], Value]


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """One option, as what it costs rests on. A figure that is `None` where its kind needs one is not known."""

    option: str
    kind: Kind
    usd_per_doc: Figure | None = None
    """Of a document that the API answers."""
    escalated: Figure | None = None
    """Share of documents that a hybrid sends to its strong model."""
    escalated_ratio: Fraction = Fraction(1)
    """What a document that is sent on takes of the strong model, in dollars or seconds, against any document of it."""
    cheap_usd_per_doc: Figure | None = None
    """Of a hybrid whose cheap model is an API too."""
    strong_docs_per_s: Figure | None = None
    """Of a hybrid whose strong model stands on the same machine."""
    machine: bool | None = None
    """Is a machine of one's own in it? `None`: as its kind has it."""
    api: bool | None = None
    usd_per_hour: Figure | None = None
    """Of one replica, which runs all day; or `usd_per_replica_day`."""
    usd_per_replica_day: Figure | None = None
    docs_per_s: Figure | None = None
    """Sustained by one replica; or `docs_per_day`, with utilisation and peak in it."""
    docs_per_day: Figure | None = None
    utilisation: Fraction = Fraction(7, 10)
    peak: Fraction = Fraction(3)
    least: int = 1
    spare: int = 0
    """Replicas beside those that carry the load: 1 is N+1."""
    fixed: tuple[Figure, ...] = ()
    """Dollars a day: setup paid off, operations, monitoring."""
    per_doc: tuple[Figure, ...] = ()
    """Dollars a document, whoever answers: human review, a judge."""

    @property
    def capacity(self) -> Figure | None:
        """The figure that documents a day and replica rest on."""
        return self.docs_per_day or self.docs_per_s

    @property
    def replica(self) -> Figure | None:
        """The figure that a replica's dollars rest on."""
        return self.usd_per_replica_day or self.usd_per_hour

    @property
    def has_machine(self) -> bool:
        """Is a machine of one's own in it?"""
        return self.kind in OWN if self.machine is None else self.machine

    @property
    def has_api(self) -> bool:
        """Does an API answer documents, or a share of them?"""
        return self.kind in REMOTE if self.api is None else self.api

    def needs(self) -> dict[str, Figure | None]:
        """What it cannot be priced without."""
        found: dict[str, Figure | None] = {}
        if self.has_machine:
            found |= {"usd_per_hour": self.replica, "docs_per_s": self.capacity}
        if self.has_api:
            found["usd_per_doc"] = self.usd_per_doc
        beside = {"cheap_usd_per_doc": self.cheap_usd_per_doc, "strong_docs_per_s": self.strong_docs_per_s}
        found |= {name: one for name, one in beside.items() if one is not None}
        if (self.has_machine and self.has_api) or any(beside.values()):
            found["escalated"] = self.escalated
        return found

    def lacking(self) -> list[str]:
        """Names of what is not known."""
        return [name for name, one in self.needs().items() if one is None]

    def figures(self) -> list[Figure]:
        """Every known figure, each once."""
        found = [one for one in (*self.needs().values(), *self.fixed, *self.per_doc) if one is not None]
        return list({one.name: one for one in found}.values())

    @property
    def provenance(self) -> str | None:
        """The weakest of the factors of its dollars; `None` where one is not known."""
        return provenance_of([*self.needs().values(), *self.fixed, *self.per_doc])


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A day's dollars as a function of volume: a line, and a staircase of machines where there are any."""

    fixed: Value
    per_doc: Value
    per_replica: Value = 0
    capacity: Value = None
    """Documents of the whole volume that a replica stands for; `None`: there is no machine."""
    least: int = 0
    spare: int = 0

    def replicas(self, volume: Value) -> Value:
        """How many machines so many documents a day need."""
        if self.capacity is None:
            return 0
        return _most(self.least, ceil(volume / self.capacity)) + self.spare

    def usd(self, volume: Value) -> Value:
        """Dollars of a day."""
        return self.fixed + self.per_doc * volume + self.per_replica * self.replicas(volume)


def bill(found: Deployment, get: Get = lambda one: one.value) -> Bill | None:
    """The bill of a deployment; `None` where a factor is not known. `get` says which value of a figure to take."""
    if found.lacking():
        return None
    escalated = found.needs().get("escalated")
    share = None if escalated is None else get(escalated)
    fixed: Value = sum(get(one) for one in found.fixed)
    per_doc: Value = sum(get(one) for one in found.per_doc)
    asked = 1 if share is None or found.kind != "preroute" else 1 - share
    if found.cheap_usd_per_doc is not None:
        per_doc = per_doc + asked * get(found.cheap_usd_per_doc)
    if found.usd_per_doc is not None and found.has_api:
        price = get(found.usd_per_doc)
        per_doc = per_doc + (price if share is None else share * price * _like(found.escalated_ratio, price))
    if not found.has_machine or found.replica is None:
        return Bill(fixed=fixed, per_doc=per_doc)
    day = get(found.replica) * (1 if found.usd_per_replica_day is not None else 24)
    if isinstance(asked, Fraction) and asked == 0 and found.strong_docs_per_s is None:  # no document comes by
        return Bill(fixed=fixed + day * (found.least + found.spare), per_doc=per_doc)
    return Bill(
        fixed=fixed,
        per_doc=per_doc,
        per_replica=day,
        capacity=_capacity(found, get, asked, share),
        least=found.least,
        spare=found.spare,
    )


def _capacity(found: Deployment, get: Get, asked: Value, share: Value) -> Value:
    """K of the whole volume: documents a day for which one replica has the seconds."""
    if found.docs_per_day is not None:
        return _over(get(found.docs_per_day), asked)
    assert found.docs_per_s is not None
    rate = _over(get(found.docs_per_s), asked)
    if found.strong_docs_per_s is not None:
        strong = get(found.strong_docs_per_s)
        rate = 1 / (1 / rate + share * _like(found.escalated_ratio, strong) / strong)
    return rate * DAY_S * _like(found.utilisation / found.peak, rate)


def usd_per_day(found: Deployment, volume: Value, get: Get = lambda one: one.value) -> Value:
    """Dollars of a day at `volume` documents; `None` where a factor is not known."""
    known = bill(found, get)
    return None if known is None else known.usd(volume)


def escalated_docs(found: Deployment, volume: Value) -> Fraction | None:
    """Documents of a day that an API, or a hybrid's strong model, answers."""
    if found.kind in ("api", "batch", "local"):
        return Fraction(0) if found.kind == "local" else volume
    return None if found.escalated is None else found.escalated.value * volume


def ceil(value: Value) -> Value:
    """The next whole number, of a number or of each of an array."""
    return np.ceil(value) if isinstance(value, np.ndarray | float) else math.ceil(value)


def _most(least: int, value: Value) -> Value:
    return np.maximum(least, value) if isinstance(value, np.ndarray | float) else max(least, value)


def _over(carried: Value, share: Value) -> Value:
    """A replica that sees only a share stands for more of the whole; of no share, for all there is."""
    if isinstance(share, int | Fraction):
        return carried / share if share else Fraction(10**18)
    return carried / np.maximum(share, 1e-18)


def _like(constant: Fraction, value: Value) -> Value:
    return constant if isinstance(value, Fraction) else float(constant)
