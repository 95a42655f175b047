"""What a run says of itself before its first request: `manifest.json`, and the settings as `config.yaml`."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals import store
from evals.commands import answering, build, hybrid, sides
from evals.commands.settings.run import RunSettings, ScoreSettings
from evals.core import Price
from evals.engine import machine
from evals.loading import ExtractionTask
from evals.models import weights


def about(
    settings: RunSettings,
    task: ExtractionTask,
    *,
    option: str,
    key: str,
    identity: Mapping[str, Any],
    hashes: Mapping[str, str],
    prices: Mapping[str, Price] | None,
    launcher: str,
) -> dict[str, Any]:
    """The manifest, but for what the backend says of itself once it is ready, and what follows from that (`under`)."""
    chosen = common(settings, task, option=option, key=key, identity=identity, hashes=hashes, launcher=launcher)
    return chosen | {
        **{name: getattr(settings, name) for name in ("prompt", "max_tokens", "temperature", "constrain")},
        "model": settings.model["name"],
        "location": settings.model.get("location"),
        **hybrid.about(settings),
        "privacy": settings.privacy,
        "weights": weights.facts(settings.model),
        "repeats": settings.repeats,
        "shots": task.shots,
        **under(settings, {}),
        "stream": settings.stream,
        "processing": settings.processing,
        "limits": {name: getattr(settings, name) for name in ("requests_per_min", "tokens_per_min", "attempts")},
        "git": machine.git_state(Path(__file__).parent),
        "machine": {**machine.facts(), **settings.machine},
        "prices": {tier: store.plain(price) for tier, price in prices.items()} if prices else None,
    }


def common(
    settings: RunSettings | ScoreSettings,
    task: ExtractionTask,
    *,
    option: str,
    key: str,
    identity: Mapping[str, Any],
    hashes: Mapping[str, str],
    launcher: str,
) -> dict[str, Any]:
    """What the manifest of every run holds, also of answers that were made elsewhere."""
    return {
        "format": store.FORMAT,
        "task": task.name,
        "task_version": task.version,
        "task_options": {k: v for k, v in settings.task.items() if k not in ("name", "_target_")},
        "option": option,
        "dataset": dict(identity),
        "split": task.split,
        "limit": settings.limit,
        "slice": settings.slice,
        "hashes": dict(hashes),
        "seed": settings.seed,
        "packages": machine.packages(),
        "run_key": key,
        "launcher": launcher,
        "started_at": store.stamp(),
    }


def under(settings: RunSettings, facts: Mapping[str, Any]) -> dict[str, Any]:
    """How many documents are under way at once, and what load that is; `facts`: what `start` said, empty before it."""
    return {"concurrency": answering.concurrency(settings, facts), "load": load(settings, facts)}


def start_s(facts: Mapping[str, Any], seconds: float) -> float:
    """What of these seconds every start takes: settings are measured once a machine."""
    return round(max(0.0, seconds - float(facts.get("measuring_s") or 0.0)), 3)


def load(settings: RunSettings, facts: Mapping[str, Any]) -> str:
    """Under which load latencies are taken: they are compared only with their like. `offline`: nothing was said, and a
    library in this machine is given all that it takes at once (the number is known once it is started)."""
    if settings.processing == "batch":
        return "batch"
    width = answering.concurrency(settings, facts)
    if settings.concurrency is None and settings.model.get("location") == "own" and not sides.is_hybrid(settings.model):
        most = answering.capacity(facts)
        if most is None and build.holds_several(settings.model):
            return "offline"
        if most is not None and most > 1:
            return f"offline({most})"
    return "single_stream" if width == 1 else f"closed_loop({width})"


def config_yaml(settings: RunSettings) -> str:
    """The resolved settings; there is no secret in them, since keys are named and never held."""
    import dataclasses

    import yaml

    plain = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
    return str(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True))
