"""The OpenAI backend against the local server: one contract for each API, transport and way of answering."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from asking import Marks, asked
from scripted import Scripted, reply, stream

from evals.core import Completion, Message, Request, Usage
from evals.errors import CallFailed, ConfigError, FatalCall
from evals.models.base import Batcher, Model
from evals.models.openai import OpenAI
from evals.models.wire_schema import derive

pytest.importorskip("openai")
pytest.importorskip("aiohttp")

KEY = "sk-planted-5Jq8ZwXk2Lm9"
SCHEMA = json.loads((Path(__file__).parents[2] / "tasks/legal_extract/schema.json").read_text(encoding="utf-8"))
WAYS = [
    pytest.param({"api": api, "transport": transport, "stream": stream}, id=f"{api}-{transport}-{stream or 'plain'}")
    for api, transport, stream in itertools.product(("chat", "responses"), ("sdk", "lean"), (True, False))
]
Way = dict[str, Any]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def request(text: str = "A contract.", **more: Any) -> Request:
    messages = (Message(role="system", content="Answer in JSON."), Message(role="user", content=text))
    return Request(messages=messages, schema=SCHEMA, **more)


def made(url: str, way: Way, **more: Any) -> OpenAI:
    options: dict[str, Any] = {"name": "m", "id": "gpt-test", "base_url": url, "key_env": "PLANTED_KEY"}
    options |= {"dialect": "openai", "timeout_s": 20.0} | way
    if options["api"] == "chat":
        options.setdefault("max_tokens_key", "max_completion_tokens")
    return OpenAI(**(options | more))


def ask(url: str, way: Way, what: Request | None = None, **more: Any) -> Completion:
    answer, marks = asyncio.run(asked(made(url, way, **more), what or request()))
    assert isinstance(answer, Completion), answer
    assert marks == (["sent", "first", "last"] if way["stream"] and answer.text else ["sent", "last"])
    return answer


def fail(url: str, way: Way, what: Request | None = None, **more: Any) -> CallFailed:
    answer, marks = asyncio.run(asked(made(url, way, **more), what or request()))
    assert isinstance(answer, CallFailed), answer
    assert marks[0] == "sent"
    return answer


# The answer


@pytest.mark.parametrize("way", WAYS)
def test_an_answer(provider: Any, way: Way) -> None:
    provider.reset(served_suffix="-2026-01-01")
    answer = ask(provider.openai_url, way, id="gpt-test cached-2 reasoning-7")
    assert set(json.loads(answer.text)) == set(SCHEMA["properties"])
    assert answer.finish_reason == "stop"
    tokens = provider.log()["totals"]["tokens_good"]
    assert answer.usage == Usage(
        input_uncached=tokens["input"], cache_read=2, cache_write=0, output=tokens["output"], reasoning=7
    )
    assert answer.served_by["model"] == "gpt-test cached-2 reasoning-7-2026-01-01"
    assert answer.served_by["request_id"].startswith("req_")
    assert answer.served_by["tier"] == "default"
    assert ("fingerprint" in answer.served_by) == (way["api"] == "chat")
    assert answer.notes["keywords_not_enforced"] == list(derive(SCHEMA, "openai")[1])
    assert provider.log()["totals"]["received"] == 1


@pytest.mark.parametrize("way", WAYS)
def test_written_to_the_cache(provider: Any, way: Way) -> None:
    usage = ask(provider.openai_url, way, id="gpt-test written-3").usage
    assert usage.cache_write == 3
    assert usage.input_uncached == provider.log()["totals"]["tokens_good"]["input"]


@pytest.mark.parametrize("way", WAYS)
def test_what_is_sent(provider: Any, way: Way) -> None:
    ask(provider.openai_url, way, request(max_tokens=321, temperature=0.5, seed=4), extra={"service_tier": "flex"})
    (seen,) = provider.last()
    body, headers = seen["body"], seen["headers"]
    assert headers["authorization"] == f"Bearer {KEY}" and headers["content-type"] == "application/json"
    assert body["service_tier"] == "flex" and body["temperature"] == 0.5 and body["model"] == "gpt-test"
    assert body.get("stream", False) is way["stream"]
    wire = derive(SCHEMA, "openai")[0]
    if way["api"] == "chat":
        assert body["max_completion_tokens"] == 321 and body["seed"] == 4
        assert [m["role"] for m in body["messages"]] == ["system", "user"]
        assert body["response_format"]["json_schema"] == {"name": "legal_extract", "strict": True, "schema": wire}
        assert not way["stream"] or body["stream_options"]["include_usage"] is True
    else:
        assert body["max_output_tokens"] == 321 and "seed" not in body and body["store"] is False
        assert body["text"]["format"]["schema"] == wire and body["text"]["format"]["strict"] is True


@pytest.mark.parametrize("way", WAYS)
def test_dropped_parameters_are_not_sent_and_noted(provider: Any, way: Way) -> None:
    refused = fail(provider.openai_url, way, id="reasoner")
    assert isinstance(refused, FatalCall) and refused.kind == "bad_request" and "temperature" in refused.text
    answer = ask(provider.openai_url, way, id="reasoner", drop=("seed", "temperature"))
    assert answer.notes["dropped"] == ["temperature", "seed"]
    assert not {"seed", "temperature"} & set(provider.last()[0]["body"])


@pytest.mark.parametrize("way", WAYS)
def test_free_text_and_json_mode(provider: Any, way: Way) -> None:
    assert ask(provider.openai_url, way, request(constrain=False)).text == "OK"
    body = provider.last()[0]["body"]
    assert "response_format" not in body and "text" not in body
    ask(provider.openai_url, way, structured="none")
    assert "response_format" not in provider.last()[0]["body"]
    ask(provider.openai_url, way, structured="json_object")
    body = provider.last()[0]["body"]
    assert (body.get("response_format") or body["text"]["format"]) == {"type": "json_object"}


@pytest.mark.parametrize("way", WAYS)
def test_ends_that_are_no_stop(provider: Any, way: Way) -> None:
    cut = ask(provider.openai_url, way, request(max_tokens=20))
    assert cut.finish_reason == "length" and cut.usage.output == 20
    refused = ask(provider.openai_url, way, request("REFUSE ME"))
    assert refused.finish_reason == "refusal" and refused.text == "I cannot help with that."
    filtered = fail(provider.openai_url, way, request("FILTER OUTPUT"))
    assert filtered.kind == "content_filter" and not isinstance(filtered, FatalCall)
    assert filtered.usage is not None and (filtered.usage.output or 0) > 0


# Failures


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ("CONTEXT OVERFLOW", "context_length"),
        ("FILTER ME", "content_filter"),
        ("FLAG ME", "content_filter"),
        ("TOO LARGE BODY", "too_large"),
    ],
)
def test_a_document_that_is_refused(provider: Any, way: Way, document: str, kind: str) -> None:
    error = fail(provider.openai_url, way, request(document))
    assert error.kind == kind and not isinstance(error, FatalCall)
    assert error.status in (400, 413, None)  # None: told inside a stream


@pytest.mark.parametrize("way", WAYS)
def test_what_every_call_would_die_of(provider: Any, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    url = provider.openai_url
    for options, kind in (
        ({"id": "missing-model"}, "unknown_model"),
        ({"id": "no-quota"}, "auth"),
        ({"extra": {"nonsense": 1}}, "bad_request"),
        ({"dialect": "plain"}, "bad_request"),  # a schema that strict mode refuses
    ):
        error = fail(url, way, **options)
        assert isinstance(error, FatalCall) and error.kind == kind, error
    for word in ("wrong", "forbidden"):
        monkeypatch.setenv("PLANTED_KEY", f"{word}-{KEY}")
        error = fail(url, way)
        assert isinstance(error, FatalCall) and error.kind == "auth"
        assert word + "-sk" not in error.text, "the server's text echoes the key"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("form", ["seconds", "date", "ms", "none"])
def test_rate_limits(provider: Any, way: Way, form: str) -> None:
    provider.reset(faults={"429": 1.0}, retry_after=form, retry_after_s=2.0)
    error = fail(provider.openai_url, way)
    assert error.kind == "rate_limit" and error.status == 429 and not isinstance(error, FatalCall)
    if form == "none":
        assert error.retry_after_s is None
    else:
        assert error.retry_after_s == pytest.approx(2.0, abs=1.1 if form == "date" else 0.001)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("status", "kind"), [("500", "server"), ("503", "server"), ("408", "timeout"), ("409", "server")]
)
def test_the_servers_trouble(provider: Any, way: Way, status: str, kind: str) -> None:
    provider.reset(faults={status: 1.0}, retry_after_on="503", retry_after_s=1.0)
    error = fail(provider.openai_url, way)
    assert error.kind == kind and error.status == int(status)
    assert error.retry_after_s == (1.0 if status == "503" else None)
    assert provider.log()["totals"]["received"] == 1, "the SDK must not repeat by itself"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("fault", "plain", "streamed"),
    [
        ("truncated", "bad_body", "bad_body"),
        ("unreadable", "bad_body", "bad_body"),
        ("drop", "server", "bad_body"),
        ("hang", "timeout", "timeout"),
        ("stall", "timeout", "timeout"),
        ("stream_error", "server", "server"),
    ],
)
def test_broken_replies(provider: Any, way: Way, fault: str, plain: str, streamed: str) -> None:
    provider.reset(faults={fault: 1.0})
    error = fail(provider.openai_url, way, timeout_s=0.5)
    expected = streamed if way["stream"] else plain
    assert error.kind in (expected, "server" if fault == "drop" else expected), error
    assert not isinstance(error, FatalCall)


@pytest.mark.parametrize("way", WAYS)
def test_no_server_at_all(way: Way) -> None:
    error = fail("http://127.0.0.1:9/v1", way)
    assert error.kind == "server" and error.status is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_a_cut_attempt_closes_its_connection(provider: Any, way: Way, fault: str) -> None:
    provider.reset(faults={fault: 1.0})

    async def cut() -> None:
        model = made(provider.openai_url, way)
        await model.start()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await model.generate(request(), Marks())
            for _ in range(100):
                if provider.log()["in_flight"] == 0:
                    return
                await asyncio.sleep(0.02)
            raise AssertionError("the server still waits for the client")
        finally:
            await model.close()

    asyncio.run(cut())


# The connection


@pytest.mark.parametrize("transport", ["sdk", "lean"])
def test_nothing_throttles(provider: Any, transport: str) -> None:
    """300 at once."""
    provider.reset(latency_ms=1000.0)

    async def many() -> None:
        model = made(provider.openai_url, {"api": "chat", "transport": transport, "stream": False})
        await model.start()
        await asyncio.gather(*(model.generate(request(f"{i}"), Marks()) for i in range(300)))
        await model.close()

    asyncio.run(many())
    assert provider.log()["peak_in_flight"] == 300
    assert provider.log()["totals"]["good"] == 300


class Counted(Scripted):
    """Counts connections too."""

    connections = 0

    async def _talk(self, *streams: Any) -> None:
        self.connections += 1
        await super()._talk(*streams)


@pytest.mark.parametrize("transport", ["sdk", "lean"])
@pytest.mark.parametrize("streamed", [True, False])
def test_a_connection_is_used_again(transport: str, streamed: bool) -> None:
    alive = {"connection": "keep-alive"}
    events = [chunk({"content": "x"}, "stop"), DONE]
    script = stream(events, headers=alive) if streamed else reply(chat({"content": "x"}), headers=alive)

    async def go() -> int:
        async with Counted([script]) as server:
            model = made(server.url, {"api": "chat", "transport": transport, "stream": streamed})
            await model.start()
            for _ in range(5):
                await model.generate(request(), Marks())
            await model.close()
            assert len(server.asked) == 5
            return server.connections

    assert asyncio.run(go()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_key_is_one_line_before_any_socket(provider: Any, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PLANTED_KEY")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(asked(made(provider.openai_url, way), request()))
    assert str(caught.value) == "PLANTED_KEY is not set: model m needs it"


@pytest.mark.parametrize("way", WAYS)
def test_without_a_key_none_is_sent(provider: Any, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even the one the SDK would find in the environment; nor whose organisation this is."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-for-openai-only")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "sk-admin-for-openai")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    error = fail(provider.openai_url, way, key_env=None)
    assert error.kind == "auth"  # the test server wants one
    assert not {"authorization", "openai-organization"} & set(provider.last()[0]["headers"])
    assert "sk-" not in json.dumps(provider.last())


@pytest.mark.parametrize("way", WAYS)
def test_basic_auth(provider: Any, way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", "ann:s3cret-word")
    ask(provider.openai_url, way, auth="basic")
    assert provider.last()[0]["headers"]["authorization"] == "Basic YW5uOnMzY3JldC13b3Jk"


@pytest.mark.parametrize("transport", ["sdk", "lean"])
def test_a_redirect_is_not_followed(transport: str) -> None:
    async def go() -> CallFailed:
        async with Scripted([reply(b"", status=307, headers={"location": "https://elsewhere.example/v1"})]) as server:
            answer, _ = await asked(
                made(server.url, {"api": "chat", "transport": transport, "stream": False}), request()
            )
            assert isinstance(answer, CallFailed) and len(server.asked) == 1
            return answer

    error = asyncio.run(go())
    assert isinstance(error, FatalCall) and error.kind == "bad_request" and "elsewhere.example" in error.text


def test_the_environment_redirects_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:9/elsewhere")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-of-mine")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway: hidden-token-1")

    async def facts() -> tuple[dict[str, Any], str]:
        model = OpenAI(name="m", id="gpt-test", key_env="PLANTED_KEY")
        found = await model.start()
        assert model._sdk is not None
        url = str(model._sdk.client.base_url)
        await model.close()
        return dict(found), url

    found, url = asyncio.run(facts())
    assert url == "https://api.openai.com/v1/"
    assert found["client"]["env"] == {
        "OPENAI_BASE_URL": "ignored",
        "OPENAI_ORG_ID": "sent",
        "OPENAI_CUSTOM_HEADERS": "sent",
    }
    said = json.dumps(found)
    assert KEY not in said and "org-of-mine" not in said and "hidden-token" not in said and "elsewhere" not in said


# What it says of itself


@pytest.mark.parametrize("way", WAYS)
def test_facts(provider: Any, way: Way) -> None:
    async def facts() -> dict[str, Any]:
        model = made(provider.openai_url, way, drop=("seed",), extra={"reasoning_effort": "low"})
        assert isinstance(model, Model) and isinstance(model, Batcher)
        found = await model.start()
        await model.close()
        return dict(found)

    found = asyncio.run(facts())
    client = found.pop("client")
    assert client["transport"] == way["transport"]
    assert client["sdk"].startswith("openai " if way["transport"] == "sdk" else "aiohttp ")
    assert found == {
        "backend": "openai",
        "api": way["api"],
        "id": "gpt-test",
        "base_url": provider.openai_url,
        "api_version": "v1",
        "stream": way["stream"],
        "structured": "json_schema",
        "dialect": "openai",
        "max_tokens_key": "max_completion_tokens" if way["api"] == "chat" else "max_output_tokens",
        "dropped": ["seed"],
        "extra": {"reasoning_effort": "low"},
    }


def test_the_transport_is_chosen_by_where_it_goes() -> None:
    async def chosen(**options: Any) -> str:
        model = OpenAI(name="m", id="x", key_env="PLANTED_KEY", **options)
        facts = await model.start()
        await model.close()
        return str(facts["client"]["transport"])

    assert asyncio.run(chosen()) == "sdk"
    assert asyncio.run(chosen(base_url="https://eu.api.openai.com/v1")) == "sdk"
    assert asyncio.run(chosen(base_url="http://127.0.0.1:8000/v1")) == "lean"
    assert asyncio.run(chosen(base_url="http://127.0.0.1:8000/v1", transport="sdk")) == "sdk"


def test_account(monkeypatch: pytest.MonkeyPatch) -> None:
    def account(**options: Any) -> str:
        return OpenAI(name="m", id="x", **({"key_env": "PLANTED_KEY"} | options)).account

    first = account()
    assert len(first) == 16 and account(api="responses", stream=False) == first
    assert account(base_url="http://Host:1/v1") == account(base_url="http://host:1/v1/") != first
    monkeypatch.setenv("PLANTED_KEY", KEY + "x")
    assert account() != first


def test_mistakes_in_the_yaml() -> None:
    with pytest.raises(ConfigError, match="auth=basic") as caught:
        OpenAI(name="m", id="x", base_url="https://ann:s3cret-word@host/v1")
    assert "s3cret" not in str(caught.value)
    for options, words in (
        ({"base_url": "host/v1"}, "must start with http"),
        ({"base_url": "https://host/v1?key=1"}, "no \\? or #"),
        ({"drop": ("top_p",)}, "top_p is none of temperature, seed"),
        ({"api": "responses", "max_tokens_key": "max_tokens"}, "max_output_tokens"),
    ):
        with pytest.raises(ConfigError, match=words):
            OpenAI(name="m", id="x", **options)  # type: ignore[arg-type]


# Servers that are not OpenAI's


def odd(script: Any, what: Request | None = None, **options: Any) -> Completion | CallFailed:
    """The answer of a server that says exactly this, the same through both transports."""

    async def one(transport: str) -> Completion | CallFailed:
        async with Scripted([script]) as server:
            way = {"api": "chat", "transport": transport, "stream": False} | options
            return (await asked(made(server.url, way), what or request()))[0]

    first, second = asyncio.run(one("sdk")), asyncio.run(one("lean"))
    assert str(first) == str(second)
    return first


def chat(message: Any, **more: Any) -> dict[str, Any]:
    return {"model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "stop"}]} | more


def chunk(delta: Any, finish: str | None = None, **more: Any) -> bytes:
    data = {"model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more
    return f"data: {json.dumps(data)}\n\n".encode()


DONE = b"data: [DONE]\n\n"


def test_no_usage_is_not_zero() -> None:
    answer = odd(reply(chat({"content": "x"})))
    assert isinstance(answer, Completion) and answer.usage == Usage()
    assert isinstance(said := odd(stream([chunk({"content": "x"}, "stop"), DONE]), stream=True), Completion)
    assert said.usage == Usage() and said.text == "x" and said.served_by == {"model": "m"}


def test_usage_with_reasoning_outside_the_completion() -> None:
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22}
    usage |= {"completion_tokens_details": {"reasoning_tokens": 7}}  # type: ignore[dict-item]
    answer = odd(reply(chat({"content": "x"}, usage=usage)))
    assert isinstance(answer, Completion)
    assert answer.usage == Usage(input_uncached=10, output=12, reasoning=7)


def test_odd_streams() -> None:
    keep_alive = b": OPENROUTER PROCESSING\n\n"
    crlf = chunk({"content": "b"}).replace(b"\n", b"\r\n")
    split = chunk({"content": "\u00e9\u00e9"}, "stop")
    events = [keep_alive, chunk({"role": "assistant", "content": None}), chunk({"reasoning_content": "hm"}), crlf]
    answer = odd(stream([*events, split[:37], split[37:], chunk({}, None, usage=None), DONE]), stream=True)
    assert isinstance(answer, Completion) and answer.text == "b\u00e9\u00e9"


def test_text_in_parts() -> None:
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}, {"type": "text", "text": "x"}]
    assert isinstance(answer := odd(reply(chat({"content": parts}))), Completion) and answer.text == "x"
    events = [chunk({"content": parts[:1]}), chunk({"content": parts[1:]}, "stop"), DONE]
    assert isinstance(answer := odd(stream(events), stream=True), Completion) and answer.text == "x"


def test_a_stream_that_is_never_ended_after_its_last_event() -> None:
    """A closing event is an end, even if the server keeps the connection open."""
    script = [*stream([chunk({"content": "x"}, "stop"), DONE], end=False), "hang"]
    started = time.monotonic()
    answer = odd(script, stream=True)
    assert isinstance(answer, Completion) and answer.text == "x" and time.monotonic() - started < 5


def test_a_stream_without_its_closing_event() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
    error = odd(stream([chunk({"content": "x"}, "stop"), chunk({}, usage=usage)]), stream=True)
    assert isinstance(error, CallFailed) and error.kind == "bad_body"
    assert error.usage == Usage(input_uncached=3, output=1)


def test_a_server_that_cannot_stream_is_said() -> None:
    error = odd(reply(chat({"content": "x"})), stream=True)
    assert isinstance(error, CallFailed) and error.kind == "bad_body" and "stream=false" in error.text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        {"choices": []},
        {"choices": [{}]},
        chat(None),
        chat({"content": "x"}) | {"choices": 3},
    ],
    ids=str,
)
def test_replies_that_are_no_answer(body: Any) -> None:
    error = odd(reply(body))
    assert isinstance(error, CallFailed) and error.kind == "bad_body" and not isinstance(error, FatalCall)


def test_an_error_told_with_status_200() -> None:
    error = odd(reply({"error": {"message": "Rate limit of the host behind", "code": 429}}))
    assert isinstance(error, CallFailed) and error.kind == "rate_limit"
    broken = chat({"content": "half"})
    broken["choices"][0] |= {"finish_reason": "error", "error": {"code": 502, "message": "the host behind died"}}
    assert isinstance(error := odd(reply(broken)), CallFailed) and error.kind == "server"
    events = [chunk({"content": "ha"}), b'data: {"error": {"message": "boom", "type": "server_error"}}\n\n']
    assert isinstance(error := odd(stream(events), stream=True), CallFailed) and error.kind == "server"


def test_a_compressed_reply() -> None:
    import gzip

    body = gzip.compress(json.dumps(chat({"content": "x"})).encode())
    assert isinstance(odd(reply(body, headers={"content-encoding": "gzip"})), Completion)
    events = gzip.compress(chunk({"content": "x"}, "stop") + DONE)
    assert isinstance(odd(stream([events], headers={"content-encoding": "gzip"}), stream=True), Completion)


def test_broken_characters_do_no_harm() -> None:
    """A lone surrogate, in the document and in the answer."""
    body = json.dumps(chat({"content": "a\ud83d"})).encode()
    answer = odd(reply(body), request("x \udc9d y"))
    assert isinstance(answer, Completion) and answer.text == "a\ufffd"


def test_a_wrong_base_url_is_said() -> None:
    error = odd(reply({"detail": "Not Found"}, status=404))
    assert isinstance(error, FatalCall) and "base_url" in error.text


def test_a_large_document() -> None:
    """Beyond 1 MB, where aiohttp would warn."""
    answer = odd(reply(chat({"content": "x"})), request("word " * 300_000))
    assert isinstance(answer, Completion)


def test_a_schema_beside_json_mode() -> None:
    """As llama-cpp-python's server has it."""
    model = OpenAI(name="m", id="x", base_url="http://h/v1", key_env=None, structured="json_object_schema")
    body = json.loads(model.body(request(), stream=False)[0])
    assert body["response_format"] == {"type": "json_object", "schema": derive(SCHEMA, "plain")[0]}
    assert body["max_tokens"] == 1024 and "keywords_not_enforced" not in model.body(request(), stream=False)[1]


