"""Every option's checks at one volume, and the choice among those that pass."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.analysis.deciding.book import Book, opened
from evals.analysis.deciding.constraints import SURE, Check, Limits, budgets, feasible, in_order, standing
from evals.analysis.deciding.figures import Figure
from evals.analysis.deciding.options import Option
from evals.analysis.deciding.volume import DAYS_A_MONTH, PARTS
from evals.stats import Array

SWEEP = tuple(round(10 ** (2 + 5 * at / 19)) for at in range(20))
"""Twenty volumes from 100 to 10 million documents a day."""
LEVEL = (0.025, 0.975)
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is asked for."""

    volume: Figure
    limits: Limits = field(default_factory=Limits)
    metric: str = "f1"
    sweep: Sequence[int] = SWEEP
    draws: int = 2000
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class State:
    """What holds at one volume: the checks of each option, and who is chosen."""

    volume: Any
    found: Mapping[str, Sequence[Check]]
    spent: Mapping[str, Array | None]
    usd: Mapping[str, float | None]
    recommended: str | None
    runner_up: str | None
    cheapest: str | None
    """By typical dollars, of those that are feasible."""
    p_cheapest: Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is asked of which options, with everything that no volume changes."""

    book: Book
    ask: Ask
    standing: Mapping[str, Sequence[Check]]
    """Every check but those of the budget."""
    keeps: Mapping[str, Mask]
    """Per draw: does the option hold them?"""

    @property
    def options(self) -> Sequence[Option]:
        """The options."""
        return self.book.options


def case(options: Sequence[Option], ask: Ask) -> Case:
    """Draw everything once, and check what no volume changes."""
    told = {option.name: standing(option, ask.limits) for option in options}
    keeps = {option.name: _keeps(option, told[option.name], ask) for option in options}
    return Case(book=opened(options, ask.draws, ask.seed), ask=ask, standing=told, keeps=keeps)


def judged(given: Case, volume: Fraction, drawn: "Array | float") -> State:
    """Every option's checks at a volume, and the choice among those that pass."""
    book, found, spent, usd = given.book, {}, {}, {}
    for option in given.options:
        name = option.name
        spent[name] = book.spent(name, drawn)
        exact = book.usd(name, volume)
        usd[name] = None if exact is None else float(exact)
        money = budgets(given.ask.limits, lambda by, name=name: book.spent(name, drawn * by))  # type: ignore[misc]
        found[name] = in_order([*given.standing[name], *money])
    passing = [one for one in given.options if feasible(found[one.name]) and usd[one.name] is not None]
    first = choose(passing, usd, spent)
    rest = [one for one in passing if one.name != first]
    return State(
        volume=volume,
        found=found,
        spent=spent,
        usd=usd,
        recommended=first,
        runner_up=choose(rest, usd, spent),
        cheapest=min(passing, key=lambda one: usd[one.name] or 0.0).name if passing else None,
        p_cheapest=_p_cheapest(given, spent, drawn),
    )


def choose(passing: Sequence[Option], usd: Mapping[str, float | None], spent: Mapping[str, Array | None]) -> str | None:
    """The least dollars; of those inside the interval of the cheapest (whose extra cost may be 0), fewest moving parts.
    Of those, the cheapest; of those that cost the same, the better."""
    if not passing:
        return None
    least = min(passing, key=lambda one: usd[one.name] or 0.0)
    base: Any = spent[least.name]
    inside = [one for one in passing if float(np.quantile(np.asarray(spent[one.name]) - base, LEVEL[0])) <= 1e-9]
    return min(inside, key=lambda one: _rank(one, usd)).name


def _rank(one: Option, usd: Mapping[str, float | None]) -> tuple[int, float, float, str]:
    """Fewer moving parts, then fewer dollars; of those that cost the same to the cent, the better."""
    proof = next(iter(one.quality.values()), None)
    return PARTS[one.deployment.kind], round(usd[one.name] or 0.0, 2), -(proof.value if proof else 0.0), one.name


def _p_cheapest(given: Case, spent: Mapping[str, Array | None], drawn: "Array | float") -> dict[str, float | None]:
    """The share of draws in which an option costs least of those that hold every constraint in that draw: quality by
    its paired draws, p95 by draws of the share in time, the budget by its dollars, the rest as it is told. Who costs the
    same shares the draw."""
    prices = []
    for option in given.options:
        cost = spent[option.name]
        keeps = given.keeps[option.name] & _affords(given, option.name, drawn)
        prices.append(np.full(given.ask.draws, np.inf) if cost is None else np.where(keeps, cost, np.inf))
    table = np.stack(prices)
    least = table.min(axis=0)
    wins = (table <= least + 1e-9 * np.where(np.isfinite(least), np.abs(least), 0)) & np.isfinite(table)
    shares = (wins / np.maximum(wins.sum(axis=0), 1)).mean(axis=1)
    return {
        one.name: None if spent[one.name] is None else float(share)
        for one, share in zip(given.options, shares, strict=True)
    }


def _affords(given: Case, name: str, drawn: "Array | float") -> Mask:
    limits, keeps = given.ask.limits, np.ones(given.ask.draws, bool)
    for limit, days in ((limits.usd_per_day, 1.0), (limits.usd_per_month, float(DAYS_A_MONTH))):
        for factor in dict.fromkeys((1.0, limits.growth)):
            cost = None if limit is None else given.book.spent(name, drawn * factor)
            if limit is not None and cost is not None:
                keeps &= cost * days <= limit + 1e-9
    return keeps


def _keeps(option: Option, found: Sequence[Check], ask: Ask) -> Mask:
    keeps = np.ones(ask.draws, bool)
    for one in found:
        proof = option.quality.get(one.key.removeprefix("min.")) if one.name == "quality" else None
        if proof is not None and proof.drawn is not None:
            keeps &= proof.drawn >= one.limit
        elif one.name == "latency" and option.seconds is not None:
            keeps &= _in_time(option.seconds, one.limit, ask)
        elif not one.met:
            keeps &= False
    return keeps


def _in_time(seconds: Array, limit: float, ask: Ask) -> Mask:
    """Draws of whether 95 % are answered in time: the share has Jeffreys' posterior (Brown, Cai & DasGupta 2001)."""
    within = int((seconds <= limit).sum())
    random = np.random.default_rng([ask.seed, len(seconds), within])
    return np.asarray(random.beta(within + 0.5, len(seconds) - within + 0.5, ask.draws) >= SURE)
