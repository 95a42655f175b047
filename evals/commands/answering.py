"""Settings -> the engine that answers: limits, budget, response cache, who may see what, and what progress shows."""

import math
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from evals.commands.settings.run import BudgetSettings, RunSettings
from evals.commands.sides import parts
from evals.core import Call, Price, Record, Request, Usage
from evals.engine.budget import Budget, Spent
from evals.engine.cache import ResponseCache
from evals.engine.egress import Egress
from evals.engine.generate import Engine
from evals.engine.limits import Limiter
from evals.engine.means import Means
from evals.errors import ConfigError
from evals.models.base import Model, Router
from evals.models.weights import cache_root
from evals.policy import forbidden
from evals.pricing import STANDARD, call_cost_usd, own_prices, paid_here, tier_price, usage_cost_usd

WIRE_CONCURRENCY = 8
WIRE_ATTEMPT_TIMEOUT_S = 60.0
DEADLINE_S = 900.0
"""Of a document, where `timeout_s` is null."""


def account(model: Model) -> str | None:
    """Whose limits the model's calls count against; `None` for a model in this process or a child of it."""
    return getattr(model, "account", None)


def wire(model: Model | Router) -> bool:
    """Is any of it reached over a network?"""
    return any(account(one) for one in (model.models.values() if isinstance(model, Router) else [model]))


def capacity(facts: Mapping[str, Any]) -> int | None:
    """Requests that a library in this machine takes at once, as it said when it was started; `None`: it said nothing."""
    at_once = (facts.get("capacity") or {}).get("at_once")
    return None if at_once is None else int(at_once)


def concurrency(settings: RunSettings, facts: Mapping[str, Any]) -> int:
    """Documents in flight: what is said; else all that a library in this machine takes at once (`facts`: what `start` said),
    one where a server of one's own answers (llama-cpp-python's drops an answer when the next request comes), and a few
    elsewhere. Of a hybrid: what the larger of its own sides takes."""
    if settings.concurrency is not None:
        return settings.concurrency
    sides = parts(settings)
    own = {key: one for key, one in (sides or {"": settings}).items() if one.model.get("location") == "own"}
    if not own:
        return WIRE_CONCURRENCY
    if any(one.model.get("base_url") for one in own.values()):
        return 1
    return max(capacity((facts.get(key) or {}) if sides else facts) or 1 for key in own)


def deadline_s(settings: RunSettings, model: Model | Router, under_way: int) -> float:
    """Seconds that a document may take with all its attempts: what is said; else `DEADLINE_S`, and in this machine, whose
    time those that are under way together share, as much for each of them. A library that decodes several together and hangs
    is found out sooner (`engine.worker_child`)."""
    if settings.timeout_s is not None:
        return settings.timeout_s
    sides = model.models.values() if isinstance(model, Router) else [model]
    return DEADLINE_S * (1 if all(account(one) for one in sides) else max(1, under_way))


def limits(settings: RunSettings, model: Model) -> dict[str, Any]:
    """How attempts at this model are made: fields of `Means` but for its cache, budget and ledger."""
    wire = account(model)
    cut = settings.attempt_timeout_s or (WIRE_ATTEMPT_TIMEOUT_S if wire else None)
    spec = settings.model

    def forbid(request: Request) -> str | None:
        return forbidden(request.data_class, location=spec.get("location"), terms=spec.get("terms"))

    return {
        "attempts": settings.attempts,
        "attempt_timeout_s": cut,
        "forbid": None if spec.get("location") == "own" else forbid,
        "limiter": Limiter(
            wire or "",
            requests_per_min=settings.requests_per_min,
            tokens_per_min=settings.tokens_per_min,
            folder=cache_root() if wire else None,
        ),
    }


def response_cache(settings: RunSettings, model: Model, run: str, facts: Mapping[str, Any]) -> ResponseCache | None:
    """The cache of replies: for models that cost money, or where the user asks to be served from it."""
    if settings.cache == "off" or not (account(model) or settings.cache == "read"):
        return None
    return ResponseCache(cache_root() / "responses.sqlite", identity=facts, run=run, mode=settings.cache)


def budget(settings: RunSettings, prices: Mapping[str, Price] | None, spent: Spent) -> Budget | None:
    """The run's limits in dollars, tokens and minutes; what its earlier sessions used counts."""
    said = settings.budget
    if said.usd is None and said.tokens is None and said.minutes is None:
        return None
    price = tier_price(prices, STANDARD)
    if said.usd is not None and price is None:
        return Budget(tokens=said.tokens, minutes=_machine_minutes(settings, said), spent=spent)

    def cost(usage: Usage) -> float | None:
        return usage_cost_usd(usage, price)

    return Budget(usd=said.usd, tokens=said.tokens, minutes=said.minutes, cost=cost, spent=spent)


def _machine_minutes(settings: RunSettings, said: BudgetSettings) -> float:
    """Minutes that the dollars buy of a machine of one's own."""
    rate = settings.machine.get("usd_per_hour")
    if not rate or said.usd is None:
        raise ConfigError(f"budget.usd={said.usd:g} needs a price: say machine.usd_per_hour=..., or budget.minutes=...")
    return min(said.usd / float(rate) * 60, said.minutes or math.inf)


