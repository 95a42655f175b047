"""`table.parquet`: one run's columns, derived from its records and scores once, in one pass at flat memory.

The file's own metadata says what it was derived from: its format, the scorer, the hash of the price snapshot, and size
and sha256 of records and scores, taken of the very bytes that were read. Whether it still holds is decided so:

- another format, scorer, price or size of a source: it is made again;
- the sizes agree, and the table was written more than `SETTLED_S` after the last change of each source (its mtime and,
  where the system keeps it, its ctime, which no copy can set back): it holds, and nothing is read. A table of the future
  is not trusted so: it was made while the clock was ahead;
- else (a copied or cloned folder, a file that was touched, a table as young as its sources) the sources are hashed, at
  some GB a second. The same bytes: it holds, and its mtime is set to now, so that the next reader need not hash. Other
  bytes: it is made again.

A table is written beside its place and moved there in one step, under a name of its own: processes that make it at once
each put a whole one there. Where the folder cannot be written, it is made in a folder of this process that goes with it.
"""

import atexit
import contextlib
import errno
import functools
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evals import store
from evals.analysis.tables import columns, joined
from evals.core import Price, stable_hash

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Raised when a column's meaning changes."""
BLOCK = 2000
"""Rows that are Python objects at once."""
ROW_GROUP = 32_000
"""Rows of a row group, some 10 MB while it is made."""
SETTLED_S = 2.0
"""Coarsest step of a file system's times (FAT); a change within it could not be told from none."""
LEFT_S = 86_400.0
"""So old is no file that is still being written."""
KEY = b"evals"


@dataclass(frozen=True, kw_only=True)
class Source:
    """What a run's table is derived from."""

    folder: Path
    scorer: str | None
    prices: Mapping[str, Price] | None
    price_hash: str | None

    @property
    def files(self) -> tuple[Path, Path]:
        """Records and scores."""
        return self.folder / "records.jsonl", self.folder / f"scores-{self.scorer}.jsonl"


def source(folder: Path, manifest: Mapping[str, Any]) -> Source:
    """What the manifest says that the table of a run folder is made of."""
    told = manifest.get("prices")
    return Source(
        folder=folder,
        scorer=manifest["hashes"].get("scorer"),
        prices=store.prices(manifest),
        price_hash=stable_hash(told) if told else None,
    )


def table_path(folder: Path, manifest: Mapping[str, Any]) -> Path:
    """A table of the run that holds: the one beside its records, made (again) where it must be."""
    made_of, path = source(folder, manifest), folder / "table.parquet"
    if holds(path, made_of):
        return path
    try:
        write(path, made_of)
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise
        return _apart(made_of)
    return path


# Does it hold? ------------------------------------------------------------------------------------------------


def holds(path: Path, made_of: Source) -> bool:
    """Is the file a table of what the sources are now? See the module's rules."""
    told = _told(path)
    if told is None or {key: told.get(key) for key in _identity(made_of)} != _identity(made_of):
        return False
    sizes = [_size(file) for file in made_of.files]
    if sizes != [one["size"] for one in told["sources"]]:
        return False
    if _settled(path, made_of.files):
        return True
    if [_digest(file) for file in made_of.files] != [one["sha256"] for one in told["sources"]]:
        return False
    with contextlib.suppress(OSError):  # of another, or on a disk that cannot be written: the next reader hashes too
        os.utime(path)
    return True


def _identity(made_of: Source) -> dict[str, Any]:
    names = [f"{name}:{kind}" for name, kind in columns.TYPES.items()]
    return {"format": FORMAT, "columns": names, "scorer": made_of.scorer, "prices": made_of.price_hash}


