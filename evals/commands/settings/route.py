"""What `route` takes."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Names = list[str]
Kind = Literal["cascade", "preroute", "rule", "random_mix", "privacy_route"]


@dataclass(frozen=True, kw_only=True)
class RouteSettings:
    """Simulate hybrids of two options from stored results, cross-fitted, and save the policy of one."""

    __pydantic_config__ = FORBID
    task: Annotated[Options | None, "whose runs, e.g. task=legal_extract; or table=FILE"] = None
    table: Annotated[str | None, "a CSV, JSONL, JSON or Parquet file instead of runs, a row a document"] = None
    columns: Annotated[Options, "the file's names: columns.model=COL or [A,B], .sample_id .group .data_class ..."] = (
        field(default_factory=dict)
    )
    cost: Annotated[str | Names | None, "a table's column of costs"] = None
    latency: Annotated[str | Names | None, "a table's column of latencies"] = None
    text: Annotated[str | None, "a table's column of documents: what its features are made of"] = None
    features: Annotated[Names, "a table's columns of numbers that are known before anybody is asked"] = field(
        default_factory=list
    )
    signals: Annotated[Names, "a table's columns of numbers that come with an answer, e.g. confidence"] = field(
        default_factory=list
    )
    quality: Annotated[str | Names | None, "of runs: f1, f1_strict, exact, ...; of a table: its column"] = None
    cheap: Annotated[str | None, "option that is asked first; null: every pair"] = None
    strong: Annotated[str | None, "option that is asked where the cheap one is not trusted; null: every pair"] = None
    floor: Annotated[
        float | None, "quality to reach, by its lower bound, at least cost; null: the largest gain over a mix"
    ] = None
    margin: Annotated[float, "without a floor: how far below the best option is as good"] = 0.02
    share: Annotated[float, "of the random mix that is told and saved"] = 0.5
    tags: Annotated[
        bool, "let the best rule and the learned router look at tags, which a live service must then have"
    ] = False
    twin: Annotated[bool, "also fit a router on shuffled errors, which the real one must beat"] = True
    volume: Annotated[float, "documents a day, for dollars a month"] = 1000.0
    runs: Annotated[str | None, "a folder or glob of runs; null: the newest of each option"] = None
    split: Annotated[str, "dev or test: where figures are counted"] = "test"
    fit: Annotated[Literal["auto", "dev", "cross"], "on dev where both options have a run of it, or cross-fitted"] = (
        "auto"
    )
    slice: Annotated[Names | None, "only documents with one of these tags"] = None
    machine: Annotated[Options, "price of a machine of one's own, e.g. machine.usd_per_hour=0.35"] = field(
        default_factory=dict
    )
    policy: Annotated[str | None, "a saved policy to replay on these runs instead"] = None
    save: Annotated[str | None, "file that gets the policy of the best hybrid, or of kind= and way="] = None
    kind: Annotated[Kind | None, "of the policy to save"] = None
    way: Annotated[str | None, "of the policy to save: a name of the table's column way, e.g. way=mean_logprob"] = None
    folds: Annotated[int, "of the cross-fit"] = 5
    repeats: Annotated[int | None, "of the cross-fit; null: 5, from 2,000 documents on 2"] = None
    draws: Annotated[int, "of the paired bootstrap"] = 1000
    seed: Annotated[int, "of folds and bootstrap"] = 0
    level: Annotated[float, "of the intervals"] = 0.95
    out: Annotated[str | None, "folder for route.csv, .json, .png, route_table.csv, route_documents.csv"] = None

    def __post_init__(self) -> None:
        if (self.task is None) == (self.table is None):
            raise ValueError("give either task=NAME or table=FILE")
        if self.table is not None and (self.policy or self.save):
            raise ValueError("policy=FILE and save=FILE are for runs; a table has no requests that a policy could see")
        if self.policy and (self.save or self.kind or self.way):
            raise ValueError("policy=FILE is replayed as it is; save=, kind= and way= fit a new one")
        for name, least in (("draws", 100), ("folds", 2), ("repeats", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        for name, low, high in (("level", 0.5, 0.9999), ("share", 0.0, 1.0), ("margin", 0.0, 1.0)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name}={getattr(self, name):g} must lie in {low:g}..{high:g}")
        if self.floor is not None and not 0 < self.floor <= 1:
            raise ValueError(f"floor={self.floor:g} is a quality and must lie in 0..1")
        if not self.volume > 0:
            raise ValueError(f"volume={self.volume:g} documents a day must be above 0")
        given = [name for name in ("cost", "latency", "text", "features", "signals") if getattr(self, name)]
        if self.table is None and (given or any(value is not None for value in self.columns.values())):
            raise ValueError(
                f"{given[0] if given else 'columns'}=... is for table=FILE; runs have columns of their own"
            )
