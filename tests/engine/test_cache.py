"""The response cache: what it serves to whom, and what survives kills, crowds, damage and full disks."""

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from engine_fakes import Kept, Plain, Scripted, failure, jumping, samples
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.core import Call, Completion, Sample, Timing, Usage
from evals.engine.cache import BATCH, Asked, ResponseCache, identity_hash
from evals.engine.generate import Engine
from evals.errors import ConfigError, StoreError

ME: dict[str, Any] = {"backend": "openai", "id": "m", "api_version": "1", "client": {"sdk": "openai 3"}}
ASKED = Asked("0123456789abcdef", "d0", 0)
TIMING = Timing(started_at="2026-01-01T00:00:00+00:00", queued_s=0.5, ttft_s=None, total_s=1.5, loop_lag_s=0.0)


def bought(text: str = "answer", **more: Any) -> Call:
    usage = Usage(input_uncached=5, output=2, cache_read=0)
    done = Completion(text=text, finish_reason="stop", usage=usage, served_by={"model": "m-1"}, **more)
    return Call(role="answer", model="m", timing=TIMING, completion=done, in_flight=3)


def opened(path: Path, **options: Any) -> ResponseCache:
    return ResponseCache(path / "c.sqlite", **{"identity": ME, "run": "run 1", **options})


def put(path: Path, *, asked: Asked = ASKED, call: Call | None = None, **options: Any) -> None:
    with opened(path, **options) as cache:
        cache.put(asked, call or bought())


# What is served -----------------------------------------------------------------------------------------------


def test_an_earlier_session_of_the_same_run_is_served(tmp_path: Path) -> None:
    put(tmp_path)
    with opened(tmp_path) as cache:
        assert cache.get(ASKED) == replace(bought(), cached=True)
        assert cache.get(ASKED, "part") == replace(bought(), cached=True, role="part")


@pytest.mark.parametrize(
    ("asked", "options"),
    [
        (ASKED._replace(hash="f" * 16), {}),
        (ASKED._replace(repeat=1), {}),
        (ASKED._replace(sample_id="d1"), {}),  # the same question of another document is its own purchase
        (ASKED._replace(part=1), {}),
        (ASKED, {"run": "run 2"}),
        (ASKED, {"identity": {**ME, "id": "another"}}),
        (ASKED, {"identity": {**ME, "api_version": "2"}}),
        (ASKED, {"mode": "off"}),
    ],
)
def test_what_resume_does_not_serve(tmp_path: Path, asked: Asked, options: dict[str, Any]) -> None:
    put(tmp_path)
    with opened(tmp_path, **options) as cache:
        assert cache.get(asked) is None


def test_the_software_it_was_fetched_with_is_no_part_of_who_answers(tmp_path: Path) -> None:
    put(tmp_path)
    with opened(
        tmp_path,
        identity={
            **ME,
            "client": {"sdk": "openai 4"},
            "start_s": 0.3,
            "memory": {"free_gib": 9.9},
            "measuring_s": 40.0,
        },
    ) as cache:
        assert cache.get(ASKED)
    assert identity_hash(ME) != identity_hash({**ME, "id": "x"})


def test_read_serves_what_anybody_bought_and_says_from_whom(tmp_path: Path) -> None:
    put(tmp_path)
    with opened(tmp_path, run="run 2", mode="read") as cache:
        call = cache.get(ASKED._replace(sample_id="elsewhere"))
        assert call and call.cached and call.completion and call.completion.text == "answer"
        assert call.completion.notes["bought"]["run"] == "run 1"
        assert abs(call.completion.notes["bought"]["at"] - time.time()) < 60
        assert cache.get(ASKED._replace(repeat=1)) is None
        cache.put(ASKED, bought("my own"))
        cache.flush()
        own = cache.get(ASKED)
        assert own and own.completion and own.completion.text == "my own" and not own.completion.notes


def test_off_touches_no_file(tmp_path: Path) -> None:
    put(tmp_path, mode="off")
    assert not list(tmp_path.iterdir())
    with pytest.raises(ConfigError, match="cache=maybe"):
        opened(tmp_path, mode="maybe")


TEXT = st.text(st.characters(), max_size=50)


def test_any_completion_comes_back_as_it_was(tmp_path: Path) -> None:
    put(tmp_path)
    with opened(tmp_path) as cache:

        @settings(max_examples=60, deadline=None)
        @given(
            text=TEXT, notes=st.dictionaries(TEXT, TEXT | st.lists(TEXT), max_size=3), tokens=st.none() | st.integers(0)
        )
        def check(text: str, notes: dict[str, Any], tokens: int | None) -> None:
            usage = Usage(input_uncached=tokens, reasoning=0)
            done = Completion(
                text=text, finish_reason="length", usage=usage, signals={"m": 0.25}, truncated_tokens=3, notes=notes
            )
            for call in (replace(bought(), completion=done), replace(bought(), completion=done, timing=None)):
                cache.put(ASKED, call, commit=True)
                assert cache.get(ASKED) == replace(call, cached=True)

        check()


