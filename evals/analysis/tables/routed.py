"""What a hybrid's run adds: who answered and why in its rows, its machine's dollars beside its API's, shares in its summary.

A hybrid on a machine of one's own and an API (`location: mixed`) costs both: the calls by their own model's price, and the
machine by the hour while it answered (the union of its calls' spans, shared out among documents by their seconds there).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.tables.joined import Lines, paired
from evals.analysis.tables.spans import seconds, union_seconds
from evals.core import Call, Price, Record
from evals.pricing import call_cost_usd, machine_cost_usd, own_prices

if TYPE_CHECKING:
    from evals.stats import Array

Line = Mapping[str, Any]
API_USD = "api_usd"
"""Column of a mixed hybrid's rows alone: what the calls to its API cost, without the machine."""
LOST = ("length",)
"""Finish reasons that bought no answer."""


def columns(record: Line, prices: Mapping[str, Price] | None) -> dict[str, Any]:
    """Of a hybrid's record, as plain data: `answered_by` (the model whose answer counts), `p_error` of the cheap answer,
    and `own_s`, `own_started_at` of the calls to a machine of one's own where an API answers too."""
    calls, answer = record.get("calls", ()), record.get("answer")
    found: dict[str, Any] = {"p_error": record["route"].get("p_error")}
    if answer is not None:
        found["answered_by"] = _answering(calls, answer)
    billed = {key.rpartition("/")[0] for key in prices or ()}
    own = [call for call in calls if prices and call["model"] not in billed and _timed(call)]
    if own:
        first = own[0]["timing"]
        found["own_s"] = sum(call["timing"]["total_s"] for call in own)
        if first.get("started_at"):
            sent = datetime.fromisoformat(first["started_at"]) + timedelta(seconds=first.get("queued_s") or 0.0)
            found["own_started_at"] = sent.isoformat(timespec="microseconds")
    return found


def _timed(call: Line) -> bool:
    return bool(call.get("timing")) and not call.get("cached")


def _answering(calls: Sequence[Line], answer: int) -> str | None:
    """Of a document in parts: the model of the parts that were merged."""
    return next((call["model"] for call in reversed(calls[: answer + 1]) if call["model"] != "merge"), None)


def machine_dollars(own_s: "Array", starts: "Array", usd_per_hour: float | None) -> "Array":
    """What each row cost on the machine: 0 where it was not asked, NaN where it was and has no price."""
    asked = ~np.isnan(own_s)
    known = asked & ~np.isnan(starts)
    spent = machine_cost_usd(union_seconds(starts[known], starts[known] + own_s[known]), usd_per_hour)
    total = float(own_s[known].sum())
    dollars = np.where(asked, np.nan, 0.0)
    if spent is not None:
        dollars[known] = own_s[known] / total * spent if total else 0.0
    return dollars


def add_machine(frame: pd.DataFrame, own_s: "Array", starts: "Array", usd_per_hour: float | None) -> None:
    """Add the machine's dollars to the money columns of a mixed hybrid's rows, in place."""
    dollars = machine_dollars(own_s, starts, usd_per_hour)
    for name in ("cost_usd", "notional_usd"):
        frame[name] = frame[name] + dollars
    lost = frame["failed"] | frame["finish_reason"].isin(LOST)
    frame["wasted_usd"] = frame["wasted_usd"] + np.where(lost, np.nan_to_num(dollars), 0.0)


# The summary --------------------------------------------------------------------------------------------------


def summary(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Of a hybrid's run: share of documents that the strong model was asked about, `fell_back` (by the strong model's error:
    documents whose cheap answer stands), who answered, and dollars by model:
    of an API by its calls, of a machine of one's own by the hour, shared out by seconds (`None`: not known)."""
    from evals.stats import wilson

    machine_usd = _machine_usd(folder, manifest)
    prices = store.prices(manifest)
    sides = [manifest["hybrid"][side] for side in ("cheap", "strong") if manifest["hybrid"].get(side)]
    names = [str(side["model"]) for side in sides]
    strong = names[1] if len(names) > 1 else None
    tally = {name: {"calls": 0, "answers": 0, "usd": 0.0, "seconds": 0.0} for name in names}
    documents = sent = unknown = 0
    fell: dict[str, int] = {}
    for record in _records(folder, manifest):
        documents += 1
        sent += any(call.model == strong for call in record.calls)
        if error := record.route.get("fell_back"):
            fell[str(error)] = fell.get(str(error), 0) + 1
        answer = record.answer
        who = None if answer is None else _answering([{"model": call.model} for call in record.calls], answer)
        if who in tally:
            tally[who]["answers"] += 1
        unknown += _count(record, tally, prices)
    own_s = sum(tally[str(side["model"])]["seconds"] for side in sides if side["location"] == "own")
    share = wilson(sent, documents)
    return {
        "cheap": names[0] if names else None,
        "strong": strong,
        "policy": {key: manifest["hybrid"]["policy"].get(key) for key in ("kind", "threshold", "share")},
        "sent_to_strong": {"value": share.value, "low": share.low, "high": share.high, "n": share.n},
        "fell_back": dict(sorted(fell.items())),
        "models": {
            str(side["model"]): _model(tally[str(side["model"])], side, machine_usd, own_s, unknown) for side in sides
        },
    }


def _machine_usd(folder: Path, manifest: Mapping[str, Any]) -> float | None:
    """What the machine of one's own cost in all; `None` where it has no price, or there is none."""
    from evals.analysis.tables.table import load_run

    price = (manifest.get("machine") or {}).get("usd_per_hour")
    if price is None or manifest.get("location") not in ("own", "mixed"):
        return None
    if manifest["location"] == "own":
        return float(load_run(folder, ["cost_usd"])["cost_usd"].sum())
    timed = load_run(folder, ["own_s", "own_started_at"])
    starts = seconds(timed["own_started_at"])
    return float(np.nansum(machine_dollars(timed["own_s"].to_numpy(np.float64), starts, price)))


def _records(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Record]:
    """One record a document, the one that counts, streamed."""
    name = f"scores-{manifest['hashes']['scorer']}.jsonl"
    with Lines(folder / "records.jsonl") as records, Lines(folder / name) as scores:
        for line, _ in paired(records, scores):
            yield store.decode(line)


def _count(record: Record, tally: dict[str, dict[str, Any]], prices: Mapping[str, Price] | None) -> int:
    """Add a record's calls; how many of unknown cost."""
    unknown = 0
    for call in record.calls:
        if call.model not in tally:
            continue  # merged of parts, or refused before anybody was asked
        one = tally[call.model]
        one["calls"] += 1
        if call.timing and not call.cached:
            one["seconds"] += call.timing.total_s
        if own_prices(prices, call.model):
            dollars = _dollars(call, prices)
            unknown += dollars is None
            one["usd"] += dollars or 0.0
    return unknown


def _dollars(call: Call, prices: Mapping[str, Price] | None) -> float | None:
    return 0.0 if call.completion is None and call.usage is None else call_cost_usd(call, prices)


def _model(
    one: Mapping[str, Any], side: Mapping[str, Any], machine_usd: float | None, own_s: float, unknown: int
) -> dict[str, Any]:
    own = side["location"] == "own"
    machine = None if machine_usd is None else machine_usd * (one["seconds"] / own_s if own_s else 0.0)
    return {
        "kind": "machine" if own else "api",
        "calls": one["calls"],
        "answers": one["answers"],
        "seconds": one["seconds"],
        "usd": machine if own else None if unknown else one["usd"],
    }
