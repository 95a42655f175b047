"""Documents in, records out: workers, parts, repeats, what ends a run, what is left when it is killed."""

import asyncio
import json
import random
import signal
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import Kept, Plain, Scripted, Step, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import store
from evals.core import Call, Completion, Record, Request, Sample
from evals.engine.cache import ResponseCache
from evals.engine.generate import Engine, run_until_done
from evals.engine.limits import Limiter
from evals.engine.loop import new_loop
from evals.errors import DataError, FatalCall, Stopped
from evals.models.fake import Fake

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals of a POSIX system")


def engine(model: Any, sink: Any, **options: Any) -> Engine:
    return Engine(**{"task": Plain(), "model": model, "sink": sink, "limiter": Limiter(clock=now), **options})


def run(model: Any, asked: list[Sample], **options: Any) -> Kept:
    kept = Kept()

    async def work() -> None:
        await engine(model, kept, **options).run(asked)

    jumping(work())
    return kept


def untimed(record: Record) -> Any:
    """A record but for what tells of when and how fast, and of whether it was bought before an interruption."""
    calls = [
        {k: v for k, v in store.plain(call).items() if k not in ("timing", "in_flight", "cached")}
        for call in record.calls
    ]
    return {**store.plain(record), "calls": calls, "answer": record.answer}


# Workers ------------------------------------------------------------------------------------------------------


def flaky(request: Request, number: int) -> Step:
    """The same failures for the same sample, whoever asks and when."""
    kinds = ["server", "rate_limit", "bad_body", "content_filter", "fine", "fine", "fine"]
    kind = random.Random(f"{request.messages[0].content} {number}").choice(kinds)
    return f"answer of {request.messages[0].content}" if kind == "fine" else failure(kind)


@settings(max_examples=15, deadline=None)
@given(concurrency=st.integers(1, 40), latency_s=st.sampled_from([0.0, 0.01, 1.0]))
def test_results_do_not_depend_on_the_number_of_workers(concurrency: int, latency_s: float) -> None:
    asked = [Sample(id=f"d{i}", inputs={"text": f"text {i}"}, target=None) for i in range(30)]
    one = run(Scripted(flaky), asked).by_id
    many = run(Scripted(flaky, latency_s=latency_s), asked, concurrency=concurrency).by_id
    assert {k: untimed(r) for k, r in one.items()} == {k: untimed(r) for k, r in many.items()}
    assert len(many) == 30


def test_as_many_in_flight_as_asked_for_and_records_as_they_come() -> None:
    slow = {"text 0": [5.0]}
    asked = [Sample(id=f"d{i}", inputs={"text": f"text {i}"}, target=None) for i in range(20)]
    model = Scripted(slow, latency_s=0.1)
    kept = run(model, asked, concurrency=7)
    assert model.most == 7 and [r.sample_id for r in kept.records][-1] == "d0"
    assert max(call.in_flight for record in kept.records for call in record.calls) == 7
    assert run(Scripted(), asked[:3], concurrency=50).by_id.keys() == {"d0", "d1", "d2"}


def test_the_iterator_is_pulled_as_needed() -> None:
    pulled: list[int] = []

    def stream() -> Iterator[Sample]:
        for i in range(1000):
            pulled.append(i)
            yield Sample(id=f"d{i}", inputs={"text": "x"}, target=None)

    done: list[str] = []

    def sink(sample: Sample, record: Record) -> None:
        assert len(pulled) <= len(done) + 8
        done.append(sample.id)

    async def work() -> None:
        await engine(Scripted(latency_s=0.1), sink, concurrency=8).run(stream())

    jumping(work())
    assert len(pulled) == 1000


def test_memory_stays_flat() -> None:
    async def work(n: int) -> None:
        stream = (Sample(id=f"d{i}", inputs={"text": "x" * 1000}, target=None) for i in range(n))
        await Engine(task=Plain(), model=Fake(), sink=lambda *_: None, concurrency=64).run(stream)

    asyncio.run(work(500))
    tracemalloc.start()
    try:
        asyncio.run(work(500))
        _, small = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        asyncio.run(work(2500))
        _, large = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert large < small + 200_000


def test_what_is_answered_is_passed_over_and_lets_others_have_their_turn() -> None:
    seen: list[int] = []

    async def work() -> None:
        kept = Kept()
        ticks = 0

        async def ticking() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        other = asyncio.create_task(ticking())
        skip = {(f"d{i}", 0) for i in range(99)}
        await engine(Scripted(), kept, skip=skip).run(samples(100))
        other.cancel()
        assert [r.sample_id for r in kept.records] == ["d99"]
        seen.append(ticks)

    jumping(work())
    assert seen[0] > 50


