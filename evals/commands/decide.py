"""`decide`: which deployment at a volume, under constraints, from measured runs and declared options."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog, store
from evals.commands import scenario as scenarios
from evals.commands.settings_decide import DecideSettings
from evals.errors import ConfigError, DataError
from evals.report import files

if TYPE_CHECKING:
    import pandas as pd

    from evals.analysis.constraints import Limits
    from evals.analysis.options import Costs, Option

IMPORTED = "score"
"""Main metric of runs without fields."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision: `result` is the content of `decide.json`; printed, it is the recommendation and its tables."""

    result: dict[str, Any]
    exit_code: int

    def __str__(self) -> str:
        from evals.report import decision

        return decision.text(self.result)

    def _repr_html_(self) -> str:
        from evals.report import decision

        return decision.html(self.result)

    @property
    def options(self) -> "pd.DataFrame":
        """One row an option."""
        import pandas as pd

        return pd.DataFrame(self.result["options"])


@dataclass(frozen=True, kw_only=True)
class _Measured:
    """What a task's runs gave."""

    options: "Sequence[Option]"
    notes: Sequence[str]
    left_out: Sequence[Mapping[str, str]]


def decide(settings: DecideSettings, *, launcher: str = "python") -> Decision:
    """Compare every option at a volume. Raises `UserError`; with `out`, writes the record, tables and plots."""
    from evals.analysis import decide as analysis
    from evals.analysis.figures import figure
    from evals.analysis.judging import Ask

    if settings.out:
        files.prepare(Path(settings.out))
    declared = scenarios.read(settings.scenario)
    costs = scenarios.costs(settings.costs, declared.costs if declared else {}, _defaults())
    volume = figure(_volume(settings, declared), "volume", unit="documents/day", least=1.0)
    if volume is None:
        raise ConfigError("volume=5000: how many documents a day?")
    limits = _limits(settings, declared)
    asked = None if settings.table is not None else settings.quality
    metric = (
        IMPORTED if settings.table is not None else asked or (declared.metric if declared and declared.metric else None)
    )
    metric = metric or (_metric(settings) if settings.task else "f1")
    found = _Measured(options=(), notes=(), left_out=())
    if settings.task:
        found = _of_runs(settings, costs, metric, limits)
    elif settings.table is not None:
        found = _of_table(settings, costs)
    options = [*found.options, *(scenarios.options(declared, costs, metric) if declared else ())]
    ask = Ask(volume=volume, limits=limits, metric=metric, draws=settings.draws, seed=settings.seed)
    result = analysis.decide(options, ask)
    at = declared.volumes if declared and settings.volume is None else ()
    result |= {
        "title": _title(settings, declared),
        "task": None if settings.task is None else str(settings.task["name"]),
        "split": settings.split,
        "at": analysis.at_volumes(options, ask, at) if at else [],
        "constraints": _said(limits),
        "not_counted": costs.not_counted([one.deployment.kind for one in options]),
        "capacity": {
            "utilisation": str(costs.utilisation),
            "peak": str(costs.peak),
            "setup_months": str(costs.setup_months),
        },
        "left_out": [dict(one) for one in found.left_out],
        "notes": list(found.notes),
        "launcher": launcher,
        "created": store.stamp(),
    }
    code = exit_code(result, strict=settings.strict)
    result["exit_code"] = code
    if settings.out:
        write(Path(settings.out), result)
    return Decision(result=result, exit_code=code)


def exit_code(result: Mapping[str, Any], *, strict: bool) -> int:
    """1 where nothing can pass; 3, where asked for, when what cannot be told could change the answer."""
    if result["verdict"] == "infeasible":
        return 1
    return 3 if strict and (result["verdict"] == "inconclusive" or result["settle"]) else 0


