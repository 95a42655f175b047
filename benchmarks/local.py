"""The local backend against llama-cpp-python called by hand: same build, weights, threads, flags and documents.

`python benchmarks/local.py [model] [documents] [threads] [source]`. Naive is `Llama.create_chat_completion` with the same
JSON schema, one document after another; its grammar is told the order of the schema's properties, which it would sort.
Ours: one document at a time, then many together, each with what `llama_tune` chose for it here; naive gets the flags of
the first. The ways take turns, document by document (many together, and the rates of the floor: block by block), so that
a drift of the machine falls on all. CPU seconds count, so a busy machine disturbs less; with two threads waiting counts
too: use one there.

Naive's grammar lets other spaces and lengths pass than ours, so its objects may differ for that reason alone; and it reads
a prompt from where it first differs from the document before, so an answer depends on that one (pieces of other lengths
round otherwise). Whether jumping changes an object is seen against `naive, our rules`: the same call with our masks
instead of its grammar, and with a cache that holds the common head alone and reads the rest in our pieces.

`naive, own flags` is the call as one writes it, with what `Llama` takes by itself: it cannot be told the kind of weights.

The floor is prompt tokens / measured reading rate + value tokens / measured rate of decoding in all slots, both measured on
prompts of these documents; tokens that the schema fixes count as read, or (the lower one) not at all.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "20000")
import numpy as np

TOKENS, CHARS, N_CTX = 320, 2400, 2048
ONE, MANY = 1.3, 1.25
WAYS = ("naive", "naive, our rules", "naive, own flags", "one at a time", "many together")


def main(name: str = "qwen25_0.5b", documents: int = 40, threads: int = 1, source: str = "index") -> None:
    """Print seconds, answers and scores of each way, and the targets."""
    import evals
    from evals import catalog
    from evals.models.llama_cpp import LlamaCpp
    from evals.models.weights import fetch

    spec = catalog.option("model", name)
    path = str(fetch({**spec, "source": source}))
    task = evals.load_task("legal_extract", split="dev", max_tokens=TOKENS, max_chars=CHARS)
    samples = [sample for sample, _ in zip(task.samples(), range(documents + 1), strict=False)]
    requests = [task.request(sample) for sample in samples]
    fixed = {"name": name, "path": path, "n_ctx": N_CTX, "chat": spec.get("chat", True), "processes": 1}
    one = LlamaCpp(slots=1, threads=threads, batch_invariant=True, **fixed)
    many = LlamaCpp(threads=threads, **fixed)
    for model in (one, many):
        model.load()
        print(f"{model.slots} slots: {model._settings}")
    ways = {  # each by hand has a cache of its own: the other's would hold the prompt already
        "naive": with_grammar(by_hand(path, one._settings), task.schema),
        "naive, our rules": with_masks(OnHead(by_hand(path, one._settings), one), one, task.schema),
        "naive, own flags": with_grammar(as_it_comes(path, threads), task.schema),
        "one at a time": lambda request: one.generate(request, lambda *_: None).text,
    }
    spent: dict[str, list[float]] = {way: [] for way in ways}
    texts: dict[str, list[str]] = {way: [] for way in WAYS}
    floor = Floor(path, many, requests[1:])
    for way in ways.values():  # the shared head is in every cache from here on
        way(requests[0])
    _together(many, requests[:1])
    floor.measure()
    done: list[Any] = []
    together = 0.0
    half = max(many.slots * 2, -(-documents // 2))
    for start in range(1, len(requests), half):
        block = requests[start : start + half]
        for number, request in enumerate(block):
            turn = number % len(ways)
            for way in list(ways)[turn:] + list(ways)[:turn]:
                began = time.process_time()
                text = ways[way](request)
                spent[way].append(time.process_time() - began)
                texts[way].append(text)
        began = time.process_time()
        done += _together(many, block)
        together += time.process_time() - began
        floor.measure()
    texts["many together"] = [one.text for one in done]
    totals = {way: sum(seconds) for way, seconds in spent.items()} | {"many together": together}
    least, lower = floor.seconds(done), floor.seconds(done, fed=False)
    _show(name, totals, texts, task, samples[1:], least)
    print(floor)
    ratio = np.array(spent["naive"]) / np.array(spent["one at a time"])
    print(
        f"targets: one at a time {ONE} x naive: {totals['naive'] / totals['one at a time']:.2f} (by document "
        f"{ratio.min():.2f} to {ratio.max():.2f}); many within {MANY} x of the floor: {together / least:.2f} "
        f"({together / lower:.2f} of the lower one)"
    )


def by_hand(path: str, settings: Any) -> Any:
    """llama-cpp-python's `Llama` with the same flags; it has no argument for the kind of weights."""
    import llama_cpp
    import llama_cpp.llama_cpp as low

    defaults = low.llama_model_default_params

    def params() -> Any:
        made = defaults()
        made.use_extra_bufts = settings.use_extra_bufts
        return made

    low.llama_model_default_params = params
    flags = {"n_batch": settings.n_batch, "n_threads": settings.threads, "n_threads_batch": settings.threads}
    made = llama_cpp.Llama(path, n_ctx=N_CTX, flash_attn=settings.flash_attn, verbose=False, **flags)
    low.llama_model_default_params = defaults
    return made


def as_it_comes(path: str, threads: int) -> Any:
    """`Llama` with its own defaults but for the threads: no flash attention, weights repacked."""
    import llama_cpp

    return llama_cpp.Llama(path, n_ctx=N_CTX, verbose=False, n_threads=threads, n_threads_batch=threads)


