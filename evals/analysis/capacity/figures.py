"""The figures of one load: throughput, goodput, latency, the share inside the target, the backlog, the generator's lag.

Documents of an open loop count from the moment on at which as many are under way as there will be, and while more keep
coming: a queue that begins empty, or that nothing follows, is quicker than the one that is asked about.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evals.stats import Array, Estimate, design_effect, quantile, ratio_bootstrap, wilson

SHARE = 0.95
ENOUGH_FOR_P95 = 200
LAG_S, LAG_SHARE = 0.010, 0.01
"""A load is void where the load generator's p99 lag is above the larger of so many seconds and this share of the target."""
GROWING = 0.03
"""A backlog grows where more than this share of the offered rate is left over."""
LEAST_FULL = 5
"""Answers under full load that make a throughput."""
_BEFORE, _LAST = (0.1, 0.5), 0.95
"""Shares of the time: the backlog of the first is compared with that from the second on."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Shot:
    """One document of a load; seconds, `None` is not measured."""

    due_s: float | None
    """From the load's begin; `None` in a closed loop."""
    ended_s: float
    latency_s: float
    """Of an open loop from the scheduled instant, of a closed one from the send."""
    answered: bool
    valid: bool
    timed_out: bool = False
    cached: bool = False
    lag_s: float | None = None
    ttft_s: float | None = None
    tpot_s: float | None = None
    """Seconds a token after the first."""
    prompt_tokens: float | None = None
    cached_tokens: float | None = None
    output_tokens: float | None = None


def figures(
    shots: Sequence[Shot],
    *,
    target_s: float | None,
    seconds: float,
    begin_s: float | None = None,
    places: int = 1,
    stopped_s: float | None = None,
    valid_only: bool = True,
) -> dict[str, Any]:
    """The figures of one load. Of an open loop those documents count that were due in the `seconds` from `begin_s` on; of
    a closed one, which took `seconds`, all; its throughput is that of the time in which its `places` were full, which ends
    at `stopped_s`, when its last document was begun."""
    every = shots
    if begin_s is not None:
        shots = [one for one in every if one.due_s is not None and begin_s <= one.due_s < begin_s + seconds]
    answered = [one for one in shots if one.answered]
    waits = np.array([one.latency_s for one in shots if one.answered or one.timed_out], np.float64)
    inside = [one for one in answered if target_s is not None and one.latency_s <= target_s]
    if begin_s is None:
        window, start, span = _window(answered, places, stopped_s, seconds)
    else:
        start, span = begin_s, seconds
        window = [one for one in every if one.answered and start <= one.ended_s < start + span]
    n = len(waits)
    return {
        "n": len(shots),
        "answered": len(answered),
        "failed": len(shots) - len(answered),
        "timed_out": sum(one.timed_out for one in shots),
        "valid": sum(one.valid for one in answered),
        "in_time": len(inside),
        "seconds": seconds,
        "throughput_docs_per_s": _throughput(window, start, span),
        "goodput_docs_per_s": None if target_s is None else sum(one.valid for one in inside) / span if span else None,
        "share": None if target_s is None else _share(shots, target_s, valid_only=valid_only),
        "latency_s": {name: told(quantile(waits, q)) for name, q in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))},
        "latency_note": f"n too small for p95: {n}, at least {ENOUGH_FOR_P95}" if 0 < n < ENOUGH_FOR_P95 else None,
        "latency_by_length": _by_length(answered),
        "ttft_s": _quantiles([one.ttft_s for one in answered]),
        "tpot_s": _quantiles([one.tpot_s for one in answered]),
        "tokens_per_s": {
            "prompt": _rate([one.prompt_tokens for one in window], span),
            "output": _rate([one.output_tokens for one in window], span),
        },
        "prompt_cached_share": _cached_share(answered),
    }


def _share(shots: Sequence[Shot], target_s: float, *, valid_only: bool) -> dict[str, Any]:
    """Share of the documents that are answered inside the target. Answers that are invalid for the model's own reasons do
    not count, since no machine makes them valid. Documents that come together are late together: the interval is Wilson's
    of as many independent ones as say the same (`design_effect`)."""
    counted = [one for one in shots if one.valid or not one.answered] if valid_only else list(shots)
    if shots and shots[0].due_s is not None:
        counted = sorted(counted, key=lambda one: one.due_s or 0.0)
    good = np.array([one.answered and one.latency_s <= target_s for one in counted], np.float64)
    alike = design_effect(good)
    if not len(good):
        return {**told(wilson(0, 0)), "good": 0, "design_effect": 1.0}
    inside, n = int(good.sum()), max(1, round(len(good) / alike))
    ends = told(wilson(inside / len(good) * n, n))
    return {**ends, "value": inside / len(good), "n": len(good), "good": inside, "design_effect": alike}


