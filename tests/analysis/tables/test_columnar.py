"""`table.parquet`: when it holds, when it is made again, and what becomes of it where nothing can be written."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import call, made, record, score

import evals
from evals import store
from evals.analysis.tables import columnar, joined
from evals.core import Call, Record
from evals.errors import StoreError

PRICES = {"default": {"name": "m", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two documents and a table that is trusted, being younger than they are."""
    monkeypatch.setattr(columnar, "SETTLED_S", 0.02)
    folder = made(tmp_path / "r", [record("a", call(0, 1)), record("b", call(1, 2))])
    evals.load_runs(folder)
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """Let the table be younger than its sources by more than a step of the clock."""
    time.sleep(0.05)
    (folder / "table.parquet").touch()
    time.sleep(0.02)


def made_at(folder: Path) -> int:
    """Which file is there: another one, if it was made again."""
    return (folder / "table.parquet").stat().st_ino


def seconds(folder: Path) -> list[float]:
    return list(evals.load_runs(folder)["latency_s"])


def again(folder: Path) -> bool:
    """Was the table made again by a load, and does it say what the records say?"""
    before = made_at(folder)
    held = (folder / "table.parquet").open("rb")  # keeps its number from being used again
    found = seconds(folder)
    made_of = [
        one["calls"][0]["timing"]["total_s"]
        for one in map(json.loads, (folder / "records.jsonl").read_text().splitlines())
    ]
    held.close()
    assert found == made_of, "whatever was done, the figures are those of the records"
    return made_at(folder) != before


def test_a_table_says_what_it_was_derived_from(run: Path) -> None:
    told = json.loads(pq.read_metadata(run / "table.parquet").metadata[b"evals"])
    import hashlib

    files = [run / "records.jsonl", run / "scores-s1.jsonl"]
    assert told["scorer"] == "s1" and told["prices"] is None and told["format"] == columnar.FORMAT
    expected = [{"size": f.stat().st_size, "sha256": hashlib.sha256(f.read_bytes()).hexdigest()} for f in files]
    assert told["sources"] == expected


def test_a_record_that_was_appended_is_seen(run: Path) -> None:
    more = record("c", call(2, 4))
    with store.RunFolder(run) as folder:
        folder.append(more)
        folder.append_score("s1", more, score("tp"), {"tags": ()})
    assert again(run) and seconds(run) == [1, 2, 4]


def test_an_edit_of_the_same_size_in_the_same_tick_is_seen(run: Path) -> None:
    path = run / "records.jsonl"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b'"total_s":2', b'"total_s":7'))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size and path.stat().st_mtime_ns == before.st_mtime_ns
    assert again(run) and seconds(run) == [1, 7]


def test_an_edit_under_a_table_of_the_future_is_seen(run: Path) -> None:
    """Made while the clock was a day ahead."""
    later = time.time() + 86_400
    os.utime(run / "table.parquet", (later, later))
    path = run / "records.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"total_s":2', b'"total_s":7'))
    assert again(run)


def test_a_file_that_was_only_touched_leaves_the_table_as_it_is(run: Path) -> None:
    (run / "records.jsonl").touch()
    assert not again(run)


