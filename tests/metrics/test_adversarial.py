"""Pairs that a careless comparison gets wrong, one a line: (kind, gold, answer, equal)."""

import json
from pathlib import Path

import pytest

from evals.metrics.align import align
from evals.metrics.fields import score_answer, score_fields
from evals.metrics.merge import merge_answers
from evals.metrics.normalise import equal
from evals.metrics.text import same_span

PAIRS = [
    ("date", "2024-03-01", "1 March 2024", True),
    ("date", "2024-03-01", "the 1st day of March, 2024", True),
    ("date", "2024-03-01", "March 1st, 2024", True),
    ("date", "2024-03-01", "1. März 2024", True),
    ("date", "2024-03-01", "1er mars 2024", True),
    ("date", "2024-08-12", "12 août 2024", True),
    ("date", "2024-12-05", "5 de diciembre de 2024", True),
    ("date", "2024-12-05", "5 dicembre 2024", True),
    ("date", "2024-03-01", "2024/03/01", True),
    ("date", "2024-03-01", "2024-03-01T00:00:00", True),
    ("date", "2024-01-03", "03/01/2024", False),
    ("date", "2024-03-25", "03/25/2024", True),
    ("date", "2024-03-25", "25/03/2024", True),
    ("date", "2024-03-01", "03/01/2024", False),
    ("date", "2024-03-01", "01.03.2024", True),
    ("date", "2024-03-01", "１ March ２０２４", True),
    ("date", "2024-03-01", "٢٠٢٤-٠٣-٠١", True),
    ("date", "2024-03-01", "2024-03-11", False),
    ("date", "2024-02-29", "29 February 2024", True),
    ("date", "2023-02-28", "29 February 2023", False),
    ("date", "2024-03-01", "March 2024", False),
    ("date", "2024-03-01", 20240301, False),
    ("money", "USD 1200000.00", "one million two hundred thousand dollars", True),
    ("money", "USD 1000000.00", "one million US dollars ($1,000,000)", True),
    ("money", "USD 1000000.00", "one million US dollars ($2,000,000)", False),
    ("money", "EUR 1250000.00", "1.250.000,00 €", True),
    ("money", "EUR 1250000.00", "1 250 000,00 EUR", True),
    ("money", "CHF 1250000.00", "1'250'000.- CHF", True),
    ("money", "CHF 1250000.00", "CHF 1’250’000.00", True),
    ("money", "EUR 1250000.00", "€1.25 million", True),
    ("money", "USD 12500.00", "EUR 12500.00", False),
    ("money", "USD 12500.00", "12,500", True),
    ("money", "USD 12500.00", "US$12,500", True),
    ("money", "USD 12500.00", "$12,500.01", False),
    ("money", "USD 12500.00", "$1,250.00", False),
    ("money", "USD 100.00", "($100)", False),
    ("money", "GBP 5.50", "£5.50", True),
    ("money", "GBP 45200.00", "£45,200 per year", True),
    ("money", "USD 76000.00", "USD 76,000.00 per calendar month", True),
    ("money", "CHF 74000.00", "CHF 74,000.00 per licence year", True),
    ("money", "USD 4200.00", "4,200 dollars a month", True),
    ("money", "EUR 1250.00", "1.250,00 €/month", True),
    ("money", "EUR 1250.00", "€1,250 monthly", True),
    ("money", "USD 76000.00", "USD 7,600.00 per year", False),
    ("money", "USD 76000.00", "EUR 76,000.00 per year", False),
    ("money", "USD 5.00", "5 per cent", False),
    ("money", "USD 2500000.00", "USD 2.5m", True),
    ("money", "USD 2500000.00", "2.5bn USD", False),
    ("money", "USD 12500.00", {"amount": 12500, "currency": "USD"}, True),
    ("money", "USD 12500.00", "twelve thousand", False),
    ("number", 30, "thirty (30) days", True),
    ("number", 30, "30 days", True),
    ("number", 30, "thirty", True),
    ("number", 30, 30.0, True),
    ("number", 30, "30 to 60", False),
    ("number", 0.05, "5 %", True),
    ("number", 0.05, "5", False),
    ("number", 1, True, False),
    ("number", 45, "forty-five", True),
    ("duration", "36 months", "three (3) years", True),
    ("duration", "3 years", "36 months", True),
    ("duration", "18 months", "one year and six months", True),
    ("duration", "18 months", "a period of eighteen months", True),
    ("duration", "90 days", "ninety (90) days", True),
    ("duration", "90 days", "3 months", False),
    ("duration", "14 days", "two weeks", True),
    ("duration", "indefinite", "in perpetuity", True),
    ("duration", "indefinite", "5 years", False),
    ("duration", "3 years", "three (4) years", False),
    ("name", "Acme Inc.", "ACME, Incorporated", True),
    ("name", "Acme Corp.", 'Acme Corp. ("Acme")', True),
    ("name", "Acme Corp.", "Acme Corp. f/k/a Apex LLC", True),
    ("name", "Johnson & Johnson", "Johnson and Johnson", True),
    ("name", "A.G. Edwards & Sons, Inc.", "AG Edwards and Sons", True),
    ("name", "The Beta Company", "Beta Company", True),
    ("name", "Café Müller GmbH", "Cafe\u0301 Mu\u0308ller GmbH", True),
    ("name", "שלום Ltd", "\u202bשלום\u202c Ltd", True),
    ("name", "Acme Holdings LLC", "Acme Trading LLC", False),
    ("name", "Limited Inc.", "Unlimited Inc.", False),
    ("name", "Straße AG", "STRASSE AG", True),
    ("enum", "monthly", "Monthly", True),
    ("enum", "monthly", "yearly", False),
    ("bool", True, "yes", True),
    ("bool", True, 1, False),
    ("bool", False, None, False),
    ("id", "AB-12", "AB-12 ", True),
    ("id", "AB-12", "ab12", False),
    ("text", "Net  30", "net 30", True),
    ("text", "", None, True),
    ("text", "n/a", None, True),
    ("name", "None", None, True),
    ("name", "Acme (UK) Ltd", "Acme Ltd", False),
    ("name", "Acme Ltd", 'Acme Ltd (hereinafter the "Buyer")', True),
    ("money", "USD -1000.00", "($1,000)", True),
    ("number", 1, float("inf"), False),
    ("number", 1, float("nan"), False),
    ("number", 0.05, "five (5) percent", True),
    ("number", 0.05, "five percent (5%)", True),
    ("number", 0.05, "five percent (6%)", False),
    ("number", 0.03125, "3.125 %", True),
    ("number", 2000000, "two (2) million", True),
    ("number", 30, "thirty (30) to sixty (60) days", False),
    ("number", 30, "thirty (30) or sixty days", False),
    ("number", 3060, "30 60", False),
    ("number", 11, "five and six", False),
    ("number", 30, "thirty (30) days per month", True),
    ("number", 30, [30], False),
    ("number", 30, {"days": 30}, False),
    ("date", "2024-03-01", "01-MAR-2024", True),
    ("date", "2024-03-01", "first day of March, 2024", True),
    ("date", "2024-03-21", "the twenty-first day of March 2024", True),
    ("date", "2024-03-21", "March twenty first, 2024", True),
    ("date", "2024-03-01", "1º de marzo de 2024", True),
    ("date", "2024-03-01", "1 de março de 2024", True),
    ("date", "2024-03-01", "1 maart 2024", True),
    ("date", "2024-03-01", "2024年3月1日", True),
    ("date", "2024-03-01", "Fri, 1 Mar 2024", True),
    ("date", "2024-03-01", "dated as of March 1, 2024", True),
    ("date", "2024-03-01", "\u200f2024-03-01\u200f", True),
    ("date", "2024-03-01", ["2024-03-01"], False),
    ("money", "USD 12500.00", "Twelve Thousand Five Hundred and 00/100 Dollars ($12,500.00)", True),
    ("money", "USD 12500.50", "Twelve Thousand Five Hundred and 50/100 Dollars", True),
    ("money", "USD 12500.00", "$12,500 (twelve thousand five hundred dollars)", True),
    ("money", "USD 12500.00", "$12,500 (fifteen thousand dollars)", False),
    ("money", "USD 0.50", "$.50", True),
    ("money", "INR 125000", "Rs. 1,25,000", True),
    ("money", "USD 12500.00", "５００", False),
    ("money", "USD 12500.00", "＄１２，５００．００", True),
    ("duration", "36 months", "three years (36 months)", True),
    ("duration", "36 months", "three years (24 months)", False),
    ("duration", "3 years", "3 yrs", True),
    ("duration", "10 days", "10 business days", False),
    ("duration", "3 years", 3, False),
]


