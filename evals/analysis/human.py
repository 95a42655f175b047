"""What people found: verdicts of the review page, read and counted as measured outcomes."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evals.catalog import nearest
from evals.errors import DataError
from evals.stats import Estimate, mean_t, wilson

FORMAT = 1
WORDS = ("right", "wrong")
AGREES = {"right": ("tp", "tn"), "wrong": ("wrong", "miss", "hall")}
Key = tuple[str, int]
Leaves = Mapping[Key, Sequence[Mapping[str, Any]]]
"""(sample id, repeat) -> the leaves of its score, in order."""


def read(path: Path, leaves: Leaves, content: str) -> list[dict[str, Any]]:
    """The verdicts of a file, checked against the run. Raises `DataError` in one line.

    `content`: the hash of the run's answers, which the page has written into the file.
    """
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise DataError(f"{path} is not there; the review page's button downloads it") from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise DataError(f"{path} is no JSON ({error})") from None
    if not isinstance(given, dict) or given.get("format") != FORMAT or not isinstance(given.get("verdicts"), list):
        raise DataError(f"{path} is no file of verdicts of format {FORMAT}, as the review page downloads it")
    if given.get("answers_hash") != content:
        raise DataError(f"{path} was made for other answers ({given.get('run')}); name that run: run=...")
    found: dict[Key, dict[str, Any]] = {}
    for number, one in enumerate(given["verdicts"]):
        verdict = _verdict(one, f"{path}: verdicts[{number}]", leaves)
        found[verdict["sample_id"], verdict["repeat"]] = verdict
    return list(found.values())


def _verdict(one: Any, where: str, leaves: Leaves) -> dict[str, Any]:
    if not isinstance(one, dict) or not isinstance(one.get("fields"), list):
        raise DataError(f"{where} should hold sample_id, repeat and fields")
    repeat = one.get("repeat", 0)
    key = (str(one.get("sample_id")), repeat if isinstance(repeat, int) else -1)
    if key not in leaves:
        raise DataError(
            f"{where}: {key[0]!r} is no document of this run{nearest(key[0], [name for name, _ in leaves])}"
        )
    known, fields = leaves[key], []
    for field in one["fields"]:
        at = field.get("at") if isinstance(field, dict) else None
        if (
            isinstance(at, bool)
            or not isinstance(at, int)
            or not 0 <= at < len(known)
            or field.get("path") != known[at]["path"]
        ):
            raise DataError(f"{where}: {field!r} is no field of this document's answer")
        if field.get("verdict") not in WORDS:
            raise DataError(
                f"{where}: the verdict of {field['path']} is {field.get('verdict')!r}; known are right and wrong"
            )
        fields.append({"at": at, "path": field["path"], "verdict": field["verdict"]})
    seconds = one.get("seconds")
    if seconds is not None and (
        isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < 1e6
    ):
        raise DataError(f"{where}: seconds {seconds!r} is no time")
    return {"sample_id": key[0], "repeat": key[1], "fields": fields, "seconds": seconds}


def outcomes(verdicts: Sequence[Mapping[str, Any]], leaves: Leaves, *, usd_per_hour: float | None) -> dict[str, Any]:
    """Documents that people found wrong, fields, agreement with the scorer, and the time it took.

    A document counts where it has a verdict for each of its fields, or one that is wrong. Agreement is by field, its
    interval by document.
    """
    judged = [one for one in verdicts if one["fields"]]
    whole = [one for one in judged if _is_wrong(one) or len(one["fields"]) == len(leaves[_key(one)])]
    wrong = [_is_wrong(one) for one in whole]
    pairs = [(one, field, leaves[_key(one)][field["at"]]) for one in judged for field in one["fields"]]
    differ = [
        {
            "sample_id": one["sample_id"],
            "path": field["path"],
            "person": field["verdict"],
            "scorer": leaf["outcome"],
            "answer": leaf.get("answer"),
            "gold": leaf.get("gold"),
        }
        for one, field, leaf in pairs
        if not _agree(field, leaf)
    ]
    timed = np.array([one["seconds"] / 60 for one in judged if one["seconds"]], np.float64)
    minutes = mean_t(timed) if len(timed) else Estimate(np.nan, np.nan, np.nan, 0)
    total = float(timed.sum()) if len(timed) else None
    return {
        "provenance": "measured",
        "documents": len(judged),
        "unfinished": len(judged) - len(whole),
        "wrong_documents": _told(wilson(sum(wrong), len(wrong))),
        "fields": len(pairs),
        "wrong_fields": sum(field["verdict"] == "wrong" for _, field, _ in pairs),
        "by_field": _by_field(pairs),
        "agreement": _told(_agreement(judged, leaves)),
        "disagreements": differ,
        "minutes_each": _told(minutes),
        "minutes": total,
        "usd": None if total is None or usd_per_hour is None else total / 60 * usd_per_hour,
    }


def _key(one: Mapping[str, Any]) -> Key:
    return one["sample_id"], one["repeat"]


def _is_wrong(one: Mapping[str, Any]) -> bool:
    return any(field["verdict"] == "wrong" for field in one["fields"])


def _agree(field: Mapping[str, Any], leaf: Mapping[str, Any]) -> bool:
    return leaf["outcome"] in AGREES[field["verdict"]]


def _agreement(judged: Sequence[Mapping[str, Any]], leaves: Leaves) -> Estimate:
    """Share of fields on which person and scorer agree; interval by bootstrap of documents."""
    if not judged:
        return Estimate(np.nan, np.nan, np.nan, 0)
    from evals.stats import ratio_bootstrap

    agree = np.array([sum(_agree(f, leaves[_key(one)][f["at"]]) for f in one["fields"]) for one in judged], np.float64)
    count = np.array([len(one["fields"]) for one in judged], np.float64)
    return ratio_bootstrap(agree, count)


def _by_field(pairs: Sequence[tuple[Any, Mapping[str, Any], Any]]) -> list[dict[str, Any]]:
    counts: dict[str, list[int]] = {}
    for _, field, _ in pairs:
        one = counts.setdefault(field["path"], [0, 0])
        one[0] += 1
        one[1] += field["verdict"] == "wrong"
    rows = [{"path": path, "n": n, "wrong": wrong} for path, (n, wrong) in counts.items()]
    return sorted(rows, key=lambda row: (-row["wrong"] / row["n"], row["path"]))


def _told(one: Estimate) -> dict[str, Any]:
    numbers = {name: float(getattr(one, name)) for name in ("value", "low", "high")}
    return {**{name: None if np.isnan(value) else value for name, value in numbers.items()}, "n": one.n}
