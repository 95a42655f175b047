"""Eight typed fields out of real contracts: CUAD v1 (The Atticus Project, CC BY 4.0). See README.md for the mapping.

The data is not part of this project: give a file (`task.path`) or a dataset of the Hugging Face hub (`task.hub`).
"""

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from evals import ExtractionTask, Sample
from evals.errors import DataError
from evals.loading import read_jsonl

from .gold import QUESTIONS, from_answers, from_spans

LONG = 24_000


class Cuad(ExtractionTask):
    """Document name, parties, dates, renewal, notice and law of commercial contracts."""

    name = "cuad"
    version = "1"
    slices: ClassVar[tuple[str, ...]] = ("short", "long")
    splits: ClassVar[tuple[str, ...]] = ("test",)

    def __init__(self, *, hub: str | None = None, **common: Any) -> None:
        """`hub`: a dataset repository with rows of SQuAD style, used where no `path` is given."""
        super().__init__(**common)
        self.hub = hub

    def documents(self, split: str) -> Iterator[Sample]:
        """The documents of the hub's dataset."""
        hub = self._hub()
        try:
            import datasets
        except ImportError as error:
            raise DataError("task.hub needs the package datasets: pip install datasets") from error
        try:
            loaded = datasets.load_dataset(hub)
        except Exception as error:
            raise DataError(f"task.hub={hub} cannot be loaded: {' '.join(str(error).split())[:200]}") from error
        rows = itertools.chain.from_iterable(loaded[name] for name in sorted(loaded))
        return self.from_squad(rows)

    def generator(self, split: str) -> Mapping[str, Any]:
        """What identifies the hub's documents."""
        return {"hub": self._hub()}

    def _hub(self) -> str:
        if self.hub is None:
            raise DataError("task=cuad needs task.path=FILE.jsonl or task.hub=REPOSITORY")
        return self.hub

    def read(self, path: Path) -> Iterator[Sample]:
        """Rows of CUAD (`{"id", "text", "fields"}`) or of our own format; the first row says which."""
        first = next(read_jsonl(path), None)
        if first is None or "fields" not in first[1] or "target" in first[1]:
            for sample in super().read(path):
                tags = [tag for tag in sample.tags if tag not in self.slices]
                yield replace(sample, tags=(_slice(sample.inputs["text"]), *tags))
            return
        seen = set[str]()
        for number, row in read_jsonl(path):
            lacking = [key for key in ("id", "text", "fields") if key not in row]
            if lacking:
                raise DataError(f"{path}:{number} has no {lacking[0]!r}")
            if not isinstance(row["text"], str) or not isinstance(row["fields"], dict):
                raise DataError(f"{path}:{number}: text must be text and fields an object of answers")
            if str(row["id"]) in seen:
                raise DataError(f"{path}:{number}: the id {row['id']!r} occurs twice; ids must be unique")
            seen.add(str(row["id"]))
            yield self._sample(str(row["id"]), row["text"], from_answers(row["fields"]), row.get("contract_type"))

    def from_squad(self, rows: Iterable[Mapping[str, Any]]) -> Iterator[Sample]:
        """Documents of rows `{"title", "context", "question", "answers": {"text"}}`, one per title."""
        known = {question.casefold(): question for question in QUESTIONS.values()}
        found: dict[str, tuple[str, dict[str, list[str]]]] = {}
        for row in rows:
            _, spans = found.setdefault(str(row["title"]), (row["context"], {}))
            quoted = re.search(r'"([^"]+)"', row["question"])
            question = known.get((quoted[1] if quoted else row["question"]).strip().casefold())
            if question:
                spans.setdefault(question, []).extend(row["answers"]["text"])
        if not found:
            raise DataError(f"task.hub={self.hub} holds no documents")
        for title, (context, spans) in found.items():
            yield self._sample(title, context, from_spans(spans), None)

    def _sample(self, name: str, text: str, target: dict[str, Any], contract_type: str | None) -> Sample:
        kind = re.sub(r"[^a-z0-9]+", "_", (contract_type or "").casefold()).strip("_") or "untyped"
        tags = (_slice(text), kind)
        return Sample(id=name, inputs={"text": text}, target=target, tags=tags, data_class=self.data_class)


def _slice(text: str) -> str:
    return "long" if len(text) > LONG else "short"
