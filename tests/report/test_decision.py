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
