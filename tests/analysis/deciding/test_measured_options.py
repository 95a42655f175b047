"""Runs as options: dollars, batch tiers, throughput and its provenance, quality floors, what cannot be had."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import PRICES, call, folder, made, record, score

from evals import store
from evals.analysis.deciding.figures import figure
from evals.analysis.deciding.measured import BATCH, Terms, options
from evals.analysis.deciding.options import Costs
from evals.analysis.tables.table import load_runs
from evals.errors import ConfigError, DataError


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    """An API with a batch tier, and a model on a machine of one's own."""
    remote = folder(tmp_path, "cloud", location="remote", prices=PRICES)
    return [remote, folder(tmp_path, "local", seconds=4.0, machine={"name": "this", "cpu": "X", "cores": 2})]


def read(runs: list[Path], **more: Any) -> dict[str, Any]:
    manifests = {path.parent.name: store.read_json(path / "manifest.json") for path in runs}
    asked = Terms(**{"metrics": ["f1"], "draws": 300, **more})
    found, notes = options(load_runs(runs), manifests, asked, load_runs(runs, fields=True))
    return {**{one.name: one for one in found}, "": notes}


def test_api_dollars_are_usage_by_price(runs: list[Path]) -> None:
    found = read(runs)
    mean = sum(1000 + 10 * i for i in range(20)) / 20
    price = found["cloud"].deployment.usd_per_doc
    assert float(price.value) == pytest.approx((mean * 2 + 100 * 8) / 1e6)
    batch = found["cloud" + BATCH].deployment
    assert batch.kind == "batch" and float(batch.usd_per_doc.value) == pytest.approx((mean + 100 * 4) / 1e6)
    assert price.provenance == "declared" and price.low < float(price.value) < price.high
    assert found["cloud" + BATCH].latency_p95_s is None and found["cloud"].latency_p95_s.value == 2.0
    assert "cloud" + BATCH not in read(runs, batch=False)


def test_throughput_of_a_machine_that_was_not_full_is_assumed_and_told(runs: list[Path]) -> None:
    local = read(runs)["local"]
    assert float(local.deployment.docs_per_s.value) == pytest.approx(1 / 4)
    assert local.deployment.docs_per_s.provenance == "assumed" and "extrapolated" in local.notes[0]
    assert local.deployment.usd_per_hour is None and local.deployment.provenance is None


def test_throughput_of_an_offline_run_is_measured(tmp_path: Path) -> None:
    full = folder(tmp_path, "local", load="offline(16)", machine={"name": "gpu"})
    chosen = {"name": "gpu", "usd_per_hour": 2}
    here = read([full], machine=chosen)["local"].deployment
    assert here.docs_per_s.provenance == "measured" and here.provenance == "declared"
    local = read([full], machine=chosen)["local"]
    assert local.latency_p95_s is None and local.load == "offline(16)", "they waited for each other by design"
    elsewhere = read([full], machine={"name": "h100", "usd_per_hour": 2})["local"]
    assert elsewhere.deployment.provenance == "assumed" and "taken for h100" in elsewhere.notes[0]


def test_an_offline_run_too_short_to_fill_its_places_is_assumed(tmp_path: Path) -> None:
    short = folder(tmp_path, "local", load="offline(8)", concurrency=8, machine={"name": "gpu"})
    found = read([short], machine={"name": "gpu", "usd_per_hour": 2})["local"]
    assert found.deployment.docs_per_s.provenance == "assumed"
    assert "20 documents, too few to keep 8 places full" in found.notes[0]


