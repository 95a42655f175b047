"""A comparison as JUnit XML, which CI servers show: a case a gate, a metric, a slice and a field."""

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

from evals.report.comparison import cells, diff_lines, gate_cells, name_of, rows_of, sources

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML 1.0 cannot hold, even escaped."""


def comparison(result: Mapping[str, Any]) -> str:
    """Gates decide where there are any: then findings never fail a case, they are told in its output."""
    root = ElementTree.Element("testsuites", name="evals compare")
    for part in result["candidates"]:
        cases = [_gate(gate) for gate in result["gates"] if gate["option"] == part["option"]]
        cases += [_finding(row, fails=not result["gates"]) for row in rows_of(result, part["option"])]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=_clean(f"{result['task']}: {part['option']} against {result['baseline']['option']}"),
            tests=str(len(cases) + len(result["infrastructure"])),
            failures=str(sum(case.find("failure") is not None for case in cases)),
            skipped=str(sum(case.find("skipped") is not None for case in cases)),
            errors=str(len(result["infrastructure"])),
        )
        suite.extend(cases)
        _output(
            suite,
            "\n".join([*sources({**result, "candidates": [part]}), *part["told"], *part["notes"], *_documents(part)]),
        )
        for line in result["infrastructure"]:
            case = ElementTree.SubElement(suite, "testcase", name="infrastructure", classname="evals")
            ElementTree.SubElement(case, "error", message=_clean(line))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _gate(gate: Mapping[str, Any]) -> ElementTree.Element:
    option, name, limit, value, said = gate_cells(gate)
    case = ElementTree.Element("testcase", name=_clean(f"gate.{name}={limit}"), classname=_clean(option))
    tag = {"failed": "failure", "inconclusive": "skipped"}.get(gate["result"])
    if tag:
        ElementTree.SubElement(case, tag, message=_clean(f"{said}: {value}"))
    return case


def _finding(row: Mapping[str, Any], *, fails: bool) -> ElementTree.Element:
    """A case: only the quality of the whole fails it, as the exit code has it."""
    case = ElementTree.Element("testcase", name=_clean(name_of(row)), classname=_clean(str(row["option"])))
    before, after, change, n, p, least, verdict = cells(row)
    said = f"{before} -> {after}, {change}, n {n}, Holm p {p}, detectable {least}: {verdict}"
    inner = row["slice"] or row["field"] or row["metric"] in ("cost", "p50_s", "p95_s")
    if fails and row["verdict"] == "regressed" and not inner:
        ElementTree.SubElement(case, "failure", message=_clean(said))
    elif row["verdict"] in ("inconclusive", "refused", "not measured"):
        ElementTree.SubElement(case, "skipped", message=_clean(said))
    else:
        _output(case, said)
    return case


def _documents(part: Mapping[str, Any]) -> list[str]:
    lines = []
    for key, word in (("newly_broken", "newly broken"), ("newly_fixed", "newly fixed")):
        for name in part[key]:
            lines += [f"{word}: {name}", *diff_lines(part["documents"][name])]
    return lines


def _output(parent: ElementTree.Element, text: str) -> None:
    if text:
        ElementTree.SubElement(parent, "system-out").text = _clean(text)


def _clean(text: str) -> str:
    return FORBIDDEN.sub("\ufffd", text)
