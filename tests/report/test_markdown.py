"""The pull-request comment: what it holds, in what order, and that GitHub takes it."""

import pytest
from test_comparison import finding, found

from evals.report import markdown

GATE = {"option": "new", "gate": "f1.min", "limit": 0.95, "value": 0.8, "low": 0.7, "high": 0.9, "needed": None}


def part(**more: object) -> dict[str, object]:
    return found(**more)["candidates"][0]


@pytest.mark.parametrize(
    ("verdict", "sign"),
    [("regressed", "🔴"), ("improved", "🟢"), ("equivalent", "🟢"), ("inconclusive", "🟡"), ("not measured", "⚪")],
)
def test_the_verdict_stands_first(verdict: str, sign: str) -> None:
    assert markdown.comparison(found(verdict=verdict)).splitlines()[0].startswith(f"### {sign} mine: new regressed")


@pytest.mark.parametrize(("result", "sign"), [("met", "✅"), ("failed", "❌"), ("inconclusive", "⚠️")])
def test_gates_stand_before_the_findings(result: str, sign: str) -> None:
    text = markdown.comparison(found(gates=[{**GATE, "result": result, "needed": 1234 if sign == "⚠️" else None}]))
    row = next(line for line in text.splitlines() if "f1.min" in line)
    assert row.startswith(f"| {sign} | new | f1.min | 0.95 | 0.800 \\[0.700, 0.900\\] | {result}")
    assert text.index(row) < text.index("| f1 |") and ("1,234 documents" in row) == (result == "inconclusive")


def test_what_was_allowed_and_what_broke_on_the_way_cannot_be_missed() -> None:
    one = part() | {"told": ["compared although prompt differs (a, b)"], "notes": ["40 documents are in both"]}
    text = markdown.comparison(found(candidates=[one], infrastructure=["new: 5 % of the answers failed"]))
    assert "> **compared although prompt differs (a, b)**" in text and "> **new: 5 % of the answers failed**" in text
    assert "- 40 documents are in both" in text and text.index("although") < text.index("| f1 |")


def test_slices_and_fields_are_folded_and_the_whole_is_not() -> None:
    rows = [finding(), finding(slice="complex"), finding(field="who")]
    text = markdown.comparison(found(metrics=rows))
    before, after = text.split("<summary>Slices and fields (2)</summary>")
    assert "| f1 | 0.900 | 0.800 |" in before and "f1 in complex" in after and "f1 of who" in after
    assert text.count("<details>") == text.count("</details>") == 2


def test_several_candidates_have_a_heading_each() -> None:
    other = part() | {"option": "third", "verdict": "improved", "newly_broken": [], "documents": {}}
    text = markdown.comparison(
        found(candidates=[part(), other], metrics=[finding(), finding(option="third", verdict="improved")])
    )
    assert "#### new: 10 documents" in text and "#### third: 10 documents" in text
    assert [line for line in text.splitlines() if line.startswith("| f1")][1].endswith("| improved |")


def test_where_the_figures_are_from_stands_below() -> None:
    text = markdown.comparison(found())
    assert "<sub>baseline old: b</sub>" in text and "<sub>new: r</sub>" in text and "Holm over 1 tests" in text


def test_a_long_comparison_is_cut_below_what_github_takes() -> None:
    names = [f"document-{i:05}" for i in range(4000)]
    change = part()["documents"]  # type: ignore[assignment]
    one = part() | {"newly_broken": names, "documents": dict.fromkeys(names, next(iter(change.values())))}  # type: ignore[attr-defined]
    text = markdown.comparison(found(candidates=[one]))
    assert len(text) < 65_536 and "(cut: compare.json holds all)" in text
    assert text.count("<details>") == text.count("</details>") and text.count("- document-") == 100
    assert "- and 3900 more (cut" in text and text.rstrip().endswith("one test.</sub>")


def test_what_cannot_be_shortened_is_cut_between_lines_and_closed() -> None:
    rows = [finding(field=f"a field with a long name {i}") for i in range(2000)]
    text = markdown.comparison(found(metrics=rows))
    assert len(text) < 65_536 and text.count("<details>") == text.count("</details>") == 1
    assert all(line.endswith("|") for line in text.splitlines() if line.startswith("| f1 of"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a|b", "a\\|b"),
        ("<img src=x>", "&lt;img src=x&gt;"),
        ("@team", "@\u200bteam"),
        ("[x](http://y)", "\\[x\\](http://y)"),
        ("#1", "\\#1"),
        ("a\nb", "a b"),
        ("1. one", "1. one"),
    ],
)
def test_escapes(text: str, shown: str) -> None:
    assert markdown.escaped(text) == shown


def test_what_no_reader_can_show_is_replaced() -> None:
    """Control characters and half surrogates would make a file that is no UTF-8."""
    said = markdown.escaped("a\x00b\x1b[31m\ud800c")
    assert said == "a\ufffdb\ufffd\\[31m\ufffdc" and said.encode("utf-8")
