"""A policy's file: written, read back, and everything that can be wrong with one, in one line each."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import evals
from evals.core import Call, Policy, Request
from evals.errors import ConfigError, UserError
from evals.policy.saved import decode, encode, load_policy, misfit, save_policy

SIGNAL = {
    "inputs": ["grounded_share", "words"],
    "mean": [0.9, 100.0],
    "scale": [0.1, 50.0],
    "coef": [-1.0, 0.5],
    "intercept": 0.0,
    "link": "logistic",
    "calibration": {"x": [0.0, 1.0], "y": [0.0, 1.0]},
}
GOOD: dict[str, Any] = {
    "format": 1,
    "kind": "cascade",
    "cheap": "a",
    "strong": "b",
    "signal": SIGNAL,
    "threshold": 0.5,
    "about": {"task": "mine", "task_version": "3", "schema": "s", "prompt": "p"},
}


def test_what_is_saved_is_read_back(tmp_path: Path) -> None:
    policy = decode(GOOD, "here")
    save_policy(policy, tmp_path / "é policy.json")
    assert load_policy(tmp_path / "é policy.json").policy == policy
    assert encode(policy) == GOOD
    text = (tmp_path / "é policy.json").read_text(encoding="utf-8")
    assert '"coef": [-1.0, 0.5]' in text and '"x": [0.0, 1.0]' in text and len(text.splitlines()) < 45
    assert evals.load_policy is load_policy


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"about": {"places": "here"}}, "about.places should be an object"),
        ({"about": {"places": {"cheap": "here"}}}, "about.places.cheap should be an object"),
        ({"about": {"simulated": [1]}}, "about.simulated should be an object"),
        ({"about": {"simulated": {"quality": "high"}}}, "about.simulated.quality is 'high', no number"),
        (
            {"about": {"simulated": {"quality": {"value": 0.5, "low": "x"}}}},
            "about.simulated.quality is 'x', no number",
        ),
        ({"about": {"simulated": {"share_strong": 7}}}, "about.simulated.share_strong is 7, which it cannot be"),
        ({"about": {"simulated": {"documents": -1}}}, "about.simulated.documents is -1"),
        ({"format": 2}, "format"),
        ({"kind": "magic"}, "kind 'magic' is not known"),
        ({"cheap": None}, "'cheap'"),
        ({"strong": None}, "'strong'"),
        ({"strong": 3}, "option's name"),
        ({"signal": None}, "'signal'"),
        ({"threshold": "high"}, "threshold is 'high'"),
        ({"threshold": float("nan")}, "threshold is nan"),
        ({"share": 1.5}, "0..1"),
        ({"surprise": 1}, "'surprise' is no part"),
        ({"about": []}, "about"),
        ({"signal": {**SIGNAL, "inputs": []}}, "signal.inputs"),
        ({"signal": {**SIGNAL, "coef": [1.0]}}, "signal.coef"),
        ({"signal": {**SIGNAL, "scale": [0.0, 1.0]}}, "above 0"),
        ({"signal": {**SIGNAL, "link": "probit"}}, "probit"),
        ({"signal": {**SIGNAL, "intercept": True}}, "intercept"),
        ({"signal": {**SIGNAL, "calibration": {"x": [1.0, 0.0], "y": [0.0, 1.0]}}}, "should rise"),
        ({"signal": {**SIGNAL, "calibration": {"x": [1.0], "y": []}}}, "equal length"),
        ({"kind": "rule", "rule": {"feature": "chars", "op": "~", "value": 3}}, "rule.op"),
        ({"kind": "rule", "rule": {"feature": "chars", "op": "in", "value": 3}}, "should be a list"),
        ({"kind": "rule", "rule": {"feature": "chars", "op": ">", "value": "x"}}, "rule.value"),
        ({"kind": "rule", "rule": None}, "'rule'"),
        ({"kind": "random_mix"}, "'share'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        decode({**GOOD, **change}, "file.json")
    assert says in str(error.value) and "\n" not in str(error.value) and "file.json" in str(error.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted({*GOOD, "share", "rule"})), json_values)
def test_any_value_anywhere_is_a_policy_or_one_clear_error(name: str, value: Any) -> None:
    try:
        policy = decode({**GOOD, name: value}, "x")
    except ConfigError:
        return
    asked = Request(messages=(), inputs={"text": "some words"}, sample_id="a")
    assert evals.policy.choose(policy, asked) in ("cheap", "strong", None)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=9), st.text(max_size=30))
def test_numbers_on_one_line_are_the_same_numbers(numbers: list[float], word: str) -> None:
    import tempfile

    about = {"numbers": numbers, "word": [word, "[\n 1.0,\n 2.0\n]"], "empty": []}
    policy = Policy(kind="single", cheap="a", about=about)
    with tempfile.TemporaryDirectory() as folder:
        save_policy(policy, Path(folder) / "p.json")
        assert load_policy(Path(folder) / "p.json").policy == policy


def test_a_file_chooses_between_two_options(tmp_path: Path) -> None:
    save_policy(decode({**GOOD, "strong": "a"}, "here"), tmp_path / "p.json")
    with pytest.raises(ConfigError, match="cheap and strong are both 'a'"):
        load_policy(tmp_path / "p.json")


def test_a_policy_that_cannot_be_written_names_save(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be written: .*; save=FILE names a file"):
        save_policy(decode(GOOD, "here"), tmp_path)


def test_a_file_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("[]", encoding="utf-8")
    with pytest.raises(UserError, match="should hold an object"):
        load_policy(tmp_path / "x.json")
    with pytest.raises(UserError, match="is no file; `python"):
        load_policy(tmp_path / "none.json")


def test_a_policy_of_another_task_schema_or_prompt_does_not_fit() -> None:
    policy = decode(GOOD, "x")
    same = {"task": "mine", "version": "3", "schema": "s", "prompt": "p"}
    assert misfit(policy, **same) is None
    for key, word in (
        ("task", "another task"),
        ("version", "another version"),
        ("schema", "schema"),
        ("prompt", "prompt"),
    ):
        assert word in (misfit(policy, **{**same, key: "other"}) or "")
    assert misfit(Policy(kind="single", cheap="a"), **same) is None
    assert "\x1b" not in (misfit(decode({**GOOD, "about": {"task": "\x1b[31mred"}}, "x"), **same) or "\x1b")


def test_a_service_chooses_with_features_and_signals_alone() -> None:
    from evals.policy.saved import SavedPolicy

    saved = SavedPolicy(decode(GOOD, "x"))
    asked = {"sample_id": "a", "words": 100}
    assert saved.choose(asked) == "cheap" and saved.option("cheap") == "a" and saved.option("strong") == "b"
    assert saved.choose(asked, [{"grounded_share": 0.2, "words": 100}]) == "strong"
    assert saved.choose(asked, [{"grounded_share": 1.0, "words": 100}]) is None
    assert saved.choose(asked, [{}]) is None  # nothing known: P(error) of the mean, .5, is not above .5
    assert saved.choose(Request(messages=()), [Call(role="answer", model="a", error="timeout")]) == "strong"
    rule = decode(
        {"format": 1, "kind": "rule", "cheap": "a", "strong": "b", "rule": {"feature": "chars", "op": ">", "value": 9}},
        "x",
    )
    assert SavedPolicy(rule).choose({"text": "0123456789"}) == "strong"
    assert SavedPolicy(rule).choose({"chars": 5}) == "cheap"
