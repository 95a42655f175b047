"""What a foreign log becomes before it is written: nouns of our own, checked, without a secret in them.

A reader (`inspect`, `lm_eval`, `promptfoo`) takes from a log only what it names here; configuration, headers and
prompts are never kept. What the log does not say stays `None`, and what was assumed is a note.
"""

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.catalog import nearest
from evals.core import Json, Record, Score
from evals.errors import CallErrorKind, ConfigError, DataError

IMPORTED, REPORTED_USD, BOUGHT = "imported", "reported_usd", "bought"
"""Keys of `Completion.notes`: which harness made it, dollars as it reports them, another run's purchase (cached)."""
NEXT_TO_NOTHING = 200
"""Characters of an error's text that are kept."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One document of a foreign log, answered once."""

    record: Record
    values: Mapping[str, float] = field(default_factory=dict)
    """Metric -> value as the harness scored it; NaN: it could not be scored. Empty where the document failed."""
    reason: str | None = None
    """One line, where the score needs a word."""


@dataclass(frozen=True, kw_only=True)
class Log:
    """One option of a foreign log: one model (and prompt) over one task's documents."""

    harness: str
    version: str | None
    path: Path
    part: str
    """Which part of the file this is (provider and prompt, filter): with the file's bytes, its identity."""
    task: str
    model: str
    option: str
    created: str | None
    """UTC, ISO 8601, as the log says."""
    answers: Sequence[Answer]
    metrics: Sequence[str]
    """In the harness's order; the first is the main one unless the user names another."""
    dataset: Mapping[str, Any]
    """What identifies the documents: equal for two logs over the same ones."""
    prompt: str | None
    """Hash of what was asked around the document."""
    scorer: Json
    """How it was scored, beside the metric's name: enters the scorer's hash."""
    lower: frozenset[str] = frozenset()
    """Metrics of which less is better."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """More of where it came from, for the manifest."""
    notes: Sequence[str] = ()


# Reading ------------------------------------------------------------------------------------------------------


def sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """A JSON file. Raises `DataError` with the line that is wrong."""
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}:{error.lineno} is no valid JSON ({error.msg}); is the file torn?") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path} is no JSON ({type(error).__name__})") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None


def json_lines(path: Path, notes: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and object of every line that is not blank. A torn last line is dropped, and told in `notes`."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
            except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
                if not raw.endswith(b"\n") and not file.read(1) and number > 1:
                    notes.append(f"{path.name}: the last line ({number}) is torn and was dropped: 1 line")
                    return
                raise DataError(f"{path}:{number} is no JSON line ({error})") from None
            if not isinstance(row, dict):
                raise DataError(f"{path}:{number} should be a JSON object, it is {type(row).__name__}")
            yield number, row


def needed(row: Mapping[str, Any], key: str, where: str) -> Any:
    """A key that must be there; raises `DataError` that names the place."""
    if not isinstance(row, Mapping) or key not in row:
        has = ", ".join(map(repr, list(row)[:12])) if isinstance(row, Mapping) else type(row).__name__
        raise DataError(f"{where} has no {key!r}; it has {has or 'nothing'}")
    return row[key]


def mapping(value: Any) -> Mapping[str, Any]:
    """The value where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> Sequence[Any]:
    """The value where it is a list, else an empty one."""
    return value if isinstance(value, list) else ()


def number(value: Any) -> float | None:
    """A number (or yes/no) as float, `None` where it is none."""
    if isinstance(value, bool | int | float):
        return float(value)
    return None


def count(value: Any) -> int | None:
    """A token count, `None` where it is none."""
    found = number(value)
    return int(found) if found is not None and math.isfinite(found) and found >= 0 else None


def once(answers: Sequence[Answer], path: Path) -> None:
    """Raises `DataError` where a document was answered twice under one repeat."""
    keys = Counter((answer.record.sample_id, answer.record.repeat) for answer in answers)
    if twice := next((key for key, times in keys.items() if times > 1), None):
        raise DataError(f"{path}: the document {twice[0]!r} stands twice in it (repeat {twice[1]})")


# Secrets and errors -------------------------------------------------------------------------------------------

