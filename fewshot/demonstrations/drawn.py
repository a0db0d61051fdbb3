"""Demonstrations that are the same for every text, and what all selectors share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import at_least, one_of
from fewshot.demonstrations.orders import interleaved
from fewshot.errors import InputError, ParameterError
from fewshot.models.base import Encoder, IntArray

__all__ = ["First", "Order", "Random", "Selection", "Selector", "Stratified", "select"]

Selection = Literal["stratified", "random", "first"]
Order = Literal["as is", "common first", "interleaved", "nearest last"]


class Selector(BaseEstimator, ABC):  # type: ignore[misc]
    """Base class of selectors. A text is never its own demonstration.

    A row whose text equals the asked text, except for blanks around it, is left out of the prompt. If each text has its
    own demonstrations, another row takes its place. If all texts share their demonstrations, the prompt has one fewer.

    Attributes
    ----------
    shared : bool
        Whether every text gets the same demonstrations.
    needs_encoder : bool
        Whether ``fit`` needs an encoder.
    rows_ : ndarray of shape (shots,)
        Row numbers in prompt order; only if demonstrations are shared.
    """

    shared: bool = True
    needs_encoder: bool = False
    order: Order

    def fit(
        self,
        texts: Sequence[str],
        y: Sequence[Any],
        shots: int,
        rng: np.random.RandomState,
        encoder: Encoder | None = None,
    ) -> Self:
        """Learn from the labelled rows.

        Parameters
        ----------
        texts : sequence of str, of length n_rows
        y : sequence, of length n_rows
            Class of each row.
        shots : int
            Number of rows that each prompt shows.
        rng : RandomState
        encoder : Encoder, optional
            Turns texts into vectors; needed if ``needs_encoder``.

        Raises
        ------
        InputError
            When there are fewer rows than shots, the encoder is missing, or a parameter has a value that is not
            allowed.
        """
        if len(texts) != len(y):
            raise InputError(f"Every labelled row needs one class. Got {len(texts)} texts and {len(y)} classes.")
        at_least("shots", shots, 1, more=", since a selector has nothing else to choose")
        _check_enough(shots, len(y))
        self._check(encoder)
        numbers = {name: i for i, name in enumerate(dict.fromkeys(y))}
        self._classes = np.array([numbers[name] for name in y], dtype=np.int64)
        self._equals: dict[str, list[int]] = {}
        for i, text in enumerate(texts):
            self._equals.setdefault(text.strip(), []).append(i)
        self.encoder_: Any = encoder if self.needs_encoder else None
        self._shots = int(shots)
        self._fit(texts, y, rng)
        return self

    def select(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the row numbers in prompt order; the last row is next to the text."""
        check_is_fitted(self)
        return [self.rows_[~np.isin(self.rows_, self._equal_to(text))] for text in texts]

    def kept(self) -> dict[str, Any]:
        """Return the attributes that prediction needs: for shared demonstrations, only their row numbers."""
        if not hasattr(self, "rows_"):
            return dict(vars(self))
        shown = set(self.rows_.tolist())
        equals = {text: [i for i in rows if i in shown] for text, rows in self._equals.items()}
        found = {name: value for name, value in vars(self).items() if name != "_classes"}
        return {**found, "_equals": {text: rows for text, rows in equals.items() if rows}, "encoder_": None}

    @abstractmethod
    def _fit(self, texts: Sequence[str], y: Sequence[Any], rng: np.random.RandomState) -> None:
        """What a selector learns; when shared, ``rows_``."""

    def _check(self, encoder: Encoder | None) -> None:
        one_of("order", self.order, ("as is", "common first", "interleaved", "nearest last"))
        if self.order in ("common first", "nearest last") and not self.needs_encoder:
            raise ParameterError(f"{self!r} does not compare texts: order={self.order!r} is for Nearest() and MMR().")
        if self.needs_encoder and encoder is None:
            raise InputError(f"{self!r} compares texts by their embeddings, and got no encoder: pass one to fit.")

    def _equal_to(self, text: str) -> list[int]:
        return self._equals.get(text.strip(), [])


class _Drawn(Selector):
    """Rows that `select` chooses, the same for every text."""

    _selection: Selection

    def __init__(self, order: Order = "as is") -> None:
        self.order = order

    def _fit(self, texts: Sequence[str], y: Sequence[Any], rng: np.random.RandomState) -> None:
        rows = select(self._selection, y, self._shots, rng)
        self.rows_ = interleaved(rows, self._classes) if self.order == "interleaved" else rows


class Random(_Drawn):
    """Select a random sample of the rows, the same for every text.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" is the order of drawing. "interleaved" keeps rows of one class apart if possible.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import Random
    >>> selector = Random().fit(["fun", "dull", "so fun"], ["good", "bad", "good"], 2, np.random.RandomState(0))
    >>> [len(rows) for rows in selector.select(["a film", "another film"])]
    [2, 2]
    """

    _selection = "random"


class Stratified(_Drawn):
    """Select equally many rows of each class, as far as possible, drawn at random, the same for every text.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" takes the classes in turn; if small classes have no more rows, large ones fill the end. "interleaved"
        keeps rows of one class apart if possible.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import Stratified
    >>> selector = Stratified().fit(["fun", "dull", "so fun"], ["good", "bad", "good"], 2, np.random.RandomState(0))
    >>> 1 in selector.rows_
    True
    """

    _selection = "stratified"


class First(_Drawn):
    """Select the first rows, the same for every text, so that you can choose and order them by hand.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" is your order. "interleaved" keeps rows of one class apart if possible.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import First
    >>> selector = First().fit(["fun", "dull", "so fun"], ["good", "bad", "good"], 2, np.random.RandomState(0))
    >>> [rows.tolist() for rows in selector.select(["a film", "dull"])]
    [[0, 1], [0]]
    """

    _selection = "first"


def select(selection: Selection, y: Sequence[Any], shots: int, rng: np.random.RandomState) -> IntArray:
    """Return the numbers of rows that are chosen by their classes alone.

    Parameters
    ----------
    selection : {"stratified", "random", "first"}
        "stratified": equally many rows of each class, as far as possible. The classes take turns, because a model
        prefers the class of the last demonstrations. "random": a random sample. "first": the first rows in their order,
        so that you can order them by hand.
    y : sequence
        Class of each row.
    shots : int
        Number of rows in total.
    rng : RandomState

    Returns
    -------
    ndarray of shape (shots,)
        Row numbers in prompt order; the last row is next to the text.

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
    one_of("selection", selection, ("stratified", "random", "first"))
    _check_enough(shots, len(y))
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


def _check_enough(shots: int, n_rows: int) -> None:
    if shots > n_rows:
        raise InputError(
            f"shots={shots} demonstrations were asked for, and there are {n_rows} labelled rows: give more, or lower "
            "shots."
        )
