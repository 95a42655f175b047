"""Anthropic's `/v1/messages/batches`. Requests are checked one by one when the batch ends, as Anthropic's are."""

import re
from datetime import UTC, datetime
from typing import Any

from aiohttp import web
from anthropic.types.messages import MessageBatch, MessageBatchIndividualResponse
from anthropic_messages import Messages, by_status
from batches import Batch, Item, settle, taken
from calls import Call, Refusal, new_id
from pydantic import BaseModel
from serve import JSON, Service
from settings import dumps, loads
from shapes import checked

MOST = 100_000
_PATH = re.compile(r"/messages/batches(?:/([\w-]+)(/results|/cancel)?)?$")
_CUSTOM_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Batched(Messages):
    """As alone, but for what the whole submission already has (headers, key) and the tier."""

    def check(self, call: Call) -> Refusal | None:
        """The body alone."""
        call.tier = "batch"
        return self.check_body(call.body, False)

    def rules(self, call: Call) -> Refusal | None:
        """Model and document."""
        return self.rules_of_body(call)


DIALECT = Batched()


async def batches(service: Service, request: web.BaseRequest) -> web.Response:
    """Everything under /messages/batches."""
    key = request.headers.get("X-Api-Key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
    if not key or key.startswith("wrong"):
        return refused(by_status(401))
    if "Anthropic-Version" not in request.headers:
        return refused(Refusal(status=400, message="anthropic-version: header is required"))
    found = _PATH.search(request.path)
    name, action = (found[1], found[2]) if found else (None, None)
    if name is None and request.method == "POST":
        return await create(service, request)
    if name is None:
        newest = [said(service, b, request) for b in reversed(service.batches.values()) if b.id.startswith("msgbatch_")]
        ends = (
            {"first_id": newest[0]["id"], "last_id": newest[-1]["id"]}
            if newest
            else {"first_id": None, "last_id": None}
        )
        return web.Response(body=dumps({"data": newest, "has_more": False} | ends), headers=headers() | JSON)
    batch = service.batches.get(name)
    if batch is None:
        return refused(Refusal(status=404, message=f"Batch {name} not found.", type="not_found_error"))
    if action == "/results":
        return results(service, batch)
    if action == "/cancel" and batch.settled_at is None:
        batch.cancelled_at = batch.cancelled_at or service.now()
        return shown(said(service, batch, request, canceling=True), MessageBatch)
    return shown(said(service, batch, request), MessageBatch)


async def create(service: Service, request: web.BaseRequest) -> web.Response:
    """`POST /v1/messages/batches`."""
    body = loads(await request.read())
    if (refusal := wrong_with(body)) is not None:
        return refused(refusal)
    pairs = [(line["custom_id"], line["params"]) for line in body["requests"]]
    items = taken(service, DIALECT, "/v1/messages/batches", request.headers, pairs)
    batch = Batch(f"msgbatch_{new_id()}", DIALECT, items)
    service.batches[batch.id] = batch
    await service.maybe_drop(request)
    return shown(said(service, batch, request), MessageBatch)


def wrong_with(body: Any) -> Refusal | None:
    """Why the submission as a whole is refused."""
    for name in body if isinstance(body, dict) else ():
        if name != "requests":
            return Refusal(status=400, message=f"{name}: Extra inputs are not permitted")
    lines = body.get("requests") if isinstance(body, dict) else None
    if not isinstance(lines, list):
        return Refusal(status=400, message="requests: Field required")
    if not 1 <= len(lines) <= MOST:
        return Refusal(status=400, message=f"requests: List should have 1 to {MOST} items")
    known = set()
    for i, line in enumerate(lines):
        if not isinstance(line, dict) or set(line) != {"custom_id", "params"} or not isinstance(line["params"], dict):
            return Refusal(status=400, message=f"requests.{i}: Input should have custom_id and params")
        custom_id = line["custom_id"]
        if not isinstance(custom_id, str) or not _CUSTOM_ID.fullmatch(custom_id):
            message = f"requests.{i}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            return Refusal(status=400, message=message)
        if custom_id in known:
            return Refusal(status=400, message=f"requests.{i}.custom_id: duplicate custom_id '{custom_id}'")
        known.add(custom_id)
    return None


def results(service: Service, batch: Batch) -> web.Response:
    """The lines, in another order than the requests."""
    settle(service, batch)
    if batch.settled_at is None:
        return refused(Refusal(status=400, message="Batch results are not available until processing has ended."))
    body = b"".join(result(item) + b"\n" for item in batch.items)
    return web.Response(body=body, headers=headers() | {"content-type": "application/x-jsonl"})


def result(item: Item) -> bytes:
    """One line."""
    inside: dict[str, Any] = {"type": item.outcome}
    if item.outcome == "succeeded":
        inside["message"] = loads(item.body)
    if item.outcome == "errored":
        inside["error"] = loads(item.body)
    return checked(MessageBatchIndividualResponse, {"custom_id": item.custom_id, "result": inside}).encode()


def said(service: Service, batch: Batch, request: web.BaseRequest, canceling: bool = False) -> dict[str, Any]:
    """The batch object."""
    if not canceling:
        settle(service, batch)
    ended = batch.settled_at is not None
    counts = {name: batch.counted(name) for name in ("processing", "succeeded", "errored", "canceled", "expired")}
    status = "ended" if ended else "canceling" if batch.cancelled_at is not None else "in_progress"
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": counts,
        "created_at": at(batch.wall),
        "expires_at": at(batch.wall + 86400),
        "ended_at": at(batch.settled_at),
        "cancel_initiated_at": at(batch.cancelled_at),
        "archived_at": None,
        "results_url": f"http://{request.host}/v1/messages/batches/{batch.id}/results" if ended else None,
    }


def at(seconds: float | None) -> str | None:
    """RFC 3339."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def headers() -> dict[str, str]:
    """On every reply."""
    return {"request-id": f"req_{new_id()}"}


def shown(data: dict[str, Any], kind: type[BaseModel]) -> web.Response:
    """As JSON, checked against the SDK's type."""
    return web.Response(body=checked(kind, data).encode(), headers=headers() | JSON)


def refused(refusal: Refusal) -> web.Response:
    """As JSON."""
    more = headers()
    return web.Response(status=refusal.status, body=DIALECT.error(refusal, more["request-id"]), headers=more | JSON)
