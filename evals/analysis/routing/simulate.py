"""Hybrids of stored options, simulated: what they would have scored, cost and taken, and what that gains.

Every decision is made by what was fitted without the document (`crossfit`). The gain is counted against the best single
option, the random mix of the same two options, and the hull of all mixes, each with a paired bootstrap over documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from evals.analysis.routing import candidates as ways
from evals.analysis.routing.candidates import Candidate, Fitted
from evals.analysis.routing.crossfit import Pair, Plan, aimed, counted, cross_fitted, held_out, may_see, pair_of
from evals.analysis.routing.documents import Documents, Mask, joined, subset
from evals.analysis.routing.verdicts import Drawn, rows_of, widening
from evals.analysis.routing.worth import areas, calibrated, signals_told
from evals.catalog import nearest
from evals.errors import ConfigError, DataError
from evals.policy.choosing import unit

LEAST = 20
"""Fewer documents than this route nothing."""
SHIFT = 0.1
"""Mean errors of two splits that are further apart than this are told."""
DETAILED = 3
"""With at most so many pairs, every signal and feature alone is told too."""
PREROUTER = "pre-router"
NESTED = (ways.FITTED, ways.BEST_SIGNAL, ways.BEST_RULE, PREROUTER)
"""Whose gain is a claim: chosen by a procedure that saw none of the documents it is counted on."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is simulated."""

    cheap: str | None = None
    strong: str | None = None
    """Option names; `None`: every pair whose costlier option is the better one."""
    floor: float | None = None
    """Quality to reach; `None`: routing is tuned for the largest gain over the random mix."""
    margin: float = 0.02
    """Without a floor: how much below the best single option still counts as good as it."""
    share: float = 0.5
    """Of the random mix that is told."""
    tags: bool = False
    """May the learned router look at tags?"""
    twin: bool = True
    folds: int = 5
    repeats: int | None = None
    """Of the cross-fit; `None`: 5, from 2,000 documents on 2."""
    draws: int = 1000
    seed: int = 0
    level: float = 0.95
    volume_per_day: float = 1000.0


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A simulation: `report` is plain data, the rest is for plots, tables and saved policies."""

    report: dict[str, Any]
    documents: Documents
    plan: Plan
    candidates: Sequence[tuple[Pair, Candidate]]
    """In the order of the report's hybrids."""


def route(found: Documents, wanted: Wanted, notes: Sequence[str] = (), *, dev: Documents | None = None) -> Routed:
    """Simulate routing over the documents that all options answered; `dev`: documents to fit on instead.

    Raises `DataError` for fewer than 20 documents, `ConfigError` for options that are not there.
    """
    notes = list(notes)
    if len(found.options) < 2:
        raise DataError(f"routing chooses between options: there is only {found.options[0]!r}")
    if found.n < LEAST:
        raise DataError(f"{found.n} documents are too few to route on; at least {LEAST} are needed")
    pairs = chosen_pairs(found, wanted, notes)
    every, plan = _planned(found, wanted, pairs, dev, notes)
    pairs = [(every.at(found.options[a]), every.at(found.options[b])) for a, b in pairs]
    rows = counted(plan)
    notes += _hidden(found)
    if plan.count == 1:
        notes += _shifts(every, pairs, rows)
    made = _candidates(every, pairs, plan, wanted)
    kept = subset(every, rows)
    drawn = Drawn(kept, [(pair, way.share[rows]) for pair, way in made], wanted)
    hybrids = rows_of(kept, made, drawn, rows, nested=NESTED, wide=widening(plan))
    report = {
        "documents": int(rows.sum()),
        "fitted": plan.about,
        "level": wanted.level,
        "draws": wanted.draws,
        "floor": wanted.floor,
        "volume_per_day": wanted.volume_per_day,
        "singles": drawn.singles(),
        "hybrids": hybrids,
        "aiq": areas(every, made, rows),
        "calibration": calibrated(every, made, rows),
        "signals": signals_told(kept, {kept.options[pair.cheap] for pair, _ in made}),
        "notes": notes,
    }
    return Routed(report=report, documents=every, plan=plan, candidates=made)


