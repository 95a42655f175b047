"""What the tests of children with several requests share: a worker that is started and closed, and calls of it."""

import asyncio
import functools
import json
from collections.abc import Callable, Coroutine
from typing import Any

from batched_fake import Slots
from processes import alive

from evals.core import Message, Request
from evals.engine.worker import Worker


def ask(text: str) -> Request:
    return Request(messages=(Message(role="user", content=text),))


def no_mark(name: str, offset_s: float | None = None) -> None:
    """Nobody listens."""


def made(**options: Any) -> functools.partial[Slots]:
    return functools.partial(Slots, **options)


def run(work: Callable[[Worker, dict[str, Any]], Coroutine[Any, Any, Any]], worker: Worker) -> Any:
    """Start, work, close; then none of its children may be left."""
    pids: set[int] = set()

    async def whole() -> Any:
        facts = dict(await worker.start())
        try:
            return await work(worker, facts)
        finally:
            pids.update(worker.pids)
            await worker.close()

    found = asyncio.run(asyncio.wait_for(whole(), 120))
    assert not any(map(alive, pids))
    return found


async def answers(worker: Worker, texts: list[str]) -> list[Any]:
    return await asyncio.gather(*(worker.generate(ask(text), no_mark) for text in texts), return_exceptions=True)


def said(found: list[Any]) -> list[dict[str, Any]]:
    return [json.loads(one.text) for one in found]
