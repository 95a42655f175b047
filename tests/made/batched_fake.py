"""A library that holds several requests at once, without a model: each answer takes `steps` steps of `step_s` seconds."""

import json
import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.core import Completion, Request, Usage
from evals.engine import worker_child
from evals.errors import CallFailed
from evals.models.base import Mark


class Slots:
    """Answers with its process id and the request's text; does what is said behind `!` in that text:

    `!abort:N` ends the process (SIGABRT) in a step with N or more in hand, `!raise:N` and `!memory:N` fail that step;
    `!hang:N` hangs there; `!refuse` cannot be answered, `!long` never ends, `!odd` cannot be sent back. `loads` is a folder that counts how often it
    was loaded; load number `dies_at` is killed, and `other_at` says other settings. `stuck_at` never loads. `ends_within_s`: how
    long its worker lets a step take.
    """

    def __init__(
        self,
        *,
        name: str = "slots",
        slots: int = 8,
        processes: int = 1,
        step_s: float = 0.005,
        steps: int = 10,
        loads: str | None = None,
        dies_at: int | None = None,
        other_at: int | None = None,
        stuck_at: int | None = None,
        fewer_at: int | None = None,
        tunes: bool = False,
        ends_within_s: float | None = None,
        reply: str = "",
    ) -> None:
        self.name, self.slots, self.processes = name, slots, processes
        self.step_s, self.steps, self.reply = step_s, steps, reply
        self.loads = loads
        self.dies_at, self.other_at, self.stuck_at, self.fewer_at = dies_at, other_at, stuck_at, fewer_at
        self.tunes, self._threads = tunes, 1
        """Each load would choose other settings, were it not told what the first one chose."""
        self._followed = False
        self._ends_within_s = ends_within_s
        self._held: dict[int, list[Any]] = {}
        """Ticket -> text, mark, steps so far."""
        self.most = 0

    def load(self) -> Mapping[str, Any]:
        if self._ends_within_s is not None:
            worker_child.STEP_S, worker_child.SET_S = self._ends_within_s, 0.01
        number = self._number()
        if number == self.dies_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if number == self.stuck_at:
            time.sleep(600)
        if number == self.other_at or (self.tunes and not self._followed):
            self._threads = number + 1
        slots = self.slots - 2 if number == self.fewer_at else self.slots
        return {
            "backend": "fake",
            "settings": {"threads": self._threads, "slots": slots},
            "memory": {"free_at": time.time()},
            "capacity": {"slots": slots, "processes": self.processes},
        }

    def follow(self, facts: Mapping[str, Any]) -> None:
        self._threads, self._followed = facts["settings"]["threads"], True

    def _number(self) -> int:
        """How many loads there were, this one included."""
        if self.loads is None:
            return 0
        folder = Path(self.loads)
        number = 1
        while True:
            try:
                (folder / str(number)).touch(exist_ok=False)
                return number
            except FileExistsError:
                number += 1

    def begin(self, ticket: int, request: Request, mark: Mark) -> None:
        text = request.messages[-1].content
        if "!refuse" in text:
            raise CallFailed("context_length", "too long")
        assert len(self._held) < self.slots, "more than its slots"
        self._held[ticket] = [text, mark, 0]
        self.most = max(self.most, len(self._held))

    def step(self) -> list[tuple[int, Completion | CallFailed]]:
        for text, _, _ in self._held.values():
            self._break(text)
        time.sleep(self.step_s)
        ended: list[tuple[int, Completion | CallFailed]] = []
        for ticket, held in list(self._held.items()):
            text, mark, _ = held
            if held[2] == 0:
                mark("prefill_done")
                mark("first")
            held[2] += 1
            if held[2] >= self.steps and "!long" not in text:
                mark("last")
                del self._held[ticket]
                ended.append((ticket, self._answer(text)))
        return ended

    def _break(self, text: str) -> None:
        for word in text.split():
            what, _, number = word.removeprefix("!").partition(":")
            if word.startswith("!") and len(self._held) >= int(number or 1):
                if what == "abort":
                    os.abort()
                if what == "raise":
                    raise ValueError("a native\nerror")
                if what == "hang":
                    time.sleep(600)
                if what == "memory":
                    raise MemoryError("no more")

    def _answer(self, text: str) -> Completion:
        said = self.reply or json.dumps({"pid": os.getpid(), "text": text, "most": self.most})
        notes = {"cannot": (part for part in ())} if "!odd" in text else {}
        return Completion(text=said, finish_reason="stop", usage=Usage(output=self.steps), notes=notes)

    def cancel(self, ticket: int) -> None:
        del self._held[ticket]

    def close(self) -> None:
        print(f"closed politely, at most {self.most} in hand")