@pytest.mark.parametrize("documents", [13, 25])
def test_an_offline_runs_end_lowers_no_throughput(tmp_path: Path, documents: int) -> None:
    """Four places, 2 s a document, and a last one that takes 1,000 s alone: two documents a second while all are full."""
    told = [record(f"d{i}", call(i // 4 * 2.0, 2.0, input=10, output=10)) for i in range(documents - 1)]
    told.append(record("last", call((documents - 1) // 4 * 2.0, 1000.0, input=10, output=10)))
    points = [(one, score("tp")) for one in told]
    about = {"load": "offline(4)", "concurrency": 4, "machine": {"name": "gpu"}, "option": "local", "model": "local"}
    run = made(tmp_path / "local" / "run", told, points, **about)
    found = read([run], machine={"name": "gpu", "usd_per_hour": 2})["local"].deployment.docs_per_s
    assert float(found.value) == pytest.approx(2.0) and found.provenance == "measured"


def test_a_declared_throughput_and_the_runs_own_price(tmp_path: Path) -> None:
    run = folder(tmp_path, "local", machine={"name": "box", "usd_per_hour": 0.5})
    found = read([run], docs_per_s={"local": {"low": 1, "typical": 2, "high": 3}})["local"].deployment
    assert found.docs_per_s.value == 2 and found.docs_per_s.high == 3
    assert found.usd_per_hour.value == 0.5 and "box" in found.usd_per_hour.name
    with pytest.raises(ConfigError, match=r"docs_per_s.lokal is not known; did you mean local"):
        read([run], docs_per_s={"lokal": 2})


def test_hardware_that_was_bought_is_paid_off_by_the_hour(tmp_path: Path) -> None:
    run = folder(tmp_path, "local")
    bought = {"name": "own", "price_usd": 8760, "years": 2, "watts": 500, "usd_per_kwh": 0.2}
    found = read([run], machine=bought)["local"].deployment.usd_per_hour
    assert float(found.value) == pytest.approx(0.5 + 0.1)
    with pytest.raises(ConfigError, match=r"machine.watts is needed beside"):
        read([run], machine={**bought, "watts": None})
    with pytest.raises(ConfigError, match="years above 0"):
        read([run], machine={**bought, "years": 0})


def test_a_price_of_ones_own_drops_the_range_of_the_yaml(tmp_path: Path) -> None:
    run = folder(tmp_path, "local")
    named = {"name": "h100", "usd_per_hour": 4, "usd_per_hour_low": 3, "usd_per_hour_high": 6}
    assert read([run], machine=named)["local"].deployment.usd_per_hour.high == 6
    mine = {**named, "usd_per_hour": 1.5}
    assert read([run], machine=mine)["local"].deployment.usd_per_hour.high is None


def test_quality_with_its_one_sided_bound(runs: list[Path]) -> None:
    found = read(runs, metrics=["f1", "exact"], slices=["even"], fields=["who"])["cloud"]
    assert found.quality["f1"].value == pytest.approx(0.8)
    assert found.quality["exact"].value == pytest.approx(0.8)
    assert found.quality["f1"].low < 0.8 < found.quality["f1"].high and len(found.quality["f1"].drawn) == 300
    assert found.slices["even"].value == pytest.approx(0.8) and found.fields["who"].value == pytest.approx(0.8)


def test_a_level_of_api_prices_moves_all_of_them(runs: list[Path]) -> None:
    level = figure({"low": 0.5, "typical": 1, "high": 1.5}, "level")
    plain, moved = (read(runs, price=one)["cloud"].deployment.usd_per_doc for one in (None, level))
    assert moved.value == plain.value and moved.high - moved.low > 5 * (plain.high - plain.low)
    both = read(runs, price=level)
    ratio = both["cloud"].deployment.usd_per_doc.drawn / both["cloud" + BATCH].deployment.usd_per_doc.drawn
    assert np.ptp(ratio) < 0.1  # the same draws


def test_costs_reach_the_deployment(runs: list[Path]) -> None:
    costs = Costs(sides={"own": {"ops_hours_per_month": 20, "lead_weeks": 6}}, usd_per_ops_hour=50, spare=1)
    found = read(runs, costs=costs)
    assert found["local"].ops_hours_per_month == 20 and found["local"].lead_weeks == 6
    assert found["local"].deployment.spare == 1 and len(found["local"].deployment.fixed) == 1
    assert found["cloud"].deployment.fixed == ()


def test_mistakes(runs: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="metric f7 is not known; did you mean f1"):
        read(runs, metrics=["f7"])
    with pytest.raises(ConfigError, match="metric parse_strict was not measured"):
        read(runs, metrics=["parse_strict"])
    with pytest.raises(ConfigError, match=r"min_slice.evn: no document has this tag; did you mean even"):
        read(runs, slices=["evn"])
    with pytest.raises(ConfigError, match=r"min_field.whom is no field of these runs; did you mean who"):
        read(runs, fields=["whom"])
    few = folder(tmp_path, "few", n=4)
    with pytest.raises(DataError, match="4 documents are answered by every option: too few"):
        read([few])


def test_a_remote_cost_of_zero_is_unknown(tmp_path: Path) -> None:
    free = {"default": {"name": "m", "input_usd_per_mtok": 0.0, "output_usd_per_mtok": 0.0, "provenance": "declared"}}
    found = read([folder(tmp_path, "cloud", location="remote", prices=free)])["cloud"].deployment
    assert found.usd_per_doc is None and found.lacking() == ["usd_per_doc"]
