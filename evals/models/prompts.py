"""A request -> the tokens that a GGUF model is shown: its template, what of the prompt every document shares, and the
middle cut out of a document that does not fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evals.core import Message, Request
from evals.errors import CallFailed
from evals.models.chat_template import ChatTemplate, fold_system, plain_prompt
from evals.models.llama_native import Native

Overflow = Literal["error", "truncate_middle"]
_LEAST_HEAD = 64
"""A shorter document-independent head is not worth batches of its own."""
_HEAD_MARGIN = 4
"""The head's last tokens may merge with the document's first."""
_GAP = "\n[...]\n"
"""Stands where the middle of a document was cut out."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is evaluated."""

    tokens: list[int]
    fixed: int
    """How many at the head are the same for every document."""
    cut: int
    """How many were cut out of the middle."""


class Prompts:
    """Prompts of one model. `template=None`: a base model, whose messages become plain text."""

    def __init__(self, native: Native, template: ChatTemplate | None, *, fold: bool, overflow: Overflow) -> None:
        self.template = template
        self.fold = fold
        self._native = native
        self._overflow = overflow
        self._bos = native.token_text("bos")
        self._heads: dict[str, list[int]] = {}

    def text(self, request: Request) -> str:
        """What the model is shown, before any truncation."""
        return self._render(request.messages, request)

    def make(self, request: Request, n_ctx: int) -> Prompt:
        """Prompt tokens that leave room for the answer in `n_ctx`; raises `CallFailed` where they do not."""
        text = self.text(request)
        tokens = self._tokens(text)
        document = _document(request)
        room = n_ctx - request.max_tokens
        if len(tokens) <= room:
            return Prompt(tokens, self._fixed(text, tokens, document), 0)
        said = f"{len(tokens):,} tokens + {request.max_tokens:,} > n_ctx {n_ctx:,}"
        if self._overflow == "error":
            raise CallFailed("context_length", f"prompt of {said}: raise n_ctx or set overflow: truncate_middle")
        short, kept, text = self._shorter(request, document, len(tokens) - room, room, said)
        return Prompt(short, self._fixed(text, short, kept), len(tokens) - len(short))

    def _render(self, messages: Sequence[Message], request: Request) -> str:
        if self.template is None:
            return plain_prompt(messages, json=request.schema is not None)
        return self.template.render(fold_system(messages) if self.fold else messages)

    def _tokens(self, text: str) -> list[int]:
        # A template that writes the start token itself must not get a second one.
        bos = self._bos
        return self._native.tokenise(
            text, special=self.template is not None, add_bos=not (bos and text.startswith(bos))
        )

    def _shorter(
        self, request: Request, document: str, excess: int, room: int, said: str
    ) -> tuple[list[int], str, str]:
        """Cut the middle out of the document until the prompt fits."""
        words = self._native.tokenise(document, special=False)
        while True:
            # Cutting changes how the edges tokenise: a little more than needed, and again if it was not enough.
            keep = len(words) - excess - 16
            if keep < 16:
                raise CallFailed("context_length", f"prompt of {said}: too long even without the document")
            head, tail = self._native.text(words[: keep - keep // 2]), self._native.text(words[-(keep // 2) :])
            kept = head.rstrip("\ufffd") + _GAP + tail.lstrip("\ufffd")
            text = self._render(_replaced(request.messages, document, kept), request)
            tokens = self._tokens(text)
            if len(tokens) <= room:
                return tokens, kept, text
            excess += len(tokens) - room

    def _fixed(self, text: str, tokens: Sequence[int], document: str) -> int:
        """How many tokens at the head of the prompt are the same for every document."""
        at = text.rfind(document.strip()) if document.strip() else -1
        if at <= 0:
            return 0
        head = text[:at]
        if head not in self._heads:
            self._heads = {head: self._tokens(head)}
        known = self._heads[head][:-_HEAD_MARGIN]
        if list(tokens[: len(known)]) != known or len(known) < _LEAST_HEAD:
            return 0
        return len(known)


def _document(request: Request) -> str:
    """The document's text inside the last user message; that whole message where it cannot be told."""
    users = [message.content for message in request.messages if message.role == "user"]
    last = users[-1] if users else ""
    text = request.inputs.get("text")
    return text if isinstance(text, str) and text.strip() and text in last else last


def _replaced(messages: Sequence[Message], old: str, new: str) -> list[Message]:
    """`new` for `old` in the last user message."""
    out = list(messages)
    for at in range(len(out) - 1, -1, -1):
        if out[at].role == "user":
            head, _, tail = out[at].content.rpartition(old)
            out[at] = Message(role="user", content=head + new + tail)
            break
    return out


def template_of(native: Native, written: str | None, args: Mapping[str, Any]) -> ChatTemplate:
    """The model's own chat template with its start and end tokens."""
    return ChatTemplate(written or "", bos=native.token_text("bos"), eos=native.token_text("eos"), args=args)
