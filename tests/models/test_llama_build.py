"""Building llama.cpp: names, flags, progress, installation, and what the probe makes of a child's death."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evals.errors import UserError, WeightsError
from evals.models import llama_build, llama_probe
from evals.models.llama_build import Build, Compiler, build, compiler, install, plan, wheel_library_hash
from evals.models.llama_probe import ProbeResult, child_env, probe, safe_params
from tests.models.gguf_files import tiny_gguf

PYTHON = sys.executable


def script(folder: Path, name: str, text: str) -> Path:
    """A small program that Python runs, for where a compiler or a child is asked for."""
    path = folder / name
    path.write_text(text)
    return path


def fake_compiler(folder: Path, macros: str) -> dict[str, str]:
    path = script(folder, "cxx.py", f"print({macros!r})")
    return {"CXX": f"{PYTHON} {path}"}


@pytest.mark.parametrize(
    ("macros", "expected"),
    [
        (
            "#define __GNUC__ 12\n#define __GNUC_MINOR__ 2\n#define EMPTY\n#define F(x) a b",
            Compiler(kind="gcc", version="12.2"),
        ),
        (
            "#define __GNUC__ 4\n#define __clang__ 1\n#define __clang_major__ 17\n#define __clang_minor__ 0",
            Compiler(kind="clang", version="17.0"),
        ),
    ],
)
def test_the_compiler_says_itself_what_it_is(tmp_path: Path, macros: str, expected: Compiler) -> None:
    assert compiler(fake_compiler(tmp_path, macros)) == expected


def test_no_compiler_is_one_line_with_the_mend() -> None:
    with pytest.raises(UserError, match=r"no C\+\+ compiler \(nowhere-c\+\+ does not run\): install one") as caught:
        compiler({"CXX": "nowhere-c++"})
    assert "\n" not in str(caught.value)


def test_gcc_gets_the_cure_and_clang_does_not(tmp_path: Path) -> None:
    gcc = plan(fake_compiler(tmp_path, "#define __GNUC__ 12"), cache=tmp_path)
    assert gcc.env["CXXFLAGS"] == "-fno-tree-dse -fno-dse"
    clang = plan(fake_compiler(tmp_path, "#define __clang__ 1"), cache=tmp_path)
    assert "CXXFLAGS" not in clang.env
    mine = plan({**fake_compiler(tmp_path, "#define __GNUC__ 12"), "CXXFLAGS": "-O2"}, cache=tmp_path)
    assert mine.env["CXXFLAGS"] == "-O2 -fno-tree-dse -fno-dse"


def test_the_name_tells_builds_apart_and_suits_every_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = fake_compiler(tmp_path, "#define __GNUC__ 12\n#define __GNUC_MINOR__ 2")
    names = [plan(env, cache=tmp_path).name, plan(env, cache=tmp_path).name]
    names.append(plan({**env, "CMAKE_ARGS": "-DGGML_CUDA=on"}, cache=tmp_path).name)
    names.append(plan(fake_compiler(tmp_path, "#define __GNUC__ 13"), cache=tmp_path).name)
    monkeypatch.setattr(llama_build, "cpu_identity", lambda: ("Other CPU", "0badcafe"))
    names.append(plan(env, cache=tmp_path).name)
    assert names[0] == names[1] and len(set(names)) == 4
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) and name.startswith("0.3.36-cp3") for name in names)
    assert "gcc12.2" in names[0]


def test_the_users_cmake_arguments_are_kept(tmp_path: Path) -> None:
    env = {**fake_compiler(tmp_path, "#define __GNUC__ 12"), "CMAKE_ARGS": "-DGGML_CUDA=on"}
    assert plan(env, cache=tmp_path).env["CMAKE_ARGS"].endswith(" -DGGML_CUDA=on")


def wanted(folder: Path) -> Build:
    return Build(name="b", folder=folder / "llama_cpp" / "b", env={"CXXFLAGS": "-x -y"}, cpu="Some CPU")


WHEEL = "llama_cpp_python-0.3.36-py3-none-any.whl"
BUILDER = """
import glob, os, time, zipfile
print("Collecting llama-cpp-python")
for step in (1, 2, 3):
    print("  [%d/3] /usr/bin/g++ -c some.cpp" % step, flush=True)
    time.sleep(0.03)
