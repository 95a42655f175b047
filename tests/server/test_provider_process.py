"""Gemini, and the server as a process."""

import json
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import fixture
import pytest
from sdk import TEXT, chat, wait_for

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

# ---- Gemini, and the server itself


def gemini(provider: fixture.Server, action: str, body: Any, key: str = "k") -> tuple[int, str]:
    """As litellm calls it."""
    url = f"{provider.url}/v1beta/models/cached-2-reasoning-3:{action}"
    headers = {"x-goog-api-key": key, "content-type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=5) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_gemini(provider: fixture.Server) -> None:
    provider.reset(reply=TEXT, chunks=3)
    asked = {
        "contents": [{"role": "user", "parts": [{"text": "[[id:g]] hello"}]}],
        "system_instruction": {"parts": [{"text": "Be short."}]},
        "generationConfig": {"temperature": 0, "max_output_tokens": 50},
    }
    status, text = gemini(provider, "generateContent", asked)
    answer = json.loads(text)
    assert status == 200 and answer["candidates"][0]["content"]["parts"][0]["text"] == TEXT
    assert answer["candidates"][0]["finishReason"] == "STOP"
    usage = answer["usageMetadata"]
    assert (usage["promptTokenCount"], usage["cachedContentTokenCount"]) == (7, 2)
    assert (usage["candidatesTokenCount"], usage["thoughtsTokenCount"], usage["totalTokenCount"]) == (9, 3, 19)
    status, text = gemini(provider, "streamGenerateContent?alt=sse", asked)
    events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]
    assert "".join(e["candidates"][0]["content"]["parts"][0]["text"] for e in events) == TEXT
    assert [e["candidates"][0].get("finishReason") for e in events] == [None] * 3 + ["STOP"]
    status, text = gemini(provider, "generateContent", asked | {"foo": 1})
    assert (
        status == 400
        and json.loads(text)["error"]["status"] == "INVALID_ARGUMENT"
        and '"foo"' in json.loads(text)["error"]["message"]
    )
    assert gemini(provider, "generateContent", asked, key="wrong")[0] == 400
    assert provider.log()["documents"]["g"]["good"] == 2


def test_models_and_unknown_routes(gpt: Any) -> None:
    assert "gpt-test" in [model.id for model in gpt.models.list()]
    with pytest.raises(openai.NotFoundError, match="Invalid URL"):
        gpt.embeddings.create(model="m", input="x")


def test_unknown_settings_are_refused(provider: fixture.Server) -> None:
    with pytest.raises(ValueError, match="unknown setting nonsense"):
        provider.reset(nonsense=1)
    with pytest.raises(ValueError, match="chunks"):
        provider.reset(chunks=None)


def test_the_server_ends_with_its_parent() -> None:
    code = f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r}); import fixture; s = fixture.start(preload=''); print(s.process.pid)"
    parent = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=30, check=True
    )
    proc = Path(f"/proc/{parent.stdout.strip()}")
    wait_for(lambda: not proc.exists() or "Z" in (proc / "stat").read_text().rsplit(")", 1)[1][:3])


def test_command_line(tmp_path: Path) -> None:
    (tmp_path / "reply").write_text(TEXT)
    words = [
        sys.executable,
        str(fixture.PROVIDER),
        "--port",
        "0",
        "--reply",
        str(tmp_path / "reply"),
        "--faults",
        '{"500": 1}',
    ]
    with subprocess.Popen(
        [*words, "--max-requests", "2", "--lean", "--preload", "chat"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        port = process.stdout.readline().removeprefix("PORT ").strip()
        with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client:
            with pytest.raises(openai.InternalServerError):
                chat(client, "x")
            assert chat(client, "x", extra_body={"foo": 1}).choices[0].message.content == TEXT  # lean: not looked at
        assert process.wait(timeout=5) == 0
