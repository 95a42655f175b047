"""A run that is stopped, in a process of its own: Ctrl-C once, Ctrl-C twice, SIGKILL; then the same command again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from evals import store

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of a POSIX system")
SLOW = ["run", "task=mine", "model=fake", "model.latency_s=0.05"]
STUCK = """import time


def answer(text):
    time.sleep(120)
    return {}
"""


def start(project: Path, words: Sequence[str]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "evals", *words],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for(project: Path, name: str, lines: int, within_s: float = 60) -> Path:
    """The run's folder, once its file `name` has so many lines."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        for path in (project / "results" / "mine").glob(f"*/*/{name}"):
            if path.read_bytes().count(b"\n") >= lines:
                return path.parent
        time.sleep(0.01)
    raise AssertionError(f"no {name} of {lines} lines within {within_s} s")


def keys(folder: Path) -> list[str]:
    return [json.loads(line)["sample_id"] for line in (folder / "records.jsonl").read_text().splitlines()]


def test_ctrl_c_keeps_the_records_and_says_how_to_go_on(project: Path) -> None:
    process = start(project, SLOW)
    folder = wait_for(project, "records.jsonl", 5)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in error
    last = error.strip().splitlines()[-1]
    kept = keys(folder)
    assert 5 <= len(kept) < 40 and f"stopped: {len(kept)} of 40 documents are answered" in last
    assert last.endswith("go on with: python -m evals " + " ".join(SLOW))
    assert not (folder / "summary.json").exists()
    again = start(project, SLOW)
    assert again.wait(timeout=60) == 0
    again.communicate()
    assert keys(folder)[: len(kept)] == kept and sorted(keys(folder)) == sorted(f"d{i}" for i in range(40))
    assert not (folder / "stopped.json").exists()


def test_a_second_ctrl_c_stops_at_once_whatever_hangs(project: Path) -> None:
    (project / "tasks" / "mine" / "rules.py").write_text(STUCK)
    process = start(project, ["run", "task=mine", "model=rules"])
    wait_for(project, "manifest.json", 5)
    time.sleep(0.5)  # the document is under way and blocks the event loop
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=5) == 130
    process.communicate()


def test_sigkill_and_the_same_command_ask_nothing_twice(project: Path) -> None:
    process = start(project, SLOW)
    folder = wait_for(project, "records.jsonl", 7)
    process.kill()
    process.communicate(timeout=30)
    torn = (folder / "records.jsonl").read_bytes()
    kept = torn[: torn.rfind(b"\n") + 1]
    again = start(project, SLOW)
    assert again.wait(timeout=60) == 0
    again.communicate()
    after = (folder / "records.jsonl").read_bytes()
    assert after.startswith(kept) and sorted(keys(folder)) == sorted(f"d{i}" for i in range(40))
    summary = store.read_json(folder / "summary.json")
    whole = start(project, [*SLOW, "resume=false"])
    assert whole.wait(timeout=60) == 0
    whole.communicate()
    (other,) = [p for p in folder.parent.iterdir() if p != folder]
    reference = store.read_json(other / "summary.json")
    assert summary["content_hash"] == reference["content_hash"] and summary["quality"] == reference["quality"]


def test_ctrl_c_in_a_sweep_stops_the_job_and_the_sweep(project: Path) -> None:
    words = ["run", "-m", "task=mine", "model=fake", "seed=0,1", "model.latency_s=0.05"]
    process = start(project, words)
    folder = wait_for(project, "records.jsonl", 3)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=30)
    assert process.returncode == 130 and "Traceback" not in error
    said = [line for line in error.splitlines() if "go on with" in line]
    assert "documents are answered and kept" in said[0] and said[-1].startswith("the sweep is stopped")
    assert len(list((project / "results" / "mine").glob("*/*/manifest.json"))) == 1, "the second job never began"
    assert len(keys(folder)) >= 3


def test_a_full_disk_is_one_line_and_keeps_what_is_there(project: Path, tmp_path: Path) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full on this system")
    folder = project / "results" / "mine" / "rules"
    code = (
        "import sys, os\n"
        "from pathlib import Path\n"
        "from evals import store\n"
        "made = store.RunFolder.create('mine', 'rules')\n"
        "made.path.mkdir(parents=True)\n"
        "os.symlink('/dev/full', made.path / 'records.jsonl')\n"
        "store.RunFolder.create = classmethod(lambda *_: made)\n"
        "from evals.cli import main\n"
        "sys.exit(main(['run', 'task=mine', 'model=rules']))\n"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=project, env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "No space left on device; free some space and run it again" in done.stderr.strip().splitlines()[-1]
    assert folder.is_dir()
