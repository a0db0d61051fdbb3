"""Canaries: a few fixed log-probabilities, by which a server shows whether it still has the same weights."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fewshot.models.base import Query

__all__ = ["CANARIES", "TOLERANCE", "are_alike"]

_WORDS = (" a", " the", " 4", " Paris", " good")
_TEXTS = ("The capital of France is", "2 + 2 =", "It was a dark and", "Review: I loved every minute. Sentiment:")
CANARIES = tuple(Query(text, _WORDS) for text in _TEXTS)

#: Nats by which canaries differ on average at most where the weights are the same. Batches, caches in 16 bits and flash
#: attention make less of one model, and other quantised weights more: see benchmarks/servers.py.
TOLERANCE = 0.05


def are_alike(before: Sequence[float], now: Sequence[float]) -> bool:
    """Whether canaries are those of the same weights.

    Examples
    --------
    >>> are_alike([-1.0, -8.0], [-1.01, -8.05]), are_alike([-1.0, -8.0], [-1.3, -7.0])
    (True, False)
    """
    return len(before) == len(now) and bool(np.abs(np.subtract(before, now)).mean() <= TOLERANCE)
