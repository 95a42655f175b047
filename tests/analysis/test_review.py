"""Who goes to a person: figures against a naive recount, made-up documents of which the truth is known."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.analysis.review import Wanted, reasons, review, threshold_for
from evals.analysis.routing.documents import Documents


def made(n: int, *, informative: bool, seed: int = 0, failed: int = 0) -> Documents:
    """Documents that are wrong with a chance that a signal tells, or does not."""
    random = np.random.default_rng(seed)
    chance = random.uniform(0, 0.6, n)
    wrong = (random.random(n) < chance).astype(float)
    lost = np.arange(n) < failed
    wrong[lost] = 1.0
    signal = np.where(lost, np.nan, chance if informative else random.random(n))
    nothing = np.full((1, n), np.nan)
    return Documents(
        ids=[f"d{i}" for i in range(n)],
        options=["m"],
        hits=1 - wrong[None],
        whole=np.ones((1, n)),
        cost=nothing,
        latency=nothing,
        failed=lost[None],
        signals=[{"mean_logprob": -signal, "answer_chars": np.full(n, 7.0)}],
    )


def test_the_threshold_sends_the_share_and_leaves_the_target() -> None:
    found = made(600, informative=True)
    done = review(found, Wanted(target=0.1, usd_per_hour=60, volume_per_day=500))
    report, error = done.report, {name: float(value) for name, value in zip(found.ids, found.error[0], strict=True)}
    sent = [row for row in done.rows if row["p_error"] > report["threshold"]]
    assert all(row["review"] for row in sent) and len(sent) == report["sent"]
    left = sum(error[row["sample_id"]] for row in done.rows if not row["review"]) / 600
    assert report["residual"]["value"] == pytest.approx(left) and left <= 0.1 + 1 / 600
    assert len(sent) / 600 == pytest.approx(report["share"]["value"], abs=2 / 600)
    assert report["share"]["low"] <= report["share"]["value"] <= report["share"]["high"]
    assert report["error"]["value"] == pytest.approx(np.mean(list(error.values())))
    minutes = report["work"]["value"]["minutes_per_day"]
    assert minutes == pytest.approx(report["share"]["value"] * 500 * 3)
    assert report["work"]["value"]["usd_per_day"] == pytest.approx(minutes)
    assert report["p_error"]["auc"] > 0.6 and report["p_error"]["inputs"] == ["mean_logprob"], (
        "a constant tells nothing"
    )
    scores = [row["p_error"] for row in done.rows]
    assert scores == sorted(scores, reverse=True)
    ends = {row["share"]: row["error"] for row in report["curve"]}
    assert ends[0.0] == pytest.approx(report["error"]["value"]) and ends[1.0] == 0.0


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0.0, 0.25, 1.0])), min_size=1, max_size=30),
    st.sampled_from([0.0, 0.05, 0.3, 1.0]),
    st.sampled_from([0.0, 0.05]),
)
def test_the_threshold_is_the_highest_that_leaves_the_target(
    rows: list[tuple[int, float]], target: float, reviewer: float
) -> None:
    """Every cut tried one by one."""
    score, error = np.array([float(s) for s, _ in rows]), np.array([e for _, e in rows])

    def left(t: float) -> float:
        return float(np.where(score > t, reviewer, error).mean())

    t = threshold_for(error, score, target, reviewer)
    cuts = [cut for cut in (-1.0, 0.5, 1.5, 2.5, 3.5, 4.5) if left(cut) <= target + 1e-12]
    if cuts:
        assert left(t) <= target + 1e-12
        assert (score > t).sum() == min((score > cut).sum() for cut in cuts)
    else:
        assert (score > t).all()


def test_a_useless_signal_is_told_and_costs_nearly_everything() -> None:
    """With nothing to go by, an error of 30 % brought to 3 % takes 90 % of the documents."""
    useless = review(made(2000, informative=False), Wanted(target=0.03)).report
    assert 0.45 < useless["p_error"]["auc"] < 0.55
    assert useless["share"]["value"] == pytest.approx(0.9, abs=0.03)
    assert review(made(2000, informative=True), Wanted(target=0.03)).report["share"]["value"] < 0.8


def test_failed_answers_go_first_and_few_documents_are_not_ranked() -> None:
    done = review(made(100, informative=True, failed=3), Wanted(target=0.2))
    assert {row["sample_id"] for row in done.rows[:3]} == {"d0", "d1", "d2"} and done.rows[0]["reasons"] == [
        "no answer"
    ]
    few = review(made(30, informative=True), Wanted(target=0.0))
    assert few.signal is None and few.report["p_error"]["from"] == "mean"
    assert any("30 answers" in note for note in few.report["notes"])


def test_a_saved_signal_is_taken_as_it_is() -> None:
    found = made(80, informative=True, failed=1)
    signal = {
        "inputs": ["mean_logprob"],
        "mean": [0.0],
        "scale": [1.0],
        "coef": [-1.0],
        "intercept": 0.0,
        "link": "identity",
    }
    done = review(found, Wanted(signal=signal, target=0.1))
    want = -found.signals[0]["mean_logprob"]
    assert {row["sample_id"]: row["p_error"] for row in done.rows if row["sample_id"] != "d0"} == pytest.approx(
        {name: float(value) for name, value in zip(found.ids[1:], want[1:], strict=True)}
    )
    assert done.rows[0]["sample_id"] == "d0" and done.signal == signal


def test_a_target_out_of_reach_has_no_share() -> None:
    report = review(made(60, informative=True), Wanted(target=0.01, reviewer_error=0.05)).report
    assert report["share"]["value"] is None and report["threshold"] is None
    assert report["work"]["value"] == {"minutes_per_day": None, "usd_per_day": None}
    assert any("no share reaches it" in note for note in report["notes"])
    easy = review(made(60, informative=True), Wanted(target=1.0)).report
    assert easy["share"]["value"] == 0.0 and easy["sent"] == 0 and easy["found"] is None


@pytest.mark.parametrize(
    ("signals", "said"),
    [
        ({"schema_valid": 0.0, "parse_lenient": 0.0}, ["not valid under the schema", "no JSON"]),
        ({"ungrounded": 2.0, "truncated": 1.0}, ["cut at max_tokens", "2 values not in the document"]),
        ({"ungrounded": float("nan"), "consistent_share": 0.5}, ["fields contradict each other"]),
        ({"null_share": 0.75, "schema_valid": 1.0}, ["75 % of the fields are empty"]),
        ({}, []),
    ],
)
def test_reasons_in_words(signals: dict[str, Any], said: list[str]) -> None:
    assert reasons(signals, False) == said
