"""The nouns: hashes that depend on what is asked and on nothing else, and what a record says of itself."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import core
from evals.core import Call, Completion, Message, Record, Request, stable_hash

KEYS = st.text(max_size=6)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | KEYS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ASKED = Request(
    messages=(Message(role="system", content="Extract."), Message(role="user", content="A contract.")),
    schema={"type": "object", "properties": {"who": {"type": "string"}, "when": {"type": "string"}}},
)
NOUNS = [kind for kind in vars(core).values() if isinstance(kind, type) and is_dataclass(kind)]


def turned(value: Any) -> Any:
    """The same JSON with every object's keys in the opposite order."""
    if isinstance(value, dict):
        return {key: turned(value[key]) for key in reversed(value)}
    return [turned(part) for part in value] if isinstance(value, list) else value


@settings(max_examples=100, deadline=None)
@given(JSON)
def test_the_order_of_keys_does_not_change_a_hash(value: Any) -> None:
    again = json.loads(json.dumps(turned(value), indent=3))
    assert stable_hash(value) == stable_hash(turned(value)) == stable_hash(again)


@settings(max_examples=100, deadline=None)
@given(JSON, JSON)
def test_other_content_is_another_hash(one: Any, other: Any) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (stable_hash(one) == stable_hash(other)) is same
    assert stable_hash([one, other]) != stable_hash([[one, other]])


def test_the_order_of_a_list_changes_a_hash() -> None:
    assert stable_hash([1, 2]) != stable_hash([2, 1]) and stable_hash({"a": [1, 2]}) != stable_hash({"a": [2, 1]})


def test_a_hash_is_sha256_of_canonical_json_cut_to_length() -> None:
    whole = hashlib.sha256('{"a":[1,null],"é":"ü"}'.encode()).hexdigest()
    value = {"é": "ü", "a": [1, None]}
    assert stable_hash(value) == whole[:16] and stable_hash(value, length=64) == whole
    assert stable_hash(Path("x")) == stable_hash("x") and len(stable_hash("\ud800")) == 16


def test_a_request_hash_is_the_same_in_another_process() -> None:
    code = "import test_core; print(test_core.ASKED.hash)"
    path = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    where = {**os.environ, "PYTHONHASHSEED": "7", "PYTHONPATH": path}
    told = subprocess.run([sys.executable, "-c", code], env=where, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ASKED.hash


OTHER = {
    "messages": (Message(role="system", content="Extract."), Message(role="user", content="Another contract.")),
    **{"schema": None, "constrain": False, "max_tokens": 1025, "temperature": 0.5, "seed": 1},
    **{"sample_id": "d7", "data_class": "restricted", "features": {"chars": 3}, "inputs": {"text": "x"}},
    **{"truncated_chars": 9, "parts": (ASKED,)},
}


@pytest.mark.parametrize("name", OTHER)
def test_what_is_asked_enters_a_requests_hash_and_what_is_beside_it_does_not(name: str) -> None:
    names = [field.name for field in fields(Request)]
    asked = names.index(name) < names.index("sample_id") or name == "parts"
    assert set(OTHER) == set(names), "every field is looked at"
    assert (replace(ASKED, **{name: OTHER[name]}).hash != ASKED.hash) is asked


@pytest.mark.parametrize(
    "messages",
    [
        (Message(role="user", content="Extract."), Message(role="user", content="A contract.")),
        tuple(reversed(ASKED.messages)),
        ASKED.messages[1:],
        (Message(role="system", content="Extract.A contract."),),
    ],
)
def test_role_order_and_borders_of_messages_enter_the_hash(messages: tuple[Message, ...]) -> None:
    assert replace(ASKED, messages=messages).hash != ASKED.hash


def test_chunks_enter_the_hash_by_what_they_ask() -> None:
    one, two = ASKED, replace(ASKED, seed=1)
    whole = replace(ASKED, messages=(), parts=(one, two))
    assert replace(whole, parts=(two, one)).hash != whole.hash != replace(whole, parts=(one,)).hash
    assert replace(whole, parts=(replace(one, sample_id="d1"), two)).hash == whole.hash


def test_the_order_of_a_schemas_keys_does_not_enter_the_hash() -> None:
    assert replace(ASKED, schema=turned(ASKED.schema)).hash == ASKED.hash


@pytest.mark.parametrize("kind", NOUNS, ids=lambda kind: kind.__name__)
def test_nouns_are_frozen_keyword_only_and_documented(kind: Any) -> None:
    assert kind.__doc__ and "(" not in kind.__doc__.split()[0] and all(field.kw_only for field in fields(kind))
    with pytest.raises(FrozenInstanceError):
        setattr(object.__new__(kind), fields(kind)[0].name, 1)


def test_a_record_says_its_answer_or_its_last_error() -> None:
    bad, worse = (Call(role="answer", model="m", error=kind) for kind in ("server", "timeout"))
    good = Call(role="answer", model="m", completion=Completion(text="{}", finish_reason="stop"))
    about = {"sample_id": "d", "repeat": 0, "request_hash": "h"}
    right = Record(calls=(bad, good), answer=1, **about)
    assert (right.text, right.error) == ("{}", None)
    failed, nothing = Record(calls=(bad, worse), answer=None, **about), Record(calls=(), answer=None, **about)
    assert (failed.text, failed.error) == (None, "timeout") and (nothing.text, nothing.error) == (None, None)
