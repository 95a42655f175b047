"""Which options are worth choosing among: the Pareto frontier with its uncertainty, from any table.

A table with documents is resampled by document (by group), one draw for all options and objectives; a table of
aggregates has no intervals, but for the quality of `n` documents. What is left out, unlike or unknown is said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis import pareto
from evals.analysis.tables.units import Units, axis_of, interval_of, paired_units
from evals.errors import ConfigError, DataError
from evals.stats import Array, Estimate, paired_draws, wilson
from evals.stats.draws import dominated, signs

AXES = ("quality", "cost", "latency")
DIRECTIONS = {"quality": "max", "cost": "min", "latency": "min"}
LEAST_FOR_P95 = 200
NO_INTERVALS = "one row a model and no documents: no intervals, and no probability of being on the frontier"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a frontier is drawn over."""

    objectives: Sequence[str] | None = None
    """Two or three of quality, cost, latency; `None`: quality and cost, and latency where it was named."""
    directions: Mapping[str, str] = field(default_factory=dict)
    statistic: str = "p95"
    """Of latency: p50, p95 or mean."""
    mixed_load: bool = False
    draws: int = 2000
    seed: int = 0
    level: float = 0.95
    names: Mapping[str, str] = field(default_factory=dict)
    """Axis -> the words for it on a plot."""
    scales: Mapping[str, float] = field(default_factory=dict)
    """Axis -> what its figures are multiplied with, such as 1000 for dollars a thousand documents."""


def frontier(frame: pd.DataFrame, wanted: Wanted, notes: Sequence[str] = ()) -> dict[str, Any]:
    """The frontier of a table as plain data: `{objectives, points, hypervolume, documents, notes, ...}`.

    `frame`: columns of `load_runs` or `load_table`; quality is `score` (or the ratio `hits`/`whole`), cost `cost_usd`,
    latency `latency_s`. Raises `ConfigError` for objectives that cannot be had, unlike loads among them.
    """
    notes = list(notes)
    frame = frame if "option" in frame else frame.assign(option=frame["model"])
    if "sample_id" in frame and len(frame):
        units = paired_units(frame, notes)
        table, estimates, draws = _of_documents(units, wanted, notes)
    else:
        units, draws = None, None
        table, estimates = _of_options(frame, wanted, notes)
    objectives = _objectives(table, wanted, notes)
    load = _load(table, objectives, wanted, notes)
    if units and wanted.statistic == "p95" and "latency" in table and len(units.ids) < LEAST_FOR_P95:
        notes.append(f"p95 of {len(units.ids)} documents: n too small (under {LEAST_FOR_P95}), see its interval")
    directions = [wanted.directions.get(name, DIRECTIONS[name]) for name in objectives]
    points = table[list(objectives)].to_numpy(np.float64)
    told = _told(table, objectives, directions, points, estimates, _probabilities(draws, objectives, directions))
    reference = pareto.reference_point(points, directions)
    return {
        "objectives": [
            {
                "name": name,
                "label": _label(name, wanted, load, measured=units is not None),
                "direction": way,
                "statistic": wanted.statistic if name == "latency" and units else None,
                "load": load if name == "latency" else None,
            }
            for name, way in zip(objectives, directions, strict=True)
        ],
        "labels": {name: _label(name, wanted, load, measured=units is not None) for name in AXES},
        "points": told,
        "hypervolume": pareto.hypervolume(points, directions, reference),
        "hypervolume_reference": dict(zip(objectives, map(float, reference), strict=True)),
        "documents": len(units.ids) if units else None,
        "draws": wanted.draws if draws is not None else None,
        "level": wanted.level,
        "notes": notes,
    }


# A row a document ---------------------------------------------------------------------------------------------


