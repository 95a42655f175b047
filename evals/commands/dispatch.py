"""A command's word and settings -> its function, what is printed of it, and the exit code."""

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

FUNCTIONS = {"import": "importing.import_logs", "models": "models.models", "tasks": "tasks.tasks"}
"""Word -> module and function below this room, where it is not WORD.WORD."""
TOLD = {"run", "score", "route", "decide", "plan", "bench", "canary", "review", "import"}
"""Commands that write down which words they were called with."""
WRITTEN = {
    "frontier": "frontier.csv, .json, .png, .html",
    "compare": "compare.csv, .json, .md, .xml",
    "history": "history.csv, .json",
    "route": "route.csv, .json, .png, route_table.csv",
    "bench": "bench.csv, .json",
    "decide": "decision.md, decide.csv, .json, sweep.csv, .png, tornado.png",
}
"""What lies in the folder that `out` names, for commands that do not print it themselves."""


def perform(word: str, settings: Any, launcher: str, tell: Callable[[Any], None] | None = None) -> int:
    """Do the work and print its result; `tell` gets the summary of a finished run."""
    if word == "compare" and settings.save:
        from evals.commands.compare import save

        print(f"{save(settings)} is the reference now")
        return 0
    module, function = FUNCTIONS.get(word, f"{word}.{word}").split(".")
    call = getattr(import_module(f"evals.commands.{module}"), function)
    found = call(settings, launcher=launcher) if word in TOLD else call(settings)
    print(found)
    if tell and (summary := getattr(found, "summary", None)):
        tell(summary)
    if (out := getattr(settings, "out", None)) and word in WRITTEN:
        print(f"\n{Path(out)}: {WRITTEN[word]}")
    elif written := getattr(found, "files", ()):
        print(f"\n{found.folder}: {', '.join(written)}")
    return int(getattr(found, "exit_code", 0))
