"""What N documents will cost and take, from a run of a few of them. Pure: a run's table and manifest in, a row out.

Dollars, tokens and seconds of a document are means over the pilot's documents. What is foretold is the mean of N
further documents, with the t interval for it: mean +- t(n - 1) s sqrt(1/n + 1/N) (Hahn & Meeker 1991, Statistical
Intervals, interval to contain the mean of m future observations); below 0 it is cut.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from evals.analysis.tables.priced import add_cost
from evals.analysis.tables.routed import API_USD
from evals.pricing import machine_cost_usd, weakest
from evals.stats import Array, Estimate, quantile, wilson

LEVEL = 0.95
KEPT_FULL = 3
"""A pilot of fewer documents than this many times the concurrency is mostly start and end."""


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What the run that is planned has, beside the pilot's."""

    documents: int
    usd_per_hour: float | None = None
    """Of a machine of one's own."""
    requests_per_min: float | None = None
    tokens_per_min: float | None = None


_THREES = ("failed", "input_tokens", "output_tokens", "minutes", "usd")
EMPTY: dict[str, Any] = {
    **dict.fromkeys(("option", "model", "run", "started_at", "pilot", "repeats", "documents", "load", "provenance")),
    **dict.fromkeys(f"{name}{end}" for name in _THREES for end in ("", "_low", "_high")),
    **dict.fromkeys(("latency_mean_s", "latency_p50_s", "in_flight", "docs_per_min", "startup_s")),
    **dict.fromkeys(("usd_source", "usd_date", "usd_provenance")),
    "extrapolated": [],
}
"""The row of a model of which nothing was measured."""


def further_mean(values: Array, more: int, *, level: float = LEVEL) -> Estimate:
    """Mean of `more` further documents like these, with the prediction interval; NaN: not known."""
    n = len(values)
    if n == 0 or np.isnan(values).any():
        return Estimate(math.nan, math.nan, math.nan, n)
    mean = float(values.mean())
    if n < 2:
        return Estimate(mean, math.nan, math.nan, n)
    spread = float(stats.t.ppf(0.5 + level / 2, n - 1) * values.std(ddof=1)) * math.sqrt(1 / n + 1 / more)
    return Estimate(mean, max(0.0, mean - spread), mean + spread, n)


def forecast(frame: pd.DataFrame, manifest: Mapping[str, Any], ask: Conditions) -> dict[str, Any]:
    """One model's row; what was not measured is `None`.

    Keys: `option, model, run, started_at, pilot` (documents), `repeats, documents, load, provenance`;
    `failed, failed_low, failed_high` (share of answers); `input_tokens, output_tokens` of a document, `usd`, `minutes`
    of all documents, each with `_low` and `_high`; `usd_source` and `usd_date` of the price, `usd_provenance`;
    `docs_per_min`, `latency_mean_s, latency_p50_s, in_flight`, `startup_s`, `extrapolated` (what rests on more than
    measurement, in words).
    """
    repeats = max(1, int(manifest.get("repeats") or 1))
    n = int(frame["sample_id"].nunique())
    failed = wilson(float(frame["failed"].sum()), len(frame))
    tokens = {
        "input_tokens": frame[["input_tokens", "cache_read_tokens", "cache_write_tokens"]].sum(axis=1, min_count=1),
        "output_tokens": frame["output_tokens"],
    }
    row: dict[str, Any] = {
        "option": manifest["option"],
        "model": manifest["model"],
        "run": str(frame["run"].iloc[0]),
        "started_at": manifest.get("started_at"),
        "pilot": n,
        "repeats": repeats,
        "documents": ask.documents,
        "load": manifest.get("load"),
        "provenance": "measured",
        **_three("failed", failed),
    }
    for name, column in tokens.items():
        row |= _three(name, further_mean(_by_document(frame, column), ask.documents))
    row |= _time(frame, manifest, ask, _sum(row["input_tokens"], row["output_tokens"]))
    return row | _dollars(frame, manifest, ask, row)


def _by_document(frame: pd.DataFrame, column: "pd.Series[float]") -> Array:
    """A value a document, repeats averaged; one that is not known makes the document's unknown."""
    by = column.astype(np.float64).groupby(frame["sample_id"], sort=False)
    return np.asarray(by.agg(lambda part: part.mean(skipna=False)), np.float64)