def test_a_model_that_never_waits_still_lets_ctrl_c_in() -> None:
    kept = Kept()

    async def work() -> None:
        task = asyncio.create_task(engine(Scripted(), kept).run(samples(5000)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    jumping(work())
    assert len(kept.records) < 100


# What ends a run ----------------------------------------------------------------------------------------------


def test_the_sinks_error_ends_the_run_at_once() -> None:
    model = Scripted(latency_s=1.0)

    def sink(sample: Sample, record: Record) -> None:
        raise OSError("full")

    async def work() -> None:
        await engine(model, sink, concurrency=4).run(samples(100))

    with pytest.raises(OSError, match="full"):
        jumping(work())
    assert model.flying == 0 and len(model.sent) <= 8


def test_a_bad_line_of_the_data_ends_the_run_with_its_own_error() -> None:
    def stream() -> Iterator[Sample]:
        yield from samples(10)
        raise DataError("docs.jsonl:11 is no JSON line")

    async def work() -> None:
        await engine(Scripted(latency_s=1.0), Kept(), concurrency=4).run(stream())

    with pytest.raises(DataError, match="docs.jsonl:11"):
        jumping(work())


def test_cancelling_the_run_cancels_what_is_in_flight() -> None:
    model = Scripted({"Text.": [1e6]})

    async def work() -> None:
        task = asyncio.create_task(engine(model, Kept(), concurrency=9).run(samples(100)))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    jumping(work())
    assert model.cancelled == 9 and model.flying == 0


# Parts, repeats, what may not be seen -------------------------------------------------------------------------


def parted(n: int, parts: int = 3) -> list[Sample]:
    return [Sample(id=f"d{i}", inputs={"text": [f"{i}.{p}" for p in range(parts)]}, target=None) for i in range(n)]


def test_parts_are_repeated_each_and_merged_once() -> None:
    script = {"0.1": [failure("server"), failure("bad_body"), "one"], "0.0": ["zero"], "0.2": ["two"]}
    (record,) = run(Scripted(script), parted(1)).records
    assert [c.role for c in record.calls] == ["part", "part", "retry", "retry", "part", "answer"]
    assert record.answer == 5 and record.text == "zero+one+two"


def test_a_part_that_finally_fails_is_left_out_of_the_answer() -> None:
    script = {"0.1": [failure("content_filter")], "0.0": ["zero"], "0.2": ["two"]}
    (record,) = run(Scripted(script), parted(1)).records
    assert record.text == "zero+two" and [c.error for c in record.calls] == [None, "content_filter", None, None]
    nothing = {f"0.{p}": [failure("too_large")] for p in range(3)}
    (record,) = run(Scripted(nothing), parted(1)).records
    assert record.answer is None and record.error == "too_large" and len(record.calls) == 3
    script["0.2"] = [failure("too_large")]
    (record,) = run(Scripted(script), parted(1)).records
    assert record.text == "zero" and record.error is None


def test_repeats_draw_anew_only_where_answers_are_drawn() -> None:
    for temperature, hashes in ((0.0, 1), (0.7, 3)):
        for asked in (samples(1), parted(1)):
            model = Scripted()
            kept = run(model, asked, repeats=3, task=Plain(temperature))
            assert len({record.request_hash for record in kept.records}) == hashes
            assert sorted(record.repeat for record in kept.records) == [0, 1, 2]


def test_a_document_that_may_not_be_seen_is_a_row_and_nothing_is_sent() -> None:
    asked = [
        Sample(id="open", inputs={"text": "a"}, target=None),
        Sample(id="secret", inputs={"text": "b"}, target=None, data_class="restricted"),
    ]
    model = Scripted()
    kept = run(model, asked, forbid=lambda r: f"{r.data_class} stays here" if r.data_class != "public" else None)
    assert model.sent == ["a"] and kept.by_id["open"].text == "ok"
    record = kept.by_id["secret"]
    assert record.error == "privacy" and record.calls[0].error_text == "restricted stays here"
    assert record.calls[0].timing is None


# The loop -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [False, True])
def test_the_loops_own_lag_is_recorded(fast: bool) -> None:
    calls: list[Call] = []

    class Slow(Fake):
        async def generate(self, request: Request, mark: Any) -> Completion:
            mark("sent")
            await asyncio.sleep(0.12)
            if request.sample_id == "d0":
                time.sleep(0.15)  # blocks the loop, and with it the others that are in flight
            await asyncio.sleep(0.12)
            return Completion(text="", finish_reason="stop")

    made = Engine(task=Plain(), model=Slow(), sink=lambda s, r: calls.extend(r.calls), concurrency=3)
    run_until_done(made.run(samples(3)), fast=fast)
    assert all(call.timing and call.timing.loop_lag_s and call.timing.loop_lag_s > 0.08 for call in calls)


def test_uvloop_is_used_where_it_can_be_imported_and_never_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def which() -> str:
        return type(asyncio.get_running_loop()).__module__

    assert "uvloop" not in run_until_done(which())
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert new_loop(True) is None and "uvloop" not in run_until_done(which(), fast=True)
    monkeypatch.undo()
    if pytest.importorskip("uvloop"):
        assert "uvloop" in run_until_done(which(), fast=True)


@pytest.mark.parametrize("fast", [False, True])
def test_from_a_notebook_whose_own_loop_is_running(fast: bool) -> None:
    async def notebook() -> Any:
        return run_until_done(asyncio.sleep(0.01, result=threading.current_thread().name), fast=fast)

    assert asyncio.run(notebook()) == threading.current_thread().name

    async def fails() -> None:
        raise FatalCall("auth", "no")

    async def bad() -> None:
        run_until_done(fails(), fast=fast)

    with pytest.raises(FatalCall):
        asyncio.run(bad())


INTERRUPTED = """
import asyncio, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
from evals.engine.loop import run_until_done
from evals.errors import Stopped
async def work():
    print("up", flush=True)
    if sys.argv[2] == "blocked":
        time.sleep(60)
    await asyncio.sleep(60)
try:
    if sys.argv[3] == "notebook":
        async def notebook(): run_until_done(work(), fast=sys.argv[1] == "True")
        loop = asyncio.new_event_loop()  # as a notebook's: no SIGINT handler of asyncio.run
        loop.run_until_complete(notebook())
    else:
        run_until_done(work(), fast=sys.argv[1] == "True")
except Stopped:
    print("stopped", flush=True)
"""


@POSIX
@pytest.mark.parametrize("fast", [False, True])
@pytest.mark.parametrize("where", ["plain", "notebook", "blocked"])
def test_ctrl_c_stops_and_a_second_one_ends_at_once(fast: bool, where: str) -> None:
    words = [str(fast), where if where == "blocked" else "free", where]
    command = [sys.executable, "-c", INTERRUPTED, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        if where == "blocked":
            time.sleep(0.3)
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 130
        else:
            assert process.stdout.readline() == "stopped\n" and process.wait(5) == 0


# SIGKILL ------------------------------------------------------------------------------------------------------

KILLED = Path(__file__).with_name("killed_run.py")
DOCUMENTS, WORKERS = 60, 8


def killed(folder: Path, kind: str, after_s: float | None) -> None:
    """One session of a run, killed after so long; `None`: to its end."""
    words = [sys.executable, str(KILLED), str(folder), kind, str(DOCUMENTS), str(WORKERS)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "up\n"
        if after_s is not None:
            time.sleep(after_s)
            process.kill()
        assert process.wait(60) in (0, 0 if after_s is None else -signal.SIGKILL)


def sent(folder: Path) -> list[str]:
    return (folder / "sent.log").read_text().splitlines()


def check_killed(folder: Path, whole: Path, kind: str, moments: list[float]) -> int:
    """Killed at these moments, then run to the end: how many requests were sent again; nothing else differs."""
    for after_s in moments:
        killed(folder, kind, after_s)
    killed(folder, kind, None)
    if not whole.exists():
        killed(whole, kind, None)
    again, once = store.answered(folder / "run"), store.answered(whole / "run")
    assert len(once) == DOCUMENTS and {k: untimed(r) for k, r in again.items()} == {
        k: untimed(r) for k, r in once.items()
    }
    lines = (folder / "run" / "records.jsonl").read_text().splitlines()
    assert len(lines) == DOCUMENTS and all(json.loads(line) for line in lines)
    twice = len(sent(folder)) - len(sent(whole))
    assert 0 <= twice <= WORKERS * len(moments), (twice, moments)
    return twice


@POSIX
@pytest.mark.parametrize(("kind", "after_s"), [("plain", 0.15), ("parts", 0.33)])
def test_killed_and_run_again(tmp_path: Path, kind: str, after_s: float) -> None:
    check_killed(tmp_path / "killed", tmp_path / "whole", kind, [after_s])


@POSIX
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "longest_s"), [("plain", 0.3), ("parts", 0.8)])
def test_killed_at_twenty_moments(tmp_path: Path, kind: str, longest_s: float) -> None:
    drawn = random.Random(kind)
    twice = 0
    for number in range(20):
        moments = [drawn.uniform(0.0, longest_s) for _ in range(1 + number % 2)]
        twice += check_killed(tmp_path / str(number), tmp_path / "whole", kind, moments)
    assert twice  # else nothing was in flight at any of the moments, and nothing was tested


def test_stopped_says_nothing_of_its_own() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    with pytest.raises(Stopped):
        run_until_done(cancelled())


def test_an_answer_is_in_the_cache_before_the_sink_sees_it(tmp_path: Path) -> None:
    seen: list[bool] = []
    with ResponseCache(tmp_path / "c.sqlite", run="r") as cache:

        def sink(sample: Sample, record: Record) -> None:
            seen.append(bool(cache._waiting))

        async def work() -> None:
            await engine(Scripted(), sink, cache=cache).run(samples(1))

        jumping(work())
    assert seen == [True]
