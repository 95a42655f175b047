"""Files and task folders: what is read, what is refused and how it is said; the sample; the prompt's text."""

import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.core import Sample
from evals.errors import ConfigError, DataError
from evals.loading import load_task, read_documents, read_jsonl, read_schema, select
from evals.prompting import GAP, Truncate, chunks, read_prompt, truncate

GOOD = '{"id": "a", "text": "x", "target": {}}\n'


def sample(i: int, *tags: str) -> Sample:
    return Sample(id=f"s{i}", inputs={"text": ""}, target={}, tags=tags)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no documents"),
        (b"\n \n", "holds no documents"),
        (GOOD.encode() + b'{"id": "b", "te', ":2 is no JSON line"),
        (GOOD.encode() + b"\xff\xfe\n", ":2 is no JSON line"),
        (b'{"id": "a", "body": "x", "target": {}}\n', ":1 has no 'text'"),
        (b"{}\n", ":1 has no 'id'; it has nothing"),
        ((GOOD * 2).encode(), ":2: the id 'a' occurs twice"),
        (b'{"id": "a", "text": "x", "target": {"whom": 1}}\n', "unknown field 'whom'; did you mean who?"),
        (b'{"id": "a", "text": 3, "target": {}}\n', ":1: id must be text"),
        (b'{"id": "a", "text": "x", "target": []}\n', "target an object"),
        (b'{"id": "a", "text": "x", "target": {}, "tags": "simple"}\n', ":1: tags must be a list"),
        (b'{"id": "a", "text": "x", "target": {}, "tags": 3}\n', ":1: tags must be a list"),
        (b'{"id": "a", "text": "x", "target": {}, "data_class": "secret"}\n', ":1: data_class 'secret' is not known"),
        (b"[1]\n", ":1 should be a JSON object, it is list"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        list(read_documents(path, fields=["who"]))
    assert said in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_is_not_there_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not there"):
        list(read_jsonl(tmp_path / "none.jsonl"))
    with pytest.raises(DataError, match="cannot be read"):
        list(read_jsonl(tmp_path))


def test_a_byte_order_mark_and_blank_lines_are_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.encode() + b"\n" + GOOD.replace('"a"', "7").encode())
    assert [s.id for s in read_documents(path, fields=[])] == ["a", "7"]


@pytest.mark.parametrize(
    ("content", "said"), [("{", "no valid JSON"), ('{"type": 3}', "no JSON Schema"), ("{}", "with properties")]
)
def test_a_schema_that_is_none(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "schema.json").write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_schema(tmp_path / "schema.json")


@pytest.mark.parametrize("user", ["no place", "{{document}} {{document}}"])
def test_a_prompt_shows_the_document_once(tmp_path: Path, user: str) -> None:
    (tmp_path / "prompt.md").write_text(f"## user\n{user}\n")
    with pytest.raises(ConfigError, match="exactly once"):
        read_prompt(tmp_path, "default")


@given(
    counts=st.lists(st.integers(min_value=0, max_value=25), min_size=1, max_size=4),
    limit=st.integers(min_value=1, max_value=60),
    seed=st.integers(),
)
def test_a_sample_is_stratified_ordered_and_repeatable(counts: list[int], limit: int, seed: int) -> None:
    strata = [f"t{k}" for k in range(len(counts))]
    tags = [tag for tag, count in zip(strata, counts, strict=True) for _ in range(count)]
    everything = [sample(i, tag) for i, tag in enumerate(tags)]
    chosen = list(select(everything, limit=limit, tags=None, strata=strata, seed=seed))
    places = [everything.index(s) for s in chosen]
    assert places == sorted(set(places)) and len(chosen) == min(limit, len(everything))
    got = Counter(s.tags[0] for s in chosen)
    for tag, count in zip(strata, counts, strict=True):
        assert abs(got[tag] - len(chosen) * count / max(len(everything), 1)) < 1
    again = select(reversed(everything), limit=limit, tags=None, strata=strata, seed=seed)
    assert {s.id for s in again} == {s.id for s in chosen}, "the order of the file does not choose"


