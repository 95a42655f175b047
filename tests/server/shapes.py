"""Replies from the SDKs' own types: each shape is built and checked strictly once, then only filled in."""

import json
import re
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from settings import dumps

_NUMBERS: dict[str, int] = {}
LATER = {"cache_write_tokens", "output_tokens_details", "inference_geo", "stop_details"}
"""Fields that the oldest SDKs do not know yet: sent all the same, as the provider would."""


def text(name: str) -> str:
    """Where a string will stand."""
    return f"@@{name}@@"


def number(name: str) -> int:
    """Where a whole number will stand."""
    return _NUMBERS.setdefault(name, 7_000_000_000_001 + 1000 * len(_NUMBERS))


class Template:
    """One checked shape. `fill(name=...)` gives the bytes: strings are passed as JSON (see `quoted`), numbers as they are."""

    def __init__(self, kind: type[BaseModel], data: dict[str, Any]) -> None:
        body = checked(kind, data).replace("%", "%%")
        body = re.sub(r'"@@(\w+)@@"', r"%(\1)b", body)
        for name, stand_in in _NUMBERS.items():
            body = body.replace(str(stand_in), f"%({name})d")
        self._format = body.encode()

    def fill(self, values: dict[bytes, Any]) -> bytes:
        """The shape with these values."""
        return self._format % values


def checked(kind: type[BaseModel], data: dict[str, Any]) -> str:
    """The data as JSON, if the SDK's type takes every part of it: right types, nothing missing, nothing unknown."""
    model = kind.model_validate_json(json.dumps(data), strict=True)
    _no_extras(model, kind.__name__)
    return model.model_dump_json(exclude_unset=True, by_alias=True)


def _no_extras(value: Any, where: str) -> None:
    if isinstance(value, BaseModel):
        if set(value.model_extra or ()) - LATER:
            raise ValueError(f"{where}: {type(value).__name__} does not know {sorted(value.model_extra or ())}")
        for name in type(value).model_fields:
            _no_extras(getattr(value, name, None), f"{where}.{name}")
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _no_extras(item, f"{where}[{i}]")


@lru_cache(maxsize=4096)
def quoted(value: str | None) -> bytes:
    """As a JSON value."""
    return dumps(value)
