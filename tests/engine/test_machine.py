"""What a manifest says of the machine: enough to judge a latency, nothing of whose it is."""

import getpass
import json
import os
import platform
import re
import socket
import subprocess
from pathlib import Path

import pytest

from evals.engine import machine


def words(text: str) -> set[str]:
    return set(re.findall(r"[\w.-]+", text.casefold()))


def test_no_user_and_no_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {platform.node().casefold(), Path.home().name.casefold()}
    for name in ("USER", "LOGNAME", "USERNAME", "HOSTNAME", "HOME", "COMPUTERNAME"):
        monkeypatch.setenv(name, "zebra-of-a-name")
    for owner, name in ((socket, "gethostname"), (socket, "getfqdn"), (platform, "node"), (getpass, "getuser")):
        monkeypatch.setattr(owner, name, lambda *_: "zebra-of-a-name")
    told = json.dumps([machine.facts(), machine.packages()])
    assert "zebra" not in told
    assert not {name for name in own & words(told) if len(name) > 5}, "a host called linux is nobody's secret"


def test_facts_say_what_the_system_says() -> None:
    found = machine.facts()
    assert set(found) == {"cpu", "cores", "memory_gib", "system", "arch", "python"}
    assert 1 <= found["cores"] <= (os.cpu_count() or 1) and found["python"] == platform.python_version()
    assert found["cpu"] and "\n" not in found["cpu"] and found["system"].startswith(platform.system())


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux tells its memory there")
def test_memory_is_the_systems_own_figure() -> None:
    kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert machine.facts()["memory_gib"] == pytest.approx(kib / 2**20, abs=0.06)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a process is not bound to cores here")
def test_cores_are_those_that_this_process_may_use() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert machine.facts()["cores"] == 1
    finally:
        os.sched_setaffinity(0, allowed)
    assert machine.facts()["cores"] == len(allowed)


def test_packages_are_those_that_are_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import version

    monkeypatch.setattr(machine, "PACKAGES", ["numpy", "no-such-package-anywhere", "pandas"])
    assert machine.packages() == {"numpy": version("numpy"), "pandas": version("pandas")}


def test_git_state_is_the_commit_and_whether_a_tracked_file_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    assert machine.git_state(tmp_path) is None, "no checkout"
    git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@y", "-c", "core.hooksPath=/dev/null"]
    (tmp_path / "a").write_text("one")
    for command in (["init", "-q"], ["add", "a"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    (tmp_path / "untracked").write_text("x")
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert machine.git_state(tmp_path) == {"commit": commit, "dirty": False} and len(commit) == 40
    (tmp_path / "a").write_text("two")
    assert machine.git_state(tmp_path) == {"commit": commit, "dirty": True}
    assert machine.git_state(tmp_path / "nowhere") is None


def test_without_git_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.git_state(Path(__file__).parent) is None
