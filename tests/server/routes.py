"""Which path is answered by whom: by its end, so that a base URL with or without a version will do."""

import sys
import traceback
from functools import cache
from importlib import import_module
from typing import Any

from aiohttp import web
from calls import Refusal, new_id
from serve import JSON, Service
from settings import dumps

PARTS = {
    "chat": ("openai_chat", "Chat"),
    "responses": ("openai_responses", "Responses"),
    "messages": ("anthropic_messages", "Messages"),
    "gemini": ("gemini", "Gemini"),
    "batches": ("openai_batches", None),
    "message_batches": ("anthropic_batches", None),
}
"""A part is imported when it is first asked for, which blocks for a second or two: so all are at the start, unless told."""
MODELS = ("gpt-test", "gpt-test-reasoner", "claude-test", "claude-test-no-sampling")


@cache
def part(name: str) -> Any:
    """A dialect, or the module of a batch API."""
    module, kind = PARTS[name]
    found = import_module(module)
    return getattr(found, kind)() if kind else found


def preload(names: str) -> None:
    """`all`, or some by comma."""
    for name in PARTS if names == "all" else filter(None, names.split(",")):
        try:
            part(name)
        except ModuleNotFoundError as error:
            if error.name not in ("anthropic", "openai"):
                raise  # without one SDK the other provider still answers


async def answer(service: Service, request: web.BaseRequest) -> web.StreamResponse:
    """Any request but those of control; a mistake of this server's own is shown, not hidden behind a plausible 500."""
    try:
        return await routed(service, request)
    except ConnectionError:
        raise  # the client is gone
    except Exception:
        traceback.print_exc(file=sys.stderr)
        return web.Response(status=500, text="the test server itself failed: see its standard error")


async def routed(service: Service, request: web.BaseRequest) -> web.StreamResponse:
    """By the path's end."""
    path = request.path
    if request.method == "POST":
        if path.endswith("/chat/completions"):
            return await service.handle(part("chat"), request)
        if path.endswith("/responses"):
            return await service.handle(part("responses"), request)
        if path.endswith("/messages"):
            return await service.handle(part("messages"), request)
        if path.endswith((":generateContent", ":streamGenerateContent")):
            return await service.handle(part("gemini"), request)
    service.journal.enter_quietly(path)
    if "/messages/batches" in path:
        return service.unwell(part("messages")) or await part("message_batches").batches(service, request)
    words, openai = import_module("openai_words"), part("batches")
    if (refusal := words.key_refusal(words.key_of(request.headers))) is not None:
        return openai.refused(refusal)  # type: ignore[no-any-return]
    if "/files" in path:
        return service.unwell(part("chat")) or await openai.files(service, request)
    if "/batches" in path:
        return service.unwell(part("chat")) or await openai.batches(service, request)
    if path.endswith("/models"):
        known = [{"id": name, "object": "model", "created": 1700000000, "owned_by": "test"} for name in MODELS]
        headers = words.headers(new_id(), 1) | JSON
        return web.Response(body=dumps({"object": "list", "data": known}), headers=headers)
    return openai.refused(Refusal(status=404, message=f"Invalid URL ({request.method} {path})"))  # type: ignore[no-any-return]
