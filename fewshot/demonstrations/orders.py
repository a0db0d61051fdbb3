"""The order of demonstrations in a prompt."""

from __future__ import annotations

from itertools import permutations
from math import factorial

import numpy as np
from scipy.special import entr

from fewshot.checks import at_least
from fewshot.errors import InputError
from fewshot.models.base import FloatArray, IntArray

__all__ = ["interleaved", "least_biased", "orders"]


def orders(n_items: int, n_orders: int, rng: np.random.RandomState) -> list[IntArray]:
    """Return distinct orders of some items: first the given order, then random ones.

    Parameters
    ----------
    n_items : int
    n_orders : int
        How many orders. If no more exist, all of them are returned.
    rng : RandomState

    Returns
    -------
    list of ndarray of shape (n_items,)

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import orders
    >>> [order.tolist() for order in orders(2, 10, np.random.RandomState(0))]
    [[0, 1], [1, 0]]
    """
    at_least("n_orders", n_orders, 1)
    if factorial(n_items) <= n_orders:
        return [np.array(order, dtype=np.int64) for order in permutations(range(n_items))]
    found = {tuple(range(n_items)): None}  # a dict keeps the order of drawing
    while len(found) < n_orders:
        found[tuple(rng.permutation(n_items).tolist())] = None
    return [np.array(order, dtype=np.int64) for order in found]


def least_biased(scores: FloatArray) -> int:
    """Return the order of demonstrations with which a model's answers favour no class.

    It is the order with the highest GlobalE: the entropy of how often each class is predicted. If several orders have
    the same GlobalE, the highest LocalE decides: the mean entropy of the single predictions. Then the first order wins.
    Source: Lu et al. (2022), "Fantastically Ordered Prompts and Where to Find Them: Overcoming Few-Shot Prompt Order
    Sensitivity".

    Parameters
    ----------
    scores : ndarray of shape (n_orders, n_texts, n_classes)
        Log-probabilities of the classes with each order.

    Returns
    -------
    int
        The number of the order.

    Raises
    ------
    InputError
        When the scores have another shape.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import least_biased
    >>> always_first = [[0.9, 0.1], [0.8, 0.2]]
    >>> one_of_each = [[0.9, 0.1], [0.2, 0.8]]
    >>> least_biased(np.log([always_first, one_of_each]))
    1
    """
    scores = np.asarray(scores)
    if scores.ndim != 3 or 0 in scores.shape:
        raise InputError(f"scores must be of shape (n_orders, n_texts, n_classes), none of them 0. Got {scores.shape}.")
    shares = (scores.argmax(axis=2)[:, :, None] == np.arange(scores.shape[2])).mean(axis=1)
    # rounded, so that equal entropies are equal whichever class they were summed over first
    of_all = np.round(entr(shares).sum(axis=1), 9)
    of_each = np.round(entr(np.exp(scores)).sum(axis=2).mean(axis=1), 9)
    return max(range(len(scores)), key=lambda i: (of_all[i], of_each[i]))


def interleaved(rows: IntArray, classes: IntArray) -> IntArray:
    """Reorder rows so that no class follows itself where that can be avoided; within a class the order stays.

    Taking the class with most rows left, other than the last one, succeeds whenever it is possible at all. It works
    from the text outwards, so that an unavoidable block stands far from the text.
    """
    left: dict[int, list[int]] = {}
    for row in rows.tolist():
        left.setdefault(int(classes[row]), []).append(row)
    names = list(dict.fromkeys(classes[rows[::-1]].tolist()))  # of equally many, the one that stood nearer to the text
    chosen: list[int] = []
    last = -1
    while len(chosen) < len(rows):
        last = max((name for name in names if left[name] and name != last), key=lambda n: len(left[n]), default=last)
        chosen.append(left[last].pop())
    return np.array(chosen[::-1], dtype=np.int64)
