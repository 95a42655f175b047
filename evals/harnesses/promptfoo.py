"""promptfoo: the JSON (or JSONL) of `promptfoo eval --output`, one run a provider and prompt.

Layout as the types `OutputFile`, `EvaluateSummaryV3`, `EvaluateResult`, `ProviderResponse` and `TokenUsage` of its
source say (0.121): `results.version` 3, a row a test and column in `results.results`. Its failure reasons: 0 none,
1 an assertion, 2 an error. It writes 0 for what was not recorded: a cost or a latency of 0 and usage without prompt
tokens are unknown here. `prompt` tokens hold the cached ones; `tokenUsage.cached` is its own cache, not the provider's.
"""

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evals.core import Call, Completion, Record, Timing, Usage, stable_hash
from evals.errors import DataError
from evals.harnesses.base import (
    BOUGHT,
    IMPORTED,
    REPORTED_USD,
    Answer,
    Log,
    count,
    error_kind,
    json_lines,
    listed,
    mapping,
    needed,
    number,
    scrubbed,
    secrets,
)

HARNESS = "promptfoo"
VERSIONS = (2, 3)
ASSERT, ERROR = 1, 2
ROW = frozenset({"provider", "success", "score"})


def is_output(value: Any) -> bool:
    """Is this the content of an output file, or of the summary inside it?"""
    inner = value.get("results") if isinstance(value, Mapping) else None
    return (isinstance(inner, Mapping) and "results" in inner) or (isinstance(inner, list) and "stats" in value)


def is_row(row: Mapping[str, Any]) -> bool:
    """Is this a line of an output file in JSONL?"""
    return set(row) >= ROW and ("testCase" in row or "vars" in row)


def read_lines(path: Path) -> list[Log]:
    """A JSONL output: a row a line. Raises `DataError`."""
    notes: list[str] = []
    rows = [(f"{path}:{line}", row) for line, row in json_lines(path, notes)]
    return _logs(path, rows, {}, {}, frozenset(), notes)


def read(path: Path, value: Mapping[str, Any]) -> list[Log]:
    """A JSON output. Raises `DataError` that names the row and key which is wrong."""
    summary = value["results"] if isinstance(value["results"], Mapping) else value
    version = summary.get("version")
    if version not in VERSIONS:
        raise DataError(f"{path}: promptfoo results of version {version!r} are not known; known are {VERSIONS}")
    found = needed(summary, "results", f"{path}: results")
    if not isinstance(found, list):
        raise DataError(f"{path}: results.results should be a list, it is {type(found).__name__}")
    rows = [(f"{path}: results.results[{at}]", row) for at, row in enumerate(found)]
    known = secrets([value.get("config"), *(_settings(mapping(row)) for row in found)])
    return _logs(path, rows, value, summary, known, [])


def _settings(row: Mapping[str, Any]) -> list[Any]:
    """Where a row may hold a key: its provider's configuration, and the headers of its requests."""
    return [row.get("provider"), row.get("metadata"), mapping(row.get("response")).get("metadata")]


def _logs(
    path: Path,
    rows: Sequence[tuple[str, Any]],
    value: Mapping[str, Any],
    summary: Mapping[str, Any],
    known: frozenset[str],
    notes: list[str],
) -> list[Log]:
    columns: dict[str, list[tuple[str, Mapping[str, Any]]]] = defaultdict(list)
    for where, row in rows:
        for key in ("provider", "success", "score"):
            needed(row, key, where)
        columns[_column(row)].append((where, row))
    if not columns:
        raise DataError(f"{path} holds no results")
    names = _names({key: part[0][1] for key, part in columns.items()}, known)
    config, meta = mapping(value.get("config")), mapping(value.get("metadata"))
    task = config.get("description") if isinstance(config.get("description"), str) else None
    about = {"eval_id": value.get("evalId"), "result_version": summary.get("version")}
    created = meta.get("evaluationCreatedAt") or summary.get("timestamp")
    found = []
    for key, part in columns.items():
        model, option = names[key]
        answers = _answers(part, model, known)
        told = [*notes, *_notes(path, option, part, answers)]
        ids = sorted({answer.record.sample_id for answer in answers})
        found.append(
            Log(
                harness=HARNESS,
                version=str(meta["promptfooVersion"]) if "promptfooVersion" in meta else None,
                path=path,
                part=key,
                task=scrubbed(task, known) if task else path.stem,
                model=model,
                option=option,
                created=str(created) if created else None,
                answers=answers,
                metrics=_metrics(answers),
                dataset={"harness": HARNESS, "documents": len(ids), "tests": stable_hash(ids)},
                prompt=_prompt(part[0][1]),
                scorer=["assertions of the tests"],
                about={**{k: v for k, v in about.items() if v is not None}, "model": model},
                notes=told,
            )
        )
    return found


