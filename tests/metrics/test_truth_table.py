"""The doctrine's truth table: what string similarity gets wrong, and the score must not."""

import math

import pytest

from evals.metrics.fields import document_metrics, f1_score, score_answer, score_fields

LEAF = {"type": ["string", "number", "null"]}


def schema(kind: str, **options: object) -> dict[str, object]:
    return {"type": "object", "properties": {"x": {**LEAF, "kind": kind, **options}}}


@pytest.mark.parametrize(
    ("kind", "gold", "answer", "right"),
    [
        ("money", "1,000,000", "9,000,000", False),
        ("money", "1,000,000", "1,000,900", False),
        ("date", "2024-03-01", "2024-01-03", False),
        ("date", "2024-03-01", "March 1, 2024", True),
        ("money", "$1,250,000.00", 1250000, True),
        ("span", "shall not assign", "shall assign", False),
    ],
)
def test_leaves(kind: str, gold: object, answer: object, right: bool) -> None:
    (leaf,) = score_fields({"x": gold}, {"x": answer}, schema=schema(kind))
    assert leaf.outcome == ("tp" if right else "wrong")


def test_a_declared_tolerance_admits_a_near_amount() -> None:
    (leaf,) = score_fields({"x": "1,000,000"}, {"x": "1,000,900"}, schema=schema("money", tolerance=1000))
    assert leaf.outcome == "tp" and leaf.strict == "wrong"


def test_parties_in_another_order_are_right() -> None:
    asked = {"type": "object", "properties": {"p": {"type": "array", "items": {"type": "string", "kind": "name"}}}}
    gold = {"p": ["Alpha Inc.", "Beta LLC", "Gamma GmbH"]}
    found = score_fields(gold, {"p": ["Gamma GmbH", "Alpha Inc.", "Beta LLC"]}, schema=asked)
    assert [leaf.outcome for leaf in found] == ["tp"] * 3


def test_nine_nulls_right_and_the_only_value_wrong_scores_zero() -> None:
    names = [f"n{i}" for i in range(10)]
    asked = {"type": "object", "properties": {name: {**LEAF, "kind": "date"} for name in names}}
    gold = {name: None for name in names} | {"n0": "2024-03-01"}
    found = document_metrics(score_fields(gold, gold | {"n0": "2024-03-02"}, schema=asked))
    assert found["f1"] == 0 and found["tn"] == 9


def test_f1_follows_its_formula() -> None:
    tp, wrong, miss, hall = 7, 2, 3, 1
    precision, recall = tp / (tp + wrong + hall), tp / (tp + wrong + miss)
    assert f1_score(tp, wrong, miss, hall) == pytest.approx(2 * precision * recall / (precision + recall))
    assert math.isnan(f1_score(0, 0, 0, 0)), "0/0 is not scored"


def test_a_failed_parse_misses_every_gold_leaf_and_earns_nothing() -> None:
    asked = {"type": "object", "properties": {"a": {**LEAF, "kind": "date"}, "b": {**LEAF, "kind": "date"}}}
    scored = score_answer({"a": "2024-03-01", "b": None}, "I am sorry.", schema=asked)
    assert (scored.metrics["miss"], scored.metrics["tn"], scored.metrics["f1"], scored.metrics["exact"]) == (1, 0, 0, 0)
    assert scored.reason == "no JSON"


def test_a_field_that_gold_does_not_mention_is_not_scored() -> None:
    asked = {"type": "object", "properties": {"a": {**LEAF, "kind": "date"}, "b": {**LEAF, "kind": "date"}}}
    assert len(score_fields({"a": "2024-03-01"}, {"a": "2024-03-01", "b": "2020-01-01"}, schema=asked)) == 1


def test_wrong_but_grounded_is_told_from_invented() -> None:
    text = "Signed on 5 May 2023, effective March 1, 2024, for $1,250,000."
    mixed, made_up = (
        score_fields({"x": "2024-03-01"}, {"x": day}, schema=schema("date"), source=text)[0]
        for day in ("2023-05-05", "2022-02-02")
    )
    assert mixed.grounded is True and made_up.grounded is False
    right = score_fields({"x": "USD 1250000.00"}, {"x": "USD 1250000.00"}, schema=schema("money"), source=text)[0]
    assert right.outcome == "tp" and right.grounded is None  # not asked
