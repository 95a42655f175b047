"""Open model, API model, or both: measured on your task, at your volume."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evals.analysis.tables.imported import load_table as load_table
    from evals.analysis.tables.priced import add_cost as add_cost
    from evals.analysis.tables.table import load_runs as load_runs
    from evals.api import bench as bench
    from evals.api import canary as canary
    from evals.api import compare as compare
    from evals.api import decide as decide
    from evals.api import frontier as frontier
    from evals.api import history as history
    from evals.api import import_logs as import_logs
    from evals.api import plan as plan
    from evals.api import results as results
    from evals.api import review as review
    from evals.api import route as route
    from evals.api import run as run
    from evals.api import score as score
    from evals.core import Request as Request
    from evals.core import Sample as Sample
    from evals.core import Score as Score
    from evals.errors import EvalsError as EvalsError
    from evals.errors import UserError as UserError
    from evals.loading import ExtractionTask as ExtractionTask
    from evals.loading import load_task as load_task
    from evals.loading import read_jsonl as read_jsonl
    from evals.policy.saved import load_policy as load_policy

_HOME = {
    "EvalsError": "evals.errors",
    "ExtractionTask": "evals.loading",
    "Request": "evals.core",
    "Sample": "evals.core",
    "Score": "evals.core",
    "UserError": "evals.errors",
    "bench": "evals.api",
    "canary": "evals.api",
    "compare": "evals.api",
    "history": "evals.api",
    "import_logs": "evals.api",
    "add_cost": "evals.analysis.tables.priced",
    "decide": "evals.api",
    "frontier": "evals.api",
    "load_policy": "evals.policy.saved",
    "load_runs": "evals.analysis.tables.table",
    "load_table": "evals.analysis.tables.imported",
    "load_task": "evals.loading",
    "read_jsonl": "evals.loading",
    "plan": "evals.api",
    "results": "evals.api",
    "review": "evals.api",
    "route": "evals.api",
    "run": "evals.api",
    "score": "evals.api",
}
__all__ = sorted(_HOME)
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'evals' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
