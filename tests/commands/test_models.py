"""The list of models, and fetching by name."""

import struct
from pathlib import Path
from typing import Any

import pytest

from evals.commands.models import cards, fetch_model, list_models, render
from evals.errors import ConfigError, WeightsError
from evals.models.sources import sources_of, usable

FIRST_PARTY = ("gemma4_e4b", "gemma4_12b", "ministral3_8b", "qwen25_0.5b", "qwen25_1.5b")
FAMILIES = {"Gemma", "Gemma 3", "Gemma 4", "Llama 3.1", "Llama 3.2", "Mistral", "Ministral 3", "SmolLM2", "Qwen2.5"}


def tiny(**extra: Any) -> dict[str, Any]:
    source = {"kind": "hub", "repo": "maker/tiny-GGUF", "file": "tiny.gguf", "sha256": None}
    quants = {
        "q4": {"publisher": "maker (first party)", "bytes": 24, "sources": [source]},
        "q8": {"publisher": "someone (converter)", "bytes": None, "about_gb": 1.5, "sources": [source]},
    }
    facts = {
        "family": "Tiny",
        "context": 2048,
        "licence": "Own Terms",
        "use_limits": "not on Sundays",
        "instruct": True,
    }
    return {"name": "tiny", "card": facts, "quant": "q8", "quants": quants, "path": None, "source": None, **extra}


def test_rows_and_table(tmp_path: Path) -> None:
    rows = list_models({"tiny": tiny(), "rules": {"name": "rules", "card": {"family": "rules"}}}, root=tmp_path)
    assert [(row["name"], row["quant"], row["here"]) for row in rows] == [
        ("rules", None, None),
        ("tiny", "q8", "no"),
        ("tiny", "q4", "no"),
    ]
    text = render(rows)
    assert "~1.50 GB" in text and "24 B" in text and "* maker/tiny-GGUF" in text
    assert "tiny: not on Sundays (Own Terms)" in text
    assert max(map(len, text.splitlines())) <= 120


