"""What `compare` costs on two runs of 10,000 documents x 12 fields, slices and fields on: target 3 s.

Two run folders are written into a temporary folder (records and scores as a run writes them); `compare` then runs as a
user calls it, in a process of its own, once with `table.parquet` still to be derived and once with it there.
"""

import json
import os
import random
import subprocess
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals import store
from evals.core import Call, Completion, FieldOutcome, Outcome, Record, Score, Timing, Usage
from evals.metrics.fields import document_metrics

DOCUMENTS, FIELDS, TARGET_S = 10_000, 12, 3.0
WORDS: tuple[Outcome, ...] = ("tp", "wrong", "miss", "hall", "tn")
ABOUT: dict[str, Any] = {
    **{"task": "bench", "split": "test", "location": "own", "machine": {"usd_per_hour": 0.35, "cpu": "x", "cores": 2}},
    **{"load": "single_stream", "repeats": 1, "hashes": {"scorer": "s", "prompt": "p", "schema": "j"}, "prices": None},
    **{"dataset": {"sha256": "d"}, "processing": "online"},
}
CHILD = """
import resource, sys, time
begun = time.process_time()
from evals.cli import main
import evals.commands.compare, evals.analysis.comparing.changes, evals.analysis.comparing.gates, evals.report.junit, evals.report.markdown
import pyarrow.parquet, rich.console
imports = time.process_time() - begun
at = time.perf_counter(), time.process_time()
code = main(["compare", "baseline=old", "candidate=new", "by=[slice,field]", "out=" + sys.argv[1], "show=0"])
wall, cpu = time.perf_counter() - at[0], time.process_time() - at[1]
print(f"\\n{code} {wall} {cpu} {imports} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}")
"""


def write_run(folder: Path, option: str, right: float, seed: int) -> None:
    """One run folder; about two in three leaves are right."""
    rng, start = random.Random(seed), datetime(2026, 1, 1, tzinfo=UTC)
    weights = [right, *[(1 - right) / 4] * 4]
    with store.RunFolder(folder) as run:
        run.write("manifest.json", {**ABOUT, "option": option, "model": option, "started_at": start.isoformat()})
        for i in range(DOCUMENTS):
            seconds = rng.lognormvariate(0, 0.5)
            timing = Timing(
                started_at=(start + timedelta(seconds=2 * i)).isoformat(), queued_s=0.0, ttft_s=0.1, total_s=seconds
            )
            usage = Usage(input_uncached=900, output=120)
            done = Completion(text="{}", finish_reason="stop", usage=usage)
            call = Call(role="answer", model=option, timing=timing, completion=done)
            record = Record(sample_id=f"d{i}", repeat=0, request_hash=str(i), calls=(call,), answer=0)
            leaves = []
            for at in range(FIELDS):
                word = rng.choices(WORDS, weights)[0]
                gold, answer = f"gold {i} {at}", f"answer {i} {at}"
                leaves.append(
                    FieldOutcome(path=f"f{at}", kind="text", outcome=word, strict=word, gold=gold, answer=answer)
                )
            metrics = {**document_metrics(leaves, parsed=True), "schema_valid": 1.0}
            run.append(record)
            slice_of = {"slice": "simple" if i % 2 else "complex", "tags": ["x"], "group": None}
            run.append_score("s", record, Score(metrics=metrics, fields=tuple(leaves)), slice_of)
        run.write("summary.json", {"n": DOCUMENTS})


def measured(root: Path) -> tuple[float, ...]:
    """Exit code, wall and processor seconds, those of the imports before, and peak MB of one comparison."""
    known = {**os.environ, "EVALS_RESULTS": str(root / "results")}
    out = str(root / "out")
    done = subprocess.run([sys.executable, "-c", CHILD, out], env=known, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return tuple(map(float, done.stdout.splitlines()[-1].split()))


def main() -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        for option, right, seed in (("old", 0.70, 1), ("new", 0.71, 2)):
            write_run(root / "results" / "bench" / option / "2026-01-01T00-00-00.000000Z", option, right, seed)
        print(f"2 runs x {DOCUMENTS:,} documents x {FIELDS} fields, slices and fields on\n")
        head = f"{'exit':>4} {'wall s':>7} {'cpu s':>7} {'imports, cpu s':>15} {'peak MB':>8}"
        print(f"{'compare':37} {head}   target: {TARGET_S:g} s of one processor")
        for name in ("first: tables are derived on the way", "again", "again"):
            code, wall, cpu, imports, peak = measured(root)
            said = "met" if cpu < TARGET_S else "missed"
            print(f"{name:37} {code:4.0f} {wall:7.2f} {cpu:7.2f} {imports:15.2f} {peak:8.0f}   {said}")
        found = json.loads((root / "out" / "compare.json").read_text())
        print(
            f"\n{len(found['metrics'])} findings, {found['tests']} tests, {len(found['newly_broken']):,} newly broken"
        )


if __name__ == "__main__":
    main()
