"""transformers on tiny random models of many architectures: no weights, no network. `make hf` runs it; elsewhere most of
it is skipped."""

import asyncio
import functools
import gc
import importlib.util
import json
import shutil
import socket
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evals import catalog
from evals.core import Completion, Message, Request
from evals.engine.worker import Worker
from evals.errors import CallFailed, ConfigError, UserError, WeightsError
from evals.models import hf_load
from evals.models.base import Batched
from evals.models.hf import Transformers
from evals.models.llama_native import Piece
from evals.models.sources import place, sources_of
from tests.models.gguf_files import tiny_gguf
from tests.models.hf_tiny import KINDS, tiny_folder

HERE = all(importlib.util.find_spec(name) for name in ("torch", "transformers"))
has_library = pytest.mark.skipif(not HERE, reason="transformers and torch are not installed: make hf")
SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["who", "days", "renews"],
    "properties": {
        "who": {"type": ["string", "null"], "maxLength": 12},
        "days": {"type": ["integer", "null"], "minimum": 0, "maximum": 99},
        "renews": {"type": ["boolean", "null"]},
    },
}
SYSTEM = "You read contracts and answer with JSON only. Use null where the document says nothing. " * 2
DOCUMENTS = [
    "LEASE between Harbor and Mia, 5 days.",
    "Größe: 日本 SERVICES of Acme, 30 days, renews.",
    "NOTE.",
    "X" * 90,
]


class Marks(list[str]):
    def __call__(self, name: str, offset_s: float | None = None) -> None:
        self.append(name)


def ask(document: str = DOCUMENTS[0], **changes: Any) -> Request:
    settings: dict[str, Any] = {
        "messages": (
            Message(role="system", content=SYSTEM),
            Message(role="user", content=f"Read.\n\n{document}\n\nGo."),
        ),
        "schema": SCHEMA,
        "max_tokens": 96,
        "inputs": {"text": document},
    }
    return Request(**{**settings, **changes})


def together(model: Transformers, requests: list[Request]) -> list[Completion | CallFailed]:
    """All of them at once."""
    found: dict[int, Completion | CallFailed] = {}
    for ticket, request in enumerate(requests):
        model.begin(ticket, request, Marks())
    while len(found) < len(requests):
        found.update(model.step())
    return [found[ticket] for ticket in range(len(requests))]


def loaded(folder: Path, **changes: Any) -> Transformers:
    made = Transformers(**{"name": "tiny", "path": str(folder), "threads": 1, "slots": 4, **changes})
    made.facts = made.load()  # type: ignore[attr-defined]
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not HERE:
        pytest.skip("transformers and torch are not installed: make hf")
    return tiny_folder(tmp_path_factory.mktemp("weights") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Transformers]:
    made = loaded(folder)
    yield made
    made.close()


