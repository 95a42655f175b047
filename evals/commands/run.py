"""`run`: a task's documents through a model; every record on disk before it is scored."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import store
from evals.commands import answering, batching, build, hybrid, manifest, sides
from evals.commands.estimate import confirm, estimate
from evals.commands.prices import second_opinion, snapshot
from evals.commands.settings.run import RunSettings
from evals.core import Price, Record, Sample
from evals.engine.cache import ResponseCache
from evals.engine.egress import Egress
from evals.engine.generate import Engine
from evals.engine.loop import run_until_done
from evals.errors import (
    INFRASTRUCTURE,
    BudgetReached,
    ConfigError,
    DataError,
    EvalsError,
    FatalCall,
    Stopped,
    StoreError,
)
from evals.loading import ExtractionTask, select
from evals.models.base import Model, Router
from evals.report import files
from evals.report.progress import Progress

INFRASTRUCTURE_LIMIT = 0.01
"""Above this share of infrastructure failures a run says so and ends with exit code 4."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A run that has ended: its folder, its summary, and the command's exit code."""

    folder: Path
    summary: dict[str, Any]
    exit_code: int

    def __str__(self) -> str:
        from evals.report import console

        return f"{console.results([self.summary])}\n\n{self.folder}"

    def _repr_html_(self) -> str:
        from evals.report import html

        return html.results([self.summary])


def run(
    settings: RunSettings,
    *,
    launcher: str = "python",
    progress: bool = True,
    canary: Mapping[str, Any] | None = None,
) -> Finished:
    """Answer, store and score every document; continue an interrupted run of the same settings.

    `canary`: what the manifest of a canary says of it, which is kept apart as an option of its own.
    Raises `UserError` before the first token where something is wrong, `Stopped` on Ctrl-C, `BudgetReached`.
    """
    if settings.out:
        files.prepare(Path(settings.out))
    task = build.task(settings)
    identity, hashes = task.identity(), task.hashes()
    if sides.is_hybrid(settings.model):
        hybrid.check(settings, task.name, task.version, hashes)
    else:
        build.refuse_remote(settings)
    option = build.option_name(settings) + ("" if canary is None else store.CANARY)
    key = build.run_key(settings, option, identity, hashes)
    prices = snapshot(settings.model, processing=settings.processing)
    doubt = second_opinion(settings.model, prices)
    old = _old(settings, task, option, key)
    samples = selected(task, settings)
    first = next(samples, None)
    if first is None:
        raise DataError(
            f"task={task.name} split={task.split}: no document is left to answer{_why_empty(task, settings)}"
        )
    total = _expected(task, settings)
    if prices and old is None and settings.privacy is None:
        found = estimate(task, settings, prices, total)
        confirm(found, above_usd=settings.confirm_usd, budget_usd=settings.budget.usd)
    folder = store.RunFolder(old) if old else store.RunFolder.create(task.name, option)
    model = build.model(settings, log=folder.path / "run.log")
    batching.check(settings, model)
    with folder, Progress(option, total, enabled=progress) as shown:
        records = store.answered(folder.path) if old else {}
        done = {k: r for k, r in records.items() if _settled(r, settings)}
        about = manifest.about(
            settings,
            task,
            option=option,
            key=key,
            identity=identity,
            hashes=hashes,
            prices=prices,
            launcher=launcher,
        )
        about |= {"price_note": doubt} | ({} if canary is None else {"canary": dict(canary)})
        job = _Job(folder, task, hashes["scorer"], shown, done, model, about, prices, records)
        try:
            run_until_done(_answer(settings, job, _chained(first, samples)), fast=answering.wire(model))
        except (Stopped, BudgetReached, FatalCall) as error:
            raise _cut_short(error, job, launcher) from None
        finished = _finish(folder, about, shown)
        write_out(settings.out, "run", finished)
        return finished


def write_out(out: str | None, command: str, finished: Finished) -> None:
    """The summary as CSV and JSON where `out` says."""
    if out:
        files.write_table(Path(out), command, [files.flat(finished.summary)], finished.summary)


def _old(settings: RunSettings, task: ExtractionTask, option: str, key: str) -> Path | None:
    """The folder that this command goes on with, where there is one."""
    if settings.retry_errors:
        old = store.newest(task.name, option, key)
        if old is None:
            raise StoreError(f"retry_errors=true: no run of this command is found in {store.results_root()}")
        return old
    return store.unfinished(task.name, option, key) if settings.resume else None


def _cut_short(error: EvalsError, job: "_Job", launcher: str) -> EvalsError:
    """What the user reads of a run that ended early: how much is kept, and the mend."""
    of = f" of {job.shown.total}" if job.shown.total else ""
    kept = f"{job.shown.done}{of} documents are answered and kept in {job.folder.path}"
    if isinstance(error, FatalCall):
        return ConfigError(
            f"{job.model.name}: {error.text} ({error.kind}); {kept}; the same command goes on: {launcher}"
        )
    job.folder.write("stopped.json", {"answered": job.shown.done, "continue": launcher})
    if isinstance(error, BudgetReached):
        return BudgetReached(f"{error}; {kept}; with a higher budget the same command goes on: {launcher}")
    return Stopped(f"stopped: {kept}; go on with: {launcher}")


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
    """What was answered before an interruption."""
    model: Model | Router
    about: dict[str, Any]
    prices: dict[str, Price] | None
    before: Mapping[tuple[str, int], Record]
    """`done`, and what failed and is asked again."""

    def keep(self, _sample: Sample, record: Record) -> None:
        self.folder.append(record)

    def sink(self, sample: Sample, record: Record) -> None:
        self.keep(sample, record)
        self.score(sample, record)

    def score(self, sample: Sample, record: Record, *, earlier: bool = False) -> None:
        score_record(self.folder, self.task, self.scorer, sample, record)
        self.shown.advance(failed=record.answer is None, earlier=earlier)

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
                self.score(sample, record, earlier=True)
            yield sample


