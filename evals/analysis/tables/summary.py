"""One run's rows -> `summary.json`: every figure with its n and interval, and `None` where nothing was measured.

A figure reads the columns it needs and lets them go: a run of ten million documents needs the memory of a few columns.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.tables.outcomes import Documents, documents, outcomes
from evals.analysis.tables.own_score import with_own_score
from evals.analysis.tables.rows import (
    Codes,
    FileRows,
    FrameRows,
    Mask,
    Rows,
    Tags,
    answered,
    busy_seconds,
    fresh,
    waited,
)
from evals.errors import INFRASTRUCTURE
from evals.pricing import machine_cost_usd, weakest
from evals.stats import mean_t, quantile
from evals.stats.intervals import quantiles

SMALL_N_FOR_P95 = 200
BENT = 0.05
"""Share of the median latency above which the event loop's own lag is told."""


def summarise(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one run from its rows (see `table.load_run`) and its manifest."""
    return _summary(FrameRows(frame), manifest, single=False)


def summarise_run(folder: Path, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of a run folder from its `table.parquet`, which is made where it must be."""
    return _summary(FileRows.of([folder]), manifest, single=True)


def _summary(rows: Rows, manifest: Mapping[str, Any], *, single: bool) -> dict[str, Any]:
    cells, of_slice, of_tag = _cells(rows)
    count = len(next(iter(of_slice.values()), next(iter(of_tag.values()), np.zeros(1, bool))))
    told = documents(rows, single=single)
    whole = outcomes(rows, cells, count, told)
    timed, seconds = fresh(rows), busy_seconds(rows)
    errors, endings = rows.words("error"), rows.words("finish_reason")
    infra = _among(errors, INFRASTRUCTURE)

    def own(quality: dict[str, Any], keep: Mask | None) -> dict[str, Any]:
        return with_own_score(quality, rows, single=single, keep=keep) if manifest.get("imported_from") else quality

    sound = documents(rows, single=single, keep=~infra) if infra.any() else None
    kept = None if sound is None else outcomes(rows, cells, count, sound, ~infra).quality()
    without = None if kept is None else own(kept, ~infra)
    return {
        "task": manifest["task"],
        "model": manifest["model"],
        "option": manifest["option"],
        "split": manifest["split"],
        "n": int(whole.documents.sum()),
        "repeats": int(manifest.get("repeats", 1)),
        "failed": int(rows.flags("failed").sum()),
        "failed_infrastructure": int(infra.sum()),
        "errors": _counted(errors),
        "fresh_n": int((~rows.flags("cached")).sum()),
        "truncated_documents": int(
            ((rows.numbers("truncated_chars") > 0) | (rows.numbers("truncated_tokens") > 0)).sum()
        ),
        "cut_answers": int(_among(endings, {"length"}).sum()),
        "refused": int(_among(endings, {"refusal"}).sum()),
        "quality": own(whole.quality(), None),
        "quality_without_failed_infrastructure": without,
        "cost": _cost(rows, manifest, told, timed, seconds),
        "latency": _latency(rows, manifest, timed & answered(rows)),
        "notes": notes(manifest),
        "throughput": _throughput(rows, timed, seconds),
        "slices": {name: whole.quality(of_slice[name]) for name in sorted(of_slice, reverse=True)},
        "tags": {tag: whole.quality(of_tag[tag]) for tag in sorted(of_tag)},
    }


def _cells(rows: Rows) -> tuple[Codes, dict[str, Mask], dict[str, Mask]]:
    """Each row's cell (slice and combination of tags), and which cells are of each slice and of each other tag."""
    slice_codes, slices = rows.words("slice")
    tag_codes, combinations = rows.tags()
    width = max(len(combinations), 1)
    cells = tag_codes
    cells += (slice_codes + 1) * np.int32(width)
    tags: list[Tags] = [*combinations, *[()] * (width - len(combinations))] * (len(slices) + 1)
    of_slice = {name: np.repeat(np.arange(len(slices) + 1) == at + 1, width) for at, name in enumerate(slices)}
    others = {tag for combination in combinations for tag in combination} - set(slices)
    return cells, of_slice, {tag: np.array([tag in held for held in tags]) for tag in others}


def _among(column: tuple[Codes, list[str]], wanted: "frozenset[str] | set[str]") -> Mask:
    """Which rows have one of these words in a column."""
    codes, words = column
    return np.array([*(word in wanted for word in words), False])[codes]


def _counted(column: tuple[Codes, list[str]]) -> dict[str, int]:
    """Word -> rows, the most frequent first."""
    codes, words = column
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    return {words[at]: int(counts[at]) for at in np.argsort(-counts, kind="stable")}


def quality(frame: pd.DataFrame) -> dict[str, Any]:
    """Metric -> {value, low, high, n}. Repeats are averaged inside a document; documents of one group stay together."""
    rows = FrameRows(frame)
    told = documents(rows, single=False)
    found = outcomes(rows, np.zeros(len(frame), np.int32), 1, told).quality()
    no_fields = len(frame) > 0 and bool(frame["tp"].isna().all())
    return with_own_score(found, rows, single=False) if no_fields else found


def latency(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """End-to-end seconds of fresh answers (`rows.waited`); p95 carries its interval, and a word where n is too small."""
    rows = FrameRows(frame)
    return _latency(rows, manifest, waited(rows))


def _latency(rows: Rows, manifest: Mapping[str, Any], timed: Mask) -> dict[str, Any]:
    p50, p95 = quantiles(rows.numbers("latency_s")[timed], (0.5, 0.95))
    n = p50.n
    ttft = quantile(rows.numbers("ttft_s")[timed], 0.5)
    lag = quantile(rows.numbers("loop_lag_s")[timed], 0.95)
    bent = lag.value / p50.value if n and p50.value else 0.0
    return {
        "p50_s": _number(p50.value),
        "p50_interval_s": [_number(p50.low), _number(p50.high)],
        "p95_s": _number(p95.value),
        "p95_interval_s": [_number(p95.low), _number(p95.high)],
        "ttft_p50_s": _number(ttft.value),
        "load": manifest.get("load") if n else None,
        "n": n,
        "note": f"n too small for p95 (under {SMALL_N_FOR_P95})" if 0 < n < SMALL_N_FOR_P95 else None,
        "loop_lag_p95_s": _number(lag.value),
        "bent": f"our own event loop was up to {lag.value:.3f} s late (p95, {100 * bent:.0f} % of the median latency): "
        "latencies are too long by up to that; use less concurrency"
        if bent > BENT
        else None,
    }


def notes(manifest: Mapping[str, Any]) -> list[str]:
    """What a reader must know of how the answers were made."""
    dropped = (manifest.get("backend") or {}).get("dropped") or ()
    if "temperature" in dropped and not manifest.get("temperature") and int(manifest.get("repeats", 1)) < 2:
        return ["the model takes no temperature, so its answers vary from run to run; repeats=3 shows by how much"]
    return []


def _throughput(rows: Rows, timed: Mask, seconds: float | None) -> dict[str, Any]:
    """Documents a minute and output tokens a second over the time in which documents were under way."""
    n = int(timed.sum())
    if not seconds:
        return {"docs_per_min": None, "tokens_per_s": None, "busy_s": None, "n": 0}
    tokens = _known_sum(rows.numbers("output_tokens")[timed])
    return {
        "docs_per_min": n / seconds * 60,
        "tokens_per_s": tokens / seconds if tokens else None,
        "busy_s": seconds,
        "n": n,
    }


def _cost(
    rows: Rows, manifest: Mapping[str, Any], told: Documents, timed: Mask, seconds: float | None
) -> dict[str, Any]:
    """Dollars. Of an own machine: measured seconds x declared hourly price; of a remote model: reported usage x the
    manifest's dated prices. `None` where a factor is not known; `usd_per_1k` counts what was wasted too."""
    if manifest.get("prices"):
        return _remote_cost(rows, manifest, told)
    price = (manifest.get("machine") or {}).get("usd_per_hour")
    own = manifest.get("location") == "own"
    spent = machine_cost_usd(seconds, price) if own else None
    n = int(timed.sum())
    return {
        "kind": "machine" if own else None,
        "usd_per_1k": None if spent is None or not n else spent / n * 1000,
        "low": None,
        "high": None,
        "n": n,
        "provenance": None if spent is None else weakest(["measured", "declared"]),
        "billed": spent,
        "notional": spent,
        "wasted": None if spent is None else float(np.nansum(rows.numbers("wasted_usd"))),
        "note": "no machine price declared: machine.usd_per_hour=..." if own and price is None else None,
    }


def _remote_cost(rows: Rows, manifest: Mapping[str, Any], told: Documents) -> dict[str, Any]:
    machine = (manifest.get("machine") or {}).get("usd_per_hour")
    mixed = manifest.get("location") == "mixed"
    if mixed and machine is None:
        note = "no machine price declared: machine.usd_per_hour=...; what the calls to the API cost stands under hybrid"
        return {
            **dict.fromkeys(("usd_per_1k", "low", "high", "provenance", "billed", "notional", "wasted")),
            "kind": "mixed",
            "n": rows.n,
            "note": note,
        }
    notional = rows.numbers("notional_usd")
    unknown_rows = np.isnan(notional)
    silent = int(unknown_rows.sum())
    if told.of_row is not None and silent:  # a document of which a part is not known is not known
        notional = np.where(np.bincount(told.of_row, unknown_rows)[told.of_row] > 0, np.nan, notional)
    mean = mean_t(told.mean(notional))
    whole = silent == 0
    assumed, unknown = (int(np.nansum(rows.numbers(name))) for name in ("wasted_assumed", "wasted_unknown"))
    notes = [manifest["price_note"]] if manifest.get("price_note") else []
    notes += [f"{silent} documents reported no usage: their cost is not known"] if silent else []
    notes += [f"{assumed} unreadable replies are assumed to have cost what the answer did"] if assumed else []
    notes += [f"{unknown} attempts that timed out may have been billed: not counted"] if unknown else []
    declared = [price["provenance"] for price in manifest["prices"].values()]
    return {
        "kind": "mixed" if mixed else "api",
        "usd_per_1k": _number(mean.value * 1000) if whole else None,
        "low": _number(mean.low * 1000) if whole else None,
        "high": _number(mean.high * 1000) if whole else None,
        "n": mean.n,
        "provenance": weakest(
            ["measured", *declared, *(["declared"] if mixed else []), *(["assumed"] if assumed else [])]
        )
        if whole
        else None,
        "billed": float(np.nansum(rows.numbers("cost_usd"))) if whole else None,
        "notional": float(np.nansum(notional)) if whole else None,
        "wasted": float(np.nansum(rows.numbers("wasted_usd"))),
        "note": "; ".join(notes) or None,
    }


def _known_sum(values: Any) -> float | None:
    """`None` where nothing is known."""
    return None if np.isnan(values).all() else float(np.nansum(values))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value