def _column(row: Mapping[str, Any]) -> str:
    """What tells one column of the table from another: provider and prompt."""
    provider, prompt = mapping(row.get("provider")), mapping(row.get("prompt"))
    named = [provider.get("id") or row.get("provider"), provider.get("label"), row.get("promptIdx")]
    return stable_hash([*map(str, named), *([] if "promptIdx" in row else [prompt.get("label")])])


def _names(first: Mapping[str, Mapping[str, Any]], known: frozenset[str]) -> dict[str, tuple[str, str]]:
    """Column -> model and option: the provider's label, with the prompt's where there are several of one provider."""
    models = {}
    for key, row in first.items():
        provider = mapping(row.get("provider"))
        name = provider.get("label") or provider.get("id") or row.get("provider")
        models[key] = scrubbed(str(name), known) or "unknown"
    times = Counter(models.values())
    found: dict[str, tuple[str, str]] = {}
    seen: Counter[str] = Counter()
    for key, row in first.items():
        option = models[key]
        if times[option] > 1:
            label = scrubbed(str(mapping(row.get("prompt")).get("label") or ""), known)
            option = f"{option}+prompt={label[:40] or row.get('promptIdx', '')}"
        seen[option] += 1
        found[key] = (models[key], option if seen[option] == 1 else f"{option}#{seen[option]}")
    return found


def _prompt(row: Mapping[str, Any]) -> str:
    """Hash of the prompt's template."""
    return stable_hash(row.get("promptId") or mapping(row.get("prompt")).get("label"))


# Rows ---------------------------------------------------------------------------------------------------------


def _answers(rows: Sequence[tuple[str, Mapping[str, Any]]], model: str, known: frozenset[str]) -> list[Answer]:
    seen: Counter[str] = Counter()
    answers = []
    for where, row in sorted(rows, key=lambda pair: count(pair[1].get("testIdx")) or 0):
        name = name_of(row)
        answers.append(_answer(where, row, name, seen[name], model, known))
        seen[name] += 1
    return answers


def name_of(row: Mapping[str, Any]) -> str:
    """Hash of a test's variables, description and assertions, behind the description where there is one. Repeats of a
    test, and other files' rows of it, agree."""
    case = mapping(row.get("testCase"))
    given = mapping(case.get("vars")) or mapping(row.get("vars"))
    variables = {key: value for key, value in given.items() if not key.startswith("_") and key != "sessionId"}
    checks = [
        {key: value for key, value in mapping(check).items() if key != "provider"}
        for check in listed(case.get("assert"))
    ]
    said = case.get("description")
    digest = stable_hash([variables, said, checks], length=12)
    words = re.sub(r"[^A-Za-z0-9]+", "-", said).strip("-")[:30] if isinstance(said, str) else ""
    return f"{words}-{digest[:8]}" if words else digest


def _answer(where: str, row: Mapping[str, Any], name: str, repeat: int, model: str, known: frozenset[str]) -> Answer:
    response = mapping(row.get("response"))
    cached = response.get("cached") is True
    usage, failed = _usage(response), _failed(row, response)
    call = Call(role="answer", model=model, timing=_timing(row, response), cached=cached)
    values: dict[str, float] = {}
    reason = None
    if failed:
        text = scrubbed(str(response.get("error") or row.get("error") or "no reason given"), known)
        paid = None if usage == Usage() else usage
        call = replace(call, error=error_kind(text), error_text=text, usage=paid)
    else:
        call = replace(call, completion=_completion(row, response, usage, cached))
        values, reason = _values(where, row)
    raw = mapping(row.get("prompt")).get("raw")
    record = Record(
        sample_id=name,
        repeat=repeat,
        request_hash=stable_hash(raw),
        calls=(call,),
        answer=None if failed else 0,
    )
    return Answer(record=record, values=values, reason=reason)


def _failed(row: Mapping[str, Any], response: Mapping[str, Any]) -> bool:
    """Was there no answer? An assertion that failed, or a grader that did, leaves one."""
    if response.get("output") is not None:
        return False
    if "failureReason" in row:
        return row["failureReason"] == ERROR or bool(response.get("error"))
    return bool(response.get("error") or row.get("error"))


