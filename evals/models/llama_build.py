"""Build llama-cpp-python once for this machine, install it, see that it works: `python -m evals.models.llama_build`.

There is no wheel on the package index, a build takes minutes, and a plain GCC build dies on machines with AMX. So it
is built with flags that cure that, kept under a name that says for what it was built, and installed from there ever
after. `CMAKE_ARGS` of the user (such as `-DGGML_CUDA=on`) are honoured and part of the name. Standard library only.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals.errors import UserError
from evals.models.llama_probe import (
    ProbeResult,
    cache_folder,
    cpu_identity,
    cpu_library,
    file_hash,
    probe,
    safe_params,
)

__all__ = ["Build", "Compiler", "ProbeResult", "build", "compiler", "install", "main", "plan", "probe", "safe_params"]

VERSION = "0.3.36"
CURE = "-fno-tree-dse -fno-dse"
"""GCC drops stores to the AMX tile configuration; without dead-store elimination it does not."""
NEEDED = ("numpy", "jinja2", "diskcache", "typing_extensions", "llguidance")
"""What the package imports, and what its answers are bound with."""
_STEP = re.compile(r"^\s*\[(\d+)/(\d+)\]")
_EVERY_S = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Compiler:
    """The C++ compiler that a build would use."""

    kind: str
    """`gcc`, `clang` or `msvc`."""
    version: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Build:
    """One build: what it is made with, and where it is kept."""

    name: str
    """Version, Python, compiler, CPU and flags; no colon, no space: good on every file system."""
    folder: Path
    env: Mapping[str, str]
    """What is set for the build beside the user's environment."""
    cpu: str

    @property
    def wheel(self) -> Path | None:
        """The wheel, where it was built."""
        found = sorted(self.folder.glob("llama_cpp_python-*.whl"))
        return found[0] if found else None


def compiler(env: Mapping[str, str] = os.environ) -> Compiler:
    """Ask the compiler itself what it is: `c++` is clang on some machines and GCC on others."""
    command = shlex.split(env.get("CXX") or "c++")
    if sys.platform == "win32" and not env.get("CXX"):
        return Compiler(kind="msvc", version="any")
    try:
        done = subprocess.run(
            [*command, "-dM", "-E", "-x", "c++", os.devnull], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError):
        raise UserError(
            f"no C++ compiler ({' '.join(command)} does not run): install one (`apt-get install g++`, on macOS "
            "`xcode-select --install`), or set CXX; without one, leave local GGUF models out"
        ) from None
    macros = dict(re.findall(r"^#define (\w+) (.+)$", done.stdout, re.MULTILINE))
    kind = "clang" if "__clang__" in macros else "gcc"
    prefix = "__clang" if kind == "clang" else "__GNUC"
    names = [f"{prefix}_major__", f"{prefix}_minor__"] if kind == "clang" else ["__GNUC__", "__GNUC_MINOR__"]
    return Compiler(kind=kind, version=".".join(macros.get(name, "0") for name in names))


def plan(env: Mapping[str, str] = os.environ, *, cache: Path | None = None) -> Build:
    """What would be built here, and under which name. Builds nothing."""
    made_by = compiler(env)
    flags = {
        "CXXFLAGS": " ".join(filter(None, [env.get("CXXFLAGS"), CURE if made_by.kind == "gcc" else None])),
        "CFLAGS": env.get("CFLAGS", ""),
        # Pictures are no business of ours, and a quarter of the build.
        "CMAKE_ARGS": " ".join(filter(None, ["-DLLAVA_BUILD=OFF", env.get("CMAKE_ARGS")])),
    }
    cpu, cpu_hash = cpu_identity()
    flags_hash = hashlib.sha256(json.dumps(flags, sort_keys=True).encode()).hexdigest()[:8]
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    where = [python, sys.platform, platform.machine(), f"{made_by.kind}{made_by.version}"]
    parts = [VERSION, *where, cpu_hash, flags_hash]
    name = re.sub(r"[^A-Za-z0-9._-]", "_", "-".join(parts))
    folder = (cache or cache_folder()).resolve() / "llama_cpp" / name
    return Build(name=name, folder=folder, env={key: value for key, value in flags.items() if value}, cpu=cpu)


def build(wanted: Build, *, say: Callable[[str], None] = print, command: Sequence[str] | None = None) -> Path:
    """The wheel of `wanted`: the one kept, or a new one. `command` replaces `pip wheel ...`."""
    if wanted.wheel:
        say(f"llama.cpp: kept build {wanted.name}")
        return wanted.wheel
    part = wanted.folder.with_name(f"{wanted.name}.{os.getpid()}.part")
    part.mkdir(parents=True, exist_ok=True)
    log = wanted.folder.with_name(f"{wanted.name}.log")
    say(f"llama.cpp: building llama-cpp-python {VERSION} for {wanted.cpu}: once, about 4 minutes on two cores")
    say(f"llama.cpp: {' '.join(f'{key}={value!r}' for key, value in wanted.env.items())}, log {log}")
    try:
        _run_build(list(command or _pip_wheel(part)), wanted, log, say)
        wheels = sorted(part.glob("llama_cpp_python-*.whl"))
        if not wheels:
            raise UserError(f"the build of llama-cpp-python left no wheel: see {log}")
        _describe(wanted, wheels[0], part)
        shutil.rmtree(wanted.folder, ignore_errors=True)
        part.replace(wanted.folder)
        log.replace(wanted.folder / "build.log")
    finally:
        shutil.rmtree(part, ignore_errors=True)
    assert wanted.wheel is not None
    return wanted.wheel


