"""How sure a model was of an answer, from the scores of its tokens: over values only, and field by field. Pure.

Keys and punctuation that a schema fixes say nothing of a value and would drown what is said about it.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_PART = re.compile(rb'"(?:[^"\\]|\\.)*(?:"|$)|[-0-9.eE+]+|[a-z]+|[{}\[\]:,]')


@dataclass(frozen=True, slots=True)
class Chosen:
    """One token that the model chose: its bytes of the answer, and how sure it was (nats)."""

    start: int
    end: int
    logprob: float
    margin: float | None
    own: bool


def leaf_spans(text: bytes) -> list[tuple[str, int, int]]:
    """Every leaf value of a JSON text as (path, first byte, end): `parties[].name`. A text cut short gives what is there.

    Strings count with their quotes: opening one instead of writing `null` is part of the choice.
    """
    found: list[tuple[str, int, int]] = []
    path: list[str] = []
    keys: list[bool] = []  # of each open container: is it an object?
    key, awaits = "", False
    for part in _PART.finditer(text):
        word = part.group()
        if word in (b"{", b"["):
            path.append(key)
            keys.append(word == b"{")
            key, awaits = ("[]", False) if word == b"[" else ("", True)
        elif word in (b"}", b"]"):
            if keys:
                keys.pop()
                key = path.pop()
            awaits = False
        elif word == b",":
            awaits = bool(keys) and keys[-1]
        elif word == b":":
            awaits = False
        elif awaits:
            key, awaits = word.strip(b'"').decode("utf-8", "replace"), False
        else:
            found.append((_joined([*path, key]), part.start(), part.end()))
    return found


def _joined(parts: Sequence[str]) -> str:
    return ".".join(part for part in parts if part).replace(".[]", "[]")


def confidence(text: bytes, tokens: Sequence[Chosen], *, constrained: bool) -> tuple[dict[str, float], dict[str, Any]]:
    """Signals of the whole answer, and of every field `{min_margin, mean_margin, min_logprob}` (nats).

    `mean_logprob, min_logprob, mean_margin, min_margin` over the tokens of values (of all tokens where no schema bound
    the answer); `worst_field_margin, worst_field_logprob`: the lowest field's mean; `forced_share`: of all tokens that
    were chosen, those where the model would have written another had the schema let it.
    """
    if not tokens:
        return {}, {}
    if not constrained:
        return _over(tokens), {}
    fields: dict[str, list[Chosen]] = {}
    values: list[Chosen] = []
    at = 0
    for path, start, end in leaf_spans(text):
        while at < len(tokens) and tokens[at].end <= start:
            at += 1
        inside = at
        while inside < len(tokens) and tokens[inside].start < end:
            fields.setdefault(path, []).append(tokens[inside])
            if not values or values[-1] is not tokens[inside]:
                values.append(tokens[inside])
            inside += 1
    signals = _over(values)
    told = {path: _over(chosen) for path, chosen in fields.items()}
    for name, key in (("worst_field_margin", "mean_margin"), ("worst_field_logprob", "mean_logprob")):
        known = [one[key] for one in told.values() if one.get(key) is not None]
        if known:
            signals[name] = min(known)
    signals["forced_share"] = sum(not token.own for token in tokens) / len(tokens)
    shown = {path: {key: round(value, 3) for key, value in one.items()} for path, one in told.items()}
    return signals, shown


def _over(tokens: Sequence[Chosen]) -> dict[str, float]:
    margins = [token.margin for token in tokens if token.margin is not None]
    found: dict[str, float] = {}
    if tokens:
        found["mean_logprob"] = sum(token.logprob for token in tokens) / len(tokens)
        found["min_logprob"] = min(token.logprob for token in tokens)
    if margins:
        found["mean_margin"] = sum(margins) / len(margins)
        found["min_margin"] = min(margins)
    return found
