"""Thresholds: chosen as a naive loop does, never on the documents they are counted on, and worth nothing for nothing."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_documents import made

from evals.analysis.routing import candidates as ways
from evals.analysis.routing.crossfit import (
    Plan,
    aimed,
    binned,
    chosen_cuts,
    cross_fitted,
    decided,
    held_out,
    mix_quality,
    pair_of,
    totals_of,
)
from evals.analysis.routing.verdicts import share_totals

ALL = held_out(np.ones(100, bool), "")


def test_a_useless_signal_seems_to_gain_two_points_in_sample_and_nothing_cross_fitted() -> None:
    """The doctrine's figure: 100 documents, truth 0. Models that share their hard documents, as real ones do."""
    inside, outside = [], []
    for seed in range(250):
        random = np.random.default_rng(seed)
        hard = random.random(100)
        right = np.stack([hard < 0.7, hard < 0.85]).astype(np.float64)
        found = made(100, seed=seed, hits=right)
        pair = pair_of(found, 0, 1, cascade=True)
        scores = ways.single_signals(found.signals[0], np.ones(100, bool))
        inside.append(chosen_cuts(pair, scores[0].bins, ALL, floor=None)[1][0, 0])
        plan = cross_fitted(100, groups=None, repeats=2, seed=seed)
        share = ways.one_by_one(scores, pair, plan, kind="cascade", best="best", floor=None)[0].share
        hits = totals_of(pair, share)[0].sum() / 100
        mix = (1 - share.mean()) * right[0].mean() + share.mean() * right[1].mean()
        outside.append(hits - mix)
    assert 0.015 < np.mean(inside) < 0.030, np.mean(inside)
    assert abs(np.mean(outside)) < 3 * np.std(outside) / np.sqrt(250) + 0.001, np.mean(outside)


def naive_best(score: np.ndarray, pair: object, rows: np.ndarray) -> float:
    """The largest gain over the mix of equal cost, over every set of highest scores."""
    best = -np.inf
    for cut in [-np.inf, *np.unique(score)]:
        strong = score > cut
        total = (pair.base + pair.step * strong)[:, rows].sum(axis=1)  # type: ignore[attr-defined]
        base, top = pair.base[:, rows].sum(axis=1), pair.top[:, rows].sum(axis=1)  # type: ignore[attr-defined]
        share = np.clip((total[2] - base[2]) / (top[2] - base[2]), 0, 1)
        mix = ((1 - share) * base[0] + share * top[0]) / ((1 - share) * base[1] + share * top[1])
        best = max(best, total[0] / total[1] - mix)
    return float(best)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(30, 120), st.booleans(), st.integers(2, 6))
def test_cuts_are_those_of_a_naive_loop(seed: int, n: int, cascade: bool, levels: int) -> None:
    found = made(n, seed=seed, signal=0.5, cost=(1.0, 4.0))
    pair = pair_of(found, 0, 1, cascade=cascade)
    score = np.round(-found.signals[0]["mean_logprob"] * levels) / levels  # with ties
    plan = cross_fitted(n, groups=None, folds=4, repeats=2, seed=seed)
    cuts, gains = chosen_cuts(pair, binned(score), plan, floor=None)
    for repeat in range(2):
        for fold in range(4):
            train = plan.train(repeat, fold)
            assert gains[repeat, fold] == pytest.approx(naive_best(score, pair, train), abs=1e-9)
            strong = score > cuts[repeat, fold]
            total = (pair.base + pair.step * strong)[:, train].sum(axis=1)
            base, top = pair.base[:, train].sum(axis=1), pair.top[:, train].sum(axis=1)
            assert total[0] / total[1] - mix_quality(base, top, total[2]) == pytest.approx(gains[repeat, fold])


def test_no_document_fits_its_own_threshold_and_groups_stay_whole() -> None:
    groups = np.repeat(np.arange(20), 5)
    plan = cross_fitted(100, groups=groups, seed=3)
    assert plan.folds.shape == (5, 100) and not (plan.folds[0] == plan.folds[1]).all()
    for repeat in range(5):
        for fold in range(5):
            train = plan.train(repeat, fold)
            assert not train[plan.folds[repeat] == fold].any()
            assert not set(groups[train]) & set(groups[~train])


def test_a_change_of_one_document_never_changes_its_own_threshold() -> None:
    found = made(60, seed=5, signal=1.0)
    plan = cross_fitted(60, groups=None, repeats=1, seed=1)
    bins = binned(-found.signals[0]["mean_logprob"])
    before = chosen_cuts(pair_of(found, 0, 1, cascade=True), bins, plan, floor=None)[0]
    for at in range(60):
        hits = found.hits.copy()
        hits[:, at] = 1 - hits[:, at]
        changed = made(60, seed=5, signal=1.0, hits=hits)
        after = chosen_cuts(pair_of(changed, 0, 1, cascade=True), bins, plan, floor=None)[0]
        assert after[0, plan.folds[0, at]] == before[0, plan.folds[0, at]]


