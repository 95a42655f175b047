"""The contract generator: its banks, its devices, and gold that the text supports."""

import itertools
import time
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import yaml

import evals
from evals.commands import build
from evals.core import Sample

TASK = evals.load_task("legal_extract", size=300)
DOCUMENTS = list(TASK.samples())
CLAUSES = TASK.folder / "clauses"
VALUES = build.import_task(TASK.folder, "values")
HARD = {"amendment", "defined_elsewhere", "relative_date", "ocr_noise", "foreign_format"}
TYPES = set("nda services lease employment licence loan supply saas consulting distribution".split())
DATE_STYLES = ("us", "uk", "nth", "iso", "short", "de", "fr")
MONEY_STYLES = ("symbol", "code", "words", "million", "behind", "comma", "space")


def ways() -> dict[str, dict[str, list[str]]]:
    found = {}
    for name in ("fields", "devices", "amendments"):
        for way, splits in yaml.safe_load((CLAUSES / f"{name}.yaml").read_text(encoding="utf-8")).items():
            found[way] = {split: text.strip().splitlines() for split, text in splits.items()}
    return found


def months(duration: str) -> int:
    count, unit = duration.split()
    return int(count) * (12 if unit.startswith("year") else 1)


def renderings(field: str, value: Any) -> list[str]:
    """Every form in which the generator may print a value."""
    counts = ("both", "word", "figure")
    if field.endswith("_date"):
        return [VALUES.show_date(date.fromisoformat(value), how) for how in DATE_STYLES]
    if field in ("payment_amount", "liability_cap"):
        currency, amount = value.split()
        return [VALUES.show_money(Decimal(amount), currency, how) for how in MONEY_STYLES]
    if field.endswith("_days"):
        return [VALUES.show_days(value, how) for how in counts]
    if field == "governing_law":
        return [value]
    return [VALUES.show_months(months(value), how) for how in counts]


def test_every_way_has_enough_wordings_and_the_splits_share_none() -> None:
    for way, wordings in ways().items():
        assert len(set(wordings["dev"])) >= 3 and len(set(wordings["test"])) >= 8, way
        assert not set(wordings["dev"]) & set(wordings["test"]), way


def test_clause_banks_share_no_wording_between_splits() -> None:
    topics = [t for path in CLAUSES.glob("*_*.yaml") for t in yaml.safe_load(path.read_text(encoding="utf-8"))]
    assert len({t["topic"] for t in topics}) == len(topics) > 80
    dev, test = ([" ".join(text.split()) for t in topics for text in t[split]] for split in ("dev", "test"))
    assert not set(dev) & set(test)
    assert len(set(test)) == len(test)


def test_names_of_the_splits_are_disjoint() -> None:
    names = yaml.safe_load((CLAUSES / "names.yaml").read_text(encoding="utf-8"))
    for kind in names["dev"]:
        assert not set(names["dev"][kind]) & set(names["test"][kind]), kind


def test_slices_follow_from_devices_and_types_are_balanced() -> None:
    kinds = []
    for sample in DOCUMENTS:
        kind, *devices, level = sample.tags
        kinds.append(kind)
        assert level == ("complex" if devices else "simple"), sample.id
        assert level == "complex" or set(devices) <= {"absent_fields"}
    assert {kinds.count(kind) for kind in TYPES} == {30} and set(kinds) == TYPES
    assert 0.5 < sum("complex" in s.tags for s in DOCUMENTS) / len(DOCUMENTS) < 0.7


def test_expiration_follows_from_start_and_term() -> None:
    day_before = 0
    for sample in DOCUMENTS:
        gold = sample.target
        if not (gold["effective_date"] and gold["term"]) or gold["term"] == "indefinite":
            assert gold["expiration_date"] is None, sample.id
            continue
        full = VALUES.add_months(date.fromisoformat(gold["effective_date"]), months(gold["term"]))
        short = full - timedelta(days=1)
        assert gold["expiration_date"] in (full.isoformat(), short.isoformat()), sample.id
        if gold["expiration_date"] == short.isoformat():
            day_before += 1
            assert "Contract Year" in " ".join(sample.inputs["text"].split()) or "ocr_noise" in sample.tags, sample.id
    assert day_before > 3


@pytest.mark.parametrize("sample", [s for s in DOCUMENTS if "simple" in s.tags], ids=lambda s: s.id)
def test_values_of_simple_documents_stand_in_the_text(sample: Sample) -> None:
    text = " ".join(sample.inputs["text"].split())
    for party in sample.target["parties"]:
        assert party["name"] in text and party["role"] in text
    assert sample.target["document_title"].lower() in text.lower()
    for field, value in sample.target.items():
        plain = field in ("document_title", "parties", "auto_renewal", "expiration_date")
        if value is not None and value != "indefinite" and not plain:
            assert any(form in text for form in renderings(field, value)), (field, value)


def test_devices_leave_their_mark_and_amendments_override_the_body() -> None:
    changed = 0
    for sample in (s for s in DOCUMENTS if "ocr_noise" not in s.tags):
        text, tags = sample.inputs["text"], set(sample.tags)
        assert ("multi_party" in tags) == (len(sample.target["parties"]) > 2), sample.id
        assert all(party["name"] in text for party in sample.target["parties"])
        if "foreign_format" in tags and sample.target["effective_date"] and not tags & {"relative_date"}:
            assert any(form in text for form in renderings("effective_date", sample.target["effective_date"])[-2:])
        if "amendment" in tags:
            late = text[text.rindex("\n(a) ") :]
            fields = ("payment_amount", "liability_cap", "notice_period_days", "term", "confidentiality_survival")
            stated = [f for f in fields if sample.target[f] not in (None, "indefinite")]
            changed += any(form in late for f in stated for form in renderings(f, sample.target[f]))
    assert changed > 15


def test_absent_fields_are_null_in_several_places() -> None:
    could = ("effective_date", "auto_renewal", "notice_period_days", "liability_cap", "governing_law")
    nulls = {name: 0 for name in could}
    for sample in DOCUMENTS:
        for name in could:
            nulls[name] += "absent_fields" in sample.tags and sample.target[name] is None
    assert min(nulls.values()) >= 10, nulls


def test_generation_streams_and_is_fast() -> None:
    start = time.perf_counter()
    endless = evals.load_task("legal_extract", size=10**9).samples()
    assert sum(1 for _ in itertools.islice(endless, 2000)) == 2000
    assert time.perf_counter() - start < 15


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (19, "nineteen"),
        (45, "forty-five"),
        (120, "one hundred twenty"),
        (1250000, "one million two hundred fifty thousand"),
    ],
)
def test_number_words(number: int, words: str) -> None:
    assert VALUES.spelled(number) == words


def test_renderings_of_dates_and_amounts() -> None:
    day = date(2024, 3, 1)
    assert [VALUES.show_date(day, how) for how in ("us", "de", "fr", "nth")] == [
        *("March 1, 2024", "1. März 2024", "1er mars 2024"),
        "the 1st day of March, 2024",
    ]
    assert VALUES.show_date(day, "short") == "March 1, 2024", "a numeric date that can be read two ways is not printed"
    assert VALUES.show_date(date(2024, 3, 13), "short") == "03/13/2024"
    assert VALUES.show_money(Decimal(1250000), "EUR", "comma") == "1.250.000,00 €"
    assert VALUES.show_money(Decimal(1250000), "USD", "million") == "USD 1.25 million"
    assert VALUES.add_months(date(2024, 1, 31), 1) == date(2024, 2, 29)
