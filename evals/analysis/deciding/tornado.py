"""What moves the answer: each figure at its low and its high, the others typical."""

from typing import Any

from evals.analysis.deciding.book import Book
from evals.analysis.deciding.judging import Ask, State
from evals.analysis.deciding.options import Option

ASSUMED = 0.2
"""A figure of which nothing is said is moved by this share either way, and the row says so."""


def rows(book: Book, state: State, ask: Ask) -> list[dict[str, Any]]:
    """Dollars a day that the runner-up costs more than the recommended option, with each figure low and high; the widest
    first. Without a runner-up: dollars of the recommended option. `turns`: the sign changes in between."""
    if state.recommended is None:
        return []
    by = {one.name: one for one in book.options}
    winner, rival = by[state.recommended], by[state.runner_up] if state.runner_up else None
    sides = [one for one in (winner, rival) if one is not None]
    names = dict.fromkeys(one.name for side in sides for one in side.deployment.figures())
    found = []
    for name in names:
        figure = book.figures[name]
        ends, known = _ends(figure)
        if ends[0] == ends[1]:
            continue
        values = [_gap(book, winner, rival, name, end, float(state.volume)) for end in ends]
        found.append(_row(figure.name, figure.unit, figure.provenance, ends, values, known, rival))
    ends, known = _ends(ask.volume)
    values = [_gap(book, winner, rival, "", float(ask.volume.value), end) for end in ends]
    found.append(_row("volume", "documents/day", ask.volume.provenance, ends, values, known, rival))
    base = _gap(book, winner, rival, "", 0.0, float(state.volume))
    return sorted(({**row, "base": base} for row in found), key=lambda row: -row["swing"])


def widest(book: Book, option: Option, volume: float) -> str | None:
    """The figure whose range moves an option's dollars most; `None` where none has a range."""
    swings: dict[str, float] = {}
    for figure in option.deployment.figures():
        ends, known = _ends(figure)
        if known:
            low, high = (_gap(book, option, None, figure.name, end, volume) for end in ends)
            swings[figure.name] = abs(high - low)
    return max(swings, key=lambda name: swings[name]) if swings else None


def _ends(figure: Any) -> tuple[tuple[float, float], str | None]:
    value = float(figure.value)
    if figure.low is not None and figure.high is not None:
        return (
            figure.low,
            figure.high,
        ), "95 % interval" if figure.drawn is not None or figure.provenance == "measured" else "declared"
    most = min(value * (1 + ASSUMED), 1.0) if "share" in figure.name else value * (1 + ASSUMED)
    return (value * (1 - ASSUMED), most), None


def _gap(book: Book, winner: Option, rival: Option | None, name: str, value: float, volume: float) -> float:
    bills = [None if one is None else book.with_value(one, name, value) for one in (winner, rival)]
    assert bills[0] is not None
    mine = float(bills[0].usd(volume))
    return mine if bills[1] is None else float(bills[1].usd(volume)) - mine


def _row(
    name: str,
    unit: str,
    provenance: str,
    ends: tuple[float, float],
    values: list[float],
    known: str | None,
    rival: Option | None,
) -> dict[str, Any]:
    return {
        "figure": name,
        "unit": unit,
        "provenance": provenance if known else "assumed",
        "low": ends[0],
        "high": ends[1],
        "at_low": values[0],
        "at_high": values[1],
        "swing": abs(values[1] - values[0]),
        "turns": rival is not None and min(values) < 0,
        "range": known or f"+-{100 * ASSUMED:.0f} % assumed",
    }
