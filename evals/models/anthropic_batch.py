"""Anthropic's Message Batches: many requests at once, answered within a day, at half the price.

Nothing is kept in memory between `submit` and `collect`: a run that was killed goes on with the batch's id alone.
"""

import base64
import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from evals.core import Completion
from evals.errors import CallFailed, ConfigError
from evals.models.anthropic_messages import completion
from evals.models.anthropic_sdk import Sdk
from evals.models.base import BatchState
from evals.models.remote import failure
from evals.models.remote_json import Dumps, Loads

PATH = "/v1/messages/batches"
MAX_REQUESTS, MAX_BYTES = 100_000, 256_000_000
"""Of one batch (https://platform.claude.com/docs/en/api/messages/batches/create and the guide on batch processing)."""
_PLAIN = re.compile(r"(?!64-)[a-zA-Z0-9_-]{1,64}")
"""What a `custom_id` may be, by the same page, but for our own mark."""
_UNANSWERED = {"expired": "not processed within a day", "canceled": "canceled before it was processed"}


async def submit(
    sdk: Sdk, requests: Iterable[tuple[str, Mapping[str, Any]]], *, dumps: Dumps, loads: Loads, name: str
) -> str:
    """Start a batch of (key, body) pairs."""
    lines = [dumps({"custom_id": custom_id(key), "params": body}) for key, body in requests]
    size = sum(map(len, lines))
    if not lines or len(lines) > MAX_REQUESTS or size > MAX_BYTES:
        raise ConfigError(
            f"{name}: a batch of {len(lines):,} requests and {size / 1e6:,.0f} MB: Anthropic takes 1 to "
            f"{MAX_REQUESTS:,} requests and at most {MAX_BYTES / 1e6:,.0f} MB"
        )
    batch = read(await sdk.plain(PATH, b'{"requests":[' + b",".join(lines) + b"]}"), loads)
    return str(batch["id"])


async def poll(sdk: Sdk, batch_id: str, *, loads: Loads) -> BatchState:
    """How far it is; until the whole batch has ended, every request counts as processing."""
    batch = read(await sdk.plain(f"{PATH}/{quote(batch_id, safe='')}", None), loads)
    counts = batch.get("request_counts") or {}
    return BatchState(
        done=batch.get("processing_status") == "ended",
        counts={
            "succeeded": int(counts.get("succeeded") or 0),
            "failed": sum(int(counts.get(one) or 0) for one in ("errored", "expired", "canceled")),
            "processing": int(counts.get("processing") or 0),
        },
    )


async def collect(
    sdk: Sdk, batch_id: str, *, notes: Mapping[str, Any], loads: Loads, secrets: Sequence[str]
) -> AsyncIterator[tuple[str, Completion | CallFailed]]:
    """The results by key, in any order; what expired or failed as `CallFailed`."""
    rest = b""
    async with sdk.stream(f"{PATH}/{quote(batch_id, safe='')}/results", None) as (_, pieces):
        async for piece in pieces:
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield _line(line, notes, loads, secrets)
    if rest.strip():
        yield _line(rest, notes, loads, secrets)


async def cancel(sdk: Sdk, batch_id: str) -> None:
    """Give it up; what was answered already is billed, and can be collected once the batch has ended."""
    await sdk.plain(f"{PATH}/{quote(batch_id, safe='')}/cancel", b"")


def read(reply: tuple[Mapping[str, str], bytes], loads: Loads) -> dict[str, Any]:
    """A batch as the API describes it."""
    try:
        batch = loads(reply[1])
    except ValueError:
        batch = None
    if not isinstance(batch, dict) or not isinstance(batch.get("id"), str):
        raise CallFailed("bad_body", "the reply describes no batch")
    return batch


def _line(
    line: bytes, notes: Mapping[str, Any], loads: Loads, secrets: Sequence[str]
) -> tuple[str, Completion | CallFailed]:
    try:
        found = loads(line)
        key, result = key_of(found["custom_id"]), dict(found["result"])
    except (ValueError, KeyError, TypeError, AttributeError):
        raise CallFailed("bad_body", "a line of a batch's results cannot be read") from None
    return key, _result(result, notes, secrets)


def _result(result: Mapping[str, Any], notes: Mapping[str, Any], secrets: Sequence[str]) -> Completion | CallFailed:
    kind = str(result.get("type"))
    if kind == "errored":
        return failure(None, result.get("error"), secrets=secrets)
    if kind != "succeeded":
        return CallFailed("server", f"batch: {_UNANSWERED.get(kind, kind)}")
    try:
        return completion(result.get("message") or {}, notes=notes, secrets=secrets)
    except CallFailed as error:
        return error


def custom_id(key: str) -> str:
    """The key in the letters that the API takes, at most 64; from it alone `key_of` makes the key again."""
    if _PLAIN.fullmatch(key):
        return key
    made = "64-" + base64.urlsafe_b64encode(key.encode()).decode().rstrip("=")
    if len(made) > 64:
        raise ConfigError(f"batch key {key!r} is too long: at most 64 letters, digits, _ and -, or 45 bytes")
    return made


def key_of(made: str) -> str:
    """The key that `custom_id` was given."""
    if not made.startswith("64-"):
        return made
    return base64.urlsafe_b64decode(made[3:] + "=" * (-len(made[3:]) % 4)).decode()
