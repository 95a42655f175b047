"""What `frontier` takes."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Names = list[str]
Axes = list[Literal["quality", "cost", "latency"]]
Way = Literal["max", "min"]
Statistic = Literal["p50", "p95", "mean"]


@dataclass(frozen=True, kw_only=True)
class Directions:
    """Which way is better."""

    __pydantic_config__ = FORBID
    quality: Way = "max"
    cost: Way = "min"
    latency: Way = "min"


@dataclass(frozen=True, kw_only=True)
class FrontierSettings:
    """Which options are worth choosing among: Pareto frontier, hull, uncertainty, plots; of runs or of any table."""

    __pydantic_config__ = FORBID
    task: Annotated[Options | None, "whose runs, e.g. task=legal_extract; or table=FILE"] = None
    table: Annotated[str | None, "a CSV, JSONL, JSON or Parquet file instead of runs"] = None
    columns: Annotated[
        Options, "the file's names: columns.model=COL, .sample_id .option .group .repeat .load .n ..."
    ] = field(default_factory=dict)
    quality: Annotated[str | Names | None, "of runs: f1, f1_strict, exact, ...; of a table: its column"] = None
    cost: Annotated[str | Names | None, "a table's column of costs"] = None
    latency: Annotated[str | Names | None, "a table's column of latencies"] = None
    objectives: Annotated[
        Axes | None, "two or three of quality, cost, latency; null: quality, cost, latency if named"
    ] = None
    directions: Annotated[Directions, "which way is better, e.g. directions.quality=min"] = Directions()
    statistic: Annotated[Statistic, "of latencies"] = "p95"
    mixed_load: Annotated[bool, "draw latencies of unlike loads on one axis all the same"] = False
    runs: Annotated[str | None, "a folder or glob of runs; null: the newest of each option"] = None
    split: Annotated[str, "dev or test"] = "test"
    hybrids: Annotated[bool, "also hybrids of each pair of options, simulated and cross-fitted as route does"] = False
    slice: Annotated[Names | None, "only documents with one of these tags"] = None
    machine: Annotated[Options, "price of a machine of one's own, e.g. machine.usd_per_hour=0.35"] = field(
        default_factory=dict
    )
    reprice: Annotated[bool, "price API models anew, all at today's prices, from their reported tokens"] = False
    draws: Annotated[int, "of the paired bootstrap"] = 2000
    seed: Annotated[int, "of the bootstrap"] = 0
    level: Annotated[float, "of the intervals"] = 0.95
    out: Annotated[str | None, "folder for frontier.csv, .json, .png and .html"] = None

    def __post_init__(self) -> None:
        if (self.task is None) == (self.table is None):
            raise ValueError("give either task=NAME or table=FILE")
        if self.draws < 100:
            raise ValueError(f"draws={self.draws} must be at least 100")
        if not 0.5 <= self.level < 1:
            raise ValueError(f"level={self.level:g} must lie in 0.5..1")
        given = [key for key in ("cost", "latency") if getattr(self, key) is not None]
        if self.table is None and (given or any(value is not None for value in self.columns.values())):
            raise ValueError(
                f"{given[0] if given else 'columns'}=... is for table=FILE; runs have columns of their own"
            )
        if self.table is not None and self.hybrids:
            raise ValueError("hybrids=true is for runs; of a table: route table=FILE out=DIR writes one with hybrids")
