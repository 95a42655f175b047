"""An option as a decision sees it: what it costs (`volume.Deployment`), and what is known of everything else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from evals.analysis.deciding.figures import Figure, exact, figure, scaled
from evals.analysis.deciding.volume import DAYS_A_MONTH, KINDS, OWN, REMOTE, Deployment, Kind
from evals.catalog import nearest
from evals.errors import ConfigError
from evals.stats import Array


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A quality with its two-sided 90 % interval: its lower bound is the one-sided 95 % one."""

    value: float
    low: float | None
    high: float | None
    n: int | None
    drawn: Array | None = None
    """Draws that belong to the other options' (a bootstrap of documents)."""


@dataclass(frozen=True, kw_only=True)
class Option:
    """One way to answer every document."""

    deployment: Deployment
    model: str
    places: tuple[tuple[str | None, str | None], ...]
    """(location, terms) of everyone who sees documents."""
    quality: Mapping[str, Proof] = field(default_factory=dict)
    slices: Mapping[str, Proof] = field(default_factory=dict)
    """Slice -> the main metric in it."""
    fields: Mapping[str, Proof] = field(default_factory=dict)
    """Field -> its F1."""
    replayed: Mapping[str, Proof] = field(default_factory=dict)
    """Of a saved policy: metric -> quality on the stored answers, which flatters it where it was fitted on them."""
    latency_p95_s: Proof | None = None
    seconds: Array | None = None
    """Seconds of each document; infinite where it failed."""
    load: str | None = None
    ops_hours_per_month: float | None = None
    lead_weeks: float | None = None
    n: int | None = None
    runs: Sequence[Mapping[str, Any]] = ()
    """`{run, sha256}` of what it stands on."""
    notes: Sequence[str] = ()

    @property
    def name(self) -> str:
        """Its identity."""
        return self.deployment.option


# Costs beside models and machines -----------------------------------------------------------------------------

