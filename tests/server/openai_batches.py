"""OpenAI's `/v1/files` and `/v1/batches`.

A batch in which a request expires ends as `expired`, with an output file of those that were answered and an error file of
the rest, as OpenAI's does; every other one ends as `completed`, failed requests or not.
"""

import re
from typing import Any

import openai_words as words
from aiohttp import web
from batches import Batch, Item, settle, taken
from calls import Dialect, Refusal, new_id
from openai.types import Batch as BatchType
from openai.types import FileObject
from openai.types.batch_create_params import BatchCreateParams
from openai_chat import Chat
from openai_responses import Responses
from params import checker
from pydantic import BaseModel
from serve import JSON, Service
from settings import clock, dumps, loads
from shapes import checked

ENDPOINTS: dict[str, Dialect] = {"/v1/chat/completions": Chat(), "/v1/responses": Responses()}
_FILE = re.compile(r"/files/([\w-]+)(/content)?$")
_BATCH = re.compile(r"/batches/([\w-]+)(/cancel)?$")


async def files(service: Service, request: web.BaseRequest) -> web.Response:
    """Everything under /files."""
    found = _FILE.search(request.path)
    if found is None:
        return await upload(service, request)
    record = service.files.get(found[1])
    if record is None:
        return refused(Refusal(status=404, message=f"No such File object: {found[1]}", param="id"))
    if found[2]:
        return web.Response(body=record["content"], headers=headers() | {"content-type": "application/octet-stream"})
    if request.method == "DELETE":
        del service.files[found[1]]
        return shown({"id": found[1], "object": "file", "deleted": True})
    return shown(record["object"], FileObject)


async def upload(service: Service, request: web.BaseRequest) -> web.Response:
    """`POST /v1/files`."""
    form = await request.post()
    for name in form:
        if name not in ("file", "purpose") and not name.startswith("expires_after"):
            return refused(Refusal(status=400, message=f"Unrecognized request argument supplied: {name}"))
    given, purpose = form.get("file"), form.get("purpose")
    if not isinstance(given, web.FileField) or not isinstance(purpose, str):
        missing = "purpose" if isinstance(given, web.FileField) else "file"
        return refused(Refusal(status=400, message=f"Missing required parameter: '{missing}'.", param=missing))
    return shown(stored(service, given.file.read(), given.filename, purpose), FileObject)


def stored(service: Service, content: bytes, name: str, purpose: str) -> dict[str, Any]:
    """Keep a file; what is said of it."""
    record: dict[str, Any] = {
        "id": f"file-{new_id()}",
        "object": "file",
        "bytes": len(content),
        "created_at": int(service.now()),
        "filename": name,
        "purpose": purpose,
        "status": "processed",
    }
    service.files[record["id"]] = {"object": record, "content": content}
    return record


async def batches(service: Service, request: web.BaseRequest) -> web.Response:
    """Everything under /batches."""
    found = _BATCH.search(request.path)
    if found is None and request.method == "POST":
        return await create(service, request)
    if found is None:
        newest = [seen(service, b) for b in reversed(service.batches.values()) if b.id.startswith("batch_")]
        return shown({"object": "list", "data": newest, "has_more": False})
    batch = service.batches.get(found[1])
    if batch is None:
        return refused(Refusal(status=404, message=f"No batch found with id '{found[1]}'."))
    if found[2] and batch.settled_at is None:
        batch.cancelled_at = batch.cancelled_at or service.now()
        return shown(said(batch, "cancelling"), BatchType)
    return shown(seen(service, batch), BatchType)


async def create(service: Service, request: web.BaseRequest) -> web.Response:
    """`POST /v1/batches`."""
    body = loads(await request.read())
    if (problem := checker(BatchCreateParams)(body, ())) is not None:
        return refused(words.said(problem))
    record = service.files.get(body["input_file_id"])
    if record is None or record["object"]["purpose"] != "batch":
        return refused(Refusal(status=400, message="Invalid input_file_id.", param="input_file_id"))
    if body["endpoint"] not in ENDPOINTS:
        return refused(Refusal(status=400, message=f"This server has no {body['endpoint']}.", param="endpoint"))
    pairs, errors = lines(record["content"], body["endpoint"])
    dialect = ENDPOINTS[body["endpoint"]]
    items = [] if errors else taken(service, dialect, "/v1/batches", request.headers, pairs)
    batch = Batch(f"batch_{new_id()}", dialect, items, asked=body, errors=errors)
    service.batches[batch.id] = batch
    await service.maybe_drop(request)
    return shown(said(batch, "validating"), BatchType)


