"""A saved policy on stored results, and simulated hybrids as rows of the table that `frontier` reads."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.routing.candidates import Candidate
from evals.analysis.routing.crossfit import counted, held_out, pair_of
from evals.analysis.routing.documents import Documents, subset
from evals.analysis.routing.final import asked, replayed
from evals.analysis.routing.simulate import NESTED, Routed, Wanted
from evals.analysis.routing.verdicts import Drawn, latency_of, name_of, rows_of, share_totals
from evals.core import Policy, Record, Request
from evals.errors import DataError
from evals.policy import error_score, features, signals

SAVED = "as saved"


def replay(
    policy: Policy,
    found: Documents,
    requests: Mapping[str, Request],
    records: Mapping[str, Mapping[str, Record]],
    wanted: Wanted,
    notes: Sequence[str],
) -> tuple[Routed, list[dict[str, Any]]]:
    """The figures of a policy on documents, and a row a document: who answers, and the score that was compared."""
    cheap = found.at(policy.cheap)
    strong = cheap if policy.strong is None else found.at(policy.strong)
    sides = replayed(policy, requests, records[policy.cheap], found.ids)
    pair = pair_of(found, cheap, strong, cascade=policy.kind == "cascade")
    way = Candidate(kind=policy.kind, name=SAVED, strong=np.array([side == "strong" for side in sides], bool)[None])
    rows = np.ones(found.n, bool)
    drawn = Drawn(found, [(pair, way.share)], wanted)
    report = {
        "documents": found.n,
        "fitted": "a saved policy, nothing fitted here",
        "level": wanted.level,
        "draws": wanted.draws,
        "floor": wanted.floor,
        "volume_per_day": wanted.volume_per_day,
        "singles": drawn.singles(),
        "hybrids": rows_of(found, [(pair, way)], drawn, rows, nested=(SAVED,)),
        "calibration": [],
        "signals": [],
        "notes": list(notes),
    }
    kept_answers = found.failed[strong] & ~found.failed[cheap] & pair.cascade & ~pair.forced
    told = [
        {
            "sample_id": name,
            "answers": _option(policy, "cheap" if side == "strong" and stands else side),
            "side": side,
            "score": _score(policy, requests[name], record),
        }
        for name, side, record, stands in zip(
            found.ids, sides, (records[policy.cheap].get(one) for one in found.ids), kept_answers, strict=True
        )
    ]
    plan = held_out(~rows, "")
    return Routed(report=report, documents=found, plan=plan, candidates=[(pair, way)]), told


def _option(policy: Policy, side: str | None) -> str | None:
    return policy.strong if side == "strong" else policy.cheap if side == "cheap" else None


def _score(policy: Policy, request: Request, record: Record | None) -> float | None:
    """What was compared with the threshold; `None` where nothing was, or there was no answer."""
    if policy.signal is None:
        return None
    if policy.kind != "cascade":
        return error_score(policy.signal, features(request))
    completion = record.calls[record.answer].completion if record is not None and record.answer is not None else None
    return None if completion is None else error_score(policy.signal, signals(request, completion))


def as_run(
    policy: Policy, name: str, frame: pd.DataFrame, requests: Mapping[str, Request], records: Mapping[str, Record]
) -> tuple[pd.DataFrame, list[bool]]:
    """The rows (of `load_runs`) that a run of the saved policy would have had, as the option `name`, and whether each document was
    sent to the strong one. Of documents that both options of the policy answered, of their first repeat.

    Each row is that of the answer that counts (`answered_by`: its option); its seconds and dollars are those of all who were
    asked. `records`: of the cheap option, by id, as `requests`. Raises `DataError` where the two have no document in common.
    """
    sides = [_first_repeat(frame, str(option)) for option in (policy.cheap, policy.strong)]
    ids = sorted(set(sides[0].index) & set(sides[1].index) & set(requests) & set(records))
    if not ids:
        raise DataError(f"{policy.cheap} and {policy.strong} have no document in common")
    cheap, strong = (side.loc[ids] for side in sides)
    said = asked(policy, requests, records, ids)
    first, sent = (np.array([side in one for one in said], bool) for side in ("cheap", "strong"))
    stands = strong["failed"].to_numpy(bool) & ~cheap["failed"].to_numpy(bool) & first
    own = stands | ~sent  # where nobody may be asked, the stored answer is a refusal too
    rows = pd.concat([cheap[own], strong[~own]]).loc[ids]
    rows["answered_by"] = np.where(own, policy.cheap, str(policy.strong))
    for column in ("latency_s", "cost_usd", "notional_usd"):
        parts = zip((first, sent), (cheap[column], strong[column]), strict=True)
        both = np.sum([np.where(hit, values.to_numpy(np.float64), 0.0) for hit, values in parts], axis=0)
        rows[column] = np.where(first | sent, both, np.nan)
    rows["cached"] = (first & cheap["cached"].to_numpy(bool)) | (sent & strong["cached"].to_numpy(bool))
    return rows.reset_index(names="sample_id").assign(option=name, model=name), [bool(one) for one in sent]


def _first_repeat(frame: pd.DataFrame, option: str) -> pd.DataFrame:
    rows = frame[frame["option"] == option]
    first: pd.DataFrame = rows[rows["repeat"] == rows["repeat"].min()]
    return first.set_index("sample_id")


def as_table(found: Routed, ways: Sequence[str] = (*NESTED, SAVED)) -> pd.DataFrame:
    """A row a document of every option and of the hybrids that are such ways: `option, model, sample_id, score, hits, whole,
    cost_usd, latency_s, failed`. A document that the repeats route differently counts by share, its latency is the
    first repeat's."""
    rows = counted(found.plan)
    kept = subset(found.documents, rows)
    parts = [
        _rows(kept, name, kept.hits[at], kept.whole[at], kept.cost[at], kept.latency[at], kept.failed[at])
        for at, name in enumerate(kept.options)
    ]
    for pair, way in found.candidates:
        if way.name not in ways:
            continue
        hits, whole, cost = share_totals(kept, pair, way.share[rows])
        strong = way.strong[0][rows]
        both = kept.failed[pair.strong] & (kept.failed[pair.cheap] if pair.cascade else True)
        failed = np.where(strong, both, kept.failed[pair.cheap])
        name = name_of(kept, pair, way)
        parts.append(_rows(kept, name, hits, whole, cost, latency_of(kept, pair, strong), failed))
    return pd.concat(parts, ignore_index=True)


def _rows(kept: Documents, name: str, hits: Any, whole: Any, cost: Any, latency: Any, failed: Any) -> pd.DataFrame:
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(whole > 0, hits / whole, np.nan)
    frame = pd.DataFrame(
        {
            "option": name,
            "model": name,
            "sample_id": list(kept.ids),
            "score": score,
            "hits": hits,
            "whole": whole,
            "cost_usd": cost,
            "latency_s": latency,
            "failed": failed,
        }
    )
    if kept.groups is not None:
        frame["group"] = kept.groups
    return frame