def _told(path: Path) -> dict[str, Any] | None:
    """What a table says of itself; `None` where it is not there, torn, or of a version that said nothing."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        said = (pq.read_metadata(path).metadata or {}).get(KEY)
        found = json.loads(said) if said else None
    except (pa.ArrowException, OSError, ValueError):
        return None
    return found if isinstance(found, dict) and "sources" in found else None


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None


def _settled(table: Path, files: tuple[Path, ...]) -> bool:
    at = table.stat().st_mtime_ns
    stats = [path.stat() for path in files if path.exists()]
    newest = max((max(one.st_mtime_ns, one.st_ctime_ns) for one in stats), default=0)
    return newest + int(SETTLED_S * 1e9) < at <= time.time_ns() + int(SETTLED_S * 1e9)


def _digest(path: Path) -> str | None:
    """sha256 of a file's bytes; of one that did not change since this process hashed it, without reading it again."""
    if not path.exists():
        return None
    one = path.stat()
    if time.time_ns() - max(one.st_mtime_ns, one.st_ctime_ns) < SETTLED_S * 1e9:
        return _sha256(path)
    return _kept_sha256(path.resolve(), one.st_size, one.st_mtime_ns, one.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _kept_sha256(path: Path, size: int, mtime: int, ctime: int) -> str:
    return _sha256(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


# Making it ----------------------------------------------------------------------------------------------------

_CANNOT_WRITE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
)
"""The folder cannot be written, which a reader need not mind."""


def write(path: Path, made_of: Source) -> None:
    """Derive the table at `path` from records, scores and prices, in blocks."""
    beside = path.with_name(f".table.{os.getpid()}.{secrets.token_hex(4)}")
    for left in path.parent.glob(".table.*"):  # of a process that was killed
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT_S:
                left.unlink()
    try:
        _write(beside, made_of)
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def _write(path: Path, made_of: Source) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = arrow_schema()
    records_file, scores_file = made_of.files
    with (
        joined.Lines(records_file) as records,
        joined.Lines(scores_file) as scores,
        pq.ParquetWriter(path, schema) as writer,
    ):
        held: list[pa.Table] = []
        for block in _blocks(records, scores, made_of.prices):
            held.append(_arrow(block, schema))
            if sum(map(len, held)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(held))
                held = []
        writer.write_table(pa.concat_tables(held) if held else schema.empty_table())
        told = {**_identity(made_of), "sources": [records.identity(), scores.identity()]}
        writer.add_key_value_metadata({KEY: json.dumps(told).encode()})


def arrow_schema() -> "pa.Schema":
    """The columns as parquet holds them."""
    import pyarrow as pa

    made = {"string": pa.string(), "number": pa.float64(), "flag": pa.bool_(), "list": pa.list_(pa.string())}
    return pa.schema([(name, made[kind]) for name, kind in columns.TYPES.items()])


def _arrow(block: list[tuple[Any, ...]], schema: "pa.Schema") -> "pa.Table":
    import pyarrow as pa

    parts = [_array(values, field.type) for values, field in zip(zip(*block, strict=True), schema, strict=True)]
    return pa.Table.from_arrays(parts, schema=schema)


def _array(values: tuple[Any, ...], kind: "pa.DataType") -> "pa.Array":
    import pyarrow as pa

    try:
        return pa.array(values, kind)
    except UnicodeEncodeError:  # a lone surrogate, which JSON may hold and UTF-8 may not
        return pa.array([_encodable(value) for value in values], kind)


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    return [_encodable(part) for part in value] if isinstance(value, list | tuple) else value


def _blocks(
    records: joined.Lines, scores: joined.Lines, prices: Mapping[str, Price] | None
) -> Iterator[list[tuple[Any, ...]]]:
    block: list[tuple[Any, ...]] = []
    for record, scored in joined.paired(records, scores):
        block.append(tuple(columns.row(record, scored, prices).values()))
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block


# Where nothing can be written ---------------------------------------------------------------------------------


def _apart(made_of: Source) -> Path:
    """The table in a folder of this process, for a run folder that cannot be written."""
    key = stable_hash([str(made_of.folder.resolve()), made_of.scorer])
    path = _own_folder() / f"{key}.parquet"
    if not holds(path, made_of):
        write(path, made_of)
    return path


@functools.cache
def _own_folder() -> Path:
    path = Path(tempfile.mkdtemp(prefix="evals-tables-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path
