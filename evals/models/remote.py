"""What every API backend shares: the key, whose limits are shared, errors told apart, nothing secret in any text.

A backend asks `require_key` once in `start`, keeps `secrets_of(key)` and raises what `failure` (the server answered
with an error) or `broken` (no whole answer came) return, `from None`: an SDK's exception holds the request.
"""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

from evals.errors import CallErrorKind, CallFailed, ConfigError, FatalCall
from evals.models.remote_errors import FATAL, document_cause, fatal_cause

LONGEST_WAIT_S = 24 * 3600.0
"""A `Retry-After` beyond a day is a mistake of the server's."""
_HIDDEN = "[hidden]"
_LOOKS_SECRET = re.compile(
    r"(?i)\b(?:bearer|basic)\s+[\w.~+/=*-]{6,}"  # an Authorization value
    r"|\b(?:x-)?api[-_]?key[\"']?\s*[:=]\s*[\"']?[\w.~+/=*-]{6,}"
    r"|\b(?:sk|pk|gsk|xai|key|hf)[-_][\w*-]{6,}"  # keys as providers make them, masked ones too
    r"|\bAIza[\w*-]{10,}"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # the user part of a URL
)


def require_key(variable: str | None, model: str) -> str | None:
    """The key in the environment variable; `None` where no variable is named. Missing or unusable: `ConfigError`."""
    if variable is None:
        return None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"{variable} is not set: model {model} needs it")
    if not key.isascii() or any(c.isspace() or not c.isprintable() for c in key):
        raise ConfigError(f"{variable} holds a character that no key has (a space, a line end, a letter with accent)")
    return key


def account(host: str, variable: str | None) -> str:
    """16 hex digits for a host and a key: whom rate limits are shared with. The key cannot be read back from it."""
    key = os.environ.get(variable, "").strip() if variable else ""
    return hashlib.sha256(f"evals account\n{host}\n{key}".encode()).hexdigest()[:16]


def plain_url(url: str | None, model: str) -> str | None:
    """A base URL fit to be shown and stored, without its last slash. One with a password or a query: `ConfigError`.

    Overrides stand in the option's name, the folder's and `config.yaml`, so a password may never be part of the URL.
    """
    if url is None:
        return None
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ConfigError(
            f"{model}: base_url holds a user or password, which would be written into the run's folder: put "
            "user:password into the environment variable that key_env names and set auth=basic"
        )
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"{model}: base_url must start with http:// or https:// and a host")
    if parts.query or parts.fragment:
        raise ConfigError(f"{model}: base_url must have no ? or #")
    return url.rstrip("/")


def host_of(url: str) -> str:
    """`host[:port]` of a URL, lower case, without its user part."""
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def secrets_of(*keys: str | None) -> tuple[str, ...]:
    """The forms in which keys could show up in a text, longest first; what is too short to be secret is left out."""
    forms: set[str] = set()
    for key in keys:
        if key and len(key) >= 4:
            password = key.partition(":")[2]
            for one in (key, password) if len(password) >= 4 else (key,):
                forms |= {one, quote(one, safe=""), json.dumps(one)[1:-1], base64.b64encode(one.encode()).decode()}
    return tuple(sorted(forms, key=len, reverse=True))


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without the given secrets, and without anything that looks like a key or an Authorization value."""
    for secret in secrets:
        text = text.replace(secret, _HIDDEN)
    return _LOOKS_SECRET.sub(_HIDDEN, text)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds the server asks to wait: `retry-after-ms`, or `retry-after` in seconds or as a date; `None` if unsaid."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name) or "") * unit_s
        except ValueError:
            continue
        if 0 <= seconds < LONGEST_WAIT_S:  # false for nan
            return seconds
    return _until(headers.get("retry-after"), headers.get("date"))


def _until(date: str | None, now: str | None) -> float | None:
    """Seconds until an HTTP date, by the server's own clock where it tells: ours may be wrong."""
    import time
    from email.utils import parsedate_to_datetime

    if not date:
        return None
    try:
        then = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    try:
        start = parsedate_to_datetime(now or "").timestamp()
    except (TypeError, ValueError, OverflowError):
        start = time.time()
    return min(max(0.0, then - start), LONGEST_WAIT_S)


def failure(
    status: int | None,
    body: Any,
    *,
    headers: Mapping[str, str] = {},
    secrets: Sequence[str] = (),
) -> CallFailed:
    """What an error reply means, to be raised: a `FatalCall` where every further call would fail alike.

    `body`: bytes, text, or what JSON or an SDK made of it (`error.body`). `status=None`: an error told inside a reply
    that began well (an event of a stream, the `error` of a response, a line of a batch), judged by its codes.
    """
    codes, message = read_error(body)
    kind = _kind(status, codes, message)
    said = f"HTTP {status}" if status else "error"
    words = " ".join(dict.fromkeys(codes))
    if status is not None and 300 <= status < 400:
        message = f"redirected to {headers.get('location')}, which is not followed: mend base_url"
    elif status == 404 and not codes:
        message = f"{message} (is base_url right? it mostly ends in /v1)"
    text = scrub(": ".join(part for part in (f"{said} {words}".strip(), message) if part), secrets)
    wait = retry_after(headers) if kind in ("rate_limit", "server") else None
    if kind in FATAL:
        return FatalCall(kind, text, status=status)
    return CallFailed(kind, text, retry_after_s=wait, status=status)


