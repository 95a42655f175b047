"""Many documents decoded together: slots that are filled again as soon as a document ends (continuous batching).

A step evaluates one piece of one waiting prompt, then the next tokens of every answer under way; where these are fewer
than four, they wait for prompts of which a piece or two are left. So a long prompt never holds up the answers for longer
than a piece of it, but for its end; of several waiting prompts the shortest goes
first, but every fourth piece goes to the one that waits longest. Prompts are evaluated alone, in pieces that depend on
that prompt only: what is read is the same to the bit whoever the neighbours are, and only decoding rounds differently.

The prompts' common head (system message, schema, examples) is evaluated once and copied between slots. What a schema
fixes is fed with the next batch instead of decoded token by token (jump-forward decoding); how an answer must begin is
read with its prompt.

Where `decode_rows` bounds what is evaluated together while answering, and rows that few give the same scores to the bit
as one (`llama_tune` finds out how many), neither neighbours nor jumping change an answer; its beginning is fed then, too.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals.errors import CallFailed
from evals.models.confidence import Chosen, confidence
from evals.models.constraint import allowed
from evals.models.llama_native import Native, Piece
from evals.models.sampling import Choice, Sampler

_OLDEST_EVERY = 4
"""Every so many pieces of prompts go to the document that waits longest, however long it is."""
_EVEN = 4
"""So many answers are decoded a token of each at a time."""
_SOON = 2
"""A prompt of which so many pieces are left is read in a moment."""


@dataclass(kw_only=True)
class Job:
    """One document to answer."""

    ticket: int
    prompt: Sequence[int]
    fixed: int
    """Tokens at the prompt's head that do not depend on the document."""
    max_tokens: int
    sampler: Sampler
    matcher: Any = None
    """Of its schema, `None` where it is free."""
    stop: Sequence[str] = ()
    event: Callable[[str], None] = lambda name: None
    """Called with `prefill_done`, `first` and `last`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Generated:
    """What became of a job."""

    text: str
    finish_reason: str
    tokens: int
    jumped: int
    """Those of the tokens that the schema fixed: fed, not decoded."""
    reused: int
    """Prompt tokens that were already in the cache."""
    signals: dict[str, float]
    fields: dict[str, Any]


@dataclass(kw_only=True)
class _Slot:
    """One sequence: what its cache holds, and the job it works on."""

    index: int
    held: list[int] = field(default_factory=list)
    job: Job | None = None
    age: int = 0
    """Order of arrival."""
    pieces: list[list[int]] = field(default_factory=list)
    """What is left of the prompt."""
    feed: list[int] = field(default_factory=list)
    """Tokens of the answer that are not evaluated yet."""
    reused: int = 0
    written: bytearray = field(default_factory=bytearray)
    chosen: list[Chosen] = field(default_factory=list)
    said: bool = False
    tokens: int = 0
    jumped: int = 0

    @property
    def waiting(self) -> int:
        return sum(map(len, self.pieces))


class Slots:
    """The slots of one context. `step` until nothing is in hand."""

    def __init__(self, native: Native, *, jump_forward: bool = True) -> None:
        self._native = native
        self._jump = jump_forward
        self._slots = [_Slot(index=index) for index in range(native.settings.slots)]
        self._ages = itertools.count()
        self._turns = itertools.count(1)

    def begin(self, job: Job) -> None:
        """Take a job in hand; there must be a free slot."""
        free = [slot for slot in self._slots if slot.job is None]
        if not free:
            raise CallFailed("internal", "no slot is free")
        head = list(job.prompt[: max(0, min(job.fixed, len(job.prompt) - 1))])
        # The slot that holds the head, else an empty one: what another slot holds may still be wanted.
        slot = min(free, key=lambda one: (not head or one.held[: len(head)] != head, bool(one.held)))
        slot.job, slot.age = job, next(self._ages)
        slot.reused = self._reuse(slot, head)
        slot.written, slot.chosen = bytearray(), []
        slot.tokens, slot.jumped, slot.said = 0, 0, False
        settings = self._native.settings
        opening = self._fixed(slot)
        slot.feed, joined = (opening, []) if settings.decode_rows else ([], opening)
        rest = [*job.prompt[len(head) :], *joined]
        slot.pieces = [*cut(head[slot.reused :], settings.n_batch), *cut(rest, settings.n_batch)]

    def step(self) -> list[tuple[int, Generated | CallFailed]]:
        """Go on with one piece of a prompt and the next tokens of the answers; what has ended, by ticket."""
        ended: list[tuple[int, Generated | CallFailed]] = []
        reading = [slot for slot in self._slots if slot.job is not None and slot.pieces]
        if reading:
            oldest = next(self._turns) % _OLDEST_EVERY == 0
            self._read(min(reading, key=lambda slot: (0 if oldest else slot.waiting, slot.age)), ended)
        answering = [slot for slot in self._slots if slot.job is not None and not slot.pieces]
        joining = any(0 < len(slot.pieces) <= _SOON for slot in reading)
        if len(answering) >= _EVEN or not joining:  # few answers cost nearly as much as with one more beside them
            for batch in self._batches(answering):
                self._advance(batch, ended)
        return ended

    def cancel(self, ticket: int) -> None:
        """Drop a job: its slot is free at once."""
        for slot in self._slots:
            if slot.job is not None and slot.job.ticket == ticket:
                slot.job = None

    @property
    def busy(self) -> bool:
        """Is anything in hand?"""
        return any(slot.job is not None for slot in self._slots)

    def _reuse(self, slot: _Slot, head: list[int]) -> int:
        """Keep the head in the slot's cache, or copy it from another slot; how many tokens need no evaluation."""
        native, count = self._native, len(head)
        kept = False
        if count and slot.held[:count] == head:
            kept = native.keep(slot.index, count)
        elif count:
            source = next((one for one in self._slots if one is not slot and one.held[:count] == head), None)
            kept = source is not None and native.copy(source.index, slot.index, count)
        if not kept:
            native.keep(slot.index, 0)
        slot.held = list(head) if kept else []
        return len(slot.held)

    def _read(self, slot: _Slot, ended: list[tuple[int, Generated | CallFailed]]) -> None:
        """One piece of a prompt; with the last one comes what the schema fixes, and the first token."""
        piece = slot.pieces.pop(0)
        last = not slot.pieces
        scores = self._evaluate([Piece(slot.index, len(slot.held), piece, last and not slot.feed)], ended)
        if slot.job is not None and last:
            slot.job.event("prefill_done")
            if scores[0] is not None:
                self._choose(slot, scores[0], ended)

    def _batches(self, answering: Sequence[_Slot]) -> list[list[Piece]]:
        """What is evaluated next of the answers under way, in batches of `decode_rows` tokens at most."""
        settings = self._native.settings
        feeds = []
        for slot in answering:
            tokens = slot.feed[: portion(len(answering))]
            slot.feed = slot.feed[len(tokens) :]
            feeds.append(Piece(slot.index, len(slot.held), tokens, not slot.feed))
        return batches(feeds, min(settings.decode_rows or settings.n_batch, settings.n_batch))

    def _advance(self, batch: list[Piece], ended: list[tuple[int, Generated | CallFailed]]) -> None:
        batch = [piece for piece in batch if self._slots[piece.slot].job is not None]  # some may have failed before
        if not batch:
            return
        for piece, scores in zip(batch, self._evaluate(batch, ended), strict=True):
            if piece.scored and scores is not None:
                self._choose(self._slots[piece.slot], scores, ended)

    def _evaluate(self, batch: Sequence[Piece], ended: list[tuple[int, Generated | CallFailed]]) -> list[Any]:
        try:
            scores = self._native.evaluate(batch)
        except CallFailed as error:
            for piece in batch:
                self._fail(self._slots[piece.slot], error, ended)
            return [None] * len(batch)
        for piece in batch:
            self._slots[piece.slot].held.extend(piece.tokens)
        return scores

    def _fail(self, slot: _Slot, error: CallFailed, ended: list[tuple[int, Generated | CallFailed]]) -> None:
        assert slot.job is not None
        ended.append((slot.job.ticket, error))
        slot.job, slot.held = None, []
        self._native.keep(slot.index, 0)

    def _choose(self, slot: _Slot, scores: Any, ended: list[tuple[int, Generated | CallFailed]]) -> None:
        """The next token of an answer, what the schema fixes after it, and whether that was the end."""
        job = slot.job
        assert job is not None
        if self._over(slot, ended):  # nothing was left to choose after what the schema fixes
            return
        rules = None if job.matcher is None else allowed(job.matcher, self._native.n_vocab)
        choice = job.sampler(scores, rules)
        if choice is None:
            self._fail(slot, CallFailed("internal", f"no token may come next{_why(job.matcher)}"), ended)
            return
        if self._native.ends(choice.token):
            ended.append(self._end(slot, "stop"))
            return
        slot.feed = [choice.token]
        self._write(slot, choice.token, choice)
        if job.matcher is not None and not job.matcher.consume_token(choice.token):
            self._fail(slot, CallFailed("internal", f"the schema cannot be followed{_why(job.matcher)}"), ended)
            return
        if self._stopped(slot):
            ended.append(self._end(slot, "stop"))
            return
        slot.feed += self._fixed(slot)
        self._over(slot, ended)

    def _over(self, slot: _Slot, ended: list[tuple[int, Generated | CallFailed]]) -> bool:
        """End an answer that its schema closes, or that is as long as it may be."""
        assert slot.job is not None
        closed = slot.job.matcher is not None and slot.job.matcher.is_stopped()
        if closed or slot.tokens >= slot.job.max_tokens:
            ended.append(self._end(slot, "stop" if closed else "length"))
            return True
        return False

    def _fixed(self, slot: _Slot) -> list[int]:
        """Tokens that the schema fixes here, where they are not decoded: written already, to be evaluated with what comes next."""
        job = slot.job
        assert job is not None
        if job.matcher is None or not self._jump or job.matcher.is_stopped():
            return []
        tokens = list(job.matcher.compute_ff_tokens())[: max(0, job.max_tokens - slot.tokens)]
        if not tokens or not job.matcher.consume_tokens(tokens):
            return []
        for token in tokens:
            self._write(slot, token, None)
        slot.jumped += len(tokens)
        return tokens

    def _write(self, slot: _Slot, token: int, choice: Choice | None) -> None:
        start = len(slot.written)
        slot.written += self._native.piece(token)
        slot.tokens += 1
        if choice is not None:
            slot.chosen.append(Chosen(start, len(slot.written), choice.logprob, choice.margin, choice.own))
            if not slot.said and len(slot.written) > start and slot.job is not None:
                slot.said = True
                slot.job.event("first")

    def _stopped(self, slot: _Slot) -> bool:
        """Cut the answer at the first stop word it holds."""
        assert slot.job is not None
        places = [at for word in slot.job.stop if (at := slot.written.find(word.encode())) >= 0]
        if places:
            del slot.written[min(places) :]
        return bool(places)

    def _end(self, slot: _Slot, reason: str) -> tuple[int, Generated]:
        job, slot.job = slot.job, None
        assert job is not None
        job.event("last")
        raw = bytes(slot.written)
        signals, fields = confidence(raw, slot.chosen, constrained=job.matcher is not None)
        return job.ticket, Generated(
            text=raw.decode("utf-8", "replace"),
            finish_reason=reason,
            tokens=slot.tokens,
            jumped=slot.jumped,
            reused=slot.reused,
            signals=signals,
            fields=fields,
        )


