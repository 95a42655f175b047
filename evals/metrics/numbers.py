"""Number words and grouped digits -> exact numbers. English words; separators of any country."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation
from functools import lru_cache

UNITS = {
    **{
        w: i
        for i, w in enumerate(
            [
                "zero",
                "one",
                "two",
                "three",
                "four",
                "five",
                "six",
                "seven",
                "eight",
                "nine",
                "ten",
                "eleven",
                "twelve",
                "thirteen",
            ]
        )
    },
    **{w: i for i, w in enumerate(["fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"], 14)},
    **{
        w: i * 10
        for i, w in enumerate(["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], 2)
    },
    "a": 1,
    "an": 1,
}
SCALES = {"hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
SHORT = {"k": 10**3, "m": 10**6, "mn": 10**6, "mio": 10**6, "mln": 10**6, "bn": 10**9, "mrd": 10**9, "b": 10**9}
_SPACED = re.compile(r"[+-]?\d{1,3}(?:[\s'\u2019]\d{3})+(?:[.,]\d*)?")
"""Groups of three, parted by a space or an apostrophe."""
_FIGURE = re.compile(r"(?<![\w.])\d{1,3}(?:[ '\u2019]\d{3})+(?:[.,]\d+)?(?![\d])|\d+(?:[.,]\d+)*", re.ASCII)
_GROUPED = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f\u2009]*")
_WORD = "|".join(sorted((UNITS.keys() - {"a", "an"}) | SCALES.keys(), key=len, reverse=True))
_WORD_RUN = re.compile(rf"\b(?:{_WORD})(?:(?:[\s\-]+(?:and\s+)?)(?:{_WORD}))*\b")
_SIGN_APART = re.compile(r"^([+-])\s+")
_GAPS = re.compile(r"[\s'\u2019]")
_MARKED = re.compile(r"\d[\d.,]*|\.\d+")
_SIMPLE = re.compile(r"[0-9]{1,24}(?:\.[0-9]{1,2})?")
"""`12500` and `12500.00`: written as Python writes them."""
_BEHIND = re.compile(r"\s?([a-z]+)")
_DOUBLE = re.compile(r"([a-z][a-z \-]*?) ?\( ?([^()]+)\) ?([^()\d]*)")
_PERCENT = re.compile(r"([^%]+?) ?(?:%|per ?cent|pct)\.?")
_RATE = re.compile(r"([+-]?\d+)\.(\d+)")
_SCALED = re.compile(r"([+-]?[\d.,' ]+)\s*([a-z]+)")
MAX_DIGITS = 27
"""Decimal arithmetic is exact up to 28."""


def ascii_digits(text: str) -> str:
    """NFKC, with the digits of every script as 0-9 and the bidirectional controls removed."""
    if text.isascii():
        return text
    text = unicodedata.normalize("NFKC", text)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c
        for c in text
        if unicodedata.category(c) not in ("Cf", "Cc") or c in "\n\t"
    )


@lru_cache(maxsize=2048)
def grouped(text: str) -> Decimal | None:
    """`1,250,000.00`, `1.250.000,00`, `1 250 000`, `1'250'000.-` as a number; `None` where it is none."""
    if _SIMPLE.fullmatch(text):
        return Decimal(text)
    text = _SIGN_APART.sub(r"\1", text.strip()).removesuffix(".-").removesuffix(",-").rstrip(".,")
    if _GAPS.search(text):
        if not _SPACED.fullmatch(text):
            return None
        text = _GAPS.sub("", text)
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-")
    if not text or len(text) > MAX_DIGITS or not _MARKED.fullmatch(text):
        return None
    if text.startswith("."):
        return sign * Decimal("0" + text)
    decimal_mark = _decimal_mark(text)
    whole, _, fraction = text.rpartition(decimal_mark) if decimal_mark else (text, "", "")
    groups = re.split(r"[.,]", whole)
    if len(groups) > 1 and not (all(len(g) in (2, 3) for g in groups[1:]) and len(groups[-1]) == 3):
        return None
    try:
        return sign * Decimal("".join(groups) + ("." + fraction if fraction else ""))
    except InvalidOperation:
        return None


def _decimal_mark(text: str) -> str:
    """Which of `.` and `,` is the decimal mark: the later one of two kinds; a lone one unless it groups thousands."""
    dot, comma = text.rfind("."), text.rfind(",")
    if dot >= 0 and comma >= 0:
        return "." if dot > comma else ","
    mark = "." if dot >= 0 else "," if comma >= 0 else ""
    if not mark or text.count(mark) > 1:
        return ""
    after = len(text) - text.rfind(mark) - 1
    if (after == 3 and mark == ",") or (after == 3 and mark == "." and not text.startswith("0")):
        return ""
    return mark


def words(text: str) -> Decimal | None:
    """`one million two hundred thousand` as 1200000; `None` where a word is no number word."""
    total, current, seen = Decimal(0), Decimal(0), False
    for word in re.split(r"[\s\-]+", text.casefold().strip()):
        if word in ("and", ""):
            continue
        if word in UNITS and _follows(current, UNITS[word]):
            current += UNITS[word]
        elif word == "hundred" and current < 100:
            current = (current or Decimal(1)) * 100
        elif word != "hundred" and word in SCALES and (current or not total) and not 0 < total <= SCALES[word]:
            total += (current or Decimal(1)) * SCALES[word]
            current = Decimal(0)
        else:
            return None
        seen = True
    return total + current if seen else None


def _follows(current: Decimal, unit: int) -> bool:
    """`twenty` before `four`, `hundred` before anything; never `five six` or `thirty forty`."""
    below = current % 100
    return below == 0 or (below >= 20 and below % 10 == 0 and 0 < unit < 10)


def numbers_in(text: str) -> frozenset[Decimal | str]:
    """Every number of a running text, in figures (`1.2 million` scaled) or words; a figure like `4.2.1` as it stands.

    A bare `one` is left out, since it is as often a pronoun.
    """
    text = ascii_digits(text).casefold()
    found: set[Decimal | str] = set()
    for hit in _FIGURE.finditer(text):
        value, behind = grouped(hit[0]), _BEHIND.match(text, hit.end(), hit.end() + 12)
        scale = (SCALES.get(behind[1].rstrip("s")) or SHORT.get(behind[1])) if behind else None
        found.add(hit[0] if value is None else value * (scale or 1))
    for run in _WORD_RUN.findall(text):
        value = words(run)
        found |= {value} if value is not None and value != 1 else set(run.split()) if value is None else set()
    return frozenset(found)


@lru_cache(maxsize=2048)
def number(text: str) -> Decimal | None:
    """A number in digits or words, with a scale word or `%` behind it; a word-and-figure double must agree."""
    text = " ".join(ascii_digits(text).casefold().split())
    if double := _DOUBLE.fullmatch(text):
        return _double(double[1], double[2].strip(), double[3])
    if percent := _PERCENT.fullmatch(text):
        exact = _RATE.fullmatch(percent[1])  # a rate has no thousands: 3.125 % is 0.03125
        value = Decimal(percent[1]) if exact and len(percent[1]) <= MAX_DIGITS else _plain(percent[1].strip())
        return None if value is None else value / 100
    return _plain(text)


def _double(spelled: str, figure: str, behind: str) -> Decimal | None:
    """`thirty (30) days`, `five percent (5%)`, `two (2) million`: what stands behind counts for both."""
    first = behind.split(" ")[0].rstrip(".,")
    unit = first if first in SCALES or first in ("%", "percent", "pct") else ""
    unit = "%" if behind.startswith("per cent") else unit
    if number_words(behind.removeprefix(unit)):
        return None  # `thirty (30) or sixty days`
    in_figures = number(f"{figure} {unit}" if figure[-1:].isdigit() else figure)
    if not number_words(spelled):
        return in_figures
    in_words = number(f"{spelled} {unit}")
    return in_figures if in_words == in_figures else None


def number_words(text: str) -> bool:
    """Does a text hold a number word at all?"""
    return not (UNITS.keys() | SCALES.keys()).isdisjoint(re.findall(r"[a-z]{2,}", text))


def _plain(text: str) -> Decimal | None:
    if scaled := _SCALED.fullmatch(text):
        value, scale = grouped(scaled[1]), SCALES.get(scaled[2].rstrip("s")) or SHORT.get(scaled[2])
        return None if value is None or scale is None else value * scale
    return grouped(text) if _GROUPED.fullmatch(text) else words(text)
