"""`review`: which answers of a run a person should see, the page to see them on, and what people found there."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import store
from evals.commands.settings.review import ReviewSettings
from evals.core import stable_hash
from evals.errors import ConfigError, DataError, EvalsError
from evals.report import files

if TYPE_CHECKING:
    from evals.analysis.review import Reviewed
    from evals.analysis.routing.documents import Documents
    from evals.core import Record, Request

PERSON = "person"
"""Stands for the strong option in a saved review policy."""


@dataclass(frozen=True, kw_only=True)
class Review:
    """`result` is the content of `review.json`, or of `verdicts.json`; printed, it is the table."""

    result: dict[str, Any]
    folder: Path
    """Where the files are."""

    @property
    def files(self) -> tuple[str, ...]:
        """Their names."""
        return ("verdicts.csv", ".json") if "agreement" in self.result else ("review.html", ".csv", ".json")

    def __str__(self) -> str:
        from evals.report import review

        return review.verdicts(self.result) if "agreement" in self.result else review.text(self.result)


@dataclass(frozen=True, kw_only=True)
class _Run:
    """What is stored of the run."""

    folder: Path
    manifest: dict[str, Any]
    records: "Mapping[tuple[str, int], Record]"
    requests: "Mapping[str, Request] | None"
    leaves: Mapping[tuple[str, int], list[dict[str, Any]]]
    content: str
    """Hash of the answers' texts: verdicts are of these and no others."""


def review(settings: ReviewSettings, *, launcher: str = "python") -> Review:
    """Rank the documents, say how many a person has to see, write the page; or read verdicts back. Raises `UserError`."""
    notes: list[str] = []
    run = _stored(Path(str(settings.run)), notes)
    out = Path(settings.out) if settings.out else run.folder / "review"
    if settings.verdicts is not None:
        return _verdicts(settings, run, out)
    files.prepare(out)
    found = _documents(settings, run, notes)
    done = _reviewed(settings, run, found, notes)
    result = {**_about(settings, run), **done.report}
    if settings.save:
        result["saved"] = _save(settings, run, done, launcher)
    shown = [row for row in done.rows if row["review"]][: settings.show] or done.rows[: settings.show]
    _write(out, result, done, run, shown)
    return Review(result=result, folder=out)


def _about(settings: ReviewSettings, run: _Run) -> dict[str, Any]:
    return {
        "run": str(run.folder),
        "task": run.manifest["task"],
        "option": run.manifest["option"],
        "split": run.manifest["split"],
        "quality": settings.quality,
        "answers_hash": run.content,
    }


def _stored(folder: Path, notes: list[str]) -> _Run:
    manifest = store.read_json(folder / "manifest.json")
    if not (folder / "summary.json").exists():
        raise ConfigError(f"run={folder} is not complete: the same command of its manifest goes on with it")
    records = store.answered(folder)
    leaves = {
        (line["sample_id"], line["repeat"]): list(line.get("fields") or _whole(line["metrics"]))
        for line in store.scores(folder, manifest["hashes"].get("scorer"))
    }
    requests = _requests(folder, manifest, {name for name, _ in records}, notes)
    content = answers_hash(records)
    return _Run(folder=folder, manifest=manifest, records=records, requests=requests, leaves=leaves, content=content)


def answers_hash(records: "Mapping[tuple[str, int], Record]") -> str:
    """Hash of a run's answers: of the text for each document and repeat."""
    return stable_hash(sorted([name, repeat, record.text or ""] for (name, repeat), record in records.items()))


def _whole(metrics: Mapping[str, float]) -> list[dict[str, Any]]:
    """What there is to judge where a run has no fields (an import): the answer as one."""
    score = metrics.get("exact", metrics.get("score"))
    return [{"path": "whole answer", "outcome": "tp" if score == 1 else "wrong", "answer": "(below)"}]


def _requests(
    folder: Path, manifest: dict[str, Any], ids: set[str], notes: list[str]
) -> "Mapping[str, Request] | None":
    """What was asked of each document, where the task and its very documents are at hand."""
    from evals.commands.score import task_of

    try:
        task = task_of(folder, manifest)
        if store.plain(task.identity()) != manifest["dataset"]:
            raise DataError("they are no longer those that were answered")
    except (EvalsError, KeyError, TypeError) as error:
        why = str(error) if isinstance(error, EvalsError) else "the task is not at hand"
        notes.append(f"the task's documents are not used ({why}): no grounding, and no text on the page")
        return None
    return {sample.id: task.request(sample) for sample in task.samples() if sample.id in ids}


def _documents(settings: ReviewSettings, run: _Run, notes: list[str]) -> "Documents":
    from evals.analysis.routing.documents import documents
    from evals.analysis.tables.table import load_run
    from evals.commands import frontier

    frame = frontier.with_quality(load_run(run.folder), settings.quality)
    first = {name: record for (name, repeat), record in run.records.items() if repeat == 0}
    return documents(frame, requests=run.requests, records={str(run.manifest["option"]): first}, notes=notes)


