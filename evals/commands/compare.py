"""`compare`: one or several runs against a baseline, with verdicts that stand up, gates and an exit code for CI."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import catalog
from evals.commands.settings.compare import CompareSettings, without_nulls, words
from evals.errors import INFRASTRUCTURE, ConfigError, StoreError
from evals.report import files

INFRASTRUCTURE_LIMIT = 0.01
"""Above this share of infrastructure failures a comparison says so and ends with exit code 4."""
ALLOWED = ("dataset", "schema", "prompt", "scorer", "load")
WORST_FIRST = ("regressed", "inconclusive", "equivalent", "improved")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found (the content of `compare.json`) and the command's exit code."""

    result: dict[str, Any]
    exit_code: int

    def _repr_html_(self) -> str:
        from evals.report import html_compare

        return html_compare.comparison(self.result)

    def __str__(self) -> str:
        from evals.report import comparison

        return comparison.text(self.result)


def compare(settings: CompareSettings) -> Comparison:
    """Compare every candidate with the baseline. Raises `UserError` where that would mislead and is not allowed."""
    if settings.out:
        files.prepare(Path(settings.out))
    gates = _gates(settings)
    metrics = _metrics(settings, gates)
    _known("allow", settings.allow, ALLOWED)
    candidates, baseline = _sides(settings)
    candidates = [_repriced(side, settings) for side in candidates]
    baseline = _repriced(baseline, settings)
    parts = [_against(baseline, side, settings, metrics) for side in candidates]
    for part, label in zip(parts, labels(candidates), strict=True):
        part["option"] = label
    result = _result(settings, baseline, candidates, parts, gates)
    if settings.out:
        write(Path(settings.out), result)
    return Comparison(result=result, exit_code=result["exit_code"])


def save(settings: CompareSettings) -> Path:
    """Write the candidate as the reference of its task; returns the file."""
    from evals.analysis.comparing.baseline import find, read_side, save_reference

    chosen = words(settings.candidate or [])
    if len(chosen) != 1:
        raise ConfigError(f"save=true writes one candidate as the reference, {len(chosen)} are given")
    return save_reference(read_side(find(chosen[0])))


def _gates(settings: CompareSettings) -> dict[str, dict[str, float]]:
    from evals.analysis.comparing import gates

    found = gates.checked(without_nulls(settings.gate))
    if settings.gates is None:
        return found
    path = Path(settings.gates)
    if not path.is_file():
        raise ConfigError(f"gates={path} is not there")
    filed = gates.checked(catalog.load_yaml(path), str(path))
    return {name: {**filed.get(name, {}), **found.get(name, {})} for name in dict.fromkeys([*filed, *found])}


def _metrics(settings: CompareSettings, gates: Mapping[str, Any]) -> list[str]:
    from evals.analysis.comparing.compare import KNOWN, METRICS

    chosen = list(settings.metrics or METRICS)
    _known("metrics", chosen, KNOWN)
    return list(dict.fromkeys([*chosen, *gates]))


def _known(key: str, names: Sequence[str], known: Sequence[str]) -> None:
    for name in names:
        if name not in known:
            raise ConfigError(f"{key}={name} is not known{catalog.nearest(name, known)}")


def _sides(settings: CompareSettings) -> tuple[list[Any], Any]:
    from evals.analysis.comparing.baseline import find, read_side, reference_path

    candidates = [read_side(path) for path in dict.fromkeys(map(find, words(settings.candidate or [])))]
    if settings.baseline is not None:
        return candidates, read_side(find(settings.baseline))
    path = reference_path(str(candidates[0].about["task"]))
    if not path.is_file():
        raise StoreError(
            f"there is no reference {path}; give baseline=RUN, or make it: compare candidate=RUN save=true"
        )
    return candidates, read_side(path)


def _repriced(side: Any, settings: CompareSettings) -> Any:
    from evals.commands.repricing import repriced

    return repriced(side, settings.machine.get("usd_per_hour"), now=settings.reprice)


def _against(baseline: Any, side: Any, settings: CompareSettings, metrics: Sequence[str]) -> dict[str, Any]:
    """One candidate: its rows (not judged yet), its documents, and what must be said of it."""
    from evals.analysis.comparing import changes
    from evals.analysis.comparing import compare as analysis

    told = analysis.check(baseline, side, settings.allow)
    pair = analysis.join(baseline, side)
    unlike = analysis.conditions(baseline, side)
    if unlike and "load" in settings.allow:
        told.append(f"latencies compared although conditions differ ({'; '.join(unlike)})")
        unlike = []
    own = "own" in (baseline.about["location"], side.about["location"])
    if settings.metrics is None:
        metrics = analysis.suited(pair, metrics, _gates(settings))
    rows = list(analysis.findings(pair, metrics, settings.by, unlike, unlike if own else []))
    dated = _dated(baseline, side, rows)
    broken, fixed = changes.broken_and_fixed(pair)
    return {
        "option": side.option,
        "run": side.where,
        "n": len(pair.a),
        "told": told,
        "notes": [
            *_notes(baseline, side, pair),
            *dated,
            *_priced(baseline, side, settings),
            *changes.served_change(baseline, side),
        ],
        "newly_broken": broken,
        "newly_fixed": fixed,
        "documents": changes.field_diff(baseline, side, [*broken, *fixed]),
        "rows": rows,
    }


