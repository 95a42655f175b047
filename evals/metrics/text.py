"""Token overlap, the guard against a lost `not` or a changed number, and grounding: is the value in the source?"""

import re
from datetime import date
from decimal import Decimal
from functools import cached_property, lru_cache
from typing import Any

from evals.metrics import dates
from evals.metrics.dates import MONTH_NAMES, Ambiguous
from evals.metrics.normalise import Money, Unparsed, absent, folded, present
from evals.metrics.numbers import UNITS, grouped, numbers_in

_TOKEN = re.compile(r"\w+")
_NEGATION = re.compile(r"\b(?:not|no|never|neither|nor|none|without|cannot|unless|except|nothing)\b|n't\b")
_NUMBER = re.compile(r"\d[\d.,' \u00a0\u202f]*\d|\d")
_CANT = re.compile(r"\bcan(?:no|')t\b|n't\b")
_INITIALS = re.compile(r"\.(?<=\b\w\.)(?=\w\b)|'|\u2019|`")
"""The dots of `U.S.`, and apostrophes. Each branch begins with the character itself, which is found much faster."""
_NUMBER_ENDS = re.compile(r"[.,']*(?![\d.,'])")
_WORD_ENDS = re.compile(r"[ ,;:)\"\u201d]|\.(?: |$)|$")
_UNIT_WORDS: dict[Decimal, list[str]] = {}
for _word, _value in UNITS.items():
    if len(_word) > 2:
        _UNIT_WORDS.setdefault(Decimal(_value), []).append(_word)
_MONTH_WORDS: dict[int, list[str]] = {}
for _word, _value in dates.MONTHS.items():
    _MONTH_WORDS.setdefault(_value, []).append(_word)
_IN_DATES = frozenset("of day de the in del st nd rd th er o a º".split())
"""What may stand between the parts of a date."""
FEW = 4
"""Places at which a value is looked at before the document is read whole."""
SPAN_OVERLAP = 0.5


def token_jaccard_score(a: str, b: str) -> float:
    """Share of distinct tokens that two texts have in common, in 0..1."""
    left, right = _tokens(a), _tokens(b)
    return len(left & right) / len(left | right) if left or right else 1.0


@lru_cache(maxsize=1024)
def _tokens(text: str) -> frozenset[str]:
    return frozenset(_TOKEN.findall(folded(text)))


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
    return sorted(_NEGATION.findall(_CANT.sub(" not", folded(text).replace("\u2019", "'"))))