def _reviewed(settings: ReviewSettings, run: _Run, found: "Documents", notes: list[str]) -> "Reviewed":
    from evals.analysis.review import Wanted
    from evals.analysis.review import review as counted

    wanted = Wanted(
        target=settings.target,
        minutes_each=settings.minutes,
        usd_per_hour=settings.usd_per_hour,
        reviewer_error=settings.reviewer_error,
        volume_per_day=settings.volume,
        signal=_signal(settings, run, notes),
        seed=settings.seed,
        level=settings.level,
    )
    return counted(found, wanted, notes)


def _signal(settings: ReviewSettings, run: _Run, notes: list[str]) -> Mapping[str, Any] | None:
    """P(error) as saved; of a hybrid's run nothing is taken from its own policy, which speaks of the cheap answers."""
    if settings.policy is None:
        return None
    from evals.policy.saved import check_fits, fitted_on, load_policy

    policy, manifest = load_policy(settings.policy).policy, run.manifest
    if policy.kind != "cascade" or policy.signal is None:
        raise ConfigError(f"policy={settings.policy} is a {policy.kind}: review needs the P(error) of a cascade")
    check_fits(policy, settings.policy, manifest)
    if policy.cheap != manifest["option"]:
        raise ConfigError(
            f"{settings.policy} speaks of the answers of {policy.cheap}, this run is of {manifest['option']}"
        )
    if fitted_on(policy, manifest):
        notes.append("P(error) was fitted on these very documents: the figures flatter it")
    return policy.signal


def _save(settings: ReviewSettings, run: _Run, done: "Reviewed", launcher: str) -> str:
    """The review policy as a cascade whose strong side is a person: a service asks `evals.load_policy(FILE).choose`."""
    from evals.core import Policy
    from evals.policy.saved import save_policy

    threshold, manifest = done.report["threshold"], run.manifest
    if done.signal is None or threshold is None:
        why = "no P(error) could be fitted" if done.signal is None else f"target={settings.target:g} is not reached"
        raise ConfigError(f"save={settings.save}: {why}, so there is no policy to save")
    about = {
        "task": manifest["task"],
        "task_version": manifest.get("task_version"),
        **{name: manifest["hashes"].get(name) for name in ("schema", "prompt", "scorer")},
        "metric": settings.quality,
        "dataset": stable_hash(manifest["dataset"]),
        "split": manifest["split"],
        "runs": {manifest["option"]: {"run_key": manifest.get("run_key"), "started_at": manifest.get("started_at")}},
        "n": done.report["n"],
        "review": {key: done.report[key] for key in ("target", "share", "error", "residual")},
        "places": {"cheap": {"location": manifest.get("location"), "terms": None}, "strong": {"location": "own"}},
        "created": store.stamp(),
        "command": launcher,
    }
    path = Path(str(settings.save))
    files.prepare(path.parent)
    policy = Policy(
        kind="cascade", cheap=manifest["option"], strong=PERSON, signal=done.signal, threshold=threshold, about=about
    )
    save_policy(policy, path)
    return str(path)


def _write(out: Path, result: dict[str, Any], done: "Reviewed", run: _Run, shown: list[dict[str, Any]]) -> None:
    from evals.report import review as report

    table = [{**row, "reasons": "; ".join(row["reasons"])} for row in done.rows]
    files.write_table(out, "review", table, {**result, "documents": done.rows})
    cards = [_card(row, run) for row in shown]
    store.write_whole(out / "review.html", report.page(result, cards))


def _card(row: Mapping[str, Any], run: _Run) -> dict[str, Any]:
    """A document as the page shows it."""
    key = (row["sample_id"], 0)
    request, record = (run.requests or {}).get(row["sample_id"]), run.records.get(key)
    text = request.inputs.get("text") if request else None
    return {
        **row,
        "repeat": 0,
        "fields": run.leaves.get(key, []),
        "answer": record.text if record else None,
        "failure": record.error if record else None,
        "text": text if isinstance(text, str) else None,
        "data_class": request.data_class if request else None,
    }


def _verdicts(settings: ReviewSettings, run: _Run, out: Path) -> Review:
    """What people found, as measured: `verdicts.csv` (a row a field) and `verdicts.json`."""
    from evals.analysis import human

    verdicts = human.read(Path(str(settings.verdicts)), run.leaves, run.content)
    if not any(one["fields"] for one in verdicts):
        raise DataError(f"{settings.verdicts} holds no verdict: nothing was ticked")
    found = human.outcomes(verdicts, run.leaves, usd_per_hour=settings.usd_per_hour)
    result = {**_about(settings, run), "file": str(settings.verdicts), **found}
    rows = [
        {"sample_id": one["sample_id"], "repeat": one["repeat"], "seconds": one["seconds"], **field}
        for one in verdicts
        for field in one["fields"]
    ]
    files.write_table(out, "verdicts", rows, result)
    return Review(result=result, folder=out)
