"""The honest baseline: a task's own `rules.py`, regular expressions and keywords, no language model."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from evals.core import Completion, Request, Usage
from evals.errors import CallFailed
from evals.models.base import Mark

Answer = Callable[[str], Mapping[str, Any]]


class Rules:
    """Answers with `answer(text)` of a task's rules module; reads the document, not the prompt."""

    def __init__(self, *, name: str = "rules", answer: Answer) -> None:
        self.name, self.answer = name, answer

    async def start(self) -> Mapping[str, Any]:
        """Nothing to get ready."""
        return {"rules": self.answer.__module__}

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """The rules' answer as JSON; an exception in the rules is an error row."""
        mark("sent")
        try:
            answer = self.answer(str(request.inputs["text"]))
        except Exception as error:
            raise CallFailed("internal", f"rules.py: {type(error).__name__}: {error}") from error
        mark("first")
        return Completion(text=json.dumps(answer, ensure_ascii=False), finish_reason="stop", usage=Usage())

    async def close(self) -> None:
        """Nothing to release."""
