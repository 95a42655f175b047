"""One spawned child for an in-process library, seen from the engine as a `Model`.

A native crash, a kill for memory or an endless load ends the child and never the run: every request in flight
becomes `CallFailed("crashed")`, and the child is started again, at most `MAX_RESTARTS` times.

Messages over the pipe are tuples. To the child: `("ask", id, request)`, `("cancel", id)`, `("close",)`. From the
child: `("ready", facts)`, `("broken", exception)`, `("done", id, completion, marks)`, `("failed", id, exception,
marks)`. `marks` are `(name, seconds since the child had the request in hand)`. Requests carry ids, so a child that
answers several at once only needs more `SLOTS` here.
"""

import asyncio
import atexit
import contextlib
import itertools
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from evals.core import Completion, Request
from evals.engine.worker_child import Marks, main
from evals.errors import CallFailed, EvalsError, UserError, WeightsError
from evals.models.base import InProcess, Mark

MAX_RESTARTS = 3
CLOSE_S = 5.0
SLOTS = 1
"""Requests the child holds at once."""
_SPAWN = multiprocessing.get_context("spawn")
_Reply = tuple[Completion | CallFailed, Marks]


class Worker:
    """A `Model` whose library lives in one spawned child.

    `factory` is picklable and builds the library's `InProcess` in the child. What the child and its C libraries
    print goes to the file `log`, or nowhere.
    """

    def __init__(
        self,
        factory: Callable[[], InProcess],
        *,
        name: str,
        start_timeout_s: float = 600,
        log: Path | None = None,
    ) -> None:
        self.name = name
        self.restarts = 0
        """How often the child was started again."""
        self._factory = factory
        self._start_timeout_s = start_timeout_s
        self._log = log
        self._child: _Child | None = None
        self._dead: str | None = None
        self._ids = itertools.count(1)
        self._flying: dict[int, asyncio.Future[_Reply]] = {}
        self._slots = asyncio.Semaphore(SLOTS)
        self._launching = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """The child's process id while it lives."""
        return self._child.pid if self._child else None

    async def start(self) -> Mapping[str, Any]:
        """Spawn the child and load the weights there. The library's own `EvalsError` comes back as itself."""
        return await self._launch()

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer. A cancelled request is dropped from the queue, or told to stop and its result discarded."""
        await self._slots.acquire()
        call_id = next(self._ids)
        try:
            child = await self._living()
            future: asyncio.Future[_Reply] = asyncio.get_running_loop().create_future()
        except BaseException:
            self._slots.release()
            raise
        self._flying[call_id] = future
        # From here on the slot is given back by the child's reply or death, not by this coroutine.
        mark("sent")
        child.send(("ask", call_id, request))
        try:
            result, marks = await future
        except asyncio.CancelledError:
            child.send(("cancel", call_id))
            raise
        for name, offset_s in marks:
            mark(name, offset_s)
        if isinstance(result, CallFailed):
            raise result
        return result

    async def close(self) -> None:
        """Ask the child to end, then end it."""
        child, self._child = self._child, None
        self._dead = self._dead or "the worker is closed"
        if child is not None:
            await asyncio.to_thread(child.stop, CLOSE_S)
        self._fail_all(self._dead)

    async def _living(self) -> "_Child":
        """The child, started again where it died and may be."""
        async with self._launching:
            if self._child is None and self._dead is None:
                self.restarts += 1
                try:
                    await self._launch()
                except EvalsError as error:
                    self._dead = f"{self.name}: restart failed: {error}"
            if self._child is None:
                raise CallFailed("crashed", self._dead or f"{self.name}: no worker")
            return self._child

    async def _launch(self) -> Mapping[str, Any]:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[Mapping[str, Any]] = loop.create_future()
        child = _Child(self._factory, self.name, self._log)

        def hear(message: tuple[Any, ...]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is gone: nobody is waiting any more
                loop.call_soon_threadsafe(self._heard, child, ready, message)

        await asyncio.to_thread(child.start, hear)
        self._child = child
        try:
            return await asyncio.wait_for(ready, self._start_timeout_s)
        except TimeoutError:
            text = f"{self.name}: not loaded within {self._start_timeout_s:g} s; raise start_timeout_s"
            raise WeightsError(text) from None
        finally:
            if ready.cancelled() or ready.exception() is not None:
                self._child = None
                await asyncio.to_thread(child.stop, 0.0)

    def _heard(self, child: "_Child", ready: "asyncio.Future[Mapping[str, Any]]", message: tuple[Any, ...]) -> None:
        """One message of the child, on the loop's thread."""
        match message:
            case ("ready", facts) if not ready.done():
                ready.set_result(facts)
            case ("broken", error) if not ready.done():
                ready.set_exception(error)
            case ("done" | "failed", call_id, result, marks):
                self._settle(call_id, (result, marks))
            case ("died", text):
                self._died(child, ready, text)

    def _died(self, child: "_Child", ready: "asyncio.Future[Mapping[str, Any]]", text: str) -> None:
        where = f"; its output is in {self._log}" if self._log else ""
        if not ready.done():
            ready.set_exception(WeightsError(f"{self.name}: {text} while loading{where}"))
        elif child is self._child:
            self._child = None
            if self.restarts >= MAX_RESTARTS:
                self._dead = f"{self.name}: {text}, after {self.restarts} restarts{where}"
            self._fail_all(f"{self.name}: {text}{where}")

    def _settle(self, call_id: int, reply: "_Reply") -> None:
        future = self._flying.pop(call_id, None)
        if future is None:
            return
        self._slots.release()
        if not future.done():  # else cancelled meanwhile: the late result is discarded
            future.set_result(reply)

    def _fail_all(self, text: str) -> None:
        for call_id in list(self._flying):
            self._settle(call_id, (CallFailed("crashed", text), ()))


