"""The answer's JSON Schema as each provider takes it. Pure.

One full schema goes to every backend; here it loses our own keywords, and what a provider would refuse with a 400.
What is lost is listed, and every answer is validated against the full schema all the same. Read from:

- `openai`: the guide "Structured model outputs" (Supported schemas: all fields required, null for the optional ones,
  `additionalProperties: false`; string `pattern` and nine formats, five number bounds, `minItems`, `maxItems`; no
  `allOf`, `not`, `if`, `dependentRequired`; lengths of strings are not among the supported ones) and the SDK's own
  `openai.lib._pydantic`, which keeps no sibling beside `$ref`.
- `anthropic`: the guide "Structured outputs" (JSON Schema limitations: no bounds, no lengths, `minItems` 0 or 1, at
  most 16 fields with several types) and the SDK's `anthropic.lib._parse._transform`, which knows no `pattern`.
- `gemini`: the list in the reference of `responseJsonSchema`, which litellm fills as it is from Gemini 2.0 on.
- `plain`: other OpenAI-compatible servers: only our own keywords are taken out.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

EXTENSIONS = frozenset({"kind", "ignore", "synonyms", "tolerance", "day_order", "unordered", "loose"})
"""Our own keywords: they steer scoring and mean nothing to a decoder."""
Dialect = Literal["openai", "anthropic", "gemini", "plain"]

_CORE = frozenset({"type", "properties", "required", "additionalProperties", "items", "enum", "anyOf", "description"})
_CORE |= {"title", "$ref", "$defs", "definitions"}
_BOUNDS = frozenset({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"})
_KEPT: dict[str, frozenset[str]] = {
    "openai": _CORE | _BOUNDS | {"const", "pattern", "format", "minItems", "maxItems"},
    "anthropic": _CORE | {"const", "format", "minItems", "allOf"},
    "gemini": _CORE | {"format", "minItems", "maxItems", "minimum", "maximum", "prefixItems"},
}
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_NO_RULE = frozenset({"$schema", "$id", "$comment", "$anchor", "default", "examples", "deprecated"})
"""Left out without a word: they bind no answer."""
_SLOTS = 32
_cache: dict[tuple[int, str], tuple[Mapping[str, Any], dict[str, Any], tuple[str, ...]]] = {}


def derive(schema: Mapping[str, Any], dialect: Dialect) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The wire form of `schema`, and what it does not say, as `path: keyword`, sorted.

    The same object gives the same object back: a task asks with one schema thousands of times. Neither may be changed.
    """
    key = (id(schema), dialect)
    known = _cache.get(key)
    if known is None or known[0] is not schema:
        maker = _Maker(schema, dialect)
        made = maker.root()
        while len(_cache) >= _SLOTS:
            del _cache[next(iter(_cache))]
        # The schema is kept beside what was made of it: its id would otherwise be given to another.
        known = _cache[key] = (schema, made, tuple(sorted(maker.dropped)))
    return known[1], known[2]


def schema_name(schema: Mapping[str, Any]) -> str:
    """The name OpenAI wants beside a schema: its title in the letters that are allowed, at most 64."""
    title = str(schema.get("title") or "answer")
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in title)[:64]


