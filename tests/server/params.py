"""Request bodies against the SDKs' typed parameter dictionaries: a checker made once from the type hints."""

import collections.abc
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, Union

import typing_extensions as te

Path = tuple[Any, ...]
Check = Callable[[Any, Path], "Problem | None"]
_NAMES = {
    str: "a string",
    int: "an integer",
    float: "a decimal",
    bool: "a boolean",
    dict: "an object",
    list: "an array",
    type(None): "null",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that is wrong."""

    kind: Literal["extra", "missing", "type", "value"]
    path: Path
    expected: str = ""
    got: str = ""


def kind_of(value: Any) -> str:
    """In words."""
    return _NAMES.get(type(value), type(value).__name__)


def wrong(path: Path, expected: str, value: Any) -> Problem:
    """Of the wrong type."""
    return Problem("type", path, expected, kind_of(value))


@cache
def checker(hint: Any) -> Check:
    """What checks a value against a type hint."""
    origin = typing.get_origin(hint)
    if origin in (typing.Annotated, te.Required, te.NotRequired):
        return checker(typing.get_args(hint)[0])
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(hint))
    if origin in (Literal, te.Literal):
        return _literal(typing.get_args(hint))
    if te.is_typeddict(hint):
        return _typed_dict(hint)
    if origin in (dict, collections.abc.Mapping):
        return _mapping(typing.get_args(hint)[1])
    inside = typing.get_args(hint)
    if inside and (origin in (list, collections.abc.Iterable, collections.abc.Sequence) or "Sequence" in str(origin)):
        return _array(inside[0])
    if hint in (str, bool, type(None)):
        return lambda value, path: None if type(value) is hint else wrong(path, _NAMES[hint], value)
    if hint is int:
        return lambda value, path: None if type(value) is int else wrong(path, "an integer", value)
    if hint is float:
        return lambda value, path: None if type(value) in (int, float) else wrong(path, "a decimal", value)
    return lambda value, path: None  # object, Any, files: anything goes


def _literal(options: tuple[Any, ...]) -> Check:
    expected = ", ".join(repr(o) for o in options)
    return lambda value, path: None if value in options else Problem("value", path, expected, repr(value))


def _array(inside: Any) -> Check:
    check: Check | None = None

    def run(value: Any, path: Path) -> Problem | None:
        nonlocal check
        check = check or checker(inside)  # late: types refer to themselves
        if not isinstance(value, list):
            return wrong(path, "an array", value)
        for i, item in enumerate(value):
            if (problem := check(item, (*path, i))) is not None:
                return problem
        return None

    return run


def _mapping(inside: Any) -> Check:
    def run(value: Any, path: Path) -> Problem | None:
        if not isinstance(value, dict):
            return wrong(path, "an object", value)
        check = checker(inside)
        for name, item in value.items():
            if (problem := check(item, (*path, name))) is not None:
                return problem
        return None

    return run


def _typed_dict(hint: Any) -> Check:
    made: dict[str, Check] = {}
    required: list[str] = []
    ready = False

    def prepare() -> None:
        for name, part in te.get_type_hints(hint, include_extras=True).items():
            wire = _alias(part) or name
            made[wire] = checker(part)
            origin: Any = typing.get_origin(part)
            # the sets miss markers that stand in unevaluated annotations, and hold what the class's totality says
            if origin is te.Required or (origin is not te.NotRequired and name in hint.__required_keys__):
                required.append(wire)

    def run(value: Any, path: Path) -> Problem | None:
        nonlocal ready
        if not isinstance(value, dict):
            return wrong(path, "an object", value)
        if not ready:
            prepare()
            ready = True
        for name, item in value.items():
            if name not in made:
                return Problem("extra", (*path, name))
            if (problem := made[name](item, (*path, name))) is not None:
                return problem
        for name in required:
            if name not in value:
                return Problem("missing", (*path, name))
        return None

    return run


def _alias(hint: Any) -> str | None:
    origin: Any = typing.get_origin(hint)
    if origin in (te.Required, te.NotRequired):
        hint = typing.get_args(hint)[0]
    for note in getattr(hint, "__metadata__", ()):
        if getattr(note, "alias", None):
            return str(note.alias)
    return None


def _union(options: tuple[Any, ...]) -> Check:
    checks: list[Check] = []
    tagged = [_tags(option) for option in options]

    def run(value: Any, path: Path) -> Problem | None:
        if not checks:
            checks.extend(checker(option) for option in options)
        first: Problem | None = None
        for i, check in enumerate(checks):
            problem = check(value, path)
            if problem is None:
                return None
            # of all that fail, the one whose `type` or `role` is the value's own says best what is wrong
            close = isinstance(value, dict) and tagged[i] and all(value.get(k) in v for k, v in tagged[i].items())
            deep = len(problem.path) > len(path)
            if first is None or close or (deep and not isinstance(value, dict)):
                first = problem if first is None or close or len(problem.path) > len(first.path) else first
        return first

    return run


def _tags(option: Any) -> dict[str, tuple[Any, ...]]:
    if not te.is_typeddict(option):
        return {}
    found = {}
    for name, part in te.get_type_hints(option).items():
        origin: Any = typing.get_origin(part)
        if name in ("type", "role") and origin in (Literal, te.Literal):
            found[name] = typing.get_args(part)
    return found
