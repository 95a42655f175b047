"""Stored runs -> one table: a row per sample x option x repeat, with documented columns (`columns`).

The columns of one run are derived once into `table.parquet` beside its records (`columnar`); what is read of it is what
is asked for.
"""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.tables import columnar
from evals.analysis.tables.columns import COUNTS, FLAGS, MONEY, NUMBERS, SCORES, TEXTS, TYPES
from evals.analysis.tables.routed import API_USD, add_machine
from evals.analysis.tables.rows import FrameRows, busy_seconds
from evals.analysis.tables.spans import seconds
from evals.catalog import nearest
from evals.errors import StoreError
from evals.pricing import machine_cost_usd

if TYPE_CHECKING:
    import pyarrow as pa


__all__ = [
    "COUNTS",
    "FLAGS",
    "NUMBERS",
    "SCORES",
    "TEXTS",
    "TYPES",
    "load_run",
    "load_runs",
    "run_folders",
]
ABOUT = ("run", "task", "option", "model")
"""Columns of the run, before those of the document."""


def load_runs(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None,
    *,
    fields: bool = False,
    columns: Sequence[str] | None = None,
) -> pd.DataFrame:
    """One row per sample x option x repeat of every complete run below `where` (folders or globs; all results).

    Columns: `run, task, option, model, sample_id, repeat, score, cost_usd, latency_s, failed`, the five outcome
    counts, `f1 f1_strict exact exact_strict schema_valid`, tokens, timings (seconds), `load, location, slice, tags, group`.
    `latency_s` is the service of all attempts and the waits between them; waits for a limiter are `queued_s`.
    `cost_usd` is what was paid in this run, `notional_usd` what it costs with nothing served from our cache,
    `wasted_usd` the part that bought no answer. Of a hybrid `answered_by` is the model whose answer counts, `p_error`
    what it was chosen by, `own_s` the seconds on a machine of one's own where an API answers too (its part: `api_usd`).
    `score` is the document's normalised F1 (NaN where it has no field set), of an import its own main score. With `fields=True`: the long frame,
    one row a field. `columns` names those that are wanted, beside the run's four: only they are read, which for a
    million documents is what fits into memory. Raises `StoreError` where no run is found, or no such column.
    """
    folders = run_folders(where)
    if not folders:
        raise StoreError(f"no complete run is found at {where}; a run folder holds manifest.json and summary.json")
    frames = [field_rows(f) if fields else load_run(f, columns) for f in folders]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def run_folders(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None, *, canaries: bool = False
) -> list[Path]:
    """Complete run folders at or below these folders or globs (`None`: the results root), oldest first.

    A canary's are left out, since they are few documents asked often, unless its own folder is named, or `canaries`.
    """
    where = store.results_root() if where is None else where
    patterns = [where] if isinstance(where, str | os.PathLike) else list(where)
    found: set[Path] = set()
    for pattern in map(str, patterns):
        for hit in [pattern] if os.path.exists(pattern) else glob.glob(pattern, recursive=True):
            path = Path(hit)
            found.update(summary.parent for summary in path.rglob("summary.json")) if path.is_dir() else found.add(
                path.parent
            )
    return sorted(
        (p for p in found if _complete(p) and (canaries or _meant(p, patterns))),
        key=lambda p: (p.name, str(p)),
    )


