"""Typed normal forms: two values are equal when their normal forms are.

`normalise` gives a hashable normal form, `None` for an absent value, or `Unparsed` where the value cannot be read as
its kind (equal only to the same text). Absent are null, empty or blank text, and the words a model writes for "not
there" (`null`, `none`, `n/a`, `not specified`, ...): a form with an empty box and one with "n/a" say the same.
"""

import re
import unicodedata
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import lru_cache
from typing import Any

from evals.metrics.dates import Ambiguous, parse_date
from evals.metrics.numbers import SCALES, SHORT, ascii_digits, grouped, number, words

Options = Mapping[str, Any]
ABSENT = {
    "",
    "null",
    "none",
    "n/a",
    "na",
    "nil",
    "not specified",
    "not stated",
    "not applicable",
    "unspecified",
    "not provided",
    "-",
    "--",
    "unknown",
}
CURRENCIES = {
    **{
        "$": "USD",
        "us$": "USD",
        "usd": "USD",
        "dollar": "USD",
        "dollars": "USD",
        "us dollars": "USD",
        "us dollar": "USD",
    },
    **{"u.s. dollars": "USD", "united states dollars": "USD", "€": "EUR", "eur": "EUR", "euro": "EUR", "euros": "EUR"},
    **{"£": "GBP", "gbp": "GBP", "pounds": "GBP", "pound": "GBP", "pounds sterling": "GBP", "sterling": "GBP"},
    **{
        "chf": "CHF",
        "fr.": "CHF",
        "sfr": "CHF",
        "swiss francs": "CHF",
        "francs": "CHF",
        "¥": "JPY",
        "jpy": "JPY",
        "yen": "JPY",
    },
    **{"₹": "INR", "inr": "INR", "rupees": "INR", "cad": "CAD", "c$": "CAD", "canadian dollars": "CAD", "aud": "AUD"},
    **{"a$": "AUD", "australian dollars": "AUD", "sek": "SEK", "nok": "NOK", "dkk": "DKK", "pln": "PLN", "cny": "CNY"},
    **{
        "rmb": "CNY",
        "hkd": "HKD",
        "hk$": "HKD",
        "sgd": "SGD",
        "s$": "SGD",
        "brl": "BRL",
        "r$": "BRL",
        "zar": "ZAR",
        "rs.": "INR",
        "rs": "INR",
    },
}
SUFFIXES = [
    "incorporated",
    "inc",
    "llc",
    "ltd",
    "limited",
    "gmbh",
    "ag",
    "sa",
    "sarl",
    "sas",
    "bv",
    "nv",
    "plc",
    "co",
    "company",
    "corp",
    "corporation",
    "llp",
    "lp",
    "pty",
    "kg",
    "kgaa",
    "se",
    "oy",
    "oyj",
    "ab",
    "spa",
    "srl",
    "as",
    "asa",
    "aps",
    "ug",
    "ohg",
    "pllc",
    "kk",
    "pvt",
    "lda",
    "mbh",
]
_ALIAS = re.compile(
    r"\s*[(\[](?=[^()\[\]]*[\"\u201c\u201d\u201e']|\s*(?:the|each|together|collectively|hereinafter|hereafter|f/k/a|d/b/a|a/k/a)\b)[^()\[\]]*[)\]]"
    r"|,?\s+(?:f/k/a|formerly known as|d/b/a|a/k/a)\s.*$",
    re.DOTALL | re.IGNORECASE,
)
"""`("Acme")`, `(the "Buyer")`, `(hereinafter Buyer)`, `f/k/a ...`: not part of the name. `(UK)` is."""
_DURATION = re.compile(
    r"([a-z\d.,\s\-]+?|[a-z\-\s]+\(\s*\d+\s*\))[\s\-]*(calendar |business )?(day|week|month|mo|quarter|year|yr|jahr|monat|mois|an)(?:s|e|en|n)?\b"
)
INDEFINITE = re.compile(
    r"\b(?:indefinite(?:ly)?|perpetual(?:ly)?|in perpetuity|perpetuity|unlimited|forever|until terminated)\b"
)
_PLAIN_MONEY = re.compile(r"([A-Z]{3}) ([0-9]{1,24}(?:\.[0-9]{2})?)")
"""`USD 12500.00`, as most answers are and every gold."""
_WORD_AND_FIGURE = re.compile(r"([a-z][^()]*?) ?\(([^()]*\d[^()]*)\)(?: ([a-z. ]+))?")
_FIGURE_AND_WORD = re.compile(r"([^()]*\d[^()]*) ?\(([a-z][a-z .\-]*)\)")
_IN_BRACKETS = re.compile(r"\(.*\d.*\)")
_MARK_BEFORE = re.compile(r"^([a-z.]{1,4}\$|[$€£¥₹]|[a-z]{3}|fr\.|sfr|rs\.?)\s*(?=[\d.\-])(.*)$")
_MARK_BEHIND = re.compile(r"^(.*?)\s*([$€£¥₹])$")
_LONGEST_FIRST = sorted((name for name in CURRENCIES if name[-1].isalpha()), key=len, reverse=True)
_CODE = re.compile(r"[a-z]{3}")
_MINUS = re.compile(r"-\s?[\d.]")
_CHEQUE = re.compile(r"([a-z][a-z \-]*?) and (\d\d|no)/100")
_SCALED = re.compile(r"([\d.,' ]+)\s*([a-z]+)\.?")
_DIGIT_FIRST = re.compile(r"\.?\d")
_TWO_SPANS = re.compile(r"([^()]*[a-z])\s?\(([^()]*\d[^()]*[a-z])\)")
_LEAD_IN = re.compile(r"^.*\b(?:of|for|and)\s+")
_UNIT_BEHIND = re.compile(r"[\s\-]*(?:calendar |business )?(?:days?|weeks?|months?|years?)\b\.?$")
_INITIALS = re.compile(r"(?<=\b\w)\.(?=\w\b)|(?<=\b\w\.\w)\.|['\u2019`]")
_TOKEN = re.compile(r"\w+")
_LOOSE = re.compile(r"[\s./_-]")
LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Unparsed:
    """A value that cannot be read as its kind; equal only to the same text, whatever the case."""

    text: str


