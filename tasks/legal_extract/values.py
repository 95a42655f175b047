"""Dates, amounts and durations as contracts write them: one `Style` a document, mixed on purpose where it is hard."""

import random
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()
ORDINALS = "zeroth first second third fourth fifth sixth seventh eighth ninth tenth".split()
ENGLISH = "January February March April May June July August September October November December".split()
GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
FRENCH = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()
SYMBOLS = {"USD": "$", "EUR": "€", "GBP": "£", "CHF": "CHF "}
NAMES = {"USD": "US dollars", "EUR": "euros", "GBP": "pounds sterling", "CHF": "Swiss francs"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Style:
    """How one document writes its values."""

    dates: str
    money: str
    counts: str


def style(rng: random.Random, *, foreign: bool, hard: bool, currency: str) -> Style:
    """Usual formats for simple documents, any for hard ones, German or French ones for foreign ones."""
    if foreign:
        return Style(
            dates=rng.choice(["de", "fr"]), money=rng.choice(["comma", "space"]), counts=rng.choice(["both", "figure"])
        )
    us = currency == "USD"
    dates = ["us", "us", "nth"] if us else ["uk", "uk", "nth"]
    money = ["symbol", "symbol", "code"]
    if hard:
        dates, money = [*dates, "iso", "short"], [*money, "words", "million", "behind"]
    return Style(
        dates=rng.choice(dates), money=rng.choice(money), counts=rng.choice(["both", "both", "word", "figure"])
    )


def show_date(day: date, how: str) -> str:
    """One day in a document's style; a short numeric one only where it cannot be read two ways."""
    n = day.day
    if how == "short" and n <= 12:
        how = "us"
    suffix = "th" if 10 <= n % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(n % 10, "th")
    return {
        "us": f"{ENGLISH[day.month - 1]} {n}, {day.year}",
        "uk": f"{n} {ENGLISH[day.month - 1]} {day.year}",
        "nth": f"the {n}{suffix} day of {ENGLISH[day.month - 1]}, {day.year}",
        "iso": day.isoformat(),
        "short": f"{day.month:02d}/{n:02d}/{day.year}",
        "de": f"{n}. {GERMAN[day.month - 1]} {day.year}",
        "fr": f"{'1er' if n == 1 else n} {FRENCH[day.month - 1]} {day.year}",
    }[how]


def show_money(amount: Decimal, currency: str, how: str) -> str:
    """An amount with its currency in a document's style."""
    plain = f"{amount:,.2f}"
    if how == "million" and amount >= 10**6 and amount % 10000 == 0:
        return f"{currency} {(amount / 10**6).normalize()} million"
    if how == "words" and amount == int(amount):
        return f"{spelled(int(amount))} {NAMES[currency]} ({SYMBOLS[currency].strip()}{' ' if currency == 'CHF' else ''}{plain})"
    if how == "comma":
        return f"{plain.replace(',', ' ').replace('.', ',').replace(' ', '.')} {'€' if currency == 'EUR' else currency}"
    if how == "space":
        return f"{plain.replace(',', ' ').replace('.', ',')} {'€' if currency == 'EUR' else currency}"
    if how == "behind":
        return f"{plain} {currency}"
    if how in ("code", "million"):
        return f"{currency} {plain}"
    return f"{SYMBOLS[currency]}{plain.removesuffix('.00')}"


def show_days(days: int, how: str) -> str:
    """`thirty (30) days`, or the same in weeks or months where it comes out even."""
    return _counted(days, "day", how)


def show_months(months: int, how: str) -> str:
    """`three (3) years`, `18 months`."""
    return _counted(months // 12, "year", how) if months % 12 == 0 else _counted(months, "month", how)


def _counted(count: int, unit: str, how: str) -> str:
    units = unit if count == 1 else f"{unit}s"
    word = spelled(count)
    return {"both": f"{word} ({count}) {units}", "word": f"{word} {units}", "figure": f"{count} {units}"}[how]


def possessive(text: str) -> str:
    """`thirty (30) days'`."""
    return f"{text}'" if text.endswith("s") else f"{text}'s"


def spelled(number: int) -> str:
    """English number words."""
    if number < 20:
        return ONES[number]
    if number < 100:
        return TENS[number // 10] + (f"-{ONES[number % 10]}" if number % 10 else "")
    for size, name in ((10**6, "million"), (1000, "thousand"), (100, "hundred")):
        if number >= size:
            rest = f" {spelled(number % size)}" if number % size else ""
            return f"{spelled(number // size)} {name}{rest}"
    raise ValueError(number)


def add_months(day: date, months: int) -> date:
    """The same day so many months later; the last of the month where there is no such day."""
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    following = date(year + (month == 11), (month + 1) % 12 + 1, 1)
    return min(date(year, month + 1, 1) + timedelta(days=day.day - 1), following - timedelta(days=1))


def gold_money(amount: Decimal | None, currency: str) -> str | None:
    """`USD 12500.00`."""
    return None if amount is None else f"{currency} {amount:.2f}"


def gold_months(months: int | None) -> str | None:
    """`3 years`, `18 months`, `indefinite` for 0."""
    if months is None:
        return None
    if not months:
        return "indefinite"
    count, unit = (months // 12, "year") if months % 12 == 0 else (months, "month")
    return f"{count} {unit}{'' if count == 1 else 's'}"
