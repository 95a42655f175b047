"""A token out of scores: against scipy's softmax, and what a rule allows."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import log_softmax

from evals.models.sampling import Sampler

scores = arrays(np.float32, st.integers(2, 60), elements=st.floats(-30, 30, width=32))


@given(scores, st.data())
def test_the_best_allowed_token_with_its_probability_among_the_allowed(logits: np.ndarray, data: st.DataObject) -> None:
    rules = data.draw(arrays(bool, logits.shape))
    found = Sampler()(logits, rules)
    if not rules.any():
        assert found is None
        return
    assert found is not None
    inside = np.flatnonzero(rules)
    best = inside[logits[inside].argmax()]
    assert rules[found.token] and logits[found.token] == logits[best]
    wanted = log_softmax(logits[inside].astype(float))[list(inside).index(best)]
    assert found.logprob == pytest.approx(wanted, abs=1e-4)
    assert found.own == (logits.argmax() == found.token)
    if inside.size == 1:
        assert found.margin is None
    else:
        second = np.sort(logits[inside])[-2]
        assert found.margin == pytest.approx(min(25.0, float(logits[best] - second)), abs=1e-4)


@given(scores)
def test_without_rules_it_is_the_argmax(logits: np.ndarray) -> None:
    found = Sampler()(logits, None)
    assert found is not None and found.token == logits.argmax() and found.own


def test_scores_that_are_no_numbers_choose_nothing() -> None:
    assert Sampler()(np.full(4, -np.inf), None) is None
    assert Sampler()(np.array([np.nan, 1.0]), None) is None


def test_draws_follow_the_softmax_under_the_rules_and_their_seed() -> None:
    logits, rules = np.log(np.array([0.5, 0.3, 0.15, 0.05])), np.array([True, False, True, True])
    sampler = Sampler(temperature=1.0, seed=7)
    drawn = [sampler(logits, rules) for _ in range(4000)]
    shares = np.bincount([one.token for one in drawn if one], minlength=4) / 4000
    assert shares == pytest.approx(np.array([0.5, 0, 0.15, 0.05]) / 0.7, abs=0.03)
    assert {round(one.logprob, 6) for one in drawn if one and one.token == 2} == {round(math.log(0.15 / 0.7), 6)}
    again = Sampler(temperature=1.0, seed=7)
    assert [again(logits, rules).token for _ in range(50)] == [one.token for one in drawn[:50] if one]  # type: ignore[union-attr]
