"""A frontier shown: a table on a terminal, a self-contained interactive page, and the page inside a notebook."""

import json
from html import escape
from importlib import resources
from typing import Any

from evals.report import console
from evals.report.comparison import clean
from evals.store import plain

SHOWN = 40
"""Options that a terminal lists; files hold all."""
AXES = ("quality", "cost", "latency")


def text(report: dict[str, Any]) -> str:
    """The frontier's options first, then what they dominate, then what a reader must know."""
    axes = [name for name in AXES if any(point[name] is not None for point in report["points"])]
    labels = report["labels"]
    inside = [one["name"] for one in report["objectives"]]
    front = {point["option"] for point in report["points"] if point["on_frontier"]}
    drawn = any(point["p_non_dominated"] is not None for point in report["points"])
    columns = ["", "option", *(labels[name] for name in axes), *(["P"] if drawn else []), "dominated by, or why not"]
    lines = [
        [
            "*" * point["on_frontier"] + "+" * point["on_hull"],
            brief(clean(point["option"])),
            *(span(point, name) for name in axes),
            *([probability(point)] if drawn else []),
            clean(_why(point, front, inside)),
        ]
        for point in report["points"][:SHOWN]
    ]
    parts = [console.rows(f"frontier: {clean(report['title'])}", columns, lines, whole="option")]
    if len(report["points"]) > SHOWN:
        rest = report["points"][SHOWN:]
        among = sum(point["on_frontier"] for point in rest)
        parts.append(f"and {len(rest)} options more, {among or 'none'} of them on the frontier; out=DIR writes all")
    box = ", ".join(f"{name} {value:.4g}" for name, value in report["hypervolume_reference"].items())
    says = "; P: the share of draws in which nothing dominates it" if drawn else ""
    parts.append(f"* on the frontier, + and on its convex hull (no random mix of others is better){says}")
    parts.append(f"hypervolume {report['hypervolume']:.4g} from {box}")
    if report["documents"]:
        draws = f", {report['draws']} paired draws of documents" if report["draws"] else ""
        parts.append(f"{report['documents']} documents answered by all options{draws}")
    parts += [f"- {clean(note)}" for note in report["notes"]]
    parts += [f"- left out: {one['run']}: {one['reason']}" for one in report["left_out"]]
    return "\n".join(parts)


def brief(name: str) -> str:
    """A name of any length in at most 64 letters: its beginning and its end."""
    return name if len(name) <= 64 else f"{name[:40]}\u2026{name[-20:]}"


def probability(point: dict[str, Any]) -> str:
    """In percent; `-` where there were no draws."""
    share = point["p_non_dominated"]
    return "-" if share is None else f"{100 * share:.1f} %"


def span(point: dict[str, Any], name: str) -> str:
    """`0.734 [0.701, 0.765]`; a bound that cannot be given is `?`."""
    value, low, high = (point[name + end] for end in ("", "_low", "_high"))
    if value is None or (low is None and high is None):
        return figure(value)
    return f"{figure(value)} [{'?' if low is None else figure(low)}, {'?' if high is None else figure(high)}]"


def figure(value: float | None) -> str:
    """Three significant digits."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}" if value else "0"


def _why(point: dict[str, Any], front: set[str], inside: list[str]) -> str:
    """Who dominates it, one of the frontier first, and what else must be known; of an axis only where it counts."""
    beside = [name for name in AXES if name not in inside]
    flags = [flag for flag in point["flags"] if not any(flag.startswith(name) for name in beside)]
    names = sorted(point["dominated_by"], key=lambda name: name not in front)
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return "; ".join([*([brief(names[0]) + more] if names else []), *flags])


def page(report: dict[str, Any]) -> str:
    """One HTML file that needs nothing else: the plot, its table and the notes."""
    template = resources.files("evals.report").joinpath("frontier.html").read_text(encoding="utf-8")
    data = json.dumps(plain(report), ensure_ascii=False, default=str)
    safe = data.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    title = f"<title>frontier: {escape(str(report['title']))}</title>"
    return template.replace("<title>frontier</title>", title, 1).replace("/*DATA*/", safe, 1)


def embedded(report: dict[str, Any]) -> str:
    """The page in a frame of its own, for a notebook."""
    height = 760 + 30 * min(len(report["points"]), 12)
    style = f"width:100%;height:{height}px;border:0"
    return f'<iframe srcdoc="{escape(page(report), quote=True)}" style="{style}" title="frontier"></iframe>'
