"""What an object is read from, how it is called, and the word that says why not."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.metrics.parse import DEEPEST, STARTS, Parsed, parse_object

NUMBERS = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(max_size=6), VALUES, max_size=4)
PROSE = st.text(st.characters(exclude_characters="{}[],`", codec="utf-8"), max_size=30)


@settings(max_examples=100, deadline=None)
@given(OBJECTS, st.sampled_from([None, 2]), st.booleans())
def test_json_and_nothing_else_is_strict(value: dict[str, Any], indent: int | None, ascii_only: bool) -> None:
    text = f" \n{json.dumps(value, indent=indent, ensure_ascii=ascii_only)}\n"
    assert parse_object(text) == Parsed(value, True, True, None)


@settings(max_examples=100, deadline=None)
@given(OBJECTS.filter(bool), PROSE, PROSE, st.booleans())
def test_prose_around_an_object_is_lenient(value: dict[str, Any], before: str, after: str, fence: bool) -> None:
    text = json.dumps(value)
    found = parse_object(f"{before} .{f'```json{chr(10)}{text}{chr(10)}```' if fence else text}. {after}")
    assert (found.value, found.strict, found.lenient) == (value, False, True)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.text("abc", min_size=1), st.integers() | st.text("xyz"), min_size=1, max_size=4), st.data())
def test_an_object_that_is_cut_anywhere_is_no_object(value: dict[str, Any], data: Any) -> None:
    text = json.dumps(value)
    found = parse_object(text[: data.draw(st.integers(0, len(text) - 1))])
    assert found.value is None and not found.strict and not found.lenient and found.reason


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('```\n{"a": 1}\n```\nor\n```\n{"a": 2}\n```', {"a": 1}),
        ('{"a": 1} {"a": 2}', {"a": 1}),
        ('As {"a": 0} shows:\n```json\n{"a": 1}\n```', {"a": 1}),
        ('the set {x, y} is {"a": 1}', {"a": 1}),
        ("{x} " * (STARTS - 1) + '{"a": 1}', {"a": 1}),
        ("{x} " * STARTS + '{"a": 1}', None),
        ('{"a": [{"b": 1}, {"b": 2}, {"b"', None),
        ("\ufeff" + '{"a": 1}', {"a": 1}),
        ('{"a": 1,}', None),
        ("{'a': 1}", None),
        ('say {} or {"a": 1}', {"a": 1}),
    ],
)
def test_which_object_is_taken(text: str, value: Any) -> None:
    found = parse_object(text)
    assert found.value == value and not found.strict and found.lenient is (value is not None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON"),
        ("I cannot answer that.", "no JSON"),
        ('{"a": ', "JSON is cut or broken"),
        ("[1, 2]", "JSON, but no object: list"),
        ('"text"', "JSON, but no object: str"),
        ("null", "JSON, but no object: NoneType"),
        ('{"a": NaN}', "NaN is no JSON"),
        ('{"a": -Infinity}', "-Infinity is no JSON"),
        ('{"a": 1e999}', "1e999 is too large a number"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('so: {"a": 1}', "text around the JSON"),
        ('{"a": ' * DEEPEST + "1" + "}" * DEEPEST, "nested too deeply"),
    ],
)
def test_the_reason_is_named(text: str, reason: str) -> None:
    assert parse_object(text).reason == reason


def test_a_key_twice_in_an_inner_object_is_not_strict_either() -> None:
    found = parse_object('{"a": {"b": 1, "b": 2}}')
    assert (found.value, found.strict, found.lenient) == ({"a": {"b": 2}}, False, True)


def test_an_inner_object_of_a_cut_answer_is_no_answer_and_a_comma_behind_a_whole_one_is_no_cut() -> None:
    assert parse_object('{"who": "Acme", "items": [{"what": "a"}').value is None
    assert parse_object('{"who": "Acme", "items": [{"what": "a"}, {"what"').value is None
    assert parse_object('Answer: {"a": 1}, as asked.').value == {"a": 1}
    assert parse_object('{oops} {"a": 1}').value == {"a": 1}
