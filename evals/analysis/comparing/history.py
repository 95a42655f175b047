"""A task's runs over time: each option's metrics with intervals, and which changes between two runs are real.

A run is compared with the one before it of the same option, where dataset, prompt, schema and scorer are the same:
paired over the documents both answered, micro F1 and document exact match, Holm over all steps of the history; and p95
and an API's dollars (`SPENT`), Holm over theirs. Between
runs that are not alike nothing is called a change of the model.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from evals import store
from evals.analysis.comparing.baseline import Side, find, read_side, reference_path, served
from evals.analysis.comparing.changes import served_change
from evals.analysis.comparing.compare import ALPHA, SMALL_N_FOR_P95, Pair, conditions, join, suited, tested, unlike
from evals.analysis.tables.rows import FrameRows, waited
from evals.analysis.tables.summary import quality
from evals.analysis.tables.table import run_folders
from evals.errors import DataError, StoreError
from evals.stats import holm, mean_t, quantile

TESTED = ("f1", "exact")
SPENT = ("p95_s", "cost")
"""Tested in a family of their own: p95 of `SMALL_N_FOR_P95` documents and more, under like conditions; dollars of APIs
(those of one's own machine are its seconds again)."""


def load(task: str, where: str | None = None, option: str | None = None) -> list[Side]:
    """The task's complete runs, oldest first, and its reference where that is of a run that is no longer here."""
    sides = []
    for folder in run_folders(where):
        manifest = store.read_json(folder / "manifest.json")
        if manifest.get("task") == task and option in (None, manifest.get("option"), manifest.get("model")):
            sides.append(read_side(folder))
    path = reference_path(task)
    if where is None and path.is_file():
        reference = read_side(find(str(path)))
        known = {(side.option, side.about["started_at"]) for side in sides}
        named = option in (None, reference.option, reference.about["model"])
        if named and (reference.option, reference.about["started_at"]) not in known:
            sides.append(reference)
    if not sides:
        place = where or store.results_root()
        raise StoreError(f"no complete run of task={task}{f' of {option}' if option else ''} is found at {place}")
    return sorted(sides, key=lambda side: str(side.about["started_at"] or ""))


def history(sides: Sequence[Side]) -> list[dict[str, Any]]:
    """A row a run, options together, each with its steps from the run before."""
    rows: list[dict[str, Any]] = []
    last: dict[str, Side] = {}
    for side in sides:
        before = last.get(side.option)
        rows.append(_row(side) | (_step(before, side) if before else {"step": "first", "p": {}, "served": []}))
        last[side.option] = side
    for spent in (False, True):
        keys = [(row, name) for row in rows for name in row["p"] if (name in SPENT) == spent]
        for (row, name), p in zip(keys, holm([row["p"][name] for row, name in keys]), strict=True):
            row.setdefault("p_holm", {})[name] = p
    for row in rows:
        row["changes"] = [_change(row, name) for name, p in row.get("p_holm", {}).items() if p < ALPHA]
    return sorted(rows, key=lambda row: (row["option"], row["started_at"] or ""))


def _row(side: Side) -> dict[str, Any]:
    """One run's figures, as its summary has them."""
    figures = quality(side.rows)
    fresh = side.rows["latency_s"][waited(FrameRows(side.rows))].to_numpy(float)
    p95 = quantile(fresh, 0.95)
    usd = mean_t(side.rows.groupby("sample_id")["notional_usd"].mean().to_numpy(float) * 1000)
    known = not side.rows["notional_usd"].isna().any()
    values = {"p95_s": (p95.value, p95.low, p95.high)}
    values["usd_per_1k"] = (usd.value, usd.low, usd.high) if known else (math.nan,) * 3
    return {
        "task": side.about["task"],
        "option": side.option,
        "started_at": side.about["started_at"],
        "run": side.where,
        "n": int(side.rows["sample_id"].nunique()),
        **{name: figures[name] for name in (*TESTED, "score") if name in figures},
        **{
            name: dict(zip(("value", "low", "high"), map(_known, three), strict=True)) for name, three in values.items()
        },
        "timed": p95.n,
        "load": side.about["load"],
        "answered_by": {name: list(found) for name, found in served(side.rows).items()},
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _step(before: Side, side: Side) -> dict[str, Any]:
    """From one run of an option to the next: what differs around it, and the paired differences where nothing does."""
    called = served_change(before, side)
    different = list(unlike(before, side))
    if different:
        return {"step": f"not comparable: other {', '.join(different)}", "p": {}, "served": called}
    try:
        pair = join(before, side)
    except DataError:
        return {"step": "not comparable: no document in common", "p": {}, "served": called}
    names = [*suited(pair, TESTED), *_spent(before, side, pair)]
    found = {name: one for name in names if not isinstance(one := tested(pair, name), str)}
    told = {name: one.relative if name in SPENT else one.difference for name, one in found.items()}
    return {
        "step": f"{len(pair.a)} documents in common",
        "p": {name: one.p for name, one in found.items()},
        "difference": {name: [one.value, one.low, one.high] for name, one in told.items()},
        "served": called,
    }


def _spent(before: Side, side: Side, pair: Pair) -> list[str]:
    """Which of `SPENT` can be compared between two runs."""
    timed = (pair.a["latency_s"].notna() & pair.b["latency_s"].notna()).sum()
    names = ["p95_s"] if timed >= SMALL_N_FOR_P95 and not conditions(before, side) else []
    return [*names, *(["cost"] if "own" not in (before.about["location"], side.about["location"]) else [])]


def mixed(row: Mapping[str, Any]) -> list[str]:
    """More than one model id or fingerprint inside one run."""
    return [
        f"{name.replace('_', ' ')} changed during the run: {', '.join(found)}"
        for name, found in row["answered_by"].items()
        if len(found) > 1
    ]


def _change(row: Mapping[str, Any], name: str) -> str:
    value, low, high = row["difference"][name]
    if name in SPENT:
        return f"{name} {100 * value:+.1f} % [{100 * low:+.1f}, {100 * high:+.1f}], p {row['p_holm'][name]:.2g}"
    return f"{name} {value:+.3f} [{low:+.3f}, {high:+.3f}], p {row['p_holm'][name]:.2g}"
