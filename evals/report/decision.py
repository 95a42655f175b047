"""A decision on a terminal and in a notebook: the recommendation in two sentences, then what stands behind it."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.report import console
from evals.report.comparison import clean

COLUMNS = (
    "option",
    "quality [90 %]",
    "$/day [95 %]",
    "dollars",
    "p95 s",
    "replicas",
    "go to",
    "ops hours/month",
    "weeks to production",
    "P(cheapest)",
    "feasible",
)
MONEY = ("option", "quality [90 %]", "$/day [95 %]", "dollars", "P(cheapest)", "feasible")
RUNNING = ("option", "p95 s", "replicas", "go to", "ops hours/month", "weeks to production")
MOST_LINES = 14
MOST_OPTIONS = 40


def text(result: Mapping[str, Any]) -> str:
    """All of it, as printed."""
    parts = [*sentences(result), ""]
    title = f"{clean(result['title'])}, {amount(result['volume_per_day'])} documents a day"
    for at, (columns, lines) in enumerate(tables(result)):
        parts.append(console.rows("" if at else title, columns, lines, whole="option"))
    for head, said in blocks(result):
        parts += ["", f"{head}:", *(f"- {clean(line)}" for line in said[:MOST_LINES])]
        if len(said) > MOST_LINES:
            parts.append(f"- and {len(said) - MOST_LINES} more; out=DIR writes all")
    return "\n".join(parts)


def html(result: Mapping[str, Any]) -> str:
    """The same for a notebook; everything is escaped."""
    from html import escape

    from evals.report import html_compare

    parts = [f'<div style="font-weight:600">{escape(line)}</div>' for line in sentences(result)]
    parts += [html_compare.table(columns, lines) for columns, lines in tables(result)]
    for title, said in blocks(result):
        rows = "".join(f"<li>{escape(line)}</li>" for line in said)
        parts.append(f'<div style="margin-top:.6em">{escape(title)}</div><ul style="margin:.2em 0">{rows}</ul>')
    return f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto">{"".join(parts)}</div>'


def sentences(result: Mapping[str, Any]) -> list[str]:
    """Two sentences for whoever decides: what to do, and what it rests on."""
    by = {row["option"]: row for row in result["options"]}
    volume = f"{amount(result['volume_per_day'])} documents a day"
    if result["recommended"] is None:
        return _none(result, volume)
    row, second = by[result["recommended"]], by.get(result["runner_up"])
    first = f"At {volume}, use {clean(row['option'])}: {dollars(row['usd_per_day'])} a day ({dollars(row['usd_per_month'])} a month)"
    first += (
        f", {clean(result['metric'])} {row['quality']:.3f}" if row["quality"] is not None else ", quality not declared"
    )
    if second is None:
        return [f"{first}.", f"No other option is feasible; the dollars are {row['usd_provenance']}."]
    more = second["usd_per_day"] - row["usd_per_day"]
    chance = (
        ""
        if row["p_cheapest"] is None
        else f"; {clean(row['option'])} is the cheapest in {100 * row['p_cheapest']:.0f} % of the draws"
    )
    if abs(more) < 0.005:
        told = f"The runner-up, {clean(second['option'])}, costs the same{chance}"
    elif more >= 0:
        told = f"The runner-up, {clean(second['option'])}, costs {dollars(more)} a day more{chance}"
    else:
        told = f"The runner-up, {clean(second['option'])}, costs {dollars(-more)} a day less, which is inside the interval, and has more moving parts{chance}"
    return [f"{first}.", f"{told}; the dollars are {row['usd_provenance']}."]


def _none(result: Mapping[str, Any], volume: str) -> list[str]:
    if result["verdict"] == "inconclusive":
        return [
            f"At {volume}, nothing can be recommended yet: no option is known to hold every constraint and to have a price.",
            _first_step(result),
        ]
    first, eased = f"At {volume}, no option holds every constraint.", result["relax"]
    if not eased:
        why = "each breaks several"
        if any(row["usd_per_day"] is None for row in result["options"]):
            why += ", or has no known dollars"
        return [first, f"No single constraint, relaxed, opens one: {why}."]
    if eased[0].get("unsure"):
        return [first, f"No single constraint, relaxed, surely opens one; {clean(eased[0]['text'])}."]
    return [first, f"The least that opens one: {clean(eased[0]['text'])}."]


def _first_step(result: Mapping[str, Any]) -> str:
    lacking = {key for row in result["options"] for key in row["unknown"]}
    if "usd_per_hour" in lacking:
        return "No price of a machine is declared: give machine.usd_per_hour=... or machine=NAME."
    needed: dict[str, list[int | None]] = {}
    for row in result["settle"]:
        needed.setdefault(row["option"], []).append(row["documents"])
    counts = {name: max(filter(None, found)) for name, found in needed.items() if all(found)}
    if counts:
        least = min(counts, key=lambda name: counts[name])
        return f"{counts[least]:,} documents in all would settle {clean(least)}, if its figures stay what they are."
    return "What would settle it stands below."


def blocks(result: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
    """Titled lists of lines below the table; empty ones are left out."""
    found = [
        ("what the others break", _breaks(result)),
        ("volumes", _volumes(result["at"])),
        (
            "break-even (documents a day from which b costs no more than a)",
            [pair(one) for one in result["break_even"] if one["always_win_per_day"] != 1],
        ),
        ("the answer turns", [*result["flips"], *_apart(result)]),
        (
            "what moves it most (dollars a day that the runner-up costs more)"
            if result["runner_up"]
            else "what moves its dollars most",
            [moved(row) for row in result["tornado"][:6] if row["swing"] >= 0.005],
        ),
        ("what would settle what cannot be told", grouped([(row["option"], row["text"]) for row in result["settle"]])),
        ("relaxed alone, these open an option, or may", [row["text"] for row in result["relax"]]),
        ("rests on", basis(result)),
        ("left out", [f"{one['run']}: {one['reason']}" for one in result["left_out"]]),
    ]
    return [(title, lines) for title, lines in found if lines]


def _apart(result: Mapping[str, Any]) -> list[str]:
    """Why a volume here is not one of the break-even's."""
    if not result["break_even"] or not any(line.startswith("volume: ") for line in result["flips"]):
        return []
    return [
        "a volume here is where the recommendation turns: constraints held, and fewer moving parts taken inside the interval "
        "of the cheapest; a break-even compares the typical dollars of two options and nothing else"
    ]


