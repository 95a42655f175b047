"""Whom to ask next: every kind of policy, failures, privacy, and the same answer every time."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.core import Call, Completion, Policy, Request
from evals.policy import choose, error_score
from evals.policy.choosing import OPERATORS, holds, unit

OWN, API = {"location": "own", "terms": None}, {"location": "api", "terms": None}
PLACES = {"cheap": OWN, "strong": API}
SIGNAL = {"inputs": ["mean_logprob"], "mean": [0.0], "scale": [1.0], "coef": [-1.0], "intercept": 0.0}


def request(name: str = "a", text: str = "one two", **more: object) -> Request:
    return Request(messages=(), sample_id=name, inputs={"text": text}, **more)  # type: ignore[arg-type]


def answered(logprob: float, model: str = "c", role: str = "answer") -> Call:
    done = Completion(text="{}", finish_reason="stop", signals={"mean_logprob": logprob})
    return Call(role=role, model=model, completion=done)  # type: ignore[arg-type]


def cascade(**more: object) -> Policy:
    values = {"kind": "cascade", "cheap": "c", "strong": "s", "signal": SIGNAL, "threshold": 0.6}
    return Policy(**{**values, "about": {"places": PLACES}, **more})  # type: ignore[arg-type]


def test_a_cascade_asks_cheap_first_and_strong_only_where_the_answer_is_not_trusted() -> None:
    policy = cascade()
    assert choose(policy, request()) == "cheap"
    assert choose(policy, request(), [answered(-2.0)]) == "strong"  # P(error) = 1/(1+e^-2) = .88
    assert choose(policy, request(), [answered(2.0)]) is None
    assert choose(policy, request(), [answered(-2.0), answered(-9.0, "s", "escalation")]) is None
    assert choose(policy, request(), [answered(-2.0), answered(-9.0, "s")]) is None


def test_exactly_at_the_threshold_nothing_escalates() -> None:
    assert choose(cascade(threshold=0.5), request(), [answered(0.0)]) is None
    assert choose(cascade(threshold=math.nextafter(0.5, 0)), request(), [answered(0.0)]) == "strong"


def test_a_failed_cheap_call_escalates_but_not_a_failure_that_was_mended() -> None:
    failed = Call(role="answer", model="c", error="timeout")
    assert choose(cascade(), request(), [failed]) == "strong"
    assert choose(cascade(), request(), [failed, answered(2.0, role="retry")]) is None
    assert choose(cascade(), request(), [answered(2.0, role="part")]) == "strong"  # parts that were never merged


@pytest.mark.parametrize("kind", ["cascade", "preroute", "rule", "random_mix", "privacy_route"])
def test_a_restricted_document_never_goes_to_an_api(kind: str) -> None:
    """Privacy first, also where the cheap model fails."""
    rule = {"feature": "chars", "op": ">=", "value": 0}
    policy = cascade(kind=kind, rule=rule, share=1.0, threshold=-1.0, signal={**SIGNAL, "inputs": ["chars"]})
    failed = Call(role="answer", model="c", error="timeout")
    for data_class in ("restricted", "internal"):
        asked = request(data_class=data_class)
        assert choose(policy, asked) == "cheap"
        assert choose(policy, asked, [failed]) is None
        assert choose(policy, asked, [answered(-9.0)]) is None
    if kind != "cascade":
        assert choose(policy, request()) == "strong"


def test_where_the_cheap_model_may_not_see_it_the_strong_one_answers_alone() -> None:
    policy = cascade(about={"places": {"cheap": API, "strong": OWN}})
    asked = request(data_class="restricted")
    assert choose(policy, asked) == "strong"
    assert choose(policy, asked, [answered(-9.0, "s")]) is None


def test_nobody_may_see_it() -> None:
    policy = cascade(about={"places": {"cheap": API, "strong": API}})
    assert choose(policy, request(data_class="restricted")) is None
    assert choose(policy, request()) == "cheap"


def test_terms_that_are_accepted_let_internal_documents_through_and_live_places_win() -> None:
    accepted = {"cheap": OWN, "strong": {**API, "terms": "accepted"}}
    policy = cascade(kind="privacy_route")
    assert choose(policy, request(data_class="internal"), places=accepted) == "strong"
    assert choose(policy, request(data_class="restricted"), places=accepted) == "cheap"
    assert choose(policy, request(data_class="internal")) == "cheap"


def test_a_single_model_has_no_second() -> None:
    policy = Policy(kind="single", cheap="c")
    assert choose(policy, request()) == "cheap" and choose(policy, request(), [answered(-9.0)]) is None


def test_a_random_mix_sends_its_share_the_same_everywhere() -> None:
    policy = cascade(kind="random_mix", share=0.3)
    sides = [choose(policy, request(f"doc-{at}")) for at in range(4000)]
    assert abs(sides.count("strong") / 4000 - 0.3) < 0.03
    assert sides == [choose(policy, request(f"doc-{at}")) for at in range(4000)]
    assert unit("doc-0") == pytest.approx(0.7393404, abs=1e-6)  # it must never change: saved policies rest on it
    more = [choose(cascade(kind="random_mix", share=0.5), request(f"doc-{at}")) for at in range(4000)]
    assert all(wide == "strong" for narrow, wide in zip(sides, more, strict=True) if narrow == "strong")


@pytest.mark.parametrize("op", OPERATORS)
def test_rules(op: str) -> None:
    wanted = [3, 4] if op == "in" else 3
    for value in (2.0, 3.0, 4.0):
        said = {">": value > 3, ">=": value >= 3, "<": value < 3, "<=": value <= 3, "==": value == 3, "in": value > 2}
        assert holds({"feature": "x", "op": op, "value": wanted}, {"x": value}) is said[op]


def test_a_rule_on_what_is_not_known_asks_the_strong_model_but_a_tag_that_is_not_there_is_zero() -> None:
    assert holds({"feature": "pages", "op": "<", "value": 3}, {})
    assert not holds({"feature": "tag:ocr", "op": ">", "value": 0.5}, {})
    policy = cascade(kind="rule", rule={"feature": "tag:ocr", "op": ">", "value": 0.5})
    assert choose(policy, request(features={"tags": ("ocr", "lease")})) == "strong"
    assert choose(policy, request(features={"tags": ("lease",)})) == "cheap"


def test_the_score_of_a_fitted_signal_by_hand() -> None:
    signal = {"inputs": ["a", "b"], "mean": [1.0, 2.0], "scale": [2.0, 4.0], "coef": [0.5, -1.0], "intercept": 0.25}
    total = 0.25 + 0.5 * (3 - 1) / 2 - (6 - 2) / 4
    assert error_score(signal, {"a": 3.0, "b": 6.0}) == pytest.approx(1 / (1 + math.exp(-total)))
    assert error_score({**signal, "link": "identity"}, {"a": 3.0, "b": 6.0}) == pytest.approx(total)
    missing = 0.25 + 0.5  # b counts as its mean
    assert error_score({**signal, "link": "identity"}, {"a": 3.0, "b": math.nan}) == pytest.approx(missing)
    assert error_score({**signal, "link": "identity"}, {"a": 3.0}) == pytest.approx(missing)


@given(st.floats(-3, 3))
def test_calibration_is_linear_between_its_points_and_flat_outside(x: float) -> None:
    import numpy as np

    curve = {"x": [-1.0, 0.0, 0.0, 2.0], "y": [0.1, 0.2, 0.6, 0.9]}
    signal = {**SIGNAL, "coef": [1.0], "link": "identity", "calibration": curve}
    found = error_score(signal, {"mean_logprob": x})
    if x != 0:
        assert found == pytest.approx(float(np.interp(x, curve["x"], curve["y"])))
    assert 0.1 <= found <= 0.9


def test_a_huge_score_does_not_overflow() -> None:
    assert error_score(SIGNAL, {"mean_logprob": 1e6}) == 0.0 and error_score(SIGNAL, {"mean_logprob": -1e6}) == 1.0
