"""What p values, an interval or a sample size say."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy import optimize, special, stats

from evals.stats.intervals import Array, Estimate


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p of `only_a` documents right with a alone against `only_b` right with b alone.

    p = min(1, 2 P(X <= min)), X ~ Binomial(only_a + only_b, 1/2) (McNemar 1947, exact form). No discordant pair: 1.0.
    """
    if only_a < 0 or only_b < 0:
        raise ValueError(f"counts {only_a}, {only_b} must not be negative")
    n = only_a + only_b
    return 1.0 if n == 0 else min(1.0, 2 * float(stats.binom.cdf(min(only_a, only_b), n, 0.5)))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p values that hold the chance of any false winner (Holm 1979): step down, max of (m - rank) p.

    NaN (not tested) stays NaN and is not counted.
    """
    return _adjusted(p, lambda rising, m: np.maximum.accumulate(rising * (m - np.arange(m))))


def benjamini_hochberg(p: Sequence[float]) -> list[float]:
    """Adjusted p values that hold the share of false winners among the winners (Benjamini & Hochberg 1995).

    Step up: min of m p / rank. NaN (not tested) stays NaN and is not counted.
    """
    return _adjusted(p, lambda rising, m: np.minimum.accumulate((rising * m / np.arange(1, m + 1))[::-1])[::-1])


def _adjusted(p: Sequence[float], rule: Callable[[Array, int], Array]) -> list[float]:
    values = np.asarray(p, np.float64)
    tested = np.flatnonzero(~np.isnan(values))
    if ((values[tested] < 0) | (values[tested] > 1)).any():
        raise ValueError("p values must lie in 0..1")
    order = tested[np.argsort(values[tested], kind="stable")]
    values[order] = np.minimum(rule(values[order], len(order)), 1.0)
    return [float(value) for value in values]


def noninferior(difference: Estimate, margin: float) -> Literal["non-inferior", "inferior", "inconclusive"]:
    """Is the candidate as good as the baseline, `margin` given away? By the interval of candidate - baseline.

    Lower bound > -margin: non-inferior; upper bound < -margin: inferior; else, or without an interval, inconclusive
    (Piaggio et al. 2012, CONSORT, figure 1).
    """
    if margin < 0:
        raise ValueError(f"margin {margin} must not be negative")
    if difference.low > -margin:
        return "non-inferior"
    return "inferior" if difference.high < -margin else "inconclusive"


def _power(difference: float, sd: float, n: int, alpha: float) -> float:
    """Power of the two-sided one-sample t test: noncentral t with shift sqrt(n) difference / sd (Cohen 1988, ch. 2)."""
    edge, shift = float(special.stdtrit(n - 1, 1 - alpha / 2)), math.sqrt(n) * difference / sd
    right = float(stats.nct.sf(edge, n - 1, shift))
    wrong = float(stats.nct.cdf(-edge, n - 1, shift)) if shift < 5 else 0.0  # below 1e-6 there, and scipy may say NaN
    return 1.0 if math.isnan(right) else right + wrong


def minimum_detectable_difference(sd: float, n: int, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """The least true mean difference that `n` paired documents show with this power (two-sided t test).

    `sd` is the standard deviation of the documents' differences. Fewer than two documents detect nothing: inf.
    Without any spread: 0.0.
    """
    if n < 2 or math.isnan(sd):
        return math.inf if not math.isnan(sd) else math.nan
    if sd == 0:
        return 0.0
    about = (special.ndtri(1 - alpha / 2) + special.ndtri(power)) / math.sqrt(n)
    return sd * float(optimize.brentq(lambda d: _power(d, 1.0, n, alpha) - power, about * 0.3, about * 200 + 1e-9))


def sample_size(sd: float, difference: float, *, power: float = 0.8, alpha: float = 0.05) -> int:
    """How many paired documents show a true mean `difference` with this power; at least 2."""
    if difference == 0 or math.isnan(difference) or math.isnan(sd):
        raise ValueError("a difference of 0, or an unknown one, needs no finite number of documents")
    size, low = abs(difference), 2
    high = max(4, math.ceil(2 * (3.5 * sd / size) ** 2))
    while sd > 0 and _power(size, sd, high, alpha) < power:
        high *= 2
    while low < high and sd > 0:
        middle = (low + high) // 2
        low, high = (low, middle) if _power(size, sd, middle, alpha) >= power else (middle + 1, high)
    return low
