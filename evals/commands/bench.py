"""`bench`: how many documents a second a deployment sustains inside a latency target.

A bench is kept apart from runs, in `results/<task>/<option>~bench/<stamp>/`: `manifest.json` (the model, its backend, the
machine), `records-<load>.jsonl` of every load, and `bench.json`. It has no `summary.json`, so that nothing takes it for a
run of documents; `decide` reads its mu.
"""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals import store
from evals.analysis import capacity
from evals.commands import answering, bench_loads, build, manifest, sides
from evals.commands.bench_times import TARGETS, Measured
from evals.commands.estimate import Estimate, confirm, estimate
from evals.commands.plan import as_run
from evals.commands.prices import snapshot
from evals.commands.run import INFRASTRUCTURE_LIMIT, selected
from evals.commands.settings.bench import BenchSettings
from evals.commands.settings.run import RunSettings
from evals.core import Price, Sample
from evals.engine.loop import run_until_done
from evals.errors import BudgetReached, ConfigError, DataError, EvalsError, FatalCall, Stopped
from evals.loading import ExtractionTask
from evals.policy import forbidden
from evals.report import files
from evals.report.bench import line, rows, sentence

LOOPBACK = ("127.", "localhost", "[::1]")
DONE, CUT, VOID = 0, 130, 4


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What was found: the content of `bench.json`; printed, it is the tables. And the command's exit code.

    Keys: `mu_docs_per_s` {value, low, high} (documents a second), `target` {p95_s, from}, `share`, `why` (why no further
    rate was offered), `sentence`, `loads` (a row each: `load` single_stream, offline or server, `loop` closed or open,
    `rate_docs_per_s` offered, `documents` that were to count, `n, answered, failed, valid, in_time, throughput_docs_per_s,
    goodput_docs_per_s, share, latency_s` {p50, p95, p99}, `ttft_s, tpot_s, tokens_per_s, backlog, lag_p99_s, void,
    sustained, peak_memory_mb, energy, records`; of an open loop `records`, `energy` and `sent` are of all its documents, the
    figures of the `n` from number `first` on), `task, option, model, run, created, documents, load_s, complete, notes, exit_code`. Seconds; `None` is not
    measured.
    """

    result: dict[str, Any]
    exit_code: int

    def __str__(self) -> str:
        from evals.report import bench

        return bench.text(self.result)

    def _repr_html_(self) -> str:
        from evals.report import bench

        return bench.html(self.result)


def bench(settings: BenchSettings, *, launcher: str = "python", progress: bool = True) -> Bench:
    """Measure, keep and tell. Raises `UserError` before the first token where something is wrong, `EvalsError` where the
    model answers nothing, `Stopped` on Ctrl-C and `BudgetReached`, both with what was measured kept."""
    if settings.out:
        files.prepare(Path(settings.out))
    if sides.is_hybrid(settings.model):
        raise ConfigError("model=hybrid: bench each of its two models by itself; decide joins their capacities")
    asked = as_run(
        settings, settings.model, limit=settings.limit, concurrency=settings.concurrency, cache="off", resume=False
    )
    build.refuse_remote(asked)
    task = build.task(asked)
    identity, hashes = task.identity(), task.hashes()
    documents, notes = _documents(task, asked)
    prices = snapshot(asked.model)
    _agree(settings, asked, task, prices, len(documents))
    option = build.option_name(asked) + store.BENCH
    folder = store.RunFolder.create(task.name, option)
    model = build.model(asked, log=folder.path / "run.log")
    say = _Said(build.option_name(asked), enabled=progress)
    about = manifest.about(
        asked,
        task,
        option=option,
        key=build.run_key(asked, option, identity, hashes),
        identity=identity,
        hashes=hashes,
        prices=prices,
        launcher=launcher,
    )
    about |= {"load": "bench", "bench": {name: getattr(settings, name) for name in OWN}}

    def begin(ready: Mapping[str, Any]) -> None:
        folder.write("manifest.json", dict(ready))
        folder.write("config.yaml", manifest.config_yaml(asked))

    assert not hasattr(model, "models")  # a hybrid was refused
    work = bench_loads.Bench(
        settings=settings,
        asked=asked,
        task=task,
        documents=documents,
        model=model,  # type: ignore[arg-type]
        prices=prices,
        folder=folder,
        about=about,
        begin=begin,
        say=say,
        here=_is_here(model),
    )
    work.found.notes += notes
    told: dict[str, Any] = {"task": task.name, "option": build.option_name(asked), "model": str(asked.model["name"])}
    told |= {"documents": len(documents), "launcher": launcher}
    with folder:
        say(work.times.beforehand(len(documents)))
        try:
            run_until_done(work.run(), fast=answering.wire(model))
        except (Stopped, BudgetReached, FatalCall) as error:
            raise _cut_short(error, settings, work, told) from None
        result = _written(settings, work, told, complete=True)
    return Bench(result=result, exit_code=result["exit_code"])


OWN = ("target_p95_s", "documents", "duration_s", "rates", "loads", "precision", "warmup")


class _Said:
    """Lines on stderr, one a load: nothing is drawn while documents are under way."""

    def __init__(self, name: str, *, enabled: bool) -> None:
        self._name, self._enabled = name, enabled

    def __call__(self, text: str) -> None:
        if self._enabled:
            print(f"{self._name}: {text}", file=sys.stderr, flush=True)


def _documents(task: ExtractionTask, asked: RunSettings) -> tuple[list[Sample], list[str]]:
    """The documents that the model may see, and a word on the others."""
    found = list(selected(task, asked))
    if not found:
        tags = f" with slice=[{','.join(asked.slice)}]" if asked.slice else ""
        raise DataError(f"task={task.name} split={task.split}: no document to ask{tags}")
    spec = asked.model
    kept = [
        one
        for one in found
        if spec.get("location") == "own"
        or forbidden(one.data_class, location=spec.get("location"), terms=spec.get("terms")) is None
    ]
    if not kept:
        raise DataError(f"none of the {len(found)} documents of {task.name} may be sent to {spec['name']}")
    left = len(found) - len(kept)
    return kept, [f"{left} documents may not be sent to {spec['name']} and are left out"] if left else []


def _agree(
    settings: BenchSettings,
    asked: RunSettings,
    task: ExtractionTask,
    prices: Mapping[str, Price] | None,
    documents: int,
) -> None:
    """A paid API is asked as often as it answers: only up to a budget that the user names, and asked for as `run` does."""
    if not prices:
        return
    usd = asked.budget.usd
    if usd is None:
        raise ConfigError(
            f"{asked.model['name']} is paid by the call, and a bench sends as many documents as it takes: say budget.usd=5"
        )
    one = estimate(task, asked, prices, documents)
    if one is None or not one.usd:
        return
    most = max(1, int(usd / (one.usd / documents)))
    whole = Estimate(
        documents=most,
        input_tokens=one.input_tokens,
        output_tokens=one.output_tokens,
        usd=one.usd / documents * most,
        at_most=False,
    )
    confirm(whole, above_usd=settings.confirm_usd, budget_usd=usd)


def _is_here(model: Any) -> bool:
    """In this process, in a child of it, or behind a loopback address."""
    host = str(getattr(model, "host", ""))
    return answering.account(model) is None or host.startswith(LOOPBACK)


# What becomes of it -------------------------------------------------------------------------------------------


def _written(
    settings: BenchSettings, work: bench_loads.Bench, told: Mapping[str, Any], *, complete: bool
) -> dict[str, Any]:
    """`bench.json` in the bench's folder, and where `out` says."""
    found, folder = work.found, work.folder
    if found.open and all(load["void"] for load in found.open):
        found.why = (
            f"no open loop is valid, {found.open[-1]['void']}: run it where less else runs, or from another machine than "
            "the model's"
        )
    mu = capacity.mu(found.open)
    result: dict[str, Any] = {
        "format": 1,
        **told,
        "created": str(work.about["started_at"]),
        "run": str(folder.path),
        "complete": complete,
        "mu_docs_per_s": mu,
        "share": capacity.SHARE,
        "target": {"p95_s": found.target_s, "from": found.target_from},
        "counts": "valid answers" if found.valid_only else "answers",
        "why": found.why if complete else "it was cut short",
        "load_s": (work.about.get("backend") or {}).get("start_s"),
        "loads": found.loads,
        "notes": [*found.notes, *_notes(settings, found, mu["value"], len(work.documents))],
    }
    result["exit_code"] = _code(found) if complete else CUT
    result = dict(store.plain(result)) | {"sentence": ""}
    result["sentence"] = sentence(result)
    folder.write(capacity.FILE, result)
    if settings.out:
        files.write_table(Path(settings.out), "bench", rows(result), result)
    return result