def _by_length(answered: Sequence[Shot]) -> dict[str, Any] | None:
    """Do long documents hold up short ones? Latency of the shorter and of the longer half, by prompt tokens; `None` where
    the lengths are not known or all the same."""
    known = [(one.prompt_tokens, one.latency_s) for one in answered if one.prompt_tokens is not None]
    if len({tokens for tokens, _ in known}) < 2:
        return None
    tokens, waits = np.array(known, np.float64).T
    middle = float(np.median(tokens))
    short = tokens <= middle if (tokens > middle).any() else tokens < middle
    return {
        "split_tokens": middle,
        **{
            name: {key: told(quantile(waits[half], q)) for key, q in (("p50", 0.5), ("p95", 0.95))}
            for name, half in (("short", short), ("long", ~short))
        },
    }


def _window(
    answered: Sequence[Shot], places: int, stopped_s: float | None, seconds: float
) -> tuple[Sequence[Shot], float, float]:
    """Answers that came while a closed loop was under full load, from when, and over how long: not the first of each place,
    which all begin together, and none after the last document was begun, since fewer and fewer are under way then. Where
    too few are left, all."""
    whole = max([seconds, *(one.ended_s for one in answered)])
    if stopped_s is None:
        return answered, 0.0, whole
    ends = sorted((one for one in answered if one.ended_s <= stopped_s), key=lambda one: one.ended_s)
    if len(ends) - places >= LEAST_FULL:
        start = ends[places - 1].ended_s
        return ends[places:], start, ends[-1].ended_s - start
    return answered, 0.0, whole


def _throughput(window: Sequence[Shot], start: float, span: float) -> dict[str, Any]:
    """Answers a second, with the bootstrap of blocks of successive ones: what is answered together is no luck."""
    if not window or not span:
        return {"value": None, "low": None, "high": None, "n": len(window)}
    ends = np.sort([one.ended_s for one in window]) - start
    ends[-1] = max(float(ends[-1]), span)
    blocks = np.array_split(np.diff(ends, prepend=0.0), max(1, math.isqrt(len(ends))))
    found = ratio_bootstrap(np.array([float(len(one)) for one in blocks]), np.array([one.sum() for one in blocks]))
    return {**told(found), "n": len(window)}


def _quantiles(values: Sequence[float | None]) -> dict[str, Any]:
    known = np.array([one for one in values if one is not None], np.float64)
    return {"p50": told(quantile(known, 0.5)), "p95": told(quantile(known, 0.95))}


def _rate(values: Sequence[float | None], span: float) -> float | None:
    known = [one for one in values if one is not None]
    return sum(known) / span if known and span else None


def _cached_share(answered: Sequence[Shot]) -> float | None:
    known = [one for one in answered if one.cached_tokens is not None and one.prompt_tokens]
    whole = sum(one.prompt_tokens or 0.0 for one in known)
    return sum(one.cached_tokens or 0.0 for one in known) / whole if whole else None


def told(found: Estimate) -> dict[str, Any]:
    """An estimate as plain data; `None` where there is no figure."""
    ends = {name: getattr(found, name) for name in ("value", "low", "high")}
    return {**{name: float(one) if math.isfinite(one) else None for name, one in ends.items()}, "n": found.n}


def backlog(shots: Sequence[Shot], rate: float, seconds: float) -> dict[str, Any]:
    """Documents under way in the last twentieth of the time against those that are usually under way (the rate times the
    mean latency of those due in `_BEFORE`, Little's law), and whether they grow: by more than `GROWING` of the offered rate,
    and by more than three standard deviations of so many independent documents. The number of arrivals is given, so that
    chance, which moves the backlog in between, hardly moves it at the end."""
    begun = np.array([one.due_s for one in shots], np.float64)
    ended = np.array([one.ended_s for one in shots], np.float64)
    start, end = (share * seconds for share in _BEFORE)
    before = (begun >= start) & (begun < end)
    usual = rate * float(np.mean((ended - begun)[before if before.any() else slice(None)]))
    last = _under_way(begun, ended, _LAST * seconds, seconds)
    apart = seconds * ((_LAST + 1) / 2 - sum(_BEFORE) / 2)
    growing = last - usual > max(GROWING * rate * apart, 3 * math.sqrt(usual + 1))
    return {"usual": usual, "last": last, "growth_docs_per_s": (last - usual) / apart, "growing": bool(growing)}


def _under_way(begun: Array, ended: Array, start: float, end: float) -> float:
    """Mean number of documents under way in a span of time."""
    return float(np.clip(np.minimum(ended, end) - np.maximum(begun, start), 0, None).sum() / (end - start))


def lag(lags: Sequence[float | None], beats: Sequence[float], target_s: float) -> dict[str, Any]:
    """How late the load generator was (p99 of its sends, and of the event loop's beats), and why the load is void."""
    sends, loop = (_p99(values) for values in (lags, beats))
    limit = max(LAG_S, LAG_SHARE * target_s)
    why = None
    if sends is not None and sends > limit:
        why = f"the load generator sent {1000 * sends:.1f} ms late (p99, at most {1000 * limit:.0f} ms)"
    elif loop is not None and loop > limit:
        why = f"the event loop was {1000 * loop:.1f} ms late (p99, at most {1000 * limit:.0f} ms)"
    return {"lag_p99_s": sends, "loop_lag_p99_s": loop, "void": why}


def _p99(values: Sequence[float | None]) -> float | None:
    known = np.array([one for one in values if one is not None], np.float64)
    return float(np.quantile(known, 0.99)) if len(known) else None
