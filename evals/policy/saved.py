"""A policy as a small readable JSON file, checked when it is read: coefficients and names, never code.

{"format": 1, "kind": "cascade", "cheap": "gemma270m", "strong": "claude", "threshold": 0.31,
 "signal": {"inputs": ["grounded_share"], "mean": [0.9], "scale": [0.1], "coef": [-1.2], "intercept": -0.4,
            "link": "logistic", "calibration": {"x": [...], "y": [...]}}, "about": {...}}
"""

import dataclasses
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from evals.core import Call, Completion, Policy, PolicyKind, Request, stable_hash
from evals.errors import ConfigError, StoreError
from evals.policy.choosing import OPERATORS, Places, Side, choose
from evals.policy.signals import PLAIN
from evals.store import plain, read_json, write_whole

FORMAT = 1
KINDS = get_args(PolicyKind)
NEEDED = {"random_mix": ("strong", "share"), "rule": ("strong", "rule"), "privacy_route": ("strong",)} | dict.fromkeys(
    ("cascade", "preroute"), ("strong", "signal", "threshold")
)
_NUMBERS = re.compile(r"\[\s+((?:-?\d[\d.e+-]*,?\s+)+)\]")
"""A list of numbers over several lines; a string holds no line break."""
CHECKED = {"task": "task", "task_version": "version", "schema": "schema", "prompt": "prompt"}
"""Key of `about` -> what a policy that is used elsewhere than it was fitted is told to differ in."""


@dataclass(frozen=True)
class SavedPolicy:
    """A policy for a service: `policy`, and `choose` for a request or for features that are at hand already."""

    policy: Policy

    def choose(
        self,
        asked: Request | Mapping[str, Any],
        calls: Sequence[Call | Mapping[str, float]] = (),
        *,
        places: Places | None = None,
    ) -> Side | None:
        """`cheap` or `strong`: whom to ask next; `None`: the last answer counts.

        `asked`: a `Request`, or a mapping with the features that the policy uses (name -> number), and `sample_id`,
        `data_class` (public, internal, restricted), `text`. `calls`: the calls so far, oldest first; where only an answer's
        signals are at hand, a mapping of them (name -> number). `places`: side -> `{location, terms}` of the models that are
        at hand; else those of the policy's file. What is not given is not known, and raises nothing.
        """
        return choose(self.policy, _request(asked), [_call(self.policy, one) for one in calls], places=places)

    def option(self, side: Side) -> str:
        """The option that a side stands for."""
        return self.policy.cheap if side == "cheap" or self.policy.strong is None else self.policy.strong


def load_policy(path: str | Path) -> SavedPolicy:
    """The policy of a file that `route save=` or `review save=` wrote, checked; nothing else is read, and nothing is run.

    `.choose(asked, calls)` says whom to ask: "cheap", "strong", or `None` once the last answer counts; `.option(side)` which
    option that is; `.policy` the frozen `Policy` (thresholds and shares 0..1). Raises `ConfigError` where there is no file or
    one that is no policy (the first mistake, in one line), `StoreError` where it holds no JSON object.
    """
    path = Path(path)
    if not path.is_file():
        raise ConfigError(f"{path} is no file; `python -m evals route task=... save=FILE` writes a policy")
    policy = decode(read_json(path), str(path))
    if policy.strong == policy.cheap:
        raise ConfigError(f"{path}: cheap and strong are both {policy.cheap!r}; a policy chooses between two options")
    return SavedPolicy(policy)


def save_policy(policy: Policy, path: str | Path) -> None:
    """Write a policy's file whole. Raises `ConfigError` where it cannot be written."""
    text = json.dumps(encode(policy), indent=1, ensure_ascii=False)
    try:
        write_whole(Path(path), _NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text) + "\n")
    except StoreError as error:
        why = str(error).partition(";")[0]
        raise ConfigError(f"{why}; save=FILE names a file in a folder that can be written to") from None


