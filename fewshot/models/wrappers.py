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

from fewshot.checks import check_path
from fewshot.errors import FewshotWarning, InputError, ModelLoadError, UnsupportedError, warn
from fewshot.models.base import LanguageModel, Query, Scores, is_language_model, score_each
from fewshot.models.ranking import Ranked, most_probable, rank_all
from fewshot.models.score_file import APPLICATION, SCHEMA, UNCHECKED, initialise, is_new, marks, packed, unpacked
from fewshot.models.watch import generation_of

__all__ = ["CachedLM", "RememberedLM", "Wrapper"]

_FIRST, _CHUNK = 16, 256  # queries that are scored before they are written: few at first, and more where they are fast
_STREAMED = 16 * _CHUNK  # queries that are planned at once where each is written when it comes
_SECONDS = 5.0  # between two writes: a killed run loses little more

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
    """A language model that stores its scores in a file and reads them from there.

    The key of an entry is the model's fingerprint and the whole query. So a changed model, dtype or template never gets
    old scores, and a changed calibration or aggregation needs no model call. Any number of threads and processes may
    use one file at the same time. Scores are written batch by batch, and each batch whole or not at all. If a run is
    killed, the next one continues from the last written batch. Scores of a model on a server are written one by one, as
    they arrive.

    Parameters
    ----------
    lm : LanguageModel
        Any language model, of this library or your own.
    path : str or Path
        An SQLite file. It is created if it does not exist.
    strict : bool
        Whether to raise an error, not a warning, if a server has other weights than those that gave the scores in the
        file.

    Raises
    ------
    InputError
        When the file is not a cache of this class, or is damaged as a whole; it is not changed.
    UnsupportedError
        When ``lm`` is not a language model.
    ModelLoadError
        When ``strict`` is True and the server has other weights than those that gave the scores in the file.

    Notes
    -----
    Every entry has a checksum. If the checksum or the number of candidates is wrong, the query is scored again, and a
    warning names the file. Entries from an earlier version have no checksum: they stay in the file, in a separate
    table, and are not read. If the file can't be written, for example because the disk is full or the folder is
    read-only, stored scores are used, new scores are not stored, and a warning says so. If the ``version`` of a model
    on a server changes during a call, the scores of that call are not stored, and later scores have the new
    fingerprint. The results of ``most_probable``, which does not score all candidates, are not stored. The name of a
    model on a server does not identify its weights. So for a `CompletionsLM` a few fixed log-probabilities (canaries)
    are stored too, and compared at each start. If they differ by more than 0.05 nats on average, a warning says so, and
    scores of the former weights are not used.

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
    strict, _watched, _generation = False, "", 0  # of those that were pickled before there were any

    def __init__(self, lm: LanguageModel, path: str | Path, *, strict: bool = False) -> None:
        if not is_language_model(lm):
            raise UnsupportedError(
                f"CachedLM stores the scores of a language model, and {lm!r} is none: use it as it is. An encoder "
                "remembers the vectors of its texts itself."
            )
        check_path("path", path)
        super().__init__(lm)
        self.path, self.strict = Path(path), strict
        self.fingerprint = lm.fingerprint
        self._version = getattr(lm, "version", None)
        with self._named(), self._opened():
            pass
        self._watch()

    def _watch(self) -> None:
        """See by its canaries whether a server's model has the weights that the file's scores are of."""
        if self._is_watched():
            return
        canaries = self.lm.canaries()
        with self._named(), self._opened() as file:
            self._generation, new = generation_of(file, self.fingerprint, canaries)
        self._watched = self.fingerprint
        if new:
            said = (
                f"{self.lm!r} has other weights than the scores in {str(self.path)!r} are of, by the same name: its "
                "log-probabilities of fixed texts have changed. What was fitted or calibrated on the former need not "
                "hold."
            )
            if self.strict:
                raise ModelLoadError(f"{said} Choose another path, or strict=False, which uses none of the old scores.")
            warn(f"{said} The old scores are not used.", FewshotWarning)

    def _is_watched(self) -> bool:
        return self._watched == self.fingerprint or not hasattr(self.lm, "canaries")

    def loglikelihoods(self, queries: Sequence[Query]) -> list[Scores]:
        """Score the queries that are not in the file, and return the scores of all queries."""
        self._watch()
        keys = [self._key(query) for query in queries]
        asked = dict(zip(keys, queries, strict=True))
        known = self._known(asked)
        missing = [key for key in asked if key not in known]
        receives = hasattr(self.lm, "receive_scores")
        start, size = 0, _STREAMED if receives else min(_FIRST, _CHUNK)
        while start < len(missing):
            self._watch()
            part = missing[start : start + size]
            began = time.monotonic()
            score = self._streamed if receives else self._batch
            scores = score([asked[key] for key in part])
            known |= zip(part, scores, strict=True)
            start += size
            if time.monotonic() - began < _SECONDS:
                size = max(size, min(2 * size, _CHUNK))
        return [known[key] for key in keys]

    def _batch(self, queries: list[Query]) -> list[Scores]:
        """Score queries, and then write them."""
        scores = self.lm.loglikelihoods(queries)
        self._check(queries, scores)
        if self._is_as_it_was():
            self._say_unkept(self._write(dict(zip(queries, scores, strict=True))), len(queries))
        return list(scores)

    def _streamed(self, queries: list[Query]) -> list[Scores]:
        """Score queries, and write each when it comes; what comes while one is written goes with the next."""
        waiting: dict[Query, Scores] = {}
        writing, failures, kept = threading.Lock(), list[Exception](), set[Query]()

        def receive(new: Mapping[Query, Scores]) -> None:
            self._check(list(new), list(new.values()))
            waiting.update(new)
            with writing:
                part = waiting.copy()
                if part and not failures and self._is_as_it_was() and self._is_watched():
                    failure = self._write(part)
                    if failure is None:
                        kept.update(part)
                    else:
                        failures.append(failure)
                for query in part:
                    del waiting[query]

        scores: list[Scores] = self.lm.receive_scores(queries, receive)
        if failures:
            self._say_unkept(failures[0], len(set(queries) - kept))
        return scores

    @property
    def with_chat(self) -> Callable[[bool], CachedLM]:
        """Return ``with_chat`` of the model, if it has one, with the same file as cache."""
        other = self.lm.with_chat
        return lambda chat: CachedLM(other(chat), self.path, strict=self.strict)

    def _is_as_it_was(self) -> bool:
        """Whether the model is not another one now, as behind an address; then what it just said may be of either."""
        version = getattr(self.lm, "version", None)
        if version == self._version:
            return True
        self._version, self.fingerprint = version, self.lm.fingerprint
        return False

    def _check(self, queries: Sequence[Query], scores: Sequence[Scores]) -> None:
        wanted = [len(query.candidates) for query in queries]
        found = [(len(one.logprobs), len(one.n_tokens)) for one in scores]
        if found != [(n, n) for n in wanted]:
            raise UnsupportedError(
                f"{self.lm!r} must give two numbers a candidate of every query, its log-probability and its number of "
                f"tokens, and nothing was kept. Queries have {wanted} candidates. Got {found}."
            )

    def _known(self, asked: Mapping[bytes, Query]) -> dict[bytes, Scores]:
        """What the file has of these queries, and is whole."""
        found: dict[bytes, Scores] = {}
        damaged, keys = 0, list(asked)
        with self._named(), self._opened() as file:
            for start in range(0, len(keys), 500):  # a statement takes a bounded number of parameters
                part = keys[start : start + 500]
                marks = ",".join("?" * len(part))
                for key, value in file.execute(f"SELECT key, value FROM scores WHERE key IN ({marks})", part):
                    scores = unpacked(key, value, len(asked[key].candidates)) if key in asked else None
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

    def _write(self, scores: Mapping[Query, Scores]) -> Exception | None:
        """Keep scores, all of them or none; where the file can't be written to, why."""
        keys = {query: self._key(query) for query in scores}
        rows = [(key, packed(key, scores[query])) for query, key in keys.items()]
        try:
            with self._named(), self._opened() as file, file:
                file.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", rows)
        except InputError as error:
            if not isinstance(error.__cause__, sqlite3.OperationalError):  # which says that nothing is damaged
                raise
            return error.__cause__
        return None

    def _say_unkept(self, failure: Exception | None, n: int) -> None:
        if failure is not None:
            warn(
                f"The cache {str(self.path)!r} can't be written to ({failure}): {n} scores are used, and not kept.",
                FewshotWarning,
            )

    def _key(self, query: Query) -> bytes:
        known = [self.fingerprint] + [self._generation] * bool(self._generation)
        said = json.dumps([*known, query.prefix, query.candidates, query.suffix, query.context])
        return hashlib.sha256(said.encode("ascii")).digest()

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        """A connection of its own for each look, so that threads and forked processes never share one."""
        with _INSIDE, closing(self._connection()) as file:
            file.text_factory = bytes  # a damaged value need not be text
            if marks(file) == (APPLICATION, UNCHECKED) or is_new(file):
                initialise(file)
            if marks(file) != (APPLICATION, SCHEMA):
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
        self._ranked: dict[tuple[Query, int], Ranked] = {}

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

    def most_probable(self, queries: Sequence[Query], k: int) -> list[Ranked]:
        """Search for the best candidates of the queries that are new, and hand out all.

        Of a model that has to score all candidates, those scores are remembered.
        """
        if not hasattr(self.lm, "most_probable"):
            return rank_all(self, queries, self.loglikelihoods(queries), k)
        new = [query for query in dict.fromkeys(queries) if (query, k) not in self._ranked]
        if new:
            self._ranked.update(zip(((query, k) for query in new), most_probable(self.lm, new, k), strict=True))
        return [self._ranked[query, k] for query in queries]

    def __repr__(self) -> str:
        return repr(self.lm)
