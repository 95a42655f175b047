"""Options of an imported table: paired documents, aggregates, what a cost is of, what is missing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from real_data import TABLES

from evals import cli
from evals.analysis.deciding.options import Costs
from evals.analysis.deciding.tabled import options
from evals.errors import DataError


def read(frame: pd.DataFrame, **more: object):  # type: ignore[no-untyped-def]
    found, notes = options(frame, Costs(), draws=300, seed=0, source="t.csv", **more)  # type: ignore[arg-type]
    return {one.name: one for one in found}, notes


def documents(n: int = 30) -> pd.DataFrame:
    """Two options over n documents; b is dearer and better."""
    rows = []
    for at in range(n):
        rows.append(
            {
                "model": "a",
                "sample_id": str(at),
                "score": float(at % 3 > 0),
                "cost_usd": 0.01 + at / 1e4,
                "latency_s": 1.0 + at,
            }
        )
        rows.append({"model": "b", "sample_id": str(at), "score": 1.0, "cost_usd": 0.05, "latency_s": 2.0})
    return pd.DataFrame(rows).assign(failed=False)


def test_documents_are_paired() -> None:
    found, notes = read(documents())
    assert found["a"].quality["score"].value == pytest.approx(2 / 3) and len(found["a"].quality["score"].drawn) == 300
    price = found["a"].deployment.usd_per_doc
    assert (
        float(price.value) == pytest.approx(np.mean([0.01 + at / 1e4 for at in range(30)])) and price.low < price.high
    )
    assert price.provenance == "declared" and len(found["a"].seconds) == 30
    assert found["a"].latency_p95_s.value == pytest.approx(np.quantile(np.arange(30) + 1.0, 0.95))
    assert any("dollars a document" in note for note in notes)
    with pytest.raises(DataError, match="3 documents that every option answered are too few"):
        read(documents(3))


def test_failures_are_never_in_time() -> None:
    frame = documents()
    frame.loc[frame["model"] == "b", "failed"] = True
    assert np.isinf(read(frame)[0]["b"].seconds).all()


def test_aggregates_and_what_their_cost_is_of() -> None:
    frame = pd.DataFrame(
        {"model": ["a", "b"], "score": [0.5, 0.9], "cost_usd": [10.0, None], "n": [100, 50], "failed": False}
    )
    found, _ = read(frame, whole_run=True)
    assert float(found["a"].deployment.usd_per_doc.value) == pytest.approx(0.1)
    assert found["b"].deployment.lacking() == ["usd_per_doc"] and found["a"].quality["score"].low == pytest.approx(
        0.4193, abs=1e-3
    )
    assert float(read(frame)[0]["a"].deployment.usd_per_doc.value) == 10
    with pytest.raises(DataError, match="columns.n=COLUMN"):
        read(frame.drop(columns="n"), whole_run=True)
    with pytest.raises(DataError, match="quality=COLUMN"):
        read(frame.drop(columns="score"))


@pytest.mark.skipif(not TABLES.is_dir(), reason=f"the real tables of {TABLES} are not here")
def test_the_leaderboard(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["columns.model=model", "columns.n=test_cases", "quality=pass_rate_2", "cost=total_cost", "cost_of=run"]
    table = f"table={TABLES / 'aider_polyglot_leaderboard.jsonl'}"
    assert cli.main(["decide", table, *words, "latency=seconds_per_case", "volume=5000", "min.score=0.7"]) == 0
    printed = capsys.readouterr().out
    rows = pd.read_json(TABLES / "aider_polyglot_leaderboard.jsonl", lines=True)
    z = 1.6448536269514722
    share, n = rows["pass_rate_2"] / 100, rows["test_cases"]
    low = (share + z * z / 2 / n - z * np.sqrt(share * (1 - share) / n + z * z / 4 / n**2)) / (1 + z * z / n)
    fit = rows[(low >= 0.7) & (rows["total_cost"] > 0)]
    best = fit.loc[(fit["total_cost"] / fit["test_cases"]).idxmin()]
    usd = best["total_cost"] / best["test_cases"] * 5000
    assert f"use {best['model']}: ${usd:,.2f} a day" in printed


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("model,acc\na,0.5\n")
    for words, says in (
        (["table=none.csv", "quality=acc"], "none.csv is not there"),
        ([f"table={tmp_path / 't.csv'}", "quality=akk"], "has no column 'akk'"),
        ([f"table={tmp_path / 't.csv'}", "quality=acc", "task=legal_extract"], "either task=NAME or table=FILE"),
        ([f"table={tmp_path / 't.csv'}", "quality=acc", "min.f1=0.5"], "min.score"),
        (["scenario=request_scale", "cost=x"], "cost=... is for table=FILE"),
        ([f"table={tmp_path / 't.csv'}", "quality=acc", "cost_of=run"], "columns.n=COLUMN"),
    ):
        assert cli.main(["decide", "volume=5", *words]) == 2
        error = capsys.readouterr().err
        assert says in error and error.count("\n") == 1
