"""Tasks that only their stored runs know (imports), and names that are plain here and groups elsewhere: in the words of
the command line. Hydra takes `task=X` for a choice of `configs/task/`; `++task={name: X}` is the same as plain data."""

from collections.abc import Sequence

from evals import catalog, store
from evals.commands import sides

PLAIN = {"import": ("task", "model")}
"""Command -> keys that are names of the user's own."""
OF_RUNS = ("frontier", "history", "route", "decide")
"""Commands that read a task's runs, whether or not the task itself is in reach."""


def has_runs(task: str) -> bool:
    """Does the results root hold runs of a task of this name?"""
    return bool(task) and any((store.results_root() / store.safe_name(task)).glob("*/*/manifest.json"))


def translated(word: str, rest: Sequence[str]) -> list[str]:
    """The command's words, with such names as plain data."""
    words = [_plain(part) if _is_name(word, *part.partition("=")) else part for part in rest]
    return sides.translated(words) if word in sides.ANSWERING else words


def _is_name(word: str, key: str, equals: str, value: str) -> bool:
    if not equals or not value or value == "null" or value[0] in "{[":
        return False
    if word in PLAIN:
        return key in PLAIN[word]
    return word in OF_RUNS and key == "task" and value not in catalog.options("task") and has_runs(value)


def _plain(part: str) -> str:
    key, _, value = part.partition("=")
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"++{key}={{name: '{escaped}'}}"
