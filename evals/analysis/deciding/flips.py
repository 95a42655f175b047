"""Where the answer turns: volumes, prices, throughputs and shares at which another option takes over."""

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from evals.analysis.deciding.book import Book
from evals.analysis.deciding.constraints import feasible
from evals.analysis.deciding.figures import Figure
from evals.analysis.deciding.judging import Case, State, judged
from evals.analysis.deciding.options import Option
from evals.analysis.deciding.volume import bill

FACTORS = np.unique(np.concatenate([np.geomspace(0.05, 1, 60), np.geomspace(1, 20, 60)]))
"""Times its value that a figure is tried at."""
VOLUMES = [round(10 ** (at / 8)) for at in range(8 * 7 + 1)]
"""Volumes at which the recommendation is looked for; between two that differ it is halved in."""


def texts(given: Case, state: State) -> list[str]:
    """The flip conditions in words; the nearest one of each kind and direction."""
    if state.recommended is None:
        return []
    return [*of_volume(given, state), *of_figures(given.book, state), *_prices_that_open(given.book, state)]


def of_volume(given: Case, state: State) -> list[str]:
    """The nearest volumes above and below at which another option is recommended."""
    now, at = state.recommended, round(float(state.volume))
    found = []
    for way, volumes in (("from", [v for v in VOLUMES if v > at]), ("up to", [v for v in reversed(VOLUMES) if v < at])):
        last = at
        for volume in volumes:
            other = _recommended(given, volume)
            if other != now:
                edge, other = _halved(given, last, volume, now)
                who = "nothing is feasible" if other is None else f"{other} is recommended"
                found.append(f"volume: {who} {way} {edge:,} documents a day{_reason(given, now, edge)}")
                break
            last = volume
    return found


def _reason(given: Case, now: str | None, volume: int) -> str:
    """The budget that the recommended option breaks there, where it is that and not what others cost."""
    found = judged(given, Fraction(volume), float(volume)).found.get(str(now), ())
    return next((f" ({now}: {one.text})" for one in found if not one.met), "")


def _recommended(given: Case, volume: int) -> str | None:
    return judged(given, Fraction(volume), float(volume)).recommended


def _halved(given: Case, same: int, other: int, now: str | None) -> tuple[int, str | None]:
    """The volume nearest to `same` at which it is another one, and which; one of them, where there are several."""
    while abs(other - same) > 1:
        middle = (same + other) // 2
        if _recommended(given, middle) == now:
            same = middle
        else:
            other = middle
    return other, _recommended(given, other)


def of_figures(book: Book, state: State) -> list[str]:
    """For each figure the nearest value up and down at which a feasible option costs less than the recommended one, all
    others typical; the nearest first."""
    by = {one.name: one for one in book.options}
    rivals = [by[name] for name in _passing(state) if name != state.recommended]
    winner, volume = by[str(state.recommended)], float(state.volume)
    found: list[tuple[float, str]] = []
    for name, figure in book.figures.items():
        hits: dict[bool, tuple[float, str]] = {}
        for rival in rivals:
            if not {name} & {one.name for one in (*winner.deployment.figures(), *rival.deployment.figures())}:
                continue
            for factor in _crossings(book, winner, rival, figure, volume):
                up = factor > 1
                if up not in hits or abs(np.log(factor)) < abs(np.log(hits[up][0])):
                    hits[up] = (factor, rival.name)
        found += [(abs(np.log(hits[up][0])), _said(figure, *hits[up], up=up)) for up in (True, False) if up in hits]
    return [text for _, text in sorted(found)]


def _passing(state: State) -> list[str]:
    return [name for name, found in state.found.items() if feasible(found) and state.usd[name] is not None]


def _gap(book: Book, winner: Option, rival: Option, name: str, value: Any, volume: float) -> Any:
    """Dollars a day that the rival costs more."""
    sides = [book.with_value(one, name, value) for one in (winner, rival)]
    assert sides[0] is not None and sides[1] is not None
    return np.asarray(sides[1].usd(volume) - sides[0].usd(volume), np.float64) + np.zeros(np.shape(value))


def _crossings(book: Book, winner: Option, rival: Option, figure: Figure, volume: float) -> list[float]:
    """The nearest factor below and above 1 at which the rival costs less; none where it does so already."""
    value = float(figure.value)
    if value <= 0 or _gap(book, winner, rival, figure.name, value, volume) <= 0:
        return []
    factors = FACTORS if "share" not in figure.name else FACTORS[FACTORS * value <= 1]
    cheaper = _gap(book, winner, rival, figure.name, factors * value, volume) < 0
    here = int(np.searchsorted(factors, 1.0))
    found = []
    for side, edge in ((np.flatnonzero(cheaper[here:])[:1] + here, -1), (np.flatnonzero(cheaper[:here])[-1:], 1)):
        for at in side:
            low, high = float(factors[at]), float(factors[at + edge])
            for _ in range(40):
                middle = (low + high) / 2
                if _gap(book, winner, rival, figure.name, middle * value, volume) < 0:
                    low = middle
                else:
                    high = middle
            found.append(low)
    return found


def _said(figure: Figure, factor: float, rival: str, *, up: bool) -> str:
    way = "above" if up else "below"
    return f"{figure.name} {way} {amount(float(figure.value) * factor, figure.unit)} (now {amount(float(figure.value), figure.unit)}): {rival} costs less"


def amount(value: float, unit: str) -> str:
    """A value in its unit: `$0.0123 a document`."""
    number = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    if unit.startswith("$"):
        return f"${number} {unit.removeprefix('$/') and _article(unit) + unit.removeprefix('$/')}".strip()
    return f"{number} {unit}".strip()


def _article(unit: str) -> str:
    return "an " if unit.endswith("/hour") else "a "


def _prices_that_open(book: Book, state: State) -> list[str]:
    """For an option whose machine has no price: up to which price it would cost no more than the recommended one."""
    if state.recommended is None:
        return []
    volume, limit, found = Fraction(state.volume), state.usd[state.recommended], []
    for option in book.options:
        deployment = option.deployment
        if deployment.lacking() != ["usd_per_hour"] or not deployment.has_machine or limit is None:
            continue
        free = Figure(name="machine", value=Fraction(0))
        known = bill(replace(deployment, usd_per_hour=free))
        if known is None or known.capacity is None:
            continue
        left, replicas = Fraction(repr(limit)) - known.usd(volume), int(known.replicas(volume))
        if left > 0 and replicas:
            found.append(
                f"{option.name}: its machine has no price; up to {amount(float(left / replicas / 24), '$/hour')} a replica ({replicas} needed) it would cost no more than {state.recommended}"
            )
    return found
