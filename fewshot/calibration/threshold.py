"""The threshold from which on answers reach a precision."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fewshot.checks import between
from fewshot.errors import InputError
from fewshot.models.base import FloatArray

__all__ = ["find_threshold"]


def find_threshold(probabilities: FloatArray | Sequence[float], right: Any, precision: float, *, of: str) -> float:
    """Return the lowest threshold from which on the answers reach a precision.

    Parameters
    ----------
    probabilities : array of shape (n_answers,)
        Of the answers; at least one.
    right : array of shape (n_answers,)
        Whether each is right.
    precision : float
        Share of the answers that must be right, above 0 and at most 1.
    of : str
        What a message says was measured on, such as "40 rows".

    Raises
    ------
    InputError
        When no threshold reaches the precision; the message says what the best one reaches.

    Examples
    --------
    >>> find_threshold([0.9, 0.8, 0.6, 0.5], [True, True, False, True], 0.75, of="4 rows")
    0.5
    """
    between("precision", precision, 0, 1, with_high=True, more=", such as 0.95")
    order = np.argsort(-np.asarray(probabilities))
    top, shares = np.asarray(probabilities)[order], np.cumsum(np.asarray(right)[order]) / np.arange(1, len(order) + 1)
    last = np.append(np.diff(top) != 0, True)  # answers of one probability are given together or not at all
    thresholds, shares, answered = top[last], shares[last], np.flatnonzero(last) + 1
    enough = np.flatnonzero(shares >= precision)
    if not enough.size:
        best = int(shares.argmax())
        raise InputError(
            f"No threshold reaches precision {precision} on these {of}. The best is {shares[best]:.3f}, at "
            f"{thresholds[best]:.3f}, with {answered[best]} answered: ask for less, or learn from more."
        )
    return float(thresholds[enough[-1]])
