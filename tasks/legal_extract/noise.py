"""What a scanner does to a page: confused letters, lost spaces, broken words, page furniture in the middle."""

import random
import re
from collections.abc import Sequence

CONFUSED = {"l": "1", "O": "0", "m": "rn", "rn": "m", "e": "c", "h": "b", "I": "l", "cl": "d", "S": "5", "fi": "ﬁ"}
DIGITS = {"0": "O", "1": "l"}


def scanned(text: str, rng: random.Random, keep: Sequence[str]) -> str:
    """The text as a poor scan gives it. Of the phrases in `keep` nothing changes but a 0 or 1 that looks like a letter."""
    pattern = re.compile(
        "|".join(re.escape(phrase) for phrase in sorted(set(keep), key=len, reverse=True) if phrase) or r"(?!)"
    )
    pieces: list[str] = []
    at = 0
    for found in pattern.finditer(text):
        pieces += [_worn(text[at : found.start()], rng), _digits(found[0], rng)]
        at = found.end()
    return _paged("".join([*pieces, _worn(text[at:], rng)]), rng)


def _digits(phrase: str, rng: random.Random) -> str:
    spots = [i for i, c in enumerate(phrase) if c in DIGITS and i > 0 and phrase[i - 1].isdigit()]
    if not spots or rng.random() > 0.25:
        return phrase
    i = rng.choice(spots)
    return phrase[:i] + DIGITS[phrase[i]] + phrase[i + 1 :]


def _worn(text: str, rng: random.Random) -> str:
    words = text.split(" ")
    for i, word in enumerate(words):
        draw = rng.random()
        if draw < 0.02 and len(word) > 3 and word.isascii():
            options = [pair for pair in CONFUSED.items() if pair[0] in word]
            if options:
                a, b = rng.choice(options)
                words[i] = word.replace(a, b, 1)
        elif draw < 0.028 and len(word) > 7 and word.isalpha():
            cut = rng.randint(3, len(word) - 3)
            words[i] = f"{word[:cut]}-\n{word[cut:]}"
    glued = [" " if rng.random() > 0.006 else "" for _ in words]
    return "".join(word + gap for word, gap in zip(words, [*glued[:-1], ""], strict=True))


def _paged(text: str, rng: random.Random) -> str:
    lines = text.split("\n")
    page, out, since = 1, [], 0
    for line in lines:
        out.append(line)
        since += len(line)
        if since > 2200 and not line:
            out += [
                rng.choice([f"- {page} -", f"Page {page}", f"{page} | P a g e"]),
                rng.choice(["CONFIDENTIAL", "execution copy", ""]),
            ]
            page, since = page + 1, 0
    return "\n".join(out)
