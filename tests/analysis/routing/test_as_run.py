"""A saved policy's rows as if it had been run: whose answer counts, and what all who were asked took."""

import math
from typing import Any

import pandas as pd
import pytest

from evals.analysis.routing.replay import as_run
from evals.core import Call, Completion, Policy, Record, Request
from evals.errors import DataError

SIGNAL = {
    "inputs": ["answer_chars"],
    "mean": [0.0],
    "scale": [1.0],
    "coef": [1.0],
    "intercept": 0.0,
    "link": "identity",
}
CASCADE = Policy(kind="cascade", cheap="a", strong="b", signal=SIGNAL, threshold=3.0)
TEXTS = {"kept": "ab", "sent": "abcde", "vain": "abcde", "lost": None}
"""Document -> the cheap answer; `vain`: the strong one fails too, `lost`: the cheap one failed."""
REQUESTS = {name: Request(messages=(), sample_id=name) for name in TEXTS}


def record(name: str, text: str | None) -> Record:
    done = None if text is None else Completion(text=text, finish_reason="stop")
    call = Call(role="answer", model="a", completion=done, error=None if done else "server")
    return Record(sample_id=name, repeat=0, request_hash=name, calls=(call,), answer=None if done is None else 0)


RECORDS = {name: record(name, text) for name, text in TEXTS.items()}


def frame(**more: Any) -> pd.DataFrame:
    rows = [
        {
            "option": option,
            "sample_id": name,
            "repeat": repeat,
            "tp": float(option == "b"),
            "failed": name == {"a": "lost", "b": "vain"}[option],
            "cached": False,
            "latency_s": seconds,
            "notional_usd": seconds / 10,
            "cost_usd": seconds / 10,
            **more,
        }
        for option, seconds in (("a", 1.0), ("b", 5.0))
        for repeat in (0, 1)
        for name in TEXTS
    ]
    return pd.DataFrame(rows)


def test_a_cascade_counts_both_calls_and_a_cheap_answer_stands_where_the_strong_one_fails() -> None:
    rows, sent = as_run(CASCADE, "h", frame(), REQUESTS, RECORDS)
    by = rows.set_index("sample_id")
    assert dict(zip(rows["sample_id"], sent, strict=True)) == {"kept": False, "sent": True, "vain": True, "lost": True}
    assert dict(by["answered_by"]) == {"kept": "a", "sent": "b", "vain": "a", "lost": "b"}
    assert dict(by["latency_s"]) == {"kept": 1.0, "sent": 6.0, "vain": 6.0, "lost": 6.0}
    assert by.loc["sent", "notional_usd"] == pytest.approx(0.6) and by.loc["sent", "tp"] == 1
    assert not by["failed"].any() and set(rows["option"]) == {"h"} and set(rows["repeat"]) == {0}


def test_who_is_not_asked_costs_nothing_and_what_nobody_may_see_is_not_timed() -> None:
    rule = Policy(kind="random_mix", cheap="a", strong="b", share=1.0)
    rows, sent = as_run(rule, "h", frame(), REQUESTS, RECORDS)
    assert all(sent) and set(rows["latency_s"]) == {5.0}
    places = {"cheap": {"location": "remote"}, "strong": {"location": "remote"}}
    hidden = {name: Request(messages=(), sample_id=name, data_class="restricted") for name in TEXTS}
    nobody = Policy(kind="cascade", cheap="a", strong="b", signal=SIGNAL, threshold=3.0, about={"places": places})
    rows, sent = as_run(nobody, "h", frame(), hidden, RECORDS)
    assert not any(sent) and all(math.isnan(value) for value in rows["latency_s"])
    own = Policy(
        kind="cascade",
        cheap="a",
        strong="b",
        signal=SIGNAL,
        threshold=3.0,
        about={"places": {**places, "strong": {"location": "own"}}},
    )
    rows, sent = as_run(own, "h", frame(), hidden, RECORDS)
    assert all(sent) and set(rows["latency_s"]) == {5.0}, "the cheap one is not asked what it may not see"


def test_what_either_took_from_a_cache_was_not_timed() -> None:
    rows, _ = as_run(CASCADE, "h", frame(cached=True), REQUESTS, RECORDS)
    assert rows["cached"].all()


def test_no_document_in_common() -> None:
    with pytest.raises(DataError, match="a and b have no document in common"):
        as_run(CASCADE, "h", frame(), {}, RECORDS)
