"""Which deployment, at what volume: hard filters in order, then least dollars, and inside the interval of the cheapest
the option with fewer moving parts. Pure: options in, plain data out."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from evals.analysis.deciding import flips, tornado
from evals.analysis.deciding.book import Book
from evals.analysis.deciding.breakeven import break_even, drawn_break_even
from evals.analysis.deciding.constraints import Check, feasible
from evals.analysis.deciding.figures import draws_of
from evals.analysis.deciding.judging import LEVEL, Ask, Case, State, case, judged
from evals.analysis.deciding.options import Option
from evals.analysis.deciding.volume import DAYS_A_MONTH, Bill, escalated_docs
from evals.errors import ConfigError

MOST_PAIRS = 60
FAR = 10**9
"""Documents a day that tell apart what costs the same at one."""


def decide(options: Sequence[Option], ask: Ask) -> dict[str, Any]:
    """Everything that `decide.json` holds, but for titles and files (see `report.decision` for the keys in words)."""
    if not options:
        raise ConfigError("there is no option to decide among")
    if len({one.name for one in options}) < len(options):
        raise ConfigError("two options have one name")
    given = case(options, ask)
    book, at = given.book, Fraction(ask.volume.value)
    state = judged(given, at, np.asarray(draws_of(ask.volume, ask.draws, ask.seed), np.float64))
    swept = [judged(given, Fraction(volume), float(volume)) for volume in ask.sweep]
    return {
        "volume_per_day": float(at),
        "volume": ask.volume.told,
        "recommended": state.recommended,
        "runner_up": state.runner_up,
        "cheapest": state.cheapest,
        "verdict": verdict(state),
        "options": [told(book, option, state, at, ask.limits.growth) for option in options],
        "break_even": pairs(book, options, state, ask),
        "flips": flips.texts(given, state),
        "sweep": [_swept(book, one) for one in swept],
        "tornado": tornado.rows(book, state, ask),
        "settle": settle(given, state),
        "relax": relax(state, options),
        "metric": ask.metric,
        "growth": ask.limits.growth,
        "draws": ask.draws,
        "figures": [one.told for one in (*book.figures.values(), ask.volume)],
    }


def verdict(state: State) -> str:
    """recommended; inconclusive: nothing passes, but something may; infeasible."""
    if state.recommended is not None:
        return "recommended"
    said = [feasible(found) for found in state.found.values()]
    return "inconclusive" if any(one is not False for one in said) else "infeasible"


def at_volumes(options: Sequence[Option], ask: Ask, volumes: Sequence[int]) -> list[dict[str, Any]]:
    """The sweep's rows at other volumes."""
    given = case(options, ask)
    return [_swept(given.book, judged(given, Fraction(volume), float(volume))) for volume in volumes]


# Told ---------------------------------------------------------------------------------------------------------


