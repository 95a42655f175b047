"""A quantisation that its publisher does not offer, made here with llama.cpp's own quantiser.

The quantiser runs in a child: it may die, and the library is never loaded on this side. What it makes is never taken
for the publisher's: the file's name, keys inside the file and the section `made` of the weights lock say from what it
was requantised, and the lock how. It is kept, and checked ever after like what was fetched.
"""

import ctypes
import importlib.util
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals import catalog
from evals.errors import UserError, WeightsError
from evals.models import pins
from evals.models.downloads import Progress, need_space, writing
from evals.models.gguf import REQUANTISED_FROM, REQUANTISED_SHA256, read_header
from evals.models.llama_probe import child_env, cpu_library, fate, file_hash
from evals.models.sources import Located, Source

_MODULE = "evals.models.quantise"
_REBUILD = "rebuild llama.cpp with `python -m evals.models.llama_build`"
_SIZES = re.compile(r"(model|quant) size\s*=\s*([\d.]+) MiB")
_FTYPE = re.compile(r"LLAMA_FTYPE_(?:ALL|MOSTLY)_(\w+)")
_TEXT = 127
"""Bytes of a text that the quantiser writes into a file's head."""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A file that another quantisation is made from."""

    path: Path
    quant: str
    sha256: str | None
    """As recorded, pinned or read; `None`: nothing is known of it yet."""
    source: Source


def target(base: Path, model: str, quant: str, origin: Origin) -> Path:
    """Where the outcome lies: beside the model's other files, under a name that says what it is and of what."""
    own = f"-{origin.sha256[:8]}" if origin.source.kind == "file" and origin.sha256 else ""
    return base / "weights" / model / f"{origin.path.stem}{own}.requantised-{quant}.gguf"


def kept(base: Path, model: str, quant: str, origin: Origin) -> Located | None:
    """The outcome, where it was made before, from this very origin, and is still what it was."""
    path = target(base, model, quant, origin)
    made = pins.entry(base, "made", _key(base, path))
    if not made or not path.is_file() or path.stat().st_size != made.get("bytes"):
        return None
    if origin.sha256 not in (None, made["from"]["sha256"]) or pins.sha256(path, base) != made["sha256"]:
        return None
    return _located(path, made)


def all_kept(base: Path, model: str) -> list[tuple[Located, dict[str, Any]]]:
    """Everything that was made of a model and is still what it was, with what the lock says of it."""
    found = []
    for key, made in sorted(pins.section_of(base, "made").items()):
        path = base / key
        if made.get("model") == model and path.is_file() and pins.sha256(path, base) == made["sha256"]:
            found.append((_located(path, made), made))
    return found


def about(base: Path, path: Path) -> dict[str, Any] | None:
    """How a file was made here: type, origin, quantiser, parameters; `None` for one that was not."""
    made = pins.entry(base, "made", _key(base, path))
    if not made:
        return None
    from_ = {key: made["from"][key] for key in ("file", "quant", "sha256", "source")}
    return {"from": from_, **{key: made[key] for key in ("quant", "sha256", "quantiser", "parameters")}}


def types(command: Sequence[str] | None = None) -> dict[str, int]:
    """What the installed llama.cpp can make, by name; empty where it is not installed. `command` replaces the child's."""
    if importlib.util.find_spec("llama_cpp") is None:
        return {}
    return dict(_ask({"do": "types"}, "listed its types", command)["types"])


def number_of(card: Mapping[str, Any], known: Mapping[str, int]) -> int:
    """llama.cpp's number of the chosen type; raises `WeightsError` with the nearest names where there is none."""
    quant, quants = str(card.get("quant")), card.get("quants") or {}
    if quant in known:
        return known[quant]
    listed = f"model.quant={quant} is not known for {card.get('name')}; known are {', '.join(quants)}"
    if not known:
        raise WeightsError(
            f"{listed}; others are made with llama.cpp, which is not here: `python -m evals.models.llama_build`"
        )
    raise WeightsError(f"{listed}; others are made here with llama.cpp{catalog.nearest(quant, {*known, *quants})}")


