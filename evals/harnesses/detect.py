"""Which files are meant, and which harness wrote each: by what is in it, not by its name."""

import glob
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.errors import ConfigError, DataError
from evals.harnesses import inspect, lm_eval, promptfoo
from evals.harnesses.base import Log, read_json


def found_files(given: str | Sequence[str]) -> list[Path]:
    """The log files that a path, a folder, a glob or a list of them names. Raises `ConfigError` where one names none."""
    words = [given] if isinstance(given, str) and os.path.exists(given) else _words(given)
    found: list[Path] = []
    for word in words:
        path = Path(word).expanduser()
        hits = [path] if path.exists() else [Path(hit) for hit in sorted(glob.glob(str(path), recursive=True))]
        inside = [one for hit in hits for one in (_logs_in(hit) if hit.is_dir() else [hit])]
        if not inside:
            what = "holds no log (*.eval, samples_*.jsonl, *.json)" if path.is_dir() else "is not there"
            raise ConfigError(f"file={word} {what}")
        found += inside
    return list(dict.fromkeys(found))


def _words(given: str | Sequence[str]) -> list[str]:
    listed = given.strip().removeprefix("[").removesuffix("]").split(",") if isinstance(given, str) else given
    return [str(word).strip() for word in listed if str(word).strip()]


def _logs_in(folder: Path) -> list[Path]:
    """A folder's logs: lm-evaluation-harness's aggregates are read beside their samples and are no log themselves."""
    hits = [path for end in ("*.eval", "samples_*.jsonl", "*.json") for path in folder.rglob(end)]
    return sorted(path for path in hits if not path.name.startswith("results_") and path.is_file())


def read_file(path: Path, *, filter: str | None = None) -> list[Log]:
    """One file's logs, by what is in it and not by its name. Raises `UserError` where nothing here reads it."""
    if not path.is_file():
        raise DataError(f"{path} is not there")
    if inspect.is_zip(path):
        return inspect.read(path)
    first = _first_line(path)
    if isinstance(first, Mapping) and lm_eval.is_sample(first):
        return lm_eval.read(path, filter=filter)
    if isinstance(first, Mapping) and promptfoo.is_row(first):
        return promptfoo.read_lines(path)
    value = read_json(path)
    if inspect.is_log(value):
        return inspect.read(path)
    if promptfoo.is_output(value):
        return promptfoo.read(path, value)
    beside = (
        "; lm-evaluation-harness's per-document file is samples_*.jsonl"
        if isinstance(value, Mapping) and "results" in value
        else ""
    )
    raise DataError(
        f"{path} is no log of Inspect (.eval, .json), lm-evaluation-harness (samples_*.jsonl) or promptfoo{beside}"
    )


def _first_line(path: Path) -> Any:
    """The first line of a JSONL file; `None` where it is no JSON by itself."""
    try:
        with path.open("rb") as file:
            return json.loads(next((line for line in file if line.strip()), b"").decode("utf-8-sig"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError):
        return None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
