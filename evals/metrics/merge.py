"""One answer of the answers to a document's chunks."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.metrics.fields import plan
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
            merged[name] = _joined(values, next(iter(node.item.children or {}), ""))
        elif values:
            given = [v for v in values if normalise(v, node.kind, node.options or {}) is not None]
            merged[name] = next((v for v in given if document.grounds(v, node.kind)), given[0] if given else None)
        else:
            merged[name] = None
    return merged


def _joined(values: Sequence[Any], key_name: str) -> list[Any]:
    seen: set[Any] = set()
    items = []
    for item in (item for value in values if isinstance(value, list) for item in value):
        first = item.get(key_name) if isinstance(item, Mapping) else item
        key = normalise(first, "name")
        if key is not None and key not in seen:
            seen.add(key)
            items.append(item)
    return items
