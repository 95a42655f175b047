"""What a deployment sustains: the figures of a load, the next rate to offer, and mu, with what it rests on.

A rate is sustained where at least `SHARE` of its documents are answered inside the latency target and no backlog grows.
mu is the highest offered rate that was. Answers that are invalid for the model's own reasons count in no share, since no
machine makes them valid; goodput counts only what is valid and inside the target.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evals import store
from evals.stats import Array, Estimate, quantile, ratio_bootstrap, wilson

SHARE = 0.95
ENOUGH_FOR_P95 = 200
LAG_S, LAG_SHARE = 0.010, 0.01
"""A load is void where the load generator's p99 lag is above the larger of so many seconds and this share of the target."""
GROWING = 0.03
"""A backlog grows where more than this share of the offered rate is left over."""
_BEFORE, _LAST = (0.1, 0.5), 0.95
"""Shares of the time: the backlog of the first is compared with that from the second on."""
FIRST, STEPS, FURTHER = 0.7, (0.9, 1.0, 1.25, 2.0), 1.6
"""Rates that are offered first, as shares of the offline throughput; from there on each is so many times the one before."""
LOWEST, HIGHEST = 1 / 16, 16.0
"""Shares of the offline throughput beyond which no rate is offered."""
TRIES = 3
"""How often a rate is offered whose load is void."""
FILE = "bench.json"


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


def told(found: Estimate) -> dict[str, Any]:
    """An estimate as plain data; `None` where there is no figure."""
    return {"value": _none(found.value), "low": _none(found.low), "high": _none(found.high), "n": found.n}


def _none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


# One load -----------------------------------------------------------------------------------------------------


