"""What both batch APIs share: requests handed in together, answered when their time has come."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from calls import Call, Dialect, Refusal, new_id
from faults import draw
from journal import Entry
from serve import Service
from settings import clock


@dataclass(slots=True)
class Item:
    """One request of a batch, and what became of it: `succeeded`, `errored`, `expired` or `canceled`."""

    custom_id: str
    call: Call
    entry: Entry
    outcome: str = "processing"
    status: int = 200
    body: bytes = b""
    refusal: Refusal | None = None


@dataclass(slots=True)
class Batch:
    """A batch of either provider."""

    id: str
    dialect: Dialect
    items: list[Item]
    made: float = field(default_factory=clock)
    """By the server's own clock."""
    wall: float = field(default_factory=time.time)
    asked: dict[str, Any] = field(default_factory=dict)
    """The submission's body."""
    errors: list[dict[str, Any]] = field(default_factory=list)
    """Why the input as a whole is refused."""
    cancelled_at: float | None = None
    settled_at: float | None = None
    files: dict[str, str] = field(default_factory=dict)

    def counted(self, outcome: str) -> int:
        """Requests with this outcome."""
        return sum(item.outcome == outcome for item in self.items)

    def usage(self) -> dict[str, int]:
        """Tokens of what succeeded."""
        calls = [item.call for item in self.items if item.outcome == "succeeded"]
        names = ("prompt_tokens", "cached", "written", "output_tokens", "reasoning")
        return {name: sum(getattr(call, name) for call in calls) for name in names}


def taken(
    service: Service, dialect: Dialect, path: str, headers: Mapping[str, str], pairs: list[tuple[str, dict[str, Any]]]
) -> list[Item]:
    """The requests, each entered in the ledger as received."""
    items = []
    for custom_id, body in pairs:
        call = dialect.read(path, headers, body)
        items.append(Item(custom_id, call, service.journal.received(call)))
    return items


def settle(service: Service, batch: Batch) -> None:
    """Answer everything, once its time has come, and put it in another order."""
    over = clock() - batch.made >= service.settings.batch_s
    if batch.settled_at is not None or not (over or batch.cancelled_at is not None):
        return
    batch.settled_at = time.time()
    for item in batch.items:
        if batch.cancelled_at is not None:
            item.outcome = "canceled"
        elif "BATCH EXPIRE" in item.call.document:
            item.outcome = "expired"
        else:
            answer(service, batch.dialect, item)
    batch.items.sort(key=lambda item: draw(service.settings.seed, item.custom_id, 0, "order"))


def answer(service: Service, dialect: Dialect, item: Item) -> None:
    """One request's answer or refusal."""
    call = item.call
    call.started = clock()
    refusal = service.refusal_of(dialect, call)
    if refusal is None and "BATCH FAIL" in call.document:
        refusal = dialect.by_status(500)
    if refusal is not None:
        item.entry.refused += 1
        item.outcome, item.status, item.refusal = "errored", refusal.status, refusal
        item.body = dialect.error(refusal, f"req_{new_id()}")
        return
    call.make_answer(service.settings)
    item.entry.attempts += 1
    item.outcome, item.body = "succeeded", dialect.plain(call)
    service.journal.good(item.entry, call)
