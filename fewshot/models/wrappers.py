"""Wrappers around any language model: CachedLM keeps scores in a file, RememberedLM while it lives."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Self

import numpy as np

from fewshot.errors import FewshotWarning, InputError, UnsupportedError, warn
from fewshot.models.base import LanguageModel, Query, Scores, score_each

__all__ = ["CachedLM", "RememberedLM", "Wrapper"]

_APPLICATION = 0x66657773  # "fews": marks an SQLite file as ours
_SCHEMA = 2
_UNCHECKED = 1  # the schema whose entries had no checksum
_FIRST, _CHUNK = 16, 256  # queries that are scored before they are written: few at first, and more where they are fast
_SECONDS = 5.0  # between two writes: a killed run loses little more
_CHECKSUM = 16  # bytes

#: Held while this process is inside SQLite, and by a fork: else the child could wait for SQLite's own locks for ever.
_INSIDE = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_INSIDE.acquire, after_in_parent=_INSIDE.release, after_in_child=_INSIDE.release)


class Wrapper:
    """Around a language model: what a subclass does not do itself is the model's own."""

    def __init__(self, lm: Any) -> None:
        self.lm = lm

    def __getattr__(self, name: str) -> Any:
        """The model's own: its kind, its window, its way to generate."""
        if name.startswith("__") or "lm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.lm, name)

    def __sklearn_clone__(self) -> Self:
        """Models are shared between clones, never copied."""
        return self


class CachedLM(Wrapper):
    """A language model whose scores are kept in a file.

    The key is the model's fingerprint with the whole query, so a changed model, dtype or template never gets old
    scores, and a changed calibration or aggregation costs no model call. Any number of threads and processes may use
    one file at once. Scores are written while a call is at work, whole or not at all: a killed run resumes where it
    was, and loses the batch at work.

    Parameters
    ----------
    lm : LanguageModel
        Any of this library's or your own.
    path : str or Path
        An SQLite file, made if it is not there.

    Raises
    ------
    InputError
        When the file is not a cache of ours, or damaged as a whole; it is left as it is.

    Notes
    -----
    Every entry has a checksum. One that does not agree with it, or is of another number of candidates, is scored again,
    with a warning that names the file. Entries that an earlier version wrote have no checksum: they stay in the file,
    in a table of their own, and are not read. Where the file can't be written to, as on a full disk or in a folder that
    is read only, its scores are used, new ones are not kept, and a warning says so. Where the ``version`` of a server's
    model changes while it is asked, what it then says is not kept, and the rest has the new fingerprint.

    Examples
    --------
    >>> import tempfile
    >>> from fewshot import CachedLM, FakeLM, Query
    >>> calls = []
    >>> lm = FakeLM(lambda query: calls.append(query) or [0.0 for _ in query.candidates])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         scores = CachedLM(lm, f"{folder}/scores.sqlite").loglikelihoods([Query("It was ", ("good", "bad"))])
    >>> len(calls)
    1
    """

    _version: str | None = None  # of a model that may become another one

    def __init__(self, lm: LanguageModel, path: str | Path) -> None:
        super().__init__(lm)
        self.path = Path(path)
        self.fingerprint = lm.fingerprint
        self._version = getattr(lm, "version", None)
        with self._named(), self._opened():
            pass

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the queries that are not in the file, and hand out all."""
        keys = [self._key(query) for query in queries]
        asked = dict(zip(keys, queries, strict=True))
        known = self._known(asked)
        missing = [key for key in asked if key not in known]
        start, size = 0, min(_FIRST, _CHUNK)
        while start < len(missing):
            part = missing[start : start + size]
            began = time.monotonic()
            scores = self._scored([asked[key] for key in part])
            if self._is_as_it_was():
                own = [(self._key(asked[key]), one) for key, one in zip(part, scores, strict=True)]
                self._write([(key, _packed(key, one)) for key, one in own])
            known |= zip(part, scores, strict=True)
            start += size
            if time.monotonic() - began < _SECONDS:
                size = min(2 * size, _CHUNK)
        return [known[key] for key in keys]

    @property
    def with_chat(self) -> Callable[[bool], CachedLM]:
        """As the model has it, where it has it: the other way of asking is kept in the same file."""
        other = self.lm.with_chat
        return lambda chat: CachedLM(other(chat), self.path)

    def _is_as_it_was(self) -> bool:
        """Whether the model is not another one now, as behind an address; then what it just said may be of either."""
        version = getattr(self.lm, "version", None)
        if version == self._version:
            return True
        self._version, self.fingerprint = version, self.lm.fingerprint
        return False

    def _scored(self, queries: list[Query]) -> list[Scores]:
        scores = self.lm.loglikelihoods(queries)
        wanted = [len(query.candidates) for query in queries]
        found = [(len(one.logprobs), len(one.n_tokens)) for one in scores]
        if found != [(n, n) for n in wanted]:
            raise UnsupportedError(
                f"{self.lm!r} must give two numbers a candidate of every query, its log-probability and its number of "
                f"tokens, and nothing was kept. Queries have {wanted} candidates. Got {found}."
            )
        return scores

    def _known(self, asked: Mapping[bytes, Query]) -> dict[bytes, Scores]:
        """What the file has of these queries, and is whole."""
        found: dict[bytes, Scores] = {}
        damaged, keys = 0, list(asked)
        with self._named(), self._opened() as file:
            for start in range(0, len(keys), 500):  # a statement takes a bounded number of parameters
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, value in file.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", part):
                    scores = _unpacked(key, value, len(asked[key].candidates)) if key in asked else None
                    damaged += scores is None
                    if scores is not None:
                        found[key] = scores
        if damaged:
            warn(
                f"The cache {str(self.path)!r} is damaged: {damaged} of its entries do not agree with their checksum, "
                "and are scored again. The disk may be failing.",
                FewshotWarning,
            )
        return found

    def _write(self, rows: list[tuple[bytes, bytes]]) -> None:
        """Keep scores, all of them or none."""
        try:
            with self._named(), self._opened() as file, file:
                file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)
        except InputError as error:
            if not isinstance(error.__cause__, sqlite3.OperationalError):  # which says that nothing is damaged
                raise
            warn(
                f"The cache {str(self.path)!r} can't be written to ({error.__cause__}): {len(rows)} scores are used, "
                "and not kept.",
                FewshotWarning,
            )

    def _key(self, query: Query) -> bytes:
        said = json.dumps([self.fingerprint, query.prefix, query.candidates, query.suffix, query.context])
        return hashlib.sha256(said.encode("ascii")).digest()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each look, so that threads and forked processes never share one."""
        with _INSIDE, closing(self._connection()) as file:
            file.text_factory = bytes  # a damaged value need not be text
            if _marks(file) == (_APPLICATION, _UNCHECKED) or _is_new(file):
                _initialise(file)
            if _marks(file) != (_APPLICATION, _SCHEMA):
                raise InputError(
                    f"The file {str(self.path)!r} is not a score cache of this version of the library; it is left "
                    "as it is. Choose another path."
                )
            yield file

    def _connection(self) -> sqlite3.Connection:
        if self.path.exists() and not (os.access(self.path, os.W_OK) and os.access(self.path.parent, os.W_OK)):
            # SQLite would write beside the file even to read it
            return sqlite3.connect(f"{self.path.absolute().as_uri()}?mode=ro&immutable=1", timeout=60, uri=True)
        return sqlite3.connect(self.path, timeout=60)

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the file in what went wrong with it."""
        try:
            yield
        except sqlite3.Error as error:
            raise InputError(
                f"The cache {str(self.path)!r} can't be used, and is left as it is: {error}. Choose another path, or "
                "delete the file if it is a damaged cache."
            ) from error

    def __repr__(self) -> str:
        return f"CachedLM({self.lm!r}, {str(self.path)!r})"


class RememberedLM(Wrapper):
    """A language model that is asked nothing twice while it lives, for comparisons that share their prompts."""

    def __init__(self, lm: Any) -> None:
        super().__init__(lm)
        self._scores: dict[Query, Scores] = {}
        self._seen: dict[tuple[Query, str], Any] = {}

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return str(self.lm.fingerprint)

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the queries that are new, and hand out all."""
        new = [query for query in dict.fromkeys(queries) if query not in self._scores]
        if new:
            self._scores.update(score_each(self.lm, new))
        return [self._scores[query] for query in queries]

    def read(self, queries: Sequence[Query], what: str) -> Any:
        """Read the queries that are new, and hand out all."""
        new = [query for query in dict.fromkeys(queries) if (query, what) not in self._seen]
        if new:
            self._seen.update(zip(((query, what) for query in new), self.lm.read(new, what), strict=True))
        return np.stack([self._seen[query, what] for query in queries])

    def __repr__(self) -> str:
        return repr(self.lm)


