"""Stored runs -> one table: a row per sample x option x repeat, with documented columns.

The columns of one run are derived once into `table.parquet` beside its records, in blocks, so that 100,000
documents never lie in memory as Python objects; the file is made again when records or scores are newer.
"""

import glob
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evals import store
from evals.core import Call, Price, Record, Usage
from evals.errors import StoreError
from evals.pricing import call_cost_usd, is_waste, machine_cost_usd, paid_here

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK = 2000
SERVED = {"served_model": "model", "fingerprint": "fingerprint", "tier": "tier"}
"""Column -> key of `Completion.served_by`."""
FREE = frozenset(
    {"rate_limit", "server", "auth", "bad_request", "unknown_model", "context_length", "privacy", "too_large"}
)
"""Errors that a provider does not bill."""
COUNTS = ("tp", "wrong", "miss", "hall", "tn")
SCORES = (
    *COUNTS,
    *("strict_tp", "strict_wrong", "strict_miss", "strict_hall"),
    *("f1", "f1_strict", "exact", "exact_strict", "schema_valid", "parse_strict", "parse_lenient"),
    *("wrong_grounded", "invented"),
)
TEXTS = (
    *("sample_id", "slice", "group", "data_class", "error", "finish_reason", "started_at"),
    *("served_model", "fingerprint", "tier"),
)
NUMBERS = (
    *("repeat", "latency_s", "queued_s", "backoff_s", "ttft_s", "prefill_s", "decode_s", "loop_lag_s", "in_flight"),
    *("calls", "retries", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
    *("reasoning_tokens", "truncated_chars", "truncated_tokens", "chars"),
    *("cost_usd", "notional_usd", "wasted_usd", "wasted_assumed", "wasted_unknown"),
)
FLAGS = ("failed", "cached")
TYPES: dict[str, str] = {
    **dict.fromkeys(TEXTS, "string"),
    **dict.fromkeys((*NUMBERS, *SCORES), "number"),
    **dict.fromkeys(FLAGS, "flag"),
    "tags": "list",
}
"""Column -> type of `table.parquet`, in its order."""


def load_runs(
    where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None, *, fields: bool = False
) -> pd.DataFrame:
    """One row per sample x option x repeat of every complete run below `where` (folders or globs; all results).

    Columns: `run, task, option, model, sample_id, repeat, score, cost_usd, latency_s, failed`, the five outcome
    counts, `f1 f1_strict exact exact_strict schema_valid`, tokens, timings (seconds), `load, location, slice, tags, group`.
    `latency_s` is the service of all attempts and the waits between them; waits for a limiter are `queued_s`.
    `cost_usd` is what was paid in this run, `notional_usd` what it costs with nothing served from our cache,
    `wasted_usd` the part that bought no answer.
    `score` is the document's normalised F1 (NaN where it has no field set). With `fields=True`: the long frame,
    one row a field. Raises `StoreError` where no run is found.
    """
    folders = run_folders(where)
    if not folders:
        raise StoreError(f"no complete run is found at {where}; a run folder holds manifest.json and summary.json")
    return pd.concat([field_rows(f) if fields else load_run(f) for f in folders], ignore_index=True)


def run_folders(where: str | os.PathLike[str] | Iterable[str | os.PathLike[str]] | None = None) -> list[Path]:
    """Complete run folders at or below these folders or globs (`None`: the results root), oldest first."""
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
    if spent is not None:
        frame["cost_usd"] = frame["notional_usd"] = frame["latency_s"] / frame["latency_s"].sum() * spent
        frame["wasted_usd"] = frame["cost_usd"].where(frame["failed"] | (frame["finish_reason"] == "length"), 0.0)
    frame["load"], frame["location"] = manifest.get("load"), manifest.get("location")
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
    if not table.exists() or table.stat().st_mtime_ns < newest or _columns_of(table) != [*TYPES]:
        write_table(folder, scorer, store.prices(manifest))
    return table


def _columns_of(table: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return list(pq.read_schema(table).names)
    except (pa.ArrowException, OSError):  # torn by a crash
        return []


def write_table(folder: Path, scorer: str, prices: Mapping[str, Price] | None) -> None:
    """Derive `table.parquet` from records, scores and prices, block by block."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _arrow_schema(pa)
    beside = folder / f".table.{os.getpid()}"
    with pq.ParquetWriter(beside, schema) as writer:
        for block in _blocks(folder, scorer, prices):
            writer.write_table(pa.Table.from_pylist(block, schema=schema))
    beside.replace(folder / "table.parquet")


def _arrow_schema(pa: Any) -> "pa.Schema":
    made = {"string": pa.string(), "number": pa.float64(), "flag": pa.bool_(), "list": pa.list_(pa.string())}
    return pa.schema([(name, made[kind]) for name, kind in TYPES.items()])


def _blocks(folder: Path, scorer: str, prices: Mapping[str, Price] | None) -> Iterator[list[dict[str, Any]]]:
    block: list[dict[str, Any]] = []
    for record, line in store.paired(folder, scorer):
        block.append({**_row(record, line), **_money(record, prices)})
        if len(block) == BLOCK:
            yield block
            block = []
    yield block


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(sum(known)) if known else None


def _row(record: Record, line: dict[str, Any]) -> dict[str, Any]:
    """One record and its score as a flat row."""
    sample = line["sample"]
    timed = [call for call in record.calls if call.timing and not call.cached]
    timings = [call.timing for call in timed if call.timing]
    done = [call.completion for call in record.calls if call.completion]
    final = record.calls[record.answer] if record.answer is not None else None
    answer = final.completion if final else None
    used = [c.usage for c in done] + [call.usage for call in record.calls if call.usage]
    served = done[-1].served_by if done else {}
    first = final.timing if final and final.timing and not final.cached else timings[0] if timings else None
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
        **{name: _word(served.get(key)) for name, key in SERVED.items()},
        "latency_s": _total(t.total_s + t.backoff_s for t in timings),
        "queued_s": _total(t.queued_s for t in timings),
        "backoff_s": _total(t.backoff_s for t in timings),
        "ttft_s": first.ttft_s if first else None,
        "prefill_s": _total(t.prefill_s for t in timings),
        "decode_s": _total(t.decode_s for t in timings),
        "loop_lag_s": max((t.loop_lag_s or 0.0 for t in timings), default=None),
        "in_flight": float(timed[0].in_flight) if timed else None,
        "calls": float(len(record.calls)),
        "retries": float(sum(call.role == "retry" for call in record.calls)),
        "input_tokens": _total(u.input_uncached for u in used),
        "cache_read_tokens": _total(u.cache_read for u in used),
        "cache_write_tokens": _total(u.cache_write for u in used),
        "output_tokens": _total(u.output for u in used),
        "reasoning_tokens": _total(u.reasoning for u in used),
        "truncated_chars": float(record.truncated_chars),
        "truncated_tokens": float(sum(c.truncated_tokens for c in done)),
        **{name: line["metrics"].get(name) for name in SCORES},
    }


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def _money(record: Record, prices: Mapping[str, Price] | None) -> dict[str, float | None]:
    """Dollars of a remote record: paid, notional, wasted. A reply that was cut or unreadable and reported no usage is
    assumed to have cost what the answer cost; a time-out of unknown cost is counted, not guessed."""
    if not prices:
        return {}
    answer = record.calls[record.answer] if record.answer is not None else None
    spent: list[tuple[Call, float | None, bool]] = []
    for call in record.calls:
        made_here = call.completion is not None and call.completion.usage != Usage()  # not merged of parts
        if call.error in FREE or (call.timing is None and not made_here):
            continue
        known = call_cost_usd(call, prices)
        assumed = known is None and call.error == "bad_body" and answer is not None
        spent.append((call, call_cost_usd(answer, prices) if assumed and answer else known, assumed))
    fresh = [(call, dollars) for call, dollars, _ in spent if paid_here(call)]
    unknown_answer = any(dollars is None and call.completion for call, dollars, _ in spent)
    return {
        "cost_usd": None if unknown_answer else _total(dollars for _, dollars in fresh) or 0.0,
        "notional_usd": None if unknown_answer else _total(dollars for _, dollars, _ in spent) or 0.0,
        "wasted_usd": _total(dollars for call, dollars in fresh if is_waste(call)) or 0.0,
        "wasted_assumed": float(sum(assumed for _, _, assumed in spent)),
        "wasted_unknown": float(sum(dollars is None and not call.completion for call, dollars, _ in spent)),
    }
