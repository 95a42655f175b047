"""The result table on a terminal: what was measured, how sure it is, and what was not."""

import textwrap
from collections.abc import Sequence
from typing import Any

WIDTH = 132
"""Columns of output that is not a terminal."""


def results(summaries: Sequence[dict[str, Any]]) -> str:
    """One table of finished runs, and one of their slices."""
    parts = [_render(_headline(summaries))]
    if any(summary["slices"] for summary in summaries):
        parts.append(_render(_slices(summaries)))
    said = [note for summary in summaries for note in notes(summary)]
    return "\n".join([*parts, *dict.fromkeys(said)])


def _headline(summaries: Sequence[dict[str, Any]]) -> Any:
    first = summaries[0]
    table = _table(f"{first['task']} ({first['split']})")
    for name in (
        "option",
        "n",
        "failed",
        "F1 [95 %]",
        "exact [95 %]",
        "valid",
        "p50 s",
        "p95 s",
        "docs/min",
        "$/1k docs",
    ):
        table.add_column(name, justify="left" if name == "option" else "right", overflow="fold")
    for summary in summaries:
        quality, latency = summary["quality"], summary["latency"]
        table.add_row(
            summary["option"],
            count_cell(summary),
            str(summary["failed"]),
            interval(quality["f1"]),
            interval(quality["exact"], percent=True),
            percent(quality["schema_valid"]["value"]),
            seconds(latency["p50_s"]),
            seconds(latency["p95_s"]) + ("*" if latency["note"] else ""),
            number(summary["throughput"]["docs_per_min"], 1),
            cost_cell(summary["cost"]),
        )
    return table


def _slices(summaries: Sequence[dict[str, Any]]) -> Any:
    table = _table("by slice: normalised F1 [95 %], document exact match")
    names = list(dict.fromkeys(name for summary in summaries for name in summary["slices"]))
    table.add_column("option", overflow="fold")
    for name in names:
        counts = {str(s["slices"][name]["f1"]["n"]) for s in summaries if name in s["slices"]}
        table.add_column(f"{name} (n={'/'.join(sorted(counts))})", justify="right")
    for summary in summaries:
        cells = [summary["slices"].get(name) for name in names]
        shown = [f"{interval(c['f1'])}  {percent(c['exact']['value'])}" if c else "-" for c in cells]
        table.add_row(summary["option"], *shown)
    return table


def notes(summary: dict[str, Any]) -> list[str]:
    """What a reader must know of the figures, a line each."""
    notes = []
    if summary["latency"]["note"]:
        notes.append(f"* p95: {summary['latency']['note']}; load: {summary['latency']['load']}")
    if str(summary["latency"]["load"]).startswith("offline") and summary["latency"]["p50_s"] is not None:
        notes.append(
            "p50, p95 of an offline load hold the documents' wait for each other; concurrency=1 times one alone"
        )
    if summary["latency"].get("bent"):
        notes.append(f"{summary['option']}: {summary['latency']['bent']}")
    notes += [f"{summary['option']}: {note}" for note in summary.get("notes", ())]
    if summary.get("hybrid"):
        notes.append(f"{summary['option']}: {_routed(summary['hybrid'])}")
    if summary["cost"].get("kind") in ("api", "mixed") and summary["cost"]["billed"] is not None:
        notes.append(f"{summary['option']}: {_bill(summary)}")
    if summary["cost"].get("note"):
        notes.append(f"$/1k docs: {summary['cost']['note']}")
    if summary["truncated_documents"]:
        notes.append(f"{summary['option']}: {summary['truncated_documents']} documents were truncated to fit")
    if summary["cut_answers"]:
        notes.append(f"{summary['option']}: {summary['cut_answers']} answers were cut at max_tokens")
    if summary["errors"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary["errors"].items())
        notes.append(f"{summary['option']}: failed: {kinds}; counted as zero")
    without = summary["quality_without_failed_infrastructure"]
    if without:
        name = "score" if "score" in without else "F1"
        notes.append(f"{summary['option']}: {name} without infrastructure failures {interval(main_quality(without))}")
    return notes


