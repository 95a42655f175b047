"""The loads of a bench, one after the other on one model that is started once: warm-up, single stream, all at once, then
open loops: short ones that find about which rate is sustained, long ones around it. What was measured
is in `Measured` at every moment, so that an interruption loses one load."""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evals import store
from evals.analysis import capacity
from evals.commands import answering, manifest
from evals.commands.bench_times import LEAST_TARGET_S, Measured, Times
from evals.commands.settings.bench import BenchSettings
from evals.commands.settings.run import RunSettings
from evals.core import Price, Record, Sample
from evals.engine.budget import Spent
from evals.engine.egress import Egress
from evals.engine.energy import Meter, peak_memory_mb
from evals.engine.load import Due, Load, Prepared, Shot, Unlimited, arrivals, rounds
from evals.errors import EvalsError
from evals.loading import ExtractionTask
from evals.models.base import Model
from evals.report.bench import line

MOST_ALONE = 200
"""Documents of the single stream at most: enough for its p95."""
AT_ONCE_WIRE = 64
ROUNDS = 2
"""Documents all at once at least, for each that is under way: those of the first round begin together."""
TIMES_ALONE = 3.0
"""The target where none is said: so many times the single stream's p95, and no less than `LEAST_TARGET_S`."""
FAILED_WARMUPS = 5
TICK_S = 10.0


