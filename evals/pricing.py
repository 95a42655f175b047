"""Usage x dated price, machine-seconds x hourly price. Pure; an unknown factor makes the cost unknown, never 0."""

from collections.abc import Iterable

from evals.core import Price

ORDER = ("measured", "declared", "assumed")


def machine_cost_usd(busy_s: float | None, usd_per_hour: float | None) -> float | None:
    """Dollars of `busy_s` seconds of a machine, `None` where either is unknown."""
    return None if busy_s is None or usd_per_hour is None else busy_s / 3600 * usd_per_hour


def weakest(provenances: Iterable[str]) -> str:
    """The provenance of a result: the weakest of its factors (measured > declared > assumed)."""
    return max(provenances, key=ORDER.index)


def machine_price(name: str, usd_per_hour: float | None, source: str | None = None, date: str | None = None) -> Price:
    """A machine's hourly price as a dated fact."""
    return Price(name=name, usd_per_hour=usd_per_hour, source=source, date=date, provenance="declared")
