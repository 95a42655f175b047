"""Our local backend against llama-cpp-python called by hand: same build, prompts, grammar and settings, in turn.

`python benchmarks/decoding.py [model] [pairs]`. Prints the ratio of CPU seconds, ours over by hand, with the upper
bound of its 95 % interval. One thread: on a busy machine two of them wait for each other, and that is what is timed.
"""

import math
import sys
import time

import numpy as np

TARGET = 1.05
TOKENS = 96


def main(name: str = "smollm2_135m", pairs: int = 15) -> None:
    """Alternate the two, so that a drift of the machine's speed falls on both."""
    import llama_cpp

    import evals
    from evals import catalog
    from evals.models.json_grammar import grammar
    from evals.models.llama_cpp import LlamaCpp
    from evals.models.weights import fetch
    from evals.stats import mean_t

    path = str(fetch(catalog.option("model", name)))
    task = evals.load_task("legal_extract", split="dev", max_tokens=TOKENS, max_chars=2400)
    requests = [task.request(sample) for sample, _ in zip(task.samples(), range(pairs + 1), strict=False)]
    ours = LlamaCpp(name=name, path=path, n_ctx=4096, threads=1)
    ours.load()
    options = {"n_ctx": 4096, "n_batch": 512, "n_threads": 1, "n_threads_batch": 1, "verbose": False}
    hand = llama_cpp.Llama(path, **options)
    rules = llama_cpp.LlamaGrammar.from_string(grammar(task.schema)[0], verbose=False)

    def by_us(request: evals.Request) -> float:
        start = time.process_time()
        ours.generate(request, lambda *_: None)
        return time.process_time() - start

    def by_hand(request: evals.Request) -> float:
        tokens = ours._prompt(request)[0]
        start = time.process_time()
        hand.create_completion(tokens, max_tokens=TOKENS, temperature=0.0, grammar=rules)
        return time.process_time() - start

    by_us(requests[0]), by_hand(requests[0])
    ratios = []
    for number, request in enumerate(requests[1:]):
        if number % 2:
            mine, theirs = by_us(request), by_hand(request)
        else:
            theirs, mine = by_hand(request), by_us(request)
        ratios.append(math.log(mine / theirs))
    found = mean_t(np.array(ratios))
    print(
        f"{name}: CPU ratio {math.exp(found.value):.3f}, upper 95 % bound {math.exp(found.high):.3f}, {found.n} pairs"
    )
    print(f"target: upper bound at most {TARGET}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *(int(word) for word in sys.argv[2:3]))
