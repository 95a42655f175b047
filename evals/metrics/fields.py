"""Typed leaves of gold and answer, compared one by one: five outcomes, strict and normalised.

TP equal; WRONG both set and different; MISS gold set, answer absent; HALL gold null, answer set; TN both absent.
F1 = 2TP / (2TP + 2 WRONG + MISS + HALL). A field that gold does not mention at all is not scored. An answer that
could not be parsed misses every gold leaf that is set; its null leaves are left out, not rewarded.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from evals.core import FieldOutcome, Json, Outcome, Score
from evals.metrics.align import align
from evals.metrics.dates import Ambiguous
from evals.metrics.normalise import Money, Unparsed, normalise, same
from evals.metrics.parse import parse_object
from evals.metrics.text import Source, same_span, source_of, token_jaccard_score
from evals.metrics.valid import Validator

ITEM_THRESHOLD = 0.3
"""Least mean leaf score at which two list items are taken for the same one."""
FORMING = frozenset({"day_order", "ignore", "loose", "synonyms"})
"""Options that change normal forms."""
DEFAULT_KINDS = {"boolean": "bool", "integer": "number", "number": "number", "string": "text"}


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the schema: an object (`children`), a list (`item`), or a leaf (`kind`)."""

    path: str
    kind: str = ""
    options: Mapping[str, Any] | None = None
    own_form: bool = False
    """Do the options change a value's normal form? The source is searched for the form that needs no options."""
    children: Mapping[str, "Node"] | None = None
    item: "Node | None" = None


_PLANS: dict[int, tuple[Mapping[str, Any], Node, Validator]] = {}


def plan(schema: Mapping[str, Any]) -> tuple[Node, Validator]:
    """The schema's tree of leaves and its validator, made once per schema object."""
    kept = _PLANS.get(id(schema))
    if kept is None or kept[0] is not schema:
        kept = _PLANS[id(schema)] = (schema, _node("", schema), Validator(schema))
    return kept[1], kept[2]


def _node(path: str, schema: Mapping[str, Any]) -> Node:
    if "properties" in schema:
        prefix = f"{path}." if path else ""
        return Node(path, children={name: _node(prefix + name, part) for name, part in schema["properties"].items()})
    if "items" in schema and schema.get("kind") != "set":
        return Node(path, item=_node(f"{path}[]", schema["items"]))
    if schema.get("kind") == "set":
        return Node(path, item=_node(f"{path}[]", schema.get("items", {})))
    return Node(path, kind=_kind(schema), options=schema, own_form=not FORMING.isdisjoint(schema))


def _kind(schema: Mapping[str, Any]) -> str:
    if "kind" in schema:
        return str(schema["kind"])
    if "enum" in schema:
        return "enum"
    types = schema.get("type", "string")
    first = next((t for t in ([types] if isinstance(types, str) else types) if t != "null"), "string")
    return "date" if schema.get("format") == "date" else DEFAULT_KINDS.get(first, "text")


def score_fields(
    gold: Json, answer: Json, *, schema: Mapping[str, Any], source: str | None = None
) -> tuple[FieldOutcome, ...]:
    """The outcome of every leaf. `answer=None` is an answer that could not be parsed."""
    found: list[FieldOutcome] = []
    _compare(plan(schema)[0], gold, answer, source_of(source) if source else None, found, parsed=answer is not None)
    return tuple(found)


def _compare(
    node: Node, gold: Json, answer: Json, source: Source | None, found: list[FieldOutcome], *, parsed: bool
) -> None:
    if node.children is not None:
        gold = gold if isinstance(gold, Mapping) else {}
        answer = answer if isinstance(answer, Mapping) else {}
        for name, child in node.children.items():
            if name in gold or (node.path and (name in answer or child.kind)):
                _compare(child, gold.get(name), answer.get(name), source, found, parsed=parsed)
    elif node.item is not None:
        _compare_lists(node.item, gold, answer, source, found, parsed=parsed)
    elif parsed:
        found.append(compare_leaf(node, gold, answer, source))
    elif normalise(gold, node.kind, node.options or {}) is not None:
        found.append(FieldOutcome(path=node.path, kind=node.kind, outcome="miss", strict="miss", gold=gold))


def _compare_lists(
    item: Node, gold: Json, answer: Json, source: Source | None, found: list[FieldOutcome], *, parsed: bool
) -> None:
    wanted, given = items_of(gold), items_of(answer)
    if not wanted and not given:
        if parsed and item.kind:
            found.append(FieldOutcome(path=item.path, kind=item.kind, outcome="tn", strict="tn"))
        return
    pairs = align(
        wanted, given, lambda a, b: similarity(item, a, b), threshold=ITEM_THRESHOLD, key=lambda a: form(item, a)
    )
    for i, j in pairs:
        left, right = None if i is None else wanted[i], None if j is None else given[j]
        leaves: list[FieldOutcome] = []
        _compare(item, left, right, source, leaves, parsed=parsed)
        found.extend(leaf for leaf in leaves if leaf.outcome != "tn" or (i is not None and j is not None))


def form(node: Node, value: Json) -> Json:
    """A list item in normal form, as text."""
    if node.children is not None and isinstance(value, Mapping):
        return {name: form(child, value.get(name)) for name, child in node.children.items()}
    if node.item is not None and isinstance(value, list | tuple):
        return sorted(repr(form(node.item, part)) for part in value)
    return repr(_shortest(normalise(value, node.kind, node.options or {})))


