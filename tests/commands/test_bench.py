"""`bench` as a user starts it: a model with known slots and service time, a server, what is kept, what is refused."""

import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import evals
from evals import store
from evals.analysis.tables.table import run_folders
from evals.cli import main
from evals.core import Completion, Request, Usage
from evals.errors import CallFailed
from evals.models.base import Mark

REPLY = json.dumps({"who": "Acme Ltd", "when": "2024-03-01"})
CARD = "{family: fake, parameters: null, context: null, licence: null, use_limits: null, instruct: false, checked: null, verified: true}"
QUICK = ["duration_s=0.5", "target_p95_s=5", "limit=8"]


class Slots:
    """A model of its own module: so many documents at once, each for `service_s`; from `fails_from` on it fails."""

    def __init__(
        self, *, name: str, slots: int = 2, service_s: float = 0.05, valid: bool = True, fails: str = ""
    ) -> None:
        self.name, self.service_s, self.valid, self.fails = name, service_s, valid, fails
        self.free = asyncio.Semaphore(slots)

    async def start(self) -> dict[str, Any]:
        return {"slots": 2, "start_note": "made here"}

    async def generate(self, request: Request, mark: Mark) -> Completion:
        mark("sent")
        async with self.free:
            await asyncio.sleep(self.service_s / 2)
            mark("first")
            await asyncio.sleep(self.service_s / 2)
        if self.fails:
            raise CallFailed("server", self.fails)
        text = REPLY if self.valid else "no JSON"
        return Completion(text=text, finish_reason="stop", usage=Usage(input_uncached=80, cache_read=20, output=11))

    async def close(self) -> None:
        pass


@pytest.fixture
def slots(project: Path) -> Path:
    """The project, with that model as `slots`."""
    folder = project / "configs" / "model"
    folder.mkdir(parents=True)
    head = f"_target_: {__name__}.Slots\nname: slots\nlocation: own\nterms: null\ncard: {CARD}\nsource: null\n"
    (folder / "slots.yaml").write_text(head + "slots: 2\nservice_s: 0.05\nvalid: true\nfails: ''\n")
    return project


def bench(*words: str, codes: tuple[int, ...] = (0,)) -> dict[str, Any]:
    """Run one; the content of bench.json. `codes`: with 4, that a busy machine made its open loops void is no matter."""
    assert main(["bench", "task=mine", "model=slots", *QUICK, "out=out", *words]) in codes
    return store.read_json(Path("out/bench.json"))


def kept(project: Path) -> Path:
    (path,) = (project / "results").rglob("bench.json")
    return path.parent


def load(result: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in result["loads"] if one["load"] == name)


