"""Do two models say the same? Pure."""

from collections.abc import Mapping
from typing import Any

from evals.metrics.fields import document_metrics, score_fields
from evals.metrics.parse import parse_object


def agreement(a: str, b: str, schema: Mapping[str, Any]) -> float:
    """F1 of one answer's typed leaves by the other's, 0..1: the same whichever is taken for gold. 0 where one cannot be
    read, 1 where both say that nothing is there."""
    left, right = parse_object(a).value, parse_object(b).value
    if left is None or right is None:
        return 0.0
    every = {name: left.get(name) for name in schema.get("properties", {})}  # what is not mentioned is not compared
    found = document_metrics(score_fields(every, right, schema=schema))["f1"]
    return 1.0 if found != found else found
