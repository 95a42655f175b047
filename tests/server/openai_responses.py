"""OpenAI's `POST /v1/responses`."""

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import openai_words as words
from answers import pieces, tokens
from calls import Call, Refusal, Stream, document_id, flat, last_user, whole
from openai.types import responses as types
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from params import checker
from pydantic import BaseModel
from schema_rules import openai_strict
from settings import dumps
from shapes import Template, number, quoted, text

REASONS = {"length": "max_output_tokens", "filter": "content_filter"}


def content(refused: bool, inside: str | None = None) -> dict[str, Any]:
    """One part of the message."""
    said = text("text") if inside is None else inside
    if refused:
        return {"type": "refusal", "refusal": said}
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def message(status: str, parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The output message."""
    return {"id": text("item"), "type": "message", "role": "assistant", "status": status, "content": parts}


def reasoning() -> dict[str, Any]:
    """The item that stands before the message of a model that thinks."""
    return {"id": text("thought"), "type": "reasoning", "summary": []}


@cache
def whole_data(finish: str, tier: str, thinks: bool, begun: bool = False) -> dict[str, Any]:
    """The response object; `begun`: as it is when a stream opens."""
    status = "in_progress" if begun else "incomplete" if finish in REASONS else "completed"
    output: list[dict[str, Any]] = [reasoning()] if thinks else []
    output.append(message(status, [content(finish == "refusal")]))
    usage = {
        "input_tokens": number("prompt"),
        "input_tokens_details": {"cached_tokens": number("cached"), "cache_write_tokens": number("written")},
        "output_tokens": number("output"),
        "output_tokens_details": {"reasoning_tokens": number("reasoning")},
        "total_tokens": number("total"),
    }
    return {
        "id": text("id"),
        "object": "response",
        "created_at": number("created"),
        "status": status,
        "error": None,
        "incomplete_details": {"reason": REASONS[finish]} if finish in REASONS and not begun else None,
        "instructions": None,
        "metadata": {},
        "model": text("model"),
        "output": [] if begun else output,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": tier,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if begun else usage,
        "user": None,
    }


@cache
def whole_shape(finish: str, tier: str, thinks: bool) -> Template:
    """A plain answer."""
    return Template(types.Response, whole_data(finish, tier, thinks))


@dataclass(frozen=True)
class EventShapes:
    """The events of one kind of answer, by name, in order."""

    head: list[tuple[str, Template]]
    delta: tuple[str, Template]
    tail: list[tuple[str, Template]]
    error: tuple[str, Template]


def event(kind: type[BaseModel], name: str, **data: Any) -> tuple[str, Template]:
    """One event's shape."""
    return name, Template(kind, {"type": name, "sequence_number": number("sequence")} | data)


@cache
def event_shapes(finish: str, tier: str, thinks: bool) -> EventShapes:
    """The events of such an answer."""
    refused, at = finish == "refusal", int(thinks)
    status = "incomplete" if finish in REASONS else "completed"
    place: dict[str, Any] = {"item_id": text("item"), "output_index": at, "content_index": 0}
    begun = whole_data(finish, tier, thinks, True)
    head = [
        event(types.ResponseCreatedEvent, "response.created", response=begun),
        event(types.ResponseInProgressEvent, "response.in_progress", response=begun),
    ]
    if thinks:
        for kind, name in ((types.ResponseOutputItemAddedEvent, "added"), (types.ResponseOutputItemDoneEvent, "done")):
            head.append(event(kind, f"response.output_item.{name}", output_index=0, item=reasoning()))
    item = message("in_progress", [])
    head.append(event(types.ResponseOutputItemAddedEvent, "response.output_item.added", output_index=at, item=item))
    part = content(refused, "")
    head.append(event(types.ResponseContentPartAddedEvent, "response.content_part.added", part=part, **place))
    said = text("text")
    if refused:
        delta = event(types.ResponseRefusalDeltaEvent, "response.refusal.delta", delta=said, **place)
        done = event(types.ResponseRefusalDoneEvent, "response.refusal.done", refusal=said, **place)
    else:
        delta = event(types.ResponseTextDeltaEvent, "response.output_text.delta", delta=said, logprobs=[], **place)
        done = event(types.ResponseTextDoneEvent, "response.output_text.done", text=said, logprobs=[], **place)
    item = message(status, [content(refused)])
    last = types.ResponseIncompleteEvent if status == "incomplete" else types.ResponseCompletedEvent
    tail = [
        done,
        event(types.ResponseContentPartDoneEvent, "response.content_part.done", part=content(refused), **place),
        event(types.ResponseOutputItemDoneEvent, "response.output_item.done", output_index=at, item=item),
        event(last, f"response.{status}", response=whole_data(finish, tier, thinks)),
    ]
    wrong = words.by_status(500).message
    error = event(types.ResponseErrorEvent, "error", code="server_error", message=wrong, param=None)
    return EventShapes(head, delta, tail, error)


def values(call: Call) -> dict[bytes, Any]:
    """What fills the shapes."""
    serial = call.serial.encode()
    return {
        b"id": b'"resp_%b"' % serial,
        b"item": b'"msg_%b"' % serial,
        b"thought": b'"rs_%b"' % serial,
        b"created": int(time.time()),
        b"model": quoted(call.served),
        b"text": quoted(call.text),
        b"prompt": call.prompt_tokens,
        b"output": call.output_tokens,
        b"total": call.prompt_tokens + call.output_tokens,
        b"cached": call.cached,
        b"written": call.written,
        b"reasoning": call.reasoning,
    }


class Responses:
    """The dialect."""

    by_status = staticmethod(words.by_status)
    limit_headers = staticmethod(words.limit_headers)

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Call:
        """Understand a request, however odd."""
        given = body.get("input")
        document, prompt = (given, tokens(given)) if isinstance(given, str) else last_user(given)
        prompt += tokens(flat(body.get("instructions")))
        wanted = body.get("text")
        wanted = wanted.get("format") if isinstance(wanted, dict) else None
        schema = wanted.get("schema") if isinstance(wanted, dict) else None
        tier = body.get("service_tier")
        return Call(
            path=path,
            model=str(body.get("model")),
            key=words.key_of(headers),
            document=document,
            document_id=document_id(document),
            prompt_tokens=prompt,
            body=body,
            headers=headers,
            schema=schema if isinstance(schema, dict) else None,
            max_tokens=whole(body.get("max_output_tokens")),
            stream=body.get("stream") is True,
            tier="default" if not isinstance(tier, str) or tier == "auto" else tier,
        )

    def check(self, call: Call) -> Refusal | None:
        """Parameters and schema."""
        hint = ResponseCreateParamsStreaming if call.stream else ResponseCreateParamsNonStreaming
        if (problem := checker(hint)(call.body, ())) is not None:
            refusal = words.said(problem)
            if problem.kind == "extra" and len(problem.path) == 1:  # this endpoint words it so at the top too
                name = problem.path[0]
                refusal = replace(
                    refusal, message=f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter"
                )
            return refusal
        for name in ("model", "input"):
            if name not in call.body:
                message = f"Missing required parameter: '{name}'."
                return Refusal(status=400, message=message, param=name, code="missing_required_parameter")
        wanted = (call.body.get("text") or {}).get("format") or {}
        strict = wanted.get("type") == "json_schema" and wanted.get("strict", True)
        if strict and (why := openai_strict(wanted["name"], wanted["schema"])) is not None:
            return Refusal(status=400, message=why, param="text.format.schema", code="invalid_json_schema")
        return None

    def rules(self, call: Call) -> Refusal | None:
        """Key, model and what the document itself asks for."""
        if (refusal := words.key_refusal(call.key) or words.model_refusal(call.model)) is not None:
            return refusal
        if "reasoner" in call.model:
            for name in ("temperature", "top_p"):
                if name in call.body:
                    return words.unsupported(name)
        refusal = words.document_refusal(call, "input")
        # seen in the wild: a stream is opened first, and says so in its own error event (dyad-sh/dyad#1672)
        return replace(refusal, in_stream=True) if refusal and refusal.code == "context_length_exceeded" else refusal

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal as a body."""
        return words.error(refusal)

    def error_events(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal inside a stream."""
        inside = {"type": refusal.type, "code": refusal.code, "message": refusal.message, "param": refusal.param}
        return b"event: error\ndata: " + dumps({"type": "error", "sequence_number": 2, "error": inside}) + b"\n\n"

    def headers(self, call: Call | None, request_id: str, processing_ms: int) -> dict[str, str]:
        """The provider's headers on any reply."""
        return words.headers(request_id, processing_ms)

    def plain(self, call: Call) -> bytes:
        """The whole answer."""
        return whole_shape(call.finish, call.tier or "default", call.reasoning > 0).fill(values(call))

    def events(self, call: Call, count: int) -> Stream:
        """The answer in deltas."""
        shapes = event_shapes(call.finish, call.tier or "default", call.reasoning > 0)
        known = values(call)
        numbers = itertools.count()

        def line(shape: tuple[str, Template]) -> bytes:
            known[b"sequence"] = next(numbers)
            return b"event: %b\ndata: %b\n\n" % (shape[0].encode(), shape[1].fill(known))

        head = b"".join(line(shape) for shape in shapes.head)
        deltas = []
        for piece in pieces(call.text, count):
            known[b"text"] = quoted(piece)
            deltas.append(line(shapes.delta))
        known[b"text"] = quoted(call.text)
        return Stream(head, deltas, b"".join(line(shape) for shape in shapes.tail), line(shapes.error))
