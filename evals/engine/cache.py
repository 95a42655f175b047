"""The response cache: every good completion that was bought, in one SQLite file, so that nothing is paid for twice.

A key is the hash of who answers (the model's own facts but for its client), the request's hash and the repeat. Beside
the answer stand its timing, when it was bought, and by which run. Prompts, headers and keys are not in it.

`mode` says what may be served: `resume` only what this very run bought in an earlier session, for the same sample and
part; `read` also what any other run bought; `off` neither reads nor writes. What another run bought says so in
`Completion.notes["bought"]`; without it a cached call was paid for by the run whose record it stands in.

Writing: a part of a document is committed at once, since no record holds it until the last part is answered. A whole
answer is committed with up to 63 others, or a second later: it is on its way into `records.jsonl`, which is the truth,
and a kill in between can only cost later runs that read the cache, not this one. Commits reach the operating system
(WAL), so a SIGKILL loses none; a power cut may lose the last ones and never damages the file.
"""

import contextlib
import dataclasses
import hashlib
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from evals.core import Call, Completion, Role, Timing, Usage, stable_hash
from evals.engine.worker_lane import OF_THE_MOMENT
from evals.errors import ConfigError, StoreError

Mode = Literal["resume", "read", "off"]
FORMAT = 1
BATCH, BATCH_S = 64, 1.0
BUSY_S = 30.0
_TABLE = """create table if not exists answers (
    key blob not null, run text not null, who text not null, bought_at real not null, text blob not null,
    about blob not null
)"""
_INDEX = "create index if not exists answers_key on answers (key)"
_RUNS = "create table if not exists runs (run text primary key)"
_ANY = """select text, about, run, bought_at from answers where key = ?
    order by run = ? and who = ? desc, bought_at desc limit 1"""
_OWN = """select text, about, run, bought_at from answers where key = ? and run = ? and who = ?
    order by bought_at desc limit 1"""
_NOT_WHO = ("client", "start_s", "tuned", *OF_THE_MOMENT)
_write = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str).encode


class Asked(NamedTuple):
    """Which request of a run this is: the same after every interruption."""

    hash: str
    """Of the request."""
    sample_id: str
    repeat: int
    part: int = 0