@dataclass(frozen=True, slots=True)
class Money:
    """An amount and its ISO 4217 currency; an unknown currency is compatible with any."""

    amount: Decimal
    currency: str | None


def normalise(value: Any, kind: str, options: Options = {}) -> Hashable | None:
    """The normal form of a value of this kind; see the module's docstring."""
    if value is None or (isinstance(value, str) and absent(value, kind) and not _declared(value, options)):
        return None
    return present(value, kind, options)


def present(value: Any, kind: str, options: Options = {}) -> Hashable:
    """The normal form of a value that is known not to be absent."""
    if isinstance(value, str) and len(value) > LONGEST and kind not in ("text", "span"):
        return Unparsed(value.casefold())
    found = READERS.get(kind, _text)(value, options)
    return Unparsed(str(value).casefold().strip()) if found is None else found


def _declared(text: str, options: Options) -> bool:
    """Is the text one of the schema's own enum values, such as `none`?"""
    return text.strip().casefold() in {str(name).casefold() for name in options.get("enum") or () if name is not None}


def absent(text: str, kind: str = "text") -> bool:
    """Does this text say that there is no value? A name or text of real content is never absent."""
    text = text.strip()
    return not text or text.casefold().rstrip(".") in ABSENT


def equal(gold: Any, answer: Any, kind: str, options: Options = {}) -> bool:
    """Do two values say the same?"""
    return same(normalise(gold, kind, options), normalise(answer, kind, options), options)


def same(gold: Hashable | None, answer: Hashable | None, options: Options = {}) -> bool:
    """Are two normal forms equal, within the declared tolerance? An ambiguous date equals nothing but itself."""
    if isinstance(gold, Money) and isinstance(answer, Money):
        fits = gold.currency == answer.currency or None in (gold.currency, answer.currency)
        return fits and _close(gold.amount, answer.amount, options)
    if isinstance(gold, Decimal) and isinstance(answer, Decimal):
        return _close(gold, answer, options)
    return gold == answer


def _close(gold: Decimal, answer: Decimal, options: Options) -> bool:
    tolerance = options.get("tolerance") or 0
    if isinstance(tolerance, Mapping):
        return abs(gold - answer) <= abs(gold) * Decimal(str(tolerance.get("relative", 0)))
    return abs(gold - answer) <= Decimal(str(tolerance))


