"""One side of a comparison: a stored run, or the reference that `results/baselines/<task>.json` holds.

A reference holds every document's scores, field outcomes, latency, usage and hashes, and no text: neither documents
nor gold nor answers. It works from a fresh clone and in CI, where no run folder is.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals import store
from evals.analysis.tables.table import NUMBERS, SCORES, load_run, run_folders
from evals.catalog import nearest
from evals.errors import StoreError

FORMAT = 1
ABOUT = (
    *("task", "task_version", "option", "model", "split", "limit", "slice", "dataset", "hashes", "seed", "repeats"),
    *("location", "load", "stream", "concurrency", "processing", "machine", "prices", "weights", "started_at", "git"),
)
"""What a reference keeps of a run's manifest."""
TEXT = ("slice", "group", "error", "started_at", "served_model", "fingerprint")
NUMERIC = tuple(name for name in (*NUMBERS, *SCORES) if name not in ("repeat", "chars"))
FIELDS = ("sample_id", "repeat", "path", "outcome", "strict", "gold", "answer")


@dataclass(frozen=True, kw_only=True)
class Side:
    """What is compared: who answered, under which conditions, and how every document went."""

    where: str
    """The run folder or the reference's file."""
    about: Mapping[str, Any]
    """Task, option, model, hashes and conditions (`ABOUT`); `dataset` is a hash of the documents' identity."""
    rows: pd.DataFrame
    """A row a sample x repeat, columns as of `load_runs`."""
    fields: pd.DataFrame
    """A row a leaf (`FIELDS`); of a reference without gold and answer."""

    @property
    def option(self) -> str:
        """The name in tables."""
        return str(self.about["option"])


def read_side(path: Path) -> Side:
    """A run folder or a reference file as one side. Raises `StoreError` where it is neither."""
    return _read_reference(path) if path.is_file() else _read_run(path)


def _read_run(folder: Path) -> Side:
    manifest = store.read_json(folder / "manifest.json")
    if not (folder / "summary.json").is_file():
        raise StoreError(f"{folder} is not complete: the command that made it goes on with it")
    about = {name: manifest.get(name) for name in ABOUT} | {"dataset": dataset_hash(manifest.get("dataset"))}
    return Side(
        where=str(folder),
        about=about,
        rows=load_run(folder),
        fields=_leaves(store.scores(folder, manifest["hashes"].get("scorer"))),
    )


def _leaves(lines: Iterable[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a leaf; gathered by column, which is several times quicker than a dict a leaf."""
    columns: dict[str, list[Any]] = {name: [] for name in FIELDS}
    for line in lines:
        leaves = line.get("fields", ())
        columns["sample_id"] += [line["sample_id"]] * len(leaves)
        columns["repeat"] += [line["repeat"]] * len(leaves)
        for name in FIELDS[2:]:
            columns[name] += [leaf.get(name) for leaf in leaves]
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})


def dataset_hash(identity: Mapping[str, Any] | None) -> str | None:
    """Hash of what identifies the documents: their bytes, or what generates them; never the file's name."""
    if not identity:
        return None
    what = {key: value for key, value in identity.items() if key != "file"}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


# The reference ------------------------------------------------------------------------------------------------


def reference_path(task: str) -> Path:
    """Where a task's reference lies."""
    return store.results_root() / "baselines" / f"{store.safe_name(task)}.json"


def save_reference(side: Side) -> Path:
    """Write a run as the reference of its task; what was there is replaced in one step."""
    path = reference_path(str(side.about["task"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    by_document = {key: part for key, part in side.fields.groupby(["sample_id", "repeat"], sort=False)}
    lines = [_dumps(_document(row, by_document)) for row in side.rows.to_dict("records")]
    head = _dumps({"format": FORMAT, "about": store.plain(side.about)})
    store.write_whole(path, head[:-1] + ',"documents":[\n' + ",\n".join(lines) + "\n]}\n")
    return path


def _dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)


def _document(row: Mapping[Any, Any], by_document: Mapping[Any, pd.DataFrame]) -> dict[str, Any]:
    """One line of the reference: what is not there was not measured."""
    line: dict[str, Any] = {"sample_id": row["sample_id"], "repeat": int(row["repeat"])}
    line |= {name: row[name] for name in TEXT if isinstance(row.get(name), str)}
    line |= {"tags": list(row["tags"]), "failed": bool(row["failed"]), "cached": bool(row["cached"])}
    line |= {name: _short(row[name]) for name in NUMERIC if name in row and not pd.isna(row[name])}
    leaves = by_document.get((row["sample_id"], row["repeat"]))
    if leaves is not None:
        told = zip(leaves["path"], leaves["outcome"], leaves["strict"], strict=True)
        line["fields"] = [[path, outcome, *([strict] if strict != outcome else [])] for path, outcome, strict in told]
    return line


def _short(value: Any) -> float | int:
    number = float(value)
    return int(number) if number.is_integer() else number


def _read_reference(path: Path) -> Side:
    value = store.read_json(path)
    if value.get("format") != FORMAT or "documents" not in value:
        raise StoreError(f"{path} is no reference that `compare save=true` wrote (format {FORMAT})")
    documents = value["documents"]
    leaves = [
        {"sample_id": line["sample_id"], "repeat": line["repeat"], "path": part[0], "outcome": part[1]}
        | {"strict": part[-1], "gold": None, "answer": None}
        for line in documents
        for part in line.pop("fields", ())
    ]
    columns = ["sample_id", "repeat", "tags", "failed", "cached", *TEXT, *NUMERIC]
    rows = pd.DataFrame(documents, columns=columns)
    rows[["repeat", *NUMERIC]] = rows[["repeat", *NUMERIC]].astype(np.float64)
    rows[list(TEXT)] = rows[list(TEXT)].astype("string")
    for name in ("task", "option", "model"):
        rows[name] = value["about"].get(name)
    return Side(where=str(path), about=value["about"], rows=rows, fields=pd.DataFrame(leaves, columns=list(FIELDS)))


# Finding ------------------------------------------------------------------------------------------------------


def find(word: str) -> Path:
    """The run or reference that a word names: a path, or a path below the results root; of several runs the newest."""
    root = store.results_root()
    for path in (Path(word), root / word):
        if path.is_file():
            return path.parent if path.name in ("summary.json", "manifest.json") else path
        if (path / "manifest.json").is_file():
            return path
        if path.is_dir() and (folders := run_folders(path)):
            return folders[-1]
    if "/" not in word and (folders := run_folders(str(root / "*" / word / "*"))):
        return folders[-1]
    known = sorted({folder.parent.name for folder in run_folders(root)})
    raise StoreError(f"{word} is no run folder, no option with a complete run and no reference{nearest(word, known)}")


def served(rows: pd.DataFrame) -> dict[str, Sequence[str]]:
    """Who answered, as the servers say it: every model id and fingerprint that was returned."""
    return {name: sorted(rows[name].dropna().unique()) for name in ("served_model", "fingerprint") if name in rows}


def infrastructure_share(rows: pd.DataFrame, kinds: frozenset[str]) -> float:
    """Share of rows that failed for reasons that are not the model's."""
    return float(rows["error"].isin(kinds).mean()) if len(rows) else math.nan