def score_record(folder: store.RunFolder, task: ExtractionTask, scorer: str, sample: Sample, record: Record) -> None:
    """Score one record and append the line, with what a table needs to know of the sample."""
    cut = next((tag for tag in task.slices if tag in sample.tags), None)
    about: dict[str, Any] = {"slice": cut, "tags": sample.tags, "group": sample.group, "data_class": sample.data_class}
    about["chars"] = len(str(sample.inputs.get("text", "")))
    folder.append_score(scorer, record, task.score(sample, record.text), about)


async def _answer(settings: RunSettings, job: _Job, samples: Iterator[Sample]) -> None:
    model, about = job.model, job.about
    job.shown.say(f"loading {model.name}")
    before = time.monotonic()
    try:
        about["backend"] = dict(await model.start())
        caches = answering.response_caches(settings, model, str(job.folder.path.resolve()), about["backend"])
        egress = Egress(job.folder.path, privacy=settings.privacy)
        egress.write()
        about["backend"]["start_s"] = manifest.start_s(about["backend"], time.monotonic() - before)
        about |= manifest.under(settings, about["backend"])
        job.folder.write("manifest.json", about)
        job.folder.write("config.yaml", manifest.config_yaml(settings))
        (job.folder.path / f"scores-{job.scorer}.jsonl").unlink(missing_ok=True)
        job.shown.say("")
        with contextlib.ExitStack() as stack:
            stack.callback(egress.write)
            for cache in caches.values():
                stack.enter_context(cache)
            if settings.processing == "batch":
                await _batch(settings, job, samples, egress)
            else:
                await _engine(settings, job, caches, egress).run(job.again(samples, settings.repeats))
    finally:
        await model.close()


async def _batch(settings: RunSettings, job: _Job, samples: Iterator[Sample], egress: Egress) -> None:
    if job.done:
        for _ in job.again(samples, settings.repeats):
            pass  # scored on the way
    await batching.answer(
        settings,
        folder=job.folder,
        task=job.task,
        model=job.model,
        egress=egress,
        sink=job.sink,
        samples=lambda: selected(job.task, settings),
        skip=job.done.keys(),
        before=job.before.values(),
        prices=job.prices,
        shown=job.shown,
    )


def _engine(settings: RunSettings, job: _Job, caches: Mapping[str, ResponseCache], egress: Egress) -> Engine:
    watch = answering.Watch(prices=job.prices, shown=job.shown)
    spent = answering.spent_before(job.before.values(), job.prices)
    watch.usd = spent.usd
    engine = watch.engine = Engine(
        task=job.task,
        model=job.model,
        sink=job.keep,
        after=job.score,
        concurrency=job.about["concurrency"],
        repeats=settings.repeats,
        skip=job.done.keys(),
        timeout_s=answering.deadline_s(settings, job.model, job.about["concurrency"]),
        seed=settings.seed,
        on_call=watch.on_call,
        **answering.asking(settings, job.model, caches=caches, prices=job.prices, spent=spent, egress=egress),
    )
    job.shown.status = watch.status
    return engine


def _finish(folder: store.RunFolder, about: Mapping[str, Any], shown: Progress) -> Finished:
    summary = conclude(folder, about)
    (folder.path / "stopped.json").unlink(missing_ok=True)
    fell = (summary.get("hybrid") or {}).get("fell_back", {})
    broken = summary["failed_infrastructure"] + sum(fell[kind] for kind in fell.keys() & INFRASTRUCTURE)
    share = broken / max(shown.done, 1)
    return Finished(folder=folder.path, summary=summary, exit_code=4 if share > INFRASTRUCTURE_LIMIT else 0)


def conclude(folder: store.RunFolder, about: Mapping[str, Any]) -> dict[str, Any]:
    """Derive the table and write `summary.json`: from then on the run is complete."""
    from evals.analysis.tables.summary import summarise_run  # pandas: not before the last answer is bought

    folder.flush()
    summary = summarise_run(folder.path, about)
    if about.get("hybrid"):
        from evals.analysis.tables import routed

        summary["hybrid"] = routed.summary(folder.path, about)
    summary["content_hash"] = folder.content_hash()
    folder.write("summary.json", summary)
    return summary


def _settled(record: Record, settings: RunSettings) -> bool:
    """Answered, or failed for the model's own reasons: an infrastructure failure is asked again on resume, and with
    `retry_errors` every failure; so is a document whose cheap answer stands since the strong model failed."""
    fell = record.route.get("fell_back")
    whole = record.answer is not None and fell is None
    return whole or not (settings.retry_errors or (fell or record.error) in INFRASTRUCTURE)


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
