"""Rehearsing: what would be asked of servers, without asking."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from fewshot.models.base import Query, Scores

__all__ = ["Rehearsal", "rehearsal_at_work", "rehearsing"]


class Rehearsal:
    """The queries that would be asked: by model, and by how many tokens it would write, None where it scores."""

    def __init__(self) -> None:
        self.asked: dict[tuple[Any, int | None], dict[Query, None]] = {}

    def scores(self, model: Any, queries: Sequence[Query]) -> list[Scores]:
        """Take queries down, and answer that all candidates are alike."""
        self._take(model, None, queries)
        sizes = [len(query.candidates) for query in queries]
        return [Scores(np.full(n, -np.log(n)), np.ones(n, dtype=np.int64), 1.0) for n in sizes]

    def texts(self, model: Any, queries: Sequence[Query], max_new_tokens: int) -> list[str]:
        """Take queries down, and answer nothing."""
        self._take(model, max_new_tokens, queries)
        return [""] * len(queries)

    def _take(self, model: Any, max_new_tokens: int | None, queries: Sequence[Query]) -> None:
        self.asked.setdefault((model, max_new_tokens), {}).update(dict.fromkeys(queries))


_AT_WORK: ContextVar[Rehearsal | None] = ContextVar("rehearsal", default=None)


def rehearsal_at_work() -> Rehearsal | None:
    """The rehearsal that this thread is in."""
    return _AT_WORK.get()


@contextmanager
def rehearsing() -> Iterator[Rehearsal]:
    """In this thread, servers are not asked what they would be asked."""
    token = _AT_WORK.set(Rehearsal())
    try:
        found = _AT_WORK.get()
        assert found is not None
        yield found
    finally:
        _AT_WORK.reset(token)
