"""A decision shown: sentences, words for pairs, Markdown that documents cannot break, pictures."""

from pathlib import Path

import pytest
from made_options import api, ask, own

from evals.analysis.deciding.constraints import Limits
from evals.analysis.deciding.decide import decide
from evals.report import decision, decision_record

MORE = {
    **{"title": "made", "at": [], "constraints": ["privacy=public"], "not_counted": [], "left_out": [], "notes": []},
    **{"capacity": {"utilisation": "0.7", "peak": "3", "setup_months": "12"}, "launcher": "x", "created": "now"},
}


def result(options, volume: int = 5000, **limits):  # type: ignore[no-untyped-def]
    return decide(options, ask(volume, limits=Limits(**limits))) | MORE


def test_two_sentences_that_a_manager_can_read() -> None:
    told = decision.sentences(result([api(price=0.3, quality=0.9), own(quality=0.8)]))
    assert len(told) == 2
    assert told[0] == "At 5,000 documents a day, use own: $24.00 a day ($730.00 a month), f1 0.800."
    assert told[1].startswith(
        "The runner-up, api, costs $1,476.00 a day more; own is the cheapest in 100 % of the draws"
    )


def test_nothing_feasible_names_what_opens_one() -> None:
    told = decision.sentences(result([api(quality=0.7), own(quality=0.6)], quality={"f1": 0.9}))
    assert told == [
        "At 5,000 documents a day, no option holds every constraint.",
        "The least that opens one: min.f1=0.7 instead of 0.9 opens api.",
    ]


def test_nothing_feasible_says_why_nothing_opens_one() -> None:
    broken = api(quality=0.7)
    (_, both) = decision.sentences(result([broken], quality={"f1": 0.9}, usd_per_day=1))
    assert both == "No single constraint, relaxed, opens one: each breaks several."
    unpriced = own(hour=None, quality=0.7)
    (_, none) = decision.sentences(result([broken, unpriced], quality={"f1": 0.9}, usd_per_day=1))
    assert none == "No single constraint, relaxed, opens one: each breaks several, or has no known dollars."
    unsure = api(quality={"typical": 0.9, "low": 0.85, "high": 0.95})
    (_, may) = decision.sentences(result([unsure], quality={"f1": 0.9}, usd_per_day=1))
    assert may == (
        "No single constraint, relaxed, surely opens one; "
        "max.usd_per_day=25 instead of 1 may open api: min.f1 cannot be told yet."
    )


def test_turns_and_break_even_say_what_parts_them() -> None:
    told = result([api(price=0.005), own(hour=2)], volume=1000)
    lines = dict(decision.blocks(told))["the answer turns"]
    assert lines[0].startswith("volume: own is recommended from ") and "a break-even compares" in lines[-1]
    assert not any(
        "a break-even compares" in line
        for line in dict(decision.blocks({**told, "break_even": []}))["the answer turns"]
    )


@pytest.mark.parametrize(
    ("first", "always", "low", "high", "says"),
    [
        (None, None, None, None, "never"),
        (167, 167, 167, 167, "b = y: 167"),
        (100, 200, 100, 100, "first at 100, for good from 200"),
        (100, None, 100, 100, "first at 100, never for good"),
        (100, 100, 90, None, "100 [90, never]"),
        (5, 1, 5, 5, "at every volume"),
    ],
)
def test_pairs_in_words(first: int, always: int, low: int, high: int, says: str) -> None:
    names = {"first_win_low": low, "first_win_high": high, "always_win_low": always, "always_win_high": always}
    one = {"a": "x", "b": "y", "first_win_per_day": first, "always_win_per_day": always, "p_never": 0.0, **names}
    assert decision.pair(one).endswith(says)


@pytest.mark.parametrize(("p_never", "says"), [(0.001, "under 1 %"), (0.2, "20 %"), (0.9999, "over 99 %")])
def test_a_few_draws_are_not_none(p_never: float, says: str) -> None:
    ends = dict.fromkeys(("first_win_low", "first_win_high", "always_win_low", "always_win_high"), 9)
    one = {"a": "x", "b": "y", "first_win_per_day": 9, "always_win_per_day": 9, "p_never": p_never, **ends}
    assert decision.pair(one).endswith(f"never in {says} of the draws")
    never = {**one, "first_win_per_day": None, "always_win_per_day": None, "p_never": 1 - p_never}
    assert f"in {says} of the draws it does" in decision.pair(never)


def test_markdown_and_html_cannot_be_broken_by_names() -> None:
    told = result([api("a|b<script>\x1b[31m"), own("@team")])
    text, page = decision_record.markdown(told), decision.html(told)
    assert "<script>" not in text + page and "a\\|b" in text and "@\u200bteam" in text
    assert "\x1b" not in decision.text(told)
    rows = [line for line in text.splitlines() if line.startswith("|") and "own" in line]
    assert len({line.replace("\\|", "").count("|") for line in rows[:1]}) == 1


def test_dollars() -> None:
    shown = [decision.dollars(value) for value in (None, 0.0, 0.00123, 1234.5, 123456.7, -3.0)]
    assert shown == ["-", "$0.00", "$0.00123", "$1,234.50", "$123,457", "-$3.00"]


def test_the_pictures_are_made_also_of_nothing(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    from evals.report import decision_plots

    for at, options in enumerate(([api(price=0.3), own(hour=50)], [own(hour=None)], [api()])):
        told = result(options)
        for draw in (decision_plots.sweep, decision_plots.tornado):
            draw(told, tmp_path / f"{at}.png")
            assert (tmp_path / f"{at}.png").read_bytes().startswith(b"\x89PNG")