def figures(
    shots: Sequence[Shot],
    *,
    target_s: float | None,
    seconds: float,
    stopped_s: float | None = None,
    valid_only: bool = True,
) -> dict[str, Any]:
    """The figures of one load. `seconds`: over which documents were due (open), or that it took in all (closed);
    `stopped_s`: when the last document of a closed loop was begun."""
    answered = [one for one in shots if one.answered]
    waits = np.array([one.latency_s for one in shots if one.answered or one.timed_out], np.float64)
    inside = [one for one in answered if target_s is not None and one.latency_s <= target_s]
    counted = [one for one in shots if one.valid or not one.answered] if valid_only else list(shots)
    good = [one for one in inside if one.valid or not valid_only]
    window, span = _window(answered, stopped_s, seconds)
    n = len(waits)
    return {
        "n": len(shots),
        "answered": len(answered),
        "failed": len(shots) - len(answered),
        "timed_out": sum(one.timed_out for one in shots),
        "valid": sum(one.valid for one in answered),
        "in_time": len(inside),
        "seconds": seconds,
        "throughput_docs_per_s": _throughput(window, span),
        "goodput_docs_per_s": None if target_s is None else sum(one.valid for one in inside) / span if span else None,
        "share": None if target_s is None else {**told(wilson(len(good), len(counted))), "good": len(good)},
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


def _window(answered: Sequence[Shot], stopped_s: float | None, seconds: float) -> tuple[Sequence[Shot], float]:
    """Answers that came while the load was on, and over how long: of a closed loop those before the last document was
    begun, since afterwards fewer and fewer are under way."""
    if stopped_s is None:
        return answered, max([seconds, *(one.ended_s for one in answered)])
    full = [one for one in answered if one.ended_s <= stopped_s]
    kept = full if len(full) >= min(len(answered), 5) else answered
    return kept, max((one.ended_s for one in kept), default=seconds)


def _throughput(window: Sequence[Shot], span: float) -> dict[str, Any]:
    """Answers a second, with the bootstrap of blocks of successive ones: what is answered together is no luck."""
    if not window or not span:
        return {"value": None, "low": None, "high": None, "n": len(window)}
    ends = np.sort([one.ended_s for one in window])
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


def is_sustained(load: Mapping[str, Any]) -> bool | None:
    """Of an open loop's figures; `None` where it is void or nothing of it counts."""
    if load["void"] or load["share"]["value"] is None:
        return None
    return bool(load["share"]["value"] >= SHARE and not load["backlog"]["growing"])


# The next rate ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    """The next rate to offer, or why there is none."""

    rate: float | None = None
    why: str = ""


def next_rate(loads: Sequence[Mapping[str, Any]], offline: float, *, precision: float, most: int) -> Step:
    """From the open loops so far: up from `FIRST` of the offline throughput until one is not sustained (down where that
    is not), then the middle between the two until they are within `precision` of each other. What was void is offered
    again, `TRIES` times in all; then it is the end of the road upwards."""
    if not loads:
        return Step(rate=FIRST * offline)
    last = loads[-1]
    if last["void"] and [one["rate_docs_per_s"] for one in loads].count(last["rate_docs_per_s"]) < TRIES:
        return Step(rate=last["rate_docs_per_s"])
    if len({one["rate_docs_per_s"] for one in loads}) >= most:
        return Step(why=f"{most} rates were offered (loads={most})")
    held, failed, void = (_rates(loads, verdict) for verdict in (True, False, None))
    top = min([*failed, *void], default=None)
    below = [rate for rate in held if top is None or rate < top]
    if len(void) > 1 and not held and not failed:
        return Step(why=f"the load generator itself was late at {docs(max(void))} docs/s and at {docs(min(void))}")
    if top is None:
        return _up(max(held), offline)
    if not below:
        return _down(top, offline, void)
    bottom = max(below)
    if top in void:
        return Step(why=f"{docs(bottom)} docs/s was sustained, and at {docs(top)} the load generator itself was late")
    if top / bottom <= 1 + precision:
        return Step(why=f"{docs(bottom)} docs/s was sustained, {docs(top)} was not")
    return Step(rate=math.sqrt(top * bottom))


def _rates(loads: Sequence[Mapping[str, Any]], verdict: bool | None) -> list[float]:
    settled = {one["rate_docs_per_s"] for one in loads if one["sustained"] is not None}
    rates = {one["rate_docs_per_s"] for one in loads if one["sustained"] is verdict}
    return sorted(rate for rate in rates if verdict is not None or rate not in settled)


def _up(rate: float, offline: float) -> Step:
    further = [step * offline for step in STEPS if step * offline > rate * 1.001]
    following = further[0] if further else FURTHER * rate
    if following > HIGHEST * offline:
        return Step(why=f"{docs(rate)} docs/s was sustained, {rate / offline:.0f} times the offline throughput")
    return Step(rate=following)


def _down(rate: float, offline: float, void: Sequence[float]) -> Step:
    if rate / 2 < LOWEST * offline:
        late = "; the load generator itself was late" if rate in void else ""
        return Step(
            why=f"not even {docs(rate)} docs/s was sustained, {rate / offline:.2g} of the offline throughput{late}"
        )
    return Step(rate=rate / 2)


def docs(rate: float) -> str:
    """Documents a second, three digits."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.3g}"


# mu -----------------------------------------------------------------------------------------------------------


def mu(loads: Sequence[Mapping[str, Any]], *, draws: int = 2000, seed: int = 0) -> dict[str, Any]:
    """{value, low, high}: the highest rate that was sustained, the least that it may be with so few documents, and the
    least rate above it that was not sustained (`None`: none was offered)."""
    kept = sorted((one for one in loads if one["sustained"] is not None), key=lambda one: one["rate_docs_per_s"])
    rates = np.array([one["rate_docs_per_s"] for one in kept], np.float64)
    if not len(rates):
        return {"value": None, "low": None, "high": None}
    held = np.array([bool(one["sustained"]) for one in kept])
    random = np.random.default_rng(seed)
    drawn = np.stack([_held_again(one, draws, random) for one in kept], axis=1)
    value = float(rates[held].max()) if held.any() else None
    lows = np.where(drawn.any(axis=1), np.where(drawn, rates, 0.0).max(axis=1), 0.0)
    highs = _failing_above(rates, drawn, lows)
    low, high = float(np.quantile(lows, 0.025, method="lower")), float(np.quantile(highs, 0.975, method="higher"))
    above = float(_failing_above(rates, held[None, :], np.array([value or 0.0]))[0])
    low = low if value is None else min(low, value)
    return {"value": value, "low": low, "high": _none(max(high, above))}


def _held_again(load: Mapping[str, Any], draws: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """Is the share of documents in time large enough, given those that were seen? By draws of it from Jeffreys' posterior:
    of three documents in time out of three little is known, where drawing the documents anew would always give three."""
    n, share = int(load["share"]["n"]), float(load["share"]["value"])
    again = random.beta(n * share + 0.5, n * (1 - share) + 0.5, size=draws)
    return np.asarray((again >= SHARE) & (not load["backlog"]["growing"]))


def _failing_above(rates: Array, held: NDArray[np.bool_], floor: Array) -> Array:
    failing = ~held & (rates[None, :] > floor[:, None])
    return np.asarray(np.where(failing, rates, np.inf).min(axis=1))


# Benches that are stored --------------------------------------------------------------------------------------

MACHINE = ("cpu", "cores", "arch")
ASKED = ("prompt", "schema")


def newest_bench(run: Path, about: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The newest complete bench beside a run (`results/<task>/<option>~bench/`) that was made with the same prompt, schema,
    backend and machine as the run's manifest says; and why a newer one was passed over."""
    beside, passed = run.parents[1] / store.safe_name(f"{about['option']}{store.BENCH}"), None
    for path in sorted(beside.glob(f"*/{FILE}"), reverse=True):
        found, made = store.read_json(path), store.read_json(path.with_name("manifest.json"))
        if (found.get("mu_docs_per_s") or {}).get("value") is None:
            passed = passed or f"bench {_day(found)} is not used: {found.get('why') or 'it found no mu'}"
        elif other := _unlike(made, about):
            passed = passed or f"bench {_day(found)} is not used: other {', '.join(other)}"
        else:
            return {**found, "run": str(path.parent), "machine": made.get("machine") or {}}, passed
    return None, passed


def _day(found: Mapping[str, Any]) -> str:
    return str(found.get("created"))[:10]


def _unlike(made: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    hashes = [name for name in ASKED if _of(made, "hashes").get(name) != _of(about, "hashes").get(name)]
    machine = [key for key in MACHINE if _of(made, "machine").get(key) != _of(about, "machine").get(key)]
    backends = [_plain(_steady(_of(one, "backend"))) for one in (made, about)]
    return [*hashes, *(["backend (build, settings or weights)"] if backends[0] != backends[1] else []), *machine]


def _of(about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = about.get(key) or {}
    return found


def _steady(facts: Any) -> Any:
    """What a backend says of itself but for seconds and free memory, which differ from start to start."""
    if isinstance(facts, Mapping):
        return {key: _steady(value) for key, value in facts.items() if key != "memory" and not str(key).endswith("_s")}
    return facts


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def seconds_at_mu(bench: Mapping[str, Any]) -> tuple[Mapping[str, Any], Array] | None:
    """The load that mu rests on, and the seconds of each of its documents from its scheduled instant (infinite where it
    failed); `None` where its records are gone."""
    value = bench["mu_docs_per_s"]["value"]
    load = next((one for one in bench["loads"] if one.get("sustained") and one["rate_docs_per_s"] == value), None)
    path = None if load is None else Path(bench["run"]) / str(load["records"])
    if load is None or path is None or not path.is_file():
        return None
    found = []
    for line in path.read_text(encoding="utf-8", errors="surrogatepass").splitlines():
        record = store.decode(json.loads(line))
        times = [call.timing for call in record.calls if call.timing]
        waited = sum(one.queued_s + one.total_s + one.backoff_s for one in times)
        found.append(waited if record.answer is not None else math.inf)
    return load, np.array(found, np.float64)
