"""lm-evaluation-harness: `samples_<task>_<date>.jsonl`, and the `results_<date>.json` that lies beside it.

Layout as `EvaluationTracker.save_results_samples` and `.save_results_aggregated` write it (lm_eval 0.4.13, read in its
source): a line a document and filter, with `doc_id, target, resps, filtered_resps, filter, metrics, doc_hash,
prompt_hash, target_hash` and a key a metric. It records neither tokens nor dollars nor seconds of a document.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.catalog import nearest
from evals.core import Call, Completion, Record, stable_hash
from evals.errors import ConfigError, DataError
from evals.harnesses.base import IMPORTED, Answer, Log, json_lines, mapping, needed, number, once, read_json, scrubbed

HARNESS = "lm_eval"
NAME = re.compile(r"samples_(?P<task>.+)_(?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d(?:\.\d+)?)\.jsonl")
FIXED = frozenset(
    {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics", "doc_hash"}
    | {"prompt_hash", "target_hash", "schema_version"}
)
ASKED = (
    *("description", "doc_to_text", "doc_to_choice", "target_delimiter", "fewshot_delimiter", "num_fewshot"),
    *("fewshot_split", "gen_prefix", "use_prompt"),
)
"""What of a task's configuration makes the prompt."""


def is_sample(row: Mapping[str, Any]) -> bool:
    """Is this a line of a samples file?"""
    return {"doc_id", "target", "resps", "filtered_resps"} <= set(row)


def read(path: Path, *, filter: str | None = None) -> list[Log]:
    """The file as one log: of several filters the user's, else that which comes first. Raises `UserError`."""
    notes: list[str] = []
    rows = []
    for line, row in json_lines(path, notes):
        where = f"{path}:{line}"
        for key in ("doc_id", "resps", "filtered_resps"):
            needed(row, key, where)
        rows.append((where, _small(row)))
    if not rows:
        raise DataError(f"{path} holds no samples")
    chosen = _filter(path, [_filter_of(row) for _, row in rows], filter, notes)
    rows = [(where, row) for where, row in rows if _filter_of(row) == chosen]
    found = NAME.fullmatch(path.name)
    task = found["task"] if found else path.stem.removeprefix("samples_")
    about, results = _results(path, found["date"] if found else None, task, notes)
    metrics = _metrics(rows)
    model = str(about.get("model") or path.resolve().parent.name)
    answers = [_answer(where, row, metrics, model) for where, row in rows]
    once(answers, path)
    return [
        Log(
            harness=HARNESS,
            version=about.pop("version", None),
            path=path,
            part=chosen,
            task=task,
            model=model,
            option=model,
            created=about.pop("created", None) or (found["date"] if found else None),
            answers=answers,
            metrics=metrics,
            dataset={"harness": HARNESS, "documents": len(rows), "content": _content(rows)},
            prompt=_prompt(results, task, rows),
            scorer=[chosen, mapping(results.get("versions")).get(task)],
            lower=_lower(results, task),
            about={**about, "filter": chosen, "task": task},
            notes=notes,
        )
    ]


