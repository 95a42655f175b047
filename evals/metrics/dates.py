"""Dates in many spellings -> ISO. A numeric date that could be read two ways is a class of its own."""

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Literal

from evals.metrics.numbers import ascii_digits

DayOrder = Literal["dmy", "mdy"]
_NAMES = (
    "january jan januar janvier enero gennaio janeiro januari jänner",
    "february feb februar février fevrier febrero febbraio fevereiro februari",
    "march mar märz maerz marz mars marzo mrz março marco maart",
    "april apr avril abril aprile",
    "may mai mayo maggio maio mei",
    "june jun juni juin junio giugno junho",
    "july jul juli juillet julio luglio julho",
    "august aug août aout agosto augustus",
    "september sep sept septembre septiembre settembre setembro",
    "october oct oktober okt octobre octubre ottobre outubro",
    "november nov novembre noviembre novembro",
    "december dec dezember dez décembre decembre diciembre dicembre dezembro",
)
MONTHS = {name: index for index, line in enumerate(_NAMES, 1) for name in line.split()}
MONTH_NAMES = tuple(line.split()[0] for line in _NAMES)
"""In English, January first."""
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAY = r"(\d{1,2})\s?(?:st\b|nd\b|rd\b|th\b|er\b|\.?[oaº°]\b|\.)?"
_GLUE = r"(?:\s|,|\.|-|/|\bof\b|\bday\b|\bde\b|\bthe\b|\bin\b|\bdel\b)*"
DAY_FIRST = re.compile(rf"(?:the\s)?{_DAY}{_GLUE}({_MONTH})\b\.?{_GLUE}(\d{{4}}|\d{{2}})")
MONTH_FIRST = re.compile(rf"({_MONTH})\b\.?[\s\-/]*(?:the\s)?{_DAY}{_GLUE}(\d{{4}})")
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth twenty-first twenty-second twenty-third twenty-fourth "
    "twenty-fifth twenty-sixth twenty-seventh twenty-eighth twenty-ninth thirtieth thirty-first"
)
ORDINALS = {word: str(day) for day, word in enumerate(_ORDINALS.split(), 1)}
_ORDINAL = re.compile(rf"\b(?:{'|'.join(sorted(ORDINALS, key=len, reverse=True))})\b")
_EAST_ASIAN = re.compile(r"(\d{4})\s?[年년]\s?(\d{1,2})\s?[月월]\s?(\d{1,2})\s?[日일]")
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[t\s]\d{1,2}:\d{2}.*)?")
_PLAIN = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_NUMERIC = re.compile(r"(\d{1,2})\s?[-/.]\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})(?:[t\s]\d{1,2}:\d{2}.*)?")
_LEAD_IN = re.compile(r"^(?:(?:on|as of|dated|effective)\s+)+")
_WEEKDAY = re.compile(r"^(?:mon|tue|wed|thu|fri|sat|sun)(?:(?:s|nes|rs|ur)?day)?[.,]*\s+")
_TENS = re.compile(r"\b(twenty|thirty) (?=\w)")
LONGEST = 80


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A numeric date that day-first and month-first read differently."""

    readings: frozenset[date]


@lru_cache(maxsize=4096)
def parse_date(text: str, day_order: DayOrder | None = None) -> date | Ambiguous | None:
    """The date a text says, an `Ambiguous` one, or `None`. Two-digit years: 00-69 are 20xx, 70-99 are 19xx."""
    if plain := _PLAIN.fullmatch(text):  # as most answers are, and every gold
        return _date(int(plain[1]), int(plain[2]), int(plain[3]))
    text = " ".join(ascii_digits(text).casefold().split()).strip(" .,;")
    if len(text) > LONGEST:
        return None
    text = _WEEKDAY.sub("", _LEAD_IN.sub("", text))
    text = _ORDINAL.sub(lambda word: ORDINALS[word[0]], _TENS.sub(r"\1-", text))
    if found := _ISO.fullmatch(text) or _EAST_ASIAN.fullmatch(text):
        return _date(int(found[1]), int(found[2]), int(found[3]))
    if found := DAY_FIRST.fullmatch(text):
        return _date(_year(found[3]), MONTHS[found[2]], int(found[1]))
    if found := MONTH_FIRST.fullmatch(text):
        return _date(_year(found[3]), MONTHS[found[1]], int(found[2]))
    if found := _NUMERIC.fullmatch(text):
        return _numeric(int(found[1]), int(found[2]), _year(found[3]), day_order or ("dmy" if "." in text else None))
    return None


def _numeric(first: int, second: int, year: int, day_order: DayOrder | None) -> date | Ambiguous | None:
    day_first, month_first = _date(year, second, first), _date(year, first, second)
    if day_order:
        return day_first if day_order == "dmy" else month_first
    if day_first and month_first and day_first != month_first:
        return Ambiguous(frozenset((day_first, month_first)))
    return day_first or month_first


def _year(text: str) -> int:
    year = int(text)
    return year if len(text) == 4 else year + (2000 if year < 70 else 1900)


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None
