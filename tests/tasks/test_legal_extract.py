"""The flagship task: its documents, its gold, its baseline."""

import json
import statistics
import subprocess
import sys

import jsonschema
import pytest

import evals
from evals.core import Sample, stable_hash
from evals.loading import ExtractionTask

DEVICES = {
    *("distractor_dates", "distractor_amounts", "amendment", "defined_elsewhere", "relative_date"),
    *("absent_fields", "multi_party", "multi_currency", "ocr_noise", "foreign_format"),
}


def task(split: str, **options: object) -> ExtractionTask:
    return evals.load_task("legal_extract", split=split, **options)


def documents(split: str, **options: object) -> list[Sample]:
    return list(task(split, **options).samples())


TEST, DEV = documents("test"), documents("dev")


@pytest.mark.parametrize("samples", [TEST, DEV], ids=["test", "dev"])
def test_gold_is_valid_and_scores_one(samples: list[Sample]) -> None:
    asked = task("test")
    validator = jsonschema.Draft202012Validator(asked.schema)
    for sample in samples:
        validator.validate(sample.target)
        scored = asked.score(sample, json.dumps(sample.target)).metrics
        assert scored["f1"] == scored["f1_strict"] == scored["exact"] == scored["schema_valid"] == 1.0, sample.id
        assert asked.score(sample, "{}").metrics["f1"] == asked.score(sample, None).metrics["f1"] == 0.0


def test_documents_are_the_same_in_every_process() -> None:
    code = "import evals; from evals.core import stable_hash; " + (
        "print(stable_hash([[s.id, s.inputs['text'], s.target] for s in evals.load_task('legal_extract', size=5).samples()]))"
    )
    other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert other == stable_hash([[s.id, s.inputs["text"], s.target] for s in documents("test", size=5)])


def test_a_small_set_is_the_head_of_a_large_one() -> None:
    assert [s.inputs["text"] for s in documents("test", size=10)] == [
        s.inputs["text"] for s in documents("test", size=50)
    ][:10]


def test_ids_are_unique_and_tags_legal() -> None:
    assert len({s.id for s in TEST + DEV}) == len(TEST) + len(DEV) == 288
    for sample in TEST + DEV:
        assert len({"simple", "complex"} & set(sample.tags)) == 1
    assert {tag for s in TEST if s.id.startswith("legal-") for tag in s.tags} >= DEVICES


def test_lengths() -> None:
    made = [len(s.inputs["text"].split()) for s in TEST if s.id.startswith("legal-")]
    assert len(made) == 200
    assert min(made) >= 300 and max(made) <= 6000 and 800 <= statistics.median(made) <= 1050


def test_every_slot_is_filled() -> None:
    assert not [s.id for s in TEST + DEV if "{{" in s.inputs["text"] or "}}" in s.inputs["text"]]


def test_splits_share_no_wording_and_no_name() -> None:
    def runs(samples: list[Sample]) -> set[tuple[str, ...]]:
        found: set[tuple[str, ...]] = set()
        for sample in samples:
            words = sample.inputs["text"].split()
            found |= {tuple(words[i : i + 12]) for i in range(len(words) - 11)}
        return found

    generated = [s for s in TEST if s.id.startswith("legal-")]
    shared = runs(generated) & runs(DEV)
    assert not shared, list(shared)[:3]
    stems = [{p["name"].split()[0] for s in part for p in s.target["parties"]} for part in (generated, DEV)]
    assert not stems[0] & stems[1]


def test_rules_are_a_baseline_and_no_more() -> None:
    from evals.commands import build

    answer = build.import_task(task("test").folder, "rules").answer
    scores = [task("test").score(s, json.dumps(answer(s.inputs["text"]))).metrics for s in TEST[::4]]
    total = {key: sum(score[key] for score in scores) for key in ("tp", "wrong", "miss", "hall")}
    f1 = 2 * total["tp"] / (2 * total["tp"] + 2 * total["wrong"] + total["miss"] + total["hall"])
    assert 0.1 < f1 < 0.70
