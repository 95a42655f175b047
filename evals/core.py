"""The nouns: frozen, keyword-only dataclasses that every room speaks in. Standard library only.

Units stand in the names (`_s` seconds, `_usd` dollars). Everywhere `None` means "not measured" or "not
reported", NaN means "could not be scored", and 0 means zero.
"""

import functools
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

DataClass = Literal["public", "internal", "restricted"]
Role = Literal["answer", "escalation", "retry", "judge", "part"]
Outcome = Literal["tp", "wrong", "miss", "hall", "tn"]
Json = Any
"""Whatever `json.loads` returns."""


def stable_hash(value: Json, *, length: int = 16) -> str:
    """Hex sha256 (first `length` digits) of the canonical JSON of `value`: key order and spacing never matter."""
    return _digest(canonical(value), length)


def canonical(value: Json) -> str:
    """The one JSON text of a value: sorted keys, no spaces."""
    return _encode(value)


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode


@functools.lru_cache(maxsize=256, typed=True)
def _canonical_rest(*values: Any) -> str:
    """Of the few values that a task's requests share; typed as they are, since 1 and 1.0 are different texts."""
    return _encode(list(values))


def _digest(text: str, length: int) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:length]


_SCHEMAS: dict[int, tuple[Any, str]] = {}


def _canonical_schema(schema: Json) -> str:
    """A task's schema is one object for all its requests: its text is made once."""
    kept = _SCHEMAS.get(id(schema))
    if kept is None or kept[0] is not schema:
        if len(_SCHEMAS) > 64:
            _SCHEMAS.clear()
        kept = _SCHEMAS[id(schema)] = (schema, canonical(schema))
    return kept[1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One document to answer."""

    id: str
    """Stable and unique in its data set."""
    inputs: Mapping[str, Any]
    """What the prompt is made from; for documents, `{"text": ...}`."""
    target: Json
    """The gold answer."""
    tags: tuple[str, ...] = ()
    """Slice tags, such as `simple`, `complex`, `ocr`, `lease`."""
    group: str | None = None
    """Samples of one group have correlated errors (clustered intervals)."""
    data_class: DataClass = "public"
    """Where the document may go."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Message:
    """One turn of the conversation that is sent."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What we ask. Everything above `sample_id` enters the hash, nothing below it does."""

    messages: tuple[Message, ...]
    schema: Mapping[str, Any] | None = None
    """Full JSON Schema of the answer, kinds included; a backend derives its wire form."""
    constrain: bool = True
    """True: decode under the schema where the backend can. False: free text."""
    max_tokens: int = 1024
    temperature: float = 0.0
    seed: int = 0
    parts: tuple["Request", ...] = ()
    """A document in chunks: each part is asked, `Task.merge` makes the answer of their texts."""
    sample_id: str = ""
    data_class: DataClass = "public"
    features: Mapping[str, Any] = field(default_factory=dict)
    """What a router may look at: length, type, OCR quality."""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """The sample's inputs, for models that read no prompt (rules)."""
    truncated_chars: int = 0
    """Characters of the document left out to fit."""

    @property
    def hash(self) -> str:
        """Stable hash of what is asked, the same in every process."""
        messages = ",".join([f"[{_encode(m.role)},{_encode(m.content)}]" for m in self.messages])
        parts = canonical([part.hash for part in self.parts]) if self.parts else "[]"
        rest = _canonical_rest(self.constrain, self.max_tokens, self.temperature, self.seed)[1:-1]
        return _digest(f"[[{messages}],{_canonical_schema(self.schema)},{rest},{parts}]", 16)


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """Tokens of one call. `None` = not reported."""

    input_uncached: int | None = None
    cache_read: int | None = None
    cache_write: int | None = None
    output: int | None = None
    """All generated tokens, reasoning included."""
    reasoning: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """How long one call took, on the engine's monotonic clock."""

    started_at: str | None = None
    """UTC, ISO 8601: when the engine took the document up; `None`: another harness timed it and does not say."""
    queued_s: float
    """Waiting for a limiter or a place, before `sent`."""
    ttft_s: float | None
    """From `sent` to the first non-empty delta."""
    total_s: float
    """From `sent` to the last byte."""
    loop_lag_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    backoff_s: float = 0.0
    """Waiting after the attempt before this one had failed (Retry-After, or jitter)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """What came back."""

    text: str
    finish_reason: str
    """`stop`, `length`, `refusal`, or the provider's own word."""
    usage: Usage = Usage()
    served_by: Mapping[str, Any] = field(default_factory=dict)
    """Model id and fingerprint as the server reports them."""
    signals: Mapping[str, float] = field(default_factory=dict)
    """Confidence signals that cost nothing (log-probabilities)."""
    truncated_tokens: int = 0
    """Prompt tokens the backend left out to fit its context."""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """What the backend had to change: parameters dropped, keywords unsupported."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """One paid attempt: a completion, or the kind of error that came instead."""

    role: Role
    model: str
    timing: Timing | None = None
    """`None`: the answer was made elsewhere, nothing was timed here."""
    completion: Completion | None = None
    error: str | None = None
    """Error kind (see `errors.CallFailed`), `None` where there is a completion."""
    error_text: str | None = None
    """The error in one line, without secrets."""
    usage: Usage | None = None
    """Tokens of an attempt that failed, where the provider reported them: they are paid for too."""
    in_flight: int = 1
    """Calls under way when this one was sent, itself included."""
    cached: bool = False
    """Served from the response cache: bought by an earlier run, timed there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Record:
    """One document answered: every call made for it, and which one counts."""

    sample_id: str
    repeat: int
    request_hash: str
    calls: tuple[Call, ...]
    answer: int | None
    """Index of the call that counts; `None`: no answer, see the last call's error."""
    truncated_chars: int = 0
    route: Mapping[str, Any] = field(default_factory=dict)
    """Of a hybrid: what its choice rested on (`kind`, and what was compared: `p_error, threshold, signals`)."""

    @property
    def text(self) -> str | None:
        """The answer's text, `None` where the document failed."""
        completion = self.calls[self.answer].completion if self.answer is not None else None
        return completion.text if completion else None

    @property
    def error(self) -> str | None:
        """Kind of the error that left the document without an answer."""
        return None if self.answer is not None or not self.calls else self.calls[-1].error


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldOutcome:
    """How one leaf of the answer compares with gold."""

    path: str
    """Schema path with list positions erased, such as `parties[].name`."""
    kind: str
    """`date`, `money`, `name`, ... as the schema declares it."""
    outcome: Outcome
    """Under normalised comparison."""
    strict: Outcome
    """Under exact comparison of the JSON values: the gap is formatting."""
    gold: Json = None
    answer: Json = None
    grounded: bool | None = None
    """Of a value that is wrong, or should not be there: does it (or its normal form) occur in the source? `None`: the
    value is right, there is none, or it cannot be checked. Routing asks for every value, see `evals.policy`."""
    note: str | None = None
    """Why, where it is not plain: `ambiguous date`, `negation differs`, `wrong type`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Score:
    """How good one answer is."""

    metrics: Mapping[str, float]
    """Metric name -> value; NaN = could not be scored."""
    fields: tuple[FieldOutcome, ...] = ()
    answer: Json = None
    """The extracted answer, `None` where none could be parsed."""
    reason: str | None = None
    """One line, where the score needs a word: `no JSON`, `schema: 'term' is required`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """A dated fact: dollars per million tokens, or per hour of a machine."""

    name: str
    input_usd_per_mtok: float | None = None
    cache_read_usd_per_mtok: float | None = None
    cache_write_usd_per_mtok: float | None = None
    output_usd_per_mtok: float | None = None
    over_input_tokens: int = 0
    """The rates hold for calls whose prompt has more tokens than this, cached ones included."""
    longer: tuple["Price", ...] = ()
    """Rates of longer prompts, by rising `over_input_tokens`; every token of such a call is billed at them."""
    usd_per_hour: float | None = None
    watts: float | None = None
    source: str | None = None
    """Page, package or invoice the figure was read from."""
    date: str | None = None
    provenance: Literal["measured", "declared", "assumed"] = "declared"


PolicyKind = Literal["single", "random_mix", "rule", "cascade", "preroute", "privacy_route"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """Who answers a document: one model, or a cheap and a strong one and what decides between them."""

    kind: PolicyKind
    """`cascade`: cheap first, strong where its answer is not trusted. `preroute`, `rule`, `random_mix`: one of the two,
    before either is asked. `privacy_route`: strong, but for documents that it may not be shown. `single`: cheap alone."""
    cheap: str
    """Option name, as in the runs the policy was fitted on."""
    strong: str | None = None
    """The other option; `None` for `single`."""
    signal: Mapping[str, Any] | None = None
    """How P(error) of the cheap model is made: `{inputs, mean, scale, coef, intercept, link, calibration: {x, y}}`."""
    threshold: float | None = None
    """The strong model is asked where P(error) is above this."""
    share: float | None = None
    """Of `random_mix`: the part of all documents that goes to the strong model, by a hash of their ids."""
    rule: Mapping[str, Any] | None = None
    """`{feature, op, value}`: where it holds, the strong model is asked."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What it was fitted on: task, version, hashes, runs, n, simulated figures, `places` (location and terms of both)."""


@runtime_checkable
class Task(Protocol):
    """What is asked of every document. `loading` builds it, the engine is handed it."""

    @property
    def name(self) -> str:
        """The folder's name."""
        ...

    @property
    def version(self) -> str:
        """Raised when documents or scoring change."""
        ...

    @property
    def split(self) -> str:
        """`dev` or `test`."""
        ...

    def samples(self) -> Iterator[Sample]:
        """Stream the split's samples, in a stable order."""
        ...

    def request(self, sample: Sample) -> Request:
        """What to ask about one sample."""
        ...

    def merge(self, sample: Sample, texts: Sequence[str]) -> str:
        """One answer of the texts of a request's parts."""
        ...

    def score(self, sample: Sample, text: str | None) -> Score:
        """How good an answer is; `None` is a document that failed."""
        ...
