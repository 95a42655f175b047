"""What a bench has found so far, how long its next load lasts, and how long all of them: told before and in between."""

from dataclasses import dataclass, field
from typing import Any

from evals.commands.settings.bench import BenchSettings

SECONDS, DOCUMENTS, TARGETS = 30.0, 20, 2
"""Of each load, where `duration_s` is null: so long, or until so many documents or targets have passed."""
LONG = 10
"""Targets of an open loop near mu: near its capacity a deployment takes long to fall behind."""
LEAST_TARGET_S = 0.1
LEAST_VALID = 0.5
"""Where fewer answers are valid, a load takes no more documents than for this share."""


@dataclass
class Measured:
    """What a bench has found so far."""

    loads: list[dict[str, Any]] = field(default_factory=list)
    target_s: float | None = None
    target_from: str = ""
    valid_only: bool = True
    """False: no answer is valid under the schema, so that answers are counted, valid or not."""
    why: str = ""
    """Why no further rate was offered."""
    notes: list[str] = field(default_factory=list)

    def closed(self, name: str) -> dict[str, Any]:
        """The figures of the single stream, or of all at once."""
        return next(one for one in self.loads if one["load"] == name)

    @property
    def valid_share(self) -> float:
        """Of the answers so far, of which only valid ones count."""
        closed = [load for load in self.loads if load["loop"] == "closed"]
        answered = sum(load["answered"] for load in closed)
        return sum(load["valid"] for load in closed) / answered if self.valid_only and answered else 1.0

    @property
    def dead(self) -> bool:
        """Did the deployment stop answering: nothing at all came of the last open loop, its edges included?"""
        return bool(self.open) and not self.open[-1]["answered_at_all"]

    @property
    def open(self) -> list[dict[str, Any]]:
        """Those of the open loops, in the order in which they were made."""
        return [one for one in self.loads if one["loop"] == "open"]


@dataclass(frozen=True)
class Times:
    """Seconds of the loads that the settings ask for."""

    settings: BenchSettings

    @property
    def closed(self) -> tuple[float, int]:
        """Seconds of a closed loop at least, and its documents at least."""
        said = self.settings.duration_s
        return (said, 1) if said else (SECONDS, DOCUMENTS)

    @property
    def documents(self) -> int | None:
        """That count at a rate near mu; `None` where each load is as long as was said."""
        return None if self.settings.duration_s else self.settings.documents

    def open_s(self, rate: float, found: Measured, documents: int | None = None) -> float:
        """How long the documents come that count at this rate: so many of them, or few."""
        if self.settings.duration_s:
            return self.settings.duration_s
        wanted, targets = (documents, LONG) if documents else (DOCUMENTS, TARGETS)
        return max(SECONDS, wanted / rate / max(LEAST_VALID, found.valid_share), targets * _target(found))

    def to_go(self, rate: float, found: Measured) -> str:
        """What the open loops take: from some that go well to all that there may be."""
        short, long = (self.open_s(rate, found, documents) for documents in (None, self.documents))
        edges = 2 * min(short, _target(found))
        return span(2 * (short + edges) + 3 * (long + edges), self.settings.loads * (long + edges))

    def beforehand(self, documents: int) -> str:
        """What a bench will do and take, told before it starts; quick documents are assumed until some are measured."""
        settings = self.settings
        each, rates, loads = settings.duration_s or SECONDS, settings.rates, settings.loads
        opened = [max(each, (self.documents or 0) / rate) for rate in rates or ()] or [each] * min(5, loads)
        edges = [2 * min(one, settings.target_p95_s or 0.0) for one in opened]
        least = 2 * each + sum(opened) + sum(edges)
        most = least if rates else 2 * each + loads * (each + edges[0])
        count = f"{len(rates)}" if rates else f"up to {loads}"
        slow = "" if settings.duration_s else f", longer below {settings.documents / SECONDS:.2g} documents a second"
        return (
            f"{documents:,} documents, asked over and over: one at a time, all at once, then {count} rates of arrivals, "
            f"{each:g} s each and up to a target before and behind; about {span(least, most)}{slow} (documents=..., "
            "duration_s=...)"
        )


def _target(found: Measured) -> float:
    return found.target_s or LEAST_TARGET_S


def span(least: float, most: float) -> str:
    """`30 to 60 s`, `3 to 7 min`."""
    unit, by = ("min", 60.0) if most >= 120 else ("s", 1.0)
    return " to ".join(dict.fromkeys(f"{end / by:.0f}" for end in (least, most))) + f" {unit}"
