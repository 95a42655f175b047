"""Runs of a fake model with chosen answers, in the fixture `project`."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import evals

YAML = """_target_: evals.models.fake.Fake
name: {name}
location: {location}
terms: null
card: {{family: fake, parameters: null, context: null, licence: null, use_limits: null, instruct: false, checked: null, verified: true}}
reply: {reply}
latency_s: {latency}
error_rate: {errors}
error: server
seed: 0
source: null
"""
N = 40


def right(i: int) -> dict[str, str | None]:
    """The gold answer of document i of the fixture."""
    return {"who": "Acme Ltd", "when": f"2024-03-{i % 28 + 1:02d}"}


def model(
    project: Path,
    name: str,
    spoil: Mapping[int, Mapping[str, str | None]] | Callable[[int], Mapping[str, str | None]] = {},
    *,
    latency: float = 0.0,
    errors: float = 0.0,
) -> None:
    """A model that answers right, but for what `spoil` changes in a document."""
    changes = spoil if callable(spoil) else lambda i: spoil.get(i, {})
    replies = {f"d{i}": json.dumps({**right(i), **changes(i)}) for i in range(N)}
    folder = project / "configs" / "model"
    folder.mkdir(parents=True, exist_ok=True)
    text = YAML.format(name=name, location="own", reply=json.dumps(replies), latency=latency, errors=errors)
    (folder / f"{name}.yaml").write_text(text)


def run(project: Path, name: str, *words: str) -> Path:
    """Run the model over the fixture's documents, from Python: Hydra is not what is tested here; the run's folder."""
    settings, overrides = {}, {}
    for key, _, value in (word.partition("=") for word in words):
        (overrides if "." in key else settings)[key] = plain(value)
    finished = evals.run(task="mine", model=name, overrides=overrides, **settings)
    assert finished.exit_code in (0, 4)
    return finished.folder


def plain(value: str) -> Any:
    """A word's value as JSON, where it is some."""
    try:
        return json.loads(value)
    except ValueError:
        return value


def once(project: Path, name: str, make: Callable[[], object]) -> Path:
    """The project with what `make` writes into it: made for the first test of a process that asks, copied for the rest,
    so that every test may change its own."""
    kept = project.parent / f"made-{name}"
    if kept.exists():
        shutil.copytree(kept, project, dirs_exist_ok=True)
    else:
        make()
        shutil.copytree(project, kept)
    return project
