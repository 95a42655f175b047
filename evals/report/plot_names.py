"""Names on a plot: each beside its own mark, over no other name, nearer to its mark than to any other. Needs matplotlib.

Names of the frontier are always there, farther off with a thin line where it is crowded; names of dominated options
only where there is room (the page shows every one of them under the pointer, the table lists all).
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from evals.report.pareto import brief

ABOVE = ((-1, 1), (1, -1), (1, 1), (1, 0), (-1, -1), (-1, 0), (0, 1), (0, -1))
PLACES = ((1, 0), (1, 1), (-1, 1), (1, -1), (-1, -1), (-1, 0), (0, 1), (0, -1))
FAR = (16, 30, 55, 90, 130, 180)
NEAR = (14, 26)
LED = 20
"""Pixels from which on a thin line leads from the mark to its name."""
TRIED = 150
"""So many dominated options at most are given a try: beyond there is no room, and each try costs time."""
Tries = Sequence[tuple[int, tuple[int, int]]]


def write(figure: Any, axes: Any, shown: Sequence[dict[str, Any]], drawn: tuple[str, str]) -> None:
    """Frontier names first, each where it covers nothing and is nearest to its own mark."""
    renderer = figure.canvas.get_renderer()
    spots = [axes.transData.transform((point[drawn[0]], point[drawn[1]])) for point in shown]
    marks = [Bbox.from_bounds(x - 9, y - 9, 18, 18) for x, y in spots]
    steps, hull, names = list(_steps(axes)), list(_hull(axes)), list[Any]()
    first = sorted(range(len(shown)), key=lambda at: not shown[at]["on_frontier"])
    for at in first[: sum(point["on_frontier"] for point in shown) + TRIED]:
        point, front = shown[at], shown[at]["on_frontier"]
        style = {"fontsize": 8.5 if front else 7.5, "color": "#1c1f24" if front else "#6b7480", "zorder": 5}
        where = (point[drawn[0]], point[drawn[1]])
        label = axes.annotate(
            brief(point["option"]), where, xytext=(0, 0), textcoords="offset pixels", **style, parse_math=False
        )
        label.set_in_layout(False)
        label.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
        size = label.get_window_extent(renderer)
        tries = [(r, place) for r in (FAR if front else NEAR) for place in (ABOVE if front else PLACES)]
        # a frontier's name may cross a line, then cover a mark before it is left out, but never a name
        passes = [([*marks, *steps, *hull, *names], True)]
        passes += [([*marks, *steps, *names], True), ([*marks, *steps, *names], False), (names, False)] if front else []
        for taken, nearest in passes:
            if _placed(label, size, at, spots, taken, axes.bbox, tries, nearest=nearest):
                names.append(label.get_window_extent(renderer))
                break
        else:
            label.remove()


def _steps(axes: Any) -> Iterator[Any]:
    """The staircase's strips: along, then up (where="post")."""
    for line in (line for line in axes.lines if line.get_gid() == "frontier"):
        corners = axes.transData.transform(np.asarray(line.get_xydata()))
        for (u, v), (x, y) in pairwise(corners):
            yield Bbox.from_extents(u, v - 2, x, v + 2)
            yield Bbox.from_extents(x - 2, min(v, y), x + 2, max(v, y))


def _hull(axes: Any) -> Iterator[Any]:
    for line in (line for line in axes.lines if line.get_gid() == "hull"):
        for (u, v), (x, y) in pairwise(axes.transData.transform(np.asarray(line.get_xydata()))):
            yield Bbox.from_extents(min(u, x) - 1, min(v, y) - 1, max(u, x) + 1, max(v, y) + 1)


def _placed(
    label: Any,
    size: Any,
    at: int,
    spots: Sequence[Any],
    taken: Sequence[Any],
    room: Any,
    tries: Tries,
    *,
    nearest: bool,
) -> bool:
    spot, places = spots[at], np.array(spots)
    edges = np.array([[b.x0, b.y0, b.x1, b.y1] for b in taken]).reshape(-1, 4)
    for radius, (right, up) in tries:
        reach = radius * (0.75 if right and up else 1.0)
        left = spot[0] + (reach if right > 0 else -reach - size.width if right < 0 else -size.width / 2)
        base = spot[1] + up * reach - size.height / 2
        box = Bbox.from_bounds(left - 2, base - 2, size.width + 4, size.height + 4)
        inside = box.x0 > room.x0 and box.x1 < room.x1 and box.y0 > room.y0 and box.y1 < room.y1
        if not inside or _covers(box, edges):
            continue
        gaps = _gaps(box, places)
        if nearest and gaps[at] > gaps.min():
            continue
        label.set_position((left - spot[0], base - spot[1] + 2))
        if gaps[at] > LED or gaps[at] > gaps.min():
            end = (left + (0 if right > 0 else size.width if right < 0 else size.width / 2), base + size.height / 2)
            ends = label.axes.transData.inverted().transform([spot, end])
            label.axes.plot(*ends.T, color="#a5adb8", lw=0.8, zorder=1, scalex=False, scaley=False)
        return True
    return False


def _covers(box: Any, edges: Any) -> bool:
    """Does a name lie over any of the boxes (left, bottom, right, top)?"""
    left, bottom, right, top = edges.T
    return bool(((box.x0 < right) & (box.x1 > left) & (box.y0 < top) & (box.y1 > bottom)).any())


def _gaps(box: Any, spots: Any) -> Any:
    """Pixels between a name and each mark."""
    x, y = spots.T
    across = np.maximum(np.maximum(box.x0 - x, x - box.x1), 0)
    return np.hypot(across, np.maximum(np.maximum(box.y0 - y, y - box.y1), 0))
