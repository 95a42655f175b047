"""Claude through Anthropic's Messages API and its own SDK. One attempt a call: the engine repeats."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal

from evals.core import Completion, Request
from evals.errors import CallFailed
from evals.models import anthropic_batch
from evals.models.anthropic_messages import Building, completion
from evals.models.anthropic_sdk import Sdk, custom_headers
from evals.models.base import BatchState, Mark
from evals.models.remote import account, checked_drop, host_of, plain_url, require_key, secrets_of
from evals.models.remote_json import codec
from evals.models.sse import Events
from evals.models.wire_schema import derive

URL = "https://api.anthropic.com"
PATH = "/v1/messages"
LAST_WITH_TEMPERATURE = "2023-06-01"
"""API version 2026-10-21, which SDK 2 sends, refuses `temperature` for every model, even at its default
(https://platform.claude.com/docs/en/api/versioning)."""


class Anthropic:
    """A model of Anthropic's, or behind a server that speaks its Messages API."""

    def __init__(
        self,
        *,
        name: str,
        id: str,
        base_url: str | None = None,
        key_env: str | None = "ANTHROPIC_API_KEY",
        stream: bool = True,
        structured: Literal["json_schema", "none"] = "json_schema",
        takes: tuple[Literal["temperature"], ...] = (),
        drop: tuple[str, ...] = (),
        extra: dict[str, Any] = {},
        cache_prompt: bool = False,
        api_version: str | None = None,
        timeout_s: float = 3600.0,
    ) -> None:
        """`base_url=None` is Anthropic itself; `key_env=None` sends no key.

        `takes`: sampling parameters that this (older) model still has: it is then asked under the last API version
        that knows them. No version has a seed; what is not taken is dropped, whether `drop` names it or not. `extra`: further body fields, such as `thinking`, `service_tier`,
        `inference_geo`, `output_config: {effort: low}`. `cache_prompt`: mark what stands before the document as
        cacheable. `timeout_s`: silence of the server; the engine's own limit of an attempt is far below.
        """
        self.name, self.id, self.key_env, self.stream = name, id, key_env, stream
        self.base_url = plain_url(base_url, name)
        self.structured, self.extra, self.cache_prompt = structured, dict(extra), cache_prompt
        known = ("temperature", "seed")
        checked_drop(drop, known, name)
        self.dropped = tuple(one for one in known if one not in takes)
        self.api_version = api_version or (None if "temperature" in self.dropped else LAST_WITH_TEMPERATURE)
        self.timeout_s = timeout_s
        self._secrets: tuple[str, ...] = ()
        self._dumps, self._loads = codec()
        self._sdk: Sdk | None = None

    @property
    def host(self) -> str:
        """Where requests go."""
        return host_of(self.base_url or URL)

    @property
    def account(self) -> str:
        """Whom rate limits are shared with."""
        return account(self.host, self.key_env)

    async def start(self) -> Mapping[str, Any]:
        """Build the client; opens no connection."""
        key = require_key(self.key_env, self.name)
        self._secrets = secrets_of(key, *custom_headers())
        self._sdk = Sdk(
            url=self.base_url or URL,
            key=key,
            api_version=self.api_version,
            timeout_s=self.timeout_s,
            secrets=self._secrets,
            name=self.name,
        )
        return {
            "backend": "anthropic",
            "api": "messages",
            "id": self.id,
            "base_url": self.base_url,
            "api_version": self._sdk.api_version,
            "stream": self.stream,
            "structured": self.structured,
            "dropped": list(self.dropped),
            "extra": dict(self.extra),
            "cache_prompt": self.cache_prompt,
            "client": self._sdk.facts,
        }

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """Ask once."""
        body, notes = self.body(request)
        sdk = self._started()
        if self.stream:
            return await self._streamed(sdk, self._dumps({**body, "stream": True}), notes, mark)
        data = self._dumps(body)
        mark("sent")
        headers, content = await sdk.plain(PATH, data)
        mark("last")
        return self._completion(self._parsed(content), headers, notes)

    async def close(self) -> None:
        """Close the connections."""
        sdk, self._sdk = self._sdk, None
        if sdk is not None:
            await sdk.close()

    def body(self, request: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """The JSON body of a request, and the notes about what is not in it."""
        system = "\n\n".join(m.content for m in request.messages if m.role == "system")
        turns: list[dict[str, Any]] = [
            {"role": m.role, "content": m.content} for m in request.messages if m.role != "system"
        ]
        body: dict[str, Any] = {"model": self.id, "max_tokens": request.max_tokens, "messages": turns}
        if system:
            body["system"] = system
        if self.cache_prompt:
            _mark_cacheable(body)
        if "temperature" not in self.dropped:
            body["temperature"] = request.temperature
        notes: dict[str, Any] = {"dropped": list(self.dropped)}
        body |= self.extra
        if request.schema is not None and request.constrain and self.structured == "json_schema":
            schema, lost = derive(request.schema, "anthropic")
            given = self.extra.get("output_config") or {}
            body["output_config"] = {**given, "format": {"type": "json_schema", "schema": schema}}
            if lost:
                notes["keywords_not_enforced"] = list(lost)
        return body, notes

    async def _streamed(self, sdk: Sdk, body: bytes, notes: Mapping[str, Any], mark: Mark) -> Completion:
        built, split = Building(), Events()
        headers: Mapping[str, str] = {}
        try:
            mark("sent")
            async with sdk.stream(PATH, body) as (headers, pieces):
                async for piece in pieces:
                    for data in split.feed(piece):
                        if built.take(self._event(data)) and len(built.texts) == 1:
                            mark("first")
                    if built.closed:
                        break
                mark("last")
        except CallFailed as error:
            error.usage = built.usage
            raise
        if not built.closed:
            raise CallFailed("bad_body", "the stream ended without message_stop", usage=built.usage)
        return self._completion(built.message, headers, notes)

    def _event(self, data: bytes) -> dict[str, Any]:
        event = self._parsed(data)
        if event.get("type") == "error":
            self._completion(event, {}, {})
        return event

    def _parsed(self, data: bytes) -> dict[str, Any]:
        try:
            found = self._loads(data)
        except ValueError:
            raise CallFailed("bad_body", f"the reply of {len(data)} bytes is no JSON") from None
        if not isinstance(found, dict):
            raise CallFailed("bad_body", "the reply is no JSON object")
        return found

    def _completion(
        self, message: Mapping[str, Any], headers: Mapping[str, str], notes: Mapping[str, Any]
    ) -> Completion:
        return completion(message, notes=notes, request_id=headers.get("request-id"), secrets=self._secrets)

    def _started(self) -> Sdk:
        if self._sdk is None:
            raise CallFailed("internal", f"{self.name} is not started")
        return self._sdk

    async def submit(self, requests: Sequence[tuple[str, Request]]) -> str:
        """Hand in a batch; Anthropic's id of it."""
        bodies = ((key, self.body(request)[0]) for key, request in requests)
        return await anthropic_batch.submit(
            self._started(), bodies, dumps=self._dumps, loads=self._loads, name=self.name
        )

    async def poll(self, batch_id: str) -> BatchState:
        """How far a batch is."""
        return await anthropic_batch.poll(self._started(), batch_id, loads=self._loads)

    async def collect(self, batch_id: str) -> AsyncIterator[tuple[str, Completion | CallFailed]]:
        """The results of an ended batch; nothing is needed but its id."""
        notes = {"dropped": list(self.dropped)}
        found = anthropic_batch.collect(
            self._started(), batch_id, notes=notes, loads=self._loads, secrets=self._secrets
        )
        async for key, result in found:
            yield key, result

    async def cancel(self, batch_id: str) -> None:
        """Give a batch up."""
        await anthropic_batch.cancel(self._started(), batch_id)


def _mark_cacheable(body: dict[str, Any]) -> None:
    """A cache breakpoint behind what every document's prompt begins with: the examples, or else the system message."""
    turns = body["messages"]
    kept = {"type": "text", "cache_control": {"type": "ephemeral"}}
    if len(turns) > 1:
        turns[-2] = {**turns[-2], "content": [{**kept, "text": turns[-2]["content"]}]}
    elif "system" in body:
        body["system"] = [{**kept, "text": body["system"]}]
