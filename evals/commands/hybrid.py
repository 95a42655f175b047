"""Two models in one run: the policy and whether it fits, names, prices, and how each side is asked."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals import catalog
from evals.commands import build
from evals.commands.settings.run import RunSettings
from evals.commands.sides import parts, saved, withheld
from evals.core import Policy, stable_hash
from evals.errors import ConfigError
from evals.models import weights
from evals.models.base import Model, Router
from evals.models.hybrid import Hybrid
from evals.policy.saved import decode, encode, misfit

NO_POLICY = (
    "model=hybrid needs a policy that says who answers: policy=FILE of `python -m evals route task={task} save=FILE`"
)


def policy_of(spec: Mapping[str, Any], task: str = "...") -> Policy:
    """The policy of a hybrid's YAML: a saved file, or one spelt out in place. Raises `ConfigError`."""
    given = spec.get("policy")
    if isinstance(given, str):
        return saved(given)
    if isinstance(given, Mapping):
        names = {side: str((spec.get(side) or {}).get("name")) for side in ("cheap", "strong") if spec.get(side)}
        return decode({"format": 1, **names, **given}, "model.policy")
    raise ConfigError(NO_POLICY.format(task=task))


def policy_hash(policy: Policy) -> str:
    """What decides, without what is told about it."""
    return stable_hash({key: value for key, value in encode(policy).items() if key != "about"}, length=8)


def name(settings: RunSettings) -> str:
    """`hybrid(gemma270m->claude,cascade-1a2b3c4d)`: both sides with their own overrides, and the policy by its hash."""
    sides = {side: build.model_name(one.model) for side, one in parts(settings).items()}
    if not sides or not settings.model.get("policy"):
        return str(settings.model["name"])
    policy = policy_of(settings.model)
    return f"{settings.model['name']}({'->'.join(sides.values())},{policy.kind}-{policy_hash(policy)})"


def check(settings: RunSettings, task: str, version: str, hashes: Mapping[str, str]) -> None:
    """Raise `ConfigError` where a hybrid lacks something, or its policy was fitted for other things than are asked
    here; say on stderr where a side's overrides differ from those it was fitted on."""
    sides = parts(settings)
    policy = policy_of(settings.model, task)
    if settings.processing == "batch":
        raise ConfigError("processing=batch: a hybrid has no batch API, since it asks one model after the other")
    for side in ("cheap", *(["strong"] if policy.kind != "single" else [])):
        if side not in sides:
            raise ConfigError(f"model=hybrid needs model.{side}=NAME, any of {', '.join(_models())}")
    names = {side: build.option_name(one) for side, one in sides.items()}
    if len(set(names.values())) < len(names):
        raise ConfigError(f"model.cheap and model.strong are the same: {names['cheap']}")
    given = settings.model["policy"]
    where = given if isinstance(given, str) else "model.policy"
    if reason := misfit(policy, task=task, version=version, schema=hashes["schema"], prompt=hashes["prompt"]):
        raise ConfigError(f"{where}: {reason}")
    for side, here in names.items():
        fitted = getattr(policy, side) if isinstance(given, str) else given.get(side)
        if fitted is not None and fitted.partition("+")[0] != here.partition("+")[0]:
            raise ConfigError(f"{where} was fitted with {side}={fitted}, this run has model.{side}={here}")
        if fitted is not None and fitted != here:
            print(f"{where} was fitted with {side}={fitted}, and runs here with {here}", file=sys.stderr)
    if all(withheld(one) for one in sides.values()):
        raise ConfigError("privacy=local_only: neither model of this hybrid is location: own")


def _models() -> list[str]:
    return [one for one in catalog.options("model") if one != "hybrid"]


def model(settings: RunSettings, log: Path | None) -> Router:
    """Both models under their policy; each that lives in this machine in a child of its own. A side that may not be
    asked is not built."""
    built: dict[str, Model] = {}
    for side, one in parts(settings).items():
        if not withheld(one):
            beside = log.with_name(f"{log.stem}-{side}{log.suffix}") if log else None
            built[side] = build.one_model(one, log=beside, name=build.model_name(one.model))
    spec = settings.model
    return Hybrid(
        name=str(spec["name"]),
        cheap=built.get("cheap"),
        strong=built.get("strong"),
        policy=policy_of(spec),
        places={side: places(one.model) for side, one in parts(settings).items()},
        local_only=settings.privacy == "local_only",
    )


def places(spec: Mapping[str, Any]) -> dict[str, str | None]:
    """Where a model stands: what bounds which documents it may see."""
    return {key: spec.get(key) for key in ("location", "terms")}


def about(settings: RunSettings) -> dict[str, Any]:
    """What the manifest says of the two models and the policy."""
    if not parts(settings):
        return {}
    policy = policy_of(settings.model)
    sides = {
        side: {
            "option": build.option_name(one),
            "model": build.model_name(one.model),
            **places(one.model),
            "weights": weights.facts(one.model),
        }
        for side, one in parts(settings).items()
    }
    return {"hybrid": {**sides, "policy": encode(policy), "policy_hash": policy_hash(policy)}}
