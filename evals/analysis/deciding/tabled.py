"""Options of an imported table (`imported.read_table`): its scores, and its costs as dollars a document."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.deciding.constraints import SURE
from evals.analysis.deciding.figures import Figure, measured
from evals.analysis.deciding.measured import LEAST
from evals.analysis.deciding.options import Costs, Option, Proof
from evals.analysis.deciding.volume import Deployment
from evals.analysis.tables.units import axis_of, interval_of, paired_units
from evals.errors import DataError
from evals.stats import Array, Axis, paired_draws, quantile, wilson

METRIC = "score"
NOTE = "a table's cost is taken as dollars a document, whatever the volume"


def options(
    frame: pd.DataFrame, costs: Costs, *, draws: int, seed: int, source: str, whole_run: bool = False
) -> tuple[list[Option], list[str]]:
    """A row a document: paired, under one bootstrap. A row an option: its score (with Wilson's interval where `n` is
    given), its cost (of `whole_run`s: divided by `n`) and its latency as they are. `source` stands beside the prices.
    Raises `DataError` for too few documents, and for a whole run's cost without `n`."""
    frame = frame if "option" in frame else frame.assign(option=frame["model"])
    if "score" not in frame:
        raise DataError(f"{source} has no scores; quality=COLUMN names them")
    if whole_run:
        if "sample_id" in frame or "n" not in frame:
            raise DataError(f"{source}: cost_of=run divides by the documents of a row: columns.n=COLUMN names them")
        frame = frame.assign(cost_usd=frame["cost_usd"] / frame["n"]) if "cost_usd" in frame else frame
    if "sample_id" in frame:
        return _of_documents(frame, costs, draws, seed, source)
    return [_row(row, costs, source) for row in frame.to_dict("records")], [NOTE]


def _of_documents(
    frame: pd.DataFrame, costs: Costs, draws: int, seed: int, source: str
) -> tuple[list[Option], list[str]]:
    notes: list[str] = [NOTE]
    units = paired_units(frame, notes)
    if len(units.ids) < LEAST:
        raise DataError(
            f"{source}: {len(units.ids)} documents that every option answered are too few, at least {LEAST}"
        )
    quality: Any = axis_of(units, "quality", "mean")
    money = units.values.get("cost_usd")
    axes = [quality, *([] if money is None else [Axis(values=money)])]
    joint = paired_draws(axes, groups=units.groups, draws=draws, seed=seed)
    found = []
    for at, name in enumerate(map(str, units.about["option"])):
        rows = frame[frame["option"] == name]
        one = interval_of(quality, at, units.groups, level=2 * SURE - 1, drawn=joint[:, at, 0])
        proof = Proof(value=one.value, low=_none(one.low), high=_none(one.high), n=one.n, drawn=joint[:, at, 0])
        dollars = None if money is None or np.isnan(money[at]).any() else float(money[at].mean())
        price = _price(name, dollars, source, None if dollars is None else joint[:, at, 1])
        seconds = _seconds(rows)
        p95 = None if seconds is None else quantile(seconds[np.isfinite(seconds)], 0.95)
        told = None if p95 is None else Proof(value=p95.value, low=_none(p95.low), high=_none(p95.high), n=p95.n)
        found.append(
            _option(name, rows.iloc[0].to_dict(), price, proof, costs, latency_p95_s=told, seconds=seconds, n=one.n)
        )
    return found, notes


def _seconds(rows: pd.DataFrame) -> Array | None:
    if "latency_s" not in rows or not rows["latency_s"].notna().any():
        return None
    found = np.where(rows["failed"].astype(bool), np.inf, rows["latency_s"].to_numpy(np.float64))
    return np.asarray(found[~np.isnan(found)])


def _row(row: Mapping[Any, Any], costs: Costs, source: str) -> Option:
    name, score, n = str(row["option"]), row["score"], row.get("n")
    low = high = None
    count = None if n is None or pd.isna(n) else int(n)
    if count and 0 <= score <= 1:
        one = wilson(score * count, count, level=2 * SURE - 1)
        low, high = one.low, one.high
    proof = Proof(value=float(score), low=low, high=high, n=count)
    cost, seconds = row.get("cost_usd"), row.get("latency_s")
    price = _price(name, None if cost is None or pd.isna(cost) else float(cost), source, None)
    told = None if seconds is None or pd.isna(seconds) else Proof(value=float(seconds), low=None, high=None, n=count)
    return _option(name, row, price, proof, costs, latency_p95_s=told, n=count)


def _price(name: str, dollars: float | None, source: str, drawn: Array | None) -> Figure | None:
    if dollars is None or dollars <= 0:
        return None
    title = f"cost of {name}"
    return measured(title, dollars, drawn=drawn, unit="$/document", provenance="declared", source=source)


def _option(name: str, row: Mapping[Any, Any], price: Figure | None, proof: Proof, costs: Costs, **more: Any) -> Option:
    location = row.get("location")
    side: Any = costs.side("local" if location == "own" else "api")
    return Option(
        deployment=Deployment(
            option=name,
            kind="api",
            usd_per_doc=price,
            fixed=costs.fixed("local" if location == "own" else "api"),
            per_doc=costs.per_doc(),
        ),
        model=str(row.get("model") or name),
        places=((str(location) if isinstance(location, str) else None, None),),
        quality={METRIC: proof},
        load=str(row["load"]) if isinstance(row.get("load"), str) else "as the table says",
        ops_hours_per_month=side.get("ops_hours_per_month"),
        lead_weeks=side.get("lead_weeks"),
        **more,
    )


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
