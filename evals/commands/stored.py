"""Tasks that only their stored runs know (imports), and names that are plain here and groups elsewhere: in the words of
the command line. Hydra takes `task=X` for a choice of `configs/task/`; `++task={name: X}` is the same as plain data."""

from collections.abc import Sequence

from evals import catalog, store
from evals.commands import sides

PLAIN = {"import": ("task", "model")}
"""Command -> keys that are names of the user's own."""
OF_RUNS = ("frontier", "history", "route", "decide")
"""Commands that read a task's runs, whether or not the task itself is in reach."""
OPEN = {"decide": ("min_slice", "min_field", "docs_per_s")}
"""Command -> mappings whose keys are the user's own names, which Hydra takes with `++` alone."""
BOUNDS = ("low", "typical", "high", "source", "date", "provenance")
"""Keys of one declared figure."""
EMPTY = r"\[\]"
"""Of a list's path, as Hydra's grammar has it."""


def has_runs(task: str) -> bool:
    """Does the results root hold runs of a task of this name?"""
    return bool(task) and any((store.results_root() / store.safe_name(task)).glob("*/*/manifest.json"))


def translated(word: str, rest: Sequence[str]) -> list[str]:
    """The command's words, with such names as plain data."""
    words = [_plain(part) if _is_name(word, *part.partition("=")) else _opened(word, part) for part in rest]
    return sides.translated(words) if word in sides.ANSWERING else words


def _opened(word: str, part: str) -> str:
    """`min_field.parties[].name=0.9` and `min_field={parties[].name: 0.9}` as one mapping with one plain key, dots and
    all."""
    key, equals, value = part.partition("=")
    group, _, inner = key.lstrip("+").partition(".")
    if not equals or group not in OPEN.get(word, ()) or value in ("", "null", "{}"):
        return part
    name, _, bound = inner.rpartition(".")
    if name and bound in BOUNDS:
        inner, value = name, f"{{{bound}: {value}}}"
    held = f"{{{inner}: {value}}}" if inner else value
    return f"++{group}={held.replace('[]', EMPTY)}"


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
