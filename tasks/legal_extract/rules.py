"""The honest baseline: what an engineer writes in an afternoon with the `dev` documents open, no language model."""

import re
from typing import Any

MONTHS = "january february march april may june july august september october november december".split()
DATE = r"(?:(?:the )?\d{1,2}(?:st|nd|rd|th)?(?: day of)? [A-Z][a-z]+,? \d{4}|[A-Z][a-z]+ \d{1,2}, \d{4}|\d{4}-\d{2}-\d{2}|\d{2}/\d{2}/\d{4})"
MONEY = r"(?:[$€£] ?[\d,]+(?:\.\d+)?|(?:USD|EUR|GBP|CHF) [\d,]+(?:\.\d+)?|[\d,]+(?:\.\d+)? (?:USD|EUR|GBP|CHF))"
COUNT = r"(?:[a-z\-]+ \((\d+)\)|(\d+)|([a-z\-]+))"
WORDS = {w: i for i, w in enumerate("zero one two three four five six seven eight nine ten eleven twelve".split())}
WORDS |= {"fifteen": 15, "eighteen": 18, "twenty": 20, "thirty": 30, "forty-five": 45, "sixty": 60, "ninety": 90}
CURRENCY = {"$": "USD", "€": "EUR", "£": "GBP"}


def answer(text: str) -> dict[str, Any]:
    """The twelve fields of one contract; null where no rule fires."""
    start = _date(
        _first(
            rf"(?:takes effect on|effective date of this Agreement is|with effect from|effective|as of) ({DATE})", text
        )
    )
    start = start or _date(_first(rf'({DATE}) \(the "Effective Date"\)', text))
    length = _first(
        rf"(?:term of|term of this Agreement is|term is|continues for|remains in force for|lasts) ({COUNT} (?:year|month)s?)",
        text,
    )
    return {
        "document_title": _title(text),
        "parties": _parties(text),
        "effective_date": start,
        "expiration_date": _date(_first(rf"(?:expires on|until and including|last day is|ends on) ({DATE})", text)),
        "term": _duration(length)
        or ("indefinite" if re.search(r"unlimited duration|without a fixed end|No term is fixed", text) else None),
        "governing_law": _first(
            r"(?:laws? of|law of) (?:the )?(?:State of )?([A-Z][a-z]+(?: (?:and )?[A-Z][a-z]+)*)", text
        ),
        "payment_amount": _money(
            _first(rf"(?:[Ff]ee|Charge|Rent|Salary|Price|sum|Principal|Retainer)\b[^.\n]{{0,40}}? ({MONEY})", text)
        ),
        "payment_terms_days": _days(
            _first(rf"(?:invoices?|Invoices|Payment terms)[^.]{{0,40}}?(?:within|due|:) ({COUNT}) days", text)
        ),
        "notice_period_days": _days(_first(rf"(?:without cause on|notice of|at least) ({COUNT}) days", text)),
        "auto_renewal": _renewal(text),
        "liability_cap": _money(
            _first(rf"(?:liability|liable)[^.]{{0,90}}?(?:exceed|limited to|more than) ({MONEY})", text)
        ),
        "confidentiality_survival": _survival(text),
    }


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found else None


def _title(text: str) -> str | None:
    return next((line.strip(" =-") for line in text.splitlines() if line.strip(" =-")), None)


def _parties(text: str) -> list[dict[str, str]]:
    head = text[:1500]
    found = re.findall(r'((?:[A-Z][\w\-&]*\.?,? ?){1,6}?),? \((?:the )?"([A-Z][\w \-]+)"\)', head)
    return [
        {"name": name.strip(" ,"), "role": role}
        for name, role in found
        if "Date" not in role and "Agreement" not in role
    ][:6]


def _date(text: str | None) -> str | None:
    if text is None or re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return text
    if numeric := re.fullmatch(r"(\d{2})/(\d{2})/(\d{4})", text):
        return f"{numeric[3]}-{numeric[1]}-{numeric[2]}"
    month = next((i for i, name in enumerate(MONTHS, 1) if name in text.lower()), None)
    numbers = [int(n) for n in re.findall(r"\d+", text)]
    return f"{max(numbers):04d}-{month:02d}-{min(numbers):02d}" if month and len(numbers) == 2 else None


def _money(text: str | None) -> str | None:
    if text is None:
        return None
    currency = next((code for sign, code in CURRENCY.items() if sign in text), None) or str(_first("([A-Z]{3})", text))
    return f"{currency} {float(re.sub(r'[^0-9.]', '', text) or 0):.2f}"


def _count(text: str) -> int | None:
    digits = re.search(r"\d+", text)
    return int(digits[0]) if digits else WORDS.get(text.split()[0].lower())


def _days(text: str | None) -> int | None:
    return None if text is None else _count(text)


def _duration(text: str | None) -> str | None:
    count = _count(text) if text else None
    return f"{count} {'years' if 'year' in str(text) else 'months'}" if count else None


def _renewal(text: str) -> bool | None:
    if re.search(r"not renew automatically|no automatic renewal|extended only where", text):
        return False
    return True if re.search(r"renews? automatically|renewed automatically|extends itself", text) else None


def _survival(text: str) -> str | None:
    if re.search(r"without limit in time|secret indefinitely|in perpetuity", text):
        return "indefinite"
    return _duration(_first(rf"(?:survive for|term and for|for a further) ({COUNT} (?:year|month)s?)", text))
