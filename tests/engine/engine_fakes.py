"""What the engine's tests share: a clock that jumps, a small task, models that do what a script says."""

import asyncio
import selectors
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from evals.core import Completion, Message, Record, Request, Sample, Score, Usage
from evals.errors import CallFailed
from evals.models.base import Mark

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):  # type: ignore[misc,valid-type]
    """Waiting moves the clock instead."""

    loop: "JumpingLoop"

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise RuntimeError("the loop would wait for ever: nothing is scheduled")
        self.loop.now += max(0.0, timeout)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose hours pass at once, in order."""

    def __init__(self) -> None:
        self.now = 1000.0
        selector = _Jump()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now


def jumping(work: Coroutine[Any, Any, T]) -> T:
    """Run with the clock that jumps."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(work)


def now() -> float:
    """The running loop's clock, which `Limiter` and `Budget` take as theirs."""
    return asyncio.get_running_loop().time()


class Plain:
    """A task that asks for the text of a sample; several texts are parts."""

    name = "plain"
    version = "1"
    split = "test"

    def __init__(self, temperature: float = 0.0) -> None:
        self.temperature = temperature

    def samples(self) -> Iterator[Sample]:
        return iter(())

    def request(self, sample: Sample) -> Request:
        texts = sample.inputs["text"]
        if isinstance(texts, str):
            return self._one(sample, texts)
        parts = tuple(self._one(sample, text) for text in texts)
        return Request(messages=(), parts=parts, temperature=self.temperature, sample_id=sample.id)

    def _one(self, sample: Sample, text: str) -> Request:
        message = Message(role="user", content=text)
        return Request(
            messages=(message,), temperature=self.temperature, sample_id=sample.id, data_class=sample.data_class
        )

    def merge(self, sample: Sample, texts: Sequence[str]) -> str:
        return "+".join(texts)

    def score(self, sample: Sample, text: str | None) -> Score:
        return Score(metrics={})


def samples(n: int, text: Any = "Text.") -> list[Sample]:
    return [Sample(id=f"d{i}", inputs={"text": text}, target=None) for i in range(n)]


Step = str | Exception | float
"""An answer, a failure, or seconds of silence."""


USED = Usage(input_uncached=2, output=1)


class Scripted:
    """Answers each request by its script: one step an attempt, the last one again and again."""

    name = "scripted"
    account = "0123456789abcdef"

    def __init__(
        self,
        script: Mapping[str, Sequence[Step]] | Callable[[Request, int], Step] = {},
        *,
        latency_s: float = 0.0,
        usage: Usage = USED,
    ) -> None:
        self.script, self.latency_s, self.usage = script, latency_s, usage
        self.sent: list[str] = []
        """The first message of each request, in the order they left."""
        self.at: list[float] = []
        self.cancelled = 0
        self.most = self.flying = 0

    async def start(self) -> Mapping[str, Any]:
        return {}

    async def close(self) -> None:
        pass

    async def generate(self, request: Request, mark: Mark) -> Completion:
        text = request.messages[0].content
        number = self.sent.count(text)
        self.sent.append(text)
        self.at.append(now())
        mark("sent")
        self.flying += 1
        self.most = max(self.most, self.flying)
        try:
            return await self._answer(request, text, number)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.flying -= 1

    async def _answer(self, request: Request, text: str, number: int) -> Completion:
        if self.latency_s:
            await asyncio.sleep(self.latency_s)
        if callable(self.script):
            step = self.script(request, number)
        else:
            steps = self.script.get(text, ["ok"])
            step = steps[min(number, len(steps) - 1)]
        if isinstance(step, Exception):
            raise step
        if isinstance(step, float):
            await asyncio.sleep(step)
            step = "late"
        return Completion(text=step, finish_reason="stop", usage=self.usage)


class Kept:
    """A sink that keeps."""

    def __init__(self) -> None:
        self.records: list[Record] = []

    def __call__(self, sample: Sample, record: Record) -> None:
        assert sample.id == record.sample_id
        self.records.append(record)

    @property
    def by_id(self) -> dict[str, Record]:
        return {record.sample_id: record for record in self.records}


def failure(kind: Any = "server", **more: Any) -> CallFailed:
    return CallFailed(kind, f"a {kind} failure", **more)
