"""Temperature scaling: one number, learnt from labelled texts, that says how sure the scores are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy.optimize import minimize_scalar

from fewshot.calibration.priors import Aggregate, Ask, Prior, log_loss
from fewshot.errors import InputError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.task.template import Template

__all__ = ["Temperature"]

_WIDEST = 7.0  # of the logarithm of the temperature, either way: a factor of 1,000
_LEAST = -700.0  # for the log-score of what a model calls impossible, so that there is a loss to lower


class Temperature(Prior):
    r"""Divide the class log-scores by a temperature that is learnt on the labelled texts.

    The predicted classes stay as they are; only the confidence changes. The temperature T minimises the log loss of the
    texts plus :math:`(\log T)^2 / 2`, so that few texts leave it near 1. Source: Guo et al. (2017), "On Calibration of
    Modern Neural Networks". It is what the settings of decision models can say (see `export_decisions`).

    Parameters
    ----------
    max_texts : int
        Most labelled texts of ``fit`` that are scored.

    Attributes
    ----------
    temperature_ : float
        Above 1 where the scores are too sure.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> lm = FakeLM(lambda query: [5.0, 5.0 * ("fun" in query.prefix)])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}.", strategy=Prompting(calibration="temperature"))
    >>> clf = clf.fit(["fun", "so fun", "dull", "very dull"], ["bad", "bad", "bad", "good"])
    >>> clf.strategy_.calibration_.temperature_ > 1
    True
    """

    def __init__(self, max_texts: int = 2000) -> None:
        self.max_texts = max_texts

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """One query a text of ``fit``.

        Raises
        ------
        InputError
            When there are no labelled texts.
        """
        if not X:
            raise InputError(
                "Temperature needs labelled texts besides the demonstrations, and there are none: call fit(X, y)."
            )
        return ask(X)

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Learn the temperature.

        Raises
        ------
        InputError
            When there are no labels.
        """
        if targets is None or aggregate is None:
            raise InputError("Temperature needs labels: call fit(X, y), or use calibration='batch'.")
        own = np.maximum(aggregate(scores, np.arange(len(scores))), _LEAST)

        def loss(log_temperature: float) -> float:
            return len(targets) * log_loss(own * np.exp(-log_temperature), targets) + log_temperature**2 / 2

        found = minimize_scalar(loss, bounds=(-_WIDEST, _WIDEST), method="bounded")
        self.temperature_ = float(np.exp(found.x))
        return self

    def transform(self, scores: FloatArray) -> FloatArray:
        """Leave word log-scores as they are: only classes are scaled."""
        return scores

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Divide class log-scores, of shape (n_texts, n_classes), by the temperature."""
        return scores / self.temperature_
