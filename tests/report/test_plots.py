"""The PNG: names that cover nothing and stand by their own mark, the right lines, and tables that are odd."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from real_data import TABLES

plots = pytest.importorskip("evals.report.plots")
plt = pytest.importorskip("matplotlib.pyplot")

from evals.analysis.frontier import Wanted, frontier  # noqa: E402
from evals.report import plot_names  # noqa: E402


def report(frame: pd.DataFrame, **wanted: Any) -> dict[str, Any]:
    named = frame.assign(model=frame["option"])
    return {"title": "a table", **frontier(named, Wanted(**wanted)), "left_out": []}


def table(options: int, **more: Any) -> pd.DataFrame:
    random = np.random.default_rng(3)
    frame = {"option": [f"a model with a long name {i}" for i in range(options)]}
    return pd.DataFrame(
        {
            **frame,
            "score": random.random(options),
            "cost_usd": 10 ** random.uniform(-3, 2, options),
            "latency_s": 10 ** random.uniform(-1, 1, options),
            **more,
        }
    )


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Draw a report and give its axes before they are closed."""
    kept: list[Any] = []
    monkeypatch.setattr(plt, "close", lambda figure: kept.append(figure))

    def make(found: dict[str, Any]) -> Any:
        plots.draw(found, tmp_path / "x.png")
        assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
        return kept[-1].axes[0]

    yield make
    monkeypatch.undo()
    for figure in kept:
        plt.close(figure)


def names(axes: Any) -> dict[str, Any]:
    renderer = axes.figure.canvas.get_renderer()
    return {text.get_text(): text.get_window_extent(renderer) for text in axes.texts if hasattr(text, "xy")}


def crowd(found: dict[str, Any], axes: Any) -> None:
    """No two names overlap, all names of the frontier are there, and those of others are nearest to their own mark."""
    boxes = names(axes)
    listed = list(boxes.values())
    for i, a in enumerate(listed):
        assert not any(a.overlaps(b) for b in listed[i + 1 :])
    front = {p["option"] for p in found["points"] if p["on_frontier"]}
    assert front <= set(boxes)
    spots = {
        p["option"]: axes.transData.transform((p["cost"], p["quality"]))
        for p in found["points"]
        if p["cost"] is not None and p["quality"] is not None
    }
    for name in set(boxes) - front:
        gaps = {other: float(plot_names._gaps(boxes[name], np.array([spot]))[0]) for other, spot in spots.items()}
        assert gaps[name] <= min(gaps.values()) + 3


@pytest.mark.parametrize("options", [1, 2, 12, 60])
def test_names_do_not_collide_and_are_by_their_own_marks(options: int, drawn: Any) -> None:
    found = report(table(options, n=150.0))
    crowd(found, drawn(found))


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"the real tables of {TABLES} are not here")
def test_the_leaderboard_s_69_names(drawn: Any) -> None:
    rows = [json.loads(line) for line in (TABLES / "aider_polyglot_leaderboard.jsonl").read_text().splitlines()]
    frame = pd.DataFrame(
        {
            "option": [f"{i} {row['model']}" for i, row in enumerate(rows)],
            "score": [row["pass_rate_2"] / 100 for row in rows],
            "cost_usd": [row.get("total_cost") or np.nan for row in rows],
        }
    )
    found = report(frame)
    axes = drawn(found)
    crowd(found, axes)
    assert 25 < len(names(axes)) < 51
    assert "18 of 69 options are not drawn" in axes.texts[0].get_text()


