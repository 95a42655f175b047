"""`tasks`: every task in reach, what it asks and what it holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog
from evals.commands import build
from evals.loading import read_schema

if TYPE_CHECKING:
    from evals.commands.settings.run import TasksSettings


def tasks(settings: "TasksSettings") -> str:
    """The table of tasks, as text, and as files where `out` says."""
    from evals.report import console, files

    rows = list_tasks()
    if settings.out:
        files.write_table(Path(settings.out), "tasks", rows)
    return console.rows("tasks", list(rows[0]) if rows else ["task"], [list(row.values()) for row in rows])


def list_tasks() -> list[dict[str, Any]]:
    """One row a task: name, version, splits, fields, slices, folder."""
    rows = []
    for name in catalog.task_names():
        folder, kind = catalog.task_folder(name), build.type_of_task(name)
        rows.append(
            {
                "task": name,
                "version": kind.version,
                "splits": ", ".join(kind.splits),
                "fields": ", ".join(read_schema(folder / "schema.json")["properties"]),
                "slices": ", ".join(kind.slices) or None,
                "folder": str(folder),
            }
        )
    return rows
