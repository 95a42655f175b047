"""How far is the mu of a bench from the truth? On simulated deployments, where the truth is known and time costs nothing.

`python benchmarks/capacity_simulated.py [benches of each]`. Each deployment serves Poisson arrivals; its true mu is the
rate of an endless stream of which 95 % are inside the target. The loads, the search and mu are those of `bench`.
"""

import bisect
import math
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, median, pstdev

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "made"))

BENCHES = int(sys.argv[1]) if len(sys.argv) > 1 else 40
ENDLESS = 60_000
Serve = Callable[[Sequence[float], random.Random], list[float]]


def slots(count: int, service_s: float, spread: float) -> Serve:
    """First come, first served; the ends of the documents."""

    def serve(dues: Sequence[float], random_: random.Random) -> list[float]:
        free, ends = [0.0] * count, []
        for due in dues:
            ends.append(max(due, free.pop(0)) + service_s * random_.uniform(1 - spread, 1 + spread))
            bisect.insort(free, ends[-1])
        return ends

    return serve


def batching(count: int, alone: float, full: float) -> Serve:
    """`count` places that share one machine: `alone` documents a second with one under way, `full` with all; documents of
    different lengths."""

    def speed(under_way: int) -> float:
        return alone + (full - alone) * (1 - 1 / under_way) / (1 - 1 / count)

    def serve(dues: Sequence[float], random_: random.Random) -> list[float]:
        left, ends, waiting, now, following = {}, [0.0] * len(dues), [], 0.0, 0
        work = [random_.lognormvariate(-0.08, 0.4) for _ in dues]
        while following < len(dues) or left:
            each = speed(len(left)) / len(left) if left else 0.0
            first = min(left, key=left.__getitem__) if left else None
            done = now + left[first] / each if first is not None else math.inf
            arrives = dues[following] if following < len(dues) else math.inf
            passed, now = min(done, arrives) - now, min(done, arrives)
            for number in left:
                left[number] -= passed * each
            if arrives <= done:
                waiting.append(following)
                following += 1
            elif first is not None:
                del left[first]
                ends[first] = now
            while waiting and len(left) < count:
                number = waiting.pop(0)
                left[number] = work[number]
        return ends

    return serve


DEPLOYMENTS: dict[str, tuple[Serve, float, float]] = {
    "4 slots of 50 ms, target 0.5 s": (slots(4, 0.05, 0.2), 0.5, 78.0),
    "16 slots of 2 s, target 10 s": (slots(16, 2.0, 0.8), 10.0, 7.8),
    "4 slots of 5 s, target 22 s": (slots(4, 5.0, 0.5), 22.0, 0.78),
    "1 slot of 1 s, target 4.5 s": (slots(1, 1.0, 0.5), 4.5, 0.97),
    "a local model, 8 places, target 19 s": (batching(8, 0.27, 0.44), 19.0, 0.43),
}
"""How each serves, its target, and its throughput all at once."""


def load(
    serve: Serve, target: float, rate: float, seconds: float, seed: int, documents: int | None
) -> dict[str, object]:
    """One open loop, as `bench` makes and judges it."""
    from simulated_queues import judged, shot

    from evals.engine.load import arrivals

    edge = min(target, seconds)
    whole = seconds + 2 * edge
    dues = arrivals(rate, whole, seed=seed)
    shots = [shot(due, end) for due, end in zip(dues, serve(dues, random.Random(f"{seed} {rate}")), strict=True)]
    return judged(shots, rate, seconds, edge, target=target, documents=documents) | {"took": whole}


def bench(serve: Serve, target: float, offline: float, seed: int, documents: int | None) -> list[dict[str, object]]:
    """The open loops of a bench."""
    from evals.analysis import capacity
    from evals.commands.bench_times import Measured, Times
    from evals.commands.settings.bench import BenchSettings

    times, found = Times(BenchSettings(task={}, model={})), Measured(target_s=target)
    loads: list[dict[str, object]] = []
    while True:
        step = capacity.next_rate(loads, offline, precision=0.05, most=16, documents=documents)
        if step.rate is None:
            return loads
        seconds = times.open_s(step.rate, found, step.documents)
        loads.append(load(serve, target, step.rate, seconds, 1000 * seed + len(loads), step.documents))


def endless(serve: Serve, target: float, offline: float) -> float:
    """The true mu, by bisection with long streams."""
    low, high = offline / 8, offline * 1.1
    for number in range(12):
        rate = (low + high) / 2
        held = load(serve, target, rate, ENDLESS / rate, number, None)["sustained"]
        low, high = (rate, high) if held else (low, rate)
    return low


def main() -> None:
    """Print the table."""
    from evals.analysis import capacity

    print(f"{BENCHES} benches of each; mu as a share of the true one")
    print(
        f"{'deployment':38} {'true mu':>8} {'documents':>9} {'mean':>5} {'sd':>5} {'within 10 %':>11} {'covers':>6}",
        end="",
    )
    print(f" {'interval':>12} {'minutes':>7}")
    for name, (serve, target, offline) in DEPLOYMENTS.items():
        true = endless(serve, target, offline)
        for documents in (None, 50, 200):
            made = [bench(serve, target, offline, seed, documents) for seed in range(BENCHES)]
            found = [capacity.mu(loads) for loads in made]
            shares = [(one["value"] or 0.0) / true for one in found]
            ends = [(one["low"] / true, math.inf if one["high"] is None else one["high"] / true) for one in found]
            near = sum(abs(share - 1) <= 0.1 for share in shares) / BENCHES
            covers = sum(low <= 1 <= high for low, high in ends) / BENCHES
            minutes = mean(sum(float(str(one["took"])) for one in loads) for loads in made) / 60
            low, high = (median(end[at] for end in ends) for at in (0, 1))
            print(
                f"{name:38} {true:8.3g} {documents or '-':>9} {mean(shares):5.2f} {pstdev(shares):5.2f} {100 * near:9.0f} % "
                f"{100 * covers:4.0f} % [{low:.2f}, {high:.2f}] {minutes:7.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
