"""Tables that others made (CSV, JSONL, JSON, Parquet) -> the table's own columns, and what is odd about them.

One row a document (with `sample_id`) or one row an option (without). Nothing is mended in silence: each assumption is
a note, which `load_table` gives as a warning and the commands print.
"""

import json
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from evals.catalog import nearest
from evals.errors import DataError

Columns = Mapping[str, str | Sequence[str]]
NUMBERS = ("score", "cost_usd", "latency_s", "n", "successes")
KNOWN = ("model", "option", "sample_id", "repeat", "group", "slice", "load", "location", "failed", *NUMBERS)
MANY = 10
"""So many rows of every model, without a sample id, are documents and not options."""


SCALE = 10
"""Scores that end between 1 and this may be percentages of a hard test or marks of a judge: nobody can tell."""


class TableWarning(UserWarning):
    """Something odd about an imported table, with what was made of it."""


def load_table(path: str | os.PathLike[str], *, columns: Columns = {}) -> pd.DataFrame:
    """A CSV, JSONL, JSON or Parquet file as the table of `load_runs`: `option, model, score, cost_usd, latency_s, failed`.

    `columns` maps these names to the file's (`{"model": "name", "score": "accuracy", "cost_usd": "total_cost"}`); also
    `sample_id` (a row is a document, else an option), `repeat, group, slice, load, location, n, successes`. A list of
    columns under `model` is a wide table, one column of scores a model. Columns not named are kept.

    A cost that is blank or 0 is `None` with a word in `cost_flag` (0 stays where `location` is `own`); percentages
    become fractions; a name that occurs twice is numbered; a failed row (`failed`: any error code or word, but for
    empty, 0, false, no, none) without a score counts as 0, and its latency of 0 was not measured. Each is told as a
    `TableWarning`. Single costs of 0 among others, of rows that did not fail, are not known either. Raises `DataError`.
    """
    frame, notes = read_table(Path(path), columns)
    for note in notes:
        warnings.warn(f"{path}: {note}", TableWarning, stacklevel=2)
    return frame


def read_table(path: Path, columns: Columns = {}) -> tuple[pd.DataFrame, list[str]]:
    """The table and the notes on it."""
    raw = _read(path)
    if raw.empty:
        raise DataError(f"{path} holds no rows")
    if strange := next((name for name in columns if name not in KNOWN), None):
        raise DataError(f"columns.{strange} is not known{nearest(strange, KNOWN)}")
    frame = _renamed(path, raw, columns)
    notes: list[str] = []
    signed = frame["score"].astype(str).str.contains("%", regex=False) if "score" in frame else None
    for name in NUMBERS:
        if name in frame:
            frame[name] = _numbers(path, frame[name], str(columns.get(name, name)))
    frame["failed"] = _failed(frame["failed"]) if "failed" in frame else False
    frame = _named(path, frame, notes)
    _unanswered(frame, notes)
    _fractions(path, frame, signed, notes)
    _counts(frame, notes)
    _costs(frame, notes)
    if "latency_s" in frame and (none := frame["latency_s"] == 0).any():
        frame.loc[none, "latency_s"] = np.nan
        notes.append(f"{none.sum()} latencies of 0 are taken as not measured")
    return frame, notes


def _read(path: Path) -> pd.DataFrame:
    try:
        match path.suffix.lower():
            case ".parquet":
                return pd.read_parquet(path)
            case ".jsonl" | ".ndjson":
                return pd.DataFrame(_lines(path))
            case ".json":
                rows = json.loads(path.read_text(encoding="utf-8-sig"))
                inner = list(rows.values()) if isinstance(rows, dict) else rows if isinstance(rows, list) else [rows]
                if not all(
                    isinstance(one, dict) or (isinstance(rows, dict) and isinstance(one, list)) for one in inner
                ):
                    raise DataError(f"{path} should hold a list of objects, one a row")
                return pd.DataFrame(rows)
            case ".csv" | ".tsv" | ".txt":
                with path.open(encoding="utf-8-sig") as file:
                    head = file.readline()
                mark = max(",;\t", key=head.count)
                return pd.read_csv(path, sep=mark, encoding="utf-8-sig", keep_default_na=True)
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    except DataError:
        raise
    except (OSError, ValueError, KeyError) as error:  # also pandas', pyarrow's and json's own
        raise DataError(f"{path} cannot be read as {path.suffix}: {' '.join(str(error).split())[:200]}") from error
    raise DataError(f"{path}: tables are .csv, .tsv, .jsonl, .json or .parquet")


