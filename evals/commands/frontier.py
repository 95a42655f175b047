"""`frontier`: the joined table of a task's runs, or any table, and which options are worth choosing among."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis import frontier as analysis
from evals.analysis.imported import read_table
from evals.analysis.priced import add_cost
from evals.analysis.table import SCORES, load_runs, run_folders
from evals.catalog import nearest
from evals.commands.settings_frontier import FrontierSettings
from evals.core import stable_hash
from evals.errors import ConfigError, StoreError
from evals.report import files, pareto

RATIOS = {"f1": "", "f1_strict": "strict_"}
"""Metrics that are a ratio of totals over documents, with the prefix of their counts."""
AXIS_COLUMNS = {"quality": "score", "cost": "cost_usd", "latency": "latency_s"}


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """A frontier: `report` is the content of `frontier.json`; printed, it is the table."""

    report: dict[str, Any]

    def __str__(self) -> str:
        return pareto.text(self.report)

    def _repr_html_(self) -> str:
        return pareto.embedded(self.report)

    @property
    def points(self) -> pd.DataFrame:
        """One row an option."""
        return pd.DataFrame(self.report["points"])


def frontier(settings: FrontierSettings) -> Frontier:
    """The frontier of a task's runs or of a table; with `out`, as CSV, JSON, PNG and HTML. Raises `UserError`."""
    if settings.out:
        files.prepare(Path(settings.out))
    found = _of_table(settings) if settings.table is not None else _of_runs(settings)
    if settings.out:
        write(Path(settings.out), found.report)
    return found


def write(folder: Path, report: dict[str, Any]) -> None:
    """`frontier.csv`, `.json`, `.html`, and `.png` where matplotlib is there."""
    files.write_table(folder, "frontier", report["points"], report)
    store.write_whole(folder / "frontier.html", pareto.page(report))
    try:
        from evals.report.plots import draw
    except ImportError:
        report["notes"].append("no frontier.png: it needs matplotlib, pip install 'evals-frontier[plots]'")
        return
    draw(report, folder / "frontier.png")


def _wanted(settings: FrontierSettings, names: dict[str, str], scales: dict[str, float]) -> analysis.Wanted:
    objectives = settings.objectives
    if objectives is None and settings.latency is not None and settings.cost is not None:
        objectives = ["quality", "cost", "latency"]
    ways = {name: getattr(settings.directions, name) for name in analysis.AXES}
    return analysis.Wanted(
        objectives=objectives,
        directions=ways,
        statistic=settings.statistic,
        mixed_load=settings.mixed_load,
        draws=settings.draws,
        seed=settings.seed,
        level=settings.level,
        names=names,
        scales=scales,
    )


# A table ------------------------------------------------------------------------------------------------------


def _of_table(settings: FrontierSettings) -> Frontier:
    columns = {key: value for key, value in settings.columns.items() if value is not None}
    for axis, name in AXIS_COLUMNS.items():
        if (given := getattr(settings, axis)) is not None:
            columns[name] = given
    if settings.quality is None and not isinstance(columns.get("model"), list):
        raise ConfigError("quality=COLUMN names the table's column of scores")
    frame, notes = read_table(Path(str(settings.table)), columns)
    frame = _sliced(frame, settings.slice)
    names = {axis: given for axis in AXIS_COLUMNS if isinstance(given := getattr(settings, axis), str)}
    report = analysis.frontier(frame, _wanted(settings, names, {}), notes)
    return Frontier(report={"title": Path(str(settings.table)).name, **report, "left_out": []})


# Runs ---------------------------------------------------------------------------------------------------------


def _of_runs(settings: FrontierSettings) -> Frontier:
    task = str((settings.task or {})["name"])
    kept, left = chosen_runs(task, settings.split, settings.runs)
    frame = load_runs(kept)
    frame = _priced(frame, settings.machine.get("usd_per_hour"))
    metric = str(settings.quality or "f1")
    frame = _with_quality(_sliced(frame, settings.slice), metric)
    frame["cost_usd"] = frame["notional_usd"]
    names = {"quality": metric, "cost": "cost, $ per 1,000 documents", "latency": "latency, s"}
    report = analysis.frontier(frame, _wanted(settings, names, {"cost": 1000.0}))
    title = f"{task} ({settings.split}{', ' + ' or '.join(settings.slice) if settings.slice else ''})"
    return Frontier(report={"title": title, **report, "left_out": left})


def chosen_runs(task: str, split: str, where: str | None) -> tuple[list[Path], list[dict[str, str]]]:
    """The newest complete run of each option with one dataset, split and scorer; what is left out, with the reason.

    Of several datasets or scorers that which most options share is taken, then the newest.
    """
    found = [(path, store.read_json(path / "manifest.json")) for path in run_folders(where)]
    found = [(path, manifest) for path, manifest in found if manifest["task"] == task and manifest["split"] == split]
    if not found:
        raise StoreError(f"no complete run of {task} ({split}) is found{f' at {where}' if where else ''}")
    kinds: dict[str, set[str]] = {}
    for _, manifest in found:
        kinds.setdefault(_kind(manifest), set()).add(manifest["option"])
    newest = {_kind(manifest): at for at, (_, manifest) in enumerate(found)}
    kind = max(kinds, key=lambda one: (len(kinds[one]), newest[one]))
    kept: dict[str, Path] = {}
    left = []
    for path, manifest in reversed(found):
        option = str(manifest["option"])
        if _kind(manifest) != kind:
            left.append({"run": str(path), "option": option, "reason": "another dataset or scorer"})
        elif option in kept:
            left.append({"run": str(path), "option": option, "reason": "a newer run of this option"})
        else:
            kept[option] = path
    return list(kept.values()), left


def _kind(manifest: dict[str, Any]) -> str:
    return stable_hash([json.loads(json.dumps(manifest["dataset"])), manifest["hashes"]["scorer"]])


def _priced(frame: pd.DataFrame, usd_per_hour: float | None) -> pd.DataFrame:
    return add_cost(frame, machines={} if usd_per_hour is None else {"*": usd_per_hour})


def _sliced(frame: pd.DataFrame, slices: Sequence[str] | None) -> pd.DataFrame:
    if slices is None:
        return frame
    wanted = set(slices)
    tags = frame["tags"] if "tags" in frame else [[name] for name in frame.get("slice", pd.Series("", frame.index))]
    kept = np.array([bool(wanted & set(found)) for found in tags])
    if not kept.any():
        known = {str(tag) for found in tags for tag in found}
        raise ConfigError(f"slice: no document has the tag {', '.join(slices)}{nearest(slices[0], known)}")
    return frame[kept]


def _with_quality(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    if metric in RATIOS:
        part = {name: frame[f"{RATIOS[metric]}{name}"] for name in ("tp", "wrong", "miss", "hall")}
        hits = 2 * part["tp"]
        return frame.assign(hits=hits, whole=hits + 2 * part["wrong"] + part["miss"] + part["hall"])
    if metric not in SCORES:
        raise ConfigError(f"quality={metric} is not known{nearest(metric, SCORES)}")
    return frame.assign(score=frame[metric].fillna(0.0))