def chosen_pairs(found: Documents, wanted: Wanted, notes: list[str]) -> list[tuple[int, int]]:
    """(cheap, strong) places: those that are named, else every pair whose costlier option is better."""
    for name in (wanted.cheap, wanted.strong):
        if name is not None and name not in found.options:
            raise ConfigError(f"the option {name!r} is not among these runs{nearest(name, found.options)}")
    order, by = cheapest_first(found)
    quality = found.hits.sum(axis=1) / found.whole.sum(axis=1)
    cheap = None if wanted.cheap is None else found.at(wanted.cheap)
    strong = None if wanted.strong is None else found.at(wanted.strong)
    if cheap is not None and cheap == strong:
        raise ConfigError(f"cheap and strong are both {wanted.cheap!r}; a hybrid has two options")
    if cheap is not None and strong is not None:
        return [(cheap, strong)]
    every = [(a, b) for a, b in combinations(order, 2) if cheap in (None, a) and strong in (None, b)]
    if cheap is not None or strong is not None:
        if not every:
            raise ConfigError(f"no option is {'costlier' if cheap is not None else 'cheaper'} than that one (by {by})")
        return every
    good = [(a, b) for a, b in every if quality[b] > quality[a]]
    notes.append(f"cheap and strong are told apart by {by}")
    if len(good) < len(every):
        notes.append(f"{len(every) - len(good)} of {len(every)} pairs are left out: their costlier option is no better")
    if not good:
        raise DataError(
            f"by {by}, no costlier option is better than a cheaper one: the cheapest, "
            f"{found.options[order[0]]}, is the best; name cheap=OPTION strong=OPTION to simulate a pair all the same"
        )
    return good


def cheapest_first(found: Documents) -> tuple[list[int], str]:
    """Places by rising cost; where it is not known of all, by latency, else by quality; and by which."""
    quality = found.hits.sum(axis=1) / found.whole.sum(axis=1)
    for values, name in ((found.cost, "cost"), (found.latency, "latency")):
        known = (~np.isnan(values)).any(axis=1)
        if known.all():
            mean = np.nanmean(values, axis=1)
            if len(np.unique(mean)) > 1:
                return [int(at) for at in np.lexsort((quality, mean))], name
    return [int(at) for at in np.argsort(quality, kind="stable")], "quality"


def _planned(
    found: Documents, wanted: Wanted, pairs: Sequence[tuple[int, int]], dev: Documents | None, notes: list[str]
) -> tuple[Documents, Plan]:
    used = {found.options[at] for pair in pairs for at in pair}
    fresh = 0 if dev is None else len(set(dev.ids) - set(found.ids))
    if dev is not None and used <= set(dev.options) and fresh >= LEAST:
        options = [name for name in found.options if name in dev.options]
        if len(options) < len(found.options):
            notes.append("options without a run of dev are left out")
        every = joined(dev, found)
        own = np.array([True] * (every.n - found.n) + [False] * found.n, bool)
        return every, held_out(own, f"fitted on {int(own.sum())} documents of dev")
    if dev is not None:
        lacking = ", ".join(sorted(used - set(dev.options)))
        reason = f"no run there of {lacking}" if lacking else f"{fresh} documents that are not counted, under {LEAST}"
        notes.append(f"not fitted on dev ({reason}): cross-fitted")
    repeats = wanted.repeats or (2 if found.n >= 2000 else 5)
    plan = cross_fitted(found.n, groups=found.groups, folds=wanted.folds, repeats=repeats, seed=wanted.seed)
    if plan.count < 2:
        raise DataError("all documents are of one group: nothing can be fitted without the documents it is counted on")
    return found, plan


