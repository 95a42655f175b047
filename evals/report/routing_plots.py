"""A simulation of routing as one PNG: quality over cost with hull and hybrids, reliability, risk over coverage."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from evals.report import plot_names
from evals.report.comparison import clean
from evals.report.routing import order

SINGLE, HYBRID, GREY = "#0072b2", "#c2570c", "#8f98a3"
COLOURS = ("#0072b2", "#c2570c", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#5f6773", "#000000")
"""Of Okabe and Ito's palette; markers differ too."""
MARKS = "osD^v<>P"
CURVES = 4


def draw(report: Mapping[str, Any], path: Path) -> None:
    """Write the plot of `route.json`'s content."""
    figure, axes = plt.subplots(1, 3, figsize=(17, 5.6), dpi=130)
    try:
        curves = sorted(report["calibration"], key=lambda one: -(one["auc"] or 0.0))[:CURVES]
        _reliability(axes[1], curves)
        _coverage(axes[2], curves)
        for one in axes:
            one.grid(color="#edf0f3", zorder=0)
            one.spines[["top", "right"]].set_visible(False)
        figure.suptitle(
            f"routing: {clean(str(report['title']))}, {report['documents']:,} documents, {report['fitted']}",
            x=0.01,
            ha="left",
            fontsize=11,
        )
        _points(figure, axes[0], report)
        figure.savefig(path)
    finally:
        plt.close(figure)


def _points(figure: Any, axes: Any, report: Mapping[str, Any]) -> None:
    """Options and hybrids over dollars, or those of one pair over the share of strong calls where none are known."""
    claims = [row for row in order(report["hybrids"]) if row["p"] is not None][:12]
    priced = [row for row in report["singles"] if row["usd_per_1k"]["value"] is not None]
    axes.set_ylabel(f"{report['metric']} (higher is better)")
    if len(priced) > 1:
        singles = [(row, row["usd_per_1k"]["value"]) for row in priced]
        hybrids = [(row, x) for row in claims if (x := row["usd_per_1k"]["value"]) is not None]
        hull = upper([(x, row["quality"]["value"]) for row, x in singles])
        axes.set_xlabel("dollars per 1,000 documents (lower is better)")
    else:
        shown = claims or order(report["hybrids"])
        pair = (shown[0]["cheap"], shown[0]["strong"])
        ends = {row["option"]: row for row in report["singles"]}
        singles = [(ends[name], float(at)) for at, name in enumerate(pair)]
        hybrids = [(row, row["share_strong"]) for row in claims if (row["cheap"], row["strong"]) == pair]
        hull = [(x, row["quality"]["value"]) for row, x in singles]
        axes.set_xlabel(f"share of documents sent to {clean(pair[1])} (no cost is known)")
    axes.plot(*zip(*hull, strict=True), color=GREY, ls=(0, (5, 3)), label="random mixes", zorder=2, gid="hull")
    several = len({(row["cheap"], row["strong"]) for row, _ in hybrids}) > 1
    named = [*_marks(axes, singles, SINGLE, "o", "one option"), *_marks(axes, hybrids, HYBRID, "D", "hybrid", several)]
    axes.legend(frameon=False, fontsize=8)
    figure.tight_layout()
    plot_names.write(figure, axes, named, ("x", "y"))


def _marks(
    axes: Any,
    shown: Sequence[tuple[Mapping[str, Any], float]],
    colour: str,
    mark: str,
    label: str,
    several: bool = False,
) -> list[dict[str, Any]]:
    """Draw marks and intervals; what is to be named."""
    named = []
    for row, x in shown:
        found = row["quality"]
        if found["low"] is not None:
            axes.plot([x, x], [found["low"], found["high"]], color=colour, lw=1, alpha=0.5, zorder=3)
        name = row["option"] if "way" not in row else row["way"]
        name = f"{row['cheap']} -> {row['strong']}: {name}" if several else name
        named.append({"option": clean(str(name)), "x": x, "y": found["value"], "on_frontier": "way" not in row})
    if shown:
        ys = [row["quality"]["value"] for row, _ in shown]
        axes.scatter([x for _, x in shown], ys, color=colour, marker=mark, s=26, zorder=4, label=label)
    return named


def upper(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The upper hull from the cheapest point to the best one."""
    found: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if found and y <= found[-1][1]:
            continue
        while len(found) > 1 and _left(found[-2], found[-1], (x, y)):
            found.pop()
        found.append((x, y))
    return found


def _left(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> bool:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]) >= 0


def _reliability(axes: Any, curves: Sequence[Mapping[str, Any]]) -> None:
    axes.plot([0, 1], [0, 1], color=GREY, ls=(0, (5, 3)), label="calibrated")
    for one, colour, mark in zip(curves, COLOURS, MARKS, strict=False):
        rows = one["reliability"]
        label = f"{clean(one['option'])}, {one['predictor']} (ECE {one['ece']:.3f})"
        axes.plot(
            [r["predicted"] for r in rows], [r["observed"] for r in rows], color=colour, marker=mark, ms=4, label=label
        )
    axes.set(xlabel="P(error), predicted without the document", ylabel="mean error observed", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize=7)


def _coverage(axes: Any, curves: Sequence[Mapping[str, Any]]) -> None:
    for one, colour in zip(curves, COLOURS, strict=False):
        label = f"{clean(one['option'])}, {one['predictor']} (AURC {one['aurc']:.3f}, best {one['aurc_best']:.3f})"
        axes.plot(one["coverage"], one["risk"], color=colour, label=label)
        axes.axhline(one["mean_error"], color=colour, lw=0.8, ls=(0, (1, 3)))
    axes.set(xlabel="share of documents let through, least suspect first", ylabel="mean error among them", xlim=(0, 1))
    axes.set_ylim(bottom=0)
    if curves:
        axes.legend(frameon=False, fontsize=7)
