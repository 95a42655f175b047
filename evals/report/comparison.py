"""A comparison on a terminal: the whole, slices and fields, gates, and the documents that broke or were mended."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.report import console

CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")
"""What would move a terminal's cursor, or cannot be printed at all."""
RELATIVE = ("cost", "p50_s", "p95_s")
COLUMNS = ("baseline", "candidate", "difference [95 %]", "n", "p (Holm)", "detectable", "verdict")


def text(result: Mapping[str, Any]) -> str:
    """All of it, as printed."""
    parts = [heading(result), *sources(result), *(f"! {line}" for line in result["infrastructure"])]
    if len(result["candidates"]) > 1:
        parts.append(matrix(result))
    for part in result["candidates"]:
        parts += [_candidate(result, part), *(f"! {clean(line)}" for line in part["told"]), *map(clean, part["notes"])]
        parts += _documents(part, result["show"])
    parts += [_gates(result)] if result["gates"] else []
    return "\n".join([*parts, f"Holm over {result['tests']} tests; detectable: with power .8 at 5 %, one test"])


def heading(result: Mapping[str, Any]) -> str:
    """`legal_extract: a regressed against b`."""
    base = result["baseline"]["option"]
    said = "; ".join(f"{part['option']} {part['verdict']}" for part in result["candidates"])
    return f"{result['task']}: {said} (baseline {base})"


def sources(result: Mapping[str, Any]) -> list[str]:
    """Which runs the figures are of, a line each."""
    sides = [(f"baseline {result['baseline']['option']}", result["baseline"])]
    sides += [(part["option"], part) for part in result["candidates"]]
    return [clean(f"{name}: {side['run']}") for name, side in sides]


def rows_of(result: Mapping[str, Any], option: str, run: str | None = None) -> list[Mapping[str, Any]]:
    """One candidate's findings."""
    return [row for row in result["metrics"] if row["option"] == option and row.get("run") in (None, run)]


def name_of(row: Mapping[str, Any]) -> str:
    """`f1`, `f1 in complex`, `f1 of parties[].name`."""
    inside = f" in {row['slice']}" if row["slice"] else f" of {row['field']}" if row["field"] else ""
    return f"{row['metric']}{inside}"


def cells(row: Mapping[str, Any]) -> list[str]:
    """A finding as the texts of `COLUMNS`."""
    return [
        figure(row["metric"], row["baseline"]),
        figure(row["metric"], row["candidate"]),
        difference(row),
        str(row["n"] or "-"),
        p_value(row["p_holm"]),
        detectable(row),
        verdict(row),
    ]


def figure(metric: str, value: float | None) -> str:
    """A value in its metric's unit."""
    if value is None or math.isnan(value):
        return "-"
    if metric == "cost":
        return f"${value:,.4g}/1k"
    return f"{console.seconds(value)} s" if metric in RELATIVE else f"{value:.3f}"


def difference(row: Mapping[str, Any]) -> str:
    """With its interval; of cost and latency as a share of the baseline."""
    relative = row["metric"] in RELATIVE and row.get("relative") is not None and not math.isnan(row["relative"])
    names = ("relative", "relative_low", "relative_high") if relative else ("difference", "low", "high")
    value, low, high = (math.nan if row.get(name) is None else float(row[name]) for name in names)
    if math.isnan(value):
        return "-"
    known = not (math.isnan(low) or math.isnan(high))
    if relative and (value > 9 or value < -0.9):  # a factor says more than +1,500.0 % or -100.0 %
        shown = [_factor(one + 1) for one in (value, low, high) if known or one == value]
        return f"x {shown[0]}" + (f" [{shown[1]}, {shown[2]}]" if known else "")
    scale, digits = (100, 1) if relative else (1, 3)
    bounds = f" [{scale * low:+.{digits}f}, {scale * high:+.{digits}f}]" if known else ""
    return f"{scale * value:+.{digits}f}" + (" %" if relative else "") + bounds


def _factor(value: float) -> str:
    """`150`, `1.2`, `1/11,400`."""
    if value >= 10:
        return f"{value:,.0f}"
    return f"1/{float(f'{1 / value:.3g}'):,.0f}" if 0 < value < 0.1 else f"{value:.2g}"


def p_value(p: float | None) -> str:
    """Three decimals, `<.001` below them."""
    return "-" if p is None or math.isnan(p) else "<.001" if p < 0.001 else f"{p:.3f}"


