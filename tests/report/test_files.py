"""Tables as files: what a spreadsheet would run is text, what is missing stays missing."""

import csv
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evals.cli import main
from evals.report import files


def read(folder: Path, command: str = "run") -> list[dict[str, str]]:
    with (folder / f"{command}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def written(folder: Path, *rows: dict[str, Any]) -> list[dict[str, str]]:
    files.write_table(folder, "run", rows)
    return read(folder)


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(tmp_path: Path, start: str) -> None:
    formula = f'{start}HYPERLINK("http://evil";"x")'
    (row,) = written(tmp_path, {"option": formula, "note": f"a {formula}", "list": [formula]})
    assert row["option"] == f"'{formula}" and row["note"] == f"a {formula}"
    assert json.loads(row["list"]) == [formula] and row["list"][0] == "["
    assert json.loads((tmp_path / "run.json").read_text())[0]["option"] == formula, "JSON keeps what was said"


def test_numbers_stay_numbers(tmp_path: Path) -> None:
    (row,) = written(tmp_path, {"n": -3, "f1": -0.25, "big": 1e300, "zero": 0, "flag": True})
    assert row == {"n": "-3", "f1": "-0.25", "big": "1e+300", "zero": "0", "flag": "True"}


def test_missing_is_an_empty_cell_and_null_and_not_scorable_is_nan(tmp_path: Path) -> None:
    (row,) = written(tmp_path, {"none": None, "zero": 0.0, "text": ""})
    assert row == {"none": "", "zero": "0.0", "text": ""}
    assert json.loads((tmp_path / "run.json").read_text()) == [{"none": None, "zero": 0.0, "text": ""}]
    (row,) = written(tmp_path, {"nan": float("nan"), "none": None})
    frame = pd.read_csv(tmp_path / "run.csv")
    assert row["nan"] == "nan" and frame.isna().all(axis=None), "read back, both are missing and neither is 0"


def test_rows_with_other_columns_are_lined_up(tmp_path: Path) -> None:
    rows = written(tmp_path, {"b": 1, "a": 2}, {"c": 3, "a": 4})
    assert list(rows[0]) == ["b", "a", "c"]
    assert rows == [{"b": "1", "a": "2", "c": ""}, {"b": "", "a": "4", "c": "3"}]
    assert written(tmp_path) == [] and json.loads((tmp_path / "run.json").read_text()) == []


@settings(max_examples=30, deadline=None)
@given(st.lists(st.fixed_dictionaries({"x": st.text(st.characters(exclude_characters="\r\0", codec="utf-8"))})))
def test_any_text_is_read_back_and_never_begins_a_formula(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp() / "texts"
    kept = [row for row in rows if row["x"]]  # csv leaves out a row of one empty cell
    cells = [row["x"] for row in written(folder, *kept)]
    assert [cell.removeprefix("'") for cell in cells] == [row["x"].removeprefix("'") for row in kept]
    assert not any(cell[0] in "=+-@\t\r" for cell in cells)
    assert json.loads((folder / "run.json").read_text(encoding="utf-8")) == kept


def test_the_folder_is_made_and_another_value_goes_into_the_json(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    files.write_table(folder, "compare", [{"x": 1}], {"verdict": "é", "path": Path("p")})
    assert {p.name for p in folder.iterdir()} == {"compare.csv", "compare.json"}
    assert json.loads((folder / "compare.json").read_text(encoding="utf-8")) == {"verdict": "é", "path": "p"}
    assert read(folder, "compare") == [{"x": "1"}]


def test_out_gets_the_summary_as_one_row(project: Path) -> None:
    assert main(["run", "task=mine", "model=rules", "limit=8", "out=tables"]) == 0
    (row,), summary = read(project / "tables"), json.loads((project / "tables" / "run.json").read_text())
    quality = summary["quality"]
    for name, estimate in quality.items():
        assert [float(row[key]) if row[key] else None for key in (name, f"{name}_low", f"{name}_high")] == [
            estimate[key] for key in ("value", "low", "high")
        ]
    assert (row["option"], row["n"], row["usd_per_1k"], row["cost_provenance"]) == ("rules", "8", "", "")
    assert float(row["p50_s"]) == summary["latency"]["p50_s"] and row["load"] == "single_stream"
    assert files.flat(summary).keys() == row.keys()


def test_a_carriage_return_begins_no_row_and_json_is_json(tmp_path: Path) -> None:
    import csv
    import json

    import numpy as np

    from evals.report.files import write_table

    write_table(tmp_path, "t", [{"a": "x\r=cmd", "b": float("nan"), "c": np.int64(5)}])
    with (tmp_path / "t.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["a", "b", "c"], ["x\r=cmd", "nan", "5"]]

    def refuse(name: str) -> None:
        raise AssertionError(name)

    (read,) = json.loads((tmp_path / "t.json").read_text(), parse_constant=refuse)
    assert read["b"] is None