def told(book: Book, option: Option, state: State, volume: Fraction, growth: float) -> dict[str, Any]:
    """One option's row of `decide.json`."""
    name, found = option.name, state.found[option.name]
    known, proof = book.exact[name], option.quality
    cost = state.spent[name]
    low, high = (None, None) if cost is None else (float(end) for end in np.quantile(cost, LEVEL))
    main = next((one for one in proof.values() if not np.isnan(one.value)), None)
    sent = escalated_docs(option.deployment, volume)
    deployment = option.deployment
    verdict_of = feasible(found)
    return {
        "option": name,
        "model": option.model,
        "kind": deployment.kind,
        "quality": None if main is None else main.value,
        "quality_low": None if main is None else main.low,
        "quality_high": None if main is None else main.high,
        "qualities": {metric: one.value for metric, one in proof.items()},
        "quality_replayed": next((one.value for one in option.replayed.values()), None),
        "usd_per_day": state.usd[name],
        "usd_per_day_low": low,
        "usd_per_day_high": high,
        "usd_per_month": None if state.usd[name] is None else (state.usd[name] or 0.0) * float(DAYS_A_MONTH),
        "usd_per_day_grown": _grown(known, volume, growth),
        "usd_provenance": deployment.provenance,
        "unknown": deployment.lacking(),
        "replicas": None if known is None or known.capacity is None else int(known.replicas(volume)),
        "docs_per_day_per_replica": None if known is None or known.capacity is None else float(known.capacity),
        "curve": None if known is None else _curve(known),
        "escalated_per_day": None if sent is None else float(sent),
        "latency_p95_s": None if option.latency_p95_s is None else option.latency_p95_s.value,
        "load": option.load,
        "privacy": " + ".join(dict.fromkeys(str(place) for place, _ in option.places)),
        "ops_hours_per_month": option.ops_hours_per_month,
        "lead_weeks": option.lead_weeks,
        "feasible": None if verdict_of is not False and state.usd[name] is None else verdict_of,
        "breaks": [one.text for one in found if not one.met],
        "checks": [{**one.__dict__} for one in found],
        "p_cheapest": state.p_cheapest[name],
        "n": option.n,
        "runs": [dict(one) for one in option.runs],
        "notes": list(option.notes),
    }


def _grown(known: Bill | None, volume: Fraction, growth: float) -> float | None:
    """Dollars of a day at volume x growth."""
    return None if known is None else float(known.usd(volume * Fraction(str(growth))))


def _curve(known: Bill) -> dict[str, Any]:
    """A bill in floats, for whoever draws it."""
    figures = {key: float(getattr(known, key)) for key in ("fixed", "per_doc", "per_replica", "least", "spare")}
    return {**figures, "capacity": None if known.capacity is None else float(known.capacity)}


def _swept(book: Book, state: State) -> dict[str, Any]:
    volume = Fraction(state.volume)
    names = [one.name for one in book.options]
    bills = [book.exact[name] for name in names]
    return {
        "volume_per_day": int(volume),
        "recommended": state.recommended,
        "cheapest": state.cheapest,
        "usd_per_day": dict(state.usd),
        "replicas": {
            n: None if b is None or b.capacity is None else int(b.replicas(volume))
            for n, b in zip(names, bills, strict=True)
        },
        "p_cheapest": dict(state.p_cheapest),
    }


def pairs(book: Book, options: Sequence[Option], state: State, ask: Ask) -> list[dict[str, Any]]:
    """Break-even of pairs: b against a, which costs less at one document a day (the same: which costs more far out). The recommended one and the runner-up
    against all, and every line against every staircase, as far as `MOST_PAIRS` go."""
    priced = [one for one in options if book.exact[one.name] is not None]
    main = {state.recommended, state.runner_up}
    made: list[tuple[int, int, str, str]] = []
    for at, one in enumerate(priced):
        for other in priced[at + 1 :]:
            stairs = [book.exact[x.name].capacity is not None for x in (one, other)]  # type: ignore[union-attr]
            rank = 0 if {one.name, other.name} & main else 1 if stairs[0] != stairs[1] else 2
            made.append((rank, len(made), one.name, other.name))
    found = []
    for rank, _, *names in sorted(made)[:MOST_PAIRS]:
        if rank == 2 and len(made) > 10:
            continue
        order = {name: (book.usd(name, 1), -(book.usd(name, FAR) or 0), name) for name in names}
        a, b = sorted(names, key=lambda name: order[name])
        found.append(_pair(book, a, b, ask.draws))
    return found


def _pair(book: Book, a: str, b: str, draws: int) -> dict[str, Any]:
    bills: Any = book.exact
    exact = break_even(bills[a], bills[b])
    row: dict[str, Any] = {
        "a": a,
        "b": b,
        "first_win_per_day": exact.first_win,
        "always_win_per_day": exact.always_win,
        **dict.fromkeys(("first_win_low", "first_win_high", "always_win_low", "always_win_high", "p_never", "coarse")),
    }
    known: Any = book.drawn
    drawn = drawn_break_even(known[a], known[b], draws)
    for key, values in (("first_win", drawn[0]), ("always_win", drawn[1])):
        low, high = np.quantile(values, LEVEL, method="inverted_cdf")
        row |= {f"{key}_low": _whole(low), f"{key}_high": _whole(high)}
    row["p_never"] = float(np.isinf(drawn[1]).mean())
    row["coarse"] = bills[a].capacity is not None
    return row


