"""Token overlap, the guard against a lost `not` or a changed number, and grounding: is the value in the source?"""

import re
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from evals.metrics import dates
from evals.metrics.dates import Ambiguous
from evals.metrics.normalise import Money, Unparsed, absent, folded, normalise
from evals.metrics.numbers import UNITS, grouped, numbers_in

_TOKEN = re.compile(r"\w+")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|none|without|cannot|unless|except|nothing)\b|n't\b")
_NUMBER = re.compile(r"\d[\d.,' \u00a0\u202f]*\d|\d")
SPAN_OVERLAP = 0.5


def token_jaccard_score(a: str, b: str) -> float:
    """Share of distinct tokens that two texts have in common, in 0..1."""
    left, right = set(_TOKEN.findall(folded(a))), set(_TOKEN.findall(folded(b)))
    return len(left & right) / len(left | right) if left or right else 1.0


def same_span(gold: str, answer: str) -> tuple[bool, str | None]:
    """Overlap of at least one half, and no negation or number of difference; and why not."""
    if token_jaccard_score(gold, answer) < SPAN_OVERLAP:
        return False, None
    if _negations(gold) != _negations(answer):
        return False, "negation differs"
    if numbers_in(gold) != numbers_in(answer):
        return False, "number differs"
    return True, None


def _negations(text: str) -> list[str]:
    return sorted(_NEGATION.findall(re.sub(r"\bcan(?:no|')t\b|n't\b", " not", folded(text).replace("\u2019", "'"))))


class Source:
    """A document to look values up in; its numbers and words are read once, when first asked for."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._folded: str | None = None
        self._plain: str | None = None
        self._numbers: set[Decimal] | None = None

    def grounds(self, value: Any, kind: str) -> bool | None:
        """Does the value, or its normal form, occur? `None` where that cannot be checked."""
        if kind in ("bool", "enum") or isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        if isinstance(value, str) and kind != "name" and not absent(value, kind) and folded(value) in self.folded:
            return True
        form = normalise(value, kind)
        if form is None:
            return None
        if kind == "name" and isinstance(form, str):
            return f" {form} " in self.plain
        if isinstance(form, date):
            return self.dates_of(form)
        if isinstance(form, Money):
            return abs(form.amount) in self.numbers
        if isinstance(form, Decimal):
            return form in self.numbers or form * 100 in self.numbers
        if isinstance(form, tuple) and kind == "duration":
            return all(self._counts(unit, count) for unit, count in form)
        return None if isinstance(form, Ambiguous) else False if isinstance(form, Unparsed | str) else None

    def _counts(self, unit: str, count: Decimal) -> bool:
        factors = (1, 12, 3) if unit == "months" else (1, 7)
        return any(count / factor in self.numbers for factor in factors)

    @property
    def folded(self) -> str:
        """The text, folded."""
        if self._folded is None:
            self._folded = folded(self.text)
        return self._folded

    @property
    def plain(self) -> str:
        """The words alone, with a space at both ends."""
        if self._plain is None:
            text = re.sub(r"(?<=\b\w)\.(?=\w\b)|['\u2019`]", "", self.folded.replace("&", " and "))
            self._plain = f" {' '.join(_TOKEN.findall(text))} "
        return self._plain

    @property
    def numbers(self) -> set[Decimal]:
        """Every number in digits, with its millions where it is followed by them, and single number words."""
        if self._numbers is None:
            found: set[Decimal] = set()
            pieces = {piece for hit in _NUMBER.findall(self.folded) for piece in (hit, hit.split(" ")[0])}
            for piece in pieces:
                if (value := grouped(piece.strip(" .,'"))) is not None:
                    found |= {value, value * 1000, value * 10**6} if value < 10**6 else {value}
            found |= {Decimal(UNITS[word]) for word in UNITS.keys() & set(_TOKEN.findall(self.folded)) if len(word) > 2}
            self._numbers = found
        return self._numbers

    def dates_of(self, wanted: date) -> bool:
        """Does the text write this date, in either reading of an ambiguous one? Only near its year is looked."""
        year, at = str(wanted.year), -1
        while (at := self.folded.find(year, at + 1)) >= 0:
            for hit in DATES.finditer(self.folded, max(at - 30, 0), at + 12):
                found = dates.parse_date(hit[0])
                if wanted == found or (isinstance(found, Ambiguous) and wanted in found.readings):
                    return True
        return False


DATES = re.compile(
    rf"{dates.DAY_FIRST.pattern}|{dates.MONTH_FIRST.pattern}|\b\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}\b|\b\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{4}}\b"
)


@lru_cache(maxsize=64)
def source_of(text: str) -> Source:
    """The `Source` of a text, kept for the models that are scored on it in turn."""
    return Source(text)
