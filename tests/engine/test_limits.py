"""Limits a minute, the window that yields to 429, pauses; alone and between processes."""

import asyncio
import math
import random
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import Kept, Plain, Scripted, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Message, Request, Usage
from evals.engine.account import Account, Instants
from evals.engine.generate import Engine
from evals.engine.limits import SHRINK, Limiter
from evals.errors import CallFailed, ConfigError, StoreError


def request(chars: int = 40, max_tokens: int = 10) -> Request:
    return Request(messages=(Message(role="user", content="x" * chars),), max_tokens=max_tokens)


ASK = request()
BUSY = CallFailed("rate_limit", "slow down")


def most_in_window(at: Sequence[float], window_s: float, weights: Sequence[float] | None = None) -> float:
    """The most that left within any window of that length, its end not included."""
    weights = weights or [1.0] * len(at)
    pairs = sorted(zip(at, weights, strict=True))
    most, total, first = 0.0, 0.0, 0
    for time_s, weight in pairs:
        total += weight
        while pairs[first][0] <= time_s - window_s + 1e-6:
            total -= pairs[first][1]
            first += 1
        most = max(most, total)
    return most


# A minute's limits --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    limit=st.integers(1, 400),
    workers=st.integers(1, 50),
    service_s=st.floats(0, 20),
    idle_s=st.floats(0, 90),
    seed=st.integers(0, 99),
)
def test_no_sliding_minute_sees_more_requests_than_the_limit_and_the_burst(
    limit: int, workers: int, service_s: float, idle_s: float, seed: int
) -> None:
    at: list[float] = []
    n = min(3 * limit, 300)

    async def work() -> None:
        limiter = Limiter(requests_per_min=limit, clock=now)
        drawn = random.Random(seed)
        left = iter(range(n))

        async def worker() -> None:
            for number in left:
                if number == n // 2:
                    await asyncio.sleep(idle_s)  # an idle spell must not be saved up
                place = limiter.take() or await limiter.wait(ASK)
                at.append(now())
                await asyncio.sleep(drawn.random() * service_s)
                limiter.leave(place, None, None, answered=True)

        await asyncio.gather(*(worker() for _ in range(workers)))
        assert limiter.in_flight == limiter.waiting == 0

    jumping(work())
    assert len(at) == n and most_in_window(at, 60) <= limit + max(1, limit / 60)


def test_the_limit_is_used_up() -> None:
    async def work() -> float:
        limiter, began = Limiter(requests_per_min=120, clock=now), now()
        for _ in range(241):
            limiter.leave(limiter.take() or await limiter.wait(ASK), None, None, answered=True)
        return now() - began

    assert 119 <= jumping(work()) <= 120.001


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(1000, 50_000),
    sizes=st.lists(st.tuples(st.integers(1, 4000), st.integers(1, 3000)), min_size=5, max_size=80),
    truth=st.floats(0.1, 1.0),
)
def test_no_sliding_minute_sees_more_tokens_than_the_limit_the_burst_and_one_request(
    limit: int, sizes: list[tuple[int, int]], truth: float
) -> None:
    at: list[float] = []
    real: list[float] = []

    async def work() -> None:
        limiter = Limiter(tokens_per_min=limit, clock=now)
        for chars, longest in sizes:
            asked = request(chars, longest)
            tokens = math.ceil((chars / 4 + longest) * truth)
            place = limiter.take() or await limiter.wait(asked)
            at.append(now())
            real.append(tokens)
            limiter.leave(place, None, Usage(input_uncached=tokens, output=0), answered=True)

    jumping(work())
    assert most_in_window(at, 60, real) <= limit * 61 / 60 + max(real) + 1
    if sum(real) > 2 * limit:  # the estimate was corrected: no more time than the real tokens need
        assert now_of(at) >= 60 * (sum(real[:-1]) / limit) - 61


def now_of(at: Sequence[float]) -> float:
    return at[-1] - at[0]


def test_an_estimate_that_is_too_high_is_given_back() -> None:
    async def work() -> float:
        limiter, began = Limiter(tokens_per_min=6000, clock=now), now()
        for _ in range(61):  # estimated at 1,000 tokens each, real 100
            place = limiter.take() or await limiter.wait(request(0, 1000))
            limiter.leave(place, None, Usage(input_uncached=60, output=40), answered=True)
        return now() - began

    assert 50 <= jumping(work()) <= 70


def test_what_was_refused_took_no_tokens_and_what_was_cut_keeps_its_estimate() -> None:
    async def work(kind: Any) -> float:
        limiter, began = Limiter(tokens_per_min=600, clock=now), now()
        for _ in range(3):
            place = limiter.take() or await limiter.wait(request(0, 300))
            limiter.leave(place, CallFailed(kind, ""), None, answered=False)
        return now() - began

    assert jumping(work("rate_limit")) == 0 and jumping(work("timeout")) == pytest.approx(59, abs=1)