def test_the_constant_part_is_made_once_for_a_task() -> None:
    model = OpenAI(name="m", id="x")
    first, second = model.body(request("a"), stream=True), model.body(request("b"), stream=True)
    assert first[1] is second[1] and first[0] != second[0]
    for seed in range(200):
        model.body(request(seed=seed), stream=True)
    assert len(model._fixed) <= 64
    assert json.loads(model.body(request(seed=3), stream=False)[0])["seed"] == 3


WITHOUT = """
import asyncio, json, os, sys
for name in sys.argv[2].split(","):
    sys.modules[name] = None
from evals.core import Message, Request
from evals.errors import ConfigError
from evals.models.openai import OpenAI
os.environ["SOME_KEY"] = "sk-planted-1"

async def go():
    for stream in (True, False):
        model = OpenAI(name="m", id="x", base_url=sys.argv[1], key_env="SOME_KEY", stream=stream)
        try:
            facts = await model.start()
        except ConfigError as error:
            print(error)
            return
        answer = await model.generate(Request(messages=(Message(role="user", content="é"),)), lambda *_: None)
        await model.close()
        print(facts["client"]["transport"], facts["client"]["http"], answer.text, answer.usage.output)

asyncio.run(go())
"""


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("orjson", "lean aiohttp OK 1"),
        ("aiohttp,orjson,httpx_aiohttp", "sdk httpx"),
        ("aiohttp,openai", "model m needs OpenAI's SDK: pip install openai aiohttp"),
    ],
)
def test_without_what_need_not_be_installed(provider: Any, missing: str, said: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT, provider.openai_url, missing], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert all(line.startswith(said) for line in done.stdout.splitlines()) and done.stdout
    if "needs" not in said:
        assert [line.split()[-2:] for line in done.stdout.splitlines()] == [["OK", "1"]] * 2


