"""From sections to a printed document: head, preamble, numbering, signatures, schedule, amendment."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .generate import Writer

WIDTH = 100
STYLES = {
    "dev": [("{n}. {h}", "Section {n}"), ("Section {n} - {h}", "Section {n}")],
    "test": [
        ("ARTICLE {n}\n{h}", "Article {n}"),
        ("§ {n} {h}", "§ {n}"),
        ("{n}) {h}", "no. {n}"),
        ("Clause {n}: {h}", "clause {n}"),
        ("[{n}] {H}", "paragraph {n}"),
    ],
}
HEADS = {
    "dev": ["{T}", '{t}\n\n(the "Agreement")'],
    "test": ["{T}\n{line}", "- {t} -", "{t}", "Document: {t}", "{line}\n{T}\n{line}"],
}
SIGNED = {
    "dev": ["IN WITNESS WHEREOF the parties have signed this Agreement.", "Signed by the parties:"],
    "test": [
        "The parties put their signatures below.",
        "So agreed, and signed in as many originals as there are parties:",
        "Signature page",
        "For and on behalf of the parties:",
    ],
}
PARTY = {
    "dev": ['{name} ("{role}")', '{name} (the "{role}")'],
    "test": [
        '{name}, hereafter the "{role}"',
        '{name} (in this document: "{role}")',
        '{name} - the "{role}" -',
        '{name} (as "{role}")',
    ],
}
AMENDMENT = {
    "dev": ["Amendment No. 1", "Special Conditions"],
    "test": ["FIRST AMENDMENT", "Addendum no. 1", "Rider", "Deed of Variation", "Particular Conditions"],
}
EXTRA = {"dev": ("Contact person", "Place of performance"), "test": ("To be contacted", "Where the work is done")}
RIDERS = {"Special Conditions", "Rider", "Particular Conditions"}


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its clauses; `holds` names the fields that an amendment may refer to here."""

    heading: str
    clauses: list[str]
    holds: tuple[str, ...] = ()


def assemble(w: "Writer", sections: list[Section]) -> str:
    """The whole text."""
    pattern, reference = w.rng.choice(STYLES[w.split])
    where = {name: reference.replace("{n}", str(n)) for n, section in enumerate(sections, 1) for name in section.holds}
    parts = [_head(w), _preamble(w)]
    schedule = _schedule(w)
    first = bool(schedule) and w.rng.random() < 0.3
    parts += [schedule] if first else []
    for n, section in enumerate(sections, 1):
        heading = pattern.replace("{n}", str(n)).replace("{h}", section.heading).replace("{H}", section.heading.upper())
        parts.append("\n".join([heading, *_clauses(w, n, section.clauses)]))
    change, rider = _amendment(w, where)
    parts += [change] if rider else []
    parts.append(_signatures(w))
    parts += [] if first else [schedule]
    parts += [] if rider else [change]
    return "\n\n".join(part for part in parts if part) + "\n"


def _clauses(w: "Writer", n: int, clauses: list[str]) -> list[str]:
    if len(clauses) > 1 and w.rng.random() < 0.6:
        return [f"{n}.{i} {clause}" for i, clause in enumerate(clauses, 1)]
    return [" ".join(clauses)] if w.rng.random() < 0.5 else clauses


def _head(w: "Writer") -> str:
    head = str(w.rng.choice(HEADS[w.split]))
    title = w.facts.title
    return head.replace("{T}", title.upper()).replace("{t}", title).replace("{line}", "=" * len(title))


def _preamble(w: "Writer") -> str:
    pattern = str(w.rng.choice(PARTY[w.split]))
    named = [pattern.replace("{name}", name).replace("{role}", role) for name, role in w.facts.parties]
    slots = {"PARTIES": f"{', '.join(named[:-1])} and {named[-1]}", "SIGNED": w.date(w.facts.signed)}
    if w.start == "dated":
        return w.say("preamble.dated", EFF=w.date(w.facts.effective), **slots)
    if w.start in ("after_days", "first_of_month") or (w.start != "last_signature" and w.rng.random() < 0.5):
        return w.say("preamble.signed", **slots)
    return w.say("preamble.plain", **slots)


def _signatures(w: "Writer") -> str:
    lines = [str(w.rng.choice(SIGNED[w.split]))]
    dated = w.start == "last_signature"
    for i, (name, role) in enumerate(w.facts.parties):
        day: Any = (
            w.later
            if dated and i == len(w.facts.parties) - 1
            else w.facts.signed + timedelta(days=min(i, 1) if dated else 0)
        )
        date = f"  Date: {w.date(day)}" if dated or w.rng.random() < 0.15 else ""
        lines.append(f"{name} ({role})  ____________________{date}")
    return "\n".join(lines)


def _schedule(w: "Writer") -> str:
    """The table of terms that clauses refer to, with rows beside them that nothing refers to."""
    if not w.terms:
        return ""
    rows = [f"{i}. {label}: {value}" for i, (label, value) in enumerate(w.terms, 1)]
    person, city = EXTRA[w.split]
    extra = [f"{len(rows) + 1}. {person}: {w._slot('PERSON')}", f"{len(rows) + 2}. {city}: {w._slot('CITY')}"]
    return "\n".join([w.schedule_name, *rows, *extra])


def _amendment(w: "Writer", where: dict[str, str]) -> tuple[str, bool]:
    if not w.amended:
        return "", True
    title = str(w.rng.choice(AMENDMENT[w.split]))
    rider = title in RIDERS
    lasts = min((months for months in (w.amended.get("term"), w.facts.months) if months), default=24)
    day = w.date((w.facts.effective or w.facts.signed) + timedelta(days=w.rng.randint(20, lasts * 29)))
    lines = [w.say("amend.rider" if rider else "amend.intro", XDATE=day)]
    for name, old in w.amended.items():
        lines.append(_change(w, name, old, where[name]))
    numbered = [lines[0], *(f"({chr(96 + i)}) {line}" for i, line in enumerate(lines[1:], 1))]
    return "\n".join([title, *numbered]), rider


def _change(w: "Writer", name: str, old: Any, where: str) -> str:
    x = w.facts
    if name == "renewal":
        return w.say(f"amend.renewal_{str(x.renewal).lower()}", WHERE=where)
    show = {
        "term": w.months,
        "survival": w.months,
        "amount": w.money,
        "cap": w.money,
        "notice": w.days,
        "paydays": w.days,
        "law": str,
    }[name]
    new = {
        "term": x.months,
        "survival": x.survival,
        "amount": x.price,
        "cap": x.cap,
        "notice": x.notice,
        "paydays": x.paydays,
        "law": x.law,
    }[name]
    return w.say(f"amend.{name}", WHERE=where, OLD=show(old), NEW=show(new))  # type: ignore[operator]
