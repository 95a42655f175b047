"""`plan`: before spending, which difference how many documents detect, and what a run will cost and take."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import catalog, store
from evals.commands import build, hybrid, manifest, sides
from evals.commands.estimate import estimate
from evals.commands.prices import snapshot
from evals.commands.run import run
from evals.commands.settings.plan import PASSED, PlanSettings
from evals.commands.settings.run import RunSettings, validated
from evals.engine.machine import cpu_name
from evals.errors import BudgetReached, ConfigError, DataError, StoreError
from evals.loading import ExtractionTask
from evals.report import files


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What was found: the content of `plan.json`; printed, it is the tables.

    Keys: `task, split, documents` (that are planned for), `available` (that the task has), `power, alpha, comparisons,
    alpha_each`, `sentences`, `spread` (`provenance, text, sd_f1, discordance` with `_low, _high`, `pairs`), `detectable`
    (`metric, n, difference, low, high`), `needed` (`metric, difference, n, low, high`), `models` (see
    `analysis.forecast.forecast`, and `usd_estimate`: what was estimated without a pilot), `notes`.
    """

    result: dict[str, Any]
    exit_code: int = 0

    def __str__(self) -> str:
        from evals.report import planning

        return planning.text(self.result)

    def _repr_html_(self) -> str:
        from evals.report import planning

        return planning.html(self.result)


def plan(settings: PlanSettings, *, launcher: str = "python", progress: bool = True) -> Plan:
    """Ask the pilots that are wanted and not stored yet, and say what all of it means. Raises `UserError`."""
    if settings.out:
        files.prepare(Path(settings.out))
    asked = [as_run(settings, spec) for spec in settings.specs]
    if settings.policy is not None and not any(sides.is_hybrid(one.model) for one in asked):
        raise ConfigError(f"policy={settings.policy} says who of two models answers: model=hybrid ...")
    for one in asked:
        _refused(one)
        snapshot(one.model, processing=one.processing)  # an unknown price is told before anything is bought
    task = build.task(asked[0] if asked else _alone(settings))
    available = _count(task, settings)
    documents = settings.n or available
    if documents is None:
        raise DataError(f"how many documents {task.name} has is not known; say n=NUMBER")
    code, models = 0, []
    billed = 0.0
    for one in asked:
        found, ended, spent = _model(settings, one, documents, available, billed, launcher, progress)
        models.append(found)
        code, billed = max(code, ended), billed + spent
    result = _result(settings, task, documents, available, models)
    if settings.out:
        write(Path(settings.out), result)
    return Plan(result=result, exit_code=code)


def _refused(asked: RunSettings) -> None:
    """Raise what `run` would raise of this model, before any pilot is paid: privacy, a policy that does not fit."""
    if not sides.is_hybrid(asked.model):
        build.refuse_remote(asked)
        return
    task = build.task(asked)
    hybrid.check(asked, task.name, task.version, task.hashes())


def each_model(words: Sequence[str]) -> list[list[str]]:
    """The words of a command line once for each name of `model=a,b` or `model=[a,b]`; as they are without any. What is said
    of a hybrid's two sides is for hybrids alone, where another model is named beside them."""
    at = next((i for i, word in enumerate(words) if word.startswith("model=")), len(words))
    given = words[at].removeprefix("model=").strip("[]").split(",") if at < len(words) else []
    names = [name.strip() for name in given if name.strip() not in ("", "null")]
    rest = [*words[:at], *words[at + 1 :]]
    mixed = len({_names_hybrid(name) for name in names}) > 1
    own = [word for word in rest if not _of_sides(word)] if mixed else rest
    return [[f"model={name}", *(rest if _names_hybrid(name) else own)] for name in names] or [rest]


def _names_hybrid(name: str) -> bool:
    known = catalog.options("model")
    return name in known and sides.is_hybrid(catalog.load_yaml(known[name]))


def _of_sides(word: str) -> bool:
    """Is this word about `model.cheap` or `model.strong`, before or after `sides.translated`?"""
    key = word.partition("=")[0].lstrip("+").removeprefix("model@")
    return any(key == one or key.startswith(f"{one}.") for one in sides.KEYS)


def write(folder: Path, result: Mapping[str, Any]) -> None:
    """`plan.json`, and its rows as `plan.csv` (`kind`: detectable, needed, model)."""
    kinds = (("detectable", result["detectable"]), ("needed", result["needed"]), ("model", result["models"]))
    rows = [{"kind": kind, **row} for kind, part in kinds for row in part]
    files.write_table(folder, "plan", rows, result)


