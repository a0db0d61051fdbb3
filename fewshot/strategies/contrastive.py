"""Contrastive: tune a sentence encoder so that texts of one class lie together, near the class's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.errors import InputError, UnsupportedError
from fewshot.models.base import IntArray
from fewshot.models.encoder import SentenceEncoder
from fewshot.models.local import progress
from fewshot.models.tail import Batch, Tail

__all__ = ["Contrastive", "pair_loss"]

#: Tokens of a batch: few, so that little is padding.
_BATCH = 512
#: Tokens whose activations are kept for the backward pass; beyond, they are computed again, batch by batch.
_KEPT = 16384


class Contrastive(BaseEstimator):  # type: ignore[misc]
    """Tune an own copy of the encoder on all pairs of examples at once.

    Every step encodes the whole support set, so that all its pairs come free: the squared error between the cosine of
    two texts and whether they share a class, pairs within and between classes weighted equally. It is the loss of
    SetFit (Tunstall et al. 2022, "Efficient Few-Shot Learning Without Prompts") over all pairs instead of a sample. The
    class prompts take part as further texts of their class (anchors), so that the label names go on counting. Memory
    grows with the number of texts and never with that of pairs.

    Parameters
    ----------
    steps : int or "auto"
        Steps of AdamW.
    learning_rate : float
        The highest learning rate; it rises over the first tenth of the steps and falls linearly.
    layers : int
        How many of the encoder's last layers are trained. What lies below is computed once.
    anchors : bool
        Whether the class prompts take part.
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
        steps: int | Literal["auto"] = "auto",
        learning_rate: float = 1e-4,
        *,
        layers: int = 6,
        anchors: bool = True,
        batch_size: int = 512,
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
        if self.anchors:
            texts, classes = [*texts, *prompts], np.concatenate([classes, np.asarray(prompt_classes, dtype=np.int64)])
        rng = check_random_state(random_state)
        tail = Tail(encoder, self.layers)
        whole = tail.prepare(texts, _BATCH) if len(texts) <= self.batch_size else None
        steps = self._steps(len(texts))
        optimizer = torch.optim.AdamW(tail.parameters(), lr=self.learning_rate, weight_decay=0.01)
        with progress(steps, "Tuning") as bar:
            for step in range(steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.learning_rate * _pace(step, steps)
                optimizer.zero_grad()
                if whole is None:
                    drawn = _drawn(classes, self.batch_size, rng)
                    loss = _gradients(tail, tail.prepare([texts[i] for i in drawn], _BATCH), classes[drawn])
                else:
                    loss = _gradients(tail, whole, classes)
                torch.nn.utils.clip_grad_norm_(tail.parameters(), 1.0)
                optimizer.step()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                bar.update()
        return tail.finished()

    def _steps(self, n: int) -> int:
        if self.steps != "auto":
            return self.steps
        return 16 if n <= self.batch_size else 32

    def _check(self) -> None:
        for name in ("steps", "learning_rate", "layers", "batch_size"):
            value = getattr(self, name)
            if value != "auto" and not value > 0:
                raise InputError(f"{name} must be greater than 0. Got {value!r}.")


def pair_loss(vectors: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
    r"""Mean squared error between cosines and "same class", over the pairs within classes plus over those between.

    With :math:`G_c = Z_c^\top Z_c` of a class's unit vectors and :math:`s_c` their sum, the errors within a class sum
    to :math:`\lVert G_c \rVert^2 - 2 \lVert s_c \rVert^2 + n_c^2`, and those between classes to :math:`\lVert \sum_c
    G_c \rVert^2 - \sum_c \lVert G_c \rVert^2`: all pairs, without a matrix of pairs.

    Parameters
    ----------
    vectors : tensor of shape (n_texts, dim)
        Unit vectors.
    classes : tensor of shape (n_texts,)

    Returns
    -------
    tensor of shape ()
    """
    whole = vectors.new_zeros(vectors.shape[1], vectors.shape[1])
    within = between = vectors.new_zeros(())
    same = 0
    for label in torch.unique(classes):
        own = vectors[classes == label]
        gram = own.T @ own
        squares, n = (gram * gram).sum(), len(own)
        within = within + squares - 2 * own.sum(0).square().sum() + n * n
        between = between - squares
        whole = whole + gram
        same += n * n
    between = between + (whole * whole).sum()
    n = len(vectors)
    return within / max(1, same - n) + between / max(1, n * n - same)


def _gradients(tail: Tail, batches: list[Batch], classes: IntArray) -> float:
    """Compute the gradients of the loss over all pairs of all batches, and return the loss.

    Where the activations of all batches are too much to keep, the gradient of the loss with respect to the vectors is
    computed first and then passed down batch by batch (Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size
    under Memory Limited Setup").
    """
    labels = torch.from_numpy(classes[np.concatenate([batch.rows for batch in batches])])
    kept = sum(batch.size for batch in batches) <= _KEPT
    with torch.set_grad_enabled(kept):
        parts = [tail.vectors(batch) for batch in batches]
    vectors = torch.cat(parts)
    if not kept:
        vectors.requires_grad_(True)
    loss = pair_loss(vectors, labels.to(vectors.device))
    loss.backward()  # type: ignore[no-untyped-call]
    if not kept:
        pulls = vectors.grad.split([len(part) for part in parts])  # type: ignore[union-attr]
        for batch, pull in zip(batches, pulls, strict=True):
            tail.vectors(batch).backward(pull)  # type: ignore[no-untyped-call]
    return loss.item()


def _pace(step: int, steps: int) -> float:
    """The share of the learning rate that a step takes."""
    warm = max(1, round(0.1 * steps))
    return min((step + 1) / warm, (steps - step) / max(1, steps - warm))


def _drawn(classes: IntArray, size: int, rng: np.random.RandomState) -> IntArray:
    """Rows of a step: of each class its share, two at the least where it has two, so that it has a pair."""
    names, counts = np.unique(classes, return_counts=True)
    quotas = np.minimum(counts, np.maximum(2, np.floor(counts * size / len(classes)))).astype(np.int64)
    return np.concatenate(
        [rng.choice(np.flatnonzero(classes == name), n, replace=False) for name, n in zip(names, quotas, strict=True)]
    )