@has_library
class TestAnswers:
    """What a loaded model does with requests."""

    def test_load_says_what_answers_depend_on(self, model: Transformers, folder: Path) -> None:
        facts = model.facts  # type: ignore[attr-defined]
        assert json.loads(json.dumps(facts)) == facts and isinstance(model, Batched)
        assert facts["capacity"] == {"slots": 4, "processes": 1} and model.slots == 4
        settings, weights = facts["settings"], facts["weights"]
        assert (settings["dtype"], settings["device"], settings["threads"]) == ("float32", "cpu", 1)
        assert settings["n_ctx"] == 2048, "cut to what the model was trained on"
        assert weights["folder"] == "tiny" and len(weights["sha256"]) == 64 and weights["layers"] == 2
        assert weights["bytes"] > weights["parameters"] * 4
        assert (
            facts["memory"]["cache_bytes_per_token"] == 2 * 2 * 2 * 8 * 4
        )  # layers, keys and values, heads, wide, bytes
        assert all(facts["build"].values()) and facts["prompt"]["chat_template_hash"]

    def test_an_answer_under_the_schema(self, model: Transformers) -> None:
        marks = Marks()
        done = model.generate(ask(), marks)
        assert marks == ["sent", "prefill_done", "first", "last"]
        found = json.loads(done.text)
        assert list(found) == list(SCHEMA["properties"]) and done.finish_reason == "stop"
        assert len(found["who"] or "") <= 12 and (found["days"] is None or 0 <= found["days"] <= 99)
        assert done.signals["min_logprob"] <= done.signals["mean_logprob"] <= 0
        assert 0 < done.signals["forced_share"] <= 1 and set(done.notes["fields"]) == set(SCHEMA["properties"])
        assert done.usage.output == len(model._native.tokenise(done.text))  # type: ignore[union-attr]
        assert done.served_by["build"].startswith("transformers ")

    def test_four_at_once_answer_as_one_by_one(self, model: Transformers) -> None:
        requests = [ask(document) for document in DOCUMENTS]
        alone = [model.generate(request, Marks()) for request in requests]
        beside = together(model, requests)
        for one, other in zip(alone, beside, strict=True):
            assert isinstance(other, Completion) and one.text == other.text
            assert one.signals == pytest.approx(other.signals, abs=1e-4)
        assert len({one.text for one in alone}) > 1

    def test_rows_have_their_own_rules(self, model: Transformers) -> None:
        requests = [
            ask(max_tokens=5),
            ask(constrain=False, max_tokens=7),
            ask(schema={"enum": ["yes", "no"]}),
            ask(temperature=1.0, seed=3),
        ]
        cut, free, enum, drawn = together(model, requests)
        assert isinstance(cut, Completion) and (cut.finish_reason, cut.usage.output) == ("length", 5)
        assert isinstance(free, Completion) and free.usage.output is not None and free.usage.output <= 7
        assert "forced_share" not in free.signals
        assert isinstance(enum, Completion) and json.loads(enum.text) in ("yes", "no")
        assert isinstance(drawn, Completion) and drawn.text == model.generate(requests[3], Marks()).text

    def test_another_seed_draws_otherwise(self, model: Transformers) -> None:
        texts = [model.generate(ask(temperature=1.5, seed=seed), Marks()).text for seed in (1, 1, 2, 3)]
        assert texts[0] == texts[1] and len(set(texts)) > 1 and all(json.loads(text) for text in texts)

    def test_the_shared_head_is_read_once_and_reported(self, folder: Path) -> None:
        model = loaded(folder)
        first, second = together(model, [ask(DOCUMENTS[0]), ask(DOCUMENTS[1])])
        again = model.generate(ask(DOCUMENTS[1]), Marks())
        assert isinstance(first, Completion) and isinstance(second, Completion)
        assert first.usage.cache_read == 0 and (again.usage.cache_read or 0) > 64
        assert again.text == second.text, "whatever was read before"
        model.close()

    def test_stop_words_end_the_answer(self, model: Transformers, folder: Path) -> None:
        whole = model.generate(ask(), Marks()).text
        stopped = loaded(folder, stop=['"days"'])
        done = stopped.generate(ask(), Marks())
        assert done.finish_reason == "stop" and done.text == whole[: whole.index('"days"')]

    def test_a_prompt_that_does_not_fit(self, folder: Path) -> None:
        model = loaded(folder, n_ctx=512)
        with pytest.raises(CallFailed, match=r"tokens \+ 96 > n_ctx 512") as caught:
            model.begin(1, ask("word " * 200), Marks())
        assert caught.value.kind == "context_length"
        assert json.loads(model.generate(ask(), Marks()).text)
        short = loaded(folder, n_ctx=512, overflow="truncate_middle")
        done = short.generate(ask("START " + "größer " * 200 + "FINISH"), Marks())
        assert done.truncated_tokens > 1000 and json.loads(done.text)
        used = (done.usage.input_uncached or 0) + (done.usage.cache_read or 0)
        assert 512 - 96 - 80 < used <= 512 - 96

    def test_a_schema_that_cannot_be_said_spoils_its_own_row_alone(self, model: Transformers) -> None:
        with pytest.raises(CallFailed, match="cannot be decoded under") as caught:
            model.begin(1, ask(schema={"type": "string", "pattern": "(?=x)y"}), Marks())
        assert caught.value.kind == "bad_request"
        loose = model.generate(ask(schema={"type": "array", "items": {"enum": [1]}, "uniqueItems": True}), Marks())
        assert any("uniqueItems" in said for said in loose.notes["keywords_not_enforced"])

    def test_a_cancelled_request_leaves_its_slot(self, model: Transformers) -> None:
        for ticket in range(4):
            model.begin(ticket, ask(DOCUMENTS[ticket]), Marks())
        model.step()
        model.cancel(2)
        model.begin(9, ask(DOCUMENTS[2]), Marks())
        found: dict[int, Any] = {}
        while len(found) < 4:
            found.update(model.step())
        assert set(found) == {0, 1, 3, 9} and found[9].text == model.generate(ask(DOCUMENTS[2]), Marks()).text

    def test_a_base_model_gets_plain_text(self, tmp_path: Path) -> None:
        bare = tiny_folder(tmp_path / "base", template=None)
        with pytest.raises(ConfigError, match="no chat template .* set chat: false"):
            loaded(bare)
        base = loaded(bare, chat=False)
        assert base.prompt_text(ask()).endswith("Go.\n\nJSON:") and json.loads(base.generate(ask(), Marks()).text)

    def test_closing_frees_the_weights(self, folder: Path) -> None:
        model = loaded(folder)
        weights = weakref.ref(model._native.loaded.model)  # type: ignore[union-attr]
        model.close()
        gc.collect()
        assert weights() is None

    def test_in_the_worker(self, folder: Path, tmp_path: Path) -> None:
        factory = functools.partial(Transformers, name="tiny", path=str(folder), threads=1, slots=3)
        worker = Worker(factory, name="tiny", log=tmp_path / "log")

        async def go() -> list[Completion]:
            assert (await worker.start())["backend"] == "transformers"
            try:
                return await asyncio.gather(*(worker.generate(ask(document), Marks()) for document in DOCUMENTS))
            finally:
                await worker.close()

        assert all(json.loads(done.text) for done in asyncio.run(go()))


