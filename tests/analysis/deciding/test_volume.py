"""Cost at volume: the formulas by hand, exact dollars, and that what is unknown is never free."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_options import api, made, own

from evals.analysis.deciding.options import Costs
from evals.analysis.deciding.volume import bill, escalated_docs, usd_per_day
from evals.errors import ConfigError


def usd(option, volume: int) -> Fraction | None:  # type: ignore[no-untyped-def]
    found: Fraction | None = usd_per_day(option.deployment, Fraction(volume))
    return found


def test_the_founding_example_to_the_cent() -> None:
    hybrid = made(
        "hybrid", "cascade", usd_per_doc=0.3, escalated="2/15", machine={"usd_per_day": 50}, docs_per_day=100_000
    )
    assert usd(api(price=0.30), 500) == 150 and usd(api(price=0.30), 5000) == 1500
    assert usd(hybrid, 5000) == 250
    sent = escalated_docs(hybrid.deployment, Fraction(5000))
    assert sent is not None and round(sent) == 667


@given(
    volume=st.integers(1, 10**7),
    rate=st.fractions(Fraction(1, 100), 50, max_denominator=100),
    share=st.fractions(0, 1, max_denominator=50),
    least=st.integers(0, 4),
    spare=st.integers(0, 2),
)
def test_each_kind_against_its_formula(volume: int, rate: Fraction, share: Fraction, least: int, spare: int) -> None:
    costs = Costs(sides={"own": {"setup_usd": 1200}, "hybrid": {"setup_usd": 1200}}, min_replicas=least, spare=spare)
    keys = {"machine": {"usd_per_hour": 2}, "docs_per_s": str(rate), "usd_per_doc": "0.01", "escalated": str(share)}
    cascade, preroute = (made(kind, kind, costs, **keys) for kind in ("cascade", "preroute"))
    local = made("local", "local", costs, machine=keys["machine"], docs_per_s=keys["docs_per_s"])
    carried = 86_400 * rate * Fraction(7, 10) / 3
    fixed = Fraction(1200) / 12 / Fraction(365, 12)

    def replicas(documents: Fraction) -> int:
        return max(least, math.ceil(documents / carried)) + spare

    assert usd(local, volume) == fixed + replicas(Fraction(volume)) * 48
    assert usd(cascade, volume) == fixed + replicas(Fraction(volume)) * 48 + share * volume / 100
    seen = (1 - share) * volume
    assert usd(preroute, volume) == fixed + replicas(seen) * 48 + share * volume / 100


def test_two_models_on_one_machine_share_its_seconds() -> None:
    from dataclasses import replace

    cheap, strong = own("cheap", per_s=4).deployment, own("strong", per_s=1).deployment
    share = made("x", "cascade", usd_per_doc=1, escalated=0.25, machine={"usd_per_day": 1}, docs_per_day=9).deployment
    both = replace(
        cheap,
        kind="cascade",
        api=False,
        strong_docs_per_s=strong.docs_per_s,
        escalated=share.escalated,
        usd_per_doc=None,
    )
    known = bill(both)  # a document takes 1/4 + 1/4 of a second
    assert known is not None and known.capacity == 86_400 * 2 * Fraction(7, 10) / 3
    before = bill(replace(both, kind="preroute"))  # 3/4 of them 1/4 s, 1/4 of them 1 s
    assert before is not None and before.capacity == 86_400 / Fraction(7, 16) * Fraction(7, 30)


def test_two_apis_add_up() -> None:
    from dataclasses import replace

    share = made("x", "cascade", usd_per_doc=1, escalated=0.25, machine={"usd_per_day": 1}, docs_per_day=9).deployment
    both = replace(
        api(price=0.1).deployment,
        kind="cascade",
        machine=False,
        escalated=share.escalated,
        cheap_usd_per_doc=api("cheap", 0.01).deployment.usd_per_doc,
    )
    assert usd_per_day(both, Fraction(100)) == Fraction(100, 100) + 25 * Fraction(1, 10)


def test_doubling_the_machine_price_and_halving_throughput_doubles_dollars() -> None:
    for volume in (9_000, 123_457, 5_000_000):
        base, dear, slow = (usd(own(hour=hour, per_s=rate), volume) for hour, rate in ((1, 1), (2, 1), (1, 0.5)))
        assert base is not None and dear == 2 * base
        assert slow is not None and abs(slow - 2 * base) <= 24  # within one machine's day: a staircase
    exact = 20_160  # what one machine carries
    assert usd(own(per_s=0.5), exact) == 2 * usd(own(per_s=1), exact)  # type: ignore[operator]


@pytest.mark.parametrize("gone", ["usd_per_hour", "docs_per_s"])
def test_what_is_not_known_is_never_free(gone: str) -> None:
    option = own(hour=None) if gone == "usd_per_hour" else own(per_s=None)
    assert usd(option, 5000) is None and option.deployment.lacking() == [gone]
    assert option.deployment.provenance is None
    assert usd(api(price=None), 5000) is None


def test_provenance_is_the_weakest_of_the_factors() -> None:
    measured = {"typical": 1, "provenance": "measured"}
    assert own(hour=measured, per_s=measured).deployment.provenance == "measured"
    assert own(hour=1, per_s=measured).deployment.provenance == "declared"
    assert own(hour=1, per_s={"typical": 1, "provenance": "assumed"}).deployment.provenance == "assumed"


def test_people_and_judges_cost_a_document() -> None:
    costs = Costs(review={"share": 0.1, "minutes": 6, "usd_per_hour": 40}, judge_usd_per_doc="0.002")
    found = made("api", "api", costs, usd_per_doc="0.01")
    assert usd(found, 1000) == 10 + 2 + 100 * 4


def test_operations_hours_cost_their_rate() -> None:
    costs = Costs(sides={"own": {"ops_hours_per_month": 20, "monitoring_usd_per_month": 30}}, usd_per_ops_hour=90)
    without = usd(own(), 5000)
    assert without is not None and usd(own(costs=costs), 5000) == without + Fraction(1800 + 30) / Fraction(365, 12)
    assert "own.setup_usd" in costs.not_counted(["local"]) and "own.ops_hours_per_month" not in costs.not_counted(
        ["local"]
    )


def test_draws_are_the_same_bill() -> None:
    found = own().deployment
    volumes = np.array([1.0, 20_160.0, 20_161.0, 1e6])
    drawn = bill(found, lambda one: float(one.value))
    exact = bill(found)
    assert drawn is not None and exact is not None
    assert list(drawn.usd(volumes)) == [float(exact.usd(Fraction(v))) for v in volumes]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"kind": "magic"}, "options.x.kind=magic is not known"),
        ({"kind": "api", "usd_per_doc": "a lot"}, "options.x.usd_per_doc='a lot' should be a number"),
        ({"kind": "api", "usd_per_doc": -1}, "options.x.usd_per_doc=-1 must be at least 0"),
        ({"kind": "cascade", "escalated": 1.2}, "options.x.escalated=1.2 must be in 0..1"),
        ({"kind": "api", "usd_per_dok": 1}, "options.x.usd_per_dok is not known; did you mean usd_per_doc"),
        ({"kind": "local", "machine": {"price": 3}}, "options.x.machine.price is not known"),
        ({"kind": "local", "machine": 3}, "options.x.machine holds name"),
        ({"kind": "api", "usd_per_doc": {"low": 3, "typical": 2, "high": 4}}, "do not rise"),
        ({"kind": "api", "usd_per_doc": {"low": 1, "typical": 2}}, "low and high go together"),
        ({"kind": "api", "usd_per_doc": {"typical": 2, "provenance": "heard"}}, "provenance=heard is not known"),
        ({"kind": "api", "usd_per_doc": {"tipical": 2}}, "did you mean typical"),
        ({"kind": "api", "usd_per_doc": "1/0"}, "should be a number"),
    ],
)
def test_mistakes_name_the_option_and_the_key(given: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says.replace("(", r"\(")):
        made("x", **given)  # type: ignore[arg-type]