def detectable(row: Mapping[str, Any]) -> str:
    """The least difference that so many documents show."""
    value = row["detectable"]
    if value is None or not math.isfinite(value) or value == 0:
        return "-"
    if row["metric"] not in RELATIVE:
        return f"{value:.3f}"
    return f"{100 * value / row['baseline']:,.1f} %" if row["baseline"] else "-"


def verdict(row: Mapping[str, Any]) -> str:
    """The verdict with its margin, the documents it lacks, or why there is none."""
    word = str(row["verdict"])
    if word == "equivalent":
        relative = row["metric"] in RELATIVE
        word += f" (within {100 * row['margin']:g} %)" if relative else f" (within {row['margin']:g})"
    if row["needed"]:
        word += f", needs about {row['needed']:,} documents"
    return f"{word}: {row['note']}" if row["note"] and row["note"] != word else word


def matrix(result: Mapping[str, Any]) -> str:
    """Every candidate beside the others against the one baseline."""
    options = [part["option"] for part in result["candidates"]]
    names = list(dict.fromkeys(name_of(row) for row in result["metrics"] if not row["field"]))
    found = {(row["option"], name_of(row)): row for row in result["metrics"]}
    lines = []
    for name in names:
        rows = [found.get((option, name)) for option in options]
        base = next((row for row in rows if row and row["baseline"] is not None), None)
        shown = [f"{difference(row)} {row['verdict']}" if row else "-" for row in rows]
        lines.append([name, figure(base["metric"], base["baseline"]) if base else "-", *shown])
    return console.rows("against one baseline", ["metric", result["baseline"]["option"], *options], lines)


def _candidate(result: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    lines = [[name_of(row), *cells(row)] for row in rows_of(result, part["option"])]
    title = f"{part['option']} against {result['baseline']['option']}: {part['n']} documents"
    return console.rows(title, ["metric", *COLUMNS], lines)


def gate_cells(gate: Mapping[str, Any]) -> list[str]:
    """Option, gate, limit, value with interval, result."""
    metric, kind = gate["gate"].rsplit(".", 1)
    limit = f"{100 * gate['limit']:g} %" if kind == "max_increase" else f"{gate['limit']:g}"
    if kind == "max_increase":
        value = difference({**_as_row(gate), "metric": metric})
    else:
        bounds = [figure(metric, gate[name]) for name in ("value", "low", "high")]
        value = bounds[0] if "-" in bounds[1:] else f"{bounds[0]} [{bounds[1]}, {bounds[2]}]"
    more = f", needs about {gate['needed']:,} documents" if gate["needed"] else ""
    return [gate["option"], gate["gate"], limit, value, gate["result"] + more]


def _as_row(gate: Mapping[str, Any]) -> dict[str, Any]:
    return {"relative": gate["value"], "relative_low": gate["low"], "relative_high": gate["high"]}


def _gates(result: Mapping[str, Any]) -> str:
    names = ["option", "gate", "limit", "value [95 %]", "result"]
    return console.rows("gates", names, [gate_cells(gate) for gate in result["gates"]])


def _documents(part: Mapping[str, Any], show: int) -> list[str]:
    lines = []
    for key, word in (("newly_broken", "newly broken"), ("newly_fixed", "newly fixed")):
        names = part[key]
        lines.append(f"{word}: {len(names)}" + (f" (the first {show})" if len(names) > show > 0 else ""))
        lines += [line for name in names[:show] for line in (f"  {clean(name)}", *diff_lines(part["documents"][name]))]
    return lines


def diff_lines(changes: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line a field whose outcome changed."""
    return [f"    {clean(c['path'])}: {c['baseline']} -> {c['candidate']}{_answers(c)}" for c in changes]


def _answers(change: Mapping[str, Any]) -> str:
    told = [("gold", change["gold"]), ("was", change["baseline_answer"]), ("is", change["candidate_answer"])]
    said = ", ".join(f"{name} {_short(value)}" for name, value in told if value is not None)
    return f"  ({said})" if said else ""


def clean(text: str) -> str:
    """Without control characters: ids and paths come from documents' files."""
    return CONTROL.sub("\ufffd", text)


def _short(value: Any) -> str:
    line = " ".join(str(value).split())
    return repr(line if len(line) <= 60 else line[:57] + "...")
