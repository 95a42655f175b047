"""Children that hold several requests at once, one or more of them: speed, order, crashes, cancellation, endings."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batched_calls import answers, ask, made, no_mark, run, said
from batched_fake import Slots
from processes import HERE, spawned

from evals.core import Completion, Request
from evals.engine.worker import Worker
from evals.errors import CallFailed, WeightsError
from evals.models.base import Batched

pytestmark = pytest.mark.skipif(not HERE, reason="looks into /proc")


class Marks(dict[str, float | None]):
    def __call__(self, name: str, offset_s: float | None = None) -> None:
        self[name] = offset_s


def test_many_requests_take_the_time_of_their_slots(capsys: pytest.CaptureFixture[str]) -> None:
    assert isinstance(Slots(), Batched)

    async def work(worker: Worker, facts: dict[str, Any]) -> float:
        assert facts["capacity"] == {"slots": 8, "processes": 1, "at_once": 8}
        await answers(worker, ["warm"])
        began = time.perf_counter()
        found = said(await answers(worker, [f"document {number}" for number in range(200)]))
        took = time.perf_counter() - began
        assert [one["text"] for one in found] == [f"document {number}" for number in range(200)]
        assert max(one["most"] for one in found) == 8
        return took

    took = run(work, Worker(made(slots=8), name="slots"))
    with capsys.disabled():
        print(f"\n200 requests, 8 slots, 10 steps of 5 ms: {took:.2f} s (all slots always full: 1.25 s)")
    assert 1.2 < took < 6, "one after the other it would be 10 s"


def test_two_processes_share_the_requests() -> None:
    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        assert facts["capacity"] == {"slots": 4, "processes": 2, "at_once": 8}
        assert spawned(os.getpid()) == set(worker.pids) and len(worker.pids) == 2
        found = said(await answers(worker, [str(number) for number in range(80)]))
        assert [one["text"] for one in found] == [str(number) for number in range(80)]
        of = [sum(one["pid"] == pid for one in found) for pid in worker.pids]
        assert sum(of) == 80 and min(of) >= 20
        assert max(one["most"] for one in found) == 4
        few = [one["pid"] for one in said(await answers(worker, list("abcd")))]
        assert [few.count(pid) for pid in worker.pids] == [2, 2], "to the one with the fewest in flight"

    run(work, Worker(made(slots=4, processes=2), name="slots"))


def test_marks_are_of_each_request_and_count_from_when_it_was_sent() -> None:
    async def work(worker: Worker, _: object) -> tuple[Marks, Marks]:
        first, second = Marks(), Marks()
        early = asyncio.create_task(worker.generate(ask("one"), first))
        await asyncio.sleep(0.5)  # in the first of its three steps of 0.4 s; the second one waits for its end
        await asyncio.gather(early, worker.generate(ask("two"), second))
        return first, second

    first, second = run(work, Worker(made(slots=2, step_s=0.4, steps=3), name="slots"))
    assert list(first) == list(second) == ["sent", "prefill_done", "first", "last"]
    assert first["sent"] is None and first["first"] is not None and 0.4 <= first["first"] < 3
    assert second["first"] is not None and second["first"] >= 0.45, "what it waited for the step under way counts"
    assert first["last"] is not None and first["last"] >= 1.2


@pytest.mark.parametrize("processes", [1, 2])
def test_a_native_crash_fails_what_is_in_hand_there_and_nothing_else(processes: int, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        assert facts["capacity"]["at_once"] == 3 * processes
        before = set(worker.pids)
        # With two processes every other request goes to each: three of them die together, three others are answered.
        deadly = [f"{number} !abort:3" if number % processes == 0 else str(number) for number in range(3 * processes)]
        found = await answers(worker, deadly + [str(number) for number in range(3 * processes, 30)])
        failed = [one for one in found if isinstance(one, CallFailed)]
        assert [one.kind for one in failed] == ["crashed"] * 3
        assert all("SIGABRT" in one.text and "\n" not in one.text for one in failed)
        assert all(isinstance(one, CallFailed) for one, text in zip(found, deadly, strict=False) if "abort" in text)
        good = said([one for one in found if isinstance(one, Completion)])
        assert len(good) == 27
        assert worker.restarts == 1 and len(before & set(worker.pids)) == processes - 1
        assert {one["pid"] for one in good} <= before | set(worker.pids)

    run(work, Worker(made(slots=3, processes=processes, step_s=0.02), name="slots", log=log))
    told = log.read_text()
    assert "slots: the worker died of SIGABRT with 3 requests in hand" in told
    assert "slots: started again (1 of 3)" in told
    assert "Fatal Python error: Aborted" in told, "where it was is in the log"


def test_a_step_that_hangs_ends_its_process_and_waiting_is_no_hanging(tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        first = said(await answers(worker, ["a"]))[0]["pid"]
        await asyncio.sleep(1.3)
        assert said(await answers(worker, ["b"]))[0]["pid"] == first, "nothing was in hand meanwhile"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await worker.generate(ask("!long"), no_mark)
        await asyncio.sleep(1.3)
        assert said(await answers(worker, ["b"]))[0]["pid"] == first, "it was cancelled, and nothing in hand since"
        found = await answers(worker, ["!hang:1", "c"])
        assert [one.kind for one in found if isinstance(one, CallFailed)] == ["crashed"] * 2
        assert said(await answers(worker, ["d"]))[0]["text"] == "d" and worker.restarts == 1

    run(work, Worker(made(slots=2, ends_within_s=0.8), name="slots", log=log))
    told = log.read_text()
    assert "Timeout" in told and "in step" in told, "where it hung is in the log"
    assert "slots: the worker ended with exit code 1 with 2 requests in hand" in told


def test_a_child_that_keeps_dying_is_given_up_and_the_other_goes_on() -> None:
    async def work(worker: Worker, _: object) -> None:
        for _number in range(4):
            pids = worker.pids
            if len(pids) == 2:
                os.kill(pids[0], signal.SIGKILL)
            while len(worker.pids) == 2 and worker.pids == pids:
                await asyncio.sleep(0.01)
            found = await answers(worker, [str(number) for number in range(8)])
            assert not [one for one in found if isinstance(one, BaseException)]
        assert worker.restarts == 3 and len(worker.pids) >= 1

    run(work, Worker(made(slots=2, processes=2, step_s=0.02), name="slots"))


def test_once_all_are_given_up_every_request_fails_fast() -> None:
    async def work(worker: Worker, _: object) -> None:
        while worker.pids or worker.restarts < 6:
            await answers(worker, ["!abort:1"] * 2)
        began = time.perf_counter()
        found = await answers(worker, ["hello"] * 50)
        assert {one.kind for one in found} == {"crashed"} and "after 3 restarts" in found[0].text
        assert time.perf_counter() - began < 1

    run(work, Worker(made(slots=1, processes=2), name="slots"))


@pytest.mark.parametrize("what", ["!raise:3", "!memory:3"])
def test_an_exception_in_a_step_fails_what_is_in_hand_and_the_child_goes_on(what: str) -> None:
    async def work(worker: Worker, _: object) -> None:
        before = worker.pids
        found = await answers(worker, [what, "one", "two", *map(str, range(20))])
        failed = [one for one in found if isinstance(one, CallFailed)]
        assert found[:3] == failed and {one.kind for one in failed} == {"internal"}
        assert failed[0].text in ("ValueError: a native error", "MemoryError: no more")
        assert len(said(found[3:])) == 20 and worker.pids == before and not worker.restarts

    run(work, Worker(made(slots=3), name="slots"))


def test_failures_of_one_request_are_its_own() -> None:
    async def work(worker: Worker, _: object) -> None:
        refused, odd, *good = await answers(worker, ["!refuse", "!odd", "one", "two"])
        assert (refused.kind, refused.text) == ("context_length", "too long")
        assert odd.kind == "internal" and "pickle" in odd.text
        assert [one["text"] for one in said(good)] == ["one", "two"]
        with pytest.raises(TypeError, match="cannot pickle"):  # the engine makes a row of it
            await worker.generate(Request(messages=(), inputs={"text": (part for part in ())}), no_mark)
        assert len(said(await answers(worker, list("abcdefgh")))) == 8, "no slot is lost"

    run(work, Worker(made(slots=4), name="slots"))


def test_a_cancelled_request_frees_its_slot_at_once() -> None:
    async def work(worker: Worker, _: object) -> None:
        long = [asyncio.create_task(worker.generate(ask(f"{n} !long"), no_mark)) for n in range(3)]
        await asyncio.sleep(0.2)
        waiting = asyncio.create_task(worker.generate(ask("next"), no_mark))
        await asyncio.sleep(0.2)
        assert not waiting.done(), "the slots are taken"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(long[0], 0.1)
        assert json.loads((await asyncio.wait_for(waiting, 20)).text)["text"] == "next"
        for task in long[1:]:
            task.cancel()
        assert len(said(await answers(worker, list("abcdef")))) == 6
        assert not worker.restarts

    run(work, Worker(made(slots=3), name="slots"))


def test_a_busy_child_never_holds_up_the_loop() -> None:
    """Eight documents of a megabyte are more than a pipe holds, and the child hears nothing in a step of a second."""

    async def work(worker: Worker, _: object) -> float:
        first = asyncio.create_task(worker.generate(ask("first"), no_mark))
        await asyncio.sleep(0.3)
        rest = asyncio.create_task(answers(worker, ["x" * 1_000_000] * 7))
        worst = 0.0
        while not rest.done():
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            worst = max(worst, time.perf_counter() - before - 0.01)
        assert [len(one["text"]) for one in said(await rest)] == [1_000_000] * 7 and await first
        return worst

    assert run(work, Worker(made(slots=8, step_s=1.0, steps=2), name="slots")) < 0.5


# Loading ------------------------------------------------------------------------------------------------------


@pytest.fixture
def loads(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "loads").mkdir()
    yield str(tmp_path / "loads")


@pytest.mark.parametrize(
    ("option", "why"),
    [
        ("dies_at", "the worker died of SIGKILL (killed, perhaps for want of memory) while loading; its output is in "),
        ("other_at", "it says otherwise of settings.threads than the first process"),
        ("stuck_at", "not loaded within 4 s: is another program busy"),
    ],
)
def test_a_second_process_that_cannot_load_is_done_without(loads: str, option: str, why: str, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        capacity = facts["capacity"]
        assert (capacity["processes"], capacity["at_once"]) == (1, 4) and len(worker.pids) == 1
        assert len(capacity["lost"]) == 1 and why in capacity["lost"][0]
        assert len(said(await answers(worker, list("abcdefgh")))) == 8

    timeout = 4 if option == "stuck_at" else 60
    factory = made(slots=4, processes=2, loads=loads, **{option: 2})
    run(work, Worker(factory, name="slots", log=log, start_timeout_s=timeout))
    assert f"slots: a further process is used no more: slots: {why}" in log.read_text()


def test_each_process_takes_what_it_says(loads: str) -> None:
    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        assert facts["capacity"] == {"slots": 4, "processes": 3, "at_once": 10}
        found = said(await answers(worker, [str(number) for number in range(40)]))
        most = {one["pid"]: 0 for one in found}
        for one in found:
            most[one["pid"]] = max(most[one["pid"]], one["most"])
        assert sorted(most.values()) == [2, 4, 4]

    run(work, Worker(made(slots=4, processes=3, loads=loads, fewer_at=2, step_s=0.02), name="slots"))


def test_a_restart_is_in_the_background_and_its_failure_ends_that_process_alone(loads: str, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, _: object) -> None:
        os.kill(worker.pids[0], signal.SIGKILL)
        while len(worker.pids) == 2:
            await asyncio.sleep(0.01)
        found = await answers(worker, list("abcdefgh"))
        assert len(said(found)) == 8, "the other process answers all of them, whatever becomes of the restart"
        while "restart failed" not in log.read_text():
            await asyncio.sleep(0.05)
        assert len(said(await answers(worker, list("abcdefgh")))) == 8 and len(worker.pids) == 1

    run(work, Worker(made(slots=2, processes=2, loads=loads, dies_at=3), name="slots", log=log))


def test_further_and_restarted_processes_are_told_what_the_first_one_chose(loads: str, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, facts: dict[str, Any]) -> None:
        assert facts["capacity"]["processes"] == 2 and facts["settings"]["threads"] == 2, "load number 1"
        await answers(worker, ["!abort:1"] * 2)
        while worker.restarts < 2 or len(worker.pids) < 2:
            assert len(said(await answers(worker, list("abcd")))) == 4

    run(work, Worker(made(slots=1, processes=2, loads=loads, tunes=True), name="slots", log=log))
    assert "started again" in log.read_text() and "otherwise" not in log.read_text()


def test_a_restart_that_says_otherwise_is_told(loads: str, tmp_path: Path) -> None:
    log = tmp_path / "run.log"

    async def work(worker: Worker, _: object) -> None:
        await answers(worker, ["!abort:1"])
        assert len(said(await answers(worker, ["hello"]))) == 1

    run(work, Worker(made(loads=loads, other_at=2), name="slots", log=log))
    assert "slots: since it was started again it says otherwise of settings.threads" in log.read_text()


def test_a_capacity_that_is_none_is_one_line() -> None:
    with pytest.raises(WeightsError, match=r"the backend says capacity.slots=0: at least 1"):
        asyncio.run(Worker(made(slots=0), name="slots").start())