def test_a_bench_is_kept_apart_printed_and_read_by_tools(slots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = bench("rates=[20]", "machine.watts=50")
    out, err = capsys.readouterr()
    folder = kept(slots)
    assert folder.parent.name == "slots~bench" and run_folders() == [], "no run of documents"
    assert store.read_json(folder / "bench.json") == result
    about = store.read_json(folder / "manifest.json")
    assert (
        about["option"] == "slots~bench" and about["load"] == "bench" and about["backend"]["start_note"] == "made here"
    )
    assert about["bench"]["rates"] == [20.0] and about["machine"]["cores"] and (folder / "config.yaml").is_file()
    mu = result["mu_docs_per_s"]
    assert mu["value"] == 20 and mu["low"] < 17 and mu["high"] is None, "one load of few documents"
    assert result["target"] == {"p95_s": 5.0, "from": "target_p95_s"} and result["complete"] is True
    assert [one["load"] for one in result["loads"]] == ["single_stream", "offline", "server"]
    for one in result["loads"]:
        lines = [store.decode(json.loads(line)) for line in (folder / one["records"]).read_text().splitlines()]
        sent = one.get("sent", one["n"])
        assert len(lines) == sent and len({(line.sample_id, line.repeat) for line in lines}) == sent
    assert "closed loop" in out and "open loop" in out and "seconds from the scheduled send" in out
    last = [line for line in out.splitlines() if line.startswith("mu of slots is at least 20 docs/s")]
    assert len(last) == 1 and "these were the rates that were asked for" in last[0]
    assert "8 documents, asked over and over" in err and "about 2 s" in err, "told before it starts"
    with open("out/bench.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["load"] for row in rows] == ["single_stream", "offline", "server"] and rows[2]["sustained"] == "True"
    check_figures(result)


def check_figures(result: dict[str, Any]) -> None:
    """Two slots of 50 ms."""
    alone, whole, server = (load(result, name) for name in ("single_stream", "offline", "server"))
    assert alone["throughput_docs_per_s"]["value"] == pytest.approx(20, rel=0.25)
    assert whole["throughput_docs_per_s"]["value"] == pytest.approx(40, rel=0.25) and whole["concurrency"] >= 4
    assert whole["share"] is None and whole["goodput_docs_per_s"] is None, "they wait by design"
    assert alone["latency_s"]["p50"]["value"] == pytest.approx(0.05, rel=0.4)
    assert alone["ttft_s"]["p50"]["value"] == pytest.approx(0.025, rel=0.6)
    assert alone["tpot_s"]["p50"]["value"] == pytest.approx(0.0025, rel=0.6)
    assert alone["prompt_cached_share"] == 0.2
    assert server["sent"] == 30 and 3 <= server["n"] == server["valid"] <= 19, "half a second before, and behind"
    assert 0 < server["first"] < 30 - server["n"] and "n too small for p95" in server["latency_note"]
    assert server["tokens_per_s"]["output"] == pytest.approx(11 * server["throughput_docs_per_s"]["value"])
    assert server["peak_memory_mb"] is None or server["peak_memory_mb"] > 20
    if server["energy"]["provenance"] == "declared":
        assert server["energy"]["joules_per_doc"] == pytest.approx(50 * 1.55 / 30, rel=0.3)
    assert result["counts"] == "valid answers" and any("asked up to" in note for note in result["notes"])


def test_a_target_that_nothing_meets_ends_after_the_closed_loops(
    slots: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    result = bench("target_p95_s=0.01")
    assert result["mu_docs_per_s"] == {"value": None, "low": None, "high": None}
    assert "target_p95_s is too short" in result["why"] and len(result["loads"]) == 2
    assert "mu of slots was not found" in capsys.readouterr().out


def test_answers_that_are_never_valid_are_told_and_so_is_the_target(slots: Path) -> None:
    result = bench("rates=[5]", "target_p95_s=null", "model.valid=false", codes=(0, 4))
    p95 = load(result, "single_stream")["latency_s"]["p95"]["value"]
    assert result["target"]["p95_s"] == pytest.approx(max(0.1, 3 * p95)) and "3 x" in result["target"]["from"]
    assert load(result, "server")["goodput_docs_per_s"] == 0 and load(result, "server")["valid"] == 0
    assert result["counts"] == "answers" and any("no answer is valid" in note for note in result["notes"])


def test_a_model_that_fails_every_call_is_one_line(slots: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "task=mine", "model=slots", *QUICK, "model.fails=out of order"]) == 4
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and "none of 6 calls got an answer: server: out of order" in error[0]
    assert not list((slots / "results").rglob("bench.json"))


def test_from_python(slots: Path) -> None:
    done = evals.bench(task="mine", model="slots", limit=8, duration_s=0.5, target_p95_s=5.0, rates=[4.0])
    assert done.result["mu_docs_per_s"]["value"] == 4.0 and done.exit_code == 0
    assert "open loop" in done._repr_html_() and "mu of slots" in str(done)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["target_p95_s=0"], "target_p95_s=0 must be above 0 seconds"),
        (["target_p95_s=-1"], "target_p95_s=-1 must be above 0 seconds"),
        (["target_p95_s=inf"], "target_p95_s=inf must be above 0 seconds, and finite"),
        (["duration_s=0"], "duration_s=0 must be above 0 seconds"),
        (["rates=[1,-2]"], "rates: -2 must be above 0 documents a second"),
        (["rates=[]"], "rates=[] offers nothing"),
        (["rates=fast"], "should be a list"),
        (["limit=0"], "limit=0 must be at least 1"),
        (["loads=0"], "loads=0 must be at least 1"),
        (["warmup=0"], "warmup=0 must be at least 1"),
        (["documents=0"], "documents=0 must be at least 1"),
        (["precision=0"], "precision=0 must lie in"),
        (["requests_per_min=5"], "requests_per_min is not for bench"),
        (["machine.watts=-3"], "machine.watts=-3 must be above 0"),
        (["slice=[none]"], "no document to ask with slice=[none]"),
        (["task.path=nowhere.jsonl"], "nowhere.jsonl is not there"),
        (["durations=3"], "durations is not known; did you mean duration_s"),
        (["split=train"], "split=train"),
    ],
)
def test_mistakes_are_one_line(slots: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    assert main(["bench", "task=mine", "model=slots", *words]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if line.startswith("evals:")]
    assert len(error) == 1 and said in error[0]
    assert not (slots / "results").exists(), "nothing is left behind"


def test_a_hybrid_is_benched_by_its_sides(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "task=mine", "model=hybrid"]) == 2
    assert "bench each of its two models by itself" in capsys.readouterr().err


