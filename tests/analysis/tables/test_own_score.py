"""The quality of an import, against figures computed by hand."""

import numpy as np
import pandas as pd
import pytest

from evals.analysis.tables.columns import SCORES
from evals.analysis.tables.own_score import with_own_score
from evals.analysis.tables.rows import FrameRows
from evals.analysis.tables.summary import quality
from evals.stats import bca_mean, mean_t, wilson


def frame(scores: list[float], ids: list[str] | None = None, **more: object) -> pd.DataFrame:
    """Rows of an import: a score, and no fields."""
    names = ids or [f"d{i}" for i in range(len(scores))]
    silent = {name: np.nan for name in SCORES}
    repeats = pd.Series(names).groupby(names).cumcount().to_numpy(float)
    return pd.DataFrame({**silent, "sample_id": names, "repeat": repeats, "group": None, "score": scores, **more})


def test_right_or_wrong_is_wilson() -> None:
    found = quality(frame([1.0] * 7 + [0.0] * 3))["score"]
    expected = wilson(7, 10)
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.7, expected.low, expected.high, 10)


def test_repeats_of_right_or_wrong_are_averaged_and_stay_wilson() -> None:
    found = quality(frame([1.0, 0.0, 1.0, 1.0], ["a", "a", "b", "b"]))["score"]
    expected = wilson(1.5, 2)
    assert (found["value"], found["low"], found["high"], found["n"]) == (0.75, expected.low, expected.high, 2)


@pytest.mark.parametrize(("n", "interval"), [(5, mean_t), (40, bca_mean), (600, mean_t)])
def test_a_mean_has_the_interval_of_its_size(n: int, interval: object) -> None:
    values = np.random.default_rng(0).random(n)
    found = quality(frame(list(values)))["score"]
    expected = interval(values)  # type: ignore[operator]
    assert found["value"] == pytest.approx(values.mean())
    assert (found["low"], found["high"]) == pytest.approx((expected.low, expected.high))


def test_what_was_not_scored_is_left_out_and_what_was_not_measured_is_none() -> None:
    found = quality(frame([1.0, 0.0, np.nan]))
    assert (found["score"]["value"], found["score"]["n"]) == (0.5, 2)
    for name in ("f1", "exact", "schema_valid", "parse_lenient", "hallucination_rate"):
        assert found[name]["value"] is None, name


def test_exact_is_there_where_it_was_written() -> None:
    found = quality(frame([1.0, 0.0], exact=[1.0, 0.0]))
    assert found["exact"]["value"] == 0.5


def test_rows_that_are_left_out_do_not_count() -> None:
    rows = FrameRows(frame([1.0, 0.0, 0.0]))
    found = with_own_score({}, rows, single=False, keep=np.array([True, True, False]))
    assert (found["score"]["value"], found["score"]["n"]) == (0.5, 2)
