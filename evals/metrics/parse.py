"""JSON out of a model's text. The text is untrusted: it is only ever parsed, and in linear time."""

import json
import math
from dataclasses import dataclass
from typing import Any

STARTS = 8
"""At how many opening braces the lenient reading is tried."""

DEEPEST = 100
"""Levels of nesting; what is deeper is no answer, and would overrun the stack of whoever walks it."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """An object read from text, and how: `strict` is JSON and nothing else, `lenient` has something around it."""

    value: dict[str, Any] | None
    strict: bool
    lenient: bool
    reason: str | None = None


class _NotJson(ValueError):
    pass


def parse_object(text: str) -> Parsed:
    """The object that a text holds. Duplicate keys, NaN and Infinity are no strict JSON."""
    try:
        value = _STRICT.decode(text)
        if isinstance(value, dict):
            return Parsed(None, False, False, "nested too deeply") if _too_deep(value) else Parsed(value, True, True)
        return Parsed(None, False, False, f"JSON, but no object: {type(value).__name__}")
    except (ValueError, RecursionError) as error:
        strict_reason = str(error) if isinstance(error, _NotJson) else None
    for candidate in text.split("```", 2 * STARTS)[1::2] + [text]:
        if (value := _first_object(candidate)) is not None:
            return Parsed(value, False, True, strict_reason or "text around the JSON")
    return Parsed(None, False, False, strict_reason or ("no JSON" if "{" not in text else "JSON is cut or broken"))


def _first_object(text: str) -> dict[str, Any] | None:
    """The first whole object that is no part of another one, which is cut or broken."""
    at, inside = -1, 0
    for _ in range(STARTS):
        at = text.find("{", at + 1)
        if at < 0:
            return None
        try:
            value, _end = _LENIENT.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            inside = max(inside, getattr(error, "pos", len(text)))  # up to here it was read as JSON
            continue
        if isinstance(value, dict) and value and at >= inside and not _too_deep(value):
            return value
    return None


def _too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            part
            for item in level
            if isinstance(item, dict | list)
            for part in (item.values() if isinstance(item, dict) else item)
        ]
        if not level:
            return False
    return True


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _NotJson("a key occurs twice")
    return found


def _refused(name: str) -> Any:
    raise _NotJson(f"{name} is no JSON")


def _finite(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise _NotJson(f"{text} is too large a number")
    return value


_STRICT = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refused, parse_float=_finite)
_LENIENT = json.JSONDecoder(parse_constant=_refused, parse_float=_finite)
