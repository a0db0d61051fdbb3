"""The orders in which a prompt may list the label words."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

__all__ = ["label_orders"]


@lru_cache(maxsize=256)
def label_orders(n_labels: int, n_orders: int | Literal["all"]) -> tuple[tuple[int, ...], ...]:
    """Distinct orders of some label words: rotations of the given one, evenly spaced, and the mirror of each.

    The given order is the first. Under an even number of orders every word has the same mean place.

    Parameters
    ----------
    n_labels : int
    n_orders : int or "all"
        How many orders; "all" are the rotations and their mirrors, twice as many as words (two of two words). There are
        no more than that.

    Examples
    --------
    >>> from fewshot.task.label_orders import label_orders
    >>> label_orders(3, 2)
    ((0, 1, 2), (2, 1, 0))
    >>> label_orders(4, 4)
    ((0, 1, 2, 3), (3, 2, 1, 0), (2, 3, 0, 1), (1, 0, 3, 2))
    """
    most = n_labels if n_labels < 3 else 2 * n_labels
    wanted = most if n_orders == "all" else min(n_orders, most)
    n_rotations = (wanted + 1) // 2
    found = []
    for k in range(n_rotations):
        start = k * n_labels // n_rotations
        rotation = (*range(start, n_labels), *range(start))
        found += [rotation, rotation[::-1]]
    return tuple(found[:wanted])
