"""A cheap and a strong model behind one name; a policy says who answers each document. Never asks anybody itself.

The engine asks whom `choose` says: `evals.policy.choose`, the very function that simulates a policy from stored runs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from evals.core import Call, Completion, Policy, Request
from evals.models.base import Model
from evals.policy import choose, error_score, features, forbidden, signals

__all__ = ["Hybrid"]
Place = Mapping[str, str | None]


class Hybrid:
    """`cheap` and `strong` under a policy.

    `places`: of each its `location` and `terms`, which bound where a document may go. `strong=None`: it may never be asked
    (`privacy=local_only`), so nothing of it is built; the cheap model's answers count. `local_only`: every document is
    treated as `restricted`.
    """

    def __init__(
        self,
        *,
        name: str,
        cheap: Model | None,
        strong: Model | None,
        policy: Policy,
        places: Mapping[str, Place],
        local_only: bool = False,
    ) -> None:
        self.name, self.policy, self.places, self.local_only = name, policy, places, local_only
        both = {"cheap": cheap, "strong": strong}
        self.models: Mapping[str, Model] = {key: model for key, model in both.items() if model is not None}

    async def start(self) -> Mapping[str, Any]:
        """Start one after the other: two models that load at once would share the machine's memory bandwidth."""
        return {key: dict(await model.start()) for key, model in self.models.items()}

    def choose(self, request: Request, calls: Sequence[Call]) -> str | None:
        """Whom the policy asks next."""
        return choose(self.policy, self._held(request), calls, places=self.places)

    def why(self, request: Request, calls: Sequence[Call]) -> Mapping[str, Any]:
        """What the choice rested on: `kind`, and of a cascade `p_error, threshold, signals` of the cheap answer, of the
        others the features that were compared; `held`: why one of the two was not at hand; `fell_back`: the error of a
        strong model that was asked in vain, so that the cheap answer stands."""
        policy = self.policy
        found: dict[str, Any] = {"kind": policy.kind}
        if policy.signal is not None:
            given = self._compared(request, calls)
            if given is not None:
                inputs = {name: given[name] for name in policy.signal["inputs"] if name in given}
                word = "p_error" if policy.signal.get("link", "logistic") == "logistic" else "score"
                found |= {word: error_score(policy.signal, given), "threshold": policy.threshold, "signals": inputs}
        if policy.rule is not None:
            feature = str(policy.rule["feature"])
            found |= {"rule": dict(policy.rule), "features": {feature: features(request).get(feature)}}
        if policy.share is not None:
            found |= {"share": policy.share}
        if calls and calls[-1].completion is None and cheap_answer(calls) is not None:
            found |= {"fell_back": calls[-1].error}
        if self.local_only:
            found |= {"held": "privacy=local_only"}
        elif any(
            forbidden(request.data_class, location=place.get("location"), terms=place.get("terms"))
            for place in self.places.values()
        ):
            found |= {"held": request.data_class}
        return found

    async def close(self) -> None:
        """Close both, also where one of them fails to."""
        failed: list[BaseException] = []
        for model in self.models.values():
            try:
                await model.close()
            except Exception as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _held(self, request: Request) -> Request:
        return replace(request, data_class="restricted") if self.local_only else request

    def _compared(self, request: Request, calls: Sequence[Call]) -> Mapping[str, float] | None:
        """What P(error) is made of: of a cascade the cheap answer's signals, `None` where it gave none."""
        if self.policy.kind != "cascade":
            return features(request)
        answer = cheap_answer(calls)
        return None if answer is None else signals(request, answer)


def cheap_answer(calls: Sequence[Call]) -> Completion | None:
    """The answer of the model that was asked first: what stands before the escalation."""
    whole = [call for call in calls if call.role not in ("part", "judge")]
    first = next((at for at, call in enumerate(whole) if call.role == "escalation"), len(whole))
    before = whole[:first]
    return before[-1].completion if before else None
