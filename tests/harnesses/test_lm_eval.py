"""lm-evaluation-harness: samples files in its writer's layout."""

import json
import math
from pathlib import Path

import pytest
from foreign_logs import DATE, choice, sample, samples_file
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.errors import ConfigError, DataError, UserError
from evals.harnesses import lm_eval
from evals.harnesses.base import Log, main_metric


def read(path: Path, filter: str | None = None) -> Log:
    (log,) = lm_eval.read(path, filter=filter)
    return log


def test_what_the_file_and_its_results_say(tmp_path: Path) -> None:
    log = read(samples_file(tmp_path, [sample(i, {"exact_match": float(i % 2)}) for i in range(4)]))
    assert (log.task, log.model, log.version) == ("gsm8k", "org/m1", "0.4.13")
    assert log.created == "2026-11-25T09:46:40+00:00"  # 1795600000 seconds after 1970
    assert [answer.values["exact_match"] for answer in log.answers] == [0, 1, 0, 1]
    first = log.answers[0].record
    assert first.text == "so 3" and first.sample_id.startswith("0-")
    done = first.calls[0].completion
    assert done is not None and done.usage.input_uncached is None and done.usage.output is None
    assert first.calls[0].timing is None and done.finish_reason == "unknown"
    assert log.about["task_version"] == 3.0 and log.about["dataset"] == "openai/gsm8k/main"


def test_one_filter_is_read_and_told(tmp_path: Path) -> None:
    lines = [
        sample(i, {"exact_match": value}, filter=name)
        for i in range(3)
        for name, value in (("strict-match", 0.0), ("flexible-extract", 1.0))
    ]
    path = samples_file(tmp_path, lines)
    log = read(path)
    assert (log.part, len(log.answers)) == ("strict-match", 3)
    assert any("strict-match, flexible-extract" in note and "filter=flexible-extract" in note for note in log.notes)
    other = read(path, "flexible-extract")
    assert [answer.values["exact_match"] for answer in other.answers] == [1, 1, 1]
    assert not [note for note in other.notes if "filter" in note]
    assert log.scorer != other.scorer
    with pytest.raises(ConfigError, match=r"filter=flexible is not in .*; did you mean flexible-extract\?"):
        lm_eval.read(path, filter="flexible")


def test_a_file_without_filters_says_that_one_changes_nothing(tmp_path: Path) -> None:
    log = read(samples_file(tmp_path, [sample(0, {"acc": 1.0})]), "flexible-extract")
    assert log.part == "none" and any("filter=flexible-extract changes nothing" in note for note in log.notes)


def test_choices_are_kept_as_their_likelihoods(tmp_path: Path) -> None:
    log = read(samples_file(tmp_path, [choice(i, {"acc": 1.0, "acc_norm": 0.0}) for i in range(2)]))
    assert log.metrics == ["acc", "acc_norm"] and main_metric(log, None) == "acc"
    assert json.loads(str(log.answers[0].record.text)) == [["-0.5", "False"], ["-1.25", "True"]]


def test_a_metric_of_which_less_is_better_is_no_score(tmp_path: Path) -> None:
    lines = [sample(i, {"bits": 0.5, "acc": 1.0}) for i in range(2)]
    log = read(samples_file(tmp_path, lines, higher={"bits": False, "acc": True}))
    assert main_metric(log, None) == "acc"
    with pytest.raises(ConfigError, match="metric=bits: of it less is better"):
        main_metric(log, "bits")
    with pytest.raises(ConfigError, match=r"metric=ac is not in .*did you mean acc"):
        main_metric(log, "ac")
    alone = read(samples_file(tmp_path, [sample(0, {"bits": 0.5})], higher={"bits": False}))
    with pytest.raises(DataError, match="no metric with one number a document of which more is better"):
        main_metric(alone, None)


def test_parts_of_a_corpus_metric_are_no_score(tmp_path: Path) -> None:
    """Perplexity and BLEU stand in the file as the parts that are summed over the corpus."""
    log = read(samples_file(tmp_path, [sample(0, {"word_perplexity": [-3.1, 7], "bleu": ["a", "b"], "acc": True})]))
    assert log.metrics == ["acc"] and log.answers[0].values == {"acc": 1.0}


