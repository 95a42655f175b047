"""Features of a document, signals of an answer, and whether its fields agree with each other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.core import Completion, Message, Request
from evals.policy import agreement, features, signals
from evals.policy.consistency import checks

SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["buyer", "effective_date", "expiration_date"],
    "properties": {
        "buyer": {"type": ["string", "null"], "kind": "name"},
        "effective_date": {"type": ["string", "null"], "kind": "date"},
        "expiration_date": {"type": ["string", "null"], "kind": "date"},
        "term": {"type": ["string", "null"], "kind": "duration"},
        "total": {"type": ["string", "null"], "kind": "money"},
        "lines": {
            "type": "array",
            "items": {"type": "object", "properties": {"amount": {"type": ["string", "null"], "kind": "money"}}},
        },
    },
}
TEXT = "This lease between Acme Corp and others begins on 1 March 2020 and ends on 28 February 2021. Rent: USD 30.00."


def request(text: str = TEXT, **more: Any) -> Request:
    return Request(messages=(), schema=SCHEMA, inputs={"text": text}, **more)


def signals_of(answer: Any, **more: Any) -> dict[str, float]:
    text = answer if isinstance(answer, str) else json.dumps(answer)
    return signals(request(), Completion(**{"text": text, "finish_reason": "stop", **more}))


def test_features_of_a_text() -> None:
    found = features(request("ab cd\n12 3x~~", features={"chars": 13, "tags": ("lease", "ocr"), "pages": 2}))
    assert found["chars"] == 13 and found["words"] == 4 and found["lines"] == 2 and found["pages"] == 2
    assert found["tag:lease"] == found["tag:ocr"] == 1.0
    assert found["digit_share"] == pytest.approx(3 / 13) and found["odd_share"] == pytest.approx(2 / 13)
    assert found["blank_share"] == pytest.approx(3 / 13)


def test_a_bad_scan_shows_and_ordinary_prose_does_not() -> None:
    bad = features(request("The 0bligation of liab1lity ~ ^ shall n0t exceed ¬¬ the am0unt"))
    good = features(
        request("The obligation of liability shall not exceed § 4(b) — the “amount” of $12,500.00 on 4th May")
    )
    assert bad["mixed_share"] > 0.25 and bad["odd_share"] > 0.03
    assert good["mixed_share"] == 0 and good["odd_share"] == 0


def test_without_the_text_the_messages_stand_for_it_and_without_both_nothing_is_made_up() -> None:
    asked = Request(messages=(Message(role="user", content="a b c"),))
    assert features(asked)["words"] == 3
    assert features(Request(messages=(), features={"tags": ("x",)})) == {"tag:x": 1.0}


@given(st.text(max_size=300))
def test_features_are_finite_for_any_text(text: str) -> None:
    found = features(request(text))
    assert all(0 <= value < 1e6 for value in found.values())
    assert all(found[name] <= 1 for name in ("digit_share", "odd_share", "blank_share", "mixed_share"))


def test_a_right_answer_has_good_signals() -> None:
    answer = {
        "buyer": "Acme Corp",
        "effective_date": "2020-03-01",
        "expiration_date": "2021-02-28",
        "term": "12 months",
    }
    found = signals_of(answer, signals={"mean_logprob": -0.1})
    assert found["schema_valid"] == found["parse_strict"] == found["grounded_share"] == found["consistent_share"] == 1
    assert found["ungrounded"] == 0
    assert found["truncated"] == 0 and found["mean_logprob"] == -0.1
    assert found["null_share"] == pytest.approx(1 / 5)


def test_an_invented_value_is_counted() -> None:
    found = signals_of({"buyer": "Globex", "effective_date": "2020-03-01", "expiration_date": None})
    assert found["ungrounded"] == 1 and found["grounded_share"] == pytest.approx(1 / 2)


@pytest.mark.parametrize("text", ["", "no JSON here", '{"buyer": ', "[1, 2]", "null"])
def test_what_is_no_answer_has_few_signals(text: str) -> None:
    found = signals_of(text, finish_reason="length")
    assert found["schema_valid"] == 0 and found["parse_strict"] == 0 and found["truncated"] == 1
    assert "grounded_share" not in found and "consistent_share" not in found


@given(
    st.text(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.sampled_from([*SCHEMA["properties"], "x"]), inner, max_size=6)
        ),
        max_leaves=12,
    )
)
def test_any_answer_can_be_looked_at(answer: Any) -> None:
    found = signals_of(answer if isinstance(answer, str) else json.dumps(answer))
    assert all(isinstance(value, float) for value in found.values())
    assert 0 <= found.get("grounded_share", 0) <= 1 and 0 <= found.get("consistent_share", 0) <= 1


@pytest.mark.parametrize(
    ("answer", "outcomes"),
    [
        ({"effective_date": "2020-03-01", "expiration_date": "2019-01-01"}, [False]),
        ({"effective_date": "2020-03-01", "expiration_date": "2021-03-01", "term": "1 year"}, [True, True]),
        ({"effective_date": "2020-03-01", "expiration_date": "2021-03-01", "term": "3 years"}, [True, False]),
        ({"effective_date": "2020-03-01", "expiration_date": "2020-03-31", "term": "30 days"}, [True, True]),
        ({"effective_date": "2020-03-01", "expiration_date": "soon"}, []),
        ({"total": "USD 30.00", "lines": [{"amount": "USD 10"}, {"amount": "USD 20.00"}]}, [True]),
        ({"total": "USD 31.00", "lines": [{"amount": "USD 10"}, {"amount": "USD 20.00"}]}, [False]),
        ({"total": "USD 31.00", "lines": [{"amount": None}, {"amount": "USD 20.00"}]}, []),
        ({"total": "USD 31.00", "lines": []}, []),
        ({"total": "USD 31.00", "lines": "x"}, []),
        (None, []),
        ([1], []),
    ],
)
def test_fields_that_agree(answer: Any, outcomes: list[bool]) -> None:
    assert checks(answer, SCHEMA) == outcomes


def test_a_schema_can_say_what_must_agree() -> None:
    schema = {
        "properties": {
            "a": {"kind": "date"},
            "b": {"kind": "date", "not_before": "a"},
            "net": {"kind": "number", "sum_of": "parts[].x"},
            "parts": {"items": {"properties": {"x": {"kind": "number"}}}},
        }
    }
    answer = {"a": "2020-01-02", "b": "2020-01-01", "net": 5, "parts": [{"x": 2}, {"x": 3}]}
    assert checks(answer, schema) == [False, True]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"buyer": "Acme Corp"}, {"buyer": "ACME Corporation"}, 1.0),
        ({"buyer": "Acme", "term": "12 months"}, {"buyer": "Acme", "term": "2 years"}, 1 / 2),
        ({"buyer": "Acme"}, {"buyer": None}, 0.0),
        ({"buyer": None}, {}, 1.0),
        ("no JSON", {"buyer": "Acme"}, 0.0),
    ],
)
def test_agreement_of_two_answers(a: Any, b: Any, expected: float) -> None:
    texts = [one if isinstance(one, str) else json.dumps(one) for one in (a, b)]
    assert agreement(*texts, SCHEMA) == pytest.approx(expected)
    assert agreement(*reversed(texts), SCHEMA) == pytest.approx(expected)


@pytest.mark.parametrize("piece", ["a", "1", "a1", "aaaa1", "~", "a ", "é1b_"])
def test_features_of_a_huge_document_take_linear_time(piece: str) -> None:
    import time

    start = time.process_time()
    features(request(piece * (400_000 // len(piece))))
    assert time.process_time() - start < 2
