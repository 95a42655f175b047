"""How long the first word takes: CPU seconds of `python -m evals --help`, and what `import evals` loads."""

import os
import statistics
import subprocess
import sys

RUNS = 9


def cpu_s(*words: str) -> float:
    """User and system seconds of one child."""
    before = os.times()
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def main() -> None:
    """Print medians, and the same for an empty interpreter."""
    for label, words in (("python -c pass", ("-c", "pass")), ("evals --help", ("-m", "evals", "--help"))):
        cpu_s(*words)
        print(f"{label:16} {statistics.median(cpu_s(*words) for _ in range(RUNS)):.3f} s CPU (median of {RUNS})")
    print("target: evals --help under 0.4 s CPU")


if __name__ == "__main__":
    main()
