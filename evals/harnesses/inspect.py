"""Inspect (`inspect_ai`): `.eval` and `.json` logs, read by its own reader, a sample at a time.

A sample's epochs are repeats. Tokens and seconds are those of the model calls made while answering; calls made while
scoring (a judge) are left out and told.
"""

import math
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evals.core import Call, Completion, Record, Timing, Usage, stable_hash
from evals.errors import ConfigError, DataError
from evals.harnesses.base import (
    BOUGHT,
    IMPORTED,
    REPORTED_USD,
    Answer,
    Log,
    count,
    error_kind,
    number,
    once,
    scrubbed,
    secrets,
)

HARNESS = "inspect_ai"
WORDS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""Inspect's own reading of a score that is a word: correct, partial, incorrect, no answer."""
STOPS = {"max_tokens": "length", "model_length": "length"}
LENGTHS = ("token", "context", "message", "turn")
"""Limits that cut an answer short because it grew too long."""


def is_zip(path: Path) -> bool:
    """Is the file an `.eval` log?"""
    with suppress(OSError, zipfile.BadZipFile):
        if zipfile.is_zipfile(path):
            return "header.json" in zipfile.ZipFile(path).namelist() or path.suffix == ".eval"
    return False


def is_log(value: Any) -> bool:
    """Is this the content of a `.json` log?"""
    return isinstance(value, Mapping) and "eval" in value and "status" in value


def read(path: Path) -> list[Log]:
    """The log as one run. Raises `ConfigError` where `inspect_ai` is not installed, `DataError` for an unreadable log."""
    try:
        from inspect_ai.log import read_eval_log
    except ImportError:
        raise ConfigError(f"{path}: Inspect's logs need its reader: pip install 'evals-frontier[inspect]'") from None
    try:
        head = read_eval_log(str(path), header_only=True)
        read = _Reading(model=head.eval.model, secrets=_secrets(head.eval))
        for sample in _samples(path):
            read.take(sample)
    except DataError:
        raise
    except Exception as error:  # whatever its reader raises for a log that is not one
        raise DataError(f"{path} cannot be read by inspect_ai: {scrubbed(str(error))}") from None
    if not read.answers:
        raise DataError(f"{path} holds no samples (status {head.status})")
    once(read.answers, path)
    return [_log(path, head, read)]


def _secrets(spec: Any) -> frozenset[str]:
    parts = [spec.model_args, spec.task_args, spec.solver_args, spec.metadata, dict(spec.model_roles or {})]
    plain = [part.model_dump() if hasattr(part, "model_dump") else part for part in parts]
    roles = [one.model_dump() if hasattr(one, "model_dump") else one for one in dict(spec.model_roles or {}).values()]
    return secrets([*plain[:-1], *roles])


def _samples(path: Path) -> Iterator[Any]:
    from inspect_ai.log import read_eval_log_samples

    yield from read_eval_log_samples(str(path), all_samples_required=False)


@dataclass
class _Reading:
    """What is gathered over a log's samples."""

    model: str
    secrets: frozenset[str]
    answers: list[Answer] = field(default_factory=list)
    metrics: dict[str, None] = field(default_factory=dict)
    content: list[str] = field(default_factory=list)
    judged: int = 0
    judge_tokens: int = 0
    invalid: int = 0
    coarse: int = 0
    unread: int = 0
    """Scores that are no number."""

    def take(self, sample: Any) -> None:
        if getattr(sample, "invalidation", None) is not None:
            self.invalid += 1
            return
        if sample.epoch == 1:
            self.content.append(stable_hash([str(sample.id), _said(sample.input), sample.target, sample.choices]))
        answering = _Answering.of(sample, self)
        timing = None if answering.seconds is None else Timing(queued_s=0.0, ttft_s=None, total_s=answering.seconds)
        call = (
            self._failed(sample, timing, answering)
            if sample.error is not None
            else _done(sample, timing, answering, self.model)
        )
        record = Record(
            sample_id=str(sample.id),
            repeat=sample.epoch - 1,
            request_hash=stable_hash(_said(sample.input)),
            calls=(call,),
            answer=None if call.completion is None else 0,
        )
        values = {} if record.answer is None else self._values(sample)
        self.answers.append(Answer(record=record, values=values))

    def _failed(self, sample: Any, timing: Timing | None, answering: "_Answering") -> Call:
        text = scrubbed(sample.error.message, self.secrets)
        used = answering.usage if answering.usage != Usage() else None
        return Call(role="answer", model=self.model, timing=timing, error=error_kind(text), error_text=text, usage=used)

    def _values(self, sample: Any) -> dict[str, float]:
        found: dict[str, float] = {}
        for name, score in (sample.scores or {}).items():
            parts = score.value if isinstance(score.value, Mapping) else {None: score.value}
            for part, value in parts.items():
                if isinstance(value, list | tuple | Mapping):
                    continue
                key = name if part is None else f"{name}.{part}"
                self.metrics[key] = None
                found[key] = as_number(value)
                self.unread += math.isnan(found[key])
        return found


