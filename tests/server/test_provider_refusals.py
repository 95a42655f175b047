"""What the test server refuses, and what the SDKs make of it."""

from typing import Any

import fixture
import pytest
from sdk import SCHEMA, chat, message, said, strict

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

# ---- refusals


@pytest.mark.parametrize(
    "more, kind, said_in, code",
    [
        ({"extra_body": {"foo": 1}}, "BadRequestError", "Unrecognized request argument supplied: foo", None),
        ({"temperature": "hot"}, "BadRequestError", "expected a decimal, but got a string", "invalid_type"),
        ({"messages": [{"role": "user", "content": "x", "foo": 1}]}, "BadRequestError", "messages[0].foo", "unknown_parameter"),
        ({"messages": [{"role": "user"}]}, "BadRequestError", "messages[0].content", "missing_required_parameter"),
        ({"service_tier": "gold"}, "BadRequestError", "Supported values are", "invalid_value"),
        ({"stream_options": {"include_usage": True}}, "BadRequestError", "only allowed when 'stream'", None),
        ({"model": "missing-model"}, "NotFoundError", "does not exist", "model_not_found"),
        ({"model": "no-quota"}, "RateLimitError", "exceeded your current quota", "insufficient_quota"),
        ({"model": "my-reasoner", "max_tokens": 5}, "BadRequestError", "max_completion_tokens", "unsupported_parameter"),
        ({"model": "my-reasoner", "temperature": 0}, "BadRequestError", "'temperature'", "unsupported_parameter"),
        ({"messages": said("CONTEXT OVERFLOW")}, "BadRequestError", "maximum context length", "context_length_exceeded"),
        ({"messages": said("FILTER ME")}, "BadRequestError", "filtered", "content_filter"),
        ({"extra_headers": {"Authorization": "Bearer wrong"}}, "AuthenticationError", "Incorrect", "invalid_api_key"),
        ({"extra_headers": {"Authorization": "Bearer forbidden"}}, "PermissionDeniedError", "not allowed", None),
    ],
)  # fmt: skip
def test_chat_refusals(
    gpt: Any, provider: fixture.Server, more: Any, kind: str, said_in: str, code: str | None
) -> None:
    with pytest.raises(getattr(openai, kind)) as caught:
        chat(gpt, **{"text": "x"} | more)
    assert said_in in caught.value.message
    assert code is None or caught.value.code == code
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    totals = provider.log()["totals"]
    assert (totals["refused"], totals["billed"], totals["attempts"]) == (1, 0, 0)


@pytest.mark.parametrize(
    "more, kind, said_in",
    [
        ({"extra_body": {"foo": 1}}, "BadRequestError", "foo: Extra inputs are not permitted"),
        ({"messages": [{"role": "user"}]}, "BadRequestError", "messages.0.content: Field required"),
        ({"extra_body": {"max_tokens": "x"}}, "BadRequestError", "max_tokens: Input should be a valid integer"),
        ({"model": "no-sampling", "extra_body": {"temperature": 0}}, "BadRequestError", "`temperature` is deprecated"),
        ({"model": "no-sampling", "extra_body": {"top_k": 1}}, "BadRequestError", "`top_k` is deprecated"),
        ({"model": "missing-model"}, "NotFoundError", "model: missing-model"),
        ({"messages": said("CONTEXT OVERFLOW")}, "BadRequestError", "prompt is too long"),
        ({"messages": said("TOO LARGE BODY")}, "RequestTooLargeError", "maximum size"),
        ({"extra_headers": {"x-api-key": "wrong"}}, "AuthenticationError", "invalid x-api-key"),
        ({"extra_headers": {"anthropic-version": anthropic.Omit()}}, "BadRequestError", "header is required"),
    ],
)
def test_message_refusals(claude: Any, provider: fixture.Server, more: Any, kind: str, said_in: str) -> None:
    with pytest.raises(getattr(anthropic, kind)) as caught:
        message(claude, **{"text": "x"} | more)
    body = caught.value.body
    assert said_in in body["error"]["message"] and body["type"] == "error"
    assert body["request_id"] == caught.value.response.headers["request-id"]


def test_sampling_parameters_of_older_models(claude: Any) -> None:
    assert message(claude, "x", extra_body={"temperature": 0, "top_k": 1}).stop_reason == "end_turn"


def test_max_tokens_is_required(claude: Any) -> None:
    with pytest.raises(anthropic.BadRequestError, match="max_tokens: Field required"):
        claude.post("/v1/messages", body={"model": "m", "messages": said("x")}, cast_to=object)


def test_responses_refusals(gpt: Any) -> None:
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'foo'"):
        gpt.responses.create(model="m", input="x", extra_body={"foo": 1})
    with pytest.raises(openai.BadRequestError, match=r"Unknown parameter: 'input\[0\].foo'"):
        gpt.responses.create(model="m", input=[{"role": "user", "content": "x", "foo": 1}])
    with pytest.raises(openai.BadRequestError, match="exceeds the context window"):
        gpt.responses.create(model="m", input="CONTEXT OVERFLOW")
    with pytest.raises(openai.APIError, match="exceeds the context window") as caught:
        list(gpt.responses.create(model="m", input="CONTEXT OVERFLOW", stream=True))
    assert caught.value.code == "context_length_exceeded" and not isinstance(caught.value, openai.APIStatusError)


def without(schema: Any, name: str) -> Any:
    """The schema without one word at its top."""
    return {k: v for k, v in schema.items() if k != name}


@pytest.mark.parametrize(
    "schema, openai_says, anthropic_says",
    [
        (without(SCHEMA, "additionalProperties"), "'additionalProperties' is required", "must be explicitly set to false"),
        (SCHEMA | {"required": ["who"]}, "Missing 'kind'", None),
        (SCHEMA | {"oneOf": []}, "'oneOf' is not permitted", "'oneOf' is not supported"),
        (
            SCHEMA | {"properties": SCHEMA["properties"] | {"kind": {"type": "string", "maxLength": 3}}},
            "'maxLength' is not permitted",
            "'maxLength' is not supported",
        ),
        (SCHEMA | {"properties": SCHEMA["properties"] | {"kind": {"type": "string", "kind": "name"}}}, "'kind' is not permitted", None),
    ],
)  # fmt: skip
def test_schema_rules(gpt: Any, claude: Any, schema: Any, openai_says: str, anthropic_says: str | None) -> None:
    with pytest.raises(openai.BadRequestError, match=openai_says):
        chat(gpt, "x", response_format=strict(schema))
    form = {"type": "json_schema", "schema": schema}
    if anthropic_says is None:
        message(claude, "x", output_config={"format": form})
    else:
        with pytest.raises(anthropic.BadRequestError, match=anthropic_says):
            message(claude, "x", output_config={"format": form})