def encode(policy: Policy) -> dict[str, Any]:
    """A policy as plain data; what it has not is left out."""
    values = {item.name: getattr(policy, item.name) for item in dataclasses.fields(policy)}
    return {"format": FORMAT, **{name: plain(value) for name, value in values.items() if value is not None}}


def decode(given: Mapping[str, Any], where: str) -> Policy:
    """Plain data as a policy; the first mistake raises `ConfigError` that names it."""
    if given.get("format") != FORMAT:
        raise ConfigError(f"{where} is no policy of format {FORMAT}: its format is {given.get('format')!r}")
    names = {item.name for item in dataclasses.fields(Policy)}
    if strange := sorted(set(given) - names - {"format"}):
        raise ConfigError(f"{where}: {strange[0]!r} is no part of a policy; known are {', '.join(sorted(names))}")
    kind = str(given.get("kind"))
    if kind not in KINDS:
        raise ConfigError(f"{where}: kind {kind!r} is not known; known are {', '.join(KINDS)}")
    for name in ("cheap", *NEEDED.get(kind, ())):
        if given.get(name) is None:
            raise ConfigError(f"{where}: a policy of kind {kind} has a {name!r}")
    for name in ("cheap", "strong"):
        if not isinstance(given.get(name, ""), str):
            raise ConfigError(f"{where}: {name} should be an option's name")
    for name in ("threshold", "share"):
        _number(given.get(name, 0.0), f"{where}: {name}")
    if not 0 <= given.get("share", 0.0) <= 1:
        raise ConfigError(f"{where}: share {given['share']} must lie in 0..1")
    _about(given.get("about", {}), where)
    if given.get("signal") is not None:
        _signal(given["signal"], where)
    if given.get("rule") is not None:
        _rule(given["rule"], where)
    return Policy(**{name: given[name] for name in names if name in given})


def check_fits(policy: Policy, path: str | Path, manifest: Mapping[str, Any]) -> None:
    """Raise `ConfigError` where the policy of a file does not fit the answers of a run with this manifest."""
    hashes, version = manifest.get("hashes") or {}, manifest.get("task_version")
    if reason := misfit(
        policy,
        task=str(manifest["task"]),
        version=None if version is None else str(version),
        schema=hashes.get("schema"),
        prompt=hashes.get("prompt"),
    ):
        raise ConfigError(f"{path}: {reason}")


def fitted_on(policy: Policy, manifest: Mapping[str, Any]) -> bool:
    """Was the policy fitted on the very documents of this run?"""
    same = policy.about.get("dataset") == stable_hash(manifest["dataset"])
    return same and policy.about.get("split") == manifest["split"]


def misfit(
    policy: Policy, *, task: str, version: str | None = None, schema: str | None = None, prompt: str | None = None
) -> str | None:
    """In one line why a policy does not fit a task, its version, schema or prompt (hashes); `None` where it fits.

    What the policy or the caller does not say is not compared.
    """
    here = {"task": task, "task_version": version, "schema": schema, "prompt": prompt}
    for key, word in CHECKED.items():
        fitted = policy.about.get(key)
        if fitted is not None and here[key] is not None and str(fitted) != str(here[key]):
            return (
                f"the policy was fitted on another {word} ({_shown(fitted)}, here {here[key]}); "
                f"fit one here: python -m evals route task={task} save=FILE"
            )
    return None


