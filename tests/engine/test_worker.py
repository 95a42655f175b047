"""The spawned worker: answers, marks, crashes, restarts, cancellation and endings."""

import asyncio
import functools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evals.core import Completion, Message, Request
from evals.engine.worker import Worker
from evals.errors import CallFailed, EvalsError, FatalCall, UserError, WeightsError
from evals.models.base import InProcess, Mark, Model

ROOT = Path(__file__).parents[2]


def ask(text: str) -> Request:
    return Request(messages=(Message(role="user", content=text),))


class Echo:
    """Does what the request's text says."""

    def __init__(self, name: str = "echo", fail: str = "") -> None:
        self.name = name
        self.fail = fail
        self.served = 0

    def load(self) -> Mapping[str, Any]:
        print("a library's chatter")
        os.write(2, b"native noise\n")
        if self.fail == "user":
            raise UserError("path: no such model")
        if self.fail == "odd":
            raise RuntimeError("first\nsecond")
        if self.fail == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fail == "slow":
            time.sleep(60)
        if self.fail.startswith("once:"):  # dies at every load but the first
            flag = Path(self.fail[5:])
            if flag.exists():
                os.kill(os.getpid(), signal.SIGABRT)
            flag.write_text("loaded")
        return {"pid": os.getpid()}

    def generate(self, request: Request, mark: Mark) -> Completion:
        word, _, rest = request.messages[0].content.partition(" ")
        self.served += 1
        if word == "kill":
            os.kill(os.getpid(), getattr(signal, rest))
        if word == "exit":
            os._exit(int(rest))
        if word == "raise":
            raise {"call": CallFailed("context_length", "too long"), "user": UserError("bad schema")}.get(
                rest, ValueError("one\ntwo")
            )
        mark("sent")
        mark("prefill_done")
        if word == "sleep":
            time.sleep(float(rest))
        mark("first")
        mark("last", 12.5)
        return Completion(text=f"{rest or word} {self.served}", finish_reason="stop")

    def close(self) -> None:
        print("closed politely")


class Stoppable(Echo):
    """Looks at its cancel flag, as a decoder between two tokens."""

    cancelled: Callable[[], bool] = staticmethod(lambda: False)

    def generate(self, request: Request, mark: Mark) -> Completion:
        if request.messages[0].content == "long":
            for _ in range(3000):
                time.sleep(0.01)
                if self.cancelled():
                    raise CallFailed("timeout", "cancelled")
        return super().generate(request, mark)


def broken_factory() -> InProcess:
    raise ImportError("no module named 'llama_cpp'")


@dataclass
class Marks:
    seen: list[tuple[str, float | None]]

    def __call__(self, name: str, offset_s: float | None = None) -> None:
        self.seen.append((name, offset_s))


def no_mark(name: str, offset_s: float | None = None) -> None:
    """Nobody listens."""


def run(work: Callable[[Worker], Coroutine[Any, Any, Any]], worker: Worker) -> Any:
    """Start, work, close, within a time in which a hang is a failure."""

    async def whole() -> Any:
        await worker.start()
        try:
            return await work(worker)
        finally:
            await worker.close()

    return asyncio.run(asyncio.wait_for(whole(), 60))


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z" if sys.platform == "linux" else True
    )


def test_answers_come_back_with_the_marks_of_the_child() -> None:
    marks = Marks([])

    async def work(worker: Worker) -> Completion:
        assert isinstance(worker, Model)
        return await worker.generate(ask("sleep 0.2"), marks)

    assert run(work, Worker(Echo, name="echo")).text == "0.2 1"
    assert [name for name, _ in marks.seen] == ["sent", "prefill_done", "first", "last"]
    offsets = dict(marks.seen)
    assert offsets["sent"] is None and offsets["last"] == 12.5
    prefill, first = offsets["prefill_done"], offsets["first"]
    assert prefill is not None and first is not None
    assert 0 <= prefill < 0.15 and 0.2 <= first < 2


def test_the_child_is_another_process_and_ends_at_close() -> None:
    async def whole() -> tuple[int, int]:
        worker = Worker(Echo, name="echo")
        facts = await worker.start()
        (pid,) = worker.pids
        await worker.close()
        return facts["pid"], pid

    child, pid = asyncio.run(whole())
    assert child == pid and child != os.getpid()
    assert not alive(child)


