"""A decision about a saved policy is about that very file: what it sends on, what that costs, how good it is."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from test_decide import KEPT, kept

import evals
from evals.errors import ConfigError

NAME = "qwen25_0.5b -> qwen25_1.5b (cascade)"
PRICE = "machine.usd_per_hour=0.35"


def saved(path: Path, **more: Any) -> str:
    """A policy's file: a cascade of two of the kept runs, which says of itself what it does not do."""
    signal = {"inputs": ["grounded_share"], "mean": [0.9], "scale": [0.1], "coef": [-1.2], "intercept": -0.4}
    simulated = {"documents": 40, "how": "5-fold", "quality": {"value": 0.72, "low": 0.68, "high": 0.76}}
    simulated |= {"share_strong": 0.01, "latency_p95_s": 210.0}
    policy = {
        "format": 1,
        "kind": "cascade",
        "cheap": "qwen25_0.5b",
        "strong": "qwen25_1.5b",
        "threshold": 0.6,
        "signal": {**signal, "link": "logistic"},
        "about": {"task": "legal_extract", "metric": "f1", "simulated": simulated},
        **more,
    }
    path.write_text(json.dumps(policy))
    return f"policies=[{path}]"


def decided(folder: Path, *words: str) -> dict[str, Any]:
    """The options of decide.json by name."""
    assert kept(PRICE, *words, f"out={folder}") in (0, 1)
    told = json.loads((folder / "decide.json").read_text())
    return {one["option"]: one for one in told["options"]}


def replayed(folder: Path, policy: Path) -> tuple[dict[str, Any], list[dict[str, str]], dict[str, dict[str, float]]]:
    """What `route policy=FILE` says of the file on the same runs: its row, whom it asks, seconds of each option."""
    said = evals.route(
        task="legal_extract",
        runs=str(KEPT),
        policy=str(policy),
        out=str(folder / "route"),
        overrides={"machine.usd_per_hour": 0.35},
    )
    (row,) = said.report["hybrids"]
    with (folder / "route" / "route_documents.csv").open() as file:
        chosen = list(csv.DictReader(file))
    seconds: dict[str, dict[str, float]] = {}
    for one in evals.load_runs(str(KEPT)).to_dict("records"):
        seconds.setdefault(str(one["option"]), {})[str(one["sample_id"])] = float(one["latency_s"])
    return row, chosen, seconds


def test_a_policy_fitted_elsewhere_is_what_its_replay_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = (saved(tmp_path / "p.json"), "min.f1=0.65", "min.schema_valid=0.5", "min_slice.complex=0.4")
    by = decided(tmp_path, *words, "min_field.governing_law=0.2")
    row, chosen, seconds = replayed(tmp_path, tmp_path / "p.json")
    hybrid, share = by[NAME], sum(one["side"] == "strong" for one in chosen) / len(chosen)
    assert 0.1 < share < 0.9 and hybrid["escalated_per_day"] == pytest.approx(5000 * share)
    assert hybrid["quality"] == pytest.approx(row["quality"]["value"], abs=1e-12)
    assert hybrid["latency_p95_s"] == pytest.approx(row["latency_p95_s"]["value"])
    cheap, strong = (by[name]["docs_per_day_per_replica"] for name in ("qwen25_0.5b", "qwen25_1.5b"))
    times = seconds["qwen25_1.5b"]
    sent = [times[one["sample_id"]] for one in chosen if one["side"] == "strong"]
    ratio = (sum(sent) / len(sent)) / (sum(times.values()) / len(times))
    assert hybrid["docs_per_day_per_replica"] == pytest.approx(1 / (1 / cheap + share * ratio / strong), rel=1e-9)
    assert set(hybrid["qualities"]) == {"f1", "schema_valid"} and hybrid["p_cheapest"] > 0
    told = {one["key"]: one["text"] for one in hybrid["checks"]}
    assert "quality in complex 0." in told["min_slice.complex"] and "0." in told["min_field.governing_law"]
    out = capsys.readouterr().out
    assert "dollars, p95 and quality follow: it was not fitted on them; its simulation had f1 0.720 (1 % sent on" in out
    assert Path(hybrid["runs"][0]["run"]).name == "p.json" and len(hybrid["runs"]) == 3


