"""What only a real key can prove: run with `python -m pytest -m live` where the keys are set. A few cents."""

import os
from pathlib import Path

import pytest

import evals

MODELS = {
    "gpt6_luna": "OPENAI_API_KEY",
    "gpt6_sol": "OPENAI_API_KEY",
    "gpt4o": "OPENAI_API_KEY",
    "claude_haiku": "ANTHROPIC_API_KEY",
    "claude": "ANTHROPIC_API_KEY",
    "gemini": "GEMINI_API_KEY",
    "mistral_small_api": "MISTRAL_API_KEY",
    "llama33_70b_api": "GROQ_API_KEY",
}


@pytest.mark.live
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_a_provider_answers_is_billed_and_is_constrained(
    model: str, stream: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parameters are taken, the schema holds, usage and the served model are reported, the cost is known."""
    if not os.environ.get(MODELS[model]):
        pytest.skip(f"{MODELS[model]} is not set")
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path))
    done = evals.run(task="legal_extract", model=model, limit=2, stream=stream, budget={"usd": 0.25}, cache="off")
    frame = evals.load_runs(done.folder)
    assert done.exit_code == 0 and not frame["failed"].any() and frame["schema_valid"].all()
    assert frame["served_model"].notna().all() and frame["input_tokens"].gt(500).all()
    assert done.summary["cost"]["billed"] > 0 and done.summary["quality"]["f1"]["value"] > 0.3
    assert frame["ttft_s"].notna().all() if stream else True


@pytest.mark.live
@pytest.mark.parametrize("model", ["gpt6_luna", "claude_haiku"])
def test_a_batch_is_answered(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """May take up to a day: providers promise no more."""
    if not os.environ.get(MODELS[model]):
        pytest.skip(f"{MODELS[model]} is not set")
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path))
    done = evals.run(task="legal_extract", model=model, limit=2, processing="batch", budget={"usd": 0.25})
    assert done.exit_code == 0 and done.summary["failed"] == 0 and done.summary["cost"]["billed"] > 0
