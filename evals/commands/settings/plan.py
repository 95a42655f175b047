"""What `plan` and `canary` take: the keys of a run that they pass on to it, and their own."""

from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Models = list[Options]
Names = list[str]
Privacy = Literal["local_only"]
Watch = list[Literal["quality", "answers", "tokens", "latency", "served"]]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Keys that mean what they mean to `run`, with the same defaults."""

    __pydantic_config__ = FORBID
    split: Annotated[str, "dev or test"] = "test"
    slice: Annotated[Names | None, "only documents with one of these tags, e.g. slice=[simple,lease]"] = None
    prompt: Annotated[str, "prompt_NAME.md of the task's folder; default is prompt.md"] = "default"
    shots: Annotated[int | None, "examples from dev before the document; null: what the model's card says"] = None
    constrain: Annotated[bool, "decode under the JSON schema; false: free text"] = True
    max_tokens: Annotated[int, "longest answer, in tokens"] = 1024
    temperature: Annotated[float, "0 is greedy"] = 0.0
    stream: Annotated[bool, "take answers as they come, which gives time to first token; false: whole"] = True
    concurrency: Annotated[
        int | None,
        "documents in flight at once; null: all that a model in this machine takes, 1 at a server of your own, 8 elsewhere",
    ] = None
    requests_per_min: Annotated[float | None, "limit per key, shared by runs on this machine"] = None
    tokens_per_min: Annotated[float | None, "limit per key, shared by runs on this machine"] = None
    attempts: Annotated[
        int | None, "tries of a call that a time-out or server error spoils; null: 6 over a wire, 1 here"
    ] = None
    attempt_timeout_s: Annotated[
        float | None, "deadline of one attempt; null: 60 over a wire, timeout_s in process"
    ] = None
    timeout_s: Annotated[
        float | None,
        "deadline of one document, retries included, in seconds; null: 900, in process as much for each that is under way",
    ] = None
    budget: Annotated[
        Options,
        "stop before more is used: budget.usd=5 (calls, and hours of a priced machine) .tokens=1e6 .minutes=30",
    ] = field(default_factory=dict)
    confirm_usd: Annotated[float, "ask, on a terminal, before what is estimated to cost more"] = 10.0
    policy: Annotated[str | None, "of model=hybrid: who answers what, a file of route save=FILE"] = None
    privacy: Annotated[Privacy | None, "local_only: nothing goes to a model that is not location: own"] = None


PASSED = tuple(item.name for item in fields(Asked))


@dataclass(frozen=True, kw_only=True)
class PlanKeys:
    """A plan's own keys, which are listed before those of a run."""

    task: Annotated[Options, "which task, e.g. task=legal_extract"]
    model: Annotated[Models | Options, "one or several: model=gpt4o,qwen25_0.5b; none: stored runs alone"] = field(
        default_factory=list
    )
    machine: Annotated[Options, "what it costs, e.g. machine.usd_per_hour=0.35"] = field(default_factory=dict)
    pilot: Annotated[int | None, "documents that each model answers first, unless a stored run has as many"] = None
    n: Annotated[int | None, "documents to plan for; null: all that the task has"] = None
    models: Annotated[
        int | None, "comparisons with one baseline (Holm); null: one less than the models, at least 1"
    ] = None
    power: Annotated[float, "chance to see a difference that is there"] = 0.8
    alpha: Annotated[float, "chance to see one that is not there, over all comparisons"] = 0.05
    runs: Annotated[str | None, "a folder or glob of runs that the spread is taken from; null: all results"] = None
    seed: Annotated[int, "of the pilot's sample, of the examples and of the model"] = 0
    processing: Annotated[
        Literal["online", "batch"], "online, or batch: the provider's batch API, later and cheaper"
    ] = "online"
    out: Annotated[str | None, "folder that also gets plan.csv and plan.json"] = None


@dataclass(frozen=True, kw_only=True)
class PlanSettings(Asked, PlanKeys):
    """Before spending: which difference how many documents detect, and what a run will cost and take."""

    __pydantic_config__ = FORBID

    def __post_init__(self) -> None:
        for name in ("pilot", "n", "models"):
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name}={value} must be at least 1")
        if self.pilot and not self.model:
            raise ValueError(f"pilot={self.pilot} needs a model: model=NAME or model=NAME,NAME")
        if not 0.5 <= self.power < 1:
            raise ValueError(f"power={self.power:g} must lie in 0.5..1")
        if not 0 < self.alpha <= 0.5:
            raise ValueError(f"alpha={self.alpha:g} must lie between 0 and 0.5")

    @property
    def specs(self) -> Models:
        """The models, however many were named."""
        return ([self.model] if self.model else []) if isinstance(self.model, dict) else self.model


@dataclass(frozen=True, kw_only=True)
class CanaryKeys:
    """A canary's own keys, which are listed before those of a run."""

    task: Annotated[Options, "which task, e.g. task=legal_extract"]
    model: Annotated[Options, "who answers, e.g. model=gpt4o; its own keys as model.KEY=..."]
    machine: Annotated[Options, "what it costs, e.g. machine.usd_per_hour=0.35"] = field(default_factory=dict)
    n: Annotated[int, "documents, chosen by a hash of their ids: the same ones each time"] = 20
    repeats: Annotated[int, "how often each is asked: what tells a change from the model's own noise; at least 2"] = 3
    watch: Annotated[Watch, "what the verdict goes by: quality, answers, tokens, latency, served (model id)"] = field(
        default_factory=lambda: ["quality", "answers", "tokens", "served"]
    )
    alpha: Annotated[float, "chance of a false alarm, over all that one canary tests; 0.01 for one of every night"] = (
        0.05
    )
    save: Annotated[bool, "this canary is the reference from now on"] = False
    strict: Annotated[bool, "exit 3 where the verdict is inconclusive"] = False
    out: Annotated[str | None, "folder that also gets canary.csv and canary.json"] = None


@dataclass(frozen=True, kw_only=True)
class CanarySettings(Asked, CanaryKeys):
    """Has the model behind a name changed? A few fixed documents, asked afresh, against the stored reference."""

    __pydantic_config__ = FORBID

    def __post_init__(self) -> None:
        if self.n < 5:
            raise ValueError(f"n={self.n} must be at least 5: fewer documents say nothing of their spread")
        if self.repeats < 2:
            raise ValueError(f"repeats={self.repeats} must be at least 2: one answer tells no change from noise")
        if not 0.0001 <= self.alpha <= 0.5:
            raise ValueError(f"alpha={self.alpha:g} must lie in 0.0001..0.5")
        if not self.watch:
            raise ValueError("watch=[] watches nothing; say watch=[quality,answers]")
