"""Weights of equal examples, their spread, and labels that all examples have, or none."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

from fewshot.models.base import FloatArray

__all__ = ["FLOOR", "constant_odds", "measure_spread", "merge_equal", "varying"]

FLOOR = np.log(1e-9)  # a class that the examples lack is improbable, not impossible


def merge_equal(
    keys: Sequence[Hashable], weights: FloatArray | None = None
) -> tuple[NDArray[np.int64], FloatArray | None]:
    """The first of equal examples, in their order, and their summed weights: twice is a weight of 2.

    Examples of weight 0 are left out. No weights come back where none were given and none are equal.

    Examples
    --------
    >>> merge_equal(["a", "b", "a"])
    (array([0, 1]), array([2., 1.]))
    """
    first: dict[Hashable, int] = {}
    places = np.empty(len(keys), dtype=np.int64)
    for i, key in enumerate(keys):
        if weights is None or weights[i] > 0:
            first.setdefault(key, i)
        places[i] = first.get(key, -1)
    rows = np.array(list(first.values()), dtype=np.int64)
    if weights is None and len(rows) == len(keys):
        return rows, None
    own = np.ones(len(keys)) if weights is None else weights
    sums = np.zeros(len(keys))
    np.add.at(sums, places[places >= 0], own[places >= 0])
    return rows, sums[rows]


def measure_spread(X: FloatArray, weights: FloatArray) -> tuple[FloatArray, float]:
    """The mean of different examples, and the variance about it, summed over the dimensions; 1 where they don't vary.

    The variance is that of the source that they are drawn from: half the squared distance of two of them, on average.

    Examples
    --------
    >>> import numpy as np
    >>> measure_spread(np.array([[1.0, 0.0], [0.0, 1.0]]), np.ones(2))
    (array([0.5, 0.5]), 1.0)
    """
    shares = weights / weights.sum()
    mean = shares @ X
    pairs = 1 - shares @ shares  # how often two draws are different examples
    variance = float(shares @ ((X - mean) ** 2).sum(axis=1) / pairs) if pairs > 0 else 0.0
    return mean, variance or 1.0


def constant_odds(targets: FloatArray | NDArray[np.int64], weights: FloatArray | None = None) -> FloatArray:
    """The log-odds of each label by its share of the rows alone, half a row more of either kind: never quite sure.

    Examples
    --------
    >>> import numpy as np
    >>> np.exp(constant_odds(np.array([[1, 0], [1, 0], [1, 0]]))).round(3).tolist()
    [7.0, 0.143]
    """
    weights = np.ones(len(targets)) if weights is None else weights
    return np.log(weights @ targets + 0.5) - np.log(weights @ (1 - targets) + 0.5)


def varying(targets: FloatArray | NDArray[np.int64]) -> NDArray[np.int64]:
    """The columns that some rows have and others lack: what can be learnt.

    Examples
    --------
    >>> import numpy as np
    >>> varying(np.array([[1, 0, 1], [1, 0, 0]]))
    array([2])
    """
    return np.flatnonzero(targets.any(axis=0) & ~targets.all(axis=0))
