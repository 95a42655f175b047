"""Options with declared figures, for tests of decisions."""

from typing import Any

from evals.analysis.deciding.figures import figure
from evals.analysis.deciding.judging import Ask
from evals.analysis.deciding.options import Costs, Option, declared


def made(name: str, kind: str, costs: Costs | None = None, **given: Any) -> Option:
    """A declared option, `f1` its metric."""
    return declared({"option": name, "kind": kind, **given}, costs or Costs(), "f1")


def api(name: str = "api", price: Any = 0.005, **more: Any) -> Option:
    """An API at a price a document."""
    return made(name, "api", usd_per_doc=price, **more)


def own(name: str = "own", hour: Any = 1, per_s: Any = 1, costs: Costs | None = None, **more: Any) -> Option:
    """A model on a machine of one's own."""
    machine = None if hour is None else {"name": "gpu", "usd_per_hour": hour}
    return made(name, "local", costs, machine=machine, docs_per_s=per_s, **more)


def ask(volume: Any = 5000, **more: Any) -> Ask:
    """What is asked at so many documents a day."""
    found = figure(volume, "volume", unit="documents/day")
    assert found is not None
    return Ask(volume=found, **more)


def row(result: dict[str, Any], name: str) -> dict[str, Any]:
    """An option's row."""
    return next(one for one in result["options"] if one["option"] == name)
