"""The test of the answers: its size where nothing changed, its power where something did, and no noise at all."""

from collections import Counter
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import call, leaf, made, record, score

from evals.analysis.comparing import canary
from evals.analysis.comparing.baseline import read_side
from evals.analysis.comparing.paired import SAME_ANSWERS
from evals.errors import DataError
from evals.stats import holm

Answers = dict[str, list["Counter[tuple[str, str]]"]]
LEAVES = 8


def world(
    random: np.random.Generator, *, n: int = 20, repeats: int = 3, noise: float = 0.1, changed: int = 0
) -> tuple[Answers, Answers]:
    """Two runs: each leaf of each answer is another with probability `noise`; the first leaf of the first `changed`
    documents is another in the second run."""

    def ask(other: bool) -> "Counter[tuple[str, str]]":
        truth = [f"v{k}" for k in range(LEAVES)]
        truth[0] = "other" if other else truth[0]
        said = [v if random.random() >= noise else f"x{random.integers(3)}" for v in truth]
        return Counter((str(k), v) for k, v in enumerate(said))

    first = {f"d{i}": [ask(False) for _ in range(repeats)] for i in range(n)}
    return first, {f"d{i}": [ask(i < changed) for _ in range(repeats)] for i in range(n)}


def p_of(a: Answers, b: Answers, draws: int = 499, seed: int = 0) -> float:
    found = canary.disagreement(canary.blocks(a, b), draws=draws, seed=seed)
    assert not isinstance(found, str)
    return found.tested.p


def share_found(changed: int, times: int, **settings: Any) -> float:
    random = np.random.default_rng(7)
    return sum(p_of(*world(random, changed=changed, **settings), seed=i) <= 0.05 for i in range(times)) / times


@pytest.mark.slow
@pytest.mark.parametrize(("noise", "repeats"), [(0.05, 3), (0.3, 3), (0.1, 2)])
def test_the_size_is_five_percent_where_nothing_changed(noise: float, repeats: int) -> None:
    """Of 400 tests 20 are expected; more than 33 have a probability below 0.3 %."""
    assert share_found(0, 400, noise=noise, repeats=repeats) <= 33 / 400


def test_the_power_where_thirty_percent_of_the_documents_change_in_one_leaf() -> None:
    assert share_found(6, 60, noise=0.05) > 0.9
    assert share_found(6, 60, noise=0.0) == 1.0


def test_without_noise_and_without_change_p_is_one_and_says_why() -> None:
    a, b = world(np.random.default_rng(0), noise=0.0)
    found = canary.disagreement(canary.blocks(a, b))
    assert not isinstance(found, str)
    assert found.tested.p == 1.0 and found.tested.note == SAME_ANSWERS and found.changed == []
    assert (found.tested.difference.low, found.tested.difference.high) == pytest.approx(
        (-(1 - 0.025 ** (1 / 20)), 1 - 0.025 ** (1 / 20))
    )


@pytest.mark.parametrize(("changed", "p"), [(1, 2 / 20), (2, (2 / 20) ** 2)])
def test_without_noise_p_is_the_chance_that_the_answers_part_like_that(changed: int, p: float) -> None:
    """Of 20 ways to part six answers two keep the runs together (as they are, and the other way round)."""
    a, b = world(np.random.default_rng(0), noise=0.0, changed=changed)
    assert p_of(a, b, draws=20_000) == pytest.approx(p, rel=0.1)
    found = canary.disagreement(canary.blocks(a, b))
    assert not isinstance(found, str) and found.changed == [f"d{i}" for i in range(changed)]


def test_the_energy_of_a_document_is_that_of_plain_loops() -> None:
    a, b = world(np.random.default_rng(3), n=4, noise=0.4, changed=2)
    a["d1"], b["d2"] = a["d1"][:2], b["d2"][:1]  # fewer answers than the others

    def mean_of(pairs: Any) -> float:
        return float(np.mean([naive(x, y) for x, y in pairs]))

    def naive(x: "Counter[Any]", y: "Counter[Any]") -> float:
        keys = set(x) | set(y)
        return 1 - sum(min(x[k], y[k]) for k in keys) / sum(max(x[k], y[k]) for k in keys)

    found = {name: e for block in canary.blocks(a, b) for name, e in zip(block.names, block.energy[:, 0], strict=True)}
    for name in a:
        between = mean_of((x, y) for x in a[name] for y in b[name])
        sides = [mean_of(combinations(side[name], 2)) for side in (a, b) if len(side[name]) > 1]
        assert found[name] == pytest.approx(between - sum(sides) / len(sides))


def test_a_single_answer_on_both_sides_says_nothing() -> None:
    one = {"d0": [Counter({("who", "a"): 1})]}
    assert canary.blocks(one, one) == [] and isinstance(canary.disagreement([]), str)
    assert canary.least_changed([], alpha=0.05) is None


