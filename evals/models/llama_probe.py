"""Does this build of llama.cpp survive on this machine? Ask a child before trusting it with a run.

Some builds die at the first prompt of several tokens (GCC 12 on machines with AMX), while loading and a single token
succeed. So the child evaluates a real prompt on real weights; where it dies, it is asked again without repacked
weights (`use_extra_bufts=False`). What was found is kept in `<cache>/llama_cpp/probes`, by library, CPU and kind of
weights. Standard library only on this side.
"""

import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evals.errors import UserError
from evals.models.gguf import read_header

PROMPT = "The supplier delivers the goods within thirty days; the customer pays within ten days of the invoice. " * 6
"""Some 120 tokens: enough for every matrix kernel of a prompt."""
LEAST_TOKENS = 64
DECODE = 4
TIMEOUT_S = 600.0
_MODULE = "evals.models.llama_probe"


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeResult:
    """What the child's fate says."""

    ok: bool
    """The model answered, with `params`."""
    params: Mapping[str, Any]
    """What must be passed to the backend: `{}` or `{"use_extra_bufts": False}`."""
    attempts: tuple[str, ...]
    """One line for each try."""
    seconds: float
    crashed: bool
    """A child died of a signal: the build is to be distrusted, where `ok` is false."""


def probe(
    python: str = sys.executable,
    model: str | Path = "",
    *,
    params: Mapping[str, Any] | None = None,
    command: Sequence[str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> ProbeResult:
    """Run the model once in a child, and once more without repacked weights if the child dies.

    `command` replaces `python -m evals.models.llama_probe`; the path and the parameters as JSON are added to it.
    """
    began = time.monotonic()
    attempts: list[str] = []
    crashed = False
    asked = dict(params or {})
    tries: list[dict[str, Any]] = [asked]
    if asked.get("use_extra_bufts", True):
        tries.append({**asked, "use_extra_bufts": False})
    for attempt in tries:
        how = "without repacked weights" if attempt.get("use_extra_bufts") is False else "as it is"
        died, said = _run([*(command or [python, "-m", _MODULE]), str(model), json.dumps(attempt)], timeout_s)
        attempts.append(f"{how}: {said}")
        if died is None:
            return ProbeResult(
                ok=True,
                params={} if attempt is asked else {"use_extra_bufts": False},
                attempts=tuple(attempts),
                seconds=time.monotonic() - began,
                crashed=crashed,
            )
        if not died:
            break
        crashed = True
    return ProbeResult(ok=False, params={}, attempts=tuple(attempts), seconds=time.monotonic() - began, crashed=crashed)


def safe_params(model_path: str | Path, *, prober: Callable[..., ProbeResult] = probe) -> dict[str, Any]:
    """Parameters that make the installed build safe for these weights; probes once, then remembers.

    Raises `UserError` where it dies whatever the parameters. A probe that fails in another way (a time-out, weights
    that cannot be loaded) says nothing and is not kept: loading will tell.
    """
    library = cpu_library()
    if library is None:
        return {}
    file = _record(library, model_path)
    known = _read(file)
    if known is None:
        result = prober(model=model_path)
        known = {**asdict(result), "params": dict(result.params)}
        if result.ok or result.crashed:
            _write(file, known)
    if not known["ok"] and known["crashed"]:
        tried = "; ".join(known["attempts"])
        raise UserError(
            f"this build of llama.cpp dies on this machine ({tried}): rebuild it with "
            f"`python -m evals.models.llama_build`, then delete {file}"
        )
    return dict(known["params"])


def cpu_library() -> Path | None:
    """The installed library that holds the CPU kernels, found without importing anything."""
    folder = os.environ.get("LLAMA_CPP_LIB_PATH")
    if folder is None:
        spec = importlib.util.find_spec("llama_cpp")
        places = list(spec.submodule_search_locations or ()) if spec else []
        folder = str(Path(places[0]) / "lib") if places else None
    if folder is None or not Path(folder).is_dir():
        return None
    names = sorted(p for p in Path(folder).iterdir() if "ggml-cpu" in p.name)
    return names[0] if names else None


def file_hash(path: Path) -> str:
    """Hex sha256 of a file."""
    stat = path.stat()
    return _hash(str(path), stat.st_mtime_ns, stat.st_size)


@cache
def _hash(path: str, changed: int, size: int) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """`$EVALS_CACHE`, or `.evals` where the command runs."""
    return Path(os.environ.get("EVALS_CACHE") or ".evals")


def cpu_identity() -> tuple[str, str]:
    """The CPU's model, and the hash of it and its features: a native build holds for no other."""
    model, flags = platform.processor() or platform.machine(), ""
    with contextlib.suppress(OSError):
        fields = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        values = {key.strip(): value.strip() for key, _, value in reversed(fields)}
        model, flags = values.get("model name", model), values.get("flags", values.get("Features", ""))
    if sys.platform == "darwin":
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
            model = subprocess.run(asked, capture_output=True, text=True, timeout=10).stdout.strip() or model
    text = "\n".join([platform.machine(), model, *sorted(flags.split())])
    return model, hashlib.sha256(text.encode()).hexdigest()[:8]


def _record(library: Path, model_path: str | Path) -> Path:
    info = read_header(model_path)
    kind = "".join(c if c.isalnum() else "_" for c in f"{info.architecture} {info.quantisation}")
    return cache_folder() / "llama_cpp" / "probes" / f"{file_hash(library)[:16]}-{cpu_identity()[1]}-{kind}.json"


def _read(file: Path) -> dict[str, Any] | None:
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return None
    wanted = {"ok", "params", "attempts", "crashed"}
    return known if isinstance(known, dict) and wanted <= set(known) else None


def _write(file: Path, known: Mapping[str, Any]) -> None:
    """A cache that cannot be written costs a probe the next time, and no more."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(f".{os.getpid()}.part")
        part.write_text(json.dumps(known, indent=1) + "\n")
        part.replace(file)


def _run(command: Sequence[str], timeout_s: float) -> tuple[str | None, str]:
    """What killed the child (`None`: nothing, empty: it failed by itself), and a line about it."""
    root = str(Path(__file__).parents[2])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    try:
        done = subprocess.run(
            command, env=env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {timeout_s:g} s"
    except OSError as error:
        return "", f"cannot be started: {error}"
    signal_name = _signal(done.returncode)
    if signal_name:
        return signal_name, f"died of {signal_name}"
    lines = (done.stdout if done.returncode == 0 else done.stderr).decode("utf-8", "replace").strip().splitlines()
    last = lines[-1][:300] if lines else f"exit code {done.returncode}"
    return (None, last) if done.returncode == 0 else ("", last)


def _signal(code: int) -> str:
    """Name of the signal (or Windows exception) behind an exit code, empty where there is none."""
    if code >= 0xC0000000:
        return f"exception {code:#x}"
    if code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _child(model: str, params: Mapping[str, Any]) -> str:
    """What the child does: a prompt of many tokens, and a few more one by one."""
    from evals.models.llama_native import Native, NativeSettings

    settings = NativeSettings(
        n_ctx=512,
        n_batch=512,
        threads=int(params.get("threads", os.cpu_count() or 1)),
        use_extra_bufts=bool(params.get("use_extra_bufts", True)),
    )
    native = Native(model, settings)
    tokens = native.tokenise(PROMPT)[:256]
    if len(tokens) < LEAST_TOKENS:
        tokens = (tokens * LEAST_TOKENS)[:LEAST_TOKENS]
    began = time.perf_counter()
    native.generate(tokens, fixed=0, max_tokens=DECODE)
    return f"{len(tokens)} prompt tokens and {DECODE} decoded in {time.perf_counter() - began:.2f} s"


if __name__ == "__main__":
    print(_child(sys.argv[1], json.loads(sys.argv[2])))
