"""A scenario: one YAML of declared options, which a decision takes beside (or instead of) measured ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from evals.errors import ConfigError

if TYPE_CHECKING:
    from evals.analysis.deciding.options import Costs, Option

KEYS = ("name", "volume", "volumes", "metric", "min", "costs", "options", "about")
PLAIN_COSTS = ("setup_months", "usd_per_ops_hour", "judge_usd_per_doc", "utilisation", "peak", "min_replicas", "spare")


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What a scenario's YAML says."""

    name: str
    volume: Any
    volumes: tuple[int, ...]
    """Documents a day that a table of their own is printed for."""
    metric: str | None
    floors: Mapping[str, float]
    """Metric -> floor."""
    costs: Mapping[str, Any]
    options: tuple[Mapping[str, Any], ...]


def read(given: Mapping[str, Any] | None) -> Scenario | None:
    """The scenario in plain data, checked; `None` where there is none. Raises `ConfigError`."""
    if given is None:
        return None
    from evals.analysis.deciding.options import known

    for key in given:
        known("scenario", key, KEYS)
    options = given.get("options")
    if not isinstance(options, list) or not options or not all(isinstance(one, Mapping) for one in options):
        raise ConfigError(
            "scenario.options should be a list of options: {option: NAME, kind: api, usd_per_doc: 0.3}, ..."
        )
    volumes = given.get("volumes") or ()
    if not isinstance(volumes, list | tuple) or any(
        isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in volumes
    ):
        raise ConfigError("scenario.volumes should be a list of whole documents a day, each at least 1")
    return Scenario(
        name=str(given.get("name") or "of your own"),
        volume=given.get("volume"),
        volumes=tuple(volumes),
        metric=given.get("metric"),
        floors=_merged(given.get("min"), where="scenario.min"),
        costs=given.get("costs") or {},
        options=tuple(options),
    )


def costs(given: Mapping[str, Any], beside: Mapping[str, Any] = {}, defaults: Mapping[str, Any] = {}) -> "Costs":
    """`costs` in plain data as the analysis takes it: the scenario's before what stands at its default, and what the
    user changed before the scenario's."""
    from evals.analysis.deciding.options import SIDES, Costs, known

    for part in (given, beside):
        for key in part:
            known("costs", key, (*SIDES, "review", *PLAIN_COSTS))
    changed = {key: value for key, value in given.items() if value != defaults.get(key)}
    parts = (given, beside, changed)
    plain = {key: value for part in parts for key, value in part.items() if key in PLAIN_COSTS and value is not None}
    groups = {name: _merged(beside.get(name), given.get(name)) for name in (*SIDES, "review")}
    return Costs(sides={name: groups[name] for name in SIDES}, review=groups["review"], **plain)


def _merged(*parts: Any, where: str = "costs.own, .remote, .hybrid and .review") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in parts:
        if part is not None and not isinstance(part, Mapping):
            raise ConfigError(f"{where} should hold keys, not {part!r}")
        found |= {key: value for key, value in (part or {}).items() if value is not None}
    return found


def options(scenario: Scenario, shared: "Costs", metric: str) -> list["Option"]:
    """The scenario's options."""
    from evals.analysis.deciding.options import declared

    return [declared(one, shared, metric) for one in scenario.options]
