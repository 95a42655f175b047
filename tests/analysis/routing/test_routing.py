"""A simulation from end to end: figures against naive loops, honest verdicts, and the policy that is saved."""

import numpy as np
import pandas as pd
import pytest
from made_documents import made

from evals.analysis.routing import final
from evals.analysis.routing.crossfit import counted
from evals.analysis.routing.documents import documents, joined
from evals.analysis.routing.replay import as_table, replay
from evals.analysis.routing.simulate import Wanted, cheapest_first, route
from evals.core import Call, Completion, Record, Request
from evals.errors import ConfigError, DataError
from evals.policy.saved import decode, encode

QUICK = Wanted(draws=300)


def rows(report: dict, way: str) -> dict:  # type: ignore[type-arg]
    [row] = [row for row in report["hybrids"] if row["way"] == way]
    return row  # type: ignore[no-any-return]


def test_figures_are_those_of_a_naive_loop() -> None:
    found = made(300, signal=1.5, cost=(0.001, 0.01), seed=2)
    routed = route(found, QUICK)
    for (pair, way), row in zip(routed.candidates, routed.report["hybrids"], strict=True):
        quality, dollars, seconds = [], [], []
        for strong in way.strong:
            for at in range(300):
                side = 1 if strong[at] else 0
                quality.append(found.hits[side, at])
                dollars.append(found.cost[side, at] + (found.cost[0, at] if pair.cascade and side else 0))
        for at in range(300):
            side = 1 if way.strong[0][at] else 0
            seconds.append(found.latency[side, at] + (1.0 if pair.cascade and side else 0))
        assert row["quality"]["value"] == pytest.approx(np.mean(quality))
        assert row["usd_per_1k"]["value"] == pytest.approx(1000 * np.mean(dollars))
        assert row["latency_p95_s"]["value"] == pytest.approx(np.quantile(seconds, 0.95))
        assert row["share_strong"] == pytest.approx(way.strong.mean())
        share = np.clip((np.mean(dollars) - 0.001) / 0.009, 0, 1)
        mix = (1 - share) * found.hits[0].mean() + share * found.hits[1].mean()
        assert row["gain_mix"]["value"] == pytest.approx(np.mean(quality) - mix)
        assert row["gain_best"]["value"] == pytest.approx(np.mean(quality) - found.hits[1].mean())


def test_a_good_signal_gains_and_a_useless_one_cannot_be_told_from_zero() -> None:
    good = route(made(600, signal=2.0), QUICK).report
    for way in ("P(error)", "best signal", "pre-router", "best rule", "mean_logprob"):
        assert rows(good, way)["gain_mix"]["low"] > 0.02, way
    assert rows(good, "P(error)")["verdict"] == rows(good, "pre-router")["verdict"] == "gains"
    assert rows(good, "pre-router")["beats_twin"] and rows(good, "pre-router")["over_twin"]["low"] > 0.03
    useless = route(made(600, signal=0.0), QUICK).report
    for way in ("P(error)", "best signal", "pre-router", "best rule"):
        assert rows(useless, way)["verdict"].startswith("cannot be told from zero"), way
        assert abs(rows(useless, way)["gain_mix"]["value"]) < 0.03
    assert not rows(useless, "pre-router")["beats_twin"]


def test_intervals_of_a_gain_that_is_nothing_hold_zero() -> None:
    """Truth 0; thresholds that rest on the same documents are paid for by wider intervals (a bootstrap alone: 75-90 %)."""
    held = claimed = told = 0
    for seed in range(12):
        for row in route(made(240, seed=seed), Wanted(draws=200, repeats=2, twin=False)).report["hybrids"]:
            if row["p"] is not None:
                told += 1
                held += row["gain_mix"]["low"] <= 0 <= row["gain_mix"]["high"]
                claimed += row["verdict"] == "gains"
    assert told == 48 and held >= 43 and claimed <= 2


def test_under_two_hundred_documents_no_gain_is_claimed_however_large() -> None:
    report = route(made(150, signal=4.0), QUICK).report
    assert rows(report, "P(error)")["gain_mix"]["low"] > 0
    assert rows(report, "P(error)")["verdict"] == "cannot be told from zero: 150 documents, under 200"


def test_the_oracle_is_an_upper_bound_and_the_random_mix_gains_nothing() -> None:
    found = made(500, signal=1.0)
    report = route(found, QUICK).report
    oracle = rows(report, "oracle")
    assert oracle["quality"]["value"] == pytest.approx(found.hits.max(axis=0).mean())
    assert all(row["quality"]["value"] <= oracle["quality"]["value"] + 1e-12 for row in report["hybrids"])
    mix = rows(report, "random 50%")
    assert mix["gain_mix"]["low"] < 0 < mix["gain_mix"]["high"] and 0.4 < mix["share_strong"] < 0.6