class Source:
    """A document to look values up in.

    A value is first looked for as it is usually written; only one that is not found so has the document's words,
    numbers or dates read. The short way never says more than the long one: it skips what might belong to a longer
    word, number or date.
    """

    def __init__(self, text: str) -> None:
        self.text = text

    def grounds(self, value: Any, kind: str, form: Any = None) -> bool | None:
        """Does the value, or its normal form, occur? `None` where that cannot be checked. `form`: its normal form, where
        it is known already."""
        if kind in ("bool", "enum") or isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        if form is None:
            if isinstance(value, str) and absent(value, kind):
                return None
            form = present(value, kind)
        if kind == "name" and isinstance(form, str):
            return self._has_words(form) or f" {form} " in self.plain
        if isinstance(value, str) and kind != "name" and folded(value) in self.folded:
            return True
        if isinstance(form, date):
            return self.dates_of(form)
        if isinstance(form, Money):
            return self.says(abs(form.amount))
        if isinstance(form, Decimal):
            return self.says(form) or self.says(form * 100)
        if isinstance(form, tuple) and kind == "duration":
            return all(self._counts(unit, count) for unit, count in form)
        return None if isinstance(form, Ambiguous) else False if isinstance(form, Unparsed | str) else None

    def _counts(self, unit: str, count: Decimal) -> bool:
        factors = (1, 12, 3) if unit == "months" else (1, 7)
        return any(self.says(count / factor) for factor in factors)

    @cached_property
    def folded(self) -> str:
        """The text, folded."""
        return folded(self.text)

    @cached_property
    def plain(self) -> str:
        """The words alone, with a space at both ends."""
        text = _INITIALS.sub("", self.folded.replace("&", " and "))
        return f" {' '.join(_TOKEN.findall(text))} "

    def _has_words(self, words: str) -> bool:
        """Do these words stand in the text, with a space or a mark at both ends that parts words for certain?"""
        if not words.replace(" ", "").isalnum():
            return False
        for at in self._places(words):
            if (at == 0 or self.folded[at - 1] in ' ("\u201c') and _WORD_ENDS.match(self.folded, at + len(words)):
                return True
        return False

    def _places(self, part: str) -> list[int]:
        """Where a part begins, at the first few places."""
        found: list[int] = []
        find = self.folded.find
        at = find(part)
        while at >= 0 and len(found) < FEW:
            found.append(at)
            at = find(part, at + 1)
        return found

    def says(self, number: Decimal) -> bool:
        """Does the text hold this number: in digits, with its millions where it is followed by them, or in one word?"""
        for way in usual_numbers(number):
            for at in self._places(way):
                if self._stands_alone(at, at + len(way)):
                    return True
        if number in self.figures:
            return True
        if number >= 1000:  # nobody writes 0.036 thousand
            scaled = (number.scaleb(-3), number.scaleb(-6))
            if any(value in self.figures for value in scaled if value < 10**6):
                return True
        return any(word in self.folded and word in self.words for word in _UNIT_WORDS.get(number, ()))

    def _stands_alone(self, begin: int, end: int) -> bool:
        """Is what stands here a whole number, and no part of a longer one?"""
        before = self.folded[max(begin - 8, 0) : begin].rstrip(" .,'")
        apart = not before[-1:].isdigit() and (before != "" or begin < 8)
        return apart and _NUMBER_ENDS.match(self.folded, end) is not None

    @cached_property
    def figures(self) -> set[Decimal]:
        """Every number in digits."""
        hits = set(_NUMBER.findall(self.folded))
        pieces = {part.strip(" .,'") for hit in hits for part in (hit, hit.partition(" ")[0])}
        return {value for piece in pieces if (value := grouped(piece)) is not None}

    @cached_property
    def words(self) -> set[str]:
        """Every word."""
        return set(_TOKEN.findall(self.folded))

    def dates_of(self, wanted: date) -> bool:
        """Does the text write this date, in either reading of an ambiguous one? Only near its year is looked."""
        for way in usual_dates(wanted):
            for at in self._places(way):
                if self._begins_date(at, way):
                    return True
        day, months = str(wanted.day), (str(wanted.month), *_MONTH_WORDS[wanted.month])
        for near in re.finditer(str(wanted.year), self.folded):
            at = near.start()
            around = self.folded[max(at - 30, 0) : at] + self.folded[at + 4 : at + 12]
            if day not in around or not any(month in around for month in months):
                continue
            for hit in DATES.finditer(self.folded, max(at - 30, 0), at + 12):
                found = dates.parse_date(hit[0])
                if wanted == found or (isinstance(found, Ambiguous) and wanted in found.readings):
                    return True
        return False

    def _begins_date(self, at: int, way: str) -> bool:
        """Is a date written here that nothing before it could draw into another one? Before it, after the small words
        inside dates, there must be a word that is no part of one."""
        if way[0].isdigit() and (
            _TOKEN.match(self.folded, at + len(way)) or (at and _TOKEN.match(self.folded, at - 1))
        ):
            return False
        start = max(at - 40, 0)
        words = [word for word in _TOKEN.findall(self.folded, start, at) if word not in _IN_DATES]
        if len(words) < 2 and start:
            return False  # the only word may be cut
        return not words or (words[-1].isalpha() and words[-1] not in dates.MONTHS)


@lru_cache(maxsize=2048)
def usual_numbers(number: Decimal) -> tuple[str, ...]:
    """How a number is mostly written: `12,500.00`, `12,500`, `12500`; what is short is part of too much else."""
    ways = dict.fromkeys((f"{number:,.2f}", f"{number:,.0f}", f"{number:.0f}", f"{number.normalize():f}"))
    return tuple(way for way in ways if way[0] != "-" and len(way) > 2 and grouped(way) == number)


@lru_cache(maxsize=2048)
def usual_dates(day: date) -> tuple[str, ...]:
    """How a date is mostly written, folded."""
    month = MONTH_NAMES[day.month - 1]
    return f"{month} {day.day}, {day.year:04}", f"{day.day} {month} {day.year:04}", day.isoformat()


DATES = re.compile(
    rf"{dates.DAY_FIRST.pattern}|{dates.MONTH_FIRST.pattern}|\b\d{{4}}[-/.]\d{{1,2}}[-/.]\d{{1,2}}\b|\b\d{{1,2}}[-/.]\d{{1,2}}[-/.]\d{{4}}\b"
)


@lru_cache(maxsize=64)
def source_of(text: str) -> Source:
    """The `Source` of a text, kept for the models that are scored on it in turn."""
    return Source(text)
