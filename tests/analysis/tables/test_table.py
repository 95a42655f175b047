"""Stored runs as one table: what DESIGN promises a reader, against sums done by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from made_runs import at, call, leaf, made, record, score

import evals
from evals import store
from evals.analysis.tables import columnar
from evals.analysis.tables.rows import FrameRows, busy_seconds
from evals.core import Call, Completion, Price, Usage
from evals.errors import StoreError

PROMISED = "sample_id option model score cost_usd latency_s failed tp wrong miss hall tn f1 f1_strict exact exact_strict schema_valid".split()
OPTIONAL = "slice group repeat data_class".split()
MS = st.integers(0, 20_000)


def test_every_promised_column_is_there_with_its_type(tmp_path: Path) -> None:
    frame = evals.load_runs(made(tmp_path / "r", [record("a"), record("b", call(error="server"))]))
    assert (
        set(PROMISED + OPTIONAL) <= set(frame.columns) and frame.columns[:4].tolist() == "run task option model".split()
    )
    assert frame["failed"].dtype == bool and frame["failed"].tolist() == [False, True]
    numbers = [name for name in PROMISED if name not in ("sample_id", "option", "model", "failed")]
    assert all(frame[name].dtype == np.float64 for name in numbers)
    assert frame[["option", "model", "task"]].drop_duplicates().values.tolist() == [["m+shots=2", "m", "mine"]]


def test_runs_are_found_by_folder_by_glob_and_by_list_oldest_first(tmp_path: Path) -> None:
    root = tmp_path / "results"
    late = made(root / "mine" / "m" / "2026-01-02", [record("late")])
    early = made(root / "mine" / "n" / "2026-01-01", [record("early"), record("early2")])
    made(root / "mine" / "m" / "2026-01-03", [record("unfinished")], complete=False)
    both = ["early", "early2", "late"]
    for where in (root, str(root), f"{root}/**", f"{root}/mine/*/*", [late, early], f"{root}/mine/*/*/summary.json"):
        assert evals.load_runs(where)["sample_id"].tolist() == both, where
    assert evals.load_runs(f"{root}/**/2026-01-02")["sample_id"].tolist() == ["late"]
    assert evals.load_runs([early, early, root])["run"].value_counts().to_dict() == {str(early): 2, str(late): 1}


def test_no_complete_run_is_a_store_error(tmp_path: Path) -> None:
    made(tmp_path / "r", [record("a")], complete=False)
    for where in (tmp_path, tmp_path / "nowhere", f"{tmp_path}/**"):
        with pytest.raises(StoreError, match=r"no complete run is found at .*manifest\.json and summary\.json"):
            evals.load_runs(where)


def test_a_row_says_what_the_record_and_its_score_say(tmp_path: Path) -> None:
    first = call(1, 2, error="timeout", role="retry", queued=0.25, ttft=0.5)
    last = call(4, 1.5, queued=0.5, ttft=0.125, input=10, output=7, finish="length")
    told = score("tp", "wrong", "hall", leaf("tp", strict="wrong"))
    about = {"slice": "simple", "tags": ("simple", "ocr"), "group": "g", "data_class": "internal", "chars": 99}
    one = record("a", first, last, repeat=2, truncated_chars=3)
    row = evals.load_runs(made(tmp_path / "r", [one], [(one, told)], sample=about)).iloc[0]
    expected = {
        **{"repeat": 2, "slice": "simple", "group": "g", "data_class": "internal", "chars": 99, "truncated_chars": 3},
        **{"latency_s": 3.5, "queued_s": 0.75, "ttft_s": 0.125, "started_at": at(1), "calls": 2, "failed": False},
        **{"input_tokens": 10, "output_tokens": 7, "finish_reason": "length", "cached": False, "error": None},
        **{"tp": 2, "wrong": 1, "miss": 0, "hall": 1, "tn": 0, "strict_tp": 1, "f1": 4 / 7, "score": 4 / 7, "exact": 0},
    }
    assert {name: None if row[name] is None or row[name] != row[name] else row[name] for name in expected} == expected
    assert list(row["tags"]) == ["simple", "ocr"]


def test_what_was_not_measured_is_missing_and_not_zero(tmp_path: Path) -> None:
    told = Call(role="answer", model="m", completion=Completion(text="{}", finish_reason="stop"))
    one = record("a", told)
    row = evals.load_runs(made(tmp_path / "r", [one], [(one, score())])).iloc[0]
    names = "latency_s queued_s ttft_s started_at input_tokens output_tokens cost_usd slice group f1 score".split()
    assert row[names].isna().all() and row["tp"] == 0.0


@pytest.mark.parametrize("block", [1, 2, 2000])
def test_records_in_another_order_than_their_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(columnar, "BLOCK", block)
    monkeypatch.setattr(columnar, "ROW_GROUP", block)
    told = [record(name, call(seconds=i)) for i, name in enumerate("abcde")]
    mixed = [(told[i], score(*["tp"] * (i + 1))) for i in (3, 0, 4, 2, 1)]
    folder = made(tmp_path / "r", told, mixed)
    frame = evals.load_runs(folder)
    assert frame["sample_id"].tolist() == list("daecb"), "in the order of the scores"
    assert (frame["tp"] == frame["latency_s"] + 1).all(), "each score beside its own record"
    groups = pq.ParquetFile(folder / "table.parquet").metadata
    assert groups.row_group(0).num_rows == min(block, 5), "no more rows than a block are held at once"


def test_a_record_that_was_asked_again_counts_once_and_a_score_without_record_not_at_all(tmp_path: Path) -> None:
    lost, bad, good, other = record("lost"), record("a", call(error="server")), record("a"), record("b")
    frame = evals.load_runs(made(tmp_path / "r", [bad, other, good], [(r, score("tp")) for r in (lost, other, good)]))
    assert frame["sample_id"].tolist() == ["b", "a"] and not frame["failed"].any()


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    told = [record("a", call(0, 3, ttft=0.5)), record("b", call(3, 1, finish="length"))]
    folders = [made(tmp_path / name, told, machine={"usd_per_hour": 3600}) for name in ("r", "s")]
    whole = evals.load_runs(folders)
    for names in (["score"], ["wasted_usd", "tags"], ["load", "latency_s", "option", "latency_s"], ["cost_usd"], []):
        found = evals.load_runs(folders, columns=names)
        kept = [name for name in dict.fromkeys(names) if name != "option"]
        assert found.columns.tolist() == ["run", "task", "option", "model", *kept]
        pd.testing.assert_frame_equal(found, whole[found.columns])
    with pytest.raises(StoreError, match="columns: 'latency' is no column of the table; did you mean latency_s"):
        evals.load_runs(folders, columns=["latency"])


def test_cost_is_the_price_of_busy_seconds_shared_by_latency(tmp_path: Path) -> None:
    told = [record("a", call(0, 3)), record("b", call(1, 1)), record("c", call(100, 4))]
    free = made(tmp_path / "free", told)
    own = made(tmp_path / "own", told, machine={"usd_per_hour": 3600})
    rented = made(tmp_path / "api", told, machine={"usd_per_hour": 3600}, location="api")
    assert evals.load_runs(own)["cost_usd"].tolist() == pytest.approx([7 * 3 / 8, 7 / 8, 7 * 4 / 8])
    assert evals.load_runs([free, rented])["cost_usd"].isna().all(), "no price, or not our machine: unknown, not 0"
    cut = [record("a", call(0, 3)), record("b", call(3, 1, finish="length")), record("c", call(4, 4, error="timeout"))]
    priced = evals.load_runs(made(tmp_path / "cut", cut, machine={"usd_per_hour": 3600}))
    assert priced["wasted_usd"].tolist() == pytest.approx([0, 1, 4]), "cut and failed answers were paid for nothing"


PRICE = Price(name="m", input_usd_per_mtok=1e6, output_usd_per_mtok=1e7)
"""A dollar a token that is read, ten a token that is written."""
GOOD = {"input": 3, "output": 2}


@pytest.mark.parametrize(
    ("calls", "cost", "notional", "wasted", "assumed", "unknown"),
    [
        ([call(**GOOD)], 23, 23, 0, 0, 0),
        ([call(error="server"), call(**GOOD, role="retry")], 23, 23, 0, 0, 0),
        ([call(error="timeout", usage=Usage(input_uncached=3, output=0)), call(**GOOD)], 26, 26, 3, 0, 0),
        ([call(error="timeout"), call(**GOOD)], 23, 23, 0, 0, 1),
        ([call(error="bad_body"), call(**GOOD)], 46, 46, 23, 1, 0),
        ([call(**GOOD, finish="length")], 23, 23, 23, 0, 0),
        ([call(**GOOD, cached=True)], 23, 23, 0, 0, 0),
        ([call(error="rate_limit")], 0, 0, 0, 0, 0),
        ([call(output=2)], np.nan, np.nan, 0, 0, 0),
    ],
)
def test_a_remote_record_costs_the_usage_of_all_its_attempts(
    tmp_path: Path, calls: list[Call], cost: float, notional: float, wasted: float, assumed: int, unknown: int
) -> None:
    about = {"location": "api", "prices": {"default": store.plain(PRICE)}}
    (row,) = evals.load_runs(made(tmp_path / "r", [record("a", *calls)], **about)).to_dict("records")
    names = ("cost_usd", "notional_usd", "wasted_usd", "wasted_assumed", "wasted_unknown")
    assert [row[k] for k in names] == pytest.approx([cost, notional, wasted, assumed, unknown], nan_ok=True)


@given(st.lists(st.tuples(st.integers(0, 60_000), MS, MS, st.sampled_from(["fresh", "cached", "untimed"])), max_size=8))
@example([(0, 0, 10, "fresh"), (5, 0, 1, "fresh"), (20, 5, 5, "fresh"), (7, 0, 90, "cached")])
def test_busy_seconds_is_the_length_of_the_union(spans: list[tuple[int, int, int, str]]) -> None:
    busy = {ms for start, queued, took, kind in spans if kind == "fresh" for ms in range(start, start + queued + took)}
    frame = pd.DataFrame(
        {
            "started_at": [None if kind == "untimed" else at(start / 1000) for start, _, _, kind in spans],
            "queued_s": [queued / 1000 or None for _, queued, _, _ in spans],
            "latency_s": [None if kind == "untimed" else took / 1000 for _, _, took, kind in spans],
            "cached": [kind == "cached" for _, _, _, kind in spans],
        }
    ).astype({"started_at": "str", "queued_s": float, "latency_s": float, "cached": bool})
    some = any(kind == "fresh" for *_, kind in spans)
    assert busy_seconds(FrameRows(frame)) == (pytest.approx(len(busy) / 1000, abs=1e-5) if some else None)


def test_fields_are_one_row_a_leaf(tmp_path: Path) -> None:
    leaves = [
        leaf("tp", path="days", kind="number", gold=30, answer="thirty", strict="wrong", grounded=True),
        leaf("miss", path="parties[].name", gold="Acme"),
        leaf("wrong", path="when", kind="date", gold="2024-03-01", answer="03/01/2024", note="ambiguous date"),
    ]
    told = [record("a"), record("b", repeat=1)]
    folder = made(tmp_path / "r", told, [(told[0], score(*leaves)), (told[1], score("tn"))], sample={"slice": "simple"})
    frame = evals.load_runs(folder, fields=True)
    assert frame["sample_id"].tolist() == ["a", "a", "a", "b"] and frame["repeat"].tolist() == [0, 0, 0, 1]
    assert frame["outcome"].tolist() == ["tp", "miss", "wrong", "tn"] and frame["strict"].iloc[0] == "wrong"
    assert frame["path"].tolist()[:3] == ["days", "parties[].name", "when"] and set(frame["slice"]) == {"simple"}
    assert frame.loc[0, ["gold", "answer"]].tolist() == ["30", "thirty"], "gold of any type is shown as text"
    assert frame["answer"].isna().tolist() == [False, True, False, True] and frame["note"].iloc[2] == "ambiguous date"
    assert frame[["run", "task", "option", "model"]].iloc[0].tolist() == [str(folder), "mine", "m+shots=2", "m"]


def test_a_cached_answer_is_paid_for_by_the_run_that_bought_it(tmp_path: Path) -> None:
    from dataclasses import replace

    prices = {"default": {"name": "m", "input_usd_per_mtok": 1.0, "output_usd_per_mtok": 1.0}}
    fresh = call(1, input=10, output=10)
    assert fresh.completion is not None
    earlier = replace(fresh, cached=True)
    bought = replace(earlier, completion=replace(fresh.completion, notes={"bought": {"run": "another"}}))
    told = [record("fresh", fresh), record("earlier", earlier), record("bought", bought)]
    frame = evals.load_runs(made(tmp_path / "r", told, prices=prices, location="remote")).set_index("sample_id")
    assert frame["cost_usd"].round(9).to_dict() == {"fresh": 20e-6, "earlier": 20e-6, "bought": 0.0}
    assert (frame["notional_usd"].round(9) == 20e-6).all() and frame["cached"].tolist() == [False, True, True]
