"""One answer of the answers to a document's chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.metrics.fields import Node, form, items_of, plan
from evals.metrics.normalise import normalise
from evals.metrics.parse import parse_object
from evals.metrics.text import source_of


def merge_answers(texts: Sequence[str], *, schema: Mapping[str, Any], source: str) -> dict[str, Any]:
    """For each field the first value that is grounded in the source, else the first value, else null.

    Lists are joined: every item whose first leaf has not been seen. Chunks whose answer is no JSON are passed over.
    """
    answers = [parsed.value for text in texts if (parsed := parse_object(text)).value is not None]
    document = source_of(source)
    merged: dict[str, Any] = {}
    for name, node in (plan(schema)[0].children or {}).items():
        values = [answer[name] for answer in answers if answer is not None and answer.get(name) not in (None, "", [])]
        if node.item is not None:
            merged[name] = _joined(node.item, values)
        elif values:
            given = [v for v in values if normalise(v, node.kind, node.options or {}) is not None]
            merged[name] = next((v for v in given if document.grounds(v, node.kind)), given[0] if given else None)
        else:
            merged[name] = None
    return merged


def _joined(item: Node, values: Sequence[Any]) -> list[Any]:
    """Every item of every chunk's list, but those given before, and those whose first leaf an earlier chunk gave (a
    name met again without its role)."""
    whole: set[str] = set()
    first: set[str] = set()
    joined = []
    for value in values:
        parts = items_of(value)
        for part in parts:
            key = repr(form(item, part))
            if key not in whole and _first(item, part) not in first:
                joined.append(part)
            whole.add(key)
        first |= {name for part in parts if (name := _first(item, part)) is not None}
    return joined


def _first(item: Node, part: Any) -> str | None:
    """The normal form of an object's first leaf; `None` where it has none."""
    if not item.children or not isinstance(part, Mapping):
        return None
    name, leaf = next(iter(item.children.items()))
    return None if part.get(name) is None else repr(form(leaf, part[name]))
