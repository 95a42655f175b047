"""Nothing lost, nothing paid twice: a run against a server that fails on purpose, and runs that are killed.

`python benchmarks/resilience.py [n] [kills]`. The server keeps its own ledger of what it answered and billed, by document;
the tool's records and summary are held against it. Every kill is a SIGKILL at a random moment, then the same command.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "server")]
FAULTS = {"429": 0.05, "500": 0.01, "hang": 0.005, "truncated": 0.005, "unreadable": 0.005}
IN_FLIGHT = 64


def command(n: int, url: str, *more: str) -> list[str]:
    """The tool as a user calls it."""
    words = [sys.executable, "-m", "evals", "run", "task=tiny", f"task.path=docs{n}.jsonl", "model=openai_compatible"]
    words += ["model.id=m", f"model.base_url={url}", "model.key_env=BENCH_KEY", "stream=false"]
    words += ["model.price.input_usd_per_mtok=1", "model.price.output_usd_per_mtok=2"]
    return [*words, f"concurrency={IN_FLIGHT}", *more]


def answers(folder: Path) -> dict[str, tuple[str, str | None]]:
    """Sample -> (request hash, text): what must not depend on how often a run was killed."""
    from evals import store

    return {key[0]: (record.request_hash, record.text) for key, record in store.answered(folder).items()}


def faulty(n: int, server: Any, folder: Path) -> None:
    """One run through faults: print the server's ledger beside the tool's."""
    import wire

    from evals import load_runs

    server.reset(latency_ms=50, lean=True, reply=wire.ANSWER, faults=FAULTS, retry_after_s=0.2, seed=1)
    began = time.monotonic()
    done = subprocess.run(
        command(n, server.openai_url, "attempt_timeout_s=2"), cwd=folder, capture_output=True, text=True
    )
    took = time.monotonic() - began
    if done.returncode not in (0, 4):
        raise SystemExit(done.stderr)
    log = server.log()
    run = next(iter((folder / "results").rglob("summary.json"))).parent
    summary, frame = json.loads((run / "summary.json").read_text()), load_runs(run)
    twice = sum(entry["good"] > 1 for entry in log["documents"].values())
    bad = sum(log["totals"]["faults"].get(kind, 0) for kind in ("truncated", "unreadable"))
    print(f"{n:,} documents, faults met {log['totals']['faults']}")
    print(f"  exit code {done.returncode}, answered {n - summary['failed']:,} of {n:,}, {took:.1f} s in all")
    print(f"  good answers bought twice: {twice} (target 0)")
    print(
        f"  bought again after an unreadable body: {bad} by the server, {frame['wasted_assumed'].sum():.0f} in the ledger"
    )
    print(f"  wasted ${summary['cost']['wasted']:.6f} of ${summary['cost']['notional']:.6f}; {summary['cost']['note']}")


def killed(n: int, kills: int, server: Any, folder: Path) -> None:
    """Kill and go on, again and again: print the worst."""
    import wire

    server.reset(latency_ms=50, lean=True, reply=wire.ANSWER)
    subprocess.run(command(n, server.openai_url, "seed=0"), cwd=folder, capture_output=True, check=True)
    (reference,) = (path.parent for path in (folder / "results").rglob("summary.json"))
    expected, drawn = answers(reference), random.Random(0)
    worst, same, cut = 0, 0, 0
    for number in range(kills):
        server.reset(latency_ms=50, lean=True, reply=wire.ANSWER)
        root = folder / f"killed{number}"
        env = {**os.environ, "EVALS_RESULTS": str(root), "EVALS_CACHE": str(root / "cache")}
        process = subprocess.Popen(
            command(n, server.openai_url), cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = drawn.randrange(1, n)
        while process.poll() is None and server.log(documents=False)["totals"]["good"] < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        process.wait()
        cut += 0 < server.log(documents=False)["totals"]["good"] < n
        subprocess.run(command(n, server.openai_url), cwd=folder, env=env, capture_output=True, check=True)
        again = sum(max(entry["received"] - 1, 0) for entry in server.log()["documents"].values())
        worst = max(worst, again)
        (run,) = (path.parent for path in root.rglob("summary.json"))
        same += answers(run) == expected
    print(
        f"{kills} runs of {n:,} documents killed ({cut} of them in the middle) and gone on with, {IN_FLIGHT} in flight:"
    )
    print(
        f"  sent again at most {worst} (target at most {IN_FLIGHT}); records equal an uninterrupted run's: {same} of {kills}"
    )


def main(n: int = 2000, kills: int = 20) -> None:
    """Both parts, in a folder of their own."""
    import fixture
    import wire

    os.environ["BENCH_KEY"] = "k"
    with tempfile.TemporaryDirectory() as name, fixture.start(preload="chat") as server:
        for part, size in (("faulty", n), ("killed", 600)):
            folder = Path(name) / part
            folder.mkdir()
            wire.prepare(folder, size)
            (folder / "configs" / "task").mkdir(parents=True)
            (folder / "configs" / "task" / "tiny.yaml").write_text(
                "name: tiny\npath: null\nmax_chars: null\ntruncate: middle\n"
            )
            os.environ |= {"EVALS_RESULTS": str(folder / "results"), "EVALS_CACHE": str(folder / "cache")}
            faulty(size, server, folder) if part == "faulty" else killed(size, kills, server, folder)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:3]))
