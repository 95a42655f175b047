"""What a run's manifest says of its start."""

from evals.commands import manifest


def test_what_is_measured_once_a_machine_is_no_part_of_every_start() -> None:
    assert manifest.start_s({"measuring_s": 40.25}, 42.0) == 1.75
    assert manifest.start_s({}, 2.5) == manifest.start_s({"measuring_s": None}, 2.5) == 2.5
    assert manifest.start_s({"measuring_s": 3.0}, 2.9999) == 0.0
