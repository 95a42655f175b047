"""The commands by name, for notebooks: plain keyword arguments, the same YAML, no Hydra."""

import copy
import os
from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd

from evals import catalog
from evals.analysis.table import run_folders
from evals.commands.compare import Comparison
from evals.commands.compare import compare as _compare
from evals.commands.frontier import Frontier
from evals.commands.frontier import frontier as _frontier
from evals.commands.history import History
from evals.commands.history import history as _history
from evals.commands.run import Finished
from evals.commands.run import run as _run
from evals.commands.score import score as _score
from evals.commands.settings import RunSettings, ScoreSettings, validated
from evals.commands.settings_compare import CompareSettings, HistorySettings
from evals.commands.settings_frontier import FrontierSettings
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


def compare(
    *, candidate: str | list[str], baseline: str | None = None, gate: Mapping[str, Any] = {}, **settings: Any
) -> Comparison:
    """Compare runs over the documents they share, as `python -m evals compare` does; `gate={"f1": {"min": 0.9}}`."""
    plain = {"candidate": candidate, "baseline": baseline, "gate": dict(gate), **settings}
    chosen: CompareSettings = validated("compare", plain)
    if chosen.save:
        raise ConfigError("save=true is a word of the command line: python -m evals compare candidate=RUN save=true")
    return _compare(chosen)


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


class Results(pd.DataFrame):
    """A frame with one row a run, which a notebook shows as the tool's own result table."""

    _metadata: ClassVar[list[str]] = ["summaries"]
    summaries: list[dict[str, Any]] | None = None

    def _repr_html_(self) -> str:
        return html.results(self.summaries) if self.summaries else str(self.to_html())


def results(where: str | os.PathLike[str] | None = None) -> Results:
    """One row a complete run below `where` (a folder or glob; `None`: all results) with every headline figure and its interval; a notebook shows it as a table with its intervals."""
    summaries = [read_json(folder / "summary.json") for folder in run_folders(where)]
    frame = Results([files.flat(summary) for summary in summaries])
    frame = Results(frame.set_index(["task", "option"])) if len(frame) else frame
    frame.summaries = summaries
    return frame


def _groups(names: Mapping[str, str], overrides: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    chosen = {group: copy.deepcopy(catalog.option(group, name)) for group, name in names.items()}
    for key, value in overrides.items():
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
