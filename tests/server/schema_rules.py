"""What each provider asks of a JSON schema that is to be enforced."""

from collections.abc import Iterator
from typing import Any

# OpenAI's strict mode. Supported: the types and the words of developers.openai.com's structured outputs guide, "Supported
# properties"; composition other than anyOf is refused.
OPENAI_TYPES = {"string", "number", "boolean", "integer", "object", "array", "null"}
OPENAI_WORDS = {
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs", "definitions",
    "description", "title", "pattern", "format", "multipleOf", "maximum", "exclusiveMaximum", "minimum", "exclusiveMinimum",
    "minItems", "maxItems", "$schema", "$id",
}  # fmt: skip
OPENAI_FORMATS = {"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"}
# Anthropic: no numeric or length bounds, no minItems above 1, no other composition (platform.claude.com, structured outputs).
ANTHROPIC_REFUSED = {
    "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "maxItems", "uniqueItems",
    "not", "if", "then", "else", "oneOf", "patternProperties",
}  # fmt: skip


def nodes(schema: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Every schema within, with where it stands."""
    if not isinstance(schema, dict):
        return
    yield path, schema
    for word in ("properties", "$defs", "definitions"):
        for name, inside in (schema.get(word) or {}).items():
            yield from nodes(inside, (*path, word, name))
    for word in ("items", "additionalProperties", "not"):
        yield from nodes(schema.get(word), (*path, word))
    for word in ("anyOf", "oneOf", "allOf"):
        for i, inside in enumerate(schema.get(word) or []):
            yield from nodes(inside, (*path, word, str(i)))


def _is_object(node: dict[str, Any]) -> bool:
    kinds = node.get("type")
    return "object" in (kinds if isinstance(kinds, list) else [kinds])


def openai_strict(name: str, schema: Any) -> str | None:
    """Why OpenAI refuses it, or None."""
    start = f"Invalid schema for response_format '{name}': "
    if not isinstance(schema, dict) or schema.get("type") != "object" or "anyOf" in schema:
        kind = schema.get("type") if isinstance(schema, dict) else schema
        return f"{start}schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{kind}\"'."
    for path, node in nodes(schema):
        where = f"In context={path!r}, "
        for word in node:
            if word not in OPENAI_WORDS:
                return f"{start}{where}'{word}' is not permitted."
        kinds = node.get("type", [])
        for kind in kinds if isinstance(kinds, list) else [kinds]:
            if kind not in OPENAI_TYPES:
                return f"{start}{where}{kind!r} is not valid under any of the given schemas."
        if "format" in node and node["format"] not in OPENAI_FORMATS:
            return f"{start}{where}'{node['format']}' is not a valid format."
        if not any(word in node for word in ("type", "anyOf", "$ref", "enum", "const")):
            return f"{start}{where}schema must have a 'type' key."
        if _is_object(node):
            if node.get("additionalProperties") is not False:
                return f"{start}{where}'additionalProperties' is required to be supplied and to be false."
            asked, has = set(node.get("required", [])), set(node.get("properties", {}))
            if asked != has:
                missing = sorted(has - asked)
                what = (
                    f"Missing '{missing[0]}'."
                    if missing
                    else f"Extra required key '{sorted(asked - has)[0]}' supplied."
                )
                return f"{start}{where}'required' is required to be supplied and to be an array including every key in properties. {what}"
        if "array" in (kinds if isinstance(kinds, list) else [kinds]) and "items" not in node:
            return f"{start}{where}array schema missing items."
    return None


def anthropic_format(schema: Any) -> str | None:
    """Why Anthropic refuses it, or None."""
    start = "output_config.format.schema: "
    if not isinstance(schema, dict):
        return f"{start}Input should be a valid dictionary"
    for _, node in nodes(schema):
        if _is_object(node) and node.get("additionalProperties") is not False:
            return f"{start}For 'object' type, 'additionalProperties' must be explicitly set to false"
        kinds = node.get("type", "value")
        for word in node:
            if word in ANTHROPIC_REFUSED or (word == "minItems" and node[word] not in (0, 1)):
                kind = kinds[0] if isinstance(kinds, list) else kinds
                return f"{start}For '{kind}' type, property '{word}' is not supported"
    return None
