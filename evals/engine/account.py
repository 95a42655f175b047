"""What the processes that use one account must agree on: a file of 32 bytes, changed under a lock.

Three instants of the wall clock say all of it: from when on the next request is due, from when on the next token is,
and until when the provider wants no request at all. A process that dies holds nothing: its lock goes with it, the
instants pass by themselves, and one that was torn while being written counts as "from now on".
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import astuple, dataclass
from pathlib import Path

from evals.errors import StoreError

_FORM = struct.Struct("<4s3dI")
_MARK = b"evl1"
_LOCK_AT = 1 << 20
"""Beyond the data: where Windows locks a byte, nobody can read it."""


@dataclass
class Instants:
    """Seconds since 1970."""

    request_at: float = 0.0
    """When the next request is due, if every one before it was spaced evenly."""
    token_at: float = 0.0
    """The same of the next token: beyond now where requests took more than their share."""
    paused_until: float = 0.0


class Account:
    """The instants of one account, in a file; without a path in memory, for this process alone."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._alone = Instants()
        self._file: int | None = None

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)

    @contextlib.contextmanager
    def held(self, now: float, furthest_s: float) -> Iterator[Instants]:
        """The instants, to be changed while no other process can. `furthest_s`: what lies further ahead of `now` is
        no appointment but a clock that was set back."""
        if self.path is None:
            yield self._alone
            return
        try:
            file = self._open(self.path)
            with _locked(file):
                at = _clamped(_read(file, torn=now), now + furthest_s)
                before = astuple(at)
                yield at
                if astuple(at) != before:
                    os.lseek(file, 0, os.SEEK_SET)
                    os.write(file, _packed(at))
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}; limits need it") from error

    def paused_until(self) -> float:
        """Until when the account's pause lasts. Looks without a lock; 0 where no process wrote anything yet."""
        if self.path is None or (self._file is None and not self.path.exists()):
            return self._alone.paused_until
        try:
            return _read(self._open(self.path), torn=0.0).paused_until
        except OSError:
            return 0.0

    def check(self) -> None:
        """Raise `StoreError` now where the file cannot be used."""
        with self.held(0.0, float("inf")):
            pass

    def _open(self, path: Path) -> int:
        if self._file is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
            self._file = os.open(path, flags, 0o600)
        return self._file


def _packed(at: Instants) -> bytes:
    body = struct.pack("<3d", *astuple(at))
    return _FORM.pack(_MARK, *astuple(at), zlib.crc32(body))


def _read(file: int, *, torn: float) -> Instants:
    """What the file says. A new one: all is due; one that cannot be read: due from `torn` on."""
    os.lseek(file, 0, os.SEEK_SET)
    data = os.read(file, _FORM.size)
    if not data:
        return Instants()
    if len(data) == _FORM.size:
        mark, *instants, check = _FORM.unpack(data)
        if mark == _MARK and zlib.crc32(struct.pack("<3d", *instants)) == check:
            return Instants(*instants)
    return Instants(torn, torn, 0.0)


def _clamped(at: Instants, furthest: float) -> Instants:
    return Instants(*(min(value, furthest) for value in astuple(at)))


@contextlib.contextmanager
def _locked(file: int) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        os.lseek(file, _LOCK_AT, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_LOCK, 1)  # type: ignore[attr-defined]
        try:
            yield
        finally:
            os.lseek(file, _LOCK_AT, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
    else:
        fcntl.flock(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)