def as_run(settings: Any, spec: Mapping[str, Any], **more: Any) -> RunSettings:
    """The settings of the `run` that this stands for: identical, so that it is the same run."""
    plain = {name: getattr(settings, name) for name in PASSED} | {"task": settings.task, "machine": settings.machine}
    for name in ("seed", "processing"):
        plain |= {name: getattr(settings, name)} if hasattr(settings, name) else {}
    if not sides.is_hybrid(spec):
        plain["policy"] = None
    found: RunSettings = validated("run", {**plain, "model": dict(spec), **more})
    return found


def _alone(settings: PlanSettings) -> RunSettings:
    """The task without any model: enough to read its documents."""
    return as_run(settings, {"name": "none"})


def _count(task: ExtractionTask, settings: PlanSettings) -> int | None:
    if settings.slice is None:
        task.identity()  # counts a file's documents on the way
        return task.count()
    wanted = set(settings.slice)
    count = sum(bool(wanted & set(sample.tags)) for sample in task.samples())
    if not count:
        raise DataError(f"no document of {task.name} has a tag of slice=[{','.join(settings.slice)}]")
    return count


# Models -------------------------------------------------------------------------------------------------------


def _model(
    settings: PlanSettings,
    asked: RunSettings,
    documents: int,
    available: int | None,
    billed: float,
    launcher: str,
    progress: bool,
) -> tuple[dict[str, Any], int, float]:
    """A model's row, the exit code of its pilot, and what the pilot cost. A stored run that is as good is not repeated."""
    task = build.task(asked)
    known = _basis(settings, asked, task)
    wanted = min(settings.pilot or 0, available or settings.pilot or 0)
    code, spent = 0, 0.0
    if wanted and (known is None or _n(known) < wanted):
        pilot = dataclasses.replace(asked, limit=settings.pilot, budget=_left(asked, billed))
        done = run(pilot, launcher=launcher, progress=progress)
        known, code = done.folder, done.exit_code
        spent = float(done.summary["cost"]["billed"] or 0.0)
    row = _estimated(asked, task, documents)
    if known is not None:
        row = {**row, **_forecast(settings, known, documents)}
    return row, code, spent


def _n(folder: Path) -> int:
    return int(store.read_json(folder / "summary.json").get("n") or 0)


def _left(asked: RunSettings, billed: float) -> Any:
    """The budget of all pilots less what the ones before have used."""
    usd = asked.budget.usd
    if usd is None:
        return asked.budget
    if billed >= usd:
        raise BudgetReached(f"budget.usd={usd:g} is used up (${billed:.4f}) before the pilot of {asked.model['name']}")
    return dataclasses.replace(asked.budget, usd=usd - billed)


def _basis(settings: PlanSettings, asked: RunSettings, task: ExtractionTask) -> Path | None:
    """The complete run of this option, under these conditions, with most documents (then the newest)."""
    from evals.analysis.comparing.baseline import dataset_hash
    from evals.analysis.tables.table import run_folders

    option, hashes, data = build.option_name(asked), task.hashes(), dataset_hash(task.identity())
    found: tuple[int, Path] | None = None
    for folder in run_folders(settings.runs):
        about = store.read_json(folder / "manifest.json")
        same = (
            about.get("task") == task.name
            and about.get("option") == option
            and (about.get("split"), about.get("load"))
            == (task.split, manifest.load(asked, about.get("backend") or {}))
            and about.get("slice") == settings.slice
            and dataset_hash(about.get("dataset")) == data
            and all(about.get("hashes", {}).get(name) == hashes[name] for name in ("prompt", "schema"))
        )
        here = (
            asked.model.get("location") not in ("own", "mixed") or (about.get("machine") or {}).get("cpu") == cpu_name()
        )
        if same and here and _fresh(folder) and (found is None or _n(folder) >= found[0]):
            found = _n(folder), folder
    return found[1] if found else None


def _fresh(folder: Path) -> bool:
    """Was every answer asked there? What the cache served was not timed."""
    summary = store.read_json(folder / "summary.json")
    return bool(summary.get("fresh_n") == summary.get("n", 0) * summary.get("repeats", 1))


def _estimated(asked: RunSettings, task: ExtractionTask, documents: int) -> dict[str, Any]:
    """What is known of a model that was never asked: the estimate of `run`, assumed."""
    from evals.analysis.forecast import EMPTY

    prices = snapshot(asked.model, processing=asked.processing)
    guess = estimate(task, asked, prices, documents) if prices and asked.privacy is None else None
    row = {**EMPTY, "option": build.option_name(asked), "model": asked.model["name"], "documents": documents}
    return row | {
        "load": manifest.load(asked, {}),
        "provenance": "assumed",
        "usd_estimate": guess.usd if guess else None,
        "tokens_estimate": [guess.input_tokens, guess.output_tokens] if guess else None,
    }


