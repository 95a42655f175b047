"""`route`: hybrids simulated from stored runs or from any table, and the policy of one saved or replayed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import store
from evals.commands.settings.route import RouteSettings
from evals.core import stable_hash
from evals.errors import ConfigError, DataError, EvalsError
from evals.report import files

if TYPE_CHECKING:
    import pandas as pd

    from evals.analysis.routing.documents import Documents
    from evals.analysis.routing.simulate import Routed, Wanted
    from evals.commands.settings.frontier import FrontierSettings
    from evals.core import Policy, Record, Request


@dataclass(frozen=True, kw_only=True)
class Route:
    """A simulation: `report` is the content of `route.json`; printed, it is the table."""

    report: dict[str, Any]
    policy: "Policy | None" = None
    """The policy that was saved or replayed."""

    def __str__(self) -> str:
        from evals.report import routing

        return routing.text(self.report)

    @property
    def hybrids(self) -> "pd.DataFrame":
        """One row a hybrid, flat."""
        import pandas as pd

        from evals.report import routing

        return pd.DataFrame(routing.flat(self.report))


@dataclass(frozen=True, kw_only=True)
class Stored:
    """The runs of one split: their documents, what was asked and what was answered."""

    documents: "Documents"
    requests: "Mapping[str, Request] | None"
    records: "Mapping[str, Mapping[str, Record]]"
    manifests: Sequence[dict[str, Any]]
    left: list[dict[str, str]]
    metric: str


def route(settings: RouteSettings, *, launcher: str = "python") -> Route:
    """Simulate; with `save` write a policy, with `out` files. Raises `UserError`."""
    if settings.out:
        files.prepare(Path(settings.out))
    if settings.table is not None:
        return _of_table(settings)
    return _replay(settings) if settings.policy else _of_runs(settings, launcher)


def wanted_of(settings: RouteSettings) -> "Wanted":
    """The settings that the simulation takes."""
    from evals.analysis.routing.simulate import Wanted

    same = ("cheap", "strong", "floor", "margin", "share", "tags", "twin", "folds", "repeats", "draws", "seed", "level")
    return Wanted(**{name: getattr(settings, name) for name in same}, volume_per_day=settings.volume)


# A table ------------------------------------------------------------------------------------------------------


def _of_table(settings: RouteSettings) -> Route:
    from evals.analysis.routing.documents import documents
    from evals.analysis.routing.simulate import route as simulated
    from evals.analysis.tables.imported import read_table
    from evals.core import Request

    path = Path(str(settings.table))
    columns = {key: value for key, value in settings.columns.items() if value is not None and key != "data_class"}
    for axis, name in (("quality", "score"), ("cost", "cost_usd"), ("latency", "latency_s")):
        if (given := getattr(settings, axis)) is not None:
            columns[name] = given
    if "sample_id" not in columns:
        raise ConfigError("columns.sample_id=COLUMN names the documents: routing chooses for each of them")
    if settings.quality is None and not isinstance(columns.get("model"), list):
        raise ConfigError("quality=COLUMN names the table's column of scores")
    frame, notes = read_table(path, columns)
    places = _placed(path, frame, settings.columns.get("data_class"))
    for name in (*settings.features, *settings.signals):
        if name not in frame:
            raise DataError(f"{path} has no column {name!r} in a row a document and option")
    requests: dict[str, Request] | None = None
    if settings.text is not None:
        said, _ = read_table(path, {"sample_id": columns["sample_id"], "model": settings.text})
        texts = dict(zip(said["sample_id"], said["model"], strict=True))
        requests = {name: Request(messages=(), sample_id=name, inputs={"text": text}) for name, text in texts.items()}
    given = {"features": settings.features, "signals": settings.signals}
    found = documents(frame, requests=requests, places=places, notes=notes, **given)
    if settings.text is None and not settings.features and not settings.signals:
        notes.append(
            "no signal and no feature: text=COLUMN, features=[...] or signals=[...] give something to route by"
        )
    routed = simulated(found, wanted_of(settings), notes)
    report = {"title": path.name, "metric": "score", **routed.report, "left_out": []}
    _write(settings, report, routed)
    return Route(report=report)


def _placed(path: Path, frame: "pd.DataFrame", column: str | None) -> dict[str, dict[str, str | None]]:
    """Give the frame its data classes; where each option stands, by the table's column of locations."""
    if column is not None:
        if column not in frame:
            raise DataError(f"{path} has no column {column!r} in a row a document and option")
        if strange := set(frame[column].dropna()) - {"public", "internal", "restricted"}:
            known = "public, internal, restricted"
            raise DataError(f"{path}: {column} holds {str(min(strange, key=str))!r}; a data class is one of {known}")
        frame["data_class"] = frame[column]
    if "location" not in frame:
        return {}
    return {str(option): {"location": where} for option, where in frame.groupby("option")["location"].first().items()}


