"""transformers and llama.cpp on the same real weights: the embedded SmolLM2 (or the GGUF that `EVALS_TEST_GGUF` names).

The sharp comparison is with the same weights written out as 32-bit floats, where both libraries only round. On the
quantised file llama.cpp also rounds what goes into each product to 8 bits, so those answers differ more.
"""

import ctypes
import functools
import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import evals
from evals.core import Completion, Request
from evals.models.hf import Transformers
from evals.models.llama_cpp import LlamaCpp
from evals.models.llama_native import Piece
from evals.models.slotted import Slotted

DOCUMENTS = 20
MAX_TOKENS = 40
TOLERANCE = 0.02
"""Nats, on the ten likeliest first tokens. llama.cpp keeps its cache in 16 bits; measured with SmolLM2: 0.005."""
QUANTISED_TOLERANCE = 1.5
"""The same against the quantised file; measured: 0.6, with the same best token 10 times of 10."""
LEAST_ALIKE = 0.8
"""Share of identical answers with 32-bit weights. One token that is nearly a tie changes all that follow."""
NEEDED = ("torch", "transformers", "llama_cpp", "llguidance")


def _weights() -> Path | None:
    named = os.environ.get("EVALS_TEST_GGUF")
    cache = Path(os.environ.get("EVALS_CACHE") or Path(__file__).parents[2] / ".evals")
    found = Path(named) if named else next(iter((cache / "weights" / "smollm2_135m").glob("*.gguf")), None)
    return found if found and found.is_file() else None


GGUF = _weights()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not all(importlib.util.find_spec(name) for name in NEEDED), reason=f"needs {', '.join(NEEDED)}: make hf"
    ),
    pytest.mark.skipif(GGUF is None, reason="no SmolLM2: python -m evals models fetch=smollm2_135m"),
]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is probed and remembered here is nobody else's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EVALS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def theirs() -> Iterator[Transformers]:
    made = Transformers(name="hf", path=str(GGUF), slots=4, n_ctx=2048, threads=1)
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="module")
def written_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as 32-bit floats."""
    from llama_cpp import llama_cpp

    file = tmp_path_factory.mktemp("f32") / "f32.gguf"
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.pure = 0, True, True
    assert llama_cpp.llama_model_quantize(str(GGUF).encode(), str(file).encode(), ctypes.byref(params)) == 0
    return file


def _llama(path: Path) -> Iterator[LlamaCpp]:
    made = LlamaCpp(
        name="llama", path=str(path), slots=4, n_ctx=2048, n_batch=512, flash_attn=False, threads=1, tune="off"
    )
    made.load()
    yield made
    made.close()


@pytest.fixture(scope="module")
def floats(written_out: Path) -> Iterator[LlamaCpp]:
    yield from _llama(written_out)


@pytest.fixture(scope="module")
def quantised() -> Iterator[LlamaCpp]:
    yield from _llama(Path(str(GGUF)))


@functools.cache
def requests(count: int = DOCUMENTS) -> list[Request]:
    task = evals.load_task("legal_extract", split="dev", max_tokens=MAX_TOKENS, max_chars=1200)
    return [task.request(sample) for sample, _ in zip(task.samples(), range(count), strict=False)]


def prompt_of(model: Any, request: Request) -> Any:
    return model._prompts.make(request, 2048)


def first_logprobs(model: Any, tokens: list[int]) -> Any:
    """Log-probabilities of the first token of the answer; what the slot holds of the prompt already is not read again."""
    import numpy as np

    native, slot = model._native, model._slots._slots[0]
    same = next((at for at, (a, b) in enumerate(zip(slot.held, tokens, strict=False)) if a != b), len(slot.held))
    kept = min(same, len(tokens) - 1)
    native.keep(0, kept)
    found: list[Any] = [None]
    for start in range(kept, len(tokens), 512):
        piece = tokens[start : start + 512]
        found = native.evaluate([Piece(0, start, piece, start + 512 >= len(tokens))])
    scores = np.asarray(found[0], dtype=np.float64)
    slot.held = list(tokens)
    return scores - scores.max() - np.log(np.exp(scores - scores.max()).sum())


def answers(model: Slotted, asked: list[Request], at_once: int) -> list[Completion]:
    """All answers, so many requests in hand at once."""
    waiting, found, held = list(enumerate(asked)), {}, 0
    while len(found) < len(asked):
        while waiting and held < at_once:
            ticket, request = waiting.pop(0)
            model.begin(ticket, request, lambda *_: None)
            held += 1
        for ticket, made in model.step():
            assert isinstance(made, Completion), made
            found[ticket], held = made, held - 1
    return [found[ticket] for ticket in range(len(asked))]


def alike(some: list[Completion], others: list[Completion]) -> float:
    return sum(a.text == b.text for a, b in zip(some, others, strict=True)) / len(some)


def test_prompts_tokens_and_pieces_are_the_same(theirs: Transformers, quantised: LlamaCpp) -> None:
    for request in requests():
        assert theirs.prompt_text(request) == quantised.prompt_text(request)
        assert prompt_of(theirs, request) == prompt_of(quantised, request)
    one, other = theirs._native, quantised._native
    assert one is not None and other is not None and one.n_vocab == other.n_vocab
    assert all(one.piece(token) == other.piece(token) for token in range(one.n_vocab))
    for text in (
        "\n\n1. x",
        " y  z\t\u200b é 日本語 😀 \r\n 12,345.67 §§",
        "<|im_end|> x",
        "a" * 60,
        "",
        "U\u0308 \xa0",
    ):
        for special in (True, False):
            assert one.tokenise(text, special=special) == other.tokenise(text, special=special), (text, special)


def test_first_tokens_agree_on_the_same_floats(theirs: Transformers, floats: LlamaCpp) -> None:
    apart = []
    for request in requests():
        tokens = prompt_of(theirs, request).tokens
        one, other = first_logprobs(theirs, tokens), first_logprobs(floats, tokens)
        likely = other.argsort()[-10:]
        assert one.argmax() == other.argmax()
        apart.append(abs(one - other)[likely].max())
    print(f"first token, {len(apart)} documents: at most {max(apart):.4f} nats apart on the ten likeliest")
    assert max(apart) < TOLERANCE


def test_first_tokens_against_the_quantised_file(theirs: Transformers, quantised: LlamaCpp) -> None:
    apart, same = [], 0
    for request in requests():
        tokens = prompt_of(theirs, request).tokens
        one, other = first_logprobs(theirs, tokens), first_logprobs(quantised, tokens)
        apart.append(abs(one - other)[other.argsort()[-10:]].max())
        same += one.argmax() == other.argmax()
    print(f"first token against the quantised file: at most {max(apart):.2f} nats apart, {same} best tokens the same")
    assert max(apart) < QUANTISED_TOLERANCE and same >= 0.9 * len(apart)


def test_answers_agree_on_the_same_floats(theirs: Transformers, floats: LlamaCpp) -> None:
    share = alike(answers(theirs, requests(), 1), answers(floats, requests(), 1))
    print(f"identical answers of {MAX_TOKENS} tokens on the same floats: {share:.0%} of {DOCUMENTS}")
    assert share >= LEAST_ALIKE


def test_four_at_once_answer_as_one_by_one(theirs: Transformers) -> None:
    share = alike(answers(theirs, requests(8), 1), answers(theirs, requests(8), 4))
    print(f"identical answers of four at once and one by one: {share:.0%} of 8")
    assert share >= 0.85