def with_grammar(hand: Any, schema: Any) -> Callable[[Any], str]:
    """The call as one writes it, but that the grammar keeps the schema's order."""
    from llama_cpp.llama_grammar import LlamaGrammar, json_schema_to_gbnf

    rules = LlamaGrammar.from_string(json_schema_to_gbnf(json.dumps(schema), prop_order=_keys(schema)))
    return lambda request: _ask(hand, request, grammar=rules)


class OnHead:
    """The same `Llama`, which has read the common head alone before each document, and reads the rest in our pieces."""

    def __init__(self, hand: Any, ours: Any) -> None:
        self._hand, self._ours, self._read = hand, ours, False

    def ready(self, request: Any) -> Any:
        """The `Llama`, set for this document."""
        from evals.models.slots import cut

        hand, size = self._hand, self._ours._settings.n_batch
        prompt = self._ours._prompts.make(request, N_CTX)
        if not self._read:
            self._read, hand.n_batch = True, len(cut(prompt.tokens[: prompt.fixed], size)[0])
            hand.eval(prompt.tokens[: prompt.fixed])
        hand.n_tokens, hand.n_batch = prompt.fixed, len(cut(prompt.tokens[prompt.fixed :], size)[0])
        return hand


def with_masks(cached: OnHead, ours: Any, schema: Any) -> Callable[[Any], str]:
    """The same call under our rules: a mask at every token."""
    from llama_cpp import LogitsProcessorList

    from evals.models.constraint import allowed

    def answer(request: Any) -> str:
        hand = cached.ready(request)
        end = hand.token_eos()
        matcher, _ = ours._schemas.matcher(schema)
        seen: list[int] = []

        def mask(ids: Any, scores: Any) -> Any:
            seen.append(len(ids))
            if len(seen) > 1 and not matcher.is_stopped():
                matcher.consume_token(int(ids[-1]))
            if matcher.is_stopped():
                fits = np.zeros(scores.shape[-1], dtype=bool)
                fits[end] = True
            else:
                fits = allowed(matcher, scores.shape[-1])
            scores[~fits] = -math.inf
            return scores

        return _ask(hand, request, logits_processor=LogitsProcessorList([mask]))

    return answer


def _ask(hand: Any, request: Any, **rules: Any) -> str:
    messages = [{"role": one.role, "content": one.content} for one in request.messages]
    found: Any = hand.create_chat_completion(messages, max_tokens=TOKENS, temperature=0.0, **rules)
    return str(found["choices"][0]["message"]["content"])


class Floor:
    """How fast these prompts can be read and their answers decoded, each alone; measured now and again."""

    def __init__(self, path: str, model: Any, requests: Sequence[Any]) -> None:
        from evals.models.llama_native import Native

        self.settings = model._settings
        self.native = Native(path, self.settings)
        self.native.open(self.settings)
        self.prompts = [model._prompts.make(request, N_CTX) for request in requests[: self.settings.slots]]
        self.read: list[float] = []
        self.decode: list[float] = []

    def measure(self, steps: int = 6) -> None:
        """CPU seconds a token of reading all prompts after their head, and of decoding after them in all slots."""
        from evals.models.llama_native import Piece
        from evals.models.slots import cut

        native, size = self.native, self.settings.n_batch
        for slot, prompt in enumerate(self.prompts):
            native.keep(slot, 0)
            for at in range(0, prompt.fixed, size):
                native.evaluate([Piece(slot, at, prompt.tokens[at : min(at + size, prompt.fixed)], False)])
        began, tokens = time.process_time(), 0
        for slot, prompt in enumerate(self.prompts):
            at = prompt.fixed
            for piece in cut(prompt.tokens[at:], size):
                native.evaluate([Piece(slot, at, piece, False)])
                at += len(piece)
                tokens += len(piece)
        self.read.append((time.process_time() - began) / tokens)
        began = time.process_time()
        for step in range(steps):
            native.evaluate(
                [Piece(slot, len(p.tokens) + step, [200 + step], True) for slot, p in enumerate(self.prompts)]
            )
        self.decode.append((time.process_time() - began) / (steps * len(self.prompts)))

    def seconds(self, done: Sequence[Any], *, fed: bool = True) -> float:
        """What these answers would have taken at those rates."""
        fixed = sum(one.notes.get("jumped_tokens", 0) for one in done)
        prompt = sum(one.usage.input_uncached for one in done)
        values = sum(one.usage.output for one in done) - fixed
        return (prompt + fixed * fed) * float(np.mean(self.read)) + values * float(np.mean(self.decode))

    def __str__(self) -> str:
        return (
            f"floor: reads {1 / np.mean(self.read):.0f} tokens/s, decodes {1 / np.mean(self.decode):.0f} tokens/s in "
            f"{len(self.prompts)} slots (measured {len(self.read)} times; reading {1 / max(self.read):.0f} to "
            f"{1 / min(self.read):.0f})"
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
        f"{'way':18}{'s/doc':>8}{'x naive':>9}{'docs/min':>10}{'objects as naive':>18}{'as it, our rules':>18}   micro F1, difference to naive"
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
            f"{way:18}{seconds:8.2f}{totals['naive'] / totals[way]:9.2f}{60 / seconds:10.1f}"
            f"{same:11d} of {len(samples):3d}{own:11d} of {len(samples):3d}   {f1.value:.3f} [{f1.low:.3f}, {f1.high:.3f}], "
            f"{apart.value:+.3f} [{apart.low:+.3f}, {apart.high:+.3f}]"
        )
    print(f"{'floor':18}{floor / len(samples):8.2f}{totals['naive'] / floor:9.2f}{60 * len(samples) / floor:10.1f}")


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
    main(*sys.argv[1:2], *(int(word) for word in sys.argv[2:4]), *sys.argv[4:5])