def lines(content: bytes, endpoint: str) -> tuple[list[tuple[str, dict[str, Any]]], list[dict[str, Any]]]:
    """The requests of an input file, or what is wrong with it."""
    pairs: list[tuple[str, dict[str, Any]]] = []
    errors: list[dict[str, Any]] = []
    known: set[str] = set()
    models: set[str] = set()
    for n, raw in enumerate(content.splitlines(), 1):
        wrong: tuple[str, str, str | None] | None = None
        try:
            line = loads(raw)
            custom_id, body = line["custom_id"], line["body"]
            models.add(body["model"])
            if custom_id in known:
                wrong = ("duplicate_custom_id", f"The custom_id '{custom_id}' is used more than once.", "custom_id")
            elif line.get("url") != endpoint or line.get("method") != "POST":
                wrong = ("mismatched_url", "The URL and method must be those of the batch's endpoint.", "url")
            elif body.get("stream"):
                wrong = ("invalid_request", "Streaming is not supported in the Batch API.", "body.stream")
            known.add(custom_id)
            pairs.append((custom_id, body))
        except (ValueError, KeyError, TypeError, AttributeError):
            wrong = ("invalid_json_line", "This line is not parseable as valid JSON, or lacks a field.", None)
        if wrong:
            errors.append({"code": wrong[0], "message": wrong[1], "param": wrong[2], "line": n})
    if not pairs and not errors:
        errors.append({"code": "empty_file", "message": "The batch input file is empty.", "param": None, "line": None})
    if len(models) > 1:
        message = "All requests of a batch must ask for the same model."
        errors.append({"code": "mismatched_model", "message": message, "param": "body.model", "line": None})
    return pairs, errors


def seen(service: Service, batch: Batch) -> dict[str, Any]:
    """A batch as it is now; its files are written when it ends."""
    if batch.errors:
        return said(batch, "failed")
    was = batch.settled_at
    settle(service, batch)
    if batch.settled_at is None:
        early = clock() - batch.made < service.settings.batch_s / 5
        return said(batch, "validating" if early else "in_progress")
    if was is None:
        for name, outcomes in (("output", ("succeeded",)), ("error", ("errored", "expired", "canceled"))):
            chosen = [item for item in batch.items if item.outcome in outcomes]
            if chosen:
                content = b"\n".join(result(item) for item in chosen) + b"\n"
                batch.files[name] = stored(service, content, f"{batch.id}_{name}.jsonl", "batch_output")["id"]
    if batch.cancelled_at is not None:
        return said(batch, "cancelled")
    return said(batch, "expired" if batch.counted("expired") else "completed")


def result(item: Item) -> bytes:
    """One line of an output or error file."""
    error: dict[str, str] | None = None
    if item.outcome == "expired":
        message = "This request could not be executed before the completion window expired."
        error = {"code": "batch_expired", "message": message}
    if item.outcome == "canceled":
        error = {"code": "batch_cancelled", "message": "This batch was cancelled before the request was executed."}
    start = b'{"id":"batch_req_%b","custom_id":%b,' % (new_id().encode(), dumps(item.custom_id))
    if error is not None:
        return start + b'"response":null,"error":%b}' % dumps(error)
    inside = b'{"status_code":%d,"request_id":"req_%b","body":%b}' % (item.status, new_id().encode(), item.body)
    return start + b'"response":' + inside + b',"error":null}'


def said(batch: Batch, status: str) -> dict[str, Any]:
    """The batch object."""
    usage = batch.usage()
    ended = {"completed": "completed_at", "expired": "expired_at", "cancelled": "cancelled_at", "failed": "failed_at"}
    data: dict[str, Any] = {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.asked["endpoint"],
        "errors": {"object": "list", "data": batch.errors} if status == "failed" else None,
        "input_file_id": batch.asked["input_file_id"],
        "completion_window": batch.asked["completion_window"],
        "status": status,
        "output_file_id": batch.files.get("output"),
        "error_file_id": batch.files.get("error"),
        "created_at": int(batch.wall),
        "in_progress_at": int(batch.wall) if status not in ("validating", "failed") else None,
        "expires_at": int(batch.wall) + 86400,
        "request_counts": {
            "total": len(batch.items),
            "completed": batch.counted("succeeded"),
            "failed": batch.counted("errored") + batch.counted("expired"),
        },
        "metadata": batch.asked.get("metadata"),
        "usage": {
            "input_tokens": usage["prompt_tokens"],
            "input_tokens_details": {"cached_tokens": usage["cached"]},
            "output_tokens": usage["output_tokens"],
            "output_tokens_details": {"reasoning_tokens": usage["reasoning"]},
            "total_tokens": usage["prompt_tokens"] + usage["output_tokens"],
        },
    }
    if status in ended:
        data[ended[status]] = int(batch.settled_at or batch.wall)
    if batch.cancelled_at is not None:
        data["cancelling_at"] = int(batch.cancelled_at)
    return data


def headers() -> dict[str, str]:
    """On every reply."""
    return words.headers(new_id(), 1)


def shown(data: dict[str, Any], kind: type[BaseModel] | None = None) -> web.Response:
    """As JSON, checked against the SDK's type."""
    body = checked(kind, data).encode() if kind else dumps(data)
    return web.Response(body=body, headers=headers() | JSON)


def refused(refusal: Refusal) -> web.Response:
    """As JSON."""
    return web.Response(status=refusal.status, body=words.error(refusal), headers=headers() | JSON)
