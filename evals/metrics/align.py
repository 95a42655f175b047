"""One-to-one alignment of list items by the greatest total score. Items enter in a canonical order, so that the
order of a list never changes a score; ties go to the lower index."""

from collections.abc import Callable, Sequence
from typing import Any

from evals.core import stable_hash

Pair = tuple[int | None, int | None]


def align(
    gold: Sequence[Any],
    answer: Sequence[Any],
    score: Callable[[Any, Any], float],
    *,
    threshold: float,
    key: Callable[[Any], Any] = lambda item: item,
) -> list[Pair]:
    """(gold index, answer index) of every item; `None` on one side where an item has no partner.

    Pairs that score below `threshold` are left unmatched and count for nothing; `key` gives what items are put in order
    by, so that ties fall alike however a value is written. Source: Kuhn-Munkres, by scipy's linear_sum_assignment.
    """
    if not gold or not answer:
        return [(i, None) for i in range(len(gold))] + [(None, j) for j in range(len(answer))]
    rows, columns = _canonical(gold, key), _canonical(answer, key)
    scores = [[score(gold[i], answer[j]) for j in columns] for i in rows]
    matrix = [[value if value >= threshold else 0.0 for value in row] for row in scores]
    pairs: list[Pair] = [(rows[r], columns[c]) for r, c in _assignment(matrix) if scores[r][c] >= threshold]
    matched_gold, matched_answer = {i for i, _ in pairs}, {j for _, j in pairs}
    pairs += [(i, None) for i in range(len(gold)) if i not in matched_gold]
    pairs += [(None, j) for j in range(len(answer)) if j not in matched_answer]
    return sorted(pairs, key=lambda pair: (pair[0] is None, pair[0] or 0, pair[1] or 0))


def _canonical(items: Sequence[Any], key: Callable[[Any], Any]) -> list[int]:
    hashes = [stable_hash(key(item)) for item in items]
    return sorted(range(len(items)), key=lambda i: (hashes[i], i))


def _assignment(matrix: list[list[float]]) -> list[tuple[int, int]]:
    if len(matrix) == 1:
        best = max(range(len(matrix[0])), key=lambda c: (matrix[0][c], -c))
        return [(0, best)]
    if len(matrix) == len(matrix[0]) == 2:  # the commonest list of all: two parties
        straight, crossed = matrix[0][0] + matrix[1][1], matrix[0][1] + matrix[1][0]
        return [(0, 0), (1, 1)] if straight >= crossed else [(0, 1), (1, 0)]
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(matrix, maximize=True)
    return list(zip(rows.tolist(), columns.tolist(), strict=True))