def _volumes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for row in rows:
        costs = ", ".join(f"{name} {dollars(usd)}" for name, usd in row["usd_per_day"].items())
        found.append(f"{row['volume_per_day']:,} a day: {costs}; recommended: {row['recommended'] or 'none'}")
    return found


def pair(one: Mapping[str, Any]) -> str:
    """`api -> local: first at 235,891 [..], for good from 242,873 [..]`."""
    head = f"a = {one['a']}, b = {one['b']}: "
    if one["first_win_per_day"] is None:
        chance = 1 - (one["p_never"] or 0.0)
        return (
            head
            + "never"
            + (f" by typical figures; in {_percent(chance)} of the draws it does" if 0 < chance < 1 else "")
        )
    if one["always_win_per_day"] == 1:
        return head + "at every volume"
    first = _span(one, "first_win")
    if one["always_win_per_day"] is None:
        return f"{head}first at {first}, never for good{_never(one)}"
    always = _span(one, "always_win")
    if one["first_win_per_day"] == one["always_win_per_day"]:
        return f"{head}{first}{_never(one)}"
    return f"{head}first at {first}, for good from {always}{_never(one)}"


def _never(one: Mapping[str, Any]) -> str:
    return f"; never in {_percent(one['p_never'])} of the draws" if 0 < (one["p_never"] or 0) < 1 else ""


def _percent(share: float) -> str:
    """`7 %`, `under 1 %`, `over 99 %`: a share between none and all is neither."""
    return "under 1 %" if share < 0.005 else "over 99 %" if share > 0.995 else f"{100 * share:.0f} %"


def _span(one: Mapping[str, Any], key: str) -> str:
    value, low, high = one[f"{key}_per_day"], one[f"{key}_low"], one[f"{key}_high"]
    if low == high and (low == value or one.get("coarse")):
        return f"{value:,}"
    about = "about " if one.get("coarse") else ""
    return f"{value:,} [{about}{'never' if low is None else f'{low:,}'}, {'never' if high is None else f'{high:,}'}]"


def moved(row: Mapping[str, Any]) -> str:
    """One figure of the tornado in words."""
    turns = ": turns the answer" if row["turns"] else ""
    ends = f"{_short(row['low'])} to {_short(row['high'])} {row['unit']}".strip()
    return f"{row['figure']}, {ends} ({row['range']}): {dollars(row['at_low'])} to {dollars(row['at_high'])}{turns}"


def basis(result: Mapping[str, Any]) -> list[str]:
    """Constraints, capacity, what was not counted, and each option's notes."""
    capacity = result["capacity"]
    lines = ["constraints: " + ", ".join(result["constraints"])]
    if not any(line.startswith("min") for line in result["constraints"]):
        lines.append(
            "no floor of quality is set, so the cheapest is taken whatever its quality: min.f1=0.8, say, sets one"
        )
    if any(one["unit"] == "documents/s" for one in result["figures"]):
        lines.append(
            f"a replica carries 86,400 x throughput x {capacity['utilisation']} (utilisation) / {capacity['peak']} (peak) documents a day"
        )
    if result["growth"] != 1:
        grown = ", ".join(f"{row['option']} {dollars(row['usd_per_day_grown'])}" for row in result["options"])
        lines.append(f"a day at {result['growth']:g} times the volume: {grown}")
    if result["not_counted"]:
        lines.append("declared by nobody, so counted as nothing: " + ", ".join(result["not_counted"]))
    for row in result["options"]:
        if row["kind"] in ("cascade", "preroute") and row["escalated_per_day"] is not None:
            lines.append(f"{row['option']}: {amount(row['escalated_per_day'])} documents a day go to its strong model")
    lines += grouped([(row["option"], note) for row in result["options"] for note in row["notes"]])
    return [*lines, *result["notes"]]


