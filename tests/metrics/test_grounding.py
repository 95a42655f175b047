"""Grounding's short ways say nothing that the long reading of the document does not say."""

import re
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evals.metrics.dates import Ambiguous, parse_date
from evals.metrics.normalise import folded, normalise
from evals.metrics.numbers import UNITS, grouped
from evals.metrics.text import DATES, Source, usual_dates, usual_numbers

MANY = settings(max_examples=400, deadline=None)
PIECES = (
    "1 12 5 0.05 1.5 2.5 30 1,000 1.000 12,500 12.500,00 12,500.00 12500 1'000 thirty five ten one million % $ 2024 24 03 "
    "march may MARCH March the of day de 1st st nd in / - . , ( ) EUR acme co a.b o'acme & and ٣ x _ 007 ½ 00 ’ º"
).split() + [
    "March 1, 2024",
    "1 March 2024",
    "2024-03-01",
    "march 12, 2024",
    " ",
    ", ",
    "1 000 000",
    "Acme Co",
    "12,500.00",
]
SOUPS = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from(["", " ", " "])), min_size=1, max_size=12).map(
    lambda drawn: "".join(part + gap for part, gap in drawn)
)


def numbers_of(text: str) -> set[Decimal]:
    """Every number, read one by one."""
    found: set[Decimal] = set()
    hits = re.findall(r"\d[\d.,' \u00a0\u202f]*\d|\d", folded(text))
    for piece in (part for hit in hits for part in (hit, hit.split(" ")[0])):
        if (value := grouped(piece.strip(" .,'"))) is not None:
            found |= {value, value * 1000, value * 10**6} if value < 10**6 else {value}
    return found | {
        Decimal(UNITS[word]) for word in re.findall(r"\w+", folded(text)) if word in UNITS and len(word) > 2
    }


@MANY
@given(SOUPS, st.sampled_from("0 1 12 5 0.05 1.5 2.5 30 1000 12500 1500 2500000 3 7 1000000 12500000 0.5".split()))
@example("12,500.00.1", "12500")
@example("1 12,500.00", "12500")
def test_numbers(text: str, number: str) -> None:
    assert Source(text).says(Decimal(number)) == (Decimal(number) in numbers_of(text))


@MANY
@given(SOUPS, st.sampled_from([date(2024, 3, 1), date(2024, 3, 12), date(2024, 1, 3), date(2024, 5, 1)]))
@example("11 march 12, 2024", date(2024, 3, 12))
@example("1 st march 12, 2024", date(2024, 3, 12))
@example("5 may 12 march 2024", date(2024, 3, 12))
@example("x2024-03-01", date(2024, 3, 1))
def test_dates(text: str, wanted: date) -> None:
    whole = folded(text)
    near = [m.start() for m in re.finditer(f"(?={wanted.year})", whole)]
    found = [parse_date(hit[0]) for at in near for hit in DATES.finditer(whole, max(at - 30, 0), at + 12)]
    expected = any(one == wanted or (isinstance(one, Ambiguous) and wanted in one.readings) for one in found)
    assert Source(text).dates_of(wanted) == expected


@MANY
@given(SOUPS, st.sampled_from(["acme", "acme co", "a b", "ab", "oacme", "acme and co", "march 1"]))
@example("acme's", "acme")
@example("a.acme.b", "acme")
def test_names(text: str, name: str) -> None:
    bare = re.sub(r"(?<=\b\w)\.(?=\w\b)|['\u2019`]", "", folded(text).replace("&", " and "))
    words = " ".join(re.findall(r"\w+", bare))
    assert Source(text).grounds(name, "name") == (f" {normalise(name, 'name')} " in f" {words} ")


@pytest.mark.parametrize(
    "number", ["0", "-5", "30", "12500", "1E+6", "0.05", "1.123456789", "123456789012345678901234567"]
)
def test_a_usual_way_is_read_back_as_its_number(number: str) -> None:
    assert all(grouped(way) == Decimal(number) for way in usual_numbers(Decimal(number)))


def test_usual_ways() -> None:
    assert usual_numbers(Decimal("12500.00")) == ("12,500.00", "12,500", "12500")
    assert usual_numbers(Decimal(30)) == ("30.00",)
    assert usual_dates(date(2024, 3, 1)) == ("march 1, 2024", "1 march 2024", "2024-03-01")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("n/a", "money", None),
        ("n/a", "name", None),
        (True, "number", None),
        (["x"], "text", None),
        ("03/01/2024", "date", None),
        ("soon", "date", False),
        ("USD 12500.00", "money", True),
        ("USD 12501.00", "money", False),
        ("2 years", "duration", True),
        (0.3, "number", True),
        ("Acme Ltd", "name", True),
    ],
)
def test_values(value: Any, kind: str, expected: bool | None) -> None:
    source = Source("Acme, Inc. pays $12,500.00 within twenty-four (24) months, and 30 % thereafter.")
    assert source.grounds(value, kind) is expected