def _dated(baseline: Any, side: Any, rows: list[dict[str, Any]]) -> list[str]:
    """Where the two price snapshots are of different dates, the cost's verdict says so, and how to be rid of it."""
    from evals.analysis.tables.priced import unlike_dates
    from evals.commands.repricing import OFFER

    name = side.option if side.option != baseline.option else "candidate"
    unlike = unlike_dates({f"baseline {baseline.option}": baseline.about["prices"], name: side.about["prices"]})
    if unlike is None:
        return []
    for row in rows:
        if row["metric"] == "cost" and row["difference"] is not None:
            row["note"] = row["note"] or f"prices of different dates ({unlike})"
    return [f"the costs are at prices of different dates ({unlike}): a change of cost may be one of prices; {OFFER}"]


def _priced(baseline: Any, side: Any, settings: CompareSettings) -> list[str]:
    """By which prices the costs were made anew, where they were."""
    from evals.analysis.tables.priced import price_date

    said, hourly = [], settings.machine.get("usd_per_hour")
    if hourly is not None and "own" in (baseline.about["location"], side.about["location"]):
        said.append(f"own machines are priced at ${hourly:g} an hour, as declared")
    if settings.reprice:
        dates = sorted({date for one in (baseline, side) if (date := price_date(one.about["prices"]))})
        said += [f"API models are priced anew at today's prices (of {', '.join(dates)})"] if dates else []
    return said


def _notes(baseline: Any, side: Any, pair: Any) -> list[str]:
    from evals.analysis.comparing.compare import without_infrastructure

    notes = []
    if pair.only_baseline or pair.only_candidate:
        notes.append(
            f"{len(pair.a)} documents are in both; left out: {pair.only_baseline} of the baseline alone, "
            f"{pair.only_candidate} of {side.option} alone"
        )
    if pair.repeats > 1:
        notes.append(f"every document was asked {pair.repeats} times on both sides: repeats are averaged inside it")
    if pair.groups is not None:
        notes.append("documents stand in groups: intervals are clustered by group")
    cached = int(side.rows["cached"].sum() + baseline.rows["cached"].sum())
    if cached:
        notes.append(f"{cached} answers came from the response cache: no latency of theirs is compared")
    if side.where == baseline.where:
        notes.append("the candidate is the baseline itself")
    return notes + without_infrastructure(pair)


def _result(
    settings: CompareSettings, baseline: Any, candidates: Sequence[Any], parts: list[dict[str, Any]], gates: Any
) -> dict[str, Any]:
    from evals.analysis.comparing import compare as analysis
    from evals.analysis.comparing.baseline import infrastructure_share
    from evals.analysis.comparing.gates import evaluate

    rows = [row for part in parts for row in part["rows"]]
    if settings.margin > 1 and all(row["metric"] != "score" for row in rows):
        raise ConfigError(f"margin={settings.margin:g} is a share of 1, not in percent: such a margin hides everything")
    analysis.judge(rows, margin=settings.margin, relative_margin=settings.relative_margin)
    judged: list[dict[str, Any]] = []
    named = [
        (f"baseline {baseline.option}", baseline),
        *((p["option"], s) for p, s in zip(parts, candidates, strict=True)),
    ]
    broken = {name: infrastructure_share(side.rows, INFRASTRUCTURE) for name, side in named}
    for part in parts:
        part["verdict"] = analysis.overall(part["rows"])
        judged += [{"option": part["option"], **gate} for gate in evaluate(gates, part["rows"])]
    spoilt = {name: share for name, share in broken.items() if share > INFRASTRUCTURE_LIMIT}
    metrics = [{"option": part["option"], **row} for part in parts for row in part.pop("rows")]
    verdict = next(word for word in (*WORST_FIRST, parts[0]["verdict"]) if word in [p["verdict"] for p in parts])
    result = {
        "verdict": verdict,
        "task": baseline.about["task"],
        "baseline": {"option": baseline.option, "run": baseline.where},
        "metrics": metrics,
        "newly_broken": list(dict.fromkeys(name for part in parts for name in part["newly_broken"])),
        "newly_fixed": list(dict.fromkeys(name for part in parts for name in part["newly_fixed"])),
        "gates": judged,
        "candidates": parts,
        "tests": sum(analysis.is_tested(row) for row in metrics),
        "infrastructure": [
            f"{name}: {100 * share:.1f} % of the answers failed for reasons that are not the model's"
            for name, share in spoilt.items()
        ],
        "show": settings.show,
    }
    return result | {"exit_code": exit_code(result, regression=settings.regression, strict=settings.strict)}


def exit_code(result: Mapping[str, Any], *, regression: bool, strict: bool) -> int:
    """4 before 1 (what broke on the way is no verdict), 1 before 3; see DESIGN, section 5."""
    words_said = [gate["result"] for gate in result["gates"]]
    if not words_said:
        told = {"regressed": "failed" if regression else "met", "inconclusive": "inconclusive"}
        words_said = [told.get(part["verdict"], "met") for part in result["candidates"]]
    if result["infrastructure"]:
        return 4
    if "failed" in words_said:
        return 1
    return 3 if strict and "inconclusive" in words_said else 0


def labels(sides: Sequence[Any]) -> list[str]:
    """A name for each candidate: its option, with the run's own name where an option occurs twice."""
    names = [side.option for side in sides]
    return [n if names.count(n) == 1 else f"{n}@{Path(s.where).name}" for n, s in zip(names, sides, strict=True)]


def write(folder: Path, result: Mapping[str, Any]) -> None:
    """`compare.csv`, `compare.json`, `compare.md` for a pull request, `compare.xml` for CI (JUnit)."""
    from evals.report import junit, markdown
    from evals.store import write_whole

    shown = {key: value for key, value in result.items() if key != "show"}
    files.write_table(folder, "compare", result["metrics"], shown)
    write_whole(folder / "compare.md", markdown.comparison(result))
    write_whole(folder / "compare.xml", junit.comparison(result))