def as_number(value: Any) -> float:
    """A score as a number: C 1, P 0.5, I and N 0, yes/true 1, no/false 0, numbers as they are; NaN where it is none."""
    if isinstance(value, bool | int | float):
        return float(value)
    text = str(value)
    if text in WORDS:
        return WORDS[text]
    with suppress(ValueError):
        return float(text)
    return WORDS.get(text.lower(), math.nan) if text.lower() in ("yes", "no", "true", "false") else math.nan


def _said(value: Any) -> Any:
    """The input's words: messages carry ids that differ from log to log."""
    return value if isinstance(value, str) else [[message.role, message.text] for message in value]


# One sample's calls -------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class _Answering:
    """Usage, seconds, dollars and cache of the calls that made the answer."""

    usage: Usage
    seconds: float | None
    usd: float | None
    cached: bool

    @staticmethod
    def of(sample: Any, read: _Reading) -> "_Answering":
        """From the sample's events; without them from its last output, or, of several turns, from its totals."""
        answered, judged = _model_events(sample)
        read.judged += len(judged)
        read.judge_tokens += sum(event.output.usage.total_tokens for event in judged if event.output.usage)
        if answered:
            usages = [event.output.usage for event in answered]
            timed = [number(event.working_time) or number(event.output.time) for event in answered]
            total = sum(one for one in timed if one) if all(timed) else None
            cached = any(event.cache == "read" for event in answered)
            return _Answering(usage=_sum(usages), seconds=total, usd=_usd(usages), cached=cached)
        if (getattr(sample, "turn_count", None) or _turns(sample)) <= 1:
            usage, seconds = sample.output.usage, number(sample.output.time)
        else:
            usage, seconds = sample.model_usage.get(read.model), number(sample.working_time)
            read.coarse += 1
        return _Answering(usage=_sum([usage]), seconds=seconds or None, usd=_usd([usage]), cached=False)


def _turns(sample: Any) -> int:
    return sum(message.role == "assistant" and message.source == "generate" for message in sample.messages)


def _model_events(sample: Any) -> tuple[list[Any], list[Any]]:
    """Model calls that finished: of the answer, and of scoring (inside a span of scorers)."""
    scoring: set[str] = set()
    answered: list[Any] = []
    judged: list[Any] = []
    for event in sample.events or ():
        if event.event == "span_begin" and (event.type in ("scorers", "scorer") or event.parent_id in scoring):
            scoring.add(event.id)
        elif event.event == "model" and event.error is None:
            inside = event.span_id in scoring or event.role == "grader"
            (judged if inside else answered).append(event)
    return answered, judged


def _sum(usages: list[Any]) -> Usage:
    """Tokens of all calls; `None` where one of them did not report any, or not which were cached."""
    if not usages or any(usage is None or not (usage.total_tokens or usage.output_tokens) for usage in usages):
        return Usage()

    def told(name: str) -> int | None:
        known = [value for usage in usages if (value := count(getattr(usage, name, None))) is not None]
        return sum(known) if known else None

    plain = [plain_input(usage) for usage in usages]
    if any(one is None for one in plain):
        return Usage()
    return Usage(
        input_uncached=sum(one for one in plain if one is not None),
        cache_read=told("input_tokens_cache_read"),
        cache_write=told("input_tokens_cache_write"),
        output=told("output_tokens"),
        reasoning=told("reasoning_tokens"),
    )


