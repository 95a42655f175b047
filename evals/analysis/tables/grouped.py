"""Stored runs -> a row an option and whatever else is asked for: the same figures as a run's summary, by group.

Each figure reads the columns it needs of the runs' `table.parquet`, so that ten million rows are summarised in seconds
and in the memory of a few columns.
"""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.tables.columns import FLAGS, TOKENS
from evals.analysis.tables.outcomes import Documents, documents, outcomes
from evals.analysis.tables.rows import Codes, FileRows, Mask, waited
from evals.analysis.tables.table import run_folders
from evals.catalog import nearest
from evals.errors import ConfigError, StoreError
from evals.stats import Array, Estimate, mean_t
from evals.stats.intervals import quantiles

OF_RUN = ("model", "run", "split", "load", "location")
OF_ROW = ("slice", "data_class", "group", "error", "finish_reason", "served_model", "fingerprint", "tier", *FLAGS)
ALWAYS = ("task", "option")
ENDS = {"": "value", "_low": "low", "_high": "high"}


def grouped(where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None, by: Sequence[str]) -> pd.DataFrame:
    """A row a task, option and combination of `by` of the complete runs at `where`, indexed by these.

    `by`: columns of the run (`model, run, split, load, location`) or of the document (`slice, data_class, group, error,
    finish_reason, served_model, fingerprint, tier, failed, cached`). Columns:

    - `n` documents, `rows` (with repeats), `failed` ones;
    - `score` and `f1, f1_strict, exact, ...` each with `_low, _high`: as in `summary.json`, repeats averaged inside a
      document, documents of one group together; `score` is the mean of the documents' scores, `f1` the ratio of totals;
    - `usd_per_1k` with its interval, `cost_usd` billed in sum; NaN where it is not known for some row;
    - `p50_s, p95_s` with their intervals over `timed` fresh rows (exact order statistics), and tokens in sum over what
      was reported.

    Documents are told apart by a 64-bit hash of their id where an option has repeats or several runs. Raises
    `StoreError` where no run is found, `ConfigError` for an unknown column.
    """
    names = list(dict.fromkeys(by))
    if strange := [name for name in names if name not in (*ALWAYS, *OF_RUN, *OF_ROW)]:
        known = (*ALWAYS, *OF_RUN, *OF_ROW)
        raise ConfigError(
            f"by: {strange[0]!r} cannot be grouped by{nearest(strange[0], known)}; known: {', '.join(known)}"
        )
    folders = run_folders(where)
    if not folders:
        raise StoreError(f"no complete run is found at {where}; a run folder holds manifest.json and summary.json")
    options: dict[tuple[str, str], list[Path]] = {}
    for folder in folders:
        manifest = store.read_json(folder / "manifest.json")
        options.setdefault((str(manifest["task"]), str(manifest["option"])), []).append(folder)
    inner = [name for name in names if name not in ALWAYS]
    found = [line for (task, option), part in options.items() for line in _option(task, option, part, inner)]
    return pd.DataFrame(found).set_index([*ALWAYS, *inner])