@dataclass(kw_only=True)
class Bench:
    """What the loads are made with."""

    settings: BenchSettings
    asked: RunSettings
    task: ExtractionTask
    documents: Sequence[Sample]
    model: Model
    prices: Mapping[str, Price] | None
    folder: store.RunFolder
    about: dict[str, Any]
    begin: Callable[[dict[str, Any]], None]
    """Called once the model is ready, with the manifest: writes it."""
    say: Callable[[str], None]
    here: bool
    """Does the model run on this machine?"""
    found: Measured = field(default_factory=Measured)
    times: Times = field(init=False)
    _spent: Spent = field(default_factory=Spent)
    _judged: dict[tuple[str, str], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.times = Times(self.settings)

    async def run(self) -> None:
        """All of it. Raises what ends a run: `FatalCall`, `BudgetReached`, and `EvalsError` where every call fails."""
        before = time.monotonic()
        try:
            self.about["backend"] = dict(await self.model.start())
            self.about["backend"]["start_s"] = manifest.start_s(self.about["backend"], time.monotonic() - before)
            self.begin(self.about)
            self._prepared = Prepared(self.task, self.documents)
            self._egress = Egress(self.folder.path)
            watts = self.asked.machine.get("watts")
            self._meter = Meter(here=self.here, watts=None if watts is None else float(watts))
            ticking = asyncio.create_task(self._tick())
            try:
                await self._warm_up()
                await self._alone()
                await self._at_once()
                await self._rates()
            finally:
                ticking.cancel()
                self._egress.write()
        finally:
            await self.model.close()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._meter.tick()

    # Closed loops ---------------------------------------------------------------------------------------------

    async def _warm_up(self) -> None:
        load = self._load(sink=lambda *_: None, concurrency=1, attempts=self.settings.attempts or 1)

        def enough(done: int, _seconds: float) -> bool:
            good = sum(one.record.answer is not None for one in load.shots)
            return good >= self.settings.warmup or done >= self.settings.warmup - 1 + FAILED_WARMUPS

        await load.closed(rounds(self.documents, seed=self.settings.seed), enough)
        self._count(load.shots)
        if not any(one.record.answer is not None for one in load.shots):
            last = load.shots[-1].record.calls[-1]
            raise EvalsError(
                f"{self.model.name}: none of {len(load.shots)} calls got an answer: {last.error}: {last.error_text}"
            )

    async def _alone(self) -> None:
        seconds, least = self.times.closed

        def enough(done: int, passed: float) -> bool:
            return done >= MOST_ALONE or (passed >= seconds and done >= least)

        load, about = await self._closed("single_stream", 1, enough)
        if not any(one.record.answer is not None for one in load.shots):
            last = load.shots[-1].record.calls[-1]
            raise EvalsError(
                f"{self.model.name}: none of {len(load.shots)} calls got an answer: {last.error}: {last.error_text}"
            )
        shots = self._shots(load.shots)
        self.found.valid_only = any(one.valid for one in shots)
        if not self.found.valid_only:
            self.found.notes.append(
                "no answer is valid under the task's schema: goodput is 0, and mu counts answers, valid or not"
            )
        self._set_target(capacity.figures(shots, target_s=None, seconds=1.0)["latency_s"]["p95"]["value"])
        self._keep(load, shots, about)

    def _set_target(self, alone_p95_s: float) -> None:
        said = self.settings.target_p95_s
        self.found.target_s = said or max(LEAST_TARGET_S, TIMES_ALONE * alone_p95_s)
        usual = f"{TIMES_ALONE:g} x the single stream's p95, at least {LEAST_TARGET_S:g} s"
        self.found.target_from = "target_p95_s" if said else usual

    async def _at_once(self) -> None:
        seconds, least = self.times.closed
        width = self._width(self.found.closed("single_stream"), seconds)
        if not self.settings.duration_s:
            least = max(least, ROUNDS * width)

        def enough(done: int, passed: float) -> bool:
            return passed >= seconds and done >= least

        load, about = await self._closed("offline", width, enough)
        self._keep(load, self._shots(load.shots), about)

    def _width(self, alone: Mapping[str, Any], seconds: float) -> int:
        """Documents under way at once: what is said; over a wire as many as a server may batch; in process what the library
        takes and some that wait, or, where it does not say, as many as do not keep the bench waiting."""
        if self.settings.concurrency:
            return self.settings.concurrency
        if answering.account(self.model):
            return AT_ONCE_WIRE
        if slots := answering.capacity(self.about["backend"]):
            return slots + max(2, slots // 4)
        each = alone["latency_s"]["p50"]["value"] or seconds
        return max(2, min(AT_ONCE_WIRE, math.ceil(seconds / max(each, 1e-3))))

    async def _closed(
        self, name: str, concurrency: int, enough: Callable[[int, float], bool]
    ) -> tuple[Load, dict[str, Any]]:
        file = f"records-{name}.jsonl"
        load = self._load(
            sink=lambda _, record: self.folder.append(record, name=file),
            concurrency=concurrency,
            attempts=self.settings.attempts,
        )
        end = self._meter.span(time.monotonic)
        await load.closed(rounds(self.documents, seed=self.settings.seed), enough)
        self._count(load.shots)
        return load, {
            **{"load": name, "loop": "closed", "concurrency": concurrency, "records": file, "energy": end()},
            "peak_memory_mb": self._memory(),
        }

    def _keep(self, load: Load, shots: Sequence[capacity.Shot], about: dict[str, Any]) -> None:
        seconds = max(one.ended_s for one in shots)
        target = self.found.target_s if about["load"] == "single_stream" else None  # all at once, they wait by design
        figures = capacity.figures(
            shots,
            target_s=target,
            seconds=seconds,
            places=about["concurrency"],
            stopped_s=load.stopped_s if about["concurrency"] > 1 else None,
            valid_only=self.found.valid_only,
        )
        late = capacity.lag((), load.beats, self.found.target_s or 0.0)
        self._finish({**about, **figures, "loop_lag_p99_s": late["loop_lag_p99_s"]}, shots)

    # Open loops -----------------------------------------------------------------------------------------------

    async def _rates(self) -> None:
        alone = self.found.closed("single_stream")
        share = alone["share"]["value"]
        if share is not None and share < capacity.SHARE:
            failing = alone["failed"] > alone["answered"] - alone["in_time"]
            self.found.why = (
                f"{alone['failed']:,} of {alone['n']:,} documents get no answer even one at a time"
                if failing
                else f"even one at a time only {100 * share:.0f} % of the documents are answered within "
                f"{self.found.target_s:.3g} s: target_p95_s is too short for this deployment"
            )
            return
        offline = self.found.closed("offline")["throughput_docs_per_s"]["value"]
        if not self.settings.rates and not offline:
            self.found.why = "all at once, nothing was answered: there is no throughput to begin from; say rates=[...]"
            return
        if self.settings.rates:
            for rate in sorted(set(self.settings.rates)):
                for _ in range(capacity.TRIES):
                    await self._open(rate, self.times.documents)
                    if not self.found.open[-1]["void"]:
                        break
            self.found.why = "these were the rates that were asked for"
            return
        self.say(f"to go: about {self.times.to_go(offline, self.found)}")
        while (step := self._next(offline)).rate is not None:
            await self._open(step.rate, step.documents)
            if self.found.dead:
                self.found.why = f"at {capacity.docs(step.rate)} docs/s not one document was answered any more"
                return
        self.found.why = step.why

    def _next(self, offline: float) -> capacity.Step:
        return capacity.next_rate(
            self.found.open,
            offline,
            precision=self.settings.precision,
            most=self.settings.loads,
            documents=self.times.documents,
        )

    async def _open(self, rate: float, documents: int | None = None) -> None:
        """Documents count once the first are answered, and until the last of them are: before and behind them come others,
        for one target each, no longer than the load itself."""
        number = len(self.found.open) + 1
        target = self.found.target_s or LEAST_TARGET_S
        seconds = self.times.open_s(rate, self.found, documents)
        edge = min(target, seconds)
        whole = seconds + 2 * edge
        seed = self.settings.seed + number - 1
        pairs = rounds(self.documents, seed=seed)
        due = [Due(at_s=at, sample=sample, repeat=repeat) for at, (sample, repeat) in
               zip(arrivals(rate, whole, seed=seed), pairs, strict=False)]  # fmt: skip
        self.say(f"server, {capacity.docs(rate)} docs/s: {len(due):,} documents over {whole:.3g} s")
        slots = answering.capacity(self.about["backend"]) or 1
        load = self._load(
            sink=lambda *_: None,
            attempts=self.settings.attempts or 1,
            limiter=Unlimited(),
            timeout_s=answering.deadline_s(self.asked, self.model, slots),
        )
        end = self._meter.span(time.monotonic)
        file = f"records-server-{number:02d}.jsonl"
        try:
            await load.open(due)
        finally:  # not while documents are under way: a slow disk would delay them
            energy = end()
            self._count(load.shots)
            load.shots.sort(key=lambda one: one.due_s or 0.0)
            for one in load.shots:
                self.folder.append(one.record, name=file)
        shots = self._shots(load.shots)
        figures: dict[str, Any] = {
            **{"load": "server", "loop": "open", "rate_docs_per_s": rate, "records": file, "energy": energy},
            "documents": documents,
            "first": sum((one.due_s or 0.0) < edge for one in shots),
            "sent": len(shots),
            "answered_at_all": sum(one.answered for one in shots),
            "peak_memory_mb": self._memory(),
            **capacity.figures(shots, target_s=target, seconds=seconds, begin_s=edge, valid_only=self.found.valid_only),
            "backlog": capacity.backlog(shots, rate, whole),
            **capacity.lag([one.lag_s for one in shots], load.beats, target),
        }
        figures["sustained"] = capacity.is_sustained(figures)
        self._finish(figures, shots)

    # Both -----------------------------------------------------------------------------------------------------

    def _load(self, *, sink: Any, concurrency: int = 1, **other: Any) -> Load:
        asking = answering.asking(
            self.asked, self.model, caches={}, prices=self.prices, spent=self._spent, egress=self._egress
        )
        return Load(
            task=self._prepared,
            model=self.model,
            sink=sink,
            concurrency=concurrency,
            seed=self.asked.seed,
            **{"timeout_s": answering.deadline_s(self.asked, self.model, concurrency), **asking, **other},
        )

    def _count(self, shots: Iterable[Shot]) -> None:
        """What the load used up, for the budget of the next one."""
        more = answering.spent_before([one.record for one in shots], self.prices)
        was = self._spent
        self._spent = Spent(usd=was.usd + more.usd, tokens=was.tokens + more.tokens, seconds=was.seconds + more.seconds)

    def _memory(self) -> float | None:
        """A server's memory is not seen from here."""
        return None if answering.account(self.model) else peak_memory_mb()

    def _finish(self, figures: dict[str, Any], shots: Sequence[capacity.Shot]) -> None:
        energy, n = figures["energy"], sum(one.answered for one in shots)
        figures["energy"] = None if energy is None else {
            **{"joules": energy.joules, "joules_per_doc": energy.joules / n if n else None},
            **{"provenance": energy.provenance, "source": energy.source},
        }  # fmt: skip
        self.found.loads.append(figures)
        self.say(line(figures))

    def _shots(self, shots: Sequence[Shot]) -> list[capacity.Shot]:
        return [shot(one, valid=self._valid(one.sample, one.record)) for one in shots]

    def _valid(self, sample: Sample, record: Record) -> bool:
        """Is the answer valid under the task's schema? One text for a document is judged once."""
        text = record.text
        if text is None:
            return False
        key = (sample.id, text)
        if key not in self._judged:
            metrics = self.task.score(sample, text).metrics
            self._judged[key] = bool(metrics.get("schema_valid", 1.0) == 1.0)
        return self._judged[key]


def shot(one: Shot, *, valid: bool) -> capacity.Shot:
    """A document of a load as its figures need it."""
    record, calls = one.record, one.record.calls
    done = calls[record.answer] if record.answer is not None else None
    timings = [call.timing for call in calls if call.timing]
    service = sum(each.total_s + each.backoff_s for each in timings)
    latency = service if one.due_s is None else one.ended_s - one.due_s
    final = done.timing if done else None
    usage = done.completion.usage if done and done.completion else None
    first = None if final is None or final.ttft_s is None else latency - (final.total_s - final.ttft_s)
    output = usage.output if usage else None
    after = None
    if final is not None and final.ttft_s is not None and output is not None and output > 1:
        after = (final.total_s - final.ttft_s) / (output - 1)
    parts = [] if usage is None else [usage.input_uncached, usage.cache_read, usage.cache_write]
    known = [part for part in parts if part is not None]
    return capacity.Shot(
        due_s=one.due_s,
        ended_s=one.ended_s,
        latency_s=latency,
        answered=done is not None,
        valid=valid,
        timed_out=record.error == "timeout",
        lag_s=one.lag_s,
        ttft_s=first,
        tpot_s=after,
        prompt_tokens=sum(known) if known else None,
        cached_tokens=None if usage is None else usage.cache_read,
        output_tokens=output,
    )
