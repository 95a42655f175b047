"""A task folder -> a `Task`: samples streamed, `request(sample)`, `score(sample, text)`.

A folder holds `task.py` (a subclass of `ExtractionTask`), `prompt.md`, `schema.json` and what else the task needs;
it is imported by its path as `evals_tasks.<name>`, so relative imports inside it work and no installation is needed.
"""

import functools
import hashlib
import heapq
import importlib.util
import json
import random
import sys
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, get_args

from evals import catalog
from evals.core import DataClass, Request, Sample, Score, stable_hash
from evals.errors import ConfigError, DataError
from evals.prompting import Truncate, chunks, read_prompt, truncate


class ExtractionTask:
    """Typed fields out of documents. A task overrides `documents`, and `generator` where it makes its documents."""

    name: ClassVar[str]
    version: ClassVar[str]
    slices: ClassVar[tuple[str, ...]] = ()
    """Tags that cut the data into exclusive parts: strata of `limit`, rows of the result table. () = none."""
    splits: ClassVar[tuple[str, ...]] = ("dev", "test")

    def __init__(
        self,
        *,
        split: str = "test",
        path: str | None = None,
        prompt: str = "default",
        shots: int = 0,
        seed: int = 0,
        max_chars: int | None = None,
        truncate: Truncate = "middle",
        data_class: DataClass = "public",
        max_tokens: int = 1024,
        temperature: float = 0.0,
        constrain: bool = True,
    ) -> None:
        if split not in self.splits:
            raise ConfigError(f"split={split}: {self.name} has {', '.join(self.splits)}")
        if max_chars is not None and max_chars < 1:
            raise ConfigError(f"task.max_chars={max_chars} must be at least 1, or null for whole documents")
        self.split, self.path, self.seed = split, Path(path) if path else None, seed
        self.max_chars, self.truncate, self.data_class = max_chars, truncate, data_class
        self.settings: dict[str, Any] = {
            "max_tokens": max_tokens,
            "temperature": temperature,
            "constrain": constrain,
            "seed": seed,
        }
        self.folder = Path(sys.modules[type(self).__module__].__file__ or ".").parent
        self.schema = read_schema(self.folder / "schema.json")
        self.prompt = read_prompt(self.folder, prompt)
        self.shots = shots
        self._counted: int | None = None

    # What a task says of its data -----------------------------------------------------------------------------

    def documents(self, split: str) -> Iterator[Sample]:
        """The split's own documents, in a stable order."""
        raise DataError(f"task={self.name} has no documents of its own; give task.path=FILE.jsonl")

    def generator(self, split: str) -> Mapping[str, Any] | None:
        """What identifies generated documents: version, seed, size, parameters. `None`: they come from files."""
        return None

    def count(self) -> int | None:
        """How many documents the split has, where that is known without reading them."""
        return self._counted

    def read(self, path: Path) -> Iterator[Sample]:
        """Documents of a file the user gives: `{"id", "text", "target", "tags"}` a line."""
        return read_documents(path, fields=tuple(self.schema["properties"]), data_class=self.data_class)

    # What the engine asks --------------------------------------------------------------------------------------

    def samples(self) -> Iterator[Sample]:
        """Stream the split's samples, in a stable order."""
        return self.read(self.path) if self.path else self.documents(self.split)

    def identity(self) -> dict[str, Any]:
        """What identifies the data: sha256 of the file's bytes, or the generator's parameters. Checks a file whole."""
        if self.path:
            self._counted = sum(1 for _ in self.read(self.path))
            return {"file": self.path.name, "sha256": file_sha256(self.path)}
        made = self.generator(self.split)
        folder = {path.name: file_sha256(path) for path in sorted((self.folder / "data").glob("*.jsonl"))}
        return {"split": self.split, "generator": dict(made) if made else None, "files": folder}

    def hashes(self) -> dict[str, str]:
        """Hashes of what is asked and of how it is scored, for the manifest."""
        return {
            "prompt": stable_hash([self.prompt.system, self.prompt.user, self.examples]),
            "schema": stable_hash(self.schema),
            "scorer": scorer_hash(self.folder),
        }

    def request(self, sample: Sample) -> Request:
        """What to ask about one sample: one request, or with `truncate=chunk` a request in parts."""
        document = str(sample.inputs["text"])
        shown, left_out = truncate(document, self.max_chars, self.truncate)
        pieces = chunks(document, self.max_chars) if self.truncate == "chunk" else [shown]
        about: dict[str, Any] = {
            "sample_id": sample.id,
            "data_class": sample.data_class,
            "inputs": sample.inputs,
            "features": {"chars": len(document), "tags": sample.tags},
        }
        asked = tuple(self._ask(piece, left_out, about) for piece in pieces)
        if len(asked) == 1:
            return asked[0]
        return Request(messages=(), parts=asked, schema=self.schema, **self.settings, **about)

    def _ask(self, document: str, left_out: int, about: Mapping[str, Any]) -> Request:
        messages = self.prompt.messages(document, self.examples)
        return Request(messages=messages, schema=self.schema, truncated_chars=left_out, **self.settings, **about)

    @functools.cached_property
    def examples(self) -> list[tuple[str, str]]:
        """Few-shot examples, from `dev` only: a seeded choice among the shortest quarter of its documents."""
        if not self.shots:
            return []
        pool = sorted(self.documents("dev"), key=lambda s: (len(s.inputs["text"]), s.id))
        short = pool[: max(len(pool) // 4, self.shots)]
        if len(short) < self.shots:
            raise ConfigError(f"shots={self.shots}: the dev split of {self.name} has only {len(pool)} documents")
        chosen = random.Random(f"shots {self.seed}").sample(short, self.shots)
        return [(str(s.inputs["text"]), json.dumps(s.target, ensure_ascii=False)) for s in chosen]

    def merge(self, sample: Sample, texts: Sequence[str]) -> str:
        """One answer of the answers to a document's chunks: for each field the first value that is grounded."""
        from evals.metrics.merge import merge_answers

        merged = merge_answers(texts, schema=self.schema, source=str(sample.inputs["text"]))
        return json.dumps(merged, ensure_ascii=False)

    def score(self, sample: Sample, text: str | None) -> Score:
        """How good an answer is; `None` is a document that failed."""
        from evals.metrics.fields import score_answer

        return score_answer(sample.target, text, schema=self.schema, source=str(sample.inputs["text"]))


def load_task(name: str, **options: Any) -> ExtractionTask:
    """Build a task by the name of its folder. Options are the keyword arguments of its class."""
    module = import_task(catalog.task_folder(name))
    kinds = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, ExtractionTask) and value.__module__ == module.__name__
    ]
    if len(kinds) != 1:
        raise ConfigError(
            f"{module.__file__} must define exactly one subclass of evals.ExtractionTask, it has {len(kinds)}"
        )
    return kinds[0](**options)


