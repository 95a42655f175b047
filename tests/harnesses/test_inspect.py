"""Inspect's logs, made by Inspect itself with its own mock model and read back. Skipped where it is not installed; it
is kept apart from the other pins (see CONTRIBUTING)."""

import json
import math
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from foreign_logs import PLANTED

from evals.core import Usage
from evals.errors import ConfigError, DataError
from evals.harnesses import inspect
from evals.harnesses.base import BOUGHT, REPORTED_USD, Log


def test_without_its_reader_the_mend_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "inspect_ai.log", None)
    with pytest.raises(
        ConfigError, match=r"x\.eval: Inspect's logs need its reader: pip install 'evals-frontier\[inspect\]'"
    ):
        inspect.read(tmp_path / "x.eval")


@pytest.mark.parametrize(
    ("value", "number"),
    [("C", 1), ("I", 0), ("P", 0.5), ("N", 0), (True, 1), (0.25, 0.25), ("0.5", 0.5), ("Yes", 1), ("false", 0)],
)
def test_a_score_that_is_a_word_is_inspects_number(value: Any, number: float) -> None:
    assert inspect.as_number(value) == number


@pytest.mark.parametrize("value", ["A", "", "excellent", None, "c"])
def test_a_score_that_is_no_number_is_not_scored(value: Any) -> None:
    assert math.isnan(inspect.as_number(value))


@pytest.mark.parametrize(
    ("given", "read", "write", "output", "total", "plain"),
    [
        (10, None, None, 3, 13, 10),
        (10, 4, None, 3, 17, 10),  # left out, as Inspect says today
        (10, 4, None, 3, 13, 6),  # counted in, as older versions did for OpenAI
        (10, 4, 5, 3, 13, 1),
        (0, 40, None, 3, 43, 0),
        (10, 4, None, 3, 99, None),
        (3, 4, None, 3, 6, None),
    ],
)
def test_cached_input_is_told_apart_by_the_total(
    given: int, read: int | None, write: int | None, output: int, total: int, plain: int | None
) -> None:
    names = ("input_tokens", "input_tokens_cache_read", "input_tokens_cache_write", "output_tokens", "total_tokens")
    usage = SimpleNamespace(**dict(zip(names, (given, read, write, output, total), strict=True)))
    assert inspect.plain_input(usage) == plain