def _notes(settings: BenchSettings, found: Measured, at_mu: float | None, documents: int) -> list[str]:
    """What a reader must know of the figures."""
    said = []
    asked = max((load.get("sent", load["n"]) for load in found.loads), default=0)
    if asked > documents:
        said.append(
            f"each document was asked up to {-(-asked // documents):,} times in a load: a server that keeps prompts "
            "answers it faster than new ones"
        )
    cached = [one["prompt_cached_share"] for one in found.loads if one["prompt_cached_share"]]
    if cached:
        said.append(f"up to {100 * max(cached):.0f} % of the prompt tokens of a load came from the server's own cache")
    judged = [load for load in found.open if load["rate_docs_per_s"] == at_mu and load["sustained"] is not None]
    behind, enough = sum(load["share"]["n"] for load in judged), capacity.ENOUGH_FOR_P95
    if at_mu and behind < capacity.ENOUGH * enough:
        longer = "leave duration_s unset" if settings.duration_s else f"documents={enough}"
        advice = "" if not settings.duration_s and settings.documents >= enough else f"; {longer}"
        said.append(
            f"mu rests on {behind} documents at its rate, too few for a p95 (at least {enough}): loads so short tend to put "
            f"it too high{advice}"
        )
    target = found.target_s
    if settings.duration_s and target and settings.duration_s < TARGETS * target:
        said.append(
            f"duration_s={settings.duration_s:g} is shorter than {TARGETS} targets of {target:.3g} s: an "
            "overload may end before it shows"
        )
    alone = [load for load in found.loads if load["load"] == "single_stream"]
    if alone and alone[0]["failed"]:
        said.append(f"{alone[0]['failed']} of {alone[0]['n']} documents failed even one at a time")
    return said


