"""llama-cpp-python's own OpenAI server on the embedded weights, and the real client in front of it, end to end."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

import evals
from evals import catalog, store
from evals.models.weights import locate

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's base URL."""
    for module in ("llama_cpp", "fastapi", "uvicorn", "sse_starlette", "starlette_context", "pydantic_settings"):
        pytest.importorskip(module)
    weights = locate(catalog.option("model", "smollm2_135m"))
    if weights is None:
        pytest.skip("the embedded weights are not here: python -m evals models fetch=smollm2_135m")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ["--model", str(weights.path), "--port", str(port), "--n_ctx", "4096", "--model_alias", "smollm2"]
    words += ["--flash_attn", "true"]
    log = (tmp_path_factory.mktemp("server") / "server.log").open("w")
    process = subprocess.Popen([sys.executable, "-m", "llama_cpp.server", *words], stdout=log, stderr=log)
    try:
        _until_ready(process, f"http://127.0.0.1:{port}/v1/models")
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.kill()
        process.wait()
        log.close()


def _until_ready(process: "subprocess.Popen[bytes]", url: str) -> None:
    end = time.monotonic() + 120
    while time.monotonic() < end:
        assert process.poll() is None, "the server ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    raise AssertionError("the server is not ready within two minutes")


@pytest.mark.parametrize("transport", ["sdk", "lean"])
def test_a_server_of_ones_own_answers_like_any_model(
    server: str, transport: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the schema, streamed, with usage where the server reports it; priced by the hour of the machine."""
    done = evals.run(
        task="mine",
        model="openai_compatible",
        limit=3,
        max_tokens=60,
        overrides={
            "model.id": "smollm2",
            "model.base_url": server,
            "model.location": "own",
            "model.transport": transport,
            "model.structured": "json_object_schema",
            "machine.usd_per_hour": 0.36,
        },
    )
    frame = evals.load_runs(done.folder)
    assert done.exit_code == 0 and not frame["failed"].any()
    assert frame["schema_valid"].all() and frame["ttft_s"].gt(0).all() and frame["served_model"].eq("smollm2").all()
    assert done.summary["cost"]["usd_per_1k"] > 0 and done.summary["cost"]["provenance"] == "declared"


def test_the_same_weights_answer_alike_in_process_and_behind_a_server(
    server: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Free text, so that two grammars cannot differ: template, tokens and choices are the same but for rounding."""
    asked = {"task": "mine", "limit": 8, "max_tokens": 16, "constrain": False}
    of_the_server = {"model.id": "smollm2", "model.base_url": server, "model.location": "own"}
    runs = [
        evals.run(model="openai_compatible", overrides=of_the_server, **asked),
        evals.run(model="smollm2_135m", overrides={"model.n_ctx": 4096, "model.tune": "off"}, **asked),
    ]
    texts = [{record.sample_id: record.text for record in store.records(done.folder)} for done in runs]
    assert texts[0].keys() == texts[1].keys() and len(texts[0]) == 8
    alike = [texts[1][sample] == text for sample, text in texts[0].items()]
    assert sum(alike) >= 6, texts