def _date(value: Any, options: Options) -> date | Ambiguous | None:
    return parse_date(value, options.get("day_order")) if isinstance(value, str) else None


def _number(value: Any, options: Options) -> Decimal | None:
    """`5 %` is 0.05; `thirty (30) days` is 30; true and false are no numbers."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return Decimal(str(value)) if abs(value) < 1e30 else None
    if not isinstance(value, str):
        return None
    found = number(value)
    if found is None:
        whole = value.casefold().strip()
        bare = _UNIT_BEHIND.sub("", whole)
        found = number(bare) if bare != whole else None
    return found


def _money(value: Any, options: Options) -> Money | None:
    if isinstance(value, Mapping):
        amount, currency = _number(value.get("amount"), options), str(value.get("currency") or "")
        return None if amount is None else Money(amount, _currency(currency))
    if not isinstance(value, str):
        amount = _number(value, options)
        return None if amount is None else Money(amount, None)
    return _money_text(value)


_UNIT = r"(?:year|annum|quarter|month|week|day|hour|unit|piece|user|seat|licence|license|instal?lment)s?"
_PERIOD = re.compile(
    rf"(?<=[\w)€$£])(?:,? (?:per|a|an|each|every) (?:[a-z]+ )?{_UNIT}| ?/ ?{_UNIT}|,? (?:annually|yearly|quarterly|monthly|weekly|daily|p\.? ?a\.?))$"
)


@lru_cache(maxsize=4096)
def _money_text(value: str) -> Money | None:
    if (plain := _PLAIN_MONEY.fullmatch(value)) and (code := CURRENCIES.get(plain[1].lower())):
        return Money(Decimal(plain[2]), code)
    text = " ".join(ascii_digits(value).casefold().split()).strip(" .;,")
    text = _PERIOD.sub("", text)  # "£45,200 per year": how often is another question than how much
    if figure := _WORD_AND_FIGURE.fullmatch(text):
        behind = f" {figure[3]}" if figure[3] else ""
        return _agreeing(_money_text(figure[1] + behind), _money_text(figure[2] + behind))
    negative = bool(_IN_BRACKETS.fullmatch(text)) or text.startswith("-")
    if double := _FIGURE_AND_WORD.fullmatch(text):
        return _agreeing(_money_text(double[2]), _money_text(double[1]))
    text = text.strip("()-\u2212 ").removesuffix(".-").removesuffix(",-")
    currency, rest = _split_currency(text)
    amount = _amount(rest)
    return None if amount is None else Money(-amount if negative else amount, currency)


def _agreeing(spelled: Money | None, figure: Money | None) -> Money | None:
    """The figure of a word-and-figure double, unless its words say another amount or currency."""
    if spelled is None or figure is None:
        return figure
    if spelled.amount != figure.amount or not same(spelled, figure):
        return None
    return Money(figure.amount, figure.currency or spelled.currency)


def _split_currency(text: str, marks: int = 2) -> tuple[str | None, str]:
    """The currency in front of or behind an amount, and what is left."""
    for pattern in (_MARK_BEFORE, _MARK_BEHIND):
        if found := pattern.match(text):
            before = pattern is _MARK_BEFORE or found[1] in CURRENCIES
            mark, rest = (found[1], found[2]) if before else (found[2], found[1])
            if mark in CURRENCIES:
                currency, again = _split_currency(rest.strip(), marks - 1) if rest.strip() and marks else (None, rest)
                return (CURRENCIES[mark] if mark != "$" or currency is None else currency), again
    for name in _LONGEST_FIRST:
        if text.endswith(name) and (len(text) == len(name) or not text[-len(name) - 1].isalpha()):
            return CURRENCIES[name], text[: -len(name)].strip()
    return None, text


def _currency(text: str) -> str | None:
    text = text.casefold().strip()
    return CURRENCIES.get(text) or (text.upper() if _CODE.fullmatch(text) else None)


def _amount(text: str) -> Decimal | None:
    text = text.strip()
    if _MINUS.match(text):
        inner = _amount(text[1:])
        return None if inner is None else -inner
    if cheque := _CHEQUE.fullmatch(text):
        whole = words(cheque[1])
        return None if whole is None else whole + Decimal(int(cheque[2]) if cheque[2] != "no" else 0) / 100
    if scaled := _SCALED.fullmatch(text):
        value, scale = grouped(scaled[1]), SCALES.get(scaled[2].rstrip("s")) or SHORT.get(scaled[2])
        return None if value is None or scale is None else value * scale
    return grouped(text) if _DIGIT_FIRST.match(text) else words(text)


def _duration(value: Any, options: Options) -> Hashable | None:
    """`("months", n)`, `("days", n)` or `indefinite`: a year is 12 months, a week 7 days, days are never months."""
    return _duration_text(value) if isinstance(value, str) else None


@lru_cache(maxsize=4096)
def _duration_text(value: str) -> Hashable | None:
    text = " ".join(ascii_digits(value).casefold().split())
    if INDEFINITE.search(text):
        return "indefinite"
    total: dict[str, Decimal] = {}
    if double := _TWO_SPANS.fullmatch(text):
        first, second = _duration_text(double[1]), _duration_text(double[2])
        return first if first == second or second is None else None
    for amount, day_kind, unit in _DURATION.findall(text[:200]):
        count = number(_LEAD_IN.sub("", amount.strip(" -,")) or "x")
        if count is None:
            return None
        base, factor = {"day": ("days", 1), "week": ("days", 7), "quarter": ("months", 3)}.get(unit, ("months", 1))
        if unit in ("year", "yr", "jahr", "an"):
            factor = 12
        if day_kind == "business ":
            base = f"business {base}"
        total[base] = total.get(base, Decimal(0)) + count * factor
    return tuple(sorted((k, v.normalize()) for k, v in total.items())) or None


def _name(value: Any, options: Options) -> str | None:
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    key = tuple(options.get("ignore") or ())
    plain = _plain_name(str(value), key)
    for group in options.get("synonyms") or ():
        if plain in {_plain_name(name, key) for name in group}:
            return _plain_name(group[0], key)
    return plain or None


@lru_cache(maxsize=8192)
def _plain_name(text: str, ignore: tuple[str, ...]) -> str:
    text = folded(_ALIAS.sub("", text) or text).replace("&", " and ")
    text = _INITIALS.sub("", text)
    tokens = _TOKEN.findall(text)
    if tokens[:1] == ["the"] and len(tokens) > 1:
        tokens = tokens[1:]
    while len(tokens) > 1 and tokens[-1] in SUFFIXES:
        tokens.pop()
    if tokens[-1:] == ["and"] and len(tokens) > 1:
        tokens.pop()
    kept = [token for token in tokens if token not in ignore] if ignore else tokens
    return " ".join(kept or tokens) or text.strip()


def folded(text: str) -> str:
    """NFKC, casefolded, bidirectional and zero-width controls removed, spaces collapsed."""
    if text.isascii():
        return " ".join(text.lower().split())
    text = unicodedata.normalize("NFKC", text)
    if not text.isascii():
        controls = {ord(c): None for c in set(text) if unicodedata.category(c) == "Cf"}
        text = text.translate(controls) if controls else text
    return " ".join(unicodedata.normalize("NFKC", text.casefold()).split())


def _bool(value: Any, options: Options) -> Hashable | None:
    if isinstance(value, bool):
        return ("bool", value)
    word = value.casefold().strip(" .") if isinstance(value, str) else ""
    return {"true": ("bool", True), "yes": ("bool", True), "false": ("bool", False), "no": ("bool", False)}.get(word)


def _enum(value: Any, options: Options) -> Hashable | None:
    return folded(value) if isinstance(value, str) else ("value", repr(value))


def _id(value: Any, options: Options) -> Hashable | None:
    text = unicodedata.normalize("NFKC", str(value)).strip()
    return _LOOSE.sub("", text).casefold() if options.get("loose") else text


def _text(value: Any, options: Options) -> Hashable | None:
    return folded(value) if isinstance(value, str) else ("value", repr(value))


READERS = {
    **{"date": _date, "money": _money, "number": _number, "duration": _duration, "name": _name},
    **{"bool": _bool, "enum": _enum, "id": _id, "text": _text, "span": _text},
}
