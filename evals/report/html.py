"""The result table as HTML, for notebooks. Everything that is shown is escaped; colours follow the page's own."""

from collections.abc import Sequence
from html import escape
from typing import Any

from evals.report.console import cost_cell, count_cell, interval, main_quality, notes, number, percent, seconds

ACCENT = "#3b7dd8"
"""A blue that holds on white and on near-black."""
CELL = "padding:4px 10px;text-align:right;white-space:nowrap;vertical-align:bottom"
NAME = (
    "padding:4px 10px 4px 0;text-align:left;font-weight:600;vertical-align:bottom;min-width:10em;overflow-wrap:anywhere"
)
HEAD = "border-bottom:1px solid;opacity:.75;font-weight:600"
COLUMNS = ("n", "failed", "F1 [95 %]", "exact [95 %]", "valid", "p50 s", "p95 s", "docs/min", "$/1k docs")


def results(summaries: Sequence[dict[str, Any]]) -> str:
    """Finished runs as one table, each task's best F1 first, with the slices beside the figures of the whole."""
    if not summaries:
        return "<p>no finished run</p>"
    slices = list(dict.fromkeys(name for summary in summaries for name in summary["slices"]))
    ordered = sorted(summaries, key=lambda s: (s["task"], -(main_quality(s["quality"])["value"] or 0.0)))
    head = [f'<th style="{NAME};{HEAD}">option</th>']
    head += [
        f'<th style="{CELL};{HEAD}">{escape(name)}</th>'
        for name in [*_columns(summaries), *(f"F1 {s}" for s in slices)]
    ]
    body = "".join(f"<tr>{_row(summary, slices)}</tr>" for summary in ordered)
    titles = ", ".join(dict.fromkeys(f"{s['task']} ({s['split']})" for s in ordered))
    below = "".join(
        f"<div>{escape(note)}</div>" for note in dict.fromkeys(note for summary in ordered for note in notes(summary))
    )
    return (
        f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto"><div style="font-weight:600">{escape(titles)}</div>'
        f'<table style="border-collapse:collapse;color:inherit"><thead><tr>{"".join(head)}</tr></thead><tbody>{body}</tbody></table>'
        f'<div style="opacity:.75;font-size:90%">{below}</div></div>'
    )


def _columns(summaries: Sequence[dict[str, Any]]) -> list[str]:
    own = ["score" in summary["quality"] for summary in summaries]
    quality = "score [95 %]" if all(own) else "F1 or score [95 %]" if any(own) else "F1 [95 %]"
    return [quality if name == "F1 [95 %]" else name for name in COLUMNS]


def _row(summary: dict[str, Any], slices: Sequence[str]) -> str:
    quality, latency = summary["quality"], summary["latency"]
    cells = [
        escape(count_cell(summary)),
        str(summary["failed"]),
        _bar(main_quality(quality)),
        escape(interval(quality["exact"], percent=True)),
        escape(percent(quality["schema_valid"]["value"])),
        seconds(latency["p50_s"]),
        seconds(latency["p95_s"]) + ("*" if latency["note"] else ""),
        number(summary["throughput"]["docs_per_min"], 1),
        escape(cost_cell(summary["cost"])),
        *(_bar(summary["slices"][name]["f1"]) if name in summary["slices"] else "-" for name in slices),
    ]
    name = f'<td style="{NAME}">{escape(str(summary["option"]))}</td>'
    return name + "".join(f'<td style="{CELL}">{cell}</td>' for cell in cells)


def _bar(estimate: dict[str, Any]) -> str:
    """The figure over a line from 0 to 1 that shows the interval and, as a mark, the value."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    text = escape(interval(estimate))
    if value is None:
        return text
    span = "" if low is None else _piece(low, high - low, 4, f"background:{ACCENT};opacity:.45;border-radius:2px")
    mark = _piece(max(value - 0.01, 0.0), 0.02, 8, f"background:{ACCENT}", top=-2)
    line = "position:relative;height:4px;margin-top:3px;background:rgba(128,128,128,.25);border-radius:2px"
    return f'{text}<div style="{line}">{span}{mark}</div>'


def _piece(left: float, width: float, height: int, style: str, top: int = 0) -> str:
    place = f"left:{100 * left:.1f}%;width:{100 * width:.1f}%;height:{height}px;top:{top}px"
    return f'<div style="position:absolute;{place};{style}"></div>'
