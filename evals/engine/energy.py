"""What a load takes of this machine: joules where they can be read, and the peak memory of this process and its children.

Joules are read from RAPL (`/sys/class/powercap`, whole processor packages, often readable by root alone) and from NVML
(whole NVIDIA GPUs, where `pynvml` can be imported); where neither can be read, they are the machine's declared watts times
seconds; else they are not known.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

POWERCAP = Path("/sys/class/powercap")
PROC = Path("/proc")


@dataclass
class Rapl:
    """Joules of the processor packages, from counters that wrap."""

    packages: Mapping[Path, int]
    """Counter (microjoules) -> the value after which it begins anew."""
    _last: dict[Path, int] = field(init=False)
    _joules: float = 0.0

    def __post_init__(self) -> None:
        self._last = {path: _number(path) or 0 for path in self.packages}

    @classmethod
    def found(cls, root: Path = POWERCAP) -> "Rapl | None":
        """The packages that can be read here; `None` where there is none."""
        packages = {}
        for name in sorted(root.glob("*rapl:*/name")):
            counter = name.with_name("energy_uj")
            if _text(name).startswith("package") and _number(counter) is not None:  # psys holds the packages again
                packages[counter] = _number(name.with_name("max_energy_range_uj")) or 0
        return cls(packages) if packages else None

    def joules(self) -> float:
        """Since this object was made. To be asked more often than a counter wraps (minutes)."""
        for path, most in self.packages.items():
            if (now := _number(path)) is None:
                continue
            used = now - self._last[path]
            self._joules += (used if used >= 0 else used + most) / 1e6
            self._last[path] = now
        return self._joules


@dataclass
class Nvml:
    """Joules of every NVIDIA GPU of this machine."""

    library: Any
    handles: list[Any]
    _first: float = field(init=False)

    def __post_init__(self) -> None:
        self._first = self._total()

    @classmethod
    def found(cls, library: Any = None) -> "Nvml | None":
        """The GPUs whose energy can be read; `None` where there is none, or no `pynvml`."""
        try:
            library = library or import_module("pynvml")
            library.nvmlInit()
            handles = [library.nvmlDeviceGetHandleByIndex(at) for at in range(library.nvmlDeviceGetCount())]
            return cls(library, handles) if handles else None
        except Exception:  # NVML's own errors, of a class that is not imported here: too old a GPU, no driver
            return None

    def joules(self) -> float:
        """Since this object was made."""
        return self._total() - self._first

    def _total(self) -> float:
        return float(sum(self.library.nvmlDeviceGetTotalEnergyConsumption(one) for one in self.handles)) / 1000


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Joules of a span of time, and where they are from."""

    joules: float
    provenance: str
    """`measured` or `declared`."""
    source: str


class Meter:
    """Reads whatever this machine has; `watts`: what is declared of it, for a machine that tells nothing."""

    def __init__(self, *, here: bool, watts: float | None, rapl: Rapl | None = None, nvml: Nvml | None = None) -> None:
        self._rapl, self._nvml, self._watts = rapl, nvml, watts
        if here and rapl is None and nvml is None:
            self._rapl, self._nvml = Rapl.found(), Nvml.found()

    def span(self, clock: Callable[[], float]) -> Callable[[], Energy | None]:
        """Begin to measure; what comes back ends it."""
        began, before = clock(), self._read()

        def end() -> Energy | None:
            after = self._read()
            if both := [name for name in after if name in before]:
                joules = sum(after[name] - before[name] for name in both)
                return Energy(joules=joules, provenance="measured", source=" and ".join(both))
            if self._watts is None:
                return None
            joules = self._watts * (clock() - began)
            return Energy(joules=joules, provenance="declared", source=f"machine.watts={self._watts:g} x seconds")

        return end

    def tick(self) -> None:
        """Read the counters, so that none wraps unseen."""
        self._read()

    def _read(self) -> dict[str, float]:
        found: dict[str, float] = {}
        if self._rapl is not None:
            found["RAPL (whole packages)"] = self._rapl.joules()
        if self._nvml is not None:
            with contextlib.suppress(Exception):  # a GPU that went away
                found["NVML (whole GPUs)"] = self._nvml.joules()
        return found


def peak_memory_mb(pid: int | None = None, *, proc: Path = PROC) -> float | None:
    """Peak resident memory of a process (this one) and its living children, each at its own peak since it was started,
    in MB (10^6 bytes); `None` where the system does not tell."""
    root = os.getpid() if pid is None else pid
    peaks = [peak for one in _tree(root, proc) if (peak := _peak_kb(proc / str(one) / "status")) is not None]
    return round(sum(peaks) * 1024 / 1e6, 1) if peaks else None


def _tree(root: int, proc: Path) -> list[int]:
    children: dict[int, list[int]] = {}
    for stat in proc.glob("[0-9]*/stat"):
        words = _text(stat).rpartition(")")[2].split()  # the name before it may hold anything
        if len(words) > 1:
            children.setdefault(int(words[1]), []).append(int(stat.parent.name))
    found = [root]
    for one in found:  # grows on the way
        found += children.get(one, [])
    return found


def _peak_kb(status: Path) -> int | None:
    for line in _text(status).splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1])
    return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdigit() else None
