"""CachedLM: a persistent cache around any language model."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fewshot.errors import InputError
from fewshot.models.base import LanguageModel, Query, Scores

__all__ = ["CachedLM", "RememberedLM"]

_APPLICATION = 0x66657773  # "fews": how a file of ours is told from a stranger's
_SCHEMA = 1
_CHUNK = 256  # queries that are scored before they are written, so a killed run loses at most these


class CachedLM:
    """A language model whose scores are kept in a file.

    The key is the model's fingerprint with the whole query, so a changed model, dtype or template never gets old
    scores, and a changed calibration or aggregation costs no model call. Two processes may use one file at once. A
    killed run resumes where it was.

    Parameters
    ----------
    lm : LanguageModel
        Any of this library's or your own.
    path : str or Path
        An SQLite file, made if it is not there.

    Raises
    ------
    InputError
        When the file is not a cache of ours, or damaged; it is left as it is.

    Examples
    --------
    >>> import tempfile
    >>> from fewshot import CachedLM, FakeLM
    >>> from fewshot.models.base import Query
    >>> calls = []
    >>> lm = FakeLM(lambda query: calls.append(query) or [0.0 for _ in query.candidates])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         scores = CachedLM(lm, f"{folder}/scores.sqlite").loglikelihoods([Query("It was ", ("good", "bad"))])
    >>> len(calls)
    1
    """

    def __init__(self, lm: LanguageModel, path: str | Path) -> None:
        self.lm = lm
        self.path = Path(path)
        self.fingerprint = lm.fingerprint
        with self._opened():
            pass

    def __getattr__(self, name: str) -> Any:
        """Everything but scores is the model's own: its kind, its window, its way to generate."""
        if name.startswith("__") or "lm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.lm, name)

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the queries that are not in the file, and hand out all."""
        keys = [self._key(query) for query in queries]
        with self._opened() as file:
            known = self._known(file, keys)
            missing = {key: query for key, query in zip(keys, queries, strict=True) if key not in known}
            items = list(missing.items())
            for start in range(0, len(items), _CHUNK):
                part = items[start : start + _CHUNK]
                scores = self.lm.loglikelihoods([query for _, query in part])
                rows = [(key, _packed(one)) for (key, _), one in zip(part, scores, strict=True)]
                with file:
                    file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)
                known |= {key: one for (key, _), one in zip(part, scores, strict=True)}
        return [known[key] for key in keys]

    def _known(self, file: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, Scores]:
        found = {}
        distinct = list(dict.fromkeys(keys))
        for start in range(0, len(distinct), 500):  # a statement takes a bounded number of parameters
            part = distinct[start : start + 500]
            marks = ",".join("?" * len(part))
            for key, blob in file.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", part):
                found[key] = self._unpacked(blob)
        return found

    def _key(self, query: Query) -> bytes:
        said = json.dumps([self.fingerprint, query.prefix, query.candidates, query.suffix, query.context])
        return hashlib.sha256(said.encode("ascii")).digest()

    def _unpacked(self, blob: bytes) -> Scores:
        if len(blob) % 16 != 8:  # two numbers a candidate, and the label mass
            raise InputError(
                f"The cache {str(self.path)!r} is damaged: an entry has {len(blob)} bytes. Delete the file."
            )
        values = np.frombuffer(blob, dtype="<f8")
        n = len(values) // 2
        return Scores(values[:n].copy(), values[n : 2 * n].astype(np.int64), float(values[-1]))

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each call, so that threads and forked processes never share one."""
        try:
            with closing(sqlite3.connect(self.path, timeout=60)) as file:
                if _marks(file) == (0, 0) and not file.execute("SELECT * FROM sqlite_master").fetchall():
                    _initialise(file)
                if _marks(file) != (_APPLICATION, _SCHEMA):
                    raise InputError(
                        f"The file {str(self.path)!r} is not a score cache of this version of the library; it is left "
                        "as it is. Choose another path."
                    )
                yield file
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"The cache {str(self.path)!r} can't be used, and is left as it is: {error}. Choose another path, or "
                "delete the file if it is a damaged cache."
            ) from error

    def __sklearn_clone__(self) -> CachedLM:
        """Models are shared between clones, never copied."""
        return self

    def __repr__(self) -> str:
        return f"CachedLM({self.lm!r}, {str(self.path)!r})"


class RememberedLM:
    """A language model that is asked nothing twice while this object lives: for comparisons that share their prompts.

    Parameters
    ----------
    lm : LanguageModel
    """

    def __init__(self, lm: Any) -> None:
        self.lm = lm
        self._scores: dict[Query, Scores] = {}
        self._seen: dict[tuple[Query, str], Any] = {}

    def __getattr__(self, name: str) -> Any:
        """Everything but what is remembered is the model's own."""
        if name.startswith("__") or "lm" not in self.__dict__:
            raise AttributeError(name)
        return getattr(self.lm, name)

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return str(self.lm.fingerprint)

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the queries that are new, and hand out all."""
        new = [query for query in dict.fromkeys(queries) if query not in self._scores]
        if new:
            self._scores.update(zip(new, self.lm.loglikelihoods(new), strict=True))
        return [self._scores[query] for query in queries]

    def read(self, queries: Sequence[Query], what: str) -> Any:
        """Read the queries that are new, and hand out all."""
        new = [query for query in dict.fromkeys(queries) if (query, what) not in self._seen]
        if new:
            self._seen.update(zip(((query, what) for query in new), self.lm.read(new, what), strict=True))
        return np.stack([self._seen[query, what] for query in queries])

    def __sklearn_clone__(self) -> RememberedLM:
        """Models are shared between clones, never copied."""
        return self

    def __repr__(self) -> str:
        return repr(self.lm)


def _marks(file: sqlite3.Connection) -> tuple[int, int]:
    return tuple(file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))


def _initialise(file: sqlite3.Connection) -> None:
    file.execute("PRAGMA journal_mode = WAL")
    with file:  # one transaction, so that another process sees an empty file or a finished one
        file.execute("BEGIN IMMEDIATE")
        file.execute("CREATE TABLE IF NOT EXISTS scores (key BLOB PRIMARY KEY, value BLOB) WITHOUT ROWID")
        file.execute(f"PRAGMA application_id = {_APPLICATION}")
        file.execute(f"PRAGMA user_version = {_SCHEMA}")


def _packed(scores: Scores) -> bytes:
    return np.concatenate([scores.logprobs, scores.n_tokens, [scores.mass]]).astype("<f8").tobytes()