print("flags", os.environ["CXXFLAGS"])
(part,) = glob.glob({folder!r} + "/llama_cpp/*.part")
with zipfile.ZipFile(part + "/{wheel}", "w") as made:
    made.writestr("llama_cpp/lib/libggml-cpu.so", "kernels")
"""


def test_a_build_shows_its_steps_and_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_build, "_EVERY_S", 0.02)
    builder = script(tmp_path, "builder.py", BUILDER.format(folder=str(tmp_path), wheel=WHEEL))
    said: list[str] = []
    wheel = build(wanted(tmp_path), say=said.append, command=[PYTHON, str(builder)])
    assert wheel == tmp_path / "llama_cpp" / "b" / WHEEL and wheel.is_file()
    assert any(re.fullmatch(r"llama.cpp: +\d+ s  step [123] of 3", line) for line in said)
    assert "flags -x -y" in (wheel.parent / "build.log").read_text()
    about = json.loads((wheel.parent / "build.json").read_text())
    assert about["cpu_library_sha256"] == wheel_library_hash(wheel) and about["env"] == {"CXXFLAGS": "-x -y"}
    assert sorted(path.name for path in (tmp_path / "llama_cpp").iterdir()) == ["b"]
    again: list[str] = []
    assert build(wanted(tmp_path), say=again.append, command=[PYTHON, "-c", "raise SystemExit(3)"]) == wheel
    assert again == ["llama.cpp: kept build b"]


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("print('x.cpp:1: error: no such thing'); raise SystemExit(1)", r"failed \(x.cpp:1: error: no such thing\)"),
        ("print('ERROR: No matching distribution found'); raise SystemExit(1)", "No matching distribution"),
        ("pass", "left no wheel"),
    ],
)
def test_a_build_that_fails_is_one_line_and_leaves_its_log(tmp_path: Path, code: str, text: str) -> None:
    with pytest.raises(UserError, match=text) as caught:
        build(wanted(tmp_path), say=lambda line: None, command=[PYTHON, "-c", code])
    assert [path.name for path in (tmp_path / "llama_cpp").iterdir()] == ["b.log"]
    assert "b.log" in str(caught.value) and "\n" not in str(caught.value)


def test_installation_only_where_another_build_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / WHEEL
    with zipfile.ZipFile(wheel, "w") as made:
        made.writestr("llama_cpp/lib/libggml-cpu.so", "kernels")
    there = tmp_path / "libggml-cpu.so"
    there.write_text("kernels")
    ran: list[tuple[str, ...]] = []
    monkeypatch.setattr(llama_build, "NEEDED", ("json",))
    monkeypatch.setattr(llama_build, "cpu_library", lambda: there)
    monkeypatch.setattr(llama_build, "_pip", lambda *words: ran.append(words))
    assert install(wheel, say=lambda line: None) is False and ran == []
    there.write_text("other kernels")
    assert install(wheel, say=lambda line: None) is True
    assert ran == [("install", "--no-deps", "--force-reinstall", "--no-cache-dir", str(wheel))]
    monkeypatch.setattr(llama_build, "NEEDED", ("json", "no_such_module_here"))
    install(wheel, say=lambda line: None)
    assert ran[-1] == ("install", "no-such-module-here")


def test_the_script_ends_with_one_line_where_there_is_no_compiler(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CXX", "nowhere-c++")
    assert llama_build.main([]) == 2
    out = capsys.readouterr()
    assert out.out == "" and out.err.startswith("llama.cpp: no C++ compiler") and out.err.count("\n") == 1


CHILD = """
import json, os, signal, sys
params = json.loads(sys.argv[2])
def die(name):
    os.kill(os.getpid(), getattr(signal, name))
{body}
print("120 prompt tokens")
"""


def child(folder: Path, body: str) -> list[str]:
    return [PYTHON, str(script(folder, "child.py", CHILD.format(body=body)))]


def test_a_build_that_lives_needs_no_parameters(tmp_path: Path) -> None:
    result = probe(
        model="m.gguf",
        command=child(tmp_path, "assert sys.argv[1] == 'm.gguf' and params == {'threads': 3}"),
        params={"threads": 3},
    )
    assert result.ok and result.params == {} and not result.crashed
    assert result.attempts == ("as it is: 120 prompt tokens",)


def test_a_build_that_dies_is_asked_again_without_repacked_weights(tmp_path: Path) -> None:
    body = "if params.get('use_extra_bufts', True): die('SIGSEGV')"
    result = probe(model="m.gguf", command=child(tmp_path, body))
    assert result.ok and result.crashed and result.params == {"use_extra_bufts": False}
    assert result.attempts == ("as it is: died of SIGSEGV", "without repacked weights: 120 prompt tokens")


def test_a_build_that_dies_anyhow_is_not_ok(tmp_path: Path) -> None:
    result = probe(model="m.gguf", command=child(tmp_path, "die('SIGILL')"))
    assert not result.ok and result.crashed and len(result.attempts) == 2
    assert all(line.endswith("died of SIGILL") for line in result.attempts)


def test_where_the_child_died_is_told(tmp_path: Path) -> None:
    body = "print('stage: loading the library'); print('stage: evaluating tokens', flush=True); die('SIGSEGV')"
    result = probe(model="m.gguf", command=child(tmp_path, body))
    assert result.stage == llama_probe.TOKENS and not result.ok
    assert result.attempts[0] == "as it is: died of SIGSEGV evaluating tokens"


@pytest.mark.parametrize(
    ("body", "text"), [("sys.exit('no such model')", "no such model"), ("import time; time.sleep(30)", "within 1 s")]
)
def test_a_child_that_fails_otherwise_says_nothing_about_the_build(tmp_path: Path, body: str, text: str) -> None:
    result = probe(model="m.gguf", command=child(tmp_path, body), timeout_s=1)
    assert not result.ok and not result.crashed and len(result.attempts) == 1 and text in result.attempts[0]


def test_a_child_that_cannot_be_started(tmp_path: Path) -> None:
    result = probe(model="m.gguf", command=[str(tmp_path / "nothing")])
    assert not result.ok and not result.crashed and "cannot be started" in result.attempts[0]


class Prober:
    """Stands for `probe`: a fixed result, and how often it was asked."""

    def __init__(self, **result: Any) -> None:
        defaults: Mapping[str, Any] = {"ok": True, "params": {}, "attempts": ("x",), "seconds": 1.0, "crashed": False}
        self.result = ProbeResult(**{**defaults, **result})
        self.asked = 0

    def __call__(self, **_: Any) -> ProbeResult:
        self.asked += 1
        return self.result


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed build, seen by the hash of its kernels."""
    library = tmp_path / "lib" / "libggml-cpu.so"
    library.parent.mkdir()
    library.write_text("kernels")
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(library.parent))
    monkeypatch.setenv("EVALS_CACHE", str(tmp_path / "cache"))
    return library