def _whole(value: float) -> int | None:
    return None if not np.isfinite(value) else int(value)


# What would help ----------------------------------------------------------------------------------------------


def settle(given: Case, state: State) -> list[dict[str, Any]]:
    """What would settle each constraint that cannot be told, of options that break nothing else."""
    rows = []
    for option in given.options:
        found = state.found[option.name]
        if feasible(found) is None or (feasible(found) and state.usd[option.name] is None):
            rows += [_settled(given, state, option, one) for one in found if one.verdict == "inconclusive"]
            rows += [
                {"option": option.name, "constraint": "dollars", "documents": None, "text": _declare(key)}
                for key in option.deployment.lacking()
            ]
    return rows


def _settled(given: Case, state: State, option: Option, one: Check) -> dict[str, Any]:
    todo = f"{one.needed:,} documents in all" if one.needed else one.settle or "more documents"
    if one.name == "budget" and state.usd[option.name] is not None:
        todo = f"a closer figure for {tornado.widest(given.book, option, float(state.volume)) or 'the volume'}"
    return {"option": option.name, "constraint": one.key, "documents": one.needed, "text": f"{one.text}: {todo}"}


def _declare(key: str) -> str:
    ways = {
        "usd_per_hour": "no price of its machine: machine.usd_per_hour=... or machine=NAME",
        "docs_per_s": "no throughput was measured: docs_per_s.OPTION=..., or an offline run",
        "usd_per_doc": "no price of its API is known: model.price... in its run, or reprice=true",
        "escalated": "no share of escalated documents is known",
    }
    return ways[key]


def relax(state: State, options: Sequence[Option]) -> list[dict[str, Any]]:
    """Where nothing passes: the single constraints that open an option, each with the limit that does, least first; then
    those that may, since another one cannot be told yet (`unsure`: its keys)."""
    if any(feasible(found) and state.usd[name] is not None for name, found in state.found.items()):
        return []
    rows = []
    for option in options:
        broken = [one for one in state.found[option.name] if not one.met]
        failed = {one.key for one in broken if one.verdict == "failed"} or {one.key for one in broken}
        those = [one for one in broken if one.key in failed]
        if len(failed) != 1 or state.usd[option.name] is None or any(one.relaxed is None for one in those):
            continue
        worst, unsure = max(those, key=_step), sorted({one.key for one in broken} - failed)
        text = f"{_eased(worst)} opens {option.name}"
        if unsure:
            text = f"{_eased(worst)} may open {option.name}: {', '.join(unsure)} cannot be told yet"
        rows.append(
            {
                "option": option.name,
                "constraint": worst.key,
                "from": worst.limit,
                "to": worst.relaxed,
                "step": _step(worst),
                "unsure": unsure,
                "text": text,
            }
        )
    return sorted(rows, key=lambda row: (bool(row["unsure"]), row["step"], row["option"]))


def _eased(one: Check) -> str:
    return f"{one.key}={_limit(one.relaxed)} instead of {_limit(one.limit)}"


def _step(one: Check) -> float:
    """How far a limit has to give way, against itself."""
    if not isinstance(one.limit, int | float):
        return 10.0
    return abs(float(one.relaxed) - float(one.limit)) / max(abs(float(one.limit)), 1e-12)


def _limit(value: Any) -> str:
    return (
        f"{value:,.4g}"
        if isinstance(value, float | int) and abs(value) < 1000
        else f"{value:,.2f}"
        if isinstance(value, float | int)
        else str(value)
    )
