"""Tab completion: the command word, then Hydra's overrides behind it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evals import catalog
from evals.cli import main
from evals.commands.settings.run import COMMANDS, described

Press = Callable[[str], list[str]]


@pytest.fixture
def press(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Press:
    """What Tab offers at the end of this line, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["evals"])

    def offered(line: str, query: str = "query=bash") -> list[str]:
        monkeypatch.setenv("COMP_LINE", line)
        monkeypatch.setenv("COMP_POINT", str(len(line)))
        assert main(["-sc", query]) == 0
        out, error = capsys.readouterr()
        assert error == ""
        return out.split()

    return offered


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("evals", list(COMMANDS)),
        ("evals ", list(COMMANDS)),
        ("evals r", [word for word in COMMANDS if word.startswith("r")]),
        ("evals ru", ["run"]),
        ("evals run", ["run"]),
        ("evals s", ["score"]),
        ("evals x", []),
        ("evals rum ", []),
        ("evals rum task=", []),
    ],
)
def test_the_command_word(press: Press, line: str, offered: list[str]) -> None:
    assert press(line) == offered


@pytest.mark.parametrize("command", ["run", "score"])
def test_every_key_of_a_command_is_offered(press: Press, command: str) -> None:
    offered = {word.rstrip("=.") for word in press(f"evals {command} ")}
    assert {key for key, *_ in described(COMMANDS[command])} <= offered


def test_models_and_tasks_have_keys_of_their_own(press: Press) -> None:
    assert "fetch=" in press("evals models ") and "fetch=" not in press("evals tasks ")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("evals run tas", {"task=", "task."}),
        ("evals run model=ru", {"model=rules"}),
        ("evals run model=rules lim", {"limit="}),
        ("evals run task=legal", {"task=legal_extract"}),
        ("evals run model=fake model.err", {"model.error=", "model.error_rate="}),
        ("evals run -m model=rules task=cu", {"task=cuad"}),
        ("evals run model=nothing_like_it", set()),
        ("evals run model=hybrid model.strong=ru", {"model.strong=rules"}),
        ("evals score model.strong=ru", set()),
        ("evals score predictions=run.jsonl task=leg", {"task=legal_extract"}),
    ],
)
def test_overrides_are_completed_behind_the_command_word(press: Press, line: str, offered: set[str]) -> None:
    assert set(press(line)) == offered


def test_every_model_is_offered(press: Press) -> None:
    assert press("evals run model=") == [f"model={name}" for name in catalog.options("model")]


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_the_hook_is_installed_and_removed(press: Press, shell: str) -> None:
    installed, removed = press("", f"install={shell}"), press("", f"uninstall={shell}")
    assert f"query={shell}" in " ".join(installed) and "evals" in installed
    assert removed and "query" not in " ".join(removed)


def test_the_shell_is_answered_by_the_command_itself(tmp_path: Path) -> None:
    line = "evals run model=ru"
    shell = {
        **os.environ,
        "COMP_LINE": line,
        "COMP_POINT": str(len(line)),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    words = [sys.executable, "-m", "evals", "-sc", "query=bash"]
    told = subprocess.run(words, cwd=tmp_path, env=shell, capture_output=True, text=True, timeout=60, check=True)
    assert (told.stdout, told.stderr) == ("model=rules\n", "") and list(tmp_path.iterdir()) == []


def test_a_users_own_configs_are_offered_beside_flags_in_a_fresh_process(project: Path) -> None:
    code = "import sys; from evals.cli import main; sys.argv = ['evals']; sys.exit(main(['-sc', 'query=bash']))"
    for line, offered in (("evals run task=m", "task=mine"), ("evals run model=rules -m lim", "limit=")):
        env = {**os.environ, "COMP_LINE": line, "COMP_POINT": str(len(line))}
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=60)
        assert offered in done.stdout.split() and done.stderr == "", line


@pytest.mark.parametrize("line", ["evals run task.path=é", "evals run task.path='a b'", "evals run model=((("])
def test_what_cannot_be_completed_is_answered_with_nothing_at_all(press: Press, line: str) -> None:
    press(line)
