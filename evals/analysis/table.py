"""Stored runs -> one table: a row per sample x option x repeat, with documented columns.

The columns of one run are derived once into `table.parquet` beside its records, in blocks, so that 100,000
documents never lie in memory as Python objects; the file is made again when records or scores are newer.
"""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evals import store
from evals.core import Record
from evals.errors import StoreError
from evals.pricing import machine_cost_usd

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 2000
COUNTS = ("tp", "wrong", "miss", "hall", "tn")
SCORES = (
    *COUNTS,
    *("strict_tp", "strict_wrong", "strict_miss", "strict_hall"),
    *("f1", "f1_strict", "exact", "exact_strict", "schema_valid", "parse_strict", "parse_lenient"),
    *("wrong_grounded", "invented"),
)
TEXTS = ("sample_id", "slice", "group", "data_class", "error", "finish_reason", "started_at")
NUMBERS = (
    *("repeat", "latency_s", "queued_s", "ttft_s", "prefill_s", "decode_s", "loop_lag_s", "in_flight", "calls"),
    *("input_tokens", "cache_read_tokens", "output_tokens", "truncated_chars", "truncated_tokens", "chars"),
)
FLAGS = ("failed", "cached")


def load_runs(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] = "results/**", *, fields: bool = False
) -> pd.DataFrame:
    """One row per sample x option x repeat of every complete run below `where` (folders or globs).

    Columns: `run, task, option, model, sample_id, repeat, score, cost_usd, latency_s, failed`, the five outcome
    counts, `f1 f1_strict exact exact_strict schema_valid`, tokens, timings (seconds), `slice, tags, group`.
    `score` is the document's normalised F1 (NaN where it has no field set). With `fields=True`: the long frame,
    one row a field. Raises `StoreError` where no run is found.
    """
    folders = run_folders(where)
    if not folders:
        raise StoreError(f"no complete run is found at {where}; a run folder holds manifest.json and summary.json")
    return pd.concat([field_rows(f) if fields else load_run(f) for f in folders], ignore_index=True)


def run_folders(where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Complete run folders at these folders or globs, oldest first."""
    patterns = [where] if isinstance(where, str | os.PathLike) else list(where)
    found: set[Path] = set()
    for pattern in patterns:
        for hit in glob.glob(str(pattern), recursive=True):
            path = Path(hit)
            found.update(p.parent for p in ([path / "summary.json"] if path.is_dir() else [path]))
            if path.is_dir() and "*" not in str(pattern):
                found.update(p.parent for p in path.rglob("summary.json"))
    return sorted(
        (p for p in found if (p / "manifest.json").is_file() and (p / "summary.json").is_file()),
        key=lambda p: (p.name, str(p)),
    )


def load_run(folder: Path) -> pd.DataFrame:
    """One run's rows."""
    manifest = store.read_json(folder / "manifest.json")
    frame = pd.read_parquet(_fresh_table(folder, manifest))
    frame["score"] = frame["f1"]
    price = (manifest.get("machine") or {}).get("usd_per_hour") if manifest.get("location") == "own" else None
    seconds = busy_seconds(frame)
    spent = machine_cost_usd(seconds, price)
    frame["cost_usd"] = np.nan if spent is None else frame["latency_s"] / frame["latency_s"].sum() * spent
    for position, name in enumerate(("run", "task", "option", "model")):
        frame.insert(position, name, str(folder) if name == "run" else manifest[name])
    return frame


def busy_seconds(frame: pd.DataFrame) -> float | None:
    """Seconds in which at least one fresh document was under way: pauses between sessions of a run do not count."""
    timed = frame[frame["latency_s"].notna() & ~frame["cached"] & frame["started_at"].notna()]
    if timed.empty:
        return None
    start = (
        pd.to_datetime(timed["started_at"], utc=True, format="ISO8601").to_numpy("datetime64[us]").astype(np.int64)
        / 1e6
    )
    end = start + (timed["queued_s"].fillna(0) + timed["latency_s"]).to_numpy()
    order = np.argsort(start, kind="stable")
    start, end = start[order], np.maximum.accumulate(end[order])
    gaps = np.clip(start[1:] - end[:-1], 0, None)
    return float(end[-1] - start[0] - gaps.sum())


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


def _fresh_table(folder: Path, manifest: dict[str, Any]) -> Path:
    """`table.parquet`, made again where records or scores are newer or the scorer is another."""
    table, scorer = folder / "table.parquet", manifest["hashes"]["scorer"]
    sources = [folder / "records.jsonl", folder / f"scores-{scorer}.jsonl"]
    newest = max((path.stat().st_mtime_ns for path in sources if path.exists()), default=0)
    if not table.exists() or table.stat().st_mtime_ns < newest:
        write_table(folder, scorer)
    return table


def write_table(folder: Path, scorer: str) -> None:
    """Derive `table.parquet` from records and scores, block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow_schema(pa)
    beside = folder / f".table.{os.getpid()}"
    with pq.ParquetWriter(beside, schema) as writer:
        for block in _blocks(folder, scorer):
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
    beside.replace(folder / "table.parquet")


def _arrow_schema(pa: Any) -> "pa.Schema":
    columns = [(name, pa.string()) for name in TEXTS]
    columns += [(name, pa.float64()) for name in (*NUMBERS, *SCORES)] + [(name, pa.bool_()) for name in FLAGS]
    return pa.schema([*columns, ("tags", pa.list_(pa.string()))])


def _blocks(folder: Path, scorer: str) -> Iterator[list[dict[str, Any]]]:
    block: list[dict[str, Any]] = []
    for record, line in store.paired(folder, scorer):
        block.append(_row(record, line))
        if len(block) == BLOCK:
            yield block
            block = []
    yield block


def _row(record: Record, line: dict[str, Any]) -> dict[str, Any]:
    """One record and its score as a flat row."""
    sample = line["sample"]
    timed = [call for call in record.calls if call.timing and not call.cached]
    timings = [call.timing for call in timed if call.timing]
    done = [call.completion for call in record.calls if call.completion]
    answer = record.calls[record.answer].completion if record.answer is not None else None

    def total(values: Iterable[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(sum(known)) if known else None

    return {
        "sample_id": record.sample_id,
        "repeat": float(record.repeat),
        "slice": sample.get("slice"),
        "tags": list(sample.get("tags", ())),
        "group": sample.get("group"),
        "data_class": sample.get("data_class"),
        "chars": sample.get("chars"),
        "failed": record.answer is None,
        "cached": any(call.cached for call in record.calls),
        "error": record.error,
        "finish_reason": answer.finish_reason if answer else None,
        "started_at": timings[0].started_at if timings else None,
        "latency_s": total(t.total_s for t in timings),
        "queued_s": total(t.queued_s for t in timings),
        "ttft_s": timings[0].ttft_s if timings else None,
        "prefill_s": total(t.prefill_s for t in timings),
        "decode_s": total(t.decode_s for t in timings),
        "loop_lag_s": max((t.loop_lag_s or 0.0 for t in timings), default=None),
        "in_flight": float(timed[0].in_flight) if timed else None,
        "calls": float(len(record.calls)),
        "input_tokens": total(c.usage.input_uncached for c in done),
        "cache_read_tokens": total(c.usage.cache_read for c in done),
        "output_tokens": total(c.usage.output for c in done),
        "truncated_chars": float(record.truncated_chars),
        "truncated_tokens": float(sum(c.truncated_tokens for c in done)),
        **{name: line["metrics"].get(name) for name in SCORES},
    }
