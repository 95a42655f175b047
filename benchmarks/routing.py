"""Routing's target: the cross-fitted search over all pairs of 8 models x 10,000 documents in under 10 s; and what one
document costs: its features, its answer's signals, a live choice."""

import json
import resource
import time

import numpy as np

from evals.analysis.routing.documents import Documents
from evals.analysis.routing.simulate import Wanted, route
from evals.core import Call, Completion, Policy, Request
from evals.policy import choose, features, signals

MODELS, DOCUMENTS, SIGNALS, FEATURES = 8, 10_000, 10, 9
SCHEMA = {
    "properties": {
        f"f{i}": {"type": ["string", "null"], "kind": kind}
        for i, kind in enumerate(("name", "date", "money", "duration", "number", "text") * 2)
    }
}
VALUES = ["Acme Ltd", "2024-03-01", "USD 1,200.00", "12 months", "30", "as is"] * 2


def documents() -> Documents:
    """Models of rising quality and cost, signals and features that tell a little of the errors."""
    random = np.random.default_rng(0)
    hard = random.normal(size=DOCUMENTS)
    hits = np.stack([(random.normal(size=DOCUMENTS) + a > hard) * 1.0 for a in np.linspace(0.4, 1.6, MODELS)])
    cost = np.stack([10 ** (i / 2) * 1e-4 * random.lognormal(0, 0.2, DOCUMENTS) for i in range(MODELS)])
    return Documents(
        ids=[f"d{i}" for i in range(DOCUMENTS)],
        options=[f"m{i}" for i in range(MODELS)],
        hits=hits,
        whole=np.ones((MODELS, DOCUMENTS)),
        cost=cost,
        latency=cost * 1e4,
        failed=np.zeros((MODELS, DOCUMENTS), bool),
        signals=[
            {f"s{j}": 0.5 * own - 0.3 * hard + random.normal(size=DOCUMENTS) for j in range(SIGNALS)} for own in hits
        ],
        features={f"f{j}": 0.2 * hard + random.normal(size=DOCUMENTS) for j in range(FEATURES)},
    )


def each(work, times: int) -> float:  # type: ignore[no-untyped-def]
    """Milliseconds of one call."""
    start = time.perf_counter()
    for at in range(times):
        work(at)
    return 1000 * (time.perf_counter() - start) / times


def main() -> None:
    """Print the table."""
    found = documents()
    import sklearn.isotonic
    import sklearn.linear_model  # noqa: F401  (loading it is not the search)

    wall, processor = time.perf_counter(), time.process_time()
    report = route(found, Wanted()).report
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    pairs = {(row["cheap"], row["strong"]) for row in report["hybrids"]}
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(pairs)} pairs of {MODELS} models x {DOCUMENTS:,} documents, {len(report['hybrids'])} hybrids, {report['fitted']}"
    )
    print(f"{'wall s':>8} {'cpu s':>8} {'MiB':>8}   target 10 s")
    print(f"{wall:8.2f} {processor:8.2f} {memory:8.0f}   {'met' if wall < 10 else 'missed'}")

    text = "This agreement between Acme Ltd and others is made on 1 March 2024 for $1,200.00 a month, as is. " * 60
    requests = [
        Request(messages=(), schema=SCHEMA, sample_id=str(i), inputs={"text": f"{i} {text}"}) for i in range(300)
    ]
    answer = Completion(text=json.dumps({f"f{i}": value for i, value in enumerate(VALUES)}), finish_reason="stop")
    signal = {"inputs": ["grounded_share"], "mean": [0.9], "scale": [0.1], "coef": [-1.0], "intercept": 0.0}
    policy = Policy(kind="cascade", cheap="a", strong="b", signal=signal, threshold=0.5)
    call = Call(role="answer", model="a", completion=answer)
    print(f"\n{'a document of 6,000 characters, an answer of 12 fields':58} {'ms':>8}")
    print(f"{'features':58} {each(lambda at: features(requests[at]), 300):8.3f}")
    print(f"{'signals':58} {each(lambda at: signals(requests[at], answer), 300):8.3f}")
    print(f"{'a live choice of a cascade':58} {each(lambda at: choose(policy, requests[at], [call]), 300):8.3f}")


if __name__ == "__main__":
    main()