def _complete(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() and (folder / "summary.json").is_file()


def _meant(folder: Path, patterns: Iterable[object]) -> bool:
    return not folder.parent.name.endswith(store.CANARY) or any(store.CANARY in str(one) for one in patterns)


def load_run(folder: Path, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One run's rows, all columns or those named (beside run, task, option and model)."""
    manifest = store.read_json(folder / "manifest.json")
    path = columnar.table_path(folder, manifest)
    wanted = [*TYPES, "score", "load", "location"] if columns is None else _wanted(columns)
    price = (manifest.get("machine") or {}).get("usd_per_hour") if manifest.get("location") == "own" else None
    spent, total = machine_costs(path, price) if set(wanted) & set(MONEY) else (None, 0.0)
    frame = _frame(path, _read_for(wanted, spent))
    if "score" in wanted:
        frame["score"] = frame["score"].fillna(frame["f1"])
    if spent is not None:
        frame["cost_usd"] = frame["notional_usd"] = frame["latency_s"] / total * spent
        frame["wasted_usd"] = frame["cost_usd"].where(frame["failed"] | (frame["finish_reason"] == "length"), 0.0)
    if manifest.get("location") == "mixed" and set(wanted) & set(MONEY):
        timed = _frame(path, ["own_started_at", "own_s", "failed", "finish_reason", *MONEY[:3]])
        starts, api = seconds(timed["own_started_at"]), timed["notional_usd"].copy()
        add_machine(timed, timed["own_s"].to_numpy(np.float64), starts, (manifest["machine"] or {}).get("usd_per_hour"))
        if columns is None:
            frame[API_USD] = api
        for name in set(wanted) & set(MONEY[:3]):
            frame[name] = timed[name]
    for name in ("load", "location"):
        if name in wanted:
            frame[name] = manifest.get(name)
    for position, name in enumerate(ABOUT):
        frame.insert(position, name, str(folder) if name == "run" else manifest[name])
    return frame if columns is None else frame[[*ABOUT, *wanted]]


def _wanted(columns: Sequence[str]) -> list[str]:
    known = [*ABOUT, *TYPES, "score", "load", "location"]
    if strange := [name for name in columns if name not in known]:
        raise StoreError(f"columns: {strange[0]!r} is no column of the table{nearest(strange[0], known)}")
    return [name for name in dict.fromkeys(columns) if name not in ABOUT]


def _read_for(wanted: Sequence[str], spent: float | None) -> list[str]:
    """Columns of the file that those wanted are made of, in the file's order."""
    needed = {*wanted, *(["f1"] if "score" in wanted else [])}
    if spent is not None and needed & set(MONEY):
        needed |= {"latency_s", "failed", "finish_reason", "cost_usd", "notional_usd", "wasted_usd"}
    return [name for name in TYPES if name in needed]


def machine_costs(path: Path, usd_per_hour: float | None) -> tuple[float | None, float]:
    """Dollars of a machine of one's own while the run was busy (`None`: no price, or nothing timed), and the seconds
    of latency among which they are shared out."""
    if usd_per_hour is None:
        return None, 0.0
    timed = _frame(path, ["started_at", "queued_s", "latency_s", "cached"])
    return machine_cost_usd(busy_seconds(FrameRows(timed)), usd_per_hour), float(timed["latency_s"].sum())


def _frame(path: Path, names: Sequence[str]) -> pd.DataFrame:
    """Some columns of a table's file. Documents of the same tags share one array of them."""
    import pyarrow.parquet as pq

    plain = [name for name in names if name != "tags"]
    with pq.ParquetFile(path) as file:
        frame: pd.DataFrame = file.read(columns=plain).to_pandas(split_blocks=True, self_destruct=True)
        if "tags" in names:
            frame["tags"] = _tags(file.read(columns=["tags"])["tags"])
    return frame[list(names)]


def _tags(column: "pa.ChunkedArray") -> "pd.Series[Any]":
    found: list[Any] = []
    shared: dict[tuple[str, ...], Any] = {}
    for chunk in column.chunks:
        for tags in chunk.to_pylist():
            key = tuple(tags or ())
            found.append(shared.setdefault(key, np.array(key, dtype=object)))
    return pd.Series(found, dtype=object)


def field_rows(folder: Path) -> pd.DataFrame:
    """One row a leaf: sample, path, kind, outcome, strict outcome, gold, answer, grounded, note."""
    manifest = store.read_json(folder / "manifest.json")
    about = {"run": str(folder), "task": manifest["task"], "option": manifest["option"], "model": manifest["model"]}
    rows = []
    for line in store.scores(folder, manifest["hashes"]["scorer"]):
        document = {
            **about,
            "sample_id": line["sample_id"],
            "repeat": line["repeat"],
            "slice": line["sample"].get("slice"),
        }
        for leaf in line.get("fields", ()):
            values = {key: _text(leaf.get(key)) for key in ("gold", "answer")}
            rows.append({**document, "grounded": None, "note": None, **leaf, **values})
    return pd.DataFrame(rows)


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
