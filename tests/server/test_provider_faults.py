"""Faults as predicted, limits, latency."""

import asyncio
import time
from typing import Any

import fixture
import pytest
from sdk import TEXT, chat, message, said

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

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
        ("stream_error", True, "APIStatusError"),  # with status_code 200, the stream's own
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
