"""What every reader shares: secrets, kinds of failures, the main score."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.core import Call, Completion, Record
from evals.errors import CallErrorKind
from evals.harnesses.base import (
    Answer,
    Log,
    count,
    error_kind,
    is_binary,
    json_lines,
    number,
    score_of,
    scrubbed,
    secrets,
)


def log(*values: float | None) -> Log:
    """One answer a value; `None` is a document that failed."""
    answers = []
    for i, value in enumerate(values):
        done = None if value is None else Completion(text="x", finish_reason="stop")
        call = Call(role="answer", model="m", completion=done, error=None if done else "server")
        record = Record(sample_id=str(i), repeat=0, request_hash="", calls=(call,), answer=0 if done else None)
        answers.append(Answer(record=record, values={} if value is None else {"acc": value}))
    about: dict[str, Any] = {"version": None, "part": "", "task": "t", "model": "m", "option": "m", "created": None}
    return Log(
        harness="h", path=Path("x"), answers=answers, metrics=["acc"], dataset={}, prompt=None, scorer=None, **about
    )


def test_secrets_are_found_wherever_they_stand() -> None:
    config = {
        "providers": [{"id": "visible-id", "config": {"apiKey": "aaaaaaa1", "headers": {"X-Auth-Token": "aaaaaaa2"}}}],
        "env": {"OPENAI_API_KEY": "aaaaaaa3"},
        "secrets": {"inner": ["aaaaaaa4", {"deep": "aaaaaaa5"}]},
        "password": "short",
        "max_tokens": 100,
    }
    assert secrets(config) == {f"aaaaaaa{i}" for i in range(1, 6)}


@given(st.recursive(st.text() | st.integers() | st.none(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)))
def test_any_configuration_is_searched(config: Any) -> None:
    assert all(isinstance(found, str) and len(found) >= 6 for found in secrets(config))


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abc123DEF456ghi",
        "401 Authorization: Bearer abc.def.ghi",
        "bad token hf_abcdefghijklmnopqrst",
        "key=AIzaSyA1234567890abcdef",
        "x-api-key: 0123456789abcdef",
    ],
)
def test_what_looks_like_a_secret_is_cut_out(text: str) -> None:
    found = scrubbed(text)
    assert "***" in found and not any(len(word) > 14 for word in found.split())


@given(st.text(), st.sampled_from(["hunter2hunter2", "Zq81LmW0"]))
def test_a_known_secret_never_passes(text: str, secret: str) -> None:
    found = scrubbed(f"{text}{secret}{text}", frozenset({secret}))
    assert secret not in found and "\n" not in found and len(found) <= 200


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("HTTP 429: slow down", "rate_limit"),
        ("This model's maximum context length is 8192 tokens", "context_length"),
        ("blocked by content filter", "content_filter"),
        ("Request timed out.", "timeout"),
        ("TimeoutError()", "timeout"),
        ("502 Bad Gateway", "server"),
        ("ECONNREFUSED", "server"),
        ("The model `x` does not exist", "unknown_model"),
        ("ZeroDivisionError", "internal"),
        ("", "internal"),
    ],
)
def test_the_kind_of_a_failure(text: str, kind: CallErrorKind) -> None:
    assert error_kind(text) == kind


def test_a_failed_document_has_the_score_zero_and_an_unscorable_one_none() -> None:
    made = log(1.0, None, math.nan)
    scores = [score_of(answer, made, "acc", binary=False).metrics for answer in made.answers]
    assert scores[0] == {"score": 1.0, "h/acc": 1.0} and scores[1] == {"score": 0.0}
    assert math.isnan(scores[2]["score"])


@pytest.mark.parametrize(
    ("values", "binary"),
    [((1.0, 0.0), True), ((1.0, None), True), ((1.0, 0.5), False), ((1.0, math.nan), False), ((None,), False)],
)
def test_right_or_wrong(values: tuple[float | None, ...], binary: bool) -> None:
    made = log(*values)
    assert is_binary(made, "acc") is binary
    assert ("exact" in score_of(made.answers[0], made, "acc", binary=binary).metrics) is binary


@given(st.one_of(st.none(), st.text(), st.floats(), st.integers(), st.booleans(), st.lists(st.integers())))
def test_counts_are_never_negative_or_made_up(value: Any) -> None:
    found = count(value)
    assert found is None or (found >= 0 and number(value) is not None)


@given(st.lists(st.dictionaries(st.text(max_size=4), st.integers(), max_size=3), min_size=2, max_size=6), st.data())
def test_of_a_torn_file_every_whole_line_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, int]], data: st.DataObject
) -> None:
    lines = [json.dumps(row, ensure_ascii=False).encode() for row in rows]
    cut = data.draw(st.integers(1, len(lines[-1]) - 1)) if len(lines[-1]) > 1 else 1
    path = tmp_path_factory.mktemp("torn") / "x.jsonl"
    path.write_bytes(b"\n".join([*lines[:-1], lines[-1][:cut]]))
    notes: list[str] = []
    assert [row for _, row in json_lines(path, notes)] == rows[:-1]
    assert len(notes) == 1 and f"({len(rows)}) is torn" in notes[0]