def make(
    base: Path,
    model: str,
    quant: str,
    number: int,
    origin: Origin,
    progress: Progress,
    *,
    command: Sequence[str] | None = None,
) -> Located:
    """Requantise `origin`, once however many processes ask for it. Raises `WeightsError`; no half-written file stays."""
    path = target(base, model, quant, origin)
    with pins.alone(path.parent / ".fetch.lock", f"waiting for another process that makes {quant} of {model}"):
        if found := kept(base, model, quant, origin):
            return found
        for left in path.parent.glob(f".{path.name}.*.part"):  # of a process that was killed; this one holds the lock
            left.unlink(missing_ok=True)
        part = path.with_name(f".{path.name}.{os.getpid()}.part")
        job = {"from": str(origin.path), "to": str(part), "ftype": number}
        size = _ask({**job, "do": "size"}, f"measured {origin.path.name}", command)["bytes"]
        need_space(path.parent, size)
        print(_said(model, quant, origin), file=sys.stderr)
        try:
            job |= {"do": "make", "keys": {REQUANTISED_FROM: origin.path.name, REQUANTISED_SHA256: origin.sha256 or ""}}
            watch = _Watch(part, f"requantising {model} to {quant}", size, progress)
            reply = _ask(job, f"made {quant} of {origin.path.name}", command, watch)
            made = {**_entry(part, number, origin, progress), **reply, "model": model, "quant": quant}
            _refuse_change(base, path, made)
            with writing(path):
                os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
        pins.update(
            base, {"made": {_key(base, path): made}, "checked": {str(path): pins.stamp(path, str(made["sha256"]))}}
        )
        return _located(path, made)


def _said(model: str, quant: str, origin: Origin) -> str:
    return (
        f"{model}: {quant} is requantised here from {origin.quant} ({origin.path.name}): it is not the publisher's, "
        "and no better than that file"
    )


