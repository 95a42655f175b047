"""The choice of settings, from measurements that are made up here."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from evals.models import llama_tune
from evals.models.llama_native import NativeSettings
from evals.models.llama_tune import Asked, Rates, choose, tuned

BASE = NativeSettings(n_ctx=4096, n_batch=512, threads=4, slots=8)


_load = llama_tune._load


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_tune, "_load", lambda: 0.0)


class Machine:
    """Reading scales with threads to the power `scale`; decoding gains up to `knee` slots; flash is `flash` x as fast,
    plain weights `plain` x, and batches of at most `rows` tokens decode `bounded` x as fast."""

    def __init__(
        self,
        *,
        scale: float = 1.0,
        knee: int = 8,
        flash: float = 1.1,
        plain: float = 0.9,
        bounded: float = 0.5,
        rows: int = 7,
        dies: bool = False,
    ) -> None:
        self.scale, self.knee, self.flash, self.dies = scale, knee, flash, dies
        self.plain, self.bounded, self.rows = plain, bounded, rows
        self.asked: list[list[NativeSettings]] = []

    def __call__(
        self, sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]
    ) -> list[Rates | None]:
        self.asked.append(list(sides))
        return [self._one(side, slots, batches) for side in sides]

    def _one(self, side: NativeSettings, slots: Sequence[int], batches: Sequence[int]) -> Rates | None:
        if self.dies:
            return None
        speed = 100 * side.threads**self.scale * (self.flash if side.flash_attn else 1.0)
        speed *= 1.0 if side.use_extra_bufts else self.plain
        read = {str(size): speed * (1.2 if size == 128 else 1.0) for size in batches}
        decode = {str(n): speed * min(n, self.knee) ** 0.5 for n in slots}
        bounded = {count: rate * self.bounded for count, rate in decode.items()}
        return Rates(read=read, decode=decode, bounded=bounded, same_rows=self.rows)


def test_one_process_where_threads_scale_and_slots_up_to_the_knee() -> None:
    machine = Machine()
    found = choose(BASE, Asked(), 4, room=lambda _: 64, measure=machine)
    assert (found.processes, found.threads, found.slots, found.n_batch) == (1, 4, 8, 128)
    assert found.flash_attn and len(found.measured) == 5  # repacked and plain, without flash, two splits
    assert all(side.threads * len(sides) <= 4 for sides in machine.asked for side in sides)  # never oversubscribed


def test_more_processes_where_threads_do_not_scale() -> None:
    found = choose(BASE, Asked(), 4, room=lambda _: 64, measure=Machine(scale=0.5))
    assert (found.processes, found.threads) == (4, 1)


def test_memory_bounds_slots_and_processes() -> None:
    for most, shape in ((1, (1, 1)), (3, (1, 2))):
        found = choose(BASE, Asked(), 4, room={1: most, 2: most, 4: most}.__getitem__, measure=Machine(scale=0.5))
        assert (found.slots, found.processes) == shape
    found = choose(BASE, Asked(), 4, room=lambda _: 9, measure=Machine(scale=0.2))
    assert found.processes == 4 and found.slots == 2  # of eight in one process
    found = choose(BASE, Asked(slots=4), 4, room=lambda _: 9, measure=Machine(scale=0.2))
    assert found.processes == 2 and found.slots == 4


def test_each_process_has_weights_of_its_own() -> None:
    """Memory for 9 slots beside one process' weights, for 4 beside two processes', and for none beside four."""
    found = choose(BASE, Asked(), 4, room={1: 9, 2: 4, 4: 0}.__getitem__, measure=Machine(scale=0.2))
    assert (found.processes, found.slots) == (2, 2)


def test_after_a_while_the_best_so_far_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(llama_tune, "BUDGET_S", -1.0)
    machine = Machine(scale=0.2)
    assert choose(BASE, Asked(), 4, room=lambda _: 64, measure=machine).processes == 1 and len(machine.asked) == 1
    machine = Machine(scale=0.2)
    asked = Asked(processes=2)
    assert choose(BASE, asked, 4, room=lambda _: 64, measure=machine).processes == 2 and len(machine.asked) == 2


def test_without_flash_attention_only_where_that_is_clearly_faster() -> None:
    assert choose(BASE, Asked(), 1, room=lambda _: 8, measure=Machine(flash=0.97)).flash_attn
    assert not choose(BASE, Asked(), 1, room=lambda _: 8, measure=Machine(flash=0.8)).flash_attn


def test_plain_weights_where_their_kernels_are_clearly_faster() -> None:
    assert choose(BASE, Asked(), 1, room=lambda _: 8, measure=Machine(plain=1.03)).use_extra_bufts
    assert not choose(BASE, Asked(), 1, room=lambda _: 8, measure=Machine(plain=1.2)).use_extra_bufts
    fixed = Machine(plain=1.2)
    assert choose(BASE, Asked(use_extra_bufts=True), 1, room=lambda _: 8, measure=fixed).use_extra_bufts
    dying = NativeSettings(n_ctx=4096, n_batch=512, threads=4, slots=8, use_extra_bufts=False)  # what the probe says
    assert not choose(dying, Asked(), 1, room=lambda _: 8, measure=fixed).use_extra_bufts
    assert all(side.use_extra_bufts for sides in fixed.asked[:2] for side in sides)
    assert not any(side.use_extra_bufts for sides in fixed.asked[2:] for side in sides)


def test_answers_do_not_depend_on_their_neighbours_where_that_costs_little_or_is_asked_for() -> None:
    dear, cheap = Machine(bounded=0.5), Machine(bounded=0.9)
    assert choose(BASE, Asked(), 1, room=lambda _: 8, measure=dear).decode_rows is None
    assert choose(BASE, Asked(), 1, room=lambda _: 8, measure=cheap).decode_rows == 7
    assert choose(BASE, Asked(batch_invariant=True), 1, room=lambda _: 8, measure=dear).decode_rows == 7
    free = choose(BASE, Asked(batch_invariant=False), 1, room=lambda _: 8, measure=cheap)
    assert free.decode_rows is None and free.same_rows == 7


def test_of_kinds_about_as_fast_that_on_which_answers_depend_least_on_their_neighbours() -> None:
    machine = Machine(bounded=0.99, plain=0.98)

    def rows(sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]) -> list[Rates | None]:
        found = machine(sides, slots, batches)
        return [
            replace(one, same_rows=3 if side.use_extra_bufts else 7)
            for one, side in zip(found, sides, strict=True)
            if one
        ]

    found = choose(BASE, Asked(), 1, room=lambda _: 8, measure=rows)
    assert not found.use_extra_bufts and found.decode_rows == 7


def test_every_process_rounds_as_the_one_that_may_evaluate_least_together() -> None:
    machine = Machine(scale=0.5, bounded=0.99)

    def uneven(sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]) -> list[Rates | None]:
        found = machine(sides, slots, batches)
        return [replace(one, same_rows=7 - at) for at, one in enumerate(found) if one is not None]

    found = choose(BASE, Asked(), 4, room=lambda _: 64, measure=uneven)
    assert (found.processes, found.decode_rows, found.same_rows) == (4, 4, 4)


def test_what_the_user_fixed_stays() -> None:
    asked = Asked(processes=2, threads=1, slots=3, n_batch=64, flash_attn=False)
    found = choose(BASE, asked, 4, room=lambda _: 64, measure=Machine())
    assert (found.processes, found.threads, found.slots, found.n_batch, found.flash_attn) == (2, 1, 3, 64, False)
    assert not asked.open and Asked().open
    assert replace(asked, batch_invariant=True).open  # how many that are is measured


def test_where_nothing_can_be_measured_the_plainest_settings_are_taken() -> None:
    found = choose(BASE, Asked(), 4, room=lambda _: 64, measure=Machine(dies=True))
    assert (found.processes, found.threads, found.slots) == (1, 4, 1) and found.measured == {}
    asked = Asked(processes=2, batch_invariant=True)
    found = choose(BASE, asked, 4, room=lambda _: 64, measure=Machine(dies=True))
    assert (found.processes, found.threads, found.decode_rows) == (2, 2, 1)


def test_processes_that_cannot_be_measured_side_by_side_share_the_cores() -> None:
    machine = Machine()

    def alone(sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]) -> list[Rates | None]:
        return machine(sides, slots, batches) if len(sides) == 1 else [None] * len(sides)

    found = choose(BASE, Asked(processes=2), 4, room=lambda _: 64, measure=alone)
    assert (found.processes, found.threads) == (2, 2)


def test_a_choice_is_kept_and_made_anew_once_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVALS_CACHE", str(tmp_path))
    weights = tmp_path / "x.gguf"
    weights.write_bytes(b"x")
    calls: list[int] = []

    def measured(path: str, sides: Sequence[NativeSettings], slots: Sequence[int], batches: Sequence[int]) -> list:
        calls.append(len(sides))
        return Machine()(sides, slots, batches)

    monkeypatch.setattr(llama_tune, "measured", measured)

    def ask(again: bool = False) -> llama_tune.Tuned:
        return tuned(str(weights), BASE, Asked(), 1, room=lambda _: 8, again=again)

    first = ask()
    assert ask() == first and len(calls) == 3  # repacked and plain weights, without flash attention
    ask(again=True)
    assert len(calls) == 3, "this very run has measured it"
    monkeypatch.setattr(llama_tune, "_run", lambda: "another")
    ask(again=True)
    ask(again=True)
    assert len(calls) == 6
    weights.write_bytes(b"other")
    ask()
    assert len(calls) == 9
    for kept in (tmp_path / "llama_cpp" / "tuned").glob("*.json"):
        kept.write_text("{")
    ask()
    assert len(calls) == 12


def test_a_cache_that_cannot_be_written_costs_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights, cache = tmp_path / "x.gguf", tmp_path / "cache"
    weights.write_bytes(b"x")
    cache.write_bytes(b"a file where a folder should be")
    monkeypatch.setenv("EVALS_CACHE", str(cache))
    monkeypatch.setattr(llama_tune, "measured", lambda path, *asked: Machine()(*asked))
    assert tuned(str(weights), BASE, Asked(), 1, room=lambda _: 8).processes == 1


def test_a_machine_is_busy_with_what_runs_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 0 50 800 50 0 0 0 7 0\ncpu0 1 2 3\n")
    later = "cpu  160 0 90 850 100 0 0 0 9 0\n"
    monkeypatch.setattr(llama_tune.time, "sleep", lambda seconds: stat.write_text(later))
    monkeypatch.setattr(llama_tune.os, "cpu_count", lambda: 4)
    assert _load(stat) == pytest.approx(4 * 0.5)  # of 200 ticks 100 without work
    monkeypatch.setattr(llama_tune.os, "getloadavg", lambda: (1.5, 0.0, 0.0))
    assert _load(tmp_path / "none") == 1.5
