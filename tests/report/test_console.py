"""The table on a terminal: figures as they are read, `-` for what was not measured, never a 0."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.report import console

ESTIMATE = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 40}
NOTHING = {"value": None, "low": None, "high": None, "n": 0}
SUMMARY: dict[str, Any] = {
    **{"task": "mine", "split": "test", "option": "model+shots=2", "n": 40, "repeats": 1, "failed": 3, "errors": {}},
    **{"truncated_documents": 0, "cut_answers": 0, "quality_without_failed_infrastructure": None},
    "quality": {"f1": ESTIMATE, "exact": {**ESTIMATE, "value": 0.25}, "schema_valid": {**ESTIMATE, "value": 0.75}},
    "latency": {"p50_s": 1.5, "p95_s": 12.25, "note": None, "load": "single_stream"},
    "throughput": {"docs_per_min": 1234.56},
    "cost": {"usd_per_1k": 0.5, "provenance": "declared", "note": None},
    "slices": {},
}


def changed(**paths: Any) -> dict[str, Any]:
    """The summary with some of its keys replaced; `cost__note` is the note of the cost."""
    made = copy.deepcopy(SUMMARY)
    for path, value in paths.items():
        *outer, last = path.split("__")
        inner = made
        for key in outer:
            inner = inner[key]
        inner[last] = value
    return made


def cells(text: str, option: str) -> list[str]:
    """The figures of one option's row, split at two spaces or more."""
    (line,) = [line for line in text.splitlines() if line.split()[:1] == [option]]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


@pytest.fixture(autouse=True)
def piped(capsys: pytest.CaptureFixture[str]) -> None:
    """Output is no terminal, however pytest itself was called."""


def test_a_row_holds_every_headline_figure() -> None:
    text = console.results([SUMMARY])
    assert text.startswith("mine (test)") and "\x1b" not in text and max(map(len, text.splitlines())) <= console.WIDTH
    figures = ["40", "3", "0.500 [0.400, 0.600]", "25 % [40, 60]", "75 %", "1.5", "12.2", "1,234.6", "$0.50 declared"]
    assert cells(text, "model+shots=2") == ["model+shots=2", *figures]


def test_what_was_not_measured_is_a_dash() -> None:
    nothing = changed(
        quality=dict.fromkeys(SUMMARY["quality"], NOTHING),
        latency={"p50_s": None, "p95_s": None, "note": None, "load": None},
        throughput__docs_per_min=None,
        cost={"usd_per_1k": None, "provenance": None, "note": None},
    )
    assert cells(console.results([nothing]), "model+shots=2") == ["model+shots=2", "40", "3", *"-------"]
    zero = changed(quality__f1={"value": 0.0, "low": None, "high": None}, cost__usd_per_1k=0.0, failed=0)
    assert cells(console.results([zero]), "model+shots=2")[2:4] == ["0", "0.000"], "zero is zero, with no interval"
    assert "$0.00 declared" in console.results([zero])


def test_each_option_is_a_row_and_repeats_are_shown() -> None:
    text = console.results([SUMMARY, changed(option="other", repeats=3)])
    assert text.index("model+shots=2") < text.index("other") and cells(text, "other")[1] == "40 x 3"


def test_slices_are_columns_of_a_second_table() -> None:
    simple = {"f1": {**ESTIMATE, "n": 30}, "exact": {**ESTIMATE, "value": 1.0}}
    text = console.results([changed(slices={"simple": simple}), changed(option="other", slices={"rare": simple})])
    below = text[text.index("by slice") :]
    assert "simple (n=30)" in below and "rare (n=30)" in below
    assert cells(below, "model+shots=2") == ["model+shots=2", "0.500 [0.400, 0.600]", "100 %", "-"]
    assert cells(below, "other") == ["other", "-", "0.500 [0.400, 0.600]", "100 %"]
    assert "by slice" not in console.results([SUMMARY])


@pytest.mark.parametrize(
    ("paths", "note"),
    [
        ({"latency__note": "n too small for p95"}, "* p95: n too small for p95; load: single_stream"),
        (
            {"latency__load": "offline(16)"},
            "p50, p95 of an offline load hold the documents' wait for each other; concurrency=1 times one alone",
        ),
        ({"cost__note": "no price"}, "$/1k docs: no price"),
        ({"truncated_documents": 2}, "model+shots=2: 2 documents were truncated to fit"),
        ({"cut_answers": 4}, "model+shots=2: 4 answers were cut at max_tokens"),
        ({"errors": {"server": 2, "timeout": 1}}, "model+shots=2: failed: 2 server, 1 timeout; counted as zero"),
        (
            {"quality_without_failed_infrastructure": {"f1": ESTIMATE}},
            "model+shots=2: F1 without infrastructure failures 0.500 [0.400, 0.600]",
        ),
    ],
)
def test_a_note_stands_below_the_table_once(paths: dict[str, Any], note: str) -> None:
    told = changed(**paths)
    assert console.results([told, told]).splitlines().count(note) == 1
    assert note not in console.results([SUMMARY])
    starred = "12.2*" in console.results([told])
    assert starred is ("latency__note" in paths)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        (0.0, "0.0000"),
        (0.01234, "0.0123"),
        (0.1, "0.1"),
        (1.2345, "1.23"),
        (99.94, "99.9"),
        (123.4, "123"),
    ],
)
def test_seconds(value: float | None, shown: str) -> None:
    assert console.seconds(value) == shown


@given(st.floats(1e-3, 1e5))
def test_seconds_keep_their_size(value: float) -> None:
    assert float(console.seconds(value)) == pytest.approx(value, rel=0.06) and "e" not in console.seconds(value)


@given(value=st.floats(0, 1), low=st.none() | st.floats(0, 1), percent=st.booleans())
def test_an_interval_shows_its_value_and_both_bounds_or_none(value: float, low: float | None, percent: bool) -> None:
    text = console.interval({"value": value, "low": low, "high": None if low is None else 1.0}, percent=percent)
    numbers = [float(part.strip("[],%")) for part in text.replace(" %", "").split()]
    expected = [value] if low is None else [value, low, 1.0]
    assert numbers == pytest.approx([100 * x if percent else x for x in expected], abs=0.51 if percent else 0.00051)


def test_any_rows_are_shown_as_they_are() -> None:
    long = "a long text that is folded over lines " * 8
    text = console.rows("[b]title[/b]", ["name", "[red]x[/red]"], [["[i]m[/i]", None], [long, 0], [True, 1.5]])
    for shown in ("[b]title[/b]", "[red]x[/red]", "[i]m[/i]", "-", "True", "1.5"):
        assert shown in text
    assert text.count("folded") == 8 and max(map(len, text.splitlines())) <= console.WIDTH
    assert console.rows("empty", ["name"], []).split() == ["empty", "name", "─" * 4]
