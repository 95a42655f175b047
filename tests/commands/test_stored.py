"""Names that Hydra would take for a choice of a group, as plain data."""

from pathlib import Path

import pytest

from evals.commands.stored import translated


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of a task that has no folder of its own."""
    (tmp_path / "gsm8k" / "m" / "1").mkdir(parents=True)
    (tmp_path / "gsm8k" / "m" / "1" / "manifest.json").write_text("{}")
    (tmp_path / "legal_extract" / "m" / "1").mkdir(parents=True)
    (tmp_path / "legal_extract" / "m" / "1" / "manifest.json").write_text("{}")
    monkeypatch.setenv("EVALS_RESULTS", str(tmp_path))


@pytest.mark.parametrize(
    ("word", "given", "found"),
    [
        ("frontier", "task=gsm8k", "++task={name: 'gsm8k'}"),
        ("history", "task=gsm8k", "++task={name: 'gsm8k'}"),
        ("history", "task=legal_extract", "task=legal_extract"),
        ("history", "task=unknown", "task=unknown"),
        ("run", "task=gsm8k", "task=gsm8k"),
        ("import", "task=legal_extract", "++task={name: 'legal_extract'}"),
        ("import", "model=it's (8b)", "++model={name: 'it\\'s (8b)'}"),
        ("import", "model='a b'", "++model={name: 'a b'}"),
        ("import", "task=null", "task=null"),
        ("import", "option=x", "option=x"),
        ("import", "-m", "-m"),
        ("decide", "min_slice={complex: 0.7}", "++min_slice={complex: 0.7}"),
        ("decide", "min_slice.complex=0.7", "++min_slice={complex: 0.7}"),
        ("decide", "+min_field.parties[].name=0.7", r"++min_field={parties\[\].name: 0.7}"),
        ("decide", "docs_per_s.qwen25_0.5b=2", "++docs_per_s={qwen25_0.5b: 2}"),
        ("decide", "docs_per_s.qwen25_0.5b.low=2", "++docs_per_s={qwen25_0.5b: {low: 2}}"),
        ("decide", "min_slice={}", "min_slice={}"),
        ("decide", "min.f1=0.7", "min.f1=0.7"),
    ],
)
def test_only_what_must_be_is_translated(word: str, given: str, found: str) -> None:
    assert translated(word, [given]) == [found]