# Runs ---------------------------------------------------------------------------------------------------------


def _of_runs(settings: RouteSettings, launcher: str) -> Route:
    from evals.analysis.routing.final import best_row, policy_of
    from evals.analysis.routing.simulate import route as simulated

    notes: list[str] = []
    stored = read_runs(settings, settings.split, notes)
    dev = _dev(settings, stored, notes)
    wanted = wanted_of(settings)
    routed = simulated(stored.documents, wanted, notes, dev=dev.documents if dev else None)
    report = {"title": _title(settings), "metric": stored.metric, **routed.report, "left_out": stored.left}
    policy = None
    if settings.save:
        fitted_on = dev if dev is not None and routed.plan.count == 1 else stored
        if stored.requests is None or fitted_on.requests is None:
            raise ConfigError("save: without the task's documents no policy can be fitted that sees them live")
        at = best_row(report, settings.kind, settings.way)
        policy = policy_of(routed, at, wanted, _about(report["hybrids"][at], fitted_on, launcher))
        _save(settings, policy)
        how = f"fitted on {policy.about['fitted_on']} documents of {fitted_on.manifests[0]['split']}"
        report["saved"] = {"file": settings.save, "option": report["hybrids"][at]["option"], "how": how}
        row = report["hybrids"][at]
        if settings.floor is not None and row["meets_floor"] != "meets":
            report["notes"].append(f"no hybrid surely reaches floor={settings.floor:g}; the saved one gains most")
        if (row["kind"] == "rule" and policy.rule and str(policy.rule["feature"]).startswith("tag:")) or settings.tags:
            report["notes"].append("the saved policy looks at tags: a live service must know them too")
        if not 0.01 < row["share_strong"] < 0.99:
            report["notes"].append("the saved policy routes (nearly) everything to one option: ask that one alone")
    _write(settings, report, routed)
    return Route(report=report, policy=policy)


def _save(settings: RouteSettings, policy: "Policy") -> None:
    from evals.policy.saved import save_policy

    path = Path(str(settings.save))
    files.prepare(path.parent)
    save_policy(policy, path)


def _title(settings: RouteSettings) -> str:
    only = f", {' or '.join(settings.slice)}" if settings.slice else ""
    return f"{(settings.task or {})['name']} ({settings.split}{only})"


def _dev(settings: RouteSettings, stored: Stored, notes: list[str]) -> Stored | None:
    """The runs of dev, where they are wanted and there are some of the same task, schema and scorer."""
    if settings.fit == "cross" or settings.split == "dev":
        return None
    said: list[str] = []
    try:
        found = read_runs(settings, "dev", said)
        if unlike := [word for word, a, b in _compared(found, stored) if a != b]:
            raise DataError(f"the runs of dev are of another {unlike[0]}")
        notes += [f"dev: {one}" for one in said]
        return found
    except EvalsError as error:
        if settings.fit == "dev":
            raise ConfigError(f"fit=dev: {error}") from None
        why = str(error) if str(error).startswith("the runs of dev") else "no runs of dev to fit on"
        notes.append(f"{why}: cross-fitted on the documents that are counted")
        return None


def _compared(a: Stored, b: Stored) -> list[tuple[str, Any, Any]]:
    """What two splits' runs must have in common: word, one's, the other's."""
    one, other = a.manifests[0], b.manifests[0]
    told = [("version of the task", one.get("task_version"), other.get("task_version"))]
    return told + [(word, one["hashes"].get(word), other["hashes"].get(word)) for word in ("schema", "scorer")]