REFUSED = {"bloom", "mamba"}
"""Attention by distance, and no attention at all."""


@has_library
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in REFUSED])
def test_packed_slots_score_as_the_model_itself(kind: str, tmp_path: Path) -> None:
    """Also beyond the window of a sliding layer, with a cap on scores, with sinks, with experts."""
    import torch
    import transformers

    tiny_folder(tmp_path, kind)
    model = loaded(tmp_path, slots=3)
    reference = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    tokens = [(37 * n + 11) % 256 for n in range(60)]
    with torch.inference_mode():
        expected = reference(input_ids=torch.tensor([tokens])).logits[0].numpy()
    native = model._native
    assert native is not None
    native.evaluate([Piece(2, 0, tokens[:20], False)])
    native.evaluate([Piece(0, 0, tokens[:30], False)])
    one, other = native.evaluate([Piece(0, 30, tokens[30:31], True), Piece(2, 20, tokens[20:41], True)])
    native.copy(2, 1, 41)
    (copied,) = native.evaluate([Piece(1, 41, tokens[41:], True)])
    for at, scores in ((30, one), (40, other), (59, copied)):
        assert abs(scores - expected[at]).max() < 1e-4 * expected.std(), at
    model.close()


@has_library
@pytest.mark.parametrize("kind", sorted(REFUSED))
def test_what_cannot_be_followed_is_refused_before_the_first_document(kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"cannot be decoded together with {kind} .* take a GGUF") as caught:
        loaded(tiny_folder(tmp_path, kind))
    assert "\n" not in str(caught.value)


