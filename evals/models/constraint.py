"""A JSON Schema -> what tells which tokens may come next, through llguidance; one for every backend that decodes here.

Properties come in the schema's order and none is invented; no space stands but one after `:` and `,`. So most of an
answer's keys and punctuation are fixed, and can be fed instead of decoded (`compute_ff_tokens`: jump-forward). A mask
over the whole vocabulary costs 40 us of 49,000 tokens and 100 us of 152,000, where llama.cpp's own grammar took a third
to a half of a token's time.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

from evals.errors import CallFailed, UserError

_LAYOUT = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    "json_allow_general_unicode_escapes": True,
    "lenient": True,  # what it cannot hold is listed instead of refused
}
_MOST = 10**16 - 1
_ONE = ("items", "additionalProperties", "not", "contains", "propertyNames")
_MANY = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED = ("properties", "$defs", "definitions", "patternProperties")


class Schemas:
    """Matchers by schema, for one tokenizer. `tokenizer` makes llguidance's view of it, which takes a second."""

    def __init__(self, tokenizer: Callable[[], Any]) -> None:
        self._make = tokenizer
        self._tokenizer: Any = None
        self._made: dict[str, tuple[Any, tuple[str, ...]]] = {}

    def prepare(self) -> None:
        """Read the tokenizer now, so that no document waits for it."""
        llguidance()
        if self._tokenizer is None:
            self._tokenizer = self._make()

    def matcher(self, schema: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        """A fresh matcher at the start of an answer, and what of the schema it does not hold."""
        key = json.dumps(schema)  # not sorted: the order of properties is that of the answer
        if key not in self._made:
            self._made[key] = self._compile(schema)
        prototype, dropped = self._made[key]
        return prototype.deep_copy(), dropped

    def _compile(self, schema: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
        matchers = llguidance().LLMatcher
        try:
            self.prepare()
        except (ValueError, RuntimeError, OSError) as error:
            said = " ".join(str(error).split())[:200]
            raise CallFailed(
                "bad_request", f"llguidance cannot read this tokenizer ({said}): ask with constrain=false"
            ) from None
        try:
            grammar = matchers.grammar_from_json_schema(json.dumps(closed(schema)), defaults=_LAYOUT)
        except ValueError as error:
            raise _inexpressible(str(error)) from None
        wrong, said_of = matchers.validate_grammar_with_warnings(grammar, self._tokenizer)
        if wrong:
            raise _inexpressible(" ".join(said_of))
        made = matchers(self._tokenizer, grammar, log_level=0)
        if made.is_error():
            raise _inexpressible(made.get_error())
        return made, tuple(said_of)


def allowed(matcher: Any, size: int) -> Any:
    """Which of `size` tokens may come next: a boolean array."""
    import numpy

    bits = numpy.unpackbits(
        numpy.frombuffer(matcher.compute_bitmask(), dtype=numpy.uint8), count=size, bitorder="little"
    )
    return bits.view(bool)


def llguidance() -> Any:
    """The library, or one line that says how to get it."""
    try:
        import llguidance
    except ImportError as error:
        raise UserError(f"llguidance cannot be imported ({error}): pip install 'llguidance>=1.3'") from None
    return llguidance


def closed(schema: Any) -> Any:
    """The same schema whose objects take no property but those it names, and whose integers end.

    A small model may write digits for ever: an integer without a bound gets 16 of them.
    """
    if not isinstance(schema, Mapping):
        return schema
    made = dict(schema)
    for key in _ONE:
        if key in made:
            made[key] = closed(made[key])
    for key in _MANY:
        if isinstance(made.get(key), list):
            made[key] = [closed(each) for each in made[key]]
    for key in _NAMED:
        if isinstance(made.get(key), Mapping):
            made[key] = {name: closed(each) for name, each in made[key].items()}
    if "properties" in made and "allOf" not in made:
        made["additionalProperties"] = False
    kinds = made.get("type")
    if kinds == "integer" or (isinstance(kinds, list) and "integer" in kinds):
        for key, bound in (("minimum", -_MOST), ("maximum", _MOST)):
            if f"exclusive{key.capitalize()}" not in made:
                made.setdefault(key, bound)
    return made


def _inexpressible(said: str) -> CallFailed:
    return CallFailed(
        "bad_request", f"this schema cannot be decoded under: {' '.join(said.split())[:300]}; ask with constrain=false"
    )
