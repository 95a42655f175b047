"""What OpenAI's chat and responses answer, whole or in events. Pure.

Replies are read as JSON, without the SDK's response types: a missing field is then our own error kind, other servers'
extra fields are no trouble, and a streamed answer costs a tenth.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.core import Completion, Usage
from evals.errors import CallFailed
from evals.models.openai_request import Api
from evals.models.remote import failure
from evals.models.remote_json import whole

FINISH = {"max_output_tokens": "length", "tool_calls": "tool", "function_call": "tool"}
"""The providers' words for an end, where they are not ours."""


@dataclass(slots=True)
class Answer:
    """What is known of an answer so far."""

    text: list[str] = field(default_factory=list)
    refusal: list[str] = field(default_factory=list)
    finish: str | None = None
    usage: Usage = field(default_factory=Usage)
    about: Mapping[str, Any] = field(default_factory=dict)
    """The reply, or the stream's first event: model, fingerprint, tier."""
    closed: bool = False
    """The closing event was seen."""
    bad: str | None = None
    """Why it is no answer, though JSON."""

    def completion(
        self, headers: Mapping[str, str], notes: Mapping[str, Any], secrets: Sequence[str] = ()
    ) -> Completion:
        """The answer as the engine wants it. Raises `CallFailed` where it is none."""
        if "error" in self.about and self.about["error"] and not self.text:
            raise told(self.about, self.usage, secrets)
        if self.bad or self.finish is None:
            raise CallFailed("bad_body", self.bad or "the reply does not say how the answer ended", usage=self.usage)
        if self.finish == "content_filter":
            raise CallFailed("content_filter", "the answer was stopped by the content filter", usage=self.usage)
        refused = "".join(self.refusal)
        text = refused or "".join(self.text)
        return Completion(
            text=text if text.isascii() else whole(text),
            finish_reason="refusal" if refused else FINISH.get(self.finish, self.finish),
            usage=self.usage,
            served_by=served_by(self.about, headers),
            notes=notes,
        )