@pytest.mark.filterwarnings("ignore")  # Inspect's own, from running an evaluation
@pytest.mark.skipif(find_spec("inspect_ai") is None, reason="inspect_ai is not installed")
class TestRealLogs:
    """A log for each thing that Inspect can say."""

    def made(self, folder: Path, *, format: str = "eval", epochs: int = 1, **more: Any) -> Path:
        """Four samples answered `answer 0`, `answer 1`, `answer 2`, `answer 0`, ...; the gold alternates."""
        from inspect_ai import Task
        from inspect_ai import eval as run
        from inspect_ai.dataset import MemoryDataset, Sample
        from inspect_ai.model import get_model
        from inspect_ai.scorer import includes, match
        from inspect_ai.solver import generate

        samples = [
            Sample(id=f"s{i}", input=f"secret document {i}", target=f"answer {i % 2}", metadata={"secret": PLANTED})
            for i in range(4)
        ]
        outputs = more.pop("outputs", None) or [self.output(i) for i in range(40)]
        task = Task(
            dataset=MemoryDataset(samples, name="mine"),
            solver=more.pop("solver", generate()),
            scorer=more.pop("scorer", [match(), includes()]),
            name="mytask",
        )
        (log,) = run(
            task,
            model=get_model("mockllm/model", custom_outputs=outputs, memoize=False),
            epochs=epochs,
            log_dir=str(folder),
            log_format=format,  # type: ignore[arg-type]
            display="none",
            max_connections=1,
            max_samples=1,
            fail_on_error=False,
            **more,
        )
        return Path(log.location)

    def output(self, i: int, *, stop: Any = "stop", **usage: Any) -> Any:
        from inspect_ai.model import ModelOutput, ModelUsage

        made = ModelOutput.from_content("mockllm/model", f"answer {i % 3}", stop_reason=stop)
        told = {"input_tokens": 10 + i, "output_tokens": 3, "total_tokens": 13 + i, **usage}
        made.usage = ModelUsage(**told)
        return made

    def read(self, path: Path) -> Log:
        (log,) = inspect.read(path)
        return log

    @pytest.mark.parametrize("format", ["eval", "json"])
    def test_both_formats_say_the_same(self, tmp_path: Path, format: str) -> None:
        log = self.read(self.made(tmp_path, format=format))
        assert (log.harness, log.task, log.model) == ("inspect_ai", "mytask", "mockllm/model")
        assert log.version and log.created and log.created.startswith("20")
        assert log.metrics == ["match", "includes"]
        assert [answer.values["match"] for answer in log.answers] == [1.0, 1.0, 0.0, 0.0]
        call = log.answers[1].record.calls[0]
        assert call.completion is not None and call.completion.text == "answer 1"
        assert call.completion.usage == Usage(input_uncached=11, output=3)
        assert call.timing is not None and 0 < call.timing.total_s < 5 and call.timing.started_at is None
        assert REPORTED_USD not in call.completion.notes and not call.cached
        assert "secret document" not in repr(log) and PLANTED not in repr(log)

    def test_logs_over_the_same_documents_agree(self, tmp_path: Path) -> None:
        one, two = (self.read(self.made(tmp_path / name, format=name)) for name in ("eval", "json"))
        assert one.dataset == two.dataset and one.prompt == two.prompt and one.scorer == two.scorer

    def test_epochs_are_repeats(self, tmp_path: Path) -> None:
        log = self.read(self.made(tmp_path, epochs=3))
        assert sorted((a.record.sample_id, a.record.repeat) for a in log.answers) == [
            (f"s{i}", repeat) for i in range(4) for repeat in range(3)
        ]
        assert not log.notes
        other = self.read(self.made(tmp_path, epochs=1))
        assert other.dataset == log.dataset

    def test_another_reducer_is_told(self, tmp_path: Path) -> None:
        from inspect_ai import Epochs

        log = self.read(self.made(tmp_path, epochs=Epochs(2, "max")))  # type: ignore[arg-type]
        assert any("reduced epochs by max" in note for note in log.notes)

    def test_a_sample_that_broke_is_a_failure(self, tmp_path: Path) -> None:
        from inspect_ai.solver import chain, generate, solver

        @solver
        def breaking() -> Any:
            async def solve(state: Any, generate: Any) -> Any:
                if state.sample_id == "s2":
                    raise RuntimeError(f"429 rate limit for {PLANTED}")
                return state

            return solve

        log = self.read(self.made(tmp_path, solver=chain(generate(), breaking())))
        broken = next(answer.record for answer in log.answers if answer.record.sample_id == "s2")
        assert (broken.answer, broken.error) == (None, "rate_limit")
        text = broken.calls[0].error_text
        assert text is not None and "429 rate limit" in text and PLANTED not in text
        assert broken.calls[0].usage == Usage(input_uncached=12, output=3)  # what was paid all the same

    def test_cut_answers_and_limits(self, tmp_path: Path) -> None:
        outputs = [self.output(i, stop=stop) for i, stop in enumerate(["max_tokens", "content_filter", "stop", "stop"])]
        log = self.read(self.made(tmp_path, outputs=outputs))
        ends = [a.record.calls[0].completion.finish_reason for a in log.answers]  # type: ignore[union-attr]
        assert ends == ["length", "content_filter", "stop", "stop"]
        stopped = self.read(self.made(tmp_path, token_limit=5))
        ends = [a.record.calls[0].completion.finish_reason for a in stopped.answers]  # type: ignore[union-attr]
        assert set(ends) == {"length"}

    def test_usage_that_is_not_reported_is_not_known(self, tmp_path: Path) -> None:
        outputs = [self.output(i, input_tokens=0, output_tokens=0, total_tokens=0) for i in range(4)]
        log = self.read(self.made(tmp_path, outputs=outputs))
        assert {a.record.calls[0].completion.usage for a in log.answers} == {Usage()}  # type: ignore[union-attr]

    def test_cached_input_reasoning_and_dollars(self, tmp_path: Path) -> None:
        from inspect_ai.model import ModelUsage

        more = {"input_tokens_cache_read": 4, "reasoning_tokens": 2, "total_tokens": 17, "total_cost": 0.25}
        log = self.read(self.made(tmp_path, outputs=[self.output(0, **more)] * 4))
        done = log.answers[0].record.calls[0].completion
        assert done is not None and done.usage == Usage(input_uncached=10, cache_read=4, output=3, reasoning=2)
        assert done.notes.get(REPORTED_USD) == (0.25 if "total_cost" in ModelUsage.model_fields else None)

    def test_several_turns_are_summed_and_the_judge_left_out(self, tmp_path: Path) -> None:
        from inspect_ai.scorer import model_graded_qa
        from inspect_ai.solver import chain, generate, user_message

        outputs = [self.output(i) for i in range(12)]  # two turns and a grade for each of four samples
        for at in (2, 5, 8, 11):
            outputs[at].choices[0].message.content = outputs[at].completion = "GRADE: C"
        twice = chain(generate(), user_message("again"), generate())
        log = self.read(self.made(tmp_path, outputs=outputs, solver=twice, scorer=model_graded_qa()))
        done = log.answers[0].record.calls[0].completion
        assert done is not None and done.usage == Usage(input_uncached=10 + 11, output=6)
        assert log.answers[0].values["model_graded_qa"] == 1.0
        assert any("4 model calls made while scoring (78 tokens) are not counted" in note for note in log.notes)

    @pytest.mark.parametrize("turns", [1, 2])
    def test_without_events_the_last_output_or_the_totals_are_taken(self, tmp_path: Path, turns: int) -> None:
        from inspect_ai.solver import chain, generate, user_message

        solver = generate() if turns == 1 else chain(generate(), user_message("again"), generate())
        path = self.made(tmp_path, format="json", solver=solver)
        value = json.loads(path.read_text())
        for sample in value["samples"]:
            sample["events"] = []
        path.write_text(json.dumps(value))
        log = self.read(path)
        call = log.answers[0].record.calls[0]
        assert call.completion is not None and call.timing is not None
        assert call.completion.usage == (
            Usage(input_uncached=10, output=3) if turns == 1 else Usage(input_uncached=21, output=6)
        )
        assert any("usage and seconds are the sample's totals" in note for note in log.notes) is (turns == 2)

    def test_its_cache_is_cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from inspect_ai.solver import generate

        monkeypatch.setenv("INSPECT_CACHE_DIR", str(tmp_path / "cache"))
        self.made(tmp_path / "a", solver=generate(cache=True))
        log = self.read(self.made(tmp_path / "b", solver=generate(cache=True)))
        for answer in log.answers:
            (call,) = answer.record.calls
            assert call.cached and call.completion is not None and BOUGHT in call.completion.notes

    def test_a_scorer_of_several_values_is_several_metrics(self, tmp_path: Path) -> None:
        from inspect_ai.scorer import Score, mean, scorer

        @scorer(metrics={"tone": [mean()], "facts": [mean()]})
        def both() -> Any:
            async def score(state: Any, target: Any) -> Any:
                return Score(value={"tone": 0.25, "facts": "C"})

            return score

        log = self.read(self.made(tmp_path, scorer=both()))
        assert sorted(log.metrics) == ["both.facts", "both.tone"]
        assert log.answers[0].values == {"both.tone": 0.25, "both.facts": 1.0}

    def test_a_log_that_is_not_whole_says_so(self, tmp_path: Path) -> None:
        path = self.made(tmp_path)
        cut = tmp_path / "cut.eval"
        with zipfile.ZipFile(path) as whole, zipfile.ZipFile(cut, "w") as part:
            for name in whole.namelist():
                if name != "samples/s3_epoch_1.json":
                    part.writestr(name, whole.read(name))
        log = self.read(cut)
        assert len(log.answers) == 3
        assert any("3 of 4 documents are in the log" in note for note in log.notes)
        assert log.dataset != self.read(path).dataset

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b'{"eval": 1, "status": "success"}'])
    def test_what_it_cannot_read_is_one_line(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / f"x.{'json' if content.startswith(b'{') else 'eval'}"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"x\.(eval|json) cannot be read by inspect_ai") as raised:
            inspect.read(path)
        assert "\n" not in str(raised.value)

    def test_from_the_file_to_a_frontier(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The whole way, and not a byte of a document or a key in any file of ours."""
        import evals

        monkeypatch.setenv("EVALS_RESULTS", str(tmp_path / "results"))
        more: dict[str, Any] = {"metadata": {"api_key": PLANTED}, "model_args": {"api_key": PLANTED}}
        for name in ("good", "bad"):
            outputs = [self.output(i if name == "good" else 2) for i in range(8)]
            path = self.made(tmp_path / name, outputs=outputs, epochs=2, **more)
            made = evals.import_logs(str(path), option=name, price={"input_usd_per_mtok": 1, "output_usd_per_mtok": 2})
            assert made.rows[0]["n"] == 4 and made.rows[0]["repeats"] == 2
        points = evals.frontier(task="mytask").points.set_index("option")
        assert points.loc["good", "quality"] == 0.5 and points.loc["bad", "quality"] == 0.0
        assert points.loc["bad", "cost"] == pytest.approx((12 * 1 + 3 * 2) / 1e6 * 1000)
        verdict = evals.compare(baseline="good", candidate="bad").result["metrics"][0]
        assert verdict["metric"] == "score" and verdict["n"] == 4
        files = [path for path in (tmp_path / "results").rglob("*") if path.is_file()]
        assert len(files) >= 10
        for file in files:
            assert PLANTED.encode() not in file.read_bytes() and b"secret document" not in file.read_bytes()
