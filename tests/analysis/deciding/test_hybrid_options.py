"""Hybrids as options: of a saved policy, and of a run that asked two models."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from made_options import api, own

from evals.analysis.deciding.figures import figure
from evals.analysis.deciding.hybrids import Replay, of_policy, of_run
from evals.analysis.deciding.options import Costs, Option, Proof
from evals.analysis.deciding.volume import bill, usd_per_day
from evals.core import Policy
from evals.errors import ConfigError

SIMULATED = {
    "documents": 200,
    "how": "5-fold",
    "quality": {"value": 0.9, "low": 0.87, "high": 0.93},
    "share_strong": 0.25,
    "latency_p95_s": 4.0,
}


def policy(kind: str = "cascade", cheap: str = "own", strong: str = "api", **more: Any) -> Policy:
    return Policy(kind=kind, cheap=cheap, strong=strong, about={"metric": "f1", "simulated": SIMULATED}, **more)  # type: ignore[arg-type]


def made(found: Policy, options: list[Option], costs: Costs | None = None) -> Option:
    option = of_policy(found, "p.json", options, "f1", costs or Costs())
    assert option is not None
    return option


def test_a_machine_before_an_api() -> None:
    options = [own(hour=2, per_s=1), api(price=0.01)]
    cascade, rule = made(policy(), options), made(policy("rule"), options)
    assert usd_per_day(cascade.deployment, Fraction(100_000)) == 5 * 48 + Fraction(25_000, 100)
    assert usd_per_day(rule.deployment, Fraction(100_000)) == 4 * 48 + Fraction(25_000, 100)  # 75,000 come by
    assert cascade.quality["f1"].value == 0.9 and cascade.latency_p95_s is not None
    share = cascade.deployment.escalated
    assert share is not None and share.low is not None and share.low < 0.25 < share.high  # type: ignore[operator]
    assert cascade.places == (("own", None), ("remote", None))
    assert any("taken to be those of any document" in note for note in cascade.notes)


def test_figures_are_shared_with_the_single_options() -> None:
    options = [own(), api()]
    names = {one.name for one in made(policy(), options).deployment.figures()}
    assert {"machine gpu", "throughput of own", "API price of api"} <= names


def test_a_replay_says_share_ratio_and_seconds_and_its_quality_where_it_was_not_fitted() -> None:
    rows = replace(
        api("own -> api (cascade)"),
        quality={"f1": Proof(value=0.8, low=0.7, high=0.85, n=10)},
        latency_p95_s=Proof(value=9.0, low=8.0, high=None, n=10),
        load="replayed, single_stream",
        n=10,
    )
    told = Replay(option=rows, sent=[True] * 4 + [False] * 6, fitted_here=False, ratio=1.5)
    options = [own(hour=2, per_s=1), api(price=0.01)]
    found = of_policy(policy(), "p.json", options, "f1", Costs(), told)
    assert found is not None and found.quality["f1"].value == 0.8 and found.n == 10
    assert usd_per_day(found.deployment, Fraction(100_000)) == 5 * 48 + Fraction(40_000, 100) * Fraction(3, 2)
    assert found.latency_p95_s is not None and found.latency_p95_s.value == 9 and found.load == rows.load
    share = found.deployment.escalated
    assert share is not None and float(share.value) == 0.4 and share.low < 0.4 < share.high  # type: ignore[operator]
    assert (
        "sends 40 % of these 10 documents on" in found.notes[0] and "f1 0.900 (25 % sent on, 5-fold)" in found.notes[0]
    )
    here = of_policy(policy(), "p.json", options, "f1", Costs(), replace(told, fitted_here=True))
    assert here is not None and here.quality["f1"].value == 0.9 and here.replayed["f1"].value == 0.8
    assert here.deployment == found.deployment and here.latency_p95_s == found.latency_p95_s
    assert "f1 0.900 is its simulation's" in here.notes[0] and here.notes[0].endswith("where it has 0.800")


def test_a_random_mix_sends_the_share_that_is_set() -> None:
    told = Replay(option=api("mix"), sent=[True] * 4 + [False] * 6, fitted_here=False)
    found = of_policy(policy("random_mix", share=0.5), "p.json", [own(), api()], "f1", Costs(), told)
    assert (
        found is not None
        and found.deployment.escalated is not None
        and found.deployment.escalated.value == Fraction(1, 2)
    )
    assert "sends 50 % on, 40 % of these 10 documents" in found.notes[0]


def test_seconds_of_what_is_sent_on_weigh_a_shared_machine() -> None:
    fast, slow = own("fast", per_s=4), own("slow", per_s=1)
    told = Replay(option=api("h"), sent=[True, False], fitted_here=False, ratio=0.5)
    found = of_policy(policy(cheap="fast", strong="slow"), "p", [fast, slow], "f1", Costs(), told)
    known = bill(found.deployment) if found is not None else None
    assert known is not None and known.capacity == 86_400 * 2 * Fraction(7, 30), "1/4 + 0.5 x 0.5 seconds a document"


def test_two_apis_and_two_models_on_one_machine() -> None:
    small, large = api("small", 0.001), api("large", 0.01)
    both = made(policy(cheap="small", strong="large"), [small, large]).deployment
    assert usd_per_day(both, Fraction(1000)) == 1 + Fraction(250, 100)
    fast, slow = own("fast", per_s=4), own("slow", per_s=1)
    known = bill(made(policy(cheap="fast", strong="slow"), [fast, slow]).deployment)
    assert known is not None and known.capacity == 86_400 * 2 * Fraction(7, 30) and known.per_doc == 0


def test_what_cannot_be_priced_says_so() -> None:
    with pytest.raises(ConfigError, match="its strong model 'api' is none of the options"):
        made(policy(), [own()])
    with pytest.raises(ConfigError, match="an API before a machine"):
        made(policy(cheap="api", strong="own"), [own(), api()])
    other = own("slow", hour=3)
    with pytest.raises(ConfigError, match="different prices"):
        made(policy(cheap="own", strong="slow"), [own(), other])
    assert of_policy(Policy(kind="single", cheap="own"), "p", [own()], "f1", Costs()) is None
    unknown = made(policy(), [own(hour=None), api()]).deployment
    assert unknown.lacking() == ["usd_per_hour"] and usd_per_day(unknown, Fraction(5)) is None


def test_another_metric_or_no_simulation_leaves_quality_unknown() -> None:
    found = of_policy(policy(), "p", [own(), api()], "exact", Costs())
    assert found is not None and found.quality == {}
    bare = made(replace(policy(), about={}), [own(), api()])
    assert bare.deployment.lacking() == ["escalated"]


def hybrid_run(location: str) -> dict[str, Any]:
    sides = {"cheap": {"model": "small", "location": "own"}, "strong": {"model": "big", "location": "remote"}}
    return {
        "location": location,
        "concurrency": 2,
        "prices": {"big/default": {"provenance": "declared"}},
        "hybrid": {**sides, "policy": {"kind": "cascade"}},
    }


SUMMARY = {
    "hybrid": {
        "cheap": "small",
        "strong": "big",
        "sent_to_strong": {"value": 0.2, "low": 0.15, "high": 0.26, "n": 200},
        "models": {"small": {"calls": 200, "seconds": 100.0}, "big": {"calls": 40, "usd": 0.8, "seconds": 40.0}},
    }
}


def test_a_run_that_asked_two_models() -> None:
    base = own("h", hour=2)
    whole = figure({"typical": 0.3, "provenance": "assumed"}, "throughput of h")
    base = replace(base, deployment=replace(base.deployment, docs_per_s=whole))
    found = of_run(base, hybrid_run("mixed"), SUMMARY, Costs()).deployment
    assert found.kind == "cascade" and found.usd_per_doc is not None and float(found.usd_per_doc.value) == 0.02
    assert found.usd_per_doc.provenance == "declared"
    assert found.docs_per_s is not None and found.docs_per_s.value == 4 and found.docs_per_s.provenance == "assumed"
    assert usd_per_day(found, Fraction(1000)) == 48 + 200 * Fraction("0.02")
    kept = of_run(own("h", hour=2, per_s=7), hybrid_run("mixed"), SUMMARY, Costs()).deployment
    assert kept.docs_per_s is not None and kept.docs_per_s.value == 7  # the user's word


def test_a_run_of_two_models_on_one_machine_is_its_own_throughput() -> None:
    found = of_run(own("h", hour=2), hybrid_run("own"), {}, Costs()).deployment
    assert found.lacking() == [] and usd_per_day(found, Fraction(1000)) == 48
    remote = replace(api("h", 0.03).deployment)
    both = of_run(replace(api("h", 0.03), deployment=remote), hybrid_run("remote"), {}, Costs()).deployment
    assert usd_per_day(both, Fraction(1000)) == 30 and both.kind == "cascade"