def _code(found: Measured) -> int:
    """4 where nothing valid is left, the deployment stopped answering, or fails for reasons that are not load: one at a
    time."""
    if found.dead or (found.open and all(load["void"] for load in found.open)):
        return VOID
    alone = found.closed("single_stream")
    return VOID if alone["failed"] / max(alone["n"], 1) > INFRASTRUCTURE_LIMIT else DONE


def _cut_short(
    error: EvalsError, settings: BenchSettings, work: bench_loads.Bench, told: Mapping[str, Any]
) -> EvalsError:
    """What the user reads of a bench that ended early, with what was measured kept."""
    kept = "nothing was measured yet"
    if work.found.loads:
        result = _written(settings, work, told, complete=False)
        loads: Sequence[Any] = result["loads"]
        kept = f"{len(loads)} load{'s are' if len(loads) > 1 else ' is'} kept in {work.folder.path} ({'; '.join(map(line, loads))})"
    if isinstance(error, FatalCall):
        return ConfigError(f"{work.model.name}: {error.text} ({error.kind}); {kept}")
    again = f"the same command begins a new bench: {told['launcher']}"
    if isinstance(error, BudgetReached):
        return BudgetReached(f"{error}; {kept}; {again}")
    return Stopped(f"stopped: {kept}; {again}")
