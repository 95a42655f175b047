"""What is left running once a worker is closed, cancelled or loses its parent: nothing."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from batched_calls import answers, ask, made, no_mark, run
from processes import HERE, alive, gone, spawned

from evals.engine.worker import Worker

pytestmark = pytest.mark.skipif(not HERE, reason="looks into /proc")
ROOT = Path(__file__).parents[2]


@pytest.fixture
def loads(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "loads").mkdir()
    yield str(tmp_path / "loads")


def test_close_ends_all_side_by_side_whatever_they_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evals.engine.worker_lane.CLOSE_S", 2.0)

    async def whole() -> tuple[list[int], float, list[Any]]:
        worker = Worker(made(slots=1, processes=3, step_s=100), name="slots")  # none of them will listen
        await worker.start()
        pids = worker.pids
        calls = [asyncio.create_task(worker.generate(ask("one"), no_mark)) for _ in range(4)]
        await asyncio.sleep(0.5)
        began = time.perf_counter()
        await worker.close()
        return pids, time.perf_counter() - began, await asyncio.gather(*calls, return_exceptions=True)

    pids, took, outcomes = asyncio.run(asyncio.wait_for(whole(), 60))
    assert len(pids) == 3 and not any(map(alive, pids)) and took < 5, "one after the other it would be 6 s"
    assert {one.kind for one in outcomes} == {"crashed"}


@pytest.mark.parametrize("after_s", [0.0, 0.05, 0.3, 1.5])
def test_a_start_that_is_cancelled_leaves_nothing(after_s: float, loads: str) -> None:
    async def whole() -> None:
        worker = Worker(made(processes=3, loads=loads, stuck_at=2), name="slots")
        task = asyncio.create_task(worker.start())
        await asyncio.sleep(after_s)
        task.cancel()
        assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
        await worker.close()
        assert not worker.pids

    asyncio.run(asyncio.wait_for(whole(), 60))
    assert not spawned(os.getpid())


def test_a_closed_worker_restarts_nothing(loads: str) -> None:
    async def work(worker: Worker, _: object) -> None:
        os.kill(worker.pids[0], signal.SIGKILL)
        calls = asyncio.create_task(answers(worker, list("abc")))
        while not worker.restarts:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)  # it is being started again, and will not load
        began = time.perf_counter()
        await worker.close()
        assert time.perf_counter() - began < 10
        assert {one.kind for one in await calls} == {"crashed"} and not worker.pids

    run(work, Worker(made(slots=1, loads=loads, stuck_at=2), name="slots"))
    assert not spawned(os.getpid())


PARENT = """
import asyncio
from tests.engine.batched_calls import answers, made
from evals.engine.loop import run_until_done
from evals.engine.worker import Worker
async def go():
    worker = Worker(made(slots=2, processes=2, {more}), name="slots")
    try:
        await worker.start()
        print(*worker.pids, flush=True)
        await answers(worker, ["!long"] * 6)
    finally:
        await worker.close()
if __name__ == "__main__":
    run_until_done(go())
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("more", ["", "step_s=100"])
def test_no_child_outlives_its_parent(tmp_path: Path, number: signal.Signals, more: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT.format(more=more))
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "tests" / "made")))}
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2
        time.sleep(0.5)
        parent.send_signal(number)
        parent.wait(40)
    assert gone(pids)
