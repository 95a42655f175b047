"""Has the model behind a name changed? Two canaries (few documents, each asked several times) against each other. Pure.

Quality, tokens and latency are compared as `compare` does it: repeats averaged inside a document, then paired. The
answers themselves are compared by what they disagree in, beyond what repeats of one run disagree in anyway:

    d(x, y)  share of the leaves (schema path, normal form of the value) of two answers that are not in both,
             1 - |x & y| / |x | y| over multisets (Jaccard)
    E        of a document: mean d between the runs - (mean d within one + mean d within the other) / 2

(the energy statistic of Szekely & Rizzo 2004, one a document). Where nothing changed a document's answers are
exchangeable, so the test shuffles them between the two runs, inside each document and independently over documents, and
counts how often the sum of E is as large as the one seen: p = (1 + count) / (1 + draws) (stratified permutation test,
Davison & Hinkley 1997, section 4.3). It holds its size however noisy the answers are, and without any noise too. One
document of three repeats alone cannot do better than p = 0.1: its answers part as they do in 2 of 20 shuffles.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.comparing import paired
from evals.analysis.comparing.baseline import Side
from evals.analysis.comparing.compare import TIMES, Pair, conditions, findings, is_tested, join
from evals.analysis.comparing.paired import SAME_ANSWERS, Tested
from evals.errors import INFRASTRUCTURE, DataError
from evals.metrics.normalise import normalise
from evals.stats import Array, holm, mean_t, minimum_detectable_difference

ALPHA, POWER = 0.05, 0.8
DRAWS = 4999
MOST_SPLITS = 500
"""Ways to part a document's answers that are enumerated; of more, so many are drawn."""
WATCHED = {
    "f1": "quality",
    "exact": "quality",
    "answers": "answers",
    "output_tokens": "tokens",
    **dict.fromkeys(TIMES, "latency"),
}
"""Metric -> the word of `watch` that it stands under."""
Answer = Counter[tuple[str, str]]
Answers = Mapping[str, Sequence[Answer]]
"""Sample -> its answers, a multiset of leaves each."""


def answers_of(folder: Path, rows: pd.DataFrame) -> dict[str, list[Answer]]:
    """Every document's answers in normal form; those that failed for reasons that are not the model's are left out."""
    scorer = store.read_json(folder / "manifest.json")["hashes"].get("scorer")
    errors = {(row.sample_id, row.repeat): row.error for row in rows[["sample_id", "repeat", "error"]].itertuples()}
    found: dict[str, list[Answer]] = {}
    for line in store.scores(folder, scorer):
        error = errors.get((line["sample_id"], line["repeat"]))
        if error not in INFRASTRUCTURE:
            found.setdefault(line["sample_id"], []).append(_answer(line, error))
    return found


def _answer(line: Mapping[str, Any], error: Any) -> Answer:
    if isinstance(error, str):
        return Counter({("", f"failed: {error}"): 1})
    if line["metrics"].get("parse_lenient") == 0:
        return Counter({("", "unreadable"): 1})
    leaves = ((leaf["path"], normalise(leaf.get("answer"), leaf["kind"])) for leaf in line.get("fields", ()))
    return Counter((path, repr(value)) for path, value in leaves if value is not None)


def distance(x: Answer, y: Answer) -> float:
    """1 - |x & y| / |x | y|; two empty answers are the same."""
    union = (x | y).total()
    return 1 - (x & y).total() / union if union else 0.0


# The test -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Block:
    """Documents with as many answers in either run."""

    names: Sequence[str]
    distances: Array
    """documents x answers x answers, those of the first run first."""
    sizes: Array
    """Leaves of a document's answers, in the mean."""
    first: int
    """Answers of the first run."""
    splits: Array
    """ways x answers: 1 where the answer goes to the first run; the way they really parted comes first."""

    @cached_property
    def energy(self) -> Array:
        """documents x ways."""
        return _energy(self.distances, self.splits, self.first)

    @cached_property
    def effects(self) -> Array:
        """By how much one leaf that changes moves a document's distances: of L leaves s are in both of two answers, where
        d = 1 - s / (2L - s); the change takes one leaf's share of them away."""
        apart = self.distances.sum(axis=(1, 2)) / (self.splits.shape[1] * (self.splits.shape[1] - 1))
        leaves = np.maximum(self.sizes, 1.0)
        shared = 2 * leaves * (1 - apart) / (2 - apart)
        left = shared - shared / leaves
        return np.asarray(1 - left / (2 * leaves - left) - apart)

    @cached_property
    def shifted(self) -> Array:
        """ways x ways: what a distance of 1 more between the runs, parted the second way, adds to E of the first."""
        parted = self.splits[:, :, None] != self.splits[:, None, :]
        return _energy(parted.astype(np.float64), self.splits, self.first).T


