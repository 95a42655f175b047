"""What `route` prints: honest words, no markup of others, figures where they are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_documents import made

from evals.analysis.routing.simulate import Wanted, route
from evals.report import routing

QUICK = Wanted(draws=200)


def told(found: Any, **wanted: Any) -> dict[str, Any]:
    report = route(found, Wanted(draws=200, **wanted)).report
    return {"title": "mine (test)", "metric": "f1", **report, "left_out": []}


def test_without_costs_the_random_mix_of_as_many_strong_calls_is_the_reference() -> None:
    said = routing.text(told(made(300, signal=2.0)))
    assert "the random mix of the two with as many strong calls" in said
    assert "dollars saved are not known" in said and "$/1k" not in said
    assert "gains" in said and "upper bound" in said and "twin" in said


def test_with_costs_dollars_are_told() -> None:
    said = routing.text(told(made(300, signal=3.0, cost=(0.001, 0.01))))
    assert "the best mix of options of equal cost" in said
    assert "saves $" in said and "a month at 1,000 documents a day against the best single option" in said


@pytest.mark.parametrize(
    ("value", "low", "high", "says"),
    [
        (3.0, -1.0, 5.0, "saves $3.00 [-$1.00, $5.00] a month"),
        (-3.0, -5.0, 1.0, "costs $3.00 [-$1.00, $5.00] more a month"),
        (-0.001, -0.002, 0.001, "saves $0.00 [$0.00, $0.00] a month"),
        (200.0, None, None, "saves $200 a month"),
    ],
)
def test_what_is_not_saved_costs_more(value: float, low: float | None, high: float | None, says: str) -> None:
    report = told(made(300, signal=3.0, cost=(0.001, 0.01)))
    saved = {"value": value, "low": low, "high": high}
    hybrids = [{**row, "saved_usd_per_month_single": saved} for row in report["hybrids"]]
    assert f" {says} at 1,000 documents a day" in routing.text({**report, "hybrids": hybrids}).replace("\n", " ")


def test_a_floor_that_is_not_surely_reached_is_said() -> None:
    report = told(made(220, signal=2.0, cost=(0.001, 0.01)), floor=0.8)
    said = routing.text(report)
    assert "floor" in said.splitlines()[2]
    claims = [row for row in report["hybrids"] if row["p"] is not None]
    assert {row["meets_floor"] for row in claims} <= {"inconclusive", "fails", "meets"}
    best = routing.order(report["hybrids"])[0]
    assert best["meets_floor"] == "meets" or "whether it is good enough is not certain" in said


def test_few_documents_are_unclear_with_the_reason_below() -> None:
    said = routing.text(told(made(60, signal=3.0)))
    assert "unclear" in said and "cannot be told from zero: 60 documents, under 200" in said


def test_of_several_pairs_one_line_each_and_names_are_shown_as_they_are() -> None:
    hits = np.stack([np.random.default_rng(at).random(240) < p for at, p in enumerate((0.5, 0.7, 0.9))]) * 1.0
    many = made(
        240,
        options=["[red]a[/red]", "b\x1b[31m", "c"],
        hits=hits,
        whole=np.ones((3, 240)),
        cost=np.repeat([[0.001], [0.002], [0.01]], 240, axis=1),
        latency=np.ones((3, 240)),
        failed=np.zeros((3, 240), bool),
        signals=[{"s": np.arange(240.0)}] * 3,
        places={},
    )
    said = routing.text(told(many))
    assert "hybrids the best of each pair, which flatters it" in said
    assert "[red]a[/red] -> c" in said.replace("\n", " ") and "\x1b" not in said
    rows = routing.flat(told(many))
    assert [row["kind"] for row in rows[:3]] == ["single"] * 3 and {"quality_low", "gain_hull_high"} <= set(rows[-1])


def test_the_plot_is_drawn_with_and_without_costs(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from evals.report.routing_plots import draw, upper

    for name, found in (
        ("a", made(60)),
        ("b", made(60, cost=(0.001, 0.01))),
        ("c", made(60, signals=[{}, {}], features={})),
    ):
        draw(told(found), tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 10_000
    assert upper([(1, 0.5), (2, 0.4), (3, 0.9), (2.5, 0.6)]) == [(1, 0.5), (3, 0.9)]
