"""Does this build of llama.cpp survive on this machine? Ask a child before trusting it with a run.

Some builds die at the first prompt of several tokens (GCC 12 on machines with AMX), while loading and a single token
succeed. So the child evaluates a real prompt on real weights; where it dies, it is asked again without repacked
weights (`use_extra_bufts=False`). What was found is kept in `<cache>/llama_cpp/probes`, by library, CPU and kind of
weights; a damaged file, on which any build may die, is not held against the build. Standard library only on this side.
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
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from evals.errors import UserError, WeightsError
from evals.models.gguf import read_header

PROMPT = "The supplier delivers the goods within thirty days; the customer pays within ten days of the invoice. " * 6
"""Some 120 tokens: enough for every matrix kernel of a prompt."""
LEAST_TOKENS = 64
DECODE = 4
TIMEOUT_S = 600.0
LIBRARY, WEIGHTS, TOKENS = "loading the library", "loading the weights", "evaluating tokens"
"""What the child says it is about to do: where it dies, it died of that."""
_STAGE = "stage: "
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
    stage: str = ""
    """What the last child that died was about to do, where it said so."""


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
    crashed, stage = False, ""
    asked = dict(params or {})
    tries: list[dict[str, Any]] = [asked]
    if asked.get("use_extra_bufts", True):
        tries.append({**asked, "use_extra_bufts": False})
    for attempt in tries:
        how = "without repacked weights" if attempt.get("use_extra_bufts") is False else "as it is"
        died, said, at = _run([*(command or [python, "-m", _MODULE]), str(model), json.dumps(attempt)], timeout_s)
        attempts.append(f"{how}: {said}")
        if died is None:
            return ProbeResult(
                ok=True,
                params={} if attempt is asked else {"use_extra_bufts": False},
                attempts=tuple(attempts),
                seconds=time.monotonic() - began,
                crashed=crashed,
                stage=stage,
            )
        if not died:
            break
        crashed, stage = True, at
    spent = time.monotonic() - began
    return ProbeResult(ok=False, params={}, attempts=tuple(attempts), seconds=spent, crashed=crashed, stage=stage)


def safe_params(model_path: str | Path, *, prober: Callable[..., ProbeResult] = probe) -> dict[str, Any]:
    """Parameters that make the installed build safe for these weights; probes once, then remembers, and says on stderr
    (in a run: its log) where they make it slower.

    Raises `UserError` where it dies whatever the parameters, `WeightsError` where it dies of loading this file. A probe
    that fails in another way (a time-out, weights that cannot be loaded) says nothing and is not kept: loading will tell.
    """
    library = cpu_library()
    if library is None:
        return {}
    file = _record(library, model_path)
    known = _read(file)
    if known is None or not (known["ok"] or known.get("file") == _same(model_path)):
        result = prober(model=model_path)
        known = {**asdict(result), "params": dict(result.params), "file": None if result.ok else _same(model_path)}
        if result.ok or (result.crashed and result.stage != WEIGHTS):
            _write(file, known)
    tried = "; ".join(known["attempts"])
    if not known["ok"] and known["crashed"]:
        raise _dying(model_path, known.get("stage") == WEIGHTS, tried, file)
    if not known["ok"]:
        print(f"llama.cpp: the probe of this build could not tell whether it is safe ({tried})", file=sys.stderr)
    if known["params"].get("use_extra_bufts") is False:
        print(
            f"llama.cpp: this build dies with repacked weights ({tried}): going on with use_extra_bufts=False, at slower "
            "prompts; `python -m evals.models.llama_build` makes a build that does not",
            file=sys.stderr,
        )
    return dict(known["params"])


def _dying(model_path: str | Path, of_weights: bool, tried: str, file: Path) -> UserError:
    if of_weights:
        return WeightsError(
            f"{model_path}: llama.cpp dies of loading this file ({tried}): it is damaged, or of a kind that this build "
            "does not know; fetch it again, or rebuild with `python -m evals.models.llama_build`"
        )
    return UserError(
        f"this build of llama.cpp dies on this machine ({tried}): rebuild it with "
        f"`python -m evals.models.llama_build`, then delete {file}"
    )


def _same(model_path: str | Path) -> list[Any]:
    """What tells one file from another: a build is not condemned by a file that is gone."""
    stat = Path(model_path).stat()
    return [Path(model_path).name, stat.st_size, stat.st_mtime_ns]


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


def _run(command: Sequence[str], timeout_s: float) -> tuple[str | None, str, str]:
    """What killed the child (`None`: nothing, empty: it failed by itself), a line about it, and what it was about to do."""
    try:
        done = subprocess.run(
            command, env=child_env(), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        return "", f"no answer within {timeout_s:g} s", ""
    except OSError as error:
        return "", f"cannot be started: {error}", ""
    said = done.stdout.decode("utf-8", "replace").strip().splitlines()
    stages = [line.removeprefix(_STAGE) for line in said if line.startswith(_STAGE)]
    stage = stages[-1] if stages else ""
    if died := fate(done.returncode):
        return died, f"died of {died}" + (f" {stage}" if stage else ""), stage
    lines = said if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip().splitlines()
    last = lines[-1][:300] if lines else f"exit code {done.returncode}"
    return (None, last, stage) if done.returncode == 0 else ("", last, stage)


def child_env() -> dict[str, str]:
    """The environment of a child that finds this package where it lies."""
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def end_with(parent: int) -> None:
    """Let this process not outlive the one that started it: what it measures is wanted by nobody else."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def fate(code: int) -> str:
    """Name of the signal (or Windows exception) behind an exit code, empty where there is none."""
    if code >= 0xC0000000:
        return f"exception {code:#x}"
    if code >= 0:
        return ""
    with contextlib.suppress(ValueError):
        return signal.Signals(-code).name
    return f"signal {-code}"


