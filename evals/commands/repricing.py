"""Costs of stored runs by other prices than their manifests': a machine's hours, or today's price list."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from evals import catalog
from evals.commands.prices import snapshot
from evals.core import Price
from evals.errors import ConfigError
from evals.store import plain

if TYPE_CHECKING:
    from evals.analysis.comparing.baseline import Side

OFFER = "reprice=true prices both at today's"


def todays(model: str, about: Mapping[str, Any]) -> dict[str, Price] | None:
    """Tier -> price of a run's model as its YAML and the installed price list say now; `None` for one's own machine.

    Raises `ConfigError` where no YAML of the model is here, or no price of it is known.
    """
    if about.get("hybrid"):
        raise ConfigError(
            f"reprice: {about.get('option')} is a hybrid, whose rows hold the tokens of two models: run it again for "
            "today's prices, or leave it out with runs=..."
        )
    try:
        spec = catalog.option("model", model)
    except ConfigError as error:
        raise ConfigError(f"reprice: {error}; without reprice=true the run's own prices are used") from None
    return snapshot(spec, processing=str(about.get("processing") or "online"))


def repriced(side: "Side", usd_per_hour: float | None, *, now: bool) -> "Side":
    """One side of a comparison with its costs made anew: own machines by `usd_per_hour`, the others by today's prices."""
    from evals.analysis.tables.priced import add_cost

    own = side.about["location"] == "own"
    option = str(side.about["option"])
    if own and usd_per_hour is not None:
        rows = side.rows.assign(location="own")
        return replace(side, rows=add_cost(rows, machines={option: usd_per_hour}))
    if own or not now:
        return side
    prices = todays(str(side.about["model"]), side.about)
    if prices is None:
        return side
    about = {**side.about, "prices": {tier: plain(price) for tier, price in prices.items()}}
    return replace(side, about=about, rows=add_cost(side.rows, prices={option: prices}))
