"""The budget: never crossed, whatever comes back in whatever order."""

import asyncio
import random
from typing import Any

import pytest
from engine_fakes import Kept, Plain, Scripted, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Message, Request, Sample, Usage
from evals.engine.budget import MARGIN, MEASURED, Bound, Budget, Spent
from evals.engine.cache import ResponseCache
from evals.engine.generate import Engine
from evals.engine.limits import Limiter
from evals.errors import BudgetReached, ConfigError


def price(usage: Usage) -> float | None:
    """$10 and $30 a million tokens, cache writes at $12.50."""
    if usage.input_uncached is None or usage.output is None:
        return None
    return (10 * usage.input_uncached + 12.5 * (usage.cache_write or 0) + 30 * usage.output) / 1e6


def run(model: Any, documents: list[Sample], budget: Budget, **options: Any) -> tuple[Kept, str | None]:
    kept = Kept()

    async def work() -> None:
        limiter = Limiter(clock=now)
        await Engine(
            **{"task": Plain(), "model": model, "sink": kept, "budget": budget, "limiter": limiter, **options}
        ).run(documents)

    try:
        jumping(work())
    except BudgetReached as reached:
        return kept, str(reached)
    return kept, None


@settings(max_examples=80, deadline=None)
@given(
    tokens=st.integers(1, 3000),
    workers=st.integers(1, 30),
    seed=st.integers(0, 999),
    fails=st.floats(0, 0.6),
    earlier=st.integers(0, 500),
)
def test_spent_never_crosses_the_limit_whatever_the_order(
    tokens: int, workers: int, seed: int, fails: float, earlier: int
) -> None:
    budget = Budget(tokens=tokens, bound=lambda r: Usage(input_uncached=40, output=60), spent=Spent(tokens=earlier))
    drawn = random.Random(seed)
    real = [0]

    class Model(Scripted):
        async def generate(self, request: Request, mark: Any) -> Any:
            used = Usage(input_uncached=drawn.randint(0, 40), output=drawn.randint(0, 60))
            await asyncio.sleep(drawn.random() * 5)
            real[0] += (used.input_uncached or 0) + (used.output or 0)
            if drawn.random() < fails:
                raise failure(drawn.choice(["server", "bad_body", "content_filter"]), usage=used)
            self.usage = used
            return await super().generate(request, mark)

    kept, reached = run(Model(), samples(60), budget, concurrency=workers, attempts=3)
    assert real[0] + earlier == budget.spent.tokens <= max(tokens, earlier)
    assert (reached is None) == (len(kept.records) == 60 and "internal" not in {r.error for r in kept.records})
    if reached:  # nothing more would have fitted
        assert budget.spent.tokens + 100 > tokens and f"budget.tokens={tokens} is reached" in reached
    assert budget.waiting == 0 and budget._pool.held_tokens == 0 and budget._pool.in_flight == 0


def test_dollars_are_kept_too_and_the_message_says_how_much() -> None:
    model = Scripted(usage=Usage(input_uncached=100, output=100), latency_s=1.0)
    budget = Budget(usd=0.02, cost=price, bound=lambda r: Usage(input_uncached=100, output=100))
    kept, reached = run(model, samples(100), budget, concurrency=64)
    assert len(kept.records) == 4  # $0.00425 a bound, as input may be written to a cache; $0.004 real
    assert reached == "budget.usd=0.02 is reached: $0.0160 are spent, and the next call may cost $0.0043"
    assert budget.spent.usd == pytest.approx(0.016) and budget.assumed_usd == 0


def test_what_is_in_flight_counts_and_what_turns_out_cheaper_lets_others_go_on() -> None:
    model = Scripted(usage=Usage(input_uncached=1, output=0), latency_s=1.0)
    budget = Budget(tokens=200, bound=lambda r: Usage(input_uncached=100, output=0))
    kept, reached = run(model, samples(100), budget, concurrency=10)
    assert model.most == 2 and len(kept.records) == 100 and reached is None
    assert budget.spent.tokens == 100


def test_documents_under_way_are_finished_and_recorded() -> None:
    model = Scripted(latency_s=1.0, usage=Usage(input_uncached=100, output=0))
    budget = Budget(tokens=1000, bound=lambda r: Usage(input_uncached=100, output=0))
    kept, reached = run(model, samples(100), budget, concurrency=7)
    assert len(kept.records) == len(model.sent) == 10 and all(r.answer == 0 for r in kept.records) and reached


def test_a_document_whose_repetition_does_not_fit_keeps_what_it_cost() -> None:
    bad = failure("bad_body", usage=Usage(input_uncached=90, output=0))
    budget = Budget(tokens=150, bound=lambda r: Usage(input_uncached=100, output=0))
    kept, reached = run(Scripted({"Text.": [bad]}), samples(5), budget)
    (record,) = kept.records
    assert record.error == "bad_body" and len(record.calls) == 1 and reached and budget.spent.tokens == 90


def test_parts_without_their_document_are_in_the_cache(tmp_path: Any) -> None:
    asked = [Sample(id="d", inputs={"text": ["a", "b", "c"]}, target=None)]

    def budget() -> Budget:
        return Budget(tokens=200, bound=lambda r: Usage(input_uncached=100, output=0))

    def session() -> tuple[list[str], Kept, str | None]:
        model = Scripted(usage=Usage(input_uncached=90, output=0))
        with ResponseCache(tmp_path / "c.sqlite", run="r") as cache:
            kept, reached = run(model, asked, budget(), cache=cache)
        return model.sent, kept, reached

    sent, kept, reached = session()
    assert sent == ["a", "b"] and reached and not kept.records
    sent, kept, reached = session()
    assert sent == ["c"] and not reached and kept.records[0].text == "ok+ok+ok"


