"""`import`: other harnesses' logs become runs like any other, so that comparison and frontier work on what is there.

Every file is read and checked before anything is written; a run is written whole or not at all. What the log does not
say is not known: tokens, dollars and seconds are never made up, and latencies are filed under a load of their own.
"""

import contextlib
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals import store
from evals.commands.settings.imports import ImportSettings, plain_name
from evals.core import Price, stable_hash
from evals.errors import ConfigError, StoreError
from evals.harnesses import base, detect
from evals.harnesses.base import Answer, Log
from evals.pricing import STANDARD
from evals.report import files

SCORER = 1
"""Raised when imported scores come to mean something else."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """What was made: a row a run, and what must be said of it."""

    rows: list[dict[str, Any]]
    summaries: list[dict[str, Any]]
    notes: list[str]

    def __str__(self) -> str:
        from evals.report import imports

        return imports.text(self.rows, self.notes)

    def _repr_html_(self) -> str:
        from evals.report import imports

        return imports.html(self.rows, self.notes)

    @property
    def folders(self) -> list[Path]:
        """The run folders, those that were there before among them."""
        return [Path(row["run"]) for row in self.rows]


def import_logs(settings: ImportSettings, *, launcher: str = "python") -> Imported:
    """Every log that `file` names as runs. Raises `UserError` before anything is written where one cannot be read."""
    if settings.out:
        files.prepare(Path(settings.out))
    logs = [log for path in detect.found_files(settings.file or []) for log in _named(path, settings)]
    if settings.option is not None and len(logs) > 1:
        held = ", ".join(log.model for log in logs[:6])
        raise ConfigError(f"option={settings.option} names one run, the files hold {len(logs)} ({held})")
    metrics = [base.main_metric(log, settings.metric) for log in logs]
    prices = _declared(settings)
    here = {} if settings.again else _known()
    rows, summaries, notes = [], [], []
    for log, metric in zip(logs, metrics, strict=True):
        digest = base.sha256(log.path)
        old = here.get((digest, log.part, metric))
        if old is not None:
            notes.append(
                f"{log.path} was imported before, as {old}: nothing new is made of it (again=true makes another run)"
            )
            folder, summary = old, store.read_json(old / "summary.json")
        else:
            notes += [*log.notes, *_metric_note(log, metric, settings)]
            folder, summary = _write(log, metric, digest, prices, settings, launcher)
            here[(digest, log.part, metric)] = folder
        summaries.append(summary)
        rows.append(_row(folder, summary, metric, log, new=old is None))
    done = Imported(rows=rows, summaries=summaries, notes=list(dict.fromkeys([*notes, *_unlike(rows)])))
    if settings.out:
        value = {"runs": done.rows, "notes": done.notes}
        files.write_table(Path(settings.out), "import", [_flat(row) for row in done.rows], value)
    return done


# Reading ------------------------------------------------------------------------------------------------------


def _named(path: Path, settings: ImportSettings) -> list[Log]:
    """The file's logs under the names that the user gives; folder names take no slash or colon."""
    import dataclasses

    task, model = plain_name(settings.task), plain_name(settings.model)
    return [
        dataclasses.replace(
            log,
            task=store.safe_name(task or log.task),
            model=model or log.model,
            option=store.safe_name(settings.option or (log.option.replace(log.model, model) if model else log.option)),
        )
        for log in detect.read_file(path, filter=settings.filter)
    ]


def _known() -> dict[tuple[str, str, str], Path]:
    """(file's sha256, part, metric) -> the complete run that was made of it."""
    found = {}
    for path in store.results_root().glob("*/*/*/manifest.json"):
        said = None
        with contextlib.suppress(StoreError):  # another run's broken file is not for us to tell
            said = store.read_json(path).get("imported_from")
        if isinstance(said, dict) and (path.parent / "summary.json").is_file():
            found[(str(said.get("sha256")), str(said.get("part")), str(said.get("metric")))] = path.parent
    return found


def _metric_note(log: Log, metric: str, settings: ImportSettings) -> list[str]:
    others = [name for name in log.metrics if name != metric and name not in log.lower]
    if settings.metric is not None or not others:
        return []
    return [f"{log.path.name}: the score is {metric}, the first of {', '.join([metric, *others])}; metric=NAME"]


# Writing ------------------------------------------------------------------------------------------------------


def _declared(settings: ImportSettings) -> dict[str, Price] | None:
    from evals.commands.prices import snapshot

    given = {key: value for key, value in settings.price.items() if value is not None}
    return snapshot({"name": "declared at the import", "price": given}) if given else None


def _write(
    log: Log,
    metric: str,
    digest: str,
    prices: dict[str, Price] | None,
    settings: ImportSettings,
    launcher: str,
) -> tuple[Path, dict[str, Any]]:
    """One run folder, whole or not at all."""
    from evals.commands.run import conclude

    binary = base.is_binary(log, metric)
    about = _manifest(log, metric, digest, prices, settings, launcher)
    folder = store.RunFolder(_place(log))
    try:
        with folder:
            folder.write("manifest.json", about)
            folder.write("config.yaml", _config(settings))
            for answer in log.answers:
                folder.append(answer.record)
                score = base.score_of(answer, log, metric, binary=binary)
                folder.append_score(about["hashes"]["scorer"], answer.record, score, {"tags": ()})
            summary = conclude(folder, about)
    except BaseException:
        shutil.rmtree(folder.path, ignore_errors=True)
        for parent in folder.path.parents[:2]:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()
        raise
    return folder.path, summary


