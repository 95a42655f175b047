"""Whole contracts from hand-written clause banks, seeded: text and gold come from one `Facts` object.

Document i depends on (version, split, seed, i) alone, so that ten documents are the first ten of a hundred thousand.
"""

import functools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from evals.core import Sample

from . import facts as f
from .facts import Facts
from .layout import Section, assemble
from .noise import scanned
from .values import Style, add_months, show_date, show_days, show_money, show_months, style

GENERATOR_VERSION = "3"
FOLDER = Path(__file__).parent / "clauses"
SLOT = re.compile(r"\{\{([A-Z0-9_]+)\}\}")
EFFECTIVE_NAMES = {
    "dev": ["Effective Date", "Commencement Date"],
    "test": ["Start Date", "Operative Date", "Inception Date", "Date of Effect"],
}
SCHEDULES = {
    "dev": ["Schedule 1", "the Key Terms"],
    "test": ["Annex A", "the Particulars", "Appendix 2", "the Data Sheet"],
}
HARD = {"amendment", "defined_elsewhere", "relative_date", "ocr_noise", "foreign_format"}
AMENDABLE = ("term", "amount", "notice", "paydays", "cap", "law", "survival", "renewal")


@functools.cache
def bank() -> dict[str, Any]:
    """Every clause file, parsed once: `fields` (way -> split -> wordings), `topics`, `names`, `types`."""
    ways: dict[str, dict[str, list[str]]] = {}
    topics: list[dict[str, Any]] = []
    for path in sorted(FOLDER.glob("*.yaml")):
        data = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        if path.stem in ("fields", "devices", "amendments"):
            ways |= {
                key: {split: text.strip().split("\n") for split, text in value.items()} for key, value in data.items()
            }
        elif isinstance(data, list):
            topics += [{**topic, "scope": path.stem.startswith("scope_")} for topic in data]
    load = {name: yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8")) for name in ("names", "types")}
    return {"ways": ways, "topics": topics, "names": load["names"], "types": load["types"]}


def generate(*, split: str, size: int, seed: int) -> Iterator[Sample]:
    """Stream `size` documents of a split."""
    for i in range(size):
        yield Writer(split, seed, i).sample()


@dataclass
class Writer:
    """Writes one document."""

    split: str
    seed: int
    index: int
    sections: list[Section] = field(default_factory=list)
    terms: list[tuple[str, str]] = field(default_factory=list)
    """Rows of the schedule of terms, for values defined elsewhere."""
    offset_days: int = 0

    def __post_init__(self) -> None:
        self.rng = rng = random.Random(f"{GENERATOR_VERSION}|{self.split}|{self.seed}|{self.index}")
        self.bank = bank()
        self.names = self.bank["names"][self.split]
        self.kind = list(self.bank["types"])[self.index % len(self.bank["types"])]
        self.type = self.bank["types"][self.kind]
        self.devices = f.draw_devices(rng)
        if "defined_elsewhere" in self.devices and "relative_date" in self.devices and self.kind == "nda":
            self.devices -= {"defined_elsewhere"}
        self.absent = f.draw_absent(rng, self.devices)
        self.roles = tuple(rng.choice(self.type["roles"][self.split]))
        self.eff_name = rng.choice(EFFECTIVE_NAMES[self.split])
        self.fee = rng.choice(self.type["fee"]) if self.type["fee"] else "Fee"
        self.per = rng.choice(self.type.get("per", [""]))
        self.facts = self._facts()
        hard = bool(self.devices & HARD)
        self.style: Style = style(
            rng, foreign="foreign_format" in self.devices, hard=hard, currency=self.facts.currency
        )
        self.amended = self._amended()
        self.schedule_name = rng.choice(SCHEDULES[self.split])
        self.formula = self._formula()

    # What is true -----------------------------------------------------------------------------------------------

    def _facts(self) -> Facts:
        rng, absent, kind = self.rng, self.absent, self.kind
        signed = f.draw_signed(rng)
        self.start = self._start()
        effective = self._effective(signed)
        self.term_way = self._term_way(effective is None)
        months = (
            None
            if self.term_way is None
            else 0
            if self.term_way == "indefinite"
            else rng.choice([12, 24, 24, 36, 36, 48, 60, 84, 18, 30, 6])
        )
        if self.term_way in ("anniversary", "contract_year"):
            months = rng.choice([12, 24, 36, 48, 60])
        currency = rng.choice(["EUR", "CHF"]) if "foreign_format" in self.devices else rng.choice(f.CURRENCIES)
        price = f.draw_money(rng, *self.type["range"]) if self.type["payer"] else None
        invoiced = self.type["payer"] and kind not in ("employment", "loan")
        return Facts(
            kind=kind,
            title=rng.choice(self.type["titles"][self.split]),
            parties=f.draw_parties(rng, kind, self.roles, self.names, "multi_party" in self.devices),  # type: ignore[arg-type]
            signed=signed,
            effective=effective,
            end=f.ends(effective, months, day_before=self.term_way == "contract_year"),
            months=months,
            law=None if "law" in absent else rng.choice(self.names["laws"]),
            price=price,
            currency=currency,
            paydays=rng.choice([7, 10, 14, 15, 20, 30, 30, 45, 60, 75, 90])
            if invoiced and "paydays" not in absent
            else None,
            notice=None
            if "notice" in absent and months != 0
            else rng.choice([14, 15, 20, 30, 30, 45, 60, 90, 120, 180]),
            renewal=None if "renewal" in absent or not months else rng.random() < 0.5,
            cap=None if "cap" in absent or kind in ("employment", "loan") else f.draw_money(rng, 20000, 5000000),
            survival=None if "survival" in absent else rng.choice([0, 12, 24, 24, 36, 36, 60, 84, 18]),
        )

    def _start(self) -> str:
        if "effective" in self.absent:
            return "absent"
        if "relative_date" in self.devices:
            return self.rng.choice(["after_days", "first_of_month", "last_signature"])
        if "defined_elsewhere" in self.devices:
            return "ref"
        return self.rng.choice(["dated", "dated", "clause"])

    def _effective(self, signed: Any) -> Any:
        self.later = signed + timedelta(days=self.rng.randint(2, 19))
        self.offset_days = self.rng.choice([7, 10, 14, 20, 30, 45, 60, 90])
        return {
            "absent": None,
            "after_days": signed + timedelta(days=self.offset_days),
            "last_signature": self.later + timedelta(days=self.offset_days),
            "first_of_month": add_months(signed.replace(day=1), 1),
        }.get(self.start, signed + timedelta(days=self.rng.choice([0, 3, 17, 30, 48, -12])))

    def _term_way(self, no_start: bool) -> str | None:
        if no_start:
            return self.rng.choice(["length", "indefinite", None])
        if "relative_date" in self.devices and "amendment" not in self.devices:
            return self.rng.choice(["anniversary", "contract_year", "length"])
        if "amendment" in self.devices:
            return "length"
        return self.rng.choice(["length", "length_end", "length_end", "indefinite"])

    def _amended(self) -> dict[str, Any]:
        """Field -> what the body of the document says before its amendment."""
        if "amendment" not in self.devices:
            return {}
        x, rng = self.facts, self.rng
        old: dict[str, Any] = {"term": self._other_months(x.months), "survival": self._other_months(x.survival)}
        old |= {"amount": self._near(x.price), "cap": self._near(x.cap), "law": self._other_law()}
        old |= {
            "notice": self._other_days(x.notice),
            "paydays": self._other_days(x.paydays),
            "renewal": x.renewal is not None and not x.renewal,
        }
        said = {
            "term": x.months,
            "survival": x.survival,
            "amount": x.price,
            "cap": x.cap,
            "law": x.law,
            "notice": x.notice,
            "paydays": x.paydays,
        }
        usable = [name for name in AMENDABLE if said.get(name) or (name == "renewal" and x.renewal is not None)]
        chosen = rng.sample(usable, min(len(usable), rng.choice([2, 3, 3, 4])))
        return {name: old[name] for name in chosen}

    def _formula(self) -> int:
        """Now and then the cap is a multiple of the price that the document states."""
        x = self.facts
        usable = x.cap and x.price and "defined_elsewhere" in self.devices and not {"cap", "amount"} & set(self.amended)
        if not usable or self.rng.random() < 0.4:
            return 0
        factor = int(self.rng.choice([2, 3, 4]))
        self.facts = replace(x, cap=(x.price or Decimal(0)) * factor)
        return factor

    # How it is said ---------------------------------------------------------------------------------------------

    def say(self, way: str, **slots: str) -> str:
        """One wording of a way, its slots filled."""
        return self.fill(self.rng.choice(self.bank["ways"][way][self.split]), **slots)

    def say_some(self, way: str, count: int) -> list[str]:
        """So many different wordings of a way."""
        return [self.fill(text) for text in self.rng.sample(self.bank["ways"][way][self.split], count)]

    def fill(self, text: str, **slots: str) -> str:
        """Replace every slot; a value is put in as it is, whatever it holds."""
        filled = SLOT.sub(lambda hit: slots[hit[1]] if hit[1] in slots else self._slot(hit[1]), text)
        return re.sub(r"\b([Aa]) (?=[AEIO][a-z])", r"\1n ", re.sub(r" +(?=[ ,.;])", "", filled))

    def _slot(self, name: str) -> str:
        x, rng = self.facts, self.rng
        payer = self.roles["AB".index(self.type["payer"] or "B")]
        fixed = {
            "A": self.roles[0],
            "B": self.roles[1],
            "EFFNAME": self.eff_name,
            "FEE": self.fee,
            "PER": self.per,
            "TITLE": x.title,
        }
        fixed |= {"PAYER": payer, "PAYEE": next(role for role in self.roles if role != payer)}
        if name in fixed:
            return fixed[name]
        if name in ("DATE", "PDATE"):
            return self.date(x.signed - timedelta(days=rng.randint(40, 900)))
        if name == "LDATE":
            return self.date(x.signed + timedelta(days=rng.randint(200, 2000)))
        if name == "XMONEY3":
            return self.money((x.price or Decimal(50000)) * rng.randint(1, 4) // 100 or Decimal(40))
        if name in ("AMOUNT", "XMONEY", "XMONEY2"):
            return self.money(self._near(x.price or Decimal(50000)))
        if name == "XFOREIGN":
            return show_money(
                self._near(x.price or Decimal(50000)),
                rng.choice([c for c in ("USD", "EUR", "GBP") if c != x.currency]),
                "code",
            )
        if name in ("DAYS", "XDAYS", "XDAYS2"):
            days = self._other_days(x.notice if rng.random() < 0.5 else x.paydays)
            return str(days) if name == "DAYS" else show_days(days, self.style.counts)
        return {
            "XTERM": lambda: self.months(self._other_months(x.months or 24)),
            "XLAW": self._other_law,
            "XNAME": lambda: self._stranger(),
            "CITY": lambda: rng.choice(self.names["cities"]),
            "PERSON": lambda: f.draw_person(rng, self.names),
            "N": lambda: str(rng.randint(2, 20)),
        }[name]()

    def date(self, day: Any) -> str:
        """A day in the document's style."""
        return show_date(day, self.style.dates)

    def money(self, amount: Decimal) -> str:
        """An amount in the document's style and currency."""
        return show_money(amount, self.facts.currency, self.style.money)

    def months(self, months: int) -> str:
        """A duration in the document's style."""
        return show_months(months, self.style.counts)

    def days(self, days: int) -> str:
        """A number of days in the document's style."""
        return show_days(days, self.style.counts)

    def _near(self, amount: Decimal | None) -> Decimal:
        factor = self.rng.choice(["0.1", "0.5", "0.8", "0.9", "1.1", "1.2", "1.25", "1.5", "2", "3", "10"])
        value = (amount or Decimal(0)) * Decimal(factor)
        return value.quantize(Decimal(1)) if value >= 10 else value

    def _other_days(self, days: int | None) -> int:
        return self.rng.choice(
            [
                n
                for n in (5, 7, 10, 14, 15, 20, 21, 30, 45, 60, 90, 120, 180)
                if n not in (days, self.facts.notice, self.facts.paydays)
            ]
        )

    def _other_months(self, months: int | None) -> int:
        return self.rng.choice(
            [
                n
                for n in (6, 12, 18, 24, 36, 48, 60, 84, 120)
                if n not in (months, self.facts.months, self.facts.survival)
            ]
        )

    def _other_law(self) -> str:
        return str(self.rng.choice([law for law in self.names["laws"] if law != self.facts.law]))

    def _stranger(self) -> str:
        taken = {name.split()[0] for name, _ in self.facts.parties}
        while (name := f.draw_name(self.rng, self.names)).split()[0] in taken:
            pass
        return name

    # The document -----------------------------------------------------------------------------------------------

    def sample(self) -> Sample:
        """The document with its gold and tags."""
        from .clauses_of import write

        text = assemble(self, write(self))
        if "ocr_noise" in self.devices:
            keep = [
                self.facts.title,
                self.facts.title.upper(),
                *(p for party in self.facts.parties for p in party),
                *self.names["laws"],
            ]
            text = scanned(text, self.rng, [*keep, *re.findall(r"[$€£]?\d[\d.,]*\d(?:\s?[€])?|\d", text)])
        if not self.terms and not self.formula:
            self.devices -= {"defined_elsewhere"}
        tags = (self.kind, *sorted(self.devices), "complex" if self.devices else "simple")
        name = f"legal-{self.split}-{self.index:06d}"
        return Sample(id=name, inputs={"text": text}, target=self.facts.gold(), tags=tags)
