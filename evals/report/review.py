"""A review on a terminal, and the page on which a person does it. Everything that is shown is escaped."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from evals.report.console import interval, number, percent, rows

LONGEST = 60_000
"""Characters of a document that the page shows."""


def text(result: Mapping[str, Any]) -> str:
    """The figures, and what they rest on."""
    share, work = result["share"], result["work"]
    lines = [
        ["documents", str(result["n"])],
        ["mean error, nobody reviews", interval(result["error"], percent=True)],
        ["target", f"{100 * result['target']:g} %"],
        ["share to review", interval(share, percent=True)],
        ["threshold on P(error)", number(result["threshold"], 4)],
        ["mean error left (these documents)", interval(result["residual"], percent=True)],
        ["of those reviewed, with an error", interval(result["found"], percent=True) if result["found"] else "-"],
        [f"minutes a day at {work['volume_per_day']:,.0f} documents", _range(work, "minutes_per_day", "{:,.0f}")],
    ]
    if work["usd_per_hour"] is not None:
        lines.append([f"dollars a day at ${work['usd_per_hour']:g} an hour", _range(work, "usd_per_day", "${:,.2f}")])
    title = f"review of {result['option']} on {result['task']} ({result['split']}), error: 1 - {result['quality']}"
    return "\n".join([rows(title, ["", "value [95 %]"], lines), *_notes(result)])


def _range(work: Mapping[str, Any], key: str, form: str) -> str:
    value, low, high = (work[word][key] for word in ("value", "low", "high"))
    if value is None:
        return "-"
    bounds = "" if low is None or high is None else f" [{form.format(low)}, {form.format(high)}]"
    return form.format(value) + bounds


def _notes(result: Mapping[str, Any]) -> list[str]:
    p, area = result["p_error"], result["area"]
    made = {"saved": "P(error) as saved", "mean": "no P(error)"}.get(p["from"], f"P(error) {p['from']}")
    auc = "-" if p["auc"] is None else f"{p['auc']:.2f}"
    found = [
        f"{made} from {', '.join(p['inputs']) or 'nothing'}: AUC {auc} (.5: no better than chance), ECE {p['ece']:.3f}; "
        f"area under risk-coverage {area['risk_coverage']:.3f} (best {area['best']:.3f}, random {area['random']:.3f})"
    ]
    high = result["share"]["high"]
    if high is not None:
        found.append(f"plan with the upper end of the interval: {percent(high)} of the documents")
    return [*found, *result["notes"]]


def verdicts(result: Mapping[str, Any]) -> str:
    """What people found."""
    lines = [
        ["documents judged", str(result["documents"]) + _unfinished(result)],
        ["with an error", interval(result["wrong_documents"], percent=True)],
        ["fields judged", f"{result['fields']}, wrong {result['wrong_fields']}"],
        ["agreement with the scorer, by field", interval(result["agreement"], percent=True)],
        ["minutes a document", interval(result["minutes_each"])],
        ["minutes in all", number(result["minutes"], 1)],
    ]
    if result["usd"] is not None:
        lines.append(["dollars", f"${result['usd']:,.2f}"])
    parts = [rows(f"what people found in {result['option']} on {result['task']}", ["", "measured"], lines)]
    wrong = [[row["path"], row["n"], row["wrong"]] for row in result["by_field"] if row["wrong"]]
    if wrong:
        parts.append(rows("fields found wrong", ["field", "judged", "wrong"], wrong[:20]))
    if result["disagreements"]:
        cells = [
            [row["sample_id"], row["path"], row["person"], row["scorer"], _short(row["answer"]), _short(row["gold"])]
            for row in result["disagreements"][:20]
        ]
        head = ["document", "field", "person", "scorer", "answer", "gold"]
        parts.append(rows("where person and scorer differ: one of them is wrong", head, cells))
    return "\n".join(parts)


def _unfinished(result: Mapping[str, Any]) -> str:
    return f" ({result['unfinished']} not to their end)" if result["unfinished"] else ""


def _short(value: Any) -> str | None:
    return None if value is None else str(value)[:40]


# The page -----------------------------------------------------------------------------------------------------


def page(result: Mapping[str, Any], cards: Sequence[Mapping[str, Any]]) -> str:
    """One HTML file without anything from elsewhere: the documents, their fields to tick, and a button that downloads
    the verdicts."""
    template = Path(__file__).with_name("review.html").read_text(encoding="utf-8")
    about = {
        "run": result["run"],
        "option": result["option"],
        "content": result["answers_hash"],
        "task": f"{result['task']} ({result['split']})",
        "summary": _summary(result, len(cards)),
        "name": f"verdicts-{result['task']}",
    }
    filled = {name: _safe(value) for name, value in about.items()}
    filled["cards"] = "\n".join(_card(at, card) for at, card in enumerate(cards))
    for name, value in filled.items():  # what is filled in holds no mark of its own
        template = template.replace("{{" + name + "}}", value)
    return template


def _summary(result: Mapping[str, Any], shown: int) -> str:
    t = result["threshold"]
    above = "" if t is None else f" with P(error) above {t:.3f}"
    return (
        f"{result['sent']} of {result['n']} documents{above} go to a person for a mean error of at most "
        f"{100 * result['target']:g} % (1 - {result['quality']}); {shown} are shown here, the most suspect first"
    )


def _card(at: int, card: Mapping[str, Any]) -> str:
    name = _safe(card["sample_id"])
    reasons = "".join(f"<li>{_safe(one)}</li>" for one in card["reasons"]) or "<li>nothing in particular</li>"
    fields = "".join(_field(at, number, leaf) for number, leaf in enumerate(card["fields"]))
    klass = f' <span class="class">{_safe(card["data_class"])}</span>' if card["data_class"] else ""
    failed = f'<p class="fail">no answer: {_safe(card["failure"])}</p>' if card["failure"] else ""
    body = (
        '<table><thead><tr><th>field</th><th>answer</th><th>in the document</th><th class="gold">gold</th>'
        f'<th class="gold">scorer</th><th>verdict</th></tr></thead><tbody>{fields}</tbody></table>'
        if fields
        else ""
    )
    return (
        f'<section class="card" data-id="{name}" data-repeat="{int(card["repeat"])}" id="c{at}">'
        f'<h2>{name}{klass} <span class="p">P(error) {card["p_error"]:.3f}</span> <span class="state"></span></h2>'
        f'<ul class="why">{reasons}</ul>{failed}<div class="two"><div>{body}{_answer(card)}</div>{_document(card)}</div>'
        "</section>"
    )


def _field(card: int, at: int, leaf: Mapping[str, Any]) -> str:
    grounded = {True: "yes", False: "no", None: ""}[leaf.get("grounded")]
    ticks = "".join(
        f'<label><input type="radio" name="f{card}-{at}" value="{word}"> {word}</label>' for word in ("right", "wrong")
    )
    return (
        f'<tr data-at="{at}" data-path="{_safe(leaf["path"])}"><td>{_broken(leaf["path"])}</td>'
        f"<td>{_value(leaf.get('answer'))}</td>"
        f'<td class="{"no" if grounded == "no" else ""}">{grounded}</td><td class="gold">{_value(leaf.get("gold"))}</td>'
        f'<td class="gold">{_safe(leaf["outcome"])}</td><td class="ticks">{ticks}</td></tr>'
    )


def _answer(card: Mapping[str, Any]) -> str:
    if card["answer"] is None:
        return ""
    return f"<details><summary>the answer as it came</summary><pre>{_safe(card['answer'][:LONGEST])}</pre></details>"


def _document(card: Mapping[str, Any]) -> str:
    if card["text"] is None:
        return '<p class="soft">the document is not at hand</p>'
    cut = f"\n[{len(card['text']) - LONGEST:,} characters more]" if len(card["text"]) > LONGEST else ""
    return f'<pre class="doc" tabindex="0">{_safe(card["text"][:LONGEST] + cut)}</pre>'


def _broken(path: Any) -> str:
    """A long name may break after its parts."""
    return _safe(path).replace("_", "_<wbr>").replace(".", ".<wbr>")


def _value(value: Any) -> str:
    if value is None:
        return '<span class="soft">empty</span>'
    import json

    return _safe(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))


def _safe(value: Any) -> str:
    """Escaped for text and attributes; braces too, since the page is filled in by them."""
    return escape(str(value), quote=True).replace("{", "&#123;").replace("}", "&#125;")
