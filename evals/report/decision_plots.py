"""The volume sweep (staircases, crossings) and the tornado as PNG. Needs matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patheffects import withStroke

from evals.report import decision

COLOURS = ("#0072b2", "#c2570c", "#009e73", "#cc79a7", "#56b4e9", "#8a6d00", "#d0021b", "#5f6773")
STYLES = ("-", (0, (6, 2)), (0, (2, 2)), (0, (6, 2, 1, 2)))
GREY = "#5f6773"
MOST = 12
MOST_MARKS = 8


def sweep(result: Mapping[str, Any], path: Path) -> None:
    """Dollars a day over documents a day, both logarithmic; a dot where the cheaper of two changes for good."""
    figure, axes = plt.subplots(figsize=(11, 6.6), dpi=140)
    try:
        priced = [row for row in decision.ordered(result) if row["usd_per_day"] is not None]
        rows = priced[:MOST]
        ends = [result["sweep"][0]["volume_per_day"], result["sweep"][-1]["volume_per_day"]]
        volumes = np.unique(np.round(np.geomspace(ends[0], ends[1], 4000)))
        for at, row in enumerate(rows):
            out = _barred(row)
            style = {
                "color": COLOURS[at % 8],
                "ls": STYLES[at // 8 % 4],
                "lw": 1.2 if out else 1.9,
                "alpha": 0.45 if out else 1,
            }
            name = row["option"] + (" (breaks a constraint)" if out else " (over budget there)" if _dear(row) else "")
            axes.plot(volumes, _curve(row["curve"], volumes), label=name, zorder=3, **style)
        _crossings(axes, result, {row["option"]: row for row in rows}, ends)
        axes.axvline(result["volume_per_day"], color=GREY, lw=1, ls=(0, (1, 2)), zorder=1)
        axes.set(xscale="log", yscale="log", xlabel="documents a day (log scale)", ylabel="$ a day (log scale)")
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        axes.yaxis.set_major_formatter(lambda value, _: f"${value:,.0f}" if value >= 1 else f"${value:g}")
        if rows:
            axes.legend(loc="upper left", frameon=False, fontsize=8.5)
        else:
            axes.text(0.5, 0.5, "no option has a price", transform=axes.transAxes, ha="center", color=GREY)
        unpriced = len(result["options"]) - len(priced)
        below = f"dotted: {decision.amount(result['volume_per_day'])} a day; dots: break-even"
        if unpriced or len(priced) > len(rows):
            below += f"; not drawn: {unpriced} options without a price, {len(priced) - len(rows)} further ones"
        _title(axes, f"{result['title']}: what a day costs", below)
        axes.grid(color="#edf0f3", zorder=0)
        axes.spines[["top", "right"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path)
    finally:
        plt.close(figure)


def _curve(bill: Mapping[str, Any], volumes: Any) -> Any:
    found = bill["fixed"] + bill["per_doc"] * volumes
    if bill["capacity"] is None:
        return found
    return found + bill["per_replica"] * (
        np.maximum(bill["least"], np.ceil(volumes / bill["capacity"])) + bill["spare"]
    )


def _crossings(axes: Any, result: Mapping[str, Any], by: Mapping[str, Any], ends: Sequence[float]) -> None:
    """First and permanent wins among the options that may be taken; among all, where none may."""
    fit = {name for name, row in by.items() if not _barred(row)}
    fit = fit if len(fit) > 1 else set(by)
    seen: set[tuple[int, str]] = set()
    for one in result["break_even"]:
        if not {one["a"], one["b"]} <= fit:
            continue
        for key in ("first_win_per_day", "always_win_per_day"):
            at = one[key]
            again = key.startswith("always") and at == one["first_win_per_day"]
            if at is None or again or not ends[0] <= at <= ends[1] or len(seen) >= MOST_MARKS:
                continue
            usd = float(_curve(by[one["b"]]["curve"], np.array([float(at)]))[0])
            if (at, f"{usd:.3g}") in seen:
                continue
            axes.plot([at], [usd], marker="o" if key.startswith("first") else "s", ms=5, color="#1c1f24", zorder=5)
            label = f"{at:,}" + ("" if key.startswith("first") else " for good")
            place = {"xytext": (6, -12 if len(seen) % 2 else 7), "textcoords": "offset points"}
            text = axes.annotate(label, (at, usd), fontsize=8, zorder=6, **place)
            text.set_path_effects([withStroke(linewidth=2.5, foreground="white")])
            seen.add((at, f"{usd:.3g}"))


def _barred(row: Mapping[str, Any]) -> bool:
    """Does it break something else than a budget, which depends on the volume?"""
    return any(one["verdict"] == "failed" and one["name"] != "budget" for one in row["checks"])


def _dear(row: Mapping[str, Any]) -> bool:
    """Does it break a budget at the volume that is asked about?"""
    return any(one["verdict"] == "failed" and one["name"] == "budget" for one in row["checks"])


def tornado(result: Mapping[str, Any], path: Path) -> None:
    """One bar a figure, from its low to its high; what crosses 0 turns the answer."""
    rows = [row for row in result["tornado"] if row["swing"] >= 0.005][:MOST][::-1]
    figure, axes = plt.subplots(figsize=(11, 1.8 + 0.42 * max(len(rows), 3)), dpi=140)
    try:
        for at, row in enumerate(rows):
            for end, colour in (("at_low", COLOURS[4]), ("at_high", COLOURS[0])):
                axes.barh(at, row[end] - row["base"], left=row["base"], color=colour, height=0.6, zorder=3)
            assumed = " *" if "assumed" in row["range"] else ""
            axes.text(
                1.01,
                at,
                f"{_short(row['low'])} to {_short(row['high'])} {row['unit']}{assumed}",
                transform=axes.get_yaxis_transform(),
                fontsize=8,
                va="center",
                color=GREY,
            )
        axes.set_yticks(range(len(rows)), [row["figure"] for row in rows], fontsize=8.5)
        if rows:
            axes.axvline(rows[0]["base"], color="#1c1f24", lw=1, zorder=4)
        if result["runner_up"]:
            axes.axvline(0, color="#d0021b", lw=1.2, ls=(0, (4, 3)), zorder=4)
            axes.set_xlabel(
                f"$ a day that {result['runner_up']} costs more than {result['recommended']} (below 0 the answer turns)"
            )
        else:
            axes.set_xlabel(f"$ a day of {result['recommended']}" if result["recommended"] else "")
        if not rows:
            why = "nothing moves it" if result["recommended"] else "nothing is recommended, so nothing moves it"
            axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=GREY)
            axes.set_xticks([])
        axes.xaxis.set_major_formatter(
            lambda value, _: f"{value:,.0f}" if abs(value) >= 10 or value == 0 else f"{value:g}"
        )
        _title(
            axes,
            f"{result['title']}: what moves the answer",
            "light: at its low, dark: at its high, others typical; * no range is known: 20 % either way assumed",
        )
        axes.grid(color="#edf0f3", axis="x", zorder=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.tight_layout()
        figure.savefig(path)
    finally:
        plt.close(figure)


def _title(axes: Any, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, pad=20)
    axes.text(0, 1.012, below, transform=axes.transAxes, fontsize=8, color=GREY, va="bottom")


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
