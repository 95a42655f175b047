"""OpenAI's models, and every server that speaks their API (vLLM, llama.cpp, Ollama, routers): chat or responses.

One attempt a call: the engine repeats. What a model's family takes stands in its YAML, never here.
"""

import importlib.util
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from evals.core import Completion, Request, Usage
from evals.errors import CallFailed, ConfigError
from evals.models import openai_batch
from evals.models.base import BatchState, Mark
from evals.models.openai_lean import LeanTransport
from evals.models.openai_reply import Answer, ChatEvents, ResponseEvents, read
from evals.models.openai_request import DROPPABLE, PATHS, Api, Asking, Structured, messages_key
from evals.models.openai_sdk import SdkTransport, env_facts
from evals.models.remote import account, checked_drop, host_of, plain_url, require_key, secrets_of
from evals.models.remote_json import codec
from evals.models.sse import Events
from evals.models.wire_schema import Dialect

URL = "https://api.openai.com/v1"
"""As the SDK has it. Said to it in every case: OPENAI_BASE_URL would send a run elsewhere without a trace."""
_SLOTS = 64


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The part of a body that is the same for a whole task."""

    head: bytes
    notes: Mapping[str, Any]
    schema: Any
    """Kept: its id is the key under which this was made."""


class OpenAI:
    """A model behind OpenAI's API."""

    def __init__(
        self,
        *,
        name: str,
        id: str,
        base_url: str | None = None,
        key_env: str | None = "OPENAI_API_KEY",
        auth: Literal["bearer", "basic"] = "bearer",
        api: Api = "chat",
        stream: bool = True,
        structured: Structured = "json_schema",
        dialect: Dialect | None = None,
        max_tokens_key: Literal["max_completion_tokens", "max_tokens", "max_output_tokens"] | None = None,
        drop: tuple[str, ...] = (),
        extra: dict[str, Any] = {},
        transport: Literal["sdk", "lean"] | None = None,
        timeout_s: float = 3600.0,
    ) -> None:
        """`base_url=None` is OpenAI itself; `key_env=None` sends no key; with `auth=basic` the key is user:password.

        `dialect` of the schema: `openai` (strict) for OpenAI itself, else `plain`. `drop`: parameters this model does
        not take; `extra`: further body fields. `transport=None`: the SDK for OpenAI itself, else aiohttp alone where
        it is installed. `timeout_s`: silence of the server; the engine's own limit of an attempt is far below.
        """
        self.name, self.id, self.key_env, self.auth = name, id, key_env, auth
        self.base_url = plain_url(base_url, name)
        if api == "responses" and max_tokens_key not in (None, "max_output_tokens"):
            raise ConfigError(f"{name}: max_tokens_key={max_tokens_key}: with api=responses it is max_output_tokens")
        # Its regional hosts too (us.api.openai.com ...).
        self._hosted = base_url is None or host_of(base_url).endswith("api.openai.com")
        usual = "max_completion_tokens" if self._hosted else "max_tokens"
        self.asking = Asking(
            id=id,
            api=api,
            stream=stream,
            structured=structured,
            dialect=dialect or ("openai" if self._hosted else "plain"),
            max_tokens_key=max_tokens_key or ("max_output_tokens" if api == "responses" else usual),
            drop=checked_drop(drop, DROPPABLE, name),
            extra=dict(extra),
        )
        self.transport, self.timeout_s = transport, timeout_s
        self._path = PATHS[api]
        self._secrets: tuple[str, ...] = ()
        self._dumps, self._loads = codec()
        self._fixed: dict[tuple[Any, ...], _Fixed] = {}
        self._http: SdkTransport | LeanTransport | None = None
        self._sdk: SdkTransport | None = None

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
        self._secrets = secrets_of(key, *_custom_headers())
        lean = self.transport == "lean"
        if self.transport is None:
            lean = not self._hosted and importlib.util.find_spec("aiohttp") is not None
        self._http = LeanTransport(**self._connection()) if lean else self._sdk_transport()
        asking = self.asking
        return {
            "backend": "openai",
            "api": asking.api,
            "id": self.id,
            "base_url": self.base_url,
            "api_version": urlsplit(self.base_url or URL).path.strip("/") or None,
            "stream": asking.stream,
            "structured": asking.structured,
            "dialect": asking.dialect,
            "max_tokens_key": asking.max_tokens_key,
            "dropped": list(asking.dropped),
            "extra": dict(asking.extra),
            "client": {**self._http.facts, "env": {} if lean else env_facts(own_host=self._hosted)},
        }

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """Ask once."""
        if self._http is None:
            raise CallFailed("internal", f"{self.name} is not started")
        body, notes = self.body(request, stream=self.asking.stream)
        if self.asking.stream:
            return await self._streamed(body, notes, mark)
        mark("sent")
        headers, content = await self._http.plain(self._path, body)
        mark("last")
        return self.whole(content, headers, notes)

    async def close(self) -> None:
        """Close the connections."""
        for one in {id(t): t for t in (self._http, self._sdk) if t is not None}.values():
            await one.close()
        self._http = self._sdk = None

    def body(self, request: Request, *, stream: bool) -> tuple[bytes, Mapping[str, Any]]:
        """The JSON body of a request, and the notes about what is not in it."""
        schema = request.schema
        key = (id(schema), request.constrain, request.max_tokens, request.temperature, request.seed, stream)
        fixed = self._fixed.get(key)
        if fixed is None or fixed.schema is not schema:
            body, notes = self.asking.fixed(request, stream=stream)
            head = self._dumps(body)[:-1] + f',"{messages_key(self.asking.api)}":'.encode()
            while len(self._fixed) >= _SLOTS:
                del self._fixed[next(iter(self._fixed))]
            fixed = self._fixed[key] = _Fixed(head, notes, schema)
        messages = [{"role": message.role, "content": message.content} for message in request.messages]
        return fixed.head + self._dumps(messages) + b"}", fixed.notes

    def whole(self, content: bytes, headers: Mapping[str, str], notes: Mapping[str, Any]) -> Completion:
        """The completion in a reply that came in one piece."""
        try:
            reply = self._loads(content)
        except ValueError:
            raise CallFailed("bad_body", f"the reply of {len(content)} bytes is no JSON") from None
        return self._read(reply, headers, notes)

    def _read(self, reply: Any, headers: Mapping[str, str], notes: Mapping[str, Any]) -> Completion:
        return read(self.asking.api, reply).completion(headers, notes, self._secrets)

    async def _streamed(self, body: bytes, notes: Mapping[str, Any], mark: Mark) -> Completion:
        assert self._http is not None
        events = ResponseEvents() if self.asking.api == "responses" else ChatEvents()
        try:
            mark("sent")
            async with self._http.stream(self._path, body) as (headers, pieces):
                answer = await self._listen(pieces, events, mark)
        except CallFailed as error:
            if error.kind in ("bad_body", "server", "timeout"):
                error.usage = _known(events.answer)
            raise
        if not answer.closed:
            raise CallFailed("bad_body", _unended(headers.get("content-type", "")), usage=_known(answer))
        return answer.completion(headers, notes, self._secrets)

    async def _listen(self, pieces: AsyncIterator[bytes], events: ChatEvents | ResponseEvents, mark: Mark) -> Answer:
        """Read events up to the closing one."""
        split, loads, silent = Events(), self._loads, True
        async for piece in pieces:
            for data in split.feed(piece):
                if data == b"[DONE]":
                    events.end()
                    continue
                try:
                    event = loads(data)
                except ValueError:
                    raise CallFailed("bad_body", "an event of the stream is no JSON") from None
                if events.event(event) and silent:
                    silent = False
                    mark("first")
            if events.answer.closed:
                break
        mark("last")
        return events.answer

    def _connection(self) -> dict[str, Any]:
        """What a transport is built from."""
        return {
            "url": self.base_url or URL,
            "own_host": self._hosted,
            "key": require_key(self.key_env, self.name),
            "auth": self.auth,
            "timeout_s": self.timeout_s,
            "secrets": self._secrets,
            "name": self.name,
        }

    def _sdk_transport(self) -> SdkTransport:
        if self._sdk is None:
            self._sdk = SdkTransport(**self._connection())
        return self._sdk

    async def submit(self, requests: Sequence[tuple[str, Request]]) -> str:
        """Hand in a batch; OpenAI's id of it."""
        lines = ((key, self.body(request, stream=False)[0]) for key, request in requests)
        return await openai_batch.submit(self._sdk_transport(), self._path, lines, dumps=self._dumps, model=self.name)

    async def poll(self, batch_id: str) -> BatchState:
        """How far a batch is."""
        return await openai_batch.poll(self._sdk_transport(), batch_id)

    async def collect(self, batch_id: str) -> AsyncIterator[tuple[str, Completion | CallFailed]]:
        """The results of an ended batch."""
        found = openai_batch.collect(self._sdk_transport(), batch_id, loads=self._loads, secrets=self._secrets)
        notes = {"dropped": list(self.asking.dropped)} if self.asking.dropped else {}
        async for key, reply, headers in found:
            result: Completion | CallFailed
            try:
                result = self._read(reply, headers, notes) if isinstance(reply, Mapping) else reply
            except CallFailed as error:
                result = error
            yield key, result

    async def cancel(self, batch_id: str) -> None:
        """Give a batch up."""
        await openai_batch.cancel(self._sdk_transport(), batch_id)


def _unended(kind: str) -> str:
    """Why a stream has no closing event, by its content type."""
    if kind and "event-stream" not in kind:
        return f"the reply is no stream but {kind}: set stream=false"
    return "the stream ended without its closing event"


def _known(answer: Answer) -> Usage | None:
    """The usage, where any was reported."""
    return answer.usage if answer.usage != Usage() else None


def _custom_headers() -> list[str]:
    """The values in OPENAI_CUSTOM_HEADERS, which the SDK sends: they may be keys too."""
    return [line.partition(":")[2].strip() for line in os.environ.get("OPENAI_CUSTOM_HEADERS", "").split("\n")]