def _kind(status: int | None, codes: Sequence[str], message: str) -> CallErrorKind:
    """The kind of a failure: what names the document first, then what is fatal, then the status alone."""
    cause = document_cause(status, codes, message) or fatal_cause(status, codes, message)
    if cause:
        return cause
    if status is None or status >= 500:
        return "server"
    by_status: dict[int, CallErrorKind] = {401: "auth", 402: "auth", 403: "auth", 404: "unknown_model"}
    by_status |= {408: "timeout", 409: "server", 413: "too_large", 425: "server", 429: "rate_limit", 499: "server"}
    return by_status.get(status, "bad_request")


def read_error(body: Any) -> tuple[tuple[str, ...], str]:
    """The codes (code, type, status, reason of any provider's error, lower case) and the message of an error body."""
    if isinstance(body, bytes | bytearray):
        body = body.decode("utf-8", "replace")
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return (), _plain(body)
    if isinstance(body, list) and len(body) == 1:  # Google wraps its errors into a list
        body = body[0]
    if not isinstance(body, Mapping):
        return (), "" if body is None else _plain(str(body))
    inner = body.get("error", body)
    if not isinstance(inner, Mapping):
        return _codes(body), _plain(str(inner))
    message = inner.get("message") or inner.get("detail") or inner.get("error_description") or body.get("message")
    if message is None:
        message = "" if _codes(inner) else json.dumps(inner, ensure_ascii=False, default=str)
    return _codes(inner), _plain(message if isinstance(message, str) else json.dumps(message, default=str))


def _codes(error: Mapping[str, Any]) -> tuple[str, ...]:
    """Every code an error carries, the provider's own and the ones nested in its details."""
    found = [error.get(key) for key in ("code", "type", "status")]
    nested = [error.get("innererror"), error.get("inner_error"), error.get("details")]
    for details in nested:
        for one in details if isinstance(details, list) else [details]:
            if isinstance(one, Mapping):
                found += [one.get(key) for key in ("code", "error_code", "reason")]
    return tuple(code.lower() for code in found if isinstance(code, str) and code)


def _plain(text: str) -> str:
    """One line, without the tags of an HTML page."""
    if "<" in text[:200] and re.search(r"(?i)<(!doctype|html)", text[:200]):
        text = re.sub(r"(?s)<(style|script|head)\b.*?</\1>|<[^>]*>", " ", text[:20_000])
    return " ".join(text[:4000].split())


_CUT = frozenset({"ClientPayloadError", "IncompleteReadError", "TransferEncodingError", "ContentLengthError"})
_UNREADABLE = frozenset({"JSONDecodeError", "UnicodeDecodeError", "ValidationError", "APIResponseValidationError"})
_UNREADABLE |= {"DecodingError", "ContentEncodingError", "InvalidChunkLength", "ContentTypeError"}
_CUT_TEXT = re.compile("incomplete chunked read|without sending complete message body|payload is not completed")
_LOST = frozenset({"ServerDisconnectedError", "ClientConnectorError", "ClientOSError", "ClientConnectionResetError"})
_LOST |= {"ConnectionResetError", "ConnectionRefusedError", "BrokenPipeError", "ConnectError", "gaierror", "SSLError"}
_LOST |= {"ClientConnectorDNSError", "ClientConnectorCertificateError", "ConnectionAbortedError"}


def broken(error: BaseException, *, secrets: Sequence[str] = ()) -> CallFailed:
    """What an exception of an SDK or its transport means where no whole answer came, to be raised.

    Told by the names of the exception and its causes, the innermost first: no SDK is imported here, and the SDKs'
    own classes mislead (openai's aiohttp transport calls a lost connection a time-out).
    """
    chain: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in chain and len(chain) < 12:
        chain.append(at)
        at = at.__cause__ or at.__context__
    text = scrub(f"{type(error).__name__}: {error}", secrets)
    inner = next((str(one) for one in reversed(chain) if str(one) and str(one) not in text), "")
    text = scrub(f"{text} ({inner})" if inner else text, secrets)
    for one in reversed(chain):
        names = {kind.__name__ for kind in type(one).__mro__}
        if names & (_CUT | _UNREADABLE) or _CUT_TEXT.search(str(one)):
            return CallFailed("bad_body", text)
        if names & _LOST:
            return CallFailed("server", text)
        if any(name.endswith(("Timeout", "TimeoutError", "TimeoutException")) for name in names):
            return CallFailed("timeout", text)
    return CallFailed("server", text)


def checked_drop(drop: Sequence[str], known: Iterable[str], model: str) -> tuple[str, ...]:
    """The request parameters a model does not take, in a fixed order; one that is never sent is a `ConfigError`."""
    names = tuple(known)
    for one in drop:
        if one not in names:
            raise ConfigError(f"{model}: drop: {one} is none of {', '.join(names)}")
    return tuple(name for name in names if name in drop)
