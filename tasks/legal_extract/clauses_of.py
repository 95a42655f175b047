"""Which clauses a document has, field by field, in the order in which its sections are printed."""

from typing import TYPE_CHECKING

from .layout import Section
from .values import ORDINALS, possessive

if TYPE_CHECKING:
    from .generate import Writer

HEADINGS = {
    "start": {"dev": ["Commencement"], "test": ["Entry into Force", "Coming into Effect", "Start"]},
    "term": {
        "dev": ["Term and Termination", "Duration"],
        "test": ["Life of this Agreement", "Period and Ending", "Currency of the Agreement"],
    },
    "money": {
        "dev": ["Fees and Payment", "Price"],
        "test": ["Consideration", "Financial Terms", "Money Matters", "What is Paid"],
    },
    "cap": {"dev": ["Limitation of Liability"], "test": ["Ceiling on Claims", "Extent of Liability", "Damages"]},
    "secret": {"dev": ["Confidentiality"], "test": ["Secrecy", "Protection of Information", "Undisclosed Matters"]},
    "law": {"dev": ["Governing Law"], "test": ["Legal Order", "Applicable Rules of Law", "Law and Forum"]},
    "others": {"dev": ["Other Provisions"], "test": ["Further Matters", "Particular Points", "Various"]},
}
LABELS = {
    "notice": {"dev": "Notice (termination without cause)", "test": "Period of notice where no cause is given"},
    "paydays": {"dev": "Invoices payable within", "test": "Time allowed for payment of an invoice"},
    "cap": {"dev": "Limit of liability (overall)", "test": "Highest total of all claims"},
    "law": {"dev": "Governing law", "test": "Legal system chosen"},
}
FACTORS = {2: "twice", 3: "three times", 4: "four times"}
DATES, AMOUNTS = "distractor_dates", "distractor_amounts"


def write(w: "Writer") -> list[Section]:
    """Every section of the document but head, signatures and schedules."""
    fields = [_start(w), _term(w), _money(w), _cap(w), _secret(w), _law(w), _others(w)]
    own = [section for section in fields if section and section.clauses]
    scope, common = _topics(w)
    if w.rng.random() < 0.5:
        own = [own[0], *w.rng.sample(own[1:], len(own) - 1)]
    return _woven(w, own, scope, common)


def _section(w: "Writer", name: str, clauses: list[str], *, holds: tuple[str, ...] = ()) -> Section:
    return Section(heading=w.rng.choice(HEADINGS[name][w.split]), clauses=clauses, holds=holds)


def _with_near(w: "Writer", said: list[str], near: list[str]) -> list[str]:
    """Near misses go before what is true more often than behind it."""
    return [*near, *said] if w.rng.random() < 0.65 else [*said, *near]


def _start(w: "Writer") -> Section:
    x, clauses = w.facts, []
    if w.start == "clause":
        clauses = [w.say("effective.clause", EFF=w.date(x.effective))]
    elif w.start in ("after_days", "last_signature", "first_of_month"):
        clauses = [w.say(f"effective.{w.start}", OFFSET=w.days(w.offset_days))]
    elif w.start == "absent":
        clauses = [w.say("absent.effective")]
    elif w.start == "ref":
        clauses = [w.say("ref.effective", SOURCE=_defined(w, w.eff_name, w.date(x.effective)))]
    near = w.say_some("near.effective", w.rng.choice([1, 2])) if DATES in w.devices else []
    return _section(w, "start", _with_near(w, clauses, near))


