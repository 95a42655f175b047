"""What `import` made, as a table: one line a run, and what must be said of it."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evals.report import console
from evals.report.comparison import clean

COLUMNS = ("task", "option", "n", "failed", "metric", "score [95 %]", "$/1k docs", "p50 s")


def cells(row: Mapping[str, Any]) -> list[str]:
    """One run as the texts of `COLUMNS`."""
    count = f"{row['n']}" + (f" x {row['repeats']}" if row["repeats"] > 1 else "")
    latency = row["latency"]
    value = "-" if row["score"] is None else console.interval(row["score"])
    fewer = row["score"] is not None and row["score"]["n"] < row["n"]
    return [
        row["task"],
        row["option"],
        count,
        str(row["failed"]),
        row["metric"],
        value + (f" (of {row['score']['n']} scored)" if fewer else ""),
        console.cost_cell(row["cost"]),
        console.seconds(latency["p50_s"]),
    ]


def text(rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The table and its notes."""
    table = console.rows("imported", list(COLUMNS), [[clean(cell) for cell in cells(row)] for row in rows])
    folders = [f"{row['run']}{'' if row['new'] else '  (was there)'}" for row in rows]
    said = dict.fromkeys(clean(note) for note in [*_of_rows(rows), *notes])
    return "\n".join([table, *said, "", *folders])


def _of_rows(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Failures, loads and costs in words."""
    said = []
    for row in rows:
        if row["errors"]:
            kinds = ", ".join(f"{count} {kind}" for kind, count in row["errors"].items())
            other = row["without_failed"]
            without = "" if other is None else f", without those that are not the model's {console.interval(other)}"
            said.append(f"{row['option']}: failed: {kinds}; counted as zero{without}")
        if row["cut_answers"]:
            said.append(f"{row['option']}: {row['cut_answers']} answers were cut for their length")
    loads = dict.fromkeys(row["latency"]["load"] for row in rows if row["latency"]["n"])
    if loads:
        said.append(f"p50 s: as the harness timed it, load: {', '.join(map(str, loads))}")
    notes = dict.fromkeys(row["cost"]["note"] for row in rows if row["cost"]["note"])
    said += [f"$/1k docs: {note}" for note in notes]
    unpriced = [row for row in rows if row["cost"]["usd_per_1k"] is None]
    if told := dict.fromkeys(row["option"] for row in unpriced if row["tokens"]):
        said.append(
            f"$/1k docs of {', '.join(told)}: the log has tokens and no dollars; price.input_usd_per_mtok=... "
            "price.output_usd_per_mtok=... with again=true, or evals.add_cost, prices them"
        )
    if silent := dict.fromkeys(row["option"] for row in unpriced if not row["tokens"]):
        said.append(f"$/1k docs of {', '.join(silent)}: the log has neither tokens nor dollars: not known")
    return said


def html(rows: Sequence[Mapping[str, Any]], notes: Sequence[str]) -> str:
    """The same for a notebook; every text of a log is escaped."""
    from evals.report import html_compare

    table = html_compare.table([*COLUMNS, "run folder"], [[*cells(row), row["run"]] for row in rows])
    return table + "".join(f"<div>{escape(note)}</div>" for note in [*_of_rows(rows), *notes])
