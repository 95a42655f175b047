"""Makes tiny GGUF files: a head, and as many zero bytes as the tensors need."""

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def _text(value: str) -> bytes:
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(value: Any) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", 7, value)
    if isinstance(value, int):
        return struct.pack("<II", 4, value)
    if isinstance(value, float):
        return struct.pack("<If", 6, value)
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    kinds = {str: 8, int: 4, float: 6}
    body = b"".join(_value(each)[4:] for each in value)
    return struct.pack("<IIQ", 9, kinds[type(value[0])], len(value)) + body


def gguf_bytes(
    metadata: Mapping[str, Any], tensors: Sequence[tuple[str, Sequence[int], int, int]] = (), *, data: int = 0
) -> bytes:
    """`tensors`: name, shape, ggml type, offset; `data`: bytes after the (aligned) head."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(metadata))
    head += b"".join(_text(key) + _value(value) for key, value in metadata.items())
    for name, shape, kind, offset in tensors:
        head += _text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
    head += b"\0" * (-len(head) % 32 if tensors else 0)
    return head + b"\0" * data


LLAMA = {
    "general.architecture": "llama",
    "general.name": "Tiny",
    "general.file_type": 15,
    "general.license": "apache-2.0",
    "llama.context_length": 2048,
    "llama.block_count": 2,
    "llama.rope.freq_base": 10000.0,
    "tokenizer.ggml.add_bos_token": True,
    "tokenizer.ggml.tokens": [f"t{n}é" for n in range(300)],
    "tokenizer.ggml.scores": [0.5] * 300,
    "general.languages": ["en", "de"],
    "tokenizer.chat_template": "{{ messages[0]['content'] }}",
}
# 256 x 2 values of q4_K: 2 blocks of 144 bytes; 5 values of f32 at 288 take 20 more.
TENSORS = [("a", (256, 2), 12, 0), ("b", (5,), 0, 288)]
DATA = 308


def tiny_gguf(folder: Path, name: str = "tiny.gguf", *, missing: int = 0, **metadata: Any) -> Path:
    """A whole small file, or one that lacks its last `missing` bytes. No library can load it."""
    path = folder / name
    merged = {**LLAMA, **{key.replace("__", "."): value for key, value in metadata.items()}}
    path.write_bytes(gguf_bytes({k: v for k, v in merged.items() if v is not None}, TENSORS, data=DATA - missing))
    return path
