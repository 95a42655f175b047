"""How many slots of how many tokens fit the memory of this machine: planned, told, and reduced rather than crashed."""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from evals.models.llama_native import Native, NativeSettings

SHARE = 0.5
"""Of the memory that is free, what caches may take beside the weights: buffers and the other programs need the rest."""
_STEP = 256
"""llama.cpp rounds a context to multiples of this."""
_LEAST = 512
_MANY = 1000
"""Slots where the memory is not known: then the context says whether it fits."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Settings that fit, and what they rest on."""

    settings: NativeSettings
    bytes_per_token: int
    free_bytes: int | None
    """Memory free before the weights were loaded, for each process; `None` where the system does not tell (or a GPU holds the cache)."""

    def facts(self) -> dict[str, Any]:
        """For the manifest."""
        used = self.settings.slots * self.settings.n_ctx * self.bytes_per_token
        return {
            "cache_bytes_per_token": self.bytes_per_token,
            "cache_gib": round(used / 2**30, 3),
            "free_gib": None if self.free_bytes is None else round(self.free_bytes / 2**30, 1),
        }


def plan(wanted: NativeSettings, bytes_per_token: int, free: int | None, *, weights: int = 0) -> Plan:
    """Fewer slots where the caches would not fit beside the `weights` (bytes), down to one; then a shorter context, down to
    512 tokens, where `SHARE` of all memory would not do for it."""
    fits = wanted
    if free is not None and bytes_per_token > 0:
        beside, tokens = (int(max(0, one) * SHARE) // bytes_per_token for one in (free - weights, free))
        slots = max(1, min(wanted.slots, beside // wanted.n_ctx))
        n_ctx = wanted.n_ctx if tokens >= wanted.n_ctx else max(_LEAST, tokens // _STEP * _STEP)
        fits = replace(wanted, slots=slots, n_ctx=min(n_ctx, wanted.n_ctx))
    return Plan(settings=fits, bytes_per_token=bytes_per_token, free_bytes=free)


def room(
    wanted: NativeSettings, bytes_per_token: int, free: int | None, *, weights: int = 0, processes: int = 1
) -> int:
    """How many slots of `n_ctx` the memory has, of all processes, beside the `weights` (bytes) of each."""
    if free is None or wanted.n_gpu_layers or bytes_per_token < 1:
        return _MANY
    return int(max(0, free - weights * processes) * SHARE) // (bytes_per_token * wanted.n_ctx)


def open_context(native: Native, wanted: NativeSettings, free: int | None, name: str, *, weights: int = 0) -> Plan:
    """Make the largest context that fits beside the `weights` (bytes), and say in the log what it is; raises `WeightsError`
    where none can be made."""
    made = plan(wanted, native.cache_bytes_per_token(), None if wanted.n_gpu_layers else free, weights=weights)
    while not native.open(made.settings):
        now = made.settings
        if now.slots > 1:
            made = replace(made, settings=replace(now, slots=now.slots // 2))
        elif now.n_ctx > _LEAST:
            made = replace(made, settings=replace(now, n_ctx=max(_LEAST, now.n_ctx // 2 // _STEP * _STEP)))
        else:
            raise native.no_context()
    say(made, wanted, name)
    return made


def say(made: Plan, wanted: NativeSettings, name: str) -> None:
    """Tell the log what was planned."""
    facts, now = made.facts(), made.settings
    less = "" if (now.slots, now.n_ctx) == (wanted.slots, wanted.n_ctx) else ", less than asked for"
    free = "" if facts["free_gib"] is None else f" of {facts['free_gib']} GiB free"
    print(
        f"{name}: {now.slots} slots of {now.n_ctx:,} tokens: caches take {facts['cache_gib']} GiB{free}{less}",
        file=sys.stderr,
        flush=True,
    )


def free_memory() -> int | None:
    """Bytes that this process may still take, of the machine or of its container; `None` where it cannot be told."""
    known = [one for one in (_machine(), _container()) if one is not None]
    return min(known) if known else None


def _machine() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _container(root: Path = Path("/sys/fs/cgroup")) -> int | None:
    """Pages of files count as used there, and are given back when memory is wanted."""
    try:
        most, used, stat = ((root / f"memory.{name}").read_text() for name in ("max", "current", "stat"))
        about = dict(line.split(maxsplit=1) for line in stat.splitlines())
        files = sum(int(about.get(f"{name}_file", 0)) for name in ("active", "inactive"))
        return int(most) - int(used) + files
    except (OSError, ValueError):  # no limit is the word `max`
        return None
