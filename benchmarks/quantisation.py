"""What a quantisation costs in quality and gains in speed: one model, several types, published or requantised here.

`python benchmarks/quantisation.py [model] [types] [documents] [rounds] [source]`, such as
`qwen25_0.5b q4_k_m,q4_1,q8_0 20 9 index`. Speed is llama.cpp's own (`llama_cpp.Llama.eval`), tokens a CPU second on one
thread, in turn, so that a drift of the machine's speed falls on all; the ratio to the published file is the mean over
rounds with its 95 % interval. Quality is `evals.run` on `dev` documents of legal_extract, and the paired difference to
the published file. A requantised row is other weights: its ratio says what they cost, and is no speed-up of ours.
"""

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROMPT, DECODE = 256, 32
"""Tokens of the prompt, and decoded one by one."""


def main(
    model: str = "smollm2_135m",
    types: str = "q4_1,q5_0",
    documents: int = 10,
    rounds: int = 9,
    source: str | None = None,
) -> None:
    """Print the table."""
    cards = [{**card_of(model), "quant": quant, "source": source} for quant in types.split(",")]
    files = [here(card) for card in cards]
    base = next((at for at, file in enumerate(files) if not file["requantised"]), None)
    if base is None:
        sys.exit(f"none of {types} is published: name one that is, to compare with")
    speeds = measured([file["path"] for file in files], rounds)
    runs = [answered(card, documents) for card in cards]
    print(
        f"\n{model}, {documents} dev documents of legal_extract, {rounds} rounds of {PROMPT} + {DECODE} tokens, 1 thread"
    )
    print(
        f"{'type':34} {'bytes':>13} {'prefill/s':>9} {'ratio [95 %]':>18} {'decode/s':>9} {'ratio [95 %]':>18}", end=""
    )
    print(f"  {'f1 [95 %]':22} {'minus published':24}")
    for at, (card, file) in enumerate(zip(cards, files, strict=True)):
        cells = "".join(f" {rate(speeds[at, :, way])} {ratio(speeds, at, base, way):>18}" for way in (0, 1))
        against = "" if at == base or not documents else difference(runs[base], runs[at])
        print(f"{named(card, file):34} {file['bytes']:13,}{cells}  {quality(runs[at]):22} {against}")
    print("* requantised here, not the publisher's: a row of its own, never the numerator of a speed-up")


def card_of(model: str) -> dict[str, Any]:
    """The model's YAML."""
    from evals import catalog

    return dict(catalog.option("model", model))


def here(card: Mapping[str, Any]) -> dict[str, Any]:
    """The file of a type, fetched or made where it is not here; refused where this build is not safe with it."""
    from evals.models.llama_probe import safe_params
    from evals.models.weights import facts, fetch

    path = fetch(card)
    if safe_params(path):
        sys.exit("this build of llama.cpp needs use_extra_bufts=False: rebuild it before measuring speed")
    return {"path": path, "bytes": path.stat().st_size, "requantised": facts(card).get("requantised")}


def measured(paths: list[Path], rounds: int) -> "np.ndarray[Any, np.dtype[np.float64]]":
    """CPU seconds a token by file, round, and prefill or decode."""
    import llama_cpp

    how = {"n_ctx": PROMPT + DECODE, "n_batch": PROMPT, "n_threads": 1, "n_threads_batch": 1, "verbose": False}
    loaded = [llama_cpp.Llama(str(path), **how) for path in paths]
    text = ("The supplier delivers the goods within thirty days of the order. " * PROMPT).encode()
    prompts = [each.tokenize(text)[:PROMPT] for each in loaded]
    for each, prompt in zip(loaded, prompts, strict=True):  # the first evaluation pays for pages and buffers
        timed(each, prompt)
    found = np.zeros((len(paths), rounds, 2))
    for turn in range(rounds):
        for at in range(len(paths)) if turn % 2 else reversed(range(len(paths))):
            found[at, turn] = timed(loaded[at], prompts[at])
    return found


def timed(model: Any, prompt: list[int]) -> tuple[float, float]:
    """CPU seconds a token of prompt and of decoding."""
    model.reset()
    start = time.process_time()
    model.eval(prompt)
    middle = time.process_time()
    for token in prompt[:DECODE]:
        model.eval([token])
    return (middle - start) / len(prompt), (time.process_time() - middle) / DECODE


def rate(seconds: "np.ndarray[Any, np.dtype[np.float64]]") -> str:
    """Tokens a CPU second: the median round."""
    return f"{1 / np.median(seconds):9.1f}"


def ratio(speeds: "np.ndarray[Any, np.dtype[np.float64]]", at: int, base: int, way: int) -> str:
    """How much faster than the published file, round by round."""
    if at == base:
        return "1"
    from evals.stats import mean_t

    found = mean_t(np.log(speeds[base, :, way] / speeds[at, :, way]))
    low, value, high = (math.exp(each) for each in (found.low, found.value, found.high))
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def answered(card: Mapping[str, Any], documents: int) -> Any:
    """The run of a type over the same dev documents, `None` where none are asked for. Answers that are stored are not
    asked again: nothing is timed here."""
    import evals

    if not documents:
        return None
    keys = {f"model.{key}": card[key] for key in ("quant", "source")}
    return evals.run(
        task="legal_extract", model=card["name"], split="dev", limit=documents, cache="read", overrides=keys
    )


def quality(run: Any) -> str:
    """Its f1 with an interval, and what failed."""
    if run is None:
        return "not asked"
    f1, failed = run.summary["quality"]["f1"], run.summary["failed"]
    return interval(f1["value"], f1, ".3f") + (f", {failed} failed" if failed else "")


def difference(baseline: Any, candidate: Any) -> str:
    """The paired difference in f1 over the documents of both."""
    import evals

    found = evals.compare(baseline=str(baseline.folder), candidate=str(candidate.folder))
    row = next(row for row in found.result["metrics"] if row["metric"] == "f1" and not row["slice"])
    return interval(row["difference"], row, "+.3f")


def interval(value: float | None, bounds: Mapping[str, Any], form: str) -> str:
    """A value with its bounds; too few documents have none."""
    if value is None:
        return "not known"
    low, high = (math.nan if bounds[side] is None else bounds[side] for side in ("low", "high"))
    return f"{value:{form}} [" + ("too few" if math.isnan(low + high) else f"{low:{form}}, {high:{form}}") + "]"


def named(card: Mapping[str, Any], file: Mapping[str, Any]) -> str:
    """The type, and of what it was made."""
    made = file["requantised"]
    return f"{card['quant']} * (from {made['from']['quant']})" if made else str(card["quant"])


if __name__ == "__main__":
    words = sys.argv[1:]
    main(*words[:2], *(int(word) for word in words[2:4]), *words[4:5])
