"""Figures straight from the runs' files: those of the frame in memory, and those of sums done by hand."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_runs import call, made, record, score

import evals
from evals import store
from evals.analysis.tables import outcomes
from evals.analysis.tables.summary import summarise, summarise_run
from evals.analysis.tables.table import load_run
from evals.core import Record, Score
from evals.errors import ConfigError, StoreError
from evals.stats import intervals

OUTCOMES = ("tp", "wrong", "miss", "hall", "tn")
PRICES = {"default": {"name": "m", "input_usd_per_mtok": 1e3, "output_usd_per_mtok": 2e3, "provenance": "declared"}}
KINDS: dict[str, dict[str, Any]] = {
    "own": {"machine": {"usd_per_hour": 3600}},
    "unpriced": {},
    "api": {"location": "remote", "prices": PRICES},
}
Answer = tuple[Record, Score, dict[str, Any]]


@st.composite
def answers(draw: st.DrawFn) -> list[Answer]:
    """Documents with repeats, slices, tags and groups; some failed, cached or without usage."""
    grouped, repeats = draw(st.booleans()), draw(st.integers(1, 2))
    found: list[Answer] = []
    for i in range(draw(st.integers(1, 9))):
        about = {
            "slice": draw(st.sampled_from(["simple", "complex", None])),
            "tags": draw(st.lists(st.sampled_from(["ocr", "lease", "simple"]), unique=True)),
            "group": draw(st.sampled_from(["g", "h", None])) if grouped else None,
        }
        for repeat in range(repeats):
            seconds, tokens = draw(st.integers(1, 9)) / 4, draw(st.none() | st.integers(0, 99))
            failed, cached = draw(st.integers(0, 5)) == 0, draw(st.integers(0, 5)) == 0
            one = call(
                draw(st.integers(0, 40)), seconds, input=tokens, output=tokens, error="server" if failed else None
            )
            told = draw(st.lists(st.sampled_from(OUTCOMES), max_size=6))
            cut = {} if failed or not cached else {"cached": True}
            one = type(one)(**{**{name: getattr(one, name) for name in one.__slots__}, **cut})
            found.append((record(f"d{i}", one, repeat=repeat), score(*told), about))
    return found


def write(folder: Path, told: list[Answer], **manifest: Any) -> Path:
    made(folder, [one for one, _, _ in told], [], **manifest)
    with store.RunFolder(folder) as run:
        for one, points, about in told:
            run.append_score("s1", one, points, about)
    return folder


EXAMPLES = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EXAMPLES
@given(told=answers(), kind=st.sampled_from(list(KINDS)))
def test_a_run_s_summary_is_the_same_from_its_file_and_from_its_frame(
    tmp_path_factory: pytest.TempPathFactory, told: list[Answer], kind: str
) -> None:
    folder = write(tmp_path_factory.mktemp("runs") / "r", told, **KINDS[kind])
    manifest = store.read_json(folder / "manifest.json")
    same(summarise_run(folder, manifest), summarise(load_run(folder), manifest))


def same(one: Any, other: Any) -> None:
    if isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, float) and isinstance(other, float):
        assert one == pytest.approx(other, rel=1e-12)
    else:
        assert one == other


@EXAMPLES
@given(told=st.lists(answers(), min_size=1, max_size=2), kind=st.sampled_from(["unpriced", "api"]))
def test_groups_are_those_of_a_naive_loop(
    tmp_path_factory: pytest.TempPathFactory, told: list[list[Answer]], kind: str
) -> None:
    """One option with one or two runs, by slice."""
    root = tmp_path_factory.mktemp("runs")
    for at, part in enumerate(told):
        write(root / f"r{at}", part, **KINDS[kind])
    found, frame = evals.results(root, by="slice"), evals.load_runs(root)
    assert found.index.names == ["task", "option", "slice"] and len(found) == frame["slice"].nunique(dropna=False)
    for (_, _, name), line in found.iterrows():
        rows = frame[frame["slice"].isna() if name is None or name != name else frame["slice"] == name]
        expected = naive(rows.to_dict("records"), priced=kind == "api")
        assert {key: line[key] for key in expected} == pytest.approx(expected, nan_ok=True)


def naive(rows: list[dict[str, Any]], *, priced: bool) -> dict[str, float]:
    """Every figure by loops over documents."""
    documents: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        documents.setdefault(row["sample_id"], []).append(row)

    def means(name: str) -> list[float]:
        found = [[row[name] for row in part if not math.isnan(row[name])] for part in documents.values()]
        return [sum(part) / len(part) for part in found if part]

    tp, wrong, miss, hall = (sum(means(name)) for name in ("tp", "wrong", "miss", "hall"))
    whole = 2 * tp + 2 * wrong + miss + hall
    waits = [row for row in rows if not row["cached"] and (not row["failed"] or row["error"] == "timeout")]
    seconds = [row["latency_s"] for row in waits if not math.isnan(row["latency_s"])]
    tokens = [row["output_tokens"] for row in rows if not math.isnan(row["output_tokens"])]
    known = priced and not any(math.isnan(row["notional_usd"]) for row in rows)
    scores = means("score")
    return {
        "n": len(documents),
        "rows": len(rows),
        "failed": sum(row["failed"] for row in rows),
        "score": sum(scores) / len(scores) if scores else math.nan,
        "f1": 2 * tp / whole if whole else math.nan,
        "exact": sum(means("exact")) / len(documents),
        "usd_per_1k": 1000 * sum(means("notional_usd")) / len(documents) if known else math.nan,
        "cost_usd": sum(row["cost_usd"] for row in rows) if known else math.nan,
        "p50_s": float(np.quantile(seconds, 0.5)) if seconds else math.nan,
        "p95_s": float(np.quantile(seconds, 0.95)) if seconds else math.nan,
        "timed": len(seconds),
        "output_tokens": sum(tokens) if tokens else math.nan,
    }


def many(folder: Path, n: int = 400) -> Path:
    luck = np.random.default_rng(1)
    told: list[Answer] = []
    for i in range(n):
        fields = luck.choice(OUTCOMES, 8, p=[0.6, 0.1, 0.1, 0.1, 0.1]).tolist()
        about = {"slice": "simple" if i % 3 else "complex", "tags": ["ocr"] if i % 5 == 0 else []}
        told.append((record(f"d{i}", call(i, float(luck.random()))), score(*fields), about))
    return write(folder, told)


def test_by_slice_has_the_intervals_of_the_summary(tmp_path: Path) -> None:
    folder = many(tmp_path / "r")
    summary = summarise_run(folder, store.read_json(folder / "manifest.json"))
    found = evals.results(folder, by=["slice"]).xs(("mine", "m+shots=2"))
    for name, quality in summary["slices"].items():
        for metric, one in quality.items():
            expected = [math.nan if one[key] is None else one[key] for key in ("value", "low", "high")]
            assert found.loc[name, [metric, f"{metric}_low", f"{metric}_high"]].tolist() == pytest.approx(
                expected, nan_ok=True
            )
        assert found.loc[name, "n"] == quality["f1"]["n"]


def test_equal_documents_that_are_counted_together_have_the_same_intervals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above `DRAWN_ALONE` documents: the same values, and intervals that differ by the luck of other draws."""
    folder = many(tmp_path / "r")
    manifest = store.read_json(folder / "manifest.json")
    alone = summarise_run(folder, manifest)
    monkeypatch.setattr(intervals, "DRAWN_ALONE", 3)
    monkeypatch.setattr(outcomes, "DRAWN_ALONE", 3)
    for dense in (outcomes.DENSE, 1):
        monkeypatch.setattr(outcomes, "DENSE", dense)
        together = summarise_run(folder, manifest)
        parts = [(alone["quality"], together["quality"]), (alone["tags"]["ocr"], together["tags"]["ocr"])]
        parts += [(alone["slices"][name], together["slices"][name]) for name in ("simple", "complex")]
        for one, other in parts:
            for metric, told in one.items():
                assert (
                    told["value"] == pytest.approx(other[metric]["value"], nan_ok=True)
                    and told["n"] == other[metric]["n"]
                )
                if told["value"] is None:
                    continue  # the parses of these runs were not looked at
                wide = told["high"] - told["low"]
                ends = [abs(told[end] - other[metric][end]) for end in ("low", "high")]
                assert max(ends) < 0.1 * wide


