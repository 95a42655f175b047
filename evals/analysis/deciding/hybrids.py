"""Hybrids as options: of a saved policy (replayed on the stored answers), and of a run that asked two models.

A saved file is decided on as it is: the share that it sends on, its dollars and its seconds are those of its replay. Its
quality too, unless it was fitted on these very documents: then the replay flatters it, and the quality is that of its
cross-fitted simulation, with the replay's told beside it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from evals.analysis.deciding.figures import Figure, measured
from evals.analysis.deciding.options import Costs, Option, Proof
from evals.analysis.deciding.options import share as share_of
from evals.analysis.deciding.volume import Deployment, Kind
from evals.catalog import nearest
from evals.core import Policy
from evals.errors import ConfigError
from evals.pricing import weakest
from evals.stats import wilson

KINDS: Mapping[str, Kind] = {"cascade": "cascade"}
"""Kind of a policy -> of its deployment; the others choose before either model is asked."""
NOTE = "dollars of an escalated document are taken to be those of any document of {strong}"


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What a saved policy does on the stored answers of its two options, document by document."""

    option: Option
    """Its rows as if they were a run: quality, slices, fields, seconds."""
    sent: Sequence[bool]
    """Of each document: was the strong option asked?"""
    fitted_here: bool
    """Was the policy fitted on these very documents?"""
    ratio: float | None = None
    """What the documents that it sends on take of the strong option (dollars of an API, seconds of a machine) against the mean
    of all; `None`: not known."""


def of_policy(
    policy: Policy,
    where: str,
    options: Sequence[Option],
    metric: str,
    costs: Costs,
    replay: Replay | None = None,
    why: str | None = None,
) -> Option | None:
    """The hybrid that a saved policy makes of two of the options: their prices and throughputs, with share, p95 and quality of
    its replay (see above); without one (`why` says the reason) of its simulation. `where`: its file. `None` for a policy of
    one model. Raises `ConfigError` where an option is not there, or both stand on machines of different prices."""
    if policy.kind == "single" or policy.strong is None:
        return None
    cheap, strong = (_side(policy, side, options, where) for side in ("cheap", "strong"))
    told = policy.about.get("simulated") or {}
    kind = KINDS.get(policy.kind, "preroute")
    name = title(policy) if replay is None else replay.option.name
    share = _share(told, policy, name, where) if replay is None else _sent(replay, policy, name, where)
    notes = _simulated(told, where, why) if replay is None else [_told(told, policy, replay, metric, where)]
    if told.get("verdict") and told.get("gain_over"):
        notes.append(f"its gain over the {told['gain_over']}: {told['verdict']}")
    deployment = _joined(name, kind, cheap.deployment, strong.deployment, share, costs)
    if replay is not None and replay.ratio is not None:
        deployment = replace(deployment, escalated_ratio=Fraction(repr(replay.ratio)))
        of = "dollars" if strong.deployment.has_api else "seconds"
        notes.append(
            f"documents that it sends on take {replay.ratio:.2f} times the {of} of {policy.strong}'s mean document"
        )
    elif strong.deployment.has_api and cheap.deployment.has_machine:
        notes.append(NOTE.format(strong=policy.strong))
    side = costs.side(kind)
    found = Option(
        deployment=deployment,
        model=name,
        places=(*cheap.places, *strong.places),
        quality=_quality(told, policy, metric),
        latency_p95_s=_proof(told.get("latency_p95_s")),
        load="simulated" if told else None,
        ops_hours_per_month=side.get("ops_hours_per_month"),
        lead_weeks=side.get("lead_weeks"),
        n=told.get("documents"),
        notes=tuple(notes),
    )
    return found if replay is None else _as_replayed(found, replay)


def title(policy: Policy) -> str:
    """The option's name."""
    return f"{policy.cheap} -> {policy.strong} ({policy.kind})"


