"""A bench as it is printed: loops apart, intervals, what is not known, one sentence at the end, nothing a terminal runs."""

from typing import Any

from evals.report.bench import html, rows, sentence, text


def figure(value: float | None, low: float | None = None, high: float | None = None, n: int = 40) -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "n": n}


def load(name: str, rate: float | None = None, **more: Any) -> dict[str, Any]:
    one = {"p50": figure(0.01), "p95": figure(None)}
    waits = {"p50": figure(0.5, 0.4, 0.6), "p95": figure(0.9, 0.8), "p99": figure(None)}
    found: dict[str, Any] = {
        **{"load": name, "loop": "open" if rate else "closed", "n": 40, "answered": 40, "failed": 0, "valid": 40},
        **{"throughput_docs_per_s": figure(2.0, 1.9, 2.1), "goodput_docs_per_s": rate, "latency_s": waits},
        **{"share": figure(0.975, 0.87, 0.996), "ttft_s": one, "tpot_s": one, "peak_memory_mb": None, "energy": None},
        **{"tokens_per_s": {"prompt": None, "output": None}, "latency_note": "n too small for p95: 40, at least 200"},
        **{"lag_p99_s": 0.002, "loop_lag_p99_s": 0.001, "void": None, "sustained": True, "records": "r.jsonl"},
    }
    if rate:
        found |= {"rate_docs_per_s": rate, "backlog": {"growth_docs_per_s": 0.01, "growing": False}}
    else:
        found |= {"concurrency": 1 if name == "single_stream" else 16, "share": None, "goodput_docs_per_s": None}
    return found | more


def result(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        **{"task": "mine", "option": "m", "run": "results/x", "share": 0.95, "counts": "valid answers", "load_s": 1.5},
        **{"mu_docs_per_s": {"value": 2.0, "low": 1.5, "high": 2.2}, "target": {"p95_s": 1.0, "from": "target_p95_s"}},
        "why": "2 docs/s was sustained, 2.2 was not",
        "loads": [load("single_stream"), load("offline", latency_s=load("x")["latency_s"]), load("server", 2.0)],
        "notes": ["a note"],
        **more,
    }
    return found | {"sentence": sentence(found)}


def test_loops_stand_apart_and_the_last_line_says_what_it_comes_to() -> None:
    said = text(result())
    closed, opened = said.split("open loop")
    assert "one at a time" in closed and "all at once" in closed and "sustained" in opened
    assert "0.900 [0.8" not in closed.split("all at once")[1].splitlines()[0], "all at once they wait by design"
    assert "97.5 % [87.0, 99.6]" in said and "0.9 [0.8, ?]" in said and "n too small for p95" in said
    assert "mu of m is 2 docs/s [1.5, 2.2], with 95 % of the valid answers inside 1 s: 2 docs/s was sustained, 2.2 was not." in said  # fmt: skip
    assert said.index("mu of m") > said.index("a note")


def test_what_bounds_nothing_and_what_was_not_found() -> None:
    assert "is at least 2 docs/s [1.5, not bounded]" in sentence(result(mu_docs_per_s={"value": 2.0, "low": 1.5, "high": None}))  # fmt: skip
    none = sentence(result(mu_docs_per_s={"value": None, "low": 0.0, "high": 0.5}, why="not even 0.5 docs/s was sustained"))  # fmt: skip
    assert none == "mu of m was not found, below 0.5 docs/s: not even 0.5 docs/s was sustained."


def test_a_void_load_shows_no_seconds() -> None:
    void = load("server", 9.0, void="the load generator sent 50 ms late", sustained=None)
    said = text(result(loads=[load("single_stream"), load("server", 2.0), void]))
    table = said.split("seconds from the scheduled send")[1]
    assert "void" in said and "\n 9 " not in table and "\n 2 " in table


def test_joules_say_where_they_are_from() -> None:
    energy = {"joules": 100.0, "joules_per_doc": 2.5, "provenance": "declared", "source": "machine.watts=5 x seconds"}
    said = text(result(loads=[load("single_stream", energy=energy)]))
    assert "2.5*" in said and "* J/doc: declared, machine.watts=5 x seconds" in said
    assert "J/doc: not measured" in text(result())


def test_rows_are_flat_and_html_is_escaped() -> None:
    flat = rows(result())
    assert [row["load"] for row in flat] == ["single_stream", "offline", "server"]
    assert (
        flat[2]["rate_docs_per_s"] == 2.0 and flat[2]["latency_p95_s"] == 0.9 and flat[2]["latency_p95_s_high"] is None
    )
    assert all(not isinstance(value, dict) for row in flat for value in row.values())
    assert "<script>" not in html(result(option="<script>", notes=["<b>"])) and "mu of m" in html(result())