def _routed(hybrid: dict[str, Any]) -> str:
    """How many documents a hybrid sent on, and what each model cost."""
    spent = ", ".join(
        f"{name} {part['calls']} calls" + ("" if part["usd"] is None else f" ${part['usd']:,.4f}")
        for name, part in hybrid["models"].items()
    )
    fell = ", ".join(f"{count} {kind}" for kind, count in hybrid.get("fell_back", {}).items())
    told = f" (in vain, so that the answers of {hybrid['cheap']} stand: {fell})" if fell else ""
    went = f"{interval(hybrid['sent_to_strong'], percent=True)} of the documents went to {hybrid['strong']}"
    return f"{went}{told}; {spent}"


def _bill(summary: dict[str, Any]) -> str:
    cost, cached = summary["cost"], summary["n"] * summary["repeats"] - summary["fresh_n"]
    billed = "unknown" if cost["billed"] is None else f"${cost['billed']:,.4f}"
    served = f"; {cached} answers came from the response cache and cost nothing again" if cached else ""
    return f"billed {billed}, of it ${cost['wasted']:,.4f} without an answer{served}"


def main_quality(quality: dict[str, Any]) -> dict[str, Any]:
    """The figure that stands first: micro F1, of an import its own main score."""
    found: dict[str, Any] = quality.get("score") or quality["f1"]
    return found


def interval(estimate: dict[str, Any], *, percent: bool = False) -> str:
    """`.734 [.701, .765]`, in percent `12 % [8, 17]`; `-` where nothing was measured."""
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    if value is None:
        return "-"
    if percent:
        bounds = "" if low is None else f" [{100 * low:.0f}, {100 * high:.0f}]"
        return f"{100 * value:.0f} %{bounds}"
    return f"{value:.3f}" + ("" if low is None else f" [{low:.3f}, {high:.3f}]")


def seconds(value: float | None) -> str:
    """Seconds with three significant digits, `-` where not measured."""
    if value is None:
        return "-"
    return f"{value:.4f}" if value < 0.1 else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def number(value: float | None, digits: int) -> str:
    """A figure with so many decimals, `-` where not measured."""
    return "-" if value is None else f"{value:,.{digits}f}"


def count_cell(summary: dict[str, Any]) -> str:
    """How many documents, and how often each was asked."""
    return str(summary["n"]) + (f" x {summary['repeats']}" if summary["repeats"] > 1 else "")


def percent(value: float | None) -> str:
    """A share in whole percent, `-` where not measured."""
    return "-" if value is None else f"{100 * value:.0f} %"


def cost_cell(cost: dict[str, Any]) -> str:
    """Dollars of a thousand documents, with interval and provenance."""
    value = cost["usd_per_1k"]
    if value is None:
        return "-"
    bounds = "" if cost.get("low") is None else f" [{cost['low']:,.2f}, {cost['high']:,.2f}]"
    return f"${value:,.2f}{bounds} {cost['provenance']}"


def rows(title: str, columns: Sequence[str], lines: Sequence[Sequence[object]], *, whole: str = "") -> str:
    """Any plain table. `whole`: a column of names that is not narrowed for the others, up to 36 characters a line."""
    table = _table(title)
    for name in columns:
        table.add_column(name, overflow="fold", no_wrap=name == whole)
    if whole:
        at = columns.index(whole)
        lines = [[*line[:at], textwrap.fill(str(line[at]), 36), *line[at + 1 :]] for line in lines]
    for line in lines:
        table.add_row(*("-" if value is None else str(value) for value in line))
    return _render(table)


def _table(title: str) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold", pad_edge=False)


def _render(table: Any) -> str:
    import sys

    from rich.console import Console

    live = sys.stdout.isatty()
    console = Console(width=None if live else WIDTH, force_terminal=live, no_color=not live, markup=False, emoji=False)
    with console.capture() as captured:
        console.print(table)
    return str(captured.get()).rstrip("\n")