def _shown(value: Any) -> str:
    """What a file says, fit for a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(value)[:80])


def _about(about: Any, where: str) -> None:
    """What others read of it: where the two options stand, and the figures of the simulation."""
    if not isinstance(about, Mapping):
        raise ConfigError(f"{where}: about should be an object")
    for name in ("places", "simulated"):
        if not isinstance(about.get(name) or {}, Mapping):
            raise ConfigError(f"{where}: about.{name} should be an object")
    for side, place in (about.get("places") or {}).items():
        if not isinstance(place, Mapping):
            raise ConfigError(f"{where}: about.places.{side} should be an object")
    told = about.get("simulated") or {}
    for name in ("quality", "latency_p95_s"):
        one = told.get(name)
        ends = one if isinstance(one, Mapping) else {"value": one}
        for end in ("value", "low", "high"):
            if ends.get(end) is not None:
                _number(ends[end], f"{where}: about.simulated.{name}")
    for name, most in (("share_strong", 1.0), ("documents", math.inf)):
        if told.get(name) is not None:
            _number(told[name], f"{where}: about.simulated.{name}")
            if not 0 <= told[name] <= most:
                raise ConfigError(f"{where}: about.simulated.{name} is {told[name]}, which it cannot be")


def _signal(signal: Any, where: str) -> None:
    if not isinstance(signal, Mapping) or not isinstance(signal.get("inputs"), list) or not signal["inputs"]:
        raise ConfigError(f"{where}: signal.inputs should be a list of names")
    for name in ("mean", "scale", "coef"):
        values = signal.get(name)
        if not isinstance(values, list) or len(values) != len(signal["inputs"]):
            raise ConfigError(f"{where}: signal.{name} should hold a number for each of signal.inputs")
        for value in values:
            _number(value, f"{where}: signal.{name}")
    if any(value <= 0 for value in signal["scale"]):
        raise ConfigError(f"{where}: signal.scale should be above 0")
    _number(signal.get("intercept"), f"{where}: signal.intercept")
    if signal.get("link", "logistic") not in ("logistic", "identity"):
        raise ConfigError(f"{where}: signal.link is logistic or identity, not {signal['link']!r}")
    if signal.get("calibration") is not None:
        _curve(signal["calibration"], where)


def _curve(curve: Any, where: str) -> None:
    xs, ys = (curve.get("x"), curve.get("y")) if isinstance(curve, Mapping) else (None, None)
    if not isinstance(xs, list) or not isinstance(ys, list) or len(xs) != len(ys) or not xs:
        raise ConfigError(f"{where}: signal.calibration holds x and y, lists of equal length")
    for value in (*xs, *ys):
        _number(value, f"{where}: signal.calibration")
    if any(right < left for left, right in itertools.pairwise(xs)):
        raise ConfigError(f"{where}: signal.calibration.x should rise")


def _rule(rule: Any, where: str) -> None:
    if not isinstance(rule, Mapping) or not isinstance(rule.get("feature"), str):
        raise ConfigError(f"{where}: rule should be {{feature, op, value}}")
    if rule.get("op") not in OPERATORS:
        raise ConfigError(f"{where}: rule.op {rule.get('op')!r} is not known; known are {' '.join(OPERATORS)}")
    wanted = rule.get("value")
    if rule["op"] == "in" and not isinstance(wanted, list):
        raise ConfigError(f"{where}: rule.value of 'in' should be a list")
    for value in wanted if isinstance(wanted, list) else [wanted]:
        _number(value, f"{where}: rule.value")


def _number(value: Any, what: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{what} is {value!r}, no number")


# What a service has at hand -----------------------------------------------------------------------------------


def _request(asked: Request | Mapping[str, Any]) -> Request:
    if isinstance(asked, Request):
        return asked
    text = asked.get("text")
    own = {"sample_id", "data_class", "text"}
    return Request(
        messages=(),
        sample_id=str(asked.get("sample_id", "")),
        data_class=asked.get("data_class", "public"),
        inputs={"text": text} if isinstance(text, str) else {},
        features={name: value for name, value in asked.items() if name not in own},
    )


def _call(policy: Policy, given: Call | Mapping[str, float]) -> Call:
    if isinstance(given, Call):
        return given
    known = {**dict.fromkeys(PLAIN, math.nan), **given}  # what is not given is not known
    return Call(role="answer", model=policy.cheap, completion=Completion(text="", finish_reason="stop", signals=known))
