"""API models at the speed of the wire: ours beside a bare SDK loop and a bare aiohttp loop, in turn, one server.

`python benchmarks/wire.py [n] [rounds]`. Documents of about 1 KB, twelve fields, 64 in flight, 50 ms a reply. Span is the
server's own, from its first request to its last reply, over the ideal of n x latency / in flight; CPU is the client's,
marginal between n / 4 and n documents; memory is the client's peak until the last reply. Each cell is a process. The
machine's own noise stands in the bare loops' figures, so ours are read beside them.
"""

import asyncio
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "server"))
IN_FLIGHT, LATENCY_MS, CHUNKS = 64, 50, 60
FIELDS = {
    **{
        f"name_{i}": ("name", f"{name} Holdings Ltd") for i, name in enumerate(("Acme", "Borealis", "Corvus", "Delphi"))
    },
    **{f"date_{i}": ("date", f"2024-0{i + 3}-01") for i in range(3)},
    **{f"amount_{i}": ("money", f"USD {12500 + 250 * i}.00") for i in range(2)},
    **{"days": ("number", "30"), "term": ("duration", "36 months"), "law": ("text", "the laws of Delaware")},
}
ANSWER = json.dumps({name: value for name, (_, value) in FIELDS.items()})
GOLD = {name: value for name, (_, value) in FIELDS.items()} | {
    "name_3": "Delphi Ltd",
    "date_2": "2024-05-02",
    "days": 45,
}
"""Three of twelve answers are wrong, which takes longer to tell than right ones."""
KINDS = {
    "bare aiohttp loop": ("aiohttp", False),
    "bare SDK loop": ("sdk", False),
    "evals, lean transport": ("ours-lean", False),
    "evals, lean, 256 in flight": ("ours-lean", False),
    "evals, official SDK": ("ours-sdk", False),
    "bare SDK loop, 60 chunks": ("sdk", True),
    "evals, official SDK, 60 chunks": ("ours-sdk", True),
}


def prepare(folder: Path, n: int) -> None:
    """A user's task of twelve fields, and n documents."""
    task = folder / "tasks" / "tiny"
    task.mkdir(parents=True, exist_ok=True)
    code = 'from evals import ExtractionTask\n\n\nclass Tiny(ExtractionTask):\n    name = "tiny"\n    version = "1"\n'
    (task / "task.py").write_text(code)
    properties = {name: {"type": ["string", "null"], "kind": kind} for name, (kind, _) in FIELDS.items()}
    (task / "schema.json").write_text(json.dumps({"type": "object", "properties": properties}))
    (task / "prompt.md").write_text("## system\nExtract the fields.\n## user\n{{document}}\n")
    body = (
        "This Agreement of March 1, 2024 binds Acme Holdings Ltd, Borealis Holdings Ltd and Corvus Holdings Ltd for "
        "$12,500.00 and 30 days, as amended on 1 April 2024 by Delphi Holdings Ltd. "
    ) * 5
    with (folder / f"docs{n}.jsonl").open("w") as file:
        for i in range(n):
            row = {"id": f"d{i}", "text": f"[[id:d{i}]] {body}", "target": GOLD}
            file.write(json.dumps(row) + "\n")


def spent(began: float) -> dict[str, float]:
    """CPU seconds since `began`, and the peak so far."""
    return {"cpu": time.process_time() - began, "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def ours(n: int, url: str, transport: str, stream: bool) -> dict[str, float]:
    """The tool itself, from the prepared file to the last durable, scored record."""
    import evals.__main__  # noqa: F401  (as `python -m evals` sets the collector)
    from evals.commands import run as command
    from evals.commands.settings.run import validated

    found: dict[str, float] = {}
    finish = command._finish
    began = time.process_time()

    def finished(*args: Any) -> Any:
        found.update(spent(began))
        return finish(*args)

    command._finish = finished
    price = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 2.0}
    model = {"_target_": "evals.models.openai.OpenAI", "name": "m", "id": "m", "base_url": url, "key_env": "BENCH_KEY"}
    model |= {"location": "remote", "price": price, "transport": transport}
    plain = {"task": {"name": "tiny", "path": f"docs{n}.jsonl"}, "model": model, "stream": stream}
    in_flight = int(os.environ.get("BENCH_IN_FLIGHT", IN_FLIGHT))
    done = command.run(validated("run", {**plain, "concurrency": in_flight, "resume": False}), progress=False)
    latency_ms = 1000 * done.summary["latency"]["p50_s"]
    return {**found, "p50_ms": latency_ms, "record": (done.folder / "records.jsonl").stat().st_size / n}


