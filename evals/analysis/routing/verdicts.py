"""What a simulated hybrid gains, and whether that can be told from zero: paired bootstrap over documents."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import special

from evals.analysis.routing import mixes
from evals.analysis.routing.candidates import Candidate
from evals.analysis.routing.crossfit import Pair, Plan, mix_quality, sent_on
from evals.analysis.routing.documents import Documents, Mask
from evals.stats import Array, Estimate, holm, quantile, wilson
from evals.stats.draws import resampled, totals

DAYS_A_MONTH = 365.25 / 12
FITTED = ("cascade", "preroute", "rule", "agreement")
"""Kinds whose threshold was chosen on documents."""
ENOUGH = 200
"""Under so many documents no gain is told from zero."""


class Drawn:
    """The totals of singles and hybrids, of the documents as they are (row 0) and of every draw of them."""

    def __init__(self, found: Documents, hybrids: Sequence[tuple[Pair, Array]], wanted: Any) -> None:
        self.found, self.wanted = found, wanted
        self.hybrids = list(hybrids)
        columns = [np.stack([found.hits[at], found.whole[at], found.cost[at]]) for at in range(len(found.options))]
        columns += [np.vstack([share_totals(found, pair, share), share[None]]) for pair, share in self.hybrids]
        columns.append(np.ones((1, found.n)))
        sums, size = _summed(np.concatenate(columns), found, wanted), 3 * len(found.options)
        self.documents: Array = sums[:, -1]
        """How many documents each draw holds: with groups, not always as many."""
        sums = sums[:, :-1]
        self.single: Array = sums[:, :size].reshape(len(sums), -1, 3)
        self.hybrid: Array = sums[:, size:].reshape(len(sums), -1, 4)
        self.priced = [at for at in range(len(found.options)) if not np.isnan(found.cost[at]).any()]
        quality = self.single[0, :, 0] / self.single[0, :, 1]
        self.best = int(np.argmax(quality))
        self.units = found.n if found.groups is None else len(np.unique(found.groups))
        self.shares = found.groups is None and bool((found.whole == 1).all())
        """Is the quality a share of right documents, whose interval is Wilson's?"""

    def bounds(self, values: Array, level: float) -> tuple[float, float]:
        """Of a quality: Wilson's for right or wrong, and where no draw differs from all or nothing; else the draws'."""
        value = float(values[0])
        low, high = (float(one) for one in np.nanquantile(values[1:], [0.5 - level / 2, 0.5 + level / 2]))
        if self.shares or (low == high and value in (0.0, 1.0)):
            one = wilson(min(max(value, 0.0), 1.0) * self.units, self.units, level=level)
            return one.low, one.high
        return low, high

    def of_quality(self, values: Array) -> dict[str, float | None]:
        """A quality with its interval."""
        low, high = self.bounds(values, self.wanted.level)
        value = float(values[0])
        return {"value": value, "low": min(low, value), "high": max(high, value)}

    def estimate(
        self, values: Array, scale: float = 1.0, wide: float = 1.0, bound: float | None = None
    ) -> dict[str, float | None]:
        """Row 0 with the percentile interval of the others, `wide` times as wide; `None` where it is not known.

        Where no draw differs: value +- bound * (1 - ((1-level)/2)^(1/n)), as in `stats.paired_difference`.
        """
        tail = 0.5 - self.wanted.level / 2
        value, drawn = float(values[0]), values[1:]
        if np.isnan(value) or np.isnan(drawn).mean() > 0.05:
            known = None if np.isnan(value) else scale * value
            return {"value": known, "low": None, "high": None}
        low, high = (float(one) for one in np.nanquantile(drawn, [tail, 1 - tail]))
        low, high = (value + wide * (edge - value) for edge in (low, high))
        if bound is not None and high - low <= 1e-12:
            half = bound * (1 - tail ** (1 / self.units))
            low, high = value - half, value + half
        return {"value": scale * value, "low": scale * min(low, value), "high": scale * max(high, value)}

    def quality(self, at: int) -> Array:
        """Of a single option, in every draw."""
        return np.asarray(self.single[:, at, 0] / self.single[:, at, 1])

    def singles(self) -> list[dict[str, Any]]:
        """The options alone."""
        told = []
        for at, option in enumerate(self.found.options):
            own = self.found.latency[at]
            told.append(
                {
                    "option": option,
                    "quality": self.of_quality(self.quality(at)),
                    "usd_per_1k": self.estimate(self.single[:, at, 2] / self.documents, 1000),
                    "latency_p95_s": _p95(own),
                    "failed": int(self.found.failed[at].sum()),
                    "meets_floor": self.meets(self.quality(at), same=at == self.best),
                    "best": at == self.best,
                }
            )
        return told

    def gains(self, at: int) -> dict[str, Array]:
        """Draws of what a hybrid gains over the best single option, its pair's mix, and the hull (if priced)."""
        pair, own = self.hybrids[at][0], self.hybrid[:, at]
        quality = own[:, 0] / own[:, 1]
        base, top = self.single[:, pair.cheap].T, self.single[:, pair.strong].T
        cost = own[:, 2]
        if not pair.dollars:  # shares of strong calls stand for cost
            nothing = np.zeros(len(own))
            base, top, cost = np.stack([*base[:2], nothing]), np.stack([*top[:2], self.documents]), own[:, 3]
        found = {
            "quality": quality,
            "best": quality - self.quality(self.best),
            "mix": quality - mix_quality(base, top, cost),
        }
        if pair.dollars and len(self.priced) > 1:
            found["hull"] = quality - mixes.hull_quality(self.single[:, self.priced], cost[:, None])[:, 0]
        return found

    def savings(self, at: int) -> dict[str, Array]:
        """Draws of dollars a month less than the best single option that reaches the floor, and than the cheapest mix
        that is as good (with a floor: that reaches it)."""
        pair, own, floor = self.hybrids[at][0], self.hybrid[:, at], self.wanted.floor
        if not pair.dollars:
            return {}
        month = self.wanted.volume_per_day * DAYS_A_MONTH / self.documents
        quality = own[:, 0] / own[:, 1] if floor is None else np.full(len(own), floor)
        found = {"mix": month * (mixes.hull_cost(self.single[:, self.priced], quality[:, None])[:, 0] - own[:, 2])}
        rival = self.rival()
        if rival is not None:
            found["single"] = month * (self.single[:, rival, 2] - own[:, 2])
        return found

    def rival(self) -> int | None:
        """The cheapest priced option that surely reaches the floor; without a floor, the best one."""
        if self.wanted.floor is None:
            return self.best if self.best in self.priced else None
        good = [at for at in self.priced if self.meets(self.quality(at), same=True) == "meets"]
        return min(good, key=lambda at: float(self.single[0, at, 2]), default=None)

    def meets(self, quality: Array, *, same: bool) -> str:
        """Does the quality reach the floor (without one: come within the margin of the best single option), at P >= .95?

        `same`: it is one option's own, so that equal draws are no luck.
        """
        floor = self.wanted.floor
        if floor is not None:
            low, high = self.bounds(quality, 0.9)
        else:
            floor = -self.wanted.margin
            drawn = quality[1:] - self.quality(self.best)[1:]
            low, high = (float(one) for one in np.nanquantile(drawn, [0.05, 0.95]))
            if not same and high - low <= 1e-12:
                half = 1 - 0.05 ** (1 / self.units)
                low, high = low - half, high + half
        return "meets" if low >= floor else "fails" if high < floor else "inconclusive"


