"""The frontier of tables with and without documents, against naive methods; the geometry by its definitions."""

import itertools
from typing import Any

import numpy as np
import pandas as pd
import pytest

from evals.analysis import pareto
from evals.analysis.frontier import Wanted, frontier
from evals.errors import ConfigError, DataError

WAYS = ("max", "min")


def documents(n: int = 200, **options: tuple[Any, Any]) -> pd.DataFrame:
    """A row a document: option -> (scores, costs)."""
    parts = [
        pd.DataFrame({"option": name, "model": name, "sample_id": [f"d{i:03}" for i in range(n)], "score": score})
        for name, (score, _) in options.items()
    ]
    for part, (_, cost) in zip(parts, options.values(), strict=True):
        part["cost_usd"] = cost
    return pd.concat(parts, ignore_index=True)


def points(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {point["option"]: point for point in report["points"]}


def twins() -> pd.DataFrame:
    random = np.random.default_rng(1)
    worse = random.random(200)
    better = worse.copy()
    better[[3, 77, 150]] += 0.3
    cost = random.random(200)
    return documents(worse=(worse, cost), better=(better, cost))


def test_the_pairing_gives_the_closed_form() -> None:
    """Equal but for 3 better documents of 200: the worse stays where none of them is drawn, (1 - 3/200)^200."""
    found = points(frontier(twins(), Wanted(draws=8000)))
    exact = (1 - 3 / 200) ** 200
    assert found["better"]["p_non_dominated"] == 1.0
    assert found["worse"]["p_non_dominated"] == pytest.approx(exact, abs=4 * np.sqrt(exact / 8000))
    assert found["worse"]["dominated_by"] == ["better"] and not found["worse"]["on_frontier"]


def test_an_unpaired_twin_differs() -> None:
    """The same two options on other documents than each other: their draws do not rise and fall together."""
    table, random = twins(), np.random.default_rng(2)
    means = {}
    for name, part in table.groupby("option"):
        drawn = random.integers(0, 200, (4000, 200))
        means[name] = (part["score"].to_numpy()[drawn].mean(axis=1), part["cost_usd"].to_numpy()[drawn].mean(axis=1))
    beaten = (means["better"][0] >= means["worse"][0]) & (means["better"][1] <= means["worse"][1])
    apart = 1 - beaten.mean()
    assert abs(apart - points(frontier(table, Wanted()))["worse"]["p_non_dominated"]) > 0.2


def test_shuffling_one_option_s_rows_changes_nothing() -> None:
    table = twins()
    one = table["option"] == "worse"
    shuffled = pd.concat([table[~one], table[one].sample(frac=1, random_state=3)])
    assert frontier(shuffled, Wanted()) == frontier(table, Wanted())


def test_options_are_cut_to_their_common_documents() -> None:
    table = twins()
    table = table.drop(table[(table["option"] == "better") & (table["sample_id"] < "d050")].index)
    report = frontier(table, Wanted())
    assert report["documents"] == 150 and "50 of 200 documents are not answered by every option" in report["notes"][0]
    common = table[(table["option"] == "worse") & (table["sample_id"] >= "d050")]
    assert points(report)["worse"]["quality"] == pytest.approx(common["score"].mean())
    with pytest.raises(DataError, match="no document in common"):
        frontier(table[(table["option"] == "worse") == (table["sample_id"] < "d050")], Wanted())


def test_an_unknown_cost_is_on_no_frontier() -> None:
    table = documents(known=(0.5, 1.0), partly=(0.9, 0.1), never=(0.99, np.nan))
    table.loc[(table["option"] == "partly") & (table["sample_id"] == "d007"), "cost_usd"] = np.nan
    found = points(frontier(table, Wanted()))
    assert [name for name, point in found.items() if point["on_frontier"]] == ["known"]
    assert found["partly"]["cost"] is None and found["partly"]["p_non_dominated"] is None
    assert found["partly"]["flags"] == ["cost is not known for 1 of 200 documents"]
    assert found["known"]["p_non_dominated"] == 1.0 and found["known"]["dominated_by"] == []


def test_ties_are_kept() -> None:
    found = points(frontier(documents(a=(0.5, 1.0), b=(0.5, 1.0), c=(0.4, 1.0)), Wanted()))
    assert found["a"]["on_frontier"] and found["b"]["on_frontier"] and found["c"]["dominated_by"] == ["a", "b"]
    assert found["a"]["p_non_dominated"] == found["b"]["p_non_dominated"] == 1.0


@pytest.mark.parametrize("n", [1, 3])
def test_few_documents(n: int) -> None:
    report = frontier(documents(n, a=(0.5, 1.0), b=(0.6, 2.0)), Wanted())
    assert all(point["on_frontier"] for point in report["points"])
    if n == 1:
        assert report["points"][0]["p_non_dominated"] is None and "no intervals" in " ".join(report["notes"])


def test_repeats_are_averaged_and_groups_drawn_whole() -> None:
    table = twins()
    again = pd.concat([table.assign(repeat=0.0), table.assign(repeat=1.0, score=table["score"] + 0.2)])
    report = frontier(again, Wanted())
    assert points(report)["worse"]["quality"] == pytest.approx(table[table["option"] == "worse"]["score"].mean() + 0.1)
    assert "repeats are averaged" in " ".join(report["notes"])
    grouped = frontier(table.assign(group=table["sample_id"].str[:3]), Wanted(draws=4000))
    assert points(grouped)["worse"]["p_non_dominated"] == pytest.approx((1 - 3 / 20) ** 20, abs=0.02)


def test_micro_f1_is_the_ratio_of_totals() -> None:
    random = np.random.default_rng(4)
    table = documents(a=(0.0, 1.0))
    table["whole"] = random.integers(5, 20, 200)
    table["hits"] = random.binomial(table["whole"], 0.8)
    point = frontier(table, Wanted())["points"][0]
    assert point["quality"] == pytest.approx(table["hits"].sum() / table["whole"].sum())
    assert point["quality_low"] < point["quality"] < point["quality_high"]


# Latency ------------------------------------------------------------------------------------------------------


def timed(**loads: str) -> pd.DataFrame:
    random = np.random.default_rng(5)
    table = documents(**{name: (random.random(200), 1.0) for name in loads})
    return table.assign(latency_s=random.lognormal(size=len(table)), load=table["option"].map(loads))


def test_the_latency_axis_names_its_statistic_and_load() -> None:
    table = timed(a="single_stream", b="single_stream")
    report = frontier(table, Wanted(objectives=["quality", "latency"]))
    axis = report["objectives"][1]
    assert axis["label"] == "p95 of latency, s, load: single_stream" and axis["statistic"] == "p95"
    values = table[table["option"] == "a"]["latency_s"]
    assert points(report)["a"]["latency"] == pytest.approx(np.quantile(values, 0.95))
    p50 = frontier(table, Wanted(objectives=["quality", "latency"], statistic="p50"))
    assert points(p50)["a"]["latency"] == pytest.approx(values.median())


def test_unlike_loads_are_refused_unless_told() -> None:
    table = timed(a="single_stream", b="closed_loop(8)")
    with pytest.raises(ConfigError, match=r"unlike loads.*mixed_load=true"):
        frontier(table, Wanted(objectives=["quality", "cost", "latency"]))
    report = frontier(table, Wanted(objectives=["quality", "latency"], mixed_load=True))
    assert report["notes"][0].startswith("MIXED LOAD") and report["objectives"][1]["load"].startswith("mixed")
    assert frontier(table, Wanted())["objectives"][1]["name"] == "cost"  # not an objective: nothing is compared


def test_cached_rows_have_no_latency_and_leave_the_others_theirs() -> None:
    table = timed(a="single_stream", b="single_stream")
    table.loc[table["sample_id"] < "d100", "latency_s"] = np.nan
    found = points(frontier(table, Wanted(objectives=["quality", "latency"])))
    rest = table[(table["option"] == "a") & (table["sample_id"] >= "d100")]["latency_s"]
    assert found["a"]["latency"] == pytest.approx(np.quantile(rest, 0.95)) and found["a"]["p_non_dominated"] is not None


# Aggregates ---------------------------------------------------------------------------------------------------


def aggregates(**more: Any) -> pd.DataFrame:
    base = {"option": list("abcd"), "model": list("abcd"), "score": [0.5, 0.6, 0.7, 0.55], "cost_usd": [1.0, 4, 5, 3]}
    return pd.DataFrame({**base, **more})


def test_an_aggregate_has_no_interval_unless_n_is_given() -> None:
    report = frontier(aggregates(), Wanted())
    assert "no intervals" in report["notes"][0] and report["points"][0]["quality_low"] is None
    assert all(point["p_non_dominated"] is None for point in report["points"])
    with_n = points(frontier(aggregates(n=[100.0, 100, np.nan, 100]), Wanted()))
    assert with_n["a"]["quality_low"] == pytest.approx(0.4038, abs=1e-4) and with_n["c"]["quality_low"] is None


def test_frontier_and_hull_differ() -> None:
    found = points(frontier(aggregates(), Wanted()))
    assert [name for name in "abcd" if found[name]["on_frontier"]] == list("abcd")
    assert [name for name in "abcd" if found[name]["on_hull"]] == ["a", "c"]
    chart = points(frontier(aggregates(), Wanted(directions={"quality": "min"})))
    assert [name for name in "abcd" if chart[name]["on_frontier"]] == ["a"]


@pytest.mark.parametrize(
    ("wanted", "says"),
    [
        (Wanted(objectives=["quality"]), "two or three"),
        (Wanted(objectives=["quality", "latency"]), "latency is not known"),
        (Wanted(objectives=["quality", "speed"]), "two or three of quality, cost, latency"),
    ],
)
def test_objectives_that_cannot_be_had(wanted: Wanted, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        frontier(aggregates(), wanted)


def test_without_cost_it_is_drawn_over_latency_and_says_so() -> None:
    report = frontier(aggregates(cost_usd=np.nan, latency_s=[1.0, 2, 3, 4]), Wanted())
    assert [one["name"] for one in report["objectives"]] == ["quality", "latency"]
    assert "drawn over quality and latency" in " ".join(report["notes"])
    with pytest.raises(DataError, match="cost is not known"):
        frontier(aggregates(cost_usd=np.nan), Wanted())


# Geometry -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objectives", [2, 3])
def test_dominance_is_the_definition(objectives: int) -> None:
    random = np.random.default_rng(6)
    found = random.integers(0, 5, (60, objectives)).astype(float)
    found[7] = np.nan
    ways = ["max", "min", "min"][:objectives]
    sign = np.array([-1, 1, 1])[:objectives]
    mask, beaten = pareto.non_dominated(found, ways), pareto.dominators(found, ways)
    for at, here in enumerate(found * sign):
        by = [i for i, o in enumerate(found * sign) if (o <= here).all() and (o < here).any()]
        assert beaten[at] == by and mask[at] == (not by and at != 7)


def test_the_hull_is_what_no_mix_of_two_beats() -> None:
    """Two objectives: against every mix of every pair, by brute force."""
    random = np.random.default_rng(7)
    found = random.random((25, 2))
    mask, front = pareto.on_hull(found, WAYS), pareto.non_dominated(found, WAYS)
    share = np.linspace(0, 1, 201)[:, None]
    for at, here in enumerate(found):
        mixes = np.concatenate([a * share + b * (1 - share) for a, b in itertools.combinations(found, 2)])
        beats = ((mixes[:, 0] > here[0] + 1e-6) & (mixes[:, 1] < here[1] - 1e-6)).any()
        assert mask[at] == (front[at] and not beats)


def test_on_an_edge_of_the_hull_is_on_it() -> None:
    line = np.array([[0.0, 1], [0.5, 2], [1.0, 3]])
    assert pareto.on_hull(line, WAYS).all() and pareto.on_hull(line[:1], WAYS).all()


def test_hypervolume_is_counted_boxes() -> None:
    found = np.array([[0.5, 1.0], [0.8, 2.0], [0.4, 3.0], [np.nan, 0.1]])
    reference = pareto.reference_point(found, WAYS)
    assert reference == pytest.approx([0, 3.3])
    assert pareto.hypervolume(found, WAYS, reference) == pytest.approx(0.5 * (3.3 - 1) + 0.3 * (3.3 - 2))
    nothing = np.full((2, 2), np.nan)
    assert pareto.hypervolume(nothing, WAYS, np.ones(2)) == 0 and not pareto.on_hull(nothing, WAYS).any()


def test_dollars_of_0_and_1_are_no_shares() -> None:
    """Documents at $1 each cost $1: Wilson's interval is of right and wrong alone."""
    score = np.arange(40) % 2
    found = points(frontier(documents(40, a=(score, 1.0), b=(1 - score, 0.0)), Wanted(draws=200)))
    assert (found["a"]["cost_low"], found["a"]["cost_high"]) == (1.0, 1.0)
    assert (found["b"]["cost_low"], found["b"]["cost_high"]) == (0.0, 0.0)
    assert found["a"]["quality_low"] == pytest.approx(0.352, abs=0.001)


def test_n_that_is_no_whole_number_does_not_move_the_rate() -> None:
    frame = pd.DataFrame({"option": ["a", "b"], "score": [0.55, 0.6], "cost_usd": [1.0, 2.0], "n": [10.5, 0.2]})
    found = points(frontier(frame, Wanted()))
    assert found["a"]["quality"] == pytest.approx(0.55) and found["b"]["quality_low"] is None
