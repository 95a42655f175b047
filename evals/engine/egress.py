"""What left the machine: `egress.json` in the run's folder, by host and data class, written as the run goes.

Counted is every attempt at a model that is not of one's own infrastructure (its YAML does not say `location: own`), right
before it is made: refused, lost and repeated ones too. A new host or class is on the disk before its first attempt, later
counts at most `EVERY_S` seconds after it (a kill may lose those), the last one when the run ends.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from evals import store
from evals.core import DataClass, Request

FILE = "egress.json"
EVERY_S = 1.0


class Egress:
    """One run's ledger. `privacy`: what the run was told, such as `local_only`."""

    def __init__(self, folder: Path, *, privacy: str | None = None) -> None:
        self._path, self._privacy = folder / FILE, privacy
        self._sent: dict[tuple[str, str, DataClass], int] = {}
        self._written_at = 0.0
        self._stale = True
        if self._path.exists():  # of an earlier session of the same run
            for row in store.read_json(self._path).get("sent", ()):
                self._sent[row["host"], row["model"], row["class"]] = int(row["count"])

    def to(self, host: str, model: str) -> Callable[[Request], None]:
        """What is called before each attempt at a model on this host."""

        def sent(request: Request) -> None:
            self.add(host, model, request.data_class)

        return sent

    def add(self, host: str, model: str, data_class: DataClass, count: int = 1) -> None:
        """So many requests are about to leave."""
        key = (host, model, data_class)
        new = key not in self._sent
        self._sent[key] = self._sent.get(key, 0) + count
        self._stale = True
        if new or time.monotonic() - self._written_at > EVERY_S:
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        if not self._stale:
            return
        rows = [
            {"host": host, "model": model, "class": data_class, "count": count}
            for (host, model, data_class), count in sorted(self._sent.items())
        ]
        value: dict[str, Any] = {"format": 1, "privacy": self._privacy, "sent": rows}
        store.write_whole(self._path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")
        self._written_at, self._stale = time.monotonic(), False