def _of_documents(
    units: Units, wanted: Wanted, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, list[Estimate]], dict[str, Array] | None]:
    """Figures, intervals and draws (axis -> draws x options) of paired documents."""
    table = units.about.copy()
    axes = {name: found for name in AXES if (found := axis_of(units, name, wanted.statistic)) is not None}
    draws = None
    if len(units.ids) > 1:
        drawn = paired_draws(list(axes.values()), groups=units.groups, draws=wanted.draws, seed=wanted.seed)
        draws = {name: drawn[:, :, at] for at, name in enumerate(axes)}
    else:
        notes.append(f"{len(units.ids)} document: no intervals and no probabilities")
    estimates: dict[str, list[Estimate]] = {}
    for name, axis in axes.items():
        scale, estimates[name] = wanted.scales.get(name, 1.0), []
        for at in range(len(table)):
            own = draws[name][:, at] if draws else None
            one = interval_of(axis, at, units.groups, level=wanted.level, drawn=own, share=name == "quality")
            estimates[name].append(Estimate(one.value * scale, one.low * scale, one.high * scale, one.n))
        if name != "latency":
            _silence(table, name, axis.values, estimates[name])
        table[name] = [one.value for one in estimates[name]]
        if draws:  # what is not known beats nobody in any draw
            draws[name][:, table[name].isna().to_numpy()] = np.nan
    return table, estimates, draws


def _silence(table: pd.DataFrame, name: str, values: Array, estimates: list[Estimate]) -> None:
    """A figure that some documents lack is not known: a mean of the others would flatter or blame."""
    for at, lacking in enumerate(np.isnan(values).sum(axis=1)):
        if lacking:
            estimates[at] = Estimate(np.nan, np.nan, np.nan, 0)
            share = "" if lacking == values.shape[1] else f" for {lacking} of {values.shape[1]} documents"
            flags: Any = table["flags"].iloc[at]
            if not any(flag.startswith(name) for flag in flags):
                flags.append(f"{name} is not known{share}")


def _probabilities(
    draws: dict[str, Array] | None, objectives: Sequence[str], directions: Sequence[str]
) -> list[float] | None:
    if draws is None:
        return None
    joint = np.stack([draws[name] for name in objectives], axis=2) * signs(directions)
    return [float(share) for share in (~dominated(joint) & ~np.isnan(joint).any(axis=2)).mean(axis=0)]


# A row an option ----------------------------------------------------------------------------------------------


def _of_options(
    frame: pd.DataFrame, wanted: Wanted, notes: list[str]
) -> tuple[pd.DataFrame, dict[str, list[Estimate]]]:
    """Aggregates: the quality's Wilson interval where `n` is given, else no interval."""
    table = pd.DataFrame({"option": frame["option"], "model": frame.get("model", frame["option"])})
    for name, column in (("quality", "score"), ("cost", "cost_usd"), ("latency", "latency_s")):
        if column in frame:
            table[name] = frame[column].to_numpy(np.float64) * wanted.scales.get(name, 1.0)
    table["load"] = frame.get("load")
    table["n"] = frame.get("n")
    flags = frame["cost_flag"] if "cost_flag" in frame else pd.Series(None, index=frame.index, dtype=object)
    table["flags"] = [[flag] if isinstance(flag, str) else [] for flag in flags]
    table = table.reset_index(drop=True)
    estimates = {name: [Estimate(v, np.nan, np.nan, 0) for v in table[name]] for name in AXES if name in table}
    quality = table["quality"] if "quality" in table else pd.Series(dtype=np.float64)
    shares = len(quality) > 0 and bool(quality.dropna().between(0, 1).all())
    if shares and "n" in frame and frame["n"].notna().any():
        estimates["quality"] = [_share(value, n, wanted.level) for value, n in zip(quality, table["n"], strict=True)]
        notes.append(
            "one row a model and no documents: quality has Wilson intervals from n; cost, latency and P(on the "
            "frontier) have none"
        )
    else:
        notes.append(NO_INTERVALS + (" (columns.n=COLUMN gives quality its interval)" if shares else ""))
    return table, estimates


def _share(value: float, n: float, level: float) -> Estimate:
    if np.isnan(value) or np.isnan(n) or n < 1:
        return Estimate(value, np.nan, np.nan, 0)
    return wilson(value * round(n), round(n), level=level)


# Objectives and loads -----------------------------------------------------------------------------------------


