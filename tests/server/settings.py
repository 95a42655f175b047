"""What the test server does: one flat record, set on the command line and by `POST /_reset`."""

import json
import time
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

try:
    import orjson

    def dumps(value: Any) -> bytes:
        """Compact JSON."""
        return orjson.dumps(value)

    def loads(text: bytes | str) -> Any:
        """JSON as a value."""
        return orjson.loads(text)

except ImportError:  # the standard library does, only slower

    def dumps(value: Any) -> bytes:
        """Compact JSON."""
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    def loads(text: bytes | str) -> Any:
        """JSON as a value."""
        return json.loads(text)


clock = time.perf_counter


@dataclass(kw_only=True, slots=True)
class Settings:
    """All of them; the docstring under a field is its help text."""

    latency_ms: float = 0.0
    """From the request's arrival to the last byte of the answer."""
    first_ms: float | None = None
    """To the first delta of a streamed answer; the others spread evenly up to latency_ms. Without it all come at once, in
    one write, at latency_ms."""
    jitter: float = 0.0
    """0.2: latencies between 0.8 and 1.2 of what is set, drawn from seed, document and attempt."""
    slots: int | None = None
    """Requests that are served at once, each for its latency; the others wait, first come, first served. None: all."""
    chunks: int = 8
    """Deltas of a streamed answer (fewer where the text is shorter)."""
    reply: str | None = None
    """The answer's text, schema or not. Without it an instance of the request's schema, or "OK"."""
    replies: dict[str, str] = field(default_factory=dict)
    """Answers by document id, before `reply`."""
    served_suffix: str = ""
    """Put behind the model's name in the reply, as providers resolve an alias to a dated model."""
    bare: bool = False
    """Chat completions as small OpenAI-compatible servers give them: usage without details, no tier, fingerprint or request id."""
    stream_usage: str = "asked"
    """Usage of a streamed chat completion: asked (a chunk of its own where include_usage is set, as OpenAI does), last_chunk
    (always, in the chunk with the finish reason, as Mistral does), never."""
    seed: int = 0
    """Of the faults and the jitter."""
    faults: dict[str, float] = field(default_factory=dict)
    """Share of documents by kind: an HTTP status ("429", "500", "529" ...), hang, drop, truncated, unreadable, and in streams
    stall and stream_error."""
    fault_attempts: int = 1
    """A document's first so many attempts may meet a fault, each drawn anew; 0: all."""
    retry_after: str = "seconds"
    """Form of the header: seconds, date, ms (retry-after-ms beside whole seconds), none."""
    retry_after_s: float = 1.0
    """Its value on an injected fault."""
    retry_after_on: str = "429"
    """Statuses that carry it, by comma."""
    requests_per_minute: float | None = None
    """Enforced for each key by a bucket that refills evenly."""
    tokens_per_minute: float | None = None
    """The same for tokens in and out."""
    burst_s: float = 1.0
    """Both buckets hold what so many seconds bring (at least one request)."""
    batch_s: float = 0.5
    """A batch ends so long after it was submitted."""
    batch_drops: int = 0
    """The first so many submissions of a batch are accepted, and the connection is then cut."""
    batch_errors: int = 0
    """The first so many calls of files, batches and results get a 500."""
    lean: bool = False
    """No checks of request bodies and no /_last: for benchmarks."""
    keep: int = 50
    """Requests kept for /_last."""

    def changed(self, new: dict[str, Any]) -> "Settings":
        """A copy with these; an unknown name or a wrong type raises ValueError."""
        known = {f.name: f.type for f in fields(self)}
        values = {name: getattr(self, name) for name in known}
        for name, value in new.items():
            if name not in known:
                raise ValueError(f"unknown setting {name}: it is one of {', '.join(known)}")
            values[name] = as_type(name, value, known[name])
        return Settings(**values)


def as_type(name: str, value: Any, kind: Any) -> Any:
    """A setting given as JSON or as a word on the command line."""
    accepts_none = "None" in str(kind)
    if value is None and accepts_none:
        return None
    if value is None:
        raise ValueError(f"{name}: not null")
    if kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{name}: true or false, not {value!r}")
        return value
    if kind is int or str(kind) == "int | None":
        return int(value)
    if "float" in str(kind) and "dict" not in str(kind):
        return float(value)
    if "dict" in str(kind):
        loaded = json.loads(value) if isinstance(value, str) else value
        if not isinstance(loaded, dict):
            raise ValueError(f"{name}: an object, not {value!r}")
        return loaded
    return str(value)


def from_words(words: dict[str, str]) -> dict[str, Any]:
    """Command line words as settings: `reply` and `replies` name files there."""
    settings: dict[str, Any] = dict(words)
    for name in ("reply", "replies"):
        if name in settings:
            settings[name] = Path(settings[name]).read_text(encoding="utf-8")
    return settings
