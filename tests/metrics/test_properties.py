"""What must hold for every document: form never changes a normalised score, content always does."""

import json
import time
from collections.abc import Callable
from datetime import date
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from evals.metrics.align import align
from evals.metrics.dates import parse_date
from evals.metrics.fields import score_answer, score_fields
from evals.metrics.merge import merge_answers
from evals.metrics.normalise import READERS, equal, normalise
from evals.metrics.numbers import grouped, number, words
from evals.metrics.parse import parse_object
from evals.metrics.text import Source, same_span

SCHEMA: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "tasks" / "legal_extract" / "schema.json").read_text(encoding="utf-8")
)
FEW = settings(max_examples=60, deadline=None)
MANY = settings(max_examples=150, deadline=None)
DAYS = st.dates(date(1970, 1, 1), date(2069, 12, 31))
CENTS = st.integers(1, 10**12)
WORDS = ["Alpha", "Birch", "Cedar", "Delta", "Elm", "Fjord", "Grove", "Harbour", "Inlet", "Juniper"]
NAMES = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3, unique=True).map(" ".join)
PARTY = st.fixed_dictionaries({"name": NAMES, "role": st.none() | st.sampled_from(["Buyer", "Seller", "Agent"])})
TERMS = st.integers(1, 120).map(lambda n: f"{n} months") | st.just("indefinite")


def dollars(cents: int) -> str:
    return f"USD {cents // 100}.{cents % 100:02d}"


GOLD = st.fixed_dictionaries(
    {
        "document_title": NAMES,
        "parties": st.lists(PARTY, max_size=5, unique_by=lambda p: p["name"]),
        "effective_date": st.none() | DAYS.map(date.isoformat),
        "expiration_date": st.none() | DAYS.map(date.isoformat),
        "term": st.none() | TERMS,
        "governing_law": st.none() | st.sampled_from(["Delaware", "New York", "Bavaria"]),
        "payment_amount": st.none() | CENTS.map(dollars),
        "payment_terms_days": st.none() | st.integers(0, 365),
        "notice_period_days": st.none() | st.integers(0, 365),
        "auto_renewal": st.none() | st.booleans(),
        "liability_cap": st.none() | CENTS.map(dollars),
        "confidentiality_survival": st.none() | TERMS,
    }
)
ANSWER = st.tuples(GOLD, GOLD, st.sets(st.sampled_from(sorted(SCHEMA["properties"])))).map(
    lambda drawn: {name: (drawn[1] if name in drawn[2] else drawn[0])[name] for name in drawn[0]}
)
PAIRS = st.tuples(GOLD, ANSWER)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
COUNTED = ("tp", "wrong", "miss", "hall", "tn", "f1", "exact")


def counts(gold: Any, answer: Any) -> list[Any]:
    found = score_answer(gold, json.dumps(answer), schema=SCHEMA).metrics
    return [repr(found[name]) for name in COUNTED]


@MANY
@given(GOLD)
def test_gold_against_itself_is_one_and_exact(gold: Any) -> None:
    found = score_answer(gold, json.dumps(gold), schema=SCHEMA).metrics
    assert (found["f1"], found["exact"], found["f1_strict"], found["exact_strict"]) == (1, 1, 1, 1)
    assert found["schema_valid"] == 1


@FEW
@given(GOLD)
def test_an_empty_object_scores_nothing(gold: Any) -> None:
    found = score_answer(gold, "{}", schema=SCHEMA).metrics
    assert (found["f1"], found["exact"], found["tp"], found["hall"], found["schema_valid"]) == (0, 0, 0, 0, 0)


@MANY
@given(PAIRS, st.randoms(use_true_random=False))
def test_order_of_list_items_changes_nothing(pair: Any, random: Any) -> None:
    gold, answer = pair
    mixed_gold, mixed = dict(gold), dict(answer)
    mixed_gold["parties"] = random.sample(gold["parties"], len(gold["parties"]))
    mixed["parties"] = random.sample(answer["parties"], len(answer["parties"]))
    assert counts(gold, answer) == counts(gold, mixed) == counts(mixed_gold, mixed)


@FEW
@given(PAIRS, st.randoms(use_true_random=False))
def test_key_order_changes_nothing(pair: Any, random: Any) -> None:
    gold, answer = pair

    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(item) for item in value]
        if isinstance(value, dict):
            return {name: turned(value[name]) for name in random.sample(sorted(value), len(value))}
        return value

    assert counts(gold, answer) == counts(gold, turned(answer))


def respelt(value: Any, change: Callable[[str], str]) -> Any:
    """The same value with every text in it changed."""
    if isinstance(value, dict):
        return {name: respelt(part, change) for name, part in value.items()}
    if isinstance(value, list):
        return [respelt(part, change) for part in value]
    return change(value) if isinstance(value, str) else value


