"""One token out of a model's scores: the best that is allowed, or a seeded draw; and how sure the model was. Pure."""

import math
from typing import Any, NamedTuple

_NEAR = 25.0
"""Scores further below the best than this many nats add less than 1e-5 to a sum over 256,000 tokens."""


class Choice(NamedTuple):
    """A token, and what the model's scores say of it among those that were allowed."""

    token: int
    logprob: float
    """Natural log of its probability, renormalised over the allowed tokens, at temperature 1."""
    margin: float | None
    """Lead of the best over the second, in nats, at most 25; `None` where only one token was allowed."""
    own: bool
    """Would the model have chosen it without any rule?"""


class Sampler:
    """Chooses for one answer; answers that are decoded together do not touch each other's draws."""

    def __init__(self, *, temperature: float = 0.0, seed: int = 0) -> None:
        import numpy

        self._np = numpy
        self._temperature = temperature
        self._random = numpy.random.default_rng(seed) if temperature > 0 else None

    def __call__(self, logits: Any, allowed: Any | None) -> Choice | None:
        """`logits`: float array over the vocabulary; `allowed`: booleans of that shape. `None`: no token is allowed.

        A draw adds Gumbel noise: the best noisy score is a draw from the softmax, the best allowed one a draw from the
        distribution under the rules.
        """
        np = self._np
        under = logits if allowed is None else np.where(allowed, logits, -np.inf)
        best = int(under.argmax())
        top = float(under[best])
        if not math.isfinite(top):
            return None
        near = under[under > top - _NEAR]
        total = top + math.log(float(np.exp(near - top).sum()))
        if near.size > 1:
            margin: float | None = top - float(np.partition(near, near.size - 2)[-2])
        else:
            margin = _NEAR if allowed is None or int(np.count_nonzero(allowed)) > 1 else None
        token, free = best, logits
        if self._random is not None:
            noise = self._random.gumbel(size=logits.shape[0])
            free = logits / self._temperature + noise
            token = int((free if allowed is None else np.where(allowed, free, -np.inf)).argmax())
        own = allowed is None or int(free.argmax()) == token
        return Choice(token, float(under[token]) - total, margin, own)
