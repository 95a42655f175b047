"""The wire form of a schema: golden files for the shipped tasks, each provider's rules for any schema."""

import copy
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.models.wire_schema import EXTENSIONS, Dialect, derive, schema_name

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
DIALECTS = get_args(Dialect)
TASKS = sorted(path.parent.name for path in ROOT.glob("tasks/*/schema.json"))
FULL = {
    "title": "All there is",
    "type": "object",
    "required": ["a"],
    "$defs": {"Money": {"type": "string", "kind": "money", "pattern": "^[A-Z]{3} "}},
    "properties": {
        "a": {"type": "string", "kind": "date", "format": "date", "minLength": 2},
        "kind": {"type": "string", "description": "a field that is named like a keyword of ours"},
        "b": {"type": "integer", "minimum": 0, "exclusiveMaximum": 9, "default": 3},
        "c": {"enum": ["x", "y"]},
        "d": {"const": "z"},
        "e": {"oneOf": [{"type": "string", "format": "uri"}, {"type": "number", "multipleOf": 2}]},
        "f": {"$ref": "#/$defs/Money", "description": "gone beside the reference", "minLength": 3},
        "g": {"type": "array", "minItems": 2, "uniqueItems": True, "items": {"type": "object", "required": []}},
        "h": {"allOf": [{"type": "object", "properties": {"i": {"type": "boolean"}}}]},
        "j": {"type": ["string", "null"], "enum": ["p", None]},
        "k": {"type": "object", "additionalProperties": {"type": "string"}, "dependentRequired": {"m": ["n"]}},
    },
}


def objects(node: Any) -> list[dict[str, Any]]:
    """Every schema inside a schema that speaks of an object."""
    found = []
    if isinstance(node, dict):
        kinds = node.get("type")
        if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
            found.append(node)
        found += [one for value in node.values() for one in objects(value)]
    elif isinstance(node, list):
        found += [one for value in node for one in objects(value)]
    return found


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("task", TASKS)
def test_golden(task: str, dialect: Dialect) -> None:
    schema = json.loads((ROOT / "tasks" / task / "schema.json").read_text(encoding="utf-8"))
    wire, dropped = derive(schema, dialect)
    made = json.dumps({"dropped": dropped, "schema": wire}, indent=1, ensure_ascii=False) + "\n"
    golden = GOLDEN / f"{task}.{dialect}.json"
    assert golden.exists(), f"write it: {made}"
    assert made == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_our_keywords_never_leave_but_fields_of_that_name_do(dialect: Dialect) -> None:
    wire, _ = derive(FULL, dialect)
    assert set(wire["properties"]) == set(FULL["properties"])  # type: ignore[arg-type]
    assert '"kind": "date"' not in json.dumps(wire)
    assert list(wire["properties"]) == list(FULL["properties"]), "the order of the keys is the order of the answer"


def test_openai_every_key_is_required_and_the_optional_ones_may_be_null() -> None:
    wire, dropped = derive(FULL, "openai")
    for one in objects(wire):
        assert one["additionalProperties"] is False
        assert one["required"] == list(one["properties"])
    properties = wire["properties"]
    assert properties["a"] == {"type": "string", "format": "date"}
    assert properties["b"] == {"type": ["integer", "null"], "minimum": 0, "exclusiveMaximum": 9}
    assert properties["c"] == {"enum": ["x", "y", None]}
    assert properties["d"] == {"enum": ["z", None]}
    assert properties["e"] == {"anyOf": [{"type": "string"}, {"type": "number", "multipleOf": 2}, {"type": "null"}]}
    assert properties["f"] == {"anyOf": [{"$ref": "#/$defs/Money"}, {"type": "null"}]}
    assert properties["g"]["minItems"] == 2
    assert properties["h"]["properties"] == {"i": {"type": ["boolean", "null"]}}
    assert properties["j"] == {"type": ["string", "null"], "enum": ["p", None]}
    assert wire["$defs"]["Money"] == {"type": "string", "pattern": "^[A-Z]{3} "}
    assert dropped == (
        "$.a: minLength",
        "$.e: format",
        "$.e: oneOf",
        "$.f: minLength",
        "$.g: uniqueItems",
        "$.k: additionalProperties",
        "$.k: dependentRequired",
    )


def test_anthropic_has_no_bounds_and_closed_objects() -> None:
    wire, dropped = derive(FULL, "anthropic")
    assert all(one["additionalProperties"] is False for one in objects(wire))
    assert wire["required"] == ["a"], "an optional field stays optional"
    properties = wire["properties"]
    assert properties["b"] == {"type": "integer"}
    assert properties["d"] == {"const": "z"}
    assert properties["j"] == {"enum": ["p", None]}
    assert properties["e"]["anyOf"][0] == {"type": "string", "format": "uri"}
    assert "minItems" not in properties["g"] and "$.g: minItems" in dropped
    assert "#Money: pattern" in dropped and "$.b: minimum" in dropped and "$.b: default" not in dropped


