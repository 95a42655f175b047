"""How long a document may take."""

from types import SimpleNamespace
from typing import Any

import pytest

from evals.commands.answering import deadline_s
from evals.commands.settings.run import RunSettings

HERE, WIRE = SimpleNamespace(account=None), SimpleNamespace(account="who")


class Hybrid:
    """As much of a `Router` as is asked here."""

    name = "hybrid"

    def __init__(self, *sides: Any) -> None:
        self.models = {str(at): side for at, side in enumerate(sides)}

    def start(self) -> None: ...
    def choose(self) -> None: ...
    def why(self) -> None: ...
    def close(self) -> None: ...


def settings(**more: Any) -> RunSettings:
    return RunSettings(task={"name": "mine"}, model={"name": "m"}, **more)


@pytest.mark.parametrize(
    ("model", "under_way", "said", "found"),
    [
        (WIRE, 64, None, 900),
        (HERE, 1, None, 900),
        (HERE, 32, None, 32 * 900),
        (HERE, 32, 60.0, 60),
        (WIRE, 64, 5.0, 5),
        (Hybrid(HERE, WIRE), 32, None, 32 * 900),
        (Hybrid(WIRE, WIRE), 32, None, 900),
    ],
)
def test_documents_under_way_together_share_a_machine(
    model: Any, under_way: int, said: float | None, found: float
) -> None:
    """Thirty-two at once of a model that answers two a minute take a quarter of an hour each: they are not late."""
    assert deadline_s(settings(timeout_s=said), model, under_way) == found
