"""How fast real weights are read and decoded, how many tokens may be evaluated together, and what that is good for."""

import json

import pytest

from evals.errors import ConfigError
from evals.models.llama_cpp import LlamaCpp
from evals.models.llama_native import NativeSettings
from evals.models.llama_rates import Rates, measured
from tests.models.llama_real import DOCUMENTS, GGUF, Marks, answer, ask, drained, make, real

SETTINGS = NativeSettings(n_ctx=512, n_batch=128, threads=1, slots=4, flash_attn=True)


class TestReal:
    """On real weights."""

    pytestmark = real

    def test_rates_of_a_child_and_of_one_that_dies(self) -> None:
        (found,) = measured(str(GGUF), [SETTINGS], [1, 4], [128, 64])
        assert isinstance(found, Rates) and set(found.read) == {"128", "64"} and found.same_rows >= 1
        assert set(found.decode) == set(found.bounded) == {"1", "4"}
        assert all(rate > 0 for rates in (found.read, found.decode, found.bounded) for rate in rates.values())
        assert measured("/nowhere.gguf", [SETTINGS], [1], [128]) == [None]

    def test_an_answer_is_the_same_to_the_bit_whoever_is_decoded_beside_it_and_without_jumping(self) -> None:
        documents = [f"{document} Signed in {place}." for document in DOCUMENTS for place in ("Ulm", "Bergen", "Cork")]
        kind = {"tune": "auto", "processes": 1, "n_batch": 128, "flash_attn": True, "use_extra_bufts": False}
        fast, slow = make(**kind, batch_invariant=True, slots=len(documents)), make(**kind, jump_forward=False)
        facts = fast.load()
        slow.follow({**facts, "capacity": {"slots": 1, "processes": 1}})
        slow.load()
        try:
            assert 1 <= facts["settings"]["decode_rows"] == facts["tuned"]["same_rows"]
            alone = [answer(slow, ask(document)) for document in documents]
            for ticket, document in enumerate(documents):
                fast.begin(ticket, ask(document), Marks())
            together = drained(fast)
            for ticket, one in enumerate(alone):
                assert together[ticket].text == one.text and json.loads(one.text)
                for signal, value in one.signals.items():  # over the tokens that were chosen: jumping chooses fewer
                    assert not signal.startswith("min_") or together[ticket].signals[signal] == value
        finally:
            slow.close()
            fast.close()


def test_what_is_found_by_measuring_needs_measuring() -> None:
    with pytest.raises(ConfigError, match="batch_invariant=true is found by measuring: not with tune=off"):
        LlamaCpp(name="small", path="x.gguf", tune="off", batch_invariant=True)
