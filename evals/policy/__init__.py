"""Who answers a document: what a hybrid needs while it runs, and the simulation with it, so that the two agree.

`features` (known before anybody is asked), `signals` (what an answer says of its own trustworthiness), `choose`
(whom to ask next), `forbidden` (who may be shown a document): pure. `saved` reads and writes a policy's JSON file.
"""

from evals.policy.agreement import agreement
from evals.policy.choosing import Side, choose, error_score
from evals.policy.features import features
from evals.policy.privacy import forbidden
from evals.policy.signals import signals

__all__ = ["Side", "agreement", "choose", "error_score", "features", "forbidden", "signals"]
