"""Number words and grouped digits -> exact numbers. English words; separators of any country."""

import re
import unicodedata
from decimal import Decimal, InvalidOperation

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
_GROUPED = re.compile(r"[+-]?\d[\d.,' \u00a0\u202f\u2009]*")
MAX_DIGITS = 40


def ascii_digits(text: str) -> str:
    """NFKC, with the digits of every script as 0-9 and the bidirectional controls removed."""
    text = unicodedata.normalize("NFKC", text)
    if text.isascii():
        return text
    return "".join(
        str(unicodedata.decimal(c)) if unicodedata.category(c) == "Nd" else c
        for c in text
        if unicodedata.category(c) not in ("Cf", "Cc") or c in "\n\t"
    )


def grouped(text: str) -> Decimal | None:
    """`1,250,000.00`, `1.250.000,00`, `1 250 000`, `1'250'000.-` as a number; `None` where it is none."""
    text = re.sub(r"[\s'\u2019]", "", text).removesuffix(".-").removesuffix(",-").rstrip(".,")
    sign = -1 if text.startswith("-") else 1
    text = text.lstrip("+-")
    if not text or len(text) > MAX_DIGITS or not re.fullmatch(r"\d[\d.,]*", text):
        return None
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
        if word in UNITS:
            current += UNITS[word]
        elif word == "hundred":
            current = (current or Decimal(1)) * 100
        elif word in SCALES:
            total += (current or Decimal(1)) * SCALES[word]
            current = Decimal(0)
        else:
            return None
        seen = True
    return total + current if seen else None


def number(text: str) -> Decimal | None:
    """A number in digits or words, with a scale word or `%` behind it; a word-and-figure double must agree."""
    text = ascii_digits(text).casefold().strip()
    if double := re.fullmatch(r"([a-z][a-z\s\-]*?)\s*\(\s*([^()]+?)\s*\)(.*)", text, re.DOTALL):
        spelled, figure = words(double[1]), number(double[2])
        return figure if spelled is None or figure is None or spelled == figure else None
    if percent := re.fullmatch(r"(.+?)\s*(?:%|per\s?cent|percent)", text):
        value = number(percent[1])
        return None if value is None else value / 100
    if scaled := re.fullmatch(r"([+-]?[\d.,' ]+)\s*([a-z]+)", text):
        value, scale = grouped(scaled[1]), SCALES.get(scaled[2].rstrip("s")) or SHORT.get(scaled[2])
        return None if value is None or scale is None else value * scale
    return grouped(text) if _GROUPED.fullmatch(text) else words(text)
