"""History: real changes marked, unlike runs told apart, and another model behind the same name called out."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import call, made, record, score
from scipy import stats

from evals.analysis.comparing import history
from evals.analysis.comparing.baseline import read_side, save_reference
from evals.commands.history import History
from evals.core import Call, Completion, Outcome
from evals.errors import StoreError
from evals.store import results_root

HASHES = {"scorer": "s1", "prompt": "p1", "schema": "j1"}


def answered(i: int, **served: Any) -> Call:
    """A call whose server says who it is."""
    done = Completion(text="{}", finish_reason="stop", served_by=served)
    return Call(role="answer", model="m", timing=call(float(i)).timing, completion=done)


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a run of option `m` whose documents below `wrong` are wrong."""
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))

    def write(day: int, wrong: int = 0, n: int = 60, model: str = "m-1", fingerprint: str = "fp1", **more: Any) -> Path:
        named = [(record(f"d{i}", answered(i, model=model, fingerprint=fingerprint)), i) for i in range(n)]
        outcome: Callable[[int], Outcome] = lambda i: "wrong" if i < wrong else "tp"  # noqa: E731
        scored = [(one, score(outcome(i), "tp")) for one, i in named]
        stamp = f"2026-01-{day:02d}T00-00-00.000000Z"
        about = {"option": "m", "hashes": HASHES, "dataset": {"sha256": "x"}, "started_at": stamp} | more
        return made(results_root() / "mine" / str(about["option"]) / stamp, [one for one, _ in named], scored, **about)

    return write


def test_a_real_change_is_marked_and_chance_is_not(runs: Callable[..., Path]) -> None:
    runs(1, wrong=10)
    runs(2, wrong=12)
    runs(3, wrong=40)
    first, second, third = history.history(history.load("mine"))
    assert first["step"] == "first" and not second["changes"] and second["step"] == "60 documents in common"
    assert [change.split()[0] for change in third["changes"]] == ["f1", "exact"]
    raw = [second["p"]["f1"], second["p"]["exact"], third["p"]["f1"], third["p"]["exact"]]
    assert raw[3] == pytest.approx(stats.binomtest(0, 28).pvalue) and raw[1] == pytest.approx(
        stats.binomtest(0, 2).pvalue
    )
    holm, worst = {}, 0.0
    for rank, p in enumerate(sorted(raw)):  # the definition, step by step
        worst = holm[p] = max(worst, min(1.0, (4 - rank) * p))
    assert [third["p_holm"][name] for name in ("f1", "exact")] == pytest.approx([holm[raw[2]], holm[raw[3]]])
    assert third["f1"]["value"] == pytest.approx((40 * 1 + 20 * 2) / 120) and third["f1"]["low"] < third["f1"]["value"]


def test_another_prompt_is_no_change_of_the_model(runs: Callable[..., Path]) -> None:
    runs(1)
    runs(2, wrong=50, hashes={**HASHES, "prompt": "p2"})
    _, second = history.history(history.load("mine"))
    assert second["step"] == "not comparable: other prompt" and not second["changes"]


def test_another_model_or_fingerprint_behind_one_name_is_called_out(runs: Callable[..., Path]) -> None:
    runs(1)
    runs(2, fingerprint="fp2")
    runs(3, fingerprint="fp2", model="m-2")
    found = history.history(history.load("mine"))
    assert [row["served"] for row in found] == [
        [],
        ["m: the fingerprint changed from fp1 to fp2"],
        ["m: the served model changed from m-1 to m-2"],
    ]
    shown = str(History(rows=found))
    assert "! m 2026-01-03" in shown and "the served model changed from m-1 to m-2" in shown


def test_two_models_inside_one_run_are_seen(runs: Callable[..., Path]) -> None:
    path = runs(1)
    text = (path / "records.jsonl").read_text().splitlines()
    (path / "records.jsonl").write_text("\n".join([text[0].replace("fp1", "fp9"), *text[1:]]) + "\n")
    (row,) = history.history(history.load("mine"))
    assert history.mixed(row) == ["fingerprint changed during the run: fp1, fp9"]


def test_options_are_kept_apart_and_the_reference_is_a_run_that_is_gone(runs: Callable[..., Path]) -> None:
    first = runs(1, wrong=30)
    save_reference(read_side(first))
    assert len(history.load("mine")) == 1, "the reference is the run itself"
    for path in first.iterdir():
        path.unlink()
    first.rmdir()
    runs(2, wrong=0)
    runs(1, wrong=0, option="other")
    found = history.history(history.load("mine"))
    assert [row["option"] for row in found] == ["m", "m", "other"]
    assert found[1]["changes"] and found[2]["step"] == "first"
    assert [row["option"] for row in history.history(history.load("mine", option="other"))] == ["other"]


def test_no_run_is_one_line(runs: Callable[..., Path]) -> None:
    with pytest.raises(StoreError, match="no complete run of task=mine"):
        history.load("mine")


def spent(results: Path, day: int, seconds: float, usd: float, n: int, **more: Any) -> None:
    """A run of an API whose documents take so many seconds and tokens, each a little more or less."""
    rng = np.random.default_rng(day)
    calls = [call(20.0 * i, seconds * rng.lognormal(0, 0.1), input=int(1e6 * usd), output=1) for i in range(n)]
    records = [record(f"d{i}", one) for i, one in enumerate(calls)]
    stamp = f"2026-01-{day:02d}T00-00-00.000000Z"
    price = {"name": "p", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0, "provenance": "declared"}
    about = {"option": "m", "hashes": HASHES, "dataset": {"sha256": "x"}, "started_at": stamp, "location": "api"}
    scored = [(one, score("tp", "tp")) for one in records]
    made(results_root() / "mine" / "m" / stamp, records, scored, **{**about, "prices": {"default": price}, **more})


def test_a_change_of_latency_and_of_dollars_is_marked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
    for day, seconds, usd in ((1, 1.0, 0.01), (2, 1.0, 0.01), (3, 2.0, 0.02)):
        spent(tmp_path, day, seconds, usd, 200)
    spent(tmp_path, 4, 9.0, 0.02, 200, load="server(2/s)")
    spent(tmp_path, 5, 1.0, 0.02, 100, load="server(2/s)")
    rows = history.history(history.load("mine"))
    marked = [[change.split()[0] for change in row["changes"]] for row in rows]
    assert marked == [[], [], ["p95_s", "cost"], [], []]  # then an unlike load, and too few for p95
    assert rows[2]["difference"]["p95_s"][0] == pytest.approx(1.0, abs=0.15)
    assert rows[2]["changes"][1].startswith("cost +100.0 %") and "\u25b2 p95_s" in str(History(rows=rows))
