"""Is an answer valid under its task's schema? `jsonschema` is the judge.

Where `jsonschema-rs` is installed, it is asked first: it is more than a hundred times faster, and most answers are
valid. What it does not call valid, or cannot read, goes to the judge, who also words the error. It is not asked about
schemas with a keyword that the two may read differently, such as the regular expressions of two languages.
"""

from collections.abc import Callable, Mapping
from typing import Any

READ_DIFFERENTLY = frozenset({"pattern", "patternProperties", "multipleOf", "format", "$ref", "$dynamicRef"})


class Validator:
    """Draft 2020-12, for one schema."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        import jsonschema

        self._judge = jsonschema.Draft202012Validator(dict(schema))
        self._surely_valid = _compiled(dict(schema))

    def error(self, answer: Any) -> str | None:
        """What is wrong with an answer, in one line; `None` where it is valid."""
        if self._surely_valid is not None and self._surely_valid(answer):
            return None
        found = next(self._judge.iter_errors(answer), None)
        return None if found is None else f"{found.json_path}: {' '.join(found.message.split())[:160]}"


def _compiled(schema: dict[str, Any]) -> Callable[[Any], bool] | None:
    """A test that only valid answers pass; `None` where there is none to be had."""
    try:
        import jsonschema_rs
    except ImportError:
        return None
    if not READ_DIFFERENTLY.isdisjoint(_keys(schema)):
        return None
    try:
        is_valid = jsonschema_rs.Draft202012Validator(schema).is_valid
    except (ValueError, TypeError):  # stricter than `jsonschema` about the schema itself
        return None

    def surely_valid(answer: Any) -> bool:
        try:
            return is_valid(answer)
        except (ValueError, TypeError):  # a lone surrogate, for one
            return False

    return surely_valid


def _keys(value: Any) -> set[str]:
    """Every key in a schema, names of fields included."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (set(value) if isinstance(value, dict) else set()).union(*map(_keys, parts))
