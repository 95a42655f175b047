"""Pairs that a careless comparison gets wrong, one a line: (kind, gold, answer, equal)."""

import json

import pytest

from evals.metrics.fields import score_answer
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
