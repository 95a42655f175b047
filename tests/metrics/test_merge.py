"""One answer of the answers to chunks: what the document says wins, nothing is listed twice, rubbish costs nothing."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.metrics.merge import merge_answers

SCHEMA = {
    "type": "object",
    "properties": {
        "who": {"type": ["string", "null"], "kind": "name"},
        "when": {"type": ["string", "null"], "kind": "date"},
        "days": {"type": ["integer", "null"]},
        "renews": {"type": ["boolean", "null"]},
        "names": {"type": "array", "items": {"type": "string", "kind": "name"}},
        "parties": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"name": {"type": "string", "kind": "name"}, "role": {"type": ["string", "null"]}},
            },
        },
    },
}
SOURCE = "Beta Limited signed on 1 March 2024 and pays within 30 days."
RUBBISH = ["", "no JSON here", "[1, 2]", "null", '{"who": "Acm', '"Beta"']
WORDS = st.lists(st.sampled_from(["Alpha", "Birch", "Cedar", "Delta", "Elm", "Fjord"]), max_size=4)


def merged(*answers: Any, source: str = SOURCE) -> dict[str, Any]:
    texts = [answer if isinstance(answer, str) else json.dumps(answer) for answer in answers]
    return merge_answers(texts, schema=SCHEMA, source=source)


@pytest.mark.parametrize(
    ("field", "values", "kept"),
    [
        ("who", ["Acme", "Beta", "Gamma"], "Beta"),
        ("who", ["Acme", "BETA, LTD.", "Beta Limited"], "BETA, LTD."),
        ("who", ["Acme", "Gamma"], "Acme"),
        ("who", [None, "", "Acme"], "Acme"),
        ("who", ["n/a", "not specified", "Acme"], "Acme"),
        ("who", ["n/a", None], None),
        ("when", ["2024-01-03", "2024-03-01"], "2024-03-01"),
        ("when", ["2024-01-03", "the 1st day of March, 2024"], "the 1st day of March, 2024"),
        ("days", [0, 30, 60], 30),
        ("days", [0, 60], 0),
        ("renews", [None, False, True], False),
    ],
)
def test_the_first_grounded_value_wins_else_the_first(field: str, values: list[Any], kept: Any) -> None:
    assert repr(merged(*({field: value} for value in values))[field]) == repr(kept), "0 is not False"


def test_each_field_is_chosen_by_itself() -> None:
    found = merged({"who": "Acme", "when": "2024-03-01"}, {"who": "Beta", "when": "2023-03-01"})
    assert (found["who"], found["when"]) == ("Beta", "2024-03-01")


@pytest.mark.parametrize("rubbish", RUBBISH)
def test_an_unreadable_chunk_is_passed_over(rubbish: str) -> None:
    good = {"who": "Acme", "names": ["Acme"]}
    assert merged(rubbish, good, rubbish) == merged(good) and merged(good)["who"] == "Acme"
    fenced = f"Here it is:\n```json\n{json.dumps(good)}\n```"
    assert merged(rubbish, fenced) == merged(good), "what can be read leniently is read"


def test_nothing_readable_is_every_field_null_and_every_list_empty() -> None:
    empty = {"who": None, "when": None, "days": None, "renews": None, "names": [], "parties": []}
    assert merged() == merged(*RUBBISH) == merged({}, {"unknown": "Beta"}) == empty


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, max_size=4))
def test_lists_are_joined_without_repetition_in_the_order_of_the_document(chunks: list[list[str]]) -> None:
    joined = list(dict.fromkeys(name for names in chunks for name in names))
    assert merged(*({"names": names} for names in chunks))["names"] == joined
    spelt = [{"names": [f"{name.upper()}, Inc." if i else name for name in names]} for i, names in enumerate(chunks)]
    assert [name.split(",")[0].title() for name in merged(*spelt)["names"]] == joined, "one name in two spellings"


def test_the_first_of_two_items_with_one_key_is_kept_whole() -> None:
    one, other = {"name": "Beta Ltd", "role": "Buyer"}, {"name": "Acme", "role": None}
    again = {"name": "BETA LIMITED", "role": "Seller"}
    assert merged({"parties": [one]}, {"parties": [again, other]}, {"parties": None})["parties"] == [one, other]


@settings(max_examples=60, deadline=None)
@given(st.fixed_dictionaries({"who": st.none() | st.sampled_from(["Acme", "Beta"]), "days": st.none() | st.integers()}))
def test_one_chunk_or_the_same_one_twice_changes_nothing(answer: dict[str, Any]) -> None:
    found = merged(answer)
    assert {name: found[name] for name in answer} == answer and merged(answer, answer) == found


def test_items_are_told_apart_by_their_own_kind_and_none_is_lost() -> None:
    money = {"type": "object", "properties": {"fees": {"type": "array", "items": {"type": "string", "kind": "money"}}}}
    assert merge_answers(['{"fees": ["$5", "€5", "-$5"]}'], schema=money, source="")["fees"] == ["$5", "€5", "-$5"]
    assert merge_answers(['{"fees": ["$5"]}', '{"fees": "5.00 USD"}'], schema=money, source="")["fees"] == ["$5"]
    pair = {"type": "object", "properties": {"name": {"type": "string", "kind": "name"}, "role": {"type": "string"}}}
    parties = {"type": "object", "properties": {"parties": {"type": "array", "items": pair}}}
    first = '{"parties": [{"name": "Acme", "role": "buyer"}, {"name": "Acme", "role": "payer"}, {"name": null, "role": "x"}]}'
    second = '{"parties": [{"name": "ACME Ltd", "role": null}, {"name": "Beta", "role": "seller"}]}'
    found = merge_answers([first, second], schema=parties, source="")["parties"]
    assert [(p["name"], p["role"]) for p in found] == [
        ("Acme", "buyer"),
        ("Acme", "payer"),
        (None, "x"),
        ("Beta", "seller"),
    ]
