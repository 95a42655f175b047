"""What litellm's replies and exceptions say in our nouns. Pure: everything is read by name, litellm is not imported.

Three of its habits are undone here: it counts tokens itself where a provider reports none, it takes the last usage of a
stream for the whole (Anthropic tells the input at the beginning), and it ends a stream that was cut as if it were whole.
"""

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.core import Completion, Usage
from evals.errors import CallErrorKind, CallFailed, FatalCall
from evals.models.base import Mark
from evals.models.openai_reply import read_usage
from evals.models.remote import broken, failure, scrub
from evals.models.remote_errors import FATAL
from evals.models.remote_json import whole

FINISH = {"tool_calls": "tool", "function_call": "tool"}
_IDS = (
    "llm_provider-x-request-id",
    "llm_provider-request-id",
    "llm_provider-x-amzn-requestid",
    "llm_provider-apim-request-id",
)
_GOOGLE_WAIT = re.compile(r'"retryDelay":\s*"(\d+(?:\.\d+)?)s"')


class Answer:
    """One reply as it comes in."""

    def __init__(self, *, provider: str, claude: bool, streamed: bool) -> None:
        self.provider, self.claude = provider, claude
        self.texts: list[str] = []
        self.refusal, self.finish = "", ""
        self.about: dict[str, Any] = {}
        self._usages: list[Any] = []
        self._streamed, self._closed = streamed, not streamed
        self._model: str | None = None

    @property
    def usage(self) -> Usage | None:
        """Tokens as the provider reported them: in a stream, the greatest of each count that was told."""
        told: dict[str, Any] = {}
        for one in self._usages:
            _merge(told, _plain(one))
        usage = read_usage(told)
        return usage if usage.output or usage.input_uncached or usage.cache_read else None

    def whole(self, reply: Any) -> None:
        """A reply in one piece."""
        choices = getattr(reply, "choices", None)
        if not choices:
            raise CallFailed("bad_body", "the reply holds no choice")
        message = choices[0].message
        self.texts = [message.content or ""]
        self.refusal = getattr(message, "refusal", None) or ""
        self.finish = choices[0].finish_reason or ""
        self._usages = [getattr(reply, "usage", None)]
        self._about(reply, reply)

    async def listen(self, stream: Any, mark: Mark) -> None:
        """A reply in pieces; left early, by cancellation too, the connection is closed."""
        last = None
        try:
            async for chunk in stream:
                last = chunk
                if not self._model:  # its `model` is the name litellm was given
                    self._model = (getattr(chunk, "_hidden_params", None) or {}).get("provider_response_model")
                if not chunk.choices:
                    continue
                choice = chunk.choices[0]
                self.finish = choice.finish_reason or self.finish
                self.refusal += getattr(choice.delta, "refusal", None) or ""
                if choice.delta.content:
                    if not self.texts:
                        mark("first")
                    self.texts.append(choice.delta.content)
        finally:
            # What the provider sent; the last chunk's usage may be litellm's own count.
            self._usages = [getattr(chunk, "usage", None) for chunk in getattr(stream, "chunks", ())]
            with contextlib.suppress(Exception):
                await stream.aclose()
        ends = ("received_finish_reason", "intermittent_finish_reason", "received_any_finish_reason")
        self._closed = any(getattr(stream, end, None) for end in ends)
        if last is not None:
            self._about(last, stream)

    def completion(self, notes: Mapping[str, Any]) -> Completion:
        """The answer as the engine wants it. Raises `CallFailed` where it is none."""
        usage = self.usage
        if not self._closed or not self.finish:
            raise CallFailed("bad_body", "the reply ended without saying how", usage=usage)
        # litellm calls a refusal of Claude's a content filter, of which Anthropic knows none.
        refused = bool(self.refusal) or (self.finish == "content_filter" and self.claude)
        if self.finish == "content_filter" and not refused:
            raise CallFailed("content_filter", "the answer was stopped by the content filter", usage=usage)
        text = "".join(self.texts) or self.refusal
        return Completion(
            text=text if text.isascii() else whole(text),
            finish_reason="refusal" if refused else FINISH.get(self.finish, self.finish),
            usage=usage or Usage(),
            served_by={key: value for key, value in self.about.items() if value},
            notes=notes,
        )

    def _about(self, reply: Any, carrier: Any) -> None:
        """Who served it. `carrier` holds the reply's headers."""
        headers = (getattr(carrier, "_hidden_params", None) or {}).get("additional_headers") or {}
        usage = [_plain(one) for one in self._usages]
        request_id = next((headers[one] for one in _IDS if headers.get(one)), None)
        if request_id is None and self.provider in ("gemini", "vertex_ai", "vertex_ai_beta"):
            request_id = getattr(reply, "id", None)  # Google's responseId; elsewhere litellm makes one up
        self.about = {
            "model": self._model or (None if self._streamed else getattr(reply, "model", None)),
            "fingerprint": getattr(reply, "system_fingerprint", None),
            "request_id": request_id,
            "tier": getattr(reply, "service_tier", None) or _first(usage, "service_tier"),
            "region": _first(usage, "inference_geo") or headers.get("llm_provider-x-ms-region"),
        }