class _Child:
    """One process, its pipe, and the thread that listens to it."""

    def __init__(self, factory: Callable[[], InProcess], name: str, log: Path | None) -> None:
        try:
            # Pickled here, opened there once the output is redirected: imports may already print.
            self._factory = pickle.dumps(factory)
        except Exception as error:
            raise UserError(f"{name}: the model's factory cannot be sent to another process: {error}") from None
        self._name = name
        self._log = str(log) if log else None
        self.pid: int | None = None

    def start(self, hear: Callable[[tuple[Any, ...]], None]) -> None:
        """Spawn, and call `hear` from a thread with every message; the last is `("died", text)`."""
        ours, theirs = _SPAWN.Pipe()
        self._pipe: Connection = ours
        self._process = _SPAWN.Process(target=main, args=(theirs, self._factory, self._log), name=f"evals {self._name}")
        with _sigint_held():
            self._process.start()
        theirs.close()
        self.pid = self._process.pid
        # A parent that ends without `close` must not wait for its child for ever, as multiprocessing would.
        atexit.register(self.stop, 1.0)
        threading.Thread(target=self._listen, args=(hear,), name=f"evals {self._name}", daemon=True).start()

    def send(self, message: tuple[Any, ...]) -> None:
        """A dead child cannot be told anything: its listener reports the death."""
        with contextlib.suppress(OSError, ValueError):
            self._pipe.send(message)

    def stop(self, patience_s: float) -> None:
        """Let it end by itself for `patience_s`, then terminate it, then kill it. Blocking."""
        self.send(("close",))
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        atexit.unregister(self.stop)

    def _listen(self, hear: Callable[[tuple[Any, ...]], None]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                hear(self._pipe.recv())
        self._pipe.close()
        self._process.join(CLOSE_S)
        hear(("died", _how(self._process.exitcode)))


def _how(exitcode: int | None) -> str:
    """An exit code in words."""
    if exitcode is None:
        return "the worker closed its pipe"
    if exitcode >= 0:
        return f"the worker ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = {"SIGKILL": " (killed, perhaps for want of memory)", "SIGILL": " (built for another CPU?)"}.get(name, "")
    return f"the worker died of {name}{hint}"


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """The child inherits a held SIGINT and drops it for good once it runs: no traceback from a Ctrl-C at its start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
