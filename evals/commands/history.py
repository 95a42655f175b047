"""`history`: a task's runs over time, what really changed, and who answered behind the same name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.commands.settings.compare import HistorySettings
from evals.report import files

SMALL_N_FOR_P95 = 200

COLUMNS = ("option", "run", "n", "F1 [95 %]", "exact [95 %]", "p95 s", "$/1k docs", "against the run before")


@dataclass(frozen=True, kw_only=True)
class History:
    """A row a run, options together, oldest first."""

    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        from evals.report import console

        lines = [cells(row) for row in self.rows]
        title = f"history of {self.rows[0]['task']}" if self.rows else "history"
        return "\n".join([console.rows(title, columns(self.rows), lines), *called_out(self.rows), *legend(self.rows)])

    def _repr_html_(self) -> str:
        from html import escape

        from evals.report import html_compare

        said = "".join(f"<div><b>{escape(line)}</b></div>" for line in called_out(self.rows))
        said += "".join(f'<div style="opacity:.75">{escape(line)}</div>' for line in legend(self.rows))
        return html_compare.table(columns(self.rows), [cells(row) for row in self.rows]) + said


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """`COLUMNS`; of imported runs, which have no fields, the score stands where F1 does."""
    own = ["score" in row for row in rows]
    quality = "score [95 %]" if own and all(own) else "F1 or score [95 %]" if any(own) else COLUMNS[3]
    return [*COLUMNS[:3], quality, *COLUMNS[4:]]


def history(settings: HistorySettings) -> History:
    """Every run of the task, compared with the one before it of the same option."""
    from evals.analysis.comparing import history as analysis

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
    small = "*" if p95["value"] is not None and row["timed"] < SMALL_N_FOR_P95 else ""
    said = "; ".join(f"{arrow(change)} {change}" for change in row["changes"]) or _unmarked(row)
    kept = " (reference)" if str(row["run"]).endswith(".json") else ""
    return [
        str(row["option"]),
        str(row["started_at"] or row["run"])[:19] + kept,
        str(row["n"]),
        console.interval(row.get("score") or row["f1"]),
        console.interval(row["exact"], percent=True),
        console.seconds(p95["value"]) + small + _bounds(p95),
        ("-" if usd["value"] is None else f"{usd['value']:,.3g}") + _bounds(usd),
        said + (" (!)" if row["served"] else ""),
    ]


def _bounds(figure: Mapping[str, Any]) -> str:
    return "" if figure["low"] is None or figure["high"] is None else f" [{figure['low']:.3g}, {figure['high']:.3g}]"


def _unmarked(row: Mapping[str, Any]) -> str:
    """A step without a real change: what the documents show all the same."""
    name = next((name for name in ("f1", "score") if name in (row.get("difference") or ())), None)
    if name is None:
        return str(row["step"])
    value, low, high = row["difference"][name]
    return f"no change shown by {row['step']}: {name} {value:+.3f} [{low:+.3f}, {high:+.3f}]"


def legend(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the figures are of, and why some are not there."""
    timed = [row for row in rows if row["p95_s"]["value"] is not None]
    loads = {str(row["load"]): f"{row['option']} {str(row['started_at'])[:10]}" for row in reversed(timed)}
    said = []
    if len(loads) == 1:
        said.append(f"p95 s: end to end, load: {next(iter(loads))}")
    elif loads:
        said.append(f"p95 s: end to end, UNLIKE loads: {'; '.join(f'{load} ({who})' for load, who in loads.items())}")
    if any(row["timed"] < SMALL_N_FOR_P95 for row in timed):
        said.append(f"* n too small for p95 (under {SMALL_N_FOR_P95})")
    if any(row["usd_per_1k"]["value"] is None for row in rows):
        said.append(
            "$/1k docs: - where no price was declared in the run (machine.usd_per_hour=...) or usage not reported"
        )
    if any(row["changes"] for row in rows):
        said.append("▲ ▼ a real change against the run before: paired by document, Holm over all steps shown, p < .05")
    return said


def arrow(change: str) -> str:
    """Up or down, by the sign of the difference."""
    return "▲" if change.split()[1].startswith("+") else "▼"


def called_out(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a change of who answered."""
    return [f"! {row['option']} {str(row['started_at'])[:19]}: {line}" for row in rows for line in row["served"]]


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: row[key] for key in ("option", "started_at", "run", "n", "load", "step")}
    for name in ("f1", "exact", *(["score"] if "score" in row else []), "p95_s", "usd_per_1k"):
        flat |= {name: row[name]["value"], f"{name}_low": row[name]["low"], f"{name}_high": row[name]["high"]}
    return flat | {"changes": "; ".join(row["changes"]), "served": "; ".join(row["served"])}
