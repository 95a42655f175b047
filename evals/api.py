"""The commands by name, for notebooks: plain keyword arguments, the same YAML, no Hydra."""

import copy
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, overload

import pandas as pd

from evals import catalog
from evals.analysis.tables.table import run_folders
from evals.commands import sides
from evals.commands.bench import Bench
from evals.commands.bench import bench as _bench
from evals.commands.canary import Canary
from evals.commands.canary import canary as _canary
from evals.commands.compare import Comparison
from evals.commands.compare import compare as _compare
from evals.commands.compare import save as _save
from evals.commands.decide import Decision
from evals.commands.decide import decide as _decide
from evals.commands.frontier import Frontier
from evals.commands.frontier import frontier as _frontier
from evals.commands.history import History
from evals.commands.history import history as _history
from evals.commands.importing import Imported
from evals.commands.importing import import_logs as _import_logs
from evals.commands.plan import Plan
from evals.commands.plan import plan as _plan
from evals.commands.review import Review
from evals.commands.review import review as _review
from evals.commands.route import Route
from evals.commands.route import route as _route
from evals.commands.run import Finished
from evals.commands.run import run as _run
from evals.commands.score import score as _score
from evals.commands.settings.bench import BenchSettings
from evals.commands.settings.compare import CompareSettings, HistorySettings
from evals.commands.settings.decide import DecideSettings
from evals.commands.settings.frontier import FrontierSettings
from evals.commands.settings.imports import ImportSettings
from evals.commands.settings.plan import CanarySettings, PlanSettings
from evals.commands.settings.review import ReviewSettings
from evals.commands.settings.route import RouteSettings
from evals.commands.settings.run import RunSettings, ScoreSettings, validated
from evals.commands.stored import has_runs
from evals.errors import ConfigError
from evals.report import files, html
from evals.store import read_json