# Batches


async def batched(provider: Any, api: str, documents: list[str]) -> dict[str, Completion | CallFailed]:
    model = made(provider.openai_url, {"api": api, "transport": "lean", "stream": True})
    await model.start()
    try:
        asking = [(f"key {i}", request(text)) for i, text in enumerate(documents)]
        batch = await model.submit(asking)
        state = await model.poll(batch)
        assert not state.done or state.counts["succeeded"]
        while not state.done:
            await asyncio.sleep(0.05)
            state = await model.poll(batch)
        found = {key: result async for key, result in model.collect(batch)}
        assert state.counts["succeeded"] + state.counts["failed"] == len(documents)
        return found
    finally:
        await model.close()


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_batch(provider: Any, api: str) -> None:
    provider.reset(batch_s=0.2)
    found = asyncio.run(batched(provider, api, ["a", "CONTEXT OVERFLOW", "REFUSE ME", "FILTER OUTPUT"]))
    good, long, refused, filtered = (found[f"key {i}"] for i in range(4))
    assert isinstance(good, Completion) and set(json.loads(good.text)) == set(SCHEMA["properties"])
    assert good.usage.output and good.served_by["request_id"]
    assert isinstance(long, CallFailed) and long.kind == "context_length"
    assert isinstance(refused, Completion) and refused.finish_reason == "refusal"
    assert isinstance(filtered, CallFailed) and filtered.kind == "content_filter" and filtered.usage


