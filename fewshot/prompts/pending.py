"""Pending: what is about to be asked of a model, so that several may ask in one call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fewshot.models.base import Query
from fewshot.models.wrappers import RememberedLM

__all__ = ["Pending", "ask_together"]

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Pending(Generic[T]):
    """What is asked of a model about some rows, and how it goes on once the model has answered."""

    model: Any
    queries: Sequence[Query]
    finish: Callable[[Any], T]  # where the given model answers: of a strategy, the log-scores


def ask_together(pending: Sequence[Pending[Any]]) -> list[RememberedLM]:
    """Call each model once about everything that is asked of it; for each of the pending, a model that remembers.

    Queries that begin alike stand side by side, whoever asks them, so that the model can share their beginning.

    Examples
    --------
    >>> from fewshot import FakeLM, Query
    >>> from fewshot.prompts.pending import Pending, ask_together
    >>> calls = []
    >>> lm = FakeLM(lambda query: calls.append(query.prefix) or [0.0, 1.0])
    >>> def finish(model):
    ...     return model.loglikelihoods([Query("a text: is it new?", ("no", "yes"))])[0].logprobs
    >>> one = Pending(lm, [Query("a text: is it new?", ("no", "yes"))], finish)
    >>> two = Pending(lm, [Query("a text: is it long?", ("no", "yes"))], finish)
    >>> memories = ask_together([one, two])
    >>> one.finish(memories[0]).tolist(), calls
    ([0.0, 1.0], ['a text: is it long?', 'a text: is it new?'])
    """
    memories = {id(one.model): RememberedLM(one.model) for one in pending}
    for key, memory in memories.items():
        queries = dict.fromkeys(query for one in pending if id(one.model) == key for query in one.queries)
        memory.loglikelihoods(sorted(queries, key=lambda query: (query.context, query.prefix)))
    return [memories[id(one.model)] for one in pending]
