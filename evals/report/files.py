"""Tables as files beside what is printed: `<command>.csv` and `<command>.json` where `out=DIR` says."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.errors import ConfigError
from evals.store import plain, write_whole

DANGEROUS = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins so is a formula to a spreadsheet."""


def prepare(folder: Path) -> None:
    """Make the folder that `out` names; to be called before work is done whose result could not be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"out={folder} is no folder that can be written to: {error.strerror or error}") from None


def write_table(folder: Path, command: str, rows: Sequence[Mapping[str, Any]], value: Any = None) -> None:
    """Write `rows` as CSV and `value` (the rows, where none is given) as JSON."""
    prepare(folder)
    buffer = io.StringIO()
    columns = list(dict.fromkeys(key for row in rows for key in row))
    writer = csv.writer(buffer, lineterminator="\r\n")  # as RFC 4180; else a bare \r is not quoted and begins a row
    writer.writerow(columns)
    writer.writerows([_cell(row.get(column)) for column in columns] for row in rows)
    write_whole(folder / f"{command}.csv", buffer.getvalue())
    text = json.dumps(plain(list(rows) if value is None else value), indent=2, ensure_ascii=False, default=str)
    write_whole(folder / f"{command}.json", text + "\n")


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would run is quoted with an apostrophe; numbers stay numbers."""
    if value is None or isinstance(value, int | float):
        return value
    if hasattr(value, "item"):  # numpy's
        return value.item()
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return f"'{text}" if text.startswith(DANGEROUS) else text


def flat(summary: Mapping[str, Any]) -> dict[str, Any]:
    """A summary as one flat row: `f1, f1_low, f1_high, ...` beside the counts."""
    row = {key: summary[key] for key in ("task", "option", "model", "split", "n", "failed")}
    for name, estimate in summary["quality"].items():
        row |= {name: estimate["value"], f"{name}_low": estimate["low"], f"{name}_high": estimate["high"]}
    row |= {key: summary["latency"][key] for key in ("p50_s", "p95_s", "ttft_p50_s", "load")}
    row |= {"docs_per_min": summary["throughput"]["docs_per_min"], "usd_per_1k": summary["cost"]["usd_per_1k"]}
    return row | {"cost_provenance": summary["cost"]["provenance"]}