SIDES = ("own", "remote", "hybrid")
SIDE_KEYS = ("setup_usd", "ops_hours_per_month", "monitoring_usd_per_month", "lead_weeks")
REVIEW_KEYS = ("share", "minutes", "usd_per_hour")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What a deployment costs beside models and machines, declared. `None` counts nothing, and is named in the result."""

    sides: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """own, remote, hybrid -> setup_usd, ops_hours_per_month, monitoring_usd_per_month, lead_weeks."""
    setup_months: Any = 12
    """Setup is paid off over so many months."""
    usd_per_ops_hour: Any = None
    review: Mapping[str, Any] = field(default_factory=dict)
    """share of documents, minutes of each, usd_per_hour of a person."""
    judge_usd_per_doc: Any = None
    utilisation: Any = "0.7"
    peak: Any = 3
    min_replicas: int = 1
    spare: int = 0

    def __post_init__(self) -> None:
        for side, keys in self.sides.items():
            known("costs", side, SIDES)
            for key in keys:
                known(f"costs.{side}", key, SIDE_KEYS)
        for key in self.review:
            known("costs.review", key, REVIEW_KEYS)
        share_of_load(self.utilisation, "utilisation")
        busiest(self.peak, "peak")
        whole(self.min_replicas, "min_replicas")
        whole(self.spare, "spare")
        if exact(self.setup_months, "setup_months") <= 0:
            raise ConfigError(f"setup_months={self.setup_months} must be above 0")

    def side(self, kind: Kind) -> Mapping[str, Any]:
        """The keys that hold for a kind of deployment."""
        name = "hybrid" if kind in OWN and kind in REMOTE else "own" if kind in OWN else "remote"
        return self.sides.get(name, {})

    def fixed(self, kind: Kind, given: Mapping[str, Any] = {}) -> tuple[Figure, ...]:
        """Dollars a day of a kind of deployment, those of one's own `given` first."""
        keys = {**self.side(kind), **{key: value for key, value in given.items() if value is not None}}
        name = "hybrid" if kind in OWN and kind in REMOTE else "own" if kind in OWN else "remote"
        paid_off = exact(self.setup_months, "setup_months") * DAYS_A_MONTH
        setup = scaled(figure(keys.get("setup_usd"), f"setup of {name}", unit="$/day"), 1 / paid_off)
        watch = scaled(
            figure(keys.get("monitoring_usd_per_month"), f"monitoring of {name}", unit="$/day"), 1 / DAYS_A_MONTH
        )
        rate = None if self.usd_per_ops_hour is None else exact(self.usd_per_ops_hour, "usd_per_ops_hour")
        hours = figure(keys.get("ops_hours_per_month"), f"operations of {name}", unit="$/day")
        people = None if rate is None else scaled(hours, rate / DAYS_A_MONTH)
        daily = figure(keys.get("fixed_usd_per_day"), f"fixed costs of {name}", unit="$/day")
        return tuple(one for one in (daily, setup, watch, people) if one is not None)

    def per_doc(self) -> tuple[Figure, ...]:
        """Dollars a document of people and judges."""
        found = [figure(self.judge_usd_per_doc, "judge", unit="$/document")]
        share, minutes, rate = (self.review.get(key) for key in REVIEW_KEYS)
        if share is not None and minutes is not None and rate is not None:
            dollars = exact(minutes, "review.minutes") / 60 * exact(rate, "review.usd_per_hour")
            part = figure(share, "human review", unit="$/document", where="costs.review.share", most=1.0)
            found.append(scaled(part, dollars))
        elif any(one is not None for one in (share, minutes, rate)):
            raise ConfigError("costs.review takes share, minutes and usd_per_hour together")
        return tuple(one for one in found if one is not None)

    def not_counted(self, kinds: Sequence[Kind]) -> list[str]:
        """What was declared by nobody and so counts nothing."""
        sides = dict.fromkeys("hybrid" if k in OWN and k in REMOTE else "own" if k in OWN else "remote" for k in kinds)
        keys = [key for key in SIDE_KEYS if key != "lead_weeks"]
        found = [f"{side}.{key}" for side in sides for key in keys if self.sides.get(side, {}).get(key) is None]
        if self.usd_per_ops_hour is None:
            found.append("usd_per_ops_hour")
        found += ["review"] if not self.review or self.review.get("share") is None else []
        return [*found, *(["judge_usd_per_doc"] if self.judge_usd_per_doc is None else [])]


def share_of_load(value: Any, where: str) -> Fraction:
    """The share of what a machine sustains that it is loaded with."""
    found = exact(value, where)
    if not 0 < found <= 1:
        raise ConfigError(f"{where}={value} must be above 0 and at most 1")
    return found


def busiest(value: Any, where: str) -> Fraction:
    """The busiest hour against the mean one."""
    found = exact(value, where)
    if found < 1:
        raise ConfigError(f"{where}={value} must be at least 1: the busiest hour against the mean one")
    return found


def whole(value: Any, where: str) -> int:
    """A number of machines."""
    found = exact(value, where)
    if found < 0 or found.denominator != 1:
        raise ConfigError(f"{where}={value} should be a whole number, at least 0")
    return int(found)


def known(where: str, key: Any, names: Sequence[str]) -> None:
    """Raise `ConfigError` for a key that is not one of the names."""
    if key not in names:
        raise ConfigError(f"{where}.{key} is not known{nearest(str(key), names)}")


# Declared options ---------------------------------------------------------------------------------------------

DECLARED = (
    *("option", "model", "kind", "usd_per_doc", "escalated", "machine", "docs_per_s", "docs_per_day"),
    *("fixed_usd_per_day", "setup_usd", "ops_hours_per_month", "monitoring_usd_per_month", "lead_weeks"),
    *("min_replicas", "spare", "utilisation", "peak", "quality", "latency_p95_s", "location", "terms"),
)
PRICED = ("name", "usd_per_hour", "usd_per_day")


