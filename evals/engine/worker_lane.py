"""One child of a worker on the event loop: what is in flight there, its death, and its next life.

Messages over the pipe are tuples. To the child: `("ask", id, request, sent)`, `("cancel", id)`, `("close",)`. From the
child: `("ready", facts, batched)`, `("broken", exception)`, `("done", id, completion, marks)`, `("failed", id, exception,
marks)`. `sent` is the parent's `time.perf_counter()`, which is system-wide, and `marks` are `(name, seconds since then)`:
what a request waits for the step that is under way when it comes counts as time of its answer.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evals.core import Completion, Request
from evals.engine.worker_child import Marks
from evals.engine.worker_process import CLOSE_S, Factory, Process
from evals.errors import CallFailed, WeightsError
from evals.models.base import Mark

MAX_RESTARTS = 3
"""Of each child: one that keeps dying is given up, and the others go on."""
OF_THE_MOMENT = ("capacity", "memory", "measuring_s")
"""Facts that may differ between two loads of the same model: what was free then, what that lets it take, and whether
settings had to be measured."""
_Reply = tuple[Completion | CallFailed, Marks]
_Ready = asyncio.Future[Mapping[str, Any]]


class Lane:
    """A child that is started again where it died. All of it runs on the loop's thread.

    `changed` is called whenever there may be room for a request, or no more hope of it.
    """

    def __init__(
        self, factory: Factory, *, name: str, start_timeout_s: float, log: Path | None, changed: Callable[[], None]
    ) -> None:
        self.name = name
        self.restarts = 0
        self.slots = 1
        """Requests it takes at once."""
        self.batched = False
        self.dead: str | None = None
        """Why it is used no more."""
        self._factory, self._start_timeout_s, self._log = factory, start_timeout_s, log
        self._changed = changed
        self._process: Process | None = None
        self._facts: Mapping[str, Any] | None = None
        self._flying: dict[int, asyncio.Future[_Reply]] = {}
        self._reviving: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        return self._process.pid if self._process else None

    @property
    def in_flight(self) -> int:
        """Requests that it has in hand."""
        return len(self._flying)

    @property
    def room(self) -> bool:
        """Would it begin a request at once?"""
        return self._process is not None and len(self._flying) < self.slots

    async def launch(self, within_s: float, first: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Spawn the child and load the weights there, as another one did that said `first`: its facts. The library's own
        `EvalsError` comes back as itself; whatever happens, also a cancellation, no child is left that is not ready."""
        loop = asyncio.get_running_loop()
        ready: _Ready = loop.create_future()
        process = Process(self._factory, self.name, self._log, first)

        def hear(message: tuple[Any, ...]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is waiting any more
                loop.call_soon_threadsafe(self._heard, process, ready, message)

        starting = loop.run_in_executor(None, process.start, hear)
        try:
            async with asyncio.timeout(within_s):
                await asyncio.shield(starting)
                return await ready
        except BaseException as error:
            ready.cancel()
            self._process = None
            await asyncio.wait([starting])
            if process.pid is not None:
                await asyncio.to_thread(process.stop, 0.0)
            if isinstance(error, TimeoutError):
                text = f"{self.name}: not loaded within {self._start_timeout_s:g} s: is another program busy, or the memory too small?"
                raise WeightsError(text) from None
            raise

    def revive(self) -> None:
        """Start the child again in the background, where it is dead and may be."""
        if self._process is None and self.dead is None and self._reviving is None:
            self.restarts += 1
            self._reviving = asyncio.get_running_loop().create_task(self._relaunch())

    async def _relaunch(self) -> None:
        before = self._facts
        try:
            facts = await self.launch(self._start_timeout_s, before)
            self.tell(f"started again ({self.restarts} of {MAX_RESTARTS})")
            if before is not None and (other := differing(before, facts)):
                self.tell(f"since it was started again it says otherwise of {', '.join(other)}")
        except Exception as error:
            self.dead = f"{self.name}: restart failed: {error}"
            self.tell(self.dead)
        finally:
            self._reviving = None
            self._changed()

    async def ask(self, call_id: int, request: Request, mark: Mark) -> Completion:
        """One answer; there must be `room`. A cancelled request is dropped by a child that holds several; another one is
        told to stop, and has no room until it did."""
        process = self._process
        assert process is not None
        future: asyncio.Future[_Reply] = asyncio.get_running_loop().create_future()
        mark("sent")
        process.send(("ask", call_id, request, time.perf_counter()))
        # From here on the slot is given back by the child's reply or death, not by this coroutine.
        self._flying[call_id] = future
        try:
            result, marks = await future
        except asyncio.CancelledError:
            process.send(("cancel", call_id))
            if self.batched:  # messages stay in order: it is dropped before the next one begins
                self._settle(call_id, None)
            raise
        for name, offset_s in marks:
            mark(name, offset_s)
        if isinstance(result, CallFailed):
            raise result
        return result

    async def close(self, text: str) -> None:
        """Ask the child to end, then end it; `text` says to whoever waits why there is no answer."""
        self.dead = self.dead or text
        if self._reviving is not None:
            self._reviving.cancel()
            await asyncio.wait([self._reviving])
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.stop, CLOSE_S)
        self._fail_all(self.dead)

    def tell(self, text: str) -> None:
        """A line in the log of the child."""
        if self._log is None:
            return
        line = text if text.startswith(f"{self.name}: ") else f"{self.name}: {text}"
        with contextlib.suppress(OSError):
            os.makedirs(os.path.dirname(os.path.abspath(self._log)), exist_ok=True)
            with open(self._log, "a", encoding="utf-8") as file:
                file.write(f"{line}\n")

    def _heard(self, process: Process, ready: _Ready, message: tuple[Any, ...]) -> None:
        match message:
            case ("ready", facts, batched) if not ready.done():
                self._process, self._facts, self.batched = process, facts, batched
                self.slots = count(facts, "slots") if batched else 1
                ready.set_result(facts)
                self._changed()
            case ("broken", error) if not ready.done():
                ready.set_exception(error)
            case ("done" | "failed", call_id, result, marks):
                self._settle(call_id, (result, marks))
            case ("died", text):
                self._died(process, ready, text)

    def _died(self, process: Process, ready: _Ready, text: str) -> None:
        where = f"; its output is in {self._log}" if self._log else ""
        if not ready.done():
            ready.set_exception(WeightsError(f"{self.name}: {text} while loading{where}"))
        elif process is self._process:
            self._process = None
            self.tell(f"{text} with {len(self._flying)} requests in hand")
            if self.restarts >= MAX_RESTARTS:
                self.dead = f"{self.name}: {text}, after {self.restarts} restarts{where}"
            self._fail_all(f"{self.name}: {text}{where}")

    def _settle(self, call_id: int, reply: _Reply | None) -> None:
        future = self._flying.pop(call_id, None)
        if future is None:
            return
        if reply is not None and not future.done():  # else cancelled meanwhile: the late result is discarded
            future.set_result(reply)
        self._changed()

    def _fail_all(self, text: str) -> None:
        for call_id in list(self._flying):
            self._settle(call_id, (CallFailed("crashed", text), ()))
        self._changed()


def count(facts: Mapping[str, Any], name: str) -> int:
    """`slots` or `processes` of what a library says it can take; 1 where it says nothing."""
    return max(1, int((facts.get("capacity") or {}).get(name) or 1))


def differing(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """Facts that two loads of the same model do not say alike, as `settings.threads`; what hangs on the moment
    (`OF_THE_MOMENT`, and each key of `capacity` wherever it stands) is left out."""
    one, other = _flat(a), _flat(b)
    return sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))


def _flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    loose = set(facts.get("capacity") or ())
    found: dict[str, Any] = {}
    for key, value in facts.items():
        if key in OF_THE_MOMENT or key in loose:
            continue
        if isinstance(value, Mapping):
            found |= {f"{key}.{inner}": each for inner, each in value.items() if inner not in loose}
        else:
            found[key] = value
    return found
