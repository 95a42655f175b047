"""Choosing a threshold on some documents, counting it on others. Pure.

A `Pair` is a cheap and a strong option with what escalating each document adds; a cut is chosen where the gain over the
pair's random mix of equal cost is largest, or where a quality floor is first reached. Never on the documents it is
counted on: with a useless signal and 100 documents an in-sample cut seems to gain two points.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals.analysis.routing.documents import Documents, Mask
from evals.core import DataClass
from evals.policy import forbidden
from evals.stats import Array

BINS = 256
"""At most so many cuts are tried, at quantiles of the score; with fewer distinct scores, all."""
ONE_SIDED = 1.645
BEHIND = 1e12
"""Dollars that stand for missing the floor."""
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which documents fit and which are counted. `folds`: repeats x documents, the fold in which each is counted; -1
    is never counted, and fits in all."""

    folds: Codes
    count: int
    """Folds a repeat."""
    about: str

    def train(self, repeat: int, fold: int) -> Mask:
        """The documents that fit what is counted in this fold."""
        return np.asarray(self.folds[repeat] != fold if self.count > 1 else self.folds[repeat] < 0)


def cross_fitted(n: int, *, groups: Codes | None, folds: int = 5, repeats: int = 5, seed: int = 0) -> Plan:
    """Documents dealt to folds at random, groups whole, anew for each repeat."""
    codes = np.arange(n) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = int(codes.max()) + 1
    count = min(folds, units)
    random = np.random.default_rng(seed)
    dealt = [random.permutation(units) % count for _ in range(repeats)]
    return Plan(
        folds=np.stack([one[codes] for one in dealt]).astype(np.int64),
        count=count,
        about=f"cross-fitted by document ({count}-fold, {repeats} times)",
    )


def held_out(fits: Mask, about: str) -> Plan:
    """One set of documents fits, the others are counted."""
    return Plan(folds=np.where(fits, -1, 0)[None].astype(np.int64), count=1, about=about)


# A pair -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Rows are hits, whole, cost; columns documents. Cost is strong calls where dollars are not known of both."""

    cheap: int
    strong: int
    cascade: bool
    base: Array
    """Where nothing escalates."""
    step: Array
    """What a document adds when it goes to the strong option."""
    top: Array
    """Where the strong option alone answers."""
    forced: Mask
    """Goes to the strong option whatever the score: the cheap one failed, or may not see it."""
    kept: Mask
    """Never goes to the strong option: it may not see it."""
    dollars: bool
    beside: int | None = None
    """A third option that is always asked too, for what it agrees with."""


def pair_of(found: Documents, cheap: int, strong: int, *, cascade: bool, beside: int | None = None) -> Pair:
    """The two options' arrays, with who may see what, and failures that escalate, built in."""
    asked = [cheap, strong, *([] if beside is None else [beside])]
    dollars = not np.isnan(found.cost[asked]).any()
    nothing, one = np.zeros(found.n), np.ones(found.n)
    low = np.stack([found.hits[cheap], found.whole[cheap], found.cost[cheap] if dollars else nothing])
    high = np.stack([found.hits[strong], found.whole[strong], found.cost[strong] if dollars else one])
    may = [may_see(found, side) for side in (cheap, strong)]
    kept, only = may[0] & ~may[1], may[1] & ~may[0]
    through = np.stack([*sent_on(found, cheap, strong, cascade=cascade), high[2] + (low[2] if cascade else 0.0)])
    forced = (found.failed[cheap] & ~kept & ~only) if cascade else np.zeros(found.n, bool)
    base = np.where(only, high, np.where(forced, through, low))
    if beside is not None and dollars:
        base[2] += found.cost[beside]
    step = np.where(kept | only | forced, 0.0, through - low)
    return Pair(
        cheap=cheap,
        strong=strong,
        cascade=cascade,
        base=base,
        step=step,
        top=np.where(kept, low, high),
        forced=forced | only,
        kept=kept,
        dollars=dollars,
        beside=beside,
    )


def sent_on(found: Documents, cheap: int, strong: int, *, cascade: bool) -> Array:
    """Hits and whole of every document where the strong option is asked: of a cascade's that it fails, the cheap answer's,
    which stands. 2 x documents."""
    stands = found.failed[strong] & ~found.failed[cheap] & cascade
    return np.where(
        stands,
        np.stack([one[cheap] for one in (found.hits, found.whole)]),
        np.stack([one[strong] for one in (found.hits, found.whole)]),
    )


def may_see(found: Documents, at: int) -> Mask:
    """Which documents an option may be shown."""
    if not found.data_class or all(name == "public" for name in found.data_class):
        return np.ones(found.n, bool)
    place = found.places.get(found.options[at], {})
    allowed = {
        name: forbidden(_class(name), location=place.get("location"), terms=place.get("terms")) is None
        for name in set(found.data_class)
    }
    return np.array([allowed[name] for name in found.data_class], bool)


def _class(name: str) -> DataClass:
    return name if name in ("public", "internal") else "restricted"  # type: ignore[return-value]


def aimed(found: Documents, cheap: int, strong: int, rows: Mask, floor: float | None) -> float | None:
    """What to aim at so that a quality's lower bound (one-sided, 95 %) reaches the floor: the floor and 1.645 standard
    errors, the mean of the two options' on the documents that are counted.

    Of a ratio, linearised: se^2 = n/(n-1) sum (h - r w)^2 / (sum w)^2 (Cochran 1977, chapter 6).
    """
    if floor is None:
        return None
    errors = []
    for at in (cheap, strong):
        hits, whole = found.hits[at][rows], found.whole[at][rows]
        n, total = len(hits), whole.sum()
        residual = hits - hits.sum() / total * whole
        errors.append(float(np.sqrt(n / (n - 1) * (residual @ residual)) / total))
    return floor + ONE_SIDED * sum(errors) / 2


