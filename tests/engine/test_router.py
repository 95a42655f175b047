"""Two models behind a router: who is asked, in which roles, at whose limits, and what is left when something fails."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from engine_fakes import USED, Kept, Plain, Scripted, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Call, Request, Sample, Usage
from evals.engine.budget import Budget
from evals.engine.generate import Engine
from evals.engine.limits import Limiter
from evals.engine.means import Means
from evals.errors import BudgetReached, CallFailed, FatalCall
from evals.models.base import Model, Router


class Two:
    """Asks `cheap`, then `strong` where `doubt` says so."""

    name = "two"

    def __init__(self, cheap: Any, strong: Any, doubt: Any = lambda request, calls: True) -> None:
        self.models: Mapping[str, Model] = {"cheap": cheap, "strong": strong}
        self.doubt = doubt

    async def start(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass

    def choose(self, request: Request, calls: Sequence[Call]) -> str | None:
        if not calls:
            return "cheap"
        return "strong" if self.doubt(request, calls) else None

    def why(self, request: Request, calls: Sequence[Call]) -> Mapping[str, Any]:
        return {"calls": len(calls)}


class Named(Scripted):
    def __init__(self, name: str, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self.name = name


def run(router: Two, asked: list[Sample], **options: Any) -> Kept:
    kept = Kept()

    async def work() -> None:
        means = {key: Means(limiter=Limiter(clock=now)) for key in router.models}
        await Engine(**{"task": Plain(), "model": router, "sink": kept, "means": means, **options}).run(asked)

    jumping(work())
    return kept


def test_calls_have_their_own_role_model_and_timing_and_the_last_answer_counts() -> None:
    cheap = Named("a", lambda request, n: "weak", latency_s=1.0)
    strong = Named("b", lambda request, n: failure() if n == 0 else "sure", latency_s=2.0)
    router = Two(cheap, strong, lambda request, calls: request.sample_id == "d1")
    assert isinstance(router, Router) and not isinstance(cheap, Router)
    texts = [Sample(id=f"d{i}", inputs={"text": f"text {i}"}, target=None) for i in range(2)]
    found = run(router, texts).by_id
    assert [(c.role, c.model) for c in found["d0"].calls] == [("answer", "a")] and found["d0"].text == "weak"
    assert [(c.role, c.model) for c in found["d1"].calls] == [("answer", "a"), ("escalation", "b"), ("retry", "b")]
    assert found["d1"].text == "sure" and found["d1"].answer == 2 and found["d1"].route == {"calls": 3}
    timings = [c.timing for c in found["d1"].calls if c.timing]
    assert len(timings) == 3 and [t.backoff_s > 0 for t in timings] == [False, False, True]


def test_each_model_is_asked_once_whatever_the_router_says() -> None:
    cheap, strong = Named("a"), Named("b", lambda request, n: failure("content_filter"))
    (record,) = run(Two(cheap, strong), samples(1)).records
    assert [c.model for c in record.calls] == ["a", "b"] and record.calls[1].error == "content_filter"
    assert record.answer == 0, "the cheap answer stands where the strong model fails"


def test_a_document_fails_where_both_models_do() -> None:
    cheap, strong = (Named(name, lambda request, n: failure("content_filter")) for name in "ab")
    (record,) = run(Two(cheap, strong), samples(1)).records
    assert len(record.calls) == 2 and record.answer is None and record.error == "content_filter"


def test_a_document_in_parts_is_decided_as_a_whole() -> None:
    cheap, strong = Named("a", lambda r, n: "c"), Named("b", lambda r, n: "s")
    (record,) = run(Two(cheap, strong), samples(1, ["one", "two"])).records
    said = [(c.role, c.model) for c in record.calls]
    assert said == [*2 * [("part", "a")], ("answer", "merge"), *2 * [("part", "b")], ("escalation", "merge")]
    assert record.text == "s+s" and record.answer == 5


def test_each_side_keeps_its_own_limits_attempts_and_ledger() -> None:
    cheap, strong = Named("a", lambda r, n: failure()), Named("b")
    sent: list[str] = []
    kept = Kept()

    async def work() -> None:
        means = {
            "cheap": Means(limiter=Limiter(clock=now), attempts=1, on_send=lambda r: sent.append("cheap")),
            "strong": Means(limiter=Limiter(clock=now, requests_per_min=60), on_send=lambda r: sent.append("strong")),
        }
        engine = Engine(task=Plain(), model=Two(cheap, strong), sink=kept, means=means)
        start = now()
        await engine.run(samples(5))
        assert now() - start >= 3, "the strong one's limit of one a second holds"
        assert engine.counters().attempts == 10 and engine.counters().errors == {"server": 5}

    jumping(work())
    assert sent == ["cheap", "strong"] * 5 and all(len(r.calls) == 2 for r in kept.records)
    assert all(r.calls[0].timing.queued_s < 0.5 for r in kept.records if r.calls[0].timing)


def test_what_may_not_be_seen_is_not_sent() -> None:
    cheap, strong = Named("a"), Named("b")
    means = {
        "cheap": Means(limiter=Limiter(clock=now)),
        "strong": Means(limiter=Limiter(clock=now), forbid=lambda request: "not there"),
    }
    (record,) = run(Two(cheap, strong), samples(1), means=means).records
    assert strong.sent == [] and (record.calls[-1].error, record.calls[-1].model) == ("privacy", "b")


def test_nobody_at_all_and_a_policy_that_stumbles_are_rows() -> None:
    class Nobody(Two):
        def choose(self, request: Request, calls: Sequence[Call]) -> str | None:
            return None

    class Stumbles(Two):
        def choose(self, request: Request, calls: Sequence[Call]) -> str | None:
            if calls:
                raise ZeroDivisionError("no number")
            return "cheap"

    (record,) = run(Nobody(Named("a"), Named("b")), samples(1)).records
    assert record.error == "privacy" and record.calls[0].model == "two"
    (record,) = run(Stumbles(Named("a"), Named("b")), samples(1)).records
    assert record.error == "internal" and "no number" in (record.calls[-1].error_text or "")
    assert record.calls[0].completion, "what was bought stays in the record"


def test_a_fatal_call_says_whose_it_is() -> None:
    router = Two(Named("a"), Named("b", lambda r, n: FatalCall("auth", "HTTP 401")))
    with pytest.raises(FatalCall, match="b: HTTP 401"):
        run(router, samples(3))


def test_one_budget_is_shared_at_each_models_own_price() -> None:
    """The dear model's dollars stop the run; a document that was not answered to its end is not kept as answered."""
    cheap, strong = Named("a", lambda r, n: "c"), Named("b", lambda r, n: "s")
    kept = Kept()
    whole = Budget(usd=4.0, cost=lambda usage: 0.0, bound=None)
    dear = whole.shared(lambda usage: float(usage.output or 0))

    async def work() -> None:
        means = {
            "cheap": Means(limiter=Limiter(clock=now), budget=whole),
            "strong": Means(limiter=Limiter(clock=now), budget=dear),
        }
        task = Plain()
        task.request = lambda sample: Request(messages=(), max_tokens=1, sample_id=sample.id)  # type: ignore[method-assign]
        cheap.generate = strong.generate = _one_token  # type: ignore[method-assign]
        await Engine(task=task, model=Two(cheap, strong), sink=kept, means=means).run(samples(9))

    with pytest.raises(BudgetReached, match=r"budget\.usd=4"):
        jumping(work())
    assert whole.spent.usd == dear.spent.usd == 4.0 and len(kept.records) == 4
    assert all(record.calls[-1].role == "escalation" for record in kept.records)
    assert whole.spent.tokens == dear.spent.tokens == 9 * 3, "tokens of both, also of the document that was given up"


