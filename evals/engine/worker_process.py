"""One spawned process, its pipe, and the two threads that speak with it: neither a long document nor a child that is busy
ever holds up the event loop."""

import atexit
import contextlib
import multiprocessing
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from evals.engine.worker_child import main
from evals.errors import UserError, WeightsError
from evals.models.base import Batched, InProcess

Factory = Callable[[], InProcess | Batched]
CLOSE_S = 5.0
_SPAWN = multiprocessing.get_context("spawn")


class Process:
    """A child of this process, which holds the library that `factory` builds there; `first`: what another child of the
    same model said when it was loaded."""

    def __init__(self, factory: Factory, name: str, log: Path | None, first: Mapping[str, Any] | None = None) -> None:
        try:
            # Pickled here, opened there once the output is redirected: imports may already print.
            self._factory = pickle.dumps(factory)
        except Exception as error:
            raise UserError(f"{name}: the model's factory cannot be sent to another process: {error}") from None
        self._name = name
        self._log = str(log) if log else None
        self._first = first
        self._outbox: SimpleQueue[Any] = SimpleQueue()
        self.pid: int | None = None

    def start(self, hear: Callable[[tuple[Any, ...]], None]) -> None:
        """Spawn, and call `hear` from a thread with every message; the last is `("died", text)`."""
        ours, theirs = _SPAWN.Pipe()
        self._pipe: Connection = ours
        self._process = _SPAWN.Process(
            target=main, args=(theirs, self._factory, self._log, self._first), name=f"evals {self._name}"
        )
        try:
            with _sigint_held():
                self._process.start()
        except OSError as error:
            ours.close()
            raise WeightsError(f"{self._name}: no process can be started: {error}") from None
        finally:
            theirs.close()
        self.pid = self._process.pid
        # A parent that ends without `close` must not wait for its child for ever, as multiprocessing would.
        atexit.register(self.stop, 1.0)
        self._speaker = threading.Thread(target=self._speak, name=f"to evals {self._name}", daemon=True)
        self._speaker.start()
        threading.Thread(target=self._listen, args=(hear,), name=f"evals {self._name}", daemon=True).start()

    def send(self, message: tuple[Any, ...]) -> None:
        """Never waits. A dead child cannot be told anything: its listener reports the death."""
        self._outbox.put(ForkingPickler.dumps(message))

    def stop(self, patience_s: float) -> None:
        """Let it end by itself for `patience_s`, then terminate it, then kill it. Blocking."""
        self.send(("close",))
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.terminate()
            self._process.join(1.0)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        atexit.unregister(self.stop)

    def _speak(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while (data := self._outbox.get()) is not None:
                self._pipe.send_bytes(data)

    def _listen(self, hear: Callable[[tuple[Any, ...]], None]) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                hear(self._pipe.recv())
        self._outbox.put(None)
        self._speaker.join()  # before the pipe's number is free for another file
        self._pipe.close()
        self._process.join(CLOSE_S)
        hear(("died", _how(self._process.exitcode)))


def _how(exitcode: int | None) -> str:
    """An exit code in words."""
    if exitcode is None:
        return "the worker closed its pipe"
    if exitcode >= 0:
        return f"the worker ended with exit code {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    hint = {"SIGKILL": " (killed, perhaps for want of memory)", "SIGILL": " (built for another CPU?)"}.get(name, "")
    return f"the worker died of {name}{hint}"


@contextlib.contextmanager
def _sigint_held() -> Iterator[None]:
    """The child inherits a held SIGINT and drops it for good once it runs: no traceback from a Ctrl-C at its start."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
