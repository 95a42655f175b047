"""The test server, driven by the real SDK clients, so that what stands on it stands on something."""

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fixture
import pytest

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")
pytest.importorskip("aiohttp")

SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["who", "when", "kind", "many"],
    "properties": {
        "who": {"type": ["string", "null"]},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "many": {"type": "array", "items": {"type": "integer"}},
    },
}
LEAST = {"who": None, "when": None, "kind": "a", "many": []}
TEXT = "All is well that ends well, said he."  # 36 letters, 9 tokens


def said(text: str) -> list[dict[str, str]]:
    """One user message."""
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def _clients(provider_session: fixture.Server) -> Iterator[tuple[Any, Any]]:
    gpt = openai.OpenAI(base_url=provider_session.openai_url, api_key="sk-test", max_retries=0, timeout=5)
    claude = anthropic.Anthropic(base_url=provider_session.url, api_key="sk-test", max_retries=0, timeout=5)
    with gpt, claude:
        yield gpt, claude


@pytest.fixture
def gpt(_clients: tuple[Any, Any], provider: fixture.Server) -> Any:
    """OpenAI's client."""
    return _clients[0]


@pytest.fixture
def claude(_clients: tuple[Any, Any], provider: fixture.Server) -> Any:
    """Anthropic's client."""
    return _clients[1]


def chat(gpt: Any, text: str, **more: Any) -> Any:
    """A chat completion."""
    return gpt.chat.completions.create(**{"model": "m", "messages": said(text)} | more)


def message(claude: Any, text: str, **more: Any) -> Any:
    """A message."""
    return claude.messages.create(**{"model": "m", "max_tokens": 100, "messages": said(text)} | more)


