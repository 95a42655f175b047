"""Dates in many spellings -> ISO. A numeric date that could be read two ways is a class of its own."""

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from evals.metrics.numbers import ascii_digits

DayOrder = Literal["dmy", "mdy"]
_NAMES = (
    "january jan januar janvier enero gennaio",
    "february feb februar février fevrier febrero febbraio",
    "march mar märz maerz marz mars marzo mrz",
    "april apr avril abril aprile",
    "may mai mayo maggio",
    "june jun juni juin junio giugno",
    "july jul juli juillet julio luglio",
    "august aug août aout agosto",
    "september sep sept septembre septiembre settembre",
    "october oct oktober okt octobre octubre ottobre",
    "november nov novembre noviembre",
    "december dec dezember dez décembre decembre diciembre dicembre",
)
MONTHS = {name: index for index, line in enumerate(_NAMES, 1) for name in line.split()}
_MONTH = "|".join(sorted(MONTHS, key=len, reverse=True))
_DAY = r"(\d{1,2})\s?(?:st|nd|rd|th|er|º|ª|\.)?"
_GLUE = r"(?:\s|,|\.|\bof\b|\bday\b|\bde\b|\bthe\b|\bin\b|\bdel\b)*"
DAY_FIRST = re.compile(rf"(?:the\s)?{_DAY}{_GLUE}({_MONTH})\b\.?{_GLUE}(\d{{4}}|\d{{2}})")
MONTH_FIRST = re.compile(rf"({_MONTH})\b\.?\s*(?:the\s)?{_DAY}{_GLUE}(\d{{4}})")
_ISO = re.compile(r"(\d{4})[-/.](\d{1,2})[-/.](\d{1,2})(?:[t\s]\d{1,2}:\d{2}.*)?")
_NUMERIC = re.compile(r"(\d{1,2})\s?[-/.]\s?(\d{1,2})\s?[-/.]\s?(\d{4}|\d{2})(?:[t\s]\d{1,2}:\d{2}.*)?")
LONGEST = 80


@dataclass(frozen=True, slots=True)
class Ambiguous:
    """A numeric date that day-first and month-first read differently."""

    readings: frozenset[date]


def parse_date(text: str, day_order: DayOrder | None = None) -> date | Ambiguous | None:
    """The date a text says, an `Ambiguous` one, or `None`. Two-digit years: 00-69 are 20xx, 70-99 are 19xx."""
    text = " ".join(ascii_digits(text).casefold().split()).strip(" .,;")
    if len(text) > LONGEST:
        return None
    text = re.sub(r"^(?:on|as of|dated|effective)\s+", "", text)
    text = re.sub(r"^(?:mon|tues|wednes|thurs|fri|satur|sun)day,?\s+", "", text)
    if found := _ISO.fullmatch(text):
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
