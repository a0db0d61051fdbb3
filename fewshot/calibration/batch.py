"""Batch calibration: the prior is what the model says of real texts, and the shares of the classes may be put back."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from scipy.special import log_softmax

from fewshot.calibration.class_prior import as_shares, count_shares
from fewshot.calibration.priors import Aggregate, Ask, Prior, log_loss, log_mean, subtract_prior
from fewshot.checks import above, one_of
from fewshot.errors import InputError, ParameterError
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray, Query
from fewshot.task.template import Template

__all__ = ["Batch"]

_STRENGTHS = np.linspace(0.0, 1.0, 11)


class Batch(Prior):
    """The prior is the mean of the model's scores for real texts of the domain, labelled or not.

    Zhou et al. (2023), "Batch Calibration: Rethinking Calibration for In-Context Learning and Prompt Engineering". If
    the texts are labelled, log loss chooses the share of the prior that is subtracted, as in their method BCL.

    Parameters
    ----------
    mean : {"geometric", "arithmetic"}
        The mean of the word probabilities over the texts. "arithmetic" is the mean of the paper. "geometric" is the
        mean of the log-probabilities; it was 2.6 points more accurate with the embedded masked model on training rows
        of five data sets.
    max_texts : int
        The most texts of ``fit`` that are scored.
    transductive : bool
        Whether to take the prior from the texts of each ``predict`` instead. The prediction of a text then depends on
        the other texts.
    class_prior : mapping, array-like of shape (n_classes,) or "estimated", optional
        The shares of the classes among the texts. The subtraction makes all classes about equally frequent in
        predictions. The logarithms of these shares are then added to the class scores. Give a mapping from classes to
        shares, or an array in the order of ``Classifier.classes_``. Each share is above 0, and their sum is 1.
        "estimated": they are counted in the labelled texts, without the demonstrations. None: all classes are equally
        frequent.
    prior_strength : float
        Number of imaginary texts, spread evenly over the classes, that "estimated" adds to the labelled texts.

    Attributes
    ----------
    strength_ : float
        The share of the prior that is subtracted, from 0 to 1.
    class_prior_ : ndarray of shape (n_classes,)
        The shares of the classes that are added back; only with ``class_prior``.

    Notes
    -----
    Without labels, the shares can't be estimated: the subtraction removes the effect of the class shares together with
    the bias of the model. Expectation maximisation on the calibrated scores (Saerens et al. 2002) finds nearly equal
    shares again, and was no better on five data sets.

    Examples
    --------
    >>> from fewshot import Classifier, Prompting
    >>> unlabelled = ["It rained all day.", "A wonderful film!", "Dull and far too long."]
    >>> clf = Classifier("embedded:masked", "sst2/it_was", strategy=Prompting(calibration="batch")).fit(unlabelled)
    >>> clf.predict(["A joy to watch.", "What a waste of time."]).tolist()
    ['positive', 'negative']

    If nine of ten texts are known to be negative:

    >>> from fewshot.calibration import Batch
    >>> known = Prompting(calibration=Batch(class_prior={"negative": 0.9, "positive": 0.1}))
    >>> rare = Classifier("embedded:masked", "sst2/it_was", strategy=known).fit(unlabelled)
    >>> rare.predict_proba(["A joy to watch."])[0, 1] < clf.predict_proba(["A joy to watch."])[0, 1]
    np.True_
    """

    def __init__(
        self,
        mean: Literal["geometric", "arithmetic"] = "geometric",
        *,
        max_texts: int = 500,
        transductive: bool = False,
        class_prior: Any = None,
        prior_strength: float = 10.0,
    ) -> None:
        self.mean = mean
        self.max_texts = max_texts
        self.transductive = transductive
        self.class_prior = class_prior
        self.prior_strength = prior_strength

    def take_classes(self, classes: Sequence[Any]) -> None:
        """Check the shares of the classes, and sort them in the order of the classes.

        Raises
        ------
        ParameterError
            When the shares or their strength are not valid.
        """
        above("prior_strength", self.prior_strength, 0)
        if self._estimates():
            self.class_prior_ = np.full(len(classes), 1 / len(classes))  # until the labels are counted
        elif self.class_prior is not None:
            self.class_prior_ = as_shares(self.class_prior, classes)

    def _estimates(self) -> bool:
        return isinstance(self.class_prior, str) and self.class_prior == "estimated"

    def probes(self, ask: Ask, template: Template, X: Sequence[Row] | None, rng: np.random.RandomState) -> list[Query]:
        """Return one query for each text of ``fit``; none when transductive.

        Raises
        ------
        InputError
            When there are no texts, and ``transductive`` is False.
        """
        one_of("mean", self.mean, ("geometric", "arithmetic"))
        if self.transductive:
            return []
        if not X:
            raise InputError(
                "Batch learns its prior from the texts of fit, besides the demonstrations, and there are none: call "
                "fit(X) with unlabelled texts, or use calibration='contextual', or Batch(transductive=True)."
            )
        return ask(X)

    def fit(self, scores: FloatArray, targets: IntArray | None = None, aggregate: Aggregate | None = None) -> Self:
        """Learn the prior; with labels, also how much of it to subtract, and the class shares if they are "estimated".

        Raises
        ------
        ParameterError
            When there is a class prior, and `take_classes` was not called.
        InputError
            When ``class_prior`` is "estimated", and there are no labels.
        """
        self.strength_ = 1.0
        if self.class_prior is not None and not hasattr(self, "class_prior_"):
            raise ParameterError("class_prior of Batch needs the classes: call take_classes(classes) before fit.")
        if self._estimates():
            if targets is None:
                raise InputError(
                    "Batch(class_prior='estimated') counts the classes of labelled texts, and there are no labels: "
                    "call fit(X, y), or give the shares of the classes, such as class_prior=[0.9, 0.1]."
                )
            self.class_prior_ = count_shares(targets, len(self.class_prior_), self.prior_strength)
        if self.transductive:
            return self
        self.log_prior_ = self._prior(scores)
        if targets is not None and aggregate is not None:
            rows = np.arange(len(scores))
            losses = [
                log_loss(
                    self.transform_classes(aggregate(subtract_prior(scores, self.log_prior_, share), rows)), targets
                )
                for share in _STRENGTHS
            ]
            # the largest of equally good shares: what is known without labels stays unless labels speak against it
            self.strength_ = float(_STRENGTHS[::-1][int(np.argmin(losses[::-1]))])
        return self

    def _prior(self, scores: FloatArray) -> FloatArray:
        return log_softmax(scores, axis=1).mean(axis=0) if self.mean == "geometric" else log_mean(scores)

    def transform(self, scores: FloatArray) -> FloatArray:
        """Subtract the prior of the texts of ``fit``; when transductive, of these texts."""
        prior = self._prior(scores) if self.transductive else self.log_prior_
        return subtract_prior(scores, prior, self.strength_)

    def transform_classes(self, scores: FloatArray) -> FloatArray:
        """Add the logarithms of the shares of the classes to class log-scores, of shape (n_texts, n_classes)."""
        return scores if self.class_prior is None else scores + np.log(self.class_prior_)
