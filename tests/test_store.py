"""The run folder: what is written is read back, whatever a crash leaves."""

import math
from datetime import date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import store
from evals.core import Call, Completion, Record, Timing, Usage
from evals.errors import StoreError


def record(name: str, *, repeat: int = 0, text: str | None = "{}", seconds: float = 0.5) -> Record:
    timing = Timing(started_at="2026-01-01T00:00:00+00:00", queued_s=0.0, ttft_s=None, total_s=seconds)
    done = None if text is None else Completion(text=text, finish_reason="stop", usage=Usage(output=3))
    call = Call(role="answer", model="m", timing=timing, completion=done, error=None if done else "server")
    return Record(sample_id=name, repeat=repeat, request_hash="h", calls=(call,), answer=0 if done else None)


@given(
    name=st.text(min_size=1),
    text=st.none() | st.text(),
    seconds=st.floats(min_value=0, max_value=1e6),
    repeat=st.integers(min_value=0, max_value=99),
)
def test_round_trip(name: str, text: str | None, seconds: float, repeat: int) -> None:
    import json

    one = record(name, repeat=repeat, text=text, seconds=seconds)
    line = store.encode(one)
    assert "\n" not in line and store.decode(json.loads(line)) == one


def folder(tmp_path: Path, *records: Record) -> Path:
    with store.RunFolder(tmp_path / "run") as run:
        for one in records:
            run.append(one)
    return tmp_path / "run"


def test_a_torn_last_line_is_dropped_and_written_over(tmp_path: Path) -> None:
    path = folder(tmp_path, record("a"), record("b"))
    with (path / "records.jsonl").open("ab") as file:
        file.write(b'{"sample_id": "c", "rep')
    assert [r.sample_id for r in store.records(path)] == ["a", "b"]
    folder(tmp_path, record("d"))
    assert [r.sample_id for r in store.records(path)] == ["a", "b", "d"]


def test_the_last_good_line_wins(tmp_path: Path) -> None:
    path = folder(
        tmp_path, record("a", text="1"), record("a", text="2"), record("a", text=None), record("b", text=None)
    )
    found = store.answered(path)
    assert found["a", 0].text == "2" and found["b", 0].answer is None


def test_two_processes_do_not_write_one_run(tmp_path: Path) -> None:
    with store.RunFolder(tmp_path / "run"), pytest.raises(StoreError, match="another process"):
        with store.RunFolder(tmp_path / "run"):
            pass


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    store.write_whole(tmp_path / "x.json", "old")
    store.write_whole(tmp_path / "x.json", "new")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"] and (tmp_path / "x.json").read_text() == "new"


def test_names_are_safe_on_every_system() -> None:
    assert store.safe_name("a:b/c*?<d>|e") == "a_b_c___d__e" and ":" not in store.stamp()


def test_the_content_hash_does_not_depend_on_the_order(tmp_path: Path) -> None:
    hashes = []
    for number, order in enumerate([("a", "b"), ("b", "a")]):
        with store.RunFolder(tmp_path / str(number)) as run:
            for name in order:
                run.append(record(name))
            run.flush()
            hashes.append(run.content_hash())
    assert hashes[0] == hashes[1]


AWKWARD = [
    "\ud800", 10**30, -(2**63) - 1, 2**64, 1e16, -0.0, 5e-324, 0.1, math.nan, -math.inf, True, None, 'é\u2028\x7f\0"\\',
    "", 0, False, [], {}, [()], {"a": None}, {"a": {"b": (1, 2.5, math.nan)}}, {1: 2}, {"\udfff": 1}, date(2024, 1, 1),
    datetime(2024, 1, 1, 2), (3,),
]  # fmt: skip


@pytest.mark.parametrize("value", AWKWARD, ids=repr)
def test_a_line_says_the_same_with_and_without_orjson(
    value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evals.core import FieldOutcome, Score

    pytest.importorskip("orjson")
    leaf = FieldOutcome(
        path="p", kind="k", outcome="tp", strict="tn", gold=value, answer=value, grounded=False, note=""
    )
    score = Score(metrics={"q": math.nan, "v": 1.0}, fields=(leaf,), answer=value, reason="")
    done = Completion(
        text="t", finish_reason="stop", usage=Usage(output=0), served_by={"x": value}, notes={"y": [value]}
    )
    one = Record(
        sample_id="s",
        repeat=0,
        request_hash="h",
        calls=(Call(role="answer", model="m", completion=done), Call(role="part", model="", usage=Usage())),
        answer=None,
    )
    lines = []
    for name in ("fast", "plain"):
        with store.RunFolder(tmp_path / name) as run:
            run.append(one)
            run.append_score("s", one, score, {"tags": ("a",), "z": value})
            run.append_score("s", one, Score(metrics={}), {})
        files = (tmp_path / name / "records.jsonl", tmp_path / name / "scores-s.jsonl")
        lines.append([repr(sorted(line.items())) for file in files for line in store._lines(file)])
        monkeypatch.setattr(store, "orjson", None)
    assert lines[0] == lines[1] and len(lines[0]) == 3
