"""mu of a local model beside what a long steady stream of documents does: is it within 10 %?

`python benchmarks/capacity_local.py [model] [documents that count at a rate]`. Two fields of the first sentences of real
documents, which small models answer validly and soon. First a bench as
anybody runs it; then, in a bench of its own, half as many documents again arrive at 0.9 and at 1.1 x the mu that was found:
the first must be sustained inside the same target, the second must not. And the throughput of a run that keeps every slot
full, with its end, when they are not. Run it on a quiet machine: a model of one document a second takes about half an hour.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

MODEL = sys.argv[1] if len(sys.argv) > 1 else "smollm2_135m"
COUNT = int(sys.argv[2]) if len(sys.argv) > 2 else 200
LOWER, UPPER, MORE = 0.9, 1.1, 1.5
CHARS = 600
FIELDS = {"title": "name", "date": "date"}


def prepare(folder: Path) -> int:
    """A task of two fields, and its documents."""
    import evals

    task = folder / "tasks" / "short"
    task.mkdir(parents=True)
    (task / "task.py").write_text(
        'from evals import ExtractionTask\n\n\nclass Short(ExtractionTask):\n    name = "short"\n    version = "1"\n'
    )
    properties = {name: {"type": ["string", "null"], "maxLength": 60, "kind": kind} for name, kind in FIELDS.items()}
    (task / "schema.json").write_text(
        json.dumps({"type": "object", "properties": properties, "required": list(FIELDS)})
    )
    (task / "prompt.md").write_text("## user\nTitle and date of this contract, as JSON.\n\n{{document}}\n")
    texts = [sample.inputs["text"][:CHARS] for sample in evals.load_task("legal_extract", split="test").samples()]
    lines = [json.dumps({"id": f"d{i}", "text": text, "target": dict.fromkeys(FIELDS)}) for i, text in enumerate(texts)]
    (folder / "docs.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "configs" / "task").mkdir(parents=True)
    (folder / "configs" / "task" / "short.yaml").write_text("name: short\npath: docs.jsonl\n")
    return len(texts)


def main() -> None:
    """Print the bench, the two long loads, and the run's throughput."""
    import evals

    with tempfile.TemporaryDirectory() as name:
        os.environ.setdefault("EVALS_CACHE", str(Path(".evals").resolve()))
        os.environ["EVALS_RESULTS"] = f"{name}/results"
        documents = prepare(Path(name))
        os.chdir(name)
        source = {"model.source": "index"} if MODEL.startswith("qwen") else {}
        asked = {"task": "short", "model": MODEL, "overrides": source, "max_tokens": 100}
        found = evals.bench(**asked, documents=COUNT)
        print(found, flush=True)
        run = evals.run(**asked, cache="off", resume=False)
        steady = run.summary["throughput"]["docs_per_min"] / 60
        print(f"a run that keeps every slot full, {documents} documents: {steady:.3f} docs/s, with its end", flush=True)
        if found.result["mu_docs_per_s"]["value"] is None:
            print(f"no mu: {found.result['why']}")
            return
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
