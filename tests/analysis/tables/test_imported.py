"""Tables of others, with the traps that real ones hold."""

import json
import warnings
from pathlib import Path

import pandas as pd
import pytest
from real_data import TABLES

import evals
from evals.analysis.tables.imported import TableWarning, read_table
from evals.errors import DataError

real = pytest.mark.skipif(not TABLES.is_dir(), reason=f"the real tables of {TABLES} are not here")
AIDER = {"model": "model", "score": "pass_rate_2", "cost_usd": "total_cost", "latency_s": "seconds_per_case"}
NAMED = {"model": "name", "score": "acc", "cost_usd": "usd"}


def written(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "semicolons"])
def test_every_format_gives_the_same_table(kind: str, tmp_path: Path) -> None:
    frame = pd.DataFrame({"name": ["a", "b"], "acc": [0.5, 0.75], "usd": [1.5, None]})
    path = tmp_path / f"t.{'csv' if kind == 'semicolons' else kind}"
    if kind == "parquet":
        frame.to_parquet(path)
    elif kind in ("csv", "tsv", "semicolons"):
        frame.to_csv(path, index=False, sep={"csv": ",", "tsv": "\t", "semicolons": ";"}[kind])
    else:
        frame.to_json(path, orient="records", lines=kind == "jsonl")
    found, notes = read_table(path, NAMED)
    assert list(found["option"]) == ["a", "b"] and list(found["score"]) == [0.5, 0.75]
    assert found["cost_usd"].isna().tolist() == [False, True]
    assert found["cost_flag"].tolist()[1] == "cost is missing" and len(notes) == 1


def test_notes_are_warnings(tmp_path: Path) -> None:
    path = written(tmp_path, "name,acc,usd\na,0.5,0\n")
    with pytest.warns(TableWarning, match="not free"):
        assert evals.load_table(path, columns=NAMED)["cost_usd"].isna().all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        evals.load_table(written(tmp_path, "name,acc,usd\na,0.5,2\n"), columns=NAMED)


def test_a_cost_of_zero_is_not_recorded_but_for_a_machine_of_one_s_own(tmp_path: Path) -> None:
    path = written(tmp_path, "name,acc,usd,where\nremote,0.5,0,api\nmine,0.4,0,own\nother,0.6,2,api\n")
    found, notes = read_table(path, {**NAMED, "location": "where"})
    assert found["cost_usd"].isna().tolist() == [True, False, False]
    assert found["cost_flag"].tolist()[0] == "cost of 0 is taken as not recorded" and "'remote'" in notes[0]


def test_names_that_occur_twice_are_kept_and_numbered(tmp_path: Path) -> None:
    found, notes = read_table(written(tmp_path, "name,acc,usd\na,0.5,1\nb,0.5,1\na,0.6,2\n"), NAMED)
    assert list(found["option"]) == ["a", "b", "a (2)"] and list(found["model"]) == ["a", "b", "a"]
    assert "'a' 2 times" in notes[0]


def test_percentages_become_fractions_and_a_mix_is_told(tmp_path: Path) -> None:
    found, notes = read_table(written(tmp_path, 'name,acc,usd\na,55%,1\nb,0.6,$2\nc,80,"1,200.5"\n'), NAMED)
    assert found["score"].tolist() == pytest.approx([0.55, 0.006, 0.8])
    assert found["cost_usd"].tolist() == [1, 2, 1200.5]
    assert "read as percentages" in notes[0] and "fractions among percentages" in notes[1] and "'b'" in notes[1]


def test_scores_beyond_a_hundred_are_no_percentages(tmp_path: Path) -> None:
    found, notes = read_table(written(tmp_path, "name,acc,usd\na,1250,1\nb,1100,2\n"), NAMED)
    assert found["score"].tolist() == [1250, 1100] and not notes


def test_rates_that_disagree_with_their_counts(tmp_path: Path) -> None:
    path = written(tmp_path, "name,acc,usd,n,k\na,0.5,1,10,5\nb,0.7,2,10,6\n")
    _, notes = read_table(path, {**NAMED, "n": "n", "successes": "k"})
    assert len(notes) == 1 and "'b' 70.0% against 6/10" in notes[0]


