"""The seam between who answers and the engine: what a backend is, and nothing about any backend.

A remote backend is a `Model`: asynchronous, in the engine's own process. An in-process library (llama.cpp,
transformers) is `Batched`, or an `InProcess` where it answers one at a time: blocking, built by a picklable factory
inside a spawned child (or several), where `engine/worker.py` turns it into a `Model`.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from evals.core import Call, Completion, Request
from evals.errors import CallFailed

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


@runtime_checkable
class Router(Protocol):
    """Several models behind one name, and who of them answers a document. The engine asks; a router only says whom."""

    name: str
    models: Mapping[str, Model]
    """Those that may be asked, by the word that `choose` says."""

    async def start(self) -> Mapping[str, Any]:
        """Start every model: its facts by its word."""
        ...

    def choose(self, request: Request, calls: Sequence[Call]) -> str | None:
        """Whom to ask next; `None`: the last call's answer counts (before any call: nobody may be asked)."""
        ...

    def why(self, request: Request, calls: Sequence[Call]) -> Mapping[str, Any]:
        """What the choice rested on, for the record."""
        ...

    async def close(self) -> None:
        """Close every model."""
        ...


class InProcess(Protocol):
    """An in-process library that answers one request at a time, living in a spawned child. Blocking."""

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


@runtime_checkable
class Batched(Protocol):
    """An in-process library that holds several requests at once and decodes them together. Blocking.

    `load` also reports `capacity: {slots, processes}`: how many requests one process takes at once, and how many
    processes of this model serve the machine best (1 unless it was measured that more are faster). Each of them is built
    by the same factory and must say the same facts of itself, but for `capacity` (whose keys may differ wherever they
    stand) and `memory`; what only the first says of `processes` counts.
    """

    name: str

    def load(self) -> Mapping[str, Any]:
        """Load the weights and say what was loaded: facts for the manifest."""
        ...

    def begin(self, ticket: int, request: Request, mark: Mark) -> None:
        """Take a request in hand; never more than `slots` at once. `mark` may be called from here on.

        Raises `CallFailed` for a request that cannot be answered at all: it is not in hand then.
        """
        ...

    def step(self) -> Sequence[tuple[int, Completion | CallFailed]]:
        """Go on with everything in hand for a short while; what has ended, by ticket. Asked only while something is in
        hand; new requests and cancellations are heard between two steps. An exception fails all that is in hand: each is
        cancelled, and the next ones are begun."""
        ...

    def cancel(self, ticket: int) -> None:
        """Drop a request in hand: no result of it is given any more, and its slot is free. Must not raise."""
        ...

    def close(self) -> None:
        """Free the weights."""
        ...


@runtime_checkable
class Follower(Protocol):
    """An in-process library that chooses some of its settings when it is loaded (by what is free, or by measuring)."""

    def follow(self, facts: Mapping[str, Any]) -> None:
        """Called before `load` in a further process of a model, and in one that is started again: choose what the first one
        chose, which said `facts`. Without it each process chooses for itself, and may say otherwise."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchState:
    """How far a provider's batch is."""

    done: bool
    """Ended, whatever became of its requests: `collect` may be called."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Requests by state: `succeeded`, `failed`, `processing`."""
    reason: str | None = None
    """Why the batch as a whole failed, where it did."""


@runtime_checkable
class Batcher(Protocol):
    """A remote model that also answers many requests at once, later and at a lower price."""

    async def submit(self, requests: Sequence[tuple[str, Request]]) -> str:
        """Hand in (key, request) pairs; the provider's id of the batch."""
        ...

    async def poll(self, batch_id: str) -> BatchState:
        """How far it is."""
        ...

    def collect(self, batch_id: str) -> AsyncIterator[tuple[str, Completion | CallFailed]]:
        """The results of an ended batch by key, in any order; what expired or failed as `CallFailed`."""
        ...

    async def cancel(self, batch_id: str) -> None:
        """Give it up."""
        ...
