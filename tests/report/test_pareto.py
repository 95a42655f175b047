"""The frontier shown: terminal, page, PNG."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evals.analysis.frontier import Wanted, frontier
from evals.report import pareto

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NASTY = '<script>alert(1)</script> & "é" \''


def report(options: int = 12, **wanted: Any) -> dict[str, Any]:
    random = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "option": [NASTY, *(f"a model with a long name {i}" for i in range(1, options))],
            "score": random.random(options).round(3),
            "cost_usd": 10 ** random.uniform(-3, 2, options),
            "latency_s": random.random(options),
            "n": 150.0,
        }
    )
    frame.loc[1, "cost_usd"] = np.nan
    found = frontier(frame.assign(model=frame["option"]), Wanted(**wanted))
    return {"title": f"a table {NASTY}", **found, "left_out": []}


def test_the_terminal_s_table() -> None:
    text = pareto.text(report(60))
    assert "and 20 options more" in text and "hypervolume" in text and "P:" not in text


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (0.0, "0"), (0.12345, "0.123"), (1234.5, "1,234"), (1e-6, "1e-06")]
)
def test_figures(value: float | None, shown: str) -> None:
    assert pareto.figure(value) == shown


def test_a_bound_that_cannot_be_given() -> None:
    assert pareto.span({"latency": 2.0, "latency_low": 1.0, "latency_high": None}, "latency") == "2 [1, ?]"


def test_the_page_needs_nothing_else_and_runs_nothing_of_the_table() -> None:
    page = pareto.page(report())
    assert "<script>alert" not in page and not re.search(r'(src|href)="?http', page)
    data = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert data and json.loads(data[1])["points"][0]["option"]
    assert "prefers-color-scheme:dark" in page
    assert pareto.embedded(report()).count("<iframe") == 1


@pytest.mark.skipif(CHROMIUM is None, reason="no browser is here")
def test_a_browser_draws_it_without_collisions(tmp_path: Path) -> None:
    """Every frontier's name is drawn, and no two names overlap."""
    page = tmp_path / "frontier.html"
    check = """<script>const T=[...document.querySelectorAll("svg#svg text[font-weight]")],B=T.map(t=>t.getBBox());let hits=0;
    B.forEach((a,i)=>B.slice(i+1).forEach(b=>{if(a.x<b.x+b.width-1&&a.x+a.width-1>b.x&&a.y<b.y+b.height-3&&a.y+a.height-3>b.y)hits++}));
    document.body.setAttribute("data-said",JSON.stringify({hits,names:T.filter(t=>t.getAttribute("font-weight")==="600").length,all:T.length}))</script>"""
    found = report(30)
    page.write_text(pareto.page(found) + check, encoding="utf-8")
    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [str(CHROMIUM), *flags, "--window-size=1200,900", "--virtual-time-budget=2000", "--dump-dom", page.as_uri()],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    said = re.search(r'data-said="([^"]*)"', done.stdout)
    if said is None:
        pytest.skip("the browser did not start")
    told = json.loads(said[1].replace("&quot;", '"'))
    assert told["hits"] == 0 and told["names"] == sum(point["on_frontier"] for point in found["points"])
    assert told["all"] > told["names"]


@pytest.mark.parametrize(
    "wanted", [{}, {"objectives": ["quality", "cost", "latency"]}, {"directions": {"quality": "min"}}]
)
def test_a_png(wanted: dict[str, Any], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from evals.report.plots import draw

    draw(report(30, **wanted), tmp_path / "frontier.png")
    assert (tmp_path / "frontier.png").stat().st_size > 10_000
    draw(report(2, **wanted), tmp_path / "small.png")


def test_the_frontier_s_own_beats_and_flags_of_axes_that_count_are_told() -> None:
    point = {"dominated_by": ["other", "best"], "flags": ["cost is missing", "1 of 9 answers failed (11 %)"]}
    assert pareto._why(point, {"best"}, ["quality", "latency"]) == "best and 1 more; 1 of 9 answers failed (11 %)"
    assert pareto._why(point, {"best"}, ["quality", "cost"]).startswith("best and 1 more; cost is missing; 1 of 9")
    assert pareto._why({**point, "dominated_by": []}, set(), ["quality", "cost"]).startswith("cost is missing")


def test_a_terminal_gets_no_control_codes_of_a_name() -> None:
    found = report(3)
    found["points"][0]["option"] = "a\x1b[2Jb"
    assert "\x1b" not in pareto.text(found)


def test_a_name_of_any_length_leaves_room_for_the_figures() -> None:
    name = "start-" + "x" * 400 + "-end"
    frame = pd.DataFrame({"option": [name, "b"], "model": "m", "score": [0.9, 0.5], "cost_usd": [1.0, 2.0]})
    said = pareto.text({"title": "t", **frontier(frame, Wanted()), "left_out": []})
    assert name not in said and said.count("start-xxx") == 2 and "-end" in said and len(pareto.brief(name)) == 61
    assert pareto.brief("b" * 64) == "b" * 64
