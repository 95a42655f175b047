"""What an in-process backend that decodes in slots does with a request, whatever library evaluates the tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.core import Completion, Request, Usage
from evals.errors import CallFailed
from evals.models.base import Mark
from evals.models.constraint import Schemas
from evals.models.prompts import Prompt, Prompts
from evals.models.sampling import Sampler
from evals.models.slots import Generated, Job, Slots


class Slotted:
    """`Batched` but for `load` and `close`; those set what is declared here."""

    name: str
    stop: Sequence[str]
    seed: int | None
    """Replaces the request's."""
    n_ctx: int
    """Tokens of prompt and answer."""
    _prompts: Prompts
    _schemas: Schemas
    _slots: Slots
    _served_by: Mapping[str, Any]

    def __init__(self) -> None:
        self._running: dict[int, tuple[Prompt, dict[str, Any]]] = {}

    def begin(self, ticket: int, request: Request, mark: Mark) -> None:
        """Take a request in hand. At temperature 0 the answer is greedy, else drawn with the seed."""
        self._ready()
        notes: dict[str, Any] = {}
        matcher = None
        if request.constrain and request.schema is not None:
            matcher, dropped = self._schemas.matcher(request.schema)
            if dropped:
                notes["keywords_not_enforced"] = list(dropped)
        prompt = self._prompts.make(request, self.n_ctx)
        if self._prompts.fold and any(message.role == "system" for message in request.messages):
            notes["system_folded"] = True
        seed = request.seed if self.seed is None else self.seed
        self._slots.begin(
            Job(
                ticket=ticket,
                prompt=prompt.tokens,
                fixed=prompt.fixed,
                max_tokens=request.max_tokens,
                sampler=Sampler(temperature=request.temperature, seed=seed),
                matcher=matcher,
                stop=self.stop,
                event=mark,  # type: ignore[arg-type]
            )
        )
        self._running[ticket] = (prompt, notes)

    def step(self) -> list[tuple[int, Completion | CallFailed]]:
        """One piece of a prompt and one token of every answer; what has ended, by ticket."""
        ended: list[tuple[int, Completion | CallFailed]] = []
        for ticket, made in self._slots.step():
            prompt, notes = self._running.pop(ticket)
            ended.append((ticket, made if isinstance(made, CallFailed) else self._completion(prompt, notes, made)))
        return ended

    def cancel(self, ticket: int) -> None:
        """Drop a request in hand."""
        self._slots.cancel(ticket)
        self._running.pop(ticket, None)

    def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer, alone."""
        mark("sent")
        self.begin(0, request, mark)
        while not (ended := self.step()):
            pass
        made = ended[0][1]
        if isinstance(made, CallFailed):
            raise made
        return made

    def prompt_text(self, request: Request) -> str:
        """What the model is shown, before any truncation."""
        self._ready()
        return self._prompts.text(request)

    def _ready(self) -> None:
        """Raise `CallFailed` where nothing is loaded."""
        raise NotImplementedError

    def _completion(self, prompt: Prompt, notes: dict[str, Any], made: Generated) -> Completion:
        if made.fields:
            notes["fields"] = made.fields
        if made.jumped:
            notes["jumped_tokens"] = made.jumped
        return Completion(
            text=made.text,
            finish_reason=made.finish_reason,
            usage=Usage(input_uncached=len(prompt.tokens) - made.reused, cache_read=made.reused, output=made.tokens),
            served_by=self._served_by,
            signals=made.signals,
            truncated_tokens=prompt.cut,
            notes=notes,
        )
