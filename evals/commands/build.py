"""Validated settings -> the task and the model they name: where config values become objects."""

import functools
import importlib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

from evals import catalog
from evals.commands import sides
from evals.commands.settings.run import RunSettings, ScoreSettings
from evals.core import stable_hash
from evals.errors import ConfigError
from evals.loading import ExtractionTask, import_task, load_task
from evals.models.base import Model, Router

SPEC = (
    *("_target_", "name", "location", "terms", "card", "quant", "quants", "weights_of", "source", "hint"),
    *("price", "priced_as"),
)
"""Keys of a model YAML that describe it; every other key is an argument of its backend."""
IN_PROMPT = ("prompt", "shots", "constrain", "max_tokens", "temperature")
"""Settings of a run that a task is built with."""
IN_NAME = (*IN_PROMPT, "processing")
"""Settings of a run that make it another option of the same model."""
UNNAMED = (
    "card",
    "quants",
    "hint",
    "source",
    "price",
    "priced_as",
    "location",
    "terms",
    "key_env",
    "auth",
    "transport",
    "tune",
)
"""Keys of a model that change neither its answers nor what they cost."""
WATCHED = (
    *("policy", "resume", "out", "experiment", "machine", "retry_errors", "cache", "budget", "confirm_usd"),
    *("attempts", "attempt_timeout_s", "timeout_s", "requests_per_min", "tokens_per_min"),
)
"""Settings of how a run is carried out: with others the same run goes on."""


def task(settings: RunSettings | ScoreSettings) -> ExtractionTask:
    """The task that the settings name, ready to stream its samples."""
    options = {key: value for key, value in settings.task.items() if key not in ("name", "_target_")}
    if "name" not in settings.task:
        raise ConfigError("task has no name; say task=legal_extract")
    run = {"split": settings.split, "seed": settings.seed}
    if isinstance(settings, RunSettings):
        run |= {key: getattr(settings, key) for key in IN_PROMPT}
        run["shots"] = shots(settings)
    name = str(settings.task["name"])
    kind = type_of_task(name)
    return load_task(name, **checked(kind, options, "task"), **run)


def type_of_task(name: str) -> type[ExtractionTask]:
    """The task's class, without building it."""
    module = import_task(catalog.task_folder(name))
    kinds = [k for k in vars(module).values() if inspect.isclass(k) and issubclass(k, ExtractionTask)]
    return next((k for k in kinds if k.__module__ == module.__name__), ExtractionTask)


def shots(settings: RunSettings) -> int:
    """The examples asked for; where none are said, what the model's card asks for (base models need some)."""
    asked = {
        int((one.model.get("card") or {}).get("shots") or 0) for one in sides.parts(settings).values() or [settings]
    }
    if settings.shots is None and len(asked) > 1:
        raise ConfigError("the two models of the hybrid ask for different numbers of examples: say shots=N for both")
    return asked.pop() if settings.shots is None else settings.shots


def model(settings: RunSettings, *, log: Path | None = None) -> Model | Router:
    """The model that the settings name, or the two of a hybrid."""
    if sides.is_hybrid(settings.model):
        from evals.commands import hybrid

        return hybrid.model(settings, log)
    return one_model(settings, log=log)


def refuse_remote(settings: RunSettings) -> None:
    """Raise where this model's side of the run may not be asked: `privacy=local_only`."""
    if sides.withheld(settings):
        raise ConfigError(
            f"privacy=local_only: {settings.model['name']} is not location: own, nothing is sent to it; "
            "model.location=own declares a server of your own"
        )


def one_model(settings: RunSettings, *, log: Path | None = None, name: str | None = None) -> Model:
    """One model under its own name, or another; an in-process library is put behind a worker of its own."""
    refuse_remote(settings)
    spec, name = settings.model, name or str(settings.model["name"])
    target = resolve(str(spec.get("_target_") or ""))
    options = {key: value for key, value in spec.items() if key not in SPEC}
    parameters = inspect.signature(target).parameters
    if "path" in parameters and spec.get("quants"):
        options["path"] = str(weights(spec))
    if "stream" in parameters:
        options["stream"] = settings.stream and settings.processing == "online"
    if "answer" in parameters:
        options["answer"] = import_task(catalog.task_folder(str(settings.task["name"])), "rules").answer
    if "slots" in parameters and settings.concurrency == 1:  # a single stream has the whole machine
        options |= {key: options.get(key) or 1 for key in ("slots", "processes") if key in parameters}
    arguments = checked(target, {**options, "name": name}, "model")
    if inspect.iscoroutinefunction(getattr(target, "generate", None)):
        return target(**arguments)  # type: ignore[no-any-return]
    from evals.engine.worker import Worker

    return Worker(functools.partial(target, **arguments), name=name, log=log)