def _first(usages: Sequence[Mapping[str, Any]], key: str) -> Any:
    return next((usage[key] for usage in usages if usage.get(key)), None)


def _plain(usage: Any) -> dict[str, Any]:
    dump = getattr(usage, "model_dump", None)
    found = dump() if dump else usage
    return found if isinstance(found, dict) else {}


def _merge(told: dict[str, Any], usage: Mapping[str, Any]) -> None:
    """Keep the greatest of each count: they only grow while an answer is made."""
    for key, value in usage.items():
        if isinstance(value, Mapping):
            _merge(told.setdefault(key, {}), value)
        elif isinstance(value, int) and not isinstance(value, bool):
            told[key] = max(value, told.get(key) or 0)


def failed(error: Exception, *, secrets: Sequence[str] = (), usage: Usage | None = None) -> CallFailed:
    """What an exception of litellm means, to be raised.

    litellm's own class and status mislead (a lost connection is a 500, Anthropic's 413 a 400): what it was made of is
    asked first: a real HTTP reply, then trouble of the connection or an unreadable body, and only then its class.
    """
    links = _chain(error)
    for link in reversed(links):
        response = getattr(link, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(status, int) and status >= 400 and not type(link).__module__.startswith("litellm."):
            return _told(status, response, links, secrets)
    found = _untold(error, links, secrets)
    found.usage = usage
    return found


def _untold(error: Exception, links: Sequence[BaseException], secrets: Sequence[str]) -> CallFailed:
    """What an exception means that holds no HTTP error."""
    if any(isinstance(link, OSError) or type(link).__module__.partition(".")[0] in _TRANSPORTS for link in links):
        return broken(error, secrets=secrets)
    names = {kind.__name__ for link in links for kind in type(link).__mro__}
    text = scrub(_short(error), secrets)
    if names & _UNREADABLE or any(words in str(error) for words in _NO_ANSWER):
        return CallFailed("bad_body", text)
    kind = next((kind for name, kind in _BY_CLASS.items() if name in names), None)
    if kind in FATAL:
        return FatalCall(kind, text)
    return CallFailed(kind, text) if kind else broken(error, secrets=secrets)


_TRANSPORTS = frozenset({"httpx", "httpx2", "httpcore", "httpcore2", "aiohttp", "json", "zlib"})
_UNREADABLE = frozenset({"KeyError", "IndexError", "AttributeError", "TypeError", "ValidationError"})
_NO_ANSWER: tuple[str, ...] = (
    "converting to valid response",
    "response from LLM endpoint",
    "no 'choices'",
    "get json response",
    "before a finish_reason was received",
)
_BY_CLASS: dict[str, CallErrorKind] = {
    "ContextWindowExceededError": "context_length",
    "ContentPolicyViolationError": "content_filter",
    "UnsupportedParamsError": "bad_request",
    "AuthenticationError": "auth",
    "PermissionDeniedError": "auth",
    "NotFoundError": "unknown_model",
    "RateLimitError": "rate_limit",
}


def _told(status: int, response: Any, links: Sequence[BaseException], secrets: Sequence[str]) -> CallFailed:
    """An error that the server itself told."""
    body: Any = None
    with contextlib.suppress(Exception):  # a stream's body may not have been read
        body = response.content
    if not body:
        body = next(
            (text for link in links if (text := getattr(link, "text", None) or getattr(link, "body", None))), None
        )
    found = failure(status, body or str(links[0]), headers=response.headers, secrets=secrets)
    wait = _GOOGLE_WAIT.search(body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body))
    if wait and found.retry_after_s is None and found.kind in ("rate_limit", "server"):
        found.retry_after_s = float(wait[1])
    return found


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in links and len(links) < 12:
        links.append(at)
        at = at.__cause__ or at.__context__
    return links


def _short(error: Exception) -> str:
    """litellm's message, without its advice to drop parameters in silence."""
    text = f"{type(error).__name__}: {getattr(error, 'message', None) or error}"
    if type(error).__name__ == "UnsupportedParamsError":
        return text.partition(" To drop ")[0].partition(". If you want to")[0]
    return text
