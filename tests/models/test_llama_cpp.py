"""llama.cpp on real weights, where they and the library are here. `EVALS_TEST_GGUF` names a small instruct model."""

import asyncio
import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals.core import Completion, Message
from evals.engine.worker import Worker
from evals.errors import CallFailed, ConfigError, WeightsError
from evals.models.base import InProcess
from evals.models.chat_template import ChatTemplate, fold_system, plain_prompt
from evals.models.llama_cpp import LlamaCpp, cores
from evals.models.llama_native import devices
from tests.models.gguf_files import tiny_gguf
from tests.models.llama_real import (
    DOCUMENTS,
    GGUF,
    SCHEMA,
    Marks,
    answer,
    ask,
    drained,
    has_library,
    make,
    real,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    before = os.environ.get("EVALS_CACHE")
    os.environ["EVALS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    made = make()
    made.facts = made.load()  # type: ignore[attr-defined]
    yield made
    made.close()
    if before is None:
        del os.environ["EVALS_CACHE"]
    else:
        os.environ["EVALS_CACHE"] = before


class TestReal:
    """On real weights."""

    pytestmark = real

    def test_load_says_what_answers_depend_on(self, model: LlamaCpp) -> None:
        facts = model.facts  # type: ignore[attr-defined]
        assert json.loads(json.dumps(facts)) == facts
        assert facts["build"]["llama_cpp"] and "CPU" in facts["build"]["system_info"]
        assert len(facts["build"]["cpu_library_sha256"]) == 64
        settings = facts["settings"]
        assert (settings["n_ctx"], settings["threads"], settings["n_batch"]) == (1024, 1, 512)
        assert settings["slots"] == facts["capacity"]["slots"] == 2 and settings["jump_forward"] is True
        assert facts["memory"]["cache_bytes_per_token"] > 0 and facts["memory"]["cache_gib"] > 0
        assert settings["n_gpu_layers"] == 0 or facts["build"]["gpu_offload"]
        assert facts["weights"]["bytes"] == Path(str(GGUF)).stat().st_size
        assert facts["measuring_s"] == 0 and all(devices())
        assert facts["prompt"]["chat_template_hash"] and facts["prompt"]["chat"] is True

    def test_an_answer_under_the_schema(self, model: LlamaCpp) -> None:
        marks = Marks()
        done = model.generate(ask(), marks)
        assert marks.names == ["sent", "prefill_done", "first", "last"]
        found = json.loads(done.text)
        assert list(found) == list(SCHEMA["properties"]) and done.finish_reason == "stop"
        assert len(found["title"] or "") <= 30 and len(found["parties"]) <= 2 and len(found["start"] or "") <= 12
        assert found["days"] is None or 0 <= found["days"] <= 999
        assert set(done.notes) == {"fields", "jumped_tokens"} and 0 < done.notes["jumped_tokens"] < done.usage.output
        told = done.notes["fields"]
        assert set(told) <= {"title", "parties[].name", "start", "days", "renews"} and told["title"]["mean_margin"] >= 0
        names = {"mean_logprob", "min_logprob", "mean_margin", "min_margin", "worst_field_margin"}
        assert set(done.signals) == names | {"worst_field_logprob", "forced_share"}
        assert done.signals["min_logprob"] <= done.signals["mean_logprob"] <= 0
        assert done.usage.output and 0 < done.usage.output < 160

    def test_free_text_ignores_the_schema(self, model: LlamaCpp) -> None:
        done = answer(model, ask(constrain=False, max_tokens=12))
        assert done.usage.output == 12 and done.finish_reason == "length"
        assert "forced_share" not in done.signals

    def test_a_cut_object_is_told_by_its_finish_reason(self, model: LlamaCpp) -> None:
        done = answer(model, ask(max_tokens=10))
        assert done.finish_reason == "length" and done.usage.output == 10
        with pytest.raises(ValueError):
            json.loads(done.text)

    def test_the_same_answer_whatever_came_before(self, model: LlamaCpp) -> None:
        first, second = (ask(document) for document in DOCUMENTS)
        alone = answer(model, second)
        runs = [answer(model, request) for request in (first, second, second, first, second)]
        assert {run.text for run in (runs[1], runs[2], runs[4])} == {alone.text}
        assert {run.signals["mean_logprob"] for run in (runs[1], runs[2], runs[4])} == {alone.signals["mean_logprob"]}

    def test_reused_prompt_tokens_are_reported_as_such(self) -> None:
        alone = make(slots=1)
        alone.load()
        try:
            answer(alone, ask(DOCUMENTS[0]))
            usage = answer(alone, ask(DOCUMENTS[1])).usage
            assert usage.cache_read and usage.cache_read > 64
            other = answer(alone, ask(messages=(Message(role="user", content="Say yes."),), max_tokens=2)).usage
            assert other.cache_read == 0 and other.input_uncached and other.input_uncached > 0
            again = answer(alone, ask(DOCUMENTS[1])).usage
            assert again.cache_read == 0
            assert (again.input_uncached or 0) == (usage.input_uncached or 0) + usage.cache_read
        finally:
            alone.close()

    def test_a_seed_draws_the_same_again_and_another_draws_otherwise(self, model: LlamaCpp) -> None:
        texts = [answer(model, ask(temperature=0.8, seed=seed)).text for seed in (1, 1, 2, 3)]
        assert texts[0] == texts[1] and len(set(texts)) > 1
        assert all(json.loads(text) for text in texts)

    def test_a_prompt_that_does_not_fit(self, model: LlamaCpp) -> None:
        with pytest.raises(CallFailed, match=r"[\d,]+ tokens \+ 160 > n_ctx 1,024") as caught:
            answer(model, ask("word " * 2000))
        assert caught.value.kind == "context_length"
        with pytest.raises(CallFailed, match=r"\+ 2,000 > n_ctx 1,024"):
            answer(model, ask(max_tokens=2000))
        assert json.loads(answer(model, ask()).text)

    def test_the_middle_of_the_document_is_cut_out(self, model: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(model._prompts, "_overflow", "truncate_middle")
        document = "START " + "größer word " * 900 + " FINISH"
        request = ask(document)
        done = answer(model, request)
        whole = len(model._prompts._tokens(model.prompt_text(request)))
        used = (done.usage.input_uncached or 0) + (done.usage.cache_read or 0)
        assert done.truncated_tokens == whole - used > 1000
        assert 1024 - 160 - 80 < used <= 1024 - 160
        text = model._native.text(model._prompts.make(request, 1024).tokens)
        assert "START größer" in text and "word  FINISH" in text and "[...]" in text and "Give title" in text
        assert "\ufffd" not in text
        with pytest.raises(CallFailed, match="even without the document"):
            answer(model, ask(document, max_tokens=1020))

    def test_stop_words_end_the_answer(self, model: LlamaCpp, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = answer(model, ask()).text
        monkeypatch.setattr(model, "stop", ['"parties"'])
        done = answer(model, ask())
        assert done.finish_reason == "stop" and done.text == whole[: whole.index('"parties"')]

    def test_a_cancelled_request_leaves_its_slot_at_once(self, model: LlamaCpp) -> None:
        alone = answer(model, ask())
        model.begin(1, ask(DOCUMENTS[1]), Marks())
        model.begin(2, ask(), Marks())
        for _ in range(3):
            assert model.step() == []
        model.cancel(1)
        model.begin(3, ask(DOCUMENTS[1]), Marks())
        done = drained(model)
        assert set(done) == {2, 3} and done[2].text == alone.text

    def test_schemas_that_decode_oddly(self, model: LlamaCpp) -> None:
        optional = {"type": "object", "properties": {k: {"type": "boolean"} for k in "abc"}, "required": ["b"]}
        for schema in (
            optional,
            {"type": "integer"},
            {"enum": ["yes", "no", 'a"b', "é"]},
            {"type": "array", "items": {"anyOf": [{"type": "number"}, {"const": "x"}]}, "minItems": 2, "maxItems": 3},
            {"$defs": {"n": {"type": ["string", "null"], "maxLength": 3}}, "type": "object", "required": ["v"],
             "properties": {"v": {"$ref": "#/$defs/n"}}},
        ):  # fmt: skip
            for temperature in (0.0, 2.0):
                done = answer(model, ask(schema=schema, max_tokens=60, temperature=temperature, seed=5))
                assert done.finish_reason == "stop", (schema, done.text)
                json.loads(done.text)

    def test_a_schema_that_cannot_be_expressed_is_a_bad_request(self, model: LlamaCpp) -> None:
        with pytest.raises(CallFailed, match="cannot be decoded under") as caught:
            answer(model, ask(schema={"type": "string", "pattern": "(?=look)ahead"}))
        assert caught.value.kind == "bad_request"

    def test_what_the_schema_fixes_is_fed(self, model: LlamaCpp) -> None:
        slow = make(jump_forward=False)
        slow.load()
        try:
            for document in DOCUMENTS:
                decoded, fed = answer(slow, ask(document)), answer(model, ask(document))
                assert "jumped_tokens" not in decoded.notes and fed.notes["jumped_tokens"] > 10
                # Equal values are promised where `decode_rows` bounds a batch alone: see test_llama_rates.
                assert list(json.loads(decoded.text)) == list(json.loads(fed.text))
        finally:
            slow.close()

    def test_documents_decoded_together_answer_as_they_do_alone(self, model: LlamaCpp) -> None:
        alone = [answer(model, ask(document)) for document in DOCUMENTS]
        for ticket, document in enumerate(DOCUMENTS):
            model.begin(ticket, ask(document), Marks())
        with pytest.raises(CallFailed, match="no slot is free"):
            model.begin(9, ask(), Marks())
        together = drained(model)
        assert [together[ticket].text for ticket in range(2)] == [one.text for one in alone]
        assert [together[ticket].usage.output for ticket in range(2)] == [one.usage.output for one in alone]

    def test_a_further_process_loads_what_the_first_one_chose(self, model: LlamaCpp) -> None:
        first = model.facts | {"capacity": {"slots": 3, "processes": 2}}  # type: ignore[attr-defined]
        further = make(n_batch=64, threads=None, tune="auto")
        further.follow(first)
        facts = further.load()
        further.close()
        assert {key: facts["settings"][key] for key in ("threads", "n_batch", "flash_attn")} == {
            key: first["settings"][key] for key in ("threads", "n_batch", "flash_attn")
        }
        assert facts["capacity"] == first["capacity"] and facts["tuned"] is None

    def test_the_head_is_evaluated_once_and_copied(self, model: LlamaCpp) -> None:
        answer(model, ask())
        for ticket, document in enumerate(DOCUMENTS):
            model.begin(ticket, ask(document), Marks())
        assert all((done.usage.cache_read or 0) > 64 for done in drained(model).values())

    def test_a_long_prompt_does_not_hold_up_a_short_one(self, tmp_path: Path) -> None:
        small = make(n_batch=64)
        small.load()
        try:
            order: list[int] = []
            small.begin(1, ask("word " * 600, max_tokens=8, constrain=False), Marks())
            small.begin(2, ask("short", max_tokens=8, constrain=False), Marks())
            while len(order) < 2:
                order += [ticket for ticket, _ in small.step()]
            assert order == [2, 1]
        finally:
            small.close()

    def test_choices_are_those_of_the_library_by_hand(self, model: LlamaCpp) -> None:
        llama_cpp = pytest.importorskip("llama_cpp")
        request = ask(constrain=False, max_tokens=40)
        prompt = model._prompts.make(request, 1024)
        hand = llama_cpp.Llama(str(GGUF), n_ctx=1024, n_threads=1, n_threads_batch=1, flash_attn=True, verbose=False)
        theirs = hand.create_completion(prompt.tokens, max_tokens=40, temperature=0.0, repeat_penalty=1.0)
        hand.close()
        assert answer(model, request).text == theirs["choices"][0]["text"]

    def test_a_base_model_gets_plain_text(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVALS_CACHE", str(tmp_path))
        base = make(chat=False)
        assert base.load()["prompt"]["chat"] is False
        assert base.prompt_text(ask()).endswith("and renews.\n\nJSON:")
        assert json.loads(answer(base, ask()).text)
        base.close()

    def test_in_the_worker(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EVALS_CACHE", str(tmp_path))
        factory = functools.partial(LlamaCpp, name="small", path=str(GGUF), n_ctx=1024, threads=1, tune="off")
        worker = Worker(factory, name="small", log=tmp_path / "log")
        marks = Marks()

        async def go() -> Completion:
            assert (await worker.start())["backend"] == "llama_cpp"
            try:
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(worker.generate(ask(constrain=False, max_tokens=800), Marks()), 0.5)
                return await worker.generate(ask(), marks)
            finally:
                await worker.close()

        done = asyncio.run(go())
        assert json.loads(done.text) and marks.names == ["sent", "prefill_done", "first", "last"]
        assert worker.restarts == 0


@has_library
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path) -> None:
    broken = tiny_gguf(tmp_path, missing=40)
    with pytest.raises(WeightsError, match="truncated GGUF"):
        LlamaCpp(name="x", path=str(broken)).load()
    whole = tiny_gguf(tmp_path, "whole.gguf")
    with pytest.raises(WeightsError, match=r"llama.cpp cannot load it") as caught:
        LlamaCpp(name="x", path=str(whole), use_extra_bufts=True).load()
    assert "\n" not in str(caught.value)


def test_a_model_without_a_template_is_told_to_be_a_base_model(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path, tokenizer__chat_template=None)
    with pytest.raises(ConfigError, match=r"has no chat template .* set chat: false"):
        LlamaCpp(name="x", path=str(path)).load()


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"overflow": "drop"}, "overflow='drop'"), ({"n_ctx": 0}, "n_ctx=0"), ({"threads": 0}, "threads=0")],
)
def test_values_that_cannot_be(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        LlamaCpp(**{"name": "x", "path": "x.gguf", **changes})


def test_it_is_an_in_process_model_with_cores() -> None:
    made: InProcess = LlamaCpp(name="x", path="x.gguf")
    assert made.name == "x" and 1 <= cores() <= (os.cpu_count() or 1)
    with pytest.raises(CallFailed, match="not loaded"):
        made.generate(ask(), Marks())


MESSAGES = (Message(role="system", content="Be brief."), Message(role="user", content="Hi"))


@has_library
@pytest.mark.parametrize(
    ("template", "keeps"),
    [
        ("{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}", True),
        ("{% for m in messages if m.role != 'system' %}<{{ m.role }}>{{ m.content }}{% endfor %}", False),
        ("{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}x", False),
    ],
)
def test_a_template_without_a_system_turn_is_found_out(template: str, keeps: bool) -> None:
    assert ChatTemplate(template, bos="<s>", eos="</s>").has_system is keeps


@has_library
def test_templates_render_with_arguments_and_a_fixed_date() -> None:
    text = "{{ bos_token }}{{ strftime_now('%Y-%m-%d') }} {{ thinking }} {{ messages[-1].content | tojson }}"
    assert (
        ChatTemplate(text, bos="<s>", eos="", args={"thinking": False}).render(MESSAGES) == '<s>2024-07-26 False "Hi"'
    )
    with pytest.raises(WeightsError, match="chat template cannot be read"):
        ChatTemplate("{% if %}", bos="", eos="")
    with pytest.raises(CallFailed, match="refuses these messages: only one"):
        ChatTemplate("{{ raise_exception('only one') }}", bos="", eos="").render(MESSAGES)


def test_folding_and_plain_text() -> None:
    assert fold_system(MESSAGES) == (Message(role="user", content="Be brief.\n\nHi"),)
    assert fold_system(MESSAGES[1:]) == MESSAGES[1:]
    assert fold_system(MESSAGES[:1]) == (Message(role="user", content="Be brief."),)
    example = (*MESSAGES, Message(role="assistant", content="{}"), Message(role="user", content="Ho"))
    assert plain_prompt(example, json=True) == "Be brief.\n\nHi\n\nJSON: {}\n\nHo\n\nJSON:"
    assert plain_prompt(MESSAGES, json=False).endswith("Hi\n\nAnswer:")
