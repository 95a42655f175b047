"""DESIGN: import only downwards, and `import evals` stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "evals"
LEVELS = {
    **{"core": 0, "errors": 0},
    **{"metrics": 1, "store": 1, "pricing": 1, "stats": 1, "catalog": 1, "policy": 1},
    **{"models": 2, "engine": 2, "loading": 2, "prompting": 2, "harnesses": 2, "analysis": 2},
    **{"report": 3, "commands": 4, "api": 5, "cli": 5, "completion": 5, "__main__": 6, "__init__": 6},
}
MAKING, READING = {"models", "engine", "loading", "prompting", "harnesses"}, {"analysis"}
HEAVY = (
    "hydra pandas numpy scipy sklearn pydantic matplotlib datasets torch transformers llama_cpp openai anthropic litellm ray"
).split()


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def room(path: Path) -> str:
    part = path.relative_to(ROOT).parts[0]
    return part.removesuffix(".py")


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_downwards(path: Path) -> None:
    here = room(path)
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "evals" or len(parts) < 2 or parts[1] not in LEVELS:
            continue
        there = parts[1]
        assert LEVELS[there] <= LEVELS[here], f"{here} imports {name}"
        assert not (here in READING and there in MAKING), f"{here} (reading) imports {name} (making)"
        assert not (here in MAKING and there in READING), f"{here} (making) imports {name} (reading)"
        assert not (here == "report" and there in MAKING), f"report imports {name}"
        assert not (here == "engine" and there == "models" and parts[2:3] not in ([], ["base"])), (
            f"engine imports {name}"
        )


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_hydra_ends_at_the_edge(path: Path) -> None:
    used = {name.split(".")[0] for name in imports(path)}
    assert not used & {"hydra", "omegaconf"} or room(path) in ("cli", "completion")
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_importing_evals_is_light() -> None:
    code = f"import sys, evals; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
