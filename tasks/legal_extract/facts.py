"""What is true of one document: the single source from which both its text and its gold are made."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from .values import add_months, gold_money, gold_months

DEVICES = (
    *("distractor_dates", "distractor_amounts", "amendment", "defined_elsewhere", "relative_date"),
    *("absent_fields", "multi_party", "multi_currency", "ocr_noise", "foreign_format"),
)
CURRENCIES = ("USD", "USD", "EUR", "GBP", "CHF")
CAN_BE_ABSENT = ("effective", "renewal", "notice", "paydays", "cap", "survival", "law")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The agreement in force, amendments applied. `None`: the document does not say."""

    kind: str
    title: str
    parties: tuple[tuple[str, str], ...]
    signed: date
    effective: date | None
    end: date | None
    months: int | None
    """Length of the term; 0 = indefinite."""
    law: str | None
    price: Decimal | None
    currency: str
    paydays: int | None
    notice: int | None
    renewal: bool | None
    cap: Decimal | None
    survival: int | None
    """Months; 0 = indefinite."""

    def gold(self) -> dict[str, Any]:
        """The twelve fields of `schema.json`."""
        return {
            "document_title": self.title,
            "parties": [{"name": name, "role": role} for name, role in self.parties],
            "effective_date": self.effective.isoformat() if self.effective else None,
            "expiration_date": self.end.isoformat() if self.end else None,
            "term": gold_months(self.months),
            "governing_law": self.law,
            "payment_amount": gold_money(self.price, self.currency),
            "payment_terms_days": self.paydays,
            "notice_period_days": self.notice,
            "auto_renewal": self.renewal,
            "liability_cap": gold_money(self.cap, self.currency),
            "confidentiality_survival": gold_months(self.survival),
        }


def draw_devices(rng: random.Random) -> frozenset[str]:
    """Simple documents have no device; complex ones two to five."""
    if rng.random() < 0.4:
        return frozenset()
    return frozenset(rng.sample(DEVICES, rng.choice([2, 3, 3, 4, 4, 5])))


def draw_money(rng: random.Random, low: int, high: int) -> Decimal:
    """An amount as contracts have them: mostly round, log-uniform in the range."""
    value = low * (high / low) ** rng.random()
    step = 10 ** max(len(str(int(value))) - rng.choice([2, 2, 3]), 0)
    amount = Decimal(int(value) // step * step or step)
    return amount + (Decimal(rng.choice(["0.50", "0.75", "0.20"])) if rng.random() < 0.08 else 0)


def draw_name(rng: random.Random, names: Mapping[str, Any]) -> str:
    """A company: stem, mostly a trade, legal form."""
    trade = f" {rng.choice(names['trades'])}" if rng.random() < 0.7 else ""
    return f"{rng.choice(names['stems'])}{trade} {rng.choice(names['suffixes'])}"


def draw_parties(
    rng: random.Random, kind: str, roles: tuple[str, str], names: Mapping[str, Any], many: bool
) -> tuple[tuple[str, str], ...]:
    """Two parties, three to five where the document is one of many; never the same name twice."""
    parties: list[tuple[str, str]] = []
    extra = (
        ["Guarantor", "Co-Obligor", "Security Trustee", "Parent"]
        if kind in ("loan", "lease")
        else ["Guarantor", "Parent", "Affiliate Party", "Sponsor"]
    )
    wanted = [*roles, *(rng.sample(extra, rng.choice([1, 1, 2, 3])) if many else ())]
    for role in wanted:
        while True:
            person = (kind == "employment" and role == roles[1]) or (
                kind == "consulting" and role == roles[0] and rng.random() < 0.4
            )
            name = draw_person(rng, names) if person else draw_name(rng, names)
            if name.split()[0] not in {n.split()[0] for n, _ in parties}:
                break
        parties.append((name, role))
    return tuple(parties)


def draw_person(rng: random.Random, names: Mapping[str, Any]) -> str:
    """First and last name."""
    return f"{rng.choice(names['first'])} {rng.choice(names['last'])}"


def draw_absent(rng: random.Random, devices: frozenset[str]) -> frozenset[str]:
    """Which fields the document keeps silent about, with a clause beside each that tempts to invent."""
    if "absent_fields" not in devices:
        return frozenset()
    choices = [name for name in CAN_BE_ABSENT if name != "effective" or "relative_date" not in devices]
    return frozenset(rng.sample(choices, rng.choice([2, 3, 3, 4])))


def draw_signed(rng: random.Random) -> date:
    """A working life of contracts: 2012 to 2025."""
    return date(2012, 1, 1) + timedelta(days=rng.randrange(14 * 365))


def ends(effective: date | None, months: int | None, *, day_before: bool) -> date | None:
    """Effective date plus term; the day before where the document counts in contract years."""
    if effective is None or not months:
        return None
    return add_months(effective, months) - timedelta(days=int(day_before))
