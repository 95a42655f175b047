"""Break-even: MEASURING's figures, 1,000 random pairs against trying every volume, draws against the exact answer."""

import math
import random
from fractions import Fraction

import numpy as np
import pytest

from evals.analysis.deciding.breakeven import break_even, drawn_break_even
from evals.analysis.deciding.volume import Bill

TRIED = 2500


def made(draw: random.Random) -> Bill:
    """A line, or a staircase; small, so that something happens under `TRIED` documents."""
    if draw.random() < 0.35:
        return Bill(fixed=Fraction(draw.choice([0, 0, 60, 250])), per_doc=Fraction(draw.randint(0, 50), 40))
    return Bill(
        fixed=Fraction(draw.randint(0, 400), draw.randint(1, 4)),
        per_doc=Fraction(draw.choice([0, 0, 1, 7]), draw.randint(8, 40)),
        per_replica=Fraction(draw.randint(0, 60), draw.randint(1, 3)),
        capacity=Fraction(draw.randint(1, 400), draw.randint(1, 7)),
        least=draw.randint(0, 3),
        spare=draw.randint(0, 2),
    )


def tried(a: Bill, b: Bill, start: int, end: int) -> np.ndarray:
    """For every volume of start..end in turn: does b cost no more? Whole numbers throughout."""
    volumes = np.arange(start, end + 1, dtype=object)
    sides = []
    for one in (a, b):
        count = (
            0
            if one.capacity is None
            else np.array([max(one.least, -(-v * one.capacity.denominator // one.capacity.numerator)) for v in volumes])
            + one.spare
        )
        common = math.lcm(*(Fraction(x).denominator for x in (a.fixed, b.fixed, a.per_doc, b.per_doc)))
        common = math.lcm(common, Fraction(a.per_replica).denominator, Fraction(b.per_replica).denominator)
        sides.append(
            int(one.fixed * common) + int(one.per_doc * common) * volumes + int(one.per_replica * common) * count
        )
    return np.asarray(sides[1] <= sides[0], bool)


@pytest.mark.parametrize("block", range(10))
def test_a_thousand_random_pairs_agree_with_trying_every_volume(block: int) -> None:
    draw = random.Random(block)
    for _ in range(100):
        a, b = made(draw), made(draw)
        found, wins = break_even(a, b), tried(a, b, 1, TRIED)
        first = int(np.argmax(wins)) + 1 if wins.any() else None
        assert (found.first_win if (found.first_win or TRIED + 1) <= TRIED else None) == first, (a, b)
        lost = np.flatnonzero(~wins)
        if found.always_win is not None and found.always_win <= TRIED:
            assert found.always_win == (int(lost[-1]) + 2 if len(lost) else 1), (a, b)
        elif found.always_win is not None:
            near = tried(a, b, found.always_win - 1, found.always_win + 500)
            assert not near[0] and near[1:].all(), (a, b)
        else:
            far = tried(a, b, 4_000_000, 4_000_000 + 3000)
            assert not far.all() or _very_slowly(a, b), (a, b)


def _very_slowly(a: Bill, b: Bill) -> bool:
    """Costs a document in the long run that differ so little that four million documents do not show it."""
    runs = [one.per_doc + (one.per_replica / one.capacity if one.capacity else 0) for one in (a, b)]
    return 0 < runs[1] - runs[0] < Fraction(1, 10_000)


def api(price: str) -> Bill:
    return Bill(fixed=Fraction(0), per_doc=Fraction(price))


def own(fixed: int, replica: str, capacity: int, **more: int) -> Bill:
    return Bill(
        fixed=Fraction(fixed),
        per_doc=Fraction(0),
        per_replica=Fraction(replica),
        capacity=Fraction(capacity),
        least=1,
        **more,
    )


def test_the_worked_example_of_the_doctrine() -> None:
    found = break_even(api("0.0055"), own(395, "19.2", 5040))
    assert (found.first_win, found.always_win) == (235_891, 242_873)
    back = break_even(own(395, "19.2", 5040), api("0.0055"))
    assert (back.first_win, back.always_win) == (1, None)


def test_a_machine_that_costs_more_than_what_it_replaces_never_wins() -> None:
    assert break_even(api("0.0055"), own(0, "27.73", 5040)).first_win is None
    assert break_even(api("0.0055"), own(0, "27.72", 5040)).first_win == 5040  # exactly equal: only where it is full
    assert break_even(api("0.0055"), own(0, "27.72", 5040)).always_win is None


def test_the_founding_example() -> None:
    assert break_even(api("0.3"), own(0, "50", 10**6)).first_win == 167
    assert break_even(api("0.3"), own(250, "50", 10**6)).first_win == 1000  # $300 against $300: no more is a win


def test_two_alike_cost_no_more_than_each_other() -> None:
    one = own(10, "7", 33)
    assert break_even(one, one).always_win == break_even(one, one).first_win == 1
    half = Bill(fixed=one.fixed, per_doc=Fraction(0), per_replica=Fraction(7, 2), capacity=Fraction(33, 2), least=2)
    assert break_even(one, half).always_win == 1  # finer steps at the same slope
    assert break_even(half, one).always_win is None


def test_draws_agree_with_the_exact_answer() -> None:
    draw, seen = random.Random(5), 0
    for _ in range(300):
        a, b = made(draw), made(draw)
        if a.capacity is not None or b.capacity is None or a.per_doc <= b.per_doc:
            continue
        found, drawn = break_even(a, b), drawn_break_even(a, b, 3)
        assert drawn[0].shape == (3,)
        if b.per_replica == 0 or b.fixed < a.fixed:
            continue
        for real, whole in ((drawn[0][0], found.first_win), (drawn[1][0], found.always_win)):
            assert (whole is None) == np.isinf(real) or b.capacity < 30, (a, b)
            if whole is not None and b.capacity > 30:  # a volume is whole: in small steps the next one may be needed
                assert abs(real - whole) <= 1 + float(b.capacity), (a, b)
                seen += 1
    assert seen > 30


def test_two_staircases_in_draws_are_the_exact_answer_but_for_the_grid() -> None:
    draw, seen = random.Random(11), 0
    for _ in range(200):
        a, b = made(draw), made(draw)
        if a.capacity is None or b.capacity is None:
            continue
        found, drawn = break_even(a, b), drawn_break_even(a, b, 2)
        if found.always_win is not None and 100 < found.always_win < 10**6:
            step = float(max(a.capacity, b.capacity))
            assert abs(drawn[1][0] - found.always_win) <= 0.12 * found.always_win + step, (a, b)
            seen += 1
    assert seen > 10


@pytest.mark.slow
def test_what_is_undecided_over_too_many_steps_is_answered_by_what_is_sure() -> None:
    one = Bill(fixed=Fraction(0), per_doc=Fraction(0), per_replica=Fraction(1), capacity=Fraction(2), least=1)
    near = Bill(
        fixed=Fraction(3), per_doc=Fraction(0), per_replica=Fraction(1), capacity=Fraction(2_000_001, 10**6), least=1
    )
    found = break_even(one, near)
    assert found.first_win is not None and found.always_win is not None and found.first_win <= found.always_win
    after = range(found.always_win, found.always_win + 2000)
    assert all(near.usd(volume) <= one.usd(volume) for volume in after)