@dataclass
class _Maker:
    full: Mapping[str, Any]
    dialect: str
    dropped: set[str] = field(default_factory=set)

    def root(self) -> dict[str, Any]:
        if self.dialect == "plain":
            return dict(self._bare(self.full))
        full, seen = self.full, 0
        while set(full) & {"$ref"} and seen < 8:  # the root itself must say that it is an object
            full, seen = {**self._target(str(full["$ref"])), **_definitions(self.full)}, seen + 1
        return dict(self._node(full, "$"))

    def _bare(self, node: Any) -> Any:
        """The same schema without our own keywords: only where keywords stand, never a property of that name."""
        if not isinstance(node, Mapping):
            return copy.deepcopy(node)
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in EXTENSIONS:
                continue
            if key in ("properties", "$defs", "definitions", "patternProperties", "dependentSchemas"):
                out[key] = {name: self._bare(inner) for name, inner in value.items()}
            elif key in ("anyOf", "oneOf", "allOf", "prefixItems"):
                out[key] = [self._bare(inner) for inner in value]
            elif key in ("items", "not", "if", "then", "else", "contains", "additionalProperties", "propertyNames"):
                out[key] = self._bare(value)
            else:
                out[key] = copy.deepcopy(value)
        return out

    def _node(self, node: Any, path: str) -> Any:
        if not isinstance(node, Mapping):
            return node
        if "$ref" in node:
            return self._reference(node, path)
        node = self._unions(node, path)
        out: dict[str, Any] = {}
        for key, value in node.items():
            if key in EXTENSIONS or key in _NO_RULE:
                continue
            if key not in _KEPT[self.dialect] or not self._takes(key, value):
                self.dropped.add(f"{path}: {key}")
                continue
            out[key] = self._value(key, value, path)
        if self.dialect in ("openai", "anthropic"):
            self._close(out, path)
        if self.dialect == "anthropic" and "enum" in out and isinstance(out.get("type"), list):
            del out["type"]  # as the SDK writes it: the values say the types
        return out

    def _value(self, key: str, value: Any, path: str) -> Any:
        """One kept keyword's value, schemas inside it derived too."""
        if key == "properties":
            return {name: self._node(inner, f"{path}.{name}") for name, inner in value.items()}
        if key in ("$defs", "definitions"):
            return {name: self._node(inner, f"#{name}") for name, inner in value.items()}
        if key in ("anyOf", "allOf", "prefixItems"):
            return [self._node(inner, path if key != "prefixItems" else f"{path}[]") for inner in value]
        if key == "items":
            return self._node(value, f"{path}[]")
        if key == "additionalProperties":
            return self._node(value, f"{path}.*")
        return copy.deepcopy(value)

    def _unions(self, node: Mapping[str, Any], path: str) -> Mapping[str, Any]:
        """`oneOf` as `anyOf`, a lone `allOf` folded into its parent; `const` as `enum` where it is unknown."""
        if "oneOf" in node and "anyOf" not in node:
            self.dropped.add(f"{path}: oneOf")  # that no second branch may match is not said any more
            node = {("anyOf" if key == "oneOf" else key): value for key, value in node.items()}
        parts = node.get("allOf")
        if isinstance(parts, list) and len(parts) == 1 and isinstance(parts[0], Mapping):
            inner = self._target(str(parts[0]["$ref"])) if "$ref" in parts[0] else parts[0]
            node = {**inner, **{key: value for key, value in node.items() if key != "allOf"}}
        if "const" in node and "const" not in _KEPT[self.dialect]:
            node = {("enum" if k == "const" else k): ([v] if k == "const" else v) for k, v in node.items()}
        return node

    def _takes(self, key: str, value: Any) -> bool:
        """Does the provider take this value of a keyword that it knows?"""
        if key == "format":
            return value in _FORMATS or (self.dialect == "anthropic" and value == "uri") or self.dialect == "gemini"
        return not (key == "minItems" and self.dialect == "anthropic" and value not in (0, 1))

    def _close(self, out: dict[str, Any], path: str) -> None:
        """No other keys; for OpenAI every key required, those that were not may be null instead."""
        kinds = out.get("type")
        if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds) and "properties" not in out:
            return
        if out.get("additionalProperties", False) is not False:
            self.dropped.add(f"{path}: additionalProperties")
        out["additionalProperties"] = False
        properties = out.setdefault("properties", {})
        if self.dialect == "openai":
            needed = out.get("required", ())
            out["properties"] = {k: v if k in needed else _nullable(v) for k, v in properties.items()}
            out["required"] = list(properties)

    def _reference(self, node: Mapping[str, Any], path: str) -> dict[str, Any]:
        """A reference alone: no provider takes anything beside it."""
        rest = set(node) - {"$ref", "description", "title", "$defs", "definitions"} - EXTENSIONS - _NO_RULE
        self.dropped |= {f"{path}: {key}" for key in rest}
        return {"$ref": node["$ref"]}

    def _target(self, reference: str) -> Mapping[str, Any]:
        found: Any = self.full
        for part in reference.removeprefix("#").strip("/").split("/") if reference != "#" else ():
            key = part.replace("~1", "/").replace("~0", "~")
            found = found.get(key) if isinstance(found, Mapping) else None
        return found if isinstance(found, Mapping) else {}


def _definitions(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {key: schema[key] for key in ("$defs", "definitions") if key in schema}


def _nullable(node: Any) -> Any:
    """The same schema, null allowed as well."""
    if not isinstance(node, dict) or not node:
        return node
    out = dict(node)
    if "const" in out:
        out["enum"] = [out.pop("const")]
    if "anyOf" in out:
        if {"type": "null"} not in out["anyOf"]:
            out["anyOf"] = [*out["anyOf"], {"type": "null"}]
        return out
    if "type" not in out and "enum" not in out:
        return {"anyOf": [out, {"type": "null"}]}
    if "type" in out:
        kinds = out["type"] if isinstance(out["type"], list) else [out["type"]]
        out["type"] = kinds if "null" in kinds else [*kinds, "null"]
    if "enum" in out and None not in out["enum"]:
        out["enum"] = [*out["enum"], None]
    return out