def _term(w: "Writer") -> Section:
    x, old = w.facts, w.amended
    said: list[str] = []
    months = old.get("term", x.months)
    if w.term_way is None:
        said.append(w.say("absent.term"))
    else:
        slots = {"TERM": w.months(months)} if months else {}
        if x.end:
            slots["END"] = w.date(x.end)
        if w.term_way in ("anniversary", "contract_year") and months:
            slots["ORDINAL"] = ORDINALS[months // 12]
        said.append(w.say(f"term.{w.term_way}", **slots))
    if DATES in w.devices and w.term_way != "indefinite":
        said = _with_near(w, said, [w.say("near.term")])
    renewal = old.get("renewal", x.renewal)
    if x.renewal is not None:
        said.append(w.say("renewal.yes" if renewal else "renewal.no"))
    elif x.months and "renewal" in w.absent:
        said.append(w.say("absent.renewal"))
    notice = old.get("notice", x.notice)
    near = [w.say("near.notice")] if w.devices & {DATES, "absent_fields", "amendment"} else []
    if x.notice is None:
        said += _with_near(w, [w.say("absent.notice")], [])
    elif _elsewhere(w, "notice"):
        said += _with_near(
            w, [w.say("ref.notice", SOURCE=_defined(w, LABELS["notice"][w.split], w.days(x.notice)))], near
        )
    else:
        days = w.days(notice)
        said += _with_near(w, [w.say("notice.yes", NOTICE=days, NOTICE_P=possessive(days))], near)
    return _section(w, "term", said, holds=("term", "notice", "renewal"))


def _money(w: "Writer") -> Section | None:
    x, old = w.facts, w.amended
    if x.price is None:
        return None
    way = f"amount.{w.kind if w.kind in ('lease', 'employment', 'loan') else 'general'}"
    if _elsewhere(w, "amount"):
        per = f" {w.per}" if w.per else ""
        said = [w.say("ref.amount", SOURCE=_defined(w, w.fee, f"{w.money(x.price)}{per}"))]
    else:
        said = [w.say(way, PRICE=w.money(old.get("amount", x.price)))]
    if AMOUNTS in w.devices:
        said = _with_near(w, said, w.say_some("near.amount", w.rng.choice([1, 2, 2])))
    if "multi_currency" in w.devices:
        said = _with_near(w, said, [w.say("near.currency")])
    days = old.get("paydays", x.paydays)
    near = (
        [w.say("near.paydays")]
        if w.devices & {AMOUNTS, "absent_fields", "amendment"} and w.kind not in ("employment", "loan")
        else []
    )
    if x.paydays is not None and _elsewhere(w, "paydays"):
        said += _with_near(
            w, [w.say("ref.paydays", SOURCE=_defined(w, LABELS["paydays"][w.split], w.days(x.paydays)))], near
        )
    elif x.paydays is not None:
        said += _with_near(w, [w.say("paydays.yes", PAYDAYS=w.days(days))], near)
    elif "paydays" in w.absent and w.kind not in ("employment", "loan"):
        said += _with_near(w, [w.say("absent.paydays")], near)
    return _section(w, "money", said, holds=("amount", "paydays"))


def _cap(w: "Writer") -> Section | None:
    x = w.facts
    near = [w.say("near.cap")] if AMOUNTS in w.devices and w.kind not in ("employment", "loan") else []
    if x.cap is None:
        return (
            _section(w, "cap", [*near, w.say("absent.cap")])
            if "cap" in w.absent and w.kind not in ("employment", "loan")
            else None
        )
    if _elsewhere(w, "cap"):
        said = w.say("ref.cap", SOURCE=_defined(w, LABELS["cap"][w.split], w.money(x.cap)))
    elif w.formula:
        said = w.say("cap.formula", FACTOR=FACTORS[w.formula])
    else:
        said = w.say("cap.yes", CAP=w.money(w.amended.get("cap", x.cap)))
    return _section(w, "cap", _with_near(w, [said], near), holds=("cap",))


def _secret(w: "Writer") -> Section | None:
    x = w.facts
    near = [w.say("near.survival")] if w.devices & {DATES, "absent_fields", "amendment"} else []
    if x.survival is None:
        said = w.say("absent.survival")
    elif not x.survival:
        said = w.say("survival.indefinite")
    else:
        said = w.say("survival.yes", SURV=w.months(w.amended.get("survival", x.survival)))
    return _section(w, "secret", _with_near(w, [said], near), holds=("survival",))


def _law(w: "Writer") -> Section | None:
    x = w.facts
    near = [w.say("near.law")] if w.devices & {DATES, "multi_currency", "amendment", "multi_party"} else []
    if x.law is None:
        said = w.say("absent.law")
    elif _elsewhere(w, "law"):
        said = w.say("ref.law", SOURCE=_defined(w, LABELS["law"][w.split], x.law))
    else:
        said = w.say("law.yes", LAW=str(w.amended.get("law", x.law)))
    return _section(w, "law", _with_near(w, [said], near), holds=("law",))


def _others(w: "Writer") -> Section | None:
    said = [w.say("affiliate", XNAME=w._stranger())] if "multi_party" in w.devices else []
    said += [w.say("near.currency") for _ in range("multi_currency" in w.devices)]
    return _section(w, "others", said) if said else None


def _elsewhere(w: "Writer", name: str) -> bool:
    """Is this value kept for the schedule? Never one that an amendment changes."""
    return "defined_elsewhere" in w.devices and name not in w.amended and w.rng.random() < 0.6


def _defined(w: "Writer", label: str, value: str) -> str:
    """Put a row into the schedule of terms and say where it stands."""
    w.terms.append((label, value))
    name = w.schedule_name
    return w.rng.choice(
        [f"item {len(w.terms)} of {name}", f"{name}, item {len(w.terms)}", f"{name} (no. {len(w.terms)})"]
    )


def _topics(w: "Writer") -> tuple[list[Section], list[Section]]:
    """Scope and boilerplate sections, drawn without replacement up to a log-normal length."""
    wanted = min(max(int(w.rng.lognormvariate(6.3, 0.85)), 110), 5300)
    usable = [t for t in w.bank["topics"] if _fits(w, t)]
    scope = [t for t in usable if t["scope"]]
    common = [t for t in usable if not t["scope"]]
    w.rng.shuffle(scope)
    w.rng.shuffle(common)
    found: tuple[list[Section], list[Section]] = ([], [])
    words = 0
    order = [*scope[:2], *_mixed(scope[2:], common)]
    for topic in order:
        if words >= wanted:
            break
        text = w.fill(w.rng.choice(topic[w.split]))
        words += len(text.split())
        found[0 if topic["scope"] else 1].append(Section(heading=w.rng.choice(topic["heading"]), clauses=[text]))
    return found


def _mixed(scope: list[dict], common: list[dict]) -> list[dict]:  # type: ignore[type-arg]
    """One more scope topic for every two of boilerplate, as far as they go."""
    mixed = []
    for i, topic in enumerate(common):
        mixed.append(topic)
        if i % 2 and scope:
            mixed.append(scope.pop())
    return [*mixed, *scope]


def _fits(w: "Writer", topic: dict) -> bool:  # type: ignore[type-arg]
    if topic["types"] != ["all"] and "all" not in topic["types"] and w.kind not in topic["types"]:
        return False
    if topic["topic"] == "order_of_precedence" and "amendment" in w.devices:
        return False
    carries = topic["device"] or (
        AMOUNTS
        if any("{{AMOUNT}}" in t for t in topic[w.split])
        else DATES
        if any("{{DATE}}" in t for t in topic[w.split])
        else None
    )
    return carries is None or carries in w.devices


def _woven(w: "Writer", own: list[Section], scope: list[Section], common: list[Section]) -> list[Section]:
    """The start first, then scope, the fields' sections spread among the boilerplate."""
    first, tail = own[:1], list(common)
    spots = sorted(w.rng.randint(0, len(tail)) for _ in own[1:])
    for shift, (spot, section) in enumerate(zip(spots, own[1:], strict=True)):
        tail.insert(spot + shift, section)
    return [*scope[:1], *first, *scope[1:], *tail] if w.rng.random() < 0.5 else [*first, *scope, *tail]