def run(
    *,
    task: str,
    model: str = "smollm2_135m",
    machine: str = "this",
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Finished:
    """Run a task through a model, as `python -m evals run` does.

    `overrides` holds keys of the groups (`{"model.n_ctx": 4096, "task.max_chars": 8000}`), `settings` the others.
    """
    groups = _groups({"task": task, "model": model, "machine": machine}, overrides or {})
    chosen: RunSettings = validated("run", {**groups, **settings})
    return _run(chosen, launcher="evals.run", progress=True)


def score(*, task: str, overrides: Mapping[str, Any] | None = None, **settings: Any) -> Finished:
    """Score `predictions=FILE`, or a stored run again (`rescore=RUN`), as `python -m evals score` does."""
    chosen: ScoreSettings = validated("score", {**_groups({"task": task}, overrides or {}), **settings})
    return _score(chosen, launcher="evals.score")


@overload
def compare(*, candidate: str | list[str], save: Literal[False] = False, **settings: Any) -> Comparison: ...
@overload
def compare(*, candidate: str | list[str], save: Literal[True], **settings: Any) -> Path: ...
def compare(
    *,
    candidate: str | list[str],
    save: bool = False,
    gate: Mapping[str, Any] = {},
    machine: str = "this",
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Comparison | Path:
    """Compare runs over the documents they share, as `python -m evals compare` does; `gate={"f1": {"min": 0.9}}`.

    With `save=True` nothing is compared: the candidate is written as its task's reference, whose file comes back.
    """
    groups = _groups({"machine": machine}, overrides or {})
    plain = {**groups, "candidate": candidate, "save": save, "gate": dict(gate), **settings}
    chosen: CompareSettings = validated("compare", plain)
    return _save(chosen) if chosen.save else _compare(chosen)


def history(*, task: str, **settings: Any) -> History:
    """A task's runs over time, with real changes marked, as `python -m evals history` does."""
    chosen: HistorySettings = validated("history", {**_groups({"task": task}, {}), **settings})
    return _history(chosen)


def frontier(
    *, task: str | None = None, machine: str = "this", overrides: Mapping[str, Any] | None = None, **settings: Any
) -> Frontier:
    """The frontier of a task's runs, or of `table=FILE`, as `python -m evals frontier` does; a notebook shows the plot."""
    names = {"machine": machine} | ({} if task is None else {"task": task})
    chosen: FrontierSettings = validated("frontier", {**_groups(names, overrides or {}), **settings})
    return _frontier(chosen)


def route(
    *, task: str | None = None, machine: str = "this", overrides: Mapping[str, Any] | None = None, **settings: Any
) -> Route:
    """Hybrids simulated from a task's runs, or from `table=FILE` (a row a document), as `python -m evals route` does.

    `settings` are the command's keys (`cheap="a"`, `strong="b"`, `floor=0.8`, `save="policy.json"`, `policy=FILE`, ...),
    `overrides` keys of groups (`{"machine.usd_per_hour": 0.35}`). The `Route`: `.report` is the content of route.json,
    whose `singles` and `hybrids` hold a dict an option (`quality` 0..1, `usd_per_1k` dollars per 1,000 documents,
    `latency_p95_s` seconds, `share_strong` 0..1, each with `value, low, high`; `None` is not known); `.hybrids` the same
    as a DataFrame, a row a hybrid; `.policy` what was saved or replayed. Raises `ConfigError` for what is asked wrongly,
    `DataError` for fewer than 20 documents or none in common, `StoreError` where there is no run.
    """
    names = {"machine": machine} | ({} if task is None else {"task": task})
    chosen: RouteSettings = validated("route", {**_groups(names, overrides or {}), **settings})
    return _route(chosen, launcher="evals.route")


def review(run: str | os.PathLike[str], **settings: Any) -> Review:
    """Which answers of a run a person should see, with the page to do it on, as `python -m evals review` does;
    `verdicts=FILE` reads back what the page downloaded.

    `run`: a complete run's folder; `settings` are the command's keys (`target=0.02` mean error 0..1, `minutes=3.0` a
    document, `usd_per_hour=60.0`, `volume=1000.0` documents a day, ...). The `Review`: `.result` is the content of
    review.json (`share` and `residual` 0..1 with `value, low, high, n`; `threshold` on P(error); `work` in minutes and
    dollars a day; `None` is not known) or, with `verdicts`, of verdicts.json; `.folder` is where the files are. Raises
    `ConfigError` for what is asked wrongly, `StoreError` where there is no such run, `DataError` for verdicts of other
    answers.
    """
    chosen: ReviewSettings = validated("review", {"run": str(run), **settings})
    return _review(chosen, launcher="evals.review")


def decide(
    *,
    task: str | None = None,
    scenario: str | Mapping[str, Any] | None = None,
    machine: str = "this",
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Decision:
    """Which deployment at `volume=5000` documents a day, as `python -m evals decide` does; a notebook shows it.

    `scenario`: a name of `configs/scenario/`, or its content. `settings` are the command's keys: `min={"f1": 0.8}` (0..1),
    `max={"usd_per_day": 50}`, `policies=[FILE]`, `reviews=[FILE]`, ...; `overrides` keys of groups
    (`{"machine.usd_per_hour": 0.35}`). The `Decision`: `.result` is the content of decide.json (dollars a day or month,
    p95 in seconds, shares 0..1; `None` is not known, never 0), `.options` a DataFrame with a row an option, `.exit_code` 1
    where nothing is feasible. Raises `ConfigError` for what is asked wrongly or an impossible constraint, `DataError` for
    fewer than 5 documents in common, `StoreError` where there is no run.
    """
    names = {"machine": machine} | ({} if task is None else {"task": task})
    plain: dict[str, Any] = {
        "price": catalog.option("price", "as_measured"),
        **_groups(names, overrides or {}),
        **settings,
    }
    plain["costs"] = {
        **catalog.load_yaml(catalog.shipped() / "configs" / "decide.yaml")["costs"],
        **plain.get("costs", {}),
    }
    if scenario is not None:
        given = {"name": scenario} | catalog.option("scenario", scenario) if isinstance(scenario, str) else scenario
        plain["scenario"] = dict(given)
    chosen: DecideSettings = validated("decide", plain)
    return _decide(chosen, launcher="evals.decide")


def plan(
    *,
    task: str,
    model: str | list[str] | None = None,
    machine: str = "this",
    overrides: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Plan:
    """Before spending: which difference so many documents detect, and what `model` (one or several) will cost and take,
    as `python -m evals plan` does; `pilot=10` asks each model ten documents first."""
    names: list[str] = [] if model is None else [model] if isinstance(model, str) else model
    groups = [_groups({"task": task, "machine": machine, "model": one}, overrides or {}) for one in names]
    first = groups[0] if groups else _groups({"task": task, "machine": machine}, overrides or {})
    models = [found["model"] for found in groups]
    chosen: PlanSettings = validated("plan", {**first, **settings, "model": models})
    return _plan(chosen, launcher="evals.plan")


def bench(
    *, task: str, model: str, machine: str = "this", overrides: Mapping[str, Any] | None = None, **settings: Any
) -> Bench:
    """How many documents a second a deployment sustains inside a latency target, as `python -m evals bench` does:
    `bench(task="mine", model="fake", limit=40, duration_s=5, target_p95_s=2.0)`; `.result` is the content of bench.json."""
    groups = _groups({"task": task, "model": model, "machine": machine}, overrides or {})
    chosen: BenchSettings = validated("bench", {**groups, **settings})
    return _bench(chosen, launcher="evals.bench")


def canary(
    *, task: str, model: str, machine: str = "this", overrides: Mapping[str, Any] | None = None, **settings: Any
) -> Canary:
    """Has the model behind a name changed? As `python -m evals canary` does: asks, keeps and compares."""
    groups = _groups({"task": task, "model": model, "machine": machine}, overrides or {})
    chosen: CanarySettings = validated("canary", {**groups, **settings})
    return _canary(chosen, launcher="evals.canary")


def import_logs(file: str | list[str], **settings: Any) -> Imported:
    """Other harnesses' logs as runs, as `python -m evals import` does; `import_logs("x.eval", task="gsm8k")`."""
    chosen: ImportSettings = validated("import", {"file": file, **settings})
    return _import_logs(chosen, launcher="evals.import_logs")


class Results(pd.DataFrame):
    """A frame with one row a run, which a notebook shows as the tool's own result table."""

    _metadata: ClassVar[list[str]] = ["summaries"]
    summaries: list[dict[str, Any]] | None = None

    def _repr_html_(self) -> str:
        return html.results(self.summaries) if self.summaries else str(self.to_html())


def results(where: str | os.PathLike[str] | None = None, *, by: str | Sequence[str] | None = None) -> Results:
    """One row a complete run below `where` (a folder or glob; `None`: all results) with every headline figure and its interval; a notebook shows it as a table with its intervals.

    `by="slice"` (or several of the table's columns, see `analysis.grouped`): one row an option and slice, computed from
    the runs' tables in the memory of a few columns.
    """
    if by is not None:
        from evals.analysis.tables.grouped import grouped

        return Results(grouped(where, [by] if isinstance(by, str) else by))
    summaries = [read_json(folder / "summary.json") for folder in run_folders(where)]
    frame = Results([files.flat(summary) for summary in summaries])
    frame = Results(frame.set_index(["task", "option"])) if len(frame) else frame
    frame.summaries = summaries
    return frame


def _option(group: str, name: str) -> dict[str, Any]:
    """A group's YAML; a task that only its stored runs know (an import) has none."""
    only_runs = group == "task" and name not in catalog.options("task") and has_runs(name)
    return {"name": name} if only_runs else catalog.option(group, name)


def _groups(names: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    chosen = {group: copy.deepcopy(_option(group, name)) for group, name in names.items()}
    for key, value in sorted(overrides.items(), key=lambda one: one[0].count(".")):  # a hybrid's side before its keys
        if sides.is_hybrid(chosen.get("model", {})) and key in sides.KEYS:
            chosen["model"][key.removeprefix("model.")] = sides.side(key.removeprefix("model."), value)
            continue
        group, *inner = key.split(".")
        if group not in chosen or not all(inner) or not inner:
            raise ConfigError(f"overrides: {key!r} should be GROUP.KEY with a group of {', '.join(chosen)}")
        place: Any = chosen[group]
        for part in inner[:-1]:
            place = place.get(part) if isinstance(place, dict) else None
        if not isinstance(place, dict) or (inner[-1] not in place and place):  # an empty mapping takes any key
            known = [f"{group}.{name}" for name in chosen[group]]
            raise ConfigError(f"overrides: {key} is not known{catalog.nearest(key, known)}")
        place[inner[-1]] = value
    return chosen
