"""What each command takes, as frozen dataclasses: the one place for a key's type, default and help line.

`cli` validates Hydra's result against these, `--help` prints them, and from Python they are built by name.
"""

import types
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from evals import catalog
from evals.commands.settings.bench import BenchSettings
from evals.commands.settings.compare import CompareSettings, HistorySettings
from evals.commands.settings.decide import DecideSettings
from evals.commands.settings.frontier import FrontierSettings
from evals.commands.settings.imports import ImportSettings
from evals.commands.settings.plan import CanarySettings, PlanSettings
from evals.commands.settings.review import ReviewSettings
from evals.commands.settings.route import RouteSettings
from evals.commands.sides import ANSWERING, expanded
from evals.errors import ConfigError

FORBID = {"extra": "forbid"}
Options = dict[str, Any]
Names = list[str]
Cache = Literal["resume", "read", "off"]
Processing = Literal["online", "batch"]
Privacy = Literal["local_only"]


@dataclass(frozen=True, kw_only=True)
class BudgetSettings:
    """What a run may use up before it stops, with its records kept and exit code 1; null: no limit."""

    __pydantic_config__ = FORBID
    usd: float | None = None
    tokens: int | None = None
    minutes: float | None = None

    def __post_init__(self) -> None:
        for name in ("usd", "tokens", "minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"budget.{name}={value:g} must be above 0")


@dataclass(frozen=True, kw_only=True)
class RunSettings:
    """Run a task's documents through a model, score them and keep every record."""

    __pydantic_config__ = FORBID
    task: Annotated[Options, "which task, e.g. task=legal_extract; its own keys as task.KEY=..."]
    model: Annotated[
        Options,
        "who answers, e.g. model=qwen25_0.5b, its own keys as model.KEY=...; model=hybrid model.cheap=NAME model.strong=NAME",
    ]
    machine: Annotated[Options, "what it costs, e.g. machine.usd_per_hour=0.35"] = field(default_factory=dict)
    split: Annotated[str, "dev or test"] = "test"
    limit: Annotated[int | None, "only so many documents: a seeded sample, stratified by slice"] = None
    slice: Annotated[Names | None, "only documents with one of these tags, e.g. slice=[simple,lease]"] = None
    seed: Annotated[int, "of the sample, of the examples and of the model"] = 0
    repeats: Annotated[int, "how often each document is asked"] = 1
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
        BudgetSettings,
        "stop before more is used: budget.usd=5 (calls, and hours of a priced machine) .tokens=1e6 .minutes=30",
    ] = BudgetSettings()
    confirm_usd: Annotated[float, "ask, on a terminal, before a run that is estimated to cost more"] = 10.0
    cache: Annotated[Cache, "resume: replies this run bought before it was cut; read: any run's; off: none"] = "resume"
    processing: Annotated[Processing, "online, or batch: the provider's batch API, later and cheaper"] = "online"
    policy: Annotated[str | None, "of model=hybrid: who answers what, a file of route save=FILE"] = None
    privacy: Annotated[Privacy | None, "local_only: nothing goes to a model that is not location: own"] = None
    resume: Annotated[bool, "go on with an interrupted run of the same command; false: start anew"] = True
    retry_errors: Annotated[bool, "ask again only what failed in the newest run of the same command"] = False
    out: Annotated[str | None, "folder that also gets run.csv and run.json"] = None
    experiment: Annotated[Any, "a preset of configs/experiment/"] = None

    def __post_init__(self) -> None:
        for name in ("repeats", "max_tokens"):
            _at_least(name, getattr(self, name), 1)
        for name, least in (("limit", 1), ("shots", 0), ("concurrency", 1), ("attempts", 1)):
            if (value := getattr(self, name)) is not None:
                _at_least(name, value, least)
        for name in ("timeout_s", "attempt_timeout_s", "requests_per_min", "tokens_per_min"):
            if (limit := getattr(self, name)) is not None and not limit > 0:
                raise ValueError(f"{name}={limit:g} must be above 0")
        _machine(self.machine)
        if not 0 <= self.temperature <= 2:
            raise ValueError(f"temperature={self.temperature:g} must lie in 0..2")


@dataclass(frozen=True, kw_only=True)
class ScoreSettings:
    """Score answers made elsewhere (predictions=FILE.jsonl), or a stored run again (rescore=RUN)."""

    __pydantic_config__ = FORBID
    task: Annotated[Options, "which task, e.g. task=legal_extract"]
    predictions: Annotated[str | None, 'answers made elsewhere, lines {"id", "output"}'] = None
    rescore: Annotated[str | None, "a run folder to score again; calls no model"] = None
    option: Annotated[str | None, "name of the answers in tables; null: the file's name"] = None
    split: Annotated[str, "dev or test"] = "test"
    limit: Annotated[int | None, "only so many documents: a seeded sample, stratified by slice"] = None
    slice: Annotated[Names | None, "only documents with one of these tags"] = None
    seed: Annotated[int, "of the sample"] = 0
    out: Annotated[str | None, "folder that also gets score.csv and score.json"] = None

    def __post_init__(self) -> None:
        if (self.predictions is None) == (self.rescore is None):
            raise ValueError("give either predictions=FILE.jsonl or rescore=RUN")
        if self.limit is not None:
            _at_least("limit", self.limit, 1)