def _energy(distances: Array, splits: Array, first: int) -> Array:
    other, second = 1 - splits, splits.shape[1] - first
    between = np.einsum("si,dij,sj->ds", splits, distances, other, optimize=True) / (first * second)
    within = []
    for part, size in ((splits, first), (other, second)):
        if size > 1:
            within.append(np.einsum("si,dij,sj->ds", part, distances, part, optimize=True) / (size * (size - 1)))
    return np.asarray(between - sum(within) / len(within))


def blocks(a: Answers, b: Answers, *, seed: int = 0) -> list[Block]:
    """The documents that both answered, by how often; of one answer on either side nothing can be said."""
    kinds: dict[tuple[int, int], list[str]] = {}
    for name in sorted(a.keys() & b.keys()):
        if a[name] and b[name] and len(a[name]) + len(b[name]) > 2:
            kinds.setdefault((len(a[name]), len(b[name])), []).append(name)
    found = []
    for (first, second), names in kinds.items():
        both = [[*a[name], *b[name]] for name in names]
        matrices = [[[distance(x, y) for y in part] for x in part] for part in both]
        sizes = [sum(one.total() for one in part) / len(part) for part in both]
        ways = _splits(first, second, seed)
        found.append(Block(names=names, distances=np.array(matrices), sizes=np.array(sizes), first=first, splits=ways))
    return found


def _splits(first: int, second: int, seed: int) -> Array:
    """All ways to choose `first` of the answers, or as many as are kept; as they were parted first."""
    whole = first + second
    if math.comb(whole, first) <= MOST_SPLITS:
        chosen: Any = list(combinations(range(whole), first))  # begins with 0, 1, 2, ...
    else:
        random = np.random.default_rng(seed)
        chosen = [range(first), *(random.permutation(whole)[:first] for _ in range(MOST_SPLITS - 1))]
    ways = np.zeros((len(chosen), whole))
    for row, places in zip(ways, chosen, strict=True):
        row[list(places)] = 1
    return ways


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """What the answers of two runs disagree in beyond their own noise."""

    tested: Tested
    """Baseline: mean within the runs; own: mean between them; difference: the excess E; p by permutation."""
    changed: Sequence[str]
    """Documents none of whose answers was given in the other run."""
    n: int


def disagreement(found: Sequence[Block], *, draws: int = DRAWS, seed: int = 0) -> Disagreement | str:
    """The test of the answers; a word instead where there are too few documents."""
    n = sum(len(block.names) for block in found)
    if n < 2:
        return "no documents with repeats on both sides"
    excess = np.concatenate([block.energy[:, 0] for block in found])
    between = np.concatenate([block.distances[:, : block.first, block.first :].mean(axis=(1, 2)) for block in found])
    changed = [
        name
        for block in found
        for name, part in zip(block.names, block.distances[:, : block.first, block.first :], strict=True)
        if (part > 0).all()
    ]
    value = mean_t(excess)
    within = float((between - excess).mean())
    told = Tested(baseline=0.0 if within < 1e-12 else within, own=mean_t(between), difference=value)
    if not any(block.distances.any() for block in found):
        told = Tested(**{**vars(told), "difference": paired.unchanged(n), "p": 1.0, "sd": 0.0, "note": SAME_ANSWERS})
        return Disagreement(tested=told, changed=[], n=n)
    p = _p(found, draws, np.random.default_rng(seed))
    told = Tested(**{**vars(told), "p": p, "sd": float(excess.std(ddof=1)), "test": "permutation inside documents"})
    return Disagreement(tested=told, changed=changed, n=n)


def _p(found: Sequence[Block], draws: int, random: np.random.Generator) -> float:
    seen = sum(float(block.energy[:, 0].sum()) for block in found)
    drawn = np.zeros(draws)
    for block in found:
        for row in block.energy:  # a document
            drawn += row[random.integers(0, len(row), draws)]
    return (1 + int((drawn >= seen - 1e-9).sum())) / (1 + draws)


def least_changed(found: Sequence[Block], *, alpha: float, power: float = POWER, seed: int = 0) -> int | None:
    """The fewest documents whose answers must change in one leaf for the test to show it with this power; `None`: all
    of them do not suffice. By simulation: answers shuffled between the runs, a change put into some documents."""
    n = sum(len(block.names) for block in found)
    if n == 0:
        return None
    times, draws = (100 if n <= 100 else 60), max(499, math.ceil(4 / alpha))
    low, high = 1, n
    if _power(found, n, alpha, times, draws, seed) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if _power(found, middle, alpha, times, draws, seed) >= power:
            high = middle
        else:
            low = middle + 1
    return low