def import_task(folder: Path, module: str = "task") -> types.ModuleType:
    """Import `<folder>/<module>.py` as `evals_tasks.<folder name>.<module>`."""
    package = f"evals_tasks.{folder.name}"
    for name, where in (("evals_tasks", None), (package, folder)):
        if name not in sys.modules or (where and list(sys.modules[name].__path__) != [str(where)]):
            made = types.ModuleType(name)
            made.__path__ = [str(where)] if where else []
            sys.modules[name] = made
            for stale in [key for key in sys.modules if where and key.startswith(f"{name}.")]:
                del sys.modules[stale]
    if not (folder / f"{module}.py").is_file():
        raise ConfigError(f"{folder / module}.py is not there")
    return importlib.import_module(f"{package}.{module}")


def read_schema(path: Path) -> dict[str, Any]:
    """A JSON Schema file, checked to be one."""
    import jsonschema

    try:
        schema = json.loads(path.read_text(encoding="utf-8"))
        jsonschema.Draft202012Validator.check_schema(schema)
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: a task needs the JSON Schema of its answer") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is no valid JSON: {error}") from error
    except jsonschema.SchemaError as error:
        raise ConfigError(f"{path} is no JSON Schema: {error.message} at {error.json_path}") from error
    if not isinstance(schema, dict) or not isinstance(schema.get("properties"), dict) or not schema["properties"]:
        raise ConfigError(f"{path} is no JSON Schema of an object with properties")
    return schema