class ResponseCache:
    """One cache file, as one run uses it. `identity` is who answers, `run` the run's folder: two sessions of one run
    name the same, another run of the same command does not. Close it, or use it as a context manager."""

    def __init__(
        self, path: Path, *, identity: Mapping[str, Any] | str = "", run: str = "", mode: Mode = "resume"
    ) -> None:
        if mode not in ("resume", "read", "off"):
            raise ConfigError(f"cache={mode}: known are resume, read and off")
        self.path, self.run, self.mode = path, run, mode
        self.failed: StoreError | None = None
        """Why an answer could not be written: the run should end once the answers in flight are recorded."""
        self._identity = identity_hash(identity)
        self._waiting: list[tuple[Asked, float, Call]] = []
        self._since = 0.0
        self._database: sqlite3.Connection | None = None
        if mode == "off":
            return
        with self._told():
            self._database = self._opened()
            query = "select exists (select 1 from runs where run = ? or ?)"
            self._worth_asking = bool(self._database.execute(query, (run, mode == "read")).fetchone()[0])

    def __enter__(self) -> "ResponseCache":
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self.close()
        if error is None and self.failed:
            raise self.failed

    def get(self, asked: Asked, role: Role = "answer") -> Call | None:
        """The call that bought this answer, marked as cached; `None` where it was not bought or may not be served."""
        if self._database is None or not self._worth_asking:
            return None
        key, query = self._key(asked), _OWN if self.mode == "resume" else _ANY
        with self._told():
            row = self._database.execute(query, (key, self.run, _who(asked))).fetchone()
        if row is None:
            return None
        text, about, run, bought_at = row
        return _unpacked(text, about, role, None if run == self.run else {"run": run, "at": bought_at})

    def put(self, asked: Asked, call: Call, *, commit: bool = False) -> None:
        """Keep a call with a completion. Never raises: the answer is paid for and must still reach its record."""
        if self._database is None or self.failed:
            return
        now = time.time()
        self._since = self._since if self._waiting else now
        self._waiting.append((asked, now, call))
        if commit or len(self._waiting) >= BATCH or now - self._since > BATCH_S:
            self.flush()

    def flush(self) -> None:
        """Commit what waits. A failure is kept in `failed`."""
        if self._database is None or not self._waiting or self.failed:
            return
        rows = [(self._key(asked), self.run, _who(asked), at, *_packed(call)) for asked, at, call in self._waiting]
        try:
            with self._told(), self._database:
                self._database.execute("begin immediate")
                self._database.execute("insert or ignore into runs values (?)", (self.run,))
                self._database.executemany("insert into answers values (?, ?, ?, ?, ?, ?)", rows)
            self._waiting.clear()
        except StoreError as error:
            self.failed = error

    def close(self) -> None:
        """Commit and close."""
        self.flush()
        if self._database is not None:
            self._database.close()
            self._database = None

    def _key(self, asked: Asked) -> bytes:
        text = f"{self._identity} {asked.hash} {asked.repeat}"
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def _opened(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # A notebook runs the loop in a thread of its own; one thread at a time uses the connection all the same.
        database = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
        try:
            _turn_to_wal(database)
            database.execute("pragma synchronous = normal")
            (found,) = database.execute("pragma user_version").fetchone()
            if found not in (0, FORMAT):
                raise StoreError(
                    f"{self.path} is a cache of format {found}, this is {FORMAT}: move it away, or cache=off"
                )
            with database:
                database.execute("begin immediate")
                for statement in (_TABLE, _INDEX, _RUNS):
                    database.execute(statement)
                database.execute(f"pragma user_version = {FORMAT}")
        except BaseException:
            database.close()
            raise
        return database

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """SQLite's failures as one line with the file and the mend."""
        try:
            yield
        except OSError as error:
            raise StoreError(f"{self.path} cannot be written: {error.strerror or error}; or cache=off") from error
        except sqlite3.OperationalError as error:  # read-only, full, locked
            raise StoreError(f"{self.path} cannot be used: {error}; mend that, or cache=off") from error
        except sqlite3.DatabaseError as error:
            text = f"{self.path} is damaged ({error}): move it away (records keep their answers), or cache=off"
            raise StoreError(text) from error


def _turn_to_wal(database: sqlite3.Connection) -> None:
    """Of two processes that turn one new file at the same time, SQLite tells one `locked` at once, without the patience
    that the connection asks for elsewhere."""
    end = time.monotonic() + BUSY_S
    while True:
        try:
            database.execute("pragma journal_mode = wal")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(0.01)


def identity_hash(identity: Mapping[str, Any] | str) -> str:
    """Hash of who answers: a model's facts without the software they were fetched with, and what its machine had free."""
    if isinstance(identity, str):
        return identity
    return stable_hash({key: value for key, value in identity.items() if key not in _NOT_WHO})


def _who(asked: Asked) -> str:
    return f"{asked.part} {asked.sample_id}"


_DONE, _USAGE, _TIMING = (
    tuple(field.name for field in dataclasses.fields(kind) if field.name not in ("text", "usage"))
    for kind in (Completion, Usage, Timing)
)


def _filled(noun: Any, names: Sequence[str]) -> dict[str, Any]:
    """The fields that say something."""
    return {name: value for name in names if (value := getattr(noun, name)) is not None and value != {}}


def _packed(call: Call) -> tuple[bytes, bytes]:
    """The answer's text as it is, and everything else as JSON."""
    done, timing = call.completion, call.timing
    assert done is not None
    usage, when = _filled(done.usage, _USAGE), _filled(timing, _TIMING) if timing else None
    about = _write([call.model, call.in_flight, _filled(done, _DONE), usage, when])
    return done.text.encode("utf-8", "surrogatepass"), about.encode("utf-8", "surrogatepass")


def _unpacked(text: bytes, about: bytes, role: Role, bought: Mapping[str, Any] | None) -> Call | None:
    try:
        model, in_flight, done, usage, when = json.loads(about.decode("utf-8", "surrogatepass"))
        completion = Completion(text=text.decode("utf-8", "surrogatepass"), usage=Usage(**usage), **done)
        if bought:
            completion = dataclasses.replace(completion, notes={**completion.notes, "bought": bought})
        timing = Timing(**{"ttft_s": None, **when}) if when else None
        return Call(role=role, model=model, timing=timing, completion=completion, in_flight=in_flight, cached=True)
    except (ValueError, TypeError, KeyError):
        return None  # written by another version: bought again