def _summed(columns: Array, found: Documents, wanted: Any) -> Array:
    """Sums of the columns (rows here) over all documents, and over each draw of them; equal columns are summed once."""
    known: dict[bytes, int] = {}
    place = [known.setdefault(row.tobytes(), len(known)) for row in columns]
    distinct = np.stack([np.frombuffer(row, np.float64) for row in known], axis=1)
    table = totals(distinct, found.groups)
    sums = [table.sum(axis=0, keepdims=True)]
    sums += [counts @ table for counts in resampled(len(table), draws=wanted.draws, seed=wanted.seed)]
    return np.asarray(np.concatenate(sums)[:, place], np.float64)


def share_totals(found: Documents, pair: Pair, share: Array) -> Array:
    """Hits, whole and dollars (NaN where not known) of every document."""
    side = [*sent_on(found, pair.cheap, pair.strong, cascade=pair.cascade), found.cost[pair.strong]]
    own = found.hits[pair.cheap], found.whole[pair.cheap], found.cost[pair.cheap]
    hits, whole = ((1 - share) * own[part] + share * side[part] for part in (0, 1))
    cost = (1.0 if pair.cascade else 1 - share) * own[2] + share * side[2]
    cost = cost if pair.beside is None else cost + found.cost[pair.beside]
    return np.stack([hits, whole, cost])


def latency_of(found: Documents, pair: Pair, strong: Mask) -> Array:
    """Seconds of every document: a cascade's add."""
    low, high = found.latency[pair.cheap], found.latency[pair.strong]
    found_s = np.where(strong, high + (low if pair.cascade else 0.0), low)
    return np.asarray(found_s if pair.beside is None else found_s + found.latency[pair.beside], np.float64)


def _p95(values: Array) -> dict[str, float | None]:
    one = quantile(values, 0.95) if not np.isnan(values).all() else Estimate(np.nan, np.nan, np.nan, 0)
    return {
        name: None if np.isnan(v) else float(v)
        for name, v in zip(("value", "low", "high"), (one.value, one.low, one.high), strict=True)
    }