def test_many_repeats_are_parted_in_drawn_ways() -> None:
    a, b = world(np.random.default_rng(0), n=5, repeats=7, noise=0.2)
    (block,) = canary.blocks(a, b)
    assert block.splits.shape == (canary.MOST_SPLITS, 14) and (block.splits.sum(axis=1) == 7).all()
    assert block.splits[0].tolist() == [1] * 7 + [0] * 7


@pytest.mark.parametrize(("noise", "least"), [(0.0, 2), (0.1, 3)])
def test_what_would_be_detected_is_detected(noise: float, least: int) -> None:
    a, b = world(np.random.default_rng(0), noise=noise)
    found = canary.least_changed(canary.blocks(a, b), alpha=0.05)
    assert found is not None and found >= least
    assert share_found(found, 60, noise=noise) >= 0.7, "80 % are promised"


def test_distance_is_of_multisets_and_of_normal_forms() -> None:
    one, two = Counter({("p", "a"): 2, ("q", "b"): 1}), Counter({("p", "a"): 1, ("q", "c"): 1})
    assert canary.distance(one, two) == pytest.approx(1 - 1 / 4) and canary.distance(one, one) == 0
    assert canary.distance(Counter(), Counter()) == 0 and canary.distance(Counter(), one) == 1
    leaf = {"path": "when", "kind": "date", "answer": "2024-03-01"}
    line: dict[str, Any] = {"metrics": {"parse_lenient": 1.0}, "fields": [leaf, {**leaf, "answer": None}]}
    other = {**line, "fields": [{**leaf, "answer": "March 1, 2024"}]}
    assert canary._answer(line, None) == canary._answer(other, None), "formatting is no change"
    assert canary._answer({**line, "metrics": {"parse_lenient": 0.0}}, None) == Counter({("", "unreadable"): 1})
    assert canary._answer(line, "content_filter") == Counter({("", "failed: content_filter"): 1})


def rows(*p: float | None) -> list[dict[str, Any]]:
    base = {"metric": "f1", "sd": 0.1, "n": 20, "note": None, "high": 0.1, "difference": 0.05}
    return [{**base, "p": one} for one in p]


def test_holm_spans_all_that_is_tested_and_a_raw_hint_is_perhaps() -> None:
    found = canary.judge([*rows(0.001, 0.03, 0.2, None), {**rows(1.0)[0], "note": SAME_ANSWERS}], ["quality"])
    assert [row["p_holm"] for row in found[:3]] == holm([0.001, 0.03, 0.2])
    assert [row["verdict"] for row in found] == [
        "changed",
        "perhaps",
        "no change seen",
        "no change seen",
        "no change seen",
    ]
    assert found[4]["p_holm"] == 1.0 and found[4]["detectable"] == 0.1
    assert all(row["watched"] for row in found) and not canary.judge(rows(0.5), ["answers"])[0]["watched"]


def noisy(folder: Path, random: np.random.Generator, hard: "np.ndarray[Any, Any]", shift: float) -> Path:
    """A stored canary of 20 documents x 3: eight leaves, wrong as often as the document is hard; six documents' first
    two leaves by `shift` more often."""
    told, scored = [], []
    for i, repeat in product(range(20), range(3)):
        one = record(f"d{i}", call(seconds=random.lognormal(), output=int(random.integers(40, 60))), repeat=repeat)
        leaves = []
        for k in range(LEAVES):
            wrong = random.random() < hard[i] + (shift if i < 6 and k < 2 else 0)
            said = f"x{random.integers(4)}" if wrong else f"v{k}"
            leaves.append(leaf("wrong" if wrong else "tp", path=f"f{k}", gold=f"v{k}", answer=said))
        told.append(one)
        scored.append((one, score(*leaves)))
    return made(folder, told, scored, repeats=3, dataset={"files": "x"}, started_at=folder.name)


def alarms(tmp_path: Path, shift: float, times: int) -> float:
    """How often the whole of what is watched says `changed`."""
    random, found = np.random.default_rng(1), 0
    for i in range(times):
        hard = random.uniform(0, 0.4, 20)
        sides = [read_side(noisy(tmp_path / f"{i}{x}", random, hard, shift * (x == "b"))) for x in "ab"]
        rows = canary.judge(canary.compared(*sides)[0], ["quality", "answers", "tokens"])
        found += any(row["verdict"] == "changed" for row in rows if row["watched"])
    return found / times


@pytest.mark.slow
def test_a_whole_canary_seldom_cries_wolf(tmp_path: Path) -> None:
    """5 % of false alarms are allowed over all that is tested: of 30 more than 5 have a probability below 0.4 %."""
    assert alarms(tmp_path, 0.0, 30) <= 5 / 30


def test_and_it_does_cry(tmp_path: Path) -> None:
    assert alarms(tmp_path, 0.9, 10) >= 0.5


def test_answers_from_the_cache_are_refused(tmp_path: Path) -> None:
    one = record("d0", call(cached=True))
    side = read_side(made(tmp_path / "r", [one]))
    with pytest.raises(DataError, match="1 answers of the response cache"):
        canary.compared(side, side)
