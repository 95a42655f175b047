"""mu of a server of known capacity (4 slots x 50 ms: 80 documents a second at most) beside a long steady run's throughput.

`python benchmarks/capacity.py [seconds of each load] [documents of the run]`. The server is tests/server, a process of its
own on this machine; the run keeps 64 documents under way. Target: mu within 10 % of the run's throughput.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "tests" / "server")]
SECONDS = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
N = int(sys.argv[2]) if len(sys.argv) > 2 else 2400
SLOTS, SERVICE_MS = 4, 50
REPLY = json.dumps({"title": "Agreement", "date": "March 1, 2024", "amount": "$12,500.00"})


def main() -> None:
    """Print the bench, the run's throughput, and their ratio."""
    import fixture
    import overhead

    import evals

    with (
        tempfile.TemporaryDirectory() as name,
        fixture.start(slots=SLOTS, latency_ms=SERVICE_MS, reply=REPLY, lean=True) as server,
    ):
        os.chdir(name)
        os.environ |= {"EVALS_RESULTS": f"{name}/results", "EVALS_CACHE": f"{name}/cache", "BENCH_KEY": "sk-test"}
        overhead.prepare(Path(name), N)
        (Path(name) / "configs" / "task").mkdir(parents=True)
        (Path(name) / "configs" / "task" / "tiny.yaml").write_text(f"name: tiny\npath: docs{N}.jsonl\n")
        keys = {"id": "m", "base_url": server.openai_url, "key_env": "BENCH_KEY", "location": "own"}
        asked = {"task": "tiny", "model": "openai_compatible", "overrides": {f"model.{k}": v for k, v in keys.items()}}
        found = evals.bench(**asked, duration_s=SECONDS, target_p95_s=0.5)
        print(found)
        run = evals.run(**asked, concurrency=64, cache="off", resume=False)
        steady = run.summary["throughput"]["docs_per_min"] / 60
        mu = found.result["mu_docs_per_s"]
        most = SLOTS / (SERVICE_MS / 1000)
        print(
            f"\nmu {mu['value']:.1f} [{mu['low']:.1f}, {mu['high'] or float('nan'):.1f}] docs/s, loads of {SECONDS:g} s"
        )
        print(
            f"long steady run of {N:,} documents, 64 under way: {steady:.1f} docs/s; the server's own bound {most:.0f}"
        )
        print(f"mu is {100 * mu['value'] / steady:.1f} % of the run's throughput (target: 90 to 110 %)")


if __name__ == "__main__":
    main()