def holds_several(spec: Mapping[str, Any]) -> bool:
    """Is it a library in this machine that answers several documents at once (`models.base.Batched`)?"""
    return hasattr(resolve(str(spec.get("_target_") or "")), "begin")


def weights(spec: Mapping[str, Any]) -> Path:
    """The local file of a model's weights, fetched where it is not here yet."""
    from evals.models.weights import fetch

    return fetch(spec)


def resolve(target: str) -> Any:
    """The class at `package.module.Class`."""
    module, _, name = target.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"model._target_={target} cannot be imported: {error}") from error


def checked(target: Callable[..., Any], options: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Options validated against the keyword arguments of `target`; the first bad one raises `ConfigError`."""
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    hints = keywords(target)
    good: dict[str, Any] = {}
    for key, value in options.items():
        if key not in hints:
            raise ConfigError(f"{where}.{key} is not known{catalog.nearest(key, hints)}")
        try:
            config = ConfigDict(arbitrary_types_allowed=True)
            adapter = TypeAdapter(hints[key], config=config)
            good[key] = adapter.validate_python(value)
        except ValidationError as error:
            raise ConfigError(f"{where}.{key}={value!r}: {error.errors()[0]['msg']}") from None
    return good


def keywords(target: Any) -> dict[str, Any]:
    """Keyword argument -> type, of a function, or of a class and (through `**kwargs`) its bases."""
    found: dict[str, Any] = {}
    for kind in inspect.getmro(target) if inspect.isclass(target) else [target]:
        function = kind.__dict__.get("__init__") if inspect.isclass(kind) else kind
        if not inspect.isfunction(function):
            continue
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters.values()
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY or parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
                found.setdefault(parameter.name, hints.get(parameter.name, Any))
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    found.pop("self", None)
    return found


def option_name(settings: RunSettings) -> str:
    """The model's name and every override that makes it another option: `qwen25_0.5b+quant=q8_0+shots=2`."""
    spec = settings.model
    defaults = {name: RunSettings.__dataclass_fields__[name].default for name in IN_NAME}
    parts = {name: getattr(settings, name) for name in IN_NAME if getattr(settings, name) != defaults[name]}
    tasks = catalog.options("task")
    name = str(settings.task["name"])
    base_task = catalog.option("task", name) if name in tasks else {}
    parts |= {k: settings.task[k] for k in ("max_chars", "truncate") if settings.task.get(k) != base_task.get(k)}
    if settings.privacy and any(sides.withheld(one) for one in sides.parts(settings).values()):
        parts["privacy"] = settings.privacy
    if sides.is_hybrid(spec):
        from evals.commands import hybrid

        return _joined(hybrid.name(settings), parts)
    return _joined(str(spec["name"]), _own_parts(spec) | parts)


def model_name(spec: Mapping[str, Any]) -> str:
    """A model's name with its own overrides alone: what a hybrid's calls say of who answered."""
    return _joined(str(spec["name"]), _own_parts(spec))


def _own_parts(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The model's keys that differ from its YAML."""
    known = catalog.options("model")
    base = catalog.option("model", spec["name"]) if spec["name"] in known else {}
    parts = {k: v for k, v in spec.items() if k not in UNNAMED and v != base.get(k)}
    if parts.get("path"):
        parts["path"] = Path(str(parts["path"])).stem
    if parts.get("base_url"):
        parts["base_url"] = str(parts["base_url"]).split("://")[-1].rpartition("@")[2].split("/")[0]
    return parts


def _joined(name: str, parts: Mapping[str, Any]) -> str:
    return "+".join([name, *(f"{key}={_short(value)}" for key, value in sorted(parts.items()) if value is not None)])


def _short(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def run_key(settings: RunSettings, option: str, identity: Mapping[str, Any], hashes: Mapping[str, str]) -> str:
    """Hash of everything that makes two commands the same run. The scorer is left out: a record outlives it."""
    asked = {key: value for key, value in vars(settings).items() if key not in WATCHED}
    if asked["privacy"] is None:  # runs that were begun before there was such a key are still the same
        del asked["privacy"]
    asked["model"] = _asked(settings.model)
    return stable_hash([asked, option, dict(identity), hashes["prompt"], hashes["schema"]])


def _asked(spec: Mapping[str, Any]) -> dict[str, Any]:
    """What of a model's keys makes another run: of a hybrid those of its sides, and what the policy decides by."""
    found = {key: value for key, value in spec.items() if key not in UNNAMED or key == "source"}
    if sides.is_hybrid(spec):
        from evals.commands import hybrid

        for side in (one for one in sides.SIDES if spec.get(one)):
            found[side] = {**_asked(spec[side]), **hybrid.places(spec[side])}  # they bound who answers
        found["policy"] = hybrid.policy_hash(hybrid.policy_of(spec))
    return found
