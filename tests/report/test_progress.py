"""Progress without a terminal: whole lines on stderr, now and then, and nothing of a bar."""

import pytest

from evals.report import progress
from evals.report.progress import Progress


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line for every document."""
    monkeypatch.setattr(progress, "FIRST_WORD_S", 0.0)
    monkeypatch.setattr(progress, "LINE_EVERY_S", 0.0)


def test_each_line_says_done_failed_rate_and_what_is_left(lines: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rules", 3) as shown:
        shown.advance()
        shown.advance(failed=True)
        shown.advance()
    out, error = capsys.readouterr()
    first, second, third = error.splitlines()
    assert out == "" and "\x1b" not in error and "\r" not in error and error.endswith("\n")
    assert first.startswith("rules: 1/3 documents, ") and "/min, about " in first and first.endswith(" s to go")
    assert second.startswith("rules: 2/3 documents, 1 failed, ") and third.startswith(
        "rules: 3/3 documents, 1 failed, "
    )
    assert third.endswith(", about 0 s to go") and (shown.done, shown.failed) == (3, 1)


def test_an_unknown_total_promises_no_end(lines: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rules", None) as shown:
        shown.advance()
    error = capsys.readouterr().err
    assert error.startswith("rules: 1 documents, ") and error.endswith("/min\n")


def test_a_short_run_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rules", 100) as shown:
        for _ in range(100):
            shown.advance()
    assert capsys.readouterr().err == "" and shown.done == 100


def test_between_two_lines_some_time_goes_by(
    lines: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_EVERY_S", 3600.0)
    with Progress("rules", 100) as shown:
        for _ in range(100):
            shown.advance()
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("rules: 1/100 documents") and shown.done == 100


def test_what_comes_before_the_first_document_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rules", 1) as shown:
        shown.say("loading rules")
        shown.say("")
    assert capsys.readouterr().err == "rules: loading rules ...\n"


def test_switched_off_it_only_counts(lines: None, capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("rules", 2, enabled=False) as shown:
        shown.say("loading")
        shown.advance(failed=True)
    assert capsys.readouterr() == ("", "") and (shown.done, shown.failed) == (1, 1)


def test_an_exception_inside_passes_through(lines: None) -> None:
    with pytest.raises(ValueError, match="inside"), Progress("rules", 2):
        raise ValueError("inside")
