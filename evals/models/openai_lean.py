"""Requests through aiohttp alone: for self-hosted servers, whose speed an SDK's own work would hide.

The same bytes go out and come in as through `openai_sdk`, at a third of the work.
"""

import contextlib
import io
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from evals.errors import CallFailed, ConfigError
from evals.models.openai_sdk import CONNECT_S, KEEPALIVE_S, authorization, drained
from evals.models.remote import broken, failure

_LARGE = 1 << 20
"""aiohttp warns of larger bodies given as bytes."""


def proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL. Asked once: aiohttp would read the environment at each request."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    if parts.hostname is None or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme) or getproxies().get("all")


class LeanTransport:
    """One aiohttp session."""

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
            import aiohttp
            import yarl
        except ImportError:
            raise ConfigError(f"model {name} with transport=lean needs aiohttp: pip install aiohttp orjson") from None
        self._secrets, self._url, self._made = secrets, url, yarl.URL
        self._urls: dict[str, Any] = {}
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        headers |= {"Accept-Encoding": "identity"}
        if (value := authorization(key, auth)) is not None:
            headers["Authorization"] = value
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE_S, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=timeout_s),
        )
        # No redirects: one would take the document to another place than the one that was named.
        self._options: dict[str, Any] = {"allow_redirects": False}
        if (proxy := proxy_for(url)) is not None:
            self._options["proxy"] = proxy
        self._failures = (aiohttp.ClientError, OSError, TimeoutError)
        self.facts = {"sdk": f"aiohttp {aiohttp.__version__}", "transport": "lean", "http": "aiohttp"}

    def _post(self, path: str, body: bytes) -> Any:
        url = self._urls.get(path) or self._urls.setdefault(path, self._made(self._url + path))
        data: Any = body if len(body) < _LARGE else io.BytesIO(body)
        return self._session.post(url, data=data, **self._options)

    async def plain(self, path: str, body: bytes) -> tuple[Mapping[str, str], bytes]:
        """Headers and body of the reply."""
        try:
            reply = await self._post(path, body)
            content = await reply.read()
        except self._failures as error:
            raise self.failed(error) from None
        if reply.status != 200:
            raise failure(reply.status, content, headers=reply.headers, secrets=self._secrets)
        return reply.headers, content

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        """Headers and pieces of the reply; left early, by cancellation too, the connection is closed."""
        try:
            reply = await self._post(path, body)
        except self._failures as error:
            raise self.failed(error) from None
        try:
            if reply.status != 200:
                raise failure(reply.status, await reply.read(), headers=reply.headers, secrets=self._secrets)
            pieces = reply.content.iter_any()
            yield reply.headers, pieces
            if not reply.content.at_eof():
                await drained(pieces)
        except self._failures as error:
            raise self.failed(error) from None
        finally:
            reply.close()

    def failed(self, error: BaseException) -> CallFailed:
        """What an exception of aiohttp means."""
        return broken(error, secrets=self._secrets)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
