"""Scenarios as YAML: those that are shipped decide, what is wrong is named; machine prices have a page and a date."""

from pathlib import Path
from typing import Any

import pytest

import evals
from evals import catalog, cli
from evals.commands import scenario
from evals.errors import ConfigError

MACHINES = [name for name in catalog.options("machine") if name != "this"]


@pytest.mark.parametrize("name", catalog.options("scenario"))
def test_every_scenario_decides(name: str) -> None:
    assert catalog.option("scenario", name)["name"] == name
    found = evals.decide(scenario=name)
    assert found.exit_code == 0 and found.result["recommended"] is not None and len(found.result["at"]) == 2


@pytest.mark.parametrize("name", MACHINES)
def test_a_machine_price_has_a_page_and_a_date_or_is_none(name: str) -> None:
    told = catalog.option("machine", name)
    assert told["name"] == name
    if told["usd_per_hour"] is None:
        assert told["verified"] is False
        return
    assert "http" in told["source"] and str(told["date"]).startswith("2026-") and told["verified"] is True
    low, high = told["usd_per_hour_low"], told["usd_per_hour_high"]
    assert (low is None) == (high is None) and (low is None or low <= told["usd_per_hour"] <= high)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"options": []}, "should be a list of options"),
        ({"options": ["api"]}, "should be a list of options"),
        ({"options": [{"option": "a"}], "volumes": [0]}, "each at least 1"),
        ({"options": [{"option": "a"}], "volums": [1]}, "did you mean volumes"),
        ({"options": [{"option": "a"}], "min": 3}, "scenario.min should hold keys"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        scenario.read(given)


def test_costs_of_the_user_go_before_the_scenarios_and_those_before_defaults() -> None:
    defaults = {"peak": 3, "own": {"setup_usd": None}}
    beside = {"peak": 2, "own": {"setup_usd": 100, "ops_hours_per_month": 5}}
    found = scenario.costs({"peak": 3, "own": {"setup_usd": None}}, beside, defaults)
    assert found.peak == 2 and found.sides["own"] == {"setup_usd": 100, "ops_hours_per_month": 5}
    mine = scenario.costs({"peak": 5, "own": {"setup_usd": 7}}, beside, defaults)
    assert mine.peak == 5 and mine.sides["own"]["setup_usd"] == 7
    with pytest.raises(ConfigError, match=r"costs.peek is not known; did you mean peak"):
        scenario.costs({"peek": 1})
    with pytest.raises(ConfigError, match="should hold keys, not 3"):
        scenario.costs({"own": 3})


def test_one_price_for_both_of_a_scenarios_options() -> None:
    """The API's price of the founding example is one fact: doubled, both options double what they send there."""
    base = catalog.option("scenario", "document_startup")
    dear = [{**one, "usd_per_doc": 0.6} if "usd_per_doc" in one else one for one in base["options"]]
    found = evals.decide(scenario={**base, "options": dear}).result
    by = {one["option"]: one["usd_per_day"] for one in found["options"]}
    assert by == {"api": 3000.0, "hybrid": 450.0, "gpu alone": 50.0}
    assert [one["name"] for one in found["figures"]].count("API price of large") == 1


def test_a_scenario_without_a_name_is_called_as_its_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "configs" / "scenario"
    folder.mkdir()
    (folder / "ours.yaml").write_text("volume: 10\noptions:\n  - {option: x, kind: api, usd_per_doc: 0.5}\n")
    assert cli.main(["decide", "scenario=ours"]) == 0
    assert "scenario ours, 10 documents a day" in capsys.readouterr().out
    assert evals.decide(scenario="ours").result["title"] == "scenario ours"
    plain = {"volume": 10, "options": [{"option": "x", "kind": "api", "usd_per_doc": 0.5}]}
    assert evals.decide(scenario=plain).result["title"] == "scenario of your own"
