"""Contrastive: tune a sentence encoder so that texts of one class lie together, near the class's prompt."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state

from fewshot.checks import above
from fewshot.errors import ParameterError, UnsupportedError
from fewshot.heads.counting import merge_equal
from fewshot.models.base import FloatArray, IntArray
from fewshot.models.kinds import trains

if TYPE_CHECKING:
    from fewshot.models.encoder import SentenceEncoder

__all__ = ["Contrastive"]

#: Steps for few texts, how many texts are few, and steps for more. They are settled by benchmarks/settle/tuning.py, on
#: training rows of ten sets: 12 are better than 7 with 2 and 8 texts a class, and no better than 8 with 64.
_FEW_STEPS, _FEW, _STEPS = 12, 64, 8


class Contrastive(BaseEstimator):  # type: ignore[misc]
    """Tune an own copy of the encoder on all pairs of examples at once.

    Every step encodes all examples once, and computes the loss over all their pairs at little further cost. The loss of
    a pair is the squared error between the cosine of its two texts and 1 if they share a class, else 0. Pairs within a
    class and pairs between classes have the same total weight. This is the loss of SetFit (Tunstall et al. 2022,
    "Efficient Few-Shot Learning Without Prompts"), over all pairs instead of a sample. The class prompts are further
    texts of their class, called anchors, so that the label names still count. Memory grows with the number of texts,
    not with the number of pairs. A float32 encoder is trained in float32 on every machine. An encoder that was loaded
    in 16 bits is trained in bfloat16, with a float32 copy of its weights.

    Parameters
    ----------
    steps : int, optional
        Number of AdamW steps. None: twelve for up to 64 texts, and eight for more texts, as each step then sees more
        pairs.
    learning_rate : float
        The highest learning rate; it rises over the first tenth of the steps and falls linearly.
    layers : int
        How many of the encoder's last layers are trained. The output of the layers below is computed once.
    anchors : float
        As how many examples the prompts of a class count, if the names have their usual weight (see `tune`). 0 leaves
        the prompts out.
    batch_size : int
        The most texts in a step. From a larger set, every step draws this many texts, in the proportions of the
        classes.

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
        names_weight: float = 1.0,
        sample_weight: FloatArray | None = None,
        random_state: Any = None,
    ) -> SentenceEncoder:
        """Return a tuned copy of the encoder; the given encoder does not change.

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
        names_weight : float
            Weight of the class prompts, as a share of ``anchors``: 0 if the label names carry no information.
            `Embedding` computes it with the frozen encoder, so that misleading names do no harm.
        sample_weight : ndarray of shape (n_texts,), optional
            Weight of each example. An example of weight 2 counts as two equal examples of weight 1. A text with a soft
            label is given once for every class.
        random_state : int, RandomState or None
            Seed for drawing the texts of each step, if there are more than ``batch_size``.

        Raises
        ------
        UnsupportedError
            When the encoder is not a `SentenceEncoder`.
        InputError
            When a number is out of its range.
        """
        from fewshot.training import pairs

        self._check()
        if not trains(encoder, "vectors"):
            raise UnsupportedError(f"Contrastive tunes sentence-transformers models. Got {encoder!r}.")
        rows, merged = merge_equal(list(zip(texts, np.asarray(classes).tolist(), strict=True)), sample_weight)
        texts, classes, n = [texts[i] for i in rows], np.asarray(classes)[rows], len(rows)
        weights = np.ones(n) if merged is None else merged
        anchors = self.anchors * names_weight
        if anchors and len(prompts):
            owners = np.asarray(prompt_classes, dtype=np.int64)
            texts, classes = [*texts, *prompts], np.concatenate([classes, owners])
            weights = np.concatenate([weights, anchors / np.bincount(owners)[owners]])
        return pairs.tune(
            encoder,
            texts,
            classes,
            weights,
            n_examples=n,
            steps=self.n_steps(n),
            learning_rate=self.learning_rate,
            layers=self.layers,
            batch_size=self.batch_size,
            rng=check_random_state(random_state),
        )

    def n_steps(self, n_texts: int) -> int:
        """Return for how many steps this many texts are tuned."""
        if self.steps is None:
            return _FEW_STEPS if n_texts <= _FEW else _STEPS
        return self.steps

    def _check(self) -> None:
        for name in ("steps", "learning_rate", "layers", "batch_size"):
            above(name, getattr(self, name), 0, optional=name == "steps")
        if not self.anchors >= 0:
            raise ParameterError(f"anchors must be a number of at least 0. Got {self.anchors!r}.")