@FEW
@given(PAIRS, st.sampled_from([" ", "\n", "\t", "\u00a0", "\u2009", "  \r\n "]))
def test_whitespace_changes_nothing(pair: Any, space: str) -> None:
    gold, answer = pair
    loose = respelt(answer, lambda text: space + text.replace(" ", space + " ") + space)
    assert counts(gold, answer) == counts(gold, loose)
    wide = f"\n{json.dumps(answer, indent=4)}\n"
    assert repr(score_answer(gold, wide, schema=SCHEMA).metrics["f1"]) == counts(gold, answer)[5]


@FEW
@given(PAIRS, st.sampled_from([str.upper, str.lower, lambda text: f"\u202b{text}\u202c"]))
def test_case_and_direction_marks_change_nothing(pair: Any, change: Callable[[str], str]) -> None:
    gold, answer = pair
    assert counts(gold, answer) == counts(gold, respelt(answer, change))


MONTHS = "January February March April May June July August September October November December".split()
GERMAN = "Januar Februar März April Mai Juni Juli August September Oktober November Dezember".split()
FRENCH = "janvier février mars avril mai juin juillet août septembre octobre novembre décembre".split()
ENDINGS = {1: "st", 2: "nd", 3: "rd", 21: "st", 22: "nd", 23: "rd", 31: "st"}
DATE_FORMS: list[Callable[[date], str]] = [
    lambda d: f"{MONTHS[d.month - 1]} {d.day}, {d.year}",
    lambda d: f"{d.day} {MONTHS[d.month - 1][:3]}. {d.year}",
    lambda d: f"{d.day:02d}-{MONTHS[d.month - 1][:3].upper()}-{d.year}",
    lambda d: f"the {d.day}{ENDINGS.get(d.day, 'th')} day of {MONTHS[d.month - 1]}, {d.year}",
    lambda d: f"dated as of {MONTHS[d.month - 1].upper()} {d.day}{ENDINGS.get(d.day, 'th')} {d.year}",
    lambda d: f"{d.day}. {GERMAN[d.month - 1]} {d.year}",
    lambda d: f"{d.day}{'er' if d.day == 1 else ''} {FRENCH[d.month - 1]} {d.year}",
    lambda d: f"{d.year}/{d.month}/{d.day}",
    lambda d: f"{d.isoformat()}T00:00:00Z",
    lambda d: f"{d.day:02d}.{d.month:02d}.{d.year}",
    lambda d: f"{d.year}年{d.month}月{d.day}日",
    lambda d: d.isoformat().translate({ord("0") + i: 0xFF10 + i for i in range(10)}),
]
MONEY_FORMS: list[Callable[[int], str]] = [
    lambda c: f"${c / 100:,.2f}" if c < 10**14 else dollars(c),
    lambda c: f"US${c // 100:,}.{c % 100:02d}",
    lambda c: f"{c // 100:,}".replace(",", ".") + f",{c % 100:02d} USD",
    lambda c: f"{c // 100:,}".replace(",", " ") + f",{c % 100:02d} US dollars",
    lambda c: f"{c // 100:,}".replace(",", "\u202f") + f",{c % 100:02d} USD",
    lambda c: "USD " + f"{c // 100:,}".replace(",", "'") + f".{c % 100:02d}",
    lambda c: f"{c // 100}.{c % 100:02d} dollars",
    lambda c: dollars(c).translate({ord("0") + i: 0x0660 + i for i in range(10)}),
]


@MANY
@given(DAYS, DAYS, st.sampled_from(DATE_FORMS))
def test_the_form_of_a_date_changes_nothing(day: date, other: date, form: Callable[[date], str]) -> None:
    assert equal(day.isoformat(), form(day), "date"), form(day)
    assert equal(day.isoformat(), form(other), "date") is (day == other)


@MANY
@given(CENTS, CENTS, st.sampled_from(MONEY_FORMS))
def test_the_form_of_an_amount_changes_nothing(cents: int, other: int, form: Callable[[int], str]) -> None:
    assert equal(dollars(cents), form(cents), "money"), form(cents)
    assert equal(dollars(cents), form(other), "money") is (cents == other)


@FEW
@given(PAIRS, st.integers(0, len(DATE_FORMS) - 1))
def test_the_form_of_dates_changes_no_document(pair: Any, which: int) -> None:
    gold, answer = pair
    told = {
        name: DATE_FORMS[which](date.fromisoformat(value)) if name.endswith("_date") and value else value
        for name, value in answer.items()
    }
    assert counts(gold, answer) == counts(gold, told)


