"""A canary on a terminal and in a notebook: the verdict, why, and every figure against the reference and the last one."""

from collections.abc import Mapping
from typing import Any

from evals.report import console
from evals.report.comparison import clean, difference, figure, p_value
from evals.store import CANARY

COLUMNS = ["metric", "was", "is", "difference [95 %]", "n", "p (Holm)", "would detect", "verdict"]
NAMES = {"answers": "answers*", "output_tokens": "output tokens", "p50_s": "p50", "p95_s": "p95"}
RELATIVE = ("output_tokens", "p50_s", "p95_s")
SAME = "no document differs"
SHOWN = 5


def heading(result: Mapping[str, Any]) -> str:
    """`canary of gpt4o+canary on legal_extract: no change seen (would detect 6 points of f1, ...)`."""
    said = result["verdict"] if result["verdict"] != "reference" else "kept as the reference: the first of its kind"
    if result["verdict"] == "no change seen" and (would := _would(result)):
        said += f" (would detect {would})"
    why = f": {'; '.join(result['why'])}" if result["why"] else ""
    option = str(result["option"]).removesuffix(CANARY)
    return clean(f"canary of {option} on {result['task']}: {said}{why}")


def _would(result: Mapping[str, Any]) -> str:
    rows = {part["metric"]: part for part in result["would_detect"]}
    words = [f"{100 * rows[name]['value']:.1f} points of {name}" for name in ("f1", "exact") if name in rows]
    for part in result["against"][:1]:
        if part["least_changed"]:
            words.append(f"one field in {part['least_changed']} of {part['n']} documents")
    return ", ".join(words)


def text(result: Mapping[str, Any]) -> str:
    """All of it, as printed."""
    parts = [heading(result)]
    for part in result["against"]:
        parts += [f"! {clean(line)}" for line in part["served"]]
        parts += ["", _title(part), console.rows("", COLUMNS, _lines(result, part["name"]))]
    return "\n".join([*parts, *map(clean, footnotes(result)), "", str(result["run"])])


def html(result: Mapping[str, Any]) -> str:
    """The same for a notebook; everything is escaped."""
    from html import escape

    from evals.report import html_compare

    parts = [f'<div style="font-weight:600">{escape(heading(result))}</div>']
    for part in result["against"]:
        parts += [f"<div><b>{escape(line)}</b></div>" for line in part["served"]]
        parts += [f"<div>{escape(_title(part))}</div>", html_compare.table(COLUMNS, _lines(result, part["name"]))]
    parts += [f'<div style="opacity:.75;font-size:90%">{escape(line)}</div>' for line in footnotes(result)]
    return f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto">{"".join(parts)}</div>'


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """Documents that changed, what the star means, what was tested, and the notes."""
    lines = []
    for part in result["against"]:
        names = part["changed_documents"]
        if names:
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            lines.append(
                f"no answer of the {part['name']} came again for {len(names)} of {part['n']} documents: "
                f"{', '.join(names[:SHOWN])}{more}"
            )
    if result["against"]:
        lines.append(
            "* share of leaves in which two answers differ: was, inside one run; is, between the runs; permutation test"
        )
        left = sorted({row["metric"] for row in result["metrics"] if not row["watched"]})
        lines.append(
            f"Holm over {result['tests']} tests at {100 * result['alpha']:g} %; would detect: with power .8"
            + (f"; not part of the verdict: {', '.join(left)}" if left else "")
        )
    if result["billed_usd"] is not None:
        lines.append(f"billed ${result['billed_usd']:,.4f} for {result['n']} documents x {result['repeats']}")
    return [*lines, *result["notes"]]


def _title(part: Mapping[str, Any]) -> str:
    return f"against the {part['name']} of {str(part['started_at'])[:19]}: {part['n']} documents"


def _lines(result: Mapping[str, Any], name: str) -> list[list[str]]:
    part = next(part for part in result["against"] if part["name"] == name)
    return [_cells(row, part) for row in result["metrics"] if row["against"] == name]


def _cells(row: Mapping[str, Any], part: Mapping[str, Any]) -> list[str]:
    metric = str(row["metric"])
    shown = {**row, "metric": "cost"} if metric == "output_tokens" else row  # as a share of what it was
    values = [row["baseline"], row["candidate"]]
    tokens = ["-" if value is None else f"{value:,.1f}" for value in values]
    word = str(row["verdict"]) + ("" if row["watched"] else " (not watched)")
    said = word if not row["note"] else row["note"] if row["note"] == SAME else f"{word}: {row['note']}"
    return [
        NAMES.get(metric, metric),
        *(tokens if metric == "output_tokens" else [figure(metric, value) for value in values]),
        difference(shown),
        str(row["n"] or "-"),
        p_value(row["p_holm"]),
        _detects(row, part),
        said,
    ]


def _detects(row: Mapping[str, Any], part: Mapping[str, Any]) -> str:
    if row["metric"] == "answers":
        return f"one field in {part['least_changed']} documents" if part["least_changed"] else "-"
    value = row["detectable"]
    if value is None:
        return "-"
    if row["metric"] in RELATIVE:
        return f"{100 * value / row['baseline']:,.1f} %" if row["baseline"] else "-"
    return f"{value:.3f}"