def _marks(file: sqlite3.Connection) -> tuple[int, int]:
    return tuple(file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))


def _is_new(file: sqlite3.Connection) -> bool:
    return _marks(file) == (0, 0) and not file.execute("SELECT * FROM sqlite_master").fetchall()


def _initialise(file: sqlite3.Connection) -> None:
    """Make the table, in one transaction: another process sees the file as it was or finished."""
    with file:
        file.execute("BEGIN IMMEDIATE")
        if _marks(file) == (_APPLICATION, _UNCHECKED):
            file.execute("ALTER TABLE scores RENAME TO scores_without_checksums")
        file.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        file.execute(f"PRAGMA application_id = {_APPLICATION}")
        file.execute(f"PRAGMA user_version = {_SCHEMA}")
    for _ in range(100):  # readers and a writer do not wait for each other then; it is no fault where it can't be had
        try:
            file.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError:  # another process is at the file, which SQLite does not wait for here
            time.sleep(0.01)


def _packed(key: bytes, scores: Scores) -> bytes:
    values = np.concatenate([scores.logprobs, scores.n_tokens, [scores.mass]]).astype("<f8").tobytes()
    return values + _checksum(key, values)


def _unpacked(key: bytes, value: object, n: int) -> Scores | None:
    """The scores of a query with n candidates; None where that is not what was written."""
    if not isinstance(value, bytes) or len(value) != 8 * (2 * n + 1) + _CHECKSUM:
        return None
    packed = value[:-_CHECKSUM]
    if value[-_CHECKSUM:] != _checksum(key, packed):
        return None
    values = np.frombuffer(packed, dtype="<f8")
    return Scores(values[:n].copy(), values[n : 2 * n].astype(np.int64), float(values[-1]))


def _checksum(key: bytes, values: bytes) -> bytes:
    return hashlib.blake2b(key + values, digest_size=_CHECKSUM).digest()
