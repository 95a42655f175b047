"""Saved policies that `decide` decides on: checked, and replayed document by document on the chosen runs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import store
from evals.catalog import nearest
from evals.commands.settings.decide import DecideSettings
from evals.errors import ConfigError, DataError
from evals.policy.saved import check_fits, fitted_on, load_policy

if TYPE_CHECKING:
    import pandas as pd

    from evals.analysis.deciding.options import Costs, Option
    from evals.core import Policy

Manifests = Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A policy's file, and what it does on the stored answers."""

    policy: "Policy"
    where: str
    name: str
    """Of its option."""
    told: Mapping[str, str]
    """`{run, sha256}` of the file."""
    fitted_here: bool
    rows: "pd.DataFrame | None"
    """As if the policy had been run (`analysis.routing.replay.as_run`); `None`: it could not be replayed."""
    sent: Sequence[bool]
    why: str | None
    """Why it could not be replayed."""

    @property
    def manifest(self) -> dict[str, Any]:
        """What stands for the manifest of its rows: nothing of it is priced, which its two options are."""
        loads = list(dict.fromkeys(map(str, [] if self.rows is None else self.rows["load"].dropna())))
        load = f"replayed, {loads[0] if len(loads) == 1 else 'unlike loads'}"
        return {"option": self.name, "model": self.name, "location": "remote", "load": load}

    def leaves(self, leaves: "pd.DataFrame") -> "pd.DataFrame":
        """The long frame's fields of the answers that count."""
        if self.rows is None:
            return leaves.iloc[:0]
        keys = self.rows[["sample_id", "repeat", "answered_by"]].rename(columns={"answered_by": "option"})
        return leaves.merge(keys, on=["sample_id", "repeat", "option"]).assign(option=self.name)


def read(
    settings: DecideSettings, kept: Mapping[str, Path], manifests: Manifests, frame: "pd.DataFrame"
) -> list[Saved]:
    """Every policy that is named, of two models. `kept`: option -> run folder; `frame`: their rows. Raises `ConfigError`
    for one that was fitted for another task or schema, or speaks of an option that is not there."""
    from evals.analysis.deciding.hybrids import title

    found: list[Saved] = []
    for where in settings.policies or ():
        policy = load_policy(where).policy
        check_fits(policy, where, next(iter(manifests.values())))
        if policy.kind == "single" or policy.strong is None:
            continue
        if policy.about.get("review"):
            raise ConfigError(f"{where} sends documents to a person: reviews=[review.json] counts what that costs")
        for side in ("cheap", "strong"):
            if (option := str(getattr(policy, side))) not in manifests:
                raise ConfigError(
                    f"{where}: its {side} model {option!r} is none of the options here{nearest(option, manifests)}"
                )
        name = title(policy)
        if name in {one.name for one in found}:
            name = f"{name} {Path(where).stem}"
        found.append(_replayed(policy, where, name, kept[policy.cheap], manifests[policy.cheap], frame))
    if doubled := [one.where for one in found if [o.name for o in found].count(one.name) > 1]:
        raise ConfigError(f"policies: {doubled[0]} is named twice")
    return found


def _replayed(
    policy: "Policy", where: str, name: str, run: Path, manifest: Mapping[str, Any], frame: "pd.DataFrame"
) -> Saved:
    from evals.analysis.routing.replay import as_run
    from evals.commands.route import requests_of

    rows, sent, said = None, list[bool](), list[str]()
    requests = requests_of([dict(manifest)], set(frame["sample_id"]), said)
    if requests is not None:
        records = {name: record for (name, repeat), record in store.answered(run).items() if repeat == 0}
        try:
            rows, sent = as_run(policy, name, frame, requests, records)
        except DataError as error:
            said.append(str(error))
    digest = hashlib.sha256(Path(where).read_bytes()).hexdigest()
    return Saved(
        policy=policy,
        where=where,
        name=name,
        told={"run": where, "sha256": digest},
        fitted_here=fitted_on(policy, manifest),
        rows=rows,
        sent=sent,
        why=None if rows is not None else said[0].partition(":")[0],
    )


def option(
    saved: Saved, options: "Sequence[Option]", frame: "pd.DataFrame", metric: str, costs: "Costs"
) -> "Option | None":
    """The policy's option. `options`: those of the runs, the replayed rows among them where there are some."""
    from evals.analysis.deciding.hybrids import Replay, of_policy

    own = next((one for one in options if one.name == saved.name), None)
    replay = None
    if own is not None:
        ratio = _ratio(saved, options, frame)
        replay = Replay(option=own, sent=saved.sent, fitted_here=saved.fitted_here, ratio=ratio)
    return of_policy(saved.policy, saved.where, options, metric, costs, replay, saved.why)


def _ratio(saved: Saved, options: "Sequence[Option]", frame: "pd.DataFrame") -> float | None:
    """What the documents that are sent on take of the strong option against all: dollars of an API, seconds of a machine."""
    strong = next((one for one in options if one.name == saved.policy.strong), None)
    if strong is None or saved.rows is None or not any(saved.sent):
        return None
    column = "notional_usd" if strong.deployment.has_api else "latency_s"
    rows = frame[(frame["option"] == strong.name) & frame["sample_id"].isin(saved.rows["sample_id"])]
    each = rows.groupby("sample_id")[column].mean().loc[list(saved.rows["sample_id"])]
    all_of, those = float(each.mean()), float(each[list(saved.sent)].mean())
    return those / all_of if all_of > 0 and those >= 0 else None