def test_a_score_that_is_no_number_is_not_scored(tmp_path: Path) -> None:
    log = read(samples_file(tmp_path, [sample(0, {"acc": float("nan")}), sample(1, {"acc": 1.0})]))
    assert math.isnan(log.answers[0].values["acc"])


def test_the_same_documents_are_known_again(tmp_path: Path) -> None:
    lines = [sample(i, {"acc": 1.0}) for i in range(5)]
    one = read(samples_file(tmp_path / "a", lines))
    shuffled = read(samples_file(tmp_path / "b", [{**line, "acc": 0.0} for line in reversed(lines)], model="org/m2"))
    assert one.dataset == shuffled.dataset and one.prompt == shuffled.prompt and one.scorer == shuffled.scorer
    for changed in (
        lines[:4],
        [*lines[:4], {**lines[4], "doc_hash": "0" * 64}],
        [*lines[:4], {**lines[4], "target_hash": "0" * 64}],
    ):
        assert read(samples_file(tmp_path / "c", changed)).dataset != one.dataset


def test_without_results_the_folder_names_the_model(tmp_path: Path) -> None:
    path = samples_file(tmp_path / "org__m1", [sample(0, {"acc": 1.0})], results=False)
    log = read(path)
    assert log.model == "org__m1" and log.created == DATE
    assert "no results_2026-11-25T10-00-00.123456.json beside it" in log.notes[0]


def test_older_files_name_no_metrics_and_no_filter(tmp_path: Path) -> None:
    line = sample(0, {"acc": 1.0, "acc_norm": 0.0})
    for key in ("metrics", "filter", "target_hash"):
        del line[key]
    log = read(samples_file(tmp_path, [line]))
    assert log.metrics == ["acc", "acc_norm"] and log.part == "none"


def test_a_limited_run_says_so(tmp_path: Path) -> None:
    log = read(samples_file(tmp_path, [sample(0, {"acc": 1.0})], limit=10.0))
    assert any("limit=10.0" in note for note in log.notes)


def test_a_torn_last_line_is_dropped_and_told(tmp_path: Path) -> None:
    path = samples_file(tmp_path, [sample(i, {"acc": 1.0}) for i in range(3)])
    path.write_bytes(path.read_bytes()[:-40])
    log = read(path)
    assert len(log.answers) == 2
    assert any("the last line (3) is torn and was dropped: 1 line" in note for note in log.notes)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda lines: [lines[0], "{broken", lines[1]], r"gsm8k_.*\.jsonl:2 is no JSON line"),
        (lambda lines: [lines[0], "[1]"], r"\.jsonl:2 should be a JSON object, it is list"),
        (lambda lines: [lines[0], '{"doc_id": 1}'], r"\.jsonl:2 has no 'resps'; it has 'doc_id'"),
        (lambda lines: [lines[0], lines[0]], r"the document '0-\w{8}' stands twice"),
        (lambda lines: [""], "holds no samples"),
    ],
)
def test_a_file_that_is_wrong_names_the_line(tmp_path: Path, spoil: object, told: str) -> None:
    path = samples_file(tmp_path, [sample(i, {"acc": 1.0}) for i in range(2)])
    path.write_text("".join(f"{line}\n" for line in spoil(path.read_text().splitlines())))  # type: ignore[operator]
    with pytest.raises(DataError, match=told):
        lm_eval.read(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(sorted(sample(0, {"acc": 1.0}))), value=JSON)
def test_whatever_stands_under_a_key_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = samples_file(
        tmp_path_factory.mktemp("x"), [{**sample(0, {"acc": 1.0}), key: value}, sample(1, {"acc": 0.0})]
    )
    try:
        (log,) = lm_eval.read(path)
    except UserError as error:
        assert path.name in str(error) and "\n" not in str(error)
    else:
        assert all(set(answer.values) == set(log.metrics) for answer in log.answers)
