"""The quality of a run that has a main score of its own and no field outcomes: an import.

What is made of fields was not measured there; the score is a mean over the documents that could be scored, with the
interval that suits it: Wilson for right or wrong, BCa up to 500 documents, Student's t above.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evals.analysis.tables.columns import SHARES
from evals.analysis.tables.outcomes import documents, plain
from evals.analysis.tables.rows import Mask, Rows
from evals.stats import Array, Estimate, bca_mean, mean_t, wilson

NOT_MEASURED = {"value": None, "low": None, "high": None, "n": 0}


def with_own_score(quality: Mapping[str, Any], rows: Rows, *, single: bool, keep: Mask | None = None) -> dict[str, Any]:
    """The quality with `score`, and with nothing for what was not measured. Repeats are averaged inside a document."""
    told = documents(rows, single=single, keep=keep)

    def column(name: str) -> Array:
        values = rows.numbers(name)
        return told.mean(values if keep is None else values[keep])

    silent = {name: NOT_MEASURED for name in SHARES if np.isnan(column(name)).all()}
    raw, score = rows.numbers("score"), column("score")
    known = score[~np.isnan(score)]
    binary = bool(np.isin(raw[~np.isnan(raw)], (0.0, 1.0)).all())
    return {**quality, **silent, "score": {**plain(estimate(known, binary=binary)), "n": len(known)}}


def estimate(values: Array, *, binary: bool) -> Estimate:
    """A mean of scores with its interval. `binary`: every answer is right or wrong, also where repeats are averaged."""
    if len(values) and binary:
        return wilson(float(values.sum()), len(values))
    return bca_mean(values) if 10 <= len(values) <= 500 else mean_t(values)
