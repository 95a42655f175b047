"""The text that is answered, its tokens, and what a schema asks for at least."""

from itertools import pairwise
from typing import Any

from settings import Settings, dumps

DEFAULT = "OK"
_instances: dict[bytes, str] = {}


def tokens(text: str) -> int:
    """Four letters a token, rounded up: not any model's count, but one that a test can repeat."""
    return (len(text) + 3) // 4


def answer_for(settings: Settings, document_id: str, schema: dict[str, Any] | None) -> str:
    """The document's own reply, the fixed one, an instance of the schema, or "OK"."""
    if document_id in settings.replies:
        return settings.replies[document_id]
    if settings.reply is not None:
        return settings.reply
    if schema is None:
        return DEFAULT
    key = dumps(schema)
    if key not in _instances:
        if len(_instances) > 1000:
            _instances.clear()
        _instances[key] = dumps(instance(schema, schema)).decode()
    return _instances[key]


def pieces(text: str, count: int) -> list[str]:
    """The text in so many pieces of nearly equal length, none empty."""
    count = max(1, min(count, len(text)))
    edges = [len(text) * i // count for i in range(count + 1)]
    return [text[a:b] for a, b in pairwise(edges)]


def instance(schema: Any, root: Any) -> Any:
    """Null where it is allowed, else as little as is valid."""
    if not isinstance(schema, dict):
        return None
    if "$ref" in schema:
        return instance(followed(schema["$ref"], root), root)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return None if None in schema["enum"] else schema["enum"][0]
    for word in ("anyOf", "oneOf"):
        if word in schema:
            found = [instance(option, root) for option in schema[word]]
            return None if None in found else found[0]
    if "allOf" in schema:
        merged: dict[str, Any] = {k: v for k, v in schema.items() if k != "allOf"}
        for part in schema["allOf"]:
            merged |= followed(part["$ref"], root) if "$ref" in part else part
        return instance(merged, root)
    kinds = schema.get("type")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    # Gemini's dialect names types in capitals and allows null by `nullable`
    if "null" in kinds or schema.get("nullable") is True:
        return None
    return least(str(kinds[0] or ("object" if "properties" in schema else "null")).lower(), schema, root)


def least(kind: str, schema: dict[str, Any], root: Any) -> Any:
    """The smallest value of one type."""
    if kind == "object":
        properties = schema.get("properties", {})
        return {name: instance(properties.get(name), root) for name in schema.get("required", [])}
    if kind == "array":
        return [instance(schema.get("items"), root)] * schema.get("minItems", 0)
    if kind == "string":
        formats = {
            "date": "2024-01-01",
            "date-time": "2024-01-01T00:00:00Z",
            "time": "00:00:00Z",
            "email": "a@b.example",
        }
        return formats.get(schema.get("format", ""), "x" * schema.get("minLength", 0))
    if kind in ("integer", "number"):
        low = schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1)
        high = schema.get("maximum")
        return low if "minimum" in schema or high is None or high >= 0 else high
    return False if kind == "boolean" else None


def followed(reference: str, root: Any) -> Any:
    """What a local reference points at."""
    found = root
    for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else []:
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found
