"""`compare` as a user meets it: verdicts, refusals, gates, exit codes and files."""

import csv
import json
import math
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from compared import N, model, once, run
from scipy import stats

import evals
from evals import store
from evals.cli import main

WRONG = {"who": "Other plc"}


@pytest.fixture
def two(project: Path) -> Path:
    """`old` is right but for d0 and d1; `new` is right there and wrong in d2..d13."""

    def make() -> None:
        model(project, "old", {0: WRONG, 1: {"when": None}})
        model(project, "new", {i: WRONG for i in range(2, 14)})
        run(project, "old")
        run(project, "new")

    return once(project, "two-compared", make)


def compared(*words: str, code: int = 0) -> dict[str, Any]:
    """The content of compare.json, and that the command ended so."""
    assert main(["compare", *words, "out=out"]) == code
    return store.read_json(Path("out/compare.json"))


def row(result: dict[str, Any], metric: str, **where: str) -> dict[str, Any]:
    """One finding."""
    wanted = {"slice": None, "field": None, **where}
    (found,) = [r for r in result["metrics"] if r["metric"] == metric and wanted.items() <= r.items()]
    return found


def test_a_regression_is_found_named_and_ends_in_one(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = compared("baseline=old", "candidate=new", code=1)
    exact = row(result, "exact")
    assert (
        exact["baseline"] == 38 / N and exact["candidate"] == 28 / N and exact["difference"] == pytest.approx(-10 / N)
    )
    assert exact["p"] == pytest.approx(stats.binomtest(2, 14).pvalue), "McNemar by the binomial test"
    f1 = row(result, "f1")
    assert f1["baseline"] == pytest.approx(2 * 78 / (2 * 78 + 2 + 1)) and f1["candidate"] == pytest.approx(68 / N / 2)
    assert f1["verdict"] == "regressed" and result["verdict"] == "regressed"
    assert result["newly_broken"] == sorted(f"d{i}" for i in range(2, 14)) and result["newly_fixed"] == ["d0", "d1"]
    (change,) = result["candidates"][0]["documents"]["d2"]
    assert change == {
        **{"path": "who", "baseline": "tp", "candidate": "wrong", "gold": "Acme Ltd"},
        **{"baseline_answer": "Acme Ltd", "candidate_answer": "Other plc"},
    }
    out = capsys.readouterr().out
    assert "newly broken: 12" in out and "who: tp -> wrong  (gold 'Acme Ltd', was 'Acme Ltd', is 'Other plc')" in out


def test_holm_is_over_everything_that_is_tested(two: Path) -> None:
    result = compared("baseline=old", "candidate=new", code=1)
    tested = sorted(
        (r["p"], i)
        for i, r in enumerate(result["metrics"])
        if r["p"] is not None and r["note"] != "no document differs"
    )
    assert result["tests"] == len(tested) > 8
    worst = 0.0
    for rank, (p, i) in enumerate(tested):  # the definition, step by step
        worst = max(worst, min(1.0, p * (len(tested) - rank)))
        assert result["metrics"][i]["p_holm"] == pytest.approx(worst)


def test_slices_and_fields_are_cut_right(two: Path) -> None:
    result = compared("baseline=old", "candidate=new", code=1)
    simple, hard = row(result, "exact", slice="simple"), row(result, "exact", slice="complex")
    assert (simple["n"], hard["n"]) == (30, 10)
    assert hard["difference"] == pytest.approx((1 - 3) / 10), "d0 fixed; d4, d8, d12 broken"
    who, when = row(result, "f1", field="who"), row(result, "f1", field="when")
    assert (who["baseline"], who["candidate"]) == (39 / N, 28 / N)
    assert when["baseline"] == pytest.approx(78 / 79) and when["candidate"] == 1.0


def test_equal_models_are_equivalent_only_where_n_can_say_so(project: Path) -> None:
    model(project, "a", {0: WRONG})
    model(project, "b", {0: WRONG})
    run(project, "a")
    run(project, "b")
    words = ("baseline=a", "candidate=b", "metrics=[f1,exact]", "by=[]")
    found = row(compared(*words), "exact")
    assert found["verdict"] == "inconclusive" and found["needed"] == 183 and found["p"] == 1.0
    assert found["high"] == pytest.approx(1 - 0.025 ** (1 / N))
    assert row(compared(*words, "margin=0.1"), "exact")["verdict"] == "equivalent"
    assert main(["compare", *words, "strict=true"]) == 3
    assert main(["compare", *words, "strict=true", "margin=0.1"]) == 0


@pytest.mark.parametrize(
    ("gate", "code", "result"),
    [
        ("gate.f1.min=0.7", 0, "met"),
        ("gate.f1.min=0.99", 1, "failed"),
        ("gate.f1.min=0.85", 0, "inconclusive"),
        ("gate.f1.margin=0.3", 0, "met"),
        ("gate.exact.margin=0.02", 1, "failed"),
        ("gate.hallucination_rate.max=0.5", 2, ""),
        ("gate.p95_s.max=5", 0, "inconclusive"),
        ("gate.p50_s.max=5", 0, "met"),
        ("gate.cost.max_increase=0.1", 2, ""),
        ("gate.failed.max=0.2", 0, "met"),
    ],
)
def test_gates(two: Path, gate: str, code: int, result: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "baseline=old", "candidate=new", gate, "out=out"]
    assert main(words) == code
    if code == 2:
        metric = gate.split(".")[1]
        assert f"gate.{metric}." in capsys.readouterr().err
        return
    (found,) = store.read_json(Path("out/compare.json"))["gates"]
    assert found["result"] == result and f"gate.{found['gate']}" == gate.split("=")[0]
    assert main([*words, "strict=true"]) == (3 if result == "inconclusive" else code)


def test_gates_of_a_file_and_of_the_line(two: Path) -> None:
    Path("gates.yaml").write_text("f1: {min: 0.99}\nexact: {min: 0.1}\n")
    result = compared("baseline=old", "candidate=new", "gates=gates.yaml", "gate.f1.min=0.5")
    assert [(g["gate"], g["limit"], g["result"]) for g in result["gates"]] == [
        ("f1.min", 0.5, "met"),
        ("exact.min", 0.1, "met"),
    ]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["gate.f1x.min=1"], "gate.f1x.min is not known; did you mean gate.f1.min"),
        (["gate.f1.mn=1"], "did you mean gate.f1.min"),
        (["gate.f1.min=much"], "gate.f1.min='much' should be a number"),
        (["gate.f1.margin=-1"], "must be at least 0"),
        (["gates=nowhere.yaml"], "gates=nowhere.yaml is not there"),
        (["metrics=[f2]"], "metrics=f2 is not known; did you mean f1"),
        (["by=[slices]"], "by"),
        (["allow=[prompts]"], "allow=prompts is not known; did you mean prompt"),
        (["margin=-1"], "margin=-1"),
        (["margin=2"], "margin=2 is a share of 1, not in percent"),
        (["gate.failed.max=5"], "gate.failed.max=5: failed is a share of 1, not in percent"),
        (["candidate=newest"], "newest is no run folder"),
    ],
)
def test_mistakes_are_one_line(two: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "baseline=old", *([] if words[0].startswith("cand") else ["candidate=new"]), *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0]


