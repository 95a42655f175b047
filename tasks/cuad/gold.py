"""CUAD answers -> typed gold. A field that cannot be read into its kind is left out of the target: it is not scored."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from evals.metrics.dates import Ambiguous
from evals.metrics.normalise import Unparsed, normalise

QUESTIONS = {
    "document_name": "Document Name",
    "parties": "Parties",
    "agreement_date": "Agreement Date",
    "effective_date": "Effective Date",
    "expiration_date": "Expiration Date",
    "renewal_term": "Renewal Term",
    "notice_period": "Notice Period To Terminate Renewal",
    "governing_law": "Governing Law",
}
KINDS = {name: "date" if name.endswith("_date") else "duration" for name in QUESTIONS}
KINDS |= {"document_name": "name", "governing_law": "name", "parties": "parties"}
QUOTES = "\"'“”‘’"
LONGEST_SPAN = 60
COLLECTIVE = re.compile(r"individually|collectively|together|[Pp]arties|Members", re.DOTALL)


def from_answers(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Gold of one contract out of `{"Document Name": {"answer": ...}, ...}`."""
    target: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        entry = fields.get(question)
        text = entry.get("answer") if isinstance(entry, Mapping) else entry
        if isinstance(text, str):
            target.update(read(name, text))
    return target


def from_spans(spans: Mapping[str, Sequence[str]]) -> dict[str, Any]:
    """Gold out of marked passages alone. Parties are left out: their spans mix names with aliases."""
    target: dict[str, Any] = {}
    for name, question in QUESTIONS.items():
        if question not in spans or (name == "parties" and spans[question]):
            continue
        found = {" ".join(span.split()) for span in spans[question]}
        if len(found) <= 1 and all(len(span) <= LONGEST_SPAN for span in found):
            target.update(read(name, next(iter(found), "")))
    return target


def read(name: str, text: str) -> dict[str, Any]:
    """`{name: value}`, or `{}` where the answer cannot be read as one value of the field's kind."""
    kind, text = KINDS[name], text.strip()
    if kind == "parties":
        names = parties(text)
        return {name: [{"name": party} for party in names]} if names or not text else {}
    if not text:
        return {name: None}
    if kind == "name" and (";" in text or "\n\n" in text):
        return {}
    value = {"date": us_date, "duration": duration, "name": plain}[kind](text)
    form = normalise(value, kind)
    return {} if form is None or isinstance(form, Unparsed | Ambiguous) else {name: value}


def us_date(text: str) -> str:
    """`5/8/14` -> `2014-05-08` (month, day, year; up to 50 is this century); other text as it is."""
    found = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{4}|\d{2})", text)
    if not found:
        return text
    year = int(found[3])
    if year < 100:
        year += 2000 if year <= 50 else 1900
    return f"{year}-{int(found[1]):02}-{int(found[2]):02}"


def duration(text: str) -> str:
    """`successive 1 year` -> `1 year`; the data spells it `succsive` too."""
    return re.sub(r"^succ?\w*\s+", "", text, flags=re.IGNORECASE)


def plain(text: str) -> str:
    """One line, without what the annotation left hanging at its end."""
    return " ".join(text.split()).rstrip(" (,")


def parties(text: str) -> list[str]:
    """Names of `Acme, Inc. ("Acme"); Beta LLC ("Beta")`: no aliases, no collective entries, none twice."""
    aliases = {alias.strip(" ,").casefold() for alias in re.findall(r"[\"“]([^\"“”]+)[\"”]", text)}
    found: dict[Any, str] = {}
    for entry in text.split(";"):
        name = party(entry)
        pieces = [piece.casefold() for piece in re.split(r",? and |, ", name)]
        several = len(pieces) > 1 and (" and " in name and COLLECTIVE.search(entry))
        listed = len(pieces) > 1 and all(piece in aliases for piece in pieces)
        if re.search(r"\w", name) and not several and not listed:
            found.setdefault(normalise(name, "name"), name)
    return list(found.values())


def party(entry: str) -> str:
    """The name in front of an entry's aliases; empty where there is none."""
    entry = " ".join(entry.split())
    if entry.startswith("(") and entry.count("(") > entry.count(")"):
        entry = entry[1:].strip()
    if entry[:1] in tuple("(" + QUOTES) or re.match(r"together\b|each\b|collectively\b", entry, re.IGNORECASE):
        return ""
    entry = re.split(r"\s*\([^()]*[\"“”]|\s*[\"“]|, on behalf of ", entry)[0]
    return entry.strip(" ,")
