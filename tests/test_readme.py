"""The README is true: its commands are known to the tool, its table is that of the runs that are kept."""

import re
from pathlib import Path

import pytest

from evals import cli, store
from evals.commands.settings.run import COMMANDS, validated
from evals.report import console

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
CALLS = sorted({" ".join(hit.split()) for hit in re.findall(r"python -m evals ([a-z][^`]*?)(?=`|\n\n|$)", TEXT)})
ORDER = ("rules", "smollm2_135m", "gemma270m", "qwen25_0.5b", "qwen25_1.5b")


@pytest.mark.parametrize("call", [call for call in CALLS if "--help" not in call])
def test_every_command_is_known(call: str) -> None:
    """Each composes and validates as it stands; what it would do is tested elsewhere."""
    word, *rest = call.split()
    assert word in COMMANDS
    words = ["model=rules" if part == "model=a,b" else part for part in rest if part != "-m"]
    found: list[object] = []
    cli._through_hydra(word, cli.ordered(words), lambda plain: found.append(validated(word, plain)))
    assert len(found) >= 1 and all(isinstance(one, COMMANDS[word]) for one in found)


def test_the_two_commands_are_in_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_table_is_that_of_the_runs_that_are_kept() -> None:
    runs = ROOT / "notebooks" / "runs" / "legal_extract"
    found = [store.read_json(next(runs.glob(f"{option}/*/summary.json"))) for option in ORDER]
    for line in console.results(found).splitlines():
        assert line.rstrip() in TEXT
    assert (ROOT / "notebooks" / "frontier.png").stat().st_size > 10_000
