"""`decide` from the command line and from Python: scenarios, runs, files, exit codes, and what the user can get wrong."""

import json
from pathlib import Path

import pytest
from made_runs import PRICES, folder

import evals
from evals import cli, store

KEPT = Path(__file__).parents[2] / "notebooks" / "runs"
TOP = {"volume_per_day", "recommended", "runner_up", "options", "break_even", "flips"}
OPTION = {"option", "quality", "usd_per_day", "latency_p95_s", "replicas", "feasible", "breaks", "p_cheapest"}
PAIR = {"a", "b", "first_win_per_day", "always_win_per_day"}


def ran(*words: str) -> int:
    return cli.main(["decide", *words])


def kept(*words: str) -> int:
    return ran("task=legal_extract", f"runs={KEPT}", "volume=5000", *words)


def test_the_founding_scenario(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert ran("scenario=document_startup", f"out={tmp_path}") == 0
    printed = capsys.readouterr().out
    assert "use hybrid: $250.00 a day" in printed and "667 documents a day go to its strong model" in printed
    assert "500 a day: api $150.00" in printed and "5,000 a day: api $1,500.00, hybrid $250.00" in printed
    assert "a = api, b = gpu alone: 167" in printed
    told = json.loads((tmp_path / "decide.json").read_text())
    assert set(told) >= TOP and set(told["options"][0]) >= OPTION and set(told["break_even"][0]) >= PAIR
    rows = (tmp_path / "decide.csv").read_text().splitlines()
    assert len(rows) == 4 and rows[0].startswith("option,")
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 1 + 3 * 20
    record = (tmp_path / "decision.md").read_text()
    assert "## Sign-off" in record and "| Name |  |" in record


def test_request_scale_turns_between_its_volumes(capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("scenario=request_scale", "volume=1000") == 0
    assert "use api" in capsys.readouterr().out
    assert ran("scenario=request_scale", "volume=100000") == 0
    printed = capsys.readouterr().out
    assert "use self-hosted" in printed and "throughput of self-hosted below" in printed


def test_a_scenario_of_ones_own(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = project / "configs" / "scenario"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "name: mine\nvolume: 10\noptions:\n  - {option: =x, kind: api, usd_per_doc: 0.5}\n"
    )
    assert ran("scenario=mine", f"out={project / 'out'}") == 0
    assert "$5.00 a day" in capsys.readouterr().out
    assert "'=x" in (project / "out" / "decide.csv").read_text()


def test_stored_runs_without_a_machine_price_are_not_free(capsys: pytest.CaptureFixture[str]) -> None:
    assert kept() == 0
    printed = capsys.readouterr().out
    assert "nothing can be recommended yet" in printed and "machine.usd_per_hour" in printed and "$0" not in printed
    assert kept("strict=true") == 3


def test_stored_runs_with_a_price(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert kept("machine.usd_per_hour=0.35", "min.f1=0.5", f"out={tmp_path}") == 0
    printed = capsys.readouterr().out
    assert "use qwen25_0.5b" in printed and "extrapolated" in printed and "assumed" in printed
    told = json.loads((tmp_path / "decide.json").read_text())
    runs = [one["runs"][0] for one in told["options"]]
    assert all(len(one["sha256"]) == 64 and Path(one["run"]).is_dir() for one in runs)
    assert len({one["sha256"] for one in runs}) == 5 and runs[0]["sha256"] in (tmp_path / "decision.md").read_text()
    by = {one["option"]: one for one in told["options"]}
    summary = store.read_json(Path(by["qwen25_0.5b"]["runs"][0]["run"]) / "summary.json")
    assert by["qwen25_0.5b"]["quality"] == pytest.approx(summary["quality"]["f1"]["value"])
    rate = summary["throughput"]["docs_per_min"] / 60
    assert by["qwen25_0.5b"]["docs_per_day_per_replica"] == pytest.approx(86_400 * rate * 0.7 / 3)
    assert by["qwen25_0.5b"]["usd_per_day"] == pytest.approx(by["qwen25_0.5b"]["replicas"] * 24 * 0.35)


def test_doubling_the_machine_price_doubles_local_dollars() -> None:
    found = [
        evals.decide(task="legal_extract", runs=str(KEPT), volume=5000, overrides={"machine.usd_per_hour": p})
        for p in (0.2, 0.4)
    ]
    one, two = ({row["option"]: row["usd_per_day"] for row in each.result["options"]} for each in found)
    assert two == pytest.approx({name: 2 * usd for name, usd in one.items()})
    slow = evals.decide(
        task="legal_extract",
        runs=str(KEPT),
        volume=5_000_000,
        overrides={"machine.usd_per_hour": 0.2},
        docs_per_s={"qwen25_0.5b": 2.0, "qwen25_1.5b": 1.0},
    )
    by = {row["option"]: row["usd_per_day"] for row in slow.result["options"]}
    assert by["qwen25_1.5b"] == pytest.approx(2 * by["qwen25_0.5b"], rel=0.01)


def test_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    price = "machine.usd_per_hour=0.35"
    assert kept(price, "min.f1=0.95") == 1
    assert "instead of 0.95 opens qwen25_1.5b" in capsys.readouterr().out
    assert kept(price, "max.usd_per_day=1") == 1
    assert kept(price, "min.f1=0.63") == 0  # one may, one does
    assert kept(price, "min.f1=0.63", "strict=true") == 3  # the cheaper one may too
    assert kept(price, "max.latency_p95_s=300", "min.f1=0.6") == 0
    assert "would settle" in capsys.readouterr().out


def test_slices_and_fields_have_floors(capsys: pytest.CaptureFixture[str]) -> None:
    words = (
        "machine.usd_per_hour=0.35",
        "+min_slice.complex=0.5",
        "+min_field.governing_law=0.3",
        "min.schema_valid=0.5",
    )
    assert kept(*words) == 0
    printed = capsys.readouterr().out
    assert "quality in complex" in printed and "use qwen25" in printed


@pytest.mark.parametrize(
    "words",
    [
        ["min_slice={complex: 0.5}", "min_field={parties[].name: 0.3}"],
        ["min_slice.complex=0.5", "min_field.parties[].name=0.3"],
        ["+min_slice.complex=0.5", "+min_field={parties[].name: 0.3}"],
    ],
)
def test_floors_are_said_in_any_of_three_ways(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert kept("machine.usd_per_hour=0.35", *words) in (0, 1)
    assert "privacy=public, min_slice.complex=0.5, min_field.parties[].name=0.3\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "give task=NAME, table=FILE or scenario=NAME"),
        (["scenario=nothing"], "scenario=nothing is not known; known are document_startup, request_scale"),
        (["scenario=request_scale", "volume=-5"], "volume=-5 must be at least 1"),
        (["scenario=request_scale", "volume=many"], "volume='many' should be documents a day"),
        (["scenario=request_scale", "volume={low: 9, typical: 5, high: 10}"], "do not rise"),
        (["scenario=request_scale", "currency=EUR"], "currency=EUR is not known: prices here are in USD"),
        (["scenario=request_scale", "min.f1=1.5"], "min.f1=1.5 must be in 0..1: nothing could keep it"),
        (["scenario=request_scale", "min.f1=high"], "min.f1='high' should be a number"),
        (["scenario=request_scale", "min_slice=0.7"], "min_slice=0.7 names no key of min_slice: "),
        (["scenario=request_scale", "min_slice=0.7"], "min_slice.complex=0.7"),
        (["scenario=request_scale", "max=7"], "max.latency_p95_s"),
        (["scenario=request_scale", "policies=[p.json]"], "policies=[FILE] is for stored runs: task=NAME"),
        (["task=legal_extract", "policies=p.json"], "policies='p.json' should be a list: policies=[p.json]"),
        (["scenario=request_scale", "min.f2=0.5"], "min.f2 is not known; did you mean min.f1"),
        (["scenario=request_scale", "max.usd_per_day=-1"], "max.usd_per_day=-1 must be at least 0"),
        (["scenario=request_scale", "+max.usd=1"], "max.usd is not known"),
        (["scenario=request_scale", "privacy=secret"], "privacy='secret'"),
        (["scenario=request_scale", "growth=0"], "growth=0 must be above 0"),
        (["scenario=request_scale", "growth=inf"], "growth=inf must be above 0, and finite"),
        (["scenario=request_scale", "seed=-1"], "seed=-1 must be at least 0"),
        (["scenario=request_scale", "draws=3"], "draws=3 must be in 100..100000"),
        (["scenario=request_scale", "draws=1000000000"], "must be in 100..100000"),
        (["scenario=request_scale", "costs.peak=0.5"], "peak=0.5 must be at least 1"),
        (["scenario=request_scale", "costs.utilisation=2"], "utilisation=2 must be above 0 and at most 1"),
        (["scenario=request_scale", "costs.own.setup_usd=-4"], "setup of own=-4 must be at least 0"),
        (["scenario=request_scale", "+costs.own.hours=4"], "costs.own.hours is not known"),
        (["scenario=request_scale", "costs.review.share=0.1"], "together"),
        (["scenario=request_scale", "+scenario.typo=1"], "scenario.typo is not known"),
        (["task=legal_extract", "volume=5", "runs=nowhere"], "no complete run of legal_extract"),
        (["task=legal_extract", f"runs={KEPT}"], "volume=5000: how many documents a day?"),
        (["task=legal_extract", f"runs={KEPT}", "volume=5", "quality=f9"], "metric f9 is not known; did you mean f1"),
        (["task=legal_extract", f"runs={KEPT}", "volume=5", "machine.usd_per_hour=-3"], "must be at least 0"),
        (["task=legal_extract", f"runs={KEPT}", "volume=5", "policies=[none.json]"], "none.json is no file; `python"),
        (
            ["task=legal_extract", f"runs={KEPT}", "volume=5", f"policies=[{KEPT}]"],
            "is no file; `python -m evals route",
        ),
    ],
)
def test_mistakes_are_one_line(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert ran(*words) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_runs_of_too_few_documents(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["run", "task=mine", "model=rules", "limit=3"])
    capsys.readouterr()
    assert ran("task=mine", "volume=5") == 2
    assert "3 documents are answered by every option: too few to decide on, at least 5" in capsys.readouterr().err


def test_api_and_batch_and_scenario_options_beside_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs" / "legal_extract"
    data = {"task": "legal_extract", "dataset": {"sha256": "x"}}
    folder(root, "cloud", location="remote", prices=PRICES, **data)
    folder(root, "local", seconds=4.0, **data)
    words = ("task=legal_extract", f"runs={root}", "volume=1000", "scenario=request_scale")
    assert ran(*words, "machine.usd_per_hour=5", "max.latency_p95_s=60", f"out={tmp_path / 'o'}") == 0
    told = json.loads((tmp_path / "o" / "decide.json").read_text())
    by = {one["option"]: one for one in told["options"]}
    assert set(by) == {"cloud", "cloud (batch)", "local", "api", "self-hosted"}
    assert by["cloud (batch)"]["usd_per_day"] == pytest.approx(by["cloud"]["usd_per_day"] / 2)
    assert by["cloud (batch)"]["feasible"] is False and "batch" in by["cloud (batch)"]["breaks"][0]
    assert by["cloud"]["privacy"] == "remote"
    capsys.readouterr()
    assert ran(*words, "machine.usd_per_hour=5", "privacy=restricted") == 0
    assert "only a model with location: own may see it" in capsys.readouterr().out


def test_in_python(capsys: pytest.CaptureFixture[str]) -> None:
    found = evals.decide(scenario="request_scale", volume=100_000, max={"usd_per_day": 300})
    assert found.exit_code == 0 and found.result["recommended"] == "self-hosted"
    assert len(found.options) == 2 and "self-hosted" in found._repr_html_() and "At 100,000 documents" in str(found)
    mine = {"options": [{"option": "<b>", "kind": "api", "usd_per_doc": "1/3"}], "volume": 3}
    one = evals.decide(scenario=mine)
    assert one.result["options"][0]["usd_per_day"] == 1.0 and "<b>" not in one._repr_html_()
