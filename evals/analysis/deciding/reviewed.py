"""An option whose answers people review, by what `review` found of that very option: share, minutes, dollars, what is left."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evals.analysis.deciding.figures import Figure, draws_of, exact, figure
from evals.analysis.deciding.options import Option, Proof
from evals.analysis.deciding.options import share as share_of
from evals.errors import ConfigError, DataError
from evals.pricing import weakest

RATIOS = ("f1", "f1_strict")
"""Metrics of an option that are ratios of totals: the mean error that a review leaves is not 1 less one of them."""
KEYS = ("task", "option", "quality", "n", "sent", "share", "residual", "work")


@dataclass(frozen=True, kw_only=True)
class Review:
    """`review.json` of one option, as figures."""

    where: str
    option: str
    metric: str
    """What counts as an error there: exact, f1, ..."""
    share: Figure
    """Of documents that go to a person, 0..1: those above the threshold, of which `residual` is what they leave."""
    minutes: Figure
    """A document: measured where verdicts tell, else as `review` was told."""
    usd_per_hour: Any
    residual: Mapping[str, Any]
    """Mean error that is left: value, low, high, n."""
    of: str
    """Which answers it was of, in words; empty: these."""


def review_of(
    told: Mapping[str, Any], where: str, *, verdicts: Mapping[str, Any] | None = None, of: str = ""
) -> Review:
    """A review from the plain data of its `review.json`. `verdicts`: of the `verdicts.json` beside it, whose minutes were
    measured. Raises `DataError` for what is no such file, `ConfigError` where no share reaches its target."""
    for key in KEYS:
        if key not in told or (key in ("share", "residual", "work") and not isinstance(told[key], Mapping)):
            raise DataError(f"{where} is no review.json of `python -m evals review run=RUN`: it has no {key!r}")
    name, share = str(told["option"]), told["share"]
    if share.get("value") is None:
        raise ConfigError(f"{where}: no share of documents reaches its target={told.get('target')}")
    above = {**share, "value": exact(told["sent"], f"{where}: sent") / (exact(told["n"], f"{where}: n") or 1)}
    found = figure(_ends(above, where), f"share of {name} that people review", where=f"{where}: share", most=1.0)
    each = (verdicts or {}).get("minutes_each") or {}
    if each.get("value") is not None:
        minutes = figure(
            _ends(each, where), f"minutes of a person for {name}", where=f"{where}: minutes", unit="minutes"
        )
    else:
        given = told["work"].get("minutes_each")
        minutes = figure(given, f"minutes of a person for {name}", where=f"{where}: minutes_each", unit="minutes")
    if found is None or minutes is None:
        raise DataError(f"{where} says no minutes a document")
    return Review(
        where=where,
        option=name,
        metric=str(told["quality"]),
        share=replace(found, source=where),
        minutes=replace(minutes, source=where),
        usd_per_hour=told["work"].get("usd_per_hour"),
        residual=told["residual"],
        of=of,
    )


def _ends(one: Mapping[str, Any], where: str) -> dict[str, Any]:
    """An estimate of a report as a measured figure; bounds that do not hold the value are widened to it."""
    value = float(exact(one["value"], where))
    bounds = {end: one.get(end) for end in ("low", "high")}
    found: dict[str, Any] = {"typical": exact(one["value"], where), "provenance": "measured"}
    if None not in bounds.values():
        low, high = (float(exact(bounds[end], where)) for end in ("low", "high"))
        found |= {"low": min(low, value), "high": max(high, value)}
    return found


def with_review(option: Option, review: Review, typed: Mapping[str, Any], *, draws: int, seed: int) -> Option:
    """The option with people's dollars a document, and the quality that they leave where the share is the review's own.

    `typed`: `share`, `minutes`, `usd_per_hour` that the user gives, which win. Raises `ConfigError` without a price of a
    person's hour.
    """
    share = figure(typed.get("share"), review.share.name, where="costs.review.share", most=1.0) or review.share
    minutes = figure(typed.get("minutes"), review.minutes.name, where="costs.review.minutes", unit="minutes")
    minutes = minutes or review.minutes
    rate = typed.get("usd_per_hour") if typed.get("usd_per_hour") is not None else review.usd_per_hour
    if rate is None:
        raise ConfigError(
            f"{review.where} has no price of a person's hour: costs.review.usd_per_hour=60, or review ... usd_per_hour=60"
        )
    hour = figure(rate, "a person's hour", where="costs.review.usd_per_hour", unit="$/hour")
    assert hour is not None
    found = replace(
        option,
        deployment=replace(
            option.deployment, per_doc=(*option.deployment.per_doc, _dollars(review, share, minutes, hour, draws, seed))
        ),
        notes=(*option.notes, _note(review, share, minutes, hour)),
    )
    return found if typed.get("share") is not None else _left(found, review)


def _dollars(review: Review, share: Figure, minutes: Figure, hour: Figure, draws: int, seed: int) -> Figure:
    """Dollars a document: share x minutes x price of an hour, with the draws of all three."""
    parts = (share, minutes, hour)
    drawn = np.prod(np.broadcast_arrays(*(draws_of(one, draws, seed) for one in parts)), axis=0) / 60
    known = drawn if np.ndim(drawn) else None
    low, high = (None, None) if known is None else (float(end) for end in np.quantile(known, (0.025, 0.975)))
    return Figure(
        name=f"human review of {review.option}",
        value=share.value * minutes.value / 60 * hour.value,
        low=low,
        high=high,
        unit="$/document",
        provenance=weakest(one.provenance for one in parts),
        source=review.where,
        drawn=known,
    )


def _left(option: Option, review: Review) -> Option:
    """Quality after the review, where it is a mean over documents."""
    value, low, high = (review.residual.get(key) for key in ("value", "low", "high"))
    if review.metric in RATIOS or value is None:
        return option
    flipped = Proof(
        value=1 - value,
        low=None if high is None else 1 - high,
        high=None if low is None else 1 - low,
        n=review.residual.get("n"),
    )
    return replace(option, quality={**option.quality, review.metric: flipped})


def _note(review: Review, share: Figure, minutes: Figure, hour: Figure) -> str:
    def told(one: Figure, text: str, ends: str) -> str:
        bounds = "" if one.low is None or one.high is None else f" [{ends.format(one.low)}, {ends.format(one.high)}]"
        return f"{text}{bounds} ({one.provenance})"

    percent = replace(share, low=_times(share.low), high=_times(share.high))
    parts = [
        f"people review {told(percent, share_of(share.value), '{:.3g}')} of its documents",
        told(minutes, f"{float(minutes.value):.3g}", "{:.3g}") + " minutes each",
        told(hour, f"${float(hour.value):.4g}", "{:.4g}") + " an hour",
    ]
    left = review.residual.get("value")
    if share is review.share and left is not None:
        bounds = [review.residual.get(end) for end in ("low", "high")]
        ends = "" if None in bounds else f" [{100 * bounds[0]:.3g}, {100 * bounds[1]:.3g}]"  # type: ignore[operator]
        parts.append(f"which leaves an error of {share_of(left)}{ends} by {review.metric}")
    return f"{', '.join(parts)}: {review.where}{f', of {review.of}' if review.of else ''}"


def _times(value: float | None) -> float | None:
    return None if value is None else 100 * value
