"""The server's own nouns: a request as it is understood, a refusal, a stream, and what a dialect must know."""

import itertools
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal, Protocol

from answers import answer_for, tokens
from settings import Settings

Finish = Literal["stop", "length", "filter", "refusal"]
REFUSED = "I cannot help with that."
_MARKER = re.compile(r"\[\[id:([^\]]+)\]\]")
_RULE = re.compile(r"(cached|written|reasoning)-(\d+)")
_START = os.urandom(6).hex()
_NEXT = itertools.count(1)


@dataclass(slots=True)
class Call:
    """One request."""

    path: str
    model: str
    key: str
    document: str
    document_id: str
    prompt_tokens: int
    body: dict[str, Any]
    headers: Mapping[str, str]
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None
    stream: bool = False
    tier: str | None = None
    started: float = 0.0
    serial: str = ""
    text: str = ""
    finish: Finish = "stop"
    output_tokens: int = 0
    reasoning: int = 0
    cached: int = 0
    written: int = 0
    served: str = ""
    bare: bool = False
    stream_usage: str = "asked"

    def make_answer(self, settings: Settings) -> None:
        """Decide what is answered and what it costs. The rules are in the module's docstring of provider.py."""
        self.serial = f"{_START}{next(_NEXT):012x}"
        self.served = self.model + settings.served_suffix
        self.bare, self.stream_usage = settings.bare, settings.stream_usage
        rules = {name: int(count) for name, count in _RULE.findall(self.model)}
        for name in ("cached", "written", "reasoning"):
            if (header := self.headers.get(f"x-test-{name}")) is not None:
                rules[name] = int(header)
        self.cached = min(rules.get("cached", 0), self.prompt_tokens)
        self.written = min(rules.get("written", 0), self.prompt_tokens - self.cached)
        self.reasoning = rules.get("reasoning", 0)
        text = answer_for(settings, self.document_id, self.schema)
        if "REFUSE ME" in self.document:
            self.finish, text = "refusal", REFUSED
        elif "FILTER OUTPUT" in self.document:
            self.finish, text = "filter", text[: len(text) // 2]
        room = None if self.max_tokens is None else max(0, self.max_tokens - self.reasoning)
        if room is not None and tokens(text) > room:
            self.finish, text = "length", text[: room * 4]
            self.reasoning = min(self.reasoning, self.max_tokens or 0)
        self.text = text
        self.output_tokens = tokens(text) + self.reasoning


@dataclass(frozen=True, kw_only=True, slots=True)
class Refusal:
    """An HTTP error with a body in the provider's words."""

    status: int
    message: str
    type: str = "invalid_request_error"
    param: str | None = None
    code: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    in_stream: bool = False
    """A streamed request learns it from an event, behind status 200."""


@dataclass(slots=True)
class Stream:
    """Server-sent events: what opens, the deltas, what closes."""

    head: bytes
    deltas: list[bytes]
    tail: bytes
    error: bytes = b""
    """What a failure in the middle looks like."""


class Dialect(Protocol):
    """One provider's way to speak."""

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Call:
        """Understand a request, however odd."""
        ...

    def check(self, call: Call) -> Refusal | None:
        """Parameters and schema."""
        ...

    def rules(self, call: Call) -> Refusal | None:
        """Key, model and what the document itself asks for."""
        ...

    def by_status(self, status: int) -> Refusal:
        """The usual body of a status."""
        ...

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal as a body."""
        ...

    def error_events(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal inside a stream."""
        ...

    def plain(self, call: Call) -> bytes:
        """The whole answer."""
        ...

    def events(self, call: Call, count: int) -> Stream:
        """The answer in deltas."""
        ...

    def headers(self, call: Call | None, request_id: str, processing_ms: int) -> dict[str, str]:
        """The provider's headers on any reply."""
        ...

    def limit_headers(self, left: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
        """What is left of requests and tokens: size a minute, rest, seconds until full."""
        ...


def new_id() -> str:
    """A fresh one, never the same again in this process."""
    return f"{_START}{next(_NEXT):012x}"


def document_id(document: str) -> str:
    """The marker `[[id:XYZ]]`, or a hash of the text."""
    found = _MARKER.search(document)
    return found[1] if found else "h-" + blake2b(document.encode(), digest_size=8).hexdigest()


def flat(content: Any) -> str:
    """The text of a message's content, whether a string or parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""


def last_user(messages: Any) -> tuple[str, int]:
    """The last user message, and the tokens of all of them."""
    document, total = "", 0
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            said = flat(message.get("content"))
            total += tokens(said)
            if message.get("role", "user") == "user":
                document = said
    return document, total


def whole(value: Any) -> int | None:
    """A token limit, if it is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None
