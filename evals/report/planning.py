"""A plan on a terminal and in a notebook: what so many documents can detect, what is needed, what it costs and takes."""

import math
from collections.abc import Mapping
from typing import Any

from evals.report import console
from evals.report.comparison import clean

MODEL_COLUMNS = ("option", "from", "tokens in + out", "failed", "$ [95 %]", "estimated $", "time [95 %]", "docs/min")
UNITS = ((120.0, 1 / 60, "h"), (2.0, 1.0, "min"), (0.0, 60.0, "s"))
"""Of a time: from so many minutes on, what to multiply minutes with, the unit."""


def text(result: Mapping[str, Any]) -> str:
    """All of it, as printed."""
    parts = list(result["sentences"])
    for title, columns, lines in tables(result):
        parts += ["", title, console.rows("", columns, lines)]
    return "\n".join([*parts, "", *said_of_models(result), *(clean(line) for line in footnotes(result))])


def html(result: Mapping[str, Any]) -> str:
    """The same for a notebook; everything is escaped."""
    from html import escape

    from evals.report import html_compare

    parts = [f'<div style="font-weight:600">{escape(line)}</div>' for line in result["sentences"]]
    for title, columns, lines in tables(result):
        parts += [f'<div style="margin-top:.6em">{escape(title)}</div>', html_compare.table(columns, lines)]
    below = [*said_of_models(result), *footnotes(result)]
    parts += [f'<div style="opacity:.75;font-size:90%">{escape(line)}</div>' for line in below]
    return f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto">{"".join(parts)}</div>'