def test_what_was_found_is_remembered_by_build_and_kind_of_weights(tmp_path: Path, installed: Path) -> None:
    model = tiny_gguf(tmp_path)
    first = Prober(params={"use_extra_bufts": False}, crashed=True)
    assert safe_params(model, prober=first) == {"use_extra_bufts": False}
    other = Prober()
    assert safe_params(model, prober=other) == {"use_extra_bufts": False}
    assert (first.asked, other.asked) == (1, 0)
    assert safe_params(tiny_gguf(tmp_path, "q8.gguf", general__file_type=7), prober=other) == {}
    installed.write_text("new kernels")
    assert safe_params(model, prober=other) == {} and other.asked == 2
    assert len(list((tmp_path / "cache/llama_cpp/probes").iterdir())) == 3


def test_a_build_that_always_dies_is_a_user_error_each_time(tmp_path: Path, installed: Path) -> None:
    model, dying = tiny_gguf(tmp_path), Prober(ok=False, crashed=True, attempts=("as it is: died of SIGSEGV",))
    for _ in range(2):
        with pytest.raises(UserError, match=r"dies on this machine \(as it is: died of SIGSEGV\): rebuild it"):
            safe_params(model, prober=dying)
    assert dying.asked == 1


def test_a_file_of_which_any_build_dies_is_not_held_against_this_one(tmp_path: Path, installed: Path) -> None:
    model = tiny_gguf(tmp_path)
    said = ("as it is: died of SIGABRT loading the weights",)
    for _ in range(2):
        dying = Prober(ok=False, crashed=True, attempts=said, stage=llama_probe.WEIGHTS)
        with pytest.raises(
            WeightsError, match=r"tiny\.gguf: llama.cpp dies of loading this file .*SIGABRT.* it is damaged"
        ):
            safe_params(model, prober=dying)
        assert dying.asked == 1, "nothing is kept"
    assert not (tmp_path / "cache/llama_cpp/probes").exists()


