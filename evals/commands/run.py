"""`run`: a task's documents through a model; every record on disk before it is scored."""

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import store
from evals.analysis.summary import summarise
from evals.analysis.table import load_run
from evals.commands import build
from evals.commands.settings import RunSettings
from evals.core import Record, Sample
from evals.engine import machine
from evals.engine.generate import Engine, run_until_done
from evals.errors import INFRASTRUCTURE, DataError, Stopped, StoreError
from evals.loading import ExtractionTask, select
from evals.models.base import Model
from evals.report.progress import Progress

INFRASTRUCTURE_LIMIT = 0.01
"""Above this share of infrastructure failures a run says so and ends with exit code 4."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended: its folder, its summary, and the command's exit code."""

    folder: Path
    summary: dict[str, Any]
    exit_code: int

    def _repr_html_(self) -> str:
        from evals.report import html

        return html.results([self.summary])


def run(settings: RunSettings, *, launcher: str = "python", progress: bool = True) -> Finished:
    """Answer, store and score every document; continue an interrupted run of the same settings.

    Raises `UserError` before the first token where something is wrong, `Stopped` on Ctrl-C.
    """
    task = build.task(settings)
    identity = task.identity()
    option = build.option_name(settings)
    hashes = task.hashes()
    key = build.run_key(settings, option, identity, hashes)
    old = store.unfinished(task.name, option, key) if settings.resume else None
    samples = selected(task, settings)
    first = next(samples, None)
    if first is None:
        raise DataError(
            f"task={task.name} split={task.split}: no document is left to answer{_why_empty(task, settings)}"
        )
    folder = store.RunFolder(old) if old else store.RunFolder.create(task.name, option)
    model = build.model(settings, log=folder.path / "run.log")
    with folder, Progress(option, _expected(task, settings), enabled=progress) as shown:
        done = store.answered(folder.path) if old else {}
        job = _Job(folder, task, hashes["scorer"], shown, {k: r for k, r in done.items() if _settled(r)})
        about = _about(settings, task, option, key, identity, hashes, launcher)
        try:
            run_until_done(_answer(settings, job, model, about, _chained(first, samples)))
        except Stopped:
            folder.write("stopped.json", {"answered": shown.done, "continue": launcher})
            raise Stopped(_stopped(shown, folder.path, launcher)) from None
        return _finish(folder, about, shown)


def selected(task: ExtractionTask, settings: Any) -> Iterator[Sample]:
    """The samples that `limit`, `slice` and `seed` pick."""
    return select(task.samples(), limit=settings.limit, tags=settings.slice, strata=task.slices, seed=settings.seed)


@dataclass
class _Job:
    """What happens to a finished record: stored, then scored."""

    folder: store.RunFolder
    task: ExtractionTask
    scorer: str
    shown: Progress
    done: Mapping[tuple[str, int], Record]

    def sink(self, sample: Sample, record: Record) -> None:
        self.folder.append(record)
        self.score(sample, record)

    def score(self, sample: Sample, record: Record) -> None:
        score_record(self.folder, self.task, self.scorer, sample, record)
        self.shown.advance(failed=record.answer is None)

    def again(self, samples: Iterator[Sample], repeats: int) -> Iterator[Sample]:
        """Pass samples on; what was answered before the interruption is checked and scored on the way."""
        for sample in samples:
            for repeat in range(repeats):
                record = self.done.get((sample.id, repeat))
                if record is None:
                    continue
                if repeat == 0 and record.request_hash != self.task.request(sample).hash:
                    raise StoreError(
                        f"{self.folder.path}: {sample.id} is not what was answered; resume=false starts anew"
                    )
                self.score(sample, record)
            yield sample


def score_record(folder: store.RunFolder, task: ExtractionTask, scorer: str, sample: Sample, record: Record) -> None:
    """Score one record and append the line, with what a table needs to know of the sample."""
    cut = next((tag for tag in task.slices if tag in sample.tags), None)
    about: dict[str, Any] = {"slice": cut, "tags": sample.tags, "group": sample.group, "data_class": sample.data_class}
    about["chars"] = len(str(sample.inputs.get("text", "")))
    folder.append_score(scorer, record, task.score(sample, record.text), about)