def asking(
    settings: RunSettings,
    model: Model | Router,
    *,
    caches: Mapping[str, ResponseCache],
    prices: Mapping[str, Price] | None,
    spent: Spent,
    egress: Egress,
) -> dict[str, Any]:
    """Keyword arguments of the engine that say how its model is asked, or each of a hybrid's."""
    if not isinstance(model, Router):
        means = _means(settings, model, caches.get(""), budget(settings, prices, spent), egress)
        return {name: getattr(means, name) for name in Means.__dataclass_fields__}
    sides = parts(settings)
    budgets = _budgets(settings, {key: one.name for key, one in model.models.items()}, prices, spent)
    return {
        "means": {
            key: _means(sides[key], one, caches.get(key), budgets[key], egress) for key, one in model.models.items()
        }
    }


def _means(
    settings: RunSettings, model: Model, cache: ResponseCache | None, spending: Budget | None, egress: Egress
) -> Means:
    return Means(cache=cache, budget=spending, on_send=leaving(settings, model, egress), **limits(settings, model))


def leaving(settings: RunSettings, model: Model, egress: Egress) -> Callable[[Request], None] | None:
    """What keeps the ledger of what goes to this model; `None` for one's own infrastructure."""
    if settings.model.get("location") == "own":
        return None
    return egress.to(str(getattr(model, "host", None) or model.name), model.name)


def _budgets(
    settings: RunSettings, names: Mapping[str, str], prices: Mapping[str, Price] | None, spent: Spent
) -> dict[str, Budget | None]:
    """One budget for both sides of a hybrid, each at its own prices; a machine of one's own is not billed by the call, but
    for the hours of the run. Where it has no price, a budget in dollars is that of the API alone, which is said."""
    if prices is None:
        return dict.fromkeys(names, budget(settings, prices, spent))
    said = settings.budget
    if said.usd is None and said.tokens is None and said.minutes is None:
        return dict.fromkeys(names, None)
    own = any(parts(settings)[key].model.get("location") == "own" for key in names)
    rate = settings.machine.get("usd_per_hour") if own else 0.0
    if said.usd is not None and rate is None:
        print(
            f"budget.usd={said.usd:g} counts what the API bills alone: the machine has no price (machine.usd_per_hour=...)",
            file=sys.stderr,
        )
    whole = Budget(
        usd=said.usd,
        tokens=said.tokens,
        minutes=said.minutes,
        cost=lambda _: 0.0,
        spent=spent,
        usd_per_hour=float(rate or 0.0),
    )
    return {key: whole.shared(_cost(own_prices(prices, name) or None)) for key, name in names.items()}


def _cost(prices: Mapping[str, Price] | None) -> Callable[[Usage], float | None]:
    price = tier_price(prices, STANDARD)
    return (lambda usage: usage_cost_usd(usage, price)) if price else (lambda _: 0.0)


def response_caches(
    settings: RunSettings, model: Model | Router, run: str, facts: Mapping[str, Any]
) -> dict[str, ResponseCache]:
    """The cache of replies of each model, "" for the only one; `facts`: what `start` said of it."""
    if not isinstance(model, Router):
        one = response_cache(settings, model, run, facts)
        return {"": one} if one else {}
    sides = parts(settings)
    found = {key: response_cache(sides[key], one, run, facts[key]) for key, one in model.models.items()}
    return {key: cache for key, cache in found.items() if cache}


def spent_before(records: Iterable[Record], prices: Mapping[str, Price] | None) -> Spent:
    """What the calls of earlier sessions used."""
    calls = [call for record in records for call in record.calls if paid_here(call)]
    usages = [call.completion.usage if call.completion else call.usage for call in calls]
    return Spent(
        usd=sum(call_cost_usd(call, prices) or 0.0 for call in calls),
        tokens=sum(_tokens(usage) for usage in usages if usage),
        seconds=sum(call.timing.total_s / max(call.in_flight, 1) for call in calls if call.timing),
    )


def _tokens(usage: Usage) -> int:
    return sum(part or 0 for part in (usage.input_uncached, usage.cache_read, usage.cache_write, usage.output))


@dataclass
class Watch:
    """What progress shows beside the count: dollars so far and to come, calls in flight, waits, errors by kind."""

    prices: Mapping[str, Price] | None
    usd: float = 0.0
    engine: Engine | None = None
    shown: Any = None

    def on_call(self, call: Call) -> None:
        """Count an attempt's dollars."""
        if self.prices and paid_here(call):
            self.usd += call_cost_usd(call, self.prices) or 0.0

    def status(self) -> str:
        """One line, empty where there is nothing to say."""
        parts = []
        if self.prices:
            done, total = self.shown.done, self.shown.total
            to_come = f" of about ${self.usd / done * total:,.2f}" if done and total else ""
            parts.append(f"${self.usd:,.2f}{to_come}")
        if self.engine is not None and self.engine.concurrency > 1:
            now = self.engine.counters()
            parts.append(f"{now.in_flight} in flight")
            parts += [f"{now.waiting} waiting for a limit"] if now.waiting else []
            parts += [f"{now.backing_off} to be repeated"] if now.backing_off else []
            parts += [f"{count} {kind}" for kind, count in now.errors.items()]
        return ", ".join(parts)
