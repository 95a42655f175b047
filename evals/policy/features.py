"""What is known of a document before anybody is asked. Pure, in linear time."""

import re
from collections.abc import Mapping

from evals.core import Request

_ODD = re.compile(r"[^\w\s.,;:!?'\"()\[\]{}/&%#*@+=<>_$€£§©®°\-–—‘’“”•…]+")
"""Characters that contracts and forms do not hold: what a bad scan leaves behind."""
_MIXED = re.compile(r"\b(?:[^\W\d_]+\d+[^\W\d_]+|\d+[^\W\d_]{4,}|[^\W\d_]{4,}\d+)\w*")
"""Letters and digits in one word (`l1ability`, `0bligation`): letters read as digits."""
_DIGITS = "0123456789"
TAG = "tag:"
"""Before a tag's name: 1 where the document has it. A tag that a document does not have is 0."""
PLAIN = ("chars", "words", "lines", "word_chars", "digit_share", "odd_share", "mixed_share", "blank_share", "cut_share")


def features(request: Request) -> dict[str, float]:
    """Feature -> number, of the document's text (`request.inputs["text"]`, else of the messages) and its tags.

    `chars, words, lines`; `word_chars` mean length of a word; shares of the characters that are digits, odd for a
    document (`odd_share`), blank; `mixed_share` of the words hold letters and digits; `cut_share` of the text was left
    out to fit; `tag:NAME` is 1. The shares of odd characters and mixed words stand for the quality of a scan.
    """
    given = request.inputs.get("text")
    text = given if isinstance(given, str) else "\n".join(message.content for message in request.messages) or None
    return (_of_text(text, request.truncated_chars) if text is not None else {}) | named(request.features)


def _of_text(text: str, cut: int) -> dict[str, float]:
    words, chars = len(text.split()), len(text)
    blank = sum(text.count(mark) for mark in " \n\t\r\u00a0")
    return {
        "chars": float(chars),
        "words": float(words),
        "lines": float(text.count("\n") + 1 if text else 0),
        "word_chars": (chars - blank) / words if words else 0.0,
        "digit_share": sum(text.count(digit) for digit in _DIGITS) / max(chars, 1),
        "odd_share": sum(map(len, _ODD.findall(text))) / max(chars, 1),
        "mixed_share": len(_MIXED.findall(text)) / max(words, 1),
        "blank_share": blank / max(chars, 1),
        "cut_share": cut / max(chars, cut, 1),
    }


def named(given: Mapping[str, object]) -> dict[str, float]:
    """What the task says of a document: its tags as `tag:NAME`, and other numbers under their own names."""
    tags = given.get("tags")
    found = {f"{TAG}{tag}": 1.0 for tag in tags} if isinstance(tags, list | tuple) else {}
    for name, value in given.items():
        if name != "tags" and isinstance(value, int | float):
            found[name] = float(value)
    return found


def value_of(given: Mapping[str, float], name: str) -> float | None:
    """A feature or signal by name; a tag that is not there is 0, anything else that is not there is not known."""
    value = given.get(name)
    if value is None or value != value:
        return 0.0 if value is None and name.startswith(TAG) else None
    return float(value)
