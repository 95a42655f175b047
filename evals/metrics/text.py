"""Text as it is compared: folding, words, token overlap, and the guard of negations and numbers for spans.

Every function is linear in the length of its input and none raises on arbitrary text.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

from evals.metrics.numbers import NUMBER_WORDS, ORDINAL_WORDS, spelled, to_decimal

SPAN_OVERLAP = 0.5
"""Least token Jaccard at which two spans can be the same."""

_DASHES = dict.fromkeys(map(ord, "\u2010\u2011\u2012\u2013\u2014\u2015\u2212"), "-")
_QUOTES = {ord("\u2019"): "'", ord("\u2018"): "'", ord("\u00b4"): "'", ord("\u02bc"): "'", ord("`"): "'"}
_QUOTES |= dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb"), '"')
_SHAPES = _DASHES | _QUOTES | {ord("\u066b"): ".", ord("\u066c"): ","}


class _Words(dict[int, str]):
    """Translation table that turns text into words: learns each character once."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        keep = char.isalnum() or unicodedata.category(char) in ("Mn", "Mc", "Sc")
        self[code] = char if keep else " "
        return self[code]


_WORDS = _Words({ord("."): "", ord("'"): "", ord("&"): " and "})


def fold(text: str) -> str:
    """Casefolded NFKC with plain quotes, dashes and ASCII digits, without control and direction marks."""
    if text.isascii():
        return text.lower()
    kept = "".join(char for char in text.translate(_SHAPES) if unicodedata.category(char) != "Cf")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", kept).casefold())
    return "".join(map(_plain_digit, folded))


def _plain_digit(char: str) -> str:
    if char < "\x80":
        return char
    digit = unicodedata.decimal(char, None)
    return char if digit is None else str(digit)


def squeeze(text: str) -> str:
    """Folded text with every run of white space made one blank."""
    return " ".join(fold(text).split())


def words(text: str) -> str:
    """Folded words joined by single blanks: full stops and apostrophes vanish, other punctuation parts words."""
    return " ".join(fold(text).translate(_WORDS).split())


def tokens(text: str) -> list[str]:
    """The words of a text, in order."""
    return words(text).split()


def jaccard(left: Iterable[str], right: Iterable[str]) -> float:
    """Shared tokens over all tokens, counted as sets; two empty texts share nothing."""
    a, b = set(left), set(right)
    union = len(a | b)
    return len(a & b) / union if union else 0.0


_NEGATIONS = frozenset(
    "not no never nor neither without none nothing nobody nowhere cannot except unless excluding nicht kein keine "
    "keinen keiner keinem ohne nie niemals pas jamais aucun aucune sans nunca sin ningun ninguna non senza mai".split()
)
_SHORT = re.compile(r"\b(?:can't|cannot)\b|n't\b")


def negations(text: str) -> Counter[str]:
    """How often each word that denies or excepts occurs; `can't`, `cannot` and `don't` all count as `not`."""
    plain = _SHORT.sub(" not ", fold(text))
    return Counter(word for word in plain.translate(_WORDS).split() if word in _NEGATIONS)


_FIGURE = re.compile(r"\d+(?:[.,']\d+)*")


def numbers(text: str) -> frozenset[Decimal | str]:
    """The numbers that a text names, in figures or English words; `thirty (30)` is one, a lone `one` is none."""
    folded = fold(text)
    found: set[Decimal | str] = set()
    for match in _FIGURE.finditer(folded):
        found.add(_figure(match[0]))
    run: list[str] = []
    for word in [*folded.translate(_WORDS).split(), ""]:
        if word in NUMBER_WORDS or (run and word == "and"):
            run.append(word)
            continue
        _close(run, found)
        if word in ORDINAL_WORDS:
            found.add(Decimal(ORDINAL_WORDS[word]))
    return frozenset(found)


def _figure(text: str) -> Decimal | str:
    value = to_decimal(text)
    return text if value is None else value


def _close(run: list[str], found: set[Decimal | str]) -> None:
    """Turn a finished run of number words into its number."""
    while run and run[-1] == "and":
        run.pop()
    if run and run != ["one"]:
        value = spelled(run)
        found.add(" ".join(run) if value is None else value)
    run.clear()


def span_difference(gold: str, answer: str, *, overlap: float = SPAN_OVERLAP) -> str | None:
    """Why two spans are not the same, `None` where they are.

    A negation or a number that only one of them has makes them differ whatever their overlap.
    """
    if squeeze(gold) == squeeze(answer):
        return None
    if negations(gold) != negations(answer):
        return "negation differs"
    if numbers(gold) != numbers(answer):
        return "number differs"
    share = jaccard(tokens(gold), tokens(answer))
    return None if share >= overlap else f"overlap {share:.2f}"