@pytest.mark.parametrize(("kind", "gold", "answer", "expected"), PAIRS)
def test_pairs(kind: str, gold: object, answer: object, expected: bool) -> None:
    assert equal(gold, answer, kind) is expected
    assert equal(answer, gold, kind) is expected


def test_a_declared_day_order_settles_an_ambiguous_date() -> None:
    assert equal("2024-03-01", "03/01/2024", "date", {"day_order": "mdy"})
    assert not equal("2024-03-01", "03/01/2024", "date", {"day_order": "dmy"})


@pytest.mark.parametrize(
    ("gold", "answer", "right"),
    [
        ("the Tenant cannot sublet the premises", "the Tenant can't sublet the premises", True),
        ("the Tenant may not sublet the premises", "the Tenant may sublet the premises", False),
        ("payment within 30 days of invoice", "payment within 60 days of invoice", False),
        ("payment within 30 days of invoice", "Payment, within 30 days of the invoice.", True),
        ("payment within thirty days of invoice", "payment within sixty days of invoice", False),
        ("payment within thirty (30) days of invoice", "payment within 30 days of invoice", True),
        ("as section 4.2.1 of it provides", "as section 4.2.9 of it provides", False),
        ("a cap of $1 million in all", "a cap of $1 billion in all", False),
        ("a cap of $1 million in all", "a cap of $1,000,000 in all", True),
        ("payment within 30 days of invoice", "payment within ３０ days of invoice", True),
        ("the Tenant keeps the roof", "the Landlord paints walls", False),
    ],
)
def test_spans(gold: str, answer: str, right: bool) -> None:
    assert same_span(gold, answer)[0] is right


