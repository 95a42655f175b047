"""From a document to messages: the prompt file, examples, truncation, chunks. Pure text, no files but `read_prompt`.

A prompt file has a `## system` and a `## user` section; the user section holds `{{document}}`. Values are put in
by plain replacement of that token: braces inside a contract are never formatted.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from evals.core import Message
from evals.errors import ConfigError

Truncate = Literal["head", "middle", "chunk"]
DOCUMENT = "{{document}}"
GAP = "\n[...]\n"
"""Stands where `middle` left something out."""
_SECTION = re.compile(r"^## (system|user)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """One prompt file, parsed."""

    system: str
    user: str
    """Holds `{{document}}` exactly once."""

    def messages(self, document: str, examples: Sequence[tuple[str, str]] = ()) -> tuple[Message, ...]:
        """System message, one user and assistant turn per example `(document, answer)`, and the document."""
        turns = [Message(role="system", content=self.system)] if self.system else []
        for example, answer in examples:
            turns.append(Message(role="user", content=self.user.replace(DOCUMENT, example)))
            turns.append(Message(role="assistant", content=answer))
        turns.append(Message(role="user", content=self.user.replace(DOCUMENT, document)))
        return tuple(turns)


def read_prompt(folder: Path, variant: str) -> Prompt:
    """`prompt.md` for `default`, else `prompt_<variant>.md`."""
    path = folder / ("prompt.md" if variant == "default" else f"prompt_{variant}.md")
    if not path.is_file():
        known = ["default", *sorted(p.stem.removeprefix("prompt_") for p in folder.glob("prompt_*.md"))]
        raise ConfigError(f"prompt={variant}: {path} is not there; known are {', '.join(known)}")
    parts = _SECTION.split(path.read_text(encoding="utf-8"))
    sections = {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}
    user = sections.get("user", "")
    if user.count(DOCUMENT) != 1:
        raise ConfigError(f"{path}: the section '## user' must hold {DOCUMENT} exactly once")
    return Prompt(system=sections.get("system", ""), user=user)


def truncate(text: str, max_chars: int | None, how: Truncate) -> tuple[str, int]:
    """The text cut to `max_chars` and how many characters were left out. `chunk` cuts nothing here."""
    if max_chars is None or len(text) <= max_chars or how == "chunk":
        return text, 0
    if how == "head" or max_chars < len(GAP) + 2:  # no room for both ends and the gap
        return text[:max_chars], len(text) - max_chars
    room = max_chars - len(GAP)
    head = (room * 2 + 2) // 3
    tail = room - head
    return text[:head] + GAP + text[len(text) - tail :], len(text) - room


def chunks(text: str, max_chars: int | None, *, overlap: float = 0.05) -> list[str]:
    """Pieces of at most `max_chars`, cut at paragraph or sentence ends where one is near, overlapping a little."""
    if max_chars is None or len(text) <= max_chars:
        return [text]
    pieces: list[str] = []
    start = 0
    while start < len(text):
        end = min(start + max_chars, len(text))
        if end < len(text):
            end = _cut(text, start, end)
        pieces.append(text[start:end])
        if end == len(text):
            break
        start = max(end - int(max_chars * overlap), start + 1)
    return pieces


def _cut(text: str, start: int, end: int) -> int:
    """The last paragraph or sentence end in the last fifth of `text[start:end]`, else `end`."""
    low = end - (end - start) // 5
    for mark in ("\n\n", "\n", ". ", " "):
        at = text.rfind(mark, low, end)
        if at >= low:
            return at + len(mark)
    return end