def test_another_seed_is_another_sample_and_tags_filter_first() -> None:
    everything = [sample(i, "even" if i % 2 == 0 else "odd") for i in range(100)]
    picks = [tuple(s.id for s in select(everything, limit=10, tags=None, strata=(), seed=k)) for k in range(5)]
    assert len(set(picks)) == 5 and tuple(f"s{i}" for i in range(10)) not in picks
    odd = list(select(everything, limit=10, tags=["odd"], strata=(), seed=0))
    assert len(odd) == 10 and all(s.tags == ("odd",) for s in odd)
    assert list(select(everything, limit=None, tags=None, strata=(), seed=0)) == everything


BRACES = st.text(alphabet="{}%$\\documentuser0 \n#", max_size=60)


@given(document=BRACES | st.text(max_size=60))
def test_braces_in_a_document_are_never_formatted(document: str) -> None:
    prompt = read_prompt(Path(__file__).parents[1] / "tasks" / "legal_extract", "default")
    before, after = prompt.user.split("{{document}}")
    messages = prompt.messages(document, [("{{document}} {0}", '{"who": "{x}"}')])
    assert messages[-1].content == before + document + after
    assert messages[-3].content == before + "{{document}} {0}" + after and messages[-2].content == '{"who": "{x}"}'


def test_a_task_asks_with_braces_as_they_stand(project: Path) -> None:
    text = "{{document}} {who} {0} %s \\1"
    (project / "docs.jsonl").write_text(json.dumps({"id": "a", "text": text, "target": {}}) + "\n")
    task = load_task("mine", path="docs.jsonl")
    assert task.request(next(task.samples())).messages[-1].content == text


@given(text=st.text(max_size=200), most=st.integers(min_value=1, max_value=80), how=st.sampled_from(["head", "middle"]))
def test_truncation_keeps_the_length_and_counts_what_is_left_out(text: str, most: int, how: Truncate) -> None:
    shown, left_out = truncate(text, most, how)
    if len(text) <= most:
        assert (shown, left_out) == (text, 0)
        return
    kept = len(text) - left_out
    assert len(shown) <= most and left_out > 0
    if GAP in shown and GAP not in text:
        head, tail = shown.split(GAP)
        assert len(head) + len(tail) == kept and text.startswith(head) and text.endswith(tail)
    else:
        assert shown == text[:kept] or how == "middle"


@given(text=st.text(alphabet="ab. \n", max_size=300), most=st.integers(min_value=1, max_value=80))
def test_chunks_cover_the_text(text: str, most: int) -> None:
    pieces, reached = chunks(text, most), 0
    for piece in pieces:
        at = max(place for place in range(reached + 1) if text.startswith(piece, place))
        assert len(piece) <= most
        reached = max(reached, at + len(piece))
    assert reached == len(text) and (text == "" or all(pieces))


@pytest.mark.parametrize("most", [0, -5])
def test_a_length_of_nothing_is_refused(project: Path, most: int) -> None:
    with pytest.raises(ConfigError, match="max_chars"):
        load_task("mine", path="docs.jsonl", max_chars=most)


def test_middle_truncation_of_a_very_short_limit_has_no_room_for_the_gap() -> None:
    assert truncate("abcdefghijkl", 5, "middle") == ("abcde", 7)
    assert truncate("abcdefghijkl", 10, "middle") == ("ab" + GAP + "l", 9)


def test_where_a_document_may_go_is_read(tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    path.write_text(GOOD + '{"id": "b", "text": "x", "target": {}, "data_class": "restricted", "tags": ["t"]}\n')
    read = list(read_documents(path, fields=[], data_class="internal"))
    assert [(s.data_class, s.tags) for s in read] == [("internal", ()), ("restricted", ("t",))]
