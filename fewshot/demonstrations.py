"""Which labelled rows become demonstrations in the prompt, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fewshot.errors import InputError

__all__ = ["Selection", "select"]

Selection = Literal["stratified", "random", "first"]


def select(selection: Selection, y: Sequence[Any], shots: int, rng: np.random.RandomState) -> NDArray[np.int64]:
    """Choose the rows that are shown in every prompt.

    Parameters
    ----------
    selection : {"stratified", "random", "first"}
        "stratified": as many of each class as possible, classes taken in turn so that none comes in a block (a model
        favours the class it saw last). "random": a plain sample. "first": the first rows as they are, so that a user
        can order them by hand.
    y : sequence
        Class of each row.
    shots : int
        How many rows in all.
    rng : RandomState

    Returns
    -------
    ndarray of shape (shots,)
        Row numbers in prompt order; the last one stands nearest to the text.

    Raises
    ------
    InputError
        When there are fewer rows than shots.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import select
    >>> rows = select("stratified", ["a", "a", "a", "b"], 2, np.random.RandomState(0))
    >>> sorted(["a", "a", "a", "b"][i] for i in rows)
    ['a', 'b']
    """
    if selection not in ("stratified", "random", "first"):
        raise ValueError(f"selection must be 'stratified', 'random' or 'first'. Got {selection!r}.")
    if shots > len(y):
        raise InputError(
            f"shots={shots} demonstrations were asked for, and there are {len(y)} labelled rows: give more, or lower "
            "shots."
        )
    if selection == "first":
        return np.arange(shots, dtype=np.int64)
    order = rng.permutation(len(y))
    if selection == "random":
        return order[:shots].astype(np.int64)
    by_class: dict[Any, list[int]] = {}
    for i in order:
        by_class.setdefault(y[i], []).append(int(i))
    chosen: list[int] = []
    groups = [by_class[name] for name in rng.permutation(sorted(by_class, key=str)).tolist()]
    while len(chosen) < shots:
        for group in groups:
            if group and len(chosen) < shots:
                chosen.append(group.pop())
    return np.array(chosen, dtype=np.int64)