def declared(given: Mapping[str, Any], costs: Costs, metric: str) -> Option:
    """An option of declared figures, as a scenario writes it. Raises `ConfigError`, naming the option and the key."""
    given = {key: value for key, value in given.items() if value is not None}
    name = str(given.get("option") or "")
    if not name:
        raise ConfigError("options: each needs option: NAME")
    where = f"options.{name}"
    for key in given:
        known(where, key, DECLARED)
    kind = given.get("kind")
    if kind not in KINDS:
        raise ConfigError(f"{where}.kind={kind} is not known; known are {', '.join(KINDS)}")
    machine = given.get("machine") or {}
    if not isinstance(machine, Mapping):
        raise ConfigError(f"{where}.machine holds name, and usd_per_hour or usd_per_day, not {machine!r}")
    for key in machine:
        known(f"{where}.machine", key, PRICED)
    box = f"machine {machine.get('name') or name}"

    def part(key: str, title: str, unit: str = "", **bounds: float) -> Figure | None:
        return figure(given.get(key), title, unit=unit, where=f"{where}.{key}", **bounds)

    deployment = Deployment(
        option=name,
        kind=kind,
        usd_per_doc=part("usd_per_doc", f"API price of {given.get('model') or name}", "$/document"),
        escalated=part("escalated", f"share that {name} escalates", most=1.0),
        usd_per_hour=figure(machine.get("usd_per_hour"), box, unit="$/hour", where=f"{where}.machine.usd_per_hour"),
        usd_per_replica_day=figure(machine.get("usd_per_day"), box, unit="$/day", where=f"{where}.machine.usd_per_day"),
        docs_per_s=part("docs_per_s", f"throughput of {name}", "documents/s", least=1e-12),
        docs_per_day=part("docs_per_day", f"throughput of {name}", "documents/day", least=1e-9),
        utilisation=share_of_load(given.get("utilisation", costs.utilisation), f"{where}.utilisation"),
        peak=busiest(given.get("peak", costs.peak), f"{where}.peak"),
        least=whole(given.get("min_replicas", costs.min_replicas), f"{where}.min_replicas"),
        spare=whole(given.get("spare", costs.spare), f"{where}.spare"),
        fixed=costs.fixed(kind, given),
        per_doc=costs.per_doc(),
    )
    side = {**costs.side(kind), **given}
    return Option(
        deployment=deployment,
        model=str(given.get("model") or name),
        places=_places(kind, given),
        quality=_qualities(given.get("quality"), metric, where),
        latency_p95_s=_proof(given.get("latency_p95_s"), f"{where}.latency_p95_s"),
        load="declared",
        ops_hours_per_month=_number(side.get("ops_hours_per_month"), f"{where}.ops_hours_per_month"),
        lead_weeks=_number(side.get("lead_weeks"), f"{where}.lead_weeks"),
    )


def _places(kind: Kind, given: Mapping[str, Any]) -> tuple[tuple[str | None, str | None], ...]:
    found: list[tuple[str | None, str | None]] = [("own", None)] if kind in OWN else []
    if kind in REMOTE:
        found.append((str(given.get("location") or "remote"), given.get("terms")))
    return tuple(found)


def _qualities(given: Any, metric: str, where: str) -> dict[str, Proof]:
    named = given if isinstance(given, Mapping) and "typical" not in given else {metric: given}
    found = {str(name): _proof(one, f"{where}.quality.{name}") for name, one in named.items()}
    return {name: one for name, one in found.items() if one is not None}


def _proof(given: Any, where: str) -> Proof | None:
    one = figure(given, where)
    return None if one is None else Proof(value=float(one.value), low=one.low, high=one.high, n=None)


def _number(given: Any, where: str) -> float | None:
    if given is None:
        return None
    found = figure(given, where)
    return None if found is None or not math.isfinite(found.value) else float(found.value)


def share(value: Fraction | float) -> str:
    """A share in percent."""
    return f"{100 * float(value):.3g} %"
