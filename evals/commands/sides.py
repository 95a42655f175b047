"""A hybrid's two models in the settings: `model.cheap=NAME` in the words of the command line, names as the YAML they
stand for, and each side as the settings of a run of its own."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog
from evals.errors import ConfigError

if TYPE_CHECKING:
    from evals.commands.settings.run import RunSettings
    from evals.core import Policy

TARGET = "evals.models.hybrid.Hybrid"
SIDES = ("cheap", "strong")
KEYS = tuple(f"model.{side}" for side in SIDES)
ANSWERING = ("run", "plan", "canary")
"""Commands whose model may be a hybrid."""
Spec = Mapping[str, Any]


def is_hybrid(spec: Spec) -> bool:
    """Does this model's YAML name two models?"""
    return spec.get("_target_") == TARGET


def translated(rest: Sequence[str]) -> list[str]:
    """`model.cheap=NAME` as Hydra's choice of a model's YAML for that place; `model.cheap.KEY=` is plain to Hydra."""
    return [_choice(word) for word in rest]


def _choice(word: str) -> str:
    key, _, value = word.partition("=")
    place = key.removeprefix("model.")
    if place == key or place not in SIDES or value in ("", "null") or value[0] in "{[":
        return word
    for name in value.split(","):
        _known(place, name.strip())
    return f"+model@model.{place}={value}"


def _known(place: str, name: str) -> None:
    known = catalog.options("model")
    if name not in known:
        raise ConfigError(f"model.{place}={name} is not known{catalog.nearest(name, known)}")
    if is_hybrid(catalog.load_yaml(known[name])):
        raise ConfigError(f"model.{place}={name}: a hybrid's side is one model, not a hybrid again")


def expanded(spec: Spec, policy: str | None = None) -> Spec:
    """A hybrid's YAML with the YAML of its sides in place of their names, its policy's path, and its location; any
    other model as it is. A side that is not named is the one of the policy's file, where that is a model's plain name."""
    if not is_hybrid(spec):
        if policy is not None:
            raise ConfigError(
                f"policy={policy} says who of two models answers: model=hybrid model.cheap=... model.strong=..."
            )
        if lost := [side for side in SIDES if isinstance(spec.get(side), Mapping)]:
            raise ConfigError(f"model.{lost[0]}: {spec.get('name')} is no hybrid; say model=hybrid")
        return spec
    found = dict(spec) | ({} if policy is None else {"policy": policy})
    for place in SIDES:
        found[place] = side(place, found.get(place) or _fitted(found.get("policy"), place))
    locations = {(found[place] or {}).get("location") for place in SIDES if found[place]}
    found["location"] = locations.pop() if len(locations) == 1 else "mixed" if locations else None
    return found


def _fitted(policy: Any, place: str) -> str | None:
    """The option that a policy's file names for a side, where a model's YAML is called so."""
    given = policy.get(place) if isinstance(policy, Mapping) else None
    if isinstance(policy, str):
        given = getattr(saved(policy), place)
    return given if given in catalog.options("model") else None


def saved(path: str) -> "Policy":
    """A saved policy. Raises `ConfigError` where there is none."""
    from evals.policy.saved import load_policy

    if not Path(path).is_file():
        raise ConfigError(f"policy={path} is not there; python -m evals route task=... save={path} makes one")
    return load_policy(path).policy


def side(place: str, given: Any) -> dict[str, Any] | None:
    if given is None:
        return None
    if isinstance(given, str):
        _known(place, given)
        return copy.deepcopy(catalog.option("model", given))
    if not isinstance(given, Mapping) or not given.get("name"):
        raise ConfigError(f"model.{place}={given!r} should be a model's name, such as model.{place}=gemma270m")
    if "_target_" in given:
        return dict(given)
    _known(place, str(given["name"]))
    return {**copy.deepcopy(catalog.option("model", str(given["name"]))), **given}


def parts(settings: "RunSettings") -> "dict[str, RunSettings]":
    """`cheap` and `strong` as the settings of a run of that model alone; empty where the model is no hybrid."""
    if not is_hybrid(settings.model):
        return {}
    given = {place: settings.model.get(place) for place in SIDES}
    return {place: replace(settings, model=spec, policy=None) for place, spec in given.items() if spec}


def withheld(settings: "RunSettings") -> bool:
    """May this model's side of the run never be asked: `privacy=local_only`, and not one's own infrastructure?"""
    return settings.privacy == "local_only" and settings.model.get("location") != "own"
