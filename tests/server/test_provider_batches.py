"""Batches of both providers."""

import json
from typing import Any

import fixture
import pytest
from sdk import TEXT, said, wait_for

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

# ---- batches


def openai_batch(gpt: Any, documents: list[str], **more: Any) -> Any:
    """Submitted."""
    lines = [
        {
            "custom_id": f"c{i}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {"model": "m", "messages": said(text)} | more,
        }
        for i, text in enumerate(documents)
    ]
    content = "\n".join(json.dumps(line) for line in lines).encode()
    file = gpt.files.create(file=("in.jsonl", content), purpose="batch")
    return gpt.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def test_openai_batch(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_s=0.15, reply=TEXT)
    batch = openai_batch(gpt, [f"[[id:d{i}]]" for i in range(20)] + ["BATCH FAIL", "CONTEXT OVERFLOW"])
    assert batch.status == "validating" and gpt.batches.retrieve(batch.id).status in ("validating", "in_progress")
    ended = wait_for(lambda: (b := gpt.batches.retrieve(batch.id)).status == "completed" and b)
    counts = ended.request_counts
    assert (counts.total, counts.completed, counts.failed) == (22, 20, 2) and ended.usage.output_tokens == 180
    lines = [json.loads(line) for line in gpt.files.content(ended.output_file_id).text.splitlines()]
    names = [line["custom_id"] for line in lines]
    assert sorted(names) == sorted(f"c{i}" for i in range(20)) and names != [f"c{i}" for i in range(20)]
    body = openai.types.chat.ChatCompletion.model_validate(lines[0]["response"]["body"])
    assert body.choices[0].message.content == TEXT and lines[0]["response"]["status_code"] == 200
    errors = {
        line["custom_id"]: line for line in map(json.loads, gpt.files.content(ended.error_file_id).text.splitlines())
    }
    assert errors["c20"]["response"]["status_code"] == 500
    assert errors["c21"]["response"]["body"]["error"]["code"] == "context_length_exceeded"
    assert provider.log()["totals"]["good"] == 20
    assert [b.id for b in gpt.batches.list()] == [batch.id]


def test_openai_batch_that_expires_fails_or_is_cancelled(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_s=0.05)
    batch = openai_batch(gpt, ["[[id:a]]", "BATCH EXPIRE"])
    ended = wait_for(lambda: (b := gpt.batches.retrieve(batch.id)).status == "expired" and b)
    line = json.loads(gpt.files.content(ended.error_file_id).text)
    assert line["response"] is None and line["error"]["code"] == "batch_expired" and ended.output_file_id
    bad = wait_for(
        lambda: (b := gpt.batches.retrieve(openai_batch(gpt, ["x"], stream=True).id)).status == "failed" and b
    )
    assert bad.errors.data[0].line == 1
    provider.reset(batch_s=60)
    batch = openai_batch(gpt, ["x"])
    assert gpt.batches.cancel(batch.id).status == "cancelling"
    assert gpt.batches.retrieve(batch.id).status == "cancelled"
    with pytest.raises(openai.BadRequestError, match="input_file_id"):
        gpt.batches.create(input_file_id="file-none", endpoint="/v1/chat/completions", completion_window="24h")


def test_anthropic_batch(provider: fixture.Server, claude: Any) -> None:
    provider.reset(batch_s=0.1, reply=TEXT)
    texts = [f"[[id:d{i}]]" for i in range(12)] + ["BATCH FAIL", "BATCH EXPIRE"]
    requests: list[dict[str, Any]] = [
        {"custom_id": f"c{i}", "params": {"model": "m", "max_tokens": 20, "messages": said(text)}}
        for i, text in enumerate(texts)
    ]
    requests.append({"custom_id": "bad", "params": {"model": "m", "max_tokens": 20, "messages": said("x"), "foo": 1}})
    batch = claude.messages.batches.create(requests=requests)
    assert batch.processing_status == "in_progress" and batch.request_counts.processing == 15
    with pytest.raises(anthropic.AnthropicError, match="results"):
        claude.messages.batches.results(batch.id)
    ended = wait_for(lambda: (b := claude.messages.batches.retrieve(batch.id)).processing_status == "ended" and b)
    counts = ended.request_counts
    assert (counts.succeeded, counts.errored, counts.expired, counts.processing) == (12, 2, 1, 0)
    results = list(claude.messages.batches.results(batch.id))
    assert [r.custom_id for r in results] != [r["custom_id"] for r in requests]
    by_id = {r.custom_id: r.result for r in results}
    assert by_id["c0"].message.content[0].text == TEXT and by_id["c0"].message.usage.service_tier == "batch"
    assert by_id["c12"].error.error.type == "api_error" and by_id["c13"].type == "expired"
    assert "Extra inputs" in by_id["bad"].error.error.message
    assert [b.id for b in claude.messages.batches.list()] == [batch.id]
    with pytest.raises(anthropic.BadRequestError, match="should match pattern"):
        claude.messages.batches.create(requests=[requests[0] | {"custom_id": "a b"}])
    provider.reset(batch_s=60)
    batch = claude.messages.batches.create(requests=requests)
    assert claude.messages.batches.cancel(batch.id).processing_status == "canceling"
    assert claude.messages.batches.retrieve(batch.id).request_counts.canceled == 15


def test_a_batch_whose_submission_is_lost(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(batch_drops=1, batch_errors=1)
    with pytest.raises(openai.InternalServerError):
        openai_batch(gpt, ["x"])
    with pytest.raises(openai.APIConnectionError):
        openai_batch(gpt, ["x"])
    assert len(list(gpt.batches.list())) == 1
    openai_batch(gpt, ["x"])
    assert len(list(gpt.batches.list())) == 2