@pytest.mark.parametrize(
    ("kind", "counted"), [("rate_limit", 0), ("server", 0), ("timeout", 100), ("bad_body", 100), ("internal", 100)]
)
def test_of_a_failure_without_usage_the_bound_is_counted_where_it_may_be_billed(kind: Any, counted: int) -> None:
    budget = Budget(tokens=1000, cost=price, bound=lambda r: Usage(input_uncached=100, output=0))
    run(Scripted({"Text.": [failure(kind)]}), samples(1), budget, attempts=1)
    assert budget.spent.tokens == counted and budget.assumed_usd == pytest.approx(counted * 12.5e-6)


def test_an_answer_without_usage_counts_as_its_bound() -> None:
    budget = Budget(tokens=250, bound=lambda r: Usage(input_uncached=100, output=0))
    kept, reached = run(Scripted(usage=Usage()), samples(9), budget)
    assert len(kept.records) == 2 and reached and budget.spent.tokens == 200


def test_minutes_count_earlier_sessions_and_do_not_cut_what_is_in_flight() -> None:
    async def work() -> Kept:
        kept = Kept()
        budget = Budget(minutes=2, spent=Spent(seconds=60), clock=now)
        model, limiter = Scripted(latency_s=25.0), Limiter(clock=now)
        engine = Engine(task=Plain(), model=model, sink=kept, budget=budget, concurrency=2, limiter=limiter)
        with pytest.raises(BudgetReached, match="budget.minutes=2 is reached"):
            await engine.run(samples(50))
        return kept

    assert len(jumping(work()).records) == 6  # begun at 0, 25 and 50 s


def test_a_machine_beside_the_calls_is_counted_by_the_hour_and_earlier_sessions_too() -> None:
    async def work() -> tuple[Kept, str]:
        budget = Budget(usd=1.0, cost=price, usd_per_hour=36.0, spent=Spent(usd=0.2, seconds=10), clock=now)
        model, kept = Scripted(latency_s=25.0), Kept()
        try:
            await Engine(task=Plain(), model=model, sink=kept, budget=budget, limiter=Limiter(clock=now)).run(
                samples(9)
            )
        except BudgetReached as error:
            assert budget.spent.usd == pytest.approx(budget._pool.spent_usd + 36 / 3600 * budget.spent.seconds)
            return kept, str(error)
        raise AssertionError("never reached")

    kept, said = jumping(work())
    assert len(kept.records) == 3, "0.2 + a cent a second, 10 s of which are of before: reached at 70 s"
    assert "budget.usd=1 is reached: $0.2" in said and "by calls and $0.85" in said and "1.4 minutes" in said


def test_minutes_end_a_wait_for_the_limiter_too() -> None:
    async def work() -> Scripted:
        budget, model = Budget(minutes=1, clock=now), Scripted()
        limiter = Limiter(requests_per_min=1, clock=now)
        engine = Engine(task=Plain(), model=model, sink=Kept(), budget=budget, concurrency=2, limiter=limiter)
        with pytest.raises(BudgetReached):
            await engine.run(samples(50))
        assert limiter.in_flight == limiter.waiting == budget._pool.in_flight == 0
        return model

    assert len(jumping(work()).sent) == 1


def test_no_price_no_budget_in_dollars() -> None:
    for cost in (None, lambda usage: None):
        with pytest.raises(ConfigError, match="budget.usd needs a price"):
            Budget(usd=1, cost=cost)
    for name in ("usd", "tokens", "minutes"):
        with pytest.raises(ConfigError, match=f"budget.{name}=0 must be above 0"):
            Budget(**{name: 0}, cost=price)  # type: ignore[arg-type]


def test_the_built_in_bound_tightens_with_what_is_measured_and_never_below_it() -> None:
    request = Request(messages=(Message(role="user", content="x" * 1000),), schema={"type": "object"}, max_tokens=50)
    chars = 1000 + len('{"type": "object"}')
    budget = Budget(tokens=10**6)
    assert budget.bound_of(request) == Bound(0.0, (chars + 1) // 2 + 50, chars)
    for _ in range(MEASURED):
        budget.hold(budget.bound_of(request))
        budget.settle(budget.bound_of(request), Usage(input_uncached=100, cache_read=100, output=10), None)
    assert budget.bound_of(request).tokens == round(MARGIN * 200) + 50
    budget.hold(budget.bound_of(request))
    budget.settle(budget.bound_of(request), Usage(input_uncached=900, output=400), None)  # max_tokens is not kept
    assert budget.bound_of(request).tokens == round(MARGIN * 900) + MARGIN * 400


def test_one_who_gives_up_waiting_lets_the_next_go_on() -> None:
    async def work() -> None:
        budget = Budget(tokens=100, bound=lambda r: Usage(input_uncached=r.max_tokens, output=0))
        big, small = Request(messages=(), max_tokens=90), Request(messages=(), max_tokens=40)
        held = budget.take(small)
        assert held and budget.take(big) is None
        first = asyncio.create_task(budget.wait(big))
        second = asyncio.create_task(budget.wait(small))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert budget.waiting == 2 and not second.done()  # first come, first served
        first.cancel()
        bound = await second
        budget.release(bound)
        budget.release(held)
        assert budget.waiting == budget._pool.in_flight == 0

    jumping(work())
