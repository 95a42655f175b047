"""Stored runs -> options: quality, dollars a document, seconds and throughput, under one bootstrap of their documents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.capacity import newest_bench, seconds_at_mu
from evals.analysis.deciding.constraints import SURE
from evals.analysis.deciding.figures import Figure, draws_of, figure, measured
from evals.analysis.deciding.machines import machine_price
from evals.analysis.deciding.options import Costs, Option, Proof, known, whole
from evals.analysis.deciding.volume import OWN, Deployment, Kind
from evals.analysis.tables.priced import add_cost
from evals.analysis.tables.table import SCORES
from evals.analysis.tables.units import Units, axis_of, interval_of, paired_units
from evals.catalog import nearest
from evals.errors import ConfigError, DataError
from evals.pricing import weakest
from evals.stats import Array, Axis, paired_draws, quantile, ratio_bootstrap

LEAST = 5
"""Fewer documents than this say nothing of their spread."""
BATCH = " (batch)"
RATIOS = {"f1": "", "f1_strict": "strict_"}
"""Metrics that are a ratio of totals over documents, with the prefix of their counts."""
FULL_LOADS = ("offline", "bench", "server")
"""Loads under which a machine is full: its throughput is what it sustains."""
_ROUNDS = 2
"""Documents to a place that an offline run must have answered with all places full: after the first round they are no
longer all at the same point of their work."""


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the runs do not say themselves."""

    metrics: Sequence[str]
    """The main one first."""
    slices: Sequence[str] = ()
    fields: Sequence[str] = ()
    machine: Mapping[str, Any] = field(default_factory=dict)
    """`name`, `usd_per_hour` with `_low` and `_high`, `source`, `date`: replaces what the runs say of theirs."""
    docs_per_s: Mapping[str, Any] = field(default_factory=dict)
    """Option -> declared throughput of one replica."""
    terms: Mapping[str, str | None] = field(default_factory=dict)
    """Option -> what its model's YAML says of data that is sent there."""
    price: Figure | None = None
    """What API prices are taken to be, against those of the runs: one draw moves all of them."""
    costs: Costs = field(default_factory=Costs)
    batch: bool = True
    draws: int = 2000
    seed: int = 0


def options(
    frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]], ask: Terms, leaves: pd.DataFrame | None = None
) -> tuple[list[Option], list[str]]:
    """Options of a table of runs (`load_runs`), and what must be said of them. `manifests`: option -> manifest;
    `leaves`: the long frame of fields, where a floor of a field is asked for. Raises `DataError` below `LEAST`
    documents that all options answered, `ConfigError` for a metric, slice, field or option that is not there."""
    notes: list[str] = []
    for name in ask.docs_per_s:
        known("docs_per_s", name, list(manifests))
    frame = _with_batches(frame.assign(cost_usd=frame["notional_usd"]), manifests, ask)
    units = paired_units(with_metric(frame, ask.metrics[0]), notes)
    if len(units.ids) < LEAST:
        raise DataError(
            f"{len(units.ids)} documents are answered by every option: too few to decide on, at least {LEAST}"
        )
    drawn = _draws(units, ask)
    qualities = {ask.metrics[0]: _proofs(units, drawn["quality"])}
    for metric in ask.metrics[1:]:
        other = paired_units(with_metric(frame, metric), [])
        qualities[metric] = _proofs(other, _draws(other, ask)["quality"])
    parts = {name: _slice(frame, ask.metrics[0], name) for name in ask.slices}
    fields = {name: _field(leaves, name) for name in ask.fields}
    found = []
    for at, name in enumerate(units.about["option"]):
        rows = frame[frame["option"] == name]
        base = str(name).removesuffix(BATCH) if str(name) not in manifests else str(name)
        option = _option(rows, manifests[base], str(name), units, at, drawn, ask)
        found.append(
            replace(
                option,
                quality={metric: proofs[str(name)] for metric, proofs in qualities.items() if str(name) in proofs},
                slices={tag: proofs[str(name)] for tag, proofs in parts.items() if str(name) in proofs},
                fields={path: proofs[base] for path, proofs in fields.items() if base in proofs},
            )
        )
    return found, notes


