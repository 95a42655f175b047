"""What a stored bench is good for."""

import json
import math
from pathlib import Path
from typing import Any

from made_runs import call, record

from evals import store
from evals.analysis.capacity import newest_bench, seconds_at_mu

ABOUT: dict[str, Any] = {
    "option": "m+quant=q4",
    "hashes": {"prompt": "p", "schema": "s", "scorer": "any"},
    "backend": {"build": "b1", "weights": {"file": "m.gguf"}, "start_s": 1.5, "settings": {"n_ctx": 4096}},
    "machine": {"cpu": "X", "cores": 2, "arch": "x86_64", "name": "this", "usd_per_hour": 1},
}


def stored(root: Path, stamp: str, value: float | None = 8.0, **manifest: Any) -> Path:
    folder = root / f"{ABOUT['option']}{store.BENCH}" / stamp
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps({**ABOUT, **manifest}))
    found = {"mu_docs_per_s": {"value": value, "low": 7.0, "high": 9.0}, "created": stamp, "why": "too slow"}
    (folder / "bench.json").write_text(json.dumps(found))
    return folder


def test_the_newest_bench_of_the_same_option_and_machine(tmp_path: Path) -> None:
    run = tmp_path / ABOUT["option"] / "2026-11-01"
    assert newest_bench(run, ABOUT) == (None, None)
    stored(tmp_path, "2026-11-02", 6.0)
    good = stored(tmp_path, "2026-11-03", backend={**ABOUT["backend"], "start_s": 99.0}, machine={**ABOUT["machine"], "usd_per_hour": 9})  # fmt: skip
    found, passed = newest_bench(run, ABOUT)
    assert found is not None and found["run"] == str(good) and passed is None
    stored(tmp_path, "2026-11-04", backend={**ABOUT["backend"], "build": "b2"})
    found, passed = newest_bench(run, ABOUT)
    assert found is not None and found["run"] == str(good)
    assert passed == "bench 2026-11-04 is not used: other backend (build, settings or weights)"
    stored(tmp_path, "2026-11-05", machine={**ABOUT["machine"], "cores": 64})
    assert newest_bench(run, ABOUT)[1] == "bench 2026-11-05 is not used: other cores"
    stored(tmp_path, "2026-11-06", None)
    assert newest_bench(run, ABOUT)[1] == "bench 2026-11-06 is not used: too slow"


def test_seconds_under_the_load_of_mu_count_from_the_schedule(tmp_path: Path) -> None:
    load = {"rate_docs_per_s": 8.0, "sustained": True, "records": "records-server-01.jsonl", "n": 2}
    bench = {"run": str(tmp_path), "mu_docs_per_s": {"value": 8.0}, "loads": [{"load": "offline"}, load]}
    assert seconds_at_mu(bench) is None
    rows = [record("a", call(0, 2.0, queued=1.5)), record("b", call(0, 0.1, error="rate_limit"))]
    (tmp_path / "records-server-01.jsonl").write_text("".join(store.encode(one) + "\n" for one in rows))
    found = seconds_at_mu(bench)
    assert found is not None and found[0] is load and list(found[1]) == [3.5, math.inf]
    early, longer = record("c", call(0, 9.0)), {**load, "n": 3, "first": 1, "records": "records-server-02.jsonl"}
    (tmp_path / "records-server-02.jsonl").write_text(
        "".join(store.encode(one) + "\n" for one in [early, *rows, *rows])
    )
    found = seconds_at_mu({**bench, "loads": [load, longer]})
    assert found is not None and found[0] is longer, "of two loads at the rate the one of more documents"
    assert list(found[1]) == [3.5, math.inf, 3.5], "those that count"