def widening(plan: Plan) -> float:
    """How much wider than the bootstrap's the interval of a cross-fitted gain is: sqrt(1 + K / (K - 1)), 1.5 for 5 folds.

    The bootstrap holds the thresholds as they are; that they rest on the same documents adds to the variance of a mean
    over folds what Nadeau & Bengio (2003) correct it by, (1/K + n_test/n_train) for 1/K. Fitted elsewhere: 1.
    """
    return 1.0 if plan.count < 2 else float(np.sqrt(1 + plan.count / (plan.count - 1)))


def rows_of(
    found: Documents,
    made: Sequence[tuple[Pair, Candidate]],
    drawn: Drawn,
    rows: Mask,
    *,
    nested: Sequence[str],
    wide: float = 1.0,
) -> list[dict[str, Any]]:
    """Each hybrid as plain data. The verdict is over the hull where costs are known, else over the pair's mix; p values
    of the claims are Holm's."""
    told, gains = [], [drawn.gains(at) for at in range(len(made))]
    for at, (pair, way) in enumerate(made):
        against = "hull" if "hull" in gains[at] else "mix"
        strong = way.strong[0][rows]
        alone = bool(way.strong[:, rows].all() or not way.strong[:, rows].any())
        row: dict[str, Any] = {
            "option": name_of(found, pair, way),
            "kind": way.kind,
            "way": way.name,
            "cheap": found.options[pair.cheap],
            "strong": found.options[pair.strong],
            "quality": drawn.of_quality(gains[at]["quality"]),
            "usd_per_1k": drawn.estimate(drawn.hybrid[:, at, 2] / drawn.documents, 1000),
            "latency_p95_s": _p95(latency_of(found, pair, strong)),
            "share_strong": float(way.share[rows].mean()),
            "meets_floor": drawn.meets(gains[at]["quality"], same=alone),
            "against": against,
        }
        own, bound = wide if way.kind in FITTED else 1.0, None if alone else 1.0
        row |= {f"gain_{name}": drawn.estimate(gains[at][name], wide=own, bound=bound) for name in ("best", "mix")}
        hull = gains[at].get("hull")
        row["gain_hull"] = None if hull is None else drawn.estimate(hull, wide=own, bound=bound)
        saved = drawn.savings(at)
        row |= {
            f"saved_usd_per_month_{name}": drawn.estimate(saved[name], wide=own) if name in saved else None
            for name in ("single", "mix")
        }
        row["p"] = _p_value(gains[at][against], own) if way.name in nested else None
        row["detail"] = {key: value for key, value in way.detail.items() if key in ("chosen", "inputs", "rule")}
        told.append(row)
    _judge(told, found.n)
    _against_twin(told, made, gains, drawn, wide)
    return told


def name_of(found: Documents, pair: Pair, way: Candidate) -> str:
    """The hybrid's name in tables: `hybrid(cheap->strong, P(error))`."""
    return f"hybrid({found.options[pair.cheap]}->{found.options[pair.strong]}, {way.name})"


def _p_value(gain: Array, wide: float) -> float:
    """Two-sided, of the gain over its bootstrap standard error, widened."""
    spread = wide * float(np.nanstd(gain[1:]))
    if spread == 0 or np.isnan(spread):
        return 1.0
    return float(2 * special.ndtr(-abs(gain[0]) / spread))


def _judge(told: Sequence[dict[str, Any]], n: int) -> None:
    tested = [row for row in told if row["p"] is not None]
    for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
        row["p_holm"] = p
    for row in told:
        row.setdefault("p_holm", None)
        row["verdict"] = _verdict(row, n, len(tested))


def _verdict(row: dict[str, Any], n: int, tests: int) -> str:
    if row["p"] is None:
        return {"oracle": "upper bound", "random_mix": "reference"}.get(row["kind"], "")
    gain = row[f"gain_{row['against']}"]
    if row["share_strong"] in (0.0, 1.0):
        return f"routes nothing: {row['strong' if row['share_strong'] else 'cheap']} answers all"
    if n < ENOUGH:
        return f"cannot be told from zero: {n} documents, under {ENOUGH}"
    if gain["low"] is None or gain["low"] <= 0 <= gain["high"]:
        return "cannot be told from zero"
    if row["p_holm"] >= 0.05:
        return f"cannot be told from zero among {tests} that were tried (Holm)"
    return "gains" if gain["value"] > 0 else "loses"


def _against_twin(
    told: Sequence[dict[str, Any]],
    made: Sequence[tuple[Pair, Candidate]],
    gains: Sequence[dict[str, Array]],
    drawn: Drawn,
    wide: float,
) -> None:
    """A learned router's gain less that of its twin, which was fitted on shuffled errors."""
    for at, row in enumerate(told):
        if row["way"] != "pre-router":
            continue
        twin = next((i for i, (pair, way) in enumerate(made) if way.name == "twin" and pair is made[at][0]), None)
        if twin is None:
            continue
        over = row["against"]
        row["over_twin"] = drawn.estimate(gains[at][over] - gains[twin][over], wide=wide)
        better = row["over_twin"]["low"] is not None and row["over_twin"]["low"] > 0
        row["beats_twin"] = better
