"""A bench on a terminal and in a notebook: one at a time and all at once, then every rate, and what it comes to."""

from collections.abc import Mapping, Sequence
from typing import Any

from evals.report import console
from evals.report.comparison import clean

CLOSED = ("load", "under way", "n", "failed", "docs/s [95 %]", "p50 s", "p95 s [95 %]", "TTFT", "TPOT", "tokens/s", "peak MB", "J/doc")  # fmt: skip
OPEN = ("offered/s", "n", "failed", "goodput/s", "in time [95 %]", "left over/s", "lag p99", "tokens/s", "J/doc", "verdict")  # fmt: skip
WAITS = ("offered/s", "p50 s [95 %]", "p95 s [95 %]", "p99 s [95 %]", "TTFT", "TPOT")
NAMES = {"single_stream": "one at a time", "offline": "all at once"}


def text(result: Mapping[str, Any]) -> str:
    """All of it, as printed."""
    parts = []
    for title, columns, lines in tables(result):
        parts += [title, console.rows("", columns, lines), ""]
    return "\n".join([*parts, *map(clean, footnotes(result)), "", clean(result["sentence"]), "", str(result["run"])])


def html(result: Mapping[str, Any]) -> str:
    """The same for a notebook; everything is escaped."""
    from html import escape

    from evals.report import html_compare

    parts = [f'<div style="font-weight:600">{escape(result["sentence"])}</div>']
    for title, columns, lines in tables(result):
        parts += [f'<div style="margin-top:.6em">{escape(title)}</div>', html_compare.table(columns, lines)]
    parts += [f'<div style="opacity:.75;font-size:90%">{escape(line)}</div>' for line in footnotes(result)]
    return f'<div style="font-variant-numeric:tabular-nums;overflow-x:auto">{"".join(parts)}</div>'


def line(load: Mapping[str, Any]) -> str:
    """One load in a line, for whoever waits."""
    p95, rate = load["latency_s"]["p95"]["value"], load["throughput_docs_per_s"]["value"]
    shown = f"{console.seconds(p95)} s"
    name = (
        f"server, {_short(load['rate_docs_per_s'])} docs/s"
        if load["loop"] == "open"
        else load["load"].replace("_", " ")
    )
    said = f"{name}: {load['answered']:,} of {load['n']:,} answered, {_short(rate)} docs/s"
    if load["load"] != "offline":  # all at once, they wait by design
        said += f", p95 {shown}"
    if load["loop"] == "closed":
        return said
    if load["void"]:
        return f"{said}: void, {load['void']}"
    if load["sustained"] is None:
        return f"{said}: no answer counts"
    share = load["share"]["value"]
    grows = ", the backlog grows" if load["backlog"]["growing"] else ""
    inside = "-" if share is None else f"{100 * share:.1f} %"
    return f"{said}, {inside} inside the target{grows}: {'sustained' if load['sustained'] else 'not sustained'}"


