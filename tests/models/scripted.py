"""A server that says, byte for byte, what a test tells it to; for replies that no well-behaved server would send."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Step = bytes | float | str
"""Bytes to write, seconds to wait, or `hang`: wait until the client goes away. At the end the connection is closed."""


@dataclass
class Asked:
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Scripted:
    """Answers its n-th request with the n-th script, the last one ever after. Use: `async with Scripted(...) as server`."""

    scripts: Sequence[Sequence[Step]]
    asked: list[Asked] = field(default_factory=list)
    left: int = 0
    """Clients that went away while the server hung."""

    async def __aenter__(self) -> "Scripted":
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self._talks: set[asyncio.Task[Any]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._talks:
            task.cancel()
        await asyncio.gather(*self._talks, return_exceptions=True)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talks.add(task)
        try:
            while (asked := await self._read(reader)) is not None:
                self.asked.append(asked)
                script = self.scripts[min(len(self.asked), len(self.scripts)) - 1]
                for step in script:
                    if isinstance(step, bytes):
                        writer.write(step)
                        await writer.drain()
                    elif step == "hang":
                        await reader.read()
                        self.left += 1
                        return
                    else:
                        await asyncio.sleep(float(step))
                if b"keep-alive" not in b"".join(step for step in script if isinstance(step, bytes)):
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            self.left += 1
        except asyncio.CancelledError:
            pass  # the test is over; asyncio would print it
        finally:
            writer.close()
            self._talks.discard(task)

    async def _read(self, reader: asyncio.StreamReader) -> Asked | None:
        head = await reader.readuntil(b"\r\n\r\n") if not reader.at_eof() else b""
        if not head:
            return None
        first, *lines = head.decode().split("\r\n")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        return Asked(path=first.split()[1], headers=headers, body=json.loads(body) if body else None)


def reply(body: Any, *, status: int = 200, headers: Mapping[str, str] = {}, cut: int | None = None) -> list[Step]:
    """A plain reply; `cut`: so many bytes of the body, and then the connection is closed."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = {"content-type": "application/json", "content-length": str(len(data)), "connection": "close"} | headers
    return [head(status, lines) + data[:cut]]


def stream(
    events: Sequence[Mapping[str, Any] | bytes], *, headers: Mapping[str, str] = {}, end: bool = True
) -> list[Step]:
    """Server-sent events in chunks; `end=False`: the connection is cut without the closing chunk."""
    steps: list[Step] = [head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked"} | headers)]
    for event in events:
        data = event if isinstance(event, bytes) else sse(event)
        steps.append(f"{len(data):x}\r\n".encode() + data + b"\r\n")
    return [*steps, b"0\r\n\r\n"] if end else steps


def sse(event: Mapping[str, Any]) -> bytes:
    """One event as Anthropic names it: by its type."""
    return f"event: {event.get('type')}\ndata: {json.dumps(event)}\n\n".encode()


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Status line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()