NESTED = {
    "type": "object",
    "additionalProperties": False,
    "required": ["who"],
    "properties": {
        "who": {"type": ["string", "null"], "kind": "name"},
        "items": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "what": {"type": "string", "kind": "name"},
                    "dates": {"type": "array", "items": {"type": "string", "kind": "date"}},
                },
            },
        },
    },
}
GOLD = {"who": "Acme", "items": [{"what": "a", "dates": ["2024-01-01", "2024-02-02"]}, {"what": "b", "dates": []}]}


@pytest.mark.parametrize(
    ("text", "strict", "lenient", "valid", "exact"),
    [
        (json.dumps(GOLD), 1, 1, 1, 1),
        (f"```json\n{json.dumps(GOLD)}\n```", 0, 1, 1, 1),
        (f"Here it is: {json.dumps(GOLD)} I hope it helps.", 0, 1, 1, 1),
        (json.dumps({**GOLD, "extra": 1}), 1, 1, 0, 1),
        (json.dumps(GOLD)[:-3], 0, 0, 0, 0),
        ('{"who": "Acme", "who": "Beta"}', 0, 1, 1, 0),
        ('{"who": NaN}', 0, 0, 0, 0),
        ("[1]", 0, 0, 0, 0),
        ('{"who": ["Acme"], "items": "none"}', 1, 1, 0, 0),
        ("", 0, 0, 0, 0),
    ],
)
def test_answers(text: str, strict: int, lenient: int, valid: int, exact: int) -> None:
    found = score_answer(GOLD, text, schema=NESTED).metrics
    assert (found["parse_strict"], found["parse_lenient"], found["schema_valid"], found["exact"]) == (
        strict,
        lenient,
        valid,
        exact,
    )


@pytest.mark.parametrize(
    "text",
    [
        "{" * 500_000,
        '{"a":' * 200_000,
        "```json" * 100_000,
        "9" * 1_000_000,
        "```" + " " * 500_000,
        '{"who": 1e400}',
        '{"who": "' + "(" * 500_000 + '"}',
    ],
)
def test_hostile_text_is_read_in_time(text: str) -> None:
    assert score_answer(GOLD, text, schema=NESTED).metrics["exact"] == 0


LEGAL = json.loads((Path(__file__).parents[2] / "tasks" / "legal_extract" / "schema.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("field", "gold", "answer", "outcome"),
    [
        ("governing_law", "Delaware", "the laws of the State of Delaware", "tp"),
        ("governing_law", "Delaware", "New York", "wrong"),
        ("document_title", "Lease Agreement", "THIS LEASE AGREEMENT", "tp"),
        ("effective_date", "2024-03-01", "03/01/2024", "wrong"),
        ("effective_date", None, "2024-03-01", "hall"),
        ("effective_date", "2024-03-01", "", "miss"),
        ("effective_date", None, "N/A", "tn"),
        ("payment_terms_days", 30, "thirty (30) days", "tp"),
        ("auto_renewal", False, None, "miss"),
        ("auto_renewal", False, "No", "tp"),
        ("auto_renewal", None, False, "hall"),
        ("term", "36 months", "three (3) years", "tp"),
        ("liability_cap", None, "not specified", "tn"),
        ("liability_cap", "USD 1.00", {"amount": "1"}, "tp"),
    ],
)
def test_the_legal_schema(field: str, gold: object, answer: object, outcome: str) -> None:
    (leaf,) = score_fields({field: gold}, {field: answer}, schema=LEGAL)
    assert leaf.outcome == outcome


def test_an_enum_that_declares_none_has_it_as_a_value() -> None:
    options = {"enum": ["none", "monthly"]}
    assert equal("none", "None", "enum", options) and not equal("none", None, "enum", options)


def test_a_pair_below_the_threshold_costs_no_pair_above_it() -> None:
    scores = [[0.5, 0.29], [0.29, 0.0]]
    found = align([0, 1], [0, 1], lambda i, j: scores[i][j], threshold=0.3)
    assert (0, 0) in found


def test_merging_does_not_depend_on_the_order_of_keys() -> None:
    texts = ['{"parties": [{"role": "Tenant", "name": "A"}]}', '{"parties": [{"role": "Tenant", "name": "B"}]}']
    assert [p["name"] for p in merge_answers(texts, schema=LEGAL, source="A and B")["parties"]] == ["A", "B"]
