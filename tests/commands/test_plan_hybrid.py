"""`plan` and `canary` of a hybrid, and under `privacy=local_only`: as `run` answers them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from test_hybrid import hybrid  # noqa: F401

import evals
from evals import store
from evals.cli import main

HYBRID = ["model=hybrid", "model.cheap=rules", "model.strong=remote", "policy=policy.json"]


def planned(*words: str, code: int = 0) -> dict[str, Any]:
    """The content of plan.json."""
    assert main(["plan", "task=mine", *words, "out=out"]) == code
    return store.read_json(Path("out/plan.json"))


def test_dollars_are_those_of_both_sides_of_the_pilot(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = planned(*HYBRID, "pilot=20", "machine.usd_per_hour=3600")["models"]
    folder = Path(row["run"])
    found, frame = store.read_json(folder / "summary.json"), evals.load_runs(folder)
    assert row["option"] == found["option"] and row["pilot"] == found["n"] == 20 and row["documents"] == 40
    models = found["hybrid"]["models"]
    both = models["rules"]["usd"] + models["remote"]["usd"]
    assert models["rules"]["usd"] > 0 and models["remote"]["usd"] > 0
    assert row["usd"] == pytest.approx(40 * both / 20, rel=1e-9)
    each = frame["notional_usd"].to_numpy(float)
    half = stats.t.ppf(0.975, 19) * each.std(ddof=1) * np.sqrt(1 / 20 + 1 / 40) * 40
    assert row["usd_high"] - row["usd"] == pytest.approx(half)
    assert row["usd_provenance"] == "declared" and row["usd_source"] == "declared by the user"
    assert row["usd_estimate"] > 0
    said = capsys.readouterr().out
    assert "of 20 documents went on to its strong model" in said
    again = planned(*HYBRID, "pilot=20", "machine.usd_per_hour=7200")["models"][0]
    assert again["run"] == row["run"], "what is stored is not asked again"
    assert again["usd"] == pytest.approx(40 * (2 * models["rules"]["usd"] + models["remote"]["usd"]) / 20, rel=1e-9)


def test_without_a_price_of_the_machine_the_api_alone_is_told(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    (row,) = planned(*HYBRID, "pilot=20")["models"]
    api = store.read_json(Path(row["run"]) / "summary.json")["hybrid"]["models"]["remote"]["usd"]
    assert row["usd"] is None and row["usd_low"] is None and row["usd_provenance"] is None
    assert f"dollars of its API alone ${2 * api:.2g} [" in " ".join(row["extrapolated"])
    assert "machine.usd_per_hour=..." in capsys.readouterr().out


def test_a_hybrid_beside_one_of_its_models(project: Path, hybrid: Any) -> None:  # noqa: F811
    words = ["model=remote,hybrid", *HYBRID[1:], "pilot=10", "machine.usd_per_hour=1"]
    rows = planned(*words)["models"]
    assert [row["option"].partition("(")[0] for row in rows] == ["remote", "hybrid"]
    assert all(row["usd"] > 0 and row["pilot"] == 10 for row in rows)
    found = evals.plan(
        task="mine",
        model="hybrid",
        policy="policy.json",
        overrides={"model.cheap": "rules", "model.strong": "remote", "machine.usd_per_hour": 1.0},
    )
    assert found.result["models"][0]["usd"] == pytest.approx(rows[1]["usd"]), "the stored pilot tells"


def test_local_only_sends_nothing(project: Path, hybrid: Any) -> None:  # noqa: F811
    (row,) = planned(*HYBRID, "pilot=10", "privacy=local_only", "machine.usd_per_hour=1")["models"]
    assert hybrid.log()["documents"] == {} and row["usd_estimate"] is None
    assert store.read_json(Path(row["run"]) / "egress.json")["privacy"] == "local_only"
    assert row["option"].endswith("+privacy=local_only") and row["usd"] > 0 and row["failed"] == 0
    assert evals.cli.main(["canary", "task=mine", *HYBRID, "privacy=local_only", "n=5", "repeats=2"]) == 0
    assert hybrid.log()["documents"] == {}


def test_a_canary_of_a_hybrid_sees_that_a_side_changed(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["canary", "task=mine", *HYBRID, "n=20"]
    assert main(words) == 0 and "reference" in capsys.readouterr().out
    assert main(words) == 0 and "no change seen" in capsys.readouterr().out
    replies = {name: json.dumps({"who": "Other plc", "when": None}) for name in hybrid.replies}
    hybrid.reset(replies=replies)
    assert main(words) == 1 and "changed" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["plan", "canary"])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["model=remote", "policy=policy.json"], "policy=policy.json says who of two models answers"),
        (["model=remote", "privacy=local_only"], "privacy=local_only: remote is not location: own"),
        (["model=hybrid", "model.cheap=rules", "model.strong=remote"], "model=hybrid needs a policy"),
        ([*HYBRID[:3], "policy=none.json"], "policy=none.json is not there"),
        (["model=hybrid", "model.cheap=remote", "model.strong=second", "policy=policy.json"], "was fitted with"),
        ([*HYBRID, "privacy=secret"], "privacy='secret'"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_paid(
    word: str,
    words: list[str],
    says: str,
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([word, "task=mine", *words, *(["pilot=5"] if word == "plan" else [])]) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1
    assert hybrid.log()["documents"] == {} and not (project / "results").exists()


def test_a_policy_of_another_task_is_told_before_the_first_pilot(
    project: Path,
    hybrid: Any,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    other = json.loads((project / "policy.json").read_text())
    (project / "policy.json").write_text(json.dumps({**other, "about": {"task": "cuad"}}))
    assert main(["plan", "task=mine", "model=remote,hybrid", *HYBRID[1:], "pilot=5"]) == 2
    assert "fitted on another task (cuad, here mine)" in capsys.readouterr().err
    assert hybrid.log()["documents"] == {}, "nor the pilot of the model before it"
