"""A comparison as a pull-request comment: GitHub's Markdown, everything that came from documents escaped."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.report.comparison import COLUMNS, cells, clean, diff_lines, gate_cells, heading, name_of, rows_of, sources

SIGNS = {"regressed": "🔴", "improved": "🟢", "equivalent": "🟢", "inconclusive": "🟡"}
MOST = 60_000
"""GitHub refuses comments above 65,536 characters."""
CUT = "(cut: compare.json holds all)"


def comparison(result: Mapping[str, Any]) -> str:
    """Verdict, what must be said, gates, the whole; slices, fields and documents folded away. Where that is more than a
    comment holds, fewer documents are listed, and it says so."""
    for most in (None, 100, 30, 10, 0):
        text = _text(result, most)
        if len(text) <= MOST:
            return text
    kept = text[:MOST].rsplit("\n", 1)[0]
    return kept + "\n</details>" * (kept.count("<details>") - kept.count("</details>")) + f"\n\n{CUT}\n"


def _text(result: Mapping[str, Any], most: int | None) -> str:
    """`most`: documents listed of each kind; `None`: all."""
    parts = [f"### {SIGNS.get(result['verdict'], '⚪')} {escaped(heading(result))}", ""]
    parts += [f"> **{escaped(line)}**" for line in result["infrastructure"]]
    parts += [_gates(result), ""] if result["gates"] else []
    for part in result["candidates"]:
        parts += _candidate(result, part, most)
    parts += [f"<sub>{escaped(line)}</sub><br>" for line in sources(result)]
    parts.append(f"<sub>Holm over {result['tests']} tests; detectable: with power .8 at 5 %, one test.</sub>")
    return "\n".join(parts) + "\n"


def table(columns: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A table; a bar or a line break inside a cell ends no cell."""
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return "\n".join([*head, *("| " + " | ".join(escaped(cell) for cell in line) + " |" for line in lines)])


def _candidate(result: Mapping[str, Any], part: Mapping[str, Any], most: int | None) -> list[str]:
    rows = rows_of(result, part["option"])
    whole = [row for row in rows if not row["slice"] and not row["field"]]
    inner = [row for row in rows if row["slice"] or row["field"]]
    found = [f"#### {escaped(part['option'])}: {part['n']} documents", ""] if len(result["candidates"]) > 1 else []
    found += [f"> **{escaped(line)}**\n" for line in part["told"]]
    found += [_findings(whole), ""]
    found += [*(f"- {escaped(note)}" for note in part["notes"]), ""] if part["notes"] else []
    found += _folded(f"Slices and fields ({len(inner)})", _findings(inner)) if inner else []
    for key, word in (("newly_broken", "Newly broken"), ("newly_fixed", "Newly fixed")):
        if part[key]:
            found += _folded(f"{word} documents ({len(part[key])})", _diffs(part, part[key], most))
    return found


def _findings(rows: Sequence[Mapping[str, Any]]) -> str:
    return table(["metric", *COLUMNS], [[name_of(row), *cells(row)] for row in rows])


def _gates(result: Mapping[str, Any]) -> str:
    signs = {"met": "✅", "failed": "❌", "inconclusive": "⚠️"}
    lines = [[signs[gate["result"]], *gate_cells(gate)] for gate in result["gates"]]
    return table(["", "option", "gate", "limit", "value [95 %]", "result"], lines)


def _diffs(part: Mapping[str, Any], names: Sequence[str], most: int | None) -> str:
    lines = []
    for name in names[:most]:
        lines.append(f"- {escaped(name)}")
        lines += [f"  - {escaped(line.strip())}" for line in diff_lines(part["documents"][name])]
    if most is not None and len(names) > most:
        lines.append(f"- and {len(names) - most} more {CUT}")
    return "\n".join(lines)


def _folded(title: str, body: str) -> list[str]:
    return [f"<details><summary>{escaped(title)}</summary>", "", body, "", "</details>", ""]


def escaped(text: str) -> str:
    """No text of a document makes a table cell, a tag, a mention or a link."""
    plain = clean(" ".join(str(text).split()))
    for sign in "\\`*_[]|#":
        plain = plain.replace(sign, f"\\{sign}")
    return plain.replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\u200b")