_SECRET_KEY = re.compile(r"key|token|secret|password|authorization|cookie|credential", re.I)
_SECRET_TEXT = re.compile(
    r"(?:sk|pk|rk|key|hf|gh[opsu]|xox[abp]|AKIA|AIza)[-_]?[A-Za-z0-9_-]{12,}|Bearer\s+\S+|sk-\S+"
    r"|(?:api[-_ ]?key|token|secret|password|authorization)[\"']?\s*(?:provided)?\s*[:=]\s*\S+",
    re.I,
)


def secrets(config: Any) -> frozenset[str]:
    """Every text under a key that names a secret, anywhere in a foreign configuration: never to be written."""
    found: set[str] = set()
    stack: list[tuple[str, Any]] = [("", config)]
    while stack:
        name, value = stack.pop()
        if isinstance(value, Mapping):
            stack += [(f"{name}.{key}" if _SECRET_KEY.search(name) else str(key), part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            stack += [(name, part) for part in value]
        elif isinstance(value, str) and len(value) >= 6 and _SECRET_KEY.search(name):
            found.add(value)
    return frozenset(found)


def scrubbed(text: str, known: frozenset[str] = frozenset()) -> str:
    """An error's first line (or a name) without what is, or looks like, a secret."""
    for secret in known:
        text = text.replace(secret, "***")
    first = next((line for line in text.splitlines() if line.strip()), "")
    return _SECRET_TEXT.sub("***", " ".join(first.split()))[:NEXT_TO_NOTHING]


_KINDS: tuple[tuple[CallErrorKind, str], ...] = (
    ("rate_limit", r"\b429\b|rate.?limit|too many requests|quota"),
    ("context_length", r"context.?length|context window|maximum context|prompt is too long"),
    ("content_filter", r"content.?filter|content.?policy|content management policy"),
    ("auth", r"\b40[13]\b|api.?key|unauthori[sz]ed|forbidden|authentication|permission denied"),
    ("timeout", r"time.?d? ?-?out|deadline"),
    ("unknown_model", r"model.{0,40}(?:not found|does not exist)|\b404\b"),
    ("bad_request", r"\b400\b|bad request|invalid request"),
    ("server", r"\b5\d\d\b|connection|econn|fetch failed|overloaded|unavailable|socket"),
)


def error_kind(text: str) -> CallErrorKind:
    """Kind of a failure by the words of its text; `internal` (not the model's fault) where they say nothing."""
    low = text[:1000].lower()
    return next((kind for kind, words in _KINDS if re.search(words, low)), "internal")


# The main score -----------------------------------------------------------------------------------------------


def main_metric(log: Log, wanted: str | None) -> str:
    """The metric that becomes `score`: the user's, else the first of which more is better. Raises `ConfigError`."""
    if wanted is not None:
        if wanted not in log.metrics:
            raise ConfigError(f"metric={wanted} is not in {log.path}{nearest(wanted, log.metrics)}")
        if wanted in log.lower:
            raise ConfigError(f"metric={wanted}: of it less is better, a score says more for better; take another")
        return wanted
    found = next((name for name in log.metrics if name not in log.lower), None)
    if found is None:
        held = f" (less is better: {', '.join(log.metrics)})" if log.metrics else ""
        raise DataError(f"{log.path} holds no metric with one number a document of which more is better{held}")
    return found


def is_binary(log: Log, metric: str) -> bool:
    """Was every answer scored, and scored 0 or 1? Then the metric is right or wrong, and document exact match too."""
    values = [answer.values.get(metric, math.nan) for answer in log.answers if answer.record.answer is not None]
    return bool(values) and all(value in (0.0, 1.0) for value in values)


def score_of(answer: Answer, log: Log, metric: str, *, binary: bool) -> Score:
    """Our score of one answer: `score` (a document that failed has 0), `exact` where the metric is right or wrong, and
    every metric under the harness's own name."""
    failed = answer.record.answer is None
    value = 0.0 if failed else answer.values.get(metric, math.nan)
    metrics = {"score": value, **({"exact": value} if binary else {})}
    metrics |= {f"{log.harness}/{name}": found for name, found in answer.values.items()}
    return Score(metrics=metrics, reason=answer.reason)