def write(folder: Path, result: dict[str, Any]) -> None:
    """`decide.csv`, `.json`, `decision.md` (the record to sign), and plots where matplotlib is there."""
    from evals.report import decision_record

    rows = [{**row, "breaks": "; ".join(row["breaks"])} for row in result["options"]]
    shown = ("checks", "curve", "runs", "qualities", "unknown", "notes")
    files.write_table(folder, "decide", [{k: v for k, v in row.items() if k not in shown} for row in rows], result)
    sweep = [
        {
            "volume_per_day": row["volume_per_day"],
            "recommended": row["recommended"],
            "option": name,
            "usd_per_day": usd,
            "replicas": row["replicas"][name],
            "p_cheapest": row["p_cheapest"][name],
        }
        for row in result["sweep"]
        for name, usd in row["usd_per_day"].items()
    ]
    files.write_table(folder, "sweep", sweep)
    store.write_whole(folder / "decision.md", decision_record.markdown(result))
    try:
        from evals.report import decision_plots
    except ImportError:
        result["notes"].append("no plots: they need matplotlib, pip install 'evals-frontier[plots]'")
        return
    decision_plots.sweep(result, folder / "sweep.png")
    decision_plots.tornado(result, folder / "tornado.png")


# What is asked ------------------------------------------------------------------------------------------------


def _defaults() -> Mapping[str, Any]:
    """The costs as the command's own YAML has them: what stands there unchanged is not the user's word."""
    found: Mapping[str, Any] = catalog.load_yaml(catalog.shipped() / "configs" / "decide.yaml")["costs"]
    return found


def _volume(settings: DecideSettings, declared: scenarios.Scenario | None) -> Any:
    given = settings.volume if settings.volume is not None else declared.volume if declared else None
    if isinstance(given, bool) or (isinstance(given, str) and not given.replace(".", "").isdigit()):
        raise ConfigError(f"volume={given!r} should be documents a day, such as 5000")
    return given


def _limits(settings: DecideSettings, declared: scenarios.Scenario | None) -> "Limits":
    from evals.analysis.constraints import Limits

    floors = {**(declared.floors if declared else {}), **_set(settings.min)}
    most = _set(settings.max)
    return Limits(
        privacy=settings.privacy,
        quality={name: float(value) for name, value in floors.items()},
        slices={str(name): float(value) for name, value in _set(settings.min_slice).items()},
        fields={str(name): float(value) for name, value in _set(settings.min_field).items()},
        growth=settings.growth,
        **{key: float(value) for key, value in most.items()},
    )


def _set(given: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in given.items() if value is not None}


def _said(limits: "Limits") -> list[str]:
    """The constraints in the words of the command line."""
    words = [f"privacy={limits.privacy}"]
    for group, given in (("min", limits.quality), ("min_slice", limits.slices), ("min_field", limits.fields)):
        words += [f"{group}.{name}={value:g}" for name, value in given.items()]
    keys = ("latency_p95_s", "usd_per_day", "usd_per_month", "ops_hours_per_month", "lead_weeks")
    words += [f"max.{key}={getattr(limits, key):g}" for key in keys if getattr(limits, key) is not None]
    return [*words, *([f"growth={limits.growth:g}"] if limits.growth != 1 else [])]


def _title(settings: DecideSettings, declared: scenarios.Scenario | None) -> str:
    names = [f"{settings.task['name']} ({settings.split})"] if settings.task else []
    names += [Path(settings.table).name] if settings.table is not None else []
    return " with ".join([*names, *([f"scenario {declared.name}"] if declared else [])])


# A table ------------------------------------------------------------------------------------------------------