def test_documents_repeated_are_repeats(tmp_path: Path) -> None:
    path = written(tmp_path, "name,acc,usd,id\na,1,1,x\na,0,1,x\na,1,1,y\n")
    found, notes = read_table(path, {**NAMED, "sample_id": "id"})
    assert found["repeat"].tolist() == [0, 1, 0] and "1 rows repeat" in notes[0]


def test_a_wide_table_is_made_long(tmp_path: Path) -> None:
    rows = [{"id": f"q{i}", "small": i % 2 == 0, "large": True, "a": 1, "b": 3} for i in range(4)]
    path = written(tmp_path, "".join(json.dumps(row) + "\n" for row in rows), "w.jsonl")
    found, notes = read_table(path, {"sample_id": "id", "model": ["small", "large"], "cost_usd": ["a", "b"]})
    assert found.groupby("option")["score"].mean().to_dict() == {"small": 0.5, "large": 1.0}
    assert found.groupby("option")["cost_usd"].mean().to_dict() == {"small": 1, "large": 3} and not notes


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("", NAMED, "cannot be read"),
        ("name,acc,usd\n", NAMED, "holds no rows"),
        ("name,acc\na,1\n", NAMED, "no column 'usd'; did you mean|no column 'usd'"),
        ("name,acc,usd\na,high,1\n", NAMED, "acc of row 1 is 'high'"),
        ("name,acc,usd\na,0.5,inf\n", NAMED, "no finite number"),
        ("name,acc,usd\na,0.5,-1\n", NAMED, "usd of row 1 is -1, below 0"),
        ("name,acc,usd\n,0.5,1\n", NAMED, "row 1 names no model"),
        ("acc,usd\n0.5,1\n", {"score": "acc"}, "columns.model=COLUMN"),
        ("name,acc,usd\na,0.5,1\n", {"modle": "name"}, "columns.modle is not known; did you mean model"),
        ("name,acc,usd\n" + "a,1,1\n" * 10, NAMED, "name columns.sample_id"),
        ("name,acc,usd\na,0.5,1,2,3\nb\n", NAMED, "cannot be read|no column|no finite|names no model"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, columns: dict[str, str], says: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=says):
        read_table(written(tmp_path, text), columns)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    for name, text, says in (
        ("a.xlsx", "x", "tables are"),
        ("a.jsonl", '{"a": 1}\n{oops\n', ":2 is no valid JSON"),
        ("a.jsonl", "[1]\n", ":1 should hold an object"),
        ("a.parquet", "x", "cannot be read"),
    ):
        with pytest.raises(DataError, match=says):
            read_table(written(tmp_path, text, name), {})
    with pytest.raises(DataError, match="is not there"):
        read_table(tmp_path / "none.csv", {})


def test_a_number_given_to_a_name_is_never_another_row_s_name(tmp_path: Path) -> None:
    text = "name,acc,usd\na,0.5,1\na,0.6,2\nb,0.7,3\na (2),0.71,4\na,0.3,5\n"
    found, _ = read_table(written(tmp_path, text), NAMED)
    assert list(found["option"]) == ["a", "a (3)", "b", "a (2)", "a (4)"]


def test_a_percent_sign_says_percent_however_small_the_score(tmp_path: Path) -> None:
    found, notes = read_table(written(tmp_path, "name,acc,usd\na,0.9%,1\nb,0.5%,2\n"), NAMED)
    assert found["score"].tolist() == pytest.approx([0.009, 0.005]) and "read as percentages" in notes[0]
    found, notes = read_table(written(tmp_path, "name,acc,usd\na,0.85%,1\nb,90%,2\nc,1,2\n"), NAMED)
    assert found["score"].tolist() == pytest.approx([0.0085, 0.9, 0.01])
    assert "1 of them lie" in notes[1] and "'c'" in notes[1]


def test_marks_of_a_short_scale_are_left_as_they_are(tmp_path: Path) -> None:
    found, notes = read_table(written(tmp_path, "name,acc,usd\na,3.5,1\nb,4.5,2\n"), NAMED)
    assert found["score"].tolist() == [3.5, 4.5] and "left as they are" in notes[0]


