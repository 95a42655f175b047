"""The other end of `worker`: what runs in the spawned child. Blocking, one request at a time."""

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from evals.errors import CallFailed, EvalsError, FatalCall, UserError, WeightsError
from evals.models.base import InProcess, MarkName

Marks = Sequence[tuple[MarkName, float]]


def main(pipe: Connection, factory: bytes, log: str | None) -> None:
    """The child's life: load, then answer until the pipe closes."""
    _shield(log)
    try:
        model: InProcess = pickle.loads(factory)()
        facts = dict(model.load())
        pipe.send(("ready", facts))
    except BaseException as error:
        _say(pipe, ("broken", _load_error(error)))
        return
    try:
        _Serving(pipe, model).run()
    finally:
        model.close()


def _shield(log: str | None) -> None:
    """Ctrl-C is the parent's to decide; output goes to the log; the parent's death is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if log:
        os.makedirs(os.path.dirname(os.path.abspath(log)), exist_ok=True)
    file = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    os.close(file)
    if sys.stderr is None or sys.stderr.closed:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 - lives as long as the process
    if log:
        faulthandler.enable(file=2)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _load_error(error: BaseException) -> EvalsError:
    if isinstance(error, EvalsError) and _survives(error):
        return error
    return WeightsError(f"loading failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _survives(error: EvalsError) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def _say(pipe: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):
        pipe.send(message)


class _Serving:
    """The loop over requests, and what is asked about them meanwhile."""

    def __init__(self, pipe: Connection, model: InProcess) -> None:
        self._pipe = pipe
        self._model = model
        self._inbox: deque[tuple[Any, ...]] = deque()
        self._cancelled: set[int] = set()
        self._closing = False
        self._current = 0
        # A backend with a `cancelled` attribute asks it between tokens; one without is left to finish.
        if hasattr(model, "cancelled"):
            model.cancelled = self.cancelled

    def run(self) -> None:
        """Answer requests in the order they came in."""
        while not self._closing:
            if not self._inbox:
                self._receive()
                continue
            message = self._inbox.popleft()
            if message[1] not in self._cancelled:
                self._answer(message)
            else:
                _say(self._pipe, ("failed", message[1], CallFailed("timeout", "cancelled before it began"), []))
            self._cancelled.discard(message[1])

    def cancelled(self) -> bool:
        """Has the parent given up on the request in hand? Cheap: looks into the pipe without waiting."""
        while not self._closing and self._pipe.poll():
            self._receive()
        return self._closing or self._current in self._cancelled

    def _receive(self) -> None:
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            message = ("close",)
        if message[0] == "ask":
            self._inbox.append(message)
        elif message[0] == "cancel":
            self._cancelled.add(message[1])
        else:
            self._closing = True

    def _answer(self, message: tuple[Any, ...]) -> None:
        began = time.perf_counter()
        _, self._current, request = message
        marks: list[tuple[MarkName, float]] = []

        def mark(name: MarkName, offset_s: float | None = None) -> None:
            # `sent` is the parent's: it alone knows when the request left.
            if name != "sent":
                marks.append((name, time.perf_counter() - began if offset_s is None else offset_s))

        try:
            reply: tuple[Any, ...] = ("done", self._current, self._model.generate(request, mark), marks)
        except Exception as error:
            reply = ("failed", self._current, _call_error(error), marks)
        try:
            self._pipe.send(reply)
        except OSError:
            self._closing = True
        except Exception as error:  # a completion that cannot be pickled
            _say(self._pipe, ("failed", self._current, _call_error(error), marks))


def _call_error(error: Exception) -> CallFailed:
    if isinstance(error, CallFailed):
        return error if _survives(error) else CallFailed(error.kind, error.text)
    if isinstance(error, UserError):
        return FatalCall("bad_request", str(error))
    return CallFailed("internal", f"{type(error).__name__}: {error}")
