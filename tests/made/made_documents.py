"""Stored results out of thin air: documents whose errors, signals and costs are known."""

from typing import Any

import numpy as np

from evals.analysis.routing.documents import Documents


def made(
    n: int = 400,
    *,
    cheap: float = 0.6,
    strong: float = 0.85,
    signal: float = 0.0,
    seed: int = 0,
    cost: Any = None,
    **more: Any,
) -> Documents:
    """A cheap and a strong option, right or wrong; `signal`: how far the cheap one's only signal tells its errors. `cost`: dollars
    a document of each option, or of each document."""
    random = np.random.default_rng(seed)
    right = np.stack([random.random(n) < cheap, random.random(n) < strong]).astype(np.float64)
    told = random.normal(size=n) + signal * right[0]
    dollars = np.full((2, n), np.nan) if cost is None else cost
    if isinstance(cost, tuple):
        dollars = np.repeat(np.array(cost)[:, None], n, axis=1)
    values: dict[str, Any] = {
        "ids": [f"d{at}" for at in range(n)],
        "options": ["cheap", "strong"],
        "hits": right,
        "whole": np.ones((2, n)),
        "cost": dollars,
        "latency": np.repeat([[1.0], [5.0]], n, axis=1),
        "failed": np.zeros((2, n), bool),
        "signals": [{"mean_logprob": told}, {}],
        "features": {"chars": random.normal(size=n) - signal * right[0]},
        "places": {"cheap": {"location": "own"}, "strong": {"location": "api"}},
    }
    return Documents(**{**values, **more})
