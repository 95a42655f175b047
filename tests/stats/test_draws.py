"""One draw of documents for all options: closed forms, naive oracles, and the pairing itself."""

import itertools

import numpy as np
import pytest

from evals.stats import Axis, cheapest_probability, non_dominated_probability, paired_draws
from evals.stats.draws import dominated, resampled


def twins() -> np.ndarray:
    """Two options of 200 documents, equal but for 3 that the second answers better; both cost the same."""
    random = np.random.default_rng(1)
    first = random.random(200).round(3)
    second = first.copy()
    second[[17, 60, 133]] += 0.5
    cost = random.random(200).round(4)
    return np.stack([np.stack([first, cost], axis=1), np.stack([second, cost], axis=1)])


def test_the_pairing_gives_the_closed_form() -> None:
    """The worse of the twins stays only where none of the three documents is drawn: (1 - 3/200)^200."""
    found = non_dominated_probability(twins(), ["max", "min"], draws=20000)
    exact = (1 - 3 / 200) ** 200
    assert found[1] == 1.0
    assert found[0] == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20000))


def test_an_unpaired_twin_differs() -> None:
    values, random = twins(), np.random.default_rng(2)
    apart = [[values[i][random.integers(0, 200, 200)].mean(axis=0) for i in (0, 1)] for _ in range(4000)]
    worse = np.mean([not (b[0] >= a[0] and b[1] <= a[1] and (b != a).any()) for a, b in apart])
    assert abs(worse - non_dominated_probability(values, ["max", "min"])[0]) > 0.2


def test_a_draw_has_n_documents() -> None:
    blocks = list(resampled(7, draws=50, seed=0))
    assert sum(len(block) for block in blocks) == 50 and all((block.sum(axis=1) == 7).all() for block in blocks)


def test_draws_are_those_of_a_naive_loop() -> None:
    """Means, ratios and quantiles of every draw, with values missing, against numpy on the repeated documents."""
    random, n = np.random.default_rng(3), 60
    values, weights = random.random((3, n)), random.integers(1, 9, (3, n)).astype(float)
    times = random.lognormal(size=(3, n))
    times[0, :7], times[2, :] = np.nan, np.nan
    axes = [Axis(values=values), Axis(values=values, weights=weights), Axis(values=times, q=0.95)]
    found = paired_draws(axes, draws=40, seed=5)
    counts = np.concatenate(list(resampled(n, draws=40, seed=5))).astype(int)
    for draw, option in itertools.product(range(40), range(3)):
        drawn = np.repeat(np.arange(n), counts[draw])
        ratio = values[option][drawn].sum() / weights[option][drawn].sum()
        known = times[option][drawn][~np.isnan(times[option][drawn])]
        p95 = np.quantile(known, 0.95) if len(known) else np.nan
        expected = [values[option][drawn].mean(), ratio, p95]
        assert found[draw, option] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("q", [0.01, 0.5, 0.99])
def test_quantiles_that_leave_the_window_are_counted_in_full(q: float) -> None:
    """Few groups of very unlike documents move a quantile far."""
    groups = np.repeat(np.arange(5), 400)
    times = (groups * 10.0 + np.random.default_rng(4).random(2000))[None, :]
    found = paired_draws([Axis(values=times, q=q)], groups=groups, draws=60, seed=1)[:, 0, 0]
    counts = np.concatenate(list(resampled(5, draws=60, seed=1))).astype(int)
    expected = [np.quantile(np.repeat(times[0], row[groups]), q) for row in counts]
    assert found == pytest.approx(expected)


def test_dominance_is_the_definition() -> None:
    points = np.random.default_rng(5).integers(0, 4, (50, 6, 3)).astype(float)
    points[0, 2] = np.nan
    for draw, option in itertools.product(range(50), range(6)):
        here = points[draw, option]
        others = [points[draw, at] for at in range(6) if at != option]
        expected = any((other <= here).all() and (other < here).any() for other in others)
        assert dominated(points)[draw, option] == expected


def test_ties_are_kept_and_nothing_measured_is_on_no_frontier() -> None:
    values = np.ones((3, 20, 2))
    assert list(non_dominated_probability(values, ["max", "min"])) == [1, 1, 1]
    values[1, :, 1] = np.nan
    assert list(non_dominated_probability(values, ["max", "min"])) == [1, 0, 1]
    assert list(non_dominated_probability(np.zeros((1, 1, 2)), ["max", "min"])) == [1]


def test_groups_are_drawn_whole() -> None:
    """All better documents lie in one group of ten: the worse option stays where that group is not drawn."""
    values = np.zeros((2, 100, 2))
    values[1, :10, 0] = 1
    found = non_dominated_probability(values, ["max", "min"], groups=np.repeat(np.arange(10), 10), draws=20000)
    assert found[0] == pytest.approx(0.9**10, abs=0.015) and found[1] == 1


def test_a_direction_is_max_or_min() -> None:
    with pytest.raises(ValueError, match="max or min"):
        non_dominated_probability(np.ones((2, 5, 1)), ["up"])


def test_cheapest_above_the_floor() -> None:
    """Cheap reaches the floor of 0.5 in the draws that hold at least half of its good documents."""
    quality = np.zeros((3, 101))
    quality[0, :50], quality[1], quality[2] = 1, 1, 1
    cost = np.array([[1.0], [2.0], [2.0]]) * np.ones(101)
    found = cheapest_probability(quality, cost, 0.5, draws=4000)
    from scipy.stats import binom

    reaches = binom.sf(50, 101, 50 / 101)
    assert found == pytest.approx([reaches, (1 - reaches) / 2, (1 - reaches) / 2], abs=0.03)
    assert found.sum() == pytest.approx(1)
    assert list(cheapest_probability(quality, cost, 1.5)) == [0, 0, 0]
    assert list(cheapest_probability(quality, np.full((3, 101), np.nan), 0.5)) == [0, 0, 0]
