"""Joules from counters that wrap, from a library that may fail, declared, or not known; the memory of a process tree."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.engine.energy import Meter, Nvml, Rapl, peak_memory_mb


def package(root: Path, at: str, name: str, joules: float, most: float = 1000.0) -> Path:
    folder = root / f"intel-rapl:{at}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "name").write_text(name + "\n")
    (folder / "max_energy_range_uj").write_text(f"{int(most * 1e6)}\n")
    (folder / "energy_uj").write_text(f"{int(joules * 1e6)}\n")
    return folder / "energy_uj"


def test_packages_alone_are_counted_and_a_counter_may_begin_anew(tmp_path: Path) -> None:
    first, second = package(tmp_path, "0", "package-0", 990), package(tmp_path, "1", "package-1", 5)
    package(tmp_path, "0:0", "dram", 7)
    psys = package(tmp_path, "2", "psys", 7)
    rapl = Rapl.found(tmp_path)
    assert rapl is not None and rapl.joules() == 0
    first.write_text("40000000\n")  # 10 J to the end of its range, 40 J beyond
    second.write_text("8000000\n")
    psys.write_text("900000000\n")
    assert rapl.joules() == pytest.approx(53) and rapl.joules() == pytest.approx(53)


def test_what_cannot_be_read_is_not_there(tmp_path: Path) -> None:
    assert Rapl.found(tmp_path / "nowhere") is None
    package(tmp_path, "0", "package-0", 1).write_text("")
    assert Rapl.found(tmp_path) is None


def gpu(millijoules: list[float], **more: Any) -> Any:
    """A library with one GPU that has used so much, a value a call."""
    return SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda at: at,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: millijoules.pop(0),
        **more,
    )


def test_gpus_count_from_when_they_were_found() -> None:
    found = Nvml.found(gpu([5000, 12000]))
    assert found is not None and found.joules() == pytest.approx(7)

    def broken() -> None:
        raise RuntimeError("no driver")

    assert Nvml.found(SimpleNamespace(nvmlInit=broken)) is None


def test_a_span_is_measured_else_declared_else_not_known(tmp_path: Path) -> None:
    seconds = iter([10.0, 14.0])
    counter = package(tmp_path, "0", "package-0", 1)
    end = Meter(here=True, watts=65, rapl=Rapl.found(tmp_path)).span(lambda: 0.0)
    counter.write_text("21000000\n")
    found = end()
    assert found is not None and found.joules == pytest.approx(20) and found.provenance == "measured"
    assert "RAPL" in found.source
    end = Meter(here=False, watts=65).span(lambda: next(seconds))
    told = end()
    assert (
        told is not None and (told.joules, told.provenance) == (260, "declared") and "machine.watts=65" in told.source
    )
    assert Meter(here=False, watts=None).span(lambda: 0.0)() is None


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
def test_a_gpu_that_goes_away_in_between_takes_its_joules_along(tmp_path: Path) -> None:
    counter = package(tmp_path, "0", "package-0", 10)
    meter = Meter(here=True, watts=None, rapl=Rapl.found(tmp_path), nvml=Nvml.found(gpu([5000, 9000])))
    end = meter.span(lambda: 0.0)
    counter.write_text("13000000\n")
    found = end()
    assert found is not None and found.joules == pytest.approx(3) and found.source == "RAPL (whole packages)"


def test_memory_is_that_of_the_process_and_its_children() -> None:
    alone = peak_memory_mb()
    assert alone is not None and alone > 1
    code = "import sys; held = bytearray(80_000_000); print('ready', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        both = peak_memory_mb(os.getpid())
        child.communicate("")
    assert both is not None and both - alone > 80


def test_memory_is_not_known_where_there_is_no_proc(tmp_path: Path) -> None:
    assert peak_memory_mb(proc=tmp_path) is None
