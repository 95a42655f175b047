"""promptfoo: output files as its types describe them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from foreign_logs import PLANTED, failed, promptfoo_file, row, spoilt
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Usage
from evals.errors import DataError, UserError
from evals.harnesses import promptfoo
from evals.harnesses.base import BOUGHT, REPORTED_USD, Log, is_binary, read_json


def read(path: Path) -> list[Log]:
    return promptfoo.read(path, read_json(path))


def one(tmp_path: Path, *rows: dict[str, Any]) -> Log:
    (log,) = read(promptfoo_file(tmp_path / "results.json", rows))
    return log


def test_what_a_row_says(tmp_path: Path) -> None:
    log = one(tmp_path, row(0), row(1, passed=False))
    assert (log.task, log.model, log.version) == ("My suite", "openai:gpt-4o", "0.121.11")
    assert log.created == "2026-11-25T09:59:00.000Z"
    assert list(log.metrics)[:2] == ["pass", "score"]
    assert [answer.values["pass"] for answer in log.answers] == [1.0, 0.0]
    (call,) = log.answers[0].record.calls
    assert call.timing is not None and call.timing.total_s == 0.4 and call.timing.started_at is None
    assert call.completion is not None
    assert call.completion.usage == Usage(input_uncached=15, cache_read=5, output=10, reasoning=4)
    assert call.completion.notes[REPORTED_USD] == 0.002 and call.completion.text == "answer 0"


def test_an_assertion_that_failed_is_an_answer(tmp_path: Path) -> None:
    """`error` holds the assertion's words there, and the answer counts as wrong, not as missing."""
    log = one(tmp_path, row(0, passed=False))
    assert log.answers[0].record.answer == 0 and log.answers[0].record.text == "answer 0"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("API error: 429 Too Many Requests", "rate_limit"),
        ("Evaluation timed out after 3000ms", "timeout"),
        ("API error: 401 Incorrect API key provided", "auth"),
        ("API error: 503 Service Unavailable", "server"),
        ("TypeError: x is not a function", "internal"),
    ],
)
def test_an_error_is_a_failure_with_its_kind(tmp_path: Path, text: str, kind: str) -> None:
    log = one(tmp_path, failed(0, text), row(1))
    record = log.answers[0].record
    assert (record.answer, record.error) == (None, kind)
    assert log.answers[0].values == {}


@pytest.mark.parametrize("cost", [0, None])
def test_a_cost_of_nothing_is_not_recorded(tmp_path: Path, cost: float | None) -> None:
    log = one(tmp_path, row(0, cost=cost, response={"cost": cost}), row(1))
    done = log.answers[0].record.calls[0].completion
    assert done is not None and REPORTED_USD not in done.notes
    told = "1 of 2 answers have no cost recorded" + (" (1 of them as 0" if cost == 0 else "")
    assert any(told in note for note in log.notes)


@pytest.mark.parametrize("usage", [{}, {"prompt": 0, "completion": 0, "total": 0}, None, {"total": 30, "cached": 30}])
def test_usage_without_prompt_tokens_is_not_recorded(tmp_path: Path, usage: Any) -> None:
    done = one(tmp_path, row(0, response={"tokenUsage": usage})).answers[0].record.calls[0].completion
    assert done is not None and done.usage == Usage()


def test_an_answer_of_its_cache_is_cached(tmp_path: Path) -> None:
    log = one(tmp_path, row(0, response={"cached": True, "tokenUsage": {"total": 30, "cached": 30}}), row(1))
    call = log.answers[0].record.calls[0]
    assert call.cached and call.completion is not None and BOUGHT in call.completion.notes
    assert any("1 answers came from promptfoo's cache" in note for note in log.notes)


def test_a_latency_of_nothing_is_not_measured(tmp_path: Path) -> None:
    assert one(tmp_path, row(0, latencyMs=0)).answers[0].record.calls[0].timing is None


def test_a_test_that_asserts_nothing_is_not_scored(tmp_path: Path) -> None:
    def bare(made: dict[str, Any]) -> None:
        made["gradingResult"] = {"pass": True, "score": 1, "reason": "No assertions"}
        del made["testCase"]["assert"]

    log = one(tmp_path, spoilt(row(0), bare), row(1))
    assert math.isnan(log.answers[0].values["pass"]) and log.answers[0].reason == "the test asserts nothing"
    assert not is_binary(log, "pass")
    assert any("1 answers are not scored: the test asserts nothing" in note for note in log.notes)


def test_a_grader_that_failed_scores_nothing(tmp_path: Path) -> None:
    thrown = row(0, passed=False, failureReason=2)  # the answer is there, its grading is not

    def graded(made: dict[str, Any]) -> None:
        made["gradingResult"]["componentResults"][0]["metadata"] = {"graderError": True}

    for made in (thrown, spoilt(row(0, passed=False), graded)):
        log = one(tmp_path, made)
        assert log.answers[0].record.answer == 0 and math.isnan(log.answers[0].values["pass"])


def test_columns_are_options(tmp_path: Path) -> None:
    rows = [
        row(i, column=column, provider=provider, prompt={"raw": "x", "label": label})
        for i in range(2)
        for column, (provider, label) in enumerate([("a:x", "short"), ("a:x", "long one"), ("b:y", "short")])
    ]
    logs = read(promptfoo_file(tmp_path / "r.json", rows))
    assert [log.option for log in logs] == ["a:x+prompt=short", "a:x+prompt=long one", "b:y"]
    assert [log.model for log in logs] == ["a:x", "a:x", "b:y"]
    assert len({log.part for log in logs}) == 3 and {len(log.answers) for log in logs} == {2}
    assert logs[0].dataset == logs[1].dataset == logs[2].dataset


