"""Whom to ask next. Pure and deterministic: a live hybrid and the simulation call this very function."""

import hashlib
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from evals.core import Call, Completion, Policy, Request
from evals.policy.features import features, value_of
from evals.policy.privacy import forbidden
from evals.policy.signals import signals

Side = Literal["cheap", "strong"]
Places = Mapping[str, Mapping[str, str | None]]
"""`cheap` and `strong` -> `{"location": ..., "terms": ...}`, as the models' cards say."""


def choose(
    policy: Policy, request: Request, calls: Sequence[Call] = (), *, places: Places | None = None
) -> Side | None:
    """Whom to ask next; `None`: the last call's answer counts (before any call: nobody may be shown the document).

    `places`: where the two models stand, of the models that are at hand; else what the policy's `about` says. A model
    that may not be shown the document is never chosen: the other one answers where it may, and nothing escalates.
    A cascade asks `strong` where the cheap answer's `error_score` is above the threshold, or where there is no answer.
    """
    places = places if places is not None else policy.about.get("places") or {}
    may = [side for side in _sides(policy) if _allowed(request, places.get(side) or {})]
    if not calls:
        wanted = first(policy, request, may)
        return wanted if wanted in may or not may else may[0]
    if policy.kind != "cascade" or may != ["cheap", "strong"]:
        return None
    if any(call.role == "escalation" or call.model == policy.strong for call in calls):
        return None
    answer = _answer(calls)
    return "strong" if answer is None or above(policy, signals(request, answer)) else None


def first(policy: Policy, request: Request, may: Sequence[Side] = ("cheap", "strong")) -> Side | None:
    """Whom to ask first, were both at hand."""
    if not may:
        return None
    match policy.kind:
        case "random_mix":
            return "strong" if unit(request.sample_id) < (policy.share or 0.0) else "cheap"
        case "rule":
            return "strong" if policy.rule and holds(policy.rule, features(request)) else "cheap"
        case "preroute":
            return "strong" if above(policy, features(request)) else "cheap"
        case "privacy_route":
            return "strong" if "strong" in may else "cheap"
        case _:
            return "cheap"


def unit(sample_id: str) -> float:
    """A document's number in 0..1, spread evenly and the same everywhere."""
    return int.from_bytes(hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).digest()[:7], "big") / 2**56


def above(policy: Policy, given: Mapping[str, float]) -> bool:
    """Does P(error) of the cheap model exceed the policy's threshold?"""
    if policy.signal is None or policy.threshold is None:
        return False
    return error_score(policy.signal, given) > policy.threshold


def error_score(signal: Mapping[str, Any], given: Mapping[str, float]) -> float:
    """P(error) by a saved model, or the plain score where `link` is `identity`.

    Inputs are standardised, `(x - mean) / scale`; one that is not known counts as its mean. Logistic:
    1 / (1 + exp(-(intercept + coef . z))); `calibration` maps that on linearly between its points, flat outside.
    """
    total = float(signal["intercept"])
    for name, mean, scale, weight in zip(
        signal["inputs"], signal["mean"], signal["scale"], signal["coef"], strict=True
    ):
        value = value_of(given, name)
        if value is not None:
            total += weight * (value - mean) / scale
    if signal.get("link", "logistic") == "logistic":
        total = 1 / (1 + math.exp(-total)) if total > -700 else 0.0
    curve = signal.get("calibration")
    return _between(curve["x"], curve["y"], total) if curve else total


def _between(xs: Sequence[float], ys: Sequence[float], x: float) -> float:
    """Linear between points of rising x, flat outside."""
    if x <= xs[0]:
        return float(ys[0])
    for left, right, low, high in zip(xs, xs[1:], ys, ys[1:], strict=False):
        if x <= right:
            return float(high if right == left else low + (high - low) * (x - left) / (right - left))
    return float(ys[-1])


_COMPARED: dict[str, Callable[[float, Any], Any]] = {
    ">": operator.gt,
    ">=": operator.ge,
    "<": operator.lt,
    "<=": operator.le,
    "==": operator.eq,
    "in": lambda value, wanted: value in wanted,
}
OPERATORS = tuple(_COMPARED)


def holds(rule: Mapping[str, Any], given: Mapping[str, float]) -> bool:
    """Does a rule `{"feature", "op", "value"}` hold? Where its feature is not known it does: the strong model is asked."""
    value, wanted = value_of(given, str(rule["feature"])), rule["value"]
    if value is None:
        return True
    return bool(_COMPARED[str(rule["op"])](value, wanted))


def _sides(policy: Policy) -> tuple[Side, ...]:
    return ("cheap",) if policy.kind == "single" or not policy.strong else ("cheap", "strong")


def _allowed(request: Request, place: Mapping[str, str | None]) -> bool:
    return forbidden(request.data_class, location=place.get("location"), terms=place.get("terms")) is None


def _answer(calls: Sequence[Call]) -> Completion | None:
    """The cheap model's answer to the whole document (of one in parts: the merged one)."""
    whole = [call.completion for call in calls if call.role not in ("part", "judge")]
    return whole[-1] if whole else None
