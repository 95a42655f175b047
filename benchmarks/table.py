"""The derived table: what it costs to build, to hash and to summarise.

Builds `table.parquet` of made-up runs of 25,000 and 100,000 records (of the shape of an extraction with twelve fields),
each in a process of its own: memory must not grow with the records. Then a table of ten million rows, one file of the
row groups of the larger one again and again, is summarised by slice, as `evals.results(by="slice")` and the end of a run
do it. Targets: under 10 s and under 1 GB. Takes some two minutes.
"""

import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

SMALL, LARGE, ROWS = 25_000, 100_000, 10_000_000
SCORER = "s1"
WORDS = ["simple", "complex"]
TAGS = ["lease", "nda", "supply", "loan", "ocr_noise", "amendment", "multi_party", "relative_date"]
KINDS = ("tp", "wrong", "miss", "hall", "tn")
LEFT_OUT = {
    "gold": "Veldkamp Incorporated of Rotterdam",
    "answer": "Orwell Marine LLP, a partnership",
    "grounded": True,
}
MANIFEST = {
    **{"task": "made_up", "option": "m", "model": "m", "split": "test", "location": "own", "load": "offline"},
    **{"machine": {"usd_per_hour": None}, "repeats": 1, "hashes": {"scorer": SCORER}},
}


def make(folder: Path, count: int) -> None:
    """A run folder of so many records and scores."""
    from evals.core import FieldOutcome
    from evals.metrics.fields import document_metrics

    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(MANIFEST))
    (folder / "summary.json").write_text("{}")
    luck, began = random.Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    text = json.dumps({f"field_{i}": "a value of some length" for i in range(12)})
    with (folder / "records.jsonl").open("w") as records, (folder / f"scores-{SCORER}.jsonl").open("w") as scores:
        for at in range(count):
            name = f"document-{at:08d}"
            timing = {"started_at": (began + timedelta(milliseconds=10 * at)).isoformat(timespec="microseconds")}
            timing |= {
                "queued_s": 0.0,
                "ttft_s": luck.random() / 5,
                "total_s": luck.lognormvariate(0, 0.5),
                "loop_lag_s": 0.0,
            }
            done = {"text": text, "finish_reason": "stop", "usage": {"input_uncached": 1500, "output": 160 + at % 50}}
            call = {"role": "answer", "model": "m", "timing": timing, "completion": done}
            print(
                json.dumps({"sample_id": name, "repeat": 0, "request_hash": "h", "calls": [call], "answer": 0}),
                file=records,
            )
            told = luck.choices(KINDS, (60, 12, 12, 6, 10), k=12)
            leaves = [
                FieldOutcome(path=f"field_{i}", kind="name", outcome=one, strict=one) for i, one in enumerate(told)
            ]
            kind = WORDS[at % 3 == 0]
            line = {"sample_id": name, "repeat": 0, "sample": {"slice": kind, "tags": [kind, *luck.sample(TAGS, 2)]}}
            line["metrics"] = {**document_metrics(leaves, parsed=True), "schema_valid": 1.0}
            line["fields"] = [{"path": one.path, "kind": "name", "outcome": one.outcome, **LEFT_OUT} for one in leaves]
            print(json.dumps(line), file=scores)


def repeat(source: Path, target: Path) -> int:
    """One file of the source's row groups again and again, up to `ROWS` rows; its manifest and its stamp go along."""
    import pyarrow.parquet as pq

    target.mkdir(parents=True)
    for name in ("manifest.json", "summary.json", "records.jsonl", f"scores-{SCORER}.jsonl"):
        (target / name).hardlink_to(source / name)
    rows = 0
    with pq.ParquetFile(source / "table.parquet") as file:
        groups = [file.read_row_group(at) for at in range(file.num_row_groups)]
        with pq.ParquetWriter(target / "table.parquet", file.schema_arrow) as writer:
            while rows < ROWS:
                for group in groups:
                    writer.write_table(group.slice(0, ROWS - rows))
                    rows += min(len(group), ROWS - rows)
            writer.add_key_value_metadata({b"evals": file.metadata.metadata[b"evals"]})
    return rows


def peak_mb() -> float:
    """Most memory this process held at once."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def step(name: str, folder: Path) -> None:
    """One measurement, in a process of its own; prints it as JSON."""
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401

    from evals.analysis.tables import columnar, grouped, summary
    from evals.store import read_json

    manifest = read_json(folder / "manifest.json")
    if name == "hash":
        (folder / "records.jsonl").touch()
    made_of, before = columnar.source(folder, manifest), peak_mb()
    wall, processor = time.perf_counter(), time.process_time()
    if name == "build":
        columnar.write(folder / "table.parquet", made_of)
    elif name == "hash":
        assert columnar.holds(folder / "table.parquet", made_of)
    elif name == "grouped":
        assert len(grouped.grouped(folder, ["slice"])) == 2
    else:
        assert summary.summarise_run(folder, manifest)["n"] > 0
    times = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
    print(json.dumps({**times, "peak": peak_mb(), "before": before}))


def measured(name: str, folder: Path) -> dict[str, float]:
    """The figures of one step."""
    done = subprocess.run([sys.executable, __file__, name, str(folder)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    """Print the table."""
    print(f"{'work':52} {'rows':>11} {'wall s':>7} {'cpu s':>7} {'rows/s':>10} {'peak MB':>8} {'of it MB':>8}")

    def tell(what: str, rows: int, one: dict[str, float], verdict: str = "") -> None:
        numbers = f"{one['wall']:7.2f} {one['processor']:7.2f} {rows / one['wall']:10,.0f} {one['peak']:8.0f}"
        print(f"{what:52} {rows:11,} {numbers} {one['peak'] - one['before']:8.0f}   {verdict}")

    with tempfile.TemporaryDirectory(prefix="evals-bench-") as place:
        small, large, huge = (Path(place) / name / "run" for name in ("small", "large", "huge"))
        for folder, count in ((small, SMALL), (large, LARGE)):
            make(folder, count)
            tell("build table.parquet, streaming", count, measured("build", folder))
        tell("check it by hash (a copied folder)", LARGE, measured("hash", large))
        tell("the end of a run: summary with slices and tags", LARGE, measured("summary", large))
        rows = repeat(large, huge)
        time.sleep(2.1)  # a table as young as its sources is hashed
        for what, name in (("grouped by slice: evals.results(by=...)", "grouped"), ("the end of a run", "summary")):
            one = measured(name, huge)
            good = one["wall"] < 10 and one["peak"] < 1000
            tell(what, rows, one, f"target 10 s, 1,000 MB: {'met' if good else 'missed'}")


if __name__ == "__main__":
    step(sys.argv[1], Path(sys.argv[2])) if len(sys.argv) > 2 else main()
