"""The decision record: Markdown that a person reviews and signs. Everything from documents and names is escaped."""

from collections.abc import Mapping
from typing import Any

from evals.report import decision
from evals.report.markdown import escaped, table

SIGN_OFF = ("Decision (as recommended / other / postponed)", "Why", "Name", "Role", "Date", "Review again on")


def markdown(result: Mapping[str, Any]) -> str:
    """The whole record; the block for the reviewer's signature is empty."""
    parts = [f"# Decision record: {escaped(result['title'])}", ""]
    parts += [*(f"**{escaped(line)}**" for line in decision.sentences(result)), ""]
    parts += [
        f"{decision.amount(result['volume_per_day'])} documents a day; {', '.join(map(escaped, result['constraints']))}. Made {escaped(result['created'])} by {_code(result['launcher'])}.",
        "",
    ]
    parts += ["## Options", "", "\n\n".join(table(*one) for one in decision.tables(result)), ""]
    for title, lines in decision.blocks(result):
        parts += [f"## {escaped(title[0].upper() + title[1:])}", "", *(f"- {escaped(line)}" for line in lines), ""]
    parts += ["## Volumes", "", _sweep(result), "", "## Figures", "", _figures(result), "", *_runs(result)]
    parts += ["## Sign-off", "", table(["", ""], [[line, ""] for line in SIGN_OFF]), ""]
    return "\n".join(parts)


def _code(text: str) -> str:
    """A code span: nothing in it is Markdown but a backtick."""
    return f"`{' '.join(str(text).split()).replace('`', chr(39))}`"


def _sweep(result: Mapping[str, Any]) -> str:
    names = [row["option"] for row in result["options"]]
    lines = [
        [
            f"{row['volume_per_day']:,}",
            row["recommended"] or "none",
            *(decision.dollars(row["usd_per_day"][name]) for name in names),
        ]
        for row in result["sweep"]
    ]
    return table(["documents a day", "recommended", *(f"{escaped(name)}, $/day" for name in names)], lines)


def _figures(result: Mapping[str, Any]) -> str:
    lines = [
        [
            one["name"],
            f"{one['value']:.6g}",
            "" if one["low"] is None else f"{one['low']:.4g} to {one['high']:.4g}",
            one["unit"],
            one["provenance"],
            one["source"] or "",
            one["date"] or "",
        ]
        for one in result["figures"]
    ]
    return table(["figure", "value", "range", "unit", "provenance", "source", "date"], lines)


def _runs(result: Mapping[str, Any]) -> list[str]:
    lines = [[row["option"], run["run"], run["sha256"]] for row in result["options"] for run in row["runs"]]
    if not lines:
        return []
    return [
        "## Runs it stands on",
        "",
        table(
            [
                "option",
                "run",
                "sha256 (of records.jsonl and manifest.json; of a table, a policy or a review: its file)",
            ],
            lines,
        ),
        "",
    ]