def _as_replayed(found: Option, replay: Replay) -> Option:
    own = replay.option
    timed = replace(
        found,
        latency_p95_s=own.latency_p95_s,
        seconds=own.seconds,
        load=own.load,
        replayed=own.quality,
        notes=(*found.notes, *own.notes),
    )
    if replay.fitted_here:
        return timed
    return replace(timed, quality=own.quality, slices=own.slices, fields=own.fields, n=own.n)


def _simulated(told: Mapping[str, Any], where: str, why: str | None) -> list[str]:
    if not told:
        return []
    reason = f" (not replayed: {why})" if why else ""
    return [f"simulated on {told.get('documents')} documents, {told.get('how')}: {where}{reason}"]


def _told(told: Mapping[str, Any], policy: Policy, replay: Replay, metric: str, where: str) -> str:
    """Both figures of the file in one line: what it does on these documents, and what its simulation said."""
    count, n = sum(replay.sent), len(replay.sent)
    replayed, simulated = replay.option.quality.get(metric), _quality(told, policy, metric).get(metric)
    does = f"{where} sends {share_of(count / n)} of these {n} documents on"
    if policy.kind == "random_mix" and policy.share is not None:
        does = f"{where} sends {share_of(policy.share)} on, {share_of(count / n)} of these {n} documents"
    parts = [] if told.get("share_strong") is None else [f"{share_of(told['share_strong'])} sent on"]
    how = ", ".join([*parts, *([str(told["how"])] if told.get("how") else [])])
    if not replay.fitted_here:
        beside = f"; its simulation had {metric} {simulated.value:.3f} ({how})" if simulated else ""
        return f"{does}, which dollars, p95 and quality follow: it was not fitted on them{beside}"
    here = f", where it has {replayed.value:.3f}" if replayed else ""
    kept = f"{metric} {simulated.value:.3f} is its simulation's ({how})" if simulated else f"{metric} is not known"
    return f"{does}, which dollars and p95 follow; {kept}, since it was fitted on these very documents{here}"


def _sent(replay: Replay, policy: Policy, name: str, where: str) -> Figure:
    """The share that the file sends on, with Wilson's interval over the replayed documents; of a random mix, as it is set."""
    n = len(replay.sent)
    value = policy.share if policy.kind == "random_mix" and policy.share is not None else sum(replay.sent) / n
    one = wilson(float(value) * n, n)
    return measured(f"share that {name} escalates", float(value), source=where, low=one.low, high=one.high)


def _side(policy: Policy, side: str, options: Sequence[Option], where: str) -> Option:
    name = str(getattr(policy, side))
    found = next((one for one in options if one.name == name), None)
    if found is None:
        raise ConfigError(
            f"{where}: its {side} model {name!r} is none of the options here{nearest(name, [o.name for o in options])}"
        )
    return found


def _share(told: Mapping[str, Any], policy: Policy, name: str, where: str) -> Figure | None:
    """The share that goes to the strong model, with Wilson's interval over the simulation's documents."""
    value = policy.share if policy.kind == "random_mix" and policy.share is not None else told.get("share_strong")
    if value is None:
        return None
    n = int(told.get("documents") or 0)
    one = wilson(float(value) * n, n) if n else None
    bounds: dict[str, Any] = {} if one is None else {"low": one.low, "high": one.high}
    return measured(f"share that {name} escalates", float(value), source=where, **bounds)


def _quality(told: Mapping[str, Any], policy: Policy, metric: str) -> dict[str, Proof]:
    if policy.about.get("metric") not in (None, metric):
        return {}
    one = _proof(told.get("quality"), told.get("documents"))
    return {} if one is None else {metric: one}


def _proof(given: Any, n: Any = None) -> Proof | None:
    """An estimate of a report as a proof: its 95 % bounds are at least as wide as those of 90 %."""
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return Proof(value=float(given), low=None, high=None, n=n)
    if given.get("value") is None:
        return None
    return Proof(value=float(given["value"]), low=given.get("low"), high=given.get("high"), n=n)


