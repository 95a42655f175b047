"""From a request to its reply: refusals, limits, faults, latency, and the ledger."""

import asyncio
import time
from typing import Any

from aiohttp import web
from buckets import Buckets
from calls import Call, Dialect, Refusal, Stream, new_id
from faults import IN_STREAMS, draw, fault_of, retry_after
from journal import Entry, Journal
from settings import Settings, clock, loads

JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
UNREADABLE = (
    (b'{"id": "x", "choices": [{"index": 0, "mess', "application/json"),
    (b'{"id": "\x80\xff"}}', "application/json"),
    (b"<html><head><title>Bad Gateway</title></head><body>\xc3\xa9</body></html>", "text/html"),
)
"""What comes with status 200 and is no JSON: cut, no UTF-8, a gateway's page."""


class Service:
    """Everything that a reset starts anew."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.journal = Journal(settings)
        self.buckets = Buckets(settings.requests_per_minute, settings.tokens_per_minute, settings.burst_s)
        self.files: dict[str, Any] = {}
        self.batches: dict[str, Any] = {}
        self.drops, self.errors = settings.batch_drops, settings.batch_errors
        self.now = time.time
        self.slots = asyncio.Semaphore(settings.slots or 1_000_000)

    async def maybe_drop(self, request: web.BaseRequest) -> None:
        """A batch was accepted, and nobody is told."""
        if self.drops > 0:
            self.drops -= 1
            await self._nothing(request, "drop")

    def unwell(self, dialect: Dialect) -> web.Response | None:
        """A failure of the files and batches routes, while there are any left."""
        if self.errors <= 0:
            return None
        self.errors -= 1
        return self._refused(dialect, None, dialect.by_status(500), clock())

    async def handle(self, dialect: Dialect, request: web.BaseRequest) -> web.StreamResponse:
        """One request of a model."""
        started = clock()
        self.journal.enter(started)
        try:
            raw = await request.read()
            try:
                body = loads(raw)
            except ValueError:
                body = None
            if not isinstance(body, dict):
                refusal = Refusal(status=400, message="We could not parse the JSON body of your request.")
                return self._refused(dialect, None, refusal, started)
            call = dialect.read(request.path, request.headers, body)
            async with self.slots:
                call.started = clock() if self.settings.slots else started
                return await self._answered(dialect, request, call)
        finally:
            self.journal.leave()

    async def _answered(self, dialect: Dialect, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        settings, journal = self.settings, self.journal
        entry = journal.received(call)
        if not settings.lean:
            journal.last.append(
                {
                    "path": request.path_qs,
                    "document": call.document_id,
                    "headers": {name.lower(): value for name, value in request.headers.items()},
                    "body": call.body,
                }
            )
        refusal = self.refusal_of(dialect, call)
        if refusal is not None:
            entry.refused += 1
            return self._refused(dialect, call, refusal, call.started)
        call.make_answer(settings)
        if (short := self.buckets.take(call.key, call.prompt_tokens + call.output_tokens, clock())) is not None:
            entry.limited += 1
            return self._limited(dialect, call, *short)
        entry.attempts += 1
        fault = fault_of(settings.seed, call.document_id, entry.attempts, settings.faults, settings.fault_attempts)
        if fault is not None:
            if fault in IN_STREAMS and not call.stream:
                fault = {"stall": "hang", "stream_error": "500"}[fault]
            journal.fault(entry, fault, call)
            if fault.isdigit():
                return self._faulty_status(dialect, call, int(fault))
            if fault == "hang" or (fault == "drop" and not call.stream):
                return await self._nothing(request, fault)
        try:
            if call.stream:
                return await self._stream(dialect, request, call, entry, fault)
            await asyncio.sleep(self._latency(call, entry) - (clock() - call.started))
        except (asyncio.CancelledError, ConnectionError):
            if fault is None:
                journal.aborted(entry, call)
            raise
        if fault is not None:
            return await self._spoilt(dialect, request, call, fault)
        journal.good(entry, call)
        return self._reply(dialect, call, 200, dialect.plain(call), JSON)

    def refusal_of(self, dialect: Dialect, call: Call) -> Refusal | None:
        """Why there is no answer, apart from limits and faults."""
        if not self.settings.lean and (refusal := dialect.check(call)) is not None:
            return refusal
        return dialect.rules(call)

    def _latency(self, call: Call, entry: Entry) -> float:
        seconds = self.settings.latency_ms / 1000
        if self.settings.jitter:
            at = draw(self.settings.seed, call.document_id, entry.attempts, "latency")
            seconds *= 1 + self.settings.jitter * (2 * at - 1)
        return seconds

    def _headers(self, dialect: Dialect, call: Call | None, started: float) -> dict[str, str]:
        serial = (call.serial if call else "") or new_id()
        return dialect.headers(call, serial, round(1000 * (clock() - started)))

    def _reply(self, dialect: Dialect, call: Call, status: int, body: bytes, more: dict[str, str]) -> web.Response:
        self.journal.statuses[status] += 1
        headers = self._headers(dialect, call, call.started)
        headers.update(more)
        if left := self.buckets.left(call.key):
            headers.update(dialect.limit_headers(left))
        return web.Response(status=status, body=body, headers=headers)

    def _refused(
        self, dialect: Dialect, call: Call | None, refusal: Refusal, started: float, more: dict[str, str] = {}
    ) -> web.Response:
        self.journal.statuses[refusal.status] += 1
        headers = self._headers(dialect, call, started)
        request_id = headers.get("request-id") or headers.get("x-request-id") or ""
        if refusal.in_stream and call is not None and call.stream:
            return web.Response(body=dialect.error_events(refusal, request_id), headers=headers | EVENTS)
        return web.Response(
            status=refusal.status, body=dialect.error(refusal, request_id), headers={**headers, **JSON, **more}
        )

    def _limited(self, dialect: Dialect, call: Call, name: str, wait: float) -> web.Response:
        more = (
            retry_after("ms", wait)
            if self.settings.retry_after == "ms"
            else retry_after(self.settings.retry_after, wait)
        )
        return self._refused(dialect, call, dialect.by_status(429), call.started, more | {"x-test-limit": name})

    def _faulty_status(self, dialect: Dialect, call: Call, status: int) -> web.Response:
        settings = self.settings
        tell = str(status) in settings.retry_after_on.split(",")
        more = retry_after(settings.retry_after, settings.retry_after_s) if tell else {}
        return self._refused(dialect, call, dialect.by_status(status), call.started, more)

    @staticmethod
    async def _nothing(request: web.BaseRequest, fault: str) -> web.StreamResponse:
        """Never an answer: the handler is cancelled when the connection goes."""
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
        await asyncio.Event().wait()
        raise AssertionError

    async def _spoilt(self, dialect: Dialect, request: web.BaseRequest, call: Call, fault: str) -> web.StreamResponse:
        """A plain answer that nobody can read."""
        if fault == "unreadable":
            body, kind = self._unreadable(call)
            return self._reply(dialect, call, 200, body, {"content-type": kind})
        body = dialect.plain(call)
        self.journal.statuses[200] += 1
        response = web.StreamResponse(headers=self._headers(dialect, call, call.started) | JSON)
        response.content_length = len(body)
        await response.prepare(request)
        await response.write(body[: len(body) // 2])
        if request.transport is not None:
            request.transport.close()  # after what was written has left
        await asyncio.Event().wait()
        raise AssertionError

    def _unreadable(self, call: Call) -> tuple[bytes, str]:
        at = draw(self.settings.seed, call.document_id, 0, "unreadable")
        return UNREADABLE[int(at * len(UNREADABLE))]

    async def _stream(
        self, dialect: Dialect, request: web.BaseRequest, call: Call, entry: Entry, fault: str | None
    ) -> web.StreamResponse:
        events = dialect.events(call, self.settings.chunks)
        last = self._latency(call, entry)
        self.journal.statuses[200] += 1
        response = web.StreamResponse(headers=self._headers(dialect, call, call.started) | EVENTS)
        response.enable_chunked_encoding()
        if fault == "unreadable":
            events = Stream(b"", [b"data: " + self._unreadable(call)[0] + b"\n\n"], b"")
        first = self.settings.first_ms
        if first is None and fault is None:
            await asyncio.sleep(last - (clock() - call.started))
            await response.prepare(request)
            await response.write(events.head + b"".join(events.deltas) + events.tail)
            self.journal.good(entry, call)
            return response
        await response.prepare(request)
        await response.write(events.head)
        start = last if first is None else first / 1000
        n = len(events.deltas)
        sent = n if fault is None else (n + 1) // 2
        gap = max(0.0, last - start) / (n - 1) if n > 1 else 0.0
        due = call.started + start
        i = 0
        while i < sent:
            if (wait := due + gap * i - clock()) > 0.0005:
                await asyncio.sleep(wait)
            until = i + 1
            while until < sent and due + gap * until - clock() < 0.001:  # timers are no finer than that
                until += 1
            await response.write(b"".join(events.deltas[i:until]))
            i = until
        return await self._stream_end(request, response, call, entry, events, fault)

    async def _stream_end(
        self,
        request: web.BaseRequest,
        response: web.StreamResponse,
        call: Call,
        entry: Entry,
        events: Stream,
        fault: str | None,
    ) -> web.StreamResponse:
        if fault == "stall":
            await asyncio.Event().wait()
        if fault == "drop" and request.transport is not None:
            request.transport.abort()
            await asyncio.Event().wait()
        if fault == "stream_error":
            await response.write(events.error)
        if fault is None:
            if (wait := call.started + self.settings.latency_ms / 1000 - clock()) > 0.0005:
                await asyncio.sleep(wait)
            await response.write(events.tail)
            self.journal.good(entry, call)
        await response.write_eof()
        return response

    def facts(self, documents: bool) -> dict[str, Any]:
        """The ledger."""
        return self.journal.facts(documents)
