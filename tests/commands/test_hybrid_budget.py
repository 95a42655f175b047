"""A budget in dollars of a hybrid with a machine of one's own and an API: both count, or it is said that one does not."""

from pathlib import Path
from typing import Any

import pytest
from test_hybrid import RUN, folders, hybrid, summary  # noqa: F401

from evals import store
from evals.cli import main


def test_the_machines_hours_count_beside_the_calls(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    hybrid.reset(replies=hybrid.replies, latency_ms=60)
    said = [*RUN, "machine.usd_per_hour=3600"]  # a dollar a second
    assert main([*said, "budget.usd=0.5"]) == 1
    error = capsys.readouterr().err
    assert "budget.usd=0.5 is reached: $" in error and "minutes of the machine" in error
    (folder,) = folders(project)
    kept = len(store.answered(folder))
    assert 0 < kept < 40
    assert main([*said, "budget.usd=100"]) == 0 and folders(project) == [folder], "the same run goes on"
    cost = summary(project)["cost"]
    assert 0 < cost["billed"] < 100


def test_earlier_sessions_count(project: Path, hybrid: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    hybrid.reset(replies=hybrid.replies, latency_ms=60)
    said = [*RUN, "machine.usd_per_hour=3600"]
    assert main([*said, "budget.usd=0.5"]) == 1
    before = len(store.answered(folders(project)[0]))
    assert main([*said, "budget.usd=0.5"]) == 1
    assert len(store.answered(folders(project)[0])) <= before + 2, "nothing is left of it"


def test_without_a_price_of_the_machine_it_is_said_that_it_does_not_count(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*RUN, "budget.usd=1"]) == 0
    error = capsys.readouterr().err
    assert "budget.usd=1 counts what the API bills alone: the machine has no price (machine.usd_per_hour=...)" in error
    assert main([*RUN, "budget.tokens=100000", "resume=false"]) == 0
    assert "counts what the API bills" not in capsys.readouterr().err


def test_two_apis_have_no_machine(project: Path, hybrid: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    policy = "model.policy={kind: random_mix, share: 0.5}"
    words = ["run", "task=mine", "model=hybrid", "model.cheap=remote", "model.strong=second", policy]
    assert main([*words, "machine.usd_per_hour=36000", "budget.usd=0.5"]) == 0
    assert "machine" not in capsys.readouterr().err


def test_a_budget_without_a_key_shows_the_form(project: Path, hybrid: Any, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    assert main([*RUN, "budget=5"]) == 2
    error = capsys.readouterr().err
    assert "budget=5 names no key of budget: " in error and "budget.usd=5" in error and error.count("\n") == 1
