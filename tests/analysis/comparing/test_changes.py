"""What changed document by document, against what was put there."""

from typing import Any

import pandas as pd
import pytest
from made_sides import side

from evals.analysis.comparing import changes, compare

Found = list[tuple[str, str]]


def two(before: dict[str, Found], after: dict[str, Found]) -> tuple[Any, Any]:
    return tuple(side({(name, 0): leaves for name, leaves in one.items()}) for one in (before, after))  # type: ignore[return-value]


RIGHT: Found = [("who", "tp"), ("when", "tn")]


def test_broken_and_mended_are_those_that_were_wholly_right_on_one_side_alone() -> None:
    a, b = two(
        {"d000": RIGHT, "d001": [("who", "wrong")], "d002": RIGHT, "d003": [("who", "miss")]},
        {"d000": [("who", "hall"), ("when", "tn")], "d001": RIGHT, "d002": RIGHT, "d003": [("who", "wrong")]},
    )
    assert changes.broken_and_fixed(compare.join(a, b)) == (["d000"], ["d001"])


def test_with_repeats_a_document_is_right_where_every_repeat_is() -> None:
    wrong: Found = [("who", "wrong"), ("when", "tn")]
    a = side({("d000", 0): RIGHT, ("d000", 1): RIGHT, ("d001", 0): RIGHT, ("d001", 1): wrong})
    b = side({("d000", 0): RIGHT, ("d000", 1): wrong, ("d001", 0): wrong, ("d001", 1): wrong})
    assert changes.broken_and_fixed(compare.join(a, b)) == (["d000"], [])
    (change,) = changes.field_diff(a, b, ["d000"])["d000"]
    assert (change["path"], change["baseline"], change["candidate"]) == ("who", "tp", "wrong"), "of the second repeat"


def test_the_field_diff_names_only_what_changed_in_the_order_of_the_schema() -> None:
    a, b = two(
        {"d000": [("a", "tp"), ("b", "tp"), ("c", "miss")]},
        {"d000": [("a", "wrong"), ("b", "tp"), ("c", "tp"), ("d", "hall")]},
    )
    told = changes.field_diff(a, b, ["d000"])["d000"]
    assert [(c["path"], c["baseline"], c["candidate"]) for c in told] == [
        ("a", "tp", "wrong"),
        ("c", "miss", "tp"),
        ("d", None, "hall"),
    ]
    assert changes.field_diff(a, b, []) == {}


def told(one: Any, lines: list[tuple[str, str, Any, Any]]) -> Any:
    """The side with leaves of one document: path, outcome, gold, answer."""
    frame = pd.DataFrame(lines, columns=["path", "outcome", "gold", "answer"])
    frame = frame.assign(sample_id="d000", repeat=0.0, strict=frame["outcome"])
    return type(one)(where=one.where, about=one.about, rows=one.rows, fields=frame)


def test_leaves_of_a_list_are_matched_by_their_gold_and_inventions_apart() -> None:
    a, b = two({"d000": RIGHT}, {"d000": RIGHT})
    a = told(a, [("parties[].name", "tp", "Acme", "Acme"), ("parties[].name", "miss", "Zed", None)])
    b = told(
        b,
        [
            ("parties[].name", "tp", "Zed", "Zed"),
            ("parties[].name", "wrong", "Acme", "Acne"),
            ("parties[].name", "hall", None, "Nobody"),
        ],
    )
    found = [
        (c["gold"], c["baseline"], c["candidate"], c["candidate_answer"])
        for c in changes.field_diff(a, b, ["d000"])["d000"]
    ]
    assert found == [("Acme", "tp", "wrong", "Acne"), ("Zed", "miss", "tp", "Zed"), (None, None, "hall", "Nobody")]


def test_of_a_reference_the_answers_of_the_run_alone_are_shown() -> None:
    a, b = two({"d000": RIGHT}, {"d000": RIGHT})
    a, b = told(a, [("who", "tp", None, None)]), told(b, [("who", "wrong", "Acme", "Other")])
    (change,) = changes.field_diff(a, b, ["d000"])["d000"]
    assert change["gold"] == "Acme" and change["baseline_answer"] is None and change["candidate_answer"] == "Other"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (["m-1"], ["m-1"], []),
        (["m-1"], ["m-2"], ["new: the served model changed from m-1 to m-2"]),
        (["m-1"], ["m-1", "m-2"], ["new: the served model changed from m-1 to m-1, m-2"]),
        ([None], ["m-2"], []),
        (["m-1"], [None], []),
    ],
)
def test_another_model_behind_one_name_is_called_out(before: list[Any], after: list[Any], said: list[str]) -> None:
    sides = []
    for ids in (before, after):
        one = side({(f"d{i:03}", 0): RIGHT for i in range(len(ids))})
        sides.append(type(one)(where="x", about=one.about, rows=one.rows.assign(served_model=ids), fields=one.fields))
    assert changes.served_change(*sides) == said
    other = type(sides[1])(
        where="x", about={**sides[1].about, "model": "b"}, rows=sides[1].rows, fields=sides[1].fields
    )
    assert changes.served_change(sides[0], other) == [], "two models are not one that changed"
