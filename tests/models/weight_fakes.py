"""A hub and an index imitated on this machine, and the smallest whole GGUF."""

import hashlib
import struct
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evals.models import downloads

COMMIT = "c0ffee" + "0" * 34
REPO, FILE = "maker/model-GGUF", "model.q4.gguf"


def gguf(floats: int = 1000, seed: int = 1) -> bytes:
    """A whole GGUF of one F32 tensor."""
    name = b"weight"
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, 0)
    head += struct.pack("<Q", len(name)) + name + struct.pack("<IQIQ", 1, floats, 0, 0)
    head += b"\0" * (-len(head) % 32)
    return head + hashlib.shake_128(str(seed).encode()).digest(4 * floats)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@dataclass
class Hub:
    """What the imitated hub serves, and what it was asked."""

    data: bytes = b""
    status: int = 200
    code: str | None = None
    break_after: list[int] = field(default_factory=list)
    """Bytes after which each of the next transfers breaks off."""
    sha256: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)
    authorization: list[str | None] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    state = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            return None

        def do_HEAD(self) -> None:
            self._reply(body=False)

        def do_GET(self) -> None:
            self._reply(body=True)

        def _reply(self, *, body: bool) -> None:
            state.asked.append((self.command, self.path, self.headers.get("Range")))
            state.authorization.append(self.headers.get("Authorization"))
            if state.status != 200:
                return self._refuse()
            first = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
            rest = state.data[first:]
            self.send_response(206 if first else 200)
            sha = state.sha256 or digest(state.data)
            self.send_header("ETag", '"not-the-linked-one"')
            self.send_header("X-Linked-Etag", f'"{sha}"')
            self.send_header("X-Linked-Size", str(len(state.data)))
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(rest)))
            self.end_headers()
            if not body:
                return None
            if state.break_after:
                self.wfile.write(rest[: state.break_after.pop(0)])
                self.wfile.flush()
                self.close_connection = True
                self.connection.shutdown(2)
                return None
            self.wfile.write(rest)
            return None

        def _refuse(self) -> None:
            self.send_response(state.status)
            if state.code:
                self.send_header("X-Error-Code", state.code)
            self.send_header("Content-Length", "0")
            self.end_headers()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("HF_ENDPOINT", state.url)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setattr(downloads.time, "sleep", lambda seconds: None)
    yield state
    server.shutdown()
    server.server_close()


def card(*sources: dict[str, Any], **extra: Any) -> dict[str, Any]:
    entry = {key: extra.pop(key) for key in ("bytes", "sha256", "publisher") if key in extra}
    quants = {"q4": {**entry, "sources": list(sources)}}
    return {"name": "tiny", "quant": "q4", "quants": quants, "path": None, "source": None, **extra}


def hub_source(**extra: Any) -> dict[str, Any]:
    return {"kind": "hub", "repo": REPO, "file": FILE, "revision": None, "verified": False, **extra}


Wheels = Callable[..., tuple[str, ...]]


@pytest.fixture
def wheels(tmp_path: Path) -> Wheels:
    """Makes wheels `tinyweights-partN` of the pieces, and the pip arguments that find them."""

    def make(*pieces: dict[str, bytes], version: str = "1.0") -> tuple[str, ...]:
        shelf = tmp_path / "shelf"
        shelf.mkdir(exist_ok=True)
        for number, members in enumerate(pieces, 1):
            name = f"tinyweights_part{number}"
            info = f"{name}-{version}.dist-info"
            with zipfile.ZipFile(shelf / f"{name}-{version}-py3-none-any.whl", "w") as archive:
                for member, data in members.items():
                    archive.writestr(f"{name}/{member}", data)
                archive.writestr(f"{name}/__init__.py", "raise SystemExit('imported')")
                head = f"Metadata-Version: 2.1\nName: tinyweights-part{number}\nVersion: {version}\n"
                archive.writestr(f"{info}/METADATA", head + "Requires-Dist: not-there-at-all\n")
                archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
                archive.writestr(f"{info}/RECORD", "")
        return "--no-index", "--find-links", str(shelf)

    return make


def index_source(parts: int, **extra: Any) -> dict[str, Any]:
    names = [f"tinyweights-part{number}" for number in range(1, parts + 1)]
    return {
        "kind": "index",
        "packages": names,
        "version": "1.0",
        "member": "*/data/part*.bin",
        "file": "m.gguf",
        **extra,
    }
