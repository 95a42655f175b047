"""The other end of `worker_lane`, where its messages are told: what runs in the spawned child. Blocking."""

import contextlib
import faulthandler
import os
import pickle
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from typing import Any

from evals.core import Completion
from evals.errors import CallFailed, EvalsError, FatalCall, UserError, WeightsError
from evals.models.base import Batched, Follower, InProcess, Mark, MarkName

Marks = Sequence[tuple[MarkName, float]]
STEP_S, SET_S = 900.0, 30.0
"""A step of a model that holds several requests, some tokens of each, ends within so long or never will; the watch is set
anew that often."""


def main(pipe: Connection, factory: bytes, log: str | None, first: Mapping[str, Any] | None = None) -> None:
    """The child's life: load, as another one did that said `first`, then answer until the pipe closes."""
    _shield(log)
    try:
        model: InProcess | Batched = pickle.loads(factory)()
        if first is not None and isinstance(model, Follower):
            model.follow(first)
        facts = dict(model.load())
        _check_capacity(facts)
        pipe.send(("ready", facts, isinstance(model, Batched)))
    except BaseException as error:
        _say(pipe, ("broken", _load_error(error)))
        return
    try:
        (_Together(pipe, model) if isinstance(model, Batched) else _OneByOne(pipe, model)).run()
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


def _check_capacity(facts: Mapping[str, Any]) -> None:
    for name in ("slots", "processes"):
        value = (facts.get("capacity") or {}).get(name, 1)
        if not isinstance(value, int) or value < 1:
            raise WeightsError(f"the backend says capacity.{name}={value!r}: at least 1")


def _load_error(error: BaseException) -> EvalsError:
    if isinstance(error, EvalsError) and _survives(error):
        return error
    return WeightsError(f"loading failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _survives(error: EvalsError) -> bool:
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def _heard(pipe: Connection) -> tuple[Any, ...]:
    """The next message; that of a parent which is gone is to end."""
    try:
        return pipe.recv()  # type: ignore[no-any-return]
    except (EOFError, OSError):
        return ("close",)


def _say(pipe: Connection, message: tuple[Any, ...]) -> None:
    with contextlib.suppress(OSError):
        pipe.send(message)


def _reply(pipe: Connection, ticket: int, result: Completion | Exception, marks: Marks) -> None:
    """A parent that is gone is heard of by the next look into the pipe."""
    if isinstance(result, Exception):
        _say(pipe, ("failed", ticket, _call_error(result), marks))
        return
    try:
        _say(pipe, ("done", ticket, result, marks))
    except Exception as error:  # a completion that cannot be pickled
        _say(pipe, ("failed", ticket, _call_error(error), marks))


def _marker(marks: list[tuple[MarkName, float]], sent_s: float) -> Mark:
    """Adds to `marks`, in seconds since the parent sent the request: `perf_counter` is system-wide."""

    def mark(name: MarkName, offset_s: float | None = None) -> None:
        # `sent` is the parent's: it alone knows when the request left.
        if name != "sent":
            marks.append((name, max(0.0, time.perf_counter() - sent_s) if offset_s is None else offset_s))

    return mark


class _Together:
    """The loop of a model that holds several requests at once. An exception out of its `cancel` ends the child: what it
    still holds is not known then."""

    def __init__(self, pipe: Connection, model: Batched) -> None:
        self._pipe = pipe
        self._model = model
        self._watch = _Watch()
        self._held: dict[int, list[tuple[MarkName, float]]] = {}
        """Marks of what is in hand, by ticket."""

    def run(self) -> None:
        """Take requests as they come, and go on with all that are in hand, until the pipe closes."""
        while self._listen():
            if self._held:
                self._watch.begins()
                self._step()

    def _listen(self) -> bool:
        """Take what has come, and wait for it where nothing is in hand. False: it is time to end."""
        while not self._held or self._pipe.poll():
            if not self._held:
                self._watch.rests()
            match _heard(self._pipe):
                case ("ask", ticket, request, sent_s):
                    self._begin(ticket, request, sent_s)
                case ("cancel", ticket):
                    if self._held.pop(ticket, None) is not None:
                        self._model.cancel(ticket)
                case _:
                    return False
        return True

    def _begin(self, ticket: int, request: Any, sent_s: float) -> None:
        marks: list[tuple[MarkName, float]] = []
        try:
            self._model.begin(ticket, request, _marker(marks, sent_s))
        except Exception as error:
            _reply(self._pipe, ticket, error, marks)
        else:
            self._held[ticket] = marks

    def _step(self) -> None:
        try:
            ended = self._model.step()
        except Exception as error:
            self._fail_all(error)
            return
        for ticket, result in ended:
            marks = self._held.pop(ticket, None)
            if marks is not None:
                _reply(self._pipe, ticket, result, marks)

    def _fail_all(self, error: Exception) -> None:
        for ticket in self._held:  # before the parent hears of it and sends others
            self._model.cancel(ticket)
        held, self._held = self._held, {}
        for ticket, marks in held.items():
            _reply(self._pipe, ticket, error, marks)


class _Watch:
    """Ends this process where a step takes longer than any does: the library hangs. Its stacks are in the log then."""

    def __init__(self) -> None:
        self._set_s: float | None = None

    def begins(self) -> None:
        """Before each step: setting it takes a thread, so it is done now and then."""
        now = time.monotonic()
        if self._set_s is None or now - self._set_s > SET_S:
            faulthandler.dump_traceback_later(STEP_S, exit=True, file=2)
            self._set_s = now

    def rests(self) -> None:
        """Nothing is in hand: waiting is no hanging."""
        if self._set_s is not None:
            faulthandler.cancel_dump_traceback_later()
            self._set_s = None


class _OneByOne:
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
                self._answer(*message[1:])
            else:
                _reply(self._pipe, message[1], CallFailed("timeout", "cancelled before it began"), [])
            self._cancelled.discard(message[1])

    def cancelled(self) -> bool:
        """Has the parent given up on the request in hand? Cheap: looks into the pipe without waiting."""
        while not self._closing and self._pipe.poll():
            self._receive()
        return self._closing or self._current in self._cancelled

    def _receive(self) -> None:
        message = _heard(self._pipe)
        if message[0] == "ask":
            self._inbox.append(message)
        elif message[0] == "cancel":
            self._cancelled.add(message[1])
        else:
            self._closing = True

    def _answer(self, ticket: int, request: Any, sent_s: float) -> None:
        self._current = ticket
        marks: list[tuple[MarkName, float]] = []
        try:
            done = self._model.generate(request, _marker(marks, sent_s))
        except Exception as error:
            _reply(self._pipe, ticket, error, marks)
        else:
            _reply(self._pipe, ticket, done, marks)


def _call_error(error: Exception) -> CallFailed:
    if isinstance(error, CallFailed):
        return error if _survives(error) else CallFailed(error.kind, error.text)
    if isinstance(error, UserError):
        return FatalCall("bad_request", str(error))
    return CallFailed("internal", f"{type(error).__name__}: {error}")