def _three(name: str, found: Estimate, scale: float = 1.0) -> dict[str, float | None]:
    values = {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
    return {key: None if math.isnan(value) else value * scale for key, value in values.items()}


def _sum(*values: float | None) -> float | None:
    return None if None in values else float(sum(value or 0.0 for value in values))


# Minutes ------------------------------------------------------------------------------------------------------


def _time(frame: pd.DataFrame, manifest: Mapping[str, Any], ask: Conditions, tokens: float | None) -> dict[str, Any]:
    """Minutes by Little's law: N x mean latency / documents in flight, never less than the limits a minute allow."""
    fresh = frame[~frame["cached"].astype(bool) & frame["latency_s"].notna()]
    backend = manifest.get("backend") or {}
    startup = backend.get("start_s") if manifest.get("location") in ("own", "mixed") else None
    empty = dict.fromkeys(("latency_mean_s", "latency_p50_s", "in_flight", "docs_per_min"))
    row = {**_three("minutes", Estimate(math.nan, math.nan, math.nan, 0)), **empty, "startup_s": startup}
    if fresh.empty or manifest.get("processing") == "batch":
        why = (
            "a batch takes what the provider takes" if manifest.get("processing") == "batch" else "no latency is known"
        )
        return row | {"extrapolated": [f"minutes are not foretold: {why}"]}
    seconds = _by_document(fresh, fresh["latency_s"])
    concurrency = int(manifest.get("concurrency") or 1)
    wide = min(concurrency, ask.documents)
    mean = further_mean(seconds, ask.documents)
    ends = [part * ask.documents / wide / 60 + (startup or 0.0) / 60 for part in (mean.value, mean.low, mean.high)]
    row |= {"latency_mean_s": mean.value, "latency_p50_s": quantile(seconds, 0.5).value}
    row |= {
        "in_flight": _known(fresh["in_flight"].mean()),
        "docs_per_min": 60 * wide / mean.value if mean.value else None,
    }
    said = _stretched(len(seconds), concurrency, row["in_flight"])
    least = max(
        ask.documents / ask.requests_per_min if ask.requests_per_min else 0.0,
        ask.documents * (tokens or 0.0) / ask.tokens_per_min if ask.tokens_per_min else 0.0,
    )
    if least > ends[0]:
        said.append("minutes: what the limits a minute allow")
    value, low, high = (max(part, least) for part in ends)
    return row | _three("minutes", Estimate(value, low, high, mean.n)) | {"extrapolated": said}


def _stretched(n: int, concurrency: int, in_flight: float | None) -> list[str]:
    if concurrency == 1:
        return []
    seen = "" if in_flight is None else f", {in_flight:.1f} were in flight in the mean"
    said = f"minutes: {concurrency} documents in flight by Little's law{seen}"
    if n < KEPT_FULL * concurrency:
        said += f"; {n} documents do not keep {concurrency} busy for long, under a full load each may take longer"
    return [said]


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


# Dollars ------------------------------------------------------------------------------------------------------


def _dollars(
    frame: pd.DataFrame, manifest: Mapping[str, Any], ask: Conditions, row: Mapping[str, Any]
) -> dict[str, Any]:
    """Of a remote model the pilot's own cost of a document (nothing served from our cache), at its dated prices; of a
    machine of one's own its minutes at the price of an hour; of a hybrid with both, both: its calls, and the machine while it
    was asked."""
    prices = manifest.get("prices") or {}
    found: dict[str, Any] = {"usd_source": None, "usd_date": None, "usd_provenance": None}
    location, each = manifest.get("location"), frame["notional_usd"]
    if location == "own":
        for end in ("", "_low", "_high"):
            minutes = row[f"minutes{end}"]
            found[f"usd{end}"] = machine_cost_usd(None if minutes is None else minutes * 60, ask.usd_per_hour)
        known = found["usd"] is not None
        return found | {"usd_provenance": weakest(["measured", "declared"]) if known else None}
    if location == "mixed" and ask.usd_per_hour is not None:
        each = add_cost(frame, machines={"*": ask.usd_per_hour})["notional_usd"]
    elif location == "mixed":
        found |= _api_alone(frame, ask, row)
        each = pd.Series(math.nan, index=frame.index)
    found |= _three("usd", further_mean(_by_document(frame, each), ask.documents), ask.documents)
    if found["usd"] is None or not prices:
        return found | dict.fromkeys(("usd", "usd_low", "usd_high"))
    sources = list(dict.fromkeys(str(price["source"]) for price in prices.values() if price.get("source")))
    dates = [str(price["date"]) for price in prices.values() if price.get("date")]
    guessed = ["assumed"] if float(frame["wasted_assumed"].fillna(0).sum()) else []
    kinds = ["measured", *guessed, *(price.get("provenance", "declared") for price in prices.values())]
    return found | {
        "usd_source": "; ".join(sources) or None,
        "usd_date": max(dates, default=None),
        "usd_provenance": weakest([*kinds, *(["declared"] if location == "mixed" else [])]),
    }


def _api_alone(frame: pd.DataFrame, ask: Conditions, row: Mapping[str, Any]) -> dict[str, Any]:
    """What the API of a hybrid whose machine has no price will take, in words beside the others of `row`."""
    api = further_mean(_by_document(frame, frame[API_USD]), ask.documents)
    if math.isnan(api.value):
        return {}
    value, low, high = (part * ask.documents for part in (api.value, api.low, api.high))
    bounds = "" if math.isnan(low) else f" [{low:.2g}, {high:.2g}]"
    said = f"dollars of its API alone ${value:.2g}{bounds}; its machine has no price: machine.usd_per_hour=..."
    return {"extrapolated": [*row["extrapolated"], said]}
