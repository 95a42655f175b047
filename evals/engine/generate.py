"""Documents in, records out: bounded in flight, streamed from the data set, every failure a row.

Waits stay apart: `queued_s` is the wait for a place, `total_s` the service. The engine owns the clock; a backend
only calls `mark`.
"""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Container, Coroutine, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from evals.core import Call, Completion, Record, Request, Role, Sample, Task, Timing, Usage
from evals.errors import CallFailed, FatalCall, Stopped
from evals.models.base import MarkName, Model

T = TypeVar("T")
Sink = Callable[[Sample, Record], None]
HEARTBEAT_S = 0.05


class Stamps:
    """The marks of one call on the engine's monotonic clock."""

    def __init__(self) -> None:
        self.taken_up = time.monotonic()
        self.started_at = datetime.now(UTC).isoformat(timespec="microseconds")
        self.at: dict[str, float] = {}
        self.lag_s = 0.0

    def __call__(self, name: MarkName, offset_s: float | None = None) -> None:
        """Stamp now, or `offset_s` seconds after `sent` for what happened in another process."""
        now = time.monotonic()
        self.at.setdefault(name, now if offset_s is None else self.at.get("sent", now) + offset_s)

    def timing(self) -> Timing:
        """The call's timing; `last` falls back to now, for calls that failed."""
        sent = self.at.get("sent", self.taken_up)
        first, prefill, last = self.at.get("first"), self.at.get("prefill_done"), self.at.get("last", time.monotonic())
        return Timing(
            started_at=self.started_at,
            queued_s=round(sent - self.taken_up, 6),
            ttft_s=None if first is None else round(first - sent, 6),
            total_s=round(last - sent, 6),
            loop_lag_s=round(self.lag_s, 6),
            prefill_s=None if prefill is None else round(prefill - sent, 6),
            decode_s=None if prefill is None else round(last - prefill, 6),
        )


@dataclass(kw_only=True)
class Engine:
    """Runs one task's documents through one model."""

    task: Task
    model: Model
    sink: Sink
    """Called with each finished record, in order of completion: stores it, then scores it."""
    concurrency: int = 1
    repeats: int = 1
    timeout_s: float = 600.0
    """Deadline of one call."""
    skip: Container[tuple[str, int]] = ()
    """(sample id, repeat) that are answered already."""
    flying: set[Stamps] = field(default_factory=set)

    async def run(self, samples: Iterable[Sample]) -> None:
        """Answer every sample `repeats` times. The first error of the sink, or a fatal call, ends the run."""
        places = asyncio.Semaphore(self.concurrency)
        beat = asyncio.create_task(self._heartbeat())
        try:
            async with asyncio.TaskGroup() as group:
                for sample, repeat in self._wanted(samples):
                    await places.acquire()
                    group.create_task(self._document(sample, repeat, places))
        finally:
            beat.cancel()

    def _wanted(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, int]]:
        for sample in samples:
            for repeat in range(self.repeats):
                if (sample.id, repeat) not in self.skip:
                    yield sample, repeat

    async def _document(self, sample: Sample, repeat: int, places: asyncio.Semaphore) -> None:
        try:
            request = self.task.request(sample)
            if repeat and request.temperature:
                request = replace(request, seed=request.seed + repeat)
            calls = await self._calls(sample, request)
            answer = next(
                (i for i in reversed(range(len(calls))) if calls[i].role == "answer" and calls[i].completion), None
            )
            record = Record(
                sample_id=sample.id,
                repeat=repeat,
                request_hash=request.hash,
                calls=tuple(calls),
                answer=answer,
                truncated_chars=request.truncated_chars,
            )
        finally:
            places.release()
        self.sink(sample, record)

    async def _calls(self, sample: Sample, request: Request) -> list[Call]:
        if not request.parts:
            return [await self._call(request, "answer")]
        calls = [await self._call(part, "part") for part in request.parts]
        texts = [call.completion.text for call in calls if call.completion]
        if texts:
            merged = Completion(text=self.task.merge(sample, texts), finish_reason="stop", usage=Usage())
            calls.append(Call(role="answer", model="merge", completion=merged))
        return calls

    async def _call(self, request: Request, role: Role) -> Call:
        stamps = Stamps()
        self.flying.add(stamps)
        completion, failure = None, None
        in_flight = len(self.flying)
        try:
            async with asyncio.timeout(self.timeout_s):
                completion = await self.model.generate(request, stamps)
            stamps("last")
        except FatalCall:
            raise
        except CallFailed as error:
            failure = error
        except TimeoutError:
            failure = CallFailed("timeout", f"no answer within {self.timeout_s:g} s")
        except Exception as error:  # a backend's own bug is a row too, and the run goes on
            failure = CallFailed("internal", f"{type(error).__name__}: {error}")
        finally:
            self.flying.discard(stamps)
        return Call(
            role=role,
            model=self.model.name,
            timing=stamps.timing(),
            completion=completion,
            error=failure.kind if failure else None,
            error_text=failure.text if failure else None,
            in_flight=in_flight,
        )

    async def _heartbeat(self) -> None:
        """How late the event loop runs, kept as the worst lag each call has lived through."""
        while True:
            before = time.monotonic()
            await asyncio.sleep(HEARTBEAT_S)
            lag = time.monotonic() - before - HEARTBEAT_S
            for stamps in self.flying:
                stamps.lag_s = max(stamps.lag_s, lag)


def run_until_done(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from plain code, in a notebook too. Ctrl-C raises `Stopped`; a second one ends the process."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _run(work)
    box: list[Any] = []

    def inside() -> None:
        try:
            box.append(_run(work))
        except BaseException as error:
            box.append(error)

    thread = threading.Thread(target=inside)  # a notebook's own loop is running in this one
    thread.start()
    thread.join()
    if isinstance(box[0], BaseException):
        raise box[0]
    return box[0]  # type: ignore[no-any-return]


def _run(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner() as runner, _interruptible(runner.get_loop()) as interrupted:
        task = runner.get_loop().create_task(work)
        interrupted.append(task)
        try:
            return runner.get_loop().run_until_complete(task)
        except asyncio.CancelledError:
            raise Stopped() from None
        except BaseExceptionGroup as group:
            raise _first(group) from None


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
