"""What an in-process backend that decodes in slots does with a request, whatever library evaluates the tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.core import Completion, Request, Usage, stable_hash
from evals.errors import CallFailed, ConfigError
from evals.models.base import Mark
from evals.models.constraint import Schemas
from evals.models.llama_native import NativeSettings
from evals.models.prompts import Overflow, Prompt, Prompts, template_of
from evals.models.sampling import Sampler
from evals.models.slots import Generated, Job, Slots


class Slotted:
    """`Batched` but for `load`: that sets `_native` and `_settings`, then calls `_prepare`.

    `chat, overflow, system_role, stop, seed, jump_forward, template_args` are as `LlamaCpp` tells them.
    """

    _settings: NativeSettings
    _served_by: Mapping[str, Any]

    def __init__(
        self,
        *,
        name: str,
        chat: bool,
        overflow: Overflow,
        system_role: bool,
        stop: Sequence[str],
        seed: int | None,
        jump_forward: bool,
        template_args: Mapping[str, Any] | None,
        least_one: Mapping[str, int | None],
    ) -> None:
        """`least_one`: settings that must be 1 or more where they are given."""
        if overflow not in ("error", "truncate_middle"):
            raise ConfigError(f"{name}: overflow={overflow!r}: error or truncate_middle")
        for key, value in least_one.items():
            if value is not None and value < 1:
                raise ConfigError(f"{name}: {key}={value}: at least 1")
        self.name = name
        self.chat = chat
        self.overflow: Overflow = overflow
        self.system_role = system_role
        self.stop = [word for word in stop if word]
        self.seed = seed
        self.jump_forward = jump_forward
        self.template_args = dict(template_args or {})
        self._native: Any = None
        self._running: dict[int, tuple[Prompt, dict[str, Any]]] = {}

    @property
    def slots(self) -> int:
        """How many requests it takes at once."""
        return self._settings.slots

    def _prepare(self, written: str | None, *, model: str, quantisation: str, build: str) -> None:
        """What answers are made with, once the weights are loaded. `written`: the model's chat template."""
        native = self._native
        template = template_of(native, written, self.template_args) if self.chat else None
        fold = template is not None and not (self.system_role and template.has_system)
        self._prompts = Prompts(native, template, fold=fold, overflow=self.overflow)
        self._schemas = Schemas(native.tokenizer)
        self._schemas.prepare()
        self._slots = Slots(native, jump_forward=self.jump_forward)
        self._served_by = {"model": model, "quantisation": quantisation, "build": build}

    def _chosen(self) -> dict[str, Any]:
        """The settings that every such backend has, for the manifest."""
        used = self._settings
        return {
            "n_ctx": used.n_ctx,
            "n_batch": used.n_batch,
            "slots": used.slots,
            "jump_forward": self.jump_forward,
            "overflow": self.overflow,
            "stop": self.stop,
            "seed": self.seed,
        }

    def _shown(self, written: str | None) -> dict[str, Any]:
        """How prompts are made, for the manifest."""
        return {
            "chat": self.chat,
            "chat_template_hash": stable_hash(written) if written else None,
            "template_args": self.template_args,
            "system_folded": self._prompts.fold,
        }

    def begin(self, ticket: int, request: Request, mark: Mark) -> None:
        """Take a request in hand. At temperature 0 the answer is greedy, else drawn with the seed."""
        self._ready()
        notes: dict[str, Any] = {}
        matcher = None
        if request.constrain and request.schema is not None:
            matcher, dropped = self._schemas.matcher(request.schema)
            if dropped:
                notes["keywords_not_enforced"] = list(dropped)
        prompt = self._prompts.make(request, self._settings.n_ctx)
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

    def close(self) -> None:
        """Free the weights."""
        native, self._native = self._native, None
        if native is not None:
            native.close()

    def _ready(self) -> None:
        """Raise `CallFailed` where nothing is loaded."""
        if self._native is None:
            raise CallFailed("internal", f"{self.name} is not loaded")

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