def _place(log: Log) -> Path:
    """The folder, under the time at which the log was made, so that the newest run is the newest measurement."""
    at = _time(log.created) or datetime.now(UTC)
    while True:
        name = at.strftime("%Y-%m-%dT%H-%M-%S.%fZ")
        path = store.results_root() / store.safe_name(log.task) / store.safe_name(log.option) / name
        if not path.exists():
            return path
        at += timedelta(microseconds=1)


def _time(text: str | None) -> datetime | None:
    """A log's own time, in UTC; lm-evaluation-harness writes dashes for colons."""
    if not text:
        return None
    date, mark, clock = text.partition("T")
    head, tail = clock[:8].replace("-", ":"), clock[8:]
    try:
        found = datetime.fromisoformat(f"{date}{mark}{head}{tail}")
    except ValueError:
        return None
    return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)


def _manifest(
    log: Log,
    metric: str,
    digest: str,
    prices: dict[str, Price] | None,
    settings: ImportSettings,
    launcher: str,
) -> dict[str, Any]:
    from evals.engine import machine

    reported = None if prices else _reported(log)
    prices = prices or reported
    made = _time(log.created)
    return {
        "format": store.FORMAT,
        "task": log.task,
        "task_version": None,
        "option": log.option,
        "model": log.model,
        "dataset": dict(log.dataset),
        "split": settings.split,
        "limit": None,
        "slice": None,
        "hashes": {"prompt": log.prompt, "schema": None, "scorer": scorer_hash(log, metric)},
        "seed": None,
        "repeats": 1 + max(answer.record.repeat for answer in log.answers),
        "location": None,
        "load": f"imported({log.harness})",
        "stream": None,
        "processing": None,
        "machine": None,
        "prices": {tier: store.plain(price) for tier, price in prices.items()} if prices else None,
        "price_note": reported[STANDARD].name if reported else None,
        "packages": machine.packages(),
        "run_key": stable_hash([digest, log.part, metric, log.task, log.option]),
        "launcher": launcher,
        "started_at": made.strftime("%Y-%m-%dT%H-%M-%S.%fZ") if made else None,
        "imported_from": {
            "harness": log.harness,
            "version": log.version,
            "file": log.path.name,
            "sha256": digest,
            "part": log.part,
            "metric": metric,
            "metrics": list(log.metrics),
            "created": log.created,
            "imported_at": store.stamp(),
            **log.about,
            "notes": list(log.notes),
        },
    }


def scorer_hash(log: Log, metric: str) -> str:
    """Equal for two logs whose scores mean the same."""
    return stable_hash([SCORER, log.harness, metric, log.scorer])


def _reported(log: Log) -> dict[str, Price] | None:
    """Dollars as the harness itself reports them: declared by it, dated by the log; `None` where it reports none."""
    done = (call.completion for answer in log.answers for call in answer.record.calls)
    if not any(one is not None and base.REPORTED_USD in one.notes for one in done):
        return None
    name = f"cost as {log.harness}{f' {log.version}' if log.version else ''} reports it"
    return {STANDARD: Price(name=name, source=log.path.name, date=(log.created or "")[:10] or None)}


def _config(settings: ImportSettings) -> str:
    import dataclasses

    import yaml

    return str(yaml.safe_dump(dataclasses.asdict(settings), sort_keys=False, allow_unicode=True))


# Told ---------------------------------------------------------------------------------------------------------


def _row(folder: Path, summary: Mapping[str, Any], metric: str, log: Log, *, new: bool) -> dict[str, Any]:
    return {
        "task": summary["task"],
        "option": summary["option"],
        "model": summary["model"],
        "harness": log.harness,
        "version": log.version,
        "file": log.path.name,
        "n": summary["n"],
        "repeats": summary["repeats"],
        "failed": summary["failed"],
        "cached": summary["n"] * summary["repeats"] - summary["fresh_n"],
        "metric": metric,
        "tokens": any(_has_tokens(answer) for answer in log.answers),
        "score": summary["quality"].get("score"),
        "cost": summary["cost"],
        "latency": summary["latency"],
        "errors": summary["errors"],
        "without_failed": (summary["quality_without_failed_infrastructure"] or {}).get("score"),
        "cut_answers": summary["cut_answers"],
        "new": new,
        "run": str(folder),
    }


def _has_tokens(answer: Answer) -> bool:
    done = answer.record.calls[0].completion
    return done is not None and done.usage.input_uncached is not None


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    score = row["score"] or {}
    flat = {
        key: value for key, value in row.items() if key not in ("score", "cost", "latency", "errors", "without_failed")
    }
    flat |= {"score": score.get("value"), "score_low": score.get("low"), "score_high": score.get("high")}
    flat |= {"usd_per_1k": row["cost"]["usd_per_1k"], "cost_provenance": row["cost"]["provenance"]}
    return flat | {key: row["latency"][key] for key in ("p50_s", "p95_s", "load")}


def _unlike(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Runs of one task that cannot be compared with each other, since their documents or scorers differ."""
    kinds: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        manifest = store.read_json(Path(row["run"]) / "manifest.json")
        kind = stable_hash([manifest["dataset"], manifest["hashes"]["scorer"]])
        kinds.setdefault(str(row["task"]), {}).setdefault(kind, []).append(str(row["option"]))
    return [
        f"{task}: documents or scoring differ between {' and '.join(', '.join(part) for part in found.values())}"
        for task, found in kinds.items()
        if len(found) > 1
    ]