def test_the_staircase_and_the_hull_are_the_points_they_should_be(drawn: Any) -> None:
    frame = table(4, score=[0.5, 0.53, 0.9, 0.4], cost_usd=[1.0, 10.0, 100.0, 50.0])
    axes = drawn(report(frame))
    lines = {line.get_gid(): np.asarray(line.get_xydata()) for line in axes.lines if line.get_gid()}
    assert lines["frontier"].tolist() == [[1, 0.5], [10, 0.53], [100, 0.9]]
    hull = lines["hull"]
    assert hull[0] == pytest.approx([1, 0.5]) and hull[-1] == pytest.approx([100, 0.9])
    share = (hull[:, 0] - 1) / 99
    assert hull[:, 1] == pytest.approx(0.5 + 0.4 * share), "mixes of the first and the last: 10 lies below them"
    steps = np.diff(np.log(hull[:, 0]))
    assert axes.get_xscale() == "log" and steps == pytest.approx(np.full(len(steps), steps[0]))


def test_bars_are_the_intervals_and_dominated_ones_are_pale(drawn: Any) -> None:
    found = report(table(3, score=[0.5, 0.6, 0.3], cost_usd=[1.0, 2.0, 3.0], n=100.0))
    axes = drawn(found)
    bars = {tuple(line.get_xdata()): line for line in axes.lines if len(set(line.get_xdata())) == 1}
    for point in found["points"]:
        bar = bars[(point["cost"], point["cost"])]
        assert list(bar.get_ydata()) == [point["quality_low"], point["quality_high"]]
        assert bar.get_color() == (plots.FRONT if point["on_frontier"] else plots.OFF)
    assert "Wilson intervals from n" in axes.texts[0].get_text()


@pytest.mark.parametrize(
    ("frame", "wanted", "across", "up"),
    [
        (table(5), {"objectives": ["quality", "latency"]}, "latency", "quality"),
        (table(5), {"objectives": ["cost", "latency"]}, "cost", "latency"),
        (table(5), {"objectives": ["quality", "cost", "latency"]}, "cost", "quality"),
        (table(5, cost_usd=[0.0, 1, 2, 3, 4]), {}, "cost", "quality"),
    ],
)
def test_which_axes_are_drawn(frame: pd.DataFrame, wanted: dict[str, Any], across: str, up: str, drawn: Any) -> None:
    found = report(frame, **wanted)
    axes = drawn(found)
    assert axes.get_xlabel().startswith(across) and axes.get_ylabel().startswith(up)
    assert (axes.get_xscale() == "log") == bool((frame[{"cost": "cost_usd", "latency": "latency_s"}[across]] > 0).all())
    assert ("frontier over" in axes.texts[0].get_text()) == (len(found["objectives"]) == 3)


def test_where_no_option_has_both_it_says_so(drawn: Any) -> None:
    frame = table(2, score=[0.5, np.nan], cost_usd=[np.nan, 1.0])
    axes = drawn(report(frame))
    assert "no option has both quality and cost" in " ".join(text.get_text() for text in axes.texts)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"documents": 1234, "draws": 2000}, "1,234 documents answered by all options, 2,000 paired draws"),
        ({"documents": 1, "draws": None}, "1 documents answered by all options; bars"),
        ({"documents": None, "draws": None}, "no intervals"),
    ],
)
def test_what_stands_behind_the_figures(more: dict[str, Any], said: str) -> None:
    assert said in plots.basis({**report(table(2)), **more})


def test_names_of_any_letters_are_drawn_as_they_are(drawn: Any) -> None:
    """No formula is made of a name, which could be none that can be read; a letter the font lacks is no warning."""
    names = ["$\\frac{1}{$", "a $x$ b", "\u540d\u524d", "<b>"]
    found = pd.DataFrame({"option": names, "score": [0.1, 0.4, 0.6, 0.9], "cost_usd": [1.0, 2, 3, 4]})
    axes = drawn({**report(found), "title": "$\\oops{$"})
    assert {text.get_text() for text in axes.texts} >= set(names)


def test_thousands_of_options_are_drawn_soon(drawn: Any) -> None:
    began = time.process_time()
    axes = drawn(report(table(2000)))
    assert 0 < len(axes.texts) < 200 and time.process_time() - began < 15