@pytest.mark.parametrize("limit", [None, 600.0])
def test_first_come_first_served(limit: float | None) -> None:
    order: list[int] = []

    async def work() -> None:
        limiter = Limiter(requests_per_min=limit, clock=now, concurrency=50)
        limiter.window = 2.0

        async def one(number: int) -> None:
            await asyncio.sleep(number / 1e6)
            place = limiter.take() or await limiter.wait(ASK)
            order.append(number)
            await asyncio.sleep(1)
            limiter.leave(place, failure("server"), None, answered=False)

        await asyncio.gather(*(one(number) for number in range(50)))

    jumping(work())
    assert order == list(range(50))


def test_one_who_gives_up_waiting_holds_nobody_up() -> None:
    async def work() -> None:
        limiter = Limiter(clock=now, concurrency=4)
        limiter.window = 1.0
        place = limiter.take()
        assert place
        waiting = [asyncio.create_task(limiter.wait(ASK)) for _ in range(3)]
        await asyncio.sleep(1)
        assert limiter.waiting == 3
        waiting[0].cancel()
        limiter.leave(place, None, None, answered=False)
        limiter.leave(await waiting[1], None, None, answered=False)
        limiter.leave(await waiting[2], None, None, answered=False)
        assert limiter.waiting == limiter.in_flight == 0

    jumping(work())


def test_limits_must_be_above_zero() -> None:
    for bad in (0, -1, math.inf, math.nan):
        with pytest.raises(ConfigError, match="requests_per_min"):
            Limiter(requests_per_min=bad)


# The window ---------------------------------------------------------------------------------------------------


def test_the_window_shrinks_once_a_congestion_holds_on_5xx_and_grows_by_steps() -> None:
    async def work() -> None:
        limiter = Limiter(concurrency=64, clock=now)
        places = [limiter.take() for _ in range(64)]
        assert all(places) and limiter.window == math.inf
        for place in places[:10]:  # ten 429 of one congestion
            limiter.leave(place, BUSY, None, answered=False)  # type: ignore[arg-type]
        assert limiter.window == pytest.approx(SHRINK * 64) and limiter.take() is None
        for place in places[10:50]:
            limiter.leave(place, failure("server"), None, answered=False)  # type: ignore[arg-type]
        assert limiter.window == pytest.approx(SHRINK * 64)
        before = limiter.window
        for place in places[50:]:
            limiter.leave(place, None, None, answered=True)  # type: ignore[arg-type]
        assert before < limiter.window <= before + 14 * 2 / before
        place = limiter.take()  # left after the cut: its 429 is another congestion, of what is in flight now
        assert place
        limiter.leave(place, BUSY, None, answered=False)
        assert limiter.window == 1.0
        for _ in range(2000):
            place = limiter.take()
            assert place
            limiter.leave(place, None, None, answered=True)
        assert limiter.window == math.inf

    jumping(work())


def test_a_server_that_takes_ten_at_once_is_found_out() -> None:
    """Everything is answered, most of it at once, where all 64 at once would mostly be refused."""
    refused = 0

    async def work() -> None:
        nonlocal refused

        def script(request: Request, number: int) -> Any:
            nonlocal refused
            if model.flying > 10:
                refused += 1
                return BUSY
            return "ok"

        model = Scripted(script, latency_s=1.0)
        kept = Kept()
        asked = [s for s in samples(600)]
        limiter = Limiter(clock=now)
        await Engine(task=Plain(), model=model, sink=kept, concurrency=64, limiter=limiter).run(asked)
        assert len(kept.records) == 600
        assert sum(record.answer is not None for record in kept.records) >= 590
        assert limiter.window < 32

    jumping(work())
    assert refused < 400


# Pauses -------------------------------------------------------------------------------------------------------


def test_a_retry_after_stops_all_workers() -> None:
    async def work() -> None:
        def script(request: Request, number: int) -> Any:
            return failure("rate_limit", retry_after_s=30.0) if len(model.sent) == 20 else "ok"

        model = Scripted(script, latency_s=0.5)
        kept = Kept()
        await Engine(task=Plain(), model=model, sink=kept, concurrency=8, limiter=Limiter(clock=now)).run(samples(60))
        gaps = [b - a for a, b in zip(model.at, model.at[1:], strict=False)]
        assert max(gaps) == pytest.approx(30, abs=0.6) and sum(gap > 1 for gap in gaps) == 1
        assert all(record.answer is not None for record in kept.records)
        waited = [c.timing for r in kept.records for c in r.calls if c.timing]
        assert max(t.total_s for t in waited) < 1  # the pause is nobody's service time

    jumping(work())


def test_an_endless_retry_after_is_believed_ten_minutes() -> None:
    async def work() -> float:
        limiter, began = Limiter(clock=now), now()
        place = limiter.take()
        assert place
        limiter.leave(place, failure("rate_limit", retry_after_s=86_000.0), None, answered=False)
        limiter.leave(limiter.take() or await limiter.wait(ASK), None, None, answered=True)
        return now() - began

    assert jumping(work()) == pytest.approx(600)


# Between processes --------------------------------------------------------------------------------------------


