"""Whose log a file is, by its content; and that no content whatever is more than a line."""

import json
from pathlib import Path
from typing import Any

import pytest
from foreign_logs import promptfoo_file, row, sample, samples_file
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.errors import ConfigError, UserError
from evals.harnesses.detect import found_files, read_file

WORDS = ["results", "version", "eval", "status", "doc_id", "target", "resps", "filtered_resps", "provider", "success"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*WORDS, "score", "vars", "stats"]) | st.text(max_size=4), inner, max_size=6)
    ),
    max_leaves=20,
)


def test_names_do_not_matter(tmp_path: Path) -> None:
    samples = samples_file(tmp_path, [sample(0, {"acc": 1.0})]).rename(tmp_path / "a.txt")
    output = promptfoo_file(tmp_path / "r.json", [row(0)]).rename(tmp_path / "b")
    assert [read_file(path)[0].harness for path in (samples, output)] == ["lm_eval", "promptfoo"]


def test_the_summary_inside_an_output_is_read_too(tmp_path: Path) -> None:
    whole = json.loads(promptfoo_file(tmp_path / "r.json", [row(0)]).read_text())
    path = tmp_path / "summary.json"
    path.write_text(json.dumps({**whole["results"], "stats": {}}))
    (log,) = read_file(path)
    assert log.task == "summary" and log.created == "2026-11-25T10:00:00.000Z"


@settings(max_examples=300, deadline=None)
@given(value=JSON)
def test_any_json_is_read_or_one_line(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("x") / "x.json"
    path.write_text(json.dumps(value))
    with pytest.raises(UserError) as raised:
        read_file(path)
    assert "x.json" in str(raised.value) and "\n" not in str(raised.value)


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes_are_one_line(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("x") / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        read_file(path)
    assert "x.jsonl" in str(raised.value) and "\n" not in str(raised.value)


def test_files_folders_globs_and_lists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a/samples_t_1.jsonl", "a/b/x.eval", "a/results_1.json", "a/r.json", "a/other.txt", "odd, name.json"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    assert [str(path) for path in found_files("a")] == ["a/b/x.eval", "a/r.json", "a/samples_t_1.jsonl"]
    assert found_files("a/**/*.eval") == [Path("a/b/x.eval")]
    assert found_files("odd, name.json") == [Path("odd, name.json")]
    assert found_files("[a/r.json, a/b]") == found_files(["a/r.json", "a/b"]) == [Path("a/r.json"), Path("a/b/x.eval")]
    assert found_files(["a", "a/r.json"]) == found_files("a")
    with pytest.raises(ConfigError, match=r"file=a/x\*\.json is not there"):
        found_files("a/x*.json")
