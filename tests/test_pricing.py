"""Dollars: against sums done by hand, and what is not known stays unknown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.core import Call, Completion, Price, Timing, Usage
from evals.pricing import call_cost_usd, is_waste, machine_cost_usd, usage_cost_usd, weakest

PRICE = Price(
    name="m",
    input_usd_per_mtok=2.0,
    cache_read_usd_per_mtok=0.2,
    cache_write_usd_per_mtok=2.5,
    output_usd_per_mtok=10.0,
    longer=(
        Price(
            name="m",
            over_input_tokens=1000,
            input_usd_per_mtok=4.0,
            cache_read_usd_per_mtok=0.4,
            cache_write_usd_per_mtok=5.0,
            output_usd_per_mtok=15.0,
        ),
    ),
)
TOKENS = st.integers(0, 10**6)


@given(plain=TOKENS, read=TOKENS, write=TOKENS, out=TOKENS)
def test_each_kind_at_its_rate_and_a_long_prompt_at_the_long_rates(plain: int, read: int, write: int, out: int) -> None:
    usage = Usage(input_uncached=plain, cache_read=read, cache_write=write, output=out)
    rates = (4.0, 0.4, 5.0, 15.0) if plain + read + write > 1000 else (2.0, 0.2, 2.5, 10.0)
    expected = sum(t * r for t, r in zip((plain, read, write, out), rates, strict=True)) / 1e6
    assert math.isclose(usage_cost_usd(usage, PRICE) or 0.0, expected, abs_tol=1e-12)


def test_what_is_not_known_is_none_and_never_zero() -> None:
    whole = Usage(input_uncached=10, output=10)
    for usage, price in (
        (None, PRICE),
        (whole, None),
        (Usage(output=10), PRICE),
        (Usage(input_uncached=10), PRICE),
        (whole, Price(name="m", input_usd_per_mtok=1.0)),
    ):
        assert usage_cost_usd(usage, price) is None
    assert usage_cost_usd(Usage(input_uncached=0, output=0), PRICE) == 0.0
    assert machine_cost_usd(None, 1.0) is None and machine_cost_usd(1.0, None) is None
    assert machine_cost_usd(1800, 0.5) == 0.25


def test_cached_tokens_without_a_rate_of_their_own_cost_what_plain_ones_do() -> None:
    plain = Price(name="m", input_usd_per_mtok=1.0, output_usd_per_mtok=0.5)
    assert usage_cost_usd(Usage(input_uncached=0, cache_read=10**6, output=0), plain) == 1.0


def test_a_reply_is_billed_at_the_tier_that_it_reports() -> None:
    prices = {"default": PRICE, "flex": Price(name="m", input_usd_per_mtok=1.0, output_usd_per_mtok=1.0)}
    timing = Timing(started_at="", queued_s=0, ttft_s=None, total_s=1)

    def call(tier: str | None) -> Call:
        usage = Usage(input_uncached=100, output=100)
        served = {"tier": tier} if tier else {}
        done = Completion(text="", finish_reason="stop", usage=usage, served_by=served)
        return Call(role="answer", model="m", timing=timing, completion=done)

    assert call_cost_usd(call("flex"), prices) == pytest.approx(2e-4)
    assert call_cost_usd(call("strange"), prices) == call_cost_usd(call(None), prices) == pytest.approx(1.2e-3)
    failed = Call(role="retry", model="m", timing=timing, error="bad_body", usage=Usage(input_uncached=100, output=0))
    assert call_cost_usd(failed, prices) == pytest.approx(2e-4) and is_waste(failed) and not is_waste(call(None))


def test_the_weakest_factor_gives_the_provenance() -> None:
    assert weakest(["measured", "declared"]) == "declared" and weakest(["assumed", "measured"]) == "assumed"