def test_another_prompt_is_refused_unless_told_and_then_said_everywhere(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two / "tasks" / "mine" / "prompt_short.md").write_text("## user\nGo: {{document}}\n")
    folder = run(two, "new", "prompt=short")
    assert main(["compare", "baseline=old", f"candidate={folder}"]) == 2
    assert "prompt differs" in (said := capsys.readouterr().err) and "allow=[prompt]" in said
    result = compared("baseline=old", f"candidate={folder}", "allow=[prompt]", code=1)
    told = result["candidates"][0]["told"][0]
    assert told.startswith("compared although prompt differs") and told in capsys.readouterr().out
    assert "compared although prompt differs" in Path("out/compare.md").read_text()
    assert "compared although prompt differs" in Path("out/compare.xml").read_text()


def test_other_documents_are_refused_and_the_name_of_the_file_is_not_the_documents(
    two: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (two / "docs.jsonl").rename(two / "same.jsonl")
    same = run(two, "new", "task.path=same.jsonl")
    assert main(["compare", "baseline=old", f"candidate={same}"]) == 1
    lines = (two / "same.jsonl").read_text().splitlines()
    (two / "less.jsonl").write_text("\n".join(lines[:30]) + "\n")
    less = run(two, "new", "task.path=less.jsonl")
    assert main(["compare", "baseline=old", f"candidate={less}"]) == 2
    assert "dataset differs" in capsys.readouterr().err
    result = compared("baseline=old", f"candidate={less}", "allow=[dataset]", code=1)
    assert result["candidates"][0]["n"] == 30
    assert "left out: 10 of the baseline alone" in " ".join(result["candidates"][0]["notes"])


def test_unlike_loads_give_no_latency_verdict(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    many = run(two, "new", "concurrency=4")
    result = compared("baseline=old", f"candidate={many}", code=1)
    p95 = row(result, "p95_s")
    assert p95["verdict"] == "refused" and p95["difference"] is None and "single_stream" in p95["note"]
    assert p95["candidate"] is not None
    assert main(["compare", "baseline=old", f"candidate={many}", "gate.p50_s.max_increase=9"]) == 2
    assert "unlike conditions" in capsys.readouterr().err
    told = compared("baseline=old", f"candidate={many}", "allow=[load]", code=1)
    assert row(told, "p95_s")["verdict"] != "refused" and "conditions differ" in told["candidates"][0]["told"][0]


def test_cost_and_latency_are_compared(project: Path) -> None:
    model(project, "quick", latency=0.005)
    model(project, "slow", latency=0.05)
    for name in ("quick", "slow"):
        run(project, name, "machine.usd_per_hour=3600")
    result = compared(
        "baseline=quick", "candidate=slow", "by=[]", "gate.cost.max_increase=0.1", "gate.p50_s.max_increase=1", code=1
    )
    frames = {n: evals.load_runs(f"results/mine/{n}").set_index("sample_id") for n in ("quick", "slow")}
    cost, p50 = row(result, "cost"), row(result, "p50_s")
    a, b = (frames[n]["notional_usd"] * 1000 for n in ("quick", "slow"))
    paired = stats.ttest_rel(b, a.reindex(b.index))
    assert (cost["baseline"], cost["candidate"]) == (pytest.approx(a.mean()), pytest.approx(b.mean()))
    assert cost["p"] == pytest.approx(paired.pvalue) and cost["low"] == pytest.approx(paired.confidence_interval().low)
    assert cost["relative"] == pytest.approx(b.mean() / a.mean() - 1) and cost["verdict"] == "regressed"
    assert p50["candidate"] == pytest.approx(frames["slow"]["latency_s"].median()) and p50["verdict"] == "regressed"
    assert [gate["result"] for gate in result["gates"]] == ["failed", "failed"]


def test_failures_on_the_way_end_in_four_and_are_shown_both_ways(project: Path) -> None:
    model(project, "old")
    model(project, "shaky", errors=0.3)
    run(project, "old")
    run(project, "shaky", "attempts=1")
    result = compared("baseline=old", "candidate=shaky", code=4)
    assert "failed for reasons that are not the model's" in result["infrastructure"][0]
    assert any("without them the f1 difference is +0.000" in note for note in result["candidates"][0]["notes"])


def test_several_candidates_are_a_matrix_and_one_family_of_tests(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(two, "rules")
    alone = compared("baseline=old", "candidate=new", code=1)
    capsys.readouterr()
    result = compared("baseline=old", "candidate=new,rules", code=1)
    assert [part["option"] for part in result["candidates"]] == ["new", "rules"] and result["tests"] > alone["tests"]
    assert result["verdict"] == "regressed"
    assert "against one baseline" in capsys.readouterr().out
    folders = sorted(str(p.parent) for p in (two / "results").rglob("summary.json") if "new" in str(p))
    again = compared("baseline=old", f"candidate=[{folders[0]},{folders[0]}]", code=1)
    assert [part["option"] for part in again["candidates"]] == ["new"], "one run named twice is compared once"


def test_repeats_are_averaged_inside_a_document(two: Path) -> None:
    old, new = run(two, "old", "repeats=2"), run(two, "new", "repeats=2")
    result = compared(f"baseline={old}", f"candidate={new}", code=1)
    assert result["candidates"][0]["documents"]["d2"][0]["candidate_answer"] == "Other plc"
    exact = row(result, "exact")
    assert exact["n"] == N and exact["p"] == pytest.approx(stats.binomtest(2, 14).pvalue)


def test_the_files(two: Path) -> None:
    compared("baseline=old", "candidate=new", "gate.f1.min=0.95", code=1)
    rows = list(csv.DictReader(Path("out/compare.csv").read_text().splitlines()))
    assert {
        "metric",
        "slice",
        "baseline",
        "candidate",
        "difference",
        "low",
        "high",
        "p",
        "p_holm",
        "detectable",
        "verdict",
    } <= set(rows[0])
    suite = ElementTree.parse("out/compare.xml").getroot()[0]
    cases = suite.findall("testcase")
    assert int(suite.get("tests", 0)) == len(cases) and int(suite.get("failures", 0)) == 1
    assert [c.get("name") for c in cases if c.find("failure") is not None] == ["gate.f1.min=0.95"]
    text = Path("out/compare.md").read_text()
    assert text.startswith("### 🔴 mine: new regressed (baseline old)") and "| ❌ | new | f1.min | 0.95 |" in text
    assert "Newly broken documents (12)" in text


def test_the_reference_says_what_the_run_said_and_holds_no_text(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "candidate=new"]) == 2
    assert "there is no reference" in capsys.readouterr().err and not (two / "results" / "baselines").exists()
    assert main(["compare", "candidate=old", "save=true"]) == 0
    file = two / "results" / "baselines" / "mine.json"
    text = file.read_text()
    assert "Acme" not in text and "Agreement" not in text and "Other plc" not in text
    direct = compared("baseline=old", "candidate=new", code=1)
    for folder in (two / "results" / "mine" / "old").iterdir():
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()
    stored = compared("candidate=new", code=1)
    assert stored["metrics"] == direct["metrics"] and stored["newly_broken"] == direct["newly_broken"]
    (change,) = stored["candidates"][0]["documents"]["d2"]
    assert change["baseline_answer"] is None and change["candidate_answer"] == "Other plc"
    assert json.loads(text)["about"]["hashes"].keys() == {"prompt", "schema", "scorer"}


@pytest.mark.slow
def test_twenty_equal_models_give_no_false_winner(project: Path) -> None:
    """Holm over the whole matrix: chance alone crowns nobody (20 candidates drawn from one law)."""
    import random

    rng = random.Random(4)
    model(project, "old", lambda i: WRONG if rng.random() < 0.3 else {})
    run(project, "old")
    names = [f"m{k}" for k in range(12)]
    for name in names:
        model(project, name, lambda i: WRONG if rng.random() < 0.3 else {})
        run(project, name)
    result = compared("baseline=old", f"candidate={','.join(names)}", "metrics=[f1,exact]", "by=[slice]")
    assert {r["verdict"] for r in result["metrics"]} <= {"inconclusive", "equivalent"}
    assert not math.isnan(sum(r["p_holm"] for r in result["metrics"]))