def _joined(
    name: str, kind: Kind, cheap: Deployment, strong: Deployment, share: Figure | None, costs: Costs
) -> Deployment:
    """Two deployments under one policy: an own machine before an API, two models on one machine, or two APIs."""
    if strong.has_machine and not cheap.has_machine:
        raise ConfigError(f"{name}: an API before a machine of one's own is not priced; take the machine as cheap")
    prices = [None if one.replica is None else one.replica.value for one in (cheap, strong)]
    if cheap.has_machine and strong.has_machine and prices[0] != prices[1]:
        raise ConfigError(f"{name}: its two machines have different prices; machine.usd_per_hour=... gives them one")
    return replace(
        cheap,
        option=name,
        kind=kind,
        usd_per_doc=strong.usd_per_doc,
        cheap_usd_per_doc=None if cheap.has_machine else cheap.usd_per_doc,
        strong_docs_per_s=strong.docs_per_s if strong.has_machine else None,
        escalated=share,
        machine=cheap.has_machine,
        api=strong.has_api,
        fixed=costs.fixed(kind),
    )


# A run that asked two models ----------------------------------------------------------------------------------


def of_run(found: Option, about: Mapping[str, Any], summary: Mapping[str, Any], costs: Costs) -> Option:
    """The option of a hybrid's run, with what its summary says of both models: the share that was sent on, the dollars of
    those documents, and the seconds of the machine. `about`: its manifest."""
    told, hybrid = summary.get("hybrid") or {}, about["hybrid"]
    name, kind = found.name, KINDS.get(str((hybrid.get("policy") or {}).get("kind")), "preroute")
    location = about.get("location")
    base: dict[str, Any] = {
        "option": name,
        "kind": kind,
        "fixed": costs.fixed(kind),
        "machine": location != "remote",
        "api": location != "own",
    }
    deployment = replace(found.deployment, **base)
    if location == "mixed":
        deployment = _mixed(deployment, told, about, name)
    places = [(side.get("location"), side.get("terms")) for key in ("cheap", "strong") if (side := hybrid.get(key))]
    side = costs.side(kind)
    return replace(
        found,
        deployment=deployment,
        places=tuple(places),
        ops_hours_per_month=side.get("ops_hours_per_month"),
        lead_weeks=side.get("lead_weeks"),
    )


def _mixed(deployment: Deployment, told: Mapping[str, Any], about: Mapping[str, Any], name: str) -> Deployment:
    sent = told.get("sent_to_strong") or {}
    n = int(sent.get("n") or 0)
    strong = (told.get("models") or {}).get(told.get("strong")) or {}
    cheap = (told.get("models") or {}).get(told.get("cheap")) or {}
    share = price = rate = None
    if sent.get("value") is not None:
        share = measured(f"share that {name} escalates", sent["value"], low=sent["low"], high=sent["high"])
        documents = float(sent["value"]) * n
        if strong.get("usd") is not None and documents:
            said = [str(one.get("provenance") or "declared") for one in (about.get("prices") or {}).values()]
            price = measured(
                f"API price of {told.get('strong')} where {name} escalates",
                strong["usd"] / documents,
                unit="$/document",
                provenance=weakest(["measured", *(said or ["declared"])]),
            )
    if cheap.get("seconds") and cheap.get("calls"):
        width = int(about.get("concurrency") or 1)
        seconds = Fraction(repr(cheap["seconds"])) / cheap["calls"] / width
        rate = Figure(
            name=f"throughput of the cheap model of {name}", value=1 / seconds, unit="documents/s", provenance="assumed"
        )
    own = deployment.docs_per_s  # of the whole run, the API's seconds in it, unless the user declared it
    declared = own if own is not None and own.provenance == "declared" else None
    return replace(deployment, usd_per_doc=price, escalated=share, docs_per_s=declared or rate)
