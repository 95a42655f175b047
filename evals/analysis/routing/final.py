"""The policy that is saved: one simulated way of routing, fitted on all documents that may fit, and replayed.

Its figures are those of the simulation, whose parts did not see the documents they are counted on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evals.analysis.routing import candidates as ways
from evals.analysis.routing.calibration import fit_signal, predicted
from evals.analysis.routing.candidates import Candidate, Scored
from evals.analysis.routing.crossfit import Binned, Pair, Plan, aimed, binned, chosen_cuts, counted, held_out
from evals.analysis.routing.documents import Documents, Mask
from evals.analysis.routing.simulate import Routed, Wanted
from evals.core import Policy, Record, Request
from evals.errors import ConfigError
from evals.policy import choose
from evals.policy.choosing import Side

SAVABLE = ("cascade", "preroute", "rule", "random_mix", "privacy_route")


def best_row(report: Mapping[str, Any], kind: str | None = None, way: str | None = None) -> int:
    """The place of the hybrid to save: of those asked for, the one of the highest lower bound of its gain; with a floor,
    the cheapest of those that meet it. Raises `ConfigError` where there is none."""
    rows = [
        at
        for at, row in enumerate(report["hybrids"])
        if row["kind"] in SAVABLE
        and row["way"] != "twin"
        and kind in (None, row["kind"])
        and way in (None, row["way"])
        and (kind is not None or way is not None or row["p"] is not None)
    ]
    if not rows:
        known = sorted({f"{row['kind']} ({row['way']})" for row in report["hybrids"] if row["kind"] in SAVABLE})
        asked_for = " ".join(f"{key}={one}" for key, one in (("kind", kind), ("way", way)) if one is not None)
        raise ConfigError(f"save: nothing of {asked_for} was simulated; there are {', '.join(known)}")
    if report["floor"] is not None:
        good = [at for at in rows if report["hybrids"][at]["meets_floor"] == "meets"]
        if good:
            return min(good, key=lambda at: _spent(report["hybrids"][at]))
    return max(rows, key=lambda at: _surely(report["hybrids"][at]))


def _spent(row: Mapping[str, Any]) -> tuple[float, float]:
    cost = row["usd_per_1k"]["value"]
    return (np.inf if cost is None else cost, row["share_strong"])


def _surely(row: Mapping[str, Any]) -> float:
    gain = row[f"gain_{row['against']}"]
    return float(gain["value"] if gain["low"] is None else gain["low"])


def policy_of(found: Routed, at: int, wanted: Wanted, about: Mapping[str, Any]) -> Policy:
    """The policy of the simulation's hybrid at a place of its report."""
    every, plan = found.documents, found.plan
    pair, way = found.candidates[at]
    row = found.report["hybrids"][at]
    fits: Mask = np.asarray((plan.folds < 0).all(axis=0) if plan.count == 1 else np.ones(every.n, bool))
    options = every.options[pair.cheap], every.options[pair.strong]
    told = {
        **about,
        "fitted_on": int(fits.sum()),
        "simulated": {
            "documents": found.report["documents"],
            "how": found.report["fitted"],
            **{name: row[name] for name in ("way", "quality", "usd_per_1k", "latency_p95_s", "share_strong")},
            "gain": row[f"gain_{row['against']}"],
            "gain_over": {"hull": "hull of all mixes", "mix": "random mix"}[row["against"]],
            "verdict": row["verdict"],
        },
        "places": {
            side: dict(every.places.get(name, {})) for side, name in zip(("cheap", "strong"), options, strict=True)
        },
    }
    floor = aimed(every, pair.cheap, pair.strong, counted(plan), wanted.floor)
    parts = _fitted(every, pair, way, fits, replace(wanted, floor=floor))
    return Policy(kind=way.kind, cheap=options[0], strong=options[1], about=told, **parts)  # type: ignore[arg-type]


def _fitted(every: Documents, pair: Pair, way: Candidate, fits: Mask, wanted: Wanted) -> dict[str, Any]:
    plan = held_out(fits, "")
    if way.kind == "random_mix":
        return {"share": wanted.share}
    if way.kind == "privacy_route":
        return {}
    if way.name in (ways.FITTED, "pre-router"):
        return _learned(every, pair, way, fits, plan, wanted)
    after = way.kind == "cascade"
    answered = ~every.failed[pair.cheap]
    scores = (
        ways.single_signals(every.signals[pair.cheap], answered)
        if after
        else ways.single_features(every.features, np.ones(every.n, bool))
    )
    if way.name in (ways.BEST_SIGNAL, ways.BEST_RULE):
        scores = [scores[at] for at in ways.contending(scores, tags=wanted.tags)]
    else:
        scores = [one for one in scores if one.name == way.name]
    cut, chosen = _best(scores, pair, plan, wanted)
    if after:
        return {"signal": chosen.detail["signal"], "threshold": cut}
    rule: Mapping[str, Any] = chosen.detail["rule"]
    return {"rule": {**rule, "value": cut * chosen.detail["sign"]}}


def _best(scores: Sequence[Scored], pair: Pair, plan: Plan, wanted: Wanted) -> tuple[float, Scored]:
    cuts = [chosen_cuts(pair, one.bins, plan, floor=wanted.floor) for one in scores]
    at = int(np.argmax([round(float(worth[0, 0]), 12) for _, worth in cuts]))
    return float(cuts[at][0][0, 0]), scores[at]


def _learned(every: Documents, pair: Pair, way: Candidate, fits: Mask, plan: Plan, wanted: Wanted) -> dict[str, Any]:
    after = way.kind == "cascade"
    columns = every.signals[pair.cheap] if after else every.features
    rows = ~every.failed[pair.cheap] if after else np.ones(every.n, bool)
    names = ways.usable(columns, rows, tags=wanted.tags)
    inputs = ways.matrix(columns, names, every.n)
    own = np.flatnonzero(fits & rows)
    signal = fit_signal(names, inputs[own], every.error[pair.cheap][own])
    bins: Binned = binned(predicted(signal, inputs), fits & rows)
    return {"signal": signal, "threshold": float(chosen_cuts(pair, bins, plan, floor=wanted.floor)[0][0, 0])}


def asked(
    policy: Policy, requests: Mapping[str, Request], records: Mapping[str, Record], ids: Sequence[str]
) -> list[tuple[Side, ...]]:
    """Whom a policy asks about each document, in order, by `policy.choose` on the cheap option's stored calls: what a live
    hybrid does. Empty: nobody may be shown the document. `requests` and `records` (of the cheap option): by id."""
    found: list[tuple[Side, ...]] = []
    for name in ids:
        first = choose(policy, requests[name], ())
        then = choose(policy, requests[name], records[name].calls) if first == "cheap" else None
        found.append(tuple(side for side in (first, then) if side is not None))
    return found


def replayed(
    policy: Policy, requests: Mapping[str, Request], records: Mapping[str, Record], ids: Sequence[str]
) -> list[Side | None]:
    """The last one that a policy asks about each document; `None`: nobody may be shown it."""
    return [sides[-1] if sides else None for sides in asked(policy, requests, records, ids)]
