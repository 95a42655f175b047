"""Times as texts -> seconds, and how long something was under way."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from evals.stats import Array


def seconds(texts: "pd.Series[Any]") -> "Array":
    """ISO 8601 times as seconds; NaN where there is none."""
    found = pd.to_datetime(texts, utc=True, format="ISO8601").to_numpy("datetime64[us]")
    return np.where(np.isnat(found), np.nan, found.astype(np.int64) / 1e6)


def union_seconds(start: "Array", end: "Array") -> float | None:
    """Length of the union of spans; `None` where there is none."""
    if not len(start):
        return None
    if (start[1:] < start[:-1]).any():
        order = np.argsort(start, kind="stable")
        start, end = start[order], end[order]
    end = np.maximum.accumulate(end)
    gaps = start[1:] - end[:-1]
    np.clip(gaps, 0, None, out=gaps)
    return float(end[-1] - start[0] - gaps.sum())