def _pip_wheel(folder: Path) -> list[str]:
    # No pip cache: its key does not know the flags, and would hand back another build.
    pip = [sys.executable, "-m", "pip", "wheel", "-v", "--no-cache-dir", "--no-deps"]
    return [*pip, "--no-binary", "llama-cpp-python", "-w", str(folder), f"llama-cpp-python=={VERSION}"]


def _run_build(command: Sequence[str], wanted: Build, log: Path, say: Callable[[str], None]) -> None:
    began = said = time.monotonic()
    step = ""
    with (
        log.open("w", encoding="utf-8") as out,
        subprocess.Popen(
            command,
            env={**os.environ, **wanted.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            out.write(line)
            found = _STEP.match(line)
            step = f"step {found[1]} of {found[2]}" if found else step
            if time.monotonic() - said >= _EVERY_S:
                said = time.monotonic()
                say(f"llama.cpp: {said - began:4.0f} s  {step or 'fetching and configuring'}")
    if process.returncode:
        raise UserError(f"the build of llama-cpp-python failed ({_reason(log)}): see {log}")
    say(f"llama.cpp: built in {time.monotonic() - began:.0f} s")


def _reason(log: Path) -> str:
    """The log's first line that looks like the cause."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    signs = ("No module named pip", "No matching distribution", "error:", "CMake Error", "No space left")
    for sign in signs:
        for line in lines:
            if sign in line:
                return line.strip()[:200]
    return lines[-1].strip()[:200] if lines else "no output"


def _describe(wanted: Build, wheel: Path, folder: Path) -> None:
    about = {
        "name": wanted.name,
        "cpu": wanted.cpu,
        "env": dict(wanted.env),
        "cpu_library_sha256": wheel_library_hash(wheel),
        "built_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    (folder / "build.json").write_text(json.dumps(about, indent=1) + "\n")


def wheel_library_hash(wheel: Path) -> str | None:
    """Hash of the CPU kernels inside a wheel: what tells one build from another once installed."""
    with zipfile.ZipFile(wheel) as archive:
        names = sorted(n for n in archive.namelist() if "/lib/" in n and "ggml-cpu" in n)
        return hashlib.sha256(archive.read(names[0])).hexdigest() if names else None


def install(wheel: Path, *, say: Callable[[str], None] = print) -> bool:
    """Install the wheel where Python runs, if it is not there; says whether it did."""
    there = cpu_library()
    if there is not None and file_hash(there) == wheel_library_hash(wheel):
        say(f"llama.cpp: {wheel.parent.name} is installed")
        changed = False
    else:
        _pip("install", "--no-deps", "--force-reinstall", "--no-cache-dir", str(wheel))
        say(f"llama.cpp: installed {wheel.parent.name}")
        changed = True
    importlib.invalidate_caches()
    missing = [name.replace("_", "-") for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        _pip("install", *missing)
    return changed


def _pip(*words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", *words],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no output"]
        raise UserError(f"pip {words[0]} failed: {lines[-1][:300]}")


def weights(cache: Path | None = None) -> Path | None:
    """Some GGUF to probe with: `$EVALS_TEST_GGUF`, or the smallest below `<cache>/weights`."""
    named = os.environ.get("EVALS_TEST_GGUF")
    if named and Path(named).is_file():
        return Path(named)
    found = sorted(((cache or cache_folder()) / "weights").rglob("*.gguf"), key=lambda path: path.stat().st_size)
    return found[0] if found else None


def check(model: Path | None, *, say: Callable[[str], None] = print) -> None:
    """Probe the installed build on real weights and say what came out."""
    if model is None:
        say("llama.cpp: no weights here yet: the first model to be loaded is probed then")
        return
    began = time.monotonic()
    params = safe_params(model)
    how = "with use_extra_bufts=False (slower prompts)" if params else "as it is"
    say(f"llama.cpp: works {how}: {model.name} probed in {time.monotonic() - began:.1f} s")


def main(words: Sequence[str] | None = None) -> int:
    """Build, install, probe. Exit code 2 with one line where the user has to do something."""
    parser = argparse.ArgumentParser(prog="python -m evals.models.llama_build", description=main.__doc__)
    parser.add_argument("--model", type=Path, help="GGUF file to probe with")
    parser.add_argument("--name", action="store_true", help="print the build's name and stop")
    asked = parser.parse_args(words)
    try:
        wanted = plan()
        if asked.name:
            print(wanted.name)
            return 0
        install(build(wanted, say=_say), say=_say)
        check(asked.model or weights(), say=_say)
    except UserError as error:
        print(f"llama.cpp: {error}", file=sys.stderr)
        return 2
    return 0


def _say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