def test_two_columns_of_one_name_are_numbered(tmp_path: Path) -> None:
    logs = read(promptfoo_file(tmp_path / "r.json", [row(0, column=0), row(0, column=1)]))
    assert [log.option for log in logs] == [
        "openai:gpt-4o+prompt=Answer: {{q}}",
        "openai:gpt-4o+prompt=Answer: {{q}}#2",
    ]


def test_repeats_of_a_test_are_repeats(tmp_path: Path) -> None:
    """`--repeat` gives every repeat a test number of its own; the variables are the same."""
    again = spoilt(row(0, passed=False), lambda made: made.update(testIdx=7))
    log = one(tmp_path, again, row(0), row(1))
    keys = sorted((answer.record.sample_id, answer.record.repeat) for answer in log.answers)
    assert sorted(repeat for _, repeat in keys) == [0, 0, 1] and len({name for name, _ in keys}) == 2
    first = next(answer for answer in log.answers if answer.record.repeat == 1)
    assert first.values["pass"] == 0.0  # in the order of the tests, not of the file


def test_documents_are_told_apart_by_variables_and_assertions(tmp_path: Path) -> None:
    base = row(0)
    other = spoilt(base, lambda made: made["testCase"]["assert"][0].update(value="another"))
    provider = spoilt(base, lambda made: made["testCase"]["assert"][0].update(provider="x"))
    session = spoilt(base, lambda made: made["testCase"]["vars"].update(sessionId="zz", _conversation=[1]))
    said = spoilt(base, lambda made: made["testCase"].update(description="A: b/c?"))
    name = promptfoo.name_of(base)
    assert promptfoo.name_of(other) != name
    assert promptfoo.name_of(provider) == promptfoo.name_of(session) == name
    assert promptfoo.name_of(said).startswith("A-b-c-")


def test_named_scores_are_metrics(tmp_path: Path) -> None:
    log = one(tmp_path, row(0, namedScores={"tone": 0.25, "odd": None}), row(1, namedScores={"tone": 1}))
    assert log.metrics == ["pass", "score", "tone"]
    assert [answer.values["tone"] for answer in log.answers] == [0.25, 1.0]


def test_a_structured_output_is_json(tmp_path: Path) -> None:
    assert one(tmp_path, row(0, response={"output": {"a": [1]}})).answers[0].record.text == '{"a": [1]}'


def test_no_output_is_an_empty_answer(tmp_path: Path) -> None:
    log = one(tmp_path, row(0, passed=False, failureReason=0, response={"output": None}, error="No output"))
    assert log.answers[0].record.text == "" and log.answers[0].values["pass"] == 0.0


@pytest.mark.parametrize(("said", "finish"), [("length", "length"), (None, "unknown")])
def test_why_an_answer_ended(tmp_path: Path, said: str | None, finish: str) -> None:
    done = one(tmp_path, row(0, response={"finishReason": said})).answers[0].record.calls[0].completion
    assert done is not None and done.finish_reason == finish


def test_no_secret_in_what_is_read(tmp_path: Path) -> None:
    rows = [row(0, provider=f"https://x/?key={PLANTED}"), failed(1, f"Error: bad {PLANTED} given", provider="b")]
    logs = read(promptfoo_file(tmp_path / "r.json", rows))
    assert PLANTED not in repr(logs)
    assert "secret document" not in repr(logs)


def test_lines_are_read_like_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(row(i)) + "\n" for i in range(3)))
    (log,) = promptfoo.read_lines(path)
    assert len(log.answers) == 3 and log.task == "r" and log.version is None


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda value: value["results"].update(version=9), r"promptfoo results of version 9 are not known"),
        (lambda value: value["results"].update(results={}), r"results\.results should be a list, it is dict"),
        (lambda value: value["results"].update(results=[]), "holds no results"),
        (lambda value: value["results"]["results"][1].pop("success"), r"results\.results\[1\] has no 'success'"),
        (lambda value: value["results"]["results"][0].update(score="high"), r"\[0\]: 'score' should be a number"),
        (
            lambda value: value["results"]["results"].append("row"),
            r"results\.results\[2\] has no 'provider'; it has str",
        ),
    ],
)
def test_a_file_that_is_wrong_names_the_place(tmp_path: Path, spoil: Any, told: str) -> None:
    path = promptfoo_file(tmp_path / "r.json", [row(0), row(1)])
    value = json.loads(path.read_text())
    spoil(value)
    with pytest.raises(DataError, match=told):
        promptfoo.read(path, value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(key=st.sampled_from(sorted(row(0))), inner=st.none() | st.sampled_from(sorted(row(0)["response"])), value=JSON)
def test_whatever_stands_under_a_key_is_read_or_refused(key: str, inner: str | None, value: Any) -> None:
    made = row(0)
    if inner is None:
        made[key] = value
    else:
        made["response"] = {**made["response"], inner: value}
    whole = {"results": {"version": 3, "results": [made, row(1)]}}
    try:
        logs = promptfoo.read(Path("r.json"), whole)
    except UserError as error:
        assert "r.json" in str(error) and "\n" not in str(error)
    else:
        assert sum(len(log.answers) for log in logs) == 2
