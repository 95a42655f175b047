"""Figures and declared options: whatever a YAML holds is a figure or one clear error."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.analysis.deciding.figures import exact, figure, provenance_of, scaled
from evals.analysis.deciding.options import DECLARED, Costs, declared
from evals.commands import scenario
from evals.errors import ConfigError

PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-5, 10**6)
    | st.floats()
    | st.sampled_from(["2/15", "0.3", "x", "", "1/0", "nan"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["low", "typical", "high", "date", "a"]), inner)
    ),
    max_leaves=6,
)


@given(PLAIN)
def test_anything_is_a_figure_or_one_error(value: Any) -> None:
    try:
        found = figure(value, "x")
    except ConfigError as error:
        assert "\n" not in str(error) and "x" in str(error)
        return
    assert found is None or (isinstance(found.value, Fraction) and found.value >= 0)
    if found is not None and found.low is not None:
        assert found.low <= found.value <= found.high  # type: ignore[operator]


@given(
    st.dictionaries(st.sampled_from(DECLARED), PLAIN), st.sampled_from(["api", "local", "cascade", "preroute", "batch"])
)
def test_any_declared_option_is_one_or_one_error(keys: dict[str, Any], kind: str) -> None:
    try:
        found = declared({"usd_per_doc": 1, **keys, "option": "o", "kind": kind}, Costs(), "f1")
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert found.name == "o" and found.deployment.provenance in (None, "measured", "declared", "assumed")


@given(st.dictionaries(st.sampled_from([*scenario.KEYS, "typo"]), PLAIN))
def test_any_scenario_is_one_or_one_error(keys: dict[str, Any]) -> None:
    try:
        found = scenario.read(keys)
    except ConfigError as error:
        assert "\n" not in str(error)
        return
    assert found is not None and found.options


@pytest.mark.parametrize(("value", "is_"), [(0.0055, Fraction(11, 2000)), ("2/15", Fraction(2, 15)), (3, Fraction(3))])
def test_numbers_are_as_they_are_written(value: Any, is_: Fraction) -> None:
    assert exact(value, "x") == is_


def test_a_constant_scales_everything() -> None:
    found = figure({"low": 1, "typical": 2, "high": 4, "provenance": "assumed", "date": "2026-01-01"}, "x")
    twice = scaled(found, Fraction(2))
    assert twice is not None and (twice.low, twice.value, twice.high) == (2, 4, 8)
    assert twice.provenance == "assumed" and twice.date == "2026-01-01" and scaled(None, Fraction(2)) is None


def test_the_weakest_factor_counts_and_an_unknown_one_leaves_nothing() -> None:
    one, two = (figure({"typical": 1, "provenance": name}, name) for name in ("measured", "assumed"))
    assert provenance_of([one, two]) == "assumed" and provenance_of([one]) == "measured"
    assert provenance_of([one, None]) is None and provenance_of([]) is None
    assert np.isscalar(float(one.value))  # type: ignore[union-attr]
