"""Names -> files: the nearest folder wins, and a bad file or name is one line that says where and what else."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evals import catalog
from evals.errors import ConfigError


def put(root: Path, name: str, text: str = "name: x\n") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, with two more on `$EVALS_PATH`: `one` before `two`."""
    for name in ("here", "one", "two"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("EVALS_PATH", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    return tmp_path / "here"


def test_an_option_is_taken_from_the_nearest_folder(here: Path) -> None:
    assert catalog.option("model", "rules")["name"] == "rules", "what was shipped, where nothing is nearer"
    for folder, said in (("two", "far"), ("one", "near"), ("here", "own")):
        put(here.parent / folder, "configs/model/rules.yaml", f"name: {said}\n")
        assert catalog.option("model", "rules") == {"name": said}, "one file is taken whole, nothing is mixed"
    assert catalog.options("model")["rules"] == here / "configs" / "model" / "rules.yaml"


def test_a_task_is_taken_from_the_nearest_folder_that_has_its_code(here: Path) -> None:
    for folder in ("two", "one"):
        put(here.parent / folder, "tasks/legal_extract/task.py")
        assert catalog.task_folder("legal_extract") == here.parent / folder / "tasks" / "legal_extract"
    put(here, "tasks/legal_extract/README.md")
    assert catalog.task_folder("legal_extract").parents[1] == here.parent / "one", "a folder without task.py is no task"


def test_options_and_tasks_of_every_folder_are_known(here: Path) -> None:
    for folder in ("here", "one", "two"):
        put(here.parent / folder, f"configs/model/m_{folder}.yaml")
        put(here.parent / folder, f"tasks/t_{folder}/task.py")
    models, tasks = list(catalog.options("model")), catalog.task_names()
    assert {"m_here", "m_one", "m_two", "rules"} <= set(models) and models == sorted(models)
    assert {"t_here", "t_one", "t_two", "legal_extract"} <= set(tasks) and tasks == sorted(set(tasks))
    assert catalog.options("no_such_group") == {}


def test_the_order_is_here_then_evals_path_then_what_was_shipped(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = [here, here.parent / "one", here.parent / "two", catalog.shipped()]
    assert catalog.roots() == [path.resolve() for path in expected]
    assert catalog.config_folders() == [catalog.shipped() / "configs"], "folders without configs/ are left out"
    monkeypatch.setenv("EVALS_PATH", os.pathsep.join([str(here), str(catalog.shipped())]))
    assert catalog.roots() == [here.resolve(), catalog.shipped()], "each folder once"
    monkeypatch.delenv("EVALS_PATH")
    assert catalog.roots() == [here.resolve(), catalog.shipped()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\npath: y\nlimit: [1, 2\n", ":4 is no valid YAML: "),
        ("name: x\n\tlimit: 3\n", ":2 is no valid YAML: "),
        ("name: x\nlimit: 'open\n", ":3 is no valid YAML: "),
        ("name: x: y\n", ":1 is no valid YAML: mapping values are not allowed here"),
        ("name: *unknown\n", ":1 is no valid YAML: "),
        ("- a\n- b\n", " should hold `key: value` pairs, it holds list"),
        ("just text\n", " should hold `key: value` pairs, it holds str"),
        ("# nothing\n", " should hold `key: value` pairs, it holds NoneType"),
    ],
)
def test_bad_yaml_is_one_line_that_names_file_and_line(here: Path, text: str, said: str) -> None:
    path = put(here, "configs/model/mine.yaml", text)
    with pytest.raises(ConfigError) as caught:
        catalog.option("model", "mine")
    assert str(caught.value).startswith(f"{path}{said}") and "\n" not in str(caught.value)


def test_bytes_that_are_no_utf8_are_a_config_error(here: Path) -> None:
    put(here, "configs/model/mine.yaml").write_bytes("name: é\n".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"mine\.yaml is no valid YAML: .*can't decode byte 0xe9"):
        catalog.option("model", "mine")


def test_yaml_only_ever_makes_plain_data(here: Path) -> None:
    put(here, "configs/model/mine.yaml", "name: !!python/object/apply:os.getcwd []\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml:1 is no valid YAML: could not determine a constructor"):
        catalog.option("model", "mine")


def test_a_file_that_was_edited_is_read_again(here: Path) -> None:
    path = put(here, "configs/model/mine.yaml", "name: old\n")
    first = catalog.option("model", "mine")
    path.write_text("name: new\n")
    os.utime(path, (1, 1))
    assert (first, catalog.option("model", "mine")) == ({"name": "old"}, {"name": "new"})


def test_a_caller_may_add_keys_to_its_option(here: Path) -> None:
    put(here, "configs/model/mine.yaml", "name: mine\n")
    catalog.option("model", "mine")["threads"] = 4
    assert catalog.option("model", "mine") == {"name": "mine"}


def test_an_unknown_name_is_told_the_nearest(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model=rulse is not known; did you mean rules\?$"):
        catalog.option("model", "rulse")
    with pytest.raises(
        ConfigError, match=r"^no folder tasks/legal_extrct with a task\.py .*did you mean legal_extract"
    ):
        catalog.task_folder("legal_extrct")
    with pytest.raises(ConfigError, match="is not known$"):
        catalog.option("no_such_group", "x")


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("rule", ["fake", "rules"], "; did you mean rules?"),
        ("qwen25", ["gemma7b", "qwen25_1.5b", "qwen25_0.5b"], "; did you mean qwen25_"),
        ("zzz", ["b", "a"], "; known are a, b"),
        ("zzz", [], ""),
    ],
)
def test_nearest(name: str, known: list[str], said: str) -> None:
    assert catalog.nearest(name, known).startswith(said) and bool(catalog.nearest(name, known)) is bool(said)


@given(st.text(max_size=8), st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=6))
def test_nearest_only_ever_names_what_is_known(name: str, known: list[str]) -> None:
    found = catalog.nearest(name, known)
    named = found.removeprefix("; did you mean ").removeprefix("; known are ").removesuffix("?").split(", ")
    assert set(named) <= set(known) if known else found == ""