def test_dollars_saved_by_hand() -> None:
    """A perfect signal: the strong option is asked about the cheap one's errors alone."""
    found = made(1000, cost=(0.0001, 0.01), strong=1.0, cheap=0.7)
    signals = [{"mean_logprob": found.hits[0] + np.random.default_rng(0).normal(size=1000) * 1e-3}, {}]
    report = route(made(1000, cost=(0.0001, 0.01), strong=1.0, cheap=0.7, signals=signals), QUICK).report
    row = rows(report, "mean_logprob")
    wrong = 1 - found.hits[0].mean()
    assert row["quality"]["value"] > 0.998 and row["share_strong"] == pytest.approx(wrong, abs=0.002)
    assert row["meets_floor"] == "meets"
    saved = 1000 * 365.25 / 12 * (0.01 - 0.0001 - 0.01 * row["share_strong"])
    assert row["saved_usd_per_month_single"]["value"] == pytest.approx(saved)
    assert row["saved_usd_per_month_mix"]["value"] == pytest.approx(saved, abs=2)  # no mix is as good but strong itself


def test_what_is_fitted_on_dev_is_counted_on_test() -> None:
    dev, test = made(300, seed=1, signal=2.0), made(250, seed=2, signal=2.0)
    dev = made(300, seed=1, signal=2.0, ids=[f"dev-{at}" for at in range(300)])
    routed = route(test, QUICK, dev=dev)
    assert routed.report["documents"] == 250 and routed.report["fitted"] == "fitted on 300 documents of dev"
    assert routed.plan.folds.shape == (1, 550) and counted(routed.plan).sum() == 250
    assert rows(routed.report, "P(error)")["gain_mix"]["low"] > 0
    wrong = made(300, seed=1, signal=2.0, ids=[f"dev-{at}" for at in range(300)], options=["x", "y"])
    notes = route(test, QUICK, dev=wrong).report["notes"]
    assert any("not fitted on dev" in note for note in notes)


def test_an_option_that_errs_differently_on_dev_is_told() -> None:
    """As a rule that was written on dev does."""
    dev = made(300, seed=1, cheap=0.95, ids=[f"dev-{at}" for at in range(300)])
    notes = route(made(250, seed=2, cheap=0.4), QUICK, dev=dev).report["notes"]
    assert any(note.startswith("cheap errs 0.0") and "does not carry over" in note for note in notes)


def test_ids_that_both_splits_have_are_counted_once() -> None:
    both = joined(made(30, seed=1), made(30, seed=2))
    assert both.n == 30 and (both.hits == made(30, seed=2).hits).all()


def test_pairs_are_those_whose_costlier_option_is_better() -> None:
    found = made(200, cost=(0.01, 0.001), signal=1.0)  # the better one is cheaper
    with pytest.raises(DataError, match="no costlier option is better"):
        route(found, QUICK)
    named = route(found, Wanted(draws=200, cheap="strong", strong="cheap")).report
    assert {(row["cheap"], row["strong"]) for row in named["hybrids"]} == {("strong", "cheap")}


