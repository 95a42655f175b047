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
from evals.analysis.tables.imported import read_table
from evals.analysis.tables.priced import add_cost, unlike_dates
from evals.analysis.tables.rows import FrameRows, waited
from evals.analysis.tables.table import SCORES, load_runs, run_folders
from evals.catalog import nearest
from evals.commands import repricing
from evals.commands.settings.frontier import FrontierSettings
from evals.core import stable_hash
from evals.errors import ConfigError, DataError, StoreError
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
    frame = sliced(frame, settings.slice)
    given = {axis: getattr(settings, axis) for axis in AXIS_COLUMNS if getattr(settings, axis) is not None}
    names = {axis: one if isinstance(one, str) else f"{axis} ({', '.join(one)})" for axis, one in given.items()}
    try:
        report = analysis.frontier(frame, _wanted(settings, names, {}), notes)
    except DataError as error:  # what was read as unknown is why
        raise DataError("; ".join([str(error), *notes])) from None
    return Frontier(report={"title": Path(str(settings.table)).name, **report, "left_out": []})


# Runs ---------------------------------------------------------------------------------------------------------


def _of_runs(settings: FrontierSettings) -> Frontier:
    task = str((settings.task or {})["name"])
    kept, left = chosen_runs(task, settings.split, settings.runs)
    frame = load_runs(kept)
    frame, dated = _priced(frame, kept, settings)
    metric = str(settings.quality or ("f1" if frame["tp"].notna().any() else "score"))  # imports have no fields
    frame = with_quality(sliced(frame, settings.slice), metric)
    frame["cost_usd"] = frame["notional_usd"]
    answers = frame.assign(latency_s=frame["latency_s"].where(waited(FrameRows(frame))))
    if settings.hybrids:
        from evals.commands.route import hybrid_rows

        answers = pd.concat([answers, hybrid_rows(settings, frame, dated)], ignore_index=True)
    names = {"quality": metric, "cost": "cost, $ per 1,000 documents", "latency": "latency, s"}
    report = analysis.frontier(answers, _wanted(settings, names, {"cost": 1000.0}), dated)
    title = f"{task} ({settings.split}{', ' + ' or '.join(settings.slice) if settings.slice else ''})"
    return Frontier(report={"title": title, **report, "left_out": left})


def chosen_runs(task: str, split: str, where: str | None) -> tuple[list[Path], list[dict[str, str]]]:
    """The complete run of each option with most documents, of several the newest, of one dataset, split and scorer;
    what is left out, with the reason.

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
    runs = {path for path, _ in found}
    left = [
        {"run": str(path), "option": path.parent.name, "reason": "a canary: few documents, asked often"}
        for path in run_folders(where, canaries=True)
        if path.parent.name.endswith(store.CANARY)
        and path not in runs
        and path.parents[1].name == store.safe_name(task)
    ]
    sizes = {path: int(store.read_json(path / "summary.json").get("n") or 0) for path, _ in found}
    for path, manifest in sorted(reversed(found), key=lambda one: -sizes[one[0]]):  # a pilot does not hide a whole run
        option = str(manifest["option"])
        if _kind(manifest) != kind:
            left.append({"run": str(path), "option": option, "reason": "another dataset or scorer"})
        elif option in kept:
            most = sizes[kept[option]]
            more = f"has {sizes[path]} documents, another run of this option {most}"
            reason = more if sizes[path] < most else "a newer run of this option"
            left.append({"run": str(path), "option": option, "reason": reason})
        else:
            kept[option] = path
    return list(kept.values()), left


def _kind(manifest: dict[str, Any]) -> str:
    return stable_hash([json.loads(json.dumps(manifest["dataset"])), manifest["hashes"]["scorer"]])


def _priced(frame: pd.DataFrame, runs: Sequence[Path], settings: FrontierSettings) -> tuple[pd.DataFrame, list[str]]:
    """Own machines at the hourly price, the others as they were priced or anew; and a note where dates differ."""
    manifests = [store.read_json(run / "manifest.json") for run in runs]
    prices = {str(one["option"]): one["prices"] for one in manifests if one.get("prices")}
    usd_per_hour = settings.machine.get("usd_per_hour")
    machines = {} if usd_per_hour is None else {"*": usd_per_hour}
    if settings.reprice:
        remote = [one for one in manifests if str(one["option"]) in prices]
        found = {str(one["option"]): repricing.todays(str(one["model"]), one) for one in remote}
        anew = {option: tiers for option, tiers in found.items() if tiers is not None}
        return add_cost(frame, prices=anew, machines=machines), [
            "API models are priced at today's prices"
        ] if anew else []
    unlike = unlike_dates(prices)
    said = (
        f"the costs are at prices of different dates ({unlike}); reprice=true prices all at today's" if unlike else ""
    )
    return add_cost(frame, machines=machines), [said] if said else []


def sliced(frame: pd.DataFrame, slices: Sequence[str] | None) -> pd.DataFrame:
    """Only documents with one of these tags."""
    if slices is None:
        return frame
    wanted = set(slices)
    tags = frame["tags"] if "tags" in frame else [[name] for name in frame.get("slice", pd.Series("", frame.index))]
    kept = np.array([bool(wanted & set(found)) for found in tags])
    if not kept.any():
        known = {str(tag) for found in tags for tag in found}
        raise ConfigError(f"slice: no document has the tag {', '.join(slices)}{nearest(slices[0], known)}")
    return frame[kept]


def with_quality(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The table with `hits` and `whole`, or `score`, of a metric."""
    if metric in SCORES and frame[metric].isna().all():
        raise ConfigError(f"quality={metric} was not measured in these runs")
    if metric in RATIOS:
        part = {name: frame[f"{RATIOS[metric]}{name}"] for name in ("tp", "wrong", "miss", "hall")}
        hits = 2 * part["tp"]
        return frame.assign(hits=hits, whole=hits + 2 * part["wrong"] + part["miss"] + part["hall"])
    if metric not in SCORES:
        raise ConfigError(f"quality={metric} is not known{nearest(metric, SCORES)}")
    if metric == "score":  # what could not be scored is left out, not wrong
        return frame
    return frame.assign(score=frame[metric].fillna(0.0))
