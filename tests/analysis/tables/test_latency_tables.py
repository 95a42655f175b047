"""Raw request records of four endpoints against the summaries that were published with them.

What they are: llmperf's 150 requests an endpoint, 5 in flight (a closed loop), times in seconds. What the summaries
hold: over the requests without an error code alone, quantiles linear between order statistics (type 7 of Hyndman and
Fan, numpy's default) and standard deviations with n - 1. Ours are the same definition, so they agree to the last digit;
beside each the tool gives the order-statistic interval, and for p99 of 150 no upper bound, which 150 cannot have.
What the tool answers: groq_70b is the quickest in every percentile (p95 0.94 s against 1.91, 2.72 and 3.00 s), and
together_13b, with one failure and two requests of 100 s, has the mean (2.95 s) that its p95 does not show.
"""

import json
import math
import statistics
import warnings
from pathlib import Path
from typing import Any

import pytest
import real_data

import evals
from evals.analysis.tables.imported import TableWarning, read_table
from evals.stats import mean_t, quantile

FOLDER = real_data.LLMPERF
real = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"the latency records of {FOLDER} are not here")
ENDPOINTS = ("groq_70b", "together_7b", "together_13b", "together_70b")
MEASURES = ("ttft_s", "inter_token_latency_s", "end_to_end_latency_s", "request_output_throughput_token_per_s")
COLUMNS = {"model": "endpoint", "sample_id": "request", "failed": "error_code", "latency_s": "end_to_end_latency_s"}


def records(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / f"{name}.jsonl").read_text().splitlines()]


