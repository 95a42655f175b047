"""Numbers in figures and in English words, read from short folded text.

Figures: a dot or comma that is followed by groups of three parts thousands, the last mark of another kind is the
decimal one (`1.250.000,00`, `1,250,000.00`, `1'250'000.00`, `1 250 000,00`, Indian `12,50,000`). A lone comma before
exactly three digits parts thousands, a lone dot does so only for money: JSON writes `1.250` for one and a quarter.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Literal, NamedTuple

SMALL = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen".split()
    )
}
TENS = {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_BIG = {3: "thousand", 6: "million", 9: "billion", 12: "trillion"}
SCALES = {word: 10**power for power, word in _BIG.items()} | {"lakh": 10**5, "crore": 10**7}
_LONG_SCALES = SCALES | {
    **dict.fromkeys(("thousands", "tausend"), 10**3),
    **dict.fromkeys(("millions", "millionen", "millones", "milioni", "milione", "mio", "mn", "mln"), 10**6),
    **dict.fromkeys(("billions", "bn", "mrd", "milliard", "milliards", "milliarde", "milliarden"), 10**9),
    **dict.fromkeys(("lakhs", "lac", "lacs"), 10**5),
    "crores": 10**7,
}
_SHORT_SCALES = _LONG_SCALES | {"k": 10**3, "m": 10**6, "mm": 10**6, "b": 10**9}
NUMBER_WORDS = frozenset(SMALL) | frozenset(TENS) | frozenset(SCALES) | {"hundred"}
_ORDINALS = (
    "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth fourteenth fifteenth "
    "sixteenth seventeenth eighteenth nineteenth twentieth"
).split()
ORDINAL_WORDS = {word: value for value, word in enumerate(_ORDINALS, start=1)} | {"thirtieth": 30}
HALF = Decimal("0.5")


def to_decimal(figure: str, *, money: bool = False) -> Decimal | None:
    """The value of one figure with its separators, `None` where they make no sense (`12,34,5`)."""
    if figure.isdigit():
        return Decimal(figure)
    figure = figure.replace(" ", "'")
    marks = [char for char in figure if not char.isdigit()]
    last = marks[-1]
    head, _, tail = figure.rpartition(last)
    others = set(marks) - {last}
    if not others and (len(marks) > 1 or _parts_thousands(head, last, tail, money=money)):
        return _grouped(figure, last)
    if last == "'" or len(others) > 1 or marks.count(last) > 1:
        return None
    whole = _grouped(head, others.pop()) if others else Decimal(head)
    return None if whole is None else whole + Decimal(tail).scaleb(-len(tail))


def _parts_thousands(head: str, mark: str, tail: str, *, money: bool) -> bool:
    if mark == "'":
        return True
    return len(tail) == 3 and len(head) <= 3 and head[0] != "0" and (mark == "," or money)


def _grouped(figure: str, mark: str) -> Decimal | None:
    """Digits parted in threes, or the Indian way: 12,50,000."""
    first, *rest = figure.split(mark)
    sizes = [len(part) for part in rest]
    threes = all(size == 3 for size in sizes) and 1 <= len(first) <= 3
    indian = mark == "," and sizes[-1] == 3 and all(size == 2 for size in sizes[:-1]) and 1 <= len(first) <= 2
    return Decimal(first + "".join(rest)) if threes or indian else None


def spelled(words: Sequence[str]) -> Decimal | None:
    """The number of English words (`one million two hundred and fifty thousand`), `None` where they are not one."""
    total, current, bound, half = 0, 0, 10**15, Decimal(0)
    for word in words:
        if word in ("and", "a", "an"):
            continue
        if word == "half":
            half = HALF
        elif word in SMALL or word in TENS:
            value = SMALL[word] if word in SMALL else TENS[word]
            if not _fits(current, value):
                return None
            current += value
        elif word == "hundred" and current < 100:
            current = max(current, 1) * 100
        elif word in SCALES and SCALES[word] < bound and (current < 1000):
            bound = SCALES[word]
            if half:
                return (total + current + half) * bound if word == words[-1] else None
            total, current = total + max(current, 1) * bound, 0
        else:
            return None
    return total + current + half


def _fits(current: int, value: int) -> bool:
    """May `value` follow in words? `twenty one` may, `two three` and `one twenty` may not."""
    if value >= 10:
        return current % 100 == 0
    return current % 10 == 0 and current % 100 != 10


class Item(NamedTuple):
    """A piece of a numeric text: a number, a word, or a sign."""

    kind: Literal["number", "word", "sign"]
    text: str
    value: Decimal = Decimal(0)


_PIECE = re.compile(r"(\d+(?:[.,']\d+|[ ]\d{3}(?!\d))*)|([^\W\d_]+)|(\S)")


def items(text: str, *, money: bool = False) -> list[Item] | None:
    """Numbers, words and signs of folded text, words and scales put together; `None` where a figure is ill made."""
    pieces = [(match.lastindex, match[0]) for match in _PIECE.finditer(text)]
    scales = _SHORT_SCALES if money else _LONG_SCALES
    out: list[Item] = []
    at = 0
    while at < len(pieces):
        group, piece = pieces[at]
        if group == 1:
            item, at = _figure_item(pieces, at, scales, money=money)
        elif group == 2:
            item, at = _word_item(pieces, at)
        else:
            item, at = Item("sign", piece), at + 1
        if item is None:
            return None
        out.append(item)
    return out


_Pieces = list[tuple[int | None, str]]


def _figure_item(pieces: _Pieces, at: int, scales: dict[str, int], *, money: bool) -> tuple[Item | None, int]:
    figure = pieces[at][1]
    end = at + 1
    factor = 1
    while end < len(pieces) and pieces[end][1] in scales:
        factor *= scales[pieces[end][1]]
        end += 1
    # Before `million` a dot is a decimal mark: 1.250 million.
    value = to_decimal(figure, money=money and factor == 1)
    return (None if value is None else Item("number", figure, value * factor)), end


def _word_item(pieces: _Pieces, at: int) -> tuple[Item | None, int]:
    """A run of number words as one number, or one plain word."""
    run, end = _number_run(pieces, at)
    if not run:
        return Item("word", pieces[at][1]), at + 1
    value = spelled(run)
    return (None if value is None else Item("number", " ".join(run), value)), end


def _number_run(pieces: _Pieces, at: int) -> tuple[list[str], int]:
    """The longest run of number words from `at`, linked by hyphens, `and`, `a`; and where it ends."""
    run: list[str] = []
    end = last = at
    pending: list[str] = []
    while end < len(pieces):
        piece = pieces[end][1]
        if piece in NUMBER_WORDS or piece == "half":
            run += [*pending, piece]
            pending, last = [], end + 1
        elif piece in ("a", "an", "and") and not (piece == "and" and not run):
            pending.append(piece)
        elif piece != "-" or not run:
            break
        end += 1
    starts = run[1] if len(run) > 1 and run[0] in ("a", "an") else ""
    if run and run[0] in ("a", "an") and starts not in ("hundred", "half", *SCALES):
        return [], at
    return run, last


_UNITS = {"days": "day", "day": "day", "weeks": "week", "week": "week", "months": "month", "month": "month"}
_UNITS |= {"years": "year", "year": "year", "hours": "hour", "hour": "hour"}
_RATES = {("week", "day"): 7, ("year", "month"): 12}
_SIMPLE = re.compile(r"[+-]?\d+(?:\.\d+)?(?:e[+-]?\d{1,3})?\Z")


def read_number(text: str, *, unit: str | None = None, percent: bool = False) -> Decimal | None:
    """A number of folded text: `1,250`, `five %` (0.05, or 5 where the leaf is declared in `percent`), `thirty (30) days`.

    Days may stand behind a number that declares no unit; weeks, months and years only where `unit` says what is
    counted (12 a year, 7 a week, months and days never mixed).
    """
    if _SIMPLE.match(text):
        return Decimal(text)
    pieces = items(text)
    if pieces is None:
        return None
    values: list[Decimal] = []
    negative, scale, closed = False, Decimal(1), False
    for item in pieces:
        if item.kind == "number" and not (closed and item.text == ""):
            values.append(item.value)
        elif item.text in ("-", "minus") and not values and not negative:
            negative = True
        elif item.text in ("%", "percent", "pct"):
            scale = Decimal(1) if percent else Decimal("0.01")
        elif item.text in _UNITS and values:
            rate = _rate(_UNITS[item.text], unit)
            if rate is None or closed:
                return None
            scale, closed = Decimal(rate), True
        elif item.text not in ("(", ")", "per", "cent", "calendar", "-", "+"):
            return None
    if not values or any(value != values[0] for value in values):
        return None
    return (-values[0] if negative else values[0]) * scale


def _rate(found: str, wanted: str | None) -> int | None:
    wanted = _UNITS.get(wanted or "day")
    return 1 if found == wanted else _RATES.get((found, wanted or ""))


def spell(number: int) -> str:
    """English words of a whole number below 10**15, without `and`: what a source may say instead of figures."""
    if number < 20:
        return next(word for word, value in SMALL.items() if value == number)
    if number < 100:
        ten = next(word for word, value in TENS.items() if value == number - number % 10)
        return f"{ten} {spell(number % 10)}" if number % 10 else ten
    if number < 1000:
        head = f"{spell(number // 100)} hundred"
        return f"{head} {spell(number % 100)}" if number % 100 else head
    power = max(power for power in _BIG if number >= 10**power)
    head = f"{spell(number // 10**power)} {_BIG[power]}"
    return f"{head} {spell(number % 10**power)}" if number % 10**power else head
