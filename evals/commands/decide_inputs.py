"""What `decide` decides among: a task's runs, saved policies, or somebody's table, as options."""

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog, store
from evals.commands import decide_policies, decide_reviews
from evals.commands.settings.decide import DecideSettings
from evals.errors import ConfigError, DataError

if TYPE_CHECKING:
    from evals.analysis.deciding.constraints import Limits
    from evals.analysis.deciding.options import Costs, Option

IMPORTED = "score"
"""Main metric of runs without fields, and of tables."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What runs or a table gave."""

    options: "Sequence[Option]"
    notes: Sequence[str]
    left_out: Sequence[Mapping[str, str]]
    reviewed: Sequence[str] = ()
    """Options whose human review is that of their own `review`."""


# A table ------------------------------------------------------------------------------------------------------


def of_table(settings: DecideSettings, costs: "Costs") -> Measured:
    from evals.analysis.deciding import tabled
    from evals.analysis.tables.imported import read_table

    path = Path(str(settings.table))
    columns = set_keys(settings.columns)
    names = (("score", settings.quality), ("cost_usd", settings.cost), ("latency_s", settings.latency))
    columns |= {name: given for name, given in names if given is not None}
    frame, notes = read_table(path, columns)
    found, more = tabled.options(
        frame, costs, draws=settings.draws, seed=settings.seed, source=str(path), whole_run=settings.cost_of == "run"
    )
    told = {"run": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return Measured(
        options=[dataclasses.replace(one, runs=(told,)) for one in found], notes=[*notes, *more], left_out=()
    )


def set_keys(keys: Mapping[str, Any]) -> dict[str, Any]:
    """The keys that are set."""
    return {key: value for key, value in keys.items() if value is not None}


# Runs ---------------------------------------------------------------------------------------------------------


def main_metric(settings: DecideSettings) -> str:
    """f1, or the score of an import's own."""
    from evals.analysis.tables.table import load_runs

    kept = _kept(settings)[0]
    return "f1" if load_runs(kept[:1], columns=["tp"])["tp"].notna().any() else IMPORTED


def _kept(settings: DecideSettings) -> tuple[list[Path], list[dict[str, str]]]:
    from evals.commands.frontier import chosen_runs

    return chosen_runs(str((settings.task or {})["name"]), settings.split, settings.runs)


def of_runs(settings: DecideSettings, costs: "Costs", metric: str, limits: "Limits") -> Measured:
    import pandas as pd

    from evals.analysis.deciding.figures import figure
    from evals.analysis.deciding.measured import BATCH, Terms, options
    from evals.analysis.tables.table import load_runs

    kept, left = _kept(settings)
    manifests: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    for run in kept:
        about = store.read_json(run / "manifest.json")
        manifests[str(about["option"])] = about
        folders[str(about["option"])] = run
    hashes = {name: {"run": str(run), "sha256": _digest(run)} for name, run in folders.items()}
    frame = load_runs(kept)
    leaves = load_runs(kept, fields=True) if limits.fields else None
    saved = decide_policies.read(settings, folders, manifests, frame)
    for one in saved:
        if one.name in settings.docs_per_s:
            raise ConfigError(f"docs_per_s.{one.name}: a policy's throughput is that of its models; declare theirs")
    replays = [one for one in saved if one.rows is not None]
    asked = Terms(
        metrics=list(dict.fromkeys([metric, *limits.quality])),
        slices=list(limits.slices),
        fields=list(limits.fields),
        machine=settings.machine,
        docs_per_s=set_keys(settings.docs_per_s),
        terms={name: _terms(str(about["model"])) for name, about in manifests.items()},
        price=figure({k: v for k, v in settings.price.items() if k != "name"}, "level of API prices", where="price"),
        costs=decide_reviews.shared(costs, settings),
        batch=settings.batch,
        draws=settings.draws,
        seed=settings.seed,
    )
    found, notes = options(
        pd.concat([frame, *(one.rows for one in replays)], ignore_index=True),
        manifests | {one.name: one.manifest for one in replays},
        asked,
        None if leaves is None else pd.concat([leaves, *(one.leaves(leaves) for one in replays)], ignore_index=True),
    )
    found = [_hybrid(one, manifests.get(one.name), hashes, costs) for one in found]
    hybrids = [
        (one, option)
        for one in saved
        if (option := decide_policies.option(one, found, frame, metric, costs)) is not None
    ]
    replayed = {one.name for one in replays}
    told = [
        dataclasses.replace(one, runs=(hashes[one.name if one.name in hashes else one.name.removesuffix(BATCH)],))
        for one in found
        if one.name not in replayed
    ]
    if not told:
        raise DataError("these runs hold no option")
    told += [
        dataclasses.replace(option, runs=(one.told, hashes[one.policy.cheap], hashes[str(one.policy.strong)]))
        for one, option in hybrids
    ]
    told, reviewed = decide_reviews.reviewed(settings, told, folders, costs)
    return Measured(options=told, notes=notes, left_out=left, reviewed=reviewed)


def _hybrid(one: "Option", about: Mapping[str, Any] | None, hashes: Mapping[str, Any], costs: "Costs") -> "Option":
    """A run that asked two models, as the hybrid that it is."""
    if about is None or not about.get("hybrid"):
        return one
    from evals.analysis.deciding.hybrids import of_run

    return of_run(one, about, store.read_json(Path(hashes[one.name]["run"]) / "summary.json"), costs)


def _terms(model: str) -> str | None:
    """What the model's YAML says of internal documents; unknown where it is not in reach."""
    try:
        found = catalog.option("model", model).get("terms")
    except ConfigError:
        return None
    return None if found is None else str(found)


def _digest(run: Path) -> str:
    """sha256 of what was answered and how it was made: `records.jsonl`, then `manifest.json`."""
    found = hashlib.sha256()
    for name in ("records.jsonl", "manifest.json"):
        path = run / name
        if path.is_file():
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    found.update(block)
    return found.hexdigest()
