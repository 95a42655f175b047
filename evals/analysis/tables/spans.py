"""Times as texts -> seconds, how long something was under way, and what was done while a machine was full."""

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from evals.stats import Array

_FULL = 0.9
"""A machine is full with this share of its places taken: between two documents each is empty for a moment."""


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


def while_full(start: "Array", end: "Array", places: int) -> tuple[float, float]:
    """How much was done, and in how many seconds, while nine of ten `places` or more were taken by spans.

    A span counts with the part of it that lies in that time. So a run's beginning and end, when places stand empty, lower
    no rate: documents / seconds is what a machine does that always has the next document.
    """
    if not len(start):
        return 0.0, 0.0
    at = np.concatenate([start, end])
    order = np.argsort(at, kind="stable")
    at = at[order]
    under_way = np.cumsum(np.repeat([1, -1], len(start))[order])
    lasts = np.diff(at) * (under_way[:-1] >= _FULL * places)
    until = np.concatenate([[0.0], np.cumsum(lasts)])  # seconds of a full machine up to each moment
    inside = np.interp(end, at, until) - np.interp(start, at, until)
    took = end - start
    return float(np.divide(inside, took, out=np.zeros_like(took), where=took > 0).sum()), float(until[-1])
