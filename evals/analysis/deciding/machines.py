"""What an hour of a machine costs: rented, as the run said, or of hardware that was bought."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from evals.analysis.deciding.figures import Figure, exact, figure
from evals.errors import ConfigError

HOURS_A_YEAR = 8760
BOUGHT = ("price_usd", "years", "watts", "usd_per_kwh")


def machine_price(machine: Mapping[str, Any], about: Mapping[str, Any] = {}) -> Figure | None:
    """The hourly price of the machine that is chosen, else the one that the run was made with (`about`: its manifest).

    `machine`: `usd_per_hour`, with `_low` and `_high`; or what was bought: `price_usd, years, watts, usd_per_kwh`.
    `None` where nothing is declared: a machine without a price is not free.
    """
    own = about.get("machine") or {}
    if (found := _rented(machine)) or (found := _bought(machine)):
        return found
    told = _rented(own)
    # as each run said: machines of one name may have had several prices
    return None if told is None else replace(told, name=f"{told.name} at {own['usd_per_hour']}")


def _rented(machine: Mapping[str, Any]) -> Figure | None:
    if machine.get("usd_per_hour") is None:
        return None
    given = {"typical": machine["usd_per_hour"], "source": machine.get("source"), "date": machine.get("date")}
    ends = {end: machine.get(f"usd_per_hour_{end}") for end in ("low", "high")}
    if any(end is None for end in ends.values()) or not _around(given["typical"], ends):
        ends = {}  # a range of the YAML says nothing of a price that the user gave
    return figure({**given, **ends}, _name(machine), unit="$/hour", where="machine.usd_per_hour")


def _around(typical: Any, ends: Mapping[str, Any]) -> bool:
    value = exact(typical, "machine.usd_per_hour")
    low, high = (exact(ends[end], f"machine.usd_per_hour_{end}") for end in ("low", "high"))
    if low > high:
        raise ConfigError(f"machine.usd_per_hour_low={low} is above machine.usd_per_hour_high={high}")
    return low <= value <= high


def _bought(machine: Mapping[str, Any]) -> Figure | None:
    """Depreciation and energy of an hour: price / (years x 8760) + watts / 1000 x dollars a kWh."""
    given = {key: machine.get(key) for key in BOUGHT}
    if given["price_usd"] is None:
        return None
    if lacking := [key for key, value in given.items() if value is None]:
        raise ConfigError(f"machine.{lacking[0]} is needed beside machine.price_usd={given['price_usd']}")
    price, years, watts, energy = (exact(given[key], f"machine.{key}") for key in BOUGHT)
    if price < 0 or years <= 0 or watts < 0 or energy < 0:
        raise ConfigError("machine.price_usd, .watts and .usd_per_kwh must be at least 0, machine.years above 0")
    hour = price / (years * HOURS_A_YEAR) + watts / 1000 * energy
    return Figure(name=_name(machine), value=hour, unit="$/hour", source="price, years, watts and energy as declared")


def _name(machine: Mapping[str, Any]) -> str:
    return f"machine {machine.get('name') or 'this'}"
