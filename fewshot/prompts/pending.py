"""Pending: what a strategy is about to ask of a model, so that several may ask in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Any

from fewshot.models.base import FloatArray, Query
from fewshot.models.wrappers import RememberedLM

__all__ = ["Pending", "ask_together"]


@dataclass(frozen=True, eq=False)
class Pending:
    """What a strategy asks of a model about some rows, and how it goes on once it has the answers."""

    model: Any
    queries: Sequence[Sequence[Query]]  # of each row
    finish: Callable[[Any], FloatArray]  # the log-scores, where the given model answers


def ask_together(pending: Sequence[Pending]) -> list[RememberedLM]:
    """Call each model once about everything that is asked of it; for each of the pending, a model that remembers.

    The queries about one row stand side by side, whoever asks them, so that the model can share their beginning.

    Examples
    --------
    >>> from fewshot import FakeLM, Query
    >>> from fewshot.prompts.pending import Pending, ask_together
    >>> calls = []
    >>> lm = FakeLM(lambda query: calls.append(query.prefix) or [0.0, 1.0])
    >>> def finish(model):
    ...     return model.loglikelihoods([Query("a text: is it new?", ("no", "yes"))])[0].logprobs
    >>> one = Pending(lm, [[Query("a text: is it new?", ("no", "yes"))]], finish)
    >>> two = Pending(lm, [[Query("a text: is it long?", ("no", "yes"))]], finish)
    >>> memories = ask_together([one, two])
    >>> one.finish(memories[0]).tolist(), calls
    ([0.0, 1.0], ['a text: is it new?', 'a text: is it long?'])
    """
    memories = {id(one.model): RememberedLM(one.model) for one in pending}
    for key, memory in memories.items():
        rows = zip_longest(*(one.queries for one in pending if id(one.model) == key), fillvalue=())
        queries = dict.fromkeys(query for row in rows for query in chain.from_iterable(row))
        memory.loglikelihoods(sorted(queries, key=lambda query: query.context))
    return [memories[id(one.model)] for one in pending]
