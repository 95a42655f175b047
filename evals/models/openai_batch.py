"""OpenAI's batches: a file of requests in, files of results out, at half the price and within a day."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from typing import Any

from evals.errors import CallFailed, ConfigError
from evals.models.base import BatchState
from evals.models.openai_sdk import SdkTransport
from evals.models.remote import failure
from evals.models.remote_json import Dumps, Loads

MAX_REQUESTS, MAX_BYTES = 50_000, 200_000_000
"""Of one batch (the SDK's docstring of `batches.create`)."""
ENDED = frozenset({"completed", "failed", "expired", "cancelled"})
_LATE = frozenset({"batch_expired", "request_timeout"})


async def submit(
    transport: SdkTransport, path: str, lines: Iterable[tuple[str, bytes]], *, dumps: Dumps, model: str
) -> str:
    """Upload (key, body) pairs and start their batch."""
    endpoint = "/v1" + path
    start = b',"method":"POST","url":' + dumps(endpoint) + b',"body":'
    parts = [b'{"custom_id":' + dumps(key) + start + body + b"}\n" for key, body in lines]
    size = sum(map(len, parts))
    if not parts or len(parts) > MAX_REQUESTS or size > MAX_BYTES:
        raise ConfigError(
            f"{model}: a batch of {len(parts):,} requests and {size / 1e6:,.0f} MB: OpenAI takes 1 to "
            f"{MAX_REQUESTS:,} requests and at most {MAX_BYTES / 1e6:,.0f} MB"
        )
    with errors(transport):
        file = await transport.client.files.create(
            file=("batch.jsonl", b"".join(parts)), purpose="batch", extra_headers=transport.headers
        )
        batch = await transport.client.batches.create(
            input_file_id=file.id, endpoint=endpoint, completion_window="24h", extra_headers=transport.headers
        )
    return str(batch.id)


async def poll(transport: SdkTransport, batch_id: str) -> BatchState:
    """The batch's state."""
    with errors(transport):
        batch = await transport.client.batches.retrieve(batch_id, extra_headers=transport.headers)
    counts = batch.request_counts
    good, bad, all_ = (counts.completed, counts.failed, counts.total) if counts else (0, 0, 0)
    said = [error.message or error.code for error in (batch.errors.data if batch.errors else None) or ()]
    reason = "; ".join(str(one) for one in said[:3]) or None
    if batch.status in ENDED and batch.status != "completed":
        reason = reason or f"the batch is {batch.status}"
    return BatchState(
        done=batch.status in ENDED,
        counts={"succeeded": good, "failed": bad, "processing": max(0, all_ - good - bad)},
        reason=reason,
    )


async def collect(
    transport: SdkTransport, batch_id: str, *, loads: Loads, secrets: tuple[str, ...]
) -> AsyncIterator[tuple[str, Mapping[str, Any] | CallFailed, Mapping[str, str]]]:
    """(key, the reply's body or what came instead, headers) of each request, good ones first."""
    with errors(transport):
        batch = await transport.client.batches.retrieve(batch_id, extra_headers=transport.headers)
    for file_id in (batch.output_file_id, batch.error_file_id):
        if file_id:
            async for line in _lines(transport, file_id):
                try:
                    result = loads(line)
                except ValueError:
                    raise CallFailed("bad_body", f"a line of the results of {batch_id} is no JSON") from None
                reply = _outcome(result, secrets)
                headers = {"x-request-id": str((result.get("response") or {}).get("request_id") or "")}
                yield str(result.get("custom_id")), reply, headers


async def cancel(transport: SdkTransport, batch_id: str) -> None:
    """Stop it; what is answered already is kept and paid."""
    with errors(transport):
        await transport.client.batches.cancel(batch_id, extra_headers=transport.headers)


def _outcome(result: Mapping[str, Any], secrets: tuple[str, ...]) -> Mapping[str, Any] | CallFailed:
    """One line of a result file."""
    response, error = result.get("response") or {}, result.get("error")
    status, body = response.get("status_code"), response.get("body")
    if status == 200 and isinstance(body, Mapping):
        return body
    if isinstance(error, Mapping) and error.get("code") in _LATE:
        return CallFailed("timeout", f"{error.get('code')}: {error.get('message')}")
    return failure(status, body if body is not None else error, secrets=secrets)


async def _lines(transport: SdkTransport, file_id: str) -> AsyncIterator[bytes]:
    """The lines of a file, never all of it in memory."""
    rest = b""
    with errors(transport):
        async with transport.client.files.with_streaming_response.content(
            file_id, extra_headers=transport.headers
        ) as reply:
            async for piece in reply.iter_bytes(1 << 16):
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if line.strip():
                        yield line
    if rest.strip():
        yield rest


@contextlib.contextmanager
def errors(transport: SdkTransport) -> Iterator[None]:
    """The SDK's exceptions as ours."""
    try:
        yield
    except (CallFailed, asyncio.CancelledError):
        raise
    except transport.failures as error:
        raise transport.failed(error) from None
