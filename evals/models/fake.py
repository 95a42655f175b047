"""A model that answers without a model: for tests, and to measure the pipeline's own cost.

`reply` is what it says, or `{sample_id: text}`; failures are drawn from `seed` and the sample id, so that they are
the same in every run.
"""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

from evals.core import Completion, Request, Usage
from evals.errors import CallErrorKind, CallFailed
from evals.models.base import Mark


class Fake:
    """Answers every request with `reply` after `latency_s`; a share `error_rate` fails with `error`."""

    def __init__(
        self,
        *,
        name: str = "fake",
        reply: str | Mapping[str, str] = "{}",
        latency_s: float = 0.0,
        error_rate: float = 0.0,
        error: CallErrorKind = "server",
        seed: int = 0,
    ) -> None:
        self.name, self.reply, self.latency_s = name, reply, latency_s
        self.error_rate, self.error, self.seed = error_rate, error, seed

    async def start(self) -> Mapping[str, Any]:
        """Nothing to get ready."""
        return {"fake": True}

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """The reply, after the latency."""
        mark("sent")
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if self.error_rate and random.Random(f"{self.seed} {request.sample_id}").random() < self.error_rate:
            raise CallFailed(self.error, "a failure that was asked for")
        mark("first")
        text = self.reply if isinstance(self.reply, str) else self.reply.get(request.sample_id, "")
        words = sum(len(message.content) // 4 for message in request.messages)
        return Completion(text=text, finish_reason="stop", usage=Usage(input_uncached=words, output=len(text) // 4))

    async def close(self) -> None:
        """Nothing to release."""
