"""What an answer says of its own trustworthiness, cheapest first. Pure; the answer is only ever parsed."""

from collections.abc import Iterator, Mapping
from typing import Any

from evals.core import Completion, Json, Request
from evals.metrics.fields import Node, items_of, plan
from evals.metrics.normalise import normalise
from evals.metrics.parse import parse_object
from evals.metrics.text import Source, source_of
from evals.policy.consistency import checks

RISING = ("ungrounded", "null_share", "truncated", "answer_chars", "forced_share")
"""Signals that, taken alone, speak against an answer where they are high; the others speak for it."""
PLAIN = (
    *("schema_valid", "parse_strict", "parse_lenient", "truncated", "answer_chars"),
    *("null_share", "grounded_share", "ungrounded", "consistent_share"),
)
"""Signals that every backend's answer has; log-probabilities come beside them where a backend gives them."""


def signals(request: Request, completion: Completion) -> dict[str, float]:
    """Signal -> number. What cannot be checked is not there.

    `schema_valid, parse_strict, parse_lenient` 0 or 1; `truncated` 1 where the answer was cut; `answer_chars`;
    `null_share` of the answer's leaves; `grounded_share` of its checkable values that stand in the document and
    `ungrounded` how many do not; `consistent_share` of the cross-field checks that hold; and what the backend gives
    of log-probabilities (`mean_logprob, min_logprob, mean_margin, ...`).
    """
    read = parse_object(completion.text)
    found = {
        "parse_strict": float(read.strict),
        "parse_lenient": float(read.lenient),
        "truncated": float(completion.finish_reason == "length"),
        "answer_chars": float(len(completion.text)),
    }
    found |= {name: float(value) for name, value in completion.signals.items()}
    if not request.schema:
        return found
    answer, (node, validator) = read.value, plan(request.schema)
    found["schema_valid"] = float(answer is not None and validator.error(answer) is None)
    if answer is not None:
        text = request.inputs.get("text")
        found |= _leaves(node, answer, source_of(text) if isinstance(text, str) and text else None)
        if outcomes := checks(answer, request.schema):
            found["consistent_share"] = sum(outcomes) / len(outcomes)
    return found


def _leaves(node: Node, answer: Json, source: Source | None) -> dict[str, float]:
    leaves = list(_walk(node, answer))
    forms = [normalise(value, leaf.kind, leaf.options or {}) for leaf, value in leaves]
    found: dict[str, float] = {}
    if leaves:
        found["null_share"] = sum(form is None for form in forms) / len(leaves)
    if source is not None:
        looked = [
            source.grounds(value, leaf.kind, None if leaf.own_form else form)
            for (leaf, value), form in zip(leaves, forms, strict=True)
            if form is not None
        ]
        if known := [bool(one) for one in looked if one is not None]:
            found["grounded_share"] = sum(known) / len(known)
        found["ungrounded"] = float(sum(one is False for one in looked))
    return found


def _walk(node: Node, value: Json) -> Iterator[tuple[Node, Any]]:
    """Every leaf of the schema with the answer's value there; of a list those of its items."""
    if node.children is not None:
        given = value if isinstance(value, Mapping) else {}
        for name, child in node.children.items():
            yield from _walk(child, given.get(name))
    elif node.item is not None:
        for part in items_of(value):
            yield from _walk(node.item, part)
    else:
        yield node, value
