"""What a deployment sustains: the figures of a load, the next rate to offer, mu with what it rests on, stored benches."""

from evals.analysis.capacity.figures import ENOUGH_FOR_P95, SHARE, Shot, backlog, figures, lag
from evals.analysis.capacity.mu import is_sustained, mu
from evals.analysis.capacity.search import ENOUGH, TRIES, Step, counted, docs, next_rate
from evals.analysis.capacity.stored import FILE, newest_bench, seconds_at_mu

__all__ = [
    "ENOUGH",
    "ENOUGH_FOR_P95",
    "FILE",
    "SHARE",
    "TRIES",
    "Shot",
    "Step",
    "backlog",
    "counted",
    "docs",
    "figures",
    "is_sustained",
    "lag",
    "mu",
    "newest_bench",
    "next_rate",
    "seconds_at_mu",
]
