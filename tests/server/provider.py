"""A server that speaks as OpenAI, Anthropic and Gemini do. It shares no code with `evals`.

    python tests/server/provider.py --port 0 --latency-ms 50 --faults '{"429": 0.05, "hang": 0.005}'

prints `PORT n` once it listens on 127.0.0.1. Every setting of settings.py is an option. It ends by itself after
`--idle-s` seconds without a request, after `--max-requests`, or, with `--watch-stdin`, when its parent is gone.

Control: `GET /_log[?documents=0]`, `GET /_last?n=`, `GET /_settings`, `POST /_reset` (settings over those of the start),
`POST /_limits`.

What is answered can be told beforehand:
- a document's id is the marker `[[id:XYZ]]` in the last user message, else `h-` and a hash of that message;
- a text's tokens are its letters / 4, rounded up; a prompt's are those of its messages and system text, added;
- a model named `...cached-100...written-20...reasoning-50` has that many cached, written and reasoning tokens (cached and
  written within the prompt's; reasoning added to the answer's); the headers x-test-cached, -written, -reasoning do the same;
- models: `missing-model` 404, `no-quota` (429 at OpenAI and Gemini, 400 at Anthropic), `*reasoner*` (no max_tokens,
  temperature, top_p), `*no-sampling*` (Anthropic: no temperature, top_p, top_k);
- keys that begin with `wrong` 401 (400 at Gemini), with `forbidden` 403; OpenAI's 401 echoes the key;
- documents that hold CONTEXT OVERFLOW, FILTER ME, FLAG ME, TOO LARGE BODY (refused), FILTER OUTPUT, REFUSE ME (cut or refused
  in the answer), BATCH FAIL, BATCH EXPIRE (in a batch only).

In the ledger `received` = refused + limited + attempts, attempts = good + faults + aborted, and `billed` = good + truncated +
unreadable + aborted (the client left while its answer was made). Requests still in flight are in `received` alone or in
`attempts`.
"""

import argparse
import asyncio
import gc
import logging
import os
import threading
from dataclasses import asdict, fields
from typing import Any

import routes
from aiohttp import web
from buckets import Buckets
from serve import Service
from settings import Settings, clock, dumps, from_words, loads


class Provider:
    """The control routes, and the service that they replace at a reset."""

    def __init__(self, settings: Settings) -> None:
        self.first = settings
        self.service = Service(settings)
        self.requests = 0
        self.touched = clock()

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """Any request."""
        self.touched = clock()
        path = request.path
        if path.startswith("/_"):
            return await self.control(path, request)
        self.requests += 1
        return await routes.answer(self.service, request)

    async def control(self, path: str, request: web.BaseRequest) -> web.Response:
        """What tests ask of the server itself."""
        query = request.query
        try:
            if path == "/_log":
                return shown(self.service.facts(query.get("documents", "1") != "0"))
            if path == "/_last":
                last = list(self.service.journal.last)
                return shown(last[-int(query.get("n", "1")) :])
            if path == "/_settings":
                return shown(asdict(self.service.settings))
            if path in ("/_start", "/_reset", "/_limits") and request.method == "POST":
                raw = await request.read()
                new = loads(raw) if raw else {}
                if path == "/_limits":
                    return self.limit(new)
                if path == "/_start":  # what later resets go back to
                    self.first, new = self.first.changed(new), {}
                self.service = Service(self.first.changed(new))
                return shown({"ok": True})
        except (ValueError, TypeError) as error:
            return shown({"error": str(error)}, 400)
        return shown({"error": f"no such route: {path}"}, 404)

    def limit(self, new: dict[str, Any]) -> web.Response:
        """Other limits from now on, the ledger kept."""
        wanted = {name: new.get(name) for name in ("requests_per_minute", "tokens_per_minute")}
        settings = self.service.settings.changed(
            wanted | {"burst_s": new.get("burst_s", self.service.settings.burst_s)}
        )
        self.service.settings = settings
        self.service.buckets = Buckets(settings.requests_per_minute, settings.tokens_per_minute, settings.burst_s)
        return shown({"ok": True})


def shown(value: Any, status: int = 200) -> web.Response:
    """As JSON."""
    return web.Response(status=status, body=dumps(value), headers={"content-type": "application/json"})


async def serve(provider: Provider, port: int, idle_s: float, max_requests: int | None, ended: threading.Event) -> None:
    """Listen until there is nothing more to do."""
    server = web.Server(provider, request_factory=any_size, handler_cancellation=True, access_log=None)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=4096, shutdown_timeout=0.1)
    await site.start()
    gc.freeze()
    print(f"PORT {runner.addresses[0][1]}", flush=True)
    while not ended.is_set():
        await asyncio.sleep(0.2)
        over = max_requests is not None and provider.requests >= max_requests
        if provider.service.journal.in_flight == 0 and (over or clock() - provider.touched > idle_s):
            break
    await runner.cleanup()


def any_size(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    """Bodies up to 1 GB: a batch's file is large."""
    return web.BaseRequest(
        message, payload, protocol, writer, task, asyncio.get_running_loop(), client_max_size=1 << 30
    )


def watch_stdin(ended: threading.Event) -> None:
    """The parent holds the other end and never writes: its end is ours."""

    def wait() -> None:
        while os.read(0, 1):  # not by sys.stdin, whose lock would outlive us
            pass
        ended.set()

    threading.Thread(target=wait, daemon=True).start()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--idle-s", type=float, default=600.0, help="end after so long without a request")
    parser.add_argument("--max-requests", type=int, help="end after so many")
    parser.add_argument("--preload", default="all", help="chat,responses,messages,gemini,batches,message_batches")
    parser.add_argument("--watch-stdin", action="store_true", help="end when standard input ends")
    for f in fields(Settings):
        option = "--" + f.name.replace("_", "-")
        if f.type is bool:
            parser.add_argument(option, action="store_true", default=argparse.SUPPRESS)
        else:
            parser.add_argument(option, default=argparse.SUPPRESS, metavar=f.name.upper())
    words = vars(parser.parse_args())
    port, idle_s, most, watch = (words.pop(n) for n in ("port", "idle_s", "max_requests", "watch_stdin"))
    routes.preload(words.pop("preload"))
    provider = Provider(Settings().changed(from_words(words)))
    logging.getLogger("aiohttp").setLevel(logging.CRITICAL)  # a connection that a test cuts is no news
    ended = threading.Event()
    if watch:
        watch_stdin(ended)
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ImportError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(provider, port, idle_s, most, ended))


if __name__ == "__main__":
    main()
