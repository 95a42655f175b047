"""`processing=batch`: the run's documents through the provider's batch API; a killed run finds its batches again."""

import dataclasses
from collections.abc import Callable, Container, Iterable, Sequence

from evals import store
from evals.commands import answering
from evals.commands.settings.run import RunSettings
from evals.core import Price, Record, Sample, Task
from evals.engine.batch import Submitted, run_batch
from evals.engine.egress import Egress
from evals.engine.generate import Sink
from evals.errors import ConfigError
from evals.models.base import Batcher, BatchState, Model, Router
from evals.report.progress import Progress

FILE = "batches.json"


def check(settings: RunSettings, model: Model | Router) -> None:
    """Raise where the model has no batch API."""
    if settings.processing == "batch" and not isinstance(model, Batcher):
        raise ConfigError(f"processing=batch: {model.name} has no batch API here; use processing=online")


async def answer(
    settings: RunSettings,
    *,
    folder: store.RunFolder,
    task: Task,
    model: Model | Router,
    egress: Egress,
    sink: Sink,
    samples: Callable[[], Iterable[Sample]],
    skip: Container[tuple[str, int]],
    before: Iterable[Record],
    prices: dict[str, Price] | None,
    shown: Progress,
) -> None:
    """Hand in what is not answered and in no batch yet, wait, and collect."""
    assert isinstance(model, Batcher) and isinstance(model, Model)
    limits = answering.limits(settings, model)

    def remember(batches: Sequence[Submitted]) -> None:
        folder.write(FILE, {"batches": [dataclasses.asdict(batch) for batch in batches]})

    def on_state(batch: Submitted, state: BatchState) -> None:
        counts = ", ".join(f"{count} {word}" for word, count in state.counts.items() if count)
        shown.status = lambda: f"batch {batch.id}: {counts or 'waiting'}"
        shown.tick()

    known = store.read_json(folder.path / FILE)["batches"] if (folder.path / FILE).exists() else []
    await run_batch(
        task=task,
        model=model,
        name=model.name,
        sink=sink,
        samples=samples,
        remember=remember,
        known=[Submitted(**batch) for batch in known],
        repeats=settings.repeats,
        skip=skip,
        budget=answering.budget(settings, prices, answering.spent_before(before, prices)),
        forbid=limits["forbid"],
        on_send=answering.leaving(settings, model, egress),
        on_state=on_state,
    )