def test_output_of_libraries_goes_to_the_log_only(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "logs" / "worker.log"

    async def work(worker: Worker) -> Completion:
        return await worker.generate(ask("hello"), no_mark)

    run(work, Worker(Echo, name="echo", log=log))
    out = capfd.readouterr()
    assert out.out == "" and out.err == ""
    assert {"a library's chatter", "native noise", "closed politely"} <= set(log.read_text().splitlines())


def test_requests_wait_for_each_other_in_order() -> None:
    async def work(worker: Worker) -> list[str]:
        answers = await asyncio.gather(*(worker.generate(ask(f"sleep 0.0{n}"), no_mark) for n in (3, 2, 1)))
        return [answer.text for answer in answers]

    assert run(work, Worker(Echo, name="echo")) == ["0.03 1", "0.02 2", "0.01 3"]


def test_a_big_request_passes_whole() -> None:
    async def work(worker: Worker) -> Completion:
        return await worker.generate(ask("say " + "é" * 3_000_000), no_mark)

    assert run(work, Worker(Echo, name="echo")).text == "é" * 3_000_000 + " 1"


@pytest.mark.parametrize(
    ("what", "error", "kind", "text"),
    [
        ("raise call", CallFailed, "context_length", "too long"),
        ("raise user", FatalCall, "bad_request", "bad schema"),
        ("raise other", CallFailed, "internal", "ValueError: one two"),
    ],
)
def test_errors_of_a_call_come_back_as_themselves(what: str, error: type, kind: str, text: str) -> None:
    async def work(worker: Worker) -> CallFailed:
        with pytest.raises(CallFailed) as caught:
            await worker.generate(ask(what), no_mark)
        assert (await worker.generate(ask("hello"), no_mark)).text == "hello 2"
        return caught.value

    failed = run(work, Worker(Echo, name="echo"))
    assert (type(failed), failed.kind, failed.text) == (error, kind, text)


@pytest.mark.parametrize("name", ["SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_death_is_an_error_row_and_a_restart(name: str) -> None:
    async def work(worker: Worker) -> None:
        before = worker.pids
        with pytest.raises(CallFailed, match=name) as caught:
            await worker.generate(ask(f"kill {name}"), no_mark)
        assert caught.value.kind == "crashed"
        assert "\n" not in str(caught.value)
        assert (await worker.generate(ask("hello"), no_mark)).text == "hello 1"
        assert worker.pids != before and worker.restarts == 1

    run(work, Worker(Echo, name="echo"))


def test_a_kill_from_outside_fails_the_call_in_flight_and_not_those_that_wait() -> None:
    async def work(worker: Worker) -> None:
        calls = [asyncio.create_task(worker.generate(ask(text), no_mark)) for text in ("sleep 30", "one", "two")]
        await asyncio.sleep(0.3)
        (pid,) = worker.pids
        os.kill(pid, signal.SIGKILL)
        first, second, third = await asyncio.gather(*calls, return_exceptions=True)
        assert isinstance(first, CallFailed) and first.kind == "crashed" and "SIGKILL" in first.text
        assert isinstance(second, Completion) and isinstance(third, Completion)
        assert (second.text, third.text) == ("one 1", "two 2")

    run(work, Worker(Echo, name="echo"))


def test_after_three_restarts_every_request_fails_fast() -> None:
    async def work(worker: Worker) -> None:
        for _ in range(4):
            with pytest.raises(CallFailed, match="exit code 7"):
                await worker.generate(ask("exit 7"), no_mark)
        assert worker.restarts == 3
        began = time.perf_counter()
        for _ in range(20):
            with pytest.raises(CallFailed, match="after 3 restarts") as caught:
                await worker.generate(ask("hello"), no_mark)
            assert caught.value.kind == "crashed"
        assert time.perf_counter() - began < 0.1

    run(work, Worker(Echo, name="echo"))


def test_a_restart_that_cannot_load_ends_the_restarts(tmp_path: Path) -> None:
    async def work(worker: Worker) -> None:
        with pytest.raises(CallFailed, match="SIGSEGV"):
            await worker.generate(ask("kill SIGSEGV"), no_mark)
        for _ in range(2):
            with pytest.raises(CallFailed, match=r"restart failed.*SIGABRT") as caught:
                await worker.generate(ask("hello"), no_mark)
            assert caught.value.kind == "crashed"
        assert worker.restarts == 1

    run(work, Worker(functools.partial(Echo, fail=f"once:{tmp_path / 'flag'}"), name="echo"))


@pytest.mark.parametrize(
    ("fail", "error", "text"),
    [
        ("user", UserError, "path: no such model"),
        ("odd", WeightsError, "loading failed: RuntimeError: first second"),
        ("die", WeightsError, "echo: the worker died of SIGSEGV while loading"),
    ],
)
def test_errors_of_loading(fail: str, error: type, text: str) -> None:
    worker = Worker(functools.partial(Echo, fail=fail), name="echo")
    with pytest.raises(EvalsError) as caught:
        asyncio.run(asyncio.wait_for(worker.start(), 30))
    assert type(caught.value) is error and str(caught.value) == text


def test_a_factory_that_fails_or_cannot_be_sent() -> None:
    with pytest.raises(WeightsError, match="ImportError: no module named"):
        asyncio.run(Worker(broken_factory, name="x").start())
    with pytest.raises(UserError, match="x: the model's factory cannot be sent"):
        asyncio.run(Worker(lambda: Echo(), name="x").start())


def test_a_load_that_takes_too_long_is_stopped() -> None:
    worker = Worker(functools.partial(Echo, fail="slow"), name="echo", start_timeout_s=1.5)
    began = time.perf_counter()
    with pytest.raises(WeightsError, match=r"not loaded within 1.5 s"):
        asyncio.run(worker.start())
    assert time.perf_counter() - began < 8
    assert not worker.pids


def test_a_cancelled_call_stops_the_decoder_and_frees_the_place() -> None:
    async def work(worker: Worker) -> float:
        before = worker.pids
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(worker.generate(ask("long"), no_mark), 0.3)
        began = time.perf_counter()
        assert (await worker.generate(ask("hello"), no_mark)).text == "hello 1"
        assert worker.pids == before and worker.restarts == 0
        return time.perf_counter() - began

    assert run(work, Worker(Stoppable, name="echo")) < 1


def test_a_late_result_of_a_cancelled_call_goes_to_nobody_else() -> None:
    async def work(worker: Worker) -> None:
        marks = Marks([])
        call = asyncio.create_task(worker.generate(ask("sleep 0.6"), marks))
        waiting = asyncio.create_task(worker.generate(ask("never"), no_mark))
        await asyncio.sleep(0.2)
        call.cancel()
        waiting.cancel()
        assert (await worker.generate(ask("mine"), no_mark)).text == "mine 2"
        await asyncio.gather(call, waiting, return_exceptions=True)
        assert call.cancelled() and waiting.cancelled()
        assert marks.seen == [("sent", None)]

    run(work, Worker(Echo, name="echo"))


def test_ctrl_c_is_left_to_the_parent() -> None:
    async def work(worker: Worker) -> str:
        (pid,) = worker.pids
        call = asyncio.create_task(worker.generate(ask("sleep 0.4"), no_mark))
        await asyncio.sleep(0.1)
        os.kill(pid, signal.SIGINT)
        return (await call).text

    assert run(work, Worker(Echo, name="echo")) == "0.4 1"


def test_close_ends_a_child_that_will_not_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.engine.worker_lane.CLOSE_S", 1.0)

    async def whole() -> tuple[int, float, Any]:
        worker = Worker(Echo, name="echo")
        await worker.start()
        (pid,) = worker.pids
        call = asyncio.create_task(worker.generate(ask("sleep 50"), no_mark))
        await asyncio.sleep(0.2)
        began = time.perf_counter()
        await worker.close()
        return pid, time.perf_counter() - began, (await asyncio.gather(call, return_exceptions=True))[0]

    pid, took, outcome = asyncio.run(whole())
    assert not alive(pid) and 1 <= took < 4
    assert isinstance(outcome, CallFailed) and outcome.kind == "crashed"


PARENT = """
import asyncio, sys
from tests.engine.test_worker import Echo, Stoppable, ask, no_mark
from evals.engine.worker import Worker
async def go():
    worker = Worker({kind}, name="echo")
    await worker.start()
    print(*worker.pids, flush=True)
    {then}
if __name__ == "__main__":
    asyncio.run(go())
"""


@pytest.mark.parametrize(
    ("then", "signal_name"),
    [
        ("return", None),
        ("await asyncio.sleep(60)", "SIGKILL"),
        ("await worker.generate(ask('sleep 60'), no_mark)", "SIGKILL"),
    ],
)
def test_no_child_outlives_its_parent(tmp_path: Path, then: str, signal_name: str | None) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(kind="Echo", then=then))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.2)
        if signal_name:
            parent.send_signal(getattr(signal, signal_name))
        parent.wait(20)
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
