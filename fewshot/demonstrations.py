"""Which labelled rows become demonstrations in the prompt, and in which order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from itertools import permutations
from math import factorial
from typing import Any, Literal, Self

import numpy as np
from scipy.special import entr
from sklearn.base import BaseEstimator, clone
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from fewshot.errors import InputError, UnsupportedError
from fewshot.models.base import Encoder, FloatArray, IntArray

__all__ = [
    "MMR",
    "First",
    "Nearest",
    "Order",
    "Random",
    "Selection",
    "Selector",
    "Stratified",
    "as_selector",
    "least_biased",
    "orders",
    "select",
]

Selection = Literal["stratified", "random", "first"]
Order = Literal["as is", "interleaved", "nearest last"]

_BLOCK = 2**22  # similarities held at once: 32 MB
#: Similarities count to this many decimals, so that the last bits, which vary with the block, decide no tie.
_DECIMALS = 6


class Selector(BaseEstimator, ABC):  # type: ignore[misc]
    """What all selectors share: a text is never its own demonstration.

    A row whose text equals the asked text, apart from blanks around it, is not shown to it. A text that loses a row in
    this way gets another one where each text has its own demonstrations, and one fewer where all share them.

    Attributes
    ----------
    shared : bool
        Whether every text gets the same demonstrations.
    needs_encoder : bool
        Whether ``fit`` needs an encoder.
    rows_ : ndarray of shape (shots,)
        Row numbers in prompt order; only where they are shared.
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
            How many rows are shown to a text.
        rng : RandomState
        encoder : Encoder, optional
            Turns texts into vectors, where ``needs_encoder``.

        Raises
        ------
        InputError
            When there are fewer rows than shots, the encoder is missing, or a parameter has no such value.
        """
        if len(texts) != len(y):
            raise InputError(f"Every labelled row needs one class. Got {len(texts)} texts and {len(y)} classes.")
        if shots < 1:
            raise InputError(f"shots must be at least 1, since a selector has nothing else to choose. Got {shots}.")
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
        """For each text, the row numbers in prompt order; the last one stands nearest to the text."""
        check_is_fitted(self)
        return [self.rows_[~np.isin(self.rows_, self._equal_to(text))] for text in texts]

    @abstractmethod
    def _fit(self, texts: Sequence[str], y: Sequence[Any], rng: np.random.RandomState) -> None:
        """What a selector learns; when shared, ``rows_``."""

    def _check(self, encoder: Encoder | None) -> None:
        if self.order not in ("as is", "interleaved", "nearest last"):
            raise InputError(f"order must be 'as is', 'interleaved' or 'nearest last'. Got {self.order!r}.")
        if self.order == "nearest last" and not self.needs_encoder:
            raise InputError(f"{self!r} does not compare texts: order='nearest last' is for Nearest() and MMR().")
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
        self.rows_ = _interleaved(rows, self._classes) if self.order == "interleaved" else rows


class Random(_Drawn):
    """A plain sample of the rows, the same for every text.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" is the order of drawing. "interleaved" keeps rows of one class apart wherever that is possible.

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
    """As many rows of each class as possible, drawn within the class, the same for every text.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" takes the classes in turn; where small classes run out, the large ones fill the end. "interleaved" keeps
        rows of one class apart wherever that is possible.

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
    """The first rows, the same for every text, so that a user can choose and order them by hand.

    Parameters
    ----------
    order : {"as is", "interleaved"}
        "as is" is the user's. "interleaved" keeps rows of one class apart wherever that is possible.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.demonstrations import First
    >>> selector = First().fit(["fun", "dull", "so fun"], ["good", "bad", "good"], 2, np.random.RandomState(0))
    >>> [rows.tolist() for rows in selector.select(["a film", "dull"])]
    [[0, 1], [0]]
    """

    _selection = "first"


class _Similar(Selector):
    """Rows chosen by the cosine similarity of sentence embeddings, for each text or once for all."""

    needs_encoder = True

    def _fit(self, texts: Sequence[str], y: Sequence[Any], rng: np.random.RandomState) -> None:
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        self._vectors = self._encoded(list(distinct))[[distinct[text] for text in texts]]
        if self.order == "as is":
            counts = np.zeros(len(texts), dtype=np.int64)
            for text, similarity in zip(texts, self._similarities(self._vectors), strict=True):
                counts[self._nearest(similarity, self._equal_to(text))[: self._shots]] += 1
            self._place = np.argsort(np.argsort(-counts, kind="stable"))
        if self.shared:
            centre = normalize(self._vectors.mean(axis=0, keepdims=True))
            self.rows_ = self._shown(next(self._similarities(centre)), [])

    def select(self, texts: Sequence[str]) -> list[IntArray]:
        """For each text, the row numbers in prompt order; the last one stands nearest to the text."""
        check_is_fitted(self)
        if self.shared:
            return super().select(texts)
        distinct = list(dict.fromkeys(texts))
        similarities = self._similarities(self._encoded(distinct)) if distinct else ()
        shown = {text: self._shown(one, self._equal_to(text)) for text, one in zip(distinct, similarities, strict=True)}
        return [shown[text] for text in texts]

    @abstractmethod
    def _pick(self, similarity: FloatArray, nearest: IntArray) -> IntArray:
        """Choose at most ``_shots`` of the rows ``nearest``, which are sorted, given every row's similarity."""

    def _shown(self, similarity: FloatArray, excluded: list[int]) -> IntArray:
        rows = self._pick(similarity, self._nearest(similarity, excluded))
        if self.order == "as is":
            return rows[np.argsort(self._place[rows])]
        nearest_last = rows[np.lexsort((rows, -similarity[rows]))][::-1]
        return nearest_last if self.order == "nearest last" else _interleaved(nearest_last, self._classes)

    def _encoded(self, texts: list[str]) -> FloatArray:
        """Unit vectors, or zeros, of shape (n_texts, dim)."""
        vectors = np.asarray(self.encoder_.encode(texts), dtype=np.float64)
        if not np.isfinite(vectors).all():
            raise UnsupportedError(
                f"{self.encoder_!r} gave NaN or infinite vectors: its weights or its number type are broken."
            )
        unit: FloatArray = normalize(vectors)
        return unit

    @staticmethod
    def _nearest(similarity: FloatArray, excluded: list[int]) -> IntArray:
        """All rows but the excluded ones, the most similar first, ties by row number."""
        rows = np.argsort(-similarity, kind="stable")
        return rows[~np.isin(rows, excluded)] if excluded else rows

    def _similarities(self, vectors: FloatArray) -> Iterator[FloatArray]:
        """Cosine of each vector with every row, one vector at a time, computed in blocks."""
        size = max(1, _BLOCK // len(self._vectors))
        for start in range(0, len(vectors), size):
            block = vectors[start : start + size] @ self._vectors.T
            yield from np.round(block, _DECIMALS, out=block)


class Nearest(_Similar):
    """The rows whose sentence embeddings are most similar to the text's, by cosine.

    Liu et al. (2022), "What Makes Good In-Context Examples for GPT-3?" (KATE).

    Parameters
    ----------
    per_class : bool
        Take the nearest row of every class, then the second nearest of every class, and so on; within a round, the most
        similar first. A class with too few rows leaves its places to the others.
    shared : bool
        Choose once for all texts, by similarity to the mean of the labelled rows' vectors.
    order : {"nearest last", "as is", "interleaved"}
        "nearest last" is KATE's: the most similar row stands next to the text. "as is" does not depend on the text:
        rows that are often among the ``shots`` nearest neighbours of other labelled rows come first, so that prompts
        begin alike and a model computes what they share once. "interleaved" is "nearest last" with rows of one class
        kept apart wherever that is possible.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from fewshot.demonstrations import Nearest
    >>> class Words:
    ...     def encode(self, texts):
    ...         return HashingVectorizer(n_features=256).transform(texts).toarray()
    >>> texts, y = ["a good day", "a bad film", "what a good film"], ["good", "bad", "good"]
    >>> selector = Nearest().fit(texts, y, 2, np.random.RandomState(0), Words())
    >>> [rows.tolist() for rows in selector.select(["what a film", "a bad film"])]
    [[1, 2], [0, 2]]
    """

    def __init__(self, per_class: bool = False, shared: bool = False, order: Order = "nearest last") -> None:
        self.per_class = per_class
        self.shared = shared
        self.order = order

    def _pick(self, similarity: FloatArray, nearest: IntArray) -> IntArray:
        if self.per_class:
            nearest = nearest[np.argsort(_rounds(self._classes[nearest]), kind="stable")]
        return nearest[: self._shots]


class MMR(_Similar):
    """Rows that are similar to the text and unlike each other: maximal marginal relevance.

    The first row is the most similar one. Each further row has the highest ``balance * (similarity to the text) -
    (1 - balance) * (highest similarity to a row chosen before)``.

    Carbonell and Goldstein (1998), "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries"; for demonstrations, Ye et al. (2023), "Complementary Explanations for Effective In-Context Learning".

    Parameters
    ----------
    balance : float
        Between 0, rows as unlike each other as possible, and 1, the nearest rows.
    shared : bool
        Choose once for all texts, by similarity to the mean of the labelled rows' vectors.
    order : {"nearest last", "as is", "interleaved"}
        As in `Nearest`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.feature_extraction.text import HashingVectorizer
    >>> from fewshot.demonstrations import MMR
    >>> class Words:
    ...     def encode(self, texts):
    ...         return HashingVectorizer(n_features=256).transform(texts).toarray()
    >>> texts, y = ["a good film", "a good film!", "bad acting"], ["good", "good", "bad"]
    >>> selector = MMR(balance=0.3).fit(texts, y, 2, np.random.RandomState(0), Words())
    >>> selector.select(["good or bad film"])[0].tolist()
    [2, 0]
    """

    def __init__(self, balance: float = 0.5, shared: bool = False, order: Order = "nearest last") -> None:
        self.balance = balance
        self.shared = shared
        self.order = order

    def _check(self, encoder: Encoder | None) -> None:
        super()._check(encoder)
        if not 0 <= self.balance <= 1:
            raise InputError(f"balance must be between 0 (diverse) and 1 (nearest). Got {self.balance!r}.")

    def _pick(self, similarity: FloatArray, nearest: IntArray) -> IntArray:
        chosen, left = nearest[:1], nearest[1:]
        covered = np.full(len(similarity), -1.0)
        while left.size and len(chosen) < self._shots:
            covered = np.maximum(covered, np.round(self._vectors @ self._vectors[chosen[-1]], _DECIMALS))
            # the first of equals, which is the most similar one
            best = np.argmax(self.balance * similarity[left] - (1 - self.balance) * covered[left])
            chosen, left = np.append(chosen, left[best]), np.delete(left, best)
        return chosen


_BY_NAME: dict[str, type[Selector]] = {
    "stratified": Stratified,
    "random": Random,
    "first": First,
    "nearest": Nearest,
    "mmr": MMR,
}


def as_selector(selection: Any, order: str | None = None) -> Selector:
    """Resolve a name, or copy what is a selector already.

    Parameters
    ----------
    selection : {"stratified", "random", "first", "nearest", "mmr"} or Selector
    order : {"as is", "interleaved", "nearest last"}, optional
        Replaces the selector's own.

    Raises
    ------
    InputError
        When it is neither.

    Examples
    --------
    >>> from fewshot.demonstrations import as_selector
    >>> as_selector("nearest", order="interleaved")
    Nearest(order='interleaved')
    """
    found: Selector
    if isinstance(selection, str) and selection in _BY_NAME:
        found = _BY_NAME[selection]()
    elif isinstance(selection, Selector):
        found = clone(selection)
    else:
        names = ", ".join(map(repr, _BY_NAME))
        raise InputError(f"selection must be one of {names}, or an object such as Nearest(). Got {selection!r}.")
    if order is not None:
        found.set_params(order=order)
    return found


def select(selection: Selection, y: Sequence[Any], shots: int, rng: np.random.RandomState) -> IntArray:
    """Choose rows by their classes alone.

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


def orders(n_items: int, n_orders: int, rng: np.random.RandomState) -> list[IntArray]:
    """Distinct orders of some items to choose from: the given one first, the others drawn.

    Parameters
    ----------
    n_items : int
    n_orders : int
        How many orders; where there are no more than that, all of them.
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
    if n_orders < 1:
        raise InputError(f"n_orders must be at least 1. Got {n_orders!r}.")
    if factorial(n_items) <= n_orders:
        return [np.array(order, dtype=np.int64) for order in permutations(range(n_items))]
    found = {tuple(range(n_items)): None}  # a dict keeps the order of drawing
    while len(found) < n_orders:
        found[tuple(rng.permutation(n_items).tolist())] = None
    return [np.array(order, dtype=np.int64) for order in found]


def least_biased(scores: FloatArray) -> int:
    """The order of demonstrations under which a model's answers favour no class.

    It is the order with the highest GlobalE, the entropy of how often each class is predicted; of several, the one with
    the highest LocalE, the mean entropy of the single predictions; of several, the first. Lu et al. (2022),
    "Fantastically Ordered Prompts and Where to Find Them: Overcoming Few-Shot Prompt Order Sensitivity".

    Parameters
    ----------
    scores : ndarray of shape (n_orders, n_texts, n_classes)
        Log-probabilities of the classes under each order.

    Returns
    -------
    int
        Number of the order.

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


def _check_enough(shots: int, n_rows: int) -> None:
    if shots > n_rows:
        raise InputError(
            f"shots={shots} demonstrations were asked for, and there are {n_rows} labelled rows: give more, or lower "
            "shots."
        )


def _rounds(classes: IntArray) -> IntArray:
    """For each item, how many items of its class come before it."""
    by_class = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    rounds = np.empty_like(classes)
    rounds[by_class] = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rounds


def _interleaved(rows: IntArray, classes: IntArray) -> IntArray:
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
