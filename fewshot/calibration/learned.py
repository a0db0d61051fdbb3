"""Learned calibration: an affine map of the class log-scores, from labelled texts."""

from __future__ import annotations

from typing import Any

import numpy as np

from fewshot.calibration.batch import Batch
from fewshot.calibration.priors import Aggregate, FromLabels
from fewshot.heads.label_prior import LabelPriorLogisticRegression
from fewshot.models.base import FloatArray, IntArray

__all__ = ["Learned"]

#: Weights of batch-calibrated log-scores, and inverse penalties of what is learnt besides, that are compared.
_SCALES = (0.25, 0.5, 1.0)
_PENALTIES = (0.001, 0.01, 0.1)


class Learned(FromLabels):
    r"""Apply batch calibration, then an affine map of the class log-scores that is learnt on the labelled texts.

    Let s be the batch-calibrated class log-scores of a text. The logits are :math:`\tau s_k + v_k \cdot s + b_k`. The
    penalty is on V, so with few examples only the scale of the scores changes. Cross-validated log loss chooses tau and
    the penalty. The map is that of Platt (1999) and of Kull et al. (2019, "Beyond Temperature Scaling", Dirichlet
    calibration), shrunk towards Zhou et al. (2023, "Batch Calibration").

    Parameters
    ----------
    max_texts : int
        The most labelled texts of ``fit`` that are scored.

    Attributes
    ----------
    head_ : LabelPriorLogisticRegression or None
        The map; None if a class has fewer than two texts: the calibration is then `Batch`.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [3.0, float("fun" in query.prefix)])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting(calibration="learned"))
    >>> clf.fit(["fun", "so fun", "dull", "very dull"], ["good", "good", "bad", "bad"]).predict(["no fun"]).tolist()
    ['good']
    """

    def _learn(self, scores: FloatArray, targets: IntArray, aggregate: Aggregate) -> None:
        """Learn the prior of the words, then the map of the classes."""
        everything = np.arange(len(scores))
        self.batch_ = Batch().fit(scores)
        # the scores are fitted with their own prior; how much of it the labels want is what the intercepts are for
        features = centre(aggregate(self.batch_.transform(scores), everything))
        self.head_ = None
        counts = np.bincount(targets, minlength=features.shape[1])
        if counts.min() >= 2:
            head = LabelPriorLogisticRegression(taus=_SCALES, Cs=_PENALTIES, average=False, max_iter=500)
            self.head_ = head.fit(features, targets, prior=np.eye(features.shape[1]))

    def transform(self, scores: FloatArray) -> FloatArray:
        """Subtract the prior from word log-scores, of shape (n_texts, n_words)."""
        return self.batch_.transform(scores)

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Apply the map to class log-scores, of shape (n_texts, n_classes)."""
        if self.head_ is None:
            return scores
        return self.head_.predict_log_proba(centre(scores))


def centre(scores: Any) -> FloatArray:
    """Log-scores less their mean over the classes: what a softmax does not see is not learnt from."""
    return scores - scores.mean(axis=1, keepdims=True)
