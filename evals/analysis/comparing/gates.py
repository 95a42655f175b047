"""What a candidate must reach: floors, ceilings, margins and increases, each met, failed or inconclusive.

`min` and `max` bound the candidate's own value, `margin` is what quality may lose against the baseline
(non-inferiority), `max_increase` the share by which cost or latency may grow. A gate is met where the whole 95 %
interval is on the right side, failed where the whole of it is on the wrong one, and inconclusive between.
"""

import math
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from evals.analysis.comparing.compare import KNOWN, LOWER_IS_BETTER, TIMES
from evals.catalog import nearest
from evals.errors import ConfigError
from evals.stats import Estimate, noninferior, wilson

KINDS = ("min", "max", "margin", "max_increase")
Gates = Mapping[str, Mapping[str, float]]


def checked(gates: Mapping[str, Any], where: str = "gate") -> dict[str, dict[str, float]]:
    """Metric -> kind -> limit, nulls left out; a name that is not known or no number raises `ConfigError`."""
    found: dict[str, dict[str, float]] = {}
    for metric, limits in gates.items():
        if metric not in KNOWN:
            raise ConfigError(f"{where}.{metric} is no metric{nearest(metric, KNOWN)}")
        if not isinstance(limits, Mapping):
            raise ConfigError(f"{where}.{metric} should hold {', '.join(KINDS)}, it is {limits!r}")
        for kind, limit in limits.items():
            if kind not in KINDS:
                raise ConfigError(f"{where}.{metric}.{kind} is not known{nearest(kind, KINDS)}")
            if limit is None:
                continue
            if isinstance(limit, bool) or not isinstance(limit, int | float) or not math.isfinite(limit):
                raise ConfigError(f"{where}.{metric}.{kind}={limit!r} should be a number")
            if kind in ("margin", "max_increase") and limit < 0:
                raise ConfigError(f"{where}.{metric}.{kind}={limit:g} must be at least 0")
            _fits(metric, kind, where)
            if metric not in ("score", "cost", *TIMES) and abs(limit) > 1:
                raise ConfigError(f"{where}.{metric}.{kind}={limit:g}: {metric} is a share of 1, not in percent")
            found.setdefault(metric, {})[kind] = float(limit)
    return found


def _fits(metric: str, kind: str, where: str) -> None:
    relative = metric == "cost" or metric in TIMES
    if kind == "max_increase" and not relative:
        raise ConfigError(f"{where}.{metric}.max_increase: a share of growth is for cost, p50_s and p95_s; use margin")
    if kind == "margin" and relative:
        raise ConfigError(f"{where}.{metric}.margin: a margin is for shares and F1; use {where}.{metric}.max_increase")


def evaluate(gates: Gates, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every gate against the rows of the whole of one candidate. What was not measured or is refused raises
    `ConfigError`: a gate that nobody could fail is no gate."""
    whole = {row["metric"]: row for row in rows if not row["slice"] and not row["field"]}
    found = []
    for metric, limits in gates.items():
        row = whole[metric]
        for kind, limit in limits.items():
            missing = row["candidate"] is None or (kind in ("margin", "max_increase") and row["difference"] is None)
            if missing or math.isnan(row["candidate"]):
                raise ConfigError(f"gate.{metric}.{kind}: {metric} is {row['verdict']}: {row['note'] or 'no value'}")
            found.append({"gate": f"{metric}.{kind}", "limit": limit, **_judged(row, kind, limit)})
    return found


def _judged(row: Mapping[str, Any], kind: str, limit: float) -> dict[str, Any]:
    if kind == "min":
        return _bounded(
            row["candidate"], row["candidate_low"], row["candidate_high"], limit, row["n"], row["metric"], up=True
        )
    if kind == "max":
        return _bounded(
            row["candidate"], row["candidate_low"], row["candidate_high"], limit, row["n"], row["metric"], up=False
        )
    if kind == "max_increase":
        return _bounded(
            row["relative"], row["relative_low"], row["relative_high"], limit, row["n"], row["metric"], up=False
        )
    sign = -1 if row["metric"] in LOWER_IS_BETTER else 1
    bounds = sorted((sign * row["low"], sign * row["high"]))
    word = noninferior(Estimate(sign * row["difference"], bounds[0], bounds[1], row["n"]), limit)
    result = {"non-inferior": "met", "inferior": "failed", "inconclusive": "inconclusive"}[word]
    needed = row.get("needed") if result == "inconclusive" else None
    return {"value": row["difference"], "low": row["low"], "high": row["high"], "result": result, "needed": needed}


def _bounded(value: float, low: float, high: float, limit: float, n: int, metric: str, *, up: bool) -> dict[str, Any]:
    """An interval against a limit; without one bound (an order statistic that n does not reach) never more than
    inconclusive on that side."""
    inside, outside = (low >= limit, high < limit) if up else (high <= limit, low > limit)
    result = "met" if inside else "failed" if outside else "inconclusive"
    needed = None
    if result == "inconclusive" and metric in TIMES and math.isnan(high if value <= limit else low):
        needed = bound_needs(TIMES[metric])
    elif result == "inconclusive" and value != limit and not math.isnan(low) and not math.isnan(high):
        if needed := _score_needs(value, low, high, limit, n):
            return {"value": value, "low": low, "high": high, "result": result, "needed": max(n + 1, needed)}
        half = abs(value - (low if (value >= limit) == up else high))  # the bound towards the limit
        needed = max(n + 1, math.ceil(n * (half / abs(value - limit)) ** 2)) if half else None
    return {"value": value, "low": low, "high": high, "result": result, "needed": needed}


def _score_needs(value: float, low: float, high: float, limit: float, n: int) -> int | None:
    """Documents from which on Wilson's interval of this share leaves the limit out: z^2 L (1 - L) / (share - L)^2, for
    it is the score test turned round (Wilson 1927). `None` for an interval that is not Wilson's."""
    if not (0 <= value <= 1 and 0 < limit < 1 and n > 0):
        return None
    own = wilson(value * n, n)
    if abs(own.low - low) + abs(own.high - high) > 1e-9:
        return None
    z = NormalDist().inv_cdf(0.975)
    return math.ceil(z * z * limit * (1 - limit) / (value - limit) ** 2)


def bound_needs(q: float, *, level: float = 0.95) -> int:
    """Documents from which on a quantile has both bounds of its order-statistic interval: the farther one needs
    max(q, 1 - q)^n <= (1 - level) / 2 (David and Nagaraja 2003, section 7.1)."""
    return math.ceil(math.log((1 - level) / 2) / math.log(max(q, 1 - q)))
