"""How long the loads of a bench last, and what is told of it."""

from typing import Any

import pytest

from evals.commands.bench_times import Measured, Times
from evals.commands.settings.bench import BenchSettings


def times(**more: Any) -> Times:
    return Times(BenchSettings(task={"name": "mine"}, model={"name": "m"}, **more))


def closed(valid: int, answered: int = 40) -> dict[str, Any]:
    return {"load": "single_stream", "loop": "closed", "answered": answered, "valid": valid}


@pytest.mark.parametrize(
    ("rate", "documents", "target", "seconds"),
    [
        (100.0, None, 0.3, 30),
        (0.5, None, 3.0, 40),
        (0.5, 200, 3.0, 400),
        (100.0, 200, 0.3, 30),
        (100.0, 200, 10.0, 100),
        (100.0, None, 20.0, 40),
    ],
)
def test_a_load_lasts_as_long_as_its_documents_and_targets_take(
    rate: float, documents: int | None, target: float, seconds: float
) -> None:
    assert times().open_s(rate, Measured(target_s=target), documents) == pytest.approx(seconds)
    assert times(duration_s=7.0).open_s(rate, Measured(target_s=target), documents) == 7


def test_answers_that_do_not_count_take_longer() -> None:
    half = Measured(target_s=1.0, loads=[closed(20)])
    assert half.valid_share == 0.5 and times().open_s(0.5, half, 200) == 800
    few = Measured(target_s=1.0, loads=[closed(2)])
    assert few.valid_share == 0.05 and times().open_s(0.5, few, 200) == 800, "no longer than for a half"
    none = Measured(target_s=1.0, loads=[closed(0)], valid_only=False)
    assert none.valid_share == 1.0 and Measured().valid_share == 1.0


def test_what_is_told() -> None:
    assert "30 s each and up to a target before and behind; about 4 to 9 min, longer below 6.7" in times().beforehand(
        40
    )
    edges = times(duration_s=10.0, target_p95_s=60.0, rates=[1.0, 2.0]).beforehand(40)
    assert "then 2 rates of arrivals, 10 s each" in edges and "about 80 s" in edges and "longer" not in edges
    assert "about 8 min" in times(rates=[0.5]).beforehand(40), "200 documents at one in two seconds"
    told = times(documents=100, loads=10).to_go(0.5, Measured(target_s=5.0))
    assert told == "12 to 35 min"


def test_a_deployment_is_dead_only_where_nothing_is_answered_at_all() -> None:
    load = {"load": "server", "loop": "open", "answered": 0, "answered_at_all": 3}
    assert not Measured(loads=[load]).dead, "the middle of a load may be empty, or too late"
    assert Measured(loads=[{**load, "answered_at_all": 0}]).dead
    assert not Measured().dead