def published(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{name}.summary.json").read_text())
    return found


def joined(folder: Path, names: tuple[str, ...] = ENDPOINTS, broken: int = 0) -> Path:
    """One table of several endpoints; of the first so many requests as `broken` says fail, as llmperf writes it."""
    path = folder / "requests.jsonl"
    lines = []
    for name in names:
        for at, row in enumerate(records(name)):
            failed = name == names[0] and at < broken
            gone = {"error_code": 429, **dict.fromkeys(MEASURES, 0)} if failed else {}
            row = {**row, **gone, "endpoint": name, "request": f"r{at}", "load": "closed_loop(5)"}
            lines.append(json.dumps({**row, "answered": row["error_code"] is None}))
    path.write_text("\n".join(lines) + "\n")
    return path


def naive_quantile(values: list[float], q: float) -> float:
    """Linear between order statistics, by hand."""
    rising = sorted(values)
    rank = (len(rising) - 1) * q
    low = math.floor(rank)
    high = min(low + 1, len(rising) - 1)
    return rising[low] + (rising[high] - rising[low]) * (rank - low)


@real
@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("name", ENDPOINTS)
def test_percentiles_are_those_that_were_published(name: str, measure: str, tmp_path: Path) -> None:
    said = published(name)
    frame, _ = read_table(joined(tmp_path, (name,)), COLUMNS)
    column = "latency_s" if measure == "end_to_end_latency_s" else measure
    values = frame.loc[~frame["failed"], column].to_numpy(float)
    assert len(values) == said["results_num_completed_requests"]
    for percent in (25, 50, 75, 90, 95, 99):
        expected = said[f"results_{measure}_quantiles_p{percent}"]
        assert quantile(values, percent / 100).value == pytest.approx(expected, rel=1e-12)
        assert naive_quantile(list(values), percent / 100) == pytest.approx(expected, rel=1e-12)
    assert mean_t(values).value == pytest.approx(said[f"results_{measure}_mean"], rel=1e-12)
    assert statistics.stdev(values) == pytest.approx(said[f"results_{measure}_stddev"], rel=1e-9)


@real
def test_an_interval_is_two_order_statistics_and_none_where_n_cannot_give_it(tmp_path: Path) -> None:
    frame, _ = read_table(joined(tmp_path, ("groq_70b",)), COLUMNS)
    rising = sorted(frame["latency_s"])
    p95, p99 = quantile(frame["latency_s"].to_numpy(), 0.95), quantile(frame["latency_s"].to_numpy(), 0.99)
    tail = [  # P(B <= k) of a binomial with n = 150, by its sum
        sum(math.comb(150, i) * 0.95**i * 0.05 ** (150 - i) for i in range(k + 1)) for k in range(150)
    ]
    low = max(k for k in range(150) if tail[k - 1] <= 0.025) if tail[0] <= 0.025 else 0
    high = min(k for k in range(1, 151) if 1 - tail[k - 1] <= 0.025)
    assert (p95.low, p95.high) == (rising[low - 1], rising[high - 1]), (low, high)
    assert math.isnan(p99.high) and p99.low < p99.value


@real
@pytest.mark.parametrize("statistic", ["p50", "p95", "mean"])
def test_the_frontier_s_latencies_are_the_published_ones(statistic: str, tmp_path: Path) -> None:
    found = evals.frontier(
        table=str(joined(tmp_path)),
        columns={**{key: COLUMNS[key] for key in ("model", "sample_id", "failed")}, "load": "load"},
        quality="answered",
        latency="end_to_end_latency_s",
        statistic=statistic,
    )
    names = {"mean": "mean", "p50": "quantiles_p50", "p95": "quantiles_p95"}
    for point in found.report["points"]:
        said = published(point["option"])
        assert point["latency"] == pytest.approx(said[f"results_end_to_end_latency_s_{names[statistic]}"], rel=1e-12)
        assert point["quality"] == pytest.approx(1 - said["results_error_rate"])
        failures = [flag for flag in point["flags"] if "failed" in flag]
        if point["option"] == "together_13b":
            assert failures == ["1 of 150 answers failed (1 %): latency is of the 149 that were timed"]
        else:
            assert failures == []
    assert found.report["objectives"][1]["load"] == "closed_loop(5)"
    assert "1 latencies of 0 are taken as not measured" in " ".join(found.report["notes"])


@real
def test_an_endpoint_where_most_requests_failed_says_so_everywhere(tmp_path: Path) -> None:
    """groq_70b with 120 of 150 refused: quick in what it answered, and that is not the whole of it."""
    path = joined(tmp_path, ("groq_70b", "together_7b"), broken=120)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", TableWarning)
        frame = evals.load_table(path, columns=COLUMNS)
    assert any("rows that failed: 'groq_70b' 120 of 150" in str(one.message) for one in told)
    mine = frame[frame["model"] == "groq_70b"]
    assert mine["failed"].sum() == 120 and mine["latency_s"].notna().sum() == 30, "an error's 0 s is no latency"
    found = evals.frontier(
        table=str(path),
        columns={key: COLUMNS[key] for key in ("model", "sample_id", "failed")},
        quality="answered",
        latency="end_to_end_latency_s",
    )
    point = next(point for point in found.report["points"] if point["option"] == "groq_70b")
    rest = [row["end_to_end_latency_s"] for row in records("groq_70b")[120:]]
    assert point["latency"] == pytest.approx(naive_quantile(rest, 0.95)) and point["latency_high"] is None
    assert point["quality"] == pytest.approx(0.2)
    said = "120 of 150 answers failed (80 %): latency is of the 30 that were timed"
    assert said in point["flags"] and "120 of 150 answers" in " ".join(str(found).split())


@pytest.mark.parametrize(
    ("word", "failed"),
    [
        ("", False),
        ("0", False),
        ("False", False),
        ("none", False),
        ("200", False),
        ("-1", True),
        ("True", True),
        ("429", True),
        ("timed out", True),
    ],
)
def test_what_counts_as_a_failure(word: str, failed: bool, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"model,id,score,err\na,x,1,{word}\na,y,0.5,\n")
    frame, notes = read_table(path, {"sample_id": "id", "failed": "err"})
    assert frame["failed"].tolist() == [failed, False]
    assert notes == (["rows that failed: 'a' 1 of 2"] if failed else [])


def test_a_failed_row_without_a_score_counts_as_zero_and_is_not_dropped(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("model,id,score,err\na,x,,1\na,y,0.5,0\nb,x,,0\nb,y,1,0\n")
    frame, notes = read_table(path, {"sample_id": "id", "failed": "err"})
    assert frame["score"].tolist()[:2] == [0.0, 0.5] and math.isnan(frame["score"][2]), "not scored is not failed"
    assert "without a score they count as 0" in " ".join(notes) and "1 rows have no score" in " ".join(notes)
