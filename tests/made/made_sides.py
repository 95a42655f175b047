"""Two sides of a comparison made by hand, with outcomes drawn from a seed."""

import math
import random
from collections.abc import Sequence
from typing import Any

import pandas as pd

from evals.analysis.comparing.baseline import Side
from evals.core import Outcome

HASHES = {"scorer": "s1", "prompt": "p1", "schema": "j1"}
WORDS: tuple[Outcome, ...] = ("tp", "wrong", "miss", "hall", "tn")
FIELDS = ("who", "when", "sums[].amount")
ABOUT: dict[str, Any] = {
    **{"task": "mine", "option": "new", "model": "new", "dataset": "d", "hashes": HASHES, "load": "single_stream"},
    **{"processing": "online", "location": "own", "machine": {"cpu": "x", "cores": 2}, "prices": None},
}
Leaves = dict[tuple[str, int], list[tuple[str, str]]]
"""(document, repeat) -> its leaves: path and outcome."""


def drawn(seed: int, n: int = 60, repeats: int = 1, right: float = 0.6) -> Leaves:
    rng = random.Random(seed)
    weights = [right, 0.4 * (1 - right), 0.25 * (1 - right), 0.2 * (1 - right), 0.15 * (1 - right)]
    pick = lambda: rng.choices(WORDS, weights)[0]  # noqa: E731
    return {
        (f"d{i:03}", r): [(name, pick()) for name in (*FIELDS, FIELDS[2])[: 3 + i % 2] if name != "when" or i % 5]
        for i in range(n)
        for r in range(repeats)
    }


def side(leaves: Leaves, *, groups: int | None = None, latency: Sequence[float] = (), **about: Any) -> Side:
    """What `read_side` gives, made by hand."""
    rows, fields = [], []
    for at, ((name, repeat), found) in enumerate(leaves.items()):
        counts = {word: float(sum(outcome == word for _, outcome in found)) for word in WORDS}
        document = int(name[1:])
        rows.append(
            {"sample_id": name, "repeat": float(repeat), "slice": "simple" if document % 3 else "complex"}
            | {"group": f"g{document // groups}" if groups else None, "failed": False, "cached": False, "error": None}
            | counts
            | {f"strict_{word}": counts[word] for word in WORDS[:4]}
            | {"exact": float(counts["wrong"] + counts["miss"] + counts["hall"] == 0), "schema_valid": 1.0}
            | {"latency_s": latency[at] if len(latency) else math.nan, "notional_usd": math.nan}
        )
        fields += [
            {"sample_id": name, "repeat": float(repeat), "path": path, "outcome": word, "strict": word}
            | {"gold": None, "answer": None}
            for path, word in found
        ]
    frame = pd.DataFrame(rows)
    frame["group"] = frame["group"].astype("string")
    return Side(where="here", about={**ABOUT, **about}, rows=frame, fields=pd.DataFrame(fields))
