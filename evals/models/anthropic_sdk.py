"""Requests through Anthropic's own SDK, by its documented `client.post`: ready bytes in, the raw reply out.

Its typed methods would build an object of each event. What is shared with OpenAI's is in `openai_sdk`.
"""

import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

from evals.errors import ConfigError
from evals.models.openai_sdk import CONNECT_S, CONNECTIONS, KEEPALIVE_S, drained
from evals.models.remote import broken, failure

SENT_BY_ENV = ("ANTHROPIC_CUSTOM_HEADERS",)
IGNORED = ("ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_PROFILE")
"""Variables the SDK would read by itself; what it is told here comes before them."""


class Sdk:
    """The official client, and the replies to its requests."""

    def __init__(
        self,
        *,
        url: str,
        key: str | None,
        api_version: str | None,
        timeout_s: float,
        secrets: tuple[str, ...],
        name: str,
    ) -> None:
        try:
            import anthropic
            import httpx2

            if int(anthropic.__version__.partition(".")[0]) < 2:
                raise ImportError
        except ImportError:
            raise ConfigError(f"model {name} needs Anthropic's SDK 2: pip install 'anthropic>=2' aiohttp") from None
        self._sdk, self._secrets, self._response = anthropic, secrets, httpx2.Response
        http, kind = self._http(httpx2, httpx2.Timeout(timeout_s, connect=CONNECT_S))
        self.client: Any = anthropic.AsyncAnthropic(
            # Neither may be None: the SDK would look for credentials of its own, or go to ANTHROPIC_BASE_URL.
            api_key=key or "none",
            base_url=url,
            max_retries=0,
            timeout=http.timeout,
            http_client=http,
            open_telemetry=False,
            default_headers={"Accept-Encoding": "identity"}
            | ({"anthropic-version": api_version} if api_version else {}),
        )
        with contextlib.suppress(ImportError, AttributeError):
            # Otherwise asked at the first request, in a thread, once for each of the first requests in flight.
            from anthropic._base_client import get_platform

            self.client._platform = get_platform()
        self._options: Any = {"headers": {"Content-Type": "application/json"}}
        self.failures = (anthropic.AnthropicError, httpx2.HTTPError, httpx2.StreamError, OSError)
        self.api_version = str(self.client.default_headers["anthropic-version"])
        self.facts: dict[str, Any] = {"sdk": f"anthropic {anthropic.__version__}", "transport": "sdk", "http": kind}
        found = {one: "sent" for one in SENT_BY_ENV} | {one: "ignored" for one in IGNORED}
        self.facts["env"] = {one: fate for one, fate in found.items() if os.environ.get(one)}

    def _http(self, httpx: Any, timeout: Any) -> tuple[Any, str]:
        """The HTTP client: over aiohttp where it can be had."""
        limits = httpx.Limits(
            max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS, keepalive_expiry=KEEPALIVE_S
        )
        # A redirect would take the document to another place than the one that was named.
        options = {"timeout": timeout, "limits": limits, "follow_redirects": False}
        try:
            return self._sdk.DefaultAioHttpClient(**options), "aiohttp"
        except RuntimeError:
            return self._sdk.DefaultAsyncHttpxClient(**options), "httpx2"

    async def plain(self, path: str, body: bytes | None) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the reply to what is posted; `None`: to a GET."""
        with self.errors():
            reply = await self._ask(path, body)
        return reply.headers, reply.content

    @contextlib.asynccontextmanager
    async def stream(
        self, path: str, body: bytes | None
    ) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Headers and pieces of the reply; left early, by cancellation too, the connection is closed."""
        with self.errors():
            reply = await self._ask(path, body, stream=True, stream_cls=self._sdk.AsyncStream)
        pieces = reply.aiter_bytes() if "content-encoding" in reply.headers else reply.aiter_raw()
        try:
            with self.errors():
                yield reply.headers, pieces
                await drained(pieces)
        finally:
            await reply.aclose()

    async def _ask(self, path: str, body: bytes | None, **how: Any) -> Any:
        if body is None:
            return await self.client.get(path, cast_to=self._response, options=self._options, **how)
        return await self.client.post(path, cast_to=self._response, content=body, options=self._options, **how)

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """What an exception of the SDK means."""
        try:
            yield
        except self._sdk.APIStatusError as error:
            raise failure(
                error.status_code, error.body, headers=error.response.headers, secrets=self._secrets
            ) from None
        except self.failures as error:
            raise broken(error, secrets=self._secrets) from None

    async def close(self) -> None:
        """Close the connections."""
        await self.client.close()


def custom_headers() -> list[str]:
    """The values in ANTHROPIC_CUSTOM_HEADERS, which the SDK sends: they may be keys too."""
    lines = os.environ.get("ANTHROPIC_CUSTOM_HEADERS", "").split("\n")
    return [value for line in lines if (value := line.partition(":")[2].strip())]
