"""`history`: a task's runs over time, what really changed, and who answered behind the same name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.commands.settings_compare import HistorySettings
from evals.report import files

COLUMNS = ("option", "run", "n", "F1 [95 %]", "exact [95 %]", "p95 s", "$/1k docs", "against the run before")


@dataclass(frozen=True, kw_only=True)
class History:
    """A row a run, options together, oldest first."""

    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        from evals.report import console

        lines = [cells(row) for row in self.rows]
        return "\n".join([console.rows("history", list(COLUMNS), lines), *called_out(self.rows)])

    def _repr_html_(self) -> str:
        from html import escape

        from evals.report import html_compare

        said = "".join(f"<div><b>{escape(line)}</b></div>" for line in called_out(self.rows))
        return html_compare.table(list(COLUMNS), [cells(row) for row in self.rows]) + said


def history(settings: HistorySettings) -> History:
    """Every run of the task, compared with the one before it of the same option."""
    from evals.analysis import history as analysis

    if settings.out:
        files.prepare(Path(settings.out))
    rows = analysis.history(analysis.load(str(settings.task["name"]), settings.runs, settings.option))
    for row in rows:
        row["served"] = [*row["served"], *analysis.mixed(row)]
    if settings.out:
        files.write_table(Path(settings.out), "history", [_flat(row) for row in rows], rows)
    return History(rows=rows)


def cells(row: Mapping[str, Any]) -> list[str]:
    """One run as text; a change that is real is marked."""
    from evals.report import console

    p95, usd = row["p95_s"], row["usd_per_1k"]
    bounds = "" if p95["low"] is None or p95["high"] is None else f" [{p95['low']:.3g}, {p95['high']:.3g}]"
    said = "; ".join(f"{arrow(change)} {change}" for change in row["changes"]) or row["step"]
    return [
        str(row["option"]),
        str(row["started_at"] or row["run"])[:19],
        str(row["n"]),
        console.interval(row["f1"]),
        console.interval(row["exact"], percent=True),
        console.seconds(p95["value"]) + bounds,
        console.number(usd["value"], 2),
        said + (" (!)" if row["served"] else ""),
    ]


def arrow(change: str) -> str:
    """Up or down, by the sign of the difference."""
    return "▲" if change.split()[1].startswith("+") else "▼"


def called_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a change of who answered."""
    return [f"! {row['option']} {str(row['started_at'])[:19]}: {line}" for row in rows for line in row["served"]]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("option", "started_at", "run", "n", "load", "step")}
    for name in ("f1", "exact", "p95_s", "usd_per_1k"):
        flat |= {name: row[name]["value"], f"{name}_low": row[name]["low"], f"{name}_high": row[name]["high"]}
    return flat | {"changes": "; ".join(row["changes"]), "served": "; ".join(row["served"])}
