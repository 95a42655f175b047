"""The dollars of all options under one set of draws, at any volume, with any figure at another value."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from evals.analysis.deciding.figures import Figure, draws_of
from evals.analysis.deciding.options import Option
from evals.analysis.deciding.volume import Bill, bill
from evals.errors import ConfigError
from evals.stats import Array


@dataclass(frozen=True, kw_only=True)
class Book:
    """Bills of options: exact, and drawn. Make it with `opened`."""

    options: Sequence[Option]
    exact: Mapping[str, Bill | None]
    drawn: Mapping[str, Bill | None]
    table: Mapping[str, "Array | float"]
    """Figure -> its draws, a number where nothing is said of its spread."""
    draws: int
    figures: Mapping[str, Figure] = field(default_factory=dict)

    def usd(self, option: str, volume: int | Fraction) -> Fraction | None:
        """Exact dollars of a day."""
        found = self.exact[option]
        return None if found is None else found.usd(Fraction(volume))

    def spent(self, option: str, volume: "Array | float") -> Array | None:
        """Draws of dollars of a day."""
        found = self.drawn[option]
        return None if found is None else np.asarray(found.usd(volume), np.float64) + np.zeros(self.draws)

    def with_value(self, option: Option, name: str, value: Any) -> Bill | None:
        """An option's bill with one figure at another value (a number or an array), the others typical. In floats."""
        return bill(option.deployment, lambda one: value if one.name == name else float(one.value))


def opened(options: Sequence[Option], draws: int, seed: int) -> Book:
    """Draw every figure once and make all bills."""
    figures: dict[str, Figure] = {}
    for one in (one for option in options for one in option.deployment.figures()):
        if figures.setdefault(one.name, one).value != one.value:
            values = " and ".join(f"{float(same.value):g}" for same in (figures[one.name], one))
            raise ConfigError(f"{one.name} has two values, {values}: give what differs different names")
    table = {name: draws_of(one, draws, seed) for name, one in figures.items()}
    return Book(
        options=options,
        exact={option.name: bill(option.deployment) for option in options},
        drawn={option.name: bill(option.deployment, lambda one: table[one.name]) for option in options},
        table=table,
        draws=draws,
        figures=figures,
    )
