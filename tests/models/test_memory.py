"""Slots that fit the memory, and fewer where they do not."""

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
    assert memory.room(WANTED, 1000, free) >= 1


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