def read_runs(settings: RouteSettings, split: str, notes: list[str]) -> Stored:
    """The chosen runs of a split as documents, with features and signals where the task's documents are at hand."""
    from evals.analysis.routing.documents import documents
    from evals.commands import frontier

    task = str((settings.task or {})["name"])
    runs, left = frontier.chosen_runs(task, split, settings.runs)
    manifests = [store.read_json(run / "manifest.json") for run in runs]
    for run, manifest in zip(list(runs), list(manifests), strict=True):
        if manifest.get("hybrid"):
            left.append({"run": str(run), "option": manifest["option"], "reason": "a hybrid itself"})
            runs.remove(run)
            manifests.remove(manifest)
    frame, metric = frontier_frame(settings, runs, notes)
    ids = set(frame["sample_id"])
    requests = requests_of(manifests, ids, notes)
    records = {
        str(manifest["option"]): {
            record.sample_id: record for (_, repeat), record in store.answered(run).items() if repeat == 0
        }
        for run, manifest in zip(runs, manifests, strict=True)
    }
    places = {str(one["option"]): {key: one.get(key) for key in ("location", "terms")} for one in manifests}
    found = documents(frame, requests=requests, records=records, places=places, notes=notes)
    return Stored(documents=found, requests=requests, records=records, manifests=manifests, left=left, metric=metric)


def frontier_frame(settings: RouteSettings, runs: Sequence[Path], notes: list[str]) -> "tuple[pd.DataFrame, str]":
    """The runs' table with quality and cost as `frontier` takes them."""
    from evals.analysis.tables.priced import add_cost
    from evals.analysis.tables.table import load_runs
    from evals.commands import frontier

    frame = load_runs(runs)
    usd_per_hour = settings.machine.get("usd_per_hour")
    frame = add_cost(frame, machines={} if usd_per_hour is None else {"*": usd_per_hour})
    loads = sorted({str(load) for load in frame["load"].dropna()}) if "load" in frame else []
    if len(loads) > 1:
        notes.append(f"latencies were taken under unlike loads ({', '.join(loads)}): p95 is not to be compared")
    metric = str(settings.quality or ("f1" if frame["tp"].notna().any() else "score"))
    frame = frontier.with_quality(frontier.sliced(frame, settings.slice), metric)
    frame["cost_usd"] = frame["notional_usd"]
    return frame, metric


def hybrid_rows(settings: "FrontierSettings", frame: "pd.DataFrame", notes: list[str]) -> "pd.DataFrame":
    """The rows of each pair's cascade by P(error) and of its pre-router, for a frontier of the same runs."""
    from evals.analysis.routing.candidates import FITTED
    from evals.analysis.routing.replay import as_table
    from evals.analysis.routing.simulate import PREROUTER
    from evals.analysis.routing.simulate import route as simulated

    same = ("task", "split", "runs", "slice", "machine", "quality", "seed")
    chosen = RouteSettings(**{name: getattr(settings, name) for name in same}, twin=False, draws=100, fit="auto")
    stored, said = read_runs(chosen, settings.split, []), list[str]()
    dev = _dev(chosen, stored, said)
    try:
        routed = simulated(stored.documents, wanted_of(chosen), dev=dev.documents if dev else None)
    except DataError as error:
        notes.append(f"no hybrids: {error}")
        return frame.iloc[:0]
    table = as_table(routed, ways=(FITTED, PREROUTER))
    table = table[~table["option"].isin(stored.documents.options)]
    notes.append(f"hybrids are simulated, {routed.report['fitted']}; see `route`")
    about = frame.drop_duplicates("sample_id").set_index("sample_id")
    for name in ("group", "tags", "slice"):
        if name in about:
            table[name] = table["sample_id"].map(about[name])
    loads: list[str] = list(frame["load"].dropna().unique()) if "load" in frame else []
    return table.assign(repeat=0, load=loads[0] if len(loads) == 1 else None)


