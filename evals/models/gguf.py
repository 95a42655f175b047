"""Read the head of a GGUF file: what it is, and how long it must be. Standard library only.

A half-finished download or a web page saved under the wrong name otherwise ends in a native library's own words,
or in its death. Here it is one line before anything is loaded.
"""

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evals.errors import WeightsError

REQUANTISED_FROM, REQUANTISED_SHA256 = "evals.requantised_from", "evals.requantised_from_sha256"
"""Keys that a file requantised here carries: the name and sha256 of the file it was made from."""
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_ENCODERS = ("t5", "t5encoder")
"""Architectures of which no key says that they are not causal."""
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$|\.gguf$", re.IGNORECASE)
_KEEP_ITEMS = 16
"""Arrays up to this length are kept; vocabularies are walked over."""

# ggml type -> (elements a block, bytes a block), as `ggml_blck_size` and `ggml_type_size` of llama.cpp report them.
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 36),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66),
    17: (256, 74), 18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136),
    24: (1, 1), 25: (1, 2), 26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54),
    35: (256, 66), 39: (32, 17), 40: (64, 36), 41: (128, 18), 42: (64, 18),
}  # fmt: skip

# `general.file_type` -> name, as llama.cpp's `llama_ftype` has them.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S", 12: "Q3_K_M",
    13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS", 20: "IQ2_XS",
    21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S",
    29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4",
    40: "Q1_0", 41: "Q2_0",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class GgufInfo:
    """What the head of a GGUF file says."""

    path: str
    version: int
    tensors: int
    """How many tensors the file says it holds."""
    file_bytes: int
    expected_bytes: int
    """Least length of a whole file, from the tensors' offsets and types."""
    metadata: Mapping[str, Any]
    """All keys but long arrays (vocabularies), which are shown as their length: `{"items": 49152}`."""

    @property
    def architecture(self) -> str:
        """Such as `llama` or `qwen2`."""
        return str(self.metadata.get("general.architecture", "unknown"))

    @property
    def name(self) -> str | None:
        """The name that the converter wrote."""
        return self._text("general.name")

    @property
    def quantisation(self) -> str:
        """Such as `Q4_K_M`."""
        number = self.metadata.get("general.file_type")
        return _FILE_TYPES.get(number, f"type {number}") if isinstance(number, int) else "unknown"

    @property
    def requantised_from(self) -> str | None:
        """The file it was made from, where it is not its publisher's but was requantised by `quantise`."""
        return self._text(REQUANTISED_FROM)

    @property
    def context_length(self) -> int | None:
        """Tokens the model was trained on."""
        return self._number("context_length")

    @property
    def layers(self) -> int | None:
        """Blocks of the network."""
        return self._number("block_count")

    @property
    def chat_template(self) -> str | None:
        """Jinja text of the chat template, `None` for a base model."""
        return self._text("tokenizer.chat_template")

    @property
    def licence(self) -> str | None:
        """As the converter wrote it."""
        return self._text("general.license")

    def _text(self, key: str) -> str | None:
        value = self.metadata.get(key)
        return value if isinstance(value, str) else None

    def _number(self, key: str) -> int | None:
        value = self.metadata.get(f"{self.architecture}.{key}")
        return value if isinstance(value, int) else None


class _Reader:
    """A cursor over the mapped file. Running off the end raises `struct.error` or `ValueError`."""

    def __init__(self, data: mmap.mmap) -> None:
        self.data = data
        self.at = 0

    def scalar(self, code: str) -> Any:
        (value,) = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self) -> str:
        size = self.scalar("Q")
        self._need(size)
        raw = self.data[self.at : self.at + size]
        self.at += size
        return raw.decode("utf-8", "replace")

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array()
        if kind not in _SCALARS:
            raise ValueError(f"unknown metadata type {kind}")
        return self.scalar(_SCALARS[kind])

    def _array(self) -> Any:
        kind, count = self.scalar("I"), self.scalar("Q")
        if count <= _KEEP_ITEMS or kind == _ARRAY:
            self._need(count)
            return [self.value(kind) for _ in range(count)]
        if kind == _STRING:
            for _ in range(count):
                size = self.scalar("Q")
                self._need(size)
                self.at += size
        elif kind in _SCALARS:
            size = count * struct.calcsize("<" + _SCALARS[kind])
            self._need(size)
            self.at += size
        else:
            raise ValueError(f"unknown metadata type {kind}")
        return {"items": count}

    def _need(self, size: int) -> None:
        if size > len(self.data) - self.at:
            raise ValueError("a length runs past the end")


def read_header(path: str | Path, *, check: bool = True) -> GgufInfo:
    """The head of the GGUF file at `path`; with `check`, a file is refused that is shorter than its tensors, or that
    cannot answer: a part of a model, or a network that writes no text."""
    file = Path(path)
    info = _read(file)
    if check:
        _refuse_short(file, info)
        if other := _other_kind(info):
            raise WeightsError(f"{file}: {other}, which writes no text; give the GGUF of a causal language model")
        _refuse_parts(file, info)
    return info


