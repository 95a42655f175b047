"""Replies of any shape are read, or are a failed call: never an exception of ours."""

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Completion, Usage
from evals.errors import CallFailed
from evals.models.openai_reply import Answer, ChatEvents, ResponseEvents, read, read_usage
from evals.models.openai_request import Api

USAGE = {
    "prompt_tokens": 10,
    "completion_tokens": 5,
    "total_tokens": 15,
    "prompt_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 2},
}
CHAT = {
    "id": "c",
    "model": "m",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "x", "refusal": None}, "finish_reason": "stop"}
    ],
    "usage": USAGE,
}
CHUNK = {
    "model": "m",
    "choices": [{"index": 0, "delta": {"content": "x", "refusal": None}, "finish_reason": "stop"}],
    "usage": USAGE,
    "error": None,
}
RESPONSE = {
    "id": "r",
    "model": "m",
    "status": "completed",
    "error": None,
    "incomplete_details": None,
    "output": [
        {"type": "reasoning", "summary": []},
        {"type": "message", "content": [{"type": "output_text", "text": "x", "annotations": []}]},
    ],
    "usage": {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 15,
    },
}
EXPECTED = Usage(input_uncached=5, cache_read=4, cache_write=1, output=5, reasoning=2)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["text", "type", "code", "a"]), inner, max_size=2)
    ),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in a JSON value."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def spoilt(draw: st.DrawFn, reply: dict[str, Any]) -> Any:
    """The reply with one value replaced or taken out."""
    path = draw(st.sampled_from(places(reply)))
    if not path:
        return draw(JUNK)
    made = copy.deepcopy(reply)
    at: Any = made
    for key in path[:-1]:
        at = at[key]
    if draw(st.booleans()):
        at[path[-1]] = draw(JUNK)
    else:
        del at[path[-1]]
    return made


def ends(answer: Answer) -> None:
    try:
        done = answer.completion({}, {})
    except CallFailed as error:
        assert error.text
    else:
        assert isinstance(done, Completion) and isinstance(done.text, str) and isinstance(done.finish_reason, str)
        json.dumps(done.served_by)


def test_whole_replies() -> None:
    apis: tuple[tuple[Api, dict[str, Any]], ...] = (("chat", CHAT), ("responses", RESPONSE))
    for api, reply in apis:
        answer = read(api, reply).completion({"x-request-id": "q", "x-ms-region": "West"}, {})
        assert (answer.text, answer.finish_reason, answer.usage) == ("x", "stop", EXPECTED)
        assert answer.served_by == {"model": "m", "request_id": "q", "region": "West"}


@settings(max_examples=300, deadline=None)
@given(spoilt(CHAT))
def test_any_chat(reply: Any) -> None:
    ends(read("chat", reply))


@settings(max_examples=300, deadline=None)
@given(spoilt(RESPONSE))
def test_any_response(reply: Any) -> None:
    ends(read("responses", reply))


@settings(max_examples=300, deadline=None)
@given(st.lists(spoilt(CHUNK), max_size=3))
def test_any_chunks(chunks: list[Any]) -> None:
    events = ChatEvents()
    for chunk in chunks:
        events.event(chunk)
    events.end()
    ends(events.answer)


@settings(max_examples=300, deadline=None)
@given(st.lists(spoilt({"type": "response.completed", "delta": "x", "response": RESPONSE}) | JUNK, max_size=3))
def test_any_events(found: list[Any]) -> None:
    events = ResponseEvents()
    for event in found:
        events.event(event)
    ends(events.answer)


@given(spoilt(USAGE))
def test_any_usage(block: Any) -> None:
    usage = read_usage(block)
    for name in Usage.__slots__:
        value = getattr(usage, name)
        assert value is None or type(value) is int
    assert usage.input_uncached is None or usage.input_uncached >= 0


def test_a_failed_response_names_its_cause() -> None:
    def kind(reply: dict[str, Any]) -> str:
        try:
            read("responses", RESPONSE | reply).completion({}, {})
        except CallFailed as error:
            return error.kind
        return "none"

    assert kind({"status": "failed", "error": {"code": "server_error", "message": "x"}}) == "server"
    assert kind({"status": "failed", "error": {"code": "invalid_prompt", "message": "x"}}) == "content_filter"
    assert kind({"status": "failed", "error": {"code": "rate_limit_exceeded", "message": "x"}}) == "rate_limit"
    assert kind({"status": "failed"}) == kind({"status": "queued"}) == "bad_body"
    assert kind({"status": "incomplete", "incomplete_details": {"reason": "content_filter"}}) == "content_filter"
    cut = read("responses", RESPONSE | {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}})
    assert cut.completion({}, {}).finish_reason == "length"
    assert kind({"output": [{"type": "function_call", "name": "f"}]}) == "none"