def test_gemini_keeps_what_its_reference_lists() -> None:
    wire, dropped = derive(FULL, "gemini")
    assert wire["properties"]["b"] == {"type": "integer", "minimum": 0}
    assert wire["properties"]["d"] == {"enum": ["z"]}
    assert wire["properties"]["k"]["additionalProperties"] == {"type": "string"}
    assert "$.b: exclusiveMaximum" in dropped


def test_plain_loses_nothing_but_our_keywords() -> None:
    wire, dropped = derive(FULL, "plain")
    expected = copy.deepcopy(FULL)
    del expected["properties"]["a"]["kind"], expected["$defs"]["Money"]["kind"]  # type: ignore[index, attr-defined]
    assert wire == expected and dropped == ()


@pytest.mark.parametrize("dialect", DIALECTS)
def test_the_full_schema_is_not_changed_and_the_same_object_is_given_back(dialect: Dialect) -> None:
    before = copy.deepcopy(FULL)
    first, again = derive(FULL, dialect), derive(FULL, dialect)
    assert before == FULL
    assert first[0] is again[0] and first[1] is again[1]
    assert derive(copy.deepcopy(FULL), dialect) == first


def test_a_root_reference_is_resolved() -> None:
    schema = {"$ref": "#/$defs/Answer", "$defs": {"Answer": {"type": "object", "properties": {"x": {"type": "null"}}}}}
    wire, dropped = derive(schema, "openai")
    assert wire["type"] == "object" and wire["required"] == ["x"] and "$defs" in wire and dropped == ()


def test_the_openai_sdk_finds_nothing_left_to_make_strict() -> None:
    strict = pytest.importorskip("openai.lib._pydantic")
    for schema in [FULL, *(json.loads((ROOT / "tasks" / t / "schema.json").read_text()) for t in TASKS)]:
        wire, _ = derive(schema, "openai")
        assert strict._ensure_strict_json_schema(copy.deepcopy(wire), path=(), root=wire) == wire


def as_unions(node: Any) -> Any:
    """Lists of types as `anyOf`, the only form that the anthropic SDK's own transform reads."""
    if isinstance(node, list):
        return [as_unions(one) for one in node]
    if not isinstance(node, dict):
        return node
    out = {key: as_unions(value) for key, value in node.items()}
    if isinstance(out.get("type"), list):
        kinds = out.pop("type")
        rest = {key: out.pop(key) for key in list(out) if key != "description"}
        out["anyOf"] = [{"type": kind, **(rest if kind != "null" else {})} for kind in kinds]
    return out


def test_the_anthropic_sdk_finds_nothing_left_to_drop() -> None:
    """Its transform writes what it must drop into the description, in braces."""
    module = pytest.importorskip("anthropic.lib._parse._transform")
    for schema in [FULL, *(json.loads((ROOT / "tasks" / t / "schema.json").read_text()) for t in TASKS)]:
        wire, _ = derive(schema, "anthropic")
        assert module.transform_schema(as_unions(wire)) == as_unions(wire)


LEAVES = st.sampled_from(
    [
        {"type": "string", "kind": "name", "maxLength": 9},
        {"type": ["integer", "null"], "minimum": 0},
        {"enum": ["a", 1, None]},
        {"const": True},
        {"type": "string", "format": "uri", "pattern": "a"},
        {"$ref": "#/$defs/x", "kind": "id"},
        {},
    ]
)


def bigger(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    fields = st.dictionaries(st.sampled_from(["kind", "items", "type", "a"]), inner, max_size=3)
    return (
        fields.map(lambda p: {"type": "object", "properties": p, "required": list(p)[:1]})
        | inner.map(lambda i: {"type": ["array", "null"], "items": i, "minItems": 2, "unordered": True})
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: {"oneOf": parts})
        | inner.map(lambda i: {"allOf": [i]})
    )


@settings(max_examples=100, deadline=None)
@given(st.recursive(LEAVES, bigger, max_leaves=12), st.sampled_from(DIALECTS))
def test_any_schema(node: dict[str, Any], dialect: Dialect) -> None:
    schema = {"type": "object", "properties": {"root": node}, "$defs": {"x": {"type": "boolean"}}}
    before = copy.deepcopy(schema)
    wire, dropped = derive(schema, dialect)
    assert schema == before and list(dropped) == sorted(set(dropped))
    if dialect == "plain":
        assert dropped == ()
        return
    if dialect == "openai":
        for one in objects(wire):
            assert one["required"] == list(one["properties"]) and one["additionalProperties"] is False
    text = json.dumps(wire)
    assert not any(f'"{word}": "name"' in text or f'"{word}": true' in text for word in EXTENSIONS)


def test_schema_name() -> None:
    assert schema_name({"title": "légal extract/2"}) == "l_gal_extract_2"
    assert schema_name({}) == "answer" and len(schema_name({"title": "x" * 99})) == 64
