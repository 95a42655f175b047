"""The wheel works from any folder: it carries tasks/ and configs/, and runs a user's own task."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_wheel_runs_a_users_own_task(project: Path, tmp_path: Path) -> None:
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(tmp_path / "dist"), str(ROOT)],
        check=True,
    )
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"evals/data/tasks/legal_extract/task.py", "evals/data/configs/run.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.startswith(("tests/", "results/"))]
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); import evals; from evals.cli import main\n"
        f"assert evals.__file__.startswith({str(tmp_path)!r}), evals.__file__\n"
        "assert main(['run', 'task=mine', 'model=rules']) == 0\n"
        "assert main(['run', 'task=legal_extract', 'model=rules', 'limit=5']) == 0\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=project, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "legal_extract (test)" in done.stdout
