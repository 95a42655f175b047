"""What changed between two sides, document by document: broken and mended ones, field by field, and who answered."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from evals.analysis.comparing.baseline import Side, served
from evals.analysis.comparing.compare import Pair


def broken_and_fixed(pair: Pair) -> tuple[list[str], list[str]]:
    """Documents that were wholly right (in every repeat) and no longer are, and the other way round."""
    before, after = pair.a["exact"] == 1, pair.b["exact"] == 1
    return list(pair.a.index[before & ~after]), list(pair.a.index[~before & after])


def field_diff(a: Side, b: Side, names: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """For each document the leaves whose outcome changed: path, both outcomes, gold and both answers where known."""
    wanted = set(names)
    before, after = (_by_document(side.fields[side.fields["sample_id"].isin(wanted)]) for side in (a, b))
    return {name: _first_changes(before.get(name, {}), after.get(name, {})) for name in names}


Leaf = Mapping[Any, Any]
Leaves = dict[str, list[Leaf]]
"""Path -> its leaves."""


def _by_document(fields: pd.DataFrame) -> dict[str, dict[float, Leaves]]:
    found: dict[str, dict[float, Leaves]] = {}
    for row in fields.to_dict("records"):
        document = found.setdefault(row["sample_id"], {}).setdefault(float(row["repeat"]), {})
        document.setdefault(row["path"], []).append(row)
    return found


def _first_changes(before: Mapping[float, Leaves], after: Mapping[float, Leaves]) -> list[dict[str, Any]]:
    """Of the first repeat in which something changed."""
    for repeat in sorted(before.keys() & after.keys()):
        if changes := list(_changed(before[repeat], after[repeat])):
            return changes
    return []


def _changed(left: Mapping[str, list[Leaf]], right: Mapping[str, list[Leaf]]) -> Iterator[dict[str, Any]]:
    for path in dict.fromkeys([*left, *right]):
        for before, after in _matched(left.get(path, []), right.get(path, [])):
            if (before or {}).get("outcome") == (after or {}).get("outcome"):
                continue
            yield {
                "path": path,
                "baseline": before["outcome"] if before else None,
                "candidate": after["outcome"] if after else None,
                "gold": _first(before, after, "gold"),
                "baseline_answer": _first(before, None, "answer"),
                "candidate_answer": _first(after, None, "answer"),
            }


def _matched(left: list[Leaf], right: list[Leaf]) -> Iterator[tuple[Leaf | None, Leaf | None]]:
    """Leaves of one path side by side: those that gold sets in gold's order, then those that only answers set."""
    parts = [
        [[x for x in side if (x["outcome"] in ("hall", "tn")) == free] for side in (left, right)]
        for free in (False, True)
    ]
    for a, b in parts:
        if all(leaf.get("gold") is not None for leaf in (*a, *b)):  # both sides know it, so in whatever order they are
            a, b = (sorted(side, key=lambda leaf: str(leaf["gold"])) for side in (a, b))
        for i in range(max(len(a), len(b))):
            yield (a[i] if i < len(a) else None), (b[i] if i < len(b) else None)


def _first(one: Leaf | None, other: Leaf | None, key: str) -> Any:
    for leaf in (one, other):
        if leaf is not None and leaf.get(key) is not None and leaf[key] == leaf[key]:
            return leaf[key]
    return None


def served_change(a: Side, b: Side) -> list[str]:
    """Another model id or fingerprint behind one name, in words."""
    if a.about["model"] != b.about["model"]:
        return []
    before, after = served(a.rows), served(b.rows)
    return [
        f"{b.about['model']}: the {name.replace('_', ' ')} changed from {', '.join(before[name])} to {', '.join(after[name])}"
        for name in before
        if before[name] and after.get(name) and list(before[name]) != list(after[name])
    ]