def totals_of(pair: Pair, share: Array) -> Array:
    """Hits, whole and cost of every document when this share of it (0..1) goes to the strong option: 3 x documents."""
    return pair.base + pair.step * share


def mix_quality(base: Array, top: Array, cost: Array) -> Array:
    """Quality of the random mix of two options that costs `cost` in all. `base`, `top`: (hits, whole, cost) first.

    Below the cheap option's cost: its own quality; above the strong one's: the strong one's.
    """
    spread = top[2] - base[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(spread > 0, (cost - base[2]) / spread, (cost > base[2]) * 1.0)
        share = np.clip(share, 0.0, 1.0)
        return np.asarray(((1 - share) * base[0] + share * top[0]) / ((1 - share) * base[1] + share * top[1]))


# Cuts ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Binned:
    """A score's documents in bins of rising score, and the cuts below, between and above them."""

    score: Array
    code: Codes
    cuts: Array
    """bins + 1: from all documents above the cut to none."""


def binned(score: Array, rows: Mask | None = None) -> Binned:
    """Bins of equal count at most `BINS`; equal scores are never parted. Cuts lie half way between neighbours.

    `rows`: the documents whose scores make the bins.
    """
    values = np.unique(score if rows is None else score[rows])
    if len(values) > BINS:
        own = np.sort(score if rows is None else score[rows])
        values_at = np.unique(own[np.linspace(0, len(own) - 1, BINS).round().astype(int)])
        place = np.searchsorted(values, values_at)
        between = (values[place[:-1]] + values[np.minimum(place[:-1] + 1, len(values) - 1)]) / 2
    else:
        between = (values[:-1] + values[1:]) / 2
    lowest, highest = float(values[0]), float(values[-1])
    cuts = np.concatenate([[lowest - 1e-9 * max(1.0, abs(lowest))], between, [highest]])
    return Binned(score=score, code=np.searchsorted(cuts[1:-1], score, side="left").astype(np.int64), cuts=cuts)


def chosen_cuts(pair: Pair, bins: Binned, plan: Plan, *, floor: float | None) -> tuple[Array, Array]:
    """Threshold and its worth on the documents that fit, repeats x folds: the gain; with `floor` the dollars it takes,
    below 0, and what does not reach the floor behind all that does.

    The cut of largest gain over the random mix of equal cost; with `floor`, the cheapest that reaches this quality, and
    where none does, the one of best quality. Ties: the higher threshold.
    """
    size, repeats = len(bins.cuts) - 1, len(plan.folds)
    columns = np.stack([*pair.step, *pair.base, *pair.top])
    cuts, worth = np.empty((repeats, plan.count)), np.empty((repeats, plan.count))
    for repeat in range(repeats):
        sums = _by_fold_and_bin(columns, plan.folds[repeat] + 1, bins.code, plan.count + 1, size)
        fitted = sums.sum(axis=1, keepdims=True) - sums[:, 1:] if plan.count > 1 else sums[:, :1]
        above = np.concatenate([fitted[:3, :, ::-1].cumsum(axis=2)[:, :, ::-1], np.zeros((3, plan.count, 1))], axis=2)
        base, top = fitted[3:6].sum(axis=2)[:, :, None], fitted[6:].sum(axis=2)[:, :, None]
        cuts[repeat], worth[repeat] = _best(above + base, base, top, bins.cuts, floor)
    return cuts, worth


def _by_fold_and_bin(columns: Array, fold: Codes, code: Codes, folds: int, bins: int) -> Array:
    place = fold * bins + code
    return np.stack([np.bincount(place, row, folds * bins).reshape(folds, bins) for row in columns])


def _best(total: Array, base: Array, top: Array, cuts: Array, floor: float | None) -> tuple[Array, Array]:
    """The best cut of each fold. `total`: 3 x folds x cuts."""
    with np.errstate(divide="ignore", invalid="ignore"):
        quality = total[0] / total[1]
    gain = np.nan_to_num(quality - mix_quality(base, top, total[2]), nan=-np.inf)
    if floor is None:
        worth = gain
    else:
        short = np.nan_to_num(quality, nan=0.0) - BEHIND
        worth = np.where(quality >= floor, -total[2], short)
    size = worth.shape[1]
    best = size - 1 - np.argmax(np.round(worth[:, ::-1], 12), axis=1)
    rows = np.arange(len(best))
    return cuts[best], np.where(np.isfinite(worth[rows, best]), worth[rows, best], 0.0)


def decided(pair: Pair, above: Mask) -> Mask:
    """Who goes to the strong option, when these documents are above the threshold."""
    return (above & ~pair.kept) | pair.forced


def counted(plan: Plan) -> Mask:
    """The documents that are counted."""
    return np.asarray((plan.folds >= 0).all(axis=0))


def out_of_fold(plan: Plan, repeat: int, per_fold: Sequence[Any]) -> Array:
    """Each document's value by the fold in which it is counted: `per_fold` holds an array over documents, or a number."""
    found = np.full(plan.folds.shape[1], np.nan)
    for fold in range(plan.count):
        own = plan.folds[repeat] == fold
        values = per_fold[fold]
        found[own] = values[own] if isinstance(values, np.ndarray) and values.ndim else values
    return found
