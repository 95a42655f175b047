"""`plan` as a user starts it: from stored runs, from pilots through the ordinary run, and from nothing at all."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compared import model, once, run

import evals
from evals import store
from evals.cli import main
from evals.commands.settings.plan import PASSED, CanarySettings, PlanSettings
from evals.commands.settings.run import RunSettings, described

WRONG = {"who": "Other plc"}
PRICE = ["model.price.input_usd_per_mtok=2", "model.price.output_usd_per_mtok=8"]


def planned(*words: str, code: int = 0) -> dict[str, Any]:
    """The content of plan.json."""
    assert main(["plan", "task=mine", *words, "out=out"]) == code
    return store.read_json(Path("out/plan.json"))


@pytest.fixture
def two(project: Path) -> Path:
    """Two runs that differ in every third document."""

    def make() -> None:
        model(project, "old", {0: WRONG})
        model(project, "new", {i: WRONG for i in range(0, 40, 3)})
        run(project, "old")
        run(project, "new")

    return once(project, "two-planned", make)


@pytest.fixture
def remote(project: Path, provider: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A server that answers right, at a price; documents of unlike length."""
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    for i, row in enumerate(rows):
        row["text"] = f"[[id:{row['id']}]] {row['text']}" + " more words" * (i % 7)
    (project / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    provider.reset(replies={row["id"]: json.dumps(row["target"]) for row in rows}, retry_after_s=0.05)
    monkeypatch.setenv("MY_KEY", "sk-test")
    monkeypatch.setenv("EVALS_CACHE", str(project / "cache"))
    return provider


def api(remote: Any, *more: str) -> list[str]:
    named = ["model=openai_compatible", "model.id=m-1", f"model.base_url={remote.openai_url}", "model.key_env=MY_KEY"]
    return [*named, *PRICE, *more]


def test_from_nothing_at_all_it_answers_marked_and_says_how_to_measure(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = planned()
    out = capsys.readouterr().out
    assert result["spread"]["provenance"] == "assumed" and result["documents"] == result["available"] == 40
    assert "these 40 documents can detect" in out and "(assumed)" in out
    assert "python -m evals plan task=mine model=MODEL,MODEL pilot=20" in out
    assert result["models"] == [] and not (project / "results").exists(), "nothing was asked"


def test_from_stored_runs(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = planned("n=60")
    frame = evals.load_runs().pivot(index="sample_id", columns="option", values="exact")
    gap = (frame["new"] != frame["old"]).mean()
    spread = result["spread"]
    assert spread["provenance"] == "measured" and spread["n"] == 40 and spread["discordance"] == pytest.approx(gap)
    rows = {(row["metric"], row["n"]): row for row in result["detectable"]}
    assert {n for _, n in rows} == {40, 50, 60, 100, 200, 500, 1000, 2000}
    assert all(row["low"] <= row["difference"] <= row["high"] for row in rows.values())
    assert [r["n"] for r in result["needed"] if r["metric"] == "f1"] == sorted(
        (r["n"] for r in result["needed"] if r["metric"] == "f1"), reverse=True
    )
    one = rows["f1", 60]
    assert one["difference"] == pytest.approx(2.86 * spread["sd_f1"] / math.sqrt(60) * 1.0, rel=0.03), "t, not z"
    assert f"these 60 documents can detect {100 * one['difference']:.1f} points [" in capsys.readouterr().out
    more = planned("n=60", "models=4")
    assert more["alpha_each"] == 0.0125 and "Holm over 4 comparisons" in capsys.readouterr().out
    assert more["detectable"][0]["difference"] > result["detectable"][0]["difference"]


def test_a_pilot_is_an_ordinary_run_and_is_not_paid_twice(
    project: Path, remote: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    result = planned(*api(remote, "pilot=10", "budget.usd=1"))
    out = capsys.readouterr()
    (folder,) = (project / "results").glob("mine/*/*/manifest.json")
    assert store.read_json(folder)["limit"] == 10 and remote.log()["totals"]["good"] == 10
    assert "estimated cost" in out.err and "seeded sample" in out.out and "nothing was asked" not in out.out
    assert main(["run", "task=mine", *api(remote, "limit=10")]) == 0
    keys = {store.read_json(p)["run_key"] for p in (project / "results").glob("mine/*/*/manifest.json")}
    assert len(keys) == 1, "the pilot is the run that run limit=10 makes"
    assert remote.log()["totals"]["good"] == 20
    again = planned(*api(remote, "pilot=10"))
    assert remote.log()["totals"]["good"] == 20 and again["models"][0]["pilot"] == 10
    (row,) = result["models"]
    assert main(["run", "task=mine", *api(remote)]) == 0
    whole = store.read_json(max((project / "results").glob("mine/*/*/summary.json")))
    assert row["usd_low"] < whole["cost"]["billed"] < row["usd_high"]
    assert row["usd"] == pytest.approx(40 * np.mean(evals.load_runs(folder.parent)["cost_usd"]), rel=1e-9), (
        "the pilot's mean"
    )
    assert row["usd_estimate"] != row["usd"] and row["usd_provenance"] == "declared" and row["failed"] == 0.0
    full = planned(*api(remote, "pilot=10"))
    assert full["models"][0]["pilot"] == 40, "a stored run with more documents is better than a pilot"
    assert full["models"][0]["usd"] == pytest.approx(whole["cost"]["billed"])


def test_several_models_one_budget(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    model(project, "mine", {i: WRONG for i in range(0, 40, 3)})
    result = planned("model=rules,mine", "pilot=12", "machine.usd_per_hour=0.5")
    assert [row["option"] for row in result["models"]] == ["rules", "mine"] and result["comparisons"] == 1
    assert result["spread"]["provenance"] == "measured" and result["spread"]["n"] == 12
    for row in result["models"]:
        assert row["usd"] == pytest.approx(row["minutes"] / 60 * 0.5) and row["minutes_low"] <= row["minutes"]
        assert row["extrapolated"] == [] and row["load"] == "single_stream"
    assert planned("model=[rules,mine]")["models"][0]["usd"] is None, "no price of an hour, no dollars"
    code = main(["plan", "task=mine", *api(remote, "pilot=30", "budget.usd=0.0005", "max_tokens=30")])
    assert code == 1 and "budget.usd=0.0005" in capsys.readouterr().err


def test_what_was_never_asked_is_an_estimate(project: Path, remote: Any, capsys: pytest.CaptureFixture[str]) -> None:
    (row,) = planned(*api(remote))["models"]
    assert row["provenance"] == "assumed" and row["usd"] is None and row["minutes"] is None and row["usd_estimate"] > 0
    assert remote.log()["totals"]["received"] == 0 and "nothing was asked; pilot=10" in capsys.readouterr().out


def test_other_conditions_are_no_basis(project: Path) -> None:
    assert main(["run", "task=mine", "model=rules"]) == 0
    assert planned("model=rules")["models"][0]["pilot"] == 40
    assert planned("model=rules", "concurrency=2")["models"][0]["provenance"] == "assumed", "another load"
    (project / "tasks/mine/prompt.md").write_text("## system\nExtract it.\n## user\n{{document}}\n")
    assert planned("model=rules")["models"][0]["provenance"] == "assumed", "another prompt"


def test_runs_of_other_documents_and_of_another_scorer_are_told(two: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in (two / "results/mine").glob("*/*"):
        about = store.read_json(folder / "manifest.json")
        (folder / f"scores-{about['hashes']['scorer']}.jsonl").rename(folder / "scores-older.jsonl")
        about["hashes"]["scorer"] = "older"
        (folder / "manifest.json").write_text(json.dumps(about))
    result = planned()
    assert result["spread"]["provenance"] == "measured" and "another version of the scorer" in result["notes"][0]
    (two / "docs.jsonl").write_text("".join((two / "docs.jsonl").read_text().splitlines(keepends=True)[:30]))
    result = planned()
    assert (
        result["spread"]["provenance"] == "assumed"
        and "2 runs of this task are of other documents" in result["notes"][0]
    )


def test_a_pilot_that_fails_on_the_way_says_so(project: Path) -> None:
    model(project, "bad", errors=0.5)
    (row,) = planned("model=bad", "pilot=20", code=4)["models"]
    assert 0 < row["failed_low"] < row["failed"] < row["failed_high"] < 1


def test_slices_are_planned_alone(two: Path) -> None:
    result = planned("slice=[complex]")
    assert result["available"] == 10 and result["spread"]["n"] == 10


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["model=rulez"], "model=rulez is not known; did you mean rules"),
        (["model=rules,nothing_like"], "nothing_like"),
        (["pilot=5"], "pilot=5 needs a model"),
        (["model=rules", "pilot=0"], "pilot=0 must be at least 1"),
        (["power=1"], "power=1 must lie in 0.5..1"),
        (["alpha=0"], "alpha=0 must lie"),
        (["slice=[complx]"], "no document of mine has a tag"),
        (["model=rules", "-m"], "model=a,b plans for both"),
        (["modl=rules"], "modl is not known; did you mean model"),
        (["model=openai_compatible", "model.id=x", "pilot=2"], "price of openai_compatible"),
        (["budget.usd=0", "model=rules"], "budget.usd=0 must be above 0"),
        (["runs=nowhere"], "runs=nowhere: no complete run is found there"),
    ],
)
def test_mistakes_are_one_line(project: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["plan", "task=mine", *words]) == 2
    error = capsys.readouterr().err.splitlines()
    assert len(error) == 1 and said in error[0]
    assert not (project / "results").exists()


def test_from_python_and_as_files(two: Path) -> None:
    found = evals.plan(task="mine", model=["old", "new"], machine="this", out="out")
    assert found.exit_code == 0 and found.result == store.read_json(Path("out/plan.json"))
    shown = found._repr_html_()
    assert shown.count("<table") == 3 and "can detect" in shown and "<script" not in shown
    with Path("out/plan.csv").open() as file:
        kinds = [line["kind"] for line in csv.DictReader(file)]
    assert kinds.count("model") == 2 and set(kinds) == {"detectable", "needed", "model"}
    assert evals.plan(task="mine").result["models"] == []


def test_an_options_name_is_text_and_no_markup(project: Path) -> None:
    words = {"model.reply": '{"who": "<script>alert(1)</script>", "when": null}'}
    found = evals.plan(task="mine", model="fake", pilot=5, overrides=words)
    assert "<script" not in found._repr_html_() and "&lt;script" in found._repr_html_()


@pytest.mark.parametrize("kind", [PlanSettings, CanarySettings])
def test_the_keys_that_are_passed_on_are_those_of_run(kind: type) -> None:
    own, of_run = ({row[0]: row for row in described(one)} for one in (kind, RunSettings))
    for name in {*PASSED, "seed", "processing"} & own.keys() - {"budget", "confirm_usd", "seed"}:
        assert own[name] == of_run[name], name


@pytest.mark.parametrize("word", ["plan", "canary"])
def test_defaults_stand_in_one_place_only(word: str) -> None:
    import yaml

    from evals import catalog
    from evals.commands.settings.run import COMMANDS

    root = yaml.safe_load((catalog.shipped() / "configs" / f"{word}.yaml").read_text())
    groups = ("task", "model", "machine")
    fields = {k: f for k, f in COMMANDS[word].__dataclass_fields__.items() if k not in groups}
    for key, item in fields.items():
        default = item.default_factory() if callable(item.default_factory) else item.default
        assert root[key] == default or key == "budget", key
    assert root.keys() - {"defaults"} == fields.keys()
