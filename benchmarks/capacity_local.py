"""mu of a local model beside what a long steady stream of documents does: is it within 10 %?

`python benchmarks/capacity_local.py [model] [documents that count at a rate] [different documents]`. First a bench as
anybody runs it; then, in a bench of its own, half as many documents again arrive at 0.9 and at 1.1 x the mu that was found:
the first must be sustained inside the same target, the second must not. And the throughput of a run that keeps every slot
full, which mu cannot exceed. Run it on a quiet machine: a model of 0.5 documents a second takes about an hour.
"""

import os
import sys
import tempfile
from pathlib import Path

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2_135m"
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 200
N = int(sys.argv[3]) if len(sys.argv) > 3 else 60
LOWER, UPPER, MORE = 0.9, 1.1, 1.5


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
            "overrides": {**source, "task.max_chars": 500},
            "max_tokens": 200,
            "limit": N,
        }
        found = evals.bench(**asked, documents=COUNT)
        print(found, flush=True)
        run = evals.run(**asked, cache="off", resume=False)
        steady = run.summary["throughput"]["docs_per_min"] / 60
        print(f"a run that keeps every slot full, {N} documents: {steady:.3f} docs/s, with its end", flush=True)
        mu, target = found.result["mu_docs_per_s"], found.result["target"]["p95_s"]
        rates = [round(share * mu["value"], 4) for share in (LOWER, UPPER)]
        long = evals.bench(**asked, documents=round(MORE * COUNT), target_p95_s=target, rates=rates)
        print(long)
        most = f"{mu['high']:.3f}" if mu["high"] else "?"
        print(f"\nmu {mu['value']:.3f} [{mu['low']:.3f}, {most}] docs/s inside p95 <= {target:.1f} s")
        for load in long.result["loads"]:
            if load["load"] == "server":
                said = {True: "sustained", False: "not sustained", None: "void"}[load["sustained"]]
                share = load["share"]
                print(
                    f"  {load['rate_docs_per_s']:.3f} docs/s for {load['seconds']:.0f} s: {said}, {load['n']} documents, "
                    f"{share['n']} of them count, {100 * share['value']:.1f} % in time"
                )
        print(f"  a run that keeps every slot full: {steady:.3f} docs/s")


if __name__ == "__main__":
    main()
