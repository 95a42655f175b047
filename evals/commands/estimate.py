"""What a run will cost, before a token is bought: prompts of the first documents, answers as long as their gold."""

import itertools
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from evals.commands.settings.run import RunSettings
from evals.core import Price, Request, Sample, Usage
from evals.errors import UserError
from evals.loading import ExtractionTask, select
from evals.pricing import STANDARD, usage_cost_usd

SAMPLED = 50
"""Documents that are looked at."""
CHARS_PER_TOKEN = 3.5
"""Assumed, until a run has measured it."""
ANSWER_MARGIN = 1.3
"""Answers are taken for this many times as long as their gold."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """An assumed figure: nothing was measured yet."""

    documents: int
    input_tokens: float
    """A document."""
    output_tokens: float
    usd: float
    at_most: bool = False
    """Of a hybrid: as if its remote models were asked about every document."""

    def __str__(self) -> str:
        word = "estimated cost, were every document sent on:" if self.at_most else "estimated cost:"
        return (
            f"{word} ${self.usd:,.2f} for {self.documents:,} answers of about {self.input_tokens:,.0f} + "
            f"{self.output_tokens:,.0f} tokens (assumed: {CHARS_PER_TOKEN} characters a token, answers as long as gold)"
        )


def estimate(
    task: ExtractionTask, settings: RunSettings, prices: Mapping[str, Price], documents: int | None
) -> Estimate | None:
    """Dollars of the run at list price; `None` where how many documents there are is not known beforehand."""
    if documents is None:
        return None
    samples = select(task.samples(), limit=None, tags=settings.slice, strata=task.slices, seed=settings.seed)
    seen = [_tokens(task, sample, settings) for sample in itertools.islice(samples, SAMPLED)]
    if not seen:
        return None
    asked, answered = (sum(part) / len(seen) for part in zip(*seen, strict=True))
    usage = Usage(input_uncached=round(asked), output=round(answered))
    told = {"documents": documents, "input_tokens": asked, "output_tokens": answered}
    if STANDARD in prices:
        return Estimate(**told, usd=(usage_cost_usd(usage, prices[STANDARD]) or 0.0) * documents)
    each = [usage_cost_usd(usage, price) or 0.0 for key, price in prices.items() if key.endswith(f"/{STANDARD}")]
    return Estimate(**told, usd=sum(each) * documents, at_most=True)


def _tokens(task: ExtractionTask, sample: Sample, settings: RunSettings) -> tuple[float, float]:
    request = task.request(sample)
    gold = json.dumps(sample.target, ensure_ascii=False)
    length = min(len(gold) / CHARS_PER_TOKEN * ANSWER_MARGIN, settings.max_tokens)
    return sum(_chars(part) for part in request.parts or (request,)) / CHARS_PER_TOKEN, length * max(
        1, len(request.parts)
    )


def _chars(request: Request) -> int:
    schema = len(json.dumps(request.schema)) if request.schema and request.constrain else 0
    return schema + sum(len(message.content) for message in request.messages)


def confirm(found: Estimate | None, *, above_usd: float, budget_usd: float | None) -> None:
    """Say what is to be expected; ask, on a terminal alone, where it is more than `above_usd`. No raises `UserError`."""
    if found is None or (found.usd < 0.01 and not budget_usd):
        return
    over = f"; more than budget.usd={budget_usd:g}, where it will stop" if budget_usd and found.usd > budget_usd else ""
    print(f"{found}{over}", file=sys.stderr)
    if found.usd > above_usd and sys.stdin.isatty() and sys.stderr.isatty():
        sys.stderr.write(f"more than confirm_usd={above_usd:g}; go on? [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UserError("not started: nothing was sent and nothing is billed")
