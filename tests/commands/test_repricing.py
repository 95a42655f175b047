"""Costs at prices of different dates are told with their verdicts, and made anew where the user says so."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from made_runs import call, made, record

import evals
from evals import store
from evals.cli import main
from evals.errors import ConfigError

HASHES = {"scorer": "s1", "prompt": "p1", "schema": "j1"}
CHEAPER = "input_usd_per_mtok: 1.0, output_usd_per_mtok: 5.0, source: a page, date: '2026-11-20'"


def price(date: str, factor: float) -> dict[str, Any]:
    rates = {"input_usd_per_mtok": 2.0 * factor, "output_usd_per_mtok": 10.0 * factor}
    return {"default": {"name": "api (default)", **rates, "source": "a page", "date": date}}


def run(option: str, prices: dict[str, Any] | None, day: int = 1, **more: Any) -> Path:
    """30 documents of 1,000 tokens and some; each takes a second."""
    stamp = f"2026-01-{day:02d}T00-00-00.000000Z"
    named = [record(f"d{i}", call(float(i), 1.0, input=1000 + i, output=100)) for i in range(30)]
    about = {"option": option, "model": option, "hashes": HASHES, "dataset": {"sha256": "x"}, "started_at": stamp}
    about |= {"location": "api" if prices else "own", "prices": prices, "processing": "online"} | more
    return made(store.results_root() / "mine" / option / stamp, named, **about)


@pytest.fixture
def here(project: Path) -> Path:
    """Two API models priced half a year apart, the second at half the price; both YAMLs say today's price."""
    run("old", price("2026-05-01", 1.0))
    run("new", price("2026-11-20", 0.5))
    (project / "configs" / "model").mkdir()
    for name in ("old", "new"):
        text = f"_target_: evals.models.fake.Fake\nname: {name}\nlocation: api\nprice: {{{CHEAPER}}}\n"
        (project / "configs" / "model" / f"{name}.yaml").write_text(text)
    return project


def cost(result: dict[str, Any]) -> dict[str, Any]:
    (found,) = [r for r in result["metrics"] if r["metric"] == "cost"]
    return found  # type: ignore[no-any-return]


def test_prices_of_different_dates_are_told_in_every_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "baseline=old", "candidate=new", "by=[]", "out=out"]) == 0
    said = "prices of different dates (baseline old: 2026-05-01, new: 2026-11-20)"
    found = cost(store.read_json(Path("out/compare.json")))
    assert found["verdict"] == "improved" and found["note"] == said and found["relative"] == pytest.approx(-0.5)
    assert " ".join(capsys.readouterr().out.split()).count("of different dates") >= 2
    assert f"improved: {said}" in Path("out/compare.md").read_text()
    text = ElementTree.parse("out/compare.xml").getroot()[0].findtext("system-out") or ""
    assert said in text and "reprice=true prices both at today's" in text


def test_repriced_both_sides_are_at_one_price(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "baseline=old", "candidate=new", "by=[]", "out=out", "reprice=true"]) == 0
    found = cost(store.read_json(Path("out/compare.json")))
    tokens = [(1000 + i, 100) for i in range(30)]
    expected = sum(1000 * (a * 1.0 + b * 5.0) / 1e6 for a, b in tokens) / 30
    assert found["baseline"] == found["candidate"] == pytest.approx(expected) and found["note"] == "no document differs"
    out = capsys.readouterr().out
    assert "different dates" not in out and "priced anew at today's prices (of 2026-11-20)" in out


def test_a_reference_is_repriced_too(here: Path) -> None:
    assert main(["compare", "candidate=old", "save=true"]) == 0
    assert main(["compare", "candidate=new", "by=[]", "out=out"]) == 0
    assert cost(store.read_json(Path("out/compare.json")))["relative"] == pytest.approx(-0.5)
    assert main(["compare", "candidate=new", "by=[]", "out=out", "reprice=true"]) == 0
    assert cost(store.read_json(Path("out/compare.json")))["relative"] == pytest.approx(0.0)


def test_a_machine_s_price_is_given_to_both_sides(project: Path) -> None:
    run("a", None)
    run("b", None)
    found = evals.compare(candidate="b", baseline="a", overrides={"machine.usd_per_hour": 36.0}, by=[])
    row = cost(found.result)
    assert row["baseline"] == row["candidate"] == pytest.approx(10.0), "36 $/h is a cent a second"
    assert "own machines are priced at $36 an hour, as declared" in str(found)
    bare = evals.compare(candidate="b", baseline="a", by=[])
    assert cost(bare.result)["verdict"] == "not measured" and "machine.usd_per_hour=..." in str(bare).replace("\n", "")


def test_the_frontier_says_it_and_prices_anew(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["frontier", "task=mine", "out=out"]) == 0
    assert "different dates (old: 2026-05-01, new: 2026-11-20); reprice=true" in capsys.readouterr().out
    before = {p["option"]: p["cost"] for p in store.read_json(Path("out/frontier.json"))["points"]}
    assert before["new"] == pytest.approx(before["old"] / 2)
    assert main(["frontier", "task=mine", "out=out", "reprice=true"]) == 0
    assert "API models are priced at today's prices" in capsys.readouterr().out
    after = {p["option"]: p["cost"] for p in store.read_json(Path("out/frontier.json"))["points"]}
    assert after["new"] == after["old"] == pytest.approx(before["new"])


def test_one_date_or_none_is_no_word(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("old", price("2026-05-01", 1.0))
    run("new", price("2026-05-01", 0.5))
    run("mine", None)
    for words in (["compare", "baseline=old", "candidate=new,mine", "by=[]"], ["frontier", "task=mine"]):
        assert main(words) == 0
        assert "different dates" not in capsys.readouterr().out


def test_a_model_without_a_yaml_cannot_be_repriced(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("gone", price("2026-05-01", 1.0))
    run("gone", price("2026-05-01", 1.0), day=2)
    assert main(["compare", "baseline=gone", "candidate=gone", "reprice=true"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "reprice:" in line and "gone" in line


def test_saving_a_reference_in_python_is_what_the_command_does(here: Path) -> None:
    path = evals.compare(candidate="old", save=True)
    assert path == here / "results" / "baselines" / "mine.json"
    text = path.read_text()
    path.unlink()
    assert main(["compare", "candidate=old", "save=true"]) == 0 and path.read_text() == text
    assert evals.compare(candidate="new", by=[]).result["baseline"]["run"] == str(path)
    with pytest.raises(ConfigError, match="save=true writes one candidate"):
        evals.compare(candidate=["old", "new"], save=True)