def _of_table(settings: DecideSettings, costs: "Costs") -> _Measured:
    import dataclasses

    from evals.analysis import tabled
    from evals.analysis.imported import read_table

    path = Path(str(settings.table))
    columns = _set(settings.columns)
    names = (("score", settings.quality), ("cost_usd", settings.cost), ("latency_s", settings.latency))
    columns |= {name: given for name, given in names if given is not None}
    frame, notes = read_table(path, columns)
    found, more = tabled.options(
        frame, costs, draws=settings.draws, seed=settings.seed, source=str(path), whole_run=settings.cost_of == "run"
    )
    told = {"run": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return _Measured(
        options=[dataclasses.replace(one, runs=(told,)) for one in found], notes=[*notes, *more], left_out=()
    )


# Runs ---------------------------------------------------------------------------------------------------------


def _metric(settings: DecideSettings) -> str:
    """f1, or the score of an import's own."""
    from evals.analysis.table import load_runs

    kept = _kept(settings)[0]
    return "f1" if load_runs(kept[:1], columns=["tp"])["tp"].notna().any() else IMPORTED


def _kept(settings: DecideSettings) -> tuple[list[Path], list[dict[str, str]]]:
    from evals.commands.frontier import chosen_runs

    return chosen_runs(str((settings.task or {})["name"]), settings.split, settings.runs)


def _of_runs(settings: DecideSettings, costs: "Costs", metric: str, limits: "Limits") -> _Measured:
    import dataclasses

    from evals.analysis.figures import figure
    from evals.analysis.measured import BATCH, Terms, options
    from evals.analysis.table import load_runs

    kept, left = _kept(settings)
    manifests = {}
    hashes = {}
    for run in kept:
        about = store.read_json(run / "manifest.json")
        manifests[str(about["option"])] = about
        hashes[str(about["option"])] = {"run": str(run), "sha256": _digest(run)}
    frame = load_runs(kept)
    leaves = load_runs(kept, fields=True) if limits.fields else None
    asked = Terms(
        metrics=list(dict.fromkeys([metric, *limits.quality])),
        slices=list(limits.slices),
        fields=list(limits.fields),
        machine=settings.machine,
        docs_per_s=_set(settings.docs_per_s),
        terms={name: _terms(str(about["model"])) for name, about in manifests.items()},
        price=figure({k: v for k, v in settings.price.items() if k != "name"}, "level of API prices", where="price"),
        costs=costs,
        batch=settings.batch,
        draws=settings.draws,
        seed=settings.seed,
    )
    found, notes = options(frame, manifests, asked, leaves)
    found = [_hybrid(one, manifests.get(one.name), hashes, costs) for one in found]
    told = [
        dataclasses.replace(one, runs=(hashes[one.name if one.name in hashes else one.name.removesuffix(BATCH)],))
        for one in found
    ]
    if not told:
        raise DataError("these runs hold no option")
    told += _of_policies(settings, told, next(iter(manifests.values())), metric, costs)
    return _Measured(options=told, notes=notes, left_out=left)


def _hybrid(one: "Option", about: Mapping[str, Any] | None, hashes: Mapping[str, Any], costs: "Costs") -> "Option":
    """A run that asked two models, as the hybrid that it is."""
    if about is None or not about.get("hybrid"):
        return one
    from evals.analysis.hybrids import of_run

    return of_run(one, about, store.read_json(Path(hashes[one.name]["run"]) / "summary.json"), costs)


def _of_policies(
    settings: DecideSettings, options: "Sequence[Option]", about: Mapping[str, Any], metric: str, costs: "Costs"
) -> "list[Option]":
    """The hybrids of saved policies. Raises `ConfigError` for one that was fitted for another task or schema."""
    from evals.analysis.hybrids import of_policy
    from evals.policy.saved import load_policy, misfit

    found = []
    for where in settings.policies or ():
        policy = load_policy(where).policy
        hashes = about.get("hashes") or {}
        version = None if about.get("task_version") is None else str(about["task_version"])
        here: dict[str, Any] = {
            "task": str(about["task"]),
            "version": version,
            "schema": hashes.get("schema"),
            "prompt": hashes.get("prompt"),
        }
        if reason := misfit(policy, **here):
            raise ConfigError(f"{where}: {reason}")
        if (option := of_policy(policy, where, options, metric, costs)) is not None:
            found.append(option)
    return found


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
