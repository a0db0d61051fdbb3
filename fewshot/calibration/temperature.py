"""Temperature scaling: one number, learnt from labelled texts, that says how sure the scores are."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from fewshot.calibration.priors import Aggregate, FromLabels, log_loss
from fewshot.models.base import FloatArray, IntArray

__all__ = ["Temperature"]

_STEP = 0.25
#: Logarithms of the temperatures that are tried first: up to a factor of 20,000 either way.
_STARTS = np.arange(-10.0, 10.0 + _STEP, _STEP).tolist()
_LEAST = -700.0  # for the log-score of what a model calls impossible, so that there is a loss to lower


class Temperature(FromLabels):
    r"""Divide the class log-scores by a temperature learnt on the labelled texts.

    The predicted classes do not change; only the confidence does. The temperature T minimises the log loss of the texts
    plus :math:`(\log T)^2 / 2`, so with few texts it stays near 1. Source: Guo et al. (2017), "On Calibration of Modern
    Neural Networks". The files of a decision model can store this calibration (see `export_decisions`).

    Parameters
    ----------
    max_texts : int
        The most labelled texts of ``fit`` that are scored.

    Attributes
    ----------
    temperature_ : float
        The temperature; above 1 if the scores are overconfident.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [5.0, 5.0 * ("fun" in query.prefix)])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting(calibration="temperature"))
    >>> clf = clf.fit(["fun", "so fun", "dull", "very dull"], ["bad", "bad", "bad", "good"])
    >>> clf.strategy_.calibration_.temperature_ > 1
    True
    """

    def _learn(self, scores: FloatArray, targets: IntArray, aggregate: Aggregate) -> None:
        """Learn the temperature."""
        own = np.maximum(aggregate(scores, np.arange(len(scores))), _LEAST)

        def loss(log_temperature: float) -> float:
            return len(targets) * log_loss(own * np.exp(-log_temperature), targets) + log_temperature**2 / 2

        # tiny scores that are all right have two minima: near 1, and where they are told apart
        start = min(_STARTS, key=loss)
        found = minimize_scalar(loss, bounds=(start - _STEP, start + _STEP), method="bounded")
        self.temperature_ = float(np.exp(found.x))

    def transform(self, scores: FloatArray) -> FloatArray:
        """Return word log-scores unchanged: only class log-scores are scaled."""
        return scores

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Divide class log-scores, of shape (n_texts, n_classes), by the temperature."""
        return scores / self.temperature_