# In a run -----------------------------------------------------------------------------------------------------


def run(folder: Path, model: Scripted, documents: list[Sample], **options: Any) -> Kept:
    kept = Kept()
    with opened(folder, **options) as cache:

        async def work() -> None:
            await Engine(task=Plain(), model=model, sink=kept, cache=cache, attempts=1).run(documents)

        jumping(work())
    return kept


def test_only_good_answers_are_kept_and_none_is_bought_again(tmp_path: Path) -> None:
    asked = [Sample(id=f"d{i}", inputs={"text": f"text {i}"}, target=None) for i in range(10)]
    broken = {f"text {i}": [failure("bad_body")] for i in range(0, 10, 2)}
    run(tmp_path, Scripted(broken), asked)
    again = Scripted()
    kept = run(tmp_path, again, asked)
    assert sorted(again.sent) == [f"text {i}" for i in range(0, 10, 2)]
    assert all(record.answer == 0 for record in kept.records)
    assert sum(call.cached for record in kept.records for call in record.calls) == 5


def test_the_parts_of_an_unfinished_document_are_kept(tmp_path: Path) -> None:
    asked = [Sample(id="d", inputs={"text": ["a", "b", "c"]}, target=None)]
    path = tmp_path / "c.sqlite"
    seen: list[int] = []

    def script(request: Any, number: int) -> Any:
        with sqlite3.connect(path) as other:  # committed: another process sees it
            seen.append(other.execute("select count(*) from answers").fetchone()[0])
        other.close()
        return ValueError("killed here") if request.messages[0].content == "c" else "ok"

    run(tmp_path, Scripted(script), asked)
    assert seen == [0, 1, 2]
    model = Scripted()
    (record,) = run(tmp_path, model, asked).records
    assert model.sent == ["c"] and record.text == "ok+ok+ok"
    assert [call.cached for call in record.calls] == [True, True, False, False]


def test_equal_documents_are_bought_each_whatever_the_order(tmp_path: Path) -> None:
    model = Scripted()
    run(tmp_path, model, samples(3))
    assert len(model.sent) == 3


def test_nothing_but_answers_is_in_the_file(tmp_path: Path) -> None:
    asked = [Sample(id="d", inputs={"text": "THE-PROMPT"}, target=None)]
    run(tmp_path, Scripted(), asked, identity={**ME, "note": "THE-IDENTITY"})
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"THE-PROMPT" not in stored and b"THE-IDENTITY" not in stored and b"ok" in stored


# What it survives ---------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from evals.core import Call, Completion
from evals.engine.cache import Asked
from evals.engine.cache import ResponseCache
path, run, n, commit = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "commit"
cache = ResponseCache(path, identity="me", run=run)
for i in range(n):
    done = Completion(text=f"{run} {i} " + "x" * 500, finish_reason="stop")
    cache.put(Asked(f"{i:016x}", f"d{i}", 0), Call(role="answer", model="m", completion=done), commit=commit)
    if commit:
        print(i, flush=True)
