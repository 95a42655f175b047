"""Messages of Anthropic's API as they come over the wire, and what they say in our nouns. Pure.

Read as plain JSON, not through the SDK's types: what is missing is then an error kind of our own.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.core import Completion, Usage
from evals.errors import CallFailed
from evals.models.remote import failure
from evals.models.remote_json import whole

FINISH = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool"}


def completion(
    message: Mapping[str, Any],
    *,
    notes: Mapping[str, Any] = {},
    request_id: str | None = None,
    secrets: Sequence[str] = (),
) -> Completion:
    """A message as a completion; raises where it is none, or where the context was too small."""
    if message.get("type") == "error":
        raise failure(None, message, secrets=secrets)
    raw, blocks, reason = message.get("usage"), message.get("content"), message.get("stop_reason")
    usage = usage_of(raw)
    if usage is None or not isinstance(raw, Mapping) or not isinstance(blocks, list) or not isinstance(reason, str):
        raise CallFailed("bad_body", "the reply lacks content, stop_reason or usage", usage=usage)
    if reason == "model_context_window_exceeded":
        raise CallFailed("context_length", "the model's context window was exceeded", usage=usage)
    served = {"model": message.get("model"), "request_id": request_id}
    served |= {"tier": raw.get("service_tier"), "region": raw.get("inference_geo")}
    text = "".join(str(block.get("text") or "") for block in blocks if _is_text(block))
    return Completion(
        text=text if text.isascii() else whole(text),
        finish_reason=FINISH.get(reason, reason),
        usage=usage,
        served_by={key: value for key, value in served.items() if value is not None},
        notes={**notes, **_remarks(message, raw)},
    )


class Building:
    """The message that the events of a stream build up."""

    def __init__(self) -> None:
        self.message: dict[str, Any] = {"usage": {}}
        self.texts: list[str] = []
        self.closed = False

    @property
    def usage(self) -> Usage | None:
        """What is known of it so far."""
        return usage_of(self.message.get("usage"))

    def take(self, event: Mapping[str, Any]) -> bool:
        """Add one event. True: it held text of the answer (thinking is none)."""
        kind = event.get("type")
        if kind == "message_start":
            self.message |= _part(event, "message")
        elif kind == "message_delta":
            usage = {key: value for key, value in _part(event, "usage").items() if value is not None}
            self.message |= {**_part(event, "delta"), "usage": {**_part(self.message, "usage"), **usage}}
        elif kind == "message_stop":
            self.closed = True
            self.message["content"] = [{"type": "text", "text": "".join(self.texts)}]
        elif text := _text(event):
            self.texts.append(text)
            return True
        return False


def _part(event: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = event.get(key)
    return found if isinstance(found, dict) else {}


def _is_text(block: Any) -> bool:
    return isinstance(block, Mapping) and block.get("type") == "text"


def _text(event: Mapping[str, Any]) -> str:
    """The answer's text in an event; thinking is none."""
    if event.get("type") == "content_block_start":
        block = _part(event, "content_block")
        return str(block.get("text") or "") if _is_text(block) else ""
    delta = _part(event, "delta") if event.get("type") == "content_block_delta" else {}
    return str(delta.get("text") or "") if delta.get("type") == "text_delta" else ""


def usage_of(raw: Any) -> Usage | None:
    """Anthropic's input tokens exclude what was read from or written to its cache; thinking is part of the output."""
    if not isinstance(raw, Mapping) or not raw:
        return None
    written, lifetimes = raw.get("cache_creation_input_tokens"), _lifetimes(raw)
    details = raw.get("output_tokens_details")
    return Usage(
        input_uncached=_count(raw.get("input_tokens")),
        cache_read=_count(raw.get("cache_read_input_tokens")),
        cache_write=sum(lifetimes.values()) if written is None and lifetimes else _count(written),
        output=_count(raw.get("output_tokens")),
        reasoning=_count(details.get("thinking_tokens")) if isinstance(details, Mapping) else None,
    )


def _lifetimes(usage: Mapping[str, Any]) -> dict[str, int]:
    """Tokens written to the cache by how long they are kept: the prices differ."""
    detail = usage.get("cache_creation")
    if not isinstance(detail, Mapping):
        return {}
    found = {life: _count(detail.get(f"ephemeral_{life}_input_tokens")) for life in ("5m", "1h")}
    return {life: tokens for life, tokens in found.items() if tokens is not None}


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _remarks(message: Mapping[str, Any], usage: Mapping[str, Any]) -> dict[str, Any]:
    """What else is worth keeping: why it refused, cache writes kept for an hour, a speed that costs more."""
    remarks: dict[str, Any] = {}
    details = message.get("stop_details")
    if isinstance(details, Mapping) and details.get("category"):
        remarks["refusal"] = str(details["category"])
    if (lifetimes := _lifetimes(usage)).get("1h"):
        remarks["cache_write_by_lifetime"] = lifetimes
    if usage.get("speed") not in (None, "standard"):
        remarks["speed"] = usage["speed"]
    return remarks