def _entry(part: Path, number: int, origin: Origin, progress: Progress) -> dict[str, Any]:
    """What the lock says of the file that the quantiser has written, which must be what was asked for."""
    info = read_header(part)
    if info.metadata.get("general.file_type") != number or info.requantised_from is None:
        raise WeightsError(f"{origin.path}: llama.cpp's quantiser wrote another file than it was asked for; {_REBUILD}")
    with writing(part), part.open("rb") as stream:
        os.fsync(stream.fileno())
    from_ = {"file": origin.path.name, "quant": origin.quant, "sha256": origin.sha256, "source": origin.source.label}
    return {
        "bytes": part.stat().st_size,
        "sha256": pins.digest(part, progress),
        "from": {**from_, "only_when_asked": origin.source.only_when_asked},
        "made": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def _refuse_change(base: Path, path: Path, made: Mapping[str, Any]) -> None:
    """A file that was lost is made again as it was, or not at all: runs already name its hash."""
    key = _key(base, path)
    old = pins.entry(base, "made", key)
    if old and old["from"]["sha256"] == made["from"]["sha256"] and old["sha256"] != made["sha256"]:
        raise WeightsError(
            f"{path.name} does not come out as it was: sha256 {old['sha256']} is recorded in {pins.lock_file(base)}, now "
            f"{made['sha256']} (another build of llama.cpp?); refused. To take the new one, remove {key!r} there"
        )


def _located(path: Path, made: Mapping[str, Any]) -> Located:
    source = Source(
        kind="requantised",
        file=path.name,
        bytes=made["bytes"],
        sha256=made["sha256"],
        only_when_asked=made["from"]["only_when_asked"],
        note=f"requantised from {made['from']['quant']}",
    )
    return Located(path=path, bytes=made["bytes"], sha256=made["sha256"], source=source, quant=made["quant"])


def _key(base: Path, path: Path) -> str:
    """Identity in the lock: the path below the cache, which may be copied to another machine."""
    return path.relative_to(base).as_posix() if path.is_relative_to(base) else path.as_posix()


# --- the child ------------------------------------------------------------------------------------------------


class _Watch:
    """Tells how far the file has grown."""

    def __init__(self, part: Path, what: str, size: int | None, progress: Progress) -> None:
        self.part, self.what, self.size, self.progress = part, what, size, progress

    def __call__(self) -> None:
        if self.part.exists():
            self.progress(self.what, self.part.stat().st_size, self.size)


def _ask(
    job: Mapping[str, Any], doing: str, command: Sequence[str] | None, tick: Callable[[], None] = lambda: None
) -> dict[str, Any]:
    """The child's reply: the last line that it prints, a JSON object."""
    words = [*(command or [sys.executable, "-m", _MODULE]), json.dumps(job)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, env=child_env(), stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as child:
        try:
            out, err = _ended(child, tick)
        except BaseException:  # Ctrl-C too: it must not go on writing
            child.kill()
            raise
    if died := fate(child.returncode):
        want = " (for want of memory?)" if died == "SIGKILL" else f"; {_REBUILD}"
        raise WeightsError(f"llama.cpp's quantiser died of {died} while it {doing}{want}")
    reply = _last_object(out.decode("utf-8", "replace"))
    if child.returncode or reply is None:
        lines = err.decode("utf-8", "replace").strip().splitlines() or [f"exit code {child.returncode}"]
        raise WeightsError(f"llama.cpp's quantiser failed while it {doing}: {lines[-1][:300]}")
    if "refused" in reply:
        raise WeightsError(
            f"llama.cpp's quantiser refused while it {doing}: {reply['refused']}; take another model.quant"
        )
    return reply


def _ended(child: "subprocess.Popen[bytes]", tick: Callable[[], None]) -> tuple[bytes, bytes]:
    """What the child has said once it has ended; `tick` is called meanwhile."""
    while True:
        try:
            return child.communicate(timeout=0.2)
        except subprocess.TimeoutExpired:
            tick()


def _last_object(text: str) -> dict[str, Any] | None:
    lines = text.strip().splitlines()
    try:
        found = json.loads(lines[-1]) if lines else None
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _child(job: Mapping[str, Any]) -> dict[str, Any]:
    """What the child does: list the types, say how long a file would become, or write it."""
    from evals.models.llama_native import library

    lib = library()
    if job["do"] == "types":
        found = {match[1].lower(): value for name, value in vars(lib).items() if (match := _FTYPE.fullmatch(name))}
        return {"types": found}
    heard: list[str] = []
    hear = lib.llama_log_callback(lambda level, text, _: heard.append(f"{level} {text.decode('utf-8', 'replace')}"))
    lib.llama_log_set(hear, ctypes.c_void_p(0))
    lib.llama_backend_init()
    params = lib.llama_model_quantize_default_params()
    params.ftype, params.allow_requantize, params.dry_run = job["ftype"], True, job["do"] == "size"
    params.nthread = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    keys = _overrides(lib, job.get("keys") or {})
    params.kv_overrides = ctypes.cast(keys, ctypes.POINTER(lib.llama_model_kv_override))
    if lib.llama_model_quantize(os.fsencode(job["from"]), os.fsencode(job["to"]), ctypes.byref(params)):
        said = [line[2:].strip() for line in heard if line.startswith("4 ")]
        return {
            "refused": " ".join((said[-1] if said else "no reason given").rpartition("failed to quantize: ")[2].split())
        }
    if job["do"] == "size":
        return {"bytes": _size(Path(job["from"]), "".join(heard))}
    return {"quantiser": _build(lib), "parameters": {"ftype": job["ftype"], "allow_requantize": True, "imatrix": None}}


def _overrides(lib: Any, keys: Mapping[str, str]) -> Any:
    """Keys that the quantiser writes into the file's head, ended by an empty one."""
    found = (lib.llama_model_kv_override * (len(keys) + 1))()
    for slot, (key, text) in zip(found, keys.items(), strict=False):
        slot.tag, slot.key = lib.LLAMA_KV_OVERRIDE_TYPE_STR, key.encode()
        slot.value.val_str = text.encode()[:_TEXT].decode("utf-8", "ignore").encode()
    return found


def _size(origin: Path, log: str) -> int | None:
    """Bytes of the outcome, head included, from what a dry run printed; `None` where it prints no such thing."""
    sizes = {match[1]: float(match[2]) * 2**20 for match in _SIZES.finditer(log)}
    if len(sizes) < 2:
        return None
    return int(sizes["quant"] + max(0.0, origin.stat().st_size - sizes["model"]))


def _build(lib: Any) -> dict[str, Any]:
    import llama_cpp

    kernels = cpu_library()
    return {
        "llama_cpp": str(llama_cpp.__version__),
        "llama": lib.llama_version().decode(),
        "cpu_library_sha256": file_hash(kernels) if kernels else None,
    }


if __name__ == "__main__":
    try:
        print(json.dumps(_child(json.loads(sys.argv[1]))))
    except UserError as error:
        sys.exit(str(error))