def plain_input(usage: Any) -> int | None:
    """Input tokens without the cached ones; `None` where it cannot be told which are meant.

    Inspect's `input_tokens` leave cached ones out today; older versions counted them in for some providers (0.3.150:
    OpenAI's, not Anthropic's). The total, which always holds them once, tells the two apart.
    """
    given, cached = usage.input_tokens, (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    if not cached or given + cached + usage.output_tokens == usage.total_tokens:
        return int(given)
    return int(given - cached) if given >= cached and given + usage.output_tokens == usage.total_tokens else None


def _usd(usages: list[Any]) -> float | None:
    """Dollars as Inspect reports them; 0 is taken as not recorded."""
    told = [number(getattr(usage, "total_cost", None)) for usage in usages]
    return sum(one for one in told if one) if told and all(told) else None


def _done(sample: Any, timing: Timing | None, answering: _Answering, model: str) -> Call:
    output = sample.output
    stop = output.choices[0].stop_reason if output.choices else "unknown"
    finish = STOPS.get(stop, stop)
    if sample.limit is not None:
        finish = "length" if sample.limit.type in LENGTHS else f"limit_{sample.limit.type}"
    notes: dict[str, Any] = {IMPORTED: HARNESS}
    if answering.usd is not None:
        notes[REPORTED_USD] = answering.usd
    if answering.cached:
        notes[BOUGHT] = f"the cache of {HARNESS}"
    served = {"model": output.model} if output.model else {}
    done = Completion(
        text=output.completion, finish_reason=finish, usage=answering.usage, served_by=served, notes=notes
    )
    return Call(role="answer", model=model, timing=timing, completion=done, cached=answering.cached)


# The log ------------------------------------------------------------------------------------------------------


def _log(path: Path, head: Any, read: _Reading) -> Log:
    spec = head.eval
    ids = spec.dataset.sample_ids or sorted({answer.record.sample_id for answer in read.answers})
    metrics = list(read.metrics)
    first = [score.name for score in (head.results.scores if head.results else ())]
    metrics.sort(key=lambda name: first.index(name) if name in first else len(first))
    steps = [[step.solver, step.params] for step in head.plan.steps] if head.plan else []
    return Log(
        harness=HARNESS,
        version=spec.packages.get(HARNESS),
        path=path,
        part="",
        task=spec.task,
        model=spec.model,
        option=spec.model,
        created=str(spec.created),
        answers=read.answers,
        metrics=metrics,
        dataset={
            "harness": HARNESS,
            "name": spec.dataset.name,
            "ids": stable_hash(sorted(map(str, ids))),
            "content": stable_hash(sorted(read.content)),
        },
        prompt=stable_hash([steps, spec.task_args]),
        scorer=[spec.task_version, [[one.name, one.options] for one in spec.scorers or ()]],
        about={
            "task": spec.task,
            "task_version": spec.task_version,
            "model": scrubbed(spec.model, read.secrets),
            "status": head.status,
            "run_id": spec.run_id,
        },
        notes=_notes(path, head, read),
    )


def _notes(path: Path, head: Any, read: _Reading) -> list[str]:
    notes = []
    documents = len({answer.record.sample_id for answer in read.answers})
    planned = head.eval.dataset.samples
    if head.status != "success" or (planned or documents) > documents:
        notes.append(f"status {head.status}: {documents} of {planned or '?'} documents are in the log")
    reducers = [name for name in (head.eval.config.epochs_reducer or []) if name != "mean"]
    if reducers:
        notes.append(f"Inspect reduced epochs by {', '.join(reducers)}; here repeats are averaged inside a document")
    if read.judged:
        notes.append(
            f"{read.judged} model calls made while scoring ({read.judge_tokens:,} tokens) are not counted in the cost"
        )
    if read.invalid:
        notes.append(f"{read.invalid} samples are marked invalid and were left out")
    if read.coarse:
        notes.append(
            f"{read.coarse} samples of several turns without events: usage and seconds are the sample's totals"
        )
    if read.unread:
        notes.append(f"{read.unread} scores are no number and count as not scored")
    return [f"{path.name}: {note}" for note in notes]
