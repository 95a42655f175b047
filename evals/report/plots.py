"""The frontier as a PNG: log cost, intervals, frontier and hull, names that do not collide. Needs matplotlib."""

import warnings
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np

from evals.report import plot_names

FRONT, HULL, OFF = "#0072b2", "#c2570c", "#8f98a3"
"""Of Okabe and Ito's palette, which the colour-blind can tell apart; shapes differ too."""


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the plot of `frontier.json`'s content: quality over cost, or over latency where there is no cost."""
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box; the page and the tables have it
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        _draw(report, path)


def _draw(report: dict[str, Any], path: Path) -> None:
    ways = {one["name"]: one["direction"] for one in report["objectives"]}
    labels = report["labels"]
    across, up = axes_of(ways)
    shown = [p for p in report["points"] if p[across] is not None and p[up] is not None]
    figure, axes = plt.subplots(figsize=(11, 6.6), dpi=140)
    try:
        logged = bool(shown) and all(point[across] > 0 for point in shown)
        if logged:
            _log(axes, [point[across] for point in shown])
        _intervals(axes, shown, across, up)
        if shown:
            _lines(axes, shown, (across, up), ways, logged=logged)
            _marks(axes, shown, across, up)
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=5, frameon=False, fontsize=8.5)
        else:
            said = f"no option has both {labels[up]} and {labels[across]}"
            axes.text(0.5, 0.5, said, transform=axes.transAxes, ha="center", color="#5f6773")
            axes.set(xticks=[], yticks=[])
        axes.set_xlabel(
            f"{labels[across]} ({'log scale, ' if logged else ''}{_better(ways[across])})", parse_math=False
        )
        axes.set_ylabel(f"{labels.get(up, up)} ({_better(ways.get(up, 'max'))})", parse_math=False)
        _title(axes, report, (across, up))
        axes.grid(color="#edf0f3", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        plot_names.write(figure, axes, shown, (across, up))
        figure.savefig(path)
    finally:
        plt.close(figure)


def axes_of(ways: dict[str, str]) -> tuple[str, str]:
    """Which objective goes across and which up: cost across where it is one, quality up where it is one."""
    across = "cost" if "cost" in ways else "latency"
    return across, "quality" if "quality" in ways else "latency"


def _better(way: str) -> str:
    return f"{'lower' if way == 'min' else 'higher'} is better"


def _log(axes: Any, values: Sequence[float]) -> None:
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    wide = max(values) > 20 * min(values)
    axes.xaxis.set_minor_formatter(lambda value, _: "" if wide else f"{value:g}")


def _title(axes: Any, report: dict[str, Any], drawn: tuple[str, str]) -> None:
    """What it is of in dark, what stands behind it in grey."""
    labels, names = report["labels"], [one["name"] for one in report["objectives"]]
    lines = [basis(report)]
    if len(names) > 2:
        lines.append(f"frontier over {', '.join(labels[name] for name in names)}")
    if unknown := sum(any(point[name] is None for name in drawn) for point in report["points"]):
        lines.append(
            f"{unknown} of {len(report['points'])} options are not drawn: no {' or no '.join(_lacking(report, drawn))}"
        )
    if "MIXED LOAD" in " ".join(report["notes"]):
        lines.append("MIXED LOAD: latencies taken under unlike loads")
    axes.set_title(str(report["title"]), loc="left", fontsize=11, pad=8 + 11.5 * len(lines), parse_math=False)
    style = {"fontsize": 8, "color": "#5f6773", "va": "bottom", "parse_math": False}
    axes.text(0, 1.012, "\n".join(lines), transform=axes.transAxes, **style)


def basis(report: dict[str, Any]) -> str:
    """How many documents and draws the figures and their bars rest on."""
    level = f"{100 * report['level']:g} %"
    if report["documents"]:
        draws = f", {report['draws']:,} paired draws" if report["draws"] else ""
        return f"{report['documents']:,} documents answered by all options{draws}; bars: {level} intervals"
    if any(point["quality_low"] is not None for point in report["points"]):
        return f"one figure an option; bars: {level} Wilson intervals from n"
    return "one figure an option: no intervals"


def _lacking(report: dict[str, Any], drawn: tuple[str, str]) -> list[str]:
    return [report["labels"][name] for name in drawn if any(point[name] is None for point in report["points"])]


def _intervals(axes: Any, shown: Sequence[dict[str, Any]], across: str, up: str) -> None:
    for point in shown:
        front = point["on_frontier"]
        style = {"color": FRONT if front else OFF, "lw": 1, "alpha": 0.7 if front else 0.3, "zorder": 2}
        if point[f"{up}_low"] is not None and point[f"{up}_high"] is not None:
            axes.plot([point[across]] * 2, [point[f"{up}_low"], point[f"{up}_high"]], **style)
        if point[f"{across}_low"] is not None and point[f"{across}_high"] is not None:
            axes.plot([point[f"{across}_low"], point[f"{across}_high"]], [point[up]] * 2, **style)


def _lines(
    axes: Any, shown: Sequence[dict[str, Any]], drawn: tuple[str, str], ways: dict[str, str], *, logged: bool
) -> None:
    """The staircase of what is drawn, and its hull, which is curved where the axis is logarithmic."""
    across, up = drawn
    sx, sy = (1 if ways[across] == "min" else -1), (1 if ways.get(up, "max") == "max" else -1)
    best: list[tuple[float, float]] = []
    for x, y in sorted({(point[across] * sx, point[up] * sy) for point in shown}, key=lambda p: (p[0], -p[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    xs, ys = np.array(best).T * np.array([[sx], [sy]])
    axes.step(xs, ys, where="post", color=FRONT, lw=1.8, zorder=3, label="frontier of these axes", gid="frontier")
    upper: list[tuple[float, float]] = []
    for point in best:
        while len(upper) > 1 and _left(upper[-2], upper[-1], point):
            upper.pop()
        upper.append(point)
    curve = [_mixes(a, b, logged=logged) for a, b in pairwise(upper)]
    if curve:
        x, y = np.concatenate(curve).T * np.array([[sx], [sy]])
        axes.plot(x, y, color=HULL, lw=1.4, ls=(0, (5, 3)), zorder=3, label="convex hull: random mixes", gid="hull")


def _mixes(a: tuple[float, float], b: tuple[float, float], *, logged: bool) -> Any:
    """Mixes of two options, evenly spaced as the axis shows them."""
    (x0, y0), (x1, y1) = a, b
    share = np.linspace(0, 1, 60)
    xs = np.sign(x0) * np.geomspace(abs(x0), abs(x1), 60) if logged else x0 + share * (x1 - x0)
    return np.stack([xs, y0 + (xs - x0) / (x1 - x0) * (y1 - y0)], axis=1)


def _left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0


def _marks(axes: Any, shown: Sequence[dict[str, Any]], across: str, up: str) -> None:
    kinds: tuple[tuple[str, dict[str, Any], Callable[[dict[str, Any]], bool]], ...] = (
        ("on the frontier and its hull", {"marker": "D", "s": 52, "color": FRONT}, lambda p: p["on_hull"]),
        ("on the frontier", {"marker": "o", "s": 50, "color": FRONT}, lambda p: p["on_frontier"] and not p["on_hull"]),
        (
            "dominated",
            {"marker": "o", "s": 30, "facecolors": "white", "edgecolors": OFF},
            lambda p: not p["on_frontier"],
        ),
    )
    for label, style, belongs in kinds:
        if chosen := [point for point in shown if belongs(point)]:
            axes.scatter([p[across] for p in chosen], [p[up] for p in chosen], **style, zorder=4, label=label)
