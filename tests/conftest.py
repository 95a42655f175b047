"""A small project of a user's own, as a fixture: a task, its YAML, forty documents."""

import gc
import json
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from provider_fixture import provider, provider_session  # noqa: F401

settings.register_profile("evals", deadline=None)  # a busy machine may pause any example for longer
settings.load_profile("evals")

TASK = '''"""A user's own task."""

from evals import ExtractionTask


class Mine(ExtractionTask):
    """Who signed, and when."""

    name = "mine"
    version = "1"
    slices = ("simple", "complex")
'''
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": ["who", "when"],
    "properties": {
        "who": {"type": ["string", "null"], "kind": "name"},
        "when": {"type": ["string", "null"], "kind": "date"},
    },
}
RULES = """import re


def answer(text):
    found = re.search(r"March \\\\d+, 2024", text)
    return {"who": "Acme", "when": found[0] if found else None}
""".replace("\\\\", "\\")


def document(i: int) -> dict[str, object]:
    """One made-up document, braces included."""
    return {
        "id": f"d{i}",
        "text": f"Agreement {i} {{party}} by Acme Ltd on March {i % 28 + 1}, 2024.",
        "target": {"who": "Acme Ltd", "when": f"2024-03-{i % 28 + 1:02d}"},
        "tags": ["simple" if i % 4 else "complex"],
    }


def pytest_collection_finish() -> None:
    """What was imported stays: the garbage collector need not look through it again and again."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """llama-cpp-python opens /dev/null twice on import and never closes it: a ResourceWarning of every process' end."""
    if opened := sys.modules.get("llama_cpp._utils"):
        opened.outnull_file.close()
        opened.errnull_file.close()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project's folder, which is also the current one."""
    folder = tmp_path / "tasks" / "mine"
    folder.mkdir(parents=True)
    (folder / "task.py").write_text(TASK)
    (folder / "rules.py").write_text(RULES)
    (folder / "schema.json").write_text(json.dumps(SCHEMA))
    (folder / "prompt.md").write_text("## system\nExtract.\n## user\n{{document}}\n")
    (tmp_path / "configs" / "task").mkdir(parents=True)
    (tmp_path / "configs" / "task" / "mine.yaml").write_text(
        "name: mine\npath: docs.jsonl\nmax_chars: null\ntruncate: middle\n"
    )
    (tmp_path / "docs.jsonl").write_text("".join(json.dumps(document(i)) + "\n" for i in range(40)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
    return tmp_path
