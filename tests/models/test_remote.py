"""What API backends share: keys, secrets, waits, and errors told apart. And the small readers beneath them."""

import asyncio
import itertools
import json
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.errors import CallFailed, ConfigError, FatalCall
from evals.models import remote
from evals.models.remote import broken, failure, retry_after, scrub, secrets_of
from evals.models.remote_json import _dumps, codec, whole
from evals.models.sse import Events

KEY = "sk-planted-5Jq8ZwXk2Lm9"


# Keys


def test_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", f"  {KEY}\n")
    assert remote.require_key("SOME_KEY", "m") == KEY
    assert remote.require_key(None, "m") is None
    for bad in ("", "  \n"):
        monkeypatch.setenv("SOME_KEY", bad)
        with pytest.raises(ConfigError, match="^SOME_KEY is not set: model m needs it$"):
            remote.require_key("SOME_KEY", "m")
    for bad in ("two words", "kéy-with-accent", "line\nend"):
        monkeypatch.setenv("SOME_KEY", bad)
        with pytest.raises(ConfigError) as caught:
            remote.require_key("SOME_KEY", "m")
        assert bad not in str(caught.value)


def test_account_is_no_way_back_to_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", KEY)
    one = remote.account("host", "SOME_KEY")
    assert one == remote.account("host", "SOME_KEY") != remote.account("other", "SOME_KEY")
    assert len(one) == 16 and int(one, 16) >= 0 and one != remote.account("host", None)


def test_plain_url() -> None:
    assert remote.plain_url(None, "m") is None
    assert remote.plain_url("https://host:1/v1/", "m") == "https://host:1/v1"
    assert remote.host_of("https://user:pw@Host:1/v1") == "host:1"
    for bad in (
        "https://ann:pw12345@host/v1",
        "https://pw12345@host/v1",
        "ftp://host",
        "host:8000/v1",
        "https:///v1",
        "https://h/v1?a=1",
    ):
        with pytest.raises(ConfigError) as caught:
            remote.plain_url(bad, "m")
        assert "pw12345" not in str(caught.value) and str(caught.value).startswith("m: base_url")


# Secrets


@pytest.mark.parametrize(
    "text",
    [
        f"Incorrect API key provided: {KEY}.",
        f"Authorization: Bearer {KEY}",
        "Authorization: Bearer other-token-of-somebody",
        'headers={"x-api-key": "abcdefgh12345"}',
        "provided: sk-proj-****************abcd",
        "https://ann:hunter22@host/v1 refused",
        "key=AIzaSyA-0123456789abcdef",
        "Basic YW5uOmh1bnRlcjIy",
    ],
)
def test_scrub(text: str) -> None:
    clean = scrub(text, secrets_of(KEY))
    for secret in (KEY, "other-token", "abcdefgh12345", "abcd", "hunter22", "AIza", "YW5u"):
        assert secret not in clean
    assert "[hidden]" in clean


def test_scrub_knows_a_key_in_other_forms() -> None:
    secrets = secrets_of("ann:pass/w+rd=1", None, "")
    for form in (
        "ann:pass/w+rd=1",
        "pass/w+rd=1",
        "ann%3Apass%2Fw%2Brd%3D1",
        "YW5uOnBhc3Mvdytyg",
        "YW5uOnBhc3MvdytyZD0x",
    ):
        assert ("pass/w" not in scrub(form, secrets)) and ("YW5uOnBhc3MvdytyZD0x" not in scrub(form, secrets))
    assert secrets_of("abc") == (), "too short to be one: it would blot out words"


def test_scrub_leaves_words_alone() -> None:
    text = "The key dates: task-force, risk-free, basic terms; the bearer of this letter. Skipped 3 keys."
    assert scrub(text, secrets_of(KEY)) == text


# Waits


def test_retry_after() -> None:
    assert retry_after({}) is None
    assert retry_after({"retry-after": "2"}) == 2.0
    assert retry_after({"retry-after": "0.25"}) == 0.25
    assert retry_after({"retry-after-ms": "1500", "retry-after": "9"}) == 1.5
    assert retry_after({"retry-after-ms": "soon", "retry-after": "9"}) == 9.0
    for bad in ("", "soon", "nan", "inf", "-1", "1e99"):
        assert retry_after({"retry-after": bad}) is None


def test_retry_after_as_a_date_is_counted_by_the_servers_clock() -> None:
    now = 1_000_000_000.0  # long ago here
    later = {"retry-after": formatdate(now + 30, usegmt=True), "date": formatdate(now, usegmt=True)}
    assert retry_after(later) == 30.0
    assert retry_after({"retry-after": formatdate(now, usegmt=True)}) == 0.0
    assert retry_after({"retry-after": "Wed, 99 Nov 2026 99:00:00 GMT"}) is None


