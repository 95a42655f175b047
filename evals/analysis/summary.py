"""One run's rows -> `summary.json`: every figure with its n and interval, and `None` where nothing was measured."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evals.analysis.table import busy_seconds
from evals.errors import INFRASTRUCTURE
from evals.pricing import machine_cost_usd, weakest
from evals.stats import Estimate, mean_t, quantile, ratio_bootstrap, wilson

SHARES = ("exact", "exact_strict", "schema_valid", "parse_strict", "parse_lenient")
SMALL_N_FOR_P95 = 200
BENT = 0.05
"""Share of the median latency above which the event loop's own lag is told."""


def summarise(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The summary of one run from its rows (see `table.load_run`) and its manifest."""
    slices = [name for name in frame["slice"].dropna().unique()]
    tags = sorted({tag for tags in frame["tags"] for tag in tags} - set(slices))
    infra = frame["error"].isin(INFRASTRUCTURE)
    return {
        "task": manifest["task"],
        "model": manifest["model"],
        "option": manifest["option"],
        "split": manifest["split"],
        "n": int(frame["sample_id"].nunique()),
        "repeats": int(manifest.get("repeats", 1)),
        "failed": int(frame["failed"].sum()),
        "failed_infrastructure": int(infra.sum()),
        "errors": {kind: int(count) for kind, count in frame["error"].value_counts().items()},
        "fresh_n": int((~frame["cached"]).sum()),
        "truncated_documents": int((frame["truncated_chars"].gt(0) | frame["truncated_tokens"].gt(0)).sum()),
        "cut_answers": int((frame["finish_reason"] == "length").sum()),
        "refused": int((frame["finish_reason"] == "refusal").sum()),
        "quality": quality(frame),
        "quality_without_failed_infrastructure": quality(frame[~infra]) if infra.any() else None,
        "cost": cost(frame, manifest),
        "latency": latency(frame, manifest),
        "notes": notes(manifest),
        "throughput": throughput(frame),
        "slices": {name: quality(frame[frame["slice"] == name]) for name in sorted(slices, reverse=True)},
        "tags": {tag: quality(frame[[tag in tags for tags in frame["tags"]]]) for tag in tags},
    }


def quality(frame: pd.DataFrame) -> dict[str, Any]:
    """Metric -> {value, low, high, n}. Repeats are averaged inside a document; documents of one group stay together."""
    documents = (
        frame.drop(columns=["tags"])
        .groupby("sample_id", sort=False)
        .agg({**{name: "mean" for name in _counts() + list(SHARES) + ["wrong_grounded", "invented"]}, "group": "first"})
    )
    clusters = documents.groupby(documents["group"].fillna(documents.index.to_series()), sort=False)[_counts()].sum()
    n = len(documents)
    found = {"f1": _f1(clusters, ""), "f1_strict": _f1(clusters, "strict_")}
    found |= {name: _share(documents[name].fillna(0), documents["group"]) for name in SHARES}
    negatives = clusters["hall"] + clusters["tn"]
    found["hallucination_rate"] = ratio_bootstrap(_array(clusters["hall"]), _array(negatives))
    return {name: {**_plain(estimate), "n": n} for name, estimate in found.items()}


def _share(values: "pd.Series[Any]", groups: "pd.Series[Any]") -> Estimate:
    """A share of documents: Wilson; where documents stand in groups, the bootstrap of whole groups."""
    if groups.notna().sum() == 0:
        return wilson(float(values.sum()), len(values))
    sums = values.groupby(groups.fillna(groups.index.to_series()), sort=False).agg(["sum", "count"])
    return ratio_bootstrap(_array(sums["sum"]), _array(sums["count"]))


def _counts() -> list[str]:
    return ["tp", "wrong", "miss", "hall", "tn", "strict_tp", "strict_wrong", "strict_miss", "strict_hall"]


def _f1(clusters: pd.DataFrame, prefix: str) -> Estimate:
    """Micro F1 = 2TP / (2TP + 2 WRONG + MISS + HALL), bootstrap over documents."""
    hits = 2 * _array(clusters[f"{prefix}tp"])
    rest = (
        2 * _array(clusters[f"{prefix}wrong"]) + _array(clusters[f"{prefix}miss"]) + _array(clusters[f"{prefix}hall"])
    )
    return ratio_bootstrap(hits, hits + rest)


def latency(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """End-to-end seconds of fresh documents; p95 carries its interval, and a word where n is too small for it."""
    fresh = frame[~frame["cached"] & frame["latency_s"].notna()]
    values = fresh["latency_s"].to_numpy(np.float64)
    p50, p95 = quantile(values, 0.5), quantile(values, 0.95)
    ttft = quantile(fresh["ttft_s"].to_numpy(np.float64), 0.5)
    lag = quantile(fresh["loop_lag_s"].to_numpy(np.float64), 0.95)
    n = len(values)
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


def throughput(frame: pd.DataFrame) -> dict[str, Any]:
    """Documents a minute and output tokens a second over the time in which documents were under way."""
    fresh = frame[~frame["cached"] & frame["latency_s"].notna()]
    seconds = busy_seconds(fresh)
    if not seconds:
        return {"docs_per_min": None, "tokens_per_s": None, "busy_s": None, "n": 0}
    tokens = fresh["output_tokens"].sum(min_count=1)
    return {
        "docs_per_min": len(fresh) / seconds * 60,
        "tokens_per_s": None if math.isnan(tokens) or not tokens else float(tokens / seconds),
        "busy_s": seconds,
        "n": len(fresh),
    }


def cost(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Dollars. Of an own machine: measured seconds x declared hourly price; of a remote model: reported usage x the
    manifest's dated prices. `None` where a factor is not known; `usd_per_1k` counts what was wasted too."""
    if manifest.get("prices"):
        return _remote_cost(frame, manifest)
    price = (manifest.get("machine") or {}).get("usd_per_hour")
    own = manifest.get("location") == "own"
    spent = machine_cost_usd(busy_seconds(frame), price) if own else None
    n = int((~frame["cached"] & frame["latency_s"].notna()).sum())
    return {
        "kind": "machine" if own else None,
        "usd_per_1k": None if spent is None or not n else spent / n * 1000,
        "low": None,
        "high": None,
        "n": n,
        "provenance": None if spent is None else weakest(["measured", "declared"]),
        "billed": spent,
        "notional": spent,
        "wasted": None if spent is None else float(frame["wasted_usd"].sum()),
        "note": "no machine price declared: machine.usd_per_hour=..." if own and price is None else None,
    }


def _remote_cost(frame: pd.DataFrame, manifest: Mapping[str, Any]) -> dict[str, Any]:
    documents = frame.groupby("sample_id", sort=False)["notional_usd"].agg(lambda part: part.mean(skipna=False))
    mean = mean_t(_array(documents))
    silent = int(frame["notional_usd"].isna().sum())
    whole = silent == 0
    assumed, unknown = int(frame["wasted_assumed"].sum()), int(frame["wasted_unknown"].sum())
    notes = [manifest["price_note"]] if manifest.get("price_note") else []
    notes += [f"{silent} documents reported no usage: their cost is not known"] if silent else []
    notes += [f"{assumed} unreadable replies are assumed to have cost what the answer did"] if assumed else []
    notes += [f"{unknown} attempts that timed out may have been billed: not counted"] if unknown else []
    declared = [price["provenance"] for price in manifest["prices"].values()]
    return {
        "kind": "api",
        "usd_per_1k": _number(mean.value * 1000) if whole else None,
        "low": _number(mean.low * 1000) if whole else None,
        "high": _number(mean.high * 1000) if whole else None,
        "n": mean.n,
        "provenance": weakest(["measured", *declared, *(["assumed"] if assumed else [])]) if whole else None,
        "billed": float(frame["cost_usd"].sum()) if whole else None,
        "notional": float(frame["notional_usd"].sum()) if whole else None,
        "wasted": float(frame["wasted_usd"].sum()),
        "note": "; ".join(notes) or None,
    }


def _array(column: "pd.Series[Any]") -> np.ndarray[Any, np.dtype[np.float64]]:
    return column.to_numpy(np.float64)


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {"value": _number(estimate.value), "low": _number(estimate.low), "high": _number(estimate.high)}
