"""What the pipeline itself costs: fake model, documents of 1 KB, everything but the model and making the documents."""

import json
import os
import resource
import sys
import tempfile
import time
from pathlib import Path

SIZES = [int(word) for word in sys.argv[1:]] or [1000, 10_000]


def prepare(folder: Path, n: int) -> None:
    """A user's task of three fields and n documents of some 1,000 characters."""
    task = folder / "tasks" / "tiny"
    task.mkdir(parents=True, exist_ok=True)
    (task / "task.py").write_text(
        'from evals import ExtractionTask\n\n\nclass Tiny(ExtractionTask):\n    name = "tiny"\n    version = "1"\n'
    )
    kinds = {"title": "name", "date": "date", "amount": "money"}
    properties = {name: {"type": ["string", "null"], "kind": kind} for name, kind in kinds.items()}
    (task / "schema.json").write_text(json.dumps({"type": "object", "properties": properties}))
    (task / "prompt.md").write_text("## user\n{{document}}\n")
    text = (
        "This Agreement of March 1, 2024 is worth $12,500.00 to both. " + "The parties shall act in good faith. " * 26
    )
    target = {"title": "Agreement", "date": "2024-03-01", "amount": "USD 12500.00"}
    with (folder / f"docs{n}.jsonl").open("w") as file:
        for i in range(n):
            file.write(json.dumps({"id": f"d{i}", "text": f"{i} {text}", "target": target}) + "\n")


def main() -> None:
    """Print a line a size: milliseconds a document, records a second, growth of the process."""
    import evals
    from evals.commands.run import run
    from evals.commands.settings.run import RunSettings

    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        os.environ["EVALS_RESULTS"] = str(Path(name) / "results")
        reply = json.dumps({"title": "Agreement", "date": "March 1, 2024", "amount": "$12,500.00"})
        model = {"_target_": "evals.models.fake.Fake", "name": "fake", "location": "own", "reply": reply}
        for n in [200, *SIZES]:
            prepare(Path(name), n)
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
            done = run(
                RunSettings(task={"name": "tiny", "path": f"docs{n}.jsonl"}, model=model, concurrency=8), progress=False
            )
            spent = time.process_time() - start
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            assert done.summary["quality"]["f1"]["value"] == 1.0
            label = "warm-up" if n == 200 else f"{n:,}"
            print(
                f"{label:>8} documents: {1000 * spent / n:.3f} ms a document (CPU), peak memory grew {grown:.0f} MB",
                flush=True,
            )
        print(f"target: under 1 ms a document, under 50 MB at 10,000; evals {evals.__version__}")


if __name__ == "__main__":
    main()