async def bare(n: int, url: str, kind: str, stream: bool) -> list[float]:
    """The best loop one can write: workers that pull prompts from one iterator. Seconds of each call."""
    took: list[float] = []
    rows = (json.loads(line)["text"] for line in Path(f"docs{n}.jsonl").read_text().splitlines())
    if kind == "sdk":
        import openai

        try:
            client = openai.AsyncOpenAI(
                api_key="k", base_url=url, max_retries=0, http_client=openai.DefaultAioHttpClient()
            )
        except (AttributeError, RuntimeError):
            client = openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0)
        create = client.chat.completions.create

        async def ask(text: str) -> None:
            messages: Any = [{"role": "user", "content": text}]
            if not stream:
                assert (await create(model="m", messages=messages)).choices[0].message.content
                return
            options: Any = {"include_usage": True}
            async for chunk in await create(model="m", messages=messages, stream=True, stream_options=options):
                assert chunk.model

        await asyncio.gather(*(_worker(rows, ask, took) for _ in range(IN_FLIGHT)))
        await client.close()
        return took
    import aiohttp
    import orjson

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(text: str) -> None:
            body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": text}]})
            headers = {"content-type": "application/json", "authorization": "Bearer k"}
            async with session.post(f"{url}/chat/completions", data=body, headers=headers) as reply:
                assert orjson.loads(await reply.read())["choices"]

        await asyncio.gather(*(_worker(rows, ask, took) for _ in range(IN_FLIGHT)))
    return took


async def _worker(rows: Any, ask: Any, took: list[float]) -> None:
    for text in rows:
        before = time.monotonic()
        await ask(text)
        took.append(time.monotonic() - before)


def child(kind: str, n: int, url: str, stream: bool) -> None:
    """One cell: print its figures as JSON."""
    os.environ["BENCH_KEY"] = "k"
    if kind.startswith("ours"):
        print(json.dumps(ours(n, url, kind.removeprefix("ours-"), stream)))
        return
    import uvloop

    began = time.process_time()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        took = runner.run(bare(n, url, kind, stream))
    print(json.dumps({**spent(began), "p50_ms": 1000 * statistics.median(took)}))


def measured(kind: str, n: int, stream: bool, server: Any, folder: Path, in_flight: int) -> dict[str, float]:
    """Run a cell against the server, fresh."""
    server.reset(latency_ms=LATENCY_MS, reply=ANSWER, lean=True, chunks=CHUNKS if stream else 8, **_spread(stream))
    words = [sys.executable, __file__, "--child", kind, str(n), server.openai_url, str(int(stream))]
    env = {**os.environ, "EVALS_RESULTS": str(folder / "results"), "EVALS_CACHE": str(folder / "cache")}
    env["BENCH_IN_FLIGHT"] = str(in_flight)
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True, check=True)
    log = server.log(documents=False)
    assert log["totals"]["good"] == n, log["totals"]
    ideal = n * LATENCY_MS / 1000 / in_flight
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return {**found, "span": log["span_s"] / ideal, "span_s": log["span_s"], "server_ms": log["service_ms"]["p50"]}


def _spread(stream: bool) -> dict[str, float]:
    return {"first_ms": 10.0} if stream else {}


def main(n: int = 4000, rounds: int = 3) -> None:
    """Alternate the kinds, so that a drift of the machine falls on all of them; print medians."""
    import fixture

    small = max(n // 4, 100)
    cells: dict[str, list[dict[str, float]]] = {label: [] for label in KINDS}
    with tempfile.TemporaryDirectory() as name, fixture.start(preload="chat", lean=True) as server:
        folder = Path(name)
        for size in (small, n):
            prepare(folder, size)
        for _ in range(rounds):
            for label, (kind, stream) in KINDS.items():
                in_flight = 256 if "256" in label else IN_FLIGHT
                few, many = (measured(kind, size, stream, server, folder, in_flight) for size in (small, n))
                cells[label].append({**many, "ms": 1000 * (many["cpu"] - few["cpu"]) / (n - small)})
    print(f"n = {n:,}, {IN_FLIGHT} in flight, {LATENCY_MS} ms, medians of {rounds} rounds")
    heads = ("span / ideal", "CPU ms a sample", "peak MB", "p50 ms", "server's", "ratio")
    print(f"{'':32}" + "".join(f"{head:>17}" for head in heads))
    middle = {
        label: {key: statistics.median(c[key] for c in found) for key in found[0]} for label, found in cells.items()
    }
    for label, cell in middle.items():
        figures = (cell["span"], cell["ms"], cell["mb"], cell["p50_ms"], cell["server_ms"])
        print(f"{label:32}" + "".join(f"{figure:17.3f}" for figure in (*figures, cell["p50_ms"] / cell["server_ms"])))
    for ours_, bare_ in (
        ("evals, official SDK", "bare SDK loop"),
        ("evals, official SDK, 60 chunks", "bare SDK loop, 60 chunks"),
    ):
        ratios = [a["ms"] / b["ms"] for a, b in zip(cells[ours_], cells[bare_], strict=True)]
        print(f"CPU of {ours_} / {bare_}: {statistics.median(ratios):.2f} (target at most 1.15)")
    lean, base = middle["evals, lean transport"], middle["bare aiohttp loop"]
    print("targets: CPU through the SDK at most 1.15 x the bare SDK loop; lean: span 1.10, CPU 0.5 ms, p50 1.05 x the")
    print("server's, 256 in flight no slower than 64; peak 120 MB; 1,024 bytes of records a sample")
    print(f"lean / bare aiohttp: span {lean['span'] / base['span']:.2f}, p50 {lean['p50_ms'] / base['p50_ms']:.2f}")
    wide = middle["evals, lean, 256 in flight"]
    print(
        f"256 in flight: {wide['span_s']:.2f} s, 64: {lean['span_s']:.2f} s; records {lean['record']:.0f} bytes a sample"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5] == "1")
    else:
        main(*(int(word) for word in sys.argv[1:3]))
