"""The most probable candidates of a query, exactly, whether a model can find them early or has to score all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fewshot.models.base import FloatArray, IntArray, LanguageModel, Query

__all__ = ["Ranked", "most_probable"]


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
    """
    own = getattr(model, "most_probable", None)
    if callable(own):
        found: list[Ranked] = own(queries, k)
        return found
    return [_ranked(scores.logprobs, k) for scores in model.loglikelihoods(queries)]


def _ranked(logprobs: FloatArray, k: int) -> Ranked:
    order = np.argsort(-logprobs, kind="stable").astype(np.int64)
    rest = float(np.logaddexp.reduce(logprobs[order[k:]], initial=-np.inf))
    return Ranked(order[:k], logprobs[order[:k]], rest)