def test_a_batch_that_is_given_up(provider: Any) -> None:
    provider.reset(batch_s=30.0)

    async def go() -> None:
        model = made(provider.openai_url, {"api": "chat", "transport": "sdk", "stream": False})
        await model.start()
        try:
            batch = await model.submit([("a", request())])
            assert not (await model.poll(batch)).done
            await model.cancel(batch)
            for _ in range(100):
                state = await model.poll(batch)
                if state.done:
                    break
                await asyncio.sleep(0.05)
            assert state.done and "cancel" in str(state.reason)
            with pytest.raises(FatalCall):
                await model.poll("batch_of_nobody")
        finally:
            await model.close()

    asyncio.run(go())


def test_a_batch_that_failed_or_expired() -> None:
    """Results that came in time are kept; what expired is a time-out, what was cancelled too may be tried again."""
    batch = {"id": "b1", "object": "batch", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
    batch |= {
        "created_at": 1,
        "input_file_id": "f0",
        "status": "expired",
        "output_file_id": "f1",
        "error_file_id": "f2",
    }
    counts = {"total": 4, "completed": 1, "failed": 3}
    good = {"custom_id": "a", "response": {"status_code": 200, "request_id": "req_1", "body": chat({"content": "x"})}}
    late = {"custom_id": "b", "response": None, "error": {"code": "batch_expired", "message": "not executed in time"}}
    gone = {"custom_id": "c", "response": None, "error": {"code": "batch_cancelled", "message": "not executed"}}
    bad = {"custom_id": "d", "response": {"status_code": 429, "body": {"error": {"message": "slow", "code": None}}}}
    files = [b"\n".join(json.dumps(one).encode() for one in part) for part in ([good], [late, gone, bad])]
    failed = batch | {
        "status": "failed",
        "errors": {"object": "list", "data": [{"message": "line 3 is no JSON", "line": 3}]},
    }
    scripts = [reply(failed), reply(batch | {"request_counts": counts}), reply(batch), *(reply(one) for one in files)]

    async def go() -> None:
        async with Scripted(scripts) as server:
            model = made(server.url, {"api": "chat", "transport": "lean", "stream": True}, key_env=None)
            await model.start()
            state = await model.poll("b1")
            assert state.done and state.reason == "line 3 is no JSON"
            state = await model.poll("b1")
            assert state.done and state.reason == "the batch is expired"
            assert state.counts == {"succeeded": 1, "failed": 3, "processing": 0}
            found = {key: result async for key, result in model.collect("b1")}
            await model.close()
            assert not any("authorization" in one.headers for one in server.asked)
        assert isinstance(found["a"], Completion) and found["a"].served_by["request_id"] == "req_1"
        kinds = {key: one.kind for key, one in found.items() if isinstance(one, CallFailed)}
        assert kinds == {"b": "timeout", "c": "server", "d": "rate_limit"}

    asyncio.run(go())


def test_a_batch_that_is_too_large() -> None:
    async def go(requests: Any) -> None:
        model = OpenAI(name="m", id="x", key_env="PLANTED_KEY")
        await model.start()
        try:
            with pytest.raises(ConfigError, match="1 to 50,000 requests"):
                await model.submit(requests)
        finally:
            await model.close()

    asyncio.run(go([]))
    one = request()
    asyncio.run(go([(str(i), one) for i in range(50_001)]))
