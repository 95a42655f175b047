"""A schema as a rule for tokens, on a tokenizer of single bytes."""

import json
from typing import Any

import numpy as np
import pytest

from evals.errors import CallFailed
from evals.models.constraint import Schemas, allowed, closed

llguidance = pytest.importorskip("llguidance")
BYTES = 256


def tokenizer() -> Any:
    pieces = [bytes([at]) for at in range(BYTES)] + [b"\xff</s>"]
    return llguidance.LLTokenizer(llguidance.TokenizerWrapper(_Bytes(pieces)), n_vocab=BYTES + 1, eos_token=BYTES)


class _Bytes:
    eos_token_id, bos_token_id = BYTES, None

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens = tokens
        self.special_token_ids = [BYTES]

    def __call__(self, text: bytes | str) -> list[int]:
        return list(text.encode() if isinstance(text, str) else text)


@pytest.fixture(scope="module")
def schemas() -> Schemas:
    return Schemas(tokenizer)


def takes(schemas: Schemas, schema: dict[str, Any], text: str) -> bool:
    """Does the schema let exactly this text through?"""
    matcher, _ = schemas.matcher(schema)
    return all(matcher.consume_token(byte) for byte in text.encode()) and matcher.is_accepting()


OBJECT = {
    "type": "object",
    "required": ["b"],
    "properties": {"a": {"type": ["string", "null"], "maxLength": 3, "kind": "name"}, "b": {"type": "boolean"}},
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (OBJECT, '{"a": "xyz", "b": true}', '{"a": "wxyz", "b": true}'),
        (OBJECT, '{"b": true}', '{"a": null}'),
        (OBJECT, '{"a": null, "b": false}', '{"b": false, "a": null}'),  # the schema's order
        (OBJECT, '{"b": true}', '{"b": true, "c": 1}'),  # none is invented
        (OBJECT, '{"b": true}', '{ "b": true}'),
        (OBJECT, '{"a": "é", "b": true}', '{"a": "\n", "b": true}'),
        ({"type": "integer", "minimum": 0, "maximum": 365}, "365", "366"),
        ({"type": "integer"}, "9" * 16, "9" * 17),
        ({"enum": ["yes", 'a"b', None]}, '"a\\"b"', '"no"'),
        ({"type": "string", "pattern": "^[A-Z]{2}$"}, '"AB"', '"ABC"'),
        ({"type": "array", "items": {"type": "null"}, "maxItems": 2, "minItems": 1}, "[null, null]", "[]"),
        ({"$defs": {"n": {"type": "boolean"}}, "$ref": "#/$defs/n"}, "true", "1"),
    ],
)
def test_what_a_schema_lets_through(schemas: Schemas, schema: dict[str, Any], good: str, bad: str) -> None:
    json.loads(good)
    assert takes(schemas, schema, good) and not takes(schemas, schema, bad)


def test_the_mask_is_what_may_be_consumed(schemas: Schemas) -> None:
    matcher, _ = schemas.matcher(OBJECT)
    for byte in b'{"a": "x':
        assert allowed(matcher, BYTES + 1)[byte]
        matcher.consume_token(byte)
    mask = allowed(matcher, BYTES + 1)
    assert mask.dtype == bool and mask.shape == (BYTES + 1,)
    assert not mask[ord("\n")] and not mask[BYTES] and mask[ord('"')]
    assert [bool(one) for one in mask[: BYTES + 1]] == [bool(matcher.validate_tokens([at])) for at in range(BYTES + 1)]


def test_each_answer_has_a_matcher_of_its_own(schemas: Schemas) -> None:
    first, _ = schemas.matcher(OBJECT)
    first.consume_token(ord("{"))
    second, _ = schemas.matcher(OBJECT)
    assert np.flatnonzero(allowed(second, BYTES)).tolist() == [ord("{")]


def test_what_cannot_be_held_is_told_or_refused(schemas: Schemas) -> None:
    _, dropped = schemas.matcher({"type": "array", "items": {"type": "null"}, "uniqueItems": True})
    assert any("uniqueItems" in one for one in dropped)
    with pytest.raises(CallFailed, match="cannot be decoded under") as caught:
        schemas.matcher({"type": "string", "pattern": "(?=x)y"})
    assert caught.value.kind == "bad_request"
    with pytest.raises(CallFailed):
        schemas.matcher({"$ref": "https://example.org/x"})


def test_closing_a_schema_leaves_the_original_alone() -> None:
    given = {"properties": {"a": {"type": "integer", "maximum": 5}, "b": {"type": ["object"], "properties": {}}}}
    before = json.dumps(given)
    made = closed(given)
    assert json.dumps(given) == before
    assert made["additionalProperties"] is False and made["properties"]["b"]["additionalProperties"] is False
    assert made["properties"]["a"]["maximum"] == 5 and made["properties"]["a"]["minimum"] < 0
