"""`decide reviews=[FILE]`: what `review` found is counted for the option whose answers it was of."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_decide import KEPT, kept

import evals

PRICE = "machine.usd_per_hour=0.35"


@pytest.fixture(scope="module")
def review(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The review of one kept run: its folder."""
    (run,) = (path.parent for path in KEPT.rglob("summary.json") if path.parent.parent.name == "qwen25_1.5b")
    out = tmp_path_factory.mktemp("review")
    evals.review(run, target=0.1, quality="f1", usd_per_hour=60.0, out=str(out))
    return out


def told(folder: Path) -> dict[str, Any]:
    found = json.loads((folder / "decide.json").read_text())
    return {one["option"]: one for one in found["options"]} | {"": found}


def test_one_option_is_reviewed(review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kept(PRICE, f"out={tmp_path}") == 0
    before = told(tmp_path)
    assert kept(PRICE, f"reviews=[{review}]", f"out={tmp_path}") == 0
    after, said = told(tmp_path), json.loads((review / "review.json").read_text())
    people = said["sent"] / said["n"] * 3 / 60 * 60
    for name in ("qwen25_1.5b", "qwen25_0.5b"):
        more = 5000 * people if name == "qwen25_1.5b" else 0
        assert after[name]["usd_per_day"] == pytest.approx(before[name]["usd_per_day"] + more)
    out, record = capsys.readouterr().out, (tmp_path / "decision.md").read_text()
    share = f"people review {100 * said['sent'] / said['n']:.3g} % "
    assert f"qwen25_1.5b: {share}[" in out and "of other answers" not in out
    assert f"{share}\\[" in record or f"{share}[" in record
    assert "review of gemma270m, qwen25_0.5b, rules, smollm2_135m" in after[""]["not_counted"]
    figures = {one["name"]: one for one in after[""]["figures"]}
    assert figures["human review of qwen25_1.5b"]["source"] == str(review / "review.json")


def test_typed_figures_win(review: Path, tmp_path: Path) -> None:
    words = (PRICE, f"reviews=[{review}/review.json]", f"out={tmp_path}")
    assert kept(*words, "costs.review.usd_per_hour=30", "costs.review.minutes=6") == 0
    half, said = told(tmp_path)["qwen25_1.5b"], json.loads((review / "review.json").read_text())
    assert kept(PRICE, f"out={tmp_path}") == 0
    bare = told(tmp_path)["qwen25_1.5b"]
    assert half["usd_per_day"] == pytest.approx(bare["usd_per_day"] + 5000 * said["sent"] / said["n"] * 3)
    assert kept(*words, "costs.review={share: 0.1, minutes: 6, usd_per_hour: 30}") == 0
    whole = told(tmp_path)
    assert whole["qwen25_1.5b"]["usd_per_day"] == pytest.approx(bare["usd_per_day"] + 5000 * 0.1 * 3)
    assert whole["gemma270m"]["usd_per_day"] > 5000 * 0.1 * 3, "all three typed are for every option"
    assert not any("review" in one for one in whole[""]["not_counted"])


def test_minutes_of_verdicts_beside_it_are_taken(review: Path, tmp_path: Path) -> None:
    said = json.loads((review / "review.json").read_text())
    (tmp_path / "review.json").write_text(json.dumps(said))
    each = {"value": 6.0, "low": 5.0, "high": 7.0, "n": 9}
    (tmp_path / "verdicts.json").write_text(json.dumps({"answers_hash": said["answers_hash"], "minutes_each": each}))
    assert kept(PRICE, f"reviews=[{tmp_path}]", f"out={tmp_path}") == 0
    twice = told(tmp_path)["qwen25_1.5b"]["usd_per_day"]
    (tmp_path / "verdicts.json").write_text(json.dumps({"answers_hash": "of others", "minutes_each": each}))
    assert kept(PRICE, f"reviews=[{tmp_path}]", f"out={tmp_path}") == 0
    assert twice - told(tmp_path)["qwen25_1.5b"]["usd_per_day"] == pytest.approx(5000 * said["sent"] / said["n"] * 3)


def test_a_review_of_other_answers_is_told(review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = json.loads((review / "review.json").read_text())
    (tmp_path / "review.json").write_text(json.dumps({**said, "answers_hash": "others", "split": "dev"}))
    assert kept(PRICE, f"reviews=[{tmp_path}]") == 0
    assert "of other answers than these (dev, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"task": "cuad"}, "is a review of another task (cuad, here legal_extract)"),
        ({"option": "qwen25_2b"}, "is a review of 'qwen25_2b', which is none of the options here; did you mean"),
        ({"share": 3}, "is no review.json of `python -m evals review run=RUN`: it has no 'share'"),
        ({"work": {"minutes_each": 3, "usd_per_hour": None}}, "no price of a person's hour"),
    ],
)
def test_mistakes_are_one_line(
    change: dict[str, Any], says: str, review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.loads((review / "review.json").read_text())
    (tmp_path / "review.json").write_text(json.dumps({**said, **change}))
    assert kept(PRICE, f"reviews=[{tmp_path}/review.json]") == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_files_that_are_not_there_and_reviews_without_runs(
    review: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept(PRICE, f"reviews=[{tmp_path}/none.json]") == 2
    assert "none.json is not there; python -m evals review" in capsys.readouterr().err
    assert kept(PRICE, f"reviews=[{review},{review}/review.json]") == 2
    assert "are both of qwen25_1.5b" in capsys.readouterr().err
    assert evals.cli.main(["decide", "scenario=request_scale", f"reviews=[{review}]"]) == 2
    assert "reviews=[FILE] is for stored runs: task=NAME" in capsys.readouterr().err