@MANY
@given(GOLD, st.data())
def test_a_changed_digit_always_counts(gold: Any, data: Any) -> None:
    text = json.dumps(gold)
    places = [i for i, c in enumerate(text) if c.isdigit()]
    if not places:
        return
    at = data.draw(st.sampled_from(places))
    digit = data.draw(st.sampled_from([d for d in "0123456789" if d != text[at]]))
    changed = text[:at] + digit + text[at + 1 :]
    found = score_answer(gold, changed, schema=SCHEMA).metrics
    assert found["exact"] == 0 and found["f1"] < 1, changed


@MANY
@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_changed_number_makes_a_span_wrong(one: int, other: int) -> None:
    span = "the Buyer pays the sum of {} dollars within the agreed time after the invoice"
    assert same_span(span.format(one), span.format(other))[0] is (one == other)
    assert same_span(span.format(one), span.format(f"{one:,}"))[0]


HOSTILE = [
    "5" + "%" * 1900,
    "5" + "$" * 1900,
    "$" * 1900 + "5",
    "usd " + "-" * 1900 + "5",
    "a(" + " " * 1900 + "x",
    "(" * 1900,
]


@MANY
@given(st.text(max_size=200) | st.text("0123456789.,-/()%$€ kmbaone'", max_size=60))
@example("\ud800")
@example("²½①")
def test_readers_never_raise(text: str) -> None:
    for read in (parse_date, number, words, grouped, parse_object, Source):
        read(text)
    for kind in [*READERS, "no such kind"]:
        hash(normalise(text, kind))
        assert equal(text, text, kind) or normalise(text, kind) is None
        Source(text).grounds(text, kind)
    same_span(text, "not 5")


@pytest.mark.parametrize("text", HOSTILE)
def test_readers_take_hostile_values_in_time(text: str) -> None:
    started = time.perf_counter()
    for kind in READERS:
        hash(normalise(text, kind))
    number(text)
    assert time.perf_counter() - started < 2


@MANY
@given(GOLD, st.dictionaries(st.sampled_from(sorted(SCHEMA["properties"])), JSON_VALUES), JSON_VALUES)
def test_any_json_is_scored(gold: Any, answer: Any, other: Any) -> None:
    for value in (answer, other):
        found = score_answer(gold, json.dumps(value), schema=SCHEMA, source="text 5").metrics
        assert 0 <= found["f1"] <= 1
    merge_answers([json.dumps(answer), json.dumps(other)], schema=SCHEMA, source="text 5")


@pytest.mark.parametrize("depth", [50, 90, 500, *range(880, 1000)])
def test_deep_nesting_is_scored_or_refused(depth: int) -> None:
    deep = "[" * depth + "]" * depth
    for text in (f'{{"parties": [{deep}]}}', f'{{"term": {deep}}}', f'{{"extra": {deep}}}'):
        found = score_answer({"term": "1 year", "parties": []}, text, schema=SCHEMA).metrics
        assert found["exact"] == 0
        assert found["parse_lenient"] == (depth < 97)


@MANY
@given(
    st.integers(1, 5).flatmap(
        lambda n: st.integers(1, 5).flatmap(
            lambda m: st.lists(st.lists(st.integers(0, 20), min_size=m, max_size=m), min_size=n, max_size=n)
        )
    ),
    st.sampled_from([0.05, 0.3, 0.5]),
)
@example([[10, 9], [9, 0]], 0.5)
def test_alignment_equals_brute_force(matrix: list[list[int]], threshold: float) -> None:
    rows, columns = len(matrix), len(matrix[0])
    worth = [[cell / 20 if cell / 20 >= threshold else 0.0 for cell in row] for row in matrix]
    size = max(rows, columns)
    best = max(
        sum(worth[i][j] for i, j in enumerate(order) if i < rows and j < columns) for order in permutations(range(size))
    )
    pairs = align(range(rows), range(columns), lambda i, j: matrix[i][j] / 20, threshold=threshold)
    matched = [(i, j) for i, j in pairs if i is not None and j is not None]
    assert sum(worth[i][j] for i, j in matched) == pytest.approx(best)
    assert all(matrix[i][j] / 20 >= threshold for i, j in matched)
    assert sorted(i for i, _ in pairs if i is not None) == list(range(rows))
    assert sorted(j for _, j in pairs if j is not None) == list(range(columns))


@pytest.mark.parametrize("unit", ["[", "{", '{"a":', '{"a":[', "```{", '{"a":"', "}]", "[{", '[1,{"b":', "{}"])
def test_a_megabyte_of_brackets_is_parsed_in_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    started = time.perf_counter()
    parse_object(text)
    assert time.perf_counter() - started < 2


@FEW
@given(GOLD)
def test_an_unparsed_answer_misses_all_that_gold_holds(gold: Any) -> None:
    found = score_fields(gold, None, schema=SCHEMA)
    assert found and {leaf.outcome for leaf in found} == {"miss"}
    assert len(found) == sum(leaf.outcome == "tp" for leaf in score_fields(gold, gold, schema=SCHEMA))
