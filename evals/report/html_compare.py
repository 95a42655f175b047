"""A comparison and a history as HTML, for notebooks. Everything that is shown is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from evals.report.comparison import COLUMNS, cells, diff_lines, gate_cells, heading, name_of, rows_of, sources
from evals.report.html import CELL, HEAD, NAME

COLOURS = {
    "regressed": "#d55e00",
    "failed": "#d55e00",
    "improved": "#0072b2",
    "met": "#0072b2",
    "equivalent": "#009e73",
}
"""Okabe and Ito's, told apart by colour-blind readers too; the word stands beside the colour."""


def comparison(result: Mapping[str, Any]) -> str:
    """Verdict, what must be said, gates, findings, and the documents that broke or were mended."""
    parts = [f'<div style="font-weight:600">{escape(heading(result))}</div>']
    parts += [f'<div style="opacity:.75;font-size:90%">{escape(line)}</div>' for line in sources(result)]
    parts += [f"<div><b>{escape(line)}</b></div>" for line in result["infrastructure"]]
    if result["gates"]:
        parts.append(
            table(["option", "gate", "limit", "value [95 %]", "result"], [gate_cells(g) for g in result["gates"]])
        )
    for part in result["candidates"]:
        lines = [[name_of(row), *cells(row)] for row in rows_of(result, part["option"])]
        parts.append(table([f"{part['option']} (n={part['n']})", *COLUMNS], lines))
        parts += [f"<div><b>{escape(line)}</b></div>" for line in part["told"]]
        parts += [f'<div style="opacity:.75">{escape(line)}</div>' for line in part["notes"]]
        parts += [_documents(part, key, result["show"]) for key in ("newly_broken", "newly_fixed")]
    parts.append(f'<div style="opacity:.75;font-size:90%">Holm over {result["tests"]} tests</div>')
    return f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto">{"".join(parts)}</div>'


def table(columns: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A plain table; a cell that begins with a verdict has its colour."""
    head = "".join(
        f'<th style="{NAME if i == 0 else CELL};{HEAD}">{escape(name)}</th>' for i, name in enumerate(columns)
    )
    body = "".join("<tr>" + "".join(_cell(i, value) for i, value in enumerate(line)) + "</tr>" for line in lines)
    return f'<table style="border-collapse:collapse;color:inherit"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(position: int, value: object) -> str:
    text = "-" if value is None else str(value)
    colour = next((shade for word, shade in COLOURS.items() if text.startswith(word)), None)
    style = (NAME if position == 0 else CELL) + (f";color:{colour};font-weight:600" if colour else "")
    return f'<td style="{style}">{escape(text)}</td>'


def _documents(part: Mapping[str, Any], key: str, show: int) -> str:
    names = part[key]
    title = f"{key.replace('_', ' ')}: {len(names)}"
    lines = [line for name in names[:show] for line in (name, *diff_lines(part["documents"][name]))]
    return f"<details><summary>{escape(title)}</summary><pre>{escape(chr(10).join(lines))}</pre></details>"