def _child(path: str, params: Mapping[str, Any]) -> str:
    """What the child does: a prompt of many tokens, then a few together and one by one. By the library's own functions,
    since what is asked is whether the build lives, not how our engine uses it."""
    _about_to(LIBRARY)
    from evals.models.llama_native import library, quiet

    lib = library()
    complaints = quiet(lib)
    lib.llama_backend_init()
    _about_to(WEIGHTS)
    asked = lib.llama_model_default_params()
    asked.n_gpu_layers, asked.use_extra_bufts = 0, bool(params.get("use_extra_bufts", True))
    model = lib.llama_model_load_from_file(os.fsencode(path), asked)
    wanted = lib.llama_context_default_params()
    wanted.n_ctx = wanted.n_batch = wanted.n_ubatch = 512
    wanted.n_threads = wanted.n_threads_batch = int(params.get("threads", os.cpu_count() or 1))
    ctx = lib.llama_init_from_model(model, wanted) if model else None
    if not ctx:
        raise WeightsError(f"{path}: llama.cpp cannot load it: {' '.join(complaints.errors[-2:])}")
    _about_to(TOKENS)
    text, room = PROMPT.encode(), 256
    prompt = (lib.llama_token * room)()
    count = lib.llama_tokenize(lib.llama_model_get_vocab(model), text, len(text), prompt, room, True, False)
    tokens = list(prompt[: count if count > 0 else room])
    tokens = tokens if len(tokens) >= LEAST_TOKENS else (tokens * LEAST_TOKENS)[:LEAST_TOKENS]
    began = time.perf_counter()
    for together in (tokens, tokens[:DECODE], *([token] for token in tokens[:DECODE])):
        array = (lib.llama_token * len(together))(*together)  # the batch only points to it
        if code := lib.llama_decode(ctx, lib.llama_batch_get_one(array, len(together))):
            raise WeightsError(f"{path}: llama_decode returned {code}: {' '.join(complaints.errors[-2:])}")
    return f"{len(tokens)} prompt tokens and {DECODE} decoded in {time.perf_counter() - began:.2f} s"


def _about_to(stage: str) -> None:
    print(f"{_STAGE}{stage}", flush=True)


if __name__ == "__main__":
    end_with(os.getppid())
    print(_child(sys.argv[1], json.loads(sys.argv[2])))
