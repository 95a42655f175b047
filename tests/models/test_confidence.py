"""Where values stand in an answer, and what the tokens there say."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals.models.confidence import Chosen, confidence, leaf_spans

keys = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs"], exclude_characters='"\\.[]'), min_size=1, max_size=6
)
leaves = st.none() | st.booleans() | st.integers(-(10**6), 10**6) | st.text(max_size=8)
trees = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)


def walk(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, dict):
        return [one for key, inner in value.items() for one in walk(inner, f"{path}.{key}" if path else key)]
    if isinstance(value, list):
        return [one for inner in value for one in walk(inner, f"{path}[]")]
    return [(path, value)]


@given(st.dictionaries(keys, trees, max_size=4), st.booleans())
def test_every_leaf_is_found_where_it_stands(value: dict[str, Any], plain: bool) -> None:
    raw = json.dumps(value, ensure_ascii=not plain).encode()
    found = [(path, json.loads(raw[start:end])) for path, start, end in leaf_spans(raw)]
    wanted = walk(value)
    assert [one for _, one in found] == [one for _, one in wanted]
    if '""' not in raw.decode() and b"\\" not in raw:  # an empty key or an escaped one is shown in another way
        assert [path for path, _ in found] == [path for path, _ in wanted]


@given(st.dictionaries(keys, trees, max_size=4), st.data())
def test_a_text_that_was_cut_or_is_no_json_raises_nothing(value: dict[str, Any], data: st.DataObject) -> None:
    raw = json.dumps(value).encode()
    leaf_spans(raw[: data.draw(st.integers(0, len(raw)))])
    leaf_spans(data.draw(st.binary(max_size=40)))


def test_only_tokens_of_values_count() -> None:
    raw = b'{"a": "xy", "b": 12}'
    tokens = [
        Chosen(0, 5, -9.0, 0.1, False),  # {"a":
        Chosen(5, 7, -0.5, 2.0, True),  # the space and the opening quote: to say something at all
        Chosen(7, 11, -1.5, 1.0, True),  # xy",
        Chosen(17, 19, -0.1, 6.0, True),  # 12
        Chosen(19, 20, -8.0, 0.2, True),  # }
    ]
    signals, fields = confidence(raw, tokens, constrained=True)
    assert signals["mean_logprob"] == pytest.approx(-0.7) and signals["min_logprob"] == -1.5
    assert signals["mean_margin"] == pytest.approx(3.0) and signals["min_margin"] == 1.0
    assert signals["worst_field_margin"] == pytest.approx(1.5)
    assert signals["worst_field_logprob"] == pytest.approx(-1.0)
    assert signals["forced_share"] == pytest.approx(0.2)
    assert fields["a"] == {"mean_logprob": -1.0, "min_logprob": -1.5, "mean_margin": 1.5, "min_margin": 1.0}
    assert set(fields) == {"a", "b"}


def test_free_text_counts_every_token_and_a_forced_one_has_no_margin() -> None:
    signals, fields = confidence(
        b"yes", [Chosen(0, 2, -0.2, 1.0, True), Chosen(2, 3, 0.0, None, True)], constrained=False
    )
    assert signals["mean_logprob"] == pytest.approx(-0.1) and signals["min_margin"] == signals["mean_margin"] == 1.0
    assert fields == {} and "forced_share" not in signals
    assert confidence(b"", [], constrained=True) == ({}, {})
