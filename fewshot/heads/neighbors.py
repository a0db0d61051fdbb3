"""Nearest neighbours by divergence, and nearest mean vectors: classifiers that compare a text with the examples."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.preprocessing import normalize
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import at_least
from fewshot.models.base import Float32Array, FloatArray

__all__ = ["KLNeighbors", "Prototypes"]

_SCALE = 10.0  # inverse temperature of cosines, as for sentence vectors


class KLNeighbors(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Nearest neighbours of probability distributions, by Kullback-Leibler divergence.

    The distance of a text from an example is KL(text || example), as in Xu et al. (2023), "kNN Prompting".

    Parameters
    ----------
    n_neighbors : int
        How many examples vote; all of them where there are fewer.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.neighbors import KLNeighbors
    >>> logs = np.log([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.3, 0.7]])
    >>> KLNeighbors(1).fit(logs, ["a", "a", "b", "b"]).predict(np.log([[0.7, 0.3]])).tolist()
    ['a']
    """

    def __init__(self, n_neighbors: int = 5) -> None:
        self.n_neighbors = n_neighbors

    def fit(self, X: Any, y: Any) -> Self:
        """Keep the examples' log-probabilities, of shape (n_examples, n_tokens)."""
        at_least("n_neighbors", self.n_neighbors, 1)
        self.classes_, self._targets = np.unique(y, return_inverse=True)
        self._examples: Float32Array = np.asarray(X, dtype=np.float32)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Shares of the neighbours' votes, smoothed by one vote that is spread over all classes."""
        check_is_fitted(self)
        logs = np.asarray(X, dtype=np.float32)
        # KL(p || q) is the entropy term of p, the same for all examples, minus the cross term p . log q
        cross = np.exp(logs) @ self._examples.T
        k = min(self.n_neighbors, len(self._examples))
        nearest = np.argsort(-cross, axis=1, kind="stable")[:, :k]
        votes = np.eye(len(self.classes_))[self._targets[nearest]].sum(axis=1)
        return (votes + 1 / len(self.classes_)) / (k + 1)

    def predict(self, X: Any) -> NDArray[Any]:
        """The class with the most votes, of shape (n_texts,)."""
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Prototypes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """The class whose mean vector is nearest in cosine, once the mean of all examples is subtracted.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_features)
        Unit vectors.

    Examples
    --------
    >>> from fewshot.heads.neighbors import Prototypes
    >>> Prototypes().fit([[1.0, 0.0], [0.9, 0.2], [0.0, 1.0]], ["a", "a", "b"]).predict([[0.7, 0.1]]).tolist()
    ['a']
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Average the vectors of each class, of shape (n_examples, n_features)."""
        X = np.asarray(X, dtype=np.float64)
        self.classes_, targets = np.unique(y, return_inverse=True)
        means = np.stack([X[targets == k].mean(axis=0) for k in range(len(self.classes_))])
        self._middle = means.mean(axis=0)  # of the classes, so that a large one does not pull it
        self.prototypes_: FloatArray = normalize(means - self._middle)
        return self

    def decision_function(self, X: Any) -> FloatArray:
        """Scaled cosines, of shape (n_texts, n_classes)."""
        check_is_fitted(self)
        return _SCALE * normalize(np.asarray(X, dtype=np.float64) - self._middle) @ self.prototypes_.T

    def predict(self, X: Any) -> NDArray[Any]:
        """The class of the nearest prototype, of shape (n_texts,)."""
        return self.classes_[self.decision_function(X).argmax(axis=1)]
