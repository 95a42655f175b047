"""OpenAI's `POST /v1/chat/completions`."""

import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import openai_words as words
from answers import pieces
from calls import Call, Refusal, Stream, document_id, last_user, whole
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from params import checker
from schema_rules import openai_strict
from settings import dumps
from shapes import Template, number, quoted, text

FINGERPRINT = "fp_testserver01"
FINISH = {"stop": "stop", "length": "length", "filter": "content_filter", "refusal": "stop"}
TIERS = {"auto": "default"}


def usage(bare: bool) -> dict[str, Any]:
    """The usage block, to be filled."""
    counts = {"prompt_tokens": number("prompt"), "completion_tokens": number("output"), "total_tokens": number("total")}
    if bare:
        return counts
    return counts | {
        "prompt_tokens_details": {
            "cached_tokens": number("cached"),
            "audio_tokens": 0,
            "cache_write_tokens": number("written"),
        },
        "completion_tokens_details": {
            "reasoning_tokens": number("reasoning"),
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def top(kind: str, tier: str | None) -> dict[str, Any]:
    """What every reply and chunk begins with; without a tier as a small server gives it."""
    data = {"id": text("id"), "object": kind, "created": number("created"), "model": text("model")}
    return data if tier is None else data | {"service_tier": tier, "system_fingerprint": FINGERPRINT}


@cache
def whole_shape(finish: str, tier: str | None, refused: bool) -> Template:
    """A plain answer."""
    message: dict[str, Any] = {"role": "assistant", "content": text("text")}
    if tier is not None:
        message |= {"refusal": None, "annotations": []}
    if refused:
        message |= {"content": None, "refusal": text("text")}
    choices = [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}]
    data = {"choices": choices, "usage": usage(tier is None)}
    return Template(ChatCompletion, top("chat.completion", tier) | data)


@cache
def chunk_shape(kind: str, finish: str | None, tier: str | None, usage_as: str) -> Template:
    """One chunk of a stream: `role`, `content`, `refusal`, `end` or `usage`; its usage is there, null or absent."""
    deltas: dict[str, dict[str, Any]] = {
        "role": {"role": "assistant", "content": ""} | ({"refusal": None} if tier is not None else {}),
        "content": {"content": text("text")},
        "refusal": {"refusal": text("text")},
    }
    data = top("chat.completion.chunk", tier)
    choice = {"index": 0, "delta": deltas.get(kind, {}), "logprobs": None, "finish_reason": finish}
    data["choices"] = [] if kind == "usage" else [choice]
    if usage_as != "absent":
        data["usage"] = usage(tier is None) if usage_as == "there" else None
    return Template(ChatCompletionChunk, data)


def values(call: Call) -> dict[bytes, Any]:
    """What fills the shapes."""
    return {
        b"id": b'"chatcmpl-%b"' % call.serial.encode(),
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


class Chat:
    """The dialect."""

    by_status = staticmethod(words.by_status)
    limit_headers = staticmethod(words.limit_headers)

    def read(self, path: str, headers: Mapping[str, str], body: dict[str, Any]) -> Call:
        """Understand a request, however odd."""
        document, prompt = last_user(body.get("messages"))
        wanted = body.get("response_format")
        inside = wanted.get("json_schema") if isinstance(wanted, dict) else None
        schema = inside.get("schema") if isinstance(inside, dict) else None
        limits = [n for name in ("max_completion_tokens", "max_tokens") if (n := whole(body.get(name))) is not None]
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
            max_tokens=min(limits, default=None),
            stream=body.get("stream") is True,
            tier=TIERS.get(tier, tier) if isinstance(tier, str) else "default",
        )

    def check(self, call: Call) -> Refusal | None:
        """Parameters and schema."""
        hint = CompletionCreateParamsStreaming if call.stream else CompletionCreateParamsNonStreaming
        if (problem := checker(hint)(call.body, ())) is not None:
            return words.said(problem)
        if call.body.get("stream_options") and not call.stream:
            message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
            return Refusal(status=400, message=message, param="stream_options")
        wanted = call.body.get("response_format") or {}
        if wanted.get("type") == "json_schema" and wanted["json_schema"].get("strict"):
            given = wanted["json_schema"]
            if (why := openai_strict(given["name"], given.get("schema"))) is not None:
                return Refusal(status=400, message=why, param="response_format")
        if wanted.get("type") == "json_object" and "json" not in dumps(call.body["messages"]).decode().lower():
            message = (
                "'messages' must contain the word 'json' in some form, to use 'response_format' of type 'json_object'."
            )
            return Refusal(status=400, message=message, param="messages")
        return None

    def rules(self, call: Call) -> Refusal | None:
        """Key, model and what the document itself asks for."""
        if (refusal := words.key_refusal(call.key) or words.model_refusal(call.model)) is not None:
            return refusal
        if "reasoner" in call.model:
            if "max_tokens" in call.body:
                return words.unsupported("max_tokens", "max_completion_tokens")
            for name in ("temperature", "top_p"):
                if name in call.body:
                    return words.unsupported(name)
        return words.document_refusal(call, "messages")

    def error(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal as a body."""
        return words.error(refusal)

    def error_events(self, refusal: Refusal, request_id: str) -> bytes:
        """A refusal inside a stream."""
        return b"data: " + words.error(refusal) + b"\n\n"

    def headers(self, call: Call | None, request_id: str, processing_ms: int) -> dict[str, str]:
        """The provider's headers on any reply."""
        return {} if call is not None and call.bare else words.headers(request_id, processing_ms)

    def plain(self, call: Call) -> bytes:
        """The whole answer."""
        return whole_shape(FINISH[call.finish], self._tier(call), call.finish == "refusal").fill(values(call))

    def events(self, call: Call, count: int) -> Stream:
        """The answer in deltas."""
        options = call.body.get("stream_options")
        asked = isinstance(options, dict) and options.get("include_usage") is True and call.stream_usage == "asked"
        other = "null" if asked else "absent"
        tier, known = self._tier(call), values(call)

        def line(kind: str, finish: str | None = None, usage_as: str = other) -> bytes:
            return b"data: " + chunk_shape(kind, finish, tier, usage_as).fill(known) + b"\n\n"

        head = line("role")
        deltas = []
        for piece in pieces(call.text, count):
            known[b"text"] = quoted(piece)
            deltas.append(line("refusal" if call.finish == "refusal" else "content"))
        tail = line("end", FINISH[call.finish], "there" if call.stream_usage == "last_chunk" else other)
        if asked:
            tail += line("usage", None, "there")
        return Stream(head, deltas, tail + b"data: [DONE]\n\n", self.error_events(words.by_status(500), ""))

    @staticmethod
    def _tier(call: Call) -> str | None:
        return None if call.bare else call.tier or "default"
