"""The test server's answers, through the real SDK clients, so that what stands on it stands on something."""

import json
import time
from typing import Any

import fixture
import pytest
from sdk import LEAST, SCHEMA, TEXT, chat, message, said, strict

anthropic = pytest.importorskip("anthropic")
openai = pytest.importorskip("openai")

# ---- chat completions


def test_chat(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT, served_suffix="-2026-01-01")
    raw = gpt.chat.completions.with_raw_response.create(
        model="cached-3-reasoning-5", messages=said("[[id:one]] twenty-two letters"), service_tier="flex", temperature=0
    )
    answer = raw.parse()
    assert answer.choices[0].message.content == TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "cached-3-reasoning-5-2026-01-01"
    assert (answer.service_tier, answer.system_fingerprint) == ("flex", "fp_testserver01")
    assert answer.usage.prompt_tokens == 8 and answer.usage.prompt_tokens_details.cached_tokens == 3
    assert answer.usage.completion_tokens == 9 + 5 and answer.usage.completion_tokens_details.reasoning_tokens == 5
    assert answer.usage.total_tokens == 22
    assert raw.headers["x-request-id"].startswith("req_") and raw.headers["openai-processing-ms"].isdigit()
    log = provider.log()
    assert log["documents"]["one"]["good"] == log["totals"]["billed"] == 1
    assert log["totals"]["tokens_good"] == {"input": 5, "cached": 3, "written": 0, "output": 14, "reasoning": 5}
    assert provider.last()[0]["headers"]["authorization"] == "Bearer sk-test"
    assert provider.last()[0]["body"]["temperature"] == 0


def test_chat_streamed(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT, chunks=6, first_ms=20, latency_ms=60)
    began = time.perf_counter()
    seen, at = [], []
    for chunk in chat(gpt, "hello", stream=True, stream_options={"include_usage": True}):
        seen.append(chunk)
        if chunk.choices and chunk.choices[0].delta.content:
            at.append(time.perf_counter() - began)
    pieces = [c.choices[0].delta.content for c in seen if c.choices and c.choices[0].delta.content]
    assert "".join(pieces) == TEXT and len(pieces) == 6
    assert [c.choices[0].finish_reason for c in seen if c.choices][-1] == "stop"
    assert seen[-1].choices == [] and seen[-1].usage.completion_tokens == 9
    assert all(c.usage is None for c in seen[:-1])
    assert at[0] >= 0.018 and at[-1] >= 0.055
    assert all(c.usage is None and c.choices for c in chat(gpt, "hello", stream=True))


def test_schema_is_instanced(provider: fixture.Server, gpt: Any, claude: Any) -> None:
    answer = chat(gpt, "x", response_format=strict(SCHEMA))
    assert json.loads(answer.choices[0].message.content) == LEAST
    answer = gpt.responses.create(
        model="m", input="x", text={"format": {"type": "json_schema", "name": "a", "strict": True, "schema": SCHEMA}}
    )
    assert json.loads(answer.output_text) == LEAST
    answer = message(claude, "x", output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert json.loads(answer.content[0].text) == LEAST
    provider.reset(replies={"d7": "seven"})
    assert chat(gpt, "[[id:d7]]", response_format=strict(SCHEMA)).choices[0].message.content == "seven"


def test_answers_are_cut_filtered_and_refused(provider: fixture.Server, gpt: Any, claude: Any) -> None:
    provider.reset(reply=TEXT)
    choice = chat(gpt, "x", max_completion_tokens=2).choices[0]
    assert (choice.finish_reason, choice.message.content) == ("length", TEXT[:8])
    choice = chat(gpt, "FILTER OUTPUT").choices[0]
    assert (choice.finish_reason, choice.message.content) == ("content_filter", TEXT[:18])
    choice = chat(gpt, "REFUSE ME").choices[0]
    assert choice.message.content is None and choice.message.refusal
    answer = gpt.responses.create(model="m", input="x", max_output_tokens=2)
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert answer.output_text == TEXT[:8]
    answer = message(claude, "x", max_tokens=2)
    assert (answer.stop_reason, answer.content[0].text) == ("max_tokens", TEXT[:8])
    answer = message(claude, "REFUSE ME")
    assert answer.stop_reason == "refusal" and answer.stop_details.type == "refusal"


def test_what_other_servers_do(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT, bare=True, stream_usage="last_chunk")
    answer = chat(gpt, "x")
    assert answer.system_fingerprint is None and answer.service_tier is None and answer._request_id is None
    assert answer.usage.completion_tokens == 9 and answer.usage.prompt_tokens_details is None
    last = list(chat(gpt, "x", stream=True))[-1]
    assert last.usage.completion_tokens == 9 and last.choices[0].finish_reason == "stop"
    provider.reset(stream_usage="never")
    assert all(c.usage is None for c in chat(gpt, "x", stream=True, stream_options={"include_usage": True}))


# ---- responses


def test_responses(provider: fixture.Server, gpt: Any) -> None:
    provider.reset(reply=TEXT)
    answer = gpt.responses.create(model="reasoning-4-written-2", input=said("hello [[id:r]]"), instructions="Be short.")
    assert answer.output_text == TEXT and answer.status == "completed"
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.usage.input_tokens == 4 + 3 and answer.usage.input_tokens_details.cache_write_tokens == 2
    assert answer.usage.output_tokens == 13 and answer.usage.output_tokens_details.reasoning_tokens == 4
    provider.reset(reply=TEXT, chunks=3)
    for model in ("m", "reasoning-4"):
        events = list(gpt.responses.create(model=model, input="hello", stream=True))
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT
        assert events[0].type == "response.created" and events[0].response.status == "in_progress"
        assert events[-1].type == "response.completed" and events[-1].response.output_text == TEXT
    with gpt.responses.stream(model="m", input="REFUSE ME") as stream:
        assert stream.get_final_response().output[0].content[0].type == "refusal"


# ---- messages


def test_messages(provider: fixture.Server, claude: Any) -> None:
    provider.reset(reply=TEXT)
    raw = claude.messages.with_raw_response.create(
        model="cached-2-written-1-reasoning-6", max_tokens=100, system="Be short.", messages=said("hello [[id:a]]")
    )
    answer = raw.parse()
    assert [block.type for block in answer.content] == ["thinking", "text"] and answer.content[1].text == TEXT
    assert answer.stop_reason == "end_turn" and raw.headers["request-id"].startswith("req_")
    usage = answer.usage
    assert (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens) == (4, 2, 1)
    assert usage.cache_creation.ephemeral_5m_input_tokens == 1
    assert (usage.output_tokens, usage.output_tokens_details.thinking_tokens) == (15, 6)
    assert (usage.service_tier, usage.inference_geo) == ("standard", "global")
    assert provider.log()["documents"]["a"]["good"] == 1


@pytest.mark.parametrize("model", ["m", "reasoning-6", "cached-2"])
def test_messages_streamed(provider: fixture.Server, claude: Any, model: str) -> None:
    provider.reset(reply=TEXT, chunks=4, first_ms=5, latency_ms=15)
    kinds = [event.type for event in message(claude, "hello there", model=model, stream=True)]
    assert kinds[0] == "message_start" and kinds[-2:] == ["message_delta", "message_stop"]
    with claude.messages.stream(model=model, max_tokens=100, messages=said("hello there")) as stream:
        assert "".join(stream.text_stream) == TEXT
        final = stream.get_final_message()
    assert final.stop_reason == "end_turn"
    assert final.usage.output_tokens == (15 if model == "reasoning-6" else 9)
    assert final.usage.input_tokens == (1 if model == "cached-2" else 3)
