"""One error tree.

EvalsError                  what `evals` raises on purpose
├── UserError               the user's mistake: one clear line, exit code 2, raised before the first token
│   ├── ConfigError         a key or value of the command line or a YAML file
│   ├── DataError           a dataset, predictions or table file
│   ├── WeightsError        weights that cannot be had or are not what they should be
│   └── StoreError          a run folder that cannot be written or read
├── BudgetReached           the next call would cross the budget: records so far are kept, exit code 1
├── CallFailed              one call gave no answer: becomes an error row, never ends a run by itself
│   └── FatalCall           every further call would fail alike (bad key, unknown model): ends the run at once
└── Stopped                 Ctrl-C: records so far are kept, exit code 130
"""

from typing import Any, Literal

from evals.core import Usage

CallErrorKind = Literal[
    "context_length",  # the document does not fit the context and the policy is `error`
    "content_filter",
    "too_large",
    "crashed",  # the worker process of an in-process model died
    "timeout",
    "rate_limit",
    "server",  # 5xx, connection lost
    "bad_body",  # truncated or unreadable reply
    "privacy",  # the document's class forbids this model: refused before anything is sent
    "auth",
    "bad_request",
    "unknown_model",
    "internal",  # an exception inside a backend that is none of these
]

INFRASTRUCTURE: frozenset[str] = frozenset({"crashed", "timeout", "rate_limit", "server", "bad_body", "internal"})
"""Kinds that say nothing about the model's quality; the others are the model's own and score zero."""


RETRYABLE: frozenset[str] = frozenset({"timeout", "rate_limit", "server", "bad_body"})
"""Kinds that another attempt may cure; the engine alone repeats."""


class EvalsError(Exception):
    """What `evals` raises on purpose."""


class UserError(EvalsError):
    """The user's mistake. The message is one line: what is wrong, where (file, line or key), and the mend."""


class ConfigError(UserError):
    """A key or value of the command line or a YAML file."""


class DataError(UserError):
    """A dataset, predictions or table file."""


class WeightsError(UserError):
    """Weights that cannot be had or are not what they should be."""


class StoreError(UserError):
    """A run folder that cannot be written or read."""


class BudgetReached(EvalsError):
    """The next call would cross the budget. `args[0]` says which, and the command that goes on."""


class CallFailed(EvalsError):
    """One call gave no answer. `kind` is one of `CallErrorKind`.

    `retry_after_s`: seconds the server asks to wait; `usage`: tokens that were billed all the same; `status`: of HTTP.
    """

    def __init__(
        self,
        kind: CallErrorKind,
        text: str,
        *,
        retry_after_s: float | None = None,
        usage: Usage | None = None,
        status: int | None = None,
    ) -> None:
        super().__init__(kind, text)
        self.kind = kind
        self.text = " ".join(text.split())[:500]
        self.retry_after_s, self.usage, self.status = retry_after_s, usage, status

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"retry_after_s": self.retry_after_s, "usage": self.usage, "status": self.status}
        return type(self), (self.kind, self.text), state


class FatalCall(CallFailed):
    """Every further call would fail alike."""


class Stopped(EvalsError):
    """Ctrl-C. `args[0]` is the command that goes on."""
