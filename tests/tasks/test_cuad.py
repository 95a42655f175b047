"""CUAD: its gold, its readers, its baseline. The rows here are made up; the real file is read where it is present."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

import evals
from evals import catalog
from evals.errors import DataError
from evals.loading import ExtractionTask, import_task

REAL = Path(__file__).parents[2].parent / "shared" / "data" / "cuad" / "contracts.jsonl"
ANSWERS = {
    "Document Name": "Supply Agreement",
    "Parties": 'Acme, Inc. ("Acme"); Beta LLC ("Beta"); Acme and Beta (individually a "Party", together "Parties")',
    "Agreement Date": "5/8/14",
    "Effective Date": "09/[]/2018",
    "Expiration Date": "perpetual",
    "Renewal Term": "successive 1 year",
    "Notice Period To Terminate Renewal": "",
    "Governing Law": "Nevada",
}
TARGET = {
    "document_name": "Supply Agreement",
    "parties": [{"name": "Acme, Inc."}, {"name": "Beta LLC"}],
    "agreement_date": "2014-05-08",
    "renewal_term": "1 year",
    "notice_period": None,
    "governing_law": "Nevada",
}
gold = import_task(catalog.task_folder("cuad"), "gold")
rules = import_task(catalog.task_folder("cuad"), "rules")


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def row(name: str = "a", **more: Any) -> dict[str, Any]:
    return {"id": name, "text": "A contract.", "fields": {k: {"answer": v} for k, v in ANSWERS.items()}, **more}


def check_gold(task: ExtractionTask) -> int:
    validator = jsonschema.Draft202012Validator({**task.schema, "required": []})
    count = 0
    for sample in task.samples():
        validator.validate(sample.target)
        assert len(set(task.slices) & set(sample.tags)) == 1 and len(sample.tags) == 2
        if any(sample.target.values()):
            assert task.score(sample, json.dumps(sample.target)).metrics["f1"] == 1.0, sample.id
            assert task.score(sample, "{}").metrics["f1"] == 0.0, sample.id
        count += 1
    return count


def test_rows_of_cuad(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", row(contract_type="Joint Venture _ Filing"), row("b", text="x" * 24_001))
    task = evals.load_task("cuad", path=path)
    first, second = task.samples()
    assert first.target == TARGET
    assert first.tags == ("short", "joint_venture_filing") and second.tags == ("long", "untyped")
    assert check_gold(task) == 2


def test_rows_of_our_own(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"id": "a", "text": "A contract.", "target": TARGET, "tags": ["supply"]})
    task = evals.load_task("cuad", path=path)
    assert [s.tags for s in task.samples()] == [("short", "supply")] and check_gold(task) == 1


@pytest.mark.parametrize(("bad", "says"), [({"id": "a", "fields": {}}, "no 'text'"), (row(), "occurs twice")])
def test_bad_rows_are_named(tmp_path: Path, bad: dict[str, Any], says: str) -> None:
    with pytest.raises(DataError, match=f":2.*{says}"):
        list(evals.load_task("cuad", path=write(tmp_path / "a.jsonl", row(), bad)).samples())


def test_without_data() -> None:
    with pytest.raises(DataError, match=r"^task=cuad needs task\.path=FILE\.jsonl or task\.hub=REPOSITORY$"):
        list(evals.load_task("cuad").samples())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", []),
        ('Galen (Chemicals) Limited ("GALEN"); (each "Party")', ["Galen (Chemicals) Limited"]),
        ('Excite, Inc."Excite"; Shop "Client"', ["Excite, Inc.", "Shop"]),
        ("A One, Inc. (“A”); B Two (“B”); C (“C”); A, B and C (“AS”)", ["A One, Inc.", "B Two", "C"]),
        ('Able Inc.; Able Inc. (the "Member")', ["Able Inc."]),
    ],
)
def test_parties(text: str, names: list[str]) -> None:
    assert gold.parties(text) == names


@pytest.mark.parametrize(
    ("name", "text", "read"),
    [
        ("agreement_date", "2/17/99", {"agreement_date": "1999-02-17"}),
        ("agreement_date", "13/40/14", {}),
        ("renewal_term", "7/22/2019; 7/22/2022", {}),
        ("governing_law", "England; Wales", {}),
        ("effective_date", "", {"effective_date": None}),
    ],
)
def test_answers(name: str, text: str, read: dict[str, Any]) -> None:
    assert gold.read(name, text) == read


def test_rows_of_squad_style(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    spans = {"Document Name": ["Supply Agreement"], "Parties": ["Acme"], "Agreement Date": ["May 8, 2014"]}
    spans |= {"Renewal Term": [], "Governing Law": ["This Agreement is governed by the laws of Nevada, " * 3]}
    rows = [
        {"title": "t", "context": "A contract.", "question": f'Parts related to "{q}" that', "answers": {"text": s}}
        for q, s in spans.items()
    ]
    made = datasets.Dataset.from_list(rows)
    monkeypatch.setattr(datasets, "load_dataset", lambda hub: {"test": made})
    task = evals.load_task("cuad", hub="some/where")
    (sample,) = task.samples()
    expected = {"document_name": "Supply Agreement", "agreement_date": "May 8, 2014", "renewal_term": None}
    assert sample.id == "t" and sample.target == expected
    assert task.identity()["generator"] == {"hub": "some/where"} and check_gold(task) == 1


def test_baseline() -> None:
    text = "SUPPLY AGREEMENT\nThis Agreement is made as of May 8, 2014 by Acme, Inc. It obeys the laws of the State of Nevada."
    found = rules.answer(text)
    assert found["governing_law"] == "Nevada" and found["agreement_date"] == "May 8, 2014"
    assert found["document_name"] == "SUPPLY AGREEMENT" and rules.answer("")["parties"] == []


@pytest.mark.skipif(not REAL.is_file(), reason=f"the real contracts are not here: {REAL}")
def test_real_contracts() -> None:
    task = evals.load_task("cuad", path=str(REAL), max_chars=24_000)
    assert check_gold(task) == 50
    assert [sum(slice_ in s.tags for s in task.samples()) for slice_ in task.slices] == [19, 31]
    validator = jsonschema.Draft202012Validator(task.schema)
    for sample in task.samples():
        validator.validate(rules.answer(sample.inputs["text"]))
