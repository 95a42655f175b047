"""Weights from a file, a hub and an index: served from this machine, never from the network."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from weight_fakes import COMMIT, FILE, REPO, Hub, card, digest, gguf, hub, hub_source, index_source

from evals.errors import WeightsError
from evals.models import downloads
from evals.models.sources import usable
from evals.models.weights import cache_root, fetch, locate

if not importlib.util.find_spec("huggingface_hub"):
    pytest.skip("huggingface_hub is not installed", allow_module_level=True)
__all__ = ["hub"]


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


@pytest.mark.parametrize(("name", "says"), [(".", "a folder"), ("~nobody-of-this-name/x.gguf", "home directory")])
def test_own_file_that_is_no_file(tmp_path: Path, name: str, says: str) -> None:
    path = str(tmp_path) if name == "." else name
    with pytest.raises(WeightsError, match=rf"model\.path=.*{says}.*; give") as caught:
        fetch(card(hub_source(), path=path), root=tmp_path / "cache")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("locked", ["file", "folder"])
@pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
def test_own_file_that_may_not_be_read(tmp_path: Path, locked: str) -> None:
    """In a child without root's rights, which no permission stops."""
    folder = tmp_path / "folder"
    folder.mkdir()
    path = folder / "x.gguf"
    path.write_bytes(gguf())
    code = (
        "import os, sys\nfrom evals.errors import WeightsError\nfrom evals.models.weights import fetch\n"
        "os.geteuid() or os.setuid(65534)\n"
        "try:\n    fetch({'name': 'tiny', 'quant': 'q4', 'quants': {}, 'path': sys.argv[1]}, root=sys.argv[2])\n"
        "except WeightsError as error:\n    print(error)\n"
    )
    for outer in (*tmp_path.parents[:2], tmp_path):
        os.chmod(outer, 0o755)
    os.chmod(path if locked == "file" else folder, 0)
    command = [sys.executable, "-c", code, str(path), str(tmp_path / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2], check=False)
    os.chmod(folder, 0o755)
    assert done.stdout.count("\n") == 1 and "Permission denied" in done.stdout and "x.gguf" in done.stdout, done.stderr


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


def test_size_is_counted_while_pip_moves_files(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"1234")
    (tmp_path / "copy").write_bytes(b"1234")
    os.symlink(tmp_path / "gone", tmp_path / "link")
    assert downloads._size_under(tmp_path) == 4
    assert downloads._size_under(tmp_path / "gone") == 0


def test_numeric_order() -> None:
    names = ["a/part10.bin", "a/part9.bin", "a/part1.bin"]
    assert sorted(names, key=downloads._numeric) == ["a/part1.bin", "a/part9.bin", "a/part10.bin"]
