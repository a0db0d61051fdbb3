"""Demonstrations that are chosen by the similarity of sentence embeddings, for each text or once for all."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from fewshot.demonstrations.drawn import Order, Selector
from fewshot.demonstrations.orders import interleaved
from fewshot.errors import ParameterError, broken
from fewshot.models.base import Encoder, FloatArray, IntArray

__all__ = ["MMR", "Nearest"]

_BLOCK = 2**22  # similarities held at once: 32 MB
#: Similarities count to this many decimals, so that the last bits, which vary with the block, decide no tie.
_DECIMALS = 6


class _Similar(Selector):
    """Rows chosen by the cosine similarity of sentence embeddings, for each text or once for all."""

    needs_encoder = True

    def kept(self) -> dict[str, Any]:
        """Return the attributes that prediction needs: for shared demonstrations, only their row numbers."""
        left_out = ("_vectors", "_place") if hasattr(self, "rows_") else ()
        return {name: value for name, value in super().kept().items() if name not in left_out}

    def _fit(self, texts: Sequence[str], y: Sequence[Any], rng: np.random.RandomState) -> None:
        distinct = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        self._vectors = self._encoded(list(distinct))[[distinct[text] for text in texts]]
        if self.order in ("as is", "common first"):
            counts = np.zeros(len(texts), dtype=np.int64)
            for text, similarity in zip(texts, self._similarities(self._vectors), strict=True):
                counts[self._nearest(similarity, self._equal_to(text))[: self._shots]] += 1
            if self.order == "common first":
                counts *= [len(text) for text in texts]  # a long row that is computed once saves more
            self._place = np.argsort(np.argsort(-counts, kind="stable"))
        if self.shared:
            centre = normalize(self._vectors.mean(axis=0, keepdims=True))
            self.rows_ = self._shown(next(self._similarities(centre)), [])

    def select(self, texts: Sequence[str]) -> list[IntArray]:
        """Return, for each text, the row numbers in prompt order; the last row is next to the text."""
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
        if self.order == "common first":
            others = nearest_last[:-1]
            return np.append(others[np.argsort(self._place[others])], nearest_last[-1:])
        return nearest_last if self.order == "nearest last" else interleaved(nearest_last, self._classes)

    def _encoded(self, texts: list[str]) -> FloatArray:
        """Unit vectors, or zeros, of shape (n_texts, dim)."""
        vectors = np.asarray(self.encoder_.encode(texts), dtype=np.float64)
        if not np.isfinite(vectors).all():
            raise broken(self.encoder_, "vectors")
        return normalize(vectors)

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
    """Select the rows whose sentence embeddings have the highest cosine similarity to the text.

    Liu et al. (2022), "What Makes Good In-Context Examples for GPT-3?" (KATE).

    Parameters
    ----------
    per_class : bool
        Whether to take the nearest row of every class, then the second nearest of every class, and so on; within a
        round, the most similar row comes first. If a class has too few rows, other classes fill its places.
    shared : bool
        Whether to choose once for all texts, by similarity to the mean vector of the labelled rows.
    order : {"nearest last", "common first", "as is", "interleaved"}
        "nearest last" is the order of KATE: the most similar row is next to the text. "common first" also puts this row
        next to the text, but sorts the other rows in one fixed order for all texts. Rows that are often among the
        ``shots`` nearest neighbours of other labelled rows, and long rows, come first. Many prompts then have the same
        beginning, which a model computes only once. "as is" sorts all demonstrations in one fixed order for all texts,
        by how often they are such neighbours; the nearest row may be anywhere. "interleaved" is "nearest last" with
        rows of one class kept apart if possible.

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
    >>> common = Nearest(order="common first").fit(texts, y, 2, np.random.RandomState(0), Words())
    >>> [rows.tolist() for rows in common.select(["good day", "a bad film"])]
    [[2, 0], [0, 2]]
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
    """Select rows that are similar to the text and different from each other (maximal marginal relevance).

    The first row is the most similar one. Each further row has the highest ``balance * (similarity to the text) -
    (1 - balance) * (highest similarity to a row chosen before)``.

    Carbonell and Goldstein (1998), "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing
    Summaries"; for demonstrations, Ye et al. (2023), "Complementary Explanations for Effective In-Context Learning".

    Parameters
    ----------
    balance : float
        From 0 (rows as different from each other as possible) to 1 (the nearest rows).
    shared : bool
        Whether to choose once for all texts, by similarity to the mean vector of the labelled rows.
    order : {"nearest last", "common first", "as is", "interleaved"}
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
            raise ParameterError(f"balance must be between 0 (diverse) and 1 (nearest). Got {self.balance!r}.")

    def _pick(self, similarity: FloatArray, nearest: IntArray) -> IntArray:
        chosen, left = nearest[:1], nearest[1:]
        covered = np.full(len(similarity), -1.0)
        while left.size and len(chosen) < self._shots:
            covered = np.maximum(covered, np.round(self._vectors @ self._vectors[chosen[-1]], _DECIMALS))
            # the first of equals, which is the most similar one
            best = np.argmax(self.balance * similarity[left] - (1 - self.balance) * covered[left])
            chosen, left = np.append(chosen, left[best]), np.delete(left, best)
        return chosen


def _rounds(classes: IntArray) -> IntArray:
    """For each item, how many items of its class come before it."""
    by_class = np.argsort(classes, kind="stable")
    sizes = np.bincount(classes)
    rounds = np.empty_like(classes)
    rounds[by_class] = np.arange(len(classes)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return rounds
