"""Intervals, tests and probabilities. Pure: numbers in, numbers out; the document is the unit, NaN is never silent.

`intervals` (one option), `paired` (two options on the same documents), `decisions` (what a set of p values, an
interval or a sample size says), `draws` (one bootstrap draw of documents that serves every option and objective).
"""

from evals.stats.decisions import (
    benjamini_hochberg,
    holm,
    mcnemar_exact,
    minimum_detectable_difference,
    noninferior,
    sample_size,
)
from evals.stats.draws import Axis, cheapest_probability, non_dominated_probability, paired_draws
from evals.stats.intervals import (
    LEAST_FOR_BOOTSTRAP,
    Array,
    Estimate,
    bca_mean,
    clustered_mean,
    design_effect,
    mean_t,
    quantile,
    ratio_bootstrap,
    wilson,
)
from evals.stats.paired import paired_difference, paired_ratio_difference

__all__ = [
    "Array",
    "Axis",
    "Estimate",
    "LEAST_FOR_BOOTSTRAP",
    "bca_mean",
    "benjamini_hochberg",
    "cheapest_probability",
    "clustered_mean",
    "design_effect",
    "holm",
    "mcnemar_exact",
    "mean_t",
    "minimum_detectable_difference",
    "non_dominated_probability",
    "noninferior",
    "paired_difference",
    "paired_draws",
    "paired_ratio_difference",
    "quantile",
    "ratio_bootstrap",
    "sample_size",
    "wilson",
]