def test_a_floor_is_reached_at_least_cost_and_else_the_best_quality_is_taken() -> None:
    found = made(500, seed=1, signal=3.0, cost=(1.0, 10.0))
    pair = pair_of(found, 0, 1, cascade=True)
    bins = binned(-found.signals[0]["mean_logprob"])
    everything = held_out(np.ones(500, bool), "")

    def reached(floor: float) -> tuple[float, float]:
        strong = bins.score > chosen_cuts(pair, bins, everything, floor=floor)[0][0, 0]
        total = totals_of(pair, strong * 1.0).sum(axis=1)
        return total[0] / total[1], strong.mean()

    low, high = reached(0.7), reached(0.8)
    assert 0.7 <= low[0] < 0.72 and 0.8 <= high[0] < 0.82 and low[1] < high[1]
    best = max(reached(floor)[0] for floor in np.linspace(0.6, 0.95, 30))
    assert reached(0.999)[0] == pytest.approx(best)


def test_failures_escalate_and_who_may_not_see_a_document_is_left_out() -> None:
    failed = np.zeros((2, 40), bool)
    failed[0, :5] = True
    classes = ["public"] * 30 + ["restricted"] * 10
    found = made(40, failed=failed, data_class=classes, cost=(1.0, 4.0))
    pair = pair_of(found, 0, 1, cascade=True)
    nobody = decided(pair, np.zeros(40, bool))
    assert nobody[:5].all() and not nobody[5:].any()
    everybody = decided(pair, np.ones(40, bool))
    assert everybody[:30].all() and not everybody[30:].any()
    cost = totals_of(pair, everybody * 1.0)[2]
    assert (cost[:30] == 5).all() and (cost[30:] == 1).all()  # a cascade pays both
    before = pair_of(found, 0, 1, cascade=False)
    assert (totals_of(before, decided(before, np.ones(40, bool)) * 1.0)[2][:30] == 4).all()
    swapped = pair_of(
        made(40, data_class=classes, places={"cheap": {"location": "api"}, "strong": {"location": "own"}}),
        0,
        1,
        cascade=True,
    )
    assert decided(swapped, np.zeros(40, bool))[30:].all()


def test_many_scores_are_cut_at_quantiles_and_equal_ones_never_parted() -> None:
    score = np.repeat(np.random.default_rng(0).normal(size=3000), 2)
    bins = binned(score)
    assert len(bins.cuts) <= 258
    for at in (0, 17, len(bins.cuts) - 1):
        above = score > bins.cuts[at]
        assert (above == (bins.code >= at)).all()
        assert (above[::2] == above[1::2]).all()
    assert (score > bins.cuts[0]).all() and not (score > bins.cuts[-1]).any()


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=40))
def test_cuts_part_the_scores_as_their_bins_do(values: list[float]) -> None:
    bins = binned(np.array(values))
    for at, cut in enumerate(bins.cuts):
        assert ((np.array(values) > cut) == (bins.code >= at)).all()


def test_a_plan_of_dev_counts_no_document_that_fits() -> None:
    fits = np.array([True] * 30 + [False] * 20)
    plan = held_out(fits, "fitted on dev")
    assert isinstance(plan, Plan) and (plan.train(0, 0) == fits).all() and (plan.folds[0][~fits] == 0).all()


def test_what_to_aim_at_lies_above_the_floor_by_the_quality_s_standard_error() -> None:
    found = made(400, cheap=0.6, strong=0.9, seed=3)
    rows = np.ones(400, bool)
    errors = [np.sqrt(q * (1 - q) / 399) for q in found.hits.mean(axis=1)]
    assert aimed(found, 0, 1, rows, 0.7) == pytest.approx(0.7 + 1.645 * np.mean(errors))
    assert aimed(found, 0, 1, rows, None) is None


def test_a_cascades_cheap_answer_stands_where_the_strong_one_failed() -> None:
    """Live, a strong call in vain leaves the cheap answer (`engine.generate.record_of`); it is paid for all the same."""
    found = made(40, cheap=1.0, strong=1.0, cost=(1.0, 4.0))
    failed, hits = np.zeros((2, 40), bool), found.hits.copy()
    failed[1, :10] = failed[0, 5:10] = True
    hits[failed] = 0.0
    found = replace(found, failed=failed, hits=hits)
    for cascade in (True, False):
        pair = pair_of(found, 0, 1, cascade=cascade)
        right, _, cost = totals_of(pair, np.ones(40))
        assert np.array_equal(right, share_totals(found, pair, np.ones(40))[0])
        assert right.sum() == (35 if cascade else 30)
        assert (cost == (5.0 if cascade else 4.0)).all()
