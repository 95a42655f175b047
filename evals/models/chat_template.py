"""Messages to one prompt text: through a model's own chat template, or plainly for a base model.

One renderer for every in-process backend, so that the same weights are shown the same prompt. It renders as
transformers and llama-cpp-python do: Jinja in a sandbox, blocks trimmed, `{% generation %}` passed through.
"""

import datetime
import json
from collections.abc import Mapping, Sequence
from typing import Any

from evals.core import Message
from evals.errors import CallFailed, WeightsError

TEMPLATE_DATE = datetime.datetime(2024, 7, 26)
"""Templates that print today's date print this one: the same document must give the same prompt tomorrow."""
_PROBE = "evalsProbe"


class ChatTemplate:
    """A Jinja chat template, rendered in a sandbox."""

    def __init__(self, text: str, *, bos: str, eos: str, args: Mapping[str, Any] | None = None) -> None:
        environment = _environment()
        try:
            self._template = environment.from_string(text)
        except Exception as error:
            raise WeightsError(f"the chat template cannot be read: {_line(error)}; set chat: false") from None
        self._given = {"bos_token": bos, "eos_token": eos, **dict(args or {})}
        self.has_system = self._keeps_system()

    def render(self, messages: Sequence[Message]) -> str:
        """The prompt, up to where the answer begins."""
        turns = [{"role": message.role, "content": message.content} for message in messages]
        try:
            return str(self._template.render(**{"messages": turns, **self._given}))
        except Exception as error:
            raise CallFailed("bad_request", f"the chat template refuses these messages: {_line(error)}") from None

    def _keeps_system(self) -> bool:
        """Some templates refuse a system message, others drop it without a word."""
        try:
            text = self.render([Message(role="system", content=_PROBE), Message(role="user", content="x")])
        except CallFailed:
            return False
        return _PROBE in text


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """System messages moved to the head of the first user message."""
    system = "\n\n".join(message.content for message in messages if message.role == "system")
    rest = [message for message in messages if message.role != "system"]
    first = next((at for at, message in enumerate(rest) if message.role == "user"), None)
    if not system:
        return tuple(rest)
    if first is None:
        return (Message(role="user", content=system), *rest)
    rest[first] = Message(role="user", content=f"{system}\n\n{rest[first].content}")
    return tuple(rest)


def plain_prompt(messages: Sequence[Message], *, json: bool) -> str:
    """For a base model: the texts one after the other, each user's followed by the cue `JSON:` (or `Answer:`).

    Examples are turns of user and assistant before the last: the model continues the pattern.
    """
    cue = "JSON:" if json else "Answer:"
    parts = [
        f"{message.content.strip()}\n\n{cue}" if message.role == "user" else message.content.strip()
        for message in messages
    ]
    text = ""
    for part, message in zip(parts, messages, strict=True):
        text += (" " if message.role == "assistant" else "\n\n" if text else "") + part
    return text


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _environment() -> Any:
    """Jinja as chat templates expect it. llama-cpp-python and torch both bring it."""
    import jinja2
    import jinja2.ext
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """`{% generation %}` marks what is trained on; here it is passed through."""

        tags = {"generation"}  # noqa: RUF012 - as Jinja declares it

        def parse(self, parser: Any) -> Any:
            parser.stream.skip(1)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    made = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    made.filters["tojson"] = _tojson
    made.globals |= {
        "raise_exception": _refuse,
        "strftime_now": TEMPLATE_DATE.strftime,
        "add_generation_prompt": True,
        **dict.fromkeys(("tools", "tool_choice", "functions", "function_call")),
    }
    return made


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **options: Any) -> str:
    # Jinja's own escapes letters for HTML.
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **options)


def _refuse(message: str) -> None:
    raise ValueError(message)
