"""What each column of the table means: one record and its score -> one flat row.

Records and scores are taken as the plain data of their lines (`records.jsonl`, `scores-*.jsonl`): a dataclass a call
would cost more than all the rest. Only priced runs are decoded, since `pricing` speaks in nouns.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evals import store
from evals.analysis.tables import routed
from evals.core import Call, Price, Record, Usage
from evals.pricing import call_cost_usd, is_waste, paid_here

SERVED = {"served_model": "model", "fingerprint": "fingerprint", "tier": "tier"}
"""Column -> key of `Completion.served_by`."""
FREE = frozenset(
    {"rate_limit", "server", "auth", "bad_request", "unknown_model", "context_length", "privacy", "too_large"}
)
"""Errors that a provider does not bill."""
COUNTS = ("tp", "wrong", "miss", "hall", "tn")
STRICT = ("strict_tp", "strict_wrong", "strict_miss", "strict_hall")
SHARES = ("exact", "exact_strict", "schema_valid", "parse_strict", "parse_lenient")
SCORES = (
    *COUNTS,
    *STRICT,
    *("f1", "f1_strict", *SHARES),
    *("wrong_grounded", "invented", "score"),
)
"""`score` is there where a run has a main score of its own (an import); elsewhere a document's F1 is its score."""
TEXTS = (
    *("sample_id", "slice", "group", "data_class", "error", "finish_reason", "started_at"),
    *("served_model", "fingerprint", "tier", "answered_by", "own_started_at"),
)
MONEY = ("cost_usd", "notional_usd", "wasted_usd", "wasted_assumed", "wasted_unknown")
NUMBERS = (
    *("repeat", "latency_s", "queued_s", "backoff_s", "ttft_s", "prefill_s", "decode_s", "loop_lag_s", "in_flight"),
    *("calls", "retries", "input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens"),
    *("reasoning_tokens", "truncated_chars", "truncated_tokens", "chars", "p_error", "own_s"),
    *MONEY,
)
FLAGS = ("failed", "cached")
TYPES: dict[str, str] = {
    **dict.fromkeys(TEXTS, "string"),
    **dict.fromkeys((*NUMBERS, *SCORES), "number"),
    **dict.fromkeys(FLAGS, "flag"),
    "tags": "list",
}
"""Column -> type of `table.parquet`, in its order."""

BLANK: dict[str, Any] = dict.fromkeys(TYPES)
_SCORES = frozenset(SCORES)

Line = Mapping[str, Any]
"""One line of a file as plain data."""
Lines = Sequence[Line]


def row(record: Line, scored: Line, prices: Mapping[str, Price] | None) -> dict[str, Any]:
    """One record and its line of scores as a row of all `TYPES`, in their order; `None` is not measured, NaN not
    scorable."""
    calls, answer = record.get("calls", ()), record.get("answer")
    final = calls[answer] if answer is not None else None
    found = {**BLANK, **_about(record, scored["sample"]), **_outcome(calls, final), **_times(calls, final)}
    _add_usage(found, calls)
    for name, value in scored["metrics"].items():
        if name in _SCORES:
            found[name] = math.nan if value is None else value  # JSON has no NaN: it was written as null
    if record.get("route"):
        found.update(routed.columns(record, prices))
    return {**found, **money(store.decode(record), prices)} if prices else found


def _about(record: Line, sample: Line) -> dict[str, Any]:
    return {
        "sample_id": record["sample_id"],
        "repeat": record["repeat"],
        "slice": sample.get("slice"),
        "tags": sample.get("tags") or (),
        "group": sample.get("group"),
        "data_class": sample.get("data_class"),
        "chars": sample.get("chars"),
        "truncated_chars": record.get("truncated_chars", 0),
    }