def cut(tokens: Sequence[int], size: int) -> list[list[int]]:
    """Pieces of at most `size` tokens, about equally long: a short last one would cost as many passes over the weights.

    Their lengths depend on the prompt alone, and are multiples of 4 but for the last: some kernels take rows by fours.
    """
    if not tokens:
        return []
    count = -(-len(tokens) // size)
    each = min(size, (-(-len(tokens) // count) + 3) // 4 * 4)
    return [list(tokens[at : at + each]) for at in range(0, len(tokens), each)]


def portion(answers: int) -> int | None:
    """How many tokens of each of so many answers are evaluated together; `None`: all there are.

    Sequences with different numbers of tokens are evaluated one after another by llama.cpp: one token of each makes a
    full batch of equal ones.
    """
    return 1 if answers >= _EVEN else None


def batches(feeds: Sequence[Piece], most: int) -> list[list[Piece]]:
    """The same tokens in as few batches of at most `most` as there must be: what does not fit one goes on in the next."""
    made: list[list[Piece]] = []
    room = 0
    for feed in feeds:
        at = 0
        while at < len(feed.tokens):
            if not room:
                made.append([])
                room = most
            end = min(len(feed.tokens), at + room)
            made[-1].append(
                Piece(feed.slot, feed.start + at, feed.tokens[at:end], feed.scored and end == len(feed.tokens))
            )
            room -= end - at
            at = end
    return made


def _why(matcher: Any) -> str:
    return "" if matcher is None else f": {matcher.get_error() or 'no reason given'}"
