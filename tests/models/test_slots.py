"""Continuous batching on a model of arithmetic: who goes first, what is reused, and that neighbours change nothing."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.errors import CallFailed
from evals.models.llama_native import Piece
from evals.models.sampling import Sampler
from evals.models.slots import Generated, Job, Slots, batches, cut

VOCAB, END = 50, 49


class Arithmetic:
    """A `Native` whose next token follows from everything a slot holds, and which checks what it is told."""

    def __init__(self, slots: int, n_batch: int = 8, ends_after: int = 5, rows: int | None = None) -> None:
        self.settings = SimpleNamespace(slots=slots, n_batch=n_batch, decode_rows=rows)
        self.n_vocab = VOCAB
        self.held: list[list[int]] = [[] for _ in range(slots)]
        self.asked: list[list[tuple[int, int]]] = []
        self.broken = False
        self.copies = 0
        self._ends_after = ends_after

    def keep(self, slot: int, count: int) -> bool:
        assert count <= len(self.held[slot])
        self.held[slot] = self.held[slot][:count]
        return True

    def copy(self, source: int, slot: int, count: int) -> bool:
        self.copies += 1
        self.held[slot] = self.held[source][:count]
        return True

    def evaluate(self, pieces: Sequence[Piece]) -> list[Any]:
        assert 0 < sum(len(piece.tokens) for piece in pieces) <= self.settings.n_batch
        self.asked.append([(piece.slot, len(piece.tokens)) for piece in pieces])
        if self.broken:
            raise CallFailed("internal", "llama_decode returned -3")
        for piece in pieces:
            assert piece.start == len(self.held[piece.slot]) and len(piece.tokens)
            self.held[piece.slot] += piece.tokens
        return [self._scores(self.held[piece.slot]) if piece.scored else None for piece in pieces]

    def _scores(self, held: list[int]) -> Any:
        scores = np.zeros(VOCAB)
        scores[END if sum(held) % self._ends_after == 0 else sum(held) * 7 % END] = 9.0
        return scores

    def ends(self, token: int) -> bool:
        return token == END

    def piece(self, token: int) -> bytes:
        return f"{token},".encode()


class Fixed:
    """A matcher that fixes the tokens 1 2 after every free one, and ends after three free ones."""

    def __init__(self) -> None:
        self.free, self.due = 0, [3]

    def compute_ff_tokens(self) -> list[int]:
        return list(self.due)

    def consume_tokens(self, tokens: Sequence[int]) -> bool:
        assert list(tokens) == self.due[: len(tokens)]
        self.due = self.due[len(tokens) :]
        return True

    def consume_token(self, token: int) -> bool:
        if self.due:  # the way without jumping
            assert token == self.due.pop(0)
            return True
        self.free += 1
        self.due = [1, 2] if self.free < 3 else []
        return True

    def is_stopped(self) -> bool:
        return self.free == 3 and not self.due

    def compute_bitmask(self) -> bytes:
        bits = np.zeros(64, dtype=np.uint8)
        bits[self.due[0] if self.due else slice(0, END)] = 1
        return np.packbits(bits, bitorder="little").tobytes()

    def get_error(self) -> str:
        return ""


def job(ticket: int, prompt: Sequence[int], **changes: Any) -> Job:
    given = {"ticket": ticket, "prompt": list(prompt), "fixed": 0, "max_tokens": 20, "sampler": Sampler()}
    return Job(**{**given, **changes})


def drained(slots: Slots) -> dict[int, Generated | CallFailed]:
    done: dict[int, Generated | CallFailed] = {}
    for _ in range(1000):
        done |= dict(slots.step())
        if not slots.busy:
            return done
    raise AssertionError("it goes on for ever")


prompts = st.lists(st.lists(st.integers(0, END - 1), min_size=1, max_size=30), min_size=1, max_size=4)


@settings(max_examples=60)
@given(prompts, st.booleans(), st.integers(0, 6), st.sampled_from([None, 1, 3]))
def test_together_is_as_alone(given: list[list[int]], constrained: bool, fixed: int, rows: int | None) -> None:
    def one(ticket: int, prompt: list[int]) -> Job:
        return job(ticket, [7] * fixed + prompt, fixed=fixed, matcher=Fixed() if constrained else None)

    alone = {}
    for ticket, prompt in enumerate(given):
        slots = Slots(Arithmetic(1))
        slots.begin(one(ticket, prompt))
        alone |= drained(slots)
    native = Arithmetic(4, rows=rows)
    slots = Slots(native)
    for ticket, prompt in enumerate(given):
        slots.begin(one(ticket, prompt))
    together = drained(slots)
    for ticket, found in together.items():
        own = alone[ticket]
        assert isinstance(found, Generated) and isinstance(own, Generated)
        assert (found.text, found.finish_reason, found.tokens) == (own.text, own.finish_reason, own.tokens)


@given(st.lists(st.integers(0, END - 1), min_size=1, max_size=20), st.integers(1, 12))
def test_jumping_writes_what_decoding_writes(prompt: list[int], most: int) -> None:
    found = []
    for jump in (True, False):
        slots = Slots(Arithmetic(1), jump_forward=jump)
        slots.begin(job(1, prompt, matcher=Fixed(), max_tokens=most))
        found.append(drained(slots)[1])
    fed, decoded = found
    assert isinstance(fed, Generated) and isinstance(decoded, Generated)
    assert (fed.text, fed.finish_reason, fed.tokens) == (decoded.text, decoded.finish_reason, decoded.tokens)
    assert fed.tokens <= most and decoded.jumped == 0
    assert fed.text.startswith("3,") and fed.jumped >= 1


def test_jumping_takes_fewer_batches() -> None:
    counts = []
    for jump in (True, False):
        native = Arithmetic(1, ends_after=10**9)
        slots = Slots(native, jump_forward=jump)
        slots.begin(job(1, [5, 6], matcher=Fixed()))
        drained(slots)
        counts.append(len(native.asked))
    assert counts[0] < counts[1]


def test_no_more_rows_are_evaluated_together_than_give_the_same_scores() -> None:
    native = Arithmetic(4, n_batch=16, rows=2, ends_after=10**9)
    slots = Slots(native)
    for ticket in range(3):
        slots.begin(job(ticket, range(3 + ticket), matcher=Fixed()))
    drained(slots)
    answering = [batch for batch in native.asked if not (len(batch) == 1 and batch[0][1] > 2)]
    assert answering and max(sum(count for _, count in batch) for batch in answering) == 2


def test_how_an_answer_begins_is_read_with_its_prompt_unless_that_changes_scores() -> None:
    for rows, first in ((None, 4), (2, 3)):
        native = Arithmetic(1, rows=rows, ends_after=10**9)
        slots = Slots(native)
        slots.begin(job(1, [1, 2, 5], matcher=Fixed()))
        drained(slots)
        assert native.asked[0] == [(0, first)]


def test_four_answers_and_more_are_decoded_evenly() -> None:
    native = Arithmetic(4, ends_after=10**9)
    slots = Slots(native)
    for ticket in range(4):
        slots.begin(job(ticket, [ticket + 1], matcher=Fixed()))
    drained(slots)
    full = [batch for batch in native.asked if len(batch) == 4]
    assert full and all(count == 1 for batch in full for _, count in batch)


def test_answers_wait_for_others_that_are_nearly_read_but_not_for_long_documents() -> None:
    native = Arithmetic(4, ends_after=10**9)
    slots = Slots(native)
    for ticket in range(4):
        slots.begin(job(ticket, [ticket + 1] * 3))
    drained(slots)
    assert [len(batch) for batch in native.asked[:5]] == [1, 1, 1, 1, 4]  # four prompts, then all four together
    native = Arithmetic(3, n_batch=4, ends_after=10**9)
    slots = Slots(native)
    slots.begin(job(0, [1]))
    for ticket in (1, 2):
        slots.begin(job(ticket, [2] * 40))
    slots.step()
    slots.step()
    assert native.asked[1] == [(0, 1)] or native.asked[2] == [(0, 1)]


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 12))
def test_batches_hold_every_token_once_in_order(counts: list[int], most: int) -> None:
    feeds = [Piece(slot, 100 * slot, list(range(count)), True) for slot, count in enumerate(counts)]
    made = batches(feeds, most)
    assert all(0 < sum(len(piece.tokens) for piece in batch) <= most for batch in made)
    assert len(made) == -(-sum(counts) // most)
    for feed in feeds:
        parts = [piece for batch in made for piece in batch if piece.slot == feed.slot]
        assert [token for part in parts for token in part.tokens] == list(feed.tokens)
        assert [part.start for part in parts] == [feed.start + part.tokens[0] for part in parts]
        assert [part.scored for part in parts] == [False] * (len(parts) - 1) + [True] * bool(parts)


@given(st.lists(st.integers(0, 9), max_size=300), st.integers(1, 64))
def test_pieces_are_about_equally_long(tokens: list[int], size: int) -> None:
    made = cut(tokens, size)
    assert [token for piece in made for token in piece] == tokens
    assert len(made) <= -(-len(tokens) // size) + 1 and all(0 < len(piece) <= size for piece in made)
    if len(made) > 1:
        assert len({len(piece) for piece in made[:-1]}) == 1


def test_a_finished_document_is_replaced_at_once() -> None:
    native = Arithmetic(2, ends_after=10**9)
    slots = Slots(native)
    slots.begin(job(1, [1], max_tokens=2))
    slots.begin(job(2, [2], max_tokens=9))
    with pytest.raises(CallFailed, match="no slot is free"):
        slots.begin(job(3, [3]))
    done: dict[int, Any] = {}
    while 1 not in done:
        done |= dict(slots.step())
    slots.begin(job(3, [3], max_tokens=2))
    assert 2 not in done and set(drained(slots)) == {2, 3}


def test_the_shared_head_is_read_once() -> None:
    head = [3, 1, 4, 1, 5]
    native = Arithmetic(3, ends_after=10**9)
    slots = Slots(native)
    slots.begin(job(1, [*head, 8], fixed=5, max_tokens=3))
    first = drained(slots)[1]
    for ticket in (2, 3):
        slots.begin(job(ticket, [*head, ticket], fixed=5, max_tokens=3))
    done = drained(slots)
    assert isinstance(first, Generated) and first.reused == 0
    assert [one.reused for one in done.values() if isinstance(one, Generated)] == [5, 5] and native.copies == 1


def test_the_shortest_prompt_goes_first_but_none_waits_for_ever() -> None:
    native = Arithmetic(2, n_batch=4, ends_after=10**9)
    slots = Slots(native)
    slots.begin(job(1, range(40), max_tokens=1))
    order, ticket = [], 2
    slots.begin(job(ticket, [1, 2], max_tokens=1))
    for _ in range(200):
        for ended, _ in slots.step():
            order.append(ended)
            if ended != 1:
                ticket += 1
                slots.begin(job(ticket, [1, 2], max_tokens=1))
        if 1 in order:
            break
    assert order[0] == 2 and 1 in order


def test_a_failed_batch_fails_those_in_it_and_the_slots_live_on() -> None:
    native = Arithmetic(2)
    slots = Slots(native)
    slots.begin(job(1, [1, 2]))
    native.broken = True
    ((ticket, error),) = slots.step()
    assert ticket == 1 and isinstance(error, CallFailed) and not slots.busy and native.held[0] == []
    native.broken = False
    slots.begin(job(2, [1, 2]))
    assert isinstance(drained(slots)[2], Generated)


def test_a_cancelled_document_says_nothing_more() -> None:
    slots = Slots(Arithmetic(1))
    slots.begin(job(1, [1, 2, 3]))
    slots.step()
    slots.cancel(1)
    assert not slots.busy and slots.step() == []
    slots.begin(job(2, [1, 2, 3]))
    assert set(drained(slots)) == {2}


def test_marks_come_in_order_and_stop_words_cut() -> None:
    marks: list[str] = []
    slots = Slots(Arithmetic(1, ends_after=10**9))
    slots.begin(job(1, [1], event=marks.append, stop=["1,"], max_tokens=30))
    found = drained(slots)[1]
    assert isinstance(found, Generated) and marks == ["prefill_done", "first", "last"]
    assert "1," not in found.text