def test_a_copied_folder_leaves_the_table_as_it_is_and_is_hashed_once(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy", copy_function=shutil.copy))  # new times, as a clone has
    assert not again(copy)
    time.sleep(0.05)
    assert not again(copy), "hashed, and the table is the youngest now"
    monkeypatch.setattr(columnar, "_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert not again(copy)


def test_a_settled_table_is_trusted_without_reading_the_sources(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columnar, "_sha256", lambda path: pytest.fail(f"{path} was read"))
    assert len(evals.load_runs(run)) == 2


@pytest.mark.parametrize(
    "change", [{"prices": PRICES, "location": "api"}, {"hashes": {"scorer": "s2"}}], ids=["price", "scorer"]
)
def test_another_price_or_scorer_makes_another_table(run: Path, change: dict[str, Any]) -> None:
    shutil.copy(run / "scores-s1.jsonl", run / "scores-s2.jsonl")
    manifest = {**store.read_json(run / "manifest.json"), **change}
    (run / "manifest.json").write_text(json.dumps(manifest))
    settle(run)
    assert again(run) and not again(run)
    dearer = {"default": {**PRICES["default"], "output_usd_per_mtok": 2.0}}
    (run / "manifest.json").write_text(json.dumps({**manifest, "prices": dearer, "location": "api"}))
    settle(run)
    assert again(run)


@pytest.mark.parametrize("how", ["torn", "empty", "of an older version", "of other columns"])
def test_a_table_that_cannot_be_one_is_made_again(run: Path, how: str) -> None:
    path = run / "table.parquet"
    whole = evals.load_runs(run)
    if how in ("torn", "empty"):
        path.write_bytes(path.read_bytes()[: 100 if how == "torn" else 0])
    else:
        pd.read_parquet(path).drop(columns=["tier"] if how == "of other columns" else []).to_parquet(path)
    settle(run)
    pd.testing.assert_frame_equal(evals.load_runs(run), whole)
    assert not again(run)
    assert sorted(p.name for p in run.iterdir() if "table" in p.name) == ["table.parquet"], "nothing is left beside it"


READ = "import sys, evals; print(evals.load_runs(sys.argv[1])['latency_s'].tolist())"


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that other users can reach."""
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(place)


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
@pytest.mark.parametrize("stale", [False, True])
def test_a_folder_that_cannot_be_written_is_read_all_the_same(open_place: Path, stale: bool) -> None:
    folder = made(open_place / "r", [record("a", call(0, 1)), record("b", call(1, 2))])
    if stale:
        evals.load_runs(folder)
        path = folder / "records.jsonl"
        path.write_bytes(path.read_bytes().replace(b'"total_s":2', b'"total_s":7'))
    before = sorted(path.name for path in folder.iterdir())
    columnar._own_folder.cache_clear()
    with nobody(folder):
        found = seconds(folder)
        assert seconds(folder) == found
    assert found == ([1, 7] if stale else [1, 2])
    assert sorted(path.name for path in folder.iterdir()) == before


@contextlib.contextmanager
def nobody(folder: Path) -> Iterator[None]:
    """One who may read the folder and not write to it; root may write anywhere, so root is another for a while."""
    root = os.geteuid() == 0
    folder.chmod(0o555)
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        columnar._own_folder.cache_clear()


def test_what_a_killed_process_left_is_cleared_away_and_what_another_is_writing_is_not(run: Path) -> None:
    for name, age in (("left", 90_000), ("writing", 60)):
        path = run / f".table.{name}"
        path.write_bytes(b"PAR1")
        os.utime(path, (time.time() - age, time.time() - age))
    (run / "table.parquet").unlink()
    evals.load_runs(run)
    assert [path.name for path in run.glob(".table.*")] == [".table.writing"]


def test_two_processes_that_make_it_at_once_both_have_it(tmp_path: Path) -> None:
    folder = made(tmp_path / "r", [record(f"d{i}", call(i, i + 1)) for i in range(300)])
    processes = [subprocess.Popen([sys.executable, "-c", READ, folder], stdout=subprocess.PIPE) for _ in range(2)]
    outputs = [process.communicate()[0] for process in processes]
    assert outputs[0] == outputs[1] and json.loads(outputs[0]) == [i + 1.0 for i in range(300)]
    assert sorted(p.name for p in folder.iterdir() if "table" in p.name) == ["table.parquet"] and not again(folder)


def naive(told: list[Record], scored: list[Record]) -> list[tuple[str, int, str]]:
    """Of each score the record that counts, by a scan of all: the last good one, else the last."""
    found = []
    for one in scored:
        same = [r for r in told if (r.sample_id, r.repeat) == (one.sample_id, one.repeat)]
        if same:
            good = [r for r in same if r.answer is not None]
            found.append((one.sample_id, one.repeat, (good or same)[-1].request_hash))
    return found


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Record], list[Record]]:
    """Records with failures and repeats, each key good at most once; scores in any order, some without a record."""
    keys = draw(st.lists(st.tuples(st.sampled_from("abcdé\u2028"), st.integers(0, 2)), unique=True, max_size=8))
    told: list[Record] = []
    for name, repeat in keys:
        failed = draw(st.integers(0, 2))
        calls: list[Call] = [call(error="server")] * failed + [call()] * draw(st.integers(0 if failed else 1, 1))
        told += [record(name, one, repeat=repeat) for one in calls]
    told = draw(st.permutations(told))
    told = [Record(**{**{f: getattr(r, f) for f in r.__slots__}, "request_hash": str(i)}) for i, r in enumerate(told)]
    scored = draw(st.permutations([record(name, repeat=repeat) for name, repeat in [*keys, ("lost", 0)]]))
    return told, scored if draw(st.booleans()) else [r for r in told if r.answer is not None]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(histories())
def test_scores_are_joined_with_the_record_that_counts(
    tmp_path_factory: pytest.TempPathFactory, history: tuple[list[Record], list[Record]]
) -> None:
    told, scored = history
    folder = made(tmp_path_factory.mktemp("runs") / "r", told, [(one, score("tp")) for one in scored])
    with joined.Lines(folder / "records.jsonl") as records, joined.Lines(folder / "scores-s1.jsonl") as scores:
        found = [(r["sample_id"], r["repeat"], r["request_hash"]) for r, _ in joined.paired(records, scores)]
        assert found == naive(told, scored)
        assert records.identity()["size"] == ((folder / "records.jsonl").stat().st_size if told else None)


def test_two_keys_of_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joined, "hash", lambda key: 7, raising=False)
    told = [record(name, call(seconds=i)) for i, name in enumerate("abc")]
    frame = evals.load_runs(made(tmp_path / "r", told, [(told[i], score("tp")) for i in (2, 0, 1)]))
    assert frame["sample_id"].tolist() == list("cab") and frame["latency_s"].tolist() == [2, 0, 1]


def test_memory_is_a_block_and_not_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python objects of no more than a block's rows are alive at once."""
    monkeypatch.setattr(columnar, "BLOCK", 50)
    sizes = []
    arrow = columnar._arrow
    monkeypatch.setattr(columnar, "_arrow", lambda block, schema: (sizes.append(len(block)), arrow(block, schema))[1])
    evals.load_runs(made(tmp_path / "r", [record(f"d{i}") for i in range(120)]))
    assert sizes == [50, 50, 20]


def test_text_that_is_no_unicode_is_shown_with_a_mark(tmp_path: Path) -> None:
    told = [record("a\ud800"), record("b")]
    about = {"slice": "s\udfff", "tags": ["ok", "\ud800"]}
    frame = evals.load_runs(made(tmp_path / "r", told, [(one, score("tp")) for one in told], sample=about))
    assert frame["sample_id"].tolist() == ["a?", "b"] and frame["slice"].tolist() == ["s?", "s?"]
    assert [list(tags) for tags in frame["tags"]] == [["ok", "?"]] * 2


def test_a_line_that_is_of_no_run_is_named(tmp_path: Path) -> None:
    folder = made(tmp_path / "r", [record("a")])
    with (folder / "records.jsonl").open("a") as file:
        file.write('{"torn\n{"id": 7}\n')
    with (folder / "scores-s1.jsonl").open("a") as file:
        file.write('{"id": 7}\n')
    with pytest.raises(StoreError, match=r"scores-s1.jsonl:2 is no line of a run"):
        evals.load_runs(folder)
    assert not [path for path in folder.iterdir() if "table" in path.name]