def _refuse_short(file: Path, info: GgufInfo) -> None:
    if info.file_bytes < info.expected_bytes:
        raise WeightsError(
            f"{file}: truncated GGUF: {info.file_bytes:,} bytes of at least {info.expected_bytes:,}; "
            "delete the file and fetch it again"
        )


def _other_kind(info: GgufInfo) -> str | None:
    """What the file is, where its own keys say that it is no causal language model."""
    about = info.metadata
    kind = about.get("general.type")
    if kind == "mmproj" or info.architecture == "clip":
        return "the vision or audio projector of a model (mmproj)"
    if kind not in (None, "model"):
        return f"GGUF of type {kind}"
    if info.architecture in _ENCODERS:
        return f"an encoder ({info.architecture})"
    own = f"{info.architecture}."
    if about.get(f"{own}pooling_type") or about.get(f"{own}attention.causal") is False:
        return f"an embedding model, reranker or encoder ({info.architecture})"
    if not info.tensors and any(key.startswith("tokenizer.") for key in about):
        return "a vocabulary without weights"
    return None


def _refuse_parts(file: Path, info: GgufInfo) -> None:
    """A model in several files is named by its first, and the others lie beside it, whole."""
    number, count = info.metadata.get("split.no", 0), info.metadata.get("split.count", 1)
    if not isinstance(number, int) or not isinstance(count, int) or count < 2:
        return
    stem = _PART.sub("", file.name)
    names = [f"{stem}-{part:05}-of-{count:05}.gguf" for part in range(1, count + 1)]
    if number:
        raise WeightsError(f"{file}: part {number + 1} of {count} of a model; give the first part, {names[0]}")
    if missing := [name for name in names[1:] if not file.with_name(name).is_file()]:
        raise WeightsError(
            f"{file}: part 1 of {count} of a model, and {missing[0]} is not beside it; put all parts there"
        )
    for name in names[1:]:
        _refuse_short(file.with_name(name), _read(file.with_name(name)))


def _read(file: Path) -> GgufInfo:
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            magic = stream.read(8)
            _check_magic(file, magic, size)
            with mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                return _parse(file, _Reader(data), size)
    except FileNotFoundError:
        raise WeightsError(f"{file}: no such file; `evals models` lists what can be fetched") from None
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read: {error.strerror or error}") from None
    except (struct.error, ValueError, OverflowError) as error:
        raise WeightsError(
            f"{file}: GGUF head cut short or damaged ({error}); delete the file and fetch it again"
        ) from None


def _check_magic(file: Path, magic: bytes, size: int) -> None:
    if magic[:4] == b"GGUF" and size >= 24:
        version = struct.unpack("<I", magic[4:8])[0]
        if version in (2, 3):
            return
        swapped = struct.unpack(">I", magic[4:8])[0] in (2, 3)
        what = "big-endian GGUF" if swapped else f"GGUF version {version}"
        raise WeightsError(f"{file}: {what} is not supported; take a little-endian GGUF of version 2 or 3")
    if magic[:4] == b"GGUF":
        raise WeightsError(f"{file}: truncated GGUF: {size} bytes; delete the file and fetch it again")
    hint = ""
    if magic.lstrip()[:1] == b"<":
        hint = " (it looks like a web page)"
    elif magic.startswith(b"version "):
        hint = " (it looks like a Git LFS pointer, not the weights)"
    elif not size:
        hint = " (it is empty)"
    raise WeightsError(f"{file}: not a GGUF file{hint}; give the path of a .gguf file")


def _parse(file: Path, reader: _Reader, size: int) -> GgufInfo:
    reader.at = 4
    version, tensors, keys = reader.scalar("I"), reader.scalar("Q"), reader.scalar("Q")
    if max(tensors, keys) * 12 > size:
        raise ValueError(f"{tensors} tensors and {keys} keys do not fit")
    metadata: dict[str, Any] = {}
    for _ in range(keys):
        key = reader.text()
        metadata[key] = reader.value(reader.scalar("I"))
    end = max((_tensor_end(reader) for _ in range(tensors)), default=0)
    align = metadata.get("general.alignment", 32)
    if not isinstance(align, int) or align < 1:
        raise ValueError(f"alignment {align}")
    start = -(-reader.at // align) * align if tensors else reader.at
    return GgufInfo(
        path=str(file),
        version=version,
        tensors=tensors,
        file_bytes=size,
        expected_bytes=start + end,
        metadata=metadata,
    )


def _tensor_end(reader: _Reader) -> int:
    """Where the next tensor of the list ends, counted from the start of the data."""
    reader.text()
    elements = 1
    for _ in range(reader.scalar("I")):
        elements *= reader.scalar("Q")
    kind, offset = reader.scalar("I"), int(reader.scalar("Q"))
    # A type newer than this table: its start is a bound that still catches most cut files.
    per_block, block_bytes = _BLOCKS.get(kind, (1, 0))
    return offset + -(-elements // per_block) * block_bytes