def test_a_policy_fitted_on_these_documents_keeps_the_quality_of_its_simulation(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "p.json"
    fitted = evals.route(
        task="legal_extract",
        runs=str(KEPT),
        cheap="qwen25_0.5b",
        strong="qwen25_1.5b",
        save=str(path),
        overrides={"machine.usd_per_hour": 0.35},
    )
    assert fitted.policy is not None
    told = fitted.policy.about["simulated"]
    capsys.readouterr()
    by = decided(tmp_path, f"policies=[{path}]", "min_slice.complex=0.4")
    row, chosen, _ = replayed(tmp_path, path)
    (hybrid,) = (one for name, one in by.items() if name.startswith("qwen25_0.5b -> "))
    share = sum(one["side"] == "strong" for one in chosen) / len(chosen)
    assert share != pytest.approx(told["share_strong"]), "refitted on all documents it is another policy"
    assert hybrid["escalated_per_day"] == pytest.approx(5000 * share)
    assert hybrid["quality"] == told["quality"]["value"] != row["quality"]["value"]
    assert hybrid["quality_replayed"] == pytest.approx(row["quality"]["value"], abs=1e-12)
    assert hybrid["latency_p95_s"] == pytest.approx(row["latency_p95_s"]["value"])
    out, record = capsys.readouterr().out, (tmp_path / "decision.md").read_text()
    for text in (out, record):
        assert f"f1 {told['quality']['value']:.3f} is its simulation" in text
        assert f"where it has {row['quality']['value']:.3f}" in text
    assert "quality in complex is not known" in out, "on its own documents a slice would flatter it too"


def test_a_policy_that_cannot_be_replayed_is_its_simulation(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where the task's documents are no longer those of the runs."""
    runs = tmp_path / "runs"
    for old in KEPT.rglob("manifest.json"):
        if old.parent.parent.name in ("qwen25_0.5b", "qwen25_1.5b"):
            new = runs / old.parent.parent.name / old.parent.name
            new.mkdir(parents=True)
            for file in old.parent.iterdir():
                (new / file.name).write_bytes(file.read_bytes())
            about = json.loads(old.read_text())
            (new / "manifest.json").write_text(json.dumps({**about, "dataset": {"sha256": "others"}}))
    words = [saved(tmp_path / "p.json"), PRICE, "task=legal_extract", f"runs={runs}", "volume=5000"]
    assert evals.cli.main(["decide", *words, f"out={tmp_path}"]) == 0
    by = {one["option"]: one for one in json.loads((tmp_path / "decide.json").read_text())["options"]}
    assert by[NAME]["escalated_per_day"] == 50 and by[NAME]["quality"] == 0.72
    assert by[NAME]["quality_replayed"] is None
    assert "not replayed: the task's documents are not used" in capsys.readouterr().out


def test_two_files_of_the_same_pair_are_two_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved(tmp_path / "a.json")
    saved(tmp_path / "b.json", threshold=0.9)
    by = decided(tmp_path, f"policies=[{tmp_path}/a.json,{tmp_path}/b.json]")
    assert by[NAME]["escalated_per_day"] > by[f"{NAME} b"]["escalated_per_day"]
    assert kept(PRICE, f"policies=[{tmp_path}/a.json,{tmp_path}/b.json,{tmp_path}/b.json]") == 2
    assert "b.json is named twice" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"about": {"task": "cuad"}}, "fitted on another task (cuad, here legal_extract)"),
        ({"about": {"task": "legal_extract", "schema": "0123"}}, "fitted on another schema"),
        (
            {"strong": "person", "about": {"review": {"target": 0.1}}},
            "sends documents to a person: reviews=[review.json]",
        ),
        ({"strong": "claude"}, "its strong model 'claude' is none of the options here"),
    ],
)
def test_a_policy_of_elsewhere_is_refused(
    more: dict[str, Any], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept(saved(tmp_path / "p.json", **more)) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_a_hybrid_has_no_throughput_of_its_own(tmp_path: Path) -> None:
    saved(tmp_path / "p.json")
    with pytest.raises(ConfigError, match="a policy's throughput is that of its models; declare theirs"):
        evals.decide(
            task="legal_extract",
            runs=str(KEPT),
            volume=5000,
            policies=[str(tmp_path / "p.json")],
            docs_per_s={NAME: 3},
        )
