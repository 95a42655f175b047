"""JSON as bodies carry it: orjson where it is installed, the standard library's where not."""

import json
from collections.abc import Callable
from typing import Any

Dumps = Callable[[Any], bytes]
Loads = Callable[[bytes], Any]


def codec() -> tuple[Dumps, Loads]:
    """`dumps` to compact UTF-8, also of a document with broken characters, and `loads`, which raises `ValueError`."""
    try:
        import orjson
    except ImportError:
        return _dumps, json.loads

    def dumps(value: Any) -> bytes:
        try:
            return orjson.dumps(value)
        except TypeError:  # a lone surrogate: one document of bad encoding may not end a run
            return _dumps(value)

    def loads(body: bytes) -> Any:
        try:
            return orjson.loads(body)
        except ValueError:  # an escaped lone surrogate, which the standard library lets pass
            return json.loads(body)

    return dumps, loads


def _dumps(value: Any) -> bytes:
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return whole(text).encode("utf-8")


def whole(text: str) -> str:
    """Text that can be written as UTF-8: pairs of surrogates joined, lone ones replaced."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