def strict(schema: Any) -> dict[str, Any]:
    """OpenAI's response format."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


# ---- chat completions


def test_chat(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT, served_suffix="-2026-01-01")
    raw = gpt.chat.completions.with_raw_response.create(
        model="cached-3-reasoning-5", messages=said("[[id:one]] twenty-two letters"), service_tier="flex", temperature=0
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "cached-3-reasoning-5-2026-01-01"
    assert (answer.service_tier, answer.system_fingerprint) == ("flex", "fp_testserver01")
    assert answer.usage.prompt_tokens == 8 and answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer.usage.completion_tokens == 9 + 5 and answer.usage.completion_tokens_details.reasoning_tokens == 5
    assert answer.usage.total_tokens == 22
    assert raw.headers["x-request-id"].startswith("req_") and raw.headers["openai-processing-ms"].isdigit()
    log = provider.log()
    assert log["documents"]["one"]["good"] == log["totals"]["billed"] == 1
    assert log["totals"]["tokens_good"] == {"input": 5, "cached": 3, "written": 0, "output": 14, "reasoning": 5}
    assert provider.last()[0]["headers"]["authorization"] == "Bearer sk-test"
    assert provider.last()[0]["body"]["temperature"] == 0


def test_chat_streamed(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT, chunks=6, first_ms=20, latency_ms=60)
    began = time.perf_counter()
    seen, at = [], []
    for chunk in chat(gpt, "hello", stream=True, stream_options={"include_usage": True}):
        seen.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            at.append(time.perf_counter() - began)
    pieces = [c.choices[0].delta.content for c in seen if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == TEXT and len(pieces) == 6
    assert [c.choices[0].finish_reason for c in seen if c.choices][-1] == "stop"
    assert seen[-1].choices == [] and seen[-1].usage.completion_tokens == 9
    assert all(c.usage is None for c in seen[:-1])
    assert at[0] >= 0.018 and at[-1] >= 0.055
    assert all(c.usage is None and c.choices for c in chat(gpt, "hello", stream=True))


def test_schema_is_instanced(provider: fixture.Server, gpt: Any, claude: Any) -> None:
    answer = chat(gpt, "x", response_format=strict(SCHEMA))
    assert json.loads(answer.choices[0].message.content) == LEAST
    answer = gpt.responses.create(
        model="m", input="x", text={"format": {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}}
    )
    assert json.loads(answer.output_text) == LEAST
    answer = message(claude, "x", output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert json.loads(answer.content[0].text) == LEAST
    provider.reset(replies={"d7": "seven"})
    assert chat(gpt, "[[id:d7]]", response_format=strict(SCHEMA)).choices[0].message.content == "seven"


def test_answers_are_cut_filtered_and_refused(provider: fixture.Server, gpt: Any, claude: Any) -> None:
    provider.reset(reply=TEXT)
    choice = chat(gpt, "x", max_completion_tokens=2).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("length", TEXT[:8])
    choice = chat(gpt, "FILTER OUTPUT").choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", TEXT[:18])
    choice = chat(gpt, "REFUSE ME").choices[0]
    assert choice.message.content is None and choice.message.refusal
    answer = gpt.responses.create(model="m", input="x", max_output_tokens=2)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output_text == TEXT[:8]
    answer = message(claude, "x", max_tokens=2)
    assert (answer.stop_reason, answer.content[0].text) == ("max_tokens", TEXT[:8])
    answer = message(claude, "REFUSE ME")
    assert answer.stop_reason == "refusal" and answer.stop_details.type == "refusal"


# ---- responses


def test_responses(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT)
    answer = gpt.responses.create(model="reasoning-4-written-2", input=said("hello [[id:r]]"), instructions="Be short.")
    assert answer.output_text == TEXT and answer.status == "completed"
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage.input_tokens == 4 + 3 and answer.usage.input_tokens_details.cache_write_tokens == 2
    assert answer.usage.output_tokens == 13 and answer.usage.output_tokens_details.reasoning_tokens == 4
    provider.reset(reply=TEXT, chunks=3)
    for model in ("m", "reasoning-4"):
        events = list(gpt.responses.create(model=model, input="hello", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
        assert events[0].type == "response.created" and events[0].response.status == "in_progress"
        assert events[-1].type == "response.completed" and events[-1].response.output_text == TEXT
    with gpt.responses.stream(model="m", input="REFUSE ME") as stream:
        assert stream.get_final_response().output[0].content[0].type == "refusal"


# ---- messages


def test_messages(provider: fixture.Server, claude: Any) -> None:
    provider.reset(reply=TEXT)
    raw = claude.messages.with_raw_response.create(
        model="cached-2-written-1-reasoning-6", max_tokens=100, system="Be short.", messages=said("hello [[id:a]]")
    )
    answer = raw.parse()
    assert [block.type for block in answer.content] == ["thinking", "text"] and answer.content[1].text == TEXT
    assert answer.stop_reason == "end_turn" and raw.headers["request-id"].startswith("req_")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (4, 2, 1)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 1
    assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (15, 6)
    assert (usage.service_tier, usage.inference_geo) == ("standard", "global")
    assert provider.log()["documents"]["a"]["good"] == 1


@pytest.mark.parametrize("model", ["m", "reasoning-6", "cached-2"])
def test_messages_streamed(provider: fixture.Server, claude: Any, model: str) -> None:
    provider.reset(reply=TEXT, chunks=4, first_ms=5, latency_ms=15)
    kinds = [event.type for event in message(claude, "hello there", model=model, stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    with claude.messages.stream(model=model, max_tokens=100, messages=said("hello there")) as stream:
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == (15 if model == "reasoning-6" else 9)
    assert final.usage.input_tokens == (1 if model == "cached-2" else 3)


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


# ---- faults, limits, latency


@pytest.mark.parametrize("stream", [False, True])
def test_faults_are_as_predicted(provider: fixture.Server, stream: bool) -> None:
    kinds = {"429": 0.1, "500": 0.1, "529": 0.05, "hang": 0.05, "truncated": 0.1, "unreadable": 0.1, "drop": 0.1}
    kinds |= {"stall": 0.05, "stream_error": 0.05} if stream else {}
    provider.reset(seed=1, faults=kinds, reply=TEXT, first_ms=1, latency_ms=2, retry_after="ms", retry_after_s=0.01)
    documents = [f"d{i}" for i in range(80)]
    expected = provider.faults_of(documents)
    assert set(expected.values()) == set(kinds)  # each kind occurs
    met = asyncio.run(met_by(provider, documents, stream))
    assert met == expected
    totals = provider.log()["totals"]
    bad = sum(kind in ("truncated", "unreadable") for kind in expected.values())
    assert totals["good"] == 80 and totals["billed"] == 80 + bad
    assert totals["received"] == 80 + len(expected) and sum(totals["faults"].values()) == len(expected)
    assert totals["tokens_wasted"]["output"] == 9 * bad


async def met_by(provider: fixture.Server, documents: list[str], stream: bool) -> dict[str, str]:
    """What a client that retries sees: the kind of the first failure by document."""
    met: dict[str, str] = {}
    client = openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0, timeout=0.5)

    async def one(document: str) -> None:
        for _ in range(2):
            kind = await attempt(client, document, stream)
            if kind is None:
                return
            met[document] = kind
        raise AssertionError("the second attempt must succeed")

    async with client:
        await asyncio.gather(*(one(document) for document in documents))
    hidden = {"timeout": ("hang", "stall"), "connection": ("drop", "truncated"), "ended": ("truncated",)}
    log = provider.log()["documents"]
    for document, kind in met.items():
        injected = next(iter(log[document]["faults"]))
        met[document] = injected if injected in hidden.get(kind, (kind,)) else f"{kind}, not {injected}"
    return met


async def attempt(client: Any, document: str, stream: bool) -> str | None:
    """None if it went well."""
    asked = {"model": "m", "messages": said(f"[[id:{document}]]"), "stream": stream}
    try:
        answer = await client.chat.completions.create(**asked)
        if not stream:
            return None if getattr(answer, "usage", None) is not None else "unreadable"
        last = None
        async for chunk in answer:
            last = chunk.choices[0].finish_reason
        return None if last == "stop" else "ended"
    except openai.APITimeoutError:
        return "timeout"
    except openai.APIConnectionError:
        return "connection"
    except openai.APIStatusError as error:
        assert error.status_code != 429 or error.response.headers["retry-after-ms"] == "10"
        return str(error.status_code)
    except openai.APIError:
        return "stream_error"
    except ValueError:  # neither JSON nor UTF-8: the SDK lets both through
        return "unreadable"


@pytest.mark.parametrize("form", ["seconds", "date", "none"])
def test_retry_after(provider: fixture.Server, gpt: Any, claude: Any, form: str) -> None:
    provider.reset(faults={"429": 1.0}, retry_after=form, retry_after_s=3)
    for error, call in ((openai.RateLimitError, chat), (anthropic.RateLimitError, message)):
        client = gpt if call is chat else claude
        with pytest.raises(error) as caught:
            call(client, call.__name__)
        value = caught.value.response.headers.get("retry-after")
        assert {"seconds": value == "3", "date": str(value).endswith("GMT"), "none": value is None}[form]
        call(client, call.__name__)


def test_anthropic_faults(provider: fixture.Server, claude: Any) -> None:
    cases = [
        ("529", False, "OverloadedError"),
        ("504", False, "GatewayTimeoutError"),
        ("drop", False, "APIConnectionError"),
        ("stream_error", True, "OverloadedError"),
        ("drop", True, "RemoteProtocolError"),  # httpx2's own: the SDK lets it through in the middle of a stream
    ]
    for kind, stream, error in cases:
        provider.reset(faults={kind: 1.0}, reply=TEXT, first_ms=1)
        with pytest.raises(Exception) as caught:
            list(message(claude, "x", stream=stream))
        assert type(caught.value).__name__ == error
    provider.reset(faults={"truncated": 1.0}, reply=TEXT)
    assert "message_stop" not in [event.type for event in message(claude, "x", stream=True)]


def test_limits(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(retry_after="ms")
    provider.limits(requests_per_minute=600, burst_s=0.3)  # three at once, then ten a second
    headers = gpt.chat.completions.with_raw_response.create(model="m", messages=said("x")).headers
    assert headers["x-ratelimit-limit-requests"] == "600" and headers["x-ratelimit-remaining-requests"] == "2"
    chat(gpt, "x")
    chat(gpt, "x")
    with pytest.raises(openai.RateLimitError) as caught:
        chat(gpt, "x")
    wait = float(caught.value.response.headers["retry-after-ms"]) / 1000
    assert 0 < wait <= 0.1
    time.sleep(wait + 0.01)
    chat(gpt, "x")
    chat(gpt, "x", extra_headers={"Authorization": "Bearer another"})
    totals = provider.log()["totals"]
    assert (totals["limited"], totals["good"]) == (1, 5)
    provider.limits()
    for _ in range(4):
        chat(gpt, "x")


def test_latency_and_flight(provider: fixture.Server) -> None:
    provider.reset(latency_ms=60)

    async def many() -> None:
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
            await asyncio.gather(*(client.chat.completions.create(model="m", messages=said(f"{i}")) for i in range(12)))

    asyncio.run(many())
    log = provider.log(documents=False)
    assert log["peak_in_flight"] == 12 and log["in_flight"] == 0 and "documents" not in log
    assert log["service_ms"]["p50"] >= 58


def test_a_client_that_goes_away_is_noticed(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(latency_ms=30_000)
    for stream in (False, True):
        with pytest.raises(openai.APITimeoutError):
            chat(gpt.with_options(timeout=0.1), f"[[id:{stream}]]", stream=stream)
    deadline = time.monotonic() + 3
    while provider.log()["in_flight"] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert {d: e["aborted"] for d, e in provider.log()["documents"].items()} == {"False": 1, "True": 1}


# ---- batches


def wait_for(done: Callable[[], Any]) -> Any:
    """Until it says something true."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")