async def _answer(
    settings: RunSettings, job: _Job, model: Model, about: dict[str, Any], samples: Iterator[Sample]
) -> None:
    job.shown.say(f"loading {model.name}")
    before = time.monotonic()
    try:
        about["backend"] = dict(await model.start())
        about["backend"]["start_s"] = round(time.monotonic() - before, 3)
        job.folder.write("manifest.json", about)
        job.folder.write("config.yaml", _yaml(settings))
        (job.folder.path / f"scores-{job.scorer}.jsonl").unlink(missing_ok=True)
        job.shown.say("")
        engine = Engine(
            task=job.task,
            model=model,
            sink=job.sink,
            concurrency=settings.concurrency,
            repeats=settings.repeats,
            timeout_s=settings.timeout_s,
            skip=job.done.keys(),
        )
        await engine.run(job.again(samples, settings.repeats))
    finally:
        await model.close()


def _about(
    settings: RunSettings,
    task: ExtractionTask,
    option: str,
    key: str,
    identity: Mapping[str, Any],
    hashes: Mapping[str, str],
    launcher: str,
) -> dict[str, Any]:
    """The manifest, but for what the backend says of itself once it is loaded."""
    return {
        "format": store.FORMAT,
        "task": task.name,
        "task_version": task.version,
        "task_options": {k: v for k, v in settings.task.items() if k not in ("name", "_target_")},
        **{name: getattr(settings, name) for name in ("prompt", "max_tokens", "temperature", "constrain")},
        "option": option,
        "model": settings.model["name"],
        "location": settings.model.get("location"),
        "weights": {key: settings.model.get(key) for key in ("quant", "source")},
        "dataset": dict(identity),
        "split": task.split,
        "limit": settings.limit,
        "slice": settings.slice,
        "repeats": settings.repeats,
        "shots": task.shots,
        "hashes": dict(hashes),
        "seed": settings.seed,
        "concurrency": settings.concurrency,
        "load": "single_stream" if settings.concurrency == 1 else f"closed_loop({settings.concurrency})",
        "stream": True,
        "git": machine.git_state(Path(__file__).parent),
        "packages": machine.packages(),
        "machine": {**machine.facts(), **settings.machine},
        "prices": None,
        "run_key": key,
        "launcher": launcher,
        "started_at": store.stamp(),
    }


def _finish(folder: store.RunFolder, about: Mapping[str, Any], shown: Progress) -> Finished:
    summary = conclude(folder, about)
    (folder.path / "stopped.json").unlink(missing_ok=True)
    share = summary["failed_infrastructure"] / max(shown.done, 1)
    return Finished(folder=folder.path, summary=summary, exit_code=4 if share > INFRASTRUCTURE_LIMIT else 0)


def conclude(folder: store.RunFolder, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Derive the table and write `summary.json`: from then on the run is complete."""
    folder.flush()
    summary = summarise(load_run(folder.path), manifest)
    summary["content_hash"] = folder.content_hash()
    folder.write("summary.json", summary)
    return summary


def _settled(record: Record) -> bool:
    """Answered, or failed for the model's own reasons: an infrastructure failure is asked again on resume."""
    return record.answer is not None or record.error not in INFRASTRUCTURE


def _expected(task: ExtractionTask, settings: RunSettings) -> int | None:
    count = task.count()
    if settings.slice:
        return None
    known = count if settings.limit is None else min(settings.limit, count or settings.limit)
    return None if known is None else known * settings.repeats


def _chained(first: Sample, rest: Iterator[Sample]) -> Iterator[Sample]:
    yield first
    yield from rest


def _why_empty(task: ExtractionTask, settings: RunSettings) -> str:
    if not settings.slice:
        return ""
    tags = sorted({tag for sample in task.samples() for tag in sample.tags})
    return f" with slice=[{','.join(settings.slice)}]; its tags are {', '.join(tags)}"


def _stopped(shown: Progress, folder: Path, launcher: str) -> str:
    of = f" of {shown.total}" if shown.total else ""
    return f"stopped: {shown.done}{of} documents are answered and kept in {folder}; go on with: {launcher}"


def _yaml(settings: RunSettings) -> str:
    import yaml

    return str(yaml.safe_dump(json.loads(json.dumps(vars(settings), default=str)), sort_keys=False, allow_unicode=True))
