"""The ways of routing between two options, each decided for every document by what was fitted without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from evals.analysis.routing.calibration import Places, fit_signal, predicted
from evals.analysis.routing.crossfit import (
    Binned,
    Pair,
    Plan,
    binned,
    chosen_cuts,
    decided,
    held_out,
    out_of_fold,
)
from evals.analysis.routing.documents import Documents, Mask
from evals.core import PolicyKind
from evals.policy.features import TAG
from evals.policy.signals import RISING
from evals.stats import Array

BEST_RULE, BEST_SIGNAL, FITTED = "best rule", "best signal", "P(error)"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way of routing: who goes to the strong option, by repeat and document."""

    kind: PolicyKind | str
    name: str
    strong: Mask
    """Repeats x documents."""
    score: Array | None = None
    """P(error) of each document by models that did not see it, the mean of the repeats."""
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def share(self) -> Array:
        """In which share of the repeats a document goes to the strong option."""
        return np.asarray(self.strong.mean(axis=0), np.float64)


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """P(error) of one option, fitted without each fold: repeats x folds of scores over all documents."""

    names: Sequence[str]
    bins: Sequence[Sequence[Binned]]
    out: Array
    """Repeats x documents: the score of each document by the model that did not see it."""


def oriented(name: str, values: Array) -> dict[str, Any]:
    """A single signal as a policy's score: high is bad. `values` gives what stands for one that is not known."""
    known = values[~np.isnan(values)]
    mean = float(known.mean()) if len(known) else 0.0
    sign = 1.0 if name in RISING else -1.0
    return {"inputs": [name], "mean": [mean], "scale": [1.0], "coef": [sign], "intercept": 0.0, "link": "identity"}


def usable(columns: Mapping[str, Array], rows: Mask, *, tags: bool) -> list[str]:
    """Names of the columns that differ between documents, of these rows."""
    found = []
    for name, values in columns.items():
        known = values[rows & ~np.isnan(values)]
        if len(known) and known.min() != known.max() and (tags or not name.startswith(TAG)):
            found.append(name)
    return sorted(found)


def matrix(columns: Mapping[str, Array], names: Sequence[str], n: int) -> Array:
    """Documents x names."""
    return np.stack([columns[name] for name in names], axis=1) if names else np.zeros((n, 0))


def fitted(
    columns: Mapping[str, Array], error: Array, rows: Mask, plan: Plan, *, tags: bool, shuffle: int | None = None
) -> Fitted:
    """P(error) from all columns, fitted in each fold on `rows` that fit there (an answer that failed fits nothing).

    `shuffle`: a seed with which the errors are shuffled among the documents that fit: the twin that must not win.
    """
    n = len(error)
    names = usable(columns, rows, tags=tags)
    inputs = matrix(columns, names, n)
    bins: list[list[Binned]] = []
    out = np.empty((len(plan.folds), n))
    if not names:
        return Fitted(names=names, bins=bins, out=out)
    for repeat, folds in enumerate(plan.folds):
        own: list[Binned] = []
        for fold in range(plan.count):
            train = plan.train(repeat, fold)
            own.append(_fitted_once(names, inputs, error, train, rows, folds, shuffle, repeat, fold))
        bins.append(own)
        out[repeat] = out_of_fold(plan, repeat, [one.score for one in own])
    return Fitted(names=names, bins=bins, out=out)


def _fitted_once(
    names: Sequence[str],
    inputs: Array,
    error: Array,
    train: Mask,
    rows: Mask,
    folds: Any,
    shuffle: int | None,
    repeat: int,
    fold: int,
) -> Binned:
    fits = np.flatnonzero(train & rows)
    if len(fits) == 0:
        return binned(np.zeros(len(error)))
    target = error[fits]
    if shuffle is not None:
        target = np.random.default_rng([shuffle, repeat, fold]).permutation(target)
    inner = np.unique(folds[fits], return_inverse=True)[1] if (folds[fits] >= 0).all() else None
    signal = fit_signal(names, inputs[fits], target, inner)
    score = predicted(signal, inputs)
    return binned(score, train & rows)


def from_fitted(found: Fitted, pair: Pair, plan: Plan, *, kind: str, name: str, floor: float | None) -> Candidate:
    """Who is above the threshold that was chosen in each fold."""
    rows = []
    for repeat in range(len(plan.folds)):
        per_fold: list[Array] = []
        for fold, bins in enumerate(found.bins[repeat]):
            cut = chosen_cuts(pair, bins, held_out(plan.train(repeat, fold), ""), floor=floor)[0][0, 0]
            per_fold.append((bins.score > cut).astype(np.float64))
        rows.append(decided(pair, out_of_fold(plan, repeat, per_fold) > 0))
    score = np.asarray(found.out.mean(axis=0), np.float64)
    return Candidate(kind=kind, name=name, strong=np.stack(rows), score=score, detail={"inputs": list(found.names)})


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One score for all folds, such as a signal or a feature, with how a policy writes it."""

    name: str
    bins: Binned
    detail: Mapping[str, Any]


def single_signals(columns: Mapping[str, Array], rows: Mask) -> list[Scored]:
    """Each signal of the cheap option's answers alone."""
    found = []
    for name in usable(columns, rows, tags=True):
        signal = oriented(name, columns[name][rows])
        found.append(
            Scored(name=name, bins=binned(predicted(signal, columns[name][:, None])), detail={"signal": signal})
        )
    return found


