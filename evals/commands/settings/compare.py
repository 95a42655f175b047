"""What `compare` and `history` take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from evals.errors import ConfigError

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
By = list[Literal["slice", "field"]]
Names = list[str]


@dataclass(frozen=True, kw_only=True)
class CompareSettings:
    """Compare runs over the documents they share: differences with intervals, tests, verdicts, gates."""

    __pydantic_config__ = FORBID
    candidate: Annotated[
        str | Names | None, "RUN or RUN,RUN: a run folder, an option's folder (newest run), an option's name"
    ] = None
    baseline: Annotated[str | None, "RUN, or a reference file; null: results/baselines/TASK.json"] = None
    allow: Annotated[
        Names, "compare although these differ: dataset, schema, prompt, scorer, load; said in every output"
    ] = field(default_factory=list)
    metrics: Annotated[Names | None, "what is compared and tested; null: f1 to p95_s"] = None
    by: Annotated[By, "also inside every slice and field"] = field(default_factory=lambda: ["slice", "field"])
    margin: Annotated[float, "a difference of quality that does not matter, e.g. 0.02"] = 0.02
    relative_margin: Annotated[float, "a share of cost or latency that does not matter"] = 0.1
    machine: Annotated[Options, "price of a machine of one's own, e.g. machine.usd_per_hour=0.35"] = field(
        default_factory=dict
    )
    reprice: Annotated[bool, "price API models anew, all at today's prices, from their reported tokens"] = False
    gate: Annotated[Options, "gate.METRIC.KIND=LIMIT, kinds min, max, margin, max_increase, e.g. gate.f1.min=0.9"] = (
        field(default_factory=dict)
    )
    gates: Annotated[str | None, "a YAML file of gates: METRIC: {KIND: LIMIT}"] = None
    regression: Annotated[bool, "exit 1 where quality regressed and no gate is given; false: only gates count"] = True
    strict: Annotated[bool, "exit 3 where a gate (without one: the verdict) is inconclusive"] = False
    save: Annotated[bool, "write the candidate as the task's reference; alone, nothing is compared"] = False
    show: Annotated[int, "documents with a field diff that are printed; files hold all"] = 5
    out: Annotated[str | None, "folder that also gets compare.json, .csv, .md and .xml (JUnit)"] = None

    def __post_init__(self) -> None:
        if not self.candidate:
            raise ValueError("give candidate=RUN: a run folder, or the name of an option with a run")
        for name in ("margin", "relative_margin", "show"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 0")


@dataclass(frozen=True, kw_only=True)
class HistorySettings:
    """A task's runs over time: metrics with intervals, real changes marked, changed served models called out."""

    __pydantic_config__ = FORBID
    task: Annotated[Options, "which task, e.g. task=legal_extract"]
    option: Annotated[str | None, "only this option, or this model's options"] = None
    runs: Annotated[str | None, "a folder or glob of runs; null: all results and the reference"] = None
    out: Annotated[str | None, "folder that also gets history.csv and history.json"] = None


def words(value: str | list[str]) -> list[str]:
    """`a,b`, `[a,b]` or a list as its words; a path that holds a comma is one where it is there."""
    from pathlib import Path

    if not isinstance(value, str):
        return [part for one in value for part in words(one)]
    if Path(value).exists():
        return [value]
    found = [part.strip() for part in value.strip().removeprefix("[").removesuffix("]").split(",") if part.strip()]
    if not found:
        raise ConfigError("candidate= names no run")
    return found


def without_nulls(gate: Mapping[str, Any]) -> dict[str, Any]:
    """The gates that are set: the YAML lists all of them, so that Hydra knows their keys."""
    kept = {}
    for metric, limits in gate.items():
        if isinstance(limits, Mapping):
            limits = {kind: limit for kind, limit in limits.items() if limit is not None}
        if limits:
            kept[metric] = limits
    return kept
