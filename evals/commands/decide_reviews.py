"""Results of `review` that `decide` counts: each for the option whose answers were reviewed."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import store
from evals.catalog import nearest
from evals.commands.review import answers_hash
from evals.commands.settings.decide import DecideSettings
from evals.errors import ConfigError

if TYPE_CHECKING:
    from evals.analysis.deciding.options import Costs, Option
    from evals.analysis.deciding.reviewed import Review


def shared(costs: "Costs", settings: DecideSettings) -> "Costs":
    """What every option pays: where reviews are given, typed figures of a review that are not complete are for those alone."""
    whole = all(costs.review.get(key) is not None for key in ("share", "minutes", "usd_per_hour"))
    return costs if whole or not settings.reviews else dataclasses.replace(costs, review={})


def reviewed(
    settings: DecideSettings, options: "Sequence[Option]", folders: Mapping[str, Path], costs: "Costs"
) -> "tuple[list[Option], list[str]]":
    """The options, those that were reviewed with their dollars and what is left wrong; and their names. `folders`: option ->
    its run. Raises `ConfigError` for a review of another task or option, `DataError` for a file that is none."""
    from evals.analysis.deciding.reviewed import with_review

    task = str((settings.task or {})["name"])
    found: dict[str, Review] = {}
    for where in settings.reviews or ():
        one = _read(where, task, folders)
        if one.option in found:
            raise ConfigError(f"reviews: {found[one.option].where} and {where} are both of {one.option}")
        found[one.option] = one
    told = []
    for option in options:
        review = found.get(option.name) or found.get(option.name.removesuffix(" (batch)"))
        if review is None:
            told.append(option)
            continue
        again = with_review(option, review, costs.review, draws=settings.draws, seed=settings.seed)
        counted = shared(costs, settings) is costs  # the typed figures are counted for all already
        told.append(dataclasses.replace(again, deployment=option.deployment) if counted else again)
    return told, [one.name for one, now in zip(options, told, strict=True) if one is not now]


def _read(where: str, task: str, folders: Mapping[str, Path]) -> "Review":
    from evals.analysis.deciding.reviewed import review_of

    path = Path(where)
    path = path / "review.json" if path.is_dir() else path
    if not path.is_file():
        raise ConfigError(f"reviews: {where} is not there; python -m evals review run=RUN makes a review.json")
    told = store.read_json(path)
    verdicts = _verdicts(path, told)
    of = ""
    option = str(told.get("option"))
    if "task" in told and str(told["task"]) != task:
        raise ConfigError(f"{path} is a review of another task ({told['task']}, here {task})")
    if "option" in told and option not in folders:
        raise ConfigError(
            f"{path} is a review of {option!r}, which is none of the options here{nearest(option, folders)}"
        )
    if option in folders and told.get("answers_hash") != answers_hash(store.answered(folders[option])):
        of = f"other answers than these ({told.get('split')}, {told.get('run')})"
    return review_of(told, str(path), verdicts=verdicts, of=of)


def _verdicts(path: Path, told: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What people's verdicts on the same answers say, where they lie beside the review."""
    beside = path.with_name("verdicts.json")
    found = store.read_json(beside) if beside.is_file() else None
    return found if found is not None and found.get("answers_hash") == told.get("answers_hash") else None