def _outcome(calls: Lines, final: Line | None) -> dict[str, Any]:
    """How it ended, and who answered: the last call that has an answer."""
    completion = final.get("completion") if final else None
    done = [part for call in calls if (part := call.get("completion"))]
    served = done[-1].get("served_by", {}) if done else {}
    return {
        "failed": final is None,
        "cached": any([call.get("cached", False) for call in calls]),
        "error": calls[-1].get("error") if final is None and calls else None,
        "finish_reason": completion.get("finish_reason") if completion else None,
        "calls": len(calls),
        "retries": sum([call["role"] == "retry" for call in calls]),
        "truncated_tokens": sum([part.get("truncated_tokens", 0) for part in done]),
        **({name: _word(served.get(key)) for name, key in SERVED.items()} if served else {}),
    }


def _times(calls: Lines, final: Line | None) -> dict[str, Any]:
    """Seconds of the calls that were timed in this run: cached ones were not. Nothing timed: nothing is known."""
    timed = [call for call in calls if call.get("timing") and not call.get("cached")]
    if not timed:
        return {}
    parts = [call["timing"] for call in timed]
    fresh = final is not None and bool(final.get("timing")) and not final.get("cached")
    first = final["timing"] if final is not None and fresh else parts[0]
    backoff = sum([part.get("backoff_s", 0.0) for part in parts])
    return {
        "started_at": parts[0].get("started_at"),
        "latency_s": sum([part["total_s"] for part in parts]) + backoff,
        "queued_s": total(parts, "queued_s"),
        "backoff_s": backoff,
        "ttft_s": first.get("ttft_s"),
        "prefill_s": total(parts, "prefill_s"),
        "decode_s": total(parts, "decode_s"),
        "loop_lag_s": max([part.get("loop_lag_s") or 0.0 for part in parts]),
        "in_flight": timed[0].get("in_flight", 1),
    }


TOKENS = {
    "input_tokens": "input_uncached",
    "cache_read_tokens": "cache_read",
    "cache_write_tokens": "cache_write",
    "output_tokens": "output",
    "reasoning_tokens": "reasoning",
}
"""Column -> key of `Usage`."""


def _add_usage(found: dict[str, Any], calls: Lines) -> None:
    """Tokens of all calls, failed ones that reported them too."""
    used = [part["usage"] for call in calls if (part := call.get("completion")) and part.get("usage")]
    used += [call["usage"] for call in calls if call.get("usage")]
    if used:
        for name, key in TOKENS.items():
            found[name] = total(used, key)


def total(parts: Lines, key: str) -> float | None:
    """Sum of what the parts say; `None` where none does."""
    if len(parts) == 1:
        return parts[0].get(key)
    known = [value for part in parts if (value := part.get(key)) is not None]
    return sum(known) if known else None


def _word(value: Any) -> str | None:
    return None if value is None else str(value)


def money(record: Record, prices: Mapping[str, Price]) -> dict[str, float | None]:
    """Dollars of a remote record: paid, notional, wasted. A reply that was cut or unreadable and reported no usage is
    assumed to have cost what the answer cost; a time-out of unknown cost is counted, not guessed."""
    answer = record.calls[record.answer] if record.answer is not None else None
    spent: list[tuple[Call, float | None, bool]] = []
    for call in record.calls:
        done = call.completion
        made_here = done is not None and (done.usage != Usage() or "imported" in done.notes)  # not merged of parts
        if call.error in FREE or (call.timing is None and not made_here):
            continue
        known = call_cost_usd(call, prices)
        assumed = known is None and call.error == "bad_body" and answer is not None
        spent.append((call, call_cost_usd(answer, prices) if assumed and answer else known, assumed))
    fresh = [(call, dollars) for call, dollars, _ in spent if paid_here(call)]
    unknown_answer = any(dollars is None and call.completion for call, dollars, _ in spent)
    return {
        "cost_usd": None if unknown_answer else _dollars(dollars for _, dollars in fresh),
        "notional_usd": None if unknown_answer else _dollars(dollars for _, dollars, _ in spent),
        "wasted_usd": _dollars(dollars for call, dollars in fresh if is_waste(call)),
        "wasted_assumed": float(sum(assumed for _, _, assumed in spent)),
        "wasted_unknown": float(sum(dollars is None and not call.completion for call, dollars, _ in spent)),
    }


def _dollars(known: Iterable[float | None]) -> float:
    return float(sum(one for one in known if one is not None))
