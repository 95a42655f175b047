"""Runs of a fake model with chosen answers, in the fixture `project`."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from evals.cli import main

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
    """Run the model over the fixture's documents; the run's folder."""
    assert main(["run", "task=mine", f"model={name}", *words]) in (0, 4)
    return max((project / "results" / "mine").glob(f"{name}*/*"), key=lambda path: path.name)