def _shortest(normal: Any) -> Any:
    """A normal form whose numbers are written one way: 5.00 as 5."""
    if isinstance(normal, Decimal):
        return normal.normalize()
    if isinstance(normal, Money):
        return Money(normal.amount.normalize(), normal.currency)
    if isinstance(normal, Ambiguous):
        return sorted(normal.readings)  # a set's own order differs from process to process
    return normal


def items_of(value: Json) -> list[Json]:
    """A list's items; one bare value is a list of one, null an empty list."""
    items = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [item for item in items if item not in (None, "", {}, [])]


def similarity(node: Node, gold: Json, answer: Json) -> float:
    """Mean leaf score of two list items in 0..1: 1 for an equal leaf, up to a half for words in common."""
    if node.children is not None:
        if not isinstance(gold, Mapping) or not isinstance(answer, Mapping):
            return 0.0
        scores = [
            similarity(child, gold.get(name), answer.get(name))
            for name, child in node.children.items()
            if gold.get(name) is not None
        ]
        return sum(scores) / len(scores) if scores else 0.0
    if node.item is not None:
        return float(gold == answer)
    options = node.options or {}
    left, right = normalise(gold, node.kind, options), normalise(answer, node.kind, options)
    if left is None or right is None:
        return float(left is right)
    if same(left, right, options):
        return 1.0
    if isinstance(gold, str) and isinstance(answer, str) and node.kind in ("name", "text", "span"):
        overlap = token_jaccard_score(gold, answer)
        return overlap if node.kind == "span" else overlap / 2
    return 0.0


def compare_leaf(node: Node, gold: Json, answer: Json, source: Source | None = None) -> FieldOutcome:
    """One leaf's outcome, normalised and strict, with a word where it is not plain."""
    options = node.options or {}
    left = normalise(gold, node.kind, options)
    identical = gold == answer and type(gold) is type(answer)
    right = left if identical else normalise(answer, node.kind, options)
    note: str | None = None
    equal = left is not None and right is not None and (identical or same(left, right, options))
    if node.kind == "span" and isinstance(gold, str) and isinstance(answer, str) and left and right:
        equal, note = same_span(gold, answer)
    if not equal and left is not None and right is not None:
        note = note or _note(right, node.kind)
    outcome = _outcome(left is not None, right is not None, equal)
    grounded: bool | None = None
    if source and outcome in ("wrong", "hall"):
        grounded = source.grounds(answer, node.kind, None if node.own_form else right)
    return FieldOutcome(
        path=node.path,
        kind=node.kind,
        outcome=outcome,
        strict=_outcome(gold is not None, answer is not None, identical),
        gold=gold,
        answer=answer,
        grounded=grounded,
        note=note,
    )


def _note(form: Any, kind: str) -> str | None:
    if isinstance(form, Ambiguous):
        return "ambiguous date"
    return f"no {kind}" if isinstance(form, Unparsed) else None


def _outcome(gold: bool, answer: bool, equal: bool) -> Outcome:
    if gold and answer:
        return "tp" if equal else "wrong"
    return "miss" if gold else "hall" if answer else "tn"


def f1_score(tp: float, wrong: float, miss: float, hall: float) -> float:
    """2TP / (2TP + 2 WRONG + MISS + HALL); NaN for 0/0."""
    whole = 2 * tp + 2 * wrong + miss + hall
    return 2 * tp / whole if whole else math.nan


def document_metrics(outcomes: Sequence[FieldOutcome], *, parsed: bool = True) -> dict[str, float]:
    """One document's counts, F1 and exact match, under normalised and strict comparison."""
    found: dict[str, float] = {name: 0.0 for name in ("tp", "wrong", "miss", "hall", "tn")}
    strict = dict(found)
    grounded = {"wrong_grounded": 0.0, "invented": 0.0}
    for leaf in outcomes:
        found[leaf.outcome] += 1
        strict[leaf.strict] += 1
        if leaf.outcome in ("wrong", "hall") and leaf.grounded is not None:
            grounded["wrong_grounded" if leaf.grounded else "invented"] += 1
    errors = found["wrong"] + found["miss"] + found["hall"]
    strict_errors = strict["wrong"] + strict["miss"] + strict["hall"]
    return {
        **found,
        **{f"strict_{name}": value for name, value in strict.items() if name != "tn"},
        "f1": f1_score(found["tp"], found["wrong"], found["miss"], found["hall"]),
        "f1_strict": f1_score(strict["tp"], strict["wrong"], strict["miss"], strict["hall"]),
        "exact": float(parsed and not errors),
        "exact_strict": float(parsed and not strict_errors),
        **grounded,
    }


def score_answer(gold: Json, text: str | None, *, schema: Mapping[str, Any], source: str | None = None) -> Score:
    """Parse, validate against the full schema, compare. `None` is a document that failed."""
    read = parse_object(text) if text is not None else None
    answer = read.value if read else None
    outcomes = score_fields(gold, answer, schema=schema, source=source)
    invalid = plan(schema)[1].error(answer) if answer is not None else None
    metrics = document_metrics(outcomes, parsed=answer is not None)
    metrics["schema_valid"] = float(answer is not None and invalid is None)
    metrics["parse_strict"] = float(read is not None and read.strict)
    metrics["parse_lenient"] = float(read is not None and read.lenient)
    reason = "no answer" if read is None else read.reason
    if invalid is not None:
        reason = f"schema: {invalid}"
    return Score(metrics=metrics, fields=outcomes, answer=answer, reason=reason)
