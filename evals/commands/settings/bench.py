"""What `bench` takes: its own keys, then those of the `run` whose documents and model it takes."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Any

from evals.commands.settings.plan import Asked

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Rates = list[float]


@dataclass(frozen=True, kw_only=True)
class BenchKeys:
    """A bench's own keys, which are listed before those of a run."""

    task: Annotated[Options, "which task, e.g. task=legal_extract"]
    model: Annotated[Options, "who answers, e.g. model=qwen25_0.5b; its own keys as model.KEY=..."]
    machine: Annotated[
        Options, "what it is: machine=l4; machine.watts=65 for joules where neither RAPL nor NVML can be read"
    ] = field(default_factory=dict)
    limit: Annotated[int | None, "only so many documents, asked over and over: a seeded sample; null: all"] = None
    seed: Annotated[int, "of the sample, of the arrivals and of the model"] = 0
    target_p95_s: Annotated[
        float | None,
        "seconds that 95 % of the documents must stay within; null: 3 x the single stream's p95, 0.1 or more",
    ] = None
    documents: Annotated[
        int, "that count at mu and at the next rate above it; fewer are quicker and less sure; not with duration_s"
    ] = 200
    duration_s: Annotated[
        float | None,
        "seconds that count of each load, an open one has up to a target before and behind; null: 30, longer where 20 "
        "documents or two targets take longer, and near mu as long as `documents` or ten targets take",
    ] = None
    rates: Annotated[Rates | None, "documents a second to offer, e.g. rates=[1,2,4]; null: searched for"] = None
    loads: Annotated[int, "rates that are offered at most"] = 16
    precision: Annotated[float, "the search ends where the rates around mu are so close: 0.05 is 5 %"] = 0.05
    warmup: Annotated[int, "documents that are answered before anything is counted"] = 2
    out: Annotated[str | None, "folder that also gets bench.csv and bench.json"] = None


@dataclass(frozen=True, kw_only=True)
class BenchSettings(Asked, BenchKeys):
    """The capacity of a deployment: one at a time, all at once, and as documents come by themselves (Poisson, open loop)."""

    __pydantic_config__ = FORBID
    concurrency: Annotated[
        int | None, "documents under way when all at once; null: 64 over a wire, what a model in this machine takes"
    ] = None
    requests_per_min: Annotated[float | None, "not for bench, which sends each document when it is due"] = None
    tokens_per_min: Annotated[float | None, "not for bench"] = None
    attempts: Annotated[
        int | None,
        "tries of a call; null: as run in the closed loops, 1 in the open loop, where a refusal is a failure",
    ] = None
    budget: Annotated[Options, "of the whole bench; an API that is paid by the call needs budget.usd=5"] = field(
        default_factory=dict
    )
    policy: Annotated[str | None, "not for bench: a hybrid's two models are benched one by one"] = None

    def __post_init__(self) -> None:
        for name, least in (("limit", 1), ("concurrency", 1), ("loads", 1), ("warmup", 1), ("documents", 1)):
            if (value := getattr(self, name)) is not None and value < least:
                raise ValueError(f"{name}={value} must be at least {least}")
        for name in ("target_p95_s", "duration_s", "timeout_s", "attempt_timeout_s"):
            if (value := getattr(self, name)) is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name}={value:g} must be above 0 seconds, and finite")
        if not 0.005 <= self.precision <= 1:
            raise ValueError(f"precision={self.precision:g} must lie in 0.005..1")
        if self.rates is not None and not self.rates:
            raise ValueError("rates=[] offers nothing; say rates=[1,2,4], documents a second")
        for rate in self.rates or ():
            if not (rate > 0 and math.isfinite(rate)):
                raise ValueError(f"rates: {rate:g} must be above 0 documents a second, and finite")
        if self.policy is not None:
            raise ValueError(f"policy={self.policy} is of model=hybrid, whose two models are benched one by one")
        for name in ("requests_per_min", "tokens_per_min"):
            if getattr(self, name) is not None:
                raise ValueError(f"{name} is not for bench, which sends each document when it is due; rates=[...] are")
        watts = self.machine.get("watts")
        if watts is not None and (isinstance(watts, bool) or not isinstance(watts, int | float) or watts <= 0):
            raise ValueError(f"machine.watts={watts} must be above 0, or null")
