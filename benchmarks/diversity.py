"""How alike two contracts of one type are: median 8-gram Jaccard over the test documents, gold values masked."""

import itertools
import re
import statistics
from collections import defaultdict

import evals

LIMIT = 0.15


def masked(sample: evals.Sample) -> set[tuple[str, ...]]:
    """The document's word 8-grams with every gold value and every number replaced by a mark."""
    text = sample.inputs["text"]
    values = [v for v in sample.target.values() if isinstance(v, str)]
    values += [part for party in sample.target["parties"] for part in party.values() if part]
    for value in sorted(values, key=len, reverse=True):
        text = text.replace(value, " # ")
    words = re.findall(r"[a-z]+|#", re.sub(r"\d[\d.,]*", "#", text.lower()))
    return {tuple(words[i : i + 8]) for i in range(len(words) - 7)}


def main() -> None:
    """Print a line a type and one for all."""
    grams = defaultdict(list)
    for sample in evals.load_task("legal_extract").samples():
        if sample.id.startswith("legal-"):
            grams[sample.tags[0]].append(masked(sample))
    every = []
    for kind, documents in sorted(grams.items()):
        found = [len(a & b) / len(a | b) for a, b in itertools.combinations(documents, 2)]
        every += found
        print(
            f"{kind:14} {len(documents):4} documents  median {statistics.median(found):.3f}  greatest {max(found):.3f}"
        )
    print(f"all            median {statistics.median(every):.3f} (target under {LIMIT})")


if __name__ == "__main__":
    main()