def _lines(path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataError(f"{path}:{number} is no valid JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}:{number} should hold an object")
        rows.append(row)
    return rows


def _renamed(path: Path, raw: pd.DataFrame, columns: Columns) -> pd.DataFrame:
    """The file's columns under our names; a wide table is made long. Columns of the file that bear a name of ours, but
    are not meant, get a trailing underscore."""
    wanted = [one for theirs in columns.values() for one in ([theirs] if isinstance(theirs, str) else theirs)]
    for theirs in wanted:
        if theirs not in raw.columns:
            raise DataError(f"{path} has no column {theirs!r}{nearest(theirs, map(str, raw.columns))}")
    wide = columns.get("model")
    if wide is not None and not isinstance(wide, str):
        return _long(raw, columns, list(wide))
    taken = {name: raw[str(theirs)] for name, theirs in columns.items()}
    if "model" not in taken and "model" not in raw.columns:
        raise DataError(f"{path} has no column 'model'; name it: columns.model=COLUMN of {', '.join(map(str, raw))}")
    rest = {
        name if name not in taken else f"{name}_": raw[name] for name in map(str, raw.columns) if name not in wanted
    }
    return pd.DataFrame({**taken, **rest})


def _long(raw: pd.DataFrame, columns: Columns, models: list[str]) -> pd.DataFrame:
    lists = {name: theirs for name, theirs in columns.items() if not isinstance(theirs, str)}
    lists = {"score": models, **lists}
    if any(len(theirs) != len(models) for theirs in lists.values()):
        raise DataError(f"columns.model names {len(models)} columns: the other lists must name as many, in its order")
    single = {name: raw[theirs] for name, theirs in columns.items() if isinstance(theirs, str)}
    parts = []
    for at, model in enumerate(models):
        own = {name: raw[theirs[at]] for name, theirs in lists.items() if name != "model"}
        parts.append(pd.DataFrame({"model": model, **single, **own}))
    return pd.concat(parts, ignore_index=True)


def _numbers(path: Path, column: "pd.Series[Any]", theirs: str) -> "pd.Series[Any]":
    """A column as numbers: `$`, `%` and thousands' commas are read, blanks are NaN, anything else is an error."""
    if column.dtype == bool:
        return column.astype(np.float64)
    words = {"true": "1", "false": "0", "": None, "-": None, "n/a": None, "none": None, "null": None, "nan": None}
    text = column.map(lambda cell: str(cell).strip().lower() if cell is not None else "")
    cleaned = text.str.replace(r"[$%\s]", "", regex=True).str.replace(r",(?=\d{3}(\D|$))", "", regex=True)
    found = pd.to_numeric(cleaned.map(lambda cell: words.get(cell, cell)), errors="coerce").astype(np.float64)
    bad = found.isna() & ~text.isin([word for word, value in words.items() if value is None] + ["<na>", "nat"])
    bad |= np.isinf(found)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise DataError(f"{path}: {theirs} of row {row + 1} is {str(column.iloc[row])!r}, no finite number")
    if theirs and (found < 0).any() and column.name in ("cost_usd", "latency_s", "n", "successes"):
        row = int(np.flatnonzero(found < 0)[0])
        raise DataError(f"{path}: {theirs} of row {row + 1} is {found.iloc[row]:g}, below 0")
    return found


NO_ERROR = ("", "0", "0.0", "false", "no", "none", "null", "nan", "<na>", "ok", "success", "200", "200.0")
"""What a column of errors says of a row without one."""


def _failed(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Which rows failed: true, an error's code or its words; blanks and `NO_ERROR` are none."""
    said = column.map(lambda cell: "" if cell is None else str(cell).strip().lower())
    return ~said.isin(NO_ERROR)


def _unanswered(frame: pd.DataFrame, notes: list[str]) -> None:
    """Failed rows are never dropped: without a score they score 0."""
    failed = frame["failed"]
    if "sample_id" not in frame or not failed.any():
        return
    counts = frame.groupby("option")["failed"].agg(["sum", "size"])
    told = [f"{name!r} {row['sum']} of {row['size']}" for name, row in counts[counts["sum"] > 0].iterrows()]
    more = f" and {len(told) - 4} options more" if len(told) > 4 else ""
    said = ""
    if "score" in frame and (blank := failed & frame["score"].isna()).any():
        frame.loc[blank, "score"] = 0.0
        said = "; without a score they count as 0"
    notes.append(f"rows that failed: {', '.join(told[:4])}{more}{said}")


def _named(path: Path, frame: pd.DataFrame, notes: list[str]) -> pd.DataFrame:
    """Every row has a name; an option that occurs twice is numbered, a document that does is a repeat."""
    empty = frame["model"].isna() | (frame["model"].astype(str).str.strip() == "")
    if empty.any():
        raise DataError(f"{path}: row {int(np.flatnonzero(empty)[0]) + 1} names no model")
    frame["model"] = frame["model"].astype(str)
    frame["option"] = frame["option"].astype(str) if "option" in frame else frame["model"]
    if "sample_id" in frame:
        if frame["sample_id"].isna().any():
            raise DataError(f"{path}: row {int(np.flatnonzero(frame['sample_id'].isna())[0]) + 1} has no sample id")
        frame["sample_id"] = frame["sample_id"].astype(str)
        if "repeat" not in frame:
            frame["repeat"] = frame.groupby(["option", "sample_id"]).cumcount().astype(np.float64)
            if (again := int((frame["repeat"] > 0).sum())) > 0:
                notes.append(f"{again} rows repeat a document of the same model: taken as repeats and averaged")
        return frame
    sizes = frame["option"].value_counts()
    if sizes.min() >= MANY:
        raise DataError(
            f"{path}: every model has {MANY} rows or more, which looks like documents; name columns.sample_id"
        )
    if (twice := sizes[sizes > 1]).size:
        frame["option"] = _numbered(list(frame["option"]))
        told = ", ".join(f"{name!r} {count} times" for name, count in sorted(twice.items()))
        notes.append(f"names that occur more than once are kept and numbered: {told}")
    return frame


def _numbered(names: list[str]) -> list[str]:
    """The second `a` is `a (2)`, or the next number that no other row bears."""
    taken, seen, found = set(names), set[str](), []
    for name in names:
        own, number = name, 2
        while own in seen or (own != name and own in taken):
            own, number = f"{name} ({number})", number + 1
        seen.add(own)
        found.append(own)
    return found


def _fractions(path: Path, frame: pd.DataFrame, signed: "pd.Series[bool] | None", notes: list[str]) -> None:
    """Percentages as fractions. A column is in percent where it goes beyond `SCALE` and not beyond 100, or a cell has
    a percent sign (`signed`); one that ends between 1 and `SCALE` may be of a scale such as 1 to 5, and is left as it is.
    """
    if "score" not in frame or not frame["score"].notna().any():
        return
    score = frame["score"]
    missing = int(score.isna().sum())
    if missing:
        notes.append(f"{missing} rows have no score")
    bare = pd.Series(True, index=frame.index) if signed is None else ~signed
    if not (1 < score.max() <= 100 or (not bare.all() and score.max() <= 100)) or score.min() < 0:
        return
    if bare.all() and score.max() <= SCALE:
        notes.append(
            f"scores reach {score.max():g}: neither fractions nor percentages beyond {SCALE}; left as they are"
        )
        return
    few = frame.loc[(score > 0) & (score <= 1) & bare, "option"].drop_duplicates()
    if "sample_id" in frame:
        _one_scale(path, frame[bare])
    frame["score"] = score / 100
    notes.append(f"scores reach {score.max():g}: read as percentages")
    if len(few) and "sample_id" not in frame:
        named = ", ".join(map(repr, few[:3]))
        notes.append(f"{len(few)} of them lie between 0 and 1 ({named}): fractions among percentages? read as percent")


def _one_scale(path: Path, frame: pd.DataFrame) -> None:
    """Refuses a table of documents in which one option's scores are percentages and another's fractions."""
    most = frame.groupby("option")["score"].max()
    small, large = most[(most > 0) & (most <= 1)], most[most > SCALE]
    if len(small) and len(large):
        raise DataError(
            f"{path}: scores of {small.index[0]!r} lie between 0 and 1, those of {large.index[0]!r} reach "
            f"{large.iloc[0]:g}: fractions against percentages; give both in one scale"
        )


def _counts(frame: pd.DataFrame, notes: list[str]) -> None:
    """Rates that disagree with their own counts by more than their rounding."""
    if not {"n", "successes", "score"} <= set(frame.columns):
        return
    apart = (frame["successes"] / frame["n"] - frame["score"]).abs() > 0.00051
    if apart.any():
        shown = [
            f"{row.option!r} {row.score:.1%} against {row.successes:g}/{row.n:g}" for row in frame[apart].itertuples()
        ]
        more = f" and {len(shown) - 4} more" if len(shown) > 4 else ""
        notes.append(f"rates that disagree with their counts (the rate is used): {'; '.join(shown[:4])}{more}")


def _costs(frame: pd.DataFrame, notes: list[str]) -> None:
    """`cost_flag`: why an option's cost is not known. 0 is "not recorded", but for a machine of one's own."""
    if "cost_usd" not in frame:
        return
    own = frame["location"].eq("own") if "location" in frame else pd.Series(False, index=frame.index)
    blank, all_zero = frame["cost_usd"].isna(), frame.groupby("option")["cost_usd"].transform("max") == 0
    frame["cost_flag"] = pd.Series(None, index=frame.index, dtype=object)
    frame.loc[blank, "cost_flag"] = "cost is missing"
    frame.loc[all_zero & ~own, "cost_flag"] = "cost of 0 is taken as not recorded"
    frame.loc[all_zero & ~own, "cost_usd"] = np.nan
    some_zero = (frame["cost_usd"] == 0) & ~all_zero & ~own & ~frame["failed"]
    for name, rows in frame[some_zero].groupby("option"):
        told = f"cost of 0 for {len(rows)} of {(frame['option'] == name).sum()} rows is taken as not recorded"
        frame.loc[rows.index, "cost_flag"] = told
    frame.loc[some_zero, "cost_usd"] = np.nan
    zeros = (("a cost of 0", all_zero & ~own), ("a cost of 0 for some rows", some_zero))
    for word, found in (*zeros, ("no cost", blank)):
        if names := list(frame.loc[found, "option"].drop_duplicates()):
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            notes.append(
                f"{len(names)} options have {word}, which is not known and not free: off the frontier "
                f"({', '.join(map(repr, names[:3]))}{more})"
            )
