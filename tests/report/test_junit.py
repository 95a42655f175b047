"""JUnit XML: cases, counts and failures as the exit code has them; whole and readable whatever it holds."""

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_comparison import finding, found

from evals.report import junit

GATE = {"option": "new", "gate": "f1.min", "limit": 0.5, "value": 0.8, "low": 0.7, "high": 0.9, "needed": None}


def suites(**more: Any) -> list[ElementTree.Element]:
    return list(ElementTree.fromstring(junit.comparison(found(**more))))


def counted(suite: ElementTree.Element) -> dict[str, int]:
    """What its attributes say, and that its cases are so many."""
    cases = suite.findall("testcase")
    said = {name: int(suite.get(name, "-1")) for name in ("tests", "failures", "skipped", "errors")}
    kinds = {"failures": "failure", "skipped": "skipped", "errors": "error"}
    assert said == {"tests": len(cases)} | {
        name: sum(case.find(tag) is not None for case in cases) for name, tag in kinds.items()
    }
    return said


def test_a_case_a_finding_and_a_gate() -> None:
    rows = [finding(), finding(slice="simple"), finding(field="who"), finding(metric="cost", verdict="improved")]
    (suite,) = suites(metrics=rows, gates=[{**GATE, "result": "met"}])
    names = [case.get("name") for case in suite.findall("testcase")]
    assert names == ["gate.f1.min=0.5", "f1", "f1 in simple", "f1 of who", "cost"]
    assert {case.get("classname") for case in suite.findall("testcase")} == {"new"}


@pytest.mark.parametrize(
    ("row", "failures", "skipped"),
    [
        ({}, 1, 0),
        ({"slice": "complex"}, 0, 0),
        ({"field": "who"}, 0, 0),
        ({"metric": "p95_s"}, 0, 0),
        ({"verdict": "improved"}, 0, 0),
        ({"verdict": "equivalent"}, 0, 0),
        ({"verdict": "inconclusive"}, 0, 1),
        ({"verdict": "refused", "note": "unlike"}, 0, 1),
        ({"verdict": "not measured"}, 0, 1),
    ],
)
def test_without_gates_only_the_quality_of_the_whole_fails(row: dict[str, Any], failures: int, skipped: int) -> None:
    (suite,) = suites(metrics=[finding(**row)])
    assert counted(suite) == {"tests": 1, "failures": failures, "skipped": skipped, "errors": 0}


@pytest.mark.parametrize(("result", "failures", "skipped"), [("met", 0, 0), ("failed", 1, 0), ("inconclusive", 0, 1)])
def test_with_gates_they_alone_fail(result: str, failures: int, skipped: int) -> None:
    (suite,) = suites(gates=[{**GATE, "result": result}])
    assert counted(suite) == {"tests": 2, "failures": failures, "skipped": skipped, "errors": 0}


def test_what_broke_on_the_way_is_an_error_and_is_counted() -> None:
    (suite,) = suites(infrastructure=["new: 5 % of the answers failed"])
    assert counted(suite)["errors"] == 1
    assert suite.find("testcase/error").get("message") == "new: 5 % of the answers failed"  # type: ignore[union-attr]


def test_what_must_be_said_is_in_the_output() -> None:
    one = found()["candidates"][0] | {
        "told": ["compared although prompt differs"],
        "notes": ["n"],
        "newly_broken": ["d1"],
    }
    one["documents"] = {"d1": []}
    (suite,) = suites(candidates=[one])
    text = suite.findtext("system-out") or ""
    assert text.splitlines()[:4] == ["baseline old: b", "new: r", "compared although prompt differs", "n"]
    assert "newly broken: d1" in text


def test_a_suite_a_candidate() -> None:
    other = found()["candidates"][0] | {"option": "third"}
    both = suites(candidates=[found()["candidates"][0], other], metrics=[finding(), finding(option="third")])
    assert [suite.get("name") for suite in both] == ["mine: new against old", "mine: third against old"]
    assert [counted(suite)["tests"] for suite in both] == [1, 1]


@given(st.text())
def test_any_text_is_well_formed(text: str) -> None:
    one = found()["candidates"][0] | {"option": text, "newly_broken": [text], "documents": {text: []}, "told": [text]}
    (suite,) = suites(candidates=[one], metrics=[finding(option=text, note=text)])
    assert len(suite.findall("testcase")) == 1
