"""`score`: answers made elsewhere become a run like any other; a stored run is scored again, calling nobody."""

from pathlib import Path
from typing import Any

from evals import store
from evals.catalog import nearest
from evals.commands import build
from evals.commands.manifest import common
from evals.commands.run import Finished, conclude, score_record, selected, write_out
from evals.commands.settings.run import RunSettings, ScoreSettings
from evals.core import Call, Completion, Record, stable_hash
from evals.errors import DataError
from evals.loading import ExtractionTask, load_task, read_jsonl
from evals.report import files

TASK_KEYS = ("split", "seed", "prompt", "shots", "max_tokens", "temperature", "constrain")


def score(settings: ScoreSettings, *, launcher: str = "python") -> Finished:
    """Score `predictions` as a new run, or the stored run `rescore` again. Raises `UserError`."""
    if settings.out:
        files.prepare(Path(settings.out))
    finished = rescore(Path(settings.rescore)) if settings.rescore is not None else _scored(settings, launcher)
    write_out(settings.out, "score", finished)
    return finished


def _scored(settings: ScoreSettings, launcher: str) -> Finished:
    path = Path(str(settings.predictions))
    outputs = read_predictions(path)
    task = build.task(settings)
    option = settings.option or path.stem
    hashes, identity = task.hashes(), task.identity()
    ids = [sample.id for sample in selected(task, settings)]
    if strange := next((key for key in outputs if key not in set(ids)), None):
        raise DataError(
            f"{path}: the id {strange!r} is not in task={task.name} split={task.split}{nearest(strange, ids)}"
        )
    manifest = _manifest(settings, task, option, identity, hashes, launcher)
    with store.RunFolder.create(task.name, option) as folder:
        folder.write("manifest.json", manifest)
        for sample in selected(task, settings):
            record = _record(sample.id, outputs.get(sample.id), option, task.request(sample).hash)
            folder.append(record)
            score_record(folder, task, hashes["scorer"], sample, record)
        return Finished(folder=folder.path, summary=conclude(folder, manifest), exit_code=0)


def read_predictions(path: Path) -> dict[str, str | None]:
    """Sample id -> output text of `{"id", "output"}` lines; an output that is JSON is written as JSON text."""
    import json

    found: dict[str, str | None] = {}
    for number, row in read_jsonl(path):
        for key in ("id", "output"):
            if key not in row:
                raise DataError(f"{path}:{number} has no {key!r}; it has {', '.join(map(repr, row)) or 'nothing'}")
        name = str(row["id"])
        if name in found:
            raise DataError(f"{path}:{number}: the id {name!r} occurs twice; ids must be unique")
        output = row["output"]
        found[name] = output if output is None or isinstance(output, str) else json.dumps(output, ensure_ascii=False)
    if not found:
        raise DataError(f"{path} holds no predictions")
    return found


def rescore(folder: Path) -> Finished:
    """Score a stored run with today's metrics: a new scores file, a new summary, no call."""
    manifest = store.read_json(folder / "manifest.json")
    task = task_of(folder, manifest)
    identity, hashes = task.identity(), task.hashes()
    if identity != manifest["dataset"]:
        raise DataError(f"{folder}: the documents of task={task.name} are no longer those that were answered")
    records = store.answered(folder)
    with store.RunFolder(folder) as run:
        (folder / f"scores-{hashes['scorer']}.jsonl").unlink(missing_ok=True)
        for sample in task.samples():
            for repeat in range(int(manifest.get("repeats", 1))):
                if record := records.get((sample.id, repeat)):
                    score_record(run, task, hashes["scorer"], sample, record)
        manifest["hashes"]["scorer"] = hashes["scorer"]
        run.write("manifest.json", manifest)
        run.flush()
        (folder / "table.parquet").unlink(missing_ok=True)
        return Finished(folder=folder, summary=conclude(run, manifest), exit_code=0)


def task_of(folder: Path, manifest: dict[str, Any]) -> ExtractionTask:
    """The task of a stored run, with the settings that it was built with."""
    options = manifest.get("task_options") or {}
    names = set(RunSettings.__dataclass_fields__) & set(TASK_KEYS)
    settings = {key: manifest[key] for key in names if key in manifest}
    return load_task(
        manifest["task"],
        **options,
        **{"split": manifest["split"], "seed": manifest["seed"]},
        **{key: value for key, value in settings.items() if key not in ("split", "seed")},
    )


def _record(sample_id: str, output: str | None, option: str, request_hash: str) -> Record:
    """One prediction as a record: nothing was timed or paid here."""
    if output is None:
        call = Call(role="answer", model=option, error="missing", error_text="no prediction for this document")
        return Record(sample_id=sample_id, repeat=0, request_hash=request_hash, calls=(call,), answer=None)
    call = Call(role="answer", model=option, completion=Completion(text=output, finish_reason="stop"))
    return Record(sample_id=sample_id, repeat=0, request_hash=request_hash, calls=(call,), answer=0)


def _manifest(
    settings: ScoreSettings, task: ExtractionTask, option: str, identity: Any, hashes: dict[str, str], launcher: str
) -> dict[str, Any]:
    key = stable_hash([identity, hashes["prompt"], store.stamp()])
    chosen = common(settings, task, option=option, key=key, identity=identity, hashes=hashes, launcher=launcher)
    nothing_measured = dict.fromkeys(("location", "load", "machine"))
    predictions = Path(str(settings.predictions)).name
    return chosen | nothing_measured | {"model": option, "predictions": predictions, "repeats": 1}
