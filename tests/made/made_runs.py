"""Run folders written by hand, with known times and outcomes."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from evals import store
from evals.core import Call, Completion, FieldOutcome, Outcome, Record, Score, Timing, Usage
from evals.metrics.fields import document_metrics

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
MANIFEST: dict[str, Any] = {
    "task": "mine",
    "option": "m+shots=2",
    "model": "m",
    "split": "test",
    "location": "own",
    "machine": {"usd_per_hour": None},
    "load": "single_stream",
    "repeats": 1,
    "hashes": {"scorer": "s1"},
}


def at(seconds: float) -> str:
    """So many seconds after the first of January, as the engine writes it."""
    return (EPOCH + timedelta(seconds=seconds)).isoformat(timespec="microseconds")


def call(start: float = 0.0, seconds: float = 1.0, *, error: str | None = None, **more: Any) -> Call:
    """One timed call; `queued` seconds of waiting come before it."""
    timing = Timing(
        started_at=at(start), queued_s=more.pop("queued", 0.0), ttft_s=more.pop("ttft", None), total_s=seconds
    )
    usage = Usage(input_uncached=more.pop("input", None), output=more.pop("output", None))
    done = None if error else Completion(text="{}", finish_reason=more.pop("finish", "stop"), usage=usage)
    return Call(role=more.pop("role", "answer"), model="m", timing=timing, completion=done, error=error, **more)


def record(name: str, *calls: Call, repeat: int = 0, **more: Any) -> Record:
    """A document's record; the last call counts, unless it failed."""
    made = calls or (call(),)
    answer = len(made) - 1 if made[-1].completion else None
    return Record(sample_id=name, repeat=repeat, request_hash=name, calls=made, answer=answer, **more)


def leaf(outcome: Outcome, **more: Any) -> FieldOutcome:
    """One field's outcome."""
    return FieldOutcome(**{"path": "who", "kind": "name", "outcome": outcome, "strict": outcome, **more})


def score(*outcomes: Outcome | FieldOutcome, parsed: bool = True) -> Score:
    """The score of a document with these field outcomes."""
    leaves = tuple(leaf(one) if isinstance(one, str) else one for one in outcomes)
    metrics = {**document_metrics(leaves, parsed=parsed), "schema_valid": float(parsed)}
    return Score(metrics=metrics, fields=leaves)


def made(
    folder: Path,
    records: Iterable[Record],
    scores: Sequence[tuple[Record, Score]] | None = None,
    *,
    complete: bool = True,
    sample: dict[str, Any] = {},
    **manifest: Any,
) -> Path:
    """A run folder; without `scores`, every record is scored as one field that is right."""
    told, about = list(records), {**MANIFEST, **manifest}
    with store.RunFolder(folder) as run:
        run.write("manifest.json", about)
        for one in told:
            run.append(one)
        for one, points in [(one, score("tp")) for one in told] if scores is None else scores:
            run.append_score(about["hashes"]["scorer"], one, points, {"tags": (), **sample})
        if complete:
            run.write("summary.json", {"n": len(told)})
    return folder


PRICES = {
    "default": {"name": "m", "input_usd_per_mtok": 2.0, "output_usd_per_mtok": 8.0, "provenance": "declared"},
    "batch": {"name": "m", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0, "provenance": "declared"},
}


def folder(root: Path, option: str, *, n: int = 20, seconds: float = 2.0, wrong: int = 4, **manifest: Any) -> Path:
    """A run of n documents, one after another; the first `wrong` of them have their field wrong."""
    told = [record(f"d{i}", call(i * seconds, seconds, input=1000 + 10 * i, output=100)) for i in range(n)]
    points = [(one, score("wrong" if i < wrong else "tp")) for i, one in enumerate(told)]
    return made(
        root / option / "run", told, points, sample={"tags": ("even",)}, option=option, model=option, **manifest
    )
