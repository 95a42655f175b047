"""Which models there are, what may be done with them, and whether their weights are here."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import catalog
from evals.errors import ConfigError, WeightsError
from evals.models.downloads import Progress, human
from evals.models.quantise import all_kept
from evals.models.sources import Located, Source, sources_of, usable
from evals.models.weights import cache_root, fetch, locate

if TYPE_CHECKING:
    from evals.commands.settings.run import ModelsSettings

Cards = Mapping[str, Mapping[str, Any]]
WIDTH = 120
COLUMNS = {
    "name": "model",
    "family": "family",
    "quant": "quant",
    "size": "size",
    "context": "context",
    "licence": "licence",
    "source": "from",
    "here": "here",
}
"""Row key -> heading of the printed table. Use limits stand below it: they are sentences; who
made the GGUF is the owner of the repository, with a star where that is the model's own maker."""
SHRINK = {"source": 36, "licence": 12, "family": 10}
"""Columns that may be cut, in this order, and the least width that each keeps."""


def models(settings: "ModelsSettings") -> str:
    """The table of models, as text, and as files where `out` says; with `fetch` the path of the weights got."""
    from evals.report import files

    known = cards()
    if settings.fetch:
        return str(fetch_model(known, settings.fetch, settings.quant, settings.source))
    rows = list_models(known)
    if settings.out:
        files.write_table(Path(settings.out), "models", rows)
    return render(rows)


def cards() -> dict[str, dict[str, Any]]:
    """The YAML of every model in reach, by name."""
    return {name: catalog.option("model", name) for name in catalog.options("model")}


def list_models(known: Cards, *, root: str | Path | None = None) -> list[dict[str, Any]]:
    """One row for each model and quantisation; the default quantisation comes first, what was requantised here last. No
    network is used."""
    return [row for name in sorted(known) for row in _rows(name, known[name], root)]