def test_a_pause_reaches_limiters_without_limits_of_their_own(tmp_path: Path) -> None:
    async def work() -> None:
        one, other = (Limiter("abc", folder=tmp_path, clock=now) for _ in range(2))
        place, free = one.take(), other.take()
        assert place and free and not (tmp_path / "limits").exists()  # nothing was written for nothing
        one.leave(place, failure("rate_limit", retry_after_s=20.0), None, answered=False)
        await asyncio.sleep(1.1)
        began = now()
        assert other.take() is None
        await other.wait(ASK)
        assert now() - began == pytest.approx(18.9, abs=0.2)

    jumping(work())


SENDER = """
import asyncio, sys, time
from pathlib import Path
from evals.core import Message, Request
from evals.engine.limits import Limiter
folder, limit, period_s, n = sys.argv[1], float(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
async def work():
    limiter = Limiter("shared", requests_per_min=limit, folder=Path(folder), period_s=period_s)
    ask = Request(messages=(Message(role="user", content="x"),))
    print("up", flush=True)
    sys.stdin.readline()
    async def worker(left):
        for _ in left:
            place = limiter.take() or await limiter.wait(ask)
            print(repr(time.time()), flush=True)
            await asyncio.sleep(0.002)
            limiter.leave(place, None, None, answered=True)
    left = iter(range(n))
    await asyncio.gather(*(worker(left) for _ in range(8)))
asyncio.run(work())
"""


def test_two_processes_keep_one_limit_and_take_turns(tmp_path: Path) -> None:
    limit, period_s, n = 60, 1.0, 60
    command = [sys.executable, "-c", SENDER, str(tmp_path), str(limit), str(period_s), str(n)]
    two = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for process in two:
        assert process.stdout and process.stdout.readline() == "up\n"
    for process in two:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    times = [[float(line) for line in process.communicate(timeout=30)[0].split()] for process in two]
    assert [len(one) for one in times] == [n, n]
    both = sorted(times[0] + times[1])
    # Booked places keep to the limit exactly; a process that wakes late moves its own into a later window.
    assert most_in_window(both, period_s) <= limit + 1 + 0.15 * limit
    assert both[-1] - both[0] >= (2 * n - 2) * period_s / limit - 0.1
    half = [sum(t < both[n] for t in one) for one in times]
    assert min(half) >= n * 0.3  # neither starves


def test_a_killed_process_leaves_nothing_behind(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SENDER, str(tmp_path), "60", "1.0", "1000"]
    for moment in (0.05, 0.21):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdin and process.stdout and process.stdout.readline() == "up\n"
            process.stdin.write("go\n")
            process.stdin.flush()
            time.sleep(moment)
            process.kill()
    command[-1] = "10"
    began = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        out, _ = process.communicate("go\n", timeout=30)
    assert len(out.split()) == 11 and time.monotonic() - began < 10


# The account's file -------------------------------------------------------------------------------------------


def test_the_file_says_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "limits" / "a"
    with Account(path).held(0.0, math.inf) as at:
        at.request_at, at.token_at, at.paused_until = 1.5, 2.5, 3.5
    with Account(path).held(0.0, math.inf) as at:
        assert at == Instants(1.5, 2.5, 3.5)
    assert Account(path).paused_until() == 3.5 and path.stat().st_size == struct.calcsize("<4s3dI")


@pytest.mark.parametrize("torn", [b"evl1", b"\0" * 32, b"nonsense" * 10])
def test_a_torn_file_starts_from_now(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "a"
    path.write_bytes(torn)
    assert Account(path).paused_until() == 0.0
    with Account(path).held(100.0, 60.0) as at:
        assert at == Instants(100.0, 100.0, 0.0)
    with Account(path).held(100.0, 60.0) as at:
        assert at.request_at in (0.0, 100.0)


def test_a_clock_that_was_set_back_does_not_stop_anybody_for_ever(tmp_path: Path) -> None:
    async def work() -> None:
        with Account(tmp_path / "limits" / "a").held(0.0, math.inf) as at:
            at.request_at = at.token_at = at.paused_until = now() + 1e6
        limiter, began = Limiter("a", requests_per_min=60, folder=tmp_path, clock=now), now()
        await limiter.wait(ASK)
        assert now() - began <= 600

    jumping(work())


def test_a_folder_that_cannot_be_written_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    (tmp_path / "limits").write_text("a file where the folder should be")
    with pytest.raises(StoreError, match="limits"):
        Limiter("a", requests_per_min=60, folder=tmp_path)

    async def work() -> None:  # without limits a pause still holds here
        limiter = Limiter("a", folder=tmp_path, clock=now)
        place = limiter.take()
        assert place
        limiter.leave(place, failure("rate_limit", retry_after_s=5.0), None, answered=False)
        assert limiter.take() is None

    jumping(work())


def test_without_limits_and_429_a_place_costs_next_to_nothing() -> None:
    limiter = Limiter("a", folder=Path("/nowhere"), concurrency=64)
    began = time.process_time()
    for _ in range(20_000):
        place = limiter.take()
        assert place
        limiter.leave(place, None, None, answered=True)
    assert (time.process_time() - began) / 20_000 < 20e-6  # some 1.5 us, with room for a busy machine