def test_what_a_run_or_a_flag_sets_apart(tmp_path: Path) -> None:
    for at in (0, 1):
        made(tmp_path / f"r{at}", [record("a", call(seconds=1 + at)), record("b", call(error="server"))])
    by_run = evals.results(tmp_path, by=["run", "failed"])
    assert by_run.index.names == ["task", "option", "run", "failed"] and len(by_run) == 4
    assert by_run["p50_s"].fillna(-1).tolist() == [1, -1, 2, -1] and by_run["n"].tolist() == [1, 1, 1, 1]
    assert by_run.index.get_level_values("failed").tolist() == [False, True] * 2
    both = evals.results(tmp_path, by="error")
    assert both["rows"].tolist() == [2, 2] and both["n"].tolist() == [1, 1], "a document of two runs is one document"
    assert evals.results(tmp_path, by=[])["rows"].tolist() == [4]


def test_mistakes_are_one_line(tmp_path: Path) -> None:
    made(tmp_path / "r", [record("a")])
    with pytest.raises(ConfigError, match="by: 'slices' cannot be grouped by; did you mean slice"):
        evals.results(tmp_path, by="slices")
    with pytest.raises(StoreError, match="no complete run is found at"):
        evals.results(tmp_path / "nowhere", by="slice")


def test_tags_of_more_kinds_than_a_number_holds(tmp_path: Path) -> None:
    """Combinations of 40 tags out of 80 cannot be the digits of a 64-bit number."""
    luck = np.random.default_rng(2)
    told: list[Answer] = []
    for i in range(12):
        tags = [f"t{at}" for at in luck.choice(80, 40 if i % 4 else 0, replace=False)]
        told.append((record(f"d{i}"), score("tp" if i % 2 else "miss"), {"tags": tags}))
    folder = write(tmp_path / "r", told)
    manifest = store.read_json(folder / "manifest.json")
    same(summarise_run(folder, manifest), summarise(load_run(folder), manifest))
    assert set(summarise_run(folder, manifest)["tags"]) == {tag for _, _, about in told for tag in about["tags"]}
