"""`decide`: which deployment at a volume, under constraints, from measured runs and declared options."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog, store
from evals.commands import decide_reviews
from evals.commands import scenario as scenarios
from evals.commands.decide_inputs import IMPORTED, Measured, main_metric, of_runs, of_table, set_keys
from evals.commands.settings.decide import DecideSettings
from evals.errors import ConfigError
from evals.report import files

if TYPE_CHECKING:
    import pandas as pd

    from evals.analysis.deciding.constraints import Limits
    from evals.analysis.deciding.options import Costs, Option


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A decision: `result` is the content of `decide.json`; printed, it is the recommendation and its tables.

    Keys: `volume_per_day, recommended, runner_up, cheapest` (by typical dollars), `verdict` (recommended, inconclusive,
    infeasible), `options` (a row each, with its `checks`, `breaks` in words, `runs` and their sha256, and of a saved policy
    `quality_replayed`, its quality on the stored answers, which flatters it where it was fitted on them), `break_even`,
    `flips, sweep, tornado, settle` (what would settle what cannot be told), `relax` (single constraints that open an
    option), `figures` (every factor with range, provenance, source, date), `constraints, not_counted, notes`.
    """

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


def decide(settings: DecideSettings, *, launcher: str = "python") -> Decision:
    """Compare every option at a volume. Raises `UserError`; with `out`, writes the record, tables and plots."""
    from evals.analysis.deciding import decide as analysis
    from evals.analysis.deciding.figures import figure
    from evals.analysis.deciding.judging import Ask

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
    metric = metric or (main_metric(settings) if settings.task else "f1")
    if settings.table is not None and (strange := set(limits.quality) - {IMPORTED}):
        raise ConfigError(f"min.{min(strange)} is for runs: the floor of a table's scores is min.{IMPORTED}")
    found = Measured(options=(), notes=(), left_out=())
    if settings.task:
        found = of_runs(settings, costs, metric, limits)
    elif settings.table is not None:
        found = of_table(settings, costs)
    shared = decide_reviews.shared(costs, settings)
    options = [*found.options, *(scenarios.options(declared, shared, metric) if declared else ())]
    ask = Ask(volume=volume, limits=limits, metric=metric, draws=settings.draws, seed=settings.seed)
    result = analysis.decide(options, ask)
    at = declared.volumes if declared and settings.volume is None else ()
    result |= {
        "title": _title(settings, declared),
        "task": None if settings.task is None else str(settings.task["name"]),
        "split": settings.split,
        "at": analysis.at_volumes(options, ask, at) if at else [],
        "constraints": _said(limits),
        "not_counted": _not_counted(shared, options, found.reviewed),
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


def _not_counted(costs: "Costs", options: "Sequence[Option]", reviewed: Sequence[str]) -> list[str]:
    """Costs that nobody declared; a review of some options alone names the others."""
    found = costs.not_counted([one.deployment.kind for one in options])
    if not reviewed or "review" not in found:
        return found
    rest = [one.name for one in options if one.name not in reviewed]
    said = [f"review of {', '.join(rest)}"] if rest else []
    return [part for one in found for part in (said if one == "review" else [one])]


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
    from evals.analysis.deciding.constraints import Limits

    floors = {**(declared.floors if declared else {}), **set_keys(settings.min)}
    most = set_keys(settings.max)
    return Limits(
        privacy=settings.privacy,
        quality={name: float(value) for name, value in floors.items()},
        slices={str(name): float(value) for name, value in set_keys(settings.min_slice).items()},
        fields={str(name): float(value) for name, value in set_keys(settings.min_field).items()},
        growth=settings.growth,
        **{key: float(value) for key, value in most.items()},
    )


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
