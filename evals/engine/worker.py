"""An in-process library in spawned children, seen from the engine as a `Model`.

A native crash, a kill for memory or an endless load ends a child and never the run: every request in flight there
becomes `CallFailed("crashed")`, and the child is started again, at most `MAX_RESTARTS` times.

How many requests a child takes at once, and how many children of one model there are, is what the library says once it
is loaded (`capacity`). Each child is a `Lane`: it dies, is started again and fails its own requests alone.
"""

import asyncio
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evals.core import Completion, Request
from evals.engine.worker_lane import Lane, count, differing
from evals.engine.worker_process import Factory
from evals.errors import CallFailed, EvalsError, WeightsError
from evals.models.base import Mark


class Worker:
    """A `Model` whose library lives in spawned children.

    `factory` is picklable and builds the library's `InProcess` or `Batched` in a child. What the children and their C
    libraries print goes to the file `log`, or nowhere. `start_timeout_s` is for the loading of each, which may have to
    measure settings first.
    """

    def __init__(self, factory: Factory, *, name: str, start_timeout_s: float = 1800, log: Path | None = None) -> None:
        self.name = name
        self._factory, self._start_timeout_s, self._log = factory, start_timeout_s, log
        self._ids = itertools.count(1)
        self._turn = asyncio.Lock()
        """Held by the request that is next."""
        self._changed = asyncio.Event()
        self._lanes = [self._lane()]

    def _lane(self) -> Lane:
        return Lane(
            self._factory,
            name=self.name,
            start_timeout_s=self._start_timeout_s,
            log=self._log,
            changed=self._changed.set,
        )

    @property
    def pids(self) -> list[int]:
        """Process ids of the children that live."""
        return [lane.pid for lane in self._lanes if lane.pid is not None]

    @property
    def restarts(self) -> int:
        """How often a child was started again."""
        return sum(lane.restarts for lane in self._lanes)

    async def start(self) -> Mapping[str, Any]:
        """Load the weights: what the first child says, with the `capacity` that there really is.

        The library's own `EvalsError` comes back as itself. A further process that cannot load, or says otherwise of what
        it loaded, is done without: the log and `capacity.lost` say why.
        """
        first = self._lanes[0]
        facts = dict(await first.launch(self._start_timeout_s))
        further = [self._lane() for _ in range(count(facts, "processes") - 1)]
        self._lanes += further
        lost = await asyncio.gather(*(self._joined(lane, facts) for lane in further))
        self._lanes = [lane for lane in self._lanes if lane.dead is None]
        if not first.batched and "capacity" not in facts:
            return facts
        at_once = sum(lane.slots for lane in self._lanes)
        found = {"slots": first.slots, "processes": len(self._lanes), "at_once": at_once}
        why = list(dict.fromkeys(text for text in lost if text))
        return facts | {"capacity": {**(facts.get("capacity") or {}), **found, **({"lost": why} if why else {})}}

    async def _joined(self, lane: Lane, facts: Mapping[str, Any]) -> str | None:
        """Load the same weights beside the first child; why that was in vain."""
        try:
            said = await lane.launch(self._start_timeout_s, facts)
            if other := differing(facts, said):
                raise WeightsError(f"{self.name}: it says otherwise of {', '.join(other)} than the first process")
        except EvalsError as error:
            lane.tell(f"a further process is used no more: {error}")
            await lane.close(str(error))
        return lane.dead

    async def generate(self, request: Request, mark: Mark) -> Completion:
        """One answer. Requests begin in the order in which they came."""
        lane = await self._free()
        return await lane.ask(next(self._ids), request, mark)

    async def close(self) -> None:
        """End all children, side by side."""
        await asyncio.gather(*(lane.close("the worker is closed") for lane in self._lanes))

    async def _free(self) -> Lane:
        """The child with the fewest requests in flight; where none has room, those that died are started again."""
        async with self._turn:
            while True:
                self._changed.clear()
                if free := [lane for lane in self._lanes if lane.room]:
                    return min(free, key=lambda lane: lane.in_flight)
                if all(lane.dead for lane in self._lanes):
                    raise CallFailed("crashed", self._lanes[0].dead or f"{self.name}: no worker")
                for lane in self._lanes:
                    lane.revive()
                await self._changed.wait()
