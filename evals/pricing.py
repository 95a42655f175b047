"""Usage x dated price, machine-seconds x hourly price. Pure; an unknown factor makes the cost unknown, never 0."""

from collections.abc import Iterable, Mapping

from evals.core import Call, Price, Usage

ORDER = ("measured", "declared", "assumed")
STANDARD = "default"
"""The tier whose price holds where a reply names none, or one without a price of its own."""


def machine_cost_usd(busy_s: float | None, usd_per_hour: float | None) -> float | None:
    """Dollars of `busy_s` seconds of a machine, `None` where either is unknown."""
    return None if busy_s is None or usd_per_hour is None else busy_s / 3600 * usd_per_hour


def weakest(provenances: Iterable[str]) -> str:
    """The provenance of a result: the weakest of its factors (measured > declared > assumed)."""
    return max(provenances, key=ORDER.index)


def usage_cost_usd(usage: Usage | None, price: Price | None) -> float | None:
    """Dollars of one call: sum over token kinds of tokens / 1e6 x rate, at the rates of the prompt's length.

    `None` where input or output tokens are not reported, or a rate that is needed is not known. Cache kinds that are
    not reported were not used; without rates of their own they cost what plain input costs.
    """
    if usage is None or price is None or usage.input_uncached is None or usage.output is None:
        return None
    read, write = usage.cache_read or 0, usage.cache_write or 0
    rates = _rates(price, usage.input_uncached + read + write)
    plain = rates.input_usd_per_mtok
    parts = (
        (usage.input_uncached, plain),
        (read, plain if rates.cache_read_usd_per_mtok is None else rates.cache_read_usd_per_mtok),
        (write, plain if rates.cache_write_usd_per_mtok is None else rates.cache_write_usd_per_mtok),
        (usage.output, rates.output_usd_per_mtok),
    )
    if any(tokens and rate is None for tokens, rate in parts):
        return None
    return sum(tokens * (rate or 0.0) for tokens, rate in parts) / 1e6


def _rates(price: Price, prompt_tokens: int) -> Price:
    return next((tier for tier in reversed(price.longer) if prompt_tokens > tier.over_input_tokens), price)


def tier_price(prices: Mapping[str, Price] | None, tier: object) -> Price | None:
    """The price of the tier that a reply reports."""
    return (prices or {}).get(str(tier)) or (prices or {}).get(STANDARD)


def of_model(model: str, tier: str) -> str:
    """Key of one model's price in the snapshot of a run with several (a hybrid)."""
    return f"{model}/{tier}"


def own_prices(prices: Mapping[str, Price] | None, model: str) -> Mapping[str, Price] | None:
    """Tier -> price of one model's calls. Of a hybrid's snapshot (keys `model/tier`) what is this model's; empty: it is
    one's own machine's, billed by the hour and not by the call."""
    if prices is None or STANDARD in prices:
        return prices
    parts = [(key.rpartition("/"), price) for key, price in prices.items()]
    return {tier: price for (name, _, tier), price in parts if name == model}


def call_cost_usd(call: Call, prices: Mapping[str, Price] | None) -> float | None:
    """Dollars of one attempt as if it was bought now, at the tier that its reply reports; `None` where unknown, 0 for
    a call of a hybrid to a machine of one's own.

    Where no rate is known, the dollars that the harness which made the answer reports (`reported_usd` in its notes).
    """
    if (prices := own_prices(prices, call.model)) == {}:
        return 0.0
    if call.completion is None:
        return usage_cost_usd(call.usage, tier_price(prices, STANDARD))
    known = usage_cost_usd(call.completion.usage, tier_price(prices, call.completion.served_by.get("tier")))
    return call.completion.notes.get("reported_usd") if known is None else known


def is_waste(call: Call) -> bool:
    """Was the attempt paid for without an answer: failed, cut at max_tokens, refused?"""
    return call.completion is None or call.completion.finish_reason in ("length", "refusal", "content_filter")


def paid_here(call: Call) -> bool:
    """Did this run pay for the attempt? A cached one says in its notes when another run did; without, it was bought
    before an interruption of this very run."""
    return not call.cached or (call.completion is not None and "bought" not in call.completion.notes)