cache.close()
assert cache.failed is None, cache.failed
"""


def writer(path: Path, run: str, n: int, how: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path), run, str(n), how], stdout=subprocess.PIPE, text=True
    )


def test_a_killed_process_loses_nothing_it_committed(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    with writer(path, "killed", 100_000, "commit") as process:
        assert process.stdout
        for _ in range(150):
            process.stdout.readline()
        process.kill()
        said = 150 + len([line for line in process.stdout.read().split("\n") if line])
    with ResponseCache(path, identity="me", run="killed") as cache:
        found = [cache.get(Asked(f"{i:016x}", f"d{i}", 0)) for i in range(said - 1)]
        assert all(call and call.completion and call.completion.text.startswith("killed") for call in found)
        cache.put(ASKED, bought())
    assert cache.failed is None


def test_two_processes_at_once(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    both = [writer(path, run, 3000, "batched") for run in ("one", "two")]
    for process in both:
        process.communicate(timeout=60)
    assert [process.returncode for process in both] == [0, 0]
    for run in ("one", "two"):
        with ResponseCache(path, identity="me", run=run) as cache:
            for i in (0, 63, 64, 2999):
                call = cache.get(Asked(f"{i:016x}", f"d{i}", 0))
                assert call and call.completion and call.completion.text.startswith(f"{run} {i} ")


def test_a_file_that_is_no_database_is_one_line_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "c.sqlite").write_bytes(b"this is no database at all" * 100)
    with pytest.raises(StoreError, match=r"c\.sqlite is damaged .*: move it away .* or cache=off") as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "c.sqlite").read_bytes().startswith(b"this is no")  # ours to name, not to delete


def test_a_file_damaged_in_the_middle_ends_the_run_after_its_records(tmp_path: Path) -> None:
    with opened(tmp_path) as cache:
        for i in range(200):
            cache.put(ASKED._replace(sample_id=f"d{i}", hash=f"{i:016x}"), bought("x" * 500))
    size = (tmp_path / "c.sqlite").stat().st_size
    with (tmp_path / "c.sqlite").open("rb+") as file:
        file.seek(4096 * 6)
        file.write(os.urandom(size - 4096 * 6))
    kept = Kept()
    model = Scripted(latency_s=1.0)

    async def work() -> None:
        with opened(tmp_path, run="another") as cache:
            await Engine(task=Plain(), model=model, sink=kept, cache=cache, concurrency=4).run(samples(1000))

    with pytest.raises(StoreError, match="is damaged"):
        jumping(work())
    assert 0 < len(kept.records) == len(model.sent) < 200  # what was paid for is recorded, and no more is bought


def test_a_format_of_later_days_is_left_alone(tmp_path: Path) -> None:
    put(tmp_path)
    database = sqlite3.connect(tmp_path / "c.sqlite")
    database.execute("pragma user_version = 9")
    database.close()
    with pytest.raises(StoreError, match="format 9"):
        opened(tmp_path)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"cannot be written.*or cache=off"):
        ResponseCache(tmp_path / "file" / "c.sqlite")
    (tmp_path / "folder.sqlite").mkdir()
    with pytest.raises(StoreError, match=r"cannot be used: unable to open database file; .* cache=off"):
        ResponseCache(tmp_path / "folder.sqlite")


def as_nobody(folder: Path) -> str:
    """What opening a cache in the folder says to somebody who may not write there."""
    reader, writer = os.pipe()
    if not (child := os.fork()):
        if os.geteuid() == 0:
            os.setuid(65534)  # root may write everywhere
        try:
            opened(folder)
            said = "opened"
        except StoreError as error:
            said = str(error)
        os.write(writer, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        return file.read()


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of a POSIX system")
def test_a_read_only_folder_is_one_line() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        assert "unable to open database file; mend that, or cache=off" in as_nobody(folder)
        assert "cannot be written: Permission denied; or cache=off" in as_nobody(folder / "deeper")
        folder.chmod(0o755)
        put(folder)
        for path in (*folder.iterdir(), folder):
            path.chmod(0o444 if path.is_file() else 0o555)
        assert "cannot be used: attempt to write a readonly database; mend that, or cache=off" in as_nobody(folder)
        folder.chmod(0o755)


def test_a_full_disk_is_told_at_the_end_and_stops_the_run(tmp_path: Path) -> None:
    with opened(tmp_path) as cache:
        assert cache._database
        cache._database.execute("pragma max_page_count = 8")
        for i in range(5 * BATCH):
            cache.put(ASKED._replace(sample_id=f"d{i}"), bought("x" * 1000))
        assert cache.failed and "full" in str(cache.failed)
        failed, cache.failed = cache.failed, None
        cache._waiting.clear()
    assert "or cache=off" in str(failed)


def test_what_another_version_wrote_is_bought_again(tmp_path: Path) -> None:
    put(tmp_path)
    database = sqlite3.connect(tmp_path / "c.sqlite")
    database.execute("update answers set about = x'5b312c20325d'")
    database.commit()
    database.close()
    with opened(tmp_path) as cache:
        assert cache.get(ASKED) is None


def test_answers_are_written_by_the_batch_and_at_the_end(tmp_path: Path) -> None:
    def stored() -> int:
        database = sqlite3.connect(tmp_path / "c.sqlite")
        (count,) = database.execute("select count(*) from answers").fetchone()
        database.close()
        return int(count)

    with opened(tmp_path) as cache:
        for i in range(BATCH - 1):
            cache.put(ASKED._replace(sample_id=f"d{i}"), bought())
        assert stored() == 0
        cache.put(ASKED, bought())
        assert stored() == BATCH
        cache.put(ASKED, bought(), commit=True)
        assert stored() == BATCH + 1
        cache.put(ASKED, bought())
    assert stored() == BATCH + 2


def test_many_that_make_one_file_at_the_same_time_all_get_it(tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor
    from threading import Barrier

    start = Barrier(8)

    def opens(number: int) -> None:
        start.wait()
        ResponseCache(tmp_path / f"{number}.sqlite", identity="me", run="r").close()

    with ThreadPoolExecutor(8) as pool:
        for number in range(25):
            list(pool.map(opens, [number] * 8))
