"""One number that a decision rests on: its value, what it may also be, and where it is from.

Declared figures stay exact (`fractions.Fraction`), so that dollars agree to the cent; draws of them are floats.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from evals.catalog import nearest
from evals.errors import ConfigError
from evals.pricing import ORDER, weakest
from evals.stats import Array

KEYS = ("low", "typical", "high", "provenance", "source", "date")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A factor of a cost. Figures of one name are one fact (the price of a machine that two options run on): they are
    drawn once, so that options which share them rise and fall together."""

    name: str
    value: Fraction
    low: float | None = None
    high: float | None = None
    """With `low`, what it may also be: low and high of a declared figure, the 95 % interval of a measured one."""
    unit: str = ""
    provenance: str = "declared"
    source: str | None = None
    date: str | None = None
    drawn: Array | None = None
    """Draws that belong to others' (a bootstrap of documents); else they are made from low and high."""

    @property
    def told(self) -> dict[str, Any]:
        """As plain data."""
        parts = {"name": self.name, "value": float(self.value), "low": self.low, "high": self.high}
        parts["unit"] = self.unit
        return {**parts, "provenance": self.provenance, "source": self.source, "date": self.date}


def exact(value: Any, where: str) -> Fraction:
    """A number as it is written: 0.0055 is 11/2000, "2/15" is two fifteenths. Raises `ConfigError`."""
    try:
        if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
            raise ValueError
        found = value if isinstance(value, Fraction) else Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        raise ConfigError(f'{where}={value!r} should be a number, such as 0.3 or "2/15"') from None
    return found


def figure(
    given: Any, name: str, *, unit: str = "", where: str | None = None, least: float = 0.0, most: float = math.inf
) -> Figure | None:
    """A number, or `{low, typical, high, provenance, source, date}`, as a figure; `None` where it is null.

    Raises `ConfigError` where it is no number, lies outside `least..most`, or low, typical and high do not rise.
    """
    place = where or name
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return _bounded(Figure(name=name, unit=unit, value=exact(given, place)), place, least, most)
    if strange := sorted(map(str, set(given) - set(KEYS))):
        raise ConfigError(f"{place}.{strange[0]} is not known{nearest(strange[0], KEYS)}")
    if given.get("typical") is None:
        return None
    provenance = given.get("provenance") or "declared"
    if provenance not in ORDER:
        raise ConfigError(f"{place}.provenance={provenance} is not known; known are {', '.join(ORDER)}")
    ends: dict[str, Any] = {
        end: None if given.get(end) is None else float(exact(given[end], f"{place}.{end}")) for end in ("low", "high")
    }
    if (ends["low"] is None) != (ends["high"] is None):
        raise ConfigError(f"{place}: low and high go together")
    about: dict[str, Any] = {key: None if given.get(key) is None else str(given[key]) for key in ("source", "date")}
    value = exact(given["typical"], f"{place}.typical")
    found = Figure(name=name, unit=unit, value=value, provenance=provenance, **ends, **about)
    return _bounded(found, place, least, most)


def _bounded(found: Figure, place: str, least: float, most: float) -> Figure:
    low, high = (found.value if end is None else end for end in (found.low, found.high))
    if not low <= found.value <= high:
        raise ConfigError(
            f"{place}: low {float(low):g}, typical {float(found.value):g}, high {float(high):g} do not rise"
        )
    if low < least or high > most:
        bounds = f"at least {least:g}" if math.isinf(most) else f"in {least:g}..{most:g}"
        raise ConfigError(f"{place}={float(found.value):g} must be {bounds}")
    return found


def measured(name: str, value: float, *, drawn: Array | None = None, **more: Any) -> Figure:
    """A measured figure; its interval is that of its draws."""
    low, high = more.pop("low", None), more.pop("high", None)
    if drawn is not None and low is None and np.isfinite(drawn).all():
        low, high = (float(end) for end in np.quantile(drawn, [0.025, 0.975]))
    provenance = more.pop("provenance", "measured")
    return Figure(
        name=name, value=Fraction(repr(float(value))), low=low, high=high, drawn=drawn, provenance=provenance, **more
    )


def draws_of(found: Figure, draws: int, seed: int) -> "Array | float":
    """`draws` values of a figure, those of a bootstrap where it has them; a number where nothing is said of its spread.

    Measured: two normal halves whose 95 % interval is low..high, never below 0. Declared: triangular over low, typical,
    high. The seed is joined by the name, so that a figure's draws do not depend on which others there are.
    """
    value = float(found.value)
    if found.drawn is not None:
        return found.drawn
    if found.low is None or found.high is None or found.low == found.high:
        return value
    random = np.random.default_rng([seed, *found.name.encode()])
    if found.provenance == "measured":
        z = random.standard_normal(draws) / 1.959964
        return np.maximum(value + np.where(z < 0, value - found.low, found.high - value) * z, 0.0)
    return random.triangular(found.low, value, found.high, draws)


def provenance_of(figures: Iterable[Figure | None]) -> str | None:
    """The weakest of the factors; `None` where one is not known."""
    found = list(figures)
    return None if not found or any(one is None for one in found) else weakest(one.provenance for one in found if one)


def scaled(found: Figure | None, by: Fraction, name: str | None = None) -> Figure | None:
    """A figure times a constant: hours into days, months into days."""
    if found is None:
        return None
    ends: dict[str, Any] = {
        end: None if (value := getattr(found, end)) is None else value * float(by) for end in ("low", "high")
    }
    drawn = None if found.drawn is None else found.drawn * float(by)
    return replace(
        found, name=name or found.name, value=found.value * by, drawn=drawn, low=ends["low"], high=ends["high"]
    )
