"""mu of a local model beside what a long steady stream of documents does: is it within 10 %?

`python benchmarks/capacity_local.py [model] [seconds of each load] [documents]`. First a bench as anybody runs it; then, in
a bench of its own and five times as long, arrivals at 0.9 and at 1.1 x the mu that was found: the first must be sustained
inside the same target, the second must not. And the throughput of a run that keeps every slot full. Run it on a quiet machine.
"""

import os
import sys
import tempfile
from pathlib import Path

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2_135m"
SECONDS = float(sys.argv[2]) if len(sys.argv) > 2 else 60.0
N = int(sys.argv[3]) if len(sys.argv) > 3 else 60
LOWER, UPPER, LONGER = 0.9, 1.1, 5


def main() -> None:
    """Print the bench, the two long loads, and the run's throughput."""
    import evals

    with tempfile.TemporaryDirectory() as name:
        os.environ.setdefault("EVALS_CACHE", str(Path(".evals").resolve()))
        os.environ["EVALS_RESULTS"] = f"{name}/results"
        source = {"model.source": "index"} if MODEL.startswith("qwen") else {}
        asked = {
            "task": "legal_extract",
            "model": MODEL,
            "overrides": {**source, "task.max_chars": 1200},
            "max_tokens": 200,
            "limit": N,
        }
        found = evals.bench(**asked, duration_s=SECONDS)
        print(found)
        mu, target = found.result["mu_docs_per_s"], found.result["target"]["p95_s"]
        rates = [round(share * mu["value"], 4) for share in (LOWER, UPPER)]
        long = evals.bench(**asked, duration_s=LONGER * SECONDS, target_p95_s=target, rates=rates)
        print(long)
        run = evals.run(**asked, cache="off", resume=False)
        steady = run.summary["throughput"]["docs_per_min"] / 60
        most = f"{mu['high']:.3f}" if mu["high"] else "?"
        print(f"\nmu {mu['value']:.3f} [{mu['low']:.3f}, {most}] docs/s inside p95 <= {target:.1f} s")
        for load in long.result["loads"]:
            if load["load"] == "server":
                said = {True: "sustained", False: "not sustained", None: "void"}[load["sustained"]]
                print(f"  {load['rate_docs_per_s']:.3f} docs/s for {LONGER * SECONDS:g} s: {said}")
        print(f"a run that keeps every slot full, {N} documents: {steady:.3f} docs/s (no latency target, with its end)")


if __name__ == "__main__":
    main()
