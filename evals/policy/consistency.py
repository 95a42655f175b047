"""Do an answer's fields agree with each other? Checked where the schema lets it be checked. Pure.

A schema may say so itself: `"not_before": "effective_date"` at a date, `"sum_of": "lines[].amount"` at a number or an
amount of money. Else by name: of an object's dates, one that starts (effective, start, begin, ...) comes before one that
ends (expir..., end, until, due, ...), and start + `term` gives the end to within a few days; a `total` is the sum of the
amounts of the one list beside it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from evals.core import Json
from evals.metrics.fields import Node, items_of, plan
from evals.metrics.normalise import Money, normalise

_START = re.compile(r"(?:^|_)(?:start|begin|effective|commence(?:ment)?|issued?|signed|order|invoice|from)(?:_|$)")
_END = re.compile(r"(?:^|_)(?:end|expir\w*|until|due|terminat\w*|maturity|delivery|to)(?:_|$)")
_TOTAL = re.compile(r"(?:^|_)(?:total|sum)(?:_|$)")
_AMOUNT = re.compile(r"(?:^|_)(?:amount|price|total|value)(?:_|$)")
_TERM = re.compile(r"(?:^|_)(?:term|duration|period)$")
DAYS_APART = 3
"""A term of twelve months from 1 March ends on 28 February, 1 March, or the next working day."""
CENTS_APART = Decimal("0.02")


def checks(answer: Json, schema: Mapping[str, Any]) -> list[bool]:
    """The outcome of every check that this answer's values allow; empty where none does."""
    return list(_object(plan(schema)[0], answer))


def _object(node: Node, value: Json) -> Iterator[bool]:
    if node.item is not None:
        for part in items_of(value) if isinstance(value, list | tuple) else ():
            yield from _object(node.item, part)
    if node.children is None or not isinstance(value, Mapping):
        return
    yield from _dates(node.children, value)
    yield from _sums(node.children, value)
    for name, child in node.children.items():
        yield from _object(child, value.get(name))


def _dates(children: Mapping[str, Node], value: Mapping[str, Any]) -> Iterator[bool]:
    dates = {name: found for name, child in children.items() if (found := _date(child, value.get(name)))}
    for name, child in children.items():
        earlier = (child.options or {}).get("not_before")
        if name in dates and earlier in dates:
            yield dates[earlier] <= dates[name]
    starts = [name for name in dates if _START.search(name) and not _declared(children[name])]
    ends = [name for name in dates if _END.search(name) and not _START.search(name) and not _declared(children[name])]
    for start in starts:
        for end in ends:
            yield dates[start] <= dates[end]
    if len(starts) == len(ends) == 1:
        yield from _term(children, value, dates[starts[0]], dates[ends[0]])


def _declared(node: Node) -> bool:
    return "not_before" in (node.options or {})


def _term(children: Mapping[str, Node], value: Mapping[str, Any], start: date, end: date) -> Iterator[bool]:
    for name, child in children.items():
        if child.kind == "duration" and _TERM.search(name):
            parts = normalise(value.get(name), "duration", child.options or {})
            if isinstance(parts, tuple) and parts and all(unit in ("months", "days") for unit, _ in parts):
                months = sum(float(count) for unit, count in parts if unit == "months")
                days = sum(float(count) for unit, count in parts if unit == "days")
                expected = months * 30.436875 + days
                yield abs((end - start).days - expected) <= DAYS_APART + (2 if months else 0)


def _date(node: Node, value: Json) -> date | None:
    found = normalise(value, "date", node.options or {}) if node.kind == "date" else None
    return found if isinstance(found, date) else None


def _sums(children: Mapping[str, Node], value: Mapping[str, Any]) -> Iterator[bool]:
    lists = {name: child.item for name, child in children.items() if child.item is not None and child.item.children}
    for name, child in children.items():
        whole = _amount(child, value.get(name))
        if whole is None:
            continue
        declared = (child.options or {}).get("sum_of")
        if isinstance(declared, str) and "[]." in declared:
            place, field = declared.split("[].", 1)
            parts = _parts(lists.get(place), field, value.get(place))
        elif _TOTAL.search(name) and len(lists) == 1:
            [(place, item)] = lists.items()
            fields = [one for one in item.children or {} if _AMOUNT.search(one)]
            parts = _parts(item, fields[0], value.get(place)) if len(fields) == 1 else None
        else:
            continue
        if parts:
            yield abs(sum(parts) - whole) <= CENTS_APART


def _parts(item: Node | None, field: str, value: Json) -> Sequence[Decimal] | None:
    """The amounts of a list; `None` where one of them cannot be read."""
    node = (item.children or {}).get(field) if item else None
    if node is None or not isinstance(value, list | tuple):
        return None
    found = [_amount(node, part.get(field)) if isinstance(part, Mapping) else None for part in value]
    return None if any(one is None for one in found) else [one for one in found if one is not None]


def _amount(node: Node, value: Json) -> Decimal | None:
    if node.kind not in ("money", "number"):
        return None
    found = normalise(value, node.kind, node.options or {})
    return found.amount if isinstance(found, Money) else found if isinstance(found, Decimal) else None