def _small(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row without document and prompt: they are not kept, and are most of its bytes."""
    return {key: value for key, value in row.items() if key not in ("doc", "arguments")}


def _filter_of(row: Mapping[str, Any]) -> str:
    return str(row.get("filter", "none"))


def _filter(path: Path, names: list[str], wanted: str | None, notes: list[str]) -> str:
    known = list(dict.fromkeys(names))
    if wanted is not None:
        if known == ["none"]:
            notes.append(f"{path.name}: it has no filters, so filter={wanted} changes nothing in it")
            return "none"
        if wanted not in known:
            raise ConfigError(f"filter={wanted} is not in {path}{nearest(wanted, known)}")
        return wanted
    if len(known) > 1:
        notes.append(
            f"{path.name}: of the filters {', '.join(known)} the first is read; filter={known[1]} takes another"
        )
    return known[0]


def _metrics(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Metrics with one number a document, in the harness's order. Older files do not list them."""
    first = rows[0][1]
    named = first.get("metrics")
    names = [str(name) for name in (named if isinstance(named, list) else [key for key in first if key not in FIXED])]
    return [name for name in names if all(number(row.get(name)) is not None for _, row in rows)]


def _answer(where: str, row: Mapping[str, Any], metrics: list[str], model: str) -> Answer:
    done = Completion(text=_text(row, where), finish_reason="unknown", notes={IMPORTED: HARNESS})
    record = Record(
        sample_id=_name(row),
        repeat=0,
        request_hash=str(row.get("prompt_hash") or "")[:16],
        calls=(Call(role="answer", model=model, completion=done),),
        answer=0,
    )
    return Answer(record=record, values={name: float(row[name]) for name in metrics})


def _name(row: Mapping[str, Any]) -> str:
    """The document's number with the beginning of its hash: the same document joins, another under its number not."""
    digest = row.get("doc_hash")
    return f"{row['doc_id']}-{digest[:8]}" if isinstance(digest, str) and digest else str(row["doc_id"])


def _text(row: Mapping[str, Any], where: str) -> str:
    """What the model answered: its text, or as JSON the log-likelihood of every choice."""
    replies = row["resps"]
    if not isinstance(replies, list) or not replies:
        raise DataError(f"{where}: 'resps' should hold the model's replies")
    first = replies[0][0] if isinstance(replies[0], list) and replies[0] else replies[0]
    if len(replies) == 1 and isinstance(first, str):
        return first
    return json.dumps(row["filtered_resps"], ensure_ascii=False)


def _content(rows: list[tuple[str, dict[str, Any]]]) -> str:
    """Hash of the documents and their gold answers, whatever the order."""
    return stable_hash(sorted([str(row["doc_id"]), row.get("doc_hash"), _gold(row)] for _, row in rows))


def _gold(row: Mapping[str, Any]) -> str:
    return str(row.get("target_hash") or stable_hash(row.get("target")))


# The results beside it ----------------------------------------------------------------------------------------


def _results(path: Path, date: str | None, task: str, notes: list[str]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What `results_<date>.json` says of the model and the task; that of another date is not taken."""
    beside = path.with_name(f"results_{date}.json") if date else None
    if beside is None or not beside.is_file():
        notes.append(
            f"{path.name}: no {f'results_{date}.json' if date else 'results file'} beside it: the model's name is the "
            "folder's (model=NAME says another), and which way its metrics go is not known"
        )
        return {}, {}
    found = mapping(read_json(beside))
    config = mapping(mapping(found.get("configs")).get(task))
    setup = mapping(found.get("config"))
    limit = setup.get("limit")
    if limit is not None:
        notes.append(f"{path.name}: made with limit={limit}, not of every document")
    said = {
        "version": found.get("lm_eval_version"),
        "model": _word(found.get("model_name")),
        "model_source": _word(found.get("model_source")),
        "model_revision": _word(setup.get("model_revision") or None),
        "model_sha": _word(setup.get("model_sha") or None),
        "git_hash": found.get("git_hash"),
        "task_version": mapping(found.get("versions")).get(task),
        "task_hash": mapping(found.get("task_hashes")).get(task),
        "dataset": "/".join(str(config[key]) for key in ("dataset_path", "dataset_name") if config.get(key)) or None,
        "num_fewshot": mapping(found.get("n-shot")).get(task),
        "limit": limit,
        "results": beside.name,
        "created": _created(found.get("date")),
    }
    return {key: value for key, value in said.items() if value is not None}, found


def _word(value: Any) -> str | None:
    return None if value is None else scrubbed(str(value))


def _created(date: Any) -> str | None:
    """Seconds since 1970 as the harness writes them, as ISO 8601."""
    from datetime import UTC, datetime

    seconds = number(date)
    return None if not seconds else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _prompt(results: Mapping[str, Any], task: str, rows: list[tuple[str, dict[str, Any]]]) -> str:
    """Hash of the task's prompt. A chat template is the model's own and not part of it, so that models compare; without
    the results file it is the hash of every prompt as it was sent."""
    config = mapping(mapping(results.get("configs")).get(task))
    if not config:
        return stable_hash(sorted([str(row["doc_id"]), row.get("prompt_hash")] for _, row in rows))
    asked = {key: config.get(key) for key in ASKED}
    return stable_hash([asked, results.get("system_instruction_sha"), mapping(results.get("n-shot")).get(task)])


def _lower(results: Mapping[str, Any], task: str) -> frozenset[str]:
    ways = mapping(mapping(results.get("higher_is_better")).get(task))
    return frozenset(str(name) for name, higher in ways.items() if higher is False)
