"""Dated prices joined to a table: an old run is priced anew in one call, and no cost is invented."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.tables.routed import API_USD, machine_dollars
from evals.analysis.tables.rows import FrameRows, busy_seconds
from evals.analysis.tables.spans import seconds as seconds_of
from evals.core import Price, Usage
from evals.errors import ConfigError
from evals.pricing import machine_cost_usd, tier_price, usage_cost_usd

Prices = Mapping[str, "Price | Mapping[str, Any]"]
RATES = ("input_usd_per_mtok", "cache_read_usd_per_mtok", "cache_write_usd_per_mtok", "output_usd_per_mtok")
TOKENS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")


def add_cost(table: pd.DataFrame, prices: Prices = {}, machines: Mapping[str, Any] = {}) -> pd.DataFrame:
    """The table with `cost_usd, notional_usd` by these prices, and `cost_flag, price_source, price_date`.

    `prices`: option or model -> a `Price`, its fields as a mapping (`{"input_usd_per_mtok": 2.5,
    "output_usd_per_mtok": 10, "date": "2026-11-01", "source": "..."}`), or a mapping of tiers to either; applied to the
    reported tokens of a row (all its calls: rates by prompt length go by the row's sum). `machines`: option, model or
    `"*"` (rows of a machine of one's own) -> dollars an hour, applied to the busy seconds, shared out by latency.
    What neither names keeps its cost. A cost that is missing, or 0 for every row of an option that is not one's own,
    is `None`, with the reason in `cost_flag`. Raises `ConfigError` for a remote price of 0 or less.
    """
    found = table.reset_index(drop=True)
    for name in ("cost_usd", "notional_usd"):
        found[name] = found[name].astype(np.float64) if name in found else np.nan
    for name in ("cost_flag", "price_source", "price_date"):
        found[name] = found[name].astype(object) if name in found else pd.Series(None, index=found.index, dtype=object)
    names = found["option"] if "option" in found else found["model"]
    used: set[str] = set()
    for option, part in found.groupby(names, sort=False):
        model, own = str(part["model"].iloc[0]), _own(part)
        key = next((key for key in (str(option), model) if key in prices), None)
        own_part = own or (API_USD in part and bool(part[API_USD].notna().any()))
        machine = next((key for key in (str(option), model, *(["*"] if own_part else [])) if key in machines), None)
        if key is not None and "answered_by" in part and part["answered_by"].notna().any():
            raise ConfigError(f"a price is given for {key!r}, a hybrid, whose rows hold the tokens of two models")
        if key is not None:
            found.loc[part.index] = _by_usage(part, key, prices[key])
        elif machine is not None:
            found.loc[part.index] = _by_machine(part, machines[machine])
        else:
            found.loc[part.index] = _as_it_is(part, own)
        used |= {name for name in (key, machine) if name is not None}
    if strange := (set(prices) | set(machines)) - used - {"*"}:
        raise ConfigError(f"a price is given for {sorted(strange)[0]!r}, which is no option or model of the table")
    return found


def price_date(prices: Mapping[str, Any] | None) -> str | None:
    """The date of a manifest's price snapshot (tier -> price); `None` where it has none. Several: the newest."""
    dates = [str(price["date"]) for price in (prices or {}).values() if price.get("date")]
    return max(dates, default=None)


def unlike_dates(snapshots: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """Option -> snapshot: in words that they are of different dates; `None` where all that are dated are of one."""
    dated = {option: found for option, prices in snapshots.items() if (found := price_date(prices))}
    if len(set(dated.values())) < 2:
        return None
    return ", ".join(f"{option}: {date}" for option, date in sorted(dated.items(), key=lambda one: (one[1], one[0])))


def _own(part: pd.DataFrame) -> bool:
    return "location" in part and bool((part["location"] == "own").all())


def _price(name: str, given: Any) -> Price:
    if isinstance(given, Price):
        return given
    if strange := set(given) - {*RATES, "date", "source", "usd_per_hour", "provenance"}:
        raise ConfigError(f"the price of {name}: {sorted(strange)[0]!r} is not known; known are {', '.join(RATES)}")
    return Price(name=name, **given)


def _tiers(name: str, given: Any) -> dict[str, Price]:
    """Tier -> price, each of input and output above 0."""
    tiered = isinstance(given, Mapping) and bool(given) and all(isinstance(v, Price | Mapping) for v in given.values())
    found = {tier: _price(name, one) for tier, one in given.items()} if tiered else {"default": _price(name, given)}
    for price in found.values():
        for rate in RATES:
            if not _is_rate(value := getattr(price, rate)):
                raise ConfigError(f"the price of {name}: {rate} is {value!r}, no finite number of dollars")
        if not ((price.input_usd_per_mtok or 0) > 0 and (price.output_usd_per_mtok or 0) > 0):
            raise ConfigError(f"the price of {name}: a remote model has a price of input and of output above 0")
    return found


def _is_rate(value: Any) -> bool:
    """Not known, or a finite number of at least 0."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf


def _by_usage(part: pd.DataFrame, name: str, given: Any) -> pd.DataFrame:
    tiers, part = _tiers(name, given), part.copy()
    tokens = [part[column].to_numpy(np.float64) if column in part else np.full(len(part), np.nan) for column in TOKENS]
    tier = part["tier"] if "tier" in part else [None] * len(part)
    dollars = [
        usage_cost_usd(_usage(*counts), tier_price(tiers, word)) for *counts, word in zip(*tokens, tier, strict=True)
    ]
    part["notional_usd"] = np.array([np.nan if one is None else one for one in dollars], np.float64)
    cached = part["cached"].astype(bool) if "cached" in part else pd.Series(False, index=part.index)
    part["cost_usd"] = part["notional_usd"].where(~cached, 0.0)
    if "failed" in part and "calls" in part:  # never answered and nothing billed
        free = part["failed"] & part["notional_usd"].isna()
        part.loc[free, ["cost_usd", "notional_usd"]] = 0.0
    part["cost_flag"] = _flags(part["notional_usd"], "cost is not known: usage not reported")
    first = next(iter(tiers.values()))
    return part.assign(price_source=first.source, price_date=first.date)


def _usage(read_in: float, cache_read: float, cache_write: float, output: float) -> Usage:
    plain = [None if np.isnan(count) else int(count) for count in (read_in, cache_read, cache_write, output)]
    return Usage(input_uncached=plain[0], cache_read=plain[1], cache_write=plain[2], output=plain[3])


def _by_machine(part: pd.DataFrame, given: Any) -> pd.DataFrame:
    price = given if isinstance(given, Price) else Price(name="machine", usd_per_hour=given)
    if price.usd_per_hour is None or not _is_rate(price.usd_per_hour):
        raise ConfigError(f"a machine's price is dollars an hour, at least 0, not {price.usd_per_hour!r}")
    part, runs = part.copy(), part["run"] if "run" in part else pd.Series("", index=part.index)
    for _, rows in part.groupby(runs, sort=False):
        if API_USD in rows and rows[API_USD].notna().any():  # a hybrid's machine stands beside its API
            own_s, starts = rows["own_s"].to_numpy(np.float64), seconds_of(rows["own_started_at"])
            dollars = rows[API_USD] + machine_dollars(own_s, starts, price.usd_per_hour)
            part.loc[rows.index, "cost_usd"] = part.loc[rows.index, "notional_usd"] = dollars
            continue
        timed = {"started_at", "queued_s", "cached"} <= set(rows.columns)
        seconds = (
            busy_seconds(FrameRows(rows)) if timed else float(rows["latency_s"].sum()) if "latency_s" in rows else None
        )
        spent = machine_cost_usd(seconds, price.usd_per_hour)
        if spent is not None and (total := float(rows["latency_s"].sum())) > 0:
            share = rows["latency_s"] / total * spent
            part.loc[rows.index, "cost_usd"] = part.loc[rows.index, "notional_usd"] = share
    part["cost_flag"] = _flags(part["cost_usd"], "cost is not known: no seconds measured")
    return part.assign(price_source=price.source, price_date=price.date)


def _flags(cost: "pd.Series[Any]", reason: str) -> list[str | None]:
    return [reason if lacking else None for lacking in cost.isna()]


def _as_it_is(part: pd.DataFrame, own: bool) -> pd.DataFrame:
    part = part.copy()
    cost = part["notional_usd"].where(part["notional_usd"].notna(), part["cost_usd"])
    if not own and bool((cost == 0).all()):
        part["cost_flag"] = "cost of 0 is taken as not recorded"
        return part.assign(cost_usd=np.nan, notional_usd=np.nan)
    part.loc[cost.isna(), "cost_flag"] = "cost is missing"
    return part
