"""Start the test server and talk to it. Standard library only, so that a benchmark's process stays small.

In a test of any folder, ask for the fixture `provider` (provider_fixture.py; tests/conftest.py puts this folder on sys.path
and imports it, so nothing need be imported):

    def test_it(provider):
        provider.reset(faults={"429": 0.1}, retry_after_s=0.05)      # any setting of settings.py
        model = make(base_url=provider.openai_url, key="sk-test")
        ...
        assert provider.log()["totals"]["good"] == 20

One server lives for the whole session; the fixture resets it before each test. A test that needs its own options at the
start, or two servers, calls `fixture.start(...)` itself. Benchmarks do this:

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))
    import fixture
    with fixture.start(latency_ms=50, lean=True, reply=TEXT) as server: ...
"""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults import fault_of

__all__ = ["Server", "fault_of", "start"]
PROVIDER = Path(__file__).resolve().with_name("provider.py")


@dataclass
class Server:
    """A running test server."""

    url: str
    process: "subprocess.Popen[str]"

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI's client."""
        return self.url + "/v1"

    def log(self, documents: bool = True) -> dict[str, Any]:
        """The ledger: totals, peak in flight, and by document."""
        found: dict[str, Any] = self._call("GET", f"/_log?documents={int(documents)}")
        return found

    def last(self, n: int = 1) -> list[dict[str, Any]]:
        """The last requests, oldest first: path, document, headers (names in small letters), body."""
        found: list[dict[str, Any]] = self._call("GET", f"/_last?n={n}")
        return found

    def reset(self, **settings: Any) -> None:
        """Forget everything; the settings of the start, with these over them."""
        self._call("POST", "/_reset", settings)

    def limits(
        self, requests_per_minute: float | None = None, tokens_per_minute: float | None = None, burst_s: float = 1.0
    ) -> None:
        """Limits for each key from now on; None: none."""
        wanted = {
            "requests_per_minute": requests_per_minute,
            "tokens_per_minute": tokens_per_minute,
            "burst_s": burst_s,
        }
        self._call("POST", "/_limits", wanted)

    def faults_of(self, documents: list[str], attempt: int = 1) -> dict[str, str]:
        """Which of these documents will meet which fault, by the settings in force."""
        now = self._call("GET", "/_settings")
        found = {d: fault_of(now["seed"], d, attempt, now["faults"], now["fault_attempts"]) for d in documents}
        return {d: kind for d, kind in found.items() if kind is not None}

    def stop(self) -> None:
        """End the process."""
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.kill()
        self.process.wait(timeout=10)
        if self.process.stdout is not None:
            self.process.stdout.close()

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=30) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from None


def start(*, idle_s: float = 600.0, max_requests: int | None = None, preload: str = "all", **settings: Any) -> Server:
    """Start one; settings as in settings.py, `reply` and `replies` as they are (no file). It ends with this process.

    `preload="chat"` starts in half the time where only chat completions are asked for.
    """
    words = [sys.executable, str(PROVIDER), "--port", "0", "--idle-s", str(idle_s), "--preload", preload]
    words.append("--watch-stdin")
    if max_requests is not None:
        words += ["--max-requests", str(max_requests)]
    process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("PORT "):
        process.kill()
        process.wait()
        raise RuntimeError("the test server did not start: see its standard error")
    server = Server(url=f"http://127.0.0.1:{line.split()[1]}", process=process)
    try:
        server._call("POST", "/_start", settings)
    except ValueError:
        server.stop()
        raise
    return server
