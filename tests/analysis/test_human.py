"""Verdicts: what is no verdict of this run is refused in one line, and the rest is counted as by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.analysis.human import outcomes, read
from evals.errors import DataError

LEAVES = {
    ("a", 0): [{"path": "who", "outcome": "tp", "answer": "x"}, {"path": "when", "outcome": "wrong", "answer": "y"}],
    ("b", 0): [{"path": "who", "outcome": "tn"}, {"path": "when", "outcome": "miss", "gold": "z"}],
    ("c", 0): [{"path": "who", "outcome": "hall"}],
}


def field(at: int, path: str, verdict: str) -> dict[str, Any]:
    return {"at": at, "path": path, "verdict": verdict}


def verdict(name: str, *fields: dict[str, Any], seconds: float | None = None) -> dict[str, Any]:
    return {"sample_id": name, "repeat": 0, "fields": list(fields), "seconds": seconds}


GOOD = [
    verdict("a", field(0, "who", "right"), field(1, "when", "right"), seconds=120),
    verdict("b", field(0, "who", "right"), field(1, "when", "wrong"), seconds=60),
    verdict("c", field(0, "who", "wrong")),
]


def saved(folder: Path, verdicts: Any, **more: Any) -> Path:
    path = folder / "v.json"
    path.write_text(json.dumps({"format": 1, "answers_hash": "h", "verdicts": verdicts, **more}))
    return path


def test_counted_as_by_hand(tmp_path: Path) -> None:
    found = outcomes(read(saved(tmp_path, GOOD), LEAVES, "h"), LEAVES, usd_per_hour=60)
    assert found["documents"] == 3 and found["unfinished"] == 0 and found["fields"] == 5
    assert found["wrong_documents"]["value"] == pytest.approx(2 / 3) and found["wrong_documents"]["n"] == 3
    assert found["agreement"]["value"] == pytest.approx(4 / 5), "only a's `when` is right to the person alone"
    assert [row["sample_id"] for row in found["disagreements"]] == ["a"]
    assert found["disagreements"][0]["scorer"] == "wrong" and found["disagreements"][0]["answer"] == "y"
    assert found["minutes_each"]["value"] == pytest.approx(1.5) and found["minutes_each"]["n"] == 2
    assert found["minutes"] == pytest.approx(3) and found["usd"] == pytest.approx(3)
    assert found["by_field"] == [{"path": "when", "n": 2, "wrong": 1}, {"path": "who", "n": 3, "wrong": 1}]


def test_half_a_document_is_wrong_or_not_finished(tmp_path: Path) -> None:
    part = [verdict("a", field(0, "who", "right")), verdict("b", field(1, "when", "wrong"))]
    found = outcomes(read(saved(tmp_path, part), LEAVES, "h"), LEAVES, usd_per_hour=None)
    assert found["unfinished"] == 1 and found["wrong_documents"]["value"] == 1.0 and found["wrong_documents"]["n"] == 1
    assert found["minutes"] is None and found["usd"] is None and found["minutes_each"]["value"] is None


def test_the_last_verdict_of_a_document_counts(tmp_path: Path) -> None:
    twice = [verdict("c", field(0, "who", "right")), verdict("c", field(0, "who", "wrong"))]
    assert [one["fields"][0]["verdict"] for one in read(saved(tmp_path, twice), LEAVES, "h")] == ["wrong"]


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([verdict("aa", field(0, "who", "right"))], "'aa' is no document of this run"),
        ([verdict("a", field(7, "who", "right"))], "is no field of this document's answer"),
        ([verdict("a", field(-1, "when", "right"))], "is no field"),
        ([verdict("a", field(0, "when", "right"))], "is no field"),
        ([verdict("a", field(0, "who", "perhaps"))], "'perhaps'; known are right and wrong"),
        ([verdict("a", field(0, "who", "right"), seconds=-1)], "seconds -1 is no time"),
        ([{"sample_id": "a"}], "should hold sample_id, repeat and fields"),
        (["a"], "should hold"),
        ("a", "no file of verdicts"),
    ],
)
def test_what_is_no_verdict_is_told(tmp_path: Path, verdicts: Any, said: str) -> None:
    with pytest.raises(DataError) as caught:
        read(saved(tmp_path, verdicts), LEAVES, "h")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_files_that_are_none_or_of_another_run(tmp_path: Path) -> None:
    for more, said in (
        ({"answers_hash": "other", "run": "r"}, r"made for other answers \(r\)"),
        ({"format": 2}, "format 1"),
    ):
        with pytest.raises(DataError, match=said):
            read(saved(tmp_path, [], **more), LEAVES, "h")
    with pytest.raises(DataError, match="is not there"):
        read(tmp_path / "no.json", LEAVES, "h")
    (tmp_path / "v.json").write_bytes(b"\xff{")
    with pytest.raises(DataError, match="is no JSON"):
        read(tmp_path / "v.json", LEAVES, "h")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 3) | st.floats() | st.sampled_from(["a", "who", "right", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["sample_id", "repeat", "fields", "at", "path", "verdict", "seconds"]), inner)
    ),
    max_leaves=12,
)


@settings(deadline=None, max_examples=150)
@given(given_=st.lists(JSON, max_size=3))
def test_anything_is_verdicts_or_one_line(tmp_path_factory: pytest.TempPathFactory, given_: Any) -> None:
    path = saved(tmp_path_factory.getbasetemp(), given_)
    try:
        outcomes(read(path, LEAVES, "h"), LEAVES, usd_per_hour=None)
    except DataError as error:
        assert "\n" not in str(error)
