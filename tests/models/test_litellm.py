"""The litellm backend against the local server, for OpenAI, Anthropic and Gemini shapes. Needs litellm's environment."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asking import Marks, asked
from scripted import Scripted, Step, reply, stream

from evals.core import Completion, Message, Request, Usage
from evals.errors import CallFailed, ConfigError, FatalCall
from evals.models.base import Model
from evals.models.litellm import LiteLLM, litellm_price
from evals.models.wire_schema import derive

HERE = importlib.util.find_spec("litellm") is not None
pytestmark = [
    pytest.mark.skipif(not HERE, reason="litellm is not installed: its environment is requirements-litellm.lock"),
    # litellm and what it loads warn of themselves; nothing of ours does
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning", "ignore::UserWarning", "ignore:.*subprocess.*:ResourceWarning"
    ),
]
KEY = "sk-planted-5Jq8ZwXk2Lm9"
SCHEMA = json.loads((Path(__file__).parents[2] / "tasks/legal_extract/schema.json").read_text(encoding="utf-8"))
BASE = {"openai": "/v1", "mistral": "/v1", "groq": "/v1", "anthropic": "", "gemini": "/v1beta"}
SHAPES = ("openai/gpt-test", "anthropic/claude-haiku-5-5", "gemini/gemini-3.8-flash")
WAYS = pytest.mark.parametrize(
    ("shape", "streamed"),
    [(shape, streamed) for shape in SHAPES for streamed in (True, False)],
    ids=[f"{shape.partition('/')[0]}-{how}" for shape in SHAPES for how in ("streamed", "plain")],
)


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLANTED_KEY", KEY)
    for name in os.environ:
        if name.endswith(("_API_KEY", "_API_BASE", "_BASE_URL")):
            monkeypatch.delenv(name)


def request(text: str = "A contract.", **more: Any) -> Request:
    messages = (Message(role="system", content="Answer in JSON."), Message(role="user", content=text))
    return Request(**({"messages": messages, "schema": SCHEMA} | more))


def made(url: str, shape: str, streamed: bool, **more: Any) -> LiteLLM:
    id = more.pop("id", shape)
    options = {"name": "m", "id": id, "base_url": url + BASE[shape.partition("/")[0]], "key_env": "PLANTED_KEY"}
    drop = {"an": ("seed", "temperature"), "ge": ("temperature",)}.get(shape[:2], ())
    return LiteLLM(**(options | {"stream": streamed, "drop": drop, "timeout_s": 20.0} | more))


def ask(url: str, shape: str, streamed: bool, what: Request | None = None, **more: Any) -> Completion:
    answer, marks = asyncio.run(asked(made(url, shape, streamed, **more), what or request()))
    assert isinstance(answer, Completion), answer
    assert marks == (["sent", "first", "last"] if streamed and answer.text else ["sent", "last"])
    return answer


def fail(url: str, shape: str, streamed: bool, what: Request | None = None, **more: Any) -> CallFailed:
    answer, marks = asyncio.run(asked(made(url, shape, streamed, **more), what or request()))
    assert isinstance(answer, CallFailed), answer
    assert marks[0] == "sent"
    return answer


def scripted(script: list[Step], shape: str, streamed: bool, **more: Any) -> Completion | CallFailed:
    async def go() -> Completion | CallFailed:
        async with Scripted([script]) as server:
            return (await asked(made(server.url, shape, streamed, **more), request()))[0]

    return asyncio.run(go())


# The answer


@WAYS
def test_an_answer(provider: Any, shape: str, streamed: bool) -> None:
    answer = ask(provider.url, shape, streamed)
    assert set(json.loads(answer.text)) <= set(SCHEMA["properties"]) and answer.finish_reason == "stop"
    totals = provider.log()["totals"]
    assert totals["received"] == totals["good"] == 1
    assert answer.usage.input_uncached == totals["tokens_good"]["input"]
    assert answer.usage.output == totals["tokens_good"]["output"]
    assert answer.served_by["model"] == shape.partition("/")[2] and answer.served_by["request_id"]
    dialect = {"op": "openai", "an": "anthropic", "ge": "gemini"}[shape[:2]]
    assert answer.notes.get("keywords_not_enforced", []) == list(derive(SCHEMA, dialect)[1])
    assert "schema_as" not in answer.notes


@WAYS
def test_what_is_sent(provider: Any, shape: str, streamed: bool) -> None:
    answer = ask(provider.url, shape, streamed, request(max_tokens=321, temperature=0.5, seed=4))
    (seen,) = provider.last()
    body, headers = seen["body"], seen["headers"]
    assert KEY in (headers.get("authorization", "") + headers.get("x-api-key", "") + headers.get("x-goog-api-key", ""))
    if shape.startswith("openai"):
        assert answer.notes["dropped"] == []
        assert (body["max_tokens"], body["temperature"], body["seed"]) == (321, 0.5, 4)
        wanted = {"name": "legal_extract", "strict": True, "schema": derive(SCHEMA, "openai")[0]}
        assert body["response_format"]["json_schema"] == wanted
        assert [m["role"] for m in body["messages"]] == ["system", "user"]
    elif shape.startswith("anthropic"):
        assert answer.notes["dropped"] == ["temperature", "seed"]
        assert body["max_tokens"] == 321 and not {"temperature", "seed"} & set(body)
        wire = body.get("output_format") or body["output_config"]["format"]
        assert wire == {"type": "json_schema", "schema": derive(SCHEMA, "anthropic")[0]}
        assert "Answer in JSON." in str(body["system"])
    else:
        config = body["generationConfig"]
        assert (config["max_output_tokens"], config["seed"]) == (321, 4) and "temperature" not in config
        assert config["response_json_schema"] == derive(SCHEMA, "gemini")[0]


@WAYS
def test_free_text_and_further_arguments(provider: Any, shape: str, streamed: bool) -> None:
    assert ask(provider.url, shape, streamed, request(constrain=False)).text == "OK"
    assert (
        ask(provider.url, shape, streamed, structured="none", extra={"top_p": 0.5} if "gpt" in shape else {}).text
        == "OK"
    )
    body = provider.last()[0]["body"]
    assert "response_format" not in body and "output_format" not in body and "schema" not in json.dumps(body)
    assert "gpt" not in shape or body["top_p"] == 0.5


@WAYS
def test_ends_that_are_no_stop(provider: Any, shape: str, streamed: bool) -> None:
    cut = ask(provider.url, shape, streamed, request(max_tokens=20))
    assert cut.finish_reason == "length" and cut.usage.output == 20
    if not shape.startswith("gemini"):
        refused = ask(provider.url, shape, streamed, request("REFUSE ME"))
        if (shape, streamed) == (SHAPES[0], True):
            assert refused.text == ""  # litellm loses OpenAI's refusals in streams; models/openai does not
        else:
            assert refused.finish_reason == "refusal" and refused.text == "I cannot help with that."
    if shape.startswith("openai") or not streamed:
        if shape.startswith("anthropic"):
            return
        filtered = fail(provider.url, shape, streamed, request("FILTER OUTPUT"))
        assert filtered.kind == "content_filter" and filtered.usage is not None and filtered.usage.input_uncached


def test_what_is_cached_and_thought(provider: Any) -> None:
    for streamed in (True, False):
        usage = ask(provider.url, SHAPES[0], streamed, id="openai/gpt-test-cached-2-reasoning-7").usage
        tokens = provider.log()["totals"]["tokens_good"]
        assert (usage.cache_read, usage.reasoning) == (2, 7), usage
        assert usage.input_uncached is not None and usage.input_uncached * (1 if streamed else 2) == tokens["input"]


# Failures


@WAYS
@pytest.mark.parametrize(
    ("document", "kind"),
    [("CONTEXT OVERFLOW", "context_length"), ("FILTER ME", "content_filter"), ("TOO LARGE BODY", "too_large")],
)
def test_a_document_that_is_refused(provider: Any, shape: str, streamed: bool, document: str, kind: str) -> None:
    if (document, shape) == ("TOO LARGE BODY", SHAPES[2]):
        pytest.skip("the server does not know it in Gemini's shape")
    error = fail(provider.url, shape, streamed, request(document))
    assert error.kind == kind and not isinstance(error, FatalCall), error


@WAYS
def test_what_every_call_would_die_of(
    provider: Any, shape: str, streamed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = shape.partition("/")[0]
    for id, kind in (("missing-model", "unknown_model"), ("no-quota", "auth")):
        error = fail(provider.url, shape, streamed, request(constrain=False), id=f"{name}/{id}")
        assert (isinstance(error, FatalCall) and error.kind == kind) or (name == "gemini" and id == "no-quota"), error
    for word in ("wrong", "forbidden") if name != "gemini" else ("wrong",):
        monkeypatch.setenv("PLANTED_KEY", f"{word}-{KEY}")
        error = fail(provider.url, shape, streamed)
        assert isinstance(error, FatalCall) and error.kind == "auth", error
        assert KEY not in error.text
    assert provider.log()["totals"]["good"] == 0


def test_a_parameter_that_is_not_taken_is_named_before_any_call(provider: Any) -> None:
    for shape, said in ((SHAPES[1], "temperature and no seed"), (SHAPES[2], "temperature")):
        with pytest.raises(ConfigError, match=f"takes no {said}: say model.drop=\\[temperature"):
            asyncio.run(made(provider.url, shape, True, drop=()).start())
    error = fail(provider.url, SHAPES[0], False, extra={"nonsense": 1})
    assert isinstance(error, FatalCall) and error.kind == "bad_request" and error.status == 400
    error = fail(provider.url, SHAPES[1], False, extra={"logit_bias": {"1": 1}})
    assert isinstance(error, FatalCall) and error.kind == "bad_request" and "logit_bias" in error.text
    assert provider.log()["totals"]["good"] == 0


@WAYS
@pytest.mark.parametrize("form", ["seconds", "date", "ms"])
def test_rate_limits(provider: Any, shape: str, streamed: bool, form: str) -> None:
    provider.reset(faults={"429": 1.0}, retry_after=form, retry_after_s=2.0)
    error = fail(provider.url, shape, streamed)
    assert error.kind == "rate_limit" and error.status == 429 and not isinstance(error, FatalCall)
    assert error.retry_after_s == pytest.approx(2.0, abs=1.1 if form == "date" else 0.001)
    assert provider.log()["totals"]["received"] == 1, "litellm must not repeat by itself"


@WAYS
@pytest.mark.parametrize(
    ("status", "kind"), [("500", "server"), ("503", "server"), ("529", "server"), ("408", "timeout")]
)
def test_the_servers_trouble(provider: Any, shape: str, streamed: bool, status: str, kind: str) -> None:
    provider.reset(faults={status: 1.0})
    error = fail(provider.url, shape, streamed)
    assert error.kind == kind and error.status == int(status)
    assert provider.log()["totals"]["received"] == 1, "litellm must not repeat by itself"


@WAYS
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
def test_broken_replies(provider: Any, shape: str, streamed: bool, fault: str, kinds: set[str]) -> None:
    provider.reset(faults={fault: 1.0})
    error = fail(provider.url, shape, streamed, timeout_s=0.5)
    assert error.kind in kinds and not isinstance(error, FatalCall), error
    assert provider.log()["totals"]["received"] == 1


@WAYS
def test_no_server_at_all(shape: str, streamed: bool) -> None:
    assert fail("http://127.0.0.1:9", shape, streamed).kind == "server"


@WAYS
@pytest.mark.parametrize("fault", ["hang", "stall"])
def test_a_cut_attempt_closes_its_connection(provider: Any, shape: str, streamed: bool, fault: str) -> None:
    provider.reset(faults={fault: 1.0})

    async def cut() -> None:
        model = made(provider.url, shape, streamed)
        await model.start()
        try:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
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

CHAT: dict[str, Any] = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "x-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 30, "completion_tokens": 12, "total_tokens": 42},
}
CHUNKS = [
    {"index": 0, "delta": {"role": "assistant", "content": "x"}, "finish_reason": None},
    {"index": 0, "delta": {}, "finish_reason": "stop"},
]


def chunks(*choices: dict[str, Any], usage: Any = None) -> list[bytes]:
    start = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "x-1"}
    found = [start | {"choices": [choice]} for choice in choices]
    found += [start | {"choices": [], "usage": usage}] if usage else []
    return [f"data: {json.dumps(one)}\n\n".encode() for one in found]


DONE = b"data: [DONE]\n\n"


def test_tokens_that_were_not_reported_are_not_made_up() -> None:
    plain = scripted(reply({key: value for key, value in CHAT.items() if key != "usage"}), SHAPES[0], False)
    streamed = scripted(stream([*chunks(*CHUNKS), DONE]), SHAPES[0], True)
    for answer in (plain, streamed):
        assert isinstance(answer, Completion) and answer.text == "x" and answer.usage == Usage()


def test_anthropics_input_is_told_at_the_beginning_of_a_stream() -> None:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 5, "cache_creation_input_tokens": 7, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "c-1", "content": [], "stop_reason": None}
    told = [
        {"type": "message_start", "message": message | {"usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ]
    answer = scripted(stream(told), SHAPES[1], True)
    assert isinstance(answer, Completion) and answer.served_by["model"] == "c-1"
    assert (answer.usage.input_uncached, answer.usage.cache_read, answer.usage.cache_write) == (10, 5, 7)
    assert answer.usage.output == 20
    error = scripted(stream(told[:3]), SHAPES[1], True)
    assert isinstance(error, CallFailed) and error.kind == "bad_body"
    assert error.usage is not None and error.usage.input_uncached == 10


@pytest.mark.parametrize("end", [True, False])
def test_a_stream_that_was_cut_is_no_answer(end: bool) -> None:
    error = scripted(stream(chunks(CHUNKS[0]), end=end), SHAPES[0], True)
    assert isinstance(error, CallFailed) and error.kind == "bad_body"


@WAYS
@pytest.mark.parametrize("body", [b"<html>", b"[1]", b"{}"])
def test_what_is_no_reply(shape: str, streamed: bool, body: bytes) -> None:
    error = scripted(reply(body), shape, streamed)
    assert isinstance(error, CallFailed) and error.kind == "bad_body", error


def test_google_says_in_the_body_how_long_to_wait() -> None:
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "9s"}
    body = [{"error": {"code": 429, "message": "no", "status": "RESOURCE_EXHAUSTED", "details": [info]}}]
    for streamed in (True, False):
        error = scripted(reply(body, status=429), SHAPES[2], streamed)
        assert isinstance(error, CallFailed) and error.kind == "rate_limit" and error.retry_after_s == 9.0


def test_a_model_that_repeats_itself_has_answered() -> None:
    many = [CHUNKS[0] | {"delta": {"content": "ha "}}] * 300
    answer = scripted(stream([*chunks(*many, CHUNKS[1], usage=CHAT["usage"]), DONE]), SHAPES[0], True)
    assert isinstance(answer, Completion) and answer.text == "ha " * 300


def test_a_stream_that_litellm_would_pretend_is_asked_plainly(provider: Any) -> None:
    marks, model = Marks(), made(provider.url, "groq/llama-3.3-70b-versatile", True)

    async def go() -> Completion:
        await model.start()
        try:
            return await model.generate(request(), marks)
        finally:
            await model.close()

    answer = asyncio.run(go())
    assert marks == ["sent", "last"], "no first token that is none"
    assert "tool call" in answer.notes["schema_as"]
    assert not provider.last()[0]["body"].get("stream")


# Keys, names, silence


@pytest.mark.parametrize("keys", ["PLANTED_KEY", ("AWS_REGION", "PLANTED_KEY")])
def test_a_missing_key_is_one_line_before_any_socket(keys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.delenv("PLANTED_KEY")
    with pytest.raises(ConfigError) as caught:
        asyncio.run(made("http://127.0.0.1:9", SHAPES[0], True, key_env=keys).start())
    assert str(caught.value) == "PLANTED_KEY is not set: model m needs it"


def test_without_a_name_litellm_tells_which_key_it_wants() -> None:
    for id, variable in (
        ("gemini/gemini-3.8-flash", "G"),
        ("mistral/mistral-large-2512", "MISTRAL_API_KEY is not set"),
    ):
        with pytest.raises(ConfigError, match=f"^{variable}.*model m needs it"):
            asyncio.run(LiteLLM(name="m", id=id).start())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"id": "gpt-4o"}, "provider/model"),
        ({"id": "azure/mine"}, "api_version"),
        ({"id": "nonsense/model", "base_url": "http://127.0.0.1:9"}, "knows no provider nonsense"),
        ({"id": "gemini/x", "extra": {"api_key": "k"}}, "key_env"),
        ({"id": "gemini/x", "drop": ("top_k",)}, "top_k"),
    ],
)
def test_mistakes_are_one_line(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        asyncio.run(LiteLLM(name="m", **options).start())


def test_the_environment_sends_nothing_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GEMINI_API_BASE", "http://127.0.0.1:9")
    with pytest.raises(ConfigError, match="GEMINI_API_BASE is set"):
        asyncio.run(LiteLLM(name="m", id="gemini/gemini-3.8-flash", key_env="PLANTED_KEY").start())


def test_facts_are_the_identity_and_hold_no_secret() -> None:
    model = made("https://example.com", SHAPES[1], True, extra={"reasoning_effort": "low"})
    found = dict(asyncio.run(model.start()))
    assert found.pop("client")["sdk"].startswith("litellm 1.")
    assert found == {
        "backend": "litellm",
        "api": "anthropic",
        "id": "anthropic/claude-haiku-5-5",
        "base_url": "https://example.com",
        "api_version": None,
        "stream": True,
        "structured": "json_schema",
        "dialect": "anthropic",
        "schema_native": True,
        "dropped": ["temperature", "seed"],
        "extra": {"reasoning_effort": "low"},
    }
    assert KEY not in model.account and len(model.account) == 16 and isinstance(model, Model)


SILENT = """
import asyncio, json, os, sys
met = []
def met_host(event, args):
    if event in ("socket.connect", "socket.getaddrinfo"):
        met.append(args[1][0] if event == "socket.connect" else args[0])
