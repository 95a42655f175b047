"""The Anthropic backend against the local server, and against replies that no well-behaved server would send."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from asking import Marks, asked
from scripted import Scripted, Step, reply, stream

from evals.core import Completion, Message, Request, Usage
from evals.errors import CallFailed, ConfigError, FatalCall
from evals.models.anthropic import Anthropic
from evals.models.anthropic_batch import custom_id, key_of
from evals.models.base import Batcher, BatchState, Model
from evals.models.wire_schema import derive

pytest.importorskip("anthropic")
pytest.importorskip("aiohttp")

KEY = "sk-ant-planted-5Jq8ZwXk2Lm9"
SCHEMA = json.loads((Path(__file__).parents[2] / "tasks/legal_extract/schema.json").read_text(encoding="utf-8"))
BOTH = pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "plain"])


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)


def request(text: str = "A contract.", **more: Any) -> Request:
    messages = (Message(role="system", content="Answer in JSON."), Message(role="user", content=text))
    return Request(**({"messages": messages, "schema": SCHEMA} | more))


def made(url: str, streamed: bool, **more: Any) -> Anthropic:
    options = {"name": "m", "id": "claude-test", "base_url": url, "key_env": "PLANTED_KEY", "timeout_s": 20.0}
    return Anthropic(**(options | {"stream": streamed} | more))


def ask(url: str, streamed: bool, what: Request | None = None, **more: Any) -> Completion:
    answer, marks = asyncio.run(asked(made(url, streamed, **more), what or request()))
    assert isinstance(answer, Completion), answer
    assert marks == (["sent", "first", "last"] if streamed and answer.text else ["sent", "last"])
    return answer


def fail(url: str, streamed: bool, what: Request | None = None, **more: Any) -> CallFailed:
    answer, marks = asyncio.run(asked(made(url, streamed, **more), what or request()))
    assert isinstance(answer, CallFailed), answer
    assert marks[0] == "sent"
    return answer


def scripted(script: list[Step], streamed: bool, **more: Any) -> Completion | CallFailed:
    async def go() -> Completion | CallFailed:
        async with Scripted([script]) as server:
            return (await asked(made(server.url, streamed, **more), request()))[0]

    return asyncio.run(go())


# The answer


@BOTH
def test_an_answer(provider: Any, streamed: bool) -> None:
    provider.reset(served_suffix="-20260101")
    answer = ask(provider.url, streamed, id="claude-test cached-2 written-3 reasoning-7")
    assert set(json.loads(answer.text)) <= set(SCHEMA["properties"])
    tokens = provider.log()["totals"]["tokens_good"]
    assert answer.usage == Usage(
        input_uncached=tokens["input"], cache_read=2, cache_write=3, output=tokens["output"], reasoning=7
    )
    assert answer.finish_reason == "stop"
    assert answer.served_by["model"] == "claude-test cached-2 written-3 reasoning-7-20260101"
    assert answer.served_by["request_id"].startswith("req_")
    assert (answer.served_by["tier"], answer.served_by["region"]) == ("standard", "global")
    assert answer.notes["dropped"] == ["temperature", "seed"]
    assert answer.notes["keywords_not_enforced"] == list(derive(SCHEMA, "anthropic")[1])
    assert provider.log()["totals"]["received"] == 1


@BOTH
def test_what_is_sent(provider: Any, streamed: bool) -> None:
    extra = {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}, "inference_geo": "us"}
    ask(provider.url, streamed, request(max_tokens=321, temperature=0.5, seed=4), extra=extra)
    (seen,) = provider.last()
    body, headers = seen["body"], seen["headers"]
    assert headers["authorization"] == f"Bearer {KEY}" and headers["content-type"] == "application/json"
    wire = {"type": "json_schema", "schema": derive(SCHEMA, "anthropic")[0]}
    assert body == {
        "model": "claude-test",
        "max_tokens": 321,
        "system": "Answer in JSON.",
        "messages": [{"role": "user", "content": "A contract."}],
        **extra,
        "output_config": {"effort": "low", "format": wire},
        **({"stream": True} if streamed else {}),
    }


@BOTH
def test_free_text(provider: Any, streamed: bool) -> None:
    for what, options in ((request(constrain=False), {}), (request(), {"structured": "none"})):
        assert ask(provider.url, streamed, what, **options).text == "OK"
        assert "output_config" not in provider.last()[0]["body"]


@BOTH
def test_a_model_that_takes_temperature_is_asked_under_the_old_version(provider: Any, streamed: bool) -> None:
    ask(provider.url, streamed)
    new = provider.last()[0]["headers"]["anthropic-version"]
    answer = ask(
        provider.url, streamed, request(temperature=0.25), takes=("temperature",), drop=("temperature", "seed")
    )
    assert answer.notes["dropped"] == ["seed"]
    (seen,) = provider.last()
    assert seen["body"]["temperature"] == 0.25
    assert seen["headers"]["anthropic-version"] == "2023-06-01" != new


def test_the_version_can_be_named(provider: Any) -> None:
    ask(provider.url, False, api_version="2023-06-01")
    assert provider.last()[0]["headers"]["anthropic-version"] == "2023-06-01"
    assert "temperature" not in provider.last()[0]["body"]


def test_a_breakpoint_stands_behind_what_all_documents_share(provider: Any) -> None:
    kept = {"cache_control": {"type": "ephemeral"}}
    ask(provider.url, False, cache_prompt=True)
    body = provider.last()[0]["body"]
    assert body["system"] == [{"type": "text", "text": "Answer in JSON.", **kept}]
    turns = (Message(role="user", content="one"), Message(role="assistant", content="1"))
    messages = (Message(role="system", content="S"), *turns, Message(role="user", content="two"))
    ask(provider.url, False, request(messages=messages), cache_prompt=True)
    body = provider.last()[0]["body"]
    assert body["system"] == "S"
    assert [m["content"] for m in body["messages"]] == ["one", [{"type": "text", "text": "1", **kept}], "two"]


@BOTH
def test_ends_that_are_no_stop(provider: Any, streamed: bool) -> None:
    cut = ask(provider.url, streamed, request(max_tokens=20))
    assert cut.finish_reason == "length" and cut.usage.output == 20
    refused = ask(provider.url, streamed, request("REFUSE ME"))
    assert refused.finish_reason == "refusal" and refused.text == "I cannot help with that."


# Failures


@BOTH
@pytest.mark.parametrize(
    ("document", "kind"),
    [("CONTEXT OVERFLOW", "context_length"), ("FILTER ME", "content_filter"), ("TOO LARGE BODY", "too_large")],
)
def test_a_document_that_is_refused(provider: Any, streamed: bool, document: str, kind: str) -> None:
    error = fail(provider.url, streamed, request(document))
    assert error.kind == kind and not isinstance(error, FatalCall)


@BOTH
def test_what_every_call_would_die_of(provider: Any, streamed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for options, kind in (
        ({"id": "missing-model"}, "unknown_model"),
        ({"id": "no-quota"}, "auth"),
        ({"extra": {"nonsense": 1}}, "bad_request"),
        ({"id": "claude-no-sampling", "takes": ("temperature",)}, "bad_request"),
    ):
        error = fail(provider.url, streamed, **options)
        assert isinstance(error, FatalCall) and error.kind == kind, error
    for word in ("wrong", "forbidden"):
        monkeypatch.setenv("PLANTED_KEY", f"{word}-{KEY}")
        error = fail(provider.url, streamed)
        assert isinstance(error, FatalCall) and error.kind == "auth"
        assert KEY not in error.text


@BOTH
@pytest.mark.parametrize("form", ["seconds", "date", "ms", "none"])
def test_rate_limits(provider: Any, streamed: bool, form: str) -> None:
    provider.reset(faults={"429": 1.0}, retry_after=form, retry_after_s=2.0)
    error = fail(provider.url, streamed)
    assert error.kind == "rate_limit" and error.status == 429 and not isinstance(error, FatalCall)
    if form == "none":
        assert error.retry_after_s is None
    else:
        assert error.retry_after_s == pytest.approx(2.0, abs=1.1 if form == "date" else 0.001)


@BOTH
@pytest.mark.parametrize(
    ("status", "kind"), [("500", "server"), ("529", "server"), ("504", "server"), ("408", "timeout")]
)
def test_the_servers_trouble(provider: Any, streamed: bool, status: str, kind: str) -> None:
    provider.reset(faults={status: 1.0}, retry_after_on="529", retry_after_s=1.0)
    error = fail(provider.url, streamed)
    assert error.kind == kind and error.status == int(status)
    assert error.retry_after_s == (1.0 if status == "529" else None)
    assert provider.log()["totals"]["received"] == 1, "the SDK must not repeat by itself"


@BOTH
@pytest.mark.parametrize(
    ("fault", "kinds"),
    [
        ("truncated", {"bad_body"}),
        ("unreadable", {"bad_body"}),
        ("drop", {"server", "bad_body"}),
        ("hang", {"timeout"}),
        ("stall", {"timeout"}),
        ("stream_error", {"server"}),
    ],
)
def test_broken_replies(provider: Any, streamed: bool, fault: str, kinds: set[str]) -> None:
    provider.reset(faults={fault: 1.0})
    error = fail(provider.url, streamed, timeout_s=0.5)
    assert error.kind in kinds and not isinstance(error, FatalCall), error


@BOTH
def test_no_server_at_all(streamed: bool) -> None:
    error = fail("http://127.0.0.1:9", streamed)
    assert error.kind == "server" and error.status is None


@BOTH
@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_a_cut_attempt_closes_its_connection(provider: Any, streamed: bool, fault: str) -> None:
    provider.reset(faults={fault: 1.0})

    async def cut() -> None:
        model = made(provider.url, streamed)
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


# Replies of another kind

MESSAGE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "x"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 10, "cache_read_input_tokens": 5, "output_tokens": 20},
}


def events(**delta: Any) -> list[dict[str, Any]]:
    """The events of `MESSAGE`, its thinking and its text."""
    opened = MESSAGE | {"content": [], "stop_reason": None, "usage": MESSAGE["usage"] | {"output_tokens": 1}}
    return [
        {"type": "message_start", "message": opened},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "hm"}},
        {"type": "ping"},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "something_new", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"} | delta, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]


KNOWN = Usage(input_uncached=10, cache_read=5, output=20)


def test_thinking_is_no_text_and_no_first_delta() -> None:
    for answer in (scripted(reply(MESSAGE), False), scripted(stream(events()), True)):
        assert isinstance(answer, Completion) and answer.text == "x" and answer.usage == KNOWN


def test_pieces_may_fall_anywhere() -> None:
    whole = b"".join(f"event: {e['type']}\r\ndata: {json.dumps(e)}\r\n\r\n".encode() for e in events())
    for size in (1, 7, 1000):
        answer = scripted(stream([whole[i : i + size] for i in range(0, len(whole), size)]), True)
        assert isinstance(answer, Completion) and answer.text == "x" and answer.usage == KNOWN


def test_a_stream_without_its_closing_event_is_cut() -> None:
    for script in (
        stream(events()[:-1]),
        stream(events()[:-1], end=False),
        stream([*events()[:-1], b"data: {oops\n\n"]),
    ):
        error = scripted(script, True)
        assert isinstance(error, CallFailed) and error.kind == "bad_body" and error.usage == KNOWN
    error = scripted(stream(events()[:1]), True)
    assert isinstance(error, CallFailed) and error.usage == Usage(input_uncached=10, cache_read=5, output=1)


def test_an_error_told_inside_a_stream() -> None:
    for code, kind in (("overloaded_error", "server"), ("rate_limit_error", "rate_limit"), ("api_error", "server")):
        told = {"type": "error", "error": {"type": code, "message": "no"}}
        error = scripted(stream([*events()[:3], told]), True)
        assert isinstance(error, CallFailed) and error.kind == kind
        assert error.usage is not None and error.usage.input_uncached == 10


@BOTH
def test_the_context_was_too_small(streamed: bool) -> None:
    reason = "model_context_window_exceeded"
    script = stream(events(stop_reason=reason)) if streamed else reply(MESSAGE | {"stop_reason": reason})
    error = scripted(script, streamed)
    assert isinstance(error, CallFailed) and error.kind == "context_length" and error.usage == KNOWN


@BOTH
def test_what_else_a_reply_says_is_kept(streamed: bool) -> None:
    details = {"type": "refusal", "category": "bio", "explanation": None}
    written = {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3}
    usage = MESSAGE["usage"] | {"cache_creation": written, "speed": "fast"}
    said = {"stop_reason": "refusal", "stop_details": details}
    told = events(**said)
    told[0]["message"]["usage"] |= {"cache_creation": written, "speed": "fast"}
    answer = scripted(stream(told) if streamed else reply(MESSAGE | said | {"usage": usage}), streamed)
    assert isinstance(answer, Completion) and answer.finish_reason == "refusal" and answer.text == "x"
    assert answer.usage.cache_write == 7
    assert answer.notes["refusal"] == "bio" and answer.notes["speed"] == "fast"
    assert answer.notes["cache_write_by_lifetime"] == {"5m": 4, "1h": 3}


@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"{}", {"type": "message", "content": []}, b'{"id": "\xff"}'])
@BOTH
def test_what_is_no_message(streamed: bool, body: Any) -> None:
    error = scripted(reply(body), streamed)
    assert isinstance(error, CallFailed) and error.kind == "bad_body" and error.usage is None


def test_broken_characters_do_not_end_a_run() -> None:
    answer = scripted(reply(json.dumps(MESSAGE).replace('"x"', r'"a\ud83db"').encode()), False)
    assert isinstance(answer, Completion) and answer.text.encode() == "a\ufffdb".encode()


@BOTH
def test_a_connection_is_used_again(streamed: bool) -> None:
    class Counted(Scripted):
        connections = 0

        async def _talk(self, *streams: Any) -> None:
            self.connections += 1
            await super()._talk(*streams)

    alive = {"connection": "keep-alive"}
    script = stream(events(), headers=alive) if streamed else reply(MESSAGE, headers=alive)

    async def go() -> int:
        async with Counted([script]) as server:
            model = made(server.url, streamed)
            await model.start()
            for _ in range(5):
                await model.generate(request(), Marks())
            await model.close()
            return server.connections

    assert asyncio.run(go()) == 1


# Keys and hosts


@BOTH
def test_a_missing_key_is_one_line_before_any_socket(
    provider: Any, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PLANTED_KEY")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(asked(made(provider.url, streamed), request()))
    assert str(caught.value) == "PLANTED_KEY is not set: model m needs it"
    assert provider.log()["totals"]["received"] == 0


def test_the_environment_sends_nothing_elsewhere(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "another-secret-token")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "another-secret-key")
    ask(provider.url, False)
    assert provider.last()[0]["headers"]["authorization"] == f"Bearer {KEY}"
    ask(provider.url, False, key_env=None)
    assert "another" not in json.dumps(provider.last())


def test_facts_are_the_identity_and_hold_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "X-Gateway: gateway-secret-1")

    async def facts(model: Anthropic) -> Any:
        found = await model.start()
        await model.close()
        return found

    model = made("https://Example.com/anthropic/", True, extra={"service_tier": "auto"})
    found = asyncio.run(facts(model))
    client = found.pop("client")
    assert found == {
        "backend": "anthropic",
        "api": "messages",
        "id": "claude-test",
        "base_url": "https://Example.com/anthropic",
        "api_version": "2026-10-21",
        "stream": True,
        "structured": "json_schema",
        "dropped": ["temperature", "seed"],
        "extra": {"service_tier": "auto"},
        "cache_prompt": False,
    }
    assert client["sdk"].startswith("anthropic 2.") and client["http"] == "aiohttp"
    assert client["env"] == {"ANTHROPIC_CUSTOM_HEADERS": "sent"}
    assert KEY not in str((found, client, model.account)) and "gateway-secret" not in str(client)
    assert len(model.account) == 16 and model.account != made("https://other.com", True).account
    assert isinstance(model, Model) and isinstance(model, Batcher)


def test_a_password_in_the_url_is_refused() -> None:
    with pytest.raises(ConfigError, match="user or password"):
        made("https://me:secret@example.com", True)


# Batches

BATCH = [
    "[[id:b0]] one",
    "[[id:b1]] BATCH FAIL",
    "[[id:b2]] BATCH EXPIRE",
    "[[id:b3]] CONTEXT OVERFLOW",
    "[[id:b4]] REFUSE ME",
]


async def ended(model: Anthropic, batch: str) -> BatchState:
    for _ in range(100):
        state = await model.poll(batch)
        if state.done:
            return state
        await asyncio.sleep(0.05)
    raise AssertionError("it never ends")


def test_a_batch(provider: Any) -> None:
    provider.reset(batch_s=0.3)

    async def hand_in() -> tuple[str, BatchState]:
        model = made(provider.url, True)
        await model.start()
        batch = await model.submit([(f"d{i}-0-é/x", request(text)) for i, text in enumerate(BATCH)])
        state = await model.poll(batch)
        await model.close()
        return batch, state

    async def collect(batch: str) -> tuple[BatchState, dict[str, Any]]:
        model = made(provider.url, True)  # another process: only the id is known
        await model.start()
        state = await ended(model, batch)
        found = {key: result async for key, result in model.collect(batch)}
        await model.close()
        return state, found

    batch, early = asyncio.run(hand_in())
    assert not early.done and early.counts == {"succeeded": 0, "failed": 0, "processing": 5}
    state, found = asyncio.run(collect(batch))
    assert state.done and state.counts == {"succeeded": 2, "failed": 3, "processing": 0}
    assert set(found) == {f"d{i}-0-é/x" for i in range(5)}
    kinds = [r.finish_reason if isinstance(r, Completion) else r.kind for _, r in sorted(found.items())]
    assert kinds == ["stop", "server", "server", "context_length", "refusal"]
    good = found["d0-0-é/x"]
    assert set(json.loads(good.text)) <= set(SCHEMA["properties"]) and good.served_by["tier"] == "batch"
    assert good.usage.output and good.usage.input_uncached


def test_a_batch_that_is_given_up(provider: Any) -> None:
    provider.reset(batch_s=30.0)

    async def go() -> tuple[BatchState, list[Any]]:
        model = made(provider.url, True)
        await model.start()
        batch = await model.submit([("a", request())])
        await model.cancel(batch)
        state = await ended(model, batch)
        found = [result async for _, result in model.collect(batch)]
        await model.close()
        return state, found

    state, (result,) = asyncio.run(go())
    assert state.counts["failed"] == 1
    assert isinstance(result, CallFailed) and "canceled" in result.text


def test_results_that_are_cut_are_no_results() -> None:
    line = json.dumps({"custom_id": "a", "result": {"type": "succeeded", "message": MESSAGE}}).encode()

    async def go(script: list[Step]) -> list[Any]:
        async with Scripted([script]) as server:
            model = made(server.url, True)
            await model.start()
            try:
                return [pair async for pair in model.collect("msgbatch_1")]
            finally:
                await model.close()

    assert [key for key, _ in asyncio.run(go(reply(line + b"\n" + line)))] == ["a", "a"]
    for script in (reply(line + b"\n" + line[:-9]), reply(line, cut=60), reply(b"oops\n")):
        with pytest.raises(CallFailed) as caught:
            asyncio.run(go(script))
        assert caught.value.kind == "bad_body"


def test_keys_come_back() -> None:
    for one in ("d12-0-abc", "a b", "é" * 20, "64-x", "", "x" * 64):
        assert key_of(custom_id(one)) == one
        assert 1 <= len(custom_id(one)) <= 64
    with pytest.raises(ConfigError, match="too long"):
        custom_id("x" * 65)
