"""Documents through transformers: plainly one after another, ours one at a time, and ours several at once.

`python benchmarks/hf.py [model] [documents] [slots]`, in the environment of `make hf`. Plainly is the library's own
`generate` under the same schema, the same prompts and the same weights. One thread; CPU seconds a document, since on a
busy machine two threads wait for each other. In each round all its documents go through at once, and every fourth of
them through the other two ways, which treat each alone. The ratio comes with the lower bound of its 95 % interval over
the rounds.
"""

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

TARGET = 2.5
ROUNDS = 4
EVERY = 4


class Plain:
    """transformers' own way: `generate`, with the schema as a logits processor."""

    def __init__(self, path: str) -> None:
        from pathlib import Path

        import torch
        import transformers

        from evals.models.hf_load import Wanted, load

        wanted = {"repo": None, "revision": None, "gguf_file": None, "fetch": False, "device": "cpu", "quantise": None}
        self.loaded = load(Wanted(name=Path(path).stem, path=path, dtype="float32", **wanted), threads=1)  # type: ignore[arg-type]
        self.torch, self.processor = torch, transformers.LogitsProcessor

    def answer(self, tokens: Sequence[int], matcher: Any, max_tokens: int) -> list[int]:
        """Token ids of the answer."""
        from evals.models.constraint import allowed

        torch, seen = self.torch, len(tokens)

        class Rules(self.processor):  # type: ignore[misc, name-defined]
            def __call__(self, ids: Any, scores: Any) -> Any:
                if ids.shape[1] > seen:
                    matcher.consume_token(int(ids[0, -1]))
                fits = torch.from_numpy(allowed(matcher, scores.shape[-1]).copy())
                return scores.masked_fill(~fits, -math.inf)

        with torch.inference_mode():
            made = self.loaded.model.generate(
                input_ids=torch.tensor([list(tokens)]),
                attention_mask=torch.ones(1, seen, dtype=torch.long),
                max_new_tokens=max_tokens,
                do_sample=False,
                eos_token_id=sorted(self.loaded.ends),
                pad_token_id=0,
                logits_processor=[Rules()],
            )
        return [token for token in made[0, seen:].tolist() if token not in self.loaded.ends]


def main(name: str = "smollm2_135m", documents: int = 32, slots: int = 16) -> None:
    """Alternate the three, so that a drift of the machine's speed falls on all."""
    if not all(importlib.util.find_spec(name) for name in ("torch", "transformers")):
        print("transformers is not installed here: make hf, then .venv-hf/bin/python benchmarks/hf.py")
        return
    import evals
    from evals import catalog
    from evals.models.hf import Transformers
    from evals.models.weights import fetch
    from evals.stats import mean_t

    path = str(fetch(catalog.option("model", name)))
    task = evals.load_task("legal_extract", split="test", max_chars=2400, max_tokens=160)
    ours = Transformers(name=name, path=path, n_ctx=4096, threads=1, slots=slots)
    ours.load()
    plain = Plain(path)
    requests = [task.request(sample) for sample, _ in zip(task.samples(), range(documents * ROUNDS), strict=False)]
    texts: dict[str, list[str]] = {}

    def by_library(some: Sequence[evals.Request]) -> list[str]:
        found = []
        for request in some:
            matcher, _ = ours._schemas.matcher(request.schema or {})
            tokens = ours._prompts.make(request, 4096).tokens
            native = ours._native
            assert native is not None
            found.append(native.text(plain.answer(tokens, matcher, request.max_tokens)))
        return found

    def at_once(some: Sequence[evals.Request], most: int) -> list[str]:
        waiting, found, held = list(enumerate(some)), {}, 0
        while len(found) < len(some):
            while waiting and held < most:
                ours.begin(*waiting.pop(0), mark=lambda *_: None)
                held += 1
            for ticket, made in ours.step():
                found[ticket], held = getattr(made, "text", str(made)), held - 1
        return [found[ticket] for ticket in range(len(some))]

    ways: dict[str, Callable[[Sequence[evals.Request]], list[str]]] = {
        "generate": by_library,
        "one by one": lambda some: at_once(some, 1),
        f"{slots} at once": lambda some: at_once(some, slots),
    }
    batched = list(ways)[-1]
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(ROUNDS):
        some = requests[number * documents : (number + 1) * documents]
        for way in sorted(ways, reverse=bool(number % 2)):
            asked = some if way == batched else some[::EVERY]
            begun = time.process_time()
            made = ways[way](asked)
            seconds[way].append((time.process_time() - begun) / len(asked))
            texts.setdefault(way, []).extend(made[::EVERY] if way == batched else made)
        print(f"round {number + 1}: " + ", ".join(f"{way} {seconds[way][-1]:.2f}" for way in ways), flush=True)
    for way in list(ways)[:-1]:
        found = mean_t(np.log(np.array(seconds[way]) / np.array(seconds[batched])))
        same = sum(a == b for a, b in zip(texts[way], texts[batched], strict=True))
        print(
            f"{name}: {batched} against {way}: {math.exp(found.value):.2f} x, lower 95 % bound {math.exp(found.low):.2f}, "
            f"{found.n} rounds of {documents} documents, {same} of {len(texts[way])} answers equal"
        )
    print(f"target: at least {TARGET} x plain generate")


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(word) for word in sys.argv[2:4]))