def served_by(about: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Who answered, as far as the reply says."""
    found = {
        "model": about.get("model"),
        "fingerprint": about.get("system_fingerprint"),
        "request_id": headers.get("x-request-id"),
        "tier": about.get("service_tier"),
        "region": headers.get("x-ms-region"),
        "provider": about.get("provider"),  # routers that pass a request on say to whom
    }
    return {key: value for key, value in found.items() if value}


def told(reply: Mapping[str, Any], usage: Usage, secrets: Sequence[str]) -> CallFailed:
    """An error told inside a reply that began as a success: its own code may be an HTTP status."""
    inner = reply.get("error")
    code = inner.get("code") if isinstance(inner, Mapping) else None
    error = failure(code if isinstance(code, int) and 400 <= code < 600 else None, reply, secrets=secrets)
    if usage != Usage():
        error.usage = usage
    return error


def read_usage(block: Any) -> Usage:
    """The usage block of chat or responses; without one nothing is known, which is not zero.

    Providers count cached tokens inside the input; some count reasoning inside the total only.
    """
    if not isinstance(block, Mapping):
        return Usage()
    given = _whole(block, "prompt_tokens", "input_tokens")
    made = _whole(block, "completion_tokens", "output_tokens")
    total = _whole(block, "total_tokens")
    inside = block.get("prompt_tokens_details") or block.get("input_tokens_details") or {}
    outside = block.get("completion_tokens_details") or block.get("output_tokens_details") or {}
    read, written = _whole(inside, "cached_tokens"), _whole(inside, "cache_write_tokens")
    reasoning = _whole(outside, "reasoning_tokens")
    if given is not None and made is not None and total is not None and total - given == made + (reasoning or 0):
        made = total - given
    fresh = None if given is None else max(0, given - (read or 0) - (written or 0))
    return Usage(input_uncached=fresh, cache_read=read, cache_write=written, output=made, reasoning=reasoning)


def _whole(block: Any, *names: str) -> int | None:
    for name in names:
        value = block.get(name) if isinstance(block, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def read(api: Api, reply: Any) -> Answer:
    """A whole reply."""
    if not isinstance(reply, Mapping):
        return Answer(bad="the reply is JSON, but no object")
    return _read_response(reply) if api == "responses" else _read_chat(reply)


def _read_chat(reply: Mapping[str, Any]) -> Answer:
    answer = Answer(about=reply, usage=read_usage(reply.get("usage")), closed=True)
    try:
        choice = reply["choices"][0]
        message = choice["message"]
        answer.text = [_words(message.get("content"))]
        answer.refusal = [_words(message.get("refusal"))]
        answer.finish = _words(choice.get("finish_reason")) or None
        if choice.get("error"):
            answer.about, answer.text = {**reply, "error": choice["error"]}, []
    except (KeyError, IndexError, TypeError, AttributeError):
        answer.text, answer.bad = [], "the reply holds no choice with a message"
    return answer


def _words(content: Any) -> str:
    """The text of a message; some hosts give it in parts, thoughts apart."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _read_response(reply: Mapping[str, Any]) -> Answer:
    answer = Answer(about=reply, usage=read_usage(reply.get("usage")), closed=True)
    status = reply.get("status")
    try:
        for item in reply.get("output") or ():
            if item.get("type") == "message":
                for part in item.get("content") or ():
                    answer.text.append(_words(part.get("text")))
                    answer.refusal.append(_words(part.get("refusal")))
            elif str(item.get("type")).endswith("_call"):
                answer.finish = "tool"
    except (TypeError, AttributeError):
        answer.bad = "the output of the response cannot be read"
    if status == "completed":
        answer.finish = answer.finish or "stop"
    elif status == "incomplete":
        details = reply.get("incomplete_details")
        answer.finish = str((details.get("reason") if isinstance(details, Mapping) else None) or "incomplete")
    elif status == "failed":
        answer.text, answer.bad = [], "the response failed without a reason"
    else:
        answer.bad = f"the response is {status or 'of no status'}"
    return answer


class ChatEvents:
    """Builds an answer from the chunks of a streamed chat."""

    __slots__ = ("answer",)

    def __init__(self) -> None:
        self.answer = Answer()

    def end(self) -> None:
        """`[DONE]`."""
        self.answer.closed = True

    def event(self, data: Any) -> bool:
        """One chunk; true where the model said something in it."""
        answer = self.answer
        said = False
        try:
            if choices := data.get("choices"):
                choice = choices[0]
                if delta := choice.get("delta"):
                    said = self._say(answer, delta)
                if finish := choice.get("finish_reason"):
                    answer.finish = str(finish)
            if usage := data.get("usage"):
                answer.usage = read_usage(usage)
            if not answer.about.get("model"):  # Azure's first event is about the prompt alone
                answer.about = data
            if data.get("error"):  # nothing comes after it
                answer.about, answer.text, answer.closed = data, [], True
        except (KeyError, IndexError, TypeError, AttributeError):
            answer.bad = "an event of the stream cannot be read"
        return said

    @staticmethod
    def _say(answer: Answer, delta: Mapping[str, Any]) -> bool:
        if content := delta.get("content"):
            answer.text.append(content if type(content) is str else _words(content))
        elif refusal := delta.get("refusal"):
            answer.refusal.append(_words(refusal))
        else:  # thoughts, as vLLM and others stream them: the model's first token all the same
            return bool(delta.get("reasoning_content") or delta.get("reasoning"))
        return True


class ResponseEvents:
    """Builds an answer from the events of a streamed response: the closing one holds all of it."""

    __slots__ = ("answer",)
    _LAST = ("response.completed", "response.incomplete", "response.failed")
    _SAID = (
        "response.output_text.delta",
        "response.refusal.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
    )

    def __init__(self) -> None:
        self.answer = Answer()

    def end(self) -> None:
        """`[DONE]` closes nothing here; the events themselves do."""

    def event(self, data: Any) -> bool:
        """One event; true where the model said something in it."""
        kind = data.get("type") if isinstance(data, Mapping) else None
        if kind in self._LAST:
            self.answer = read("responses", data.get("response"))
            self.answer.closed = True
        elif kind == "error":
            error = data.get("error") or {key: data.get(key) for key in ("code", "message", "param")}
            self.answer = Answer(about={"error": error}, closed=True)
        return kind in self._SAID and bool(data.get("delta"))
