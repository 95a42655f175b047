"""Schemas as grammars: the text that comes out, and what is honestly left out."""

import json
from pathlib import Path
from typing import Any

import pytest

from evals.models.json_grammar import closes, grammar


def rules(schema: dict[str, Any]) -> dict[str, str]:
    text, _ = grammar(schema)
    return dict(line.split(" ::= ", 1) for line in text.splitlines())


def test_every_name_that_is_used_is_defined() -> None:
    schema = json.loads((Path(__file__).parents[2] / "tasks/legal_extract/schema.json").read_text())
    made = rules(schema)
    for text in made.values():
        bare = "".join(part for at, part in enumerate(_split_quotes(text)) if at % 2 == 0)
        for word in bare.replace("(", " ").replace(")", " ").split():
            name = word.rstrip("?*+").split("{")[0]
            if name and name[0].isalpha():
                assert name in made, text


def _split_quotes(text: str) -> list[str]:
    """Outside, inside, outside, ... of literals and character classes."""
    parts, quote = [""], ""
    for at, char in enumerate(text):
        escaped = at > 0 and text[at - 1] == "\\" and (at < 2 or text[at - 2] != "\\")
        if not escaped and ((not quote and char in '"[') or (quote == "[" and char == "]") or char == quote == '"'):
            quote = "" if quote else char
            parts.append("")
        else:
            parts[-1] += char
    return parts


def test_properties_keep_the_order_of_the_schema() -> None:
    schema = {"type": "object", "required": ["b", "a"], "properties": {"b": {"type": "null"}, "a": {"type": "null"}}}
    made = rules(schema)
    assert made["root"] == r'"{" ("\"b\": " null root-after-1) "}"'
    assert made["root-after-1"] == r'", " "\"a\": " null'


def test_keywords_survive_a_list_of_types() -> None:
    made = rules({"type": ["string", "null"], "maxLength": 7})
    assert made["root-0"] == r'"\"" char{0,7} "\""'
    assert made["root"] == "root-0 | null"
    items = rules({"type": ["array", "null"], "items": {"type": "boolean"}, "maxItems": 3, "minItems": 1})
    assert items["root-0"] == '"[" boolean (", " boolean){0,2} "]"'


def test_our_own_keywords_are_silent_and_unknown_ones_are_told() -> None:
    _, dropped = grammar(
        {
            "type": "object",
            "properties": {
                "a": {"type": ["string", "null"], "kind": "date", "ignore": ["x"], "pattern": "^x", "format": "date"},
                "b": {"type": ["integer", "null"], "minimum": 0, "maximum": 999, "loose": True},
                "c": {"type": "integer", "minimum": 1, "maximum": 3650},
                "d": {"type": "number", "multipleOf": 2},
                "e": {"type": "array", "items": {"type": "string", "kind": "set"}, "uniqueItems": True},
                "f": {"type": "string", "maxLength": 100000},
            },
        }
    )
    assert dropped == (
        "$.a: format", "$.a: pattern", "$.c: maximum", "$.c: minimum", "$.d: multipleOf", "$.e: uniqueItems",
        "$.f: maxLength",
    )  # fmt: skip


def test_references_may_go_round() -> None:
    made = rules(
        {"$defs": {"n": {"type": "object", "properties": {"next": {"$ref": "#/$defs/n"}}}}, "$ref": "#/$defs/n"}
    )
    assert made["root"] == "ref-0"
    assert made["ref-0"] == r'"{" ("\"next\": " ref-0)? "}"'
    assert grammar({"$ref": "https://example.org/x"})[1] == ("$: $ref https://example.org/x",)


def test_literals_are_escaped() -> None:
    assert rules({"enum": ['a"b', 1, None, "é\\"]})["root"] == r'"\"a\\\"b\"" | "1" | "null" | "\"é\\\\\""'
    assert rules({"const": True})["root"] == '"true"'


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "object"}, True),
        ({"type": "array"}, True),
        ({"properties": {}}, True),
        ({"type": "integer"}, False),
        ({"type": ["object", "null"]}, False),
        ({}, False),
    ],
)
def test_where_the_end_need_not_be_decoded(schema: dict[str, Any], expected: bool) -> None:
    assert closes(schema) is expected