def fetch_model(
    known: Cards,
    name: str,
    quant: str | None = None,
    source: str | None = None,
    *,
    root: str | Path | None = None,
    progress: Progress | None = None,
    pip: Sequence[str] = (),
) -> Path:
    """Get the weights of a model; the path of the checked file."""
    if name not in known:
        raise ConfigError(f"fetch={name} is not known{catalog.nearest(name, known)}")
    card = _choose(known[name], quant, source)
    if not card.get("quants"):
        raise WeightsError(f"fetch={name}: this model needs no weights")
    return fetch(card, root=root, progress=progress, pip=pip)


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows (of `list_models`) as a table of at most 120 columns, with the use limits of each licence below."""
    if not rows:
        return "no model is in reach: add configs/model/NAME.yaml"
    cells = [[_cell(key, row) for key in COLUMNS] for row in rows]
    widths = _widths([list(COLUMNS.values()), *cells])
    lines = [_line(list(COLUMNS.values()), widths), "  ".join("-" * width for width in widths)]
    lines += [_line(line, widths) for line in cells]
    return "\n".join([*lines, *_limits(rows), *_legend(rows)])


def _rows(name: str, card: Mapping[str, Any], root: str | Path | None) -> list[dict[str, Any]]:
    default = card.get("quant")
    quants = sorted(card.get("quants") or {}, key=lambda quant: (quant != default, quant))
    rows = [_row(name, _choose(card, quant, None), root) for quant in quants] or [_row(name, card, root)]
    made = all_kept(cache_root(root), name) if quants else []
    return rows + [_made_row({**rows[0], **_made_here(card, found, about, root)}, found) for found, about in made]


def _made_row(model: Mapping[str, Any], made: Located) -> dict[str, Any]:
    """A file that was requantised here: the model's facts, and nobody's publication."""
    own = {"quant": made.quant, "size": made.bytes, "about_gb": None, "publisher": None, "verified": False}
    return {**model, **own, "source": _label(made.source)}


def _made_here(
    card: Mapping[str, Any], made: Located, about: Mapping[str, Any], root: str | Path | None
) -> dict[str, str]:
    """`yes` where `model.quant` alone takes this file; else what must be said beside it."""
    if about["from"]["source"] == "file":
        return {"here": "own file"}
    found = locate({**card, "quant": made.quant, "path": None}, root=root)
    alone = found is not None and found.path == made.path
    return {"here": "yes" if alone else "re-upload" if made.source.only_when_asked else "index"}


def _row(name: str, card: Mapping[str, Any], root: str | Path | None) -> dict[str, Any]:
    facts, quant = card.get("card") or {}, card.get("quant")
    entry = (card.get("quants") or {}).get(quant) or {}
    key = card.get("key_env")
    sources = sources_of(card) if entry else ()
    here = _here({**card, "path": None}, sources, root) if entry else _key(card)
    return {
        "name": name,
        "family": facts.get("family"),
        "parameters": facts.get("parameters"),
        "quant": quant,
        "size": entry.get("bytes"),
        "about_gb": entry.get("about_gb"),
        "context": facts.get("context"),
        "instruct": facts.get("instruct"),
        "licence": facts.get("licence"),
        "use_limits": facts.get("use_limits"),
        "publisher": entry.get("publisher"),
        "source": ", ".join(_label(source) for source in sources) or (f"API, {key}" if key else None),
        "here": here,
        "verified": facts.get("verified")
        if key
        else bool(sources) and any(source.verified and not source.only_when_asked for source in sources),
    }


def _key(card: Mapping[str, Any]) -> str | None:
    """Of a remote model: is its key set? `None` where it needs none."""
    name = card.get("key_env")
    return None if not name else "key" if os.environ.get(str(name)) else "no key"


def _here(card: Mapping[str, Any], sources: Sequence[Source], root: str | Path | None) -> str:
    """`yes`; `re-upload` where only the copy that is used with `source=index` is here; `no`."""
    if usable(card) and locate(card, root=root):
        return "yes"
    asked = any(source.only_when_asked for source in sources)
    return "re-upload" if asked and locate({**card, "source": "index"}, root=root) else "no"


def _label(source: Source) -> str:
    return f"({source.label})" if source.only_when_asked else source.label


def _choose(card: Mapping[str, Any], quant: str | None, source: str | None) -> dict[str, Any]:
    chosen = {"quant": quant, "source": source}
    return {**card, **{key: value for key, value in chosen.items() if value is not None}}


def _cell(key: str, row: Mapping[str, Any]) -> str:
    value = row[key]
    if key == "size":
        about = f"~{human(1e9 * row['about_gb'])}" if row["about_gb"] else "?"
        return human(value) if value else ("" if row["quant"] is None else about)
    if key == "quant":
        return "" if value is None else str(value)
    if key == "here":
        return "-" if value is None else str(value)
    if key == "source" and value:
        own = "first party" in str(row["publisher"])
        return f"{'* ' if own else ''}{str(value).replace('hub ', '')}"
    if key == "family" and row["instruct"] is False and row["quant"]:
        return f"{value} (base)"
    return "" if value is None else str(value)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    keys = list(COLUMNS)
    for key, least in SHRINK.items():
        over = sum(widths) + 2 * (len(widths) - 1) - WIDTH
        column = keys.index(key)
        widths[column] -= max(0, min(over, widths[column] - least))
    return widths


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    cut = [cell if len(cell) <= width else cell[: width - 1] + "…" for cell, width in zip(cells, widths, strict=True)]
    return "  ".join(f"{cell:<{width}}" for cell, width in zip(cut, widths, strict=True)).rstrip()


def _limits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    import textwrap

    limits: dict[str, list[str]] = {}
    for row in rows:
        line = f"{row['use_limits']}" + (f" ({row['licence']})" if row["licence"] else "")
        names = limits.setdefault(line, []) if row["use_limits"] else []
        if row["name"] not in names:
            names.append(row["name"])
    lines = [f"{', '.join(names)}: {limit}" for limit, names in limits.items()]
    wrapped = [textwrap.fill(line, WIDTH, subsequent_indent="    ", initial_indent="  ") for line in lines]
    return ["", "Use limits", *wrapped] if wrapped else []


def _legend(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["", "`models fetch=NAME quant=TYPE` gets the weights; `model.path=FILE` takes your own file."]
    if any(row["here"] == "index" for row in rows):
        lines.append("Here `index`: the same type is published, so this file is used with `model.source=index` only.")
    lines.append(
        "A type that is not listed (q4_1, q5_0, ...) is requantised here from the best that is: not the publisher's."
    )
    if any("first party" in str(row["publisher"]) for row in rows):
        lines.append("* the GGUF was made by the model's own maker; every other one by a converter.")
    if any("(" in str(row["source"] or "") for row in rows):
        lines.append("A source in brackets is a third party's re-upload, used only with `model.source=index`.")
    return lines
