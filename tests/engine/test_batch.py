"""Batches of a provider: handed in once, found again after a kill, collected into the same records."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import USED, Kept, Plain, failure, jumping, now, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals import store
from evals.core import Completion, Request, Sample, Usage
from evals.engine.batch import Submitted, run_batch
from evals.engine.budget import Budget
from evals.errors import BudgetReached, CallFailed, EvalsError, FatalCall
from evals.models.base import Batcher, BatchState


class Killed(BaseException):
    """As a SIGKILL: nothing of the run's own happens after it."""


class Provider:
    """Keeps batches for `hours_s`, then answers each request with its text."""

    def __init__(self, took_s: float = 3600.0) -> None:
        self.took_s = took_s
        self.batches: dict[str, tuple[float, list[tuple[str, Request]]]] = {}
        self.polls = 0
        self.say: dict[str, Any] = {}
        """Text of a request -> what comes instead of an answer: an outcome, or `None` for nothing at all."""
        self.raises: dict[str, list[Exception]] = {"submit": [], "poll": [], "collect": []}
        self.reason: str | None = None

    def _trouble(self, where: str) -> None:
        if self.raises[where]:
            raise self.raises[where].pop(0)

    async def submit(self, requests: Sequence[tuple[str, Request]]) -> str:
        await asyncio.sleep(1)
        self._trouble("submit")
        name = f"batch {len(self.batches)}"
        self.batches[name] = (now() + self.took_s, list(requests))
        return name

    async def poll(self, batch_id: str) -> BatchState:
        self.polls += 1
        self._trouble("poll")
        done = now() >= self.batches[batch_id][0]
        n = len(self.batches[batch_id][1])
        return BatchState(done=done, counts={"processing": 0 if done else n}, reason=self.reason if done else None)

    async def collect(self, batch_id: str) -> AsyncIterator[tuple[str, Completion | CallFailed]]:
        requests = list(self.batches[batch_id][1])
        random.Random(batch_id).shuffle(requests)
        for key, request in requests:
            text = request.messages[0].content
            said = self.say.get(text, Completion(text=f"re {text}", finish_reason="stop", usage=USED))
            if said is not None:
                yield key, said
        self._trouble("collect")

    async def cancel(self, batch_id: str) -> None:
        raise AssertionError("nobody cancels a batch that is paid for")

    @property
    def asked(self) -> list[str]:
        return [request.messages[0].content for _, many in self.batches.values() for _, request in many]


class Run:
    """One run's folder and memory, through as many sessions as it takes."""

    def __init__(self, documents: Sequence[Sample], **options: Any) -> None:
        self.documents, self.options = documents, options
        self.known: list[Submitted] = []
        self.kept = Kept()
        self.seconds = 0.0

    def remember(self, batches: Sequence[Submitted]) -> None:
        stored = json.dumps([store.plain(batch) for batch in batches])
        self.known = [Submitted(**line) for line in json.loads(stored)]

    async def session(self, provider: Provider, **more: Any) -> None:
        began = now()
        try:
            await run_batch(
                **{
                    "task": Plain(),
                    "model": provider,
                    "name": "m",
                    "sink": self.kept,
                    "samples": lambda: iter(self.documents),
                    "remember": self.remember,
                    "known": self.known,
                    "skip": {(r.sample_id, r.repeat) for r in self.kept.records if r.answer is not None},
                    **self.options,
                    **more,
                }
            )
        finally:
            self.seconds += now() - began


def numbered(n: int) -> list[Sample]:
    return [Sample(id=f"d{i}", inputs={"text": f"text {i}"}, target=None) for i in range(n)]


def done(n: int = 10, provider: Provider | None = None, **options: Any) -> tuple[Run, Provider]:
    run, provider = Run(numbered(n), **options), provider or Provider()
    jumping(run.session(provider))
    return run, provider


def test_the_fake_is_a_batcher() -> None:
    assert isinstance(Provider(), Batcher)


def test_every_document_is_answered_once_in_batches_of_the_size_asked_for() -> None:
    run, provider = done(25, max_requests=10)
    assert [len(many) for _, many in provider.batches.values()] == [10, 10, 5]
    assert {r.sample_id: r.text for r in run.kept.records} == {f"d{i}": f"re text {i}" for i in range(25)}
    (call,) = run.kept.records[0].calls
    assert call.role == "answer" and call.model == "m" and call.timing is None and call.completion
    assert run.kept.records[0].request_hash == Plain().request(run.documents[0]).hash
    assert not run.known and 3600 <= run.seconds <= 3600 + 3 + 300 + 60
    assert provider.polls < 3 * 40


def test_keys_are_what_providers_take_and_never_the_samples_own() -> None:
    run = Run([Sample(id="é/ü " * 50, inputs={"text": "a"}, target=None)])
    provider = Provider()
    jumping(run.session(provider))
    for _, many in provider.batches.values():
        for key, _ in many:
            assert len(key) <= 64 and key.replace("-", "").replace("_", "").isalnum() and key.isascii()