def openai_batch(gpt: Any, documents: list[str], **more: Any) -> Any:
    """Submitted."""
    lines = [
        {
            "custom_id": f"c{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": said(text)} | more,
        }
        for i, text in enumerate(documents)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = gpt.files.create(file=("in.jsonl", content), purpose="batch")
    return gpt.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_openai_batch(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_s=0.15, reply=TEXT)
    batch = openai_batch(gpt, [f"[[id:d{i}]]" for i in range(20)] + ["BATCH FAIL", "CONTEXT OVERFLOW"])
    assert batch.status == "validating" and gpt.batches.retrieve(batch.id).status in ("validating", "in_progress")
    ended = wait_for(lambda: (b := gpt.batches.retrieve(batch.id)).status == "completed" and b)
    counts = ended.request_counts
    assert (counts.total, counts.completed, counts.failed) == (22, 20, 2) and ended.usage.output_tokens == 180
    lines = [json.loads(line) for line in gpt.files.content(ended.output_file_id).text.splitlines()]
    names = [line["custom_id"] for line in lines]
    assert sorted(names) == sorted(f"c{i}" for i in range(20)) and names != [f"c{i}" for i in range(20)]
    body = openai.types.chat.ChatCompletion.model_validate(lines[0]["response"]["body"])
    assert body.choices[0].message.content == TEXT and lines[0]["response"]["status_code"] == 200
    errors = {
        line["custom_id"]: line for line in map(json.loads, gpt.files.content(ended.error_file_id).text.splitlines())
    }
    assert errors["c20"]["response"]["status_code"] == 500
    assert errors["c21"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert provider.log()["totals"]["good"] == 20
    assert [b.id for b in gpt.batches.list()] == [batch.id]


def test_openai_batch_that_expires_fails_or_is_cancelled(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_s=0.05)
    batch = openai_batch(gpt, ["[[id:a]]", "BATCH EXPIRE"])
    ended = wait_for(lambda: (b := gpt.batches.retrieve(batch.id)).status == "expired" and b)
    line = json.loads(gpt.files.content(ended.error_file_id).text)
    assert line["response"] is None and line["error"]["code"] == "batch_expired" and ended.output_file_id
    bad = wait_for(
        lambda: (b := gpt.batches.retrieve(openai_batch(gpt, ["x"], stream=True).id)).status == "failed" and b
    )
    assert bad.errors.data[0].line == 1
    provider.reset(batch_s=60)
    batch = openai_batch(gpt, ["x"])
    assert gpt.batches.cancel(batch.id).status == "cancelling"
    assert gpt.batches.retrieve(batch.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="input_file_id"):
        gpt.batches.create(input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h")


def test_anthropic_batch(provider: fixture.Server, claude: Any) -> None:
    provider.reset(batch_s=0.1, reply=TEXT)
    texts = [f"[[id:d{i}]]" for i in range(12)] + ["BATCH FAIL", "BATCH EXPIRE"]
    requests: list[dict[str, Any]] = [
        {"custom_id": f"c{i}", "params": {"model": "m", "max_tokens": 20, "messages": said(text)}}
        for i, text in enumerate(texts)
    ]
    requests.append({"custom_id": "bad", "params": {"model": "m", "max_tokens": 20, "messages": said("x"), "foo": 1}})
    batch = claude.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress" and batch.request_counts.processing == 15
    with pytest.raises(anthropic.AnthropicError, match="results"):
        claude.messages.batches.results(batch.id)
    ended = wait_for(lambda: (b := claude.messages.batches.retrieve(batch.id)).processing_status == "ended" and b)
    counts = ended.request_counts
    assert (counts.succeeded, counts.errored, counts.expired, counts.processing) == (12, 2, 1, 0)
    results = list(claude.messages.batches.results(batch.id))
    assert [r.custom_id for r in results] != [r["custom_id"] for r in requests]
    by_id = {r.custom_id: r.result for r in results}
    assert by_id["c0"].message.content[0].text == TEXT and by_id["c0"].message.usage.service_tier == "batch"
    assert by_id["c12"].error.error.type == "api_error" and by_id["c13"].type == "expired"
    assert "Extra inputs" in by_id["bad"].error.error.message
    assert [b.id for b in claude.messages.batches.list()] == [batch.id]
    with pytest.raises(anthropic.BadRequestError, match="should match pattern"):
        claude.messages.batches.create(requests=[requests[0] | {"custom_id": "a b"}])
    provider.reset(batch_s=60)
    batch = claude.messages.batches.create(requests=requests)
    assert claude.messages.batches.cancel(batch.id).processing_status == "canceling"
    assert claude.messages.batches.retrieve(batch.id).request_counts.canceled == 15


def test_a_batch_whose_submission_is_lost(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_drops=1, batch_errors=1)
    with pytest.raises(openai.InternalServerError):
        openai_batch(gpt, ["x"])
    with pytest.raises(openai.APIConnectionError):
        openai_batch(gpt, ["x"])
    assert len(list(gpt.batches.list())) == 1
    openai_batch(gpt, ["x"])
    assert len(list(gpt.batches.list())) == 2


# ---- Gemini, and the server itself


def gemini(provider: fixture.Server, action: str, body: Any, key: str = "k") -> tuple[int, str]:
    """As litellm calls it."""
    url = f"{provider.url}/v1beta/models/cached-2-reasoning-3:{action}"
    headers = {"x-goog-api-key": key, "content-type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_gemini(provider: fixture.Server) -> None:
    provider.reset(reply=TEXT, chunks=3)
    asked = {
        "contents": [{"role": "user", "parts": [{"text": "[[id:g]] hello"}]}],
        "system_instruction": {"parts": [{"text": "Be short."}]},
        "generationConfig": {"temperature": 0, "max_output_tokens": 50},
    }
    status, text = gemini(provider, "generateContent", asked)
    answer = json.loads(text)
    assert status == 200 and answer["candidates"][0]["content"]["parts"][0]["text"] == TEXT
    assert answer["candidates"][0]["finishReason"] == "STOP"
    usage = answer["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (7, 2)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"], usage["totalTokenCount"]) == (9, 3, 19)
    status, text = gemini(provider, "streamGenerateContent?alt=sse", asked)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert "".join(e["candidates"][0]["content"]["parts"][0]["text"] for e in events) == TEXT
    assert [e["candidates"][0].get("finishReason") for e in events] == [None] * 3 + ["STOP"]
    status, text = gemini(provider, "generateContent", asked | {"foo": 1})
    assert (
        status == 400
        and json.loads(text)["error"]["status"] == "INVALID_ARGUMENT"
        and '"foo"' in json.loads(text)["error"]["message"]
    )
    assert gemini(provider, "generateContent", asked, key="wrong")[0] == 400
    assert provider.log()["documents"]["g"]["good"] == 2


def test_models_and_unknown_routes(gpt: Any) -> None:
    assert "gpt-test" in [model.id for model in gpt.models.list()]
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        gpt.embeddings.create(model="m", input="x")


def test_unknown_settings_are_refused(provider: fixture.Server) -> None:
    with pytest.raises(ValueError, match="unknown setting nonsense"):
        provider.reset(nonsense=1)
    with pytest.raises(ValueError, match="chunks"):
        provider.reset(chunks=None)


def test_the_server_ends_with_its_parent() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import fixture; s = fixture.start(preload=''); print(s.process.pid)"
    parent = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    proc = Path(f"/proc/{parent.stdout.strip()}")
    wait_for(lambda: not proc.exists() or "Z" in (proc / "stat").read_text().rsplit(")", 1)[1][:3])


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "reply").write_text(TEXT)
    words = [
        sys.executable,
        str(fixture.PROVIDER),
        "--port",
        "0",
        "--reply",
        str(tmp_path / "reply"),
        "--faults",
        '{"500": 1}',
    ]
    with subprocess.Popen(
        [*words, "--max-requests", "2", "--lean", "--preload", "chat"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().removeprefix("PORT ").strip()
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError):
                chat(client, "x")
            assert chat(client, "x", extra_body={"foo": 1}).choices[0].message.content == TEXT  # lean: not looked at
        assert process.wait(timeout=5) == 0