def test_order_by_cost_then_latency_then_quality() -> None:
    assert cheapest_first(made(cost=(3.0, 2.0))) == ([1, 0], "cost")
    assert cheapest_first(made()) == ([0, 1], "latency")
    blind = made(latency=np.full((2, 400), np.nan))
    assert cheapest_first(blind)[1] == "quality"


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(cheap="chaep"), "did you mean cheap"),
        (Wanted(cheap="cheap", strong="cheap"), "both"),
        (Wanted(cheap="strong"), "costlier"),
    ],
)
def test_options_that_are_not_there(wanted: Wanted, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        route(made(), wanted)


def test_too_few_documents() -> None:
    with pytest.raises(DataError, match="19 documents are too few"):
        route(made(19), QUICK)
    with pytest.raises(DataError, match="one group"):
        route(made(40, groups=np.zeros(40, np.int64)), QUICK)


def test_restricted_documents_stay_with_the_model_of_ones_own() -> None:
    classes = ["restricted" if at % 4 == 0 else "public" for at in range(400)]
    routed = route(made(400, data_class=classes, signal=1.0), QUICK)
    held = np.array([one == "restricted" for one in classes])
    assert rows(routed.report, "privacy")["share_strong"] == pytest.approx(0.75)
    assert any("strong may not be shown 100 of the documents" in note for note in routed.report["notes"])
    assert not any(way.strong[:, held].any() for _, way in routed.candidates)


def test_a_failed_cheap_answer_escalates_and_fits_nothing() -> None:
    failed = np.zeros((2, 300), bool)
    failed[0, ::3] = True
    found = made(300, failed=failed, signal=1.0)
    routed = route(found, QUICK)
    for _, way in routed.candidates:
        if way.kind == "cascade":
            assert way.strong[:, failed[0]].all()


# The policy ---------------------------------------------------------------------------------------------------


def stored(found) -> tuple[dict[str, Request], dict[str, dict[str, Record]]]:  # type: ignore[no-untyped-def]
    """Requests and records that these documents could come from."""
    requests, records = {}, {}
    for at, name in enumerate(found.ids):
        text = "x" * (100 + int(50 * found.features["chars"][at]))
        requests[name] = Request(messages=(), sample_id=name, inputs={"text": text})
        told = {"mean_logprob": float(found.signals[0]["mean_logprob"][at])}
        call = Call(role="answer", model="cheap", completion=Completion(text="{}", finish_reason="stop", signals=told))
        if found.failed[0, at]:
            call = Call(role="answer", model="cheap", error="timeout")
        good = None if found.failed[0, at] else 0
        records[name] = Record(sample_id=name, repeat=0, request_hash="", calls=(call,), answer=good)
    return requests, {"cheap": records, "strong": {}}


def read(seed: int = 0, signal: float = 1.5):  # type: ignore[no-untyped-def]
    """Documents that are made of requests and records, as `route` reads them."""
    failed = np.zeros((2, 240), bool)
    failed[0, :10] = True
    plain = made(240, seed=seed, signal=signal, failed=failed, cost=(0.001, 0.01))
    requests, records = stored(plain)
    frame = pd.DataFrame(
        {
            "option": np.repeat(["cheap", "strong"], 240),
            "sample_id": plain.ids * 2,
            "score": plain.hits.ravel(),
            "cost_usd": plain.cost.ravel(),
            "latency_s": plain.latency.ravel(),
            "failed": failed.ravel(),
        }
    )
    return documents(frame, requests=requests, records=records, places=plain.places), requests, records


@pytest.mark.parametrize("way", ["P(error)", "best signal", "mean_logprob", "pre-router", "best rule", "random 50%"])
def test_a_saved_policy_does_live_what_its_arrays_say(way: str) -> None:
    """Every document: vectors in the simulation, `choose` live, through the JSON file."""
    found, requests, records = read()
    routed = route(found, QUICK)
    at = final.best_row(routed.report, way=way)
    policy = decode(encode(final.policy_of(routed, at, QUICK, {"task": "mine"})), "x")
    sides = final.replayed(policy, requests, records["cheap"], found.ids)
    from evals.analysis.routing.calibration import predicted
    from evals.policy.choosing import unit

    values = {**found.features, **found.signals[0]}
    if policy.signal is not None:
        inputs = np.stack([values[name] for name in policy.signal["inputs"]], axis=1)
        above = predicted(policy.signal, inputs) > (policy.threshold or 0)
    elif policy.rule is not None:
        own = values[policy.rule["feature"]]
        above = own > policy.rule["value"] if policy.rule["op"] == ">" else own < policy.rule["value"]
    else:
        above = np.array([unit(name) < 0.5 for name in found.ids])
    expected = above | (found.failed[0] if policy.kind == "cascade" else False)
    assert [side == "strong" for side in sides] == list(expected)
    assert 0.05 < expected.mean() < 0.95
    assert policy.about["simulated"]["quality"]["low"] < policy.about["simulated"]["quality"]["value"]
    assert policy.about["places"] == {"cheap": {"location": "own"}, "strong": {"location": "api"}}


def test_a_replayed_policy_has_the_figures_of_its_documents() -> None:
    found, requests, records = read()
    routed = route(found, QUICK)
    policy = final.policy_of(routed, final.best_row(routed.report, way="P(error)"), QUICK, {})
    again, told = replay(policy, found, requests, records, QUICK, [])
    strong = np.array([row["side"] == "strong" for row in told])
    [row] = again.report["hybrids"]
    assert row["quality"]["value"] == pytest.approx(np.where(strong, found.hits[1], found.hits[0]).mean())
    assert row["usd_per_1k"]["value"] == pytest.approx(1000 * (0.001 + 0.01 * strong.mean()))
    assert {one["answers"] for one in told} == {"cheap", "strong"}
    assert [one["score"] for one in told[:1]] == [None] or found.failed[0, 0] == 0


def test_the_best_is_the_surest_gain_or_the_cheapest_that_meets_the_floor() -> None:
    found = made(800, signal=2.0, cost=(0.001, 0.01))
    routed = route(found, QUICK)
    claims = [row for row in routed.report["hybrids"] if row["p"] is not None]
    best = routed.report["hybrids"][final.best_row(routed.report)]
    assert best["gain_hull"]["low"] == max(row["gain_hull"]["low"] for row in claims)
    floored = route(found, Wanted(draws=300, floor=0.72))
    chosen = floored.report["hybrids"][final.best_row(floored.report)]
    assert chosen["meets_floor"] == "meets" and 0.715 < chosen["quality"]["low"] < chosen["quality"]["value"] < 0.79
    assert chosen["usd_per_1k"]["value"] < best["usd_per_1k"]["value"]
    with pytest.raises(ConfigError, match="nothing of kind=privacy_route was"):
        final.best_row(routed.report, kind="privacy_route")


def test_a_saved_policy_needs_no_more_than_its_pair() -> None:
    found, *_ = read()
    routed = route(found, QUICK)
    for at, row in enumerate(routed.report["hybrids"]):
        if row["kind"] in final.SAVABLE and row["way"] != "twin":
            assert decode(encode(final.policy_of(routed, at, QUICK, {})), "x").kind == row["kind"]


def test_hybrids_are_rows_of_a_table_beside_the_options() -> None:
    found = made(200, signal=1.0, cost=(0.001, 0.01))
    routed = route(found, QUICK)
    table = as_table(routed)
    assert set(table["option"]) >= {"cheap", "strong", "hybrid(cheap->strong, P(error))"}
    assert (table.groupby("option").size() == 200).all()
    means = table.groupby("option")["score"].mean()
    for row in routed.report["hybrids"]:
        if row["option"] in means:
            assert means[row["option"]] == pytest.approx(row["quality"]["value"])


def test_a_better_signal_has_a_larger_area() -> None:
    def areas(signal: float) -> dict:  # type: ignore[type-arg]
        told = route(made(500, signal=signal), QUICK).report["aiq"]
        return next(one for one in told if one["way"] == "P(error)")

    good, bad = areas(3.0), areas(0.0)
    assert good["aiq"] > good["aiq_mix"] + 0.03 and abs(bad["aiq"] - bad["aiq_mix"]) < 0.02
    assert good["cost"] == "strong calls"


def test_two_models_that_agree_are_a_signal_that_costs_the_second_one() -> None:
    plain = made(300, cost=(0.001, 0.01))
    random = np.random.default_rng(5)
    third = np.stack([*plain.hits, (random.random(300) < 0.5) * 1.0])
    agree = np.where(plain.hits[0] > 0, 0.9, 0.2) + random.normal(size=300) * 0.1
    found = made(
        300,
        options=["cheap", "strong", "also"],
        hits=third,
        whole=np.ones((3, 300)),
        cost=np.repeat([[0.001], [0.01], [0.002]], 300, axis=1),
        latency=np.repeat([[1.0], [5.0], [2.0]], 300, axis=1),
        failed=np.zeros((3, 300), bool),
        signals=[{}, {}, {}],
        agreement={frozenset(("cheap", "also")): agree},
    )
    routed = route(found, Wanted(draws=200, cheap="cheap", strong="strong"))
    row = rows(routed.report, "agrees with also")
    assert row["gain_mix"]["low"] > 0.03 and row["kind"] not in final.SAVABLE
    expected = 0.001 + 0.002 + 0.01 * row["share_strong"]
    assert row["usd_per_1k"]["value"] == pytest.approx(1000 * expected)
    assert row["latency_p95_s"]["value"] == 8.0


def test_shares_of_right_documents_have_wilsons_interval_and_are_never_certain() -> None:
    from evals.stats import wilson

    found = made(60, cheap=0.5, strong=1.1, signal=5.0)  # the strong option is right about all
    report = route(found, Wanted(draws=200, floor=0.97)).report
    best = next(row for row in report["singles"] if row["best"])
    expected = wilson(60, 60)
    assert best["quality"] == pytest.approx({"value": 1.0, "low": expected.low, "high": 1.0})
    assert best["meets_floor"] == "inconclusive"  # 60 of 60 do not show 97 %
    for row in report["hybrids"]:
        own = wilson(60 * row["quality"]["value"], 60)
        assert (row["quality"]["low"], row["quality"]["high"]) == pytest.approx((own.low, own.high))


def test_what_sends_all_to_one_option_says_so() -> None:
    found = made(300, cheap=0.4, strong=0.95)
    report = route(found, Wanted(draws=200, floor=0.999)).report
    alone = [row for row in report["hybrids"] if row["p"] is not None and row["share_strong"] == 1.0]
    assert alone and all(row["verdict"] == "routes nothing: strong answers all" for row in alone)
    assert all(row["gain_best"]["low"] == row["gain_best"]["high"] == 0 for row in alone)
