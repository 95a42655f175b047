"""Every root composes with every option of its groups, and validates."""

import dataclasses
from pathlib import Path

import pytest

from evals import catalog, cli
from evals.commands import build
from evals.commands.settings.run import COMMANDS, BudgetSettings, RunSettings, validated

GROUPS = ("task", "model", "machine")
NEEDS = {
    "score": "predictions=x.jsonl",
    "compare": "candidate=x",
    "frontier": "table=x.csv",
    "import": "file=x.json",
    "route": "table=x.csv",
    "review": "run=x",
} | {"decide": "scenario=request_scale"}
"""What a command cannot do without."""


def composed(word: str, *words: str) -> object:
    found: list[object] = []
    cli._through_hydra(word, list(words), lambda plain: found.append(validated(word, plain)))
    return found[0]


@pytest.mark.parametrize("word", [word for word in COMMANDS if word not in NEEDS])
def test_every_root_composes(word: str) -> None:
    assert type(composed(word)) is COMMANDS[word]


@pytest.mark.parametrize(("word", "given"), NEEDS.items())
def test_a_root_composes_with_what_it_needs(word: str, given: str) -> None:
    assert type(composed(word, given)) is COMMANDS[word]


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in GROUPS for name in catalog.options(group)])
def test_every_option_composes_and_its_keys_are_known(group: str, name: str) -> None:
    settings = composed("run", f"{group}={name}")
    assert isinstance(settings, RunSettings) and settings.__dict__[group]["name"] == name
    if group == "model":
        target = build.resolve(settings.model["_target_"])
        options = {key: value for key, value in settings.model.items() if key not in build.SPEC}
        if "quants" in settings.model:
            options["path"] = "weights.gguf"
        if name == "openai_compatible":
            options["id"] = "the user's own"
        if name != "hybrid":  # whose keys become two models and a policy, see tests/commands/test_hybrid.py
            build.checked(target, options, "model")
        assert build.option_name(settings) == name
    if group == "task":
        build.checked(build.type_of_task(name), {k: v for k, v in settings.task.items() if k != "name"}, "task")


def test_defaults_stand_in_one_place_only() -> None:
    """The YAML of `run` repeats the defaults of `RunSettings` for its readers: the two must agree."""
    import yaml

    root = yaml.safe_load((Path(catalog.shipped()) / "configs" / "run.yaml").read_text())
    fields = RunSettings.__dataclass_fields__
    said = {key: fields[key].default for key in root if key != "defaults"}
    assert said | {"budget": dataclasses.asdict(BudgetSettings())} == {k: v for k, v in root.items() if k != "defaults"}


@pytest.mark.parametrize("name", catalog.options("experiment"))
def test_every_experiment_composes(name: str) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(version_base="1.3", config_dir=str(catalog.shipped() / "configs")):
        config = compose("run", [f"experiment={name}"])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    settings = validated("run", {key: value for key, value in plain.items() if key != "hydra"})
    assert settings.limit is not None