def requests_of(manifests: Sequence[dict[str, Any]], ids: set[str], notes: list[str]) -> "dict[str, Request] | None":
    """What was asked of each document, where the task and the very documents of the runs are at hand."""
    from evals.commands.score import task_of

    manifest = manifests[0]
    try:
        task = task_of(Path(manifest["task"]), manifest)
        if json.loads(json.dumps(task.identity())) != manifest["dataset"]:
            raise DataError("its documents are no longer those that were answered")
    except (EvalsError, KeyError, TypeError) as error:
        reason = str(error) if isinstance(error, EvalsError) else "it is not at hand"
        notes.append(f"the task's documents are not used ({reason}): no features of the text, no grounding")
        return None
    return {sample.id: task.request(sample) for sample in task.samples() if sample.id in ids}


def _about(row: Mapping[str, Any], stored: Stored, launcher: str) -> dict[str, Any]:
    """What a policy says of the runs that it was fitted on."""
    manifest = next(one for one in stored.manifests if one["option"] == row["cheap"])
    used = [one for one in stored.manifests if one["option"] in (row["cheap"], row["strong"])]
    return {
        "task": manifest["task"],
        "task_version": manifest.get("task_version"),
        **{name: manifest["hashes"].get(name) for name in ("schema", "prompt", "scorer")},
        "metric": stored.metric,
        "dataset": stable_hash(manifest["dataset"]),
        "split": manifest["split"],
        "runs": {
            str(one["option"]): {"run_key": one.get("run_key"), "started_at": one.get("started_at")} for one in used
        },
        "created": store.stamp(),
        "command": launcher,
    }


# A saved policy -----------------------------------------------------------------------------------------------


def _replay(settings: RouteSettings) -> Route:
    """What a saved policy would have done on these runs: by `policy.choose`, document by document."""
    from evals.analysis.routing.replay import replay
    from evals.policy.saved import check_fits, fitted_on, load_policy

    policy = load_policy(str(settings.policy)).policy
    notes: list[str] = []
    stored = read_runs(settings, settings.split, notes)
    manifest = stored.manifests[0]
    check_fits(policy, str(settings.policy), manifest)
    if stored.requests is None:
        raise ConfigError(f"policy={settings.policy}: {notes[-1]}")
    for option in (policy.cheap, policy.strong):
        if option is not None and option not in stored.documents.options:
            raise ConfigError(f"{settings.policy} was fitted on the option {option!r}, of which there is no run here")
    if fitted_on(policy, manifest):
        notes.append("the policy was fitted on these very documents: its figures here flatter it")
    routed, rows = replay(policy, stored.documents, stored.requests, stored.records, wanted_of(settings), notes)
    report = {"title": _title(settings), "metric": stored.metric, **routed.report, "left_out": stored.left}
    report["replayed"] = {"file": settings.policy, "kind": policy.kind}
    _write(settings, report, routed)
    if settings.out:
        files.write_table(Path(settings.out), "route_documents", rows)
    return Route(report=report, policy=policy)


def _write(settings: RouteSettings, report: dict[str, Any], routed: "Routed") -> None:
    """`route.csv`, `.json`, `route_table.csv` (for `frontier table=`), and `route.png` where matplotlib is there."""
    if not settings.out:
        return
    from evals.analysis.routing.candidates import FITTED
    from evals.analysis.routing.replay import as_table
    from evals.analysis.routing.simulate import DETAILED, PREROUTER
    from evals.report import routing

    folder = Path(settings.out)
    many = len({(pair.cheap, pair.strong) for pair, _ in routed.candidates}) > DETAILED
    table = as_table(routed, ways=(FITTED, PREROUTER)) if many else as_table(routed)
    for name in ("option", "model", "sample_id"):  # a cell that a spreadsheet would run is text
        table[name] = [f"'{cell}" if cell.startswith(files.DANGEROUS) else cell for cell in table[name]]
    table.to_csv(folder / "route_table.csv", index=False, float_format="%.12g")
    try:
        from evals.report.routing_plots import draw
    except ImportError:
        report["notes"].append("no route.png: it needs matplotlib, pip install 'evals-frontier[plots]'")
    else:
        draw(report, folder / "route.png")
    files.write_table(folder, "route", routing.flat(report), report)