def with_metric(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The frame with the metric as its quality: `hits` and `whole` for a ratio of totals, else `score`."""
    frame = frame.drop(columns=["hits", "whole"], errors="ignore")
    if metric in RATIOS and "tp" in frame and frame["tp"].notna().any():
        part = {name: frame[f"{RATIOS[metric]}{name}"] for name in ("tp", "wrong", "miss", "hall")}
        hits = 2 * part["tp"]
        return frame.assign(hits=hits, whole=hits + 2 * part["wrong"] + part["miss"] + part["hall"])
    if metric not in SCORES:
        raise ConfigError(f"metric {metric} is not known{nearest(metric, SCORES)}")
    if metric not in frame or frame[metric].isna().all():
        raise ConfigError(f"metric {metric} was not measured in these runs")
    return frame.assign(score=frame[metric] if metric == "score" else frame[metric].fillna(0.0))


def _with_batches(frame: pd.DataFrame, manifests: Mapping[str, Mapping[str, Any]], ask: Terms) -> pd.DataFrame:
    """Beside each API option whose prices have a batch tier, the same answers at that price and at no latency."""
    parts = [frame]
    for option, about in manifests.items():
        price = (about.get("prices") or {}).get("batch")
        if not ask.batch or price is None or about.get("processing") == "batch":
            continue
        rows = add_cost(frame[frame["option"] == option], prices={option: {"default": _rates(price)}})
        parts.append(
            rows.assign(option=option + BATCH, cost_usd=rows["notional_usd"], latency_s=np.nan)[list(frame.columns)]
        )
    return parts[0] if len(parts) == 1 else pd.concat(parts, ignore_index=True)


def _rates(price: Any) -> Any:
    """A tier of the manifest as `add_cost` takes it, tiers by prompt length included."""
    from evals.core import Price

    if isinstance(price, Price):
        return price
    plain = {key: value for key, value in price.items() if key != "longer"}
    return Price(**plain, longer=tuple(_rates(one) for one in price.get("longer") or ()))


def _draws(units: Units, ask: Terms) -> dict[str, Array]:
    """Draws x options of the quality, of dollars a document and of mean seconds, all of the same documents."""
    axes: dict[str, Axis] = {}
    quality = axis_of(units, "quality", "mean")
    if quality is None:
        raise DataError("the options have no quality to decide by")
    axes["quality"] = quality
    for name in ("cost", "latency"):
        if (axis := axis_of(units, name, "mean")) is not None:
            axes[name] = axis
    joint = paired_draws(list(axes.values()), groups=units.groups, draws=ask.draws, seed=ask.seed)
    return {name: joint[:, :, at] for at, name in enumerate(axes)}


def _proofs(units: Units, drawn: Array) -> dict[str, Proof]:
    axis: Any = axis_of(units, "quality", "mean")
    found = {}
    for at, name in enumerate(units.about["option"]):
        one = interval_of(axis, at, units.groups, level=2 * SURE - 1, drawn=drawn[:, at])
        found[str(name)] = Proof(value=one.value, low=_none(one.low), high=_none(one.high), n=one.n, drawn=drawn[:, at])
    return found


def _slice(frame: pd.DataFrame, metric: str, tag: str) -> dict[str, Proof]:
    kept = np.array([tag in tags for tags in frame["tags"]])
    if not kept.any():
        known_tags = {str(one) for tags in frame["tags"] for one in tags}
        raise ConfigError(f"min_slice.{tag}: no document has this tag{nearest(tag, known_tags)}")
    units = paired_units(with_metric(frame[kept], metric), [])
    axis: Any = axis_of(units, "quality", "mean")
    names = [str(name) for name in units.about["option"]]
    levels = [interval_of(axis, at, units.groups, level=2 * SURE - 1) for at in range(len(names))]
    return {
        name: Proof(value=one.value, low=_none(one.low), high=_none(one.high), n=one.n)
        for name, one in zip(names, levels, strict=True)
    }


def _field(leaves: pd.DataFrame | None, path: str) -> dict[str, Proof]:
    """F1 of one field, with its interval over documents."""
    if leaves is None or leaves.empty:
        raise ConfigError(f"min_field.{path}: these runs have no fields")
    if path not in set(leaves["path"]):
        raise ConfigError(
            f"min_field.{path} is no field of these runs{nearest(path, map(str, leaves['path'].unique()))}"
        )
    found = {}
    for option, rows in leaves[leaves["path"] == path].groupby("option"):
        hit = rows["outcome"].eq("tp") * 2.0
        whole = hit + rows["outcome"].eq("wrong") * 2.0 + rows["outcome"].isin(["miss", "hall"]) * 1.0
        sums = pd.DataFrame({"id": rows["sample_id"], "hit": hit, "whole": whole}).groupby("id").sum()
        one = ratio_bootstrap(sums["hit"].to_numpy(np.float64), sums["whole"].to_numpy(np.float64), level=2 * SURE - 1)
        found[str(option)] = Proof(value=one.value, low=_none(one.low), high=_none(one.high), n=one.n)
    return found


def _none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


# One option ---------------------------------------------------------------------------------------------------


def _option(
    rows: pd.DataFrame,
    about: Mapping[str, Any],
    name: str,
    units: Units,
    at: int,
    drawn: Mapping[str, Array],
    ask: Terms,
) -> Option:
    kind: Kind = "local" if about.get("location") in ("own", "mixed") else "api"
    if name.endswith(BATCH) or about.get("processing") == "batch":
        kind = "batch"
    notes = [flag for flag in units.about["flags"].iloc[at] if not flag.startswith("cost")]
    costs = ask.costs
    bench = _bench(rows, about, name, notes) if kind in OWN else None
    deployment = Deployment(
        option=name,
        kind=kind,
        usd_per_doc=None if kind in OWN else _price(about, name, units, at, drawn, ask),
        usd_per_hour=machine_price(ask.machine, about) if kind in OWN else None,
        docs_per_s=_throughput(rows, about, bench, name, at, drawn, ask, notes) if kind in OWN else None,
        utilisation=Fraction(str(costs.utilisation)),
        peak=Fraction(str(costs.peak)),
        least=whole(costs.min_replicas, "min_replicas"),
        spare=whole(costs.spare, "spare"),
        fixed=costs.fixed(kind),
        per_doc=costs.per_doc(),
    )
    side = costs.side(kind)
    return Option(
        deployment=deployment,
        model=str(about["model"]),
        places=((about.get("location"), ask.terms.get(name.removesuffix(BATCH))),),
        **_latency(rows, about, kind, bench),
        ops_hours_per_month=side.get("ops_hours_per_month"),
        lead_weeks=side.get("lead_weeks"),
        n=len(units.ids),
        notes=tuple(notes),
    )


def _price(
    about: Mapping[str, Any], name: str, units: Units, at: int, drawn: Mapping[str, Array], ask: Terms
) -> Figure | None:
    """Dollars of a document, with nothing served from a cache of ours: usage x dated prices."""
    values = units.values.get("cost_usd")
    if values is None or np.isnan(values[at]).any() or not values[at].mean() > 0:
        return None
    tiers = (about.get("prices") or {}).values()
    said = [str(price.get("provenance") or "declared") for price in tiers]
    sources = [str(price["source"]) for price in tiers if price.get("source")]
    dates = [str(price["date"]) for price in tiers if price.get("date")]
    level = ask.price or Figure(name="level of API prices", value=Fraction(1))
    return measured(
        f"API price of {name}",
        float(values[at].mean()) * float(level.value),
        drawn=drawn["cost"][:, at] * draws_of(level, ask.draws, ask.seed),
        unit="$/document",
        provenance=weakest(["measured", *(said or ["declared"])]),
        source=next(iter(sources), None),
        date=max(dates, default=None),
    )


def _throughput(
    rows: pd.DataFrame,
    about: Mapping[str, Any],
    bench: Mapping[str, Any] | None,
    name: str,
    at: int,
    drawn: Mapping[str, Array],
    ask: Terms,
    notes: list[str],
) -> Figure | None:
    """Documents a second of one machine: declared, the mu of its newest bench, or those of an offline run while its places
    were full, else of a run over the time in which it was busy. Of a run that did not fill the machine, or of another
    machine, it is an extrapolation: assumed, and told."""
    from evals.analysis.tables.rows import FrameRows, busy_seconds, full_machine

    title = f"throughput of {name}"
    if name in ask.docs_per_s:
        return figure(ask.docs_per_s[name], title, unit="documents/s", where=f"docs_per_s.{name}", least=1e-12)
    if bench is not None:
        return _of_bench(bench, title, ask, notes)
    fresh = rows[rows["latency_s"].notna() & ~rows["cached"].astype(bool)]
    busy = busy_seconds(FrameRows(fresh)) if len(fresh) else None
    if not busy:
        return None
    rate, load = len(fresh) / busy, str(about.get("load") or "load not stated")
    made = about.get("machine") or {}
    where, other, full = _place(made), _elsewhere(made, ask), load.startswith(FULL_LOADS)
    if full and load.startswith("offline"):
        places = int(about.get("concurrency") or 1)
        done, seconds = full_machine(FrameRows(fresh), places)
        if full := done >= _ROUNDS * places:
            rate = done / seconds
        else:
            load = (
                f"an offline run of {len(fresh)} documents, too few to keep {places} places full (`bench` measures it)"
            )
    mean = drawn.get("latency")
    spread = (
        None if mean is None or np.isnan(mean[:, at]).any() else rate * float(np.mean(fresh["latency_s"])) / mean[:, at]
    )
    if other or not full:
        why = f"throughput is that of {load} on {where}"
        notes.append(
            f"{why}, taken for {ask.machine.get('name')}"
            if other
            else f"{why}, not of a full machine: extrapolated, and its p95 is without waiting behind others"
        )
    elif load.startswith("offline"):
        notes.append("throughput is measured: offline run")
    return measured(
        title,
        rate,
        drawn=spread,
        unit="documents/s",
        provenance="measured" if full and not other else "assumed",
        source=str(rows["run"].iloc[0]) if "run" in rows else None,
    )


def _place(made: Mapping[str, Any]) -> str:
    return f"{made.get('cpu') or 'a machine that is not named'} (cores: {made.get('cores') or '?'})"


def _elsewhere(made: Mapping[str, Any], ask: Terms) -> bool:
    """Is the machine that is priced another one than that on which it was measured?"""
    named = str(ask.machine.get("name"))
    return ask.machine.get("usd_per_hour") is not None and named not in ("this", str(made.get("name")))


def _bench(rows: pd.DataFrame, about: Mapping[str, Any], name: str, notes: list[str]) -> Mapping[str, Any] | None:
    """The newest bench of the option a run is of, made as the run was; a hybrid is decided by its two sides."""
    run = Path(str(rows["run"].iloc[0])) if "run" in rows and len(rows) else None
    if run is None or about.get("hybrid") or run.parent.name != store.safe_name(name):
        return None
    found, passed = newest_bench(run, about)
    notes += [passed] if passed else []
    return found


def _of_bench(bench: Mapping[str, Any], title: str, ask: Terms, notes: list[str]) -> Figure:
    """mu with its interval; `None` for an interval that no rate bounds from above, or that reaches down to nothing."""
    mu, day, made = bench["mu_docs_per_s"], str(bench["created"])[:10], bench["machine"]
    other, n = _elsewhere(made, ask), bench["documents"]
    told = f"throughput is measured: bench {day}, {n:,} documents, {mu['value']:.3g} docs/s"
    told += f" [{mu['low']:.3g}, {'not bounded' if mu['high'] is None else format(mu['high'], '.3g')}]"
    bounded = mu["high"] is not None and mu["low"] > 0
    told += f" with {100 * bench['share']:g} % inside {bench['target']['p95_s']:.3g} s"
    notes.append(f"{told}, on {_place(made)}, taken for {ask.machine.get('name')}" if other else told)
    return measured(
        title,
        mu["value"],
        low=mu["low"] if bounded else None,
        high=mu["high"] if bounded else None,
        unit="documents/s",
        provenance="assumed" if other else "measured",
        source=f"bench {bench['run']}",
        date=day,
    )


def _latency(
    rows: pd.DataFrame, about: Mapping[str, Any], kind: Kind, bench: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """p95 of fresh answers with its interval, and the seconds of each, infinite where it failed: of a bench under the load
    that its mu rests on, counted from the scheduled send. Of an offline run it is not known."""
    if kind == "batch":
        return {"load": "batch"}
    if bench is not None and (at_mu := seconds_at_mu(bench)) is not None:
        load, waits = at_mu
        p95 = load["latency_s"]["p95"]
        proof = Proof(value=p95["value"], low=p95["low"], high=p95["high"], n=p95["n"])
        return {"latency_p95_s": proof, "seconds": waits, "load": f"server, {load['rate_docs_per_s']:.3g} docs/s"}
    if str(about.get("load")).startswith("offline"):  # all were handed in at once: they waited by design
        return {"load": about["load"]}
    timed = rows[~rows["cached"].astype(bool)]
    failed = timed["failed"].astype(bool).to_numpy()
    seconds = np.where(failed, np.inf, timed["latency_s"].to_numpy(np.float64))
    seconds = seconds[~np.isnan(seconds)]
    if not np.isfinite(seconds).any():
        return {"load": about.get("load")}
    one = quantile(timed["latency_s"].to_numpy(np.float64), 0.95)
    proof = Proof(value=one.value, low=_none(one.low), high=_none(one.high), n=one.n)
    return {"latency_p95_s": proof, "seconds": seconds, "load": about.get("load")}