def test_here_once_the_file_is_fetched(tmp_path: Path) -> None:
    import hashlib

    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    spec = tiny()
    spec["quants"]["q4"]["sources"][0] = {
        **spec["quants"]["q4"]["sources"][0],
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    folder = tmp_path / "weights" / "tiny"
    folder.mkdir(parents=True)
    (folder / "tiny.gguf").write_bytes(data)
    here = {row["quant"]: row["here"] for row in list_models({"tiny": spec}, root=tmp_path)}
    assert here == {"q4": "yes", "q8": "no"}, "a file that nobody recorded or pinned is not trusted"
    assert fetch_model({"tiny": spec}, "tiny", "q4", root=tmp_path) == folder / "tiny.gguf"


def test_what_was_requantised_here_is_a_row_of_its_own(tmp_path: Path) -> None:
    import hashlib
    import json

    data = b"GGUF" + struct.pack("<IQQ", 3, 0, 0)
    folder = tmp_path / "weights" / "tiny"
    folder.mkdir(parents=True)
    sha = hashlib.sha256(data).hexdigest()
    entry = {"model": "tiny", "bytes": len(data), "sha256": sha}
    origin = {
        "file": "tiny.gguf",
        "quant": "q8",
        "sha256": "0" * 64,
        "only_when_asked": False,
        "source": "hub maker/tiny",
    }
    made = {}
    for name, quant, changes in (
        ("tiny.requantised-q5_0.gguf", "q5_0", {}),
        ("tiny.requantised-q4.gguf", "q4", {}),
        ("mine.requantised-q5_0.gguf", "q5_0", {"source": "file"}),
        ("re.requantised-q5_0.gguf", "q5_0", {"only_when_asked": True}),
        ("gone.requantised-q5_0.gguf", "q5_0", {}),
    ):
        (folder / name).write_bytes(data)
        made[f"weights/tiny/{name}"] = {**entry, "quant": quant, "from": {**origin, **changes}}
    (folder / "gone.requantised-q5_0.gguf").unlink()
    (tmp_path / "weights.lock.json").write_text(json.dumps({"made": made}))
    rows = [row for row in list_models({"tiny": tiny()}, root=tmp_path) if "requantised" in row["source"]]
    found = sorted((row["quant"], row["here"], row["source"], row["publisher"], row["verified"]) for row in rows)
    assert found == [
        ("q4", "index", "requantised from q8", None, False),
        ("q5_0", "own file", "requantised from q8", None, False),
        ("q5_0", "re-upload", "(requantised from q8)", None, False),
        ("q5_0", "yes", "requantised from q8", None, False),
    ]
    text = render(rows)
    assert "* requantised" not in text and "Here `index`" in text and "not the publisher's" in text
    assert max(map(len, text.splitlines())) <= 120


def test_names_that_are_wrong(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="fetch=tinny is not known; did you mean tiny"):
        fetch_model({"tiny": tiny()}, "tinny", root=tmp_path)
    with pytest.raises(WeightsError, match="needs no weights"):
        fetch_model({"rules": {"name": "rules"}}, "rules", root=tmp_path)
    with pytest.raises(WeightsError, match="model.quant=q5 is not known for tiny; known are q4, q8"):
        fetch_model({"tiny": tiny()}, "tiny", "q5", root=tmp_path)


def test_shipped_models_are_listed_whole(tmp_path: Path) -> None:
    known = cards()
    rows = list_models(known, root=tmp_path)
    text = render(rows)
    assert max(map(len, text.splitlines())) <= 120
    assert {row["family"] for row in rows} >= FAMILIES
    for name in known:
        assert f"\n{name} " in text


def shipped() -> list[str]:
    return sorted(name for name, card in cards().items() if card.get("quants"))


@pytest.mark.parametrize("name", shipped())
def test_shipped_card_is_sound(name: str) -> None:
    card = cards()[name]
    assert card["name"] == name and card["quant"] in card["quants"]
    assert card["path"] is None and card["source"] is None and card["location"] == "own"
    assert card["card"]["checked"]["source"] and card["card"]["checked"]["date"]
    assert card["card"]["licence"]
    assert card["chat"] is card["card"]["instruct"]
    for quant, entry in card["quants"].items():
        chosen = {**card, "quant": quant}
        assert entry["publisher"], quant
        assert usable(chosen), f"{quant}: nothing to try"
        for source in sources_of(chosen):
            assert source.sha256 is None or (len(source.sha256) == 64 and int(source.sha256, 16))
            assert source.revision is None or (len(source.revision) == 40 and int(source.revision, 16))
            assert source.verified is False or (source.sha256 and source.bytes), "verified means hashed"
            assert source.only_when_asked is False or source.note


def test_named_families_have_two_quantisations() -> None:
    known = cards()
    for family in ("gemma7b", "gemma4_e4b", "gemma4_12b", "llama31_8b", "llama32_3b", "mistral7b", "ministral3_8b"):
        assert len(known[family]["quants"]) >= 2
    assert all("first party" in known[name]["quants"][known[name]["quant"]]["publisher"] for name in FIRST_PARTY)


def test_re_uploads_say_what_they_are() -> None:
    for name in ("qwen25_0.5b", "qwen25_1.5b"):
        sources = sources_of(cards()[name])
        assert [source.kind for source in sources] == ["hub", "index"]
        assert sources[1].only_when_asked and "Coder" in str(sources[1].note)
        assert sources[1].sha256 != sources[0].sha256 and sources[1].publisher != sources[0].publisher


def remote() -> list[str]:
    return sorted(name for name, card in cards().items() if card["location"] == "remote")


@pytest.mark.parametrize("name", [name for name in remote() if name != "openai_compatible"])
def test_remote_card_is_sound(name: str) -> None:
    """Its price is known to the price package that is installed, its id to the file that it names, its key to the user."""
    from evals.commands.prices import snapshot

    card = cards()[name]
    assert card["name"] == name and card["id"] and str(card["key_env"]).endswith("_API_KEY")
    assert card["card"]["checked"]["source"] and card["card"]["checked"]["date"] and card["terms"] is None
    prices = snapshot(card)
    assert prices and prices["default"].input_usd_per_mtok and str(prices["default"].source).startswith("genai-prices")


def test_a_remote_model_says_whether_its_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "planted-key-4711")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    text = render(list_models(cards()))
    rows = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    assert rows["gpt4o"].endswith(" key") and rows["claude"].endswith("no key") and "planted" not in text


def test_a_bare_key_of_the_model_names_the_whole_key() -> None:
    from evals.commands.settings.run import unknown_key

    assert unknown_key("run", "quant") == "quant is not known; did you mean model.quant?"
    assert unknown_key("run", "model.qant").startswith("model.qant is not known; did you mean model.quant")
    assert "model." not in unknown_key("frontier", "quant"), "frontier has no model"
