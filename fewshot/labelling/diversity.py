"""Diversity: rows that stand for the others, on unit vectors. What is labelled already counts as chosen."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.cluster import KMeans

from fewshot.models.base import Float32Array, FloatArray, IntArray

__all__ = ["cover", "nearest", "spread", "typical"]

#: Neighbours whose mean distance says how dense it is around a text, and the most clusters: both as in TypiClust.
_NEIGHBOURS, _CLUSTERS = 20, 500
#: How far a text stands for others: the width of the Gaussian kernel, a distance between unit vectors. Settled by
#: benchmarks/settle/picking.py on training rows of eleven sets, where 0.5 and 0.6 are level and 0.3 and 0.4 behind.
_WIDTH = 0.6


def cover(vectors: FloatArray, known: FloatArray, n: int, weights: FloatArray) -> IntArray:
    """Choose rows near to as much weight as possible that no known or chosen row is near to, one after the other.

    MaxHerding (Bae, Noh, Sutherland 2024, "Generalized Coverage for More Robust Low-Budget Active Learning"), and where
    the weights say how unsure a classifier is, Uncertainty Herding (Bae, Oliveira, Sutherland 2025): the best next row
    raises the sum over all rows of the weight times the nearness of the nearest chosen row most.
    """
    near = _nearness(vectors, vectors)
    covered = _nearness(vectors, known).max(axis=1) if len(known) else np.zeros(len(vectors), dtype=near.dtype)
    weights = weights.astype(near.dtype)
    left = np.ones(len(vectors), dtype=bool)
    chosen: list[int] = []
    for _ in range(min(n, len(vectors))):
        gains = np.array([weights @ np.maximum(one - covered, 0) for one in near])  # near is symmetric
        chosen.append(int(np.where(left, gains, -1).argmax()))
        left[chosen[-1]] = False
        covered = np.maximum(covered, near[chosen[-1]])
    return np.array(chosen, dtype=np.int64)


def _nearness(a: FloatArray, b: FloatArray) -> Float32Array:
    """The Gaussian kernel of unit vectors, of shape (n_a, n_b)."""
    squared = _squared(a.astype(np.float32), b.astype(np.float32))
    return np.exp(squared / np.float32(-2 * _WIDTH**2))


def spread(vectors: FloatArray, known: FloatArray, n: int, rng: np.random.RandomState) -> IntArray:
    """Draw rows far from each other and from what is known, as k-means++ draws its centres (Arthur and others 2007).

    scikit-learn's ``kmeans_plusplus`` can't begin from centres that are there. A row is drawn with a probability in
    proportion to its squared distance from the nearest one that is known or drawn.
    """
    left = np.ones(len(vectors), dtype=bool)
    far = _squared(vectors, known).min(axis=1) if len(known) else np.ones(len(vectors))
    chosen: list[int] = []
    while len(chosen) < min(n, len(vectors)):
        weights = np.where(left, far, 0.0)
        weights = weights if weights.sum() > 0 else left.astype(np.float64)
        chosen.append(int(rng.choice(len(vectors), p=weights / weights.sum())))
        left[chosen[-1]] = False
        own = _squared(vectors, vectors[chosen[-1:]])[:, 0]
        far = own if len(chosen) == 1 and not len(known) else np.minimum(far, own)
    return np.array(chosen, dtype=np.int64)


def typical(vectors: FloatArray, known: FloatArray, n: int, rng: np.random.RandomState) -> IntArray:
    """Choose the most typical row of each cluster, of the clusters with fewest known rows and then of the largest.

    TypiClust (Hacohen, Dekel, Weinshall 2022, "Active Learning on a Budget"): as many clusters of k-means as rows will
    be known then, and typicality is the inverse of the mean distance to the nearest neighbours in the cluster.
    """
    everything = np.vstack([vectors, known])
    n_clusters = min(len(known) + n, _CLUSTERS, len(np.unique(everything, axis=0)))
    cluster = KMeans(n_clusters, n_init=1, random_state=rng).fit_predict(everything)
    taken = np.bincount(cluster[len(vectors) :], minlength=n_clusters)
    ranked = []  # the rows of each cluster, the most typical first
    for number in range(n_clusters):
        own = np.flatnonzero(cluster[: len(vectors)] == number)
        ranked.append(list(own[np.argsort(-_density(vectors[own]), kind="stable")]))
    sizes = np.array([len(own) for own in ranked])
    chosen: list[int] = []
    while len(chosen) < min(n, len(vectors)):
        there = [number for number in range(n_clusters) if ranked[number]]
        best = min(there, key=lambda number: (taken[number], -sizes[number], number))
        chosen.append(int(ranked[best].pop(0)))
        taken[best] += 1
    return np.array(chosen, dtype=np.int64)


def _density(vectors: FloatArray) -> FloatArray:
    """The inverse of the mean distance of each row to its nearest others."""
    k = min(_NEIGHBOURS, len(vectors) - 1)
    if k < 1:
        return np.ones(len(vectors))
    near = np.partition(_squared(vectors, vectors), k, axis=1)[:, : k + 1]  # the row itself among them, at 0
    return k / (np.sqrt(near).sum(axis=1) + 1e-7)


def nearest(vectors: FloatArray, others: FloatArray) -> tuple[IntArray, FloatArray]:
    """Which of the others is nearest to each row, and how similar it is, both of shape (n_rows,)."""
    similar = vectors @ others.T
    return similar.argmax(axis=1), similar.max(axis=1)


def _squared(a: Any, b: Any) -> Any:
    """Squared distances of unit vectors, of shape (n_a, n_b)."""
    return np.maximum(2 - 2 * (a @ b.T), 0)