def test_parts_and_repeats() -> None:
    asked = [Sample(id=f"d{i}", inputs={"text": [f"{i}a", f"{i}b"]}, target=None) for i in range(3)]
    run, provider = Run(asked, repeats=2, max_requests=3, task=Plain(0.5)), Provider()
    provider.say["1b"] = failure("content_filter")
    jumping(run.session(provider))
    assert sorted(len(many) for _, many in provider.batches.values()) == [2] * 6  # no document is torn apart
    texts = {(r.sample_id, r.repeat): r.text for r in run.kept.records}
    assert texts["d0", 1] == "re 0a+re 0b" and texts["d1", 0] == "re 1a"
    record = run.kept.records[0]
    assert [c.role for c in record.calls] == ["part", "part", "answer"] and record.answer == 2
    assert len({r.request_hash for r in run.kept.records}) == 6


def test_what_failed_expired_or_is_missing_is_a_row_and_nothing_is_handed_in_again() -> None:
    provider = Provider()
    provider.say = {
        "text 1": failure("server", usage=Usage(input_uncached=3, output=0)),
        "text 2": failure("content_filter"),
        "text 3": None,
    }
    run, _ = done(5, provider)
    by_id = run.kept.by_id
    assert [by_id[f"d{i}"].error for i in range(5)] == [None, "server", "content_filter", "server", None]
    assert by_id["d1"].calls[0].usage == Usage(input_uncached=3, output=0)
    assert by_id["d3"].calls[0].error_text == "batch batch 0 ended without a word on this request"
    assert len(provider.batches) == 1
    provider.say = {}
    jumping(run.session(provider))  # retry_errors: only what has no answer
    assert [r.text for r in run.kept.records[5:]] == ["re text 1", "re text 2", "re text 3"]
    assert len(provider.asked) == 8


def test_documents_that_may_not_be_seen_are_rows_and_never_handed_in() -> None:
    provider = Provider()
    run, _ = done(4, provider, forbid=lambda r: "secret" if r.sample_id == "d2" else None)
    assert run.kept.by_id["d2"].error == "privacy" and "text 2" not in provider.asked
    assert len(run.kept.records) == 4


def test_nothing_to_do_hands_in_nothing() -> None:
    run, provider = done(3)
    jumping(run.session(provider))
    assert len(provider.batches) == 1 and len(run.kept.records) == 3


# Kills --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(moments=st.lists(st.floats(0, 4000), min_size=1, max_size=4), size=st.integers(1, 12))
def test_stopped_at_any_moment_nothing_is_handed_in_twice(moments: list[float], size: int) -> None:
    """Ctrl-C: a batch that is just being handed in is still remembered."""
    run, provider = Run(numbered(20), max_requests=size), Provider()

    async def work() -> None:
        lost = 0
        for after_s in moments:
            session = asyncio.create_task(run.session(provider))
            await asyncio.sleep(after_s)
            before = len(provider.batches)
            held = len(run.known)
            session.cancel()
            try:
                await session
            except asyncio.CancelledError:
                lost += len(provider.batches) - before - (len(run.known) - held)
        assert lost == 0
        await run.session(provider)

    jumping(work())
    assert sorted(provider.asked) == sorted(f"text {i}" for i in range(20))
    assert {r.sample_id: r.text for r in run.kept.records} == {f"d{i}": f"re text {i}" for i in range(20)}
    assert len(run.kept.records) == 20 and not run.known


def test_killed_while_collecting() -> None:
    run, provider = Run(numbered(10)), Provider()
    kept = run.kept

    def sink(sample: Sample, record: Any) -> None:
        if len(kept.records) == 4:
            raise Killed
        kept(sample, record)

    with pytest.raises(Killed):
        jumping(run.session(provider, sink=sink))
    assert len(run.known) == 1 and len(kept.records) == 4
    jumping(run.session(provider))
    assert len(provider.batches) == 1 and len(kept.records) == 10 and not run.known


def test_killed_right_after_the_provider_took_it() -> None:
    """The id is remembered before anything else happens."""
    run, provider = Run(numbered(10), max_requests=4), Provider()

    def remember(batches: Sequence[Submitted]) -> None:
        run.remember(batches)
        if len(batches) == 2:
            raise Killed

    with pytest.raises(Killed):
        jumping(run.session(provider, remember=remember))
    assert [(b.first, b.end, b.requests) for b in run.known] == [(0, 4, 4), (4, 8, 4)]
    jumping(run.session(provider))
    assert len(provider.batches) == 3 and sorted(provider.asked) == sorted(f"text {i}" for i in range(10))


