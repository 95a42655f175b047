"""Slots that fit the memory, and fewer where they do not."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evals.errors import WeightsError
from evals.models import memory
from evals.models.llama_native import NativeSettings

WANTED = NativeSettings(n_ctx=4096, n_batch=512, threads=1, slots=8)


@pytest.mark.parametrize(
    ("free", "slots", "n_ctx"),
    [
        (None, 8, 4096),
        (10 * 2**30, 8, 4096),
        (2 * 4096 * 1000 * 3, 3, 4096),
        (2 * 4096 * 1000, 1, 4096),
        (2 * 1100 * 1000, 1, 1024),
        (1000, 1, 512),
    ],
)
def test_slots_go_first_and_then_the_context(free: int | None, slots: int, n_ctx: int) -> None:
    made = memory.plan(WANTED, 1000, free)
    assert (made.settings.slots, made.settings.n_ctx) == (slots, n_ctx)
    assert min(8, max(1, memory.room(WANTED, 1000, free))) == made.settings.slots


def test_caches_are_planned_beside_the_weights() -> None:
    gib = 2**30
    assert memory.plan(WANTED, 2**18, 15 * gib).settings.slots == 7  # a gibibyte each, in half of 15
    made = memory.plan(WANTED, 2**18, 15 * gib, weights=9 * gib)
    assert (made.settings.slots, made.settings.n_ctx) == (3, 4096)
    assert [memory.room(WANTED, 2**18, 15 * gib, weights=5 * gib, processes=n) for n in (1, 2, 4)] == [5, 2, 0]
    tight = memory.plan(WANTED, 2**18, 8 * gib, weights=9 * gib)
    assert (tight.settings.slots, tight.settings.n_ctx) == (1, 4096), "a shorter context would not make them fit"


def test_files_that_a_container_has_read_are_no_used_memory(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("4000000\n")
    (tmp_path / "memory.current").write_text("3900000\n")
    (tmp_path / "memory.stat").write_text(
        "anon 900000\nfile 3000000\nshmem 200000\nactive_file 800000\ninactive_file 2000000\n"
    )
    assert memory._container(tmp_path) == 100_000 + 2_800_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory._container(tmp_path) is None and memory._container(tmp_path / "none") is None


class Opens:
    """A `Native` that has memory for so many tokens."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.tried = tokens, 0

    def cache_bytes_per_token(self) -> int:
        return 1000

    def open(self, settings: NativeSettings) -> bool:
        self.tried += 1
        return settings.slots * settings.n_ctx <= self.tokens

    def no_context(self) -> WeightsError:
        return WeightsError("no context")


@pytest.mark.parametrize(("tokens", "slots", "n_ctx"), [(10**6, 8, 4096), (9000, 2, 4096), (1100, 1, 1024)])
def test_what_cannot_be_made_is_made_smaller_and_told(
    tokens: int, slots: int, n_ctx: int, capsys: pytest.CaptureFixture[str]
) -> None:
    native: Any = Opens(tokens)
    made = memory.open_context(native, WANTED, 10 * 2**30, "small")
    assert (made.settings.slots, made.settings.n_ctx) == (slots, n_ctx)
    said = capsys.readouterr().err
    assert f"{slots} slots of {n_ctx:,} tokens" in said and ("less than asked for" in said) == (tokens < 8 * 4096)


def test_no_memory_at_all_is_an_error() -> None:
    native: Any = Opens(100)
    with pytest.raises(WeightsError):
        memory.open_context(native, WANTED, None, "small")


def test_the_free_memory_is_that_of_the_machine_or_its_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_machine", lambda: 5000)
    monkeypatch.setattr(memory, "_container", lambda: 300)
    assert memory.free_memory() == 300
    monkeypatch.setattr(memory, "_container", lambda: None)
    assert memory.free_memory() == 5000
    assert SimpleNamespace(**memory.plan(WANTED, 1000, None).facts()).free_gib is None
