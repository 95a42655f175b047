"""The small baseline: a few regular expressions, no language model."""

import re
from typing import Any

from evals.metrics.normalise import Unparsed, normalise

DATE = r"([A-Z][a-z]+ \d{1,2}, \d{4}|\d{1,2}(?:st|nd|rd|th)? (?:day )?(?:of )?[A-Z][a-z]+,? \d{4})"
NAME = (
    r"((?:[A-Z][\w.&'\-]*,? ){1,7}(?:Inc|INC|LLC|Ltd|LTD|Corp|CORP|Corporation|CORPORATION|Limited|LIMITED|L\.?P)\b\.?)"
)
SPAN = r"((?:[a-z\-]+ \(\d+\)|\d+|one|two|three|six|ninety|thirty|sixty)[ \-](?:day|month|year)s?)"


def answer(text: str) -> dict[str, Any]:
    """The eight fields of one contract; null where no rule fires."""
    head = " ".join(text[:4000].split())
    body = " ".join(text.split())
    agreed = _date(rf"(?:dated|made|entered into|effective)[^.]{{0,40}}?{DATE}", head)
    names = dict.fromkeys(found.strip(" ,") for found in re.findall(NAME, head))
    return {
        "document_name": _first(r"\b((?:[A-Z][A-Z\-]+ ){1,6}AGREEMENT)\b", head)
        or _first(r"\b((?:[A-Z][a-z\-]+ ){1,5}Agreement)\b", head),
        "parties": [{"name": name} for name in list(names)[:2]],
        "agreement_date": agreed,
        "effective_date": _date(rf"{DATE}[^.]{{0,20}}[\"“]Effective Date", body) or agreed,
        "expiration_date": _date(rf"(?:expires? on|until|ending on|through) {DATE}", body),
        "renewal_term": _first(rf"(?:renew|extend)[^.]{{0,80}}?(?:successive|additional)[^.]{{0,20}}?{SPAN}", body),
        "notice_period": _first(rf"renew[^.]{{0,200}}?(?:at least|less than) {SPAN}", body),
        "governing_law": _first(
            r"laws? of (?:the )?(?:State of |Commonwealth of )?([A-Z][a-z]+(?: (?:York|Jersey|Carolina|Hampshire))?)",
            body,
        ),
    }


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1].strip() if found else None


def _date(pattern: str, text: str) -> str | None:
    found = _first(pattern, text)
    form = normalise(found, "date")
    return None if form is None or isinstance(form, Unparsed) else found
