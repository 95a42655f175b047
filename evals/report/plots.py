"""The frontier as a PNG: log cost, intervals, frontier and hull, names that do not collide. Needs matplotlib."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.transforms import Bbox

FRONT, HULL, OFF = "#0072b2", "#c2570c", "#8f98a3"
"""Of Okabe and Ito's palette, which the colour-blind can tell apart; shapes differ too."""
ABOVE = ((-1, 1), (1, -1), (1, 1), (1, 0), (-1, -1), (-1, 0), (0, 1), (0, -1))
PLACES = ((1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (-1, 0), (0, 1), (0, -1))


def draw(report: dict[str, Any], path: Path) -> None:
    """Write the plot of `frontier.json`'s content: quality over cost, or over latency where there is no cost."""
    ways = {one["name"]: one["direction"] for one in report["objectives"]}
    labels = report["labels"]
    across = next(name for name in ("cost", "latency") if name in ways)
    shown = [p for p in report["points"] if p[across] is not None and p["quality"] is not None]
    figure, axes = plt.subplots(figsize=(11, 6.6), dpi=140)
    try:
        if all(point[across] > 0 for point in shown):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
            wide = max(p[across] for p in shown) > 20 * min(p[across] for p in shown) if shown else True
            axes.xaxis.set_minor_formatter(lambda value, _: "" if wide else f"{value:g}")
        _intervals(axes, shown, across)
        _lines(axes, shown, across, ways)
        _marks(axes, shown, across)
        axes.set_xlabel(f"{labels[across]} ({'lower' if ways[across] == 'min' else 'higher'} is better)")
        axes.set_ylabel(
            f"{labels.get('quality', 'quality')} ({'higher' if ways.get('quality') == 'max' else 'lower'} is better)"
        )
        axes.set_title(_title(report, labels, across), loc="left", fontsize=11)
        axes.grid(color="#edf0f3", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=5, frameon=False, fontsize=8.5)
        figure.tight_layout()
        _names(figure, axes, shown, across)
        figure.savefig(path)
    finally:
        plt.close(figure)


def _title(report: dict[str, Any], labels: dict[str, str], across: str) -> str:
    names = [one["name"] for one in report["objectives"]]
    over = f"\nfrontier over {', '.join(labels[name] for name in names)}" if len(names) > 2 else ""
    mixed = "\nMIXED LOAD: latencies taken under unlike loads" if "MIXED LOAD" in " ".join(report["notes"]) else ""
    unknown = sum(point[across] is None for point in report["points"])
    undrawn = f"; {unknown} options without {across} not drawn" if unknown else ""
    return f"{report['title']}{undrawn}{over}{mixed}"


def _intervals(axes: Any, shown: Sequence[dict[str, Any]], across: str) -> None:
    for point in shown:
        style = {
            "color": FRONT if point["on_frontier"] else OFF,
            "lw": 1,
            "alpha": 0.7 if point["on_frontier"] else 0.3,
        }
        if point["quality_low"] is not None and point["quality_high"] is not None:
            axes.plot([point[across]] * 2, [point["quality_low"], point["quality_high"]], **style, zorder=2)
        if point[f"{across}_low"] is not None and point[f"{across}_high"] is not None:
            axes.plot([point[f"{across}_low"], point[f"{across}_high"]], [point["quality"]] * 2, **style, zorder=2)


def _lines(axes: Any, shown: Sequence[dict[str, Any]], across: str, ways: dict[str, str]) -> None:
    """The staircase of what is drawn, and its hull, which is curved where the axis is logarithmic."""
    sx, sy = (1 if ways[across] == "min" else -1), (1 if ways.get("quality", "max") == "max" else -1)
    best: list[tuple[float, float]] = []
    for x, y in sorted({(point[across] * sx, point["quality"] * sy) for point in shown}, key=lambda p: (p[0], -p[1])):
        if not best or y > best[-1][1]:
            best.append((x, y))
    xs, ys = np.array(best).T * np.array([[sx], [sy]])
    axes.step(xs, ys, where="post", color=FRONT, lw=1.8, zorder=3, label="frontier of these axes", gid="frontier")
    upper: list[tuple[float, float]] = []
    for point in best:
        while len(upper) > 1 and _left(upper[-2], upper[-1], point):
            upper.pop()
        upper.append(point)
    share = np.linspace(0, 1, 40)[:, None]
    curve = [np.array(a) + share * (np.array(b) - np.array(a)) for a, b in pairwise(upper)]
    if curve:
        x, y = np.concatenate(curve).T * np.array([[sx], [sy]])
        axes.plot(x, y, color=HULL, lw=1.4, ls=(0, (5, 3)), zorder=3, label="convex hull: random mixes")


def _left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0


def _marks(axes: Any, shown: Sequence[dict[str, Any]], across: str) -> None:
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
            axes.scatter([p[across] for p in chosen], [p["quality"] for p in chosen], **style, zorder=4, label=label)


def _names(figure: Any, axes: Any, shown: Sequence[dict[str, Any]], across: str) -> None:
    """Frontier names first, each where it covers nothing; names of dominated options only where there is room."""
    renderer = figure.canvas.get_renderer()
    spots = {id(p): axes.transData.transform((p[across], p["quality"])) for p in shown}
    taken = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in spots.values()]
    for line in (line for line in axes.lines if line.get_gid() == "frontier"):
        corners = axes.transData.transform(np.asarray(line.get_xydata()))
        for (u, v), (x, y) in pairwise(corners):  # along, then up: where="post"
            taken += [Bbox.from_extents(u, v - 2, x, v + 2), Bbox.from_extents(x - 2, min(v, y), x + 2, max(v, y))]
    room, marks = axes.bbox, len(taken)
    for point in sorted(shown, key=lambda p: not p["on_frontier"]):
        front = point["on_frontier"]
        style = {"fontsize": 8.5 if front else 7.5, "color": "#1c1f24" if front else "#6b7480"}
        label = axes.annotate(
            point["option"], (point[across], point["quality"]), xytext=(0, 0), textcoords="offset pixels", **style
        )
        label.set_in_layout(False)
        size = label.get_window_extent(renderer)
        tries = [
            (r, place)
            for r in ((16, 30, 55, 90, 130, 180) if front else (14, 26))
            for place in (ABOVE if front else PLACES)
        ]
        spot = spots[id(point)]  # a frontier's name may cover a mark before it is left out, but never a name
        if not (
            _placed(label, size, spot, taken, room, tries)
            or (front and _placed(label, size, spot, taken[marks:], room, tries))
        ):
            label.remove()
        else:
            taken.append(label.get_window_extent(renderer))


def _placed(
    label: Any, size: Any, spot: Any, taken: Sequence[Any], room: Any, tries: Sequence[tuple[int, tuple[int, int]]]
) -> bool:
    for radius, (right, up) in tries:
        reach = radius * (0.75 if right and up else 1.0)
        left = spot[0] + (reach if right > 0 else -reach - size.width if right < 0 else -size.width / 2)
        base = spot[1] + up * reach - size.height / 2
        box = Bbox.from_bounds(left - 2, base - 2, size.width + 4, size.height + 4)
        inside = box.x0 > room.x0 and box.x1 < room.x1 and box.y0 > room.y0 and box.y1 < room.y1
        if not inside or any(box.overlaps(other) for other in taken):
            continue
        label.set_position((left - spot[0], base - spot[1] + 2))
        if radius > 30:  # a thin line leads to its option
            end = (left + (0 if right > 0 else size.width if right < 0 else size.width / 2), base + size.height / 2)
            ends = label.axes.transData.inverted().transform([spot, end])
            label.axes.plot(*ends.T, color="#a5adb8", lw=0.6, zorder=1, scalex=False, scaley=False)
        return True
    return False