def tables(result: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and lines of every table."""
    return [_detectable(result), _needed(result), *([_models(result)] if result["models"] else [])]


def sentences(result: Mapping[str, Any]) -> list[str]:
    """`These 60 documents can detect 14 points [11, 17] of F1 and ...`, and what each model takes."""
    n, task = result["documents"], result["task"]
    rows = {row["metric"]: row for row in result["detectable"] if row["n"] == n}
    words = [f"{_points(rows['f1'])} of F1", f"{_points(rows['exact'])} of exact match"]
    mark = "" if result["spread"]["provenance"] == "measured" else " (assumed)"
    found = [f"{task}: these {n:,} documents can detect {' and '.join(words)}{mark}."]
    for model in result["models"]:
        if model["provenance"] == "measured":
            usd = "unknown dollars" if model["usd"] is None else _range(model, "usd", "$")
            time = "unknown time" if model["minutes"] is None else _time(model)
            found.append(f"{clean(str(model['option']))}: {n:,} documents will cost {usd} and take {time}.")
    return found


def _detectable(result: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    alpha = f"{100 * result['alpha_each']:.3g} %"
    title = f"least difference that is detected: paired, power {result['power']:g}, alpha {alpha}, two-sided"
    rows = {(row["metric"], row["n"]): row for row in result["detectable"]}
    lines = []
    for n in sorted({n for _, n in rows}):
        mark = " (all there are)" if n == result["available"] else ""
        lines.append([f"{n:,}{mark}", *(_points(rows[metric, n]) for metric in ("f1", "exact"))])
    return title, ["documents", "F1 [95 %]", "exact match [95 %]"], lines


def _needed(result: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    rows = {(row["metric"], row["difference"]): row for row in result["needed"]}
    lines = [
        [
            f"{100 * size:g} point{'s' if size > 0.01 else ''}",
            *(_documents(rows[metric, size]) for metric in ("f1", "exact")),
        ]
        for size in sorted({size for _, size in rows})
    ]
    return "documents needed", ["difference", "F1 [95 %]", "exact match [95 %]"], lines


def _models(result: Mapping[str, Any]) -> tuple[str, list[str], list[list[str]]]:
    title = f"{result['documents']:,} documents of {result['task']} ({result['split']})"
    return title, list(MODEL_COLUMNS), [_model_cells(model) for model in result["models"]]


def _model_cells(model: Mapping[str, Any]) -> list[str]:
    known = model["provenance"] == "measured"
    tokens = [model["input_tokens"], model["output_tokens"]] if known else model["tokens_estimate"] or [None, None]
    asked = f"{model['pilot']} documents, {model['load']}" if known else "nothing asked: assumed"
    return [
        clean(str(model["option"])),
        asked,
        "-" if None in tokens else " + ".join(f"{part:,.0f}" for part in tokens),
        _share(model),
        "-" if model["usd"] is None else f"{_range(model, 'usd', '$')} {model['usd_provenance']}",
        "-" if model["usd_estimate"] is None else f"${_figure(model['usd_estimate'])}",
        "-" if model["minutes"] is None else _time(model),
        console.number(model["docs_per_min"], 1),
    ]


def said_of_models(result: Mapping[str, Any]) -> list[str]:
    """What must be known of each model's figures."""
    said = []
    for model in result["models"]:
        name = clean(str(model["option"]))
        if model["provenance"] != "measured":
            said.append(f"{name}: nothing was asked; pilot=10 measures it (a run of 10 documents, stored as any other)")
            continue
        said.append(f"{name}: from {clean(str(model['run']))}")
        if model["usd_date"] or model["usd_source"]:
            said.append(f"{name}: prices of {clean(str(model['usd_date']))}, {clean(str(model['usd_source']))}")
        if model["usd"] is None:
            said.append(f"{name}: dollars unknown: no price of the machine (machine.usd_per_hour=...) or no usage")
        said += [f"{name}: {line}" for line in model["extrapolated"]]
    return said


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """Where the spread is from, what the intervals are, and the notes."""
    spread = result["spread"]
    sd = _plain(spread, "sd_f1", 3)
    told = f"spread: {spread['text']}; paired standard deviation of F1 {sd}, discordance of exact match "
    lines = [told + _plain(spread, "discordance", 3)]
    if len(spread["pairs"]) > 1:
        ordered = sorted(spread["pairs"], key=lambda pair: pair["sd_f1"])
        ends = [f"{one['sd_f1']:.3f} ({one['a']}, {one['b']})" for one in (ordered[0], ordered[-1])]
        lines.append(f"spread of single pairs: F1 from {ends[0]} to {ends[1]}; like options need fewer documents")
    if result["comparisons"] > 1:
        lines.append(
            f"Holm over {result['comparisons']} comparisons: alpha {result['alpha']:g} / {result['comparisons']}"
        )
    if result["models"]:
        lines.append(f"intervals of dollars and minutes: of {result['documents']:,} further documents like the pilot's")
    return [*lines, *result["notes"]]


def _points(row: Mapping[str, Any]) -> str:
    if row["difference"] is None or not math.isfinite(row["difference"]):
        return "nothing"
    value, low, high = (_whole(row[name]) for name in ("difference", "low", "high"))
    return f"{value} points [{low}, {high}]"


def _whole(value: float | None) -> str:
    """Points: whole ones, with a decimal below 10; `none` where no difference is large enough."""
    if value is None or not math.isfinite(value):
        return "none"
    return f"{100 * value:.0f}" if value >= 0.0995 else f"{100 * value:.1f}"


def _documents(row: Mapping[str, Any]) -> str:
    shown = [_count(row[name]) for name in ("n", "low", "high")]
    return f"{shown[0]} [{shown[1]}, {shown[2]}]"


def _count(value: float | None) -> str:
    return "over 10 million" if value is None or not math.isfinite(value) else f"{value:,.0f}"


def _range(row: Mapping[str, Any], name: str, unit: str = "") -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    bounds = "" if low is None or high is None else f" [{_figure(low)}, {_figure(high)}]"
    return f"{unit}{_figure(value)}{bounds}"


def _time(row: Mapping[str, Any]) -> str:
    """Minutes in the unit that suits them."""
    scale, unit = next((scale, unit) for least, scale, unit in UNITS if row["minutes"] >= least)
    ends = {f"time{end}": row[f"minutes{end}"] for end in ("", "_low", "_high")}
    return f"{_range({key: None if part is None else part * scale for key, part in ends.items()}, 'time')} {unit}"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}" if value >= 1 else f"{value:.2g}"


def _share(model: Mapping[str, Any]) -> str:
    names = ("value", "low", "high")
    keys = ("failed", "failed_low", "failed_high")
    return console.interval({name: model[key] for name, key in zip(names, keys, strict=True)}, percent=True)


def _plain(row: Mapping[str, Any], name: str, digits: int) -> str:
    value, low, high = (row[f"{name}{end}"] for end in ("", "_low", "_high"))
    if value is None or math.isnan(value):
        return "-"
    known = all(part is not None and not math.isnan(part) for part in (low, high))
    return f"{value:.{digits}f}" + (f" [{low:.{digits}f}, {high:.{digits}f}]" if known else "")