def test_documents_in_percent_beside_documents_in_fractions_are_refused(tmp_path: Path) -> None:
    rows = [("half", str(i % 2), i) for i in range(20)] + [("percent", str(100 * (i % 2)), i) for i in range(20)]
    path = written(tmp_path, "name,acc,id\n" + "".join(f"{m},{s},{i}\n" for m, s, i in rows))
    with pytest.raises(DataError, match="'half' lie between 0 and 1, those of 'percent' reach 100"):
        read_table(path, {"model": "name", "score": "acc", "sample_id": "id"})


def test_a_single_cost_of_0_among_others_is_not_recorded(tmp_path: Path) -> None:
    """Half of the documents at $0 would halve an option's cost; a row that failed may well have cost nothing."""
    rows = "".join(f"a,1,{0 if i % 2 else 3},{i},\n" for i in range(4)) + "b,1,2,0,\nb,0,0,1,timeout\n"
    path = written(tmp_path, "name,acc,usd,id,bad\n" + rows)
    found, notes = read_table(path, {**NAMED, "sample_id": "id", "failed": "bad"})
    assert found["cost_usd"].isna().tolist() == [False, True, False, True, False, False]
    assert found["cost_flag"][1] == "cost of 0 for 2 of 4 rows is taken as not recorded"
    assert any("a cost of 0 for some rows" in note and "'a'" in note and "'b'" not in note for note in notes)


def test_json_of_another_shape_is_said(tmp_path: Path) -> None:
    for text in ('{"name": "a", "acc": 0.4}', "[1, 2]", "3"):
        with pytest.raises(DataError, match="a list of objects"):
            read_table(written(tmp_path, text, "t.json"), NAMED)
    found, _ = read_table(written(tmp_path, '{"name": ["a"], "acc": [0.4], "usd": [1]}', "t.json"), NAMED)
    assert found["score"].tolist() == [0.4]
    with pytest.raises(DataError, match="is 'inf', no finite"):
        read_table(written(tmp_path, "name,acc,usd\na,inf,1\n"), NAMED)


@real
def test_the_leaderboard() -> None:
    columns = {**AIDER, "n": "test_cases", "successes": "pass_num_2"}
    found, notes = read_table(TABLES / "aider_polyglot_leaderboard.jsonl", columns)
    raw = [json.loads(line) for line in (TABLES / "aider_polyglot_leaderboard.jsonl").read_text().split("\n") if line]
    assert len(found) == len(raw) == 69 and found["option"].is_unique
    zero = [row["model"] for row in raw if row.get("total_cost") == 0]
    missing = [row["model"] for row in raw if row.get("total_cost") is None]
    assert set(found.loc[found["cost_usd"].isna(), "model"]) >= set(zero) | set(missing)
    assert found["cost_usd"].notna().sum() == 69 - len(zero) - len(missing) == 51
    told = " ".join(notes)
    assert "'Qwen2.5-Coder-32B-Instruct' 2 times" in told and "read as percentages" in told
    assert "disagree with their counts" in told and "17 options have a cost of 0" in told and "qwen-max-2025" in told


@real
def test_the_quantisations() -> None:
    found, notes = read_table(TABLES / "aider_quant.jsonl", {**AIDER, "n": "test_cases"})
    assert len(found) == 14 and found["cost_usd"].notna().sum() == 5 and "9 options have a cost of 0" in " ".join(notes)


@real
def test_the_wide_table_of_prompts() -> None:
    models = ["mixtral-8x7b", "gpt-4-1106"]
    found, notes = read_table(TABLES / "routellm_gsm8k.jsonl", {"sample_id": "id", "model": models})
    raw = [json.loads(line) for line in (TABLES / "routellm_gsm8k.jsonl").read_text().split("\n") if line]
    assert len(found) == 2 * len(raw) == 2638 and not notes
    for name in models:
        assert found.loc[found["model"] == name, "score"].sum() == sum(row[name] for row in raw)
