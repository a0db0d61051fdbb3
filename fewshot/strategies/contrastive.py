"""Contrastive: tune a sentence encoder so that texts of one class lie together, near the class's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.errors import InputError, UnsupportedError
from fewshot.heads.counting import distinct
from fewshot.models.base import FloatArray, IntArray
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.local import progress
from fewshot.training.copies import rate_share
from fewshot.training.upper_layers import Batch, Tail

__all__ = ["Contrastive", "pair_loss"]

#: Steps for few texts, up to how many that are, and for more.
_FEW_STEPS, _FEW, _STEPS = 7, 64, 8
#: Tokens of a batch: few, so that little is padding.
_BATCH = 256
#: Tokens whose activations are kept for the backward pass; beyond, they are computed again, batch by batch.
_KEPT = 16384


class Contrastive(BaseEstimator):  # type: ignore[misc]
    """Tune an own copy of the encoder on all pairs of examples at once.

    Every step encodes the whole support set, so that all its pairs come free: the squared error between the cosine of
    two texts and whether they share a class, pairs within and between classes weighted equally. It is the loss of
    SetFit (Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts") over all pairs instead of a sample. The
    class prompts take part as further texts of their class (anchors), so that the label names go on counting. Memory
    grows with the number of texts and never with that of pairs. A float32 encoder is trained in float32 on every
    machine; one that was loaded in 16 bits computes its steps in bfloat16 over weights kept in float32.

    Parameters
    ----------
    steps : int, optional
        Steps of AdamW. None: seven for up to 64 texts, and eight for more.
    learning_rate : float
        The highest learning rate; it rises over the first tenth of the steps and falls linearly.
    layers : int
        How many of the encoder's last layers are trained. What lies below is computed once.
    anchors : float
        How many examples the class prompts of a class count for; 0 leaves them out.
    batch_size : int
        Most texts of a step. Of larger sets every step draws this many, of each class its share.

    Examples
    --------
    >>> from fewshot import Classifier, Contrastive, Embedding
    >>> clf = Classifier(strategy=Embedding(tuning=Contrastive()), random_state=0)
    >>> X = ["refund me", "charged twice", "it crashed", "an error again", "love it", "great app"]
    >>> clf.fit(X, ["billing", "billing", "bug", "bug", "praise", "praise"]).predict(["a wrong invoice"]).tolist()
    ['billing']
    """

    def __init__(
        self,
        steps: int | None = None,
        learning_rate: float = 2e-4,
        *,
        layers: int = 6,
        anchors: float = 4.0,
        batch_size: int = 128,
    ) -> None:
        self.steps = steps
        self.learning_rate = learning_rate
        self.layers = layers
        self.anchors = anchors
        self.batch_size = batch_size

    def tune(
        self,
        encoder: Any,
        texts: Sequence[str],
        classes: IntArray,
        prompts: Sequence[str] = (),
        prompt_classes: IntArray | Sequence[int] = (),
        *,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> SentenceEncoder:
        """Return a tuned copy; the given encoder stays as it is.

        Parameters
        ----------
        encoder : SentenceEncoder
        texts : sequence of str
            The examples.
        classes : ndarray of shape (n_texts,)
            The class of each, as an integer.
        prompts : sequence of str
            The class prompts.
        prompt_classes : ndarray of shape (n_prompts,)
            The class of each.
        sample_weight : ndarray of shape (n_texts,), optional
            How much each example counts, beside 1 of every other: as many equal ones. A text with a soft label stands
            once for every class.
        random_state : int, RandomState or None
            Draws the texts of each step where there are more than ``batch_size``.

        Raises
        ------
        UnsupportedError
            When the encoder is not a `SentenceEncoder`.
        InputError
            When a number is out of its range.
        """
        self._check()
        if not isinstance(encoder, SentenceEncoder):
            raise UnsupportedError(f"Contrastive tunes sentence-transformers models. Got {encoder!r}.")
        rows, merged = distinct(list(zip(texts, np.asarray(classes).tolist(), strict=True)), sample_weight)
        texts, classes, n = [texts[i] for i in rows], np.asarray(classes)[rows], len(rows)
        weights = np.ones(n) if merged is None else merged
        if self.anchors and len(prompts):
            owners = np.asarray(prompt_classes, dtype=np.int64)
            texts, classes = [*texts, *prompts], np.concatenate([classes, owners])
            weights = np.concatenate([weights, self.anchors / np.bincount(owners)[owners]])
        rng = check_random_state(random_state)
        tail = Tail(encoder, self.layers)
        whole = _prepared(tail, texts) if n <= self.batch_size else None
        steps = self.n_steps(n)
        optimizer = torch.optim.AdamW(tail.parameters(), lr=self.learning_rate, weight_decay=0.01, fused=True)
        with progress(steps, "Tuning") as bar:
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * rate_share(step, steps)
                optimizer.zero_grad()
                if whole is None:
                    drawn = _drawn(classes[:n], weights[:n], self.batch_size, rng)
                    rows = np.concatenate([drawn, np.arange(n, len(texts))])
                    shares = np.concatenate([np.ones(len(drawn)), weights[n:]])  # weights have said who is drawn
                    loss = _gradients(tail, *_prepared(tail, [texts[i] for i in rows]), classes[rows], shares)
                else:
                    loss = _gradients(tail, *whole, classes, weights)
                torch.nn.utils.clip_grad_norm_(tail.parameters(), 1.0)
                optimizer.step()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
        return tail.finished()

    def n_steps(self, n_texts: int) -> int:
        """How many steps this many texts are tuned for."""
        if self.steps is None:
            return _FEW_STEPS if n_texts <= _FEW else _STEPS
        return self.steps

    def _check(self) -> None:
        for name in ("steps", "learning_rate", "layers", "batch_size"):
            value = getattr(self, name)
            if (name, value) != ("steps", None) and not value > 0:
                raise InputError(f"{name} must be greater than 0. Got {value!r}.")
        if not self.anchors >= 0:
            raise InputError(f"anchors must be a number of at least 0. Got {self.anchors!r}.")


def pair_loss(vectors: torch.Tensor, classes: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    r"""Mean squared error between cosines and "same class", over the pairs within classes plus over those between.

    With :math:`G_c = Z_c^\top Z_c` of a class's unit vectors and :math:`s_c` their sum, the errors within a class sum
    to :math:`\lVert G_c \rVert^2 - 2 \lVert s_c \rVert^2 + n_c^2`, and those between classes to :math:`\lVert \sum_c
    G_c \rVert^2 - \sum_c \lVert G_c \rVert^2`: all pairs, without a matrix of pairs.

    Parameters
    ----------
    vectors : tensor of shape (n_texts, dim)
        Unit vectors.
    classes : tensor of shape (n_texts,)
    weights : tensor of shape (n_texts,), optional
        A pair counts by the product of its texts' weights.

    Returns
    -------
    tensor of shape ()
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
    under Memory Limited Setup").
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
