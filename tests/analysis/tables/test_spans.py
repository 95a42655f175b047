"""What was done while a machine was full: closed forms, brute force, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.analysis.tables.spans import while_full

SPANS = st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=15)


def of(spans: list[tuple[float, float]], places: int) -> tuple[float, float]:
    start, took = np.array(spans, float).T
    return while_full(start, start + took, places)


def test_two_places_that_are_full_but_for_the_end() -> None:
    done, seconds = of([(0, 2), (0, 2), (2, 2), (2, 10)], 2)
    assert seconds == pytest.approx(4) and done == pytest.approx(3 + 2 / 10)


def test_a_pause_and_places_that_never_fill() -> None:
    assert of([(0, 5), (100, 5)], 1) == (pytest.approx(2), pytest.approx(10))
    assert of([(0, 5), (100, 5)], 2) == (0, 0)
    assert while_full(np.array([]), np.array([]), 1) == (0, 0)


def test_a_place_that_stands_empty_for_a_moment_in_ten_counts_as_full() -> None:
    assert of([(0, 10)] * 9, 10)[1] == pytest.approx(10)
    assert of([(0, 10)] * 8, 10) == (0, 0)


@given(SPANS, st.integers(1, 6))
def test_it_equals_brute_force_second_by_second(spans: list[tuple[int, int]], places: int) -> None:
    done = seconds = 0.0
    for second in range(50):
        under_way = [took for start, took in spans if start <= second < start + took]
        if len(under_way) >= 0.9 * places:
            seconds += 1
            done += sum(1 / took for took in under_way)
    found = of([(float(start), float(took)) for start, took in spans], places)
    assert found == (pytest.approx(done), pytest.approx(seconds))
