"""Progress of anything longer than two seconds: a live bar on a terminal, a line now and then elsewhere. On stderr."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

FIRST_WORD_S = 2.0
LINE_EVERY_S = 10.0


class Progress:
    """Counts documents: done, failed, a minute, and how long there is to go.

    `status` adds what its owner knows: dollars so far, calls in flight, waiting ones, errors by kind. It is asked
    whenever something is shown, from another thread too.
    """

    def __init__(self, name: str, total: int | None, *, enabled: bool = True) -> None:
        self.name, self.total, self.enabled = name, total, enabled
        self.status: Callable[[], str] = str
        self.done = self.failed = self.earlier = 0
        self._began = self._fresh = time.monotonic()
        self._live = enabled and sys.stderr.isatty()
        self._next = self._began + FIRST_WORD_S
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        if self._live:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                ProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar
            from rich.text import Text

            owner = self

            class Status(ProgressColumn):  # type: ignore[misc]
                """Redrawn with the bar, also while no document ends."""

                def render(self, task: Any) -> Text:
                    return Text(owner.status())

            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
            times = (TimeElapsedColumn(), TimeRemainingColumn())
            self._bar = Bar(*columns, *times, Status(), console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self.name, total=self.total)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.stop()

    def say(self, text: str) -> None:
        """What is being done before the first document; the documents' clock starts when it is over."""
        self._fresh = time.monotonic()
        if self._bar:
            self._bar.update(self._task, description=f"{self.name}: {text}" if text else self.name)
        elif text and self.enabled:
            print(f"{self.name}: {text} ...", file=sys.stderr, flush=True)

    def advance(self, *, failed: bool = False, earlier: bool = False) -> None:
        """One more document; `earlier`: answered before an interruption, so that it says nothing of the rate."""
        self.done += 1
        self.failed += failed
        self.earlier += earlier
        if self._bar:
            word = f"{self.name} ({self.failed} failed)" if self.failed else self.name
            self._bar.update(self._task, advance=1, description=word)
        self.tick()

    def tick(self) -> None:
        """Something happened that may be worth a line, where there is no bar."""
        if self.enabled and not self._bar and time.monotonic() >= self._next:
            self._next = time.monotonic() + LINE_EVERY_S
            print(self._line(), file=sys.stderr, flush=True)

    def _line(self) -> str:
        rate = (self.done - self.earlier) / max(time.monotonic() - self._fresh, 1e-9)
        of = f"/{self.total}" if self.total else ""
        left = f", about {(self.total - self.done) / rate:.0f} s to go" if self.total and rate else ""
        failed = f", {self.failed} failed" if self.failed else ""
        more = f"; {status}" if (status := self.status()) else ""
        return f"{self.name}: {self.done}{of} documents{failed}, {rate * 60:.1f}/min{left}{more}"
