"""How long the first word and the first request take, in CPU seconds: `--help`, and from `python -m evals run` with
Hydra to the moment in which the first request would leave, through the lean transport and through the official SDK."""

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
RUNS = 9
MODEL = '''import os
import time

from evals.models.openai import OpenAI


class First(OpenAI):
    """Tells the process's CPU seconds where a request would leave, and ends."""

    async def generate(self, request, mark):
        print(f"CPU {time.process_time()}", flush=True)
        os._exit(0)
'''
CARD = """_target_: first_request.First
name: first
location: own
card: {family: none, checked: null}
id: m
base_url: http://127.0.0.1:9/v1
key_env: null
transport: null
"""


def cpu_s(*words: str) -> float:
    """User and system seconds of one child."""
    before = os.times()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def first_request_s(folder: Path, transport: str) -> float:
    """CPU seconds of a run until its first request."""
    words = [sys.executable, "-m", "evals", "run", "task=tiny", "task.path=docs1000.jsonl", "model=first"]
    env = {**os.environ, "EVALS_RESULTS": str(folder / "results"), "EVALS_CACHE": str(folder / "cache")}
    words += [f"model.transport={transport}", "resume=false"]
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=True)
    return float(done.stdout.split("CPU ")[1].split()[0])


def main() -> None:
    """Print medians, and the same for an empty interpreter."""
    import wire

    for label, words in (("python -c pass", ("-c", "pass")), ("evals --help", ("-m", "evals", "--help"))):
        cpu_s(*words)
        print(f"{label:28} {statistics.median(cpu_s(*words) for _ in range(RUNS)):.3f} s CPU (median of {RUNS})")
    print("target: evals --help under 0.4 s CPU")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wire.prepare(folder, 1000)
        for group, text in (("task", "name: tiny\npath: null\n"), ("model", CARD)):
            (folder / "configs" / group).mkdir(parents=True)
            (folder / "configs" / group / ("tiny.yaml" if group == "task" else "first.yaml")).write_text(text)
        (folder / "first_request.py").write_text(MODEL)
        for transport in ("lean", "sdk"):
            first_request_s(folder, transport)
            found = statistics.median(first_request_s(folder, transport) for _ in range(RUNS))
            print(f"first request, {transport:13} {found:.3f} s CPU (median of {RUNS})")
    print("target: first request under 1.0 s CPU, Hydra included")


if __name__ == "__main__":
    main()
