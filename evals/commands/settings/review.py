"""What `review` takes."""

from dataclasses import dataclass
from typing import Annotated

FORBID = {"extra": "forbid"}


@dataclass(frozen=True, kw_only=True)
class ReviewSettings:
    """Send to a person when P(error) is above t: how many, what it costs, the page to do it, and what people found."""

    __pydantic_config__ = FORBID
    run: Annotated[str | None, "the run folder whose answers are reviewed"] = None
    target: Annotated[float, "mean error that may be left over all documents"] = 0.02
    quality: Annotated[str, "what counts as an error: exact (any wrong field), f1, ..."] = "exact"
    minutes: Annotated[float, "a person's minutes for a document"] = 3.0
    usd_per_hour: Annotated[float | None, "a person's hour; null: no dollars are told"] = None
    volume: Annotated[float, "documents a day, for minutes and dollars a day"] = 1000.0
    reviewer_error: Annotated[float, "mean error of a document that a person has seen"] = 0.0
    policy: Annotated[
        str | None, "a cascade of route save=FILE or of save= here: its P(error); null: fitted on this run"
    ] = None
    save: Annotated[str | None, "file that gets the review policy: strong stands for the person"] = None
    show: Annotated[int, "documents on the page, the most suspect first"] = 200
    verdicts: Annotated[str | None, "what the page downloaded: read back as measured outcomes"] = None
    seed: Annotated[int, "of folds and bootstrap"] = 0
    level: Annotated[float, "of the intervals"] = 0.95
    out: Annotated[str | None, "folder for review.csv, .json, .html; null: review/ in the run folder"] = None

    def __post_init__(self) -> None:
        if not self.run:
            raise ValueError("run=FOLDER names the run whose answers are reviewed")
        for name in ("target", "reviewer_error"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name):g} must lie in 0..1")
        for name in ("minutes", "volume", "usd_per_hour"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"{name}={value:g} must be above 0")
        if self.show < 1:
            raise ValueError(f"show={self.show} must be at least 1")
        if not 0 < self.level < 1:
            raise ValueError(f"level={self.level:g} must lie between 0 and 1")
