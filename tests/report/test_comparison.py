"""What a document says never becomes markup: Markdown, XML, HTML, a spreadsheet's formula."""

from typing import Any
from xml.etree import ElementTree

import pytest

from evals.report import comparison, html_compare, junit, markdown

EVIL = "<b>|`@all` \x00\x1b[2J\n=cmd()\ud800"


def finding(**more: Any) -> dict[str, Any]:
    row = {"option": "new", "metric": "f1", "slice": None, "field": None, "baseline": 0.9, "candidate": 0.8}
    row |= {
        "candidate_low": 0.7,
        "candidate_high": 0.9,
        "difference": -0.1,
        "low": -0.2,
        "high": -0.01,
        "relative": None,
    }
    row |= {"n": 10, "p": 0.01, "p_holm": 0.02, "detectable": 0.1, "needed": None, "margin": 0.02, "note": None}
    return row | {"verdict": "regressed"} | more


def found(**more: Any) -> dict[str, Any]:
    change = {
        "path": EVIL,
        "baseline": "tp",
        "candidate": "wrong",
        "gold": EVIL,
        "baseline_answer": EVIL,
        "candidate_answer": EVIL,
    }
    part = {"option": "new", "run": "r", "n": 10, "told": [], "notes": [EVIL], "verdict": "regressed"}
    part |= {"newly_broken": [EVIL], "newly_fixed": [], "documents": {EVIL: [change]}}
    value = {"task": "mine", "verdict": "regressed", "baseline": {"option": "old", "run": "b"}, "candidates": [part]}
    value |= {"metrics": [finding()], "gates": [], "tests": 1, "infrastructure": [], "show": 5}
    return value | more


def test_markdown_holds_no_markup_of_a_document() -> None:
    text = markdown.comparison(found())
    assert "<b>" not in text and "@all" not in text and "\\`" in text
    rows = [line for line in text.splitlines() if line.startswith("| f1")]
    assert len(rows) == 1 and rows[0].count(" | ") == len(comparison.COLUMNS)


def test_xml_is_well_formed_whatever_a_document_holds() -> None:
    root = ElementTree.fromstring(junit.comparison(found()))
    (suite,) = root
    assert suite.get("failures") == "1" and "\ufffd" in (suite.findtext("system-out") or "")


def test_html_is_escaped() -> None:
    text = html_compare.comparison(found())
    assert "<b>|" not in text and "&lt;b&gt;" in text


def test_a_terminal_gets_no_control_codes() -> None:
    text = comparison.text(found())
    assert "\x1b" not in text and "\x00" not in text


def test_gates_decide_in_junit_where_there_are_any() -> None:
    gate = {
        "option": "new",
        "gate": "f1.min",
        "limit": 0.5,
        "value": 0.8,
        "low": 0.7,
        "high": 0.9,
        "result": "met",
        "needed": None,
    }
    (suite,) = ElementTree.fromstring(junit.comparison(found(gates=[gate])))
    assert suite.get("failures") == "0"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "regressed"),
        ({"verdict": "equivalent"}, "equivalent (within 0.02)"),
        ({"verdict": "equivalent", "metric": "cost", "margin": 0.1}, "equivalent (within 10 %)"),
        ({"verdict": "inconclusive", "needed": 1234}, "inconclusive, needs about 1,234 documents"),
        ({"verdict": "refused", "note": "unlike"}, "refused: unlike"),
    ],
)
def test_verdicts_in_words(more: dict[str, Any], said: str) -> None:
    assert comparison.verdict(finding(**more)) == said


def test_figures_have_their_units() -> None:
    assert comparison.figure("cost", 1.5) == "$1.5/1k" and comparison.figure("p95_s", 2.0) == "2 s"
    assert comparison.figure("f1", None) == "-" and comparison.figure("f1", float("nan")) == "-"
    row = finding(metric="cost", relative=0.2, relative_low=0.1, relative_high=0.3)
    assert comparison.difference(row) == "+20.0 % [+10.0, +30.0]"
    assert (
        comparison.difference({**row, "relative": 99.0, "relative_low": 50.0, "relative_high": 150.0})
        == "x 100 [51, 151]"
    )


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (0.5, 0.4, 0.6, "+50.0 % [+40.0, +60.0]"),
        (-0.5, -0.6, -0.4, "-50.0 % [-60.0, -40.0]"),
        (-0.99, -0.995, -0.98, "x 1/100 [1/200, 1/50]"),
        (-0.99991, float("nan"), float("nan"), "x 1/11,100"),
        (-0.91, -1.0, -0.4, "x 1/11 [0, 0.6]"),
        (99.0, 8.0, 999.0, "x 100 [9, 1,000]"),
    ],
)
def test_great_changes_are_factors(value: float, low: float, high: float, shown: str) -> None:
    row = finding(metric="p50_s", relative=value, relative_low=low, relative_high=high)
    assert comparison.difference(row) == shown
