"""The compiled validator never calls valid what the judge calls invalid, and is never needed."""

import copy
import json
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.metrics.valid import Validator

TASKS = Path(__file__).parents[2] / "tasks"
SCHEMAS: dict[str, dict[str, Any]] = {
    name: json.loads((TASKS / name / "schema.json").read_text(encoding="utf-8")) for name in ("legal_extract", "cuad")
}
ODD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def right(part: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Values that a part of a schema mostly allows, at and beyond its limits too."""
    if "properties" in part:
        return st.fixed_dictionaries({name: right(inner) for name, inner in part["properties"].items()})
    if "items" in part:
        return st.lists(right(part["items"]), max_size=3)
    longest, most = part.get("maxLength", 5), part.get("maximum", 5)
    values = {
        "string": st.sampled_from(["", "x", "é" * longest, "😀" * longest, "x" * (longest + 1)]),
        "integer": st.sampled_from([0, 1, most, most + 1, -1, 1.0, 1.5, 2**70, True]),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    kinds = part["type"]
    return st.one_of(*(values[kind] for kind in ([kinds] if isinstance(kinds, str) else kinds)))


@st.composite
def answers(draw: st.DrawFn, schema: dict[str, Any]) -> Any:
    found = draw(right(schema))
    for name in draw(st.sets(st.sampled_from([*schema["properties"], "other"]), max_size=2)):
        if draw(st.booleans()):
            found[name] = draw(ODD)
        else:
            found.pop(name, None)
    return found


@pytest.mark.parametrize("name", SCHEMAS)
def test_it_says_what_jsonschema_says(name: str) -> None:
    ours, judge = Validator(SCHEMAS[name]), jsonschema.Draft202012Validator(SCHEMAS[name])

    @settings(max_examples=300, deadline=None)
    @given(answers(SCHEMAS[name]))
    def agree(answer: Any) -> None:
        error = next(judge.iter_errors(answer), None)
        found = ours.error(answer)
        assert (found is None) == (error is None)
        assert error is None or (found or "").startswith(f"{error.json_path}: ")

    agree()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_compiled_one_alone_agrees_too(name: str) -> None:
    compiled = pytest.importorskip("jsonschema_rs").Draft202012Validator(SCHEMAS[name])
    judge = jsonschema.Draft202012Validator(SCHEMAS[name])

    @settings(max_examples=300, deadline=None)
    @given(answers(SCHEMAS[name]))
    def agree(answer: Any) -> None:
        assert compiled.is_valid(answer) == judge.is_valid(answer)

    agree()


@pytest.mark.parametrize("installed", [True, False])
def test_without_it_all_is_the_same(installed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not installed:
        monkeypatch.setitem(sys.modules, "jsonschema_rs", None)
    found = Validator({"type": "object", "properties": {"x": {"type": "integer", "maximum": 3}}})
    assert found.error({"x": 2}) is None
    assert found.error({"x": 5}) == "$.x: 5 is greater than the maximum of 3"
    assert found.error({"\ud800": "\ud800"}) is None, "a lone surrogate"


def test_what_the_two_read_differently_goes_to_the_judge() -> None:
    found = Validator({"type": "object", "properties": {"x": {"pattern": r"^\d+$"}}})
    assert found.error({"x": "١٢"}) is None, "Python's digits, and not Rust's or JavaScript's"
    assert found.error({"x": "12\n"}) is None
    assert found.error({"x": "a"}) == "$.x: 'a' does not match '^\\\\d+$'"


def test_a_schema_is_not_changed() -> None:
    before = copy.deepcopy(SCHEMAS["cuad"])
    Validator(SCHEMAS["cuad"]).error({})
    assert SCHEMAS["cuad"] == before