async def _one_token(request: Request, mark: Any) -> Any:
    from evals.core import Completion

    mark("sent")
    return Completion(text="x", finish_reason="stop", usage=USED)


def test_shared_budgets_learn_each_for_itself() -> None:
    whole = Budget(tokens=10**6)
    other = whole.shared(lambda usage: 0.0)
    request = Request(messages=(), max_tokens=10)
    for _ in range(30):
        bound = other.take(request)
        assert bound is not None
        other.settle(bound, Usage(input_uncached=0, output=100), None)
    assert other.bound_of(request).tokens == 150 and whole.bound_of(request).tokens == 10
    assert whole.spent.tokens == 3000 and isinstance(failure(), CallFailed)


@settings(max_examples=60, deadline=None)
@given(
    plan=st.lists(
        st.tuples(
            st.sampled_from(["ok", "no", "forbidden"]), st.booleans(), st.sampled_from(["ok", "no", "forbidden"])
        ),
        min_size=1,
        max_size=12,
    ),
    parts=st.booleans(),
    concurrency=st.integers(1, 5),
)
def test_every_outcome_of_both_is_the_record_that_a_plain_reading_gives(
    plan: list[tuple[str, bool, str]], parts: bool, concurrency: int
) -> None:
    """Cheap answers or not, the router doubts or not, strong answers or not: one document each, asked in any order."""

    def said(at: int) -> Any:
        def step(request: Request, number: int) -> Any:
            word = plan[int(request.sample_id[1:])][at]
            return failure("content_filter") if word == "no" else f"{at}"

        return step

    router = Two(Named("a", said(0)), Named("b", said(2)), lambda request, calls: plan[int(request.sample_id[1:])][1])
    means = {
        key: Means(
            limiter=Limiter(clock=now),
            forbid=lambda request, at=at: "no" if plan[int(request.sample_id[1:])][at] == "forbidden" else None,
        )
        for key, at in (("cheap", 0), ("strong", 2))
    }
    asked = [
        Sample(id=f"d{i}", inputs={"text": [f"{i} one", f"{i} two"] if parts else f"{i}"}, target=None)
        for i in range(len(plan))
    ]
    found = run(router, asked, means=means, concurrency=concurrency).by_id
    assert len(found) == len(plan)
    for i, (cheap, doubt, strong) in enumerate(plan):
        record, asked_strong = found[f"d{i}"], doubt and (strong == "ok" or cheap != "ok")
        last, digit = (strong, "2") if asked_strong else (cheap, "0")  # the cheap answer stands where strong fails
        assert record.text == (None if last != "ok" else f"{digit}+{digit}" if parts else digit)
        assert record.error == {"ok": None, "no": "content_filter", "forbidden": "privacy"}[last]
        wanted = {"a"} | ({"b"} if doubt else set())
        assert {call.model for call in record.calls} - {"merge"} == wanted