def single_features(columns: Mapping[str, Array], rows: Mask) -> list[Scored]:
    """Each feature of the documents alone, high ones or low ones to the strong option."""
    found = []
    for name in usable(columns, rows, tags=True):
        values = np.where(np.isnan(columns[name]), np.inf, columns[name])
        for sign, op in ((1.0, ">"), (-1.0, "<")):
            said = f"{name} {op}" if not name.startswith(TAG) else name if op == ">" else f"no {name}"
            score = np.where(np.isinf(values), np.nanmax(np.abs(columns[name])) + 1, sign * values)
            detail = {"rule": {"feature": name, "op": op}, "sign": sign}
            found.append(Scored(name=said, bins=binned(score), detail=detail))
    return found


def agreements(found: Documents, cheap: int, strong: int) -> list[tuple[int, Scored]]:
    """Agreement of the cheap option's answers with those of each other option that costs no more than the strong one.
    A policy cannot be made of it yet: a live hybrid has two models."""
    told = []
    dear = [float(np.mean(found.cost[at])) for at in range(len(found.options))]
    tagged = any(name != "public" for name in found.data_class)
    for at, option in enumerate(found.options):
        values = found.agreement.get(frozenset((found.options[cheap], option)))
        if at in (cheap, strong) or values is None or values.min() == values.max() or dear[at] > dear[strong]:
            continue
        if tagged and found.places.get(option, {}).get("location") != "own":
            continue
        told.append((at, Scored(name=f"agrees with {option}", bins=binned(-values), detail={})))
    return told


def contending(scores: Sequence[Scored], *, tags: bool) -> list[int]:
    """Places of those that a best one is chosen among: without tags, unless a live service has them too."""
    return [at for at, one in enumerate(scores) if tags or TAG not in one.name]


def one_by_one(
    scores: Sequence[Scored], pair: Pair, plan: Plan, *, kind: str, best: str, floor: float | None, tags: bool = True
) -> list[Candidate]:
    """Each score alone, and first the best one: chosen in each fold, by what it gains on the documents that fit."""
    if not scores:
        return []
    cuts = [chosen_cuts(pair, one.bins, plan, floor=floor) for one in scores]
    among = np.array(contending(scores, tags=tags), np.int64)
    worth = np.stack([worth for _, worth in cuts])
    above = np.stack([_above(one.bins, cut, plan) for one, (cut, _) in zip(scores, cuts, strict=True)])
    found = [] if not len(among) else [_best(scores, above, worth, among, pair, plan, kind, best)]
    for one, rows in zip(scores, above, strict=True):
        found.append(Candidate(kind=kind, name=one.name, strong=_decided(pair, rows), detail=one.detail))
    return found


def _best(
    scores: Sequence[Scored], above: Mask, worth: Array, among: Places, pair: Pair, plan: Plan, kind: str, best: str
) -> Candidate:
    """In each fold the score of most worth there."""
    winner = among[np.argmax(np.round(worth[among], 12), axis=0)]
    mixed = np.empty(plan.folds.shape, bool)
    for repeat, folds in enumerate(plan.folds):
        place = winner[repeat][np.clip(folds, 0, None)]
        mixed[repeat] = above[place, repeat, np.arange(len(folds))]
    chosen = {scores[at].name: int(count) for at, count in zip(*np.unique(winner, return_counts=True), strict=True)}
    return Candidate(kind=kind, name=best, strong=_decided(pair, mixed), detail={"chosen": chosen})


def _above(bins: Binned, cuts: Array, plan: Plan) -> Mask:
    """Repeats x documents: is the score above the threshold of the document's fold?"""
    return np.stack([bins.score > cuts[repeat][np.clip(folds, 0, None)] for repeat, folds in enumerate(plan.folds)])


def _decided(pair: Pair, above: Mask) -> Mask:
    return np.stack([decided(pair, row) for row in above])


def random_mix(places: Array, pair: Pair, share: float) -> Candidate:
    """This share of the documents, by their places in 0..1 (`policy.choosing.unit` of the id), as a live mix does it."""
    return Candidate(kind="random_mix", name=f"random {share:.0%}", strong=decided(pair, places < share)[None])


def oracle(found: Documents, pair: Pair) -> Candidate:
    """Each document to the option that did better, ties to the cheap one: nobody can know; an upper bound."""
    error = found.error
    return Candidate(kind="oracle", name="oracle", strong=decided(pair, error[pair.strong] < error[pair.cheap])[None])


def privacy_route(found: Documents, pair: Pair) -> Candidate:
    """The strong option, but for documents that it may not be shown."""
    return Candidate(kind="privacy_route", name="privacy", strong=decided(pair, np.ones(found.n, bool))[None])