def _option(task: str, option: str, folders: Sequence[Path], by: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of one option."""
    rows = FileRows.of(folders)
    cells, labels = _cells(rows, folders, by)
    told = documents(rows, single=len(folders) == 1 or "run" in by, apart=cells)
    found = outcomes(rows, cells, len(labels), told)
    of_document = told.head(cells)
    masks = [of_document == at for at in range(len(labels))]
    parts = [
        _counts(rows, cells, found.documents),
        _scores(rows, told, masks),
        [_flat(found.quality(np.arange(len(labels)) == at)) for at in range(len(labels))],
        _dollars(rows, told, cells, masks),
        _seconds(rows, cells, len(labels)),
        _tokens(rows, cells, len(labels)),
    ]
    names = [{"task": task, "option": option, **dict(zip(by, label, strict=True))} for label in labels]
    return [{k: v for part in (*line, line[0]) for k, v in part.items()} for line in zip(names, *parts, strict=True)]


def _counts(rows: FileRows, cells: Codes, n: Array) -> list[dict[str, Any]]:
    all_of = np.bincount(cells, minlength=len(n))
    failed = np.bincount(cells[rows.flags("failed")], minlength=len(n))
    return [{"n": int(n[at]), "rows": int(all_of[at]), "failed": int(failed[at])} for at in range(len(n))]


def _scores(rows: FileRows, told: Documents, masks: Sequence[Mask]) -> list[dict[str, Any]]:
    """The mean of the documents' scores: the run's own where it has one, else normalised F1."""
    values = rows.numbers("score")
    values = told.mean(np.where(np.isnan(values), rows.numbers("f1"), values))
    return [_three("score", mean_t(values[mask])) for mask in masks]


def _dollars(rows: FileRows, told: Documents, cells: Codes, masks: Sequence[Mask]) -> list[dict[str, Any]]:
    """Of a machine of one's own the seconds of latency share its dollars, so that their mean has no interval of its
    own; rows that it did not time (from the cache) cost nothing. Elsewhere one unknown row makes the cost unknown."""
    notional, paid = rows.numbers("notional_usd"), rows.numbers("cost_usd")
    own = bool(rows.dollars) and all(rows.dollars)
    lacking = np.bincount(cells[np.isnan(notional)], minlength=len(masks))
    mean, lines = told.mean(notional), []
    for at, mask in enumerate(masks):
        one = mean_t(mean[mask])
        if own:
            one = Estimate(one.value, np.nan, np.nan, one.n)
        elif lacking[at]:
            one = Estimate(np.nan, np.nan, np.nan, 0)
        thousand = Estimate(1000 * one.value, 1000 * one.low, 1000 * one.high, one.n)
        spent = float(np.nansum(paid[cells == at])) if one.n else np.nan
        lines.append({**_three("usd_per_1k", thousand), "cost_usd": spent})
    return lines


def _seconds(rows: FileRows, cells: Codes, count: int) -> list[dict[str, Any]]:
    values = rows.numbers("latency_s")
    fresh = waited(rows)
    values, cells, lines = values[fresh], cells[fresh], []
    for at in range(count):
        part = values[cells == at]
        p50, p95 = quantiles(part, (0.5, 0.95))
        lines.append({**_three("p50_s", p50), **_three("p95_s", p95), "timed": len(part)})
    return lines


def _tokens(rows: FileRows, cells: Codes, count: int) -> list[dict[str, Any]]:
    """In sum over what was reported; NaN where nothing was."""
    lines: list[dict[str, Any]] = [{} for _ in range(count)]
    for name in TOKENS:
        values = rows.numbers(name)
        known = ~np.isnan(values)
        sums = np.bincount(cells[known], values[known], count)
        told = np.bincount(cells[known], minlength=count)
        for at, line in enumerate(lines):
            line[name] = float(sums[at]) if told[at] else np.nan
    return lines


def _three(name: str, one: Estimate) -> dict[str, float]:
    return {name: one.value, f"{name}_low": one.low, f"{name}_high": one.high}


def _flat(figures: dict[str, Any]) -> dict[str, float]:
    kept = {name: one for name, one in figures.items() if name != "score"}
    found = {f"{name}{end}": one[key] for name, one in kept.items() for end, key in ENDS.items()}
    return {name: np.nan if value is None else value for name, value in found.items()}


def _cells(rows: FileRows, folders: Sequence[Path], by: Sequence[str]) -> tuple[Codes, list[tuple[Any, ...]]]:
    """Each row's combination of `by`, and what the combinations are; only those that occur."""
    cells, labels = np.zeros(rows.n, np.int64), list[tuple[Any, ...]]([()])
    for name in by:
        codes, words = _words(rows, folders, name)
        values = [*words, None] if (codes < 0).any() else words
        codes = np.where(codes < 0, len(words), codes) if len(values) > len(words) else codes
        cells *= max(len(values), 1)
        cells += codes
        counts = np.bincount(cells, minlength=len(labels) * len(values))
        kinds = np.flatnonzero(counts)
        if len(kinds) < len(counts):
            cells = np.cumsum(counts > 0)[cells] - 1
        labels = [(*labels[kind // len(values)], values[kind % len(values)]) for kind in kinds]
    return cells.astype(np.int32), labels


def _words(rows: FileRows, folders: Sequence[Path], name: str) -> tuple[Codes, list[Any]]:
    if name in FLAGS:
        return rows.flags(name).astype(np.int32), [False, True]
    if name == "run":
        return np.repeat(np.arange(len(folders), dtype=np.int32), rows.sizes), [str(folder) for folder in folders]
    return rows.about(name) if name in OF_RUN else rows.words(name)