def test_another_order_of_the_data_never_gets_anothers_answer() -> None:
    run, provider = Run(numbered(6)), Provider()

    def remember(batches: Sequence[Submitted]) -> None:
        run.remember(batches)
        raise Killed

    with pytest.raises(Killed):
        jumping(run.session(provider, remember=remember))
    run.documents = list(reversed(run.documents))
    jumping(run.session(provider))
    assert all(r.answer is None or r.text == f"re text {r.sample_id[1:]}" for r in run.kept.records)
    assert all(r.error in (None, "server") for r in run.kept.records)


# Trouble ------------------------------------------------------------------------------------------------------


def test_trouble_while_waiting_is_waited_out() -> None:
    provider = Provider()
    provider.raises["poll"] = [failure("server"), failure("timeout"), failure("rate_limit")]
    provider.raises["collect"] = [failure("bad_body"), failure("server")]
    provider.raises["submit"] = [failure("rate_limit", retry_after_s=100.0), failure("server", status=503)]
    run, _ = done(5, provider)
    assert len(run.kept.records) == 5 and len(provider.batches) == 1 and run.seconds > 3700


@pytest.mark.parametrize("kind", ["timeout", "bad_body", "server"])
def test_silence_after_handing_in_is_told_and_not_tried_again(kind: Any) -> None:
    provider = Provider()
    provider.raises["submit"] = [failure(kind)]
    with pytest.raises(EvalsError, match="m: a batch was handed in and no reply came .* provider's list of batches"):
        done(5, provider)
    assert not provider.batches


def test_a_provider_that_is_never_heard_of_again_ends_the_run_and_keeps_the_batch() -> None:
    run, provider = Run(numbered(3)), Provider()
    provider.raises["poll"] = [failure("server")] * 1000
    with pytest.raises(CallFailed, match="server"):
        jumping(run.session(provider))
    assert len(run.known) == 1
    provider.raises["poll"] = []
    jumping(run.session(provider))
    assert len(run.kept.records) == 3 and len(provider.batches) == 1


@pytest.mark.parametrize("where", ["submit", "poll", "collect"])
def test_a_fatal_call_is_raised_as_it_is(where: str) -> None:
    provider = Provider()
    provider.raises[where] = [FatalCall("auth", "bad key")]
    with pytest.raises(FatalCall, match="auth: bad key"):
        done(3, provider)


def test_a_batch_that_failed_as_a_whole_is_told_and_may_be_handed_in_again() -> None:
    run, provider = Run(numbered(3)), Provider()
    provider.reason, provider.say = "the file has a bad line", {f"text {i}": None for i in range(3)}
    with pytest.raises(FatalCall, match="batch batch 0 failed as a whole: the file has a bad line"):
        jumping(run.session(provider))
    assert not run.known and not run.kept.records
    provider.reason, provider.say = None, {}
    jumping(run.session(provider))
    assert len(run.kept.records) == 3


def test_requests_that_are_all_refused_alike_are_one_error() -> None:
    provider = Provider()
    provider.say = {f"text {i}": FatalCall("bad_request", "unknown parameter") for i in range(3)}
    with pytest.raises(FatalCall, match="unknown parameter"):
        done(3, provider)


# Budget -------------------------------------------------------------------------------------------------------


def test_the_budget_cuts_the_batch_and_goes_on_with_what_is_left() -> None:
    # 10 tokens at most each, 3 in truth: 30 allow 3 at first, then 2 of the 21 that are left, and so on
    budget = Budget(tokens=30, bound=lambda r: Usage(input_uncached=10, output=0))
    run, provider = Run(numbered(20), budget=budget), Provider()
    with pytest.raises(BudgetReached, match="budget.tokens=30 is reached: 21 are used, and the next call may take 10"):
        jumping(run.session(provider))
    assert [len(many) for _, many in provider.batches.values()] == [3, 2, 1, 1]
    assert len(run.kept.records) == 7 and budget.spent.tokens == 21 and budget._pool.in_flight == 0
    assert not run.known


def test_what_an_earlier_session_handed_in_is_still_reserved() -> None:
    run, provider = Run(numbered(20)), Provider()

    def budget(spent: int = 0) -> Budget:
        return Budget(tokens=30, bound=lambda r: Usage(input_uncached=10, output=0))

    def remember(batches: Sequence[Submitted]) -> None:
        run.remember(batches)
        raise Killed

    with pytest.raises(Killed):
        jumping(run.session(provider, remember=remember, budget=budget()))
    assert run.known[0].tokens == 30
    with pytest.raises(BudgetReached):
        jumping(run.session(provider, budget=budget()))
    assert [len(many) for _, many in provider.batches.values()] == [3, 2, 1, 1]


def test_states_are_told(tmp_path: Path) -> None:
    heard: list[tuple[str, bool]] = []
    done(3, on_state=lambda batch, state: heard.append((batch.id, state.done)))
    assert heard[0] == ("batch 0", False) and heard[-1] == ("batch 0", True)
    assert samples(1)
