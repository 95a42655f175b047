"""What tests of llama.cpp on real weights share: the weights, a contract or two to ask about, and how to ask."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import pytest

from evals.core import Completion, Message, Request
from evals.models.llama_cpp import LlamaCpp


def _weights() -> str | None:
    named = os.environ.get("EVALS_TEST_GGUF")
    if named:
        return named
    cache = Path(os.environ.get("EVALS_CACHE") or Path(__file__).parents[2] / ".evals")
    found = sorted((cache / "weights").rglob("*.gguf"), key=lambda path: path.stat().st_size)
    return str(found[0]) if found else None


GGUF = _weights()
has_library = pytest.mark.skipif(importlib.util.find_spec("llama_cpp") is None, reason="llama_cpp is not installed")
real = [
    pytest.mark.slow,
    has_library,
    pytest.mark.skipif(GGUF is None, reason="no GGUF: set EVALS_TEST_GGUF"),
]
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["title", "parties", "start", "days", "renews"],
    "properties": {
        "title": {"type": ["string", "null"], "kind": "name", "maxLength": 30},
        "parties": {
            "type": "array",
            "maxItems": 2,
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string", "maxLength": 30}},
            },
        },
        "start": {"type": ["string", "null"], "kind": "date", "maxLength": 12},
        "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 999},
        "renews": {"type": ["boolean", "null"]},
    },
}
SYSTEM = "You read contracts and answer with JSON only. Use null where the document says nothing. " * 6
DOCUMENTS = [
    "LEASE between Harbor Holdings LLC and Mia Okafor, from 1 April 2022. Rent is due within 5 days.",
    "SERVICES AGREEMENT. Acme Ltd serves Beta GmbH from 5 January 2024. Invoices are paid in 30 days. It renews.",
]


class Marks:
    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str, offset_s: float | None = None) -> None:
        self.names.append(name)


def ask(document: str = DOCUMENTS[0], **changes: Any) -> Request:
    user = f"Contract:\n\n{document}\n\nGive title, parties, start, days and renews."
    settings: dict[str, Any] = {
        "messages": (Message(role="system", content=SYSTEM), Message(role="user", content=user)),
        "schema": SCHEMA,
        "max_tokens": 160,
        "inputs": {"text": document},
    }
    return Request(**{**settings, **changes})


def make(**changes: Any) -> LlamaCpp:
    return LlamaCpp(
        **{"name": "small", "path": GGUF, "n_ctx": 1024, "threads": 1, "slots": 2, "tune": "off", **changes}
    )


def answer(model: LlamaCpp, request: Request) -> Completion:
    return model.generate(request, Marks())


def drained(model: LlamaCpp) -> dict[int, Completion]:
    """Step until nothing is in hand."""
    done: dict[int, Any] = {}
    while model._slots.busy:
        done |= dict(model.step())
    return done
