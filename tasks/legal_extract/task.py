"""Typed fields out of whole contracts: the flagship task.

Source: our own. `test` is 200 contracts made by a seeded generator over clause banks written by hand (generate.py,
clauses/*.yaml; `dev` and `test` share no wording, skeleton or name) and 28 contracts written and annotated by hand
(data/handwritten.jsonl). See README.md for how gold was made. One gold answer:

    {"document_title": "Lease Agreement", "parties": [{"name": "Kilbride Dairy plc", "role": "Lessor"}, ...],
     "effective_date": "2019-04-01", "expiration_date": "2022-04-01", "term": "3 years", "governing_law": "Texas",
     "payment_amount": "USD 4200.00", "payment_terms_days": null, "notice_period_days": 60, "auto_renewal": true,
     "liability_cap": null, "confidentiality_survival": "indefinite"}
"""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from evals import ExtractionTask, Sample

from .generate import FOLDER, GENERATOR_VERSION, generate

SIZES = {"dev": 60, "test": 200}
DATA_SEED = 20261124


class LegalExtract(ExtractionTask):
    """Twelve fields out of ten types of contract."""

    name = "legal_extract"
    version = "3"
    slices: ClassVar[tuple[str, ...]] = ("simple", "complex")

    def __init__(self, *, size: int | None = None, **common: Any) -> None:
        """`size`: so many generated documents and no hand-written ones; `None`: the task's own set."""
        super().__init__(**common)
        self.size = size

    def documents(self, split: str) -> Iterator[Sample]:
        """Generated documents, then (in `test`, where no size is asked for) the hand-written ones."""
        yield from generate(split=split, size=self.size or SIZES[split], seed=DATA_SEED)
        if split == "test" and self.size is None:
            yield from self.read(self.folder / "data" / "handwritten.jsonl")

    def generator(self, split: str) -> Mapping[str, Any]:
        """What identifies the generated documents."""
        from evals.loading import file_sha256

        banks = {path.name: file_sha256(path) for path in sorted([*FOLDER.glob("*.yaml"), *self.folder.glob("*.py")])}
        return {"version": GENERATOR_VERSION, "seed": DATA_SEED, "size": self.size or SIZES[split], "files": banks}

    def count(self) -> int | None:
        """Documents of the split."""
        if self.path:
            return super().count()
        return self.size or SIZES[self.split] + (28 if self.split == "test" else 0)
