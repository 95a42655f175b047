"""Who is still running, as Linux tells it."""

import time
from collections.abc import Iterable
from pathlib import Path

PROC = Path("/proc")
HERE = PROC.is_dir()


def alive(pid: int) -> bool:
    """Is it there, and not only waiting to be heard of by its parent?"""
    try:
        return (PROC / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def gone(pids: Iterable[int], within_s: float = 30) -> bool:
    """Have all of them ended in this time?"""
    pids, end = list(pids), time.monotonic() + within_s
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return not any(map(alive, pids))


def spawned(parent: int) -> set[int]:
    """Children that were spawned to hold a library."""
    found = set()
    for stat in PROC.glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rsplit(")", 1)[1].split()
            command = stat.with_name("cmdline").read_text()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[1]) == parent and words[0] != "Z" and "spawn_main" in command:
            found.add(int(stat.parent.name))
    return found
