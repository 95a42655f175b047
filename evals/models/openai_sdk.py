"""Requests through the official SDK, by its documented `client.post`: ready bytes in, the raw reply out.

Its typed methods check and copy the whole body of each request and build objects of each reply: 1.6 ms a plain call
and 8 ms one of 60 chunks, where this takes 0.7 and 1.1 (benchmarks on two cores, openai 3.57).
"""

import asyncio
import base64
import contextlib
import importlib
import os
import warnings
from collections.abc import AsyncIterator, Mapping
from typing import Any

from evals.errors import CallFailed, ConfigError
from evals.models.remote import broken, failure

CONNECT_S, KEEPALIVE_S, CONNECTIONS = 30.0, 30.0, 10_000
DRAIN_S = 0.1
"""How long the end of a stream is waited for after its closing event, so that the connection can be used again."""
SENT_BY_ENV = ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_CUSTOM_HEADERS")
"""Variables the SDK reads by itself, besides OPENAI_BASE_URL, which never reaches it here."""


def authorization(key: str | None, scheme: str) -> str | None:
    """The header's value for a key."""
    if key is None:
        return None
    return "Basic " + base64.b64encode(key.encode()).decode() if scheme == "basic" else f"Bearer {key}"


def env_facts(*, own_host: bool) -> dict[str, str]:
    """Which of the SDK's variables are set, and what becomes of them. Their values are nobody's business."""
    found = {"OPENAI_BASE_URL": "ignored"} if os.environ.get("OPENAI_BASE_URL") else {}
    for name in SENT_BY_ENV:
        if os.environ.get(name):
            found[name] = "sent" if own_host or name == "OPENAI_CUSTOM_HEADERS" else "ignored"
    return found


class SdkTransport:
    """The official client, and the replies to its requests."""

    def __init__(
        self,
        *,
        url: str,
        own_host: bool,
        key: str | None,
        auth: str,
        timeout_s: float,
        secrets: tuple[str, ...],
        name: str,
    ) -> None:
        try:
            import openai
        except ImportError:
            raise ConfigError(f"model {name} needs OpenAI's SDK: pip install openai aiohttp") from None
        self._sdk, self._secrets = openai, secrets
        # openai >= 3 sits on httpx2, openai 2 on httpx.
        self._httpx: Any = importlib.import_module("httpx2" if int(openai.__version__.split(".")[0]) >= 3 else "httpx")
        timeout = self._httpx.Timeout(timeout_s, connect=CONNECT_S)
        http, kind = self._http(timeout)
        value = authorization(key, auth)
        self.client: Any = openai.AsyncOpenAI(
            # Never None, of either: the SDK would take OPENAI_API_KEY along to a foreign host, or go to OPENAI_BASE_URL.
            api_key=key or "none",
            base_url=url,
            max_retries=0,
            timeout=timeout,
            http_client=http,
            default_headers={"Authorization": value or openai.Omit(), "Accept-Encoding": "identity"},  # type: ignore[dict-item]
        )
        if not own_host:
            self.client.organization = self.client.project = None
        with contextlib.suppress(ImportError, AttributeError):
            # Otherwise asked at the first request, in a thread, once for each of the first requests in flight.
            from openai._base_client import get_platform

            self.client._platform = get_platform()
        self.headers: Any = {} if value else {"Authorization": openai.Omit()}
        """For every request: that the key is left out must be said each time."""
        self._options = {"headers": {"Content-Type": "application/json", **self.headers}}
        # Of aiohttp, for bodies beyond 1 MB given as bytes; the SDK hands them on as it likes.
        warnings.filterwarnings("ignore", "Sending a large body directly", ResourceWarning)
        self.failures = (openai.OpenAIError, self._httpx.HTTPError, self._httpx.StreamError, OSError)
        self.facts = {"sdk": f"openai {openai.__version__}", "transport": "sdk", "http": kind}

    def _http(self, timeout: Any) -> tuple[Any, str]:
        """The HTTP client: over aiohttp where it can be had, which costs a quarter less and scans no pool."""
        limits = self._httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S
        )
        # A redirect would take the document to another place than the one that was named.
        options = {"timeout": timeout, "limits": limits, "follow_redirects": False}
        try:
            return self._sdk.DefaultAioHttpClient(**options), "aiohttp"
        except RuntimeError:
            return self._sdk.DefaultAsyncHttpxClient(**options), self._httpx.__name__

    async def plain(self, path: str, body: bytes) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the reply."""
        try:
            reply = await self.client.post(path, cast_to=self._httpx.Response, content=body, options=self._options)
        except self.failures as error:
            raise self.failed(error) from None
        return reply.headers, reply.content

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Headers and pieces of the reply; left early, by cancellation too, the connection is closed."""
        try:
            reply = await self.client.post(
                path,
                cast_to=self._httpx.Response,
                content=body,
                options=self._options,
                stream=True,
                stream_cls=self._sdk.AsyncStream,
            )
        except self.failures as error:
            raise self.failed(error) from None
        pieces = reply.aiter_bytes() if "content-encoding" in reply.headers else reply.aiter_raw()
        try:
            yield reply.headers, pieces
            await drained(pieces)
        except self.failures as error:
            raise self.failed(error) from None
        finally:
            await reply.aclose()

    def failed(self, error: Exception) -> CallFailed:
        """What an exception of the SDK means."""
        if isinstance(error, self._sdk.APIStatusError):
            return failure(error.status_code, error.body, headers=error.response.headers, secrets=self._secrets)
        return broken(error, secrets=self._secrets)

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


async def drained(pieces: AsyncIterator[bytes]) -> None:
    """Read what is left, if it is there at once: a stream read to its end leaves a connection that can be used again."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_S):
            async for _ in pieces:
                pass