def test_another_file_of_the_kind_may_acquit_a_build(tmp_path: Path, installed: Path) -> None:
    dying = Prober(ok=False, crashed=True, stage=llama_probe.TOKENS)
    with pytest.raises(UserError, match="this build of llama.cpp dies"):
        safe_params(tiny_gguf(tmp_path, "odd.gguf"), prober=dying)
    fine = Prober()
    assert safe_params(tiny_gguf(tmp_path), prober=fine) == {} and fine.asked == 1
    assert safe_params(tmp_path / "odd.gguf", prober=fine) == {} and fine.asked == 1, "kept by build and kind"


def test_the_fallback_is_said_each_time(tmp_path: Path, installed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_gguf(tmp_path)
    dying = Prober(
        params={"use_extra_bufts": False}, crashed=True, attempts=("as it is: died of SIGSEGV", "120 tokens")
    )
    for _ in range(2):
        safe_params(model, prober=dying)
        said = capsys.readouterr().err
        assert "dies with repacked weights (as it is: died of SIGSEGV" in said and "use_extra_bufts=False" in said
        assert said.count("\n") == 1
    safe_params(tiny_gguf(tmp_path, "q8.gguf", general__file_type=7), prober=Prober())
    assert capsys.readouterr().err == ""


def test_an_empty_finding_is_said_not_kept_and_a_damaged_note_is_made_anew(
    tmp_path: Path, installed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, failing = tiny_gguf(tmp_path), Prober(ok=False, attempts=("as it is: no answer within 600 s",))
    assert safe_params(model, prober=failing) == {} == safe_params(model, prober=failing)
    assert failing.asked == 2 and capsys.readouterr().err.count("could not tell whether it is safe (as it is: no") == 2
    fine = Prober()
    safe_params(model, prober=fine)
    (note,) = (tmp_path / "cache/llama_cpp/probes").iterdir()
    note.write_text("{half")
    assert safe_params(model, prober=fine) == {} and fine.asked == 2


def test_no_library_no_probe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLAMA_CPP_LIB_PATH", str(tmp_path / "none"))
    prober = Prober()
    assert safe_params(tiny_gguf(tmp_path), prober=prober) == {} and prober.asked == 0


def test_the_cpu_has_a_stable_identity() -> None:
    assert llama_probe.cpu_identity() == llama_probe.cpu_identity()
    model, digest = llama_probe.cpu_identity()
    assert model and re.fullmatch(r"[0-9a-f]{8}", digest)


@pytest.mark.slow
@pytest.mark.skipif("EVALS_TEST_GGUF" not in os.environ, reason="no GGUF: set EVALS_TEST_GGUF")
def test_the_installed_build_survives_real_weights() -> None:
    pytest.importorskip("llama_cpp")
    result = probe(model=os.environ["EVALS_TEST_GGUF"])
    assert result.ok, result.attempts
    tokens = re.search(r"(\d+) prompt tokens and 4 decoded", result.attempts[-1])
    assert tokens and int(tokens[1]) >= 64


def test_what_is_measured_for_a_run_does_not_outlive_it() -> None:
    """The child that started it is gone (a stopped run, one that was too slow): its own child goes too."""
    grandchild = """if True:
        import os, sys, time
        from evals.models.llama_probe import end_with
        end_with(int(sys.argv[1]))
        print(os.getpid(), flush=True)
        time.sleep(60)"""
    child = """if True:
        import os, subprocess, sys, time
        subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())])
        time.sleep(60)"""
    with subprocess.Popen(
        [sys.executable, "-c", child, grandchild], stdout=subprocess.PIPE, text=True, env=child_env()
    ) as started:
        assert started.stdout is not None
        pid = int(started.stdout.readline())
        os.kill(pid, 0)
        started.kill()
        assert started.stdout.read() == "", "the pipe ends when its last holder is gone"
