"""What a remote model costs: a dated snapshot of prices, declared in its YAML or read from `genai-prices`.

Nothing is fetched: the package's own data of its installed version is read. An unknown price is the user's to declare
before the first call; a remote price of $0 is a mistake.
"""

import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from evals.commands.build import model_name
from evals.commands.sides import SIDES, is_hybrid
from evals.core import Price
from evals.errors import ConfigError
from evals.pricing import STANDARD, of_model

RATES = ("input_usd_per_mtok", "cache_read_usd_per_mtok", "cache_write_usd_per_mtok", "output_usd_per_mtok")
DECLARED = (*RATES, "source", "date")
TIERS = ("flex", "priority", "batch")
"""Ways of being served that are billed at rates of their own, where a provider has them."""
_KINDS = {rate: rate.replace("_usd_per_mtok", "_mtok") for rate in RATES}


def snapshot(spec: Mapping[str, Any], *, processing: str = "online") -> dict[str, Price] | None:
    """Tier -> price of the model that the YAML `spec` describes; `None` for a model of one's own machine. Of a hybrid
    `model/tier` -> price of its remote sides.

    With `processing="batch"` the batch rates stand under every name, since a batch's replies are billed at them.
    Raises `ConfigError` where the price is unknown, zero or negative.
    """
    if is_hybrid(spec):
        both = {model_name(spec[side]): snapshot(spec[side]) for side in SIDES if spec.get(side)}
        return {of_model(name, tier): p for name, one in both.items() for tier, p in (one or {}).items()} or None
    if spec.get("location") == "own":
        return None
    declared = _declared(spec)
    if declared:
        found = {STANDARD: declared}
    else:
        reference = spec.get("priced_as") or {}
        if not reference.get("model"):
            raise ConfigError(f"the price of {spec.get('name')} is not known; {_ways()}")
        found = _from_package(str(spec.get("name")), reference)
    if processing == "batch":
        if "batch" not in found and not declared:
            raise ConfigError(f"no batch price of {spec.get('name')} is known; {_ways()}")
        return {STANDARD: found.get("batch", found[STANDARD])}
    return found


def second_opinion(spec: Mapping[str, Any], prices: Mapping[str, Price] | None) -> str | None:
    """Where litellm's own map is installed and says another price of the model than `prices`: a line that says so."""
    if not prices or not spec.get("id") or not str(spec.get("_target_")).startswith("evals.models.litellm."):
        return None
    from evals.models.litellm import litellm_price

    other, ours = litellm_price(str(spec["id"])), prices[STANDARD]
    if other is None:
        return None
    pairs = [(getattr(ours, rate), other.get(rate)) for rate in ("input_usd_per_mtok", "output_usd_per_mtok")]
    if all(theirs is None or mine is None or abs(mine - theirs) <= 0.02 * mine for mine, theirs in pairs):
        return None
    said = " / ".join(f"${mine:g} {theirs and f'but ${theirs:g}'}" for mine, theirs in pairs)
    return f"prices disagree (input / output per million tokens): {said} by {other['source']}; {ours.source} is used"


def _ways() -> str:
    return (
        "give model.price.input_usd_per_mtok=... model.price.output_usd_per_mtok=..., "
        "or model.location=own with machine.usd_per_hour=... for a server of your own"
    )


def _declared(spec: Mapping[str, Any]) -> Price | None:
    given = {key: value for key, value in (spec.get("price") or {}).items() if value is not None}
    if strange := sorted(set(given) - set(DECLARED)):
        raise ConfigError(f"model.price.{strange[0]} is not known; known are {', '.join(DECLARED)}")
    rates = {key: given[key] for key in RATES if key in given}
    if not rates:
        return None
    for key, value in rates.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            raise ConfigError(f"model.price.{key}={value} must be dollars per million tokens, at least 0")
    for key in ("input_usd_per_mtok", "output_usd_per_mtok"):
        if not rates.get(key):
            raise ConfigError(
                f"model.price.{key}={rates.get(key)}: a remote model has a price of input and of output above 0"
            )
    about = {"source": str(given.get("source") or "declared by the user"), "date": str(given.get("date") or _today())}
    return Price(name=str(spec.get("name")), **{key: float(value) for key, value in rates.items()}, **about)  # type: ignore[arg-type]


def _today() -> str:
    return datetime.now(UTC).date().isoformat()


@functools.cache
def _model_info(provider: str, model: str) -> Any:
    try:
        from genai_prices import data_snapshot
    except ImportError:
        raise ConfigError("prices need the package genai-prices: pip install genai-prices") from None
    try:
        return data_snapshot.get_snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        raise ConfigError(
            f"genai-prices {metadata.version('genai-prices')} knows no price of {provider}/{model}; {_ways()}"
        ) from None


def _from_package(name: str, reference: Mapping[str, Any]) -> dict[str, Price]:
    info = _model_info(str(reference.get("provider")), str(reference["model"]))
    now = datetime.now(UTC)
    standard = info.get_prices(now)
    variants = {STANDARD: standard}
    for variant in info.price_variants or ():
        word = variant.when.get("service_tier") or ("batch" if variant.when.get("processing") == "batch" else None)
        if word in TIERS:
            variants[word] = info.get_prices(now, dict(variant.when))
    source = f"genai-prices {metadata.version('genai-prices')}: {reference.get('provider')}/{info.id}"
    return {word: _price(f"{name} ({word})", prices, source) for word, prices in variants.items()}


def _price(name: str, prices: Any, source: str) -> Price:
    """One `ModelPrice` as ours. A tiered rate starts above `start` prompt tokens and then holds for the whole call."""
    rates = {ours: getattr(prices, theirs, None) for ours, theirs in _KINDS.items()}
    starts = sorted({tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())})
    base = {ours: _rate(rate, 0) for ours, rate in rates.items()}
    if not base["input_usd_per_mtok"] or not base["output_usd_per_mtok"]:
        raise ConfigError(f"{source} holds no price of input and output above 0; {_ways()}")
    longer = tuple(
        Price(name=name, over_input_tokens=start, **{ours: _rate(rate, start) for ours, rate in rates.items()})  # type: ignore[arg-type]
        for start in starts
    )
    return Price(name=name, **base, longer=longer, source=source, date=_today())  # type: ignore[arg-type]


def _rate(rate: Any, over: int) -> float | None:
    """The rate for prompts of more than `over` tokens."""
    if rate is None or not hasattr(rate, "tiers"):
        return None if rate is None else float(rate)
    reached = [tier.price for tier in sorted(rate.tiers, key=lambda tier: tier.start) if tier.start <= over]
    return float(reached[-1] if over and reached else rate.base)
