"""How fast one model reads and decodes here with given settings, measured in children of its own: a setting that dies
costs nothing. Run as `python -m evals.models.llama_rates` by `measured`.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from evals.models.llama_native import Native, NativeSettings, Piece
from evals.models.llama_probe import child_env, end_with
from evals.models.slots import batches, portion

READ, READ_S = 512, 12.0
"""Tokens of a prompt that is read to time reading, and stand before what is decoded, as in most of an extraction; fewer
where that would take longer than so many seconds."""
_PATTERN = (1, 1, 1, 4)
"""Tokens that an answer has evaluated at once: the one that was chosen, and now and then those that are fixed after it."""
_STEPS = 3
"""Times that one token of each of several answers is decoded."""
_TAIL = 8
_ROWS = (2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48)
_TIMEOUT_S = 600.0
_MODULE = "evals.models.llama_rates"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """What one child measured."""

    read: Mapping[str, float]
    """`n_batch` -> prompt tokens a second."""
    decode: Mapping[str, float]
    """Slots -> tokens of answers a second, of all of them together."""
    bounded: Mapping[str, float]
    """The same where no more than `same_rows` tokens are evaluated together."""
    same_rows: int
    """So many tokens, and fewer, evaluated together give the same scores to the bit as one by one."""


def measured(
    path: str, sides: Sequence[NativeSettings], slots: Sequence[int], sizes: Sequence[int]
) -> list[Rates | None]:
    """Settings of processes that run side by side, slots and `n_batch`es to try -> rates of each, `None`: it died."""
    asked = {"slots": list(slots), "batches": list(sizes), "parent": os.getpid()}
    children = [
        subprocess.Popen(
            [sys.executable, "-m", _MODULE, path, json.dumps({**asked, "settings": asdict(side)})],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            stdin=subprocess.DEVNULL,
            text=True,
            env=child_env(),
        )
        for side in sides
    ]
    found: list[Rates | None] = []
    for child in children:
        try:
            out, _ = child.communicate(timeout=_TIMEOUT_S)
            found.append(Rates(**json.loads(out.splitlines()[-1])) if child.returncode == 0 else None)
        except (subprocess.TimeoutExpired, ValueError, IndexError, TypeError):
            child.kill()
            child.communicate()
            found.append(None)
    return found


def rates(path: str, settings: NativeSettings, slots: Sequence[int], sizes: Sequence[int]) -> Rates:
    """Read a prompt in each of `sizes`, decode a few tokens after it in each number of `slots`; in this process."""
    steps = max(sum(_PATTERN), _TAIL)
    longest = min(READ, settings.n_ctx - steps - 1)
    most = max(*sizes, max(slots) * max(_PATTERN))
    native = Native(path, settings := replace(settings, n_ctx=max(512, longest + steps + 1), n_batch=most))
    if not native.open(settings):
        raise native.no_context()
    tokens = [100 + number % 1000 for number in range(longest)]
    native.evaluate([Piece(0, 0, tokens[:64], True)])  # the first pages of the weights
    native.keep(0, 0)
    began = time.perf_counter()
    native.evaluate([Piece(0, 0, tokens[:64], True)])
    length = min(longest, max(128, int(READ_S * 64 / (time.perf_counter() - began))))
    read = dict.fromkeys(map(str, sizes), 0.0)
    for size in (*sizes, *sizes):  # the faster of two times: what disturbs only slows down
        native.keep(0, 0)
        began = time.perf_counter()
        for at in range(0, length, size):
            native.evaluate([Piece(0, at, tokens[at : min(length, at + size)], False)])
        read[str(size)] = max(read[str(size)], length / (time.perf_counter() - began))
    for slot in range(1, max(slots)):
        native.copy(0, slot, length)
    # Several threads share one token's attention from `READ` tokens on: of fewer, nothing can be said of more.
    same = 1 if settings.threads > 1 and length < READ else _same_rows(native, length, max(slots))
    decode: dict[str, float] = {}
    bounded: dict[str, float] = {}
    for count in slots:
        free = decode[str(count)] = _decode(native, length, count, most)
        rows = count * (portion(count) or max(_PATTERN))
        bounded[str(count)] = free if rows <= same else _decode(native, length, count, same)
    native.close()
    return Rates(read=read, decode=decode, bounded=bounded, same_rows=same)


def _decode(native: Native, length: int, count: int, most: int) -> float:
    """Tokens a second that `count` answers have evaluated together, at most `most` in a batch."""
    at, each = [length] * count, portion(count)
    began, done = time.perf_counter(), 0
    steps = _PATTERN if each is None else (each,) * _STEPS
    for step, size in enumerate(steps):
        feeds = [Piece(slot, at[slot], [200 + step] * size, True) for slot in range(count)]
        at = [place + size for place in at]
        done += size * count
        for batch in batches(feeds, most):
            native.evaluate(batch)
    rate = done / (time.perf_counter() - began)
    for slot in range(count):
        native.keep(slot, length)
    return rate


def _same_rows(native: Native, length: int, slots: int) -> int:
    """The most tokens, of one sequence or of several, whose scores are those of evaluating them one by one.

    Kernels differ in how they round from some number of rows on: found out by trying, since it depends on build,
    processor, weights and threads.
    """
    tail = [300 + 7 * number for number in range(_TAIL)]

    def scores(size: int) -> bytes:
        native.keep(0, length)
        last: Any = None
        for at in range(0, _TAIL, size):
            (last,) = native.evaluate([Piece(0, length + at, tail[at : at + size], True)])
        return bytes(last.tobytes())

    def beside(count: int) -> bytes:
        native.keep(0, length)
        last: Any = None
        for at, token in enumerate(tail):
            last = native.evaluate([Piece(slot, length + at, [token + slot], True) for slot in range(count)])[0]
        for slot in range(1, count):
            native.keep(slot, length)
        return bytes(last.tobytes())

    alone, found = scores(1), 1
    for rows in _ROWS:
        if rows > native.settings.n_batch or (rows <= _TAIL and scores(rows) != alone):
            break
        if rows > _TAIL and rows > slots:
            break  # neither way of having so many is tried here
        if rows <= slots and beside(rows) != alone:
            break
        found = rows
    native.keep(0, length)
    return found


def _main(path: str, asked: Mapping[str, Any]) -> None:
    end_with(asked["parent"])
    found = rates(path, NativeSettings(**asked["settings"]), asked["slots"], asked["batches"])
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    _main(sys.argv[1], json.loads(sys.argv[2]))