sys.addaudithook(met_host)
from evals.core import Message, Request
from evals.models.litellm import LiteLLM
async def go():
    model = LiteLLM(name="m", id=sys.argv[2], base_url=sys.argv[1], key_env="PLANTED_KEY", drop=("seed", "temperature"))
    await model.start()
    for text in ("SECRET DOCUMENT", "CONTEXT OVERFLOW SECRET DOCUMENT"):
        request = Request(messages=(Message(role="user", content=text),))
        try:
            print((await model.generate(request, lambda *a: None)).text)
        except Exception as error:
            print(type(error).__name__)
    await model.close()
asyncio.run(go())
print(json.dumps(sorted(set(map(str, met)))), os.environ.get("FROM_DOTENV"))
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_it_says_nothing_and_calls_nobody(provider: Any, shape: str, tmp_path: Path) -> None:
    """A process of its own: what litellm does when it is imported, with debugging asked for and a `.env` lying about."""
    (tmp_path / ".env").write_text("FROM_DOTENV=1\n")
    base = provider.url + BASE[shape.partition("/")[0]]
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "LITELLM_LOG": "DEBUG",
        "PLANTED_KEY": KEY,
    }
    done = subprocess.run(
        [sys.executable, "-c", SILENT, base, shape], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    first, second, rest = done.stdout.splitlines()
    assert (first, second) == ("OK", "CallFailed"), done.stderr
    assert rest.endswith(" None"), "a .env file was read"
    assert json.loads(rest.removesuffix(" None")) == ["127.0.0.1"], "it called somebody else"
    assert done.stderr == "" and KEY not in done.stdout and "SECRET" not in done.stdout


# Prices


def test_prices_are_a_second_opinion() -> None:
    found = litellm_price("anthropic/claude-opus-4-6") or litellm_price("claude-opus-4-6")
    assert found is not None and found["input_usd_per_mtok"] and found["output_usd_per_mtok"]
    assert found["context"] >= 200_000 and found["source"].startswith("litellm ")
    assert litellm_price("nobody/knows-this") is None, "litellm itself says $0"
    assert litellm_price("gemini/gemma-4-31b-it") is None, "$0 in the map"
    code = "import sys; from evals.models.litellm import litellm_price; litellm_price('x'); print('litellm' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout.strip() == "False"
