"""`tasks`: every task in reach, what it asks and what it holds."""

from typing import Any

from evals import catalog
from evals.commands import build
from evals.loading import read_schema


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
