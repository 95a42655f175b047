"""Which attempt meets which fault: a pure function that a test can call too. Standard library only."""

import math
import time
from email.utils import formatdate
from hashlib import blake2b

BILLED = ("truncated", "unreadable")
"""The answer was produced and is charged, though nobody can read it."""
IN_STREAMS = ("stall", "stream_error")
"""These happen in streams only; a plain request meets hang and 500 in their place."""


def draw(seed: int, document: str, attempt: int, salt: str = "fault") -> float:
    """A number in [0, 1) that depends on nothing else."""
    digest = blake2b(f"{salt}|{seed}|{document}|{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def fault_of(seed: int, document: str, attempt: int, faults: dict[str, float], fault_attempts: int = 1) -> str | None:
    """The fault that this attempt (1 is the first) of this document meets, or None."""
    if not faults or (fault_attempts and attempt > fault_attempts):
        return None
    at, total = draw(seed, document, attempt), 0.0
    for kind, share in faults.items():
        total += share
        if at < total:
            return kind
    return None


def retry_after(form: str, seconds: float) -> dict[str, str]:
    """The header in one of its forms."""
    if form == "none":
        return {}
    if form == "ms":
        return {"retry-after-ms": str(round(seconds * 1000)), "retry-after": str(math.ceil(seconds))}
    if form == "date":  # whole seconds only, so the next one that is late enough
        return {"retry-after": formatdate(math.ceil(time.time() + seconds), usegmt=True)}
    return {"retry-after": str(int(seconds)) if seconds == int(seconds) else str(round(seconds, 3))}
