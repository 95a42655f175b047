"""Anthropic's `POST /v1/messages`.

Wording as public issue threads quote it: prompt too long (anthropics/claude-code#59696), extra inputs
(anthropics/claude-code#4378), sampling parameters (github/app#2574), output_config.format (future-agi/future-agi#412),
credit balance (anthropics/claude-code#66314).
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import anthropic.types as types
from answers import pieces, tokens
from anthropic.types.message_create_params import MessageCreateParamsNonStreaming, MessageCreateParamsStreaming
from calls import Call, Refusal, Stream, document_id, flat, last_user, whole
from params import Problem, checker
from pydantic import BaseModel
from schema_rules import anthropic_format
from settings import dumps
from shapes import Template, number, quoted, text

FINISH = {"stop": "end_turn", "length": "max_tokens", "refusal": "refusal"}
SAMPLING = ("temperature", "top_p", "top_k")
KINDS = {
    400: ("invalid_request_error", "Bad request."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Billing error."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not found."),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed your rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def by_status(status: int) -> Refusal:
    """The usual body of a status."""
    kind, message = KINDS.get(status, ("api_error" if status >= 500 else "invalid_request_error", f"Status {status}"))
    return Refusal(status=status, message=message, type=kind)


def said(problem: Problem) -> Refusal:
    """What a wrong parameter gets."""
    where = ".".join(str(p) for p in problem.path)
    words = {
        "extra": "Extra inputs are not permitted",
        "missing": "Field required",
        "value": f"Input should be {problem.expected}",
        "type": f"Input should be a valid {problem.expected.split(' ', 1)[-1]}",
    }
    return Refusal(status=400, message=f"{where}: {words[problem.kind]}")


def usage() -> dict[str, Any]:
    """The usage block, to be filled."""
    return {
        "input_tokens": number("input"),
        "cache_creation_input_tokens": number("written"),
        "cache_read_input_tokens": number("cached"),
        "cache_creation": {"ephemeral_5m_input_tokens": number("written"), "ephemeral_1h_input_tokens": 0},
        "output_tokens": number("output"),
        "inference_geo": text("geo"),
    }


def message_data(stop: str | None, tier: str, thinks: bool) -> dict[str, Any]:
    """The message; without a stop reason as it is when a stream opens."""
    blocks: list[dict[str, Any]] = [{"type": "text", "text": text("text"), "citations": None}]
    if thinks:
        blocks.insert(0, {"type": "thinking", "thinking": "", "signature": "c2lnbmF0dXJl"})
    bill = usage() | {"service_tier": tier}
    if thinks and stop is not None:
        bill["output_tokens_details"] = {"thinking_tokens": number("reasoning")}
    details = {"type": "refusal", "category": None, "explanation": None} if stop == "refusal" else None
    return {
        "id": text("id"),
        "type": "message",
        "role": "assistant",
        "model": text("model"),
        "content": blocks if stop is not None else [],
        "stop_reason": stop,
        "stop_sequence": None,
        "stop_details": details,
        "usage": bill,
    }


@cache
def whole_shape(stop: str, tier: str, thinks: bool) -> Template:
    """A plain answer."""
    return Template(types.Message, message_data(stop, tier, thinks))


@cache
def event_shapes(stop: str, tier: str, thinks: bool) -> dict[str, list[tuple[str, Template]]]:
    """The events of such an answer: head, delta, tail."""

    def event(kind: type[BaseModel], name: str, **data: Any) -> tuple[str, Template]:
        return name, Template(kind, {"type": name} | data)

    opened = message_data(None, tier, thinks)
    opened["usage"] = opened["usage"] | {"output_tokens": 1}
    head = [event(types.RawMessageStartEvent, "message_start", message=opened)]
    at = int(thinks)
    if thinks:
        block: dict[str, Any] = {"type": "thinking", "thinking": "", "signature": ""}
        sign = {"type": "signature_delta", "signature": "c2lnbmF0dXJl"}
        head += [
            event(types.RawContentBlockStartEvent, "content_block_start", index=0, content_block=block),
            event(types.RawContentBlockDeltaEvent, "content_block_delta", index=0, delta=sign),
            event(types.RawContentBlockStopEvent, "content_block_stop", index=0),
        ]
    block = {"type": "text", "text": ""}
    head.append(event(types.RawContentBlockStartEvent, "content_block_start", index=at, content_block=block))
    piece = {"type": "text_delta", "text": text("text")}
    bill = {name: value for name, value in usage().items() if name not in ("cache_creation", "inference_geo")}
    if thinks:
        bill["output_tokens_details"] = {"thinking_tokens": number("reasoning")}
    details = {"type": "refusal", "category": None, "explanation": None} if stop == "refusal" else None
    ended = {"stop_reason": stop, "stop_sequence": None, "stop_details": details}
    return {
        "head": head,
        "delta": [event(types.RawContentBlockDeltaEvent, "content_block_delta", index=at, delta=piece)],
        "tail": [
            event(types.RawContentBlockStopEvent, "content_block_stop", index=at),
            event(types.RawMessageDeltaEvent, "message_delta", delta=ended, usage=bill),
            event(types.RawMessageStopEvent, "message_stop"),
        ],
    }


def values(call: Call) -> dict[bytes, Any]:
    """What fills the shapes."""
    return {
        b"id": b'"msg_%b"' % call.serial.encode(),
        b"model": quoted(call.served),
        b"text": quoted(call.text),
        b"geo": quoted(str(call.body.get("inference_geo") or "global")),
        b"input": call.prompt_tokens - call.cached - call.written,
        b"cached": call.cached,
        b"written": call.written,
        b"output": call.output_tokens,
        b"reasoning": call.reasoning,
    }


class Messages:
    """The dialect."""

    by_status = staticmethod(by_status)

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Call:
        """Understand a request, however odd."""
        document, prompt = last_user(body.get("messages"))
        prompt += tokens(flat(body.get("system")))
        wanted = body.get("output_config")
        wanted = wanted.get("format") if isinstance(wanted, dict) else body.get("output_format")
        schema = wanted.get("schema") if isinstance(wanted, dict) else None
        key = headers.get("X-Api-Key") or headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return Call(
            path=path,
            model=str(body.get("model")),
            key=key,
            document=document,
            document_id=document_id(document),
            prompt_tokens=prompt,
            body=body,
            headers=headers,
            schema=schema if isinstance(schema, dict) else None,
            max_tokens=whole(body.get("max_tokens")),
            stream=body.get("stream") is True,
            tier="standard",
        )

    def check(self, call: Call) -> Refusal | None:
        """Header, parameters and schema."""
        if "Anthropic-Version" not in call.headers:
            return Refusal(status=400, message="anthropic-version: header is required")
        body = call.body
        if "output_format" in body and "structured-outputs" in call.headers.get("Anthropic-Beta", ""):
            # the beta's name for output_config.format, which litellm 1.110.2 sends
            body = {name: value for name, value in body.items() if name != "output_format"}
            body["output_config"] = {"format": call.body["output_format"]}
        return self.check_body(body, call.stream)

    def check_body(self, body: dict[str, Any], stream: bool) -> Refusal | None:
        """Parameters and schema."""
        hint = MessageCreateParamsStreaming if stream else MessageCreateParamsNonStreaming
        # older models take these, though the SDK's signature no longer has them
        rest = {name: value for name, value in body.items() if name not in SAMPLING}
        if (problem := checker(hint)(rest, ())) is not None:
            return said(problem)
        for name in SAMPLING:
            if (problem := checker(int if name == "top_k" else float)(body.get(name, 0), (name,))) is not None:
                return said(problem)
        wanted = (body.get("output_config") or {}).get("format")
        if wanted is not None and (why := anthropic_format(wanted["schema"])) is not None:
            return Refusal(status=400, message=why)
        return None

    def rules(self, call: Call) -> Refusal | None:
        """Key, model and what the document itself asks for."""
        if not call.key or call.key.startswith("wrong"):
            return by_status(401)
        if call.key.startswith("forbidden"):
            return by_status(403)
        return self.rules_of_body(call)

    def rules_of_body(self, call: Call) -> Refusal | None:
        """Model and document."""
        if call.model == "missing-model":
            return Refusal(status=404, message=f"model: {call.model}", type="not_found_error")
        if call.model == "no-quota":
            message = (
                "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or "
                "purchase credits."
            )
            return Refusal(status=400, message=message)
        if "no-sampling" in call.model:
            for name in SAMPLING:
                if name in call.body:
                    return Refusal(status=400, message=f"`{name}` is deprecated for this model.")
        if "CONTEXT OVERFLOW" in call.document:
            return Refusal(
                status=400, message=f"prompt is too long: {call.prompt_tokens + 200000} tokens > 200000 maximum"
            )
        if "FILTER ME" in call.document or "FILTER OUTPUT" in call.document:
            return Refusal(status=400, message="Output blocked by content filtering policy")
        return by_status(413) if "TOO LARGE BODY" in call.document else None

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal as a body."""
        inside = {"type": refusal.type, "message": refusal.message}
        return dumps({"type": "error", "error": inside, "request_id": request_id})

    def error_events(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal inside a stream."""
        return b"event: error\ndata: " + self.error(refusal, request_id) + b"\n\n"

    def headers(self, call: Call | None, request_id: str, processing_ms: int) -> dict[str, str]:
        """The provider's headers on any reply."""
        return {"request-id": f"req_{request_id}", "anthropic-organization-id": "00000000-0000-4000-8000-000000000000"}

    def limit_headers(self, left: Mapping[str, tuple[int, int, float]]) -> dict[str, str]:
        """What is left of requests and tokens."""
        found = {}
        for name, (size, rest, reset_s) in left.items():
            at = datetime.now(UTC) + timedelta(seconds=reset_s)
            found[f"anthropic-ratelimit-{name}-limit"] = str(size)
            found[f"anthropic-ratelimit-{name}-remaining"] = str(rest)
            found[f"anthropic-ratelimit-{name}-reset"] = at.strftime("%Y-%m-%dT%H:%M:%SZ")
        return found

    def plain(self, call: Call) -> bytes:
        """The whole answer."""
        return whole_shape(FINISH[call.finish], call.tier or "standard", call.reasoning > 0).fill(values(call))

    def events(self, call: Call, count: int) -> Stream:
        """The answer in deltas."""
        shapes = event_shapes(FINISH[call.finish], call.tier or "standard", call.reasoning > 0)
        known = values(call)

        def lines(part: str) -> bytes:
            return b"".join(
                b"event: %b\ndata: %b\n\n" % (name.encode(), shape.fill(known)) for name, shape in shapes[part]
            )

        head = lines("head") + b'event: ping\ndata: {"type": "ping"}\n\n'
        deltas = []
        for piece in pieces(call.text, count):
            known[b"text"] = quoted(piece)
            deltas.append(lines("delta"))
        return Stream(head, deltas, lines("tail"), self.error_events(by_status(529), f"req_{call.serial}"))
