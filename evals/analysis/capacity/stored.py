"""Benches that are stored: the newest that holds for a run, and the seconds of its documents under the load of mu."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evals import store
from evals.stats import Array

FILE = "bench.json"
MACHINE = ("cpu", "cores", "arch")
ASKED = ("prompt", "schema")


def newest_bench(run: Path, about: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str | None]:
    """The newest complete bench beside a run (`results/<task>/<option>~bench/`) that was made with the same prompt, schema,
    backend and machine as the run's manifest says; and why a newer one was passed over."""
    beside, passed = run.parents[1] / store.safe_name(f"{about['option']}{store.BENCH}"), None
    for path in sorted(beside.glob(f"*/{FILE}"), reverse=True):
        found, made = store.read_json(path), store.read_json(path.with_name("manifest.json"))
        if (found.get("mu_docs_per_s") or {}).get("value") is None:
            passed = passed or f"bench {_day(found)} is not used: {found.get('why') or 'it found no mu'}"
        elif other := _unlike(made, about):
            passed = passed or f"bench {_day(found)} is not used: other {', '.join(other)}"
        else:
            return {**found, "run": str(path.parent), "machine": made.get("machine") or {}}, passed
    return None, passed


def _day(found: Mapping[str, Any]) -> str:
    return str(found.get("created"))[:10]


def _unlike(made: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    hashes = [name for name in ASKED if _of(made, "hashes").get(name) != _of(about, "hashes").get(name)]
    machine = [key for key in MACHINE if _of(made, "machine").get(key) != _of(about, "machine").get(key)]
    backends = [_plain(_steady(_of(one, "backend"))) for one in (made, about)]
    return [*hashes, *(["backend (build, settings or weights)"] if backends[0] != backends[1] else []), *machine]


def _of(about: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = about.get(key) or {}
    return found


def _steady(facts: Any) -> Any:
    """What a backend says of itself but for seconds and free memory, which differ from start to start."""
    if isinstance(facts, Mapping):
        return {key: _steady(value) for key, value in facts.items() if key != "memory" and not str(key).endswith("_s")}
    return facts


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def seconds_at_mu(bench: Mapping[str, Any]) -> tuple[Mapping[str, Any], Array] | None:
    """The load that mu rests on, and the seconds of each of its documents from its scheduled instant (infinite where it
    failed); `None` where its records are gone."""
    value = bench["mu_docs_per_s"]["value"]
    there = [one for one in bench["loads"] if one.get("rate_docs_per_s") == value and one.get("sustained") is not None]
    load = max(there, key=lambda one: one["n"], default=None)
    path = None if load is None else Path(bench["run"]) / str(load["records"])
    if load is None or path is None or not path.is_file():
        return None
    first = load.get("first", 0)
    found = []
    for line in path.read_text(encoding="utf-8", errors="surrogatepass").splitlines()[first : first + load["n"]]:
        record = store.decode(json.loads(line))
        times = [call.timing for call in record.calls if call.timing]
        waited = sum(one.queued_s + one.total_s + one.backoff_s for one in times)
        found.append(waited if record.answer is not None else math.inf)
    return load, np.array(found, np.float64)
