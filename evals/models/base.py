"""The seam between who answers and the engine: what a backend is, and nothing about any backend.

A remote backend is a `Model`: asynchronous, in the engine's own process. An in-process library (llama.cpp,
transformers) is an `InProcess`: blocking, built by a picklable factory inside one spawned child, where
`engine/worker.py` turns it into a `Model`.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol, runtime_checkable

from evals.core import Completion, Request

MarkName = Literal["sent", "prefill_done", "first", "last"]


class Mark(Protocol):
    """Stamps the engine's monotonic clock. A backend calls it and never reads a clock itself."""

    def __call__(self, name: MarkName, offset_s: float | None = None) -> None:
        """`offset_s`: seconds after `sent`, for events that happened in another process."""
        ...


@runtime_checkable
class Model(Protocol):
    """Who answers."""

    name: str

    async def start(self) -> Mapping[str, Any]:
        """Get ready (connect, spawn, load) and say what answered: facts for the manifest. Called once."""
        ...

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer. Raises `CallFailed` where there is none; calls `mark("sent")` when the request leaves."""
        ...

    async def close(self) -> None:
        """Release everything. Called once, also after an error."""
        ...


class InProcess(Protocol):
    """An in-process library, living in the one spawned child. Blocking."""

    name: str

    def load(self) -> Mapping[str, Any]:
        """Load the weights and say what was loaded: facts for the manifest."""
        ...

    def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer; `mark` reads the child's clock. Raises `CallFailed`."""
        ...

    def close(self) -> None:
        """Free the weights."""
        ...
