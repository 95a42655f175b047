"""What the tests of the server ask for through the SDKs."""

import time
from collections.abc import Callable
from typing import Any

SCHEMA: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "required": ["who", "when", "kind", "many"],
    "properties": {
        "who": {"type": ["string", "null"]},
        "when": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"type": "string", "enum": ["a", "b"]},
        "many": {"type": "array", "items": {"type": "integer"}},
    },
}
LEAST: dict[str, Any] = {"who": None, "when": None, "kind": "a", "many": []}
TEXT = "All is well that ends well, said he."  # 36 letters, 9 tokens


def said(text: str) -> list[dict[str, str]]:
    """One user message."""
    return [{"role": "user", "content": text}]


def chat(gpt: Any, text: str, **more: Any) -> Any:
    """A chat completion."""
    return gpt.chat.completions.create(**{"model": "m", "messages": said(text)} | more)


def message(claude: Any, text: str, **more: Any) -> Any:
    """A message."""
    return claude.messages.create(**{"model": "m", "max_tokens": 100, "messages": said(text)} | more)


def strict(schema: Any) -> dict[str, Any]:
    """OpenAI's response format."""
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}


def wait_for(done: Callable[[], Any]) -> Any:
    """Until it says something true."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if found := done():
            return found
        time.sleep(0.02)
    raise AssertionError("it never came")
