"""The local backend against llama-cpp-python called by hand: same build, weights, threads, flags and documents.

`python benchmarks/local.py [model] [documents] [threads] [slots] [source]`. Naive is `Llama.create_chat_completion` with the same JSON
schema, one document after another; its grammar is told the order of the schema's properties, which it would sort. Ours:
one document at a time (with and without jump-forward), then many together. The ways take turns, document by document
(many together, and the rates of the floor: block by block), so that a drift of the machine falls on all.

CPU seconds count, so a busy machine disturbs less; with two threads waiting counts too: use one there. The floor is
prompt tokens / measured reading rate + value tokens / measured rate of decoding in all slots.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")
import numpy as np

TOKENS, CHARS = 320, 2400
ONE, MANY = 1.3, 1.25
WAYS = ("naive", "one, decoding all", "one, jump-forward", "many, jump-forward")


def main(
    name: str = "qwen25_0.5b", documents: int = 40, threads: int = 1, slots: int = 8, source: str = "index"
) -> None:
    """Print seconds, answers and scores of each way, and the targets."""
    import llama_cpp

    import evals
    from evals import catalog
    from evals.models.llama_cpp import LlamaCpp
    from evals.models.llama_native import NativeSettings
    from evals.models.llama_tune import _child
    from evals.models.weights import fetch

    spec = catalog.option("model", name)
    path = str(fetch({**spec, "source": source}))
    task = evals.load_task("legal_extract", split="dev", max_tokens=TOKENS, max_chars=CHARS)
    samples = [sample for sample, _ in zip(task.samples(), range(documents + 1), strict=False)]
    requests = [task.request(sample) for sample in samples]
    fixed = {"threads": threads, "n_batch": 512, "flash_attn": True, "processes": 1, "n_ctx": 4096}
    chat = {"chat": spec.get("chat", True)}
    one = LlamaCpp(name=name, path=path, slots=1, **chat, **fixed)
    plain = LlamaCpp(name=name, path=path, slots=1, jump_forward=False, **chat, **fixed)
    many = LlamaCpp(name=name, path=path, slots=slots, **chat, **fixed)
    for model in (one, plain, many):
        model.load()
    hand = llama_cpp.Llama(
        path, n_ctx=4096, n_batch=512, n_threads=threads, n_threads_batch=threads, flash_attn=True, verbose=False
    )

    from llama_cpp.llama_grammar import LlamaGrammar, json_schema_to_gbnf

    rules = LlamaGrammar.from_string(json_schema_to_gbnf(json.dumps(task.schema), prop_order=_keys(task.schema)))

    def naive(request: evals.Request) -> tuple[str, int]:
        found: Any = hand.create_chat_completion(
            [{"role": one.role, "content": one.content} for one in request.messages],
            grammar=rules,
            max_tokens=TOKENS,
            temperature=0.0,
        )
        return found["choices"][0]["message"]["content"], found["usage"]["completion_tokens"]

    def alone(model: LlamaCpp) -> Callable[[evals.Request], tuple[str, Any]]:
        def ask(request: evals.Request) -> tuple[str, Any]:
            done = model.generate(request, lambda *_: None)
            return done.text, done

        return ask

    ways = dict(zip(WAYS, (naive, alone(plain), alone(one)), strict=False))
    spent: dict[str, list[float]] = {way: [] for way in ways}
    texts: dict[str, list[str]] = {way: [] for way in WAYS}
    settings = NativeSettings(n_ctx=4096, n_batch=512, threads=threads, slots=slots, flash_attn=True)
    rates: list[Any] = []

    def rate() -> None:
        rates.append(_child(path, {"settings": asdict(settings), "slots": [slots], "batches": [512]}))

    for way in ways.values():  # the shared head is in every cache from here on
        way(requests[0])
    _together(many, requests[:1])
    rate()
    done: list[Any] = []
    together = 0.0
    half = max(slots * 2, -(-documents // 2))
    for start in range(1, len(requests), half):
        block = requests[start : start + half]
        for number, request in enumerate(block):
            for way in list(ways)[number % 3 :] + list(ways)[: number % 3]:
                began = time.process_time()
                text, _ = ways[way](request)
                spent[way].append(time.process_time() - began)
                texts[way].append(text)
        began = time.process_time()
        done += _together(many, block)
        together += time.process_time() - began
        rate()
    texts["many, jump-forward"] = [one.text for one in done]
    read = float(np.mean([one.read["512"] for one in rates]))
    decode = float(np.mean([one.decode[str(slots)] for one in rates]))
    prompt = sum(one.usage.input_uncached for one in done)
    fed = sum(one.notes.get("jumped_tokens", 0) for one in done)
    values = sum(one.usage.output for one in done) - fed
    floor = (prompt + fed) / read + values / decode
    totals = {way: sum(seconds) for way, seconds in spent.items()} | {"many, jump-forward": together}
    _show(name, totals, texts, task, samples[1:], floor)
    print(
        f"read {read:.0f} tokens/s, decode {decode:.0f} tokens/s in {slots} slots, threads {threads}; "
        f"{prompt:,} prompt tokens, {values:,} decoded, {fed:,} fed"
    )
    print(
        f"targets: one at a time {ONE} x naive: {totals['naive'] / totals['one, jump-forward']:.2f}; "
        f"many within {MANY} x of the floor: {together / floor:.2f}"
    )


def _keys(schema: Any) -> list[str]:
    """Every property's name, in the schema's order."""
    if isinstance(schema, Mapping):
        named = schema.get("properties", {}) if isinstance(schema.get("properties"), Mapping) else {}
        return [*named, *(key for inner in schema.values() for key in _keys(inner))]
    return [key for inner in schema for key in _keys(inner)] if isinstance(schema, list) else []


def _together(model: Any, requests: Any) -> list[Any]:
    """All requests, in as many slots as the model has."""
    todo, done, free = list(enumerate(requests)), {}, model.slots
    while todo or free < model.slots:
        while todo and free:
            ticket, request = todo.pop(0)
            model.begin(ticket, request, lambda *_: None)
            free -= 1
        for ticket, completion in model.step():
            done[ticket] = completion
            free += 1
    return [done[ticket] for ticket in sorted(done)]


def _show(name: str, totals: Any, texts: Any, task: Any, samples: Any, floor: float) -> None:
    from evals.stats import paired_ratio_difference, ratio_bootstrap

    print(f"{name}: {len(samples)} documents of legal_extract (dev), CPU seconds; same schema, flags, threads, build")
    print(
        f"{'way':22}{'s/doc':>8}{'x naive':>9}{'docs/min':>10}{'objects as naive':>18}{'as decoding all':>17}   micro F1, difference to naive"
    )
    parts = {
        way: np.array([_hits(task.score(sample, text)) for sample, text in zip(samples, texts[way], strict=True)])
        for way in WAYS
    }
    for way in WAYS:
        same = sum(_parsed(a) == _parsed(b) for a, b in zip(texts[way], texts["naive"], strict=True))
        own = sum(_parsed(a) == _parsed(b) for a, b in zip(texts[way], texts[WAYS[1]], strict=True))
        top, whole = parts[way].T
        f1 = ratio_bootstrap(top, whole)
        apart = paired_ratio_difference(*parts["naive"].T, *parts[way].T)
        seconds = totals[way] / len(samples)
        print(
            f"{way:22}{seconds:8.2f}{totals['naive'] / totals[way]:9.2f}{60 / seconds:10.1f}"
            f"{same:11d} of {len(samples):3d}{own:10d} of {len(samples):3d}   {f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}], "
            f"{apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
        )
    print(f"{'floor':22}{floor / len(samples):8.2f}{totals['naive'] / floor:9.2f}{60 * len(samples) / floor:10.1f}")


def _hits(score: Any) -> tuple[float, float]:
    """2 TP and 2 TP + 2 WRONG + MISS + HALL of one document: micro F1 is the ratio of their sums."""
    counts = {kind: score.metrics[kind] for kind in ("tp", "wrong", "miss", "hall")}
    return 2 * counts["tp"], 2 * counts["tp"] + 2 * counts["wrong"] + counts["miss"] + counts["hall"]


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(word) for word in sys.argv[2:5]), *sys.argv[5:6])