def _completion(row: Mapping[str, Any], response: Mapping[str, Any], usage: Usage, cached: bool) -> Completion:
    notes: dict[str, Any] = {IMPORTED: HARNESS}
    if cached:
        notes[BOUGHT] = f"the cache of {HARNESS}"
    dollars = number(row.get("cost")) or number(response.get("cost"))
    if dollars:
        notes[REPORTED_USD] = dollars
    finish = "refusal" if response.get("isRefusal") is True else str(response.get("finishReason") or "unknown")
    output = response.get("output")
    text = "" if output is None else output if isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    return Completion(text=text, finish_reason=finish, usage=usage, notes=notes)


def _timing(row: Mapping[str, Any], response: Mapping[str, Any]) -> Timing | None:
    millis = number(row.get("latencyMs")) or number(response.get("latencyMs"))
    return Timing(queued_s=0.0, ttft_s=None, total_s=millis / 1000) if millis and millis > 0 else None


def _usage(response: Mapping[str, Any]) -> Usage:
    """Tokens of a reply. A reply of its cache has totals alone, which say nothing of input and output."""
    told = mapping(response.get("tokenUsage"))
    prompt, output = count(told.get("prompt")), count(told.get("completion"))
    if not prompt:
        return Usage()
    details = mapping(told.get("completionDetails"))
    read, write = count(details.get("cacheReadInputTokens")), count(details.get("cacheCreationInputTokens"))
    plain = prompt - (read or 0) - (write or 0)
    if plain < 0:  # a provider whose prompt tokens leave the cached ones out
        plain = prompt
    return Usage(
        input_uncached=plain,
        cache_read=read,
        cache_write=write,
        output=output,
        reasoning=count(details.get("reasoning")),
    )


def _values(where: str, row: Mapping[str, Any]) -> tuple[dict[str, float], str | None]:
    """Pass, score and named scores; NaN, with the reason, where nothing was asserted or the grader itself failed."""
    score = number(row["score"])
    if score is None or not isinstance(row["success"], bool):
        raise DataError(f"{where}: 'score' should be a number and 'success' true or false")
    grading = mapping(row.get("gradingResult"))
    parts = [mapping(part) for part in listed(grading.get("componentResults"))]
    named = {str(name): float(value) for name, value in mapping(row.get("namedScores")).items() if _plain(value)}
    grader_failed = row.get("failureReason") == ERROR or any(
        mapping(part.get("metadata")).get("graderError") is True for part in parts
    )
    if grader_failed:
        return {"pass": math.nan, "score": math.nan}, "the grader failed"
    if (
        not parts
        and not mapping(row.get("testCase")).get("assert")
        and grading.get("reason") in (None, "No assertions")
    ):
        return {"pass": math.nan, "score": math.nan}, "the test asserts nothing"
    return {"pass": float(row["success"]), "score": score, **named}, None


def _plain(value: Any) -> bool:
    found = number(value)
    return found is not None and math.isfinite(found)


def _metrics(answers: Sequence[Answer]) -> list[str]:
    """`pass` first (a test passed or not), then `score`, then what every answer has of named scores."""
    whole = [answer.values for answer in answers if answer.values]
    named = list(dict.fromkeys(name for values in whole for name in values))
    return [name for name in named if name in ("pass", "score") or all(name in values for values in whole)] or ["pass"]


def _notes(
    path: Path, option: str, rows: Sequence[tuple[str, Mapping[str, Any]]], answers: Sequence[Answer]
) -> list[str]:
    done = [answer.record.calls[0].completion for answer in answers]
    unpriced = sum(one is not None and REPORTED_USD not in one.notes for one in done)
    zero = sum(number(row.get("cost")) == 0 and not _failed(row, mapping(row.get("response"))) for _, row in rows)
    notes = []
    if unpriced:
        said = f" ({zero} of them as 0, which is taken as not recorded)" if zero else ""
        notes.append(f"{unpriced} of {len(answers)} answers have no cost recorded{said}")
    cached = sum(answer.record.calls[0].cached for answer in answers)
    if cached:
        notes.append(f"{cached} answers came from promptfoo's cache: no latency of theirs is taken")
    for reason in ("the test asserts nothing", "the grader failed"):
        if times := sum(answer.reason == reason for answer in answers):
            notes.append(f"{times} answers are not scored: {reason}")
    return [f"{path.name}, {option}: {note}" for note in notes]
