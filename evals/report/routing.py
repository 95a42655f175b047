"""A simulation of routing on a terminal, and as flat rows for a file."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.report import console
from evals.report.comparison import clean

SHOWN = 16
"""Hybrids that a terminal lists; files hold all."""
SIGNALS = 8
ALONE = 6
"""Signals and features alone that a terminal lists."""
Row = Mapping[str, Any]


def text(report: Mapping[str, Any]) -> str:
    """The options alone, the hybrids by what they surely gain, what the scores are worth, and what must be known."""
    parts = [_singles(report), _hybrids(report), *_below(report)]
    if report["calibration"]:
        parts.append(_calibration(report))
    if report["signals"]:
        parts.append(_signals(report))
    if saved := report.get("saved"):
        parts.append(f"{saved['file']}: the policy of {clean(saved['option'])}, {saved['how']}")
    parts += [f"- {clean(note)}" for note in report["notes"]]
    parts += [f"- left out: {clean(one['run'])}: {one['reason']}" for one in report["left_out"]]
    return "\n".join(parts)


def _singles(report: Mapping[str, Any]) -> str:
    columns = ["option", *_quality_columns(report), *(["floor"] if report["floor"] is not None else []), ""]
    lines = []
    for row in sorted(report["singles"], key=lambda row: row["quality"]["value"]):
        floor = [row["meets_floor"]] if report["floor"] is not None else []
        lines.append([clean(row["option"]), *_quality_cells(row, report), *floor, "the best" if row["best"] else ""])
    return console.rows(f"{clean(report['title'])}, {report['documents']:,} documents", columns, lines)


def _hybrids(report: Mapping[str, Any]) -> str:
    """Of one pair every way, of several pairs the best way of each."""
    shown = order(report["hybrids"])
    pairs = list(dict.fromkeys((row["cheap"], row["strong"]) for row in shown))
    alone = [row for row in shown if rank(row) == 1 and 0.02 < row["share_strong"] < 0.98][:ALONE]
    told = [row for row in shown if rank(row) != 1 or row in alone]
    if len(pairs) > 1:
        first: dict[tuple[str, str], Row] = {}
        for row in shown:
            first.setdefault((row["cheap"], row["strong"]), row)
        told = list(first.values())[:SHOWN]
    floor = report["floor"] is not None
    columns = ["cheap -> strong"] if len(pairs) > 1 else []
    columns += ["way", *_quality_columns(report), "strong", "gain", "over best", *(["floor"] if floor else []), ""]
    names = "hybrids" if len(pairs) > 1 else clean(f"{pairs[0][0]} -> {pairs[0][1]}")
    lines = [_line(row, report)[len(pairs) == 1 :] for row in told]
    said = console.rows(f"{names}, {report['fitted']}", columns, lines)
    if len(pairs) > 1:
        said += f"\nof {len(shown)} hybrids the best of each pair, which flatters it; "
        said += "cheap=OPTION strong=OPTION tells one pair whole, out=DIR writes all"
    elif len(told) < len(shown):
        said += f"\nand {len(shown) - len(told)} signals and features alone; out=DIR writes all"
    return said


def _quality_columns(report: Mapping[str, Any]) -> list[str]:
    priced, timed = _had(report)
    return [
        f"{report['metric']} [{100 * report['level']:g} %]",
        *(["$/1k"] if priced else []),
        *(["p95 s"] if timed else []),
    ]


def _quality_cells(row: Row, report: Mapping[str, Any]) -> list[str]:
    priced, timed = _had(report)
    cells = [_span(row["quality"], 3)]
    cells += [_usd(row["usd_per_1k"]["value"])] if priced else []
    return cells + ([console.seconds(row["latency_p95_s"]["value"])] if timed else [])


def _had(report: Mapping[str, Any]) -> tuple[bool, bool]:
    """Is any dollar, any latency known?"""
    rows = report["singles"]
    return tuple(any(row[name]["value"] is not None for row in rows) for name in ("usd_per_1k", "latency_p95_s"))  # type: ignore[return-value]


def _line(row: Row, report: Mapping[str, Any]) -> list[str]:
    cells = [clean(f"{row['cheap']} -> {row['strong']}"), clean(row["way"]), *_quality_cells(row, report)]
    best = row["gain_best"]["value"]
    cells += [f"{100 * row['share_strong']:.0f} %", _points(row[f"gain_{row['against']}"]), f"{100 * best:+.1f}"]
    return [*cells, *([row["meets_floor"]] if report["floor"] is not None else []), _word(row)]


def _word(row: Row) -> str:
    """The verdict in a word; what `unclear` means stands below the table."""
    first, _, _ = row["verdict"].partition(":")
    return "unclear" if first.startswith("cannot be told") else str(first)


def _reference(report: Mapping[str, Any]) -> str:
    kinds = {row["against"] for row in report["hybrids"]}
    hull, mix = "the best mix of options of equal cost", "the random mix of the two with as many strong calls"
    return hull if kinds == {"hull"} else mix if kinds == {"mix"} else f"{hull}, or, where no cost is known, {mix}"


def rank(row: Row) -> int:
    """Claims first, then each signal and feature alone, the references last."""
    return {"oracle": 2, "random_mix": 2}.get(row["kind"], 0 if row["p"] is not None else 1)


def order(rows: Sequence[Row]) -> list[Row]:
    """By rank, then by the lower bound of their gain; twins are left out."""

    def key(row: Row) -> tuple[int, float]:
        gain = row[f"gain_{row['against']}"]
        return rank(row), -(gain["value"] if gain["low"] is None else gain["low"])

    return sorted((row for row in rows if row["way"] != "twin"), key=key)


def _span(found: Row, digits: int) -> str:
    value, low, high = found["value"], found["low"], found["high"]
    if value is None:
        return "-"
    return f"{value:.{digits}f}" + ("" if low is None else f" [{low:.{digits}f}, {high:.{digits}f}]")


def _points(found: Row | None) -> str:
    """A difference of qualities in points (hundredths)."""
    if found is None or found["value"] is None:
        return "-"
    value, low, high = found["value"], found["low"], found["high"]
    return f"{100 * value:+.1f}" + ("" if low is None else f" [{100 * low:+.1f}, {100 * high:+.1f}]")


def _usd(value: float | None) -> str:
    return "-" if value is None else f"{value:,.2f}" if value >= 0.1 else f"{value:.3g}"


def _below(report: Mapping[str, Any]) -> list[str]:
    """How to read the table; dollars saved by the best claim; the learned router against its twin."""
    said = [f"gain: points of {report['metric']} over {_reference(report)}; strong: share sent to the strong option"]
    claims = [row for row in order(report["hybrids"]) if row["p"] is not None]
    said += [f"unclear: {reason}" for reason in dict.fromkeys(r["verdict"] for r in claims if _word(r) == "unclear")]
    for row in claims[:1]:
        said += _saved(row, report)
    for row in [row for row in claims if row.get("over_twin")][:3]:
        word = "beats" if row["beats_twin"] else "does not beat"
        said.append(
            f"{clean(row['option'])}: {word} its twin fitted on shuffled errors ({_points(row['over_twin'])} points)"
        )
    pairs = {(row["cheap"], row["strong"]) for row in report["hybrids"]}
    for one in report.get("aiq", ()) if len(pairs) == 1 else ():
        if one["aiq"] is not None and one["aiq_mix"] is not None:
            said.append(f"AIQ of {one['way']}: {one['aiq']:.3f}, of random mixes {one['aiq_mix']:.3f}")
    return said


def _saved(row: Row, report: Mapping[str, Any]) -> list[str]:
    said = []
    volume = f"at {report['volume_per_day']:,.0f} documents a day"
    mix = "the cheapest random mix " + ("that reaches the floor" if report["floor"] is not None else "as good")
    single = "the cheapest single option that surely reaches the floor"
    for key, rival in (("single", single if report["floor"] is not None else "the best single option"), ("mix", mix)):
        found = row[f"saved_usd_per_month_{key}"]
        if found is None or found["value"] is None:
            continue
        said.append(f"{clean(row['option'])} {_against(found)} a month {volume} against {rival}")
    if said and row["meets_floor"] != "meets":
        said.append(f"whether it is good enough is not certain: its quality {_floored(row, report)}")
    if not said:
        said.append("dollars saved are not known: give machine.usd_per_hour=..., or runs whose cost is known")
    return said


def _against(found: Mapping[str, Any]) -> str:
    """`saves $3.00 [$1.00, $5.00]`, `costs $2.00 [$1.00, $3.00] more`."""
    value, ends = found["value"], [found["low"], found["high"]]
    dearer = value < -0.005
    if dearer:
        value, ends = -value, [None if end is None else -end for end in reversed(ends)]
    span = "" if None in ends else f" [{_money(ends[0])}, {_money(ends[1])}]"
    return f"costs {_money(value)}{span} more" if dearer else f"saves {_money(value)}{span}"


def _floored(row: Row, report: Mapping[str, Any]) -> str:
    what = f"floor={report['floor']:g}" if report["floor"] is not None else "the best single option's, less the margin"
    return {"fails": f"is below {what}", "inconclusive": f"may be below {what}"}[row["meets_floor"]]


def _money(value: float) -> str:
    sign = "-" if value <= -0.005 else ""
    return f"{sign}${abs(value):,.0f}" if abs(value) >= 100 else f"{sign}${abs(value):,.2f}"


def _calibration(report: Mapping[str, Any]) -> str:
    columns = ["whose errors", "predicted by", "n", "mean error", "ECE", "AUC", "AURC (best, random)"]
    lines = [
        [
            clean(one["option"]),
            one["predictor"],
            one["documents"],
            f"{one['mean_error']:.3f}",
            f"{one['ece']:.3f}",
            "-" if one["auc"] is None else f"{one['auc']:.2f}",
            f"{one['aurc']:.3f} ({one['aurc_best']:.3f}, {one['aurc_random']:.3f})",
        ]
        for one in report["calibration"]
    ]
    return console.rows("P(error), predicted without the document", columns, lines)


def _signals(report: Mapping[str, Any]) -> str:
    told = [one for one in report["signals"] if one["auc"] is not None]
    told.sort(key=lambda one: -abs(one["auc"] - 0.5))
    lines = [[clean(one["option"]), one["kind"], clean(one["name"]), f"{one['auc']:.2f}"] for one in told[:SIGNALS]]
    said = "what tells errors apart, each alone (AUC: 0.5 is nothing; under 0.5, the other way round)"
    table = console.rows(said, ["whose errors", "", "name", "AUC"], lines)
    return table + (f"\nand {len(told) - SIGNALS} more in route.json" if len(told) > SIGNALS else "")


def flat(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row an option and hybrid: `quality, quality_low, quality_high, ...`."""
    rows = []
    for row in [*report["singles"], *report["hybrids"]]:
        plain: dict[str, Any] = {}
        for name, value in row.items():
            if isinstance(value, Mapping) and set(value) == {"value", "low", "high"}:
                plain |= {name: value["value"], f"{name}_low": value["low"], f"{name}_high": value["high"]}
            elif name not in ("detail", "best"):
                plain[name] = value
        rows.append({"kind": "single", **plain})
    return rows