def _forecast(settings: PlanSettings, folder: Path, documents: int) -> dict[str, Any]:
    from evals.analysis.forecast import Conditions, forecast
    from evals.analysis.tables.table import load_run

    ask = Conditions(
        documents=documents,
        usd_per_hour=settings.machine.get("usd_per_hour"),
        requests_per_min=settings.requests_per_min,
        tokens_per_min=settings.tokens_per_min,
    )
    row = forecast(load_run(folder), store.read_json(folder / "manifest.json"), ask)
    sent = (store.read_json(folder / "summary.json").get("hybrid") or {}).get("sent_to_strong")
    if sent:
        share = f"{100 * sent['value']:.0f} % [{100 * sent['low']:.0f}, {100 * sent['high']:.0f}]"
        row["extrapolated"] = [*row["extrapolated"], f"{share} of {sent['n']} documents went on to its strong model"]
    return row


# Spread -------------------------------------------------------------------------------------------------------


def _stored(settings: PlanSettings, task: ExtractionTask) -> tuple[dict[str, Any], list[str]]:
    """Option -> table of its run with most documents, of this very data; one scorer: today's, where it scored two."""
    from evals.analysis.comparing.baseline import dataset_hash
    from evals.analysis.tables.table import load_run, run_folders

    data, today = dataset_hash(task.identity()), task.hashes()["scorer"]
    kinds: dict[str, dict[str, Path]] = {}
    others = 0
    folders = run_folders(settings.runs)
    if settings.runs and not folders:
        raise StoreError(f"runs={settings.runs}: no complete run is found there")
    for folder in folders:
        about = store.read_json(folder / "manifest.json")
        if (about.get("task"), about.get("split")) != (task.name, task.split):
            continue
        others += dataset_hash(about.get("dataset")) != data
        if dataset_hash(about.get("dataset")) == data:
            kept = kinds.setdefault(str(about["hashes"].get("scorer")), {})
            old = kept.get(str(about["option"]))
            if old is None or _n(folder) >= _n(old):
                kept[str(about["option"])] = folder
    apart = [f"{others} runs of this task are of other documents and not counted"] if others else []
    if not kinds:
        return {}, apart
    scorer = max(kinds, key=lambda one: (len(kinds[one]) > 1, one == today, len(kinds[one])))
    notes = apart + (
        [] if scorer == today else ["the spread is of scores by another version of the scorer than today's"]
    )
    frames = {option: load_run(folder) for option, folder in kinds[scorer].items()}
    if settings.slice:
        wanted = set(settings.slice)
        frames = {name: part[[bool(wanted & set(tags)) for tags in part["tags"]]] for name, part in frames.items()}
    return {name: part for name, part in frames.items() if len(part)}, notes


def _result(
    settings: PlanSettings,
    task: ExtractionTask,
    documents: int,
    available: int | None,
    models: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    from evals.analysis import planning as analysis
    from evals.report.planning import sentences

    frames, notes = _stored(settings, task)
    found = analysis.spread(frames) or analysis.assumed()
    comparisons = settings.models or max(1, len(settings.specs) - 1)
    alpha = settings.alpha / comparisons
    if found.provenance == "assumed":
        notes.append(f"to measure the spread: {_command(settings, task)}")
    if settings.pilot and models:
        notes.append("a pilot's documents are a seeded sample, stratified by slice, not the first ones")
    power = {"power": settings.power, "alpha": alpha}
    counts = analysis.ladder(available, documents)
    result = {
        "task": task.name,
        "split": task.split,
        "documents": documents,
        "available": available,
        "power": settings.power,
        "alpha": settings.alpha,
        "comparisons": comparisons,
        "alpha_each": alpha,
        "spread": analysis.described(found),
        "detectable": analysis.detection(found, counts, **power),
        "needed": analysis.requirement(found, **power),
        "models": list(models),
        "notes": [*found.notes, *notes],
    }
    return {"sentences": sentences(result), **store.plain(result)}


def _command(settings: PlanSettings, task: ExtractionTask) -> str:
    names = ",".join(str(spec["name"]) for spec in settings.specs) or "MODEL,MODEL"
    other = "" if len(settings.specs) != 1 else ",MODEL"
    return f"python -m evals plan task={task.name} model={names}{other} pilot=20"