def read_documents(path: Path, *, fields: Iterable[str], data_class: DataClass = "public") -> Iterator[Sample]:
    """Stream `{"id", "text", "target", "tags"}` lines; the first bad line raises `DataError` naming it."""
    known, seen = set(fields), set[str]()
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        lacking = [key for key in ("id", "text", "target") if key not in row]
        if lacking:
            raise DataError(f"{where} has no {lacking[0]!r}; it has {', '.join(map(repr, row)) or 'nothing'}")
        if (
            not isinstance(row["id"], str | int)
            or not isinstance(row["text"], str)
            or not isinstance(row["target"], dict)
        ):
            raise DataError(f"{where}: id must be text, text must be text and target an object of fields")
        if strange := sorted(set(row["target"]) - known):
            raise DataError(f"{where}: target has the unknown field {strange[0]!r}{catalog.nearest(strange[0], known)}")
        if str(row["id"]) in seen:
            raise DataError(f"{where}: the id {str(row['id'])!r} occurs twice; ids must be unique")
        if not isinstance(row.get("tags") or [], list):
            raise DataError(f'{where}: tags must be a list, as in ["simple"]')
        if (kind := row.get("data_class", data_class)) not in get_args(DataClass):
            raise DataError(f"{where}: data_class {kind!r} is not known; known are {', '.join(get_args(DataClass))}")
        seen.add(str(row["id"]))
        yield Sample(
            id=str(row["id"]),
            inputs={"text": row["text"]},
            target=row["target"],
            tags=tuple(map(str, row.get("tags") or ())),
            group=row.get("group"),
            data_class=kind,
        )
    if not seen:
        raise DataError(f"{path} holds no documents")


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number and object of every line that is not blank; anything else raises `DataError`."""
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
                except (json.JSONDecodeError, UnicodeDecodeError) as error:
                    raise DataError(f"{path}:{number} is no JSON line ({error}); is the file torn?") from error
                if not isinstance(row, dict):
                    raise DataError(f"{path}:{number} should be a JSON object, it is {type(row).__name__}")
                yield number, row
    except FileNotFoundError:
        raise DataError(f"{path} is not there") from None
    except (IsADirectoryError, PermissionError) as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error


def select(
    samples: Iterable[Sample], *, limit: int | None, tags: Sequence[str] | None, strata: Sequence[str], seed: int
) -> Iterator[Sample]:
    """The samples with one of `tags`; of these a seeded sample of `limit`, stratified by `strata`, in their own order."""
    kept = (s for s in samples if not tags or set(tags) & set(s.tags))
    return iter(_stratified(kept, limit, strata, seed)) if limit else kept


def _stratified(samples: Iterable[Sample], limit: int, strata: Sequence[str], seed: int) -> list[Sample]:
    """Largest-remainder allocation over the strata; inside one, the samples with the smallest seeded hash."""
    heaps: dict[str, list[tuple[int, int, Sample]]] = {}
    counts: dict[str, int] = {}
    for position, sample in enumerate(samples):
        stratum = next((tag for tag in strata if tag in sample.tags), "")
        counts[stratum] = counts.get(stratum, 0) + 1
        rank = int.from_bytes(hashlib.blake2b(f"{seed} {sample.id}".encode(), digest_size=8).digest(), "big")
        push = heapq.heappush if counts[stratum] <= limit else heapq.heappushpop
        push(heaps.setdefault(stratum, []), (-rank, -position, sample))
    total = sum(counts.values())
    exact = {name: min(limit, total) * count / total for name, count in counts.items()}
    share = {name: int(value) for name, value in exact.items()}
    for name in sorted(exact, key=lambda n: (share[n] - exact[n], n))[: min(limit, total) - sum(share.values())]:
        share[name] += 1
    chosen = [entry for name, heap in heaps.items() for entry in sorted(heap, reverse=True)[: share[name]]]
    return [sample for _, _, sample in sorted(chosen, key=lambda entry: -entry[1])]


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def scorer_hash(folder: Path) -> str:
    """Hash of the code and schema that score this task: changes whenever a score might."""
    code = sorted((Path(__file__).parent / "metrics").glob("*.py"))
    return stable_hash([file_sha256(path) for path in [*code, folder / "schema.json", folder / "task.py"]])