def _power(found: Sequence[Block], changed: int, alpha: float, times: int, draws: int, seed: int) -> float:
    random, seen = np.random.default_rng(seed), 0
    n = sum(len(block.names) for block in found)
    for _ in range(times):
        marked = np.zeros(n, dtype=bool)
        marked[random.choice(n, changed, replace=False)] = True
        total, drawn, at = 0.0, np.zeros(draws), 0
        for block in found:
            size, ways = block.energy.shape
            truth = random.integers(0, ways, size)
            moved = block.effects * marked[at : at + size]
            tables = block.energy + moved[:, None] * block.shifted.T[truth]
            total += float(tables[np.arange(size), truth].sum())
            drawn += np.take_along_axis(tables, random.integers(0, ways, (size, draws)), axis=1).sum(axis=0)
            at += size
        seen += (1 + int((drawn >= total - 1e-9).sum())) / (1 + draws) <= alpha
    return seen / times


# Rows ---------------------------------------------------------------------------------------------------------


def compared(before: Side, now: Side) -> tuple[list[dict[str, Any]], list[Block], Sequence[str]]:
    """A row a metric, as `compare` has them, the blocks of the answers, and the documents that changed wholly."""
    for side in (before, now):
        if cached := int(side.rows["cached"].sum()):
            raise DataError(f"{side.where} holds {cached} answers of the response cache; a canary is asked afresh")
    pair = join(before, now)
    rows = list(findings(pair, ("f1", "exact", *TIMES), (), conditions(before, now), ()))
    found = blocks(*(answers_of(Path(side.where), side.rows) for side in (before, now)))
    told = disagreement(found)
    rows.insert(2, _row("answers", told if isinstance(told, str) else told.tested))
    rows.insert(3, _row("output_tokens", _tokens(pair)))
    return rows, found, () if isinstance(told, str) else told.changed


def _tokens(pair: Pair) -> Tested | str:
    left, right = (side["output_tokens"].to_numpy(np.float64) for side in (pair.a, pair.b))
    known = ~np.isnan(left) & ~np.isnan(right)
    if not known.any():
        return "tokens are not reported"
    groups = None if pair.groups is None else pair.groups[known]
    return paired.relative_mean(left[known], right[known], groups)


def _row(metric: str, found: Tested | str) -> dict[str, Any]:
    empty = ("baseline", "candidate", "candidate_low", "candidate_high", "difference", "low", "high")
    row: dict[str, Any] = {"metric": metric, "slice": None, "field": None, **dict.fromkeys(empty)}
    row |= dict.fromkeys(("relative", "relative_low", "relative_high", "p", "sd", "test"))
    if isinstance(found, str):
        return row | {"n": 0, "verdict": "not measured", "note": found}
    row |= {"baseline": found.baseline, "candidate": found.own.value}
    row |= {"candidate_low": found.own.low, "candidate_high": found.own.high}
    row |= {"difference": found.difference.value, "low": found.difference.low, "high": found.difference.high}
    row |= {"relative": found.relative.value, "relative_low": found.relative.low, "relative_high": found.relative.high}
    return row | {"p": found.p, "sd": found.sd, "test": found.test, "n": found.difference.n, "note": found.note}


def judge(rows: list[dict[str, Any]], watch: Sequence[str], *, alpha: float = ALPHA) -> list[dict[str, Any]]:
    """Holm over all rows that test something, a verdict each, and the least difference that would have been seen (one
    test of Holm's strictest step; where no document differs, what so many leave possible)."""
    adjusted = holm([_number(row["p"]) if is_tested(row) else math.nan for row in rows])
    tests = max(1, sum(not math.isnan(p) for p in adjusted))
    for row, p in zip(rows, adjusted, strict=True):
        row["watched"] = WATCHED[row["metric"]] in watch
        row["p_holm"] = 1.0 if row["note"] == SAME_ANSWERS else p
        row["detectable"] = _detectable(row, alpha / tests)
        row["verdict"] = row.get("verdict") or _verdict(row, alpha)
    return rows


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _detectable(row: Mapping[str, Any], alpha: float) -> float | None:
    sd, n = _number(row["sd"]), row["n"]
    if row["note"] == SAME_ANSWERS:
        return None if math.isnan(_number(row["high"])) else float(row["high"])
    if math.isnan(sd) or n < 2 or row["metric"] == "answers":
        return None
    return minimum_detectable_difference(sd, n, alpha=alpha)


def _verdict(row: Mapping[str, Any], alpha: float) -> str:
    if row["p_holm"] < alpha:
        return "changed"
    return "perhaps" if _number(row["p"]) < alpha else "no change seen"