@dataclass(frozen=True, kw_only=True)
class ModelsSettings:
    """List every model: family, quantisation, licence, size, source, and whether its weights are here."""

    __pydantic_config__ = FORBID
    fetch: Annotated[str | None, "get the weights of this model, with progress, resume and hash check"] = None
    quant: Annotated[str | None, "which quantisation to fetch; null: the model's own default"] = None
    source: Annotated[str | None, "hub or index; null: the model's sources in order"] = None
    out: Annotated[str | None, "folder that also gets models.csv and models.json"] = None


@dataclass(frozen=True, kw_only=True)
class TasksSettings:
    """List every task: documents, fields, slices, where it comes from."""

    __pydantic_config__ = FORBID
    out: Annotated[str | None, "folder that also gets tasks.csv and tasks.json"] = None


COMMANDS: dict[str, type] = {
    "run": RunSettings,
    "score": ScoreSettings,
    "frontier": FrontierSettings,
    "compare": CompareSettings,
    "history": HistorySettings,
    "route": RouteSettings,
    "decide": DecideSettings,
    "plan": PlanSettings,
    "bench": BenchSettings,
    "canary": CanarySettings,
    "review": ReviewSettings,
    "import": ImportSettings,
    "models": ModelsSettings,
    "tasks": TasksSettings,
}


def validated(word: str, plain: Mapping[str, Any]) -> Any:
    """Plain data as the command's frozen settings; the first mistake raises `ConfigError`, in one line."""
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(COMMANDS[word]).validate_python(_with_sides(word, plain))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"] if part not in ("int", "float", "str", "bool", "list[str]"))
        if first["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
            raise ConfigError(unknown_key(word, key)) from None
        if first["type"] == "value_error":
            raise ConfigError(str(first["ctx"]["error"])) from None
        known = {row[0]: row for row in described(COMMANDS[word])}
        if first["type"] in ("dict_type", "dataclass_type") and key in known:
            raise ConfigError(f"{key}={first['input']!r} names no key of {key}: {known[key][3]}") from None
        if first["type"] == "list_type" and isinstance(first["input"], str):
            raise ConfigError(f"{key}={first['input']!r} should be a list: {key}=[{first['input']}]") from None
        hint = known[key.split(".")[0]][1] if key.split(".")[0] in known else ""
        raise ConfigError(f"{key}={first['input']!r}: {first['msg']}{f' ({hint})' if hint else ''}") from None


def _with_sides(word: str, plain: Mapping[str, Any]) -> dict[str, Any]:
    """Where a hybrid may answer, its two models as the YAML that their names stand for."""
    if word not in ANSWERING:
        return dict(plain)
    model, policy = plain.get("model"), plain.get("policy")
    if isinstance(model, Mapping):
        return {**plain, "model": expanded(model, policy if isinstance(policy, str) else None)}
    if isinstance(model, list):
        return {**plain, "model": [expanded(one) if isinstance(one, Mapping) else one for one in model]}
    return dict(plain)


def unknown_key(word: str, key: str) -> str:
    """That a command does not know this key, with the nearest ones that it knows."""
    names = {row[0] for row in described(COMMANDS[word])}
    group = key.split(".")[0]
    if "." in key and group in names:
        names = {f"{group}.{inner}" for inner in _keys_of(group)}
        names |= _nested(word, group)
    elif inner := [f"{group}.{key}" for group in ("model", "task") if group in names and key in _keys_of(group)]:
        return f"{key} is not known; did you mean {inner[0]}?"
    return f"{key} is not known{catalog.nearest(key, names)}"


def _keys_of(group: str) -> set[str]:
    """Every key that an option of the group has."""
    return {key for path in catalog.options(group).values() for key in catalog.load_yaml(path)}


def _nested(word: str, group: str) -> set[str]:
    """Every key below one that the command's own YAML spells out, such as `gate.f1.min`."""
    root = catalog.load_yaml(catalog.shipped() / "configs" / f"{word}.yaml").get(group)
    parts = root.items() if isinstance(root, Mapping) else ()
    return {
        f"{group}.{key}{inner}"
        for key, value in parts
        for inner in ([f".{name}" for name in value] if isinstance(value, Mapping) else [""])
    }


def _machine(machine: Mapping[str, Any]) -> None:
    price = machine.get("usd_per_hour")
    if price is not None and (isinstance(price, bool) or not isinstance(price, int | float) or price < 0):
        raise ValueError(f"machine.usd_per_hour={price} must be dollars an hour, at least 0, or null")


def _at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"{name}={value} must be at least {least}")


def described(settings: type) -> list[tuple[str, str, str, str]]:
    """(key, type, default, help line) of every key of a command."""
    hints = get_type_hints(settings, include_extras=True)
    rows = []
    for item in fields(settings):
        kind, text = get_args(hints[item.name])[:2]
        default = "required" if item.default is MISSING and item.default_factory is MISSING else item.default
        shown = "" if default is MISSING else _default(default)
        rows.append((item.name, _kind(kind), "" if item.name == "machine" else shown, text))
    return rows


def _default(value: Any) -> str:
    if isinstance(value, BudgetSettings):
        return "no limit"
    if is_dataclass(value):
        return " ".join(str(getattr(value, item.name)) for item in fields(value))
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _kind(hint: Any) -> str:
    """`int | None` as `int or null`, groups as `group`."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _kind(part) for part in get_args(hint))
    if hint is Any:
        return "name"
    if get_origin(hint) is dict:
        return "group"
    if get_origin(hint) is Literal:
        return " or ".join(get_args(hint))
    if is_dataclass(hint):
        return "keys"
    return "[list]" if get_origin(hint) is list else str(getattr(hint, "__name__", hint))