def _hidden(found: Documents) -> list[str]:
    """Options that may not be shown some of the documents: alone, and in a random mix, they are not to be had."""
    told = []
    for at, option in enumerate(found.options):
        if count := int((~may_see(found, at)).sum()):
            told.append(
                f"{option} may not be shown {count} of the documents: alone, or in a random mix, it is not to be had"
            )
    return told


def _shifts(every: Documents, pairs: Sequence[tuple[int, int]], rows: Mask) -> list[str]:
    """Cheap options that err so differently where they were fitted that P(error) cannot be expected to carry over."""
    told = []
    for cheap in sorted({cheap for cheap, _ in pairs}):
        there, here = every.error[cheap][~rows].mean(), every.error[cheap][rows].mean()
        if abs(there - here) > SHIFT:
            told.append(
                f"{every.options[cheap]} errs {there:.2f} where it was fitted and {here:.2f} where it is counted: "
                "P(error) does not carry over; fit=cross fits it on the documents that are counted"
            )
    return told


# Candidates ---------------------------------------------------------------------------------------------------


def _candidates(
    every: Documents, pairs: Sequence[tuple[int, int]], plan: Plan, wanted: Wanted
) -> list[tuple[Pair, Candidate]]:
    """Every way of routing of every pair; what is fitted of the cheap option serves all its pairs."""
    detailed, made, rows = len(pairs) <= DETAILED, list[tuple[Pair, Candidate]](), counted(plan)
    tagged = bool(every.data_class) and set(every.data_class) != {"public"}
    features = ways.single_features(every.features, np.ones(every.n, bool))
    kept: dict[tuple[int, str, bool], Fitted] = {}
    first = sorted({cheap for cheap, _ in pairs})
    signals = {cheap: ways.single_signals(every.signals[cheap], ~every.failed[cheap]) for cheap in first}
    places = np.array([unit(name) for name in every.ids])

    def learned(cheap: int, what: str, twin: bool) -> Fitted:
        if (cheap, what, twin) not in kept:
            columns = every.signals[cheap] if what == "signals" else every.features
            fits = ~every.failed[cheap] if what == "signals" else np.ones(every.n, bool)
            seed = wanted.seed + 1 if twin else None
            kept[cheap, what, twin] = ways.fitted(
                columns, every.error[cheap], fits, plan, tags=wanted.tags, shuffle=seed
            )
        return kept[cheap, what, twin]

    for cheap, strong in pairs:
        floor = aimed(every, cheap, strong, rows, wanted.floor)
        before = pair_of(every, cheap, strong, cascade=False)
        after = pair_of(every, cheap, strong, cascade=True)
        found: list[tuple[Pair, Candidate]] = [(before, ways.oracle(every, before))]
        found.append((before, ways.random_mix(places, before, wanted.share)))
        if tagged:
            found.append((before, ways.privacy_route(every, before)))
        parts = (
            (after, "cascade", signals[cheap], ways.BEST_SIGNAL, "signals", ways.FITTED),
            (before, "rule", features, ways.BEST_RULE, "features", PREROUTER),
        )
        for pair, kind, scores, best, what, name in parts:
            alone = ways.one_by_one(scores, pair, plan, kind=kind, best=best, floor=floor, tags=wanted.tags)
            found += [(pair, one) for one in alone if detailed or one.name == best]
            model = learned(cheap, what, False)
            if model.names:
                of = kind if kind == "cascade" else "preroute"
                way = ways.from_fitted(model, pair, plan, kind=of, name=name, floor=floor)
                found.append((pair, way))
                if wanted.twin and name == PREROUTER:
                    twin = learned(cheap, what, True)
                    shuffled = ways.from_fitted(twin, pair, plan, kind=of, name="twin", floor=floor)
                    found.append((pair, shuffled))
        for beside, score in ways.agreements(every, cheap, strong) if detailed else ():
            pair = pair_of(every, cheap, strong, cascade=True, beside=beside)
            alone = ways.one_by_one([score], pair, plan, kind="agreement", best="", floor=floor)
            found += [(pair, one) for one in alone[1:]]
        made += found
    return made
