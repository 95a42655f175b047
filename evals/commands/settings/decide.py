"""What `decide` takes."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Names = list[str]
DataClass = Literal["public", "internal", "restricted"]
MAX_KEYS = ("latency_p95_s", "usd_per_day", "usd_per_month", "ops_hours_per_month", "lead_weeks")
CURRENCIES = ("USD",)
MOST_DRAWS = 100_000
"""More take minutes and gigabytes, and tell nothing more."""


@dataclass(frozen=True, kw_only=True)
class DecideSettings:
    """Which deployment at your volume: models, API batch and hybrids under constraints, and when the answer turns."""

    __pydantic_config__ = FORBID
    task: Annotated[Options | None, "whose runs, e.g. task=legal_extract"] = None
    table: Annotated[str | None, "a CSV, JSONL, JSON or Parquet file of scores and costs, instead of runs"] = None
    columns: Annotated[Options, "the file's names: columns.model=COL .sample_id .n .location .load ..."] = field(
        default_factory=dict
    )
    cost: Annotated[str | None, "the table's column of dollars"] = None
    cost_of: Annotated[Literal["document", "run"], "what that column is of; run: divided by columns.n"] = "document"
    latency: Annotated[str | None, "the table's column of seconds"] = None
    scenario: Annotated[Options | None, "declared options, instead of runs or beside them"] = None
    machine: Annotated[Options, "price of a machine of one's own: machine=l4, or machine.usd_per_hour=0.8"] = field(
        default_factory=dict
    )
    price: Annotated[Options, "API prices against the runs': price.low=0.5 price.high=1.2 is a range of all"] = field(
        default_factory=dict
    )
    volume: Annotated[Any, "documents a day: 5000, or {low: 3000, typical: 5000, high: 9000}"] = None
    growth: Annotated[float, "budgets must also hold at volume x growth"] = 1.0
    quality: Annotated[
        str | None, "main metric (null: f1, score for imported runs, or the scenario's); of a table: its column"
    ] = None
    min: Annotated[Options, "floors, e.g. min.f1=0.8 min.exact=0.5"] = field(default_factory=dict)
    min_slice: Annotated[Options, "floors of the main metric in a slice: min_slice.complex=0.7"] = field(
        default_factory=dict
    )
    min_field: Annotated[Options, "floors of one field's F1: min_field.effective_date=0.9"] = field(
        default_factory=dict
    )
    max: Annotated[Options, "max.latency_p95_s .usd_per_day .usd_per_month .ops_hours_per_month .lead_weeks"] = field(
        default_factory=dict
    )
    privacy: Annotated[DataClass, "public: may leave; internal: only under terms; restricted: never leaves"] = "public"
    costs: Annotated[Options, "declared costs beside models: costs.own.ops_hours_per_month=20 costs.peak=3 ..."] = (
        field(default_factory=dict)
    )
    docs_per_s: Annotated[Options, "declared throughput of a replica: docs_per_s.OPTION=2.5"] = field(
        default_factory=dict
    )
    currency: Annotated[str, "of every price: USD"] = "USD"
    batch: Annotated[bool, "API models also at their batch price, where one is known"] = True
    runs: Annotated[str | None, "a folder or glob of runs; null: the newest of each option"] = None
    split: Annotated[str, "dev or test"] = "test"
    policies: Annotated[Names | None, "files of saved routing policies, replayed, as hybrid options"] = None
    reviews: Annotated[
        Names | None, "review.json of `review`, each for its option: share, minutes, dollars, what is left wrong"
    ] = None
    draws: Annotated[int, "of prices, throughputs, shares and documents"] = 2000
    seed: Annotated[int, "of the draws"] = 0
    strict: Annotated[bool, "exit code 3 where something cannot be told that could change the answer"] = False
    out: Annotated[str | None, "folder for decide.csv, .json, the decision record and plots"] = None

    def __post_init__(self) -> None:
        if self.task is None and self.scenario is None and self.table is None:
            raise ValueError("give task=NAME, table=FILE or scenario=NAME")
        if self.task is not None and self.table is not None:
            raise ValueError("give either task=NAME or table=FILE")
        given = [key for key in ("cost", "latency") if getattr(self, key) is not None]
        if self.table is None and given:
            raise ValueError(f"{given[0]}=... is for table=FILE; runs have columns of their own")
        if self.task is None and (named := [key for key in ("policies", "reviews") if getattr(self, key)]):
            raise ValueError(f"{named[0]}=[FILE] is for stored runs: task=NAME")
        if self.currency not in CURRENCIES:
            raise ValueError(
                f"currency={self.currency} is not known: prices here are in USD; convert them at a dated rate first"
            )
        if not 100 <= self.draws <= MOST_DRAWS:
            raise ValueError(f"draws={self.draws} must be in 100..{MOST_DRAWS}")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed} must be at least 0")
        if not 0 < self.growth < float("inf"):
            raise ValueError(f"growth={self.growth:g} must be above 0, and finite")
        for group in ("min", "min_slice", "min_field"):
            for key, value in getattr(self, group).items():
                _number(f"{group}.{key}", value, 0.0, 1.0)
        for key, value in self.max.items():
            if key not in MAX_KEYS:
                raise ValueError(f"max.{key} is not known; known are {', '.join(MAX_KEYS)}")
            _number(f"max.{key}", value, 0.0, float("inf"))


def _number(key: str, value: Any, least: float, most: float) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{key}={value!r} should be a number")
    if not least <= value <= most:
        bounds = f"at least {least:g}" if most == float("inf") else f"in {least:g}..{most:g}"
        raise ValueError(f"{key}={value:g} must be {bounds}: nothing could keep it")
