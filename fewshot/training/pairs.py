"""Contrastive tuning of a sentence encoder: the loss over all pairs, and its gradients within memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from fewshot.models.base import FloatArray, IntArray
from fewshot.models.encoder import SentenceEncoder
from fewshot.training.descent import Descent
from fewshot.training.upper_layers import Batch, Tail

__all__ = ["pair_loss", "tune"]

#: Tokens of a batch: few, so that little is padding.
_BATCH = 256
#: Tokens whose activations are kept for the backward pass. Of more tokens they are computed again, batch by batch.
_KEPT = 16384


def tune(
    encoder: SentenceEncoder,
    texts: Sequence[str],
    classes: IntArray,
    weights: FloatArray,
    *,
    n_examples: int,
    steps: int,
    learning_rate: float,
    layers: int,
    batch_size: int,
    rng: np.random.RandomState,
) -> SentenceEncoder:
    """Return a copy of an encoder whose vectors lie together within classes; see `Contrastive`.

    The texts are ``n_examples`` examples, and after them the class prompts, which take part in every step. Each text
    counts by its weight. Of more examples than ``batch_size``, so many are drawn for a step.
    """
    tail = Tail(encoder, layers)
    whole = _prepared(tail, texts) if n_examples <= batch_size else None
    descent = Descent(tail.parameters(), steps, learning_rate, title="Tuning", decays_all=True)

    def gradients(step: int) -> float:
        descent.clear()
        if whole is not None:
            return _gradients(tail, *whole, classes, weights)
        drawn = _drawn(classes[:n_examples], weights[:n_examples], batch_size, rng)
        rows = np.concatenate([drawn, np.arange(n_examples, len(texts))])
        shares = np.concatenate([np.ones(len(drawn)), weights[n_examples:]])  # weights have said who is drawn
        return _gradients(tail, *_prepared(tail, [texts[i] for i in rows]), classes[rows], shares)

    with descent.shown():
        for step in range(steps):
            descent.take(step, gradients)
    return tail.finished()


def pair_loss(vectors: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    r"""Mean squared error between cosines and "same class", over the pairs within classes plus over those between.

    With :math:`G_c = Z_c^\top Z_c` of a class's unit vectors and :math:`s_c` their sum, the errors within a class sum
    to :math:`\lVert G_c \rVert^2 - 2 \lVert s_c \rVert^2 + n_c^2`, and those between classes to :math:`\lVert \sum_c
    G_c \rVert^2 - \sum_c \lVert G_c \rVert^2`: all pairs, without a matrix of pairs. A pair counts by the
    product of its texts' weights.
    """
    weights = vectors.new_ones(len(vectors)) if weights is None else weights
    whole = vectors.new_zeros(vectors.shape[1], vectors.shape[1])
    within = between = same = vectors.new_zeros(())
    for label in torch.unique(classes):
        own, weight = vectors[classes == label], weights[classes == label]
        weighted = own * weight[:, None]
        gram = own.T @ weighted
        squares, total = (gram * gram).sum(), weight.sum() ** 2
        within = within + squares - 2 * weighted.sum(0).square().sum() + total
        between = between - squares
        whole = whole + gram
        same = same + total
    between = between + (whole * whole).sum()
    pairs_within, pairs_between = same - weights.square().sum(), weights.sum() ** 2 - same
    return within / _or_one(pairs_within) + between / _or_one(pairs_between)


def _or_one(total: torch.Tensor) -> torch.Tensor:
    """The weight of the pairs of one kind; 1 where there is none, up to rounding."""
    return torch.where(total > 1e-3, total, torch.ones_like(total))


def _prepared(tail: Tail, texts: Sequence[str]) -> tuple[list[Batch], IntArray]:
    """Batches of the distinct texts, and where among their vectors that of each text is."""
    distinct = list(dict.fromkeys(texts))
    batches = tail.prepare(distinct, _BATCH)
    order = np.concatenate([batch.rows for batch in batches])
    place = {distinct[row]: i for i, row in enumerate(order)}
    return batches, np.array([place[text] for text in texts])


def _gradients(tail: Tail, batches: list[Batch], places: IntArray, classes: IntArray, weights: FloatArray) -> float:
    """Compute the gradients of the loss over all pairs of all batches, and return the loss.

    Where the activations of all batches are too much to keep, the gradient of the loss with respect to the vectors is
    computed first and then passed down batch by batch (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size
    under Memory Limited Setup"). The batches are of the distinct texts; ``places`` says where each text's vector is.
    """
    kept = sum(batch.size for batch in batches) <= _KEPT
    with torch.set_grad_enabled(kept):
        parts = [tail.vectors(batch) for batch in batches]
    vectors = torch.cat(parts)
    if not kept:
        vectors.requires_grad_(True)
    own, labels, shares = (torch.from_numpy(part).to(vectors.device) for part in (places, classes, weights))
    loss = pair_loss(vectors[own], labels, shares.to(vectors.dtype))
    loss.backward()  # type: ignore[no-untyped-call]
    if not kept:
        pulls = vectors.grad.split([len(part) for part in parts])  # type: ignore[union-attr]
        for batch, pull in zip(batches, pulls, strict=True):
            tail.vectors(batch).backward(pull)  # type: ignore[no-untyped-call]
    return loss.item()


def _drawn(classes: IntArray, weights: FloatArray, size: int, rng: np.random.RandomState) -> IntArray:
    """Rows of a step, by weight: of each class its share, two at the least where it has two, so that it has a pair."""
    names, place = np.unique(classes, return_inverse=True)
    counts, shares = np.bincount(place, weights > 0), np.bincount(place, weights)
    quotas = np.minimum(counts, np.maximum(2, np.floor(shares * size / shares.sum()))).astype(np.int64)
    drawn = []
    for name, n in zip(names, quotas, strict=True):
        rows = np.flatnonzero(classes == name)
        alike = np.ptp(weights[rows]) == 0
        p = None if alike else weights[rows] / weights[rows].sum()
        drawn.append(rng.choice(rows, n, replace=False, p=p))
    return np.concatenate(drawn)
