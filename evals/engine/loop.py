"""Async work from plain code: an event loop for it, in a notebook too, and what Ctrl-C does."""

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

from evals.errors import Stopped

T = TypeVar("T")


def run_until_done(work: Coroutine[Any, Any, T], *, fast: bool = False) -> T:
    """Run a coroutine from plain code, in a notebook too. Ctrl-C raises `Stopped`; a second one ends the process.

    `fast`: on uvloop where it can be imported, for models at the other end of many connections.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work, fast, [])
    box: list[Any] = []
    running: list[Callable[[], None]] = []

    finished = threading.Event()

    def inside() -> None:
        try:
            box.append(_run(work, fast, running))
        except BaseException as error:
            box.append(error)
        finally:
            finished.set()

    thread = threading.Thread(target=inside)  # a notebook's own loop is running in this one
    thread.start()
    while not finished.is_set():
        try:
            finished.wait()  # not `join`, which takes a thread for ended once it was interrupted (bpo-45274)
        except KeyboardInterrupt:  # the notebook's own Ctrl-C, which the thread does not hear
            for stop in running:
                stop()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]  # type: ignore[no-any-return]


def new_loop(fast: bool) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the loop; `None`: asyncio's own."""
    if not fast or sys.platform == "win32":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop  # type: ignore[no-any-return]


def _run(work: Coroutine[Any, Any, T], fast: bool, stops: list[Callable[[], None]]) -> T:
    with asyncio.Runner(loop_factory=new_loop(fast)) as runner, _interruptible(runner.get_loop()) as interrupted:
        loop = runner.get_loop()
        task = loop.create_task(work)
        interrupted.append(task)
        stops.append(lambda: _soon(loop, task.cancel))
        try:
            return loop.run_until_complete(task)
        except asyncio.CancelledError:
            raise Stopped() from None
        except BaseExceptionGroup as group:
            raise _first(group) from None


def _soon(loop: asyncio.AbstractEventLoop, call: Callable[[], Any]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to stop
        loop.call_soon_threadsafe(call)


@contextlib.contextmanager
def _interruptible(loop: asyncio.AbstractEventLoop) -> Iterator[list["asyncio.Task[Any]"]]:
    """First SIGINT cancels the task put into the yielded list, the second ends the process at once."""
    tasks: list[asyncio.Task[Any]] = []
    heard: list[int] = []

    def stop() -> None:
        if tasks:
            tasks[0].cancel()

    def hear(number: int, _frame: object) -> None:
        if heard:  # here, not on the loop: whatever blocks the loop must not block a second Ctrl-C
            os._exit(130)
        heard.append(number)
        loop.call_soon_threadsafe(stop)

    usable = threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGINT) if usable else None
    if usable:
        signal.signal(signal.SIGINT, hear)
    try:
        yield tasks
    finally:
        if usable:
            signal.signal(signal.SIGINT, before)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
