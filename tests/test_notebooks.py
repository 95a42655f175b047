"""The notebooks run from top to bottom on the example runs, and import nothing of the project but `evals`."""

import ast
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
FILES = sorted(NOTEBOOKS.glob("*.ipynb"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
@pytest.mark.filterwarnings("ignore")  # of Jupyter's own machinery
def test_it_runs_and_shows_the_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    book = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(NOTEBOOKS)}}).execute()
    cells = [cell for cell in book.cells if cell.cell_type == "code"]
    shown = [output for cell in cells for output in cell.outputs]
    assert cells and not [output for output in shown if output.output_type in ("error", "stream")]
    tables = [output["data"]["text/html"] for output in shown if "text/html" in output.get("data", {})]
    options = {folder.name for folder in (NOTEBOOKS / "runs").glob("*/*")}
    assert len(tables) >= 3 and all(option in tables[0] for option in options)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_orders_from_the_menu_alone(path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    source = "\n".join(cell.source for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code")
    imports = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    assert names <= {"evals", "pandas"} and not [node for node in imports if isinstance(node, ast.ImportFrom)]


def test_the_example_runs_are_small() -> None:
    files = [path for path in (NOTEBOOKS / "runs").rglob("*") if path.is_file() and path.name != "table.parquet"]
    assert files and sum(path.stat().st_size for path in files) <= 2_000_000
