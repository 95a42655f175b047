"""One side of a comparison: what a reference keeps, what it must not hold, and how a word finds a run."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from made_runs import call, leaf, made, record, score

from evals.analysis.comparing import compare
from evals.analysis.comparing.baseline import (
    dataset_hash,
    find,
    infrastructure_share,
    read_side,
    reference_path,
    save_reference,
    served,
)
from evals.core import Completion, Record
from evals.errors import INFRASTRUCTURE, StoreError
from evals.store import results_root

HASHES = {"scorer": "s1", "prompt": "p1", "schema": "j1"}
SECRET = "the secret party"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten documents of option `m`: nine answered, one failed on the way; gold and answers hold text."""
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
    named: list[Record] = [
        record(f"d{i}", call(float(i), 1.0 + i / 10, input=100 + i, output=7, ttft=0.25)) for i in range(9)
    ]
    named.append(record("d9", call(9.0, 5.0, error="timeout")))
    scored = [
        (one, score(leaf("wrong" if i % 3 == 0 else "tp", gold=SECRET, answer=SECRET + "?"), leaf("tn", path="b")))
        for i, one in enumerate(named)
    ]
    stamp = "2026-01-01T00-00-00.000000Z"
    about: dict[str, Any] = {"option": "m", "hashes": HASHES, "dataset": {"sha256": "x"}, "started_at": stamp}
    return made(results_root() / "mine" / "m" / stamp, named, scored, sample={"slice": "simple", "group": "g"}, **about)


def test_a_reference_says_what_the_run_says(run: Path) -> None:
    direct = read_side(run)
    stored = read_side(save_reference(direct))
    assert stored.where == str(reference_path("mine")) and stored.option == "m"
    assert {name: stored.about[name] for name in ("dataset", "hashes", "load")} == {
        name: direct.about[name] for name in ("dataset", "hashes", "load")
    }
    metrics = ["f1", "f1_strict", "exact", "schema_valid", "hallucination_rate", "failed", "cost", "p50_s"]
    pairs = [compare.join(side, direct) for side in (direct, stored)]
    rows = [list(compare.findings(pair, metrics, ["slice", "field"], [], [])) for pair in pairs]
    assert repr(rows[0]) == repr(rows[1])
    for name in ("input_tokens", "output_tokens", "ttft_s", "latency_s"):
        assert stored.rows[name].tolist()[:9] == direct.rows[name].tolist()[:9]
    assert infrastructure_share(stored.rows, INFRASTRUCTURE) == 0.1


def test_a_reference_holds_no_text_and_what_is_not_there_is_not_written(run: Path) -> None:
    text = save_reference(read_side(run)).read_text()
    assert SECRET not in text and "NaN" not in text and "null" not in text.split('"documents"')[1]
    value = json.loads(text)
    assert value["format"] == 1 and len(value["documents"]) == 10
    assert value["documents"][0]["fields"] == [["who", "wrong"], ["b", "tn"]]
    assert set(value["about"]["hashes"]) == {"scorer", "prompt", "schema"}


def test_another_strict_outcome_is_kept(tmp_path: Path, run: Path) -> None:
    one = record("d0")
    folder = made(tmp_path / "other", [one], [(one, score(leaf("tp", strict="wrong")))], option="m", hashes=HASHES)
    side = read_side(save_reference(read_side(folder)))
    assert side.fields[["outcome", "strict"]].values.tolist() == [["tp", "wrong"]]
    assert side.rows["strict_wrong"].tolist() == [1.0]


def test_saving_again_replaces_it_in_one_step(run: Path) -> None:
    path = save_reference(read_side(run))
    first = path.read_text()
    assert save_reference(read_side(run)).read_text() == first
    assert [one.name for one in path.parent.iterdir()] == ["mine.json"], "nothing half-written is left beside it"


@pytest.mark.parametrize("text", ["{}", '{"format": 9, "documents": []}', '{"format": 1}'])
def test_what_is_no_reference_is_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(StoreError, match="is no reference that `compare save=true` wrote"):
        read_side(path)


def test_a_run_that_is_not_complete_is_no_side(run: Path) -> None:
    (run / "summary.json").unlink()
    with pytest.raises(StoreError, match="is not complete"):
        read_side(run)


def test_a_word_finds_a_run(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = run.parent / "2026-02-01T00-00-00.000000Z"
    shutil.copytree(run, newer)
    monkeypatch.chdir(results_root().parent)
    for word in ("m", "mine/m", "results/mine/m", str(newer), str(newer / "summary.json")):
        assert find(word).resolve() == newer.resolve(), word
    assert find(f"mine/m/{run.name}").resolve() == run.resolve()
    path = save_reference(read_side(run))
    assert find(str(path)) == path
    with pytest.raises(StoreError, match="did you mean m"):
        find("mm")


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ({"sha256": "a", "file": "x"}, {"sha256": "a", "file": "y"}, True),
        ({"sha256": "a"}, {"sha256": "b"}, False),
        ({"generator": "1", "seed": 0}, {"generator": "1", "seed": 1}, False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
    ],
)
def test_the_identity_of_documents_is_not_their_file_s_name(left: Any, right: Any, same: bool) -> None:
    assert (dataset_hash(left) == dataset_hash(right)) == same and dataset_hash(None) is None


def test_who_answered_is_every_id_that_was_returned(tmp_path: Path) -> None:
    calls = [call(float(i)) for i in range(3)]
    ids = ["m-1", "m-2", "m-2"]
    named = []
    for i, (one, name) in enumerate(zip(calls, ids, strict=True)):
        done = Completion(text="{}", finish_reason="stop", served_by={"model": name})
        named.append(record(f"d{i}", type(one)(role="answer", model="m", timing=one.timing, completion=done)))
    folder = made(tmp_path / "run", named, hashes=HASHES)
    assert served(read_side(folder).rows) == {"served_model": ["m-1", "m-2"], "fingerprint": []}
