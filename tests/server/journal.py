"""What the server saw and answered, by document: the ledger that tests and benchmarks hold a run against."""

from array import array
from collections import Counter, deque
from typing import Any

from calls import Call
from settings import Settings, clock

TOKENS = ("input", "cached", "written", "output", "reasoning")


class Entry:
    """One document."""

    __slots__ = ("aborted", "attempts", "billed", "faults", "good", "limited", "received", "refused")

    def __init__(self) -> None:
        self.received = self.attempts = self.good = self.billed = self.aborted = self.limited = self.refused = 0
        self.faults: dict[str, int] | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__slots__} | {"faults": self.faults or {}}


class Journal:
    """All of them, and totals."""

    def __init__(self, settings: Settings) -> None:
        self.documents: dict[str, Entry] = {}
        self.last: deque[dict[str, Any]] = deque(maxlen=max(1, settings.keep))
        self.in_flight = self.peak = 0
        self.service = array("f")
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.statuses: Counter[int] = Counter()
        self.paths: Counter[str] = Counter()
        self.good_tokens: Counter[str] = Counter()
        self.wasted_tokens: Counter[str] = Counter()

    def enter(self, now: float) -> None:
        """A request came."""
        self.in_flight += 1
        if self.in_flight > self.peak:
            self.peak = self.in_flight
        if self.first_at is None:
            self.first_at = now

    def leave(self) -> None:
        """It is done, one way or the other."""
        self.in_flight -= 1
        self.last_at = clock()

    def enter_quietly(self, path: str) -> None:
        """A call that asks no model: counted by its path alone."""
        self.paths[path] += 1

    def received(self, call: Call) -> Entry:
        """The document's entry, this request counted."""
        entry = self.documents.get(call.document_id)
        if entry is None:
            entry = self.documents[call.document_id] = Entry()
        entry.received += 1
        self.paths[call.path] += 1
        return entry

    def fault(self, entry: Entry, kind: str, call: Call) -> None:
        """An injected one."""
        entry.faults = entry.faults or {}
        entry.faults[kind] = entry.faults.get(kind, 0) + 1
        if kind in ("truncated", "unreadable"):
            entry.billed += 1
            self._spend(self.wasted_tokens, call)

    def good(self, entry: Entry, call: Call) -> None:
        """A whole answer was written."""
        entry.good += 1
        entry.billed += 1
        self._spend(self.good_tokens, call)
        self.service.append(clock() - call.started)

    def aborted(self, entry: Entry, call: Call) -> None:
        """The client went away while its answer was being made: providers charge for that."""
        entry.aborted += 1
        entry.billed += 1
        self._spend(self.wasted_tokens, call)

    def facts(self, documents: bool = True) -> dict[str, Any]:
        """The whole ledger as JSON."""
        names = [name for name in Entry.__slots__ if name != "faults"]
        totals: dict[str, Any] = {name: sum(getattr(e, name) for e in self.documents.values()) for name in names}
        faults: Counter[str] = Counter()
        for entry in self.documents.values():
            faults.update(entry.faults or {})
        totals |= {
            "faults": dict(faults),
            "documents": len(self.documents),
            "tokens_good": {name: self.good_tokens[name] for name in TOKENS},
            "tokens_wasted": {name: self.wasted_tokens[name] for name in TOKENS},
        }
        span = (self.last_at - self.first_at) if self.first_at is not None and self.last_at is not None else None
        answer: dict[str, Any] = {
            "totals": totals,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak,
            "span_s": span,
            "service_ms": _spread(self.service),
            "statuses": {str(k): v for k, v in self.statuses.items()},
            "paths": dict(self.paths),
        }
        if documents:
            answer["documents"] = {name: entry.facts() for name, entry in self.documents.items()}
        return answer

    @staticmethod
    def _spend(purse: "Counter[str]", call: Call) -> None:
        purse["input"] += call.prompt_tokens - call.cached - call.written
        purse["cached"] += call.cached
        purse["written"] += call.written
        purse["output"] += call.output_tokens
        purse["reasoning"] += call.reasoning


def _spread(seconds: "array[float]") -> dict[str, float] | None:
    if not seconds:
        return None
    ordered = sorted(seconds)
    n = len(ordered)
    return {
        "n": n,
        "mean": 1000 * sum(ordered) / n,
        "p50": 1000 * ordered[n // 2],
        "p99": 1000 * ordered[min(n - 1, n * 99 // 100)],
        "max": 1000 * ordered[-1],
    }
