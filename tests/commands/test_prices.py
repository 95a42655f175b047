"""The price snapshot: the package's own arithmetic is the oracle; what is not known is refused in one line."""

from datetime import UTC, datetime
from typing import Any

import pytest

from evals import store
from evals.commands.prices import second_opinion, snapshot
from evals.core import Usage
from evals.errors import ConfigError
from evals.pricing import usage_cost_usd

REMOTE = {"name": "m", "location": "remote"}
PRICED = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-6.1-sol"),
    ("openai", "gpt-6-luna"),
    ("anthropic", "claude-opus-5-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("google", "gemini-2.5-pro"),
    ("mistral", "mistral-large-2512"),
]
CONTEXTS: dict[str, dict[str, str] | None] = {
    "default": None,
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "batch": {"processing": "batch"},
}


@pytest.mark.parametrize(("provider", "model"), PRICED)
def test_dollars_are_those_of_the_price_package(provider: str, model: str) -> None:
    import genai_prices

    found = snapshot({**REMOTE, "priced_as": {"provider": provider, "model": model}})
    assert found
    for tier, price in found.items():
        for plain, read, write, out in (
            (900, 0, 0, 100),
            (400, 500, 0, 7),
            (300_000, 0, 0, 50),
            (90_000, 15_000, 0, 9),
        ):
            theirs = genai_prices.calc_price(
                genai_prices.Usage(input_tokens=plain + read + write, cache_read_tokens=read, output_tokens=out),
                model_ref=model,
                provider_id=provider,
                genai_request_timestamp=datetime.now(UTC),
                price_context=CONTEXTS[tier],
            )
            ours = usage_cost_usd(Usage(input_uncached=plain, cache_read=read, cache_write=write, output=out), price)
            if read and price.cache_read_usd_per_mtok is None:
                continue  # theirs bills such tokens as plain input too, where it knows no rate
            assert ours == pytest.approx(float(theirs.total_price), rel=1e-9), (tier, plain, read)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "the price of m is not known; give model.price.input_usd_per_mtok="),
        ({"priced_as": {"provider": "openai", "model": "gpt-99"}}, "knows no price of openai/gpt-99"),
        ({"price": {"input_usd_per_mtok": 0, "output_usd_per_mtok": 1}}, "model.price.input_usd_per_mtok=0"),
        ({"price": {"input_usd_per_mtok": 1}}, "model.price.output_usd_per_mtok=None"),
        ({"price": {"input_usd_per_mtok": -1, "output_usd_per_mtok": 1}}, "at least 0"),
        ({"price": {"input_usd_per_mtok": "x", "output_usd_per_mtok": 1}}, "must be dollars"),
        ({"price": {"inputs": 1}}, "model.price.inputs is not known"),
    ],
)
def test_a_price_that_is_not_known_is_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        snapshot({**REMOTE, **spec})
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_declared_price_overrides_the_package_and_a_machine_of_ones_own_has_none() -> None:
    declared = {"input_usd_per_mtok": 1, "output_usd_per_mtok": 2, "source": "contract 17", "date": "2026-01-01"}
    spec = {**REMOTE, "price": declared, "priced_as": {"provider": "openai", "model": "gpt-4o"}}
    found = snapshot(spec)
    assert found and found["default"].output_usd_per_mtok == 2.0 and found["default"].source == "contract 17"
    assert snapshot({**spec, "location": "own"}) is None


def test_a_batch_is_billed_at_batch_rates_whatever_tier_is_reported() -> None:
    spec = {**REMOTE, "priced_as": {"provider": "anthropic", "model": "claude-opus-5-5"}}
    online, batch = snapshot(spec), snapshot(spec, processing="batch")
    assert online and batch and set(batch) == {"default"} and batch["default"] == online["batch"]
    with pytest.raises(ConfigError, match="no batch price of m is known"):
        snapshot({**REMOTE, "priced_as": {"provider": "groq", "model": "llama-3.3-70b-versatile"}}, processing="batch")


def test_a_snapshot_comes_back_from_the_manifest_as_it_was() -> None:
    import json

    found = snapshot({**REMOTE, "priced_as": {"provider": "openai", "model": "gpt-6.1-sol"}})
    assert found
    kept = json.loads(json.dumps({"prices": {tier: store.plain(price) for tier, price in found.items()}}))
    assert store.prices(kept) == found


def test_a_second_opinion_is_told_where_it_differs(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {**REMOTE, "_target_": "evals.models.litellm.LiteLLM", "id": "gemini/g"}
    spec["price"] = {"input_usd_per_mtok": 1.5, "output_usd_per_mtok": 7.5, "source": "a page"}
    prices = snapshot(spec)
    theirs = {"input_usd_per_mtok": 0.75, "output_usd_per_mtok": 7.5, "source": "litellm's map"}
    monkeypatch.setattr("evals.models.litellm.litellm_price", lambda model: theirs)
    told = second_opinion(spec, prices)
    assert told and "$1.5 but $0.75" in told and "a page is used" in told and "\n" not in told
    theirs["input_usd_per_mtok"] = 1.5
    assert second_opinion(spec, prices) is None and second_opinion({**spec, "_target_": "x"}, prices) is None
