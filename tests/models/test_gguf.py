"""GGUF heads: what is read, and one clear line for every file that is not what it should be."""

import struct
from pathlib import Path

import pytest

from evals.errors import WeightsError
from evals.models.gguf import read_header
from tests.models.gguf_files import DATA, LLAMA, TENSORS, gguf_bytes, tiny_gguf


def test_a_head_says_what_the_model_is(tmp_path: Path) -> None:
    path = tiny_gguf(tmp_path)
    info = read_header(path)
    assert (info.architecture, info.name, info.quantisation) == ("llama", "Tiny", "Q4_K_M")
    assert (info.context_length, info.layers, info.licence, info.tensors) == (2048, 2, "apache-2.0", 2)
    assert info.chat_template == "{{ messages[0]['content'] }}"
    assert info.metadata["general.languages"] == ["en", "de"]
    assert info.metadata["tokenizer.ggml.tokens"] == {"items": 300}
    assert info.metadata["tokenizer.ggml.add_bos_token"] is True
    assert info.expected_bytes == info.file_bytes == path.stat().st_size


def test_what_is_not_said_is_none(tmp_path: Path) -> None:
    path = tmp_path / "bare.gguf"
    path.write_bytes(gguf_bytes({}))
    info = read_header(path)
    assert (info.name, info.context_length, info.chat_template, info.licence) == (None, None, None, None)
    assert (info.architecture, info.quantisation) == ("unknown", "unknown")


@pytest.mark.parametrize("missing", [1, 20, DATA])
def test_a_file_cut_in_its_tensors(tmp_path: Path, missing: int) -> None:
    path = tiny_gguf(tmp_path, missing=missing)
    with pytest.raises(WeightsError, match=r"truncated GGUF: [\d,]+ bytes of at least [\d,]+; delete the file"):
        read_header(path)
    assert read_header(path, check=False).expected_bytes == path.stat().st_size + missing


def test_a_file_cut_anywhere_in_its_head_is_one_line(tmp_path: Path) -> None:
    whole = gguf_bytes(LLAMA, TENSORS, data=DATA)
    path = tmp_path / "cut.gguf"
    for size in range(len(whole) - DATA - 32):
        path.write_bytes(whole[:size])
        with pytest.raises(WeightsError) as caught:
            read_header(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"<!DOCTYPE html><html>not found</html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
        (b"", "it is empty"),
        (b"PK\x03\x04" + b"\0" * 100, "not a GGUF file;"),
        (b"GGUF" + struct.pack(">I", 3) + b"\0" * 100, "big-endian"),
        (b"GGUF" + struct.pack("<I", 99) + b"\0" * 100, "GGUF version 99"),
        (b"GGUF" + struct.pack("<IQQ", 3, 2**60, 2**60) + b"\0" * 100, "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 2**62) + b"\0" * 100, "damaged"),
        (b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"k" + struct.pack("<I", 77), "damaged"),
    ],
)
def test_what_is_no_gguf(tmp_path: Path, content: bytes, text: str) -> None:
    path = tmp_path / "file.gguf"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=text) as caught:
        read_header(path)
    assert str(path) in str(caught.value)


def test_no_such_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no such file"):
        read_header(tmp_path / "none.gguf")
    with pytest.raises(WeightsError, match="cannot be read"):
        read_header(tmp_path)


def test_a_requantised_file_says_so(tmp_path: Path) -> None:
    assert read_header(tiny_gguf(tmp_path)).requantised_from is None
    path = tiny_gguf(tmp_path, "q.gguf", **{"evals.requantised_from": "tiny.gguf"})
    assert read_header(path).requantised_from == "tiny.gguf"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (
            {"general.type": "mmproj", "general.architecture": "clip"},
            r"projector of a model \(mmproj\), which writes no",
        ),
        ({"general.architecture": "clip"}, "projector of a model"),
        ({"general.type": "adapter"}, "GGUF of type adapter"),
        (
            {"general.architecture": "bert", "bert.attention.causal": False},
            r"embedding model, reranker or encoder \(bert",
        ),
        ({"general.architecture": "qwen3", "qwen3.pooling_type": 3}, r"embedding model, reranker or encoder \(qwen3"),
        ({"general.architecture": "t5"}, r"an encoder \(t5\)"),
    ],
)
def test_what_writes_no_text_is_refused(tmp_path: Path, keys: dict[str, object], text: str) -> None:
    path = tiny_gguf(tmp_path, **keys)
    with pytest.raises(WeightsError, match=text) as caught:
        read_header(path)
    assert str(path) in str(caught.value) and "causal language model" in str(caught.value)
    assert read_header(path, check=False).tensors == 2


def test_a_generating_model_may_say_that_it_is_one(tmp_path: Path) -> None:
    keys = {"general.type": "model", "llama.attention.causal": True, "llama.pooling_type": 0}
    assert read_header(tiny_gguf(tmp_path, **keys)).tensors == 2


def test_a_vocabulary_without_weights(tmp_path: Path) -> None:
    path = tmp_path / "vocab.gguf"
    path.write_bytes(gguf_bytes(LLAMA))
    with pytest.raises(WeightsError, match="a vocabulary without weights"):
        read_header(path)


def part(folder: Path, number: int, *, missing: int = 0) -> Path:
    keys = {"split.no": number - 1, "split.count": 3}
    return tiny_gguf(folder, f"big-{number:05}-of-00003.gguf", missing=missing, **keys)


def test_parts_of_a_model(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="part 2 of 3 of a model; give the first part, big-00001-of-00003.gguf"):
        read_header(part(tmp_path, 2))
    first = part(tmp_path, 1)
    with pytest.raises(WeightsError, match="big-00003-of-00003.gguf is not beside it"):
        read_header(first)
    part(tmp_path, 3, missing=5)
    with pytest.raises(WeightsError, match=r"big-00003-of-00003.gguf: truncated GGUF"):
        read_header(first)
    part(tmp_path, 3)
    assert read_header(first).tensors == 2
