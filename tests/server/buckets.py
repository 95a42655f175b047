"""Requests and tokens a minute, for each key: buckets that refill evenly."""

from dataclasses import dataclass


@dataclass(slots=True)
class Bucket:
    """One of them."""

    rate: float
    """A second."""
    room: float
    level: float
    at: float

    def wait_for(self, amount: float, now: float) -> float:
        """Seconds until so much is there; nothing is taken."""
        self.level = min(self.room, self.level + (now - self.at) * self.rate)
        self.at = now
        # more than the bucket holds is let through once it is full, or it would wait for ever
        lacking = min(amount, self.room) - self.level
        return lacking / self.rate if lacking > 1e-9 else 0.0


class Buckets:
    """Two for each key."""

    def __init__(self, requests: float | None, tokens: float | None, burst_s: float) -> None:
        self._limits = {"requests": requests, "tokens": tokens}
        self._burst_s = burst_s
        self._of: dict[tuple[str, str], Bucket] = {}

    def take(self, key: str, tokens: int, now: float) -> tuple[str, float] | None:
        """Take one request and its tokens; or which limit stands in the way, and for how long."""
        amounts = {"requests": 1.0, "tokens": float(tokens)}
        held = [(name, self._bucket(key, name, now)) for name, limit in self._limits.items() if limit is not None]
        for name, bucket in held:
            if (wait := bucket.wait_for(amounts[name], now)) > 0:
                return name, wait
        for name, bucket in held:
            bucket.level -= amounts[name]
        return None

    def left(self, key: str) -> dict[str, tuple[int, int, float]]:
        """By limit: its size a minute, what is left, seconds until it is full."""
        found = {}
        for name, limit in self._limits.items():
            bucket = self._of.get((key, name))
            if limit is not None and bucket is not None:
                found[name] = (int(limit), max(0, int(bucket.level)), (bucket.room - bucket.level) / bucket.rate)
        return found

    def _bucket(self, key: str, name: str, now: float) -> Bucket:
        if (key, name) not in self._of:
            rate = (self._limits[name] or 0) / 60
            room = max(1.0, rate * self._burst_s)
            self._of[key, name] = Bucket(rate, room, room, now)
        return self._of[key, name]