def _objectives(table: pd.DataFrame, wanted: Wanted, notes: list[str]) -> list[str]:
    had = [name for name in AXES if name in table and table[name].notna().any()]
    if wanted.objectives is not None:
        chosen = list(dict.fromkeys(wanted.objectives))
        if len(chosen) not in (2, 3) or set(chosen) - set(AXES):
            raise ConfigError(f"objectives={chosen} should be two or three of {', '.join(AXES)}")
        if lacking := [name for name in chosen if name not in had]:
            raise ConfigError(f"objectives: {_lacking(lacking[0])}; there are {', '.join(had) or 'none'}")
        return chosen
    if "quality" not in had:
        raise DataError(f"{_lacking('quality')}; a frontier needs a quality and a cost or a latency")
    if "cost" not in had and "latency" in had:
        notes.append(f"{_lacking('cost')}: the frontier is drawn over quality and latency")
        return ["quality", "latency"]
    if "cost" not in had:
        raise DataError(f"{_lacking('cost')}, and no latency either: a frontier needs one of them")
    return ["quality", "cost"]


def _lacking(name: str) -> str:
    ways = {
        "quality": "quality is not known for any option (quality=COLUMN)",
        "cost": "cost is not known for any option (machine.usd_per_hour=... for a machine of your own, or cost=COLUMN)",
        "latency": "latency is not known for any option (latency=COLUMN)",
    }
    return ways[name]


def _load(table: pd.DataFrame, objectives: Sequence[str], wanted: Wanted, notes: list[str]) -> str | None:
    """The load that the latencies were taken under; unlike loads are one axis only where the user says so."""
    if "latency" not in table:
        return None
    timed = table[table["latency"].notna()]
    loads = sorted({str(load) for load in timed["load"] if load is not None and load == load})
    if len(loads) < 2:
        return loads[0] if loads else None
    told = "; ".join(f"{load}: {', '.join(timed.loc[timed['load'] == load, 'option'].head(3))}" for load in loads)
    if "latency" in objectives and not wanted.mixed_load:
        raise ConfigError(
            f"latencies of unlike loads are no one axis ({told}); mixed_load=true draws them all the same"
        )
    if "latency" in objectives:
        notes.append(f"MIXED LOAD: latencies were taken under unlike loads ({told})")
    return "mixed: " + ", ".join(loads)


def _label(name: str, wanted: Wanted, load: str | None, *, measured: bool) -> str:
    word = wanted.names.get(name, {"cost": "cost, $", "latency": "latency, s"}.get(name, name))
    if name != "latency":
        return word
    return f"{f'{wanted.statistic} of ' if measured else ''}{word}, load: {load or 'not stated'}"


# Points -------------------------------------------------------------------------------------------------------


def _told(
    table: pd.DataFrame,
    objectives: Sequence[str],
    directions: Sequence[str],
    points: Array,
    estimates: Mapping[str, Sequence[Estimate]],
    probabilities: Sequence[float] | None,
) -> list[dict[str, Any]]:
    """Each option as plain data, the frontier's first, by the second objective."""
    front, hull = pareto.non_dominated(points, directions), pareto.on_hull(points, directions)
    beaten = pareto.dominators(points, directions)
    names = list(table["option"])
    told = []
    for at, row in enumerate(table.to_dict("records")):
        known = not np.isnan(points[at]).any()
        point: dict[str, Any] = {"option": row["option"], "model": row["model"]}
        for name in AXES:
            one = estimates[name][at] if name in estimates else Estimate(np.nan, np.nan, np.nan, 0)
            point |= {name: _plain(one.value), f"{name}_low": _plain(one.low), f"{name}_high": _plain(one.high)}
        point |= {
            "on_frontier": bool(front[at]),
            "on_hull": bool(hull[at]),
            "p_non_dominated": probabilities[at] if probabilities is not None and known else None,
            "dominated_by": [names[other] for other in beaten[at]] if known else [],
            "n": None if row["n"] is None or np.isnan(row["n"]) else int(row["n"]),
            "load": row["load"] if isinstance(row["load"], str) else None,
            "flags": [*row["flags"], *(_absent(objectives, points[at], row["flags"]))],
        }
        told.append(point)
    second = objectives[1]
    return sorted(told, key=lambda p: (not p["on_frontier"], p[second] is None, p[second] or 0.0, p["option"]))


def _absent(objectives: Sequence[str], values: Array, flags: Sequence[str]) -> list[str]:
    absent = [name for name, value in zip(objectives, values, strict=True) if np.isnan(value)]
    return [f"{name} is not known" for name in absent if not any(flag.startswith(name) for flag in flags)]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
