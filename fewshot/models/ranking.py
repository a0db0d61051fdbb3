"""The most probable candidates of a query, exactly, whether a model can find them early or has to score all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot.checks import at_least
from fewshot.models.base import FloatArray, IntArray, LanguageModel, Query, Scores, check_scores

__all__ = ["Ranked", "check_k", "most_probable", "rank", "rank_all"]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """The most probable candidates of one query, best first.

    Parameters
    ----------
    indices : ndarray of shape (k,)
        Their numbers in ``query.candidates``; of equally probable ones the lower number comes first.
    logprobs : ndarray of shape (k,)
        Their log-probabilities, those of `LanguageModel.loglikelihoods`.
    rest : float
        The logarithm of the most probability that all other candidates together can have.
    """

    indices: IntArray
    logprobs: FloatArray
    rest: float


def most_probable(model: LanguageModel | Any, queries: Sequence[Query], k: int) -> list[Ranked]:
    """Return the ``k`` most probable candidates of each query.

    A model with a method ``most_probable`` finds them without scoring all; any other one scores all.

    Raises
    ------
    ParameterError
        When ``k`` is less than 1.
    UnsupportedError
        When the model's scores are no numbers, or all candidates are impossible.
    """
    check_k(k)
    own = getattr(model, "most_probable", None)
    if callable(own):
        found: list[Ranked] = own(queries, k)
        return found
    return rank_all(model, queries, model.loglikelihoods(queries), k)


def rank_all(model: object, queries: Sequence[Query], scores: Sequence[Scores], k: int) -> list[Ranked]:
    """The best candidates of queries whose candidates are all scored; scores that can't be used are refused."""
    for query, one in zip(queries, scores, strict=True):
        check_scores(model, query, one)
    return [rank(one.logprobs, k) for one in scores]


def rank(logprobs: FloatArray, k: int) -> Ranked:
    """The best of candidates that are all scored.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.models.ranking import rank
    >>> ranked = rank(np.log([0.1, 0.6, 0.2]), 1)
    >>> ranked.indices.tolist(), round(float(np.exp(ranked.rest)), 3)
    ([1], 0.3)
    """
    order = np.argsort(-logprobs, kind="stable").astype(np.int64)
    rest = float(np.logaddexp.reduce(logprobs[order[k:]], initial=-np.inf))
    return Ranked(order[:k], logprobs[order[:k]], rest)


def check_k(k: int) -> None:
    """Refuse a number of candidates that is none."""
    at_least("k", k, 1, whole=True)
