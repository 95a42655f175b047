"""An option whose answers people review: dollars, what is left wrong, who said what."""

from fractions import Fraction
from typing import Any

import pytest
from made_options import api, ask, own, row

from evals.analysis.deciding.decide import decide
from evals.analysis.deciding.options import Option
from evals.analysis.deciding.reviewed import review_of, with_review
from evals.analysis.deciding.volume import usd_per_day
from evals.errors import ConfigError, DataError

TOLD: dict[str, Any] = {
    "task": "mine",
    "option": "own",
    "quality": "exact",
    "n": 200,
    "sent": 50,
    "target": 0.02,
    "share": {"value": 0.24, "low": 0.2, "high": 0.3, "n": 200},
    "residual": {"value": 0.02, "low": 0.01, "high": 0.05, "n": 200},
    "work": {"minutes_each": 3.0, "usd_per_hour": 40.0},
}


def reviewed(option: Option | None = None, typed: dict[str, Any] | None = None, **more: Any) -> Option:
    verdicts = more.pop("verdicts", None)
    found = review_of({**TOLD, **more}, "review.json", verdicts=verdicts)
    return with_review(option or own(), found, typed or {}, draws=400, seed=0)


def test_people_cost_share_times_minutes_times_rate() -> None:
    found, bare = reviewed(), own()
    people = Fraction(50, 200) * 3 / 60 * 40
    assert usd_per_day(found.deployment, Fraction(1000)) == usd_per_day(bare.deployment, Fraction(1000)) + 1000 * people  # type: ignore[operator]
    (figure,) = found.deployment.per_doc
    assert figure.provenance == "declared", "the rate is declared, which is the weakest of the three"
    assert figure.drawn is not None and len(figure.drawn) == 400 and figure.unit == "$/document"
    assert figure.low is not None and figure.high is not None
    assert figure.low == pytest.approx(0.2 * 2, rel=0.1) and figure.high == pytest.approx(0.3 * 2, rel=0.1)


def test_what_is_left_wrong_is_the_quality() -> None:
    exact = reviewed().quality["exact"]
    assert (exact.value, exact.low, exact.high, exact.n) == (0.98, 0.95, 0.99, 200)
    assert "f1" not in reviewed(quality="f1").quality, "a mean over documents is no micro F1"
    assert "leaves an error of 2 % [1, 5] by f1" in reviewed(quality="f1").notes[0]


def test_minutes_that_people_took_are_measured() -> None:
    found = reviewed(verdicts={"minutes_each": {"value": 6.0, "low": 5.0, "high": 7.0, "n": 30}})
    assert usd_per_day(found.deployment, Fraction(1)) == usd_per_day(own().deployment, Fraction(1)) + 1  # type: ignore[operator]
    assert "6 [5, 7] (measured) minutes each, $40 (declared) an hour" in found.notes[0]


def test_typed_figures_win_and_a_typed_share_leaves_nothing_known() -> None:
    found = reviewed(typed={"usd_per_hour": 80, "minutes": "1.5"})
    assert found.deployment.per_doc[0].value == Fraction(1, 4) * Fraction("1.5") / 60 * 80
    assert found.quality["exact"].value == 0.98
    whole = reviewed(typed={"share": 1})
    assert whole.deployment.per_doc[0].value == 2 and "exact" not in whole.quality
    assert "100 % (declared) of its documents" in whole.notes[0] and "leaves" not in whole.notes[0]


def test_the_dollars_count_in_a_decision_and_turn_it() -> None:
    options = [api(price=0.3), reviewed(own(hour=1, per_s=1))]
    result = decide(options, ask(500, draws=400))
    assert result["recommended"] == "api" and row(result, "own")["usd_provenance"] == "declared"
    assert any("human review of own below" in text and "own costs less" in text for text in result["flips"])


@pytest.mark.parametrize(
    ("more", "error", "says"),
    [
        ({"share": None}, DataError, "is no review.json .* it has no 'share'"),
        ({"share": {"value": None}}, ConfigError, "no share of documents reaches its target=0.02"),
        ({"sent": 400}, ConfigError, "must be in 0..1"),
        ({"sent": "all"}, ConfigError, "sent='all' should be a number"),
        ({"work": {"minutes_each": None}}, DataError, "says no minutes"),
        ({"work": {"minutes_each": -3}}, ConfigError, "must be at least 0"),
        ({"work": {"minutes_each": 3}}, ConfigError, "no price of a person's hour: costs.review.usd_per_hour=60"),
    ],
)
def test_what_is_no_review_is_one_line(more: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says) as told:
        reviewed(**more)
    assert "\n" not in str(told.value)