@has_library
class TestMemory:
    """Where memory runs out."""

    @pytest.fixture
    def short(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Transformers, list[int]]]:
        """A model that can take so many pieces at once, and what it was asked for."""
        model = loaded(folder)
        native, asked = model._native, []
        assert native is not None
        whole = native._forward

        def forward(pieces: Any) -> Any:
            asked.append(len(pieces))
            if len(pieces) > self.most:
                raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
            return whole(pieces)

        monkeypatch.setattr(native, "_forward", forward)
        yield model, asked
        model.close()

    most = 2

    def test_a_pass_is_halved_once(self, short: tuple[Transformers, list[int]], model: Transformers) -> None:
        made, asked = short
        found = together(made, [ask(document) for document in DOCUMENTS])
        alone = [model.generate(ask(document), Marks()).text for document in DOCUMENTS]
        assert [one.text if isinstance(one, Completion) else None for one in found] == alone
        assert max(asked) == 4

    def test_where_halves_do_not_fit_either_the_rows_fail_and_the_next_goes_on(
        self, short: tuple[Transformers, list[int]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made, _ = short
        monkeypatch.setattr(TestMemory, "most", 1)
        found = together(made, [ask(document) for document in DOCUMENTS])
        failed = [one for one in found if isinstance(one, CallFailed)]
        assert failed and all(one.kind == "internal" and "out of memory" in one.text for one in failed)
        assert json.loads(made.generate(ask(), Marks()).text)

    def test_slots_are_planned_from_what_is_free(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        per_slot = 2048 * 256  # n_ctx, bytes a token
        monkeypatch.setattr("evals.models.hf.free_memory", lambda _: int(2.5 * per_slot / 0.5))
        model = loaded(folder)
        assert model.facts["capacity"]["slots"] == 2  # type: ignore[attr-defined]
        assert json.loads(model.generate(ask(), Marks()).text)


@has_library
class TestBadWeights:
    """One clear line, before the first document."""

    def test_corrupt_and_missing_files(self, folder: Path, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="truncated GGUF"):
            loaded(tiny_gguf(tmp_path, missing=40))
        with pytest.raises(WeightsError, match=r"transformers cannot load it") as caught:
            loaded(tiny_gguf(tmp_path, "whole.gguf"))
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 500
        with pytest.raises(WeightsError, match="no such folder, and no .gguf file"):
            loaded(tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        with pytest.raises(WeightsError, match="no config.json in it"):
            loaded(tmp_path / "empty")
        broken = shutil.copytree(folder, tmp_path / "broken")
        whole = (broken / "model.safetensors").read_bytes()
        (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(WeightsError, match="broken: transformers cannot load it") as caught:
            loaded(broken)
        assert "\n" not in str(caught.value)

    def test_a_missing_tensor_is_not_made_up(self, folder: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        lacking = shutil.copytree(folder, tmp_path / "lacking")
        tensors = load_file(lacking / "model.safetensors")
        del tensors["model.layers.1.mlp.up_proj.weight"]
        save_file(tensors, lacking / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(WeightsError, match="1 tensors are missing, such as model.layers.1.mlp.up_proj.weight"):
            loaded(lacking)

    def test_code_beside_the_weights_is_never_run(self, folder: Path, tmp_path: Path) -> None:
        strange = shutil.copytree(folder, tmp_path / "strange")
        config = json.loads((strange / "config.json").read_text())
        names = {"AutoConfig": "own.Own", "AutoModelForCausalLM": "own.Own"}
        (strange / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": names}))
        (strange / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nclass Own: pass\n")
        with pytest.raises(WeightsError, match="code of its own, which is never run"):
            loaded(strange)
        assert not (tmp_path / "ran").exists()

    def test_what_the_machine_does_not_have(self, folder: Path) -> None:
        import torch

        if torch.cuda.is_available():
            pytest.skip("this machine has a GPU")
        with pytest.raises(ConfigError, match=r"quantise=4bit needs bitsandbytes on a CUDA device \(this is cpu\)"):
            loaded(folder, quantise="4bit")
        with pytest.raises(ConfigError, match="model.device=cuda: .* auto takes what is here") as caught:
            loaded(folder, device="cuda")
        assert "\n" not in str(caught.value)
        with pytest.raises(ConfigError, match="model.device=warp"):
            loaded(folder, device="warp")

    def test_lower_precision_is_taken_at_its_word(self, folder: Path) -> None:
        model = loaded(folder, dtype="bfloat16")
        assert model.facts["settings"]["dtype"] == "bfloat16"  # type: ignore[attr-defined]
        assert json.loads(model.generate(ask(), Marks()).text)


@pytest.fixture
def hub(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The hub's cache on this disk, with one repository in it; no network."""
    import huggingface_hub.constants

    commit, cache = "a" * 40, tmp_path / "hub"
    repo = cache / "models--some--model"
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))

    def refuse(*_: Any) -> None:
        raise AssertionError("the network was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return commit


@has_library
class TestHub:
    """A repository by its id: from this disk alone, unless the user says otherwise."""

    def test_from_the_cache(self, hub: str) -> None:
        model = Transformers(name="x", repo="some/model", threads=1, slots=1)
        weights = model.load()["weights"]
        assert (weights["repo"], weights["commit"]) == ("some/model", hub)
        assert json.loads(model.generate(ask(), Marks()).text)
        assert Transformers(name="x", repo="some/model", revision=hub, threads=1).load()["weights"]["commit"] == hub

    def test_what_is_not_there_is_told_with_the_mend(self, hub: str) -> None:
        for changes in ({"repo": "some/other"}, {"repo": "some/model", "revision": "b" * 40}):
            with pytest.raises(WeightsError, match="not whole in the hub's cache .* model.fetch=true") as caught:
                Transformers(name="x", threads=1, **changes).load()
            assert "\n" not in str(caught.value)
        with pytest.raises(WeightsError, match="not whole in the hub's cache"):
            Transformers(name="x", repo="some/model", gguf_file="x.gguf", threads=1).load()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"overflow": "drop"}, "overflow='drop'"),
        ({"n_ctx": 0}, "n_ctx=0"),
        ({"slots": 0}, "slots=0"),
        ({"path": None}, "name the weights by model.path=FOLDER"),
        ({"repo": "a/b"}, "not by both"),
        ({"path": None, "repo": "a/b", "fetch": True}, "model.fetch=true needs model.revision=COMMIT"),
    ],
)
def test_values_that_cannot_be(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Transformers(**{"name": "x", "path": "x", **changes})


def test_nothing_is_answered_before_it_is_loaded() -> None:
    made = Transformers(name="x", path="x")
    with pytest.raises(CallFailed, match="x is not loaded"):
        made.generate(ask(), Marks())
    made.close()


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(UserError, match="transformers cannot be imported .* `make hf`"):
        hf_load.libraries()


def test_the_embedded_weights_are_the_same_file_for_both_libraries(tmp_path: Path) -> None:
    one, other = (catalog.option("model", name) for name in ("smollm2_135m", "smollm2_hf"))
    assert one["quants"]["q4_1"] == other["quants"]["q4_1"]
    here, there = (place(card, sources_of(card)[0], tmp_path) for card in (one, other))
    assert here == there and here.parent.name == "smollm2_135m"