def tables(result: Mapping[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Title, columns and lines. Closed and open loops stand apart: their seconds are not of one kind."""
    closed = [load for load in result["loads"] if load["loop"] == "closed"]
    opened = sorted((one for one in result["loads"] if one["loop"] == "open"), key=lambda one: one["rate_docs_per_s"])
    name = f"{clean(str(result['option']))} on {clean(str(result['task']))}"
    found = []
    if closed:
        title = f"{name}: closed loop (the next is sent when one is answered; seconds from the send)"
        found.append((title, *_told(CLOSED, [_closed(one) for one in closed])))
    if opened:
        title = f"{name}: open loop (Poisson arrivals; target {_target(result)} from the scheduled send)"
        found.append((title, *_told(OPEN, [_open(one) for one in opened])))
        waits = [_waits(one) for one in opened if not one["void"]]
        found += [("seconds from the scheduled send", *_told(WAITS, waits))] if waits else []
    return found


def _told(columns: Sequence[str], lines: list[list[str]]) -> tuple[list[str], list[list[str]]]:
    """The columns that say something: not those of dashes alone, nor of failures where there is none."""
    kept = [at for at, name in enumerate(columns)
            if any(line[at] != ("0" if name == "failed" else "-") for line in lines)]  # fmt: skip
    return [columns[at] for at in kept], [[line[at] for at in kept] for line in lines]


def sentence(result: Mapping[str, Any]) -> str:
    """`fake sustains 72 docs/s [68, 76] with 95 % of the answers inside 0.3 s: ...`."""
    mu, name = result["mu_docs_per_s"], str(result["option"])
    if mu["value"] is None:
        bound = "" if mu["high"] is None else f", below {_short(mu['high'])} docs/s"
        return f"mu of {name} was not found{bound}: {result['why']}."
    most = mu["high"]
    word = f"{_short(mu['value'])} docs/s" if most is not None else f"at least {_short(mu['value'])} docs/s"
    bounds = f" [{_short(mu['low'])}, {_short(most)}]" if most is not None else f" [{_short(mu['low'])}, not bounded]"
    share = f"{100 * result['share']:g} % of the {result['counts']} inside {_target(result)}"
    return f"mu of {name} is {word}{bounds}, with {share}: {result['why']}."


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """What the columns are, where joules are from, and the notes."""
    lines = [f"target: p95 within {_target(result)} ({result['target']['from']})"] if result["target"]["p95_s"] else []
    loads = result["loads"]
    alone = next((one for one in loads if one["load"] == "single_stream"), None)
    if alone and alone["latency_note"]:
        lines.append(f"one at a time: {alone['latency_note']}")
    if result["load_s"] is not None:
        lines.append("TTFT, TPOT: medians in seconds, to the first token and a token after it; tokens/s: in + out")
        lines.append(f"load time, once: {console.seconds(result['load_s'])} s; warm-up excluded")
    if any(load["loop"] == "open" for load in loads):
        lines.append(
            f"in time: share of the {result['counts']} (and failures) inside the target, Wilson; goodput: valid and in time; "
            "left over: by how much the documents under way grow a second; void: the load generator was late, not used; n: "
            "those that came after the first target and before the last one, while as many are under way as there will be"
        )
    lines += _lengths(loads)
    sources = {load["energy"]["source"]: load["energy"]["provenance"] for load in loads if load["energy"]}
    lines += [
        f"{'* ' if provenance == 'declared' else ''}J/doc: {provenance}, {source}"
        for source, provenance in sources.items()
    ]
    if loads and not sources:
        lines.append("J/doc: not measured (neither RAPL nor NVML can be read here); machine.watts=... declares it")
    return [*lines, *result["notes"]]


def _lengths(loads: Sequence[Mapping[str, Any]]) -> list[str]:
    """Short documents beside long ones, under the highest rate that was sustained."""
    held = [load for load in loads if load.get("sustained") and load.get("latency_by_length")]
    if not held:
        return []
    load = max(held, key=lambda one: one["rate_docs_per_s"])
    halves = load["latency_by_length"]
    short, long = (_interval(halves[name]["p95"], console.seconds) for name in ("short", "long"))
    return [
        f"at {_short(load['rate_docs_per_s'])} docs/s, p95 of the shorter half (to {halves['split_tokens']:,.0f} prompt "
        f"tokens) {short} s, of the longer half {long} s"
    ]


def rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One flat row a load, for a spreadsheet."""
    found = []
    for load in result["loads"]:
        row = {"option": result["option"], "task": result["task"], "load": load["load"], "loop": load["loop"]}
        row |= {name: load.get(name) for name in ("rate_docs_per_s", "concurrency", "n", "answered", "failed", "valid")}
        row |= _spread("throughput_docs_per_s", load["throughput_docs_per_s"])
        row["goodput_docs_per_s"] = load["goodput_docs_per_s"]
        row |= _spread("in_time_share", load["share"] or {})
        for name in ("p50", "p95", "p99"):
            row |= _spread(f"latency_{name}_s", load["latency_s"][name])
        row |= {f"{name}_p50_s": load[f"{name}_s"]["p50"]["value"] for name in ("ttft", "tpot")}
        row |= {f"{name}_tokens_per_s": load["tokens_per_s"][name] for name in ("prompt", "output")}
        row |= {name: load.get(name) for name in ("lag_p99_s", "loop_lag_p99_s", "peak_memory_mb")}
        row["joules_per_doc"] = (load["energy"] or {}).get("joules_per_doc")
        found.append(row | {name: load.get(name) for name in ("void", "sustained")})
    return found


def _spread(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name}{end and '_' + end}": found.get(end or "value") for end in ("", "low", "high")}


def _closed(load: Mapping[str, Any]) -> list[str]:
    alone = load["load"] == "single_stream"
    return [
        NAMES[load["load"]],
        str(load["concurrency"]),
        f"{load['n']:,}",
        f"{load['failed']:,}",
        _interval(load["throughput_docs_per_s"], _short),
        console.seconds(load["latency_s"]["p50"]["value"]) if alone else "-",  # all at once, they wait by design
        _interval(load["latency_s"]["p95"], console.seconds) if alone else "-",
        console.seconds(load["ttft_s"]["p50"]["value"]) if alone else "-",
        console.seconds(load["tpot_s"]["p50"]["value"]),
        _tokens(load),
        console.number(load["peak_memory_mb"], 0),
        _joules(load),
    ]


def _open(load: Mapping[str, Any]) -> list[str]:
    lag, share = load["lag_p99_s"], load["share"]
    places = 1 if share["value"] is not None and share["value"] > 0.9 else 0
    percent = [100 * share[end] if share[end] is not None else None for end in ("value", "low", "high")]
    shown = [console.number(part, places) for part in percent]
    return [
        _short(load["rate_docs_per_s"]),
        f"{load['n']:,}",
        f"{load['failed']:,}",
        _short(load["goodput_docs_per_s"]),
        f"{shown[0]} % [{shown[1]}, {shown[2]}]",
        f"{load['backlog']['growth_docs_per_s']:+.2g}",
        "-" if lag is None else f"{1000 * lag:.1f} ms",
        _tokens(load),
        _joules(load),
        _verdict(load),
    ]


def _waits(load: Mapping[str, Any]) -> list[str]:
    waits = load["latency_s"]
    return [
        _short(load["rate_docs_per_s"]),
        *(_interval(waits[name], console.seconds) for name in ("p50", "p95", "p99")),
        console.seconds(load["ttft_s"]["p50"]["value"]),
        console.seconds(load["tpot_s"]["p50"]["value"]),
    ]


def _verdict(load: Mapping[str, Any]) -> str:
    if load["void"]:
        return "void"
    if load["sustained"] is None:
        return "no answer counts"
    if load["sustained"]:
        return "sustained"
    return "no: backlog grows" if load["backlog"]["growing"] else "no: too late"


def _interval(found: Mapping[str, Any], shown: Any) -> str:
    if found["value"] is None:
        return "-"
    low, high = (shown(found[end]) if found[end] is not None else "?" for end in ("low", "high"))
    return f"{shown(found['value'])} [{low}, {high}]"


def _tokens(load: Mapping[str, Any]) -> str:
    parts = [load["tokens_per_s"][name] for name in ("prompt", "output")]
    return "-" if parts == [None, None] else " + ".join(console.number(part, 0) for part in parts)


def _joules(load: Mapping[str, Any]) -> str:
    energy = load["energy"]
    if not energy or energy["joules_per_doc"] is None:
        return "-"
    return _short(energy["joules_per_doc"]) + ("*" if energy["provenance"] == "declared" else "")


def _target(result: Mapping[str, Any]) -> str:
    seconds = result["target"]["p95_s"]
    return "-" if seconds is None else f"{console.seconds(seconds)} s"


def _short(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
