"""What is sent to OpenAI's chat and responses: the body of a request, but for its messages. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from evals.core import Request
from evals.models.wire_schema import Dialect, derive, schema_name

Api = Literal["chat", "responses"]
Structured = Literal["json_schema", "json_object", "json_object_schema", "none"]
PATHS: dict[str, str] = {"chat": "/chat/completions", "responses": "/responses"}
DROPPABLE = ("temperature", "seed", "max_tokens", "stream_options", "store")


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a model is asked: what its YAML says."""

    id: str
    api: Api
    stream: bool
    structured: Structured
    dialect: Dialect
    max_tokens_key: str
    drop: tuple[str, ...]
    extra: Mapping[str, Any]

    @property
    def dropped(self) -> tuple[str, ...]:
        """What is never sent; the responses API has no seed."""
        none = ("seed",) if self.api == "responses" else ()
        return tuple(name for name in DROPPABLE if name in self.drop or name in none)

    def fixed(self, request: Request, *, stream: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        """The body but for its messages, and the notes about what is not in it."""
        body: dict[str, Any] = {"model": self.id}
        wanted = {"temperature": request.temperature, "seed": request.seed, "max_tokens": request.max_tokens}
        dropped = [name for name in self.dropped if name in wanted]
        for name, value in wanted.items():
            if name not in dropped:
                body[self.max_tokens_key if name == "max_tokens" else name] = value
        if self.api == "responses" and "store" not in self.drop:
            body["store"] = False  # its default keeps every document for at least 30 days
        if stream:
            body |= self._streaming()
        form, lost = self._form(request)
        body |= form
        notes: dict[str, Any] = {"dropped": dropped} if dropped else {}
        if lost:
            notes["keywords_not_enforced"] = list(lost)
        return body | dict(self.extra), notes

    def _streaming(self) -> dict[str, Any]:
        options: dict[str, Any] = {"include_usage": True} if self.api == "chat" else {}
        if self.dialect == "openai":
            options["include_obfuscation"] = False  # padding of every delta: bytes that tell nothing
        return {"stream": True} | ({"stream_options": options} if options and "stream_options" not in self.drop else {})

    def _form(self, request: Request) -> tuple[dict[str, Any], Sequence[str]]:
        """The field that asks for JSON, and the schema's keywords it does not say."""
        if request.schema is None or not request.constrain or self.structured == "none":
            return {}, ()
        form: dict[str, Any] = {"type": self.structured}
        lost: Sequence[str] = ()
        if self.structured == "json_schema":
            schema, lost = derive(request.schema, self.dialect)
            inside = {"name": schema_name(request.schema), "schema": schema, "strict": True}
            form |= inside if self.api == "responses" else {"json_schema": inside}
        elif self.structured == "json_object_schema":  # as llama-cpp-python's server and some hosts have it
            schema, lost = derive(request.schema, self.dialect)
            form = {"type": "json_object", "schema": schema}
        return {"text": {"format": form}} if self.api == "responses" else {"response_format": form}, lost


def messages_key(api: Api) -> str:
    """The field that holds the messages."""
    return "input" if api == "responses" else "messages"
