"""A JSON Schema as a grammar that llama.cpp decodes under. Pure.

Ours rather than the binding's converter: that one forgets a branch's keywords where `type` is a list (`maxLength`,
and even the `items` of an array that may be null), and lets raw line ends into strings, which is not JSON.
Properties come in the schema's order; no property is invented; no space stands but one after `:` and `,`.
What a grammar cannot say is listed, for `Completion.notes`.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

EXTENSIONS = frozenset({"kind", "ignore", "synonyms", "tolerance", "day_order", "unordered", "loose"})
"""Our own keywords: they steer scoring and mean nothing to a decoder."""

_SILENT = EXTENSIONS | {
    "$schema", "$id", "$comment", "$defs", "definitions", "title", "description", "default", "examples", "deprecated",
    "type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "oneOf", "$ref",
    "minItems", "maxItems", "minLength", "maxLength",
}  # fmt: skip
_ONLY_FOR = {
    "string": {"pattern", "format", "contentEncoding", "contentMediaType"},
    "number": {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"},
    "array": {"uniqueItems", "contains", "minContains", "maxContains", "prefixItems"},
    "object": {"minProperties", "maxProperties", "patternProperties", "propertyNames", "dependentRequired"},
}
_BASE = {
    "char": r'[^"\\\x00-\x1F\x7F] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})',
    "string": r'"\"" char* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]{0,15})',
    "number": '"-"? ("0" | [1-9] [0-9]{0,15}) ("." [0-9]{1,15})? ([eE] [-+]? [0-9]{1,3})?',
    "boolean": '"true" | "false"',
    "null": '"null"',
    "value": "string | number | object | array | boolean | null",
    "object": '"{" (string ": " value (", " string ": " value)*)? "}"',
    "array": '"[" (value (", " value)*)? "]"',
}
_NEEDS = {
    "string": ("char",),
    "value": ("string", "number", "object", "array", "boolean", "null", "char"),
    "object": ("value", "string", "number", "array", "boolean", "null", "char"),
    "array": ("value", "string", "number", "object", "boolean", "null", "char"),
}
_MAX_ITEMS = 1000
"""llama.cpp unrolls a counted repetition: above this it is left open."""


def grammar(schema: Mapping[str, Any]) -> tuple[str, tuple[str, ...]]:
    """The GBNF text for `schema`, and the keywords it could not express, as `path: keyword`, sorted."""
    maker = _Maker(schema)
    root = maker.rule(schema, "root", "$")
    if root != "root":
        maker.rules["root"] = root
    return "\n".join(f"{name} ::= {text}" for name, text in maker.rules.items()), tuple(sorted(maker.dropped))


def closes(schema: Mapping[str, Any]) -> bool:
    """Can nothing follow once the answer may end? So for objects and arrays."""
    kinds = schema.get("type")
    return kinds in ("object", "array") or (kinds is None and "properties" in schema)


class _Maker:
    def __init__(self, root: Mapping[str, Any]) -> None:
        self.root = root
        self.rules: dict[str, str] = {}
        self.dropped: set[str] = set()
        self.references: dict[str, str] = {}

    def rule(self, schema: Any, name: str, path: str) -> str:
        """Add the rules for `schema` and return the name that stands for it."""
        if schema is True or schema == {}:
            return self.base("value")
        if not isinstance(schema, Mapping):
            self.dropped.add(f"{path}: {json.dumps(schema)}")
            return self.base("value")
        if "$ref" in schema:
            return self._reference(str(schema["$ref"]), path)
        for key in ("const", "enum"):
            if key in schema:
                values = schema[key] if key == "enum" else [schema[key]]
                return self._add(name, " | ".join(_literal(json.dumps(v, ensure_ascii=False)) for v in values))
        for key in ("anyOf", "oneOf"):
            if key in schema:
                return self._union(schema[key], name, path)
        kinds = schema.get("type")
        if isinstance(kinds, list):
            return self._union([{**schema, "type": kind} for kind in kinds], name, path)
        kind = str(kinds or _guess(schema))
        self._complain(schema, kind, path)
        return self._typed(schema, kind, name, path)

    def base(self, name: str) -> str:
        """A built-in rule and what it leans on."""
        for each in (name, *_NEEDS.get(name, ())):
            self.rules.setdefault(each, _BASE[each])
        return name

    def _typed(self, schema: Mapping[str, Any], kind: str, name: str, path: str) -> str:
        if kind == "object" and "properties" in schema:
            return self._object(schema, name, path)
        if kind == "array" and ("items" in schema or "maxItems" in schema or "minItems" in schema):
            return self._array(schema, name, path)
        if kind == "string" and ("maxLength" in schema or "minLength" in schema):
            low, high = int(schema.get("minLength", 0)), schema.get("maxLength")
            return self._add(name, rf'"\"" {self.base("char")}{self._times(low, high, path, "maxLength")} "\""')
        if kind == "integer" and _is_natural(schema):
            return self._natural(schema, name, path)
        if kind in _BASE:
            return self.base(kind)
        self.dropped.add(f"{path}: type {kind}")
        return self.base("value")

    def _natural(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        """No sign, and no more digits than the greatest has."""
        high = schema.get("maximum")
        digits = len(str(high)) if _whole(high) else 16
        if _whole(high) and high != 10**digits - 1:
            self.dropped.add(f"{path}: maximum")
        if schema["minimum"] > 0:
            self.dropped.add(f"{path}: minimum")
        return self._add(name, f'"0" | [1-9] [0-9]{{0,{digits - 1}}}')

    def _complain(self, schema: Mapping[str, Any], kind: str, path: str) -> None:
        """Note the keywords that would bind a value of this type and are not expressed."""
        others = {key for name, keys in _ONLY_FOR.items() if name != kind for key in keys}
        if kind == "integer":
            others -= _ONLY_FOR["number"]
            others |= {"minimum", "maximum"} if _is_natural(schema) else set()
        self.dropped |= {f"{path}: {key}" for key in schema if key not in _SILENT and key not in others}

    def _object(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        required = set(schema.get("required", ()))
        if schema.get("additionalProperties") not in (None, False):
            self.dropped.add(f"{path}: additionalProperties")
        pairs: list[tuple[str, bool]] = []
        for key, inner in schema["properties"].items():
            value = self.rule(inner, f"{name}-{_plain(key)}-{len(pairs)}", f"{path}.{key}")
            pairs.append((f"{_literal(json.dumps(key, ensure_ascii=False) + ': ')} {value}", key in required))
        return self._add(name, '"{" ' + self._pairs(pairs, name) + ' "}"')

    def _pairs(self, pairs: Sequence[tuple[str, bool]], name: str) -> str:
        """All pairs in order, the optional ones left out at will.

        `name-after-i` is what may come after some pair before `i`; until a required pair stands, the first one
        present has no comma before it.
        """
        count = len(pairs)
        for at in range(count - 1, 0, -1):
            text, needed = pairs[at]
            rest = f" {name}-after-{at + 1}" if at + 1 < count else ""
            one = f'", " {text}'
            self.rules[f"{name}-after-{at}"] = one + rest if needed else f"({one})?{rest}"
        first = []
        for at, (text, needed) in enumerate(pairs):
            first.append(text + (f" {name}-after-{at + 1}" if at + 1 < count else ""))
            if needed:
                return "(" + " | ".join(first) + ")"
        return "(" + " | ".join(first) + ")?" if first else '""'

    def _array(self, schema: Mapping[str, Any], name: str, path: str) -> str:
        item = self.rule(schema.get("items", True), f"{name}-item", f"{path}[]")
        low, high = int(schema.get("minItems", 0)), schema.get("maxItems")
        if high == 0:
            return self._add(name, '"[]"')
        more = self._times(max(low - 1, 0), None if high is None else int(high) - 1, path, "maxItems")
        some = f'{item} (", " {item}){more}'
        return self._add(name, f'"[" {some} "]"' if low else f'"[" ({some})? "]"')

    def _times(self, low: int, high: Any, path: str, keyword: str) -> str:
        if high is not None and int(high) <= _MAX_ITEMS:
            return f"{{{low},{max(low, int(high))}}}"
        if high is not None:
            self.dropped.add(f"{path}: {keyword}")
        return f"{{{low},}}" if low else "*"

    def _union(self, branches: Sequence[Any], name: str, path: str) -> str:
        names = [self.rule(branch, f"{name}-{at}", path) for at, branch in enumerate(branches)]
        return self._add(name, " | ".join(dict.fromkeys(names)))

    def _reference(self, target: str, path: str) -> str:
        if target not in self.references:
            found: Any = self.root
            for part in target.removeprefix("#").strip("/").split("/") if target != "#" else ():
                key = part.replace("~1", "/").replace("~0", "~")
                found = found.get(key) if isinstance(found, Mapping) else None
            if not target.startswith("#") or found is None:
                self.dropped.add(f"{path}: $ref {target}")
                return self.base("value")
            # Named before it is made: a schema may refer to itself.
            self.references[target] = name = f"ref-{len(self.references)}"
            made = self.rule(found, name, path)
            if made != name:
                self.rules[name] = made
        return self.references[target]

    def _add(self, name: str, text: str) -> str:
        self.rules[name] = text
        return name


def _guess(schema: Mapping[str, Any]) -> str:
    """The type of a schema that does not say it."""
    if "properties" in schema:
        return "object"
    return "array" if "items" in schema else "value"


def _is_natural(schema: Mapping[str, Any]) -> bool:
    return _whole(schema.get("minimum")) and int(schema["minimum"]) >= 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _literal(text: str) -> str:
    for plain, escaped in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(plain, escaped)
    return f'"{text}"'


def _plain(key: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in key)