def grouped(said: Sequence[tuple[str, str]]) -> list[str]:
    """`a, b: what is said of both`."""
    found: dict[str, list[str]] = {}
    for name, text_of in said:
        found.setdefault(text_of, []).append(name)
    return [f"{', '.join(names)}: {text_of}" for text_of, names in found.items()]


def tables(result: Mapping[str, Any]) -> list[tuple[list[str], list[list[str]]]]:
    """What it costs and whether it may be, then how it runs, the recommended option and the runner-up first; columns that
    say nothing are left out, and so is a table of them alone."""
    lines = _lines(result)
    found = []
    more = len(lines) - MOST_OPTIONS
    lines = lines[:MOST_OPTIONS] + ([[f"and {more} more", *["-"] * (len(COLUMNS) - 1)]] if more > 0 else [])
    for names in (MONEY, RUNNING):
        at = [COLUMNS.index(name) for name in names if any(line[COLUMNS.index(name)] != "-" for line in lines)]
        if len(at) > 1:
            found.append(([COLUMNS[place] for place in at], [[line[place] for place in at] for line in lines]))
    return found


def _lines(result: Mapping[str, Any]) -> list[list[str]]:
    return [_cells(row, result) for row in ordered(result)]


def ordered(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Options as they are listed: the recommended one, the runner-up, what may be taken, what may not; by dollars."""
    order = {result["recommended"]: 0, result["runner_up"]: 1}
    rank = {True: 2, None: 3, False: 4}
    return sorted(
        result["options"],
        key=lambda row: (
            order.get(row["option"], rank[row["feasible"]]),
            row["usd_per_day"] is None,
            row["usd_per_day"] or 0.0,
        ),
    )


def _cells(row: Mapping[str, Any], result: Mapping[str, Any]) -> list[str]:
    mark = {result["recommended"]: "1 ", result["runner_up"]: "2 "}.get(row["option"], "")
    share = row["p_cheapest"]
    return [
        f"{mark}{clean(str(row['option']))}",
        _interval(row),
        spent(row),
        str(row["usd_provenance"] or "unknown"),
        console.seconds(row["latency_p95_s"]),
        "-" if row["replicas"] is None else f"{row['replicas']:,}",
        clean(str(row["privacy"])),
        "-" if row["ops_hours_per_month"] is None else f"{row['ops_hours_per_month']:g}",
        "-" if row["lead_weeks"] is None else f"{row['lead_weeks']:g}",
        "-" if share is None else f"{100 * share:.0f} %",
        clean(why(row)),
    ]


def why(row: Mapping[str, Any]) -> str:
    """`yes`, `no: ` what it breaks, `?: ` what cannot be told."""
    if row["feasible"]:
        return "yes"
    wanted = "failed" if row["feasible"] is False else "inconclusive"
    names = dict.fromkeys(one["name"] for one in row["checks"] if one["verdict"] == wanted)
    return ("no: " if row["feasible"] is False else "?: ") + ", ".join(names or ["dollars"])


def _breaks(result: Mapping[str, Any]) -> list[str]:
    """Each constraint that an option does not hold, or that cannot be told."""
    return [
        f"{row['option']}: {one['text']}" + (" (cannot be told)" if one["verdict"] == "inconclusive" else "")
        for row in result["options"]
        for one in row["checks"]
        if one["verdict"] == "failed" or (one["verdict"] == "inconclusive" and row["feasible"] is False)
    ]


def _interval(row: Mapping[str, Any]) -> str:
    if row["quality"] is None:
        return "-"
    if row["quality_low"] is None:
        return f"{row['quality']:.3f}"
    return f"{row['quality']:.3f} [{row['quality_low']:.3f}, {row['quality_high']:.3f}]"


def spent(row: Mapping[str, Any]) -> str:
    """Dollars a day with their interval."""
    if row["usd_per_day"] is None:
        return "-"
    low, high = row["usd_per_day_low"], row["usd_per_day_high"]
    if low is None or abs(high - low) < 0.005:
        return dollars(row["usd_per_day"])
    return f"{dollars(row['usd_per_day'])} [{_figure(low)}, {_figure(high)}]"


def dollars(value: float | None) -> str:
    """`$1,234.50`, `$0.0123`, `-` where not known."""
    if value is None:
        return "-"
    return f"-${_figure(-value)}" if value < 0 else f"${_figure(value)}"


def _figure(value: float) -> str:
    if value and abs(value) < 0.1:
        return f"{value:.3g}"
    return f"{value:,.2f}" if abs(value) < 10_000 else f"{value:,.0f}"


def amount(value: float) -> str:
    """Documents."""
    return f"{value:,.0f}"


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
