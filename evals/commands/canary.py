"""`canary`: a few fixed documents, asked afresh, against the stored canaries of the same model: has it changed?

A canary is an ordinary run that is kept apart: its option ends in `+canary` (`results/<task>/<option>+canary/`) and its
manifest has the key `canary` (`reference`: is it the one that later ones are held against?), so that `frontier`, `results`,
`history` and the others take it for no run of the whole; `load_runs` reads it where its own folder is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals import store
from evals.commands import build, sides
from evals.commands.plan import as_run
from evals.commands.run import INFRASTRUCTURE_LIMIT, Finished, run
from evals.commands.settings.plan import CanarySettings
from evals.errors import INFRASTRUCTURE, BudgetReached, Stopped
from evals.loading import ExtractionTask
from evals.report import files


@dataclass(frozen=True, kw_only=True)
class Canary:
    """What was found: the content of `canary.json`; printed, it is the tables. And the command's exit code.

    Keys: `verdict` (`reference`, `changed`, `no change seen`, `inconclusive`), `why` (in words), `would_detect`, `task,
    option, model, run, n, repeats, billed_usd, watch, alpha, tests`, `against` (of the reference and of the canary before: `name, run,
    started_at, n, changed_documents, least_changed, served`), `metrics` (as in `compare.json`, with `against` and
    `watched`), `notes`, `exit_code`.
    """

    result: dict[str, Any]
    exit_code: int

    def __str__(self) -> str:
        from evals.report import canary

        return canary.text(self.result)

    def _repr_html_(self) -> str:
        from evals.report import canary

        return canary.html(self.result)


def canary(settings: CanarySettings, *, launcher: str = "python", progress: bool = True) -> Canary:
    """Ask the documents, keep the answers, compare. Raises `UserError` before the first token where something is wrong."""
    if settings.out:
        files.prepare(Path(settings.out))
    asked = as_run(settings, settings.model, limit=settings.n, repeats=settings.repeats, cache="off", resume=False)
    if asked.concurrency is None and not sides.is_hybrid(asked.model) and build.holds_several(asked.model):
        # Decoded together, answers differ by what is beside them: one at a time they are the model's alone.
        asked = replace(asked, concurrency=1)
    task = build.task(asked)
    option = build.option_name(asked) + store.CANARY
    earlier, notes = _earlier(task, option, settings)
    try:
        marks = {"reference": settings.save or not earlier}
        done = run(asked, launcher=launcher, progress=progress, canary=marks)
    except (Stopped, BudgetReached) as error:
        why = str(error).partition(";")[0]
        raise type(error)(f"{why}; the canary is cut short and not compared; ask it anew: {launcher}") from None
    result = _result(settings, done, earlier, notes)
    if settings.out:
        files.write_table(Path(settings.out), "canary", result["metrics"], result)
    return Canary(result=result, exit_code=result["exit_code"])


def _earlier(task: ExtractionTask, option: str, settings: CanarySettings) -> tuple[list[Path], list[str]]:
    """The complete canaries of this option that are alike, oldest first; and what is not alike, in words."""
    from evals.analysis.comparing.baseline import dataset_hash
    from evals.analysis.comparing.compare import SAME
    from evals.analysis.tables.table import run_folders

    folder = store.results_root() / store.safe_name(task.name) / store.safe_name(option)
    now = {**task.hashes(), "dataset": dataset_hash(task.identity()), "documents": [task.split, settings.slice]}
    alike, notes = [], []
    for path in run_folders(folder, canaries=True) if folder.is_dir() else []:
        about = store.read_json(path / "manifest.json")
        documents = [about.get("split"), about.get("slice")]
        was = {**about["hashes"], "dataset": dataset_hash(about.get("dataset")), "documents": documents}
        other = [name for name in (*SAME, "documents") if was.get(name) != now[name]]
        if other:
            notes.append(f"not compared with {path.name}: other {', '.join(other)}")
        else:
            alike.append(path)
    return alike, notes[-3:]


def _result(settings: CanarySettings, done: Finished, earlier: Sequence[Path], notes: Sequence[str]) -> dict[str, Any]:
    from evals.analysis.comparing import canary as analysis
    from evals.analysis.comparing.baseline import infrastructure_share, read_side
    from evals.analysis.comparing.compare import is_tested

    now = read_side(done.folder)
    spoilt = infrastructure_share(now.rows, INFRASTRUCTURE)
    result: dict[str, Any] = {
        "verdict": "inconclusive",
        "why": [],
        "would_detect": [],
        "task": now.about["task"],
        "option": now.option,
        "model": now.about["model"],
        "run": now.where,
        "n": int(now.rows["sample_id"].nunique()),
        "repeats": settings.repeats,
        "billed_usd": done.summary["cost"]["billed"],
        "watch": list(settings.watch),
        "alpha": settings.alpha,
        "tests": 0,
        "against": [],
        "metrics": [],
        "notes": list(notes),
    }
    if spoilt > INFRASTRUCTURE_LIMIT:
        result["why"].append(f"{100 * spoilt:.1f} % of the answers failed for reasons that are not the model's")
    sides = [side for side in map(read_side, earlier) if _sound(side)]
    blocks = {}
    for name, side in _against(sides):
        rows, blocks[name], changed = analysis.compared(side, now)
        result["metrics"] += [{"against": name, **row} for row in rows]
        result["against"].append(_about(name, side, now, rows, changed))
    analysis.judge(result["metrics"], settings.watch, alpha=settings.alpha)
    result["tests"] = sum(is_tested(row) for row in result["metrics"])
    for part in result["against"]:
        alpha = settings.alpha / max(1, result["tests"])
        part["least_changed"] = analysis.least_changed(blocks[part["name"]], alpha=alpha)
    result |= _judged(result, settings, spoilt)
    if result["verdict"] == "reference" or settings.save:
        result["notes"].append("this canary is the reference from now on")
    return dict(store.plain(result))


def _sound(side: Any) -> bool:
    from evals.analysis.comparing.baseline import infrastructure_share

    return infrastructure_share(side.rows, INFRASTRUCTURE) <= INFRASTRUCTURE_LIMIT


def _against(sides: Sequence[Any]) -> list[tuple[str, Any]]:
    """The reference (the newest that was saved as one, else the oldest) and, where it is another, the last one."""
    if not sides:
        return []
    saved = [side for side in sides if (_manifest(side).get("canary") or {}).get("reference")]
    reference = saved[-1] if saved else sides[0]
    return [("reference", reference), *([("previous", sides[-1])] if sides[-1] is not reference else [])]


def _manifest(side: Any) -> dict[str, Any]:
    return store.read_json(Path(side.where) / "manifest.json")


def _about(name: str, side: Any, now: Any, rows: Sequence[Mapping[str, Any]], changed: Sequence[str]) -> dict[str, Any]:
    from evals.analysis.comparing.baseline import served
    from evals.analysis.comparing.changes import served_change

    before, after = served(side.rows), served(now.rows)
    models = set(after.get("served_model", ())) - set(before.get("served_model", ()))
    return {
        "name": name,
        "run": side.where,
        "started_at": side.about["started_at"],
        "n": rows[0]["n"],
        "changed_documents": list(changed),
        "served": served_change(side, now),
        "other_model": bool(models and before.get("served_model")),
        "quiet": bool(changed) and next(row for row in rows if row["metric"] == "answers")["baseline"] == 0,
    }


def _unlike(part: Mapping[str, Any]) -> str:
    return (
        f"answers since the {part['name']}: {len(part['changed_documents'])} of {part['n']} documents, too few for the "
        "test, although no answer varies inside a run"
    )


def _judged(result: Mapping[str, Any], settings: CanarySettings, spoilt: float) -> dict[str, Any]:
    """Verdict, why, what would have been seen, exit code: 4 before 1, 1 before 3."""
    from evals.analysis.comparing.compare import TIMES

    watched = [row for row in result["metrics"] if row["watched"]]
    why = list(result["why"])
    moved = [row for row in watched if row["verdict"] == "changed"]
    changed = [f"{row['metric']} since the {row['against']}" for row in moved]
    if "served" in settings.watch:
        changed += [f"another model answers than at the {p['name']}" for p in result["against"] if p["other_model"]]
    hints = [f"{row['metric']} since the {row['against']} (p {row['p']:.3f}, not after Holm)" for row in watched
             if row["verdict"] == "perhaps"]  # fmt: skip
    hints += [_unlike(part) for part in result["against"] if part["quiet"] and "answers" in settings.watch]
    few = [row for row in watched if row["metric"] == "f1" and row["n"] < 5]
    if spoilt > INFRASTRUCTURE_LIMIT:
        verdict, code = "inconclusive", 4
    elif not result["against"]:
        verdict, code = "reference", 0
    elif changed:
        verdict, code, why = "changed", 1, changed
    elif hints or few:
        verdict, code = "inconclusive", 3 if settings.strict else 0
        why += [f"perhaps {line}" for line in hints] or ["fewer than 5 documents are in both"]
    else:
        verdict, code = "no change seen", 0
    would = [
        {"metric": row["metric"], "relative": row["metric"] in (*TIMES, "output_tokens"), "value": row["detectable"],
         "of": row["baseline"]}
        for row in result["metrics"] if row["against"] == "reference" and row["detectable"] is not None
    ]  # fmt: skip
    return {"verdict": verdict, "why": why, "would_detect": would, "exit_code": code}