# Errors


OPENAI = {"error": {"message": "words", "type": "invalid_request_error", "param": None, "code": None}}


def openai(message: str, code: str | None = None, type: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


@pytest.mark.parametrize(
    ("status", "body", "kind", "fatal"),
    [
        (400, openai("x", "context_length_exceeded"), "context_length", False),
        (400, openai("This model's maximum context length is 8192 tokens. However"), "context_length", False),
        (400, {"object": "error", "message": "This model's maximum context length is 6048 tokens.", "code": 400}, "context_length", False),
        (400, {"error": {"code": 400, "message": "the request exceeds the available context size", "type": "exceed_context_size_error"}}, "context_length", False),
        (400, openai("Requested tokens (9000) exceed context window of 4096"), "context_length", False),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 210000 tokens > 200000 maximum"}}, "context_length", False),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "input length and `max_tokens` exceed context limit: 1 + 2 > 3"}}, "context_length", False),
        (400, [{"error": {"code": 400, "message": "The input token count (2000000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}], "context_length", False),
        (400, {"message": "Input is too long for requested model."}, "context_length", False),
        (500, {"error": {"message": "context window exceeded", "code": "context_length_exceeded"}}, "context_length", False),
        (400, openai("filtered", "content_filter"), "content_filter", False),
        (400, {"error": {"message": "x", "code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, "content_filter", False),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Output blocked by content filtering policy"}}, "content_filter", False),
        (400, openai("Invalid prompt: flagged", "invalid_prompt"), "content_filter", False),
        (413, {"type": "error", "error": {"type": "request_too_large", "message": "x"}}, "too_large", False),
        (413, b"<html><head><title>413</title></head><body>nginx</body></html>", "too_large", False),
        (400, openai("too long", "string_above_max_length"), "too_large", False),
        (429, openai("Request too large for gpt-x on tokens per min (TPM): Limit 30000, Requested 90000.", "rate_limit_exceeded", "tokens"), "too_large", False),
        (400, OPENAI, "bad_request", True),
        (400, openai("max_tokens is too large: 100000. This model supports at most 16384 completion tokens"), "bad_request", True),
        (422, {"detail": [{"loc": ["body", "seed"], "msg": "Input should be a valid integer"}]}, "bad_request", True),
        (400, "not json", "bad_request", True),
        (401, openai("x", "invalid_api_key"), "auth", True),
        (402, {"error": {"message": "Insufficient Balance"}}, "auth", True),
        (403, openai("x"), "auth", True),
        (400, [{"error": {"code": 400, "message": "API key not valid. Please pass a valid API key.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], "auth", True),
        (400, {"type": "error", "error": {"type": "invalid_request_error", "message": "Your credit balance is too low to access the API."}}, "auth", True),
        (429, openai("quota", "insufficient_quota", "insufficient_quota"), "auth", True),
        (429, {"type": "error", "error": {"type": "rate_limit_error", "details": {"error_code": "enforced_spend_limit_reached"}, "message": "x"}}, "auth", True),
        (404, openai("no such model", "model_not_found"), "unknown_model", True),
        (404, {"detail": "Not Found"}, "unknown_model", True),
        (429, openai("slow down", "rate_limit_exceeded"), "rate_limit", False),
        (429, b"", "rate_limit", False),
        (408, None, "timeout", False),
        (409, None, "server", False),
        (500, {"error": "boom"}, "server", False),
        (503, b"upstream connect error", "server", False),
        (529, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "server", False),
        (307, b"", "bad_request", True),
        (None, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "server", False),
        (None, {"code": "rate_limit_exceeded", "message": "x"}, "rate_limit", False),
        (None, {"code": "server_error", "message": "x"}, "server", False),
        (None, None, "server", False),
    ],
)  # fmt: skip
def test_failure(status: int | None, body: Any, kind: str, fatal: bool) -> None:
    forms = [body, json.dumps(body).encode()] if isinstance(body, dict | list) else [body]
    if isinstance(body, dict) and isinstance(body.get("error"), dict) and "type" not in body:
        forms.append(body["error"])  # as OpenAI's SDK hands it on
    for form in forms:
        error = failure(status, form)
        assert (error.kind, isinstance(error, FatalCall)) == (kind, fatal), error
        assert error.status == status and error.text


def test_failure_waits_only_where_waiting_helps() -> None:
    headers = {"retry-after": "3"}
    assert failure(429, None, headers=headers).retry_after_s == 3.0
    assert failure(503, None, headers=headers).retry_after_s == 3.0
    assert failure(400, None, headers=headers).retry_after_s is None


def test_failure_is_one_readable_line() -> None:
    page = "<!DOCTYPE html><html><head><style>a{}</style></head><body>Bad\n gateway</body></html>"
    assert failure(502, page).text == "HTTP 502: Bad gateway"
    assert failure(401, openai(f"Incorrect key {KEY}"), secrets=secrets_of(KEY)).text.endswith("Incorrect key [hidden]")
    assert len(failure(400, openai("x" * 9999)).text) <= 500


def chained(*errors: BaseException) -> BaseException:
    """The first one, caused by the second, and so on."""
    for outer, inner in itertools.pairwise(errors):
        outer.__cause__ = inner
    return errors[0]


def error(name: str, text: str = "") -> Exception:
    return type(name, (Exception,), {})(text)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("chain", "kind"),
    [
        ([error("APIConnectionError", "Connection error."), error("ReadError"), error("ClientPayloadError")], "bad_body"),
        ([error("APIConnectionError"), error("RemoteProtocolError", "peer closed connection without sending complete message body (incomplete chunked read)")], "bad_body"),
        ([error("APITimeoutError"), error("ConnectTimeout"), error("ServerDisconnectedError", "Server disconnected")], "server"),
        ([error("APITimeoutError", "Request timed out."), error("ReadTimeout"), error("SocketTimeoutError")], "timeout"),
        ([error("APITimeoutError", "Request timed out."), TimeoutError()], "timeout"),
        ([error("APIConnectionError"), error("ConnectError"), OSError(111, "Connect call failed")], "server"),
        ([ConnectionResetError("reset")], "server"),
        ([error("APIResponseValidationError")], "bad_body"),
        ([json.JSONDecodeError("x", "y", 0)], "bad_body"),
        ([asyncio.IncompleteReadError(b"", 3)], "bad_body"),
        ([error("SomethingNew", "?")], "server"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value[0]).__name__,
)  # fmt: skip
def test_broken(chain: list[BaseException], kind: str) -> None:
    failed = broken(chained(*chain))
    assert failed.kind == kind and not isinstance(failed, FatalCall)


def test_broken_hides_secrets_of_causes_too_and_ends_on_a_circle() -> None:
    first, second = error("APIConnectionError", "Connection error."), error("ConnectError", f"to ann:{KEY}@host")
    first.__cause__, second.__cause__ = second, first
    failed = broken(first, secrets=secrets_of(KEY))
    assert KEY not in failed.text and "ConnectError" not in failed.text and "Connection error." in failed.text


def test_checked_drop() -> None:
    assert remote.checked_drop(("seed", "temperature"), ("temperature", "seed"), "m") == ("temperature", "seed")
    with pytest.raises(ConfigError, match="m: drop: sed is none of temperature, seed"):
        remote.checked_drop(("sed",), ("temperature", "seed"), "m")


# The readers


@given(st.lists(st.text(max_size=9), max_size=5), st.sampled_from(["\n", "\r\n"]), st.data())
def test_events_come_out_whole_however_the_bytes_are_cut(texts: list[str], end: str, data: st.DataObject) -> None:
    sent = [json.dumps(text) for text in texts]
    raw = "".join(f": ping{end}event: x{end}data: {one}{end}{end}" for one in sent).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6)))
    events, found = Events(), []
    for start, stop in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        found += events.feed(raw[start:stop])
    assert [one.decode() for one in found] == sent


def test_events_of_several_lines_and_without_a_space() -> None:
    events = Events()
    assert events.feed(b"data:a\ndata: b\n\ndata\n\ndata: c") == [b"a\nb"]
    assert events.feed(b"\n\n") == [b"c"]


def test_json_of_broken_characters() -> None:
    dumps, loads = codec()
    for one in (dumps, _dumps):
        assert json.loads(one({"é": ["x\ud83d y", "\ud83d\ude00"]})) == {"é": ["x\ufffd y", "\U0001f600"]}
        assert one({"a": 1, "b": [None, 0.5]}) == b'{"a":1,"b":[null,0.5]}'
    assert loads(b'"a\\ud83d"') == "a\ud83d" and whole("a\ud83d") == "a\ufffd"
    for bad in (b"", b"\xff", b"{"):
        with pytest.raises(ValueError):
            loads(bad)


def test_call_failed_survives_what_is_raised() -> None:
    assert isinstance(failure(400, None), CallFailed)