def test_documents_that_may_not_be_sent_are_left_out(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [json.loads(line) for line in (project / "docs.jsonl").read_text().splitlines()]
    text = "".join(json.dumps({**row, "data_class": "restricted"}) + "\n" for row in rows)
    (project / "docs.jsonl").write_text(text)
    remote = ["bench", "task=mine", "model=openai_compatible", "model.id=m", "model.base_url=http://127.0.0.1:9/v1"]
    assert main([*remote, "model.price.input_usd_per_mtok=1", "model.price.output_usd_per_mtok=1"]) == 2
    assert "none of the 40 documents of mine may be sent to openai_compatible" in capsys.readouterr().err


# A server ------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(project: Path, provider: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Words for a server of four slots."""
    provider.reset(latency_ms=20, slots=4, reply=REPLY)
    monkeypatch.setenv("MY_KEY", "sk-test")
    monkeypatch.setenv("EVALS_CACHE", str(project / "cache"))
    words = ["bench", "task=mine", "model=openai_compatible", "model.id=m", f"model.base_url={provider.openai_url}"]
    return [*words, "model.key_env=MY_KEY", "out=out", *QUICK]


def test_a_server_of_ones_own(served: list[str], provider: Any) -> None:
    assert main([*served, "model.location=own", "rates=[40]", "cache_is_off=1"]) == 2
    assert main([*served, "model.location=own", "rates=[40]"]) == 0
    result = store.read_json(Path("out/bench.json"))
    server = load(result, "server")
    assert server["n"] == server["valid"] > 8 and server["peak_memory_mb"] is None, "its memory is not seen from here"
    log = provider.log()
    warmup = 2
    assert log["totals"]["good"] == sum(one.get("sent", one["n"]) for one in result["loads"]) + warmup, (
        "nothing came from a cache"
    )


def test_refusals_are_failures_and_not_repeated(served: list[str], provider: Any) -> None:
    provider.reset(latency_ms=20, reply=REPLY, requests_per_minute=1800, burst_s=0.1, retry_after_s=0.05)
    assert main([*served, "model.location=own", "rates=[120]", "concurrency=2"]) in (0, 4)
    result = store.read_json(Path("out/bench.json"))
    server = result["loads"][-1]
    assert server["sent"] == 180 and server["n"] / 2 < server["failed"] < server["n"]
    assert server["sustained"] is (None if server["void"] else False), (
        "a busy machine may send late, each time it tries"
    )
    lines = (kept(Path(".")) / server["records"]).read_text().splitlines()
    assert [len(store.decode(json.loads(line)).calls) for line in lines] == [1] * 180


@pytest.mark.slow  # its 429s say when to come again, and that is waited for
def test_a_server_that_stops_answering_ends_the_bench(served: list[str], provider: Any) -> None:
    provider.reset(
        latency_ms=20, reply=REPLY, requests_per_minute=6, burst_s=600, retry_after_s=0.05
    )  # sixty, and then hardly any
    assert main([*served, "model.location=own", "concurrency=4", "attempts=1"]) == 4
    result = store.read_json(Path("out/bench.json"))
    assert result["complete"] is True and result["exit_code"] == 4 and len(result["loads"]) < 6


def test_a_paid_api_is_asked_only_within_a_budget(
    served: list[str], provider: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    priced = [*served, "model.price.input_usd_per_mtok=1000", "model.price.output_usd_per_mtok=1000"]
    assert main(priced) == 2
    assert "say budget.usd=5" in capsys.readouterr().err and provider.log()["totals"]["good"] == 0
    assert main([*priced, "budget.usd=6", "max_tokens=32"]) == 1
    out = capsys.readouterr().err
    assert "estimated cost" in out and "kept in" in out
    assert provider.log()["totals"]["good"] > 2
    (path,) = Path("results").rglob("bench.json")
    found = store.read_json(path)
    assert found["complete"] is False and found["exit_code"] != 0


def test_ctrl_c_keeps_what_was_measured(slots: Path) -> None:
    words = [sys.executable, "-m", "evals", "bench", "task=mine", "model=fake", "model.latency_s=0.01", "duration_s=1"]
    words += ["rates=[5,6,7,8,9]", "limit=8", "target_p95_s=9"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, env=os.environ) as done:
        assert done.stderr is not None
        for line in done.stderr:
            if "server, 6 docs/s" in line:
                break
        time.sleep(0.2)
        done.send_signal(signal.SIGINT)
        said = done.stderr.read()
    assert done.returncode == 130 and "stopped: 3 loads are kept in" in said and "begins a new bench" in said
    result = store.read_json(kept(slots) / "bench.json")
    assert result["complete"] is False and result["mu_docs_per_s"]["value"] == 5.0
    assert [one["load"] for one in result["loads"]] == ["single_stream", "offline", "server"]


@pytest.mark.slow
def test_mu_of_a_real_server_is_within_10_percent_of_its_capacity(served: list[str], provider: Any) -> None:
    provider.reset(latency_ms=50, slots=4, reply=REPLY, lean=True)
    words = [word for word in served if word not in QUICK]
    if main([*words, "model.location=own", "duration_s=10", "target_p95_s=0.5"]) == 4:
        pytest.skip("this machine is too busy to send in time")
    result = store.read_json(Path("out/bench.json"))
    assert result["mu_docs_per_s"]["value"] == pytest.approx(80, rel=0.1)
