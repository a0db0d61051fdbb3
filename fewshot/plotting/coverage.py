"""CoverageDisplay: how accurate a classifier is on the texts that it is surest of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.evaluation.predictions import Predictions, take_probabilities
from fewshot.models.base import FloatArray
from fewshot.plotting.axes import (
    LEVEL,
    CurveDisplay,
    ask,
    compute_wilson_intervals,
    format_label,
    get_style,
    need_matplotlib,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["CoverageDisplay"]


class CoverageDisplay(CurveDisplay):
    """Accuracy against coverage: how often a classifier is right if it answers only its most certain texts.

    If the curve rises to the left, the classifier is less certain when it is wrong. Then a threshold, or
    `fewshot.predict_or_none`, removes most errors. The right end, marked with a dot, is the accuracy on all texts.

    Parameters
    ----------
    coverage : ndarray of shape (n_texts,)
        Shares of the texts that are answered, in ascending order, up to 1.
    accuracy : ndarray of shape (n_texts,)
        Share of right answers among them. Texts with equal probabilities have no order, so each of them counts with
        their mean accuracy.
    name : str, optional
        The name of the classifier in the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The curve.

    See Also
    --------
    fewshot.predict_or_none : Predict only above a threshold.
    ReliabilityDisplay : Shows whether the probabilities agree with the accuracy.

    References
    ----------
    El-Yaniv and Wiener (2010), "On the Foundations of Noise-free Selective Classification".

    Examples
    --------
    >>> from fewshot.plotting import CoverageDisplay
    >>> proba = [[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.45, 0.55]]
    >>> display = CoverageDisplay.from_predictions(["a", "a", "b", "b"], proba)
    >>> display.coverage.tolist(), display.accuracy.round(2).tolist()
    ([0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 0.67, 0.75])
    """

    _size = (6.4, 4.4)

    def __init__(self, coverage: FloatArray, accuracy: FloatArray, name: str | None = None) -> None:
        self.coverage = coverage
        self.accuracy = accuracy
        self.name = name

    @classmethod
    def from_estimator(
        cls, clf: Any, X: Any, y: Any, *, name: str | None = None, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the curve of a fitted classifier on labelled rows on which it was not fitted.

        Parameters
        ----------
        clf : estimator
            A fitted text classifier with ``predict_proba`` that gives each text one class.
        X : list, array, Series or DataFrame
            Texts, or rows of fields.
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        name : str, optional
            The name in the legend. None: the name of the estimator's class.
        ax : matplotlib Axes, optional
            The axes to draw in; several classifiers may share them.
        **kwargs
            Passed to ``Axes.plot``.

        Raises
        ------
        InputError
            When the classifier does not know a label.
        UnsupportedError
            When the classifier has no probabilities, or a text may have several labels.
        NotInstalledError
            When matplotlib is not installed.
        """
        return cls._of(ask(clf, X, y), type(clf).__name__ if name is None else name).plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, y: Any, proba: Any, *, classes: Any = None, name: str | None = None, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the curve of given probabilities.

        Parameters
        ----------
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        proba : array of shape (n_texts, n_classes)
        classes : sequence of shape (n_classes,), optional
            The classes of the columns. None: the sorted labels.
        name, ax, **kwargs
            As for `from_estimator`.
        """
        need_matplotlib()
        return cls._of(take_probabilities(y, proba, classes), name).plot(ax, **kwargs)

    @classmethod
    def _of(cls, p: Predictions, name: str | None) -> Self:
        sure = -p.probabilities.max(axis=1)
        _, group, sizes = np.unique(sure, return_inverse=True, return_counts=True)  # the surest first
        share = np.bincount(group, weights=p.right) / sizes
        answered = np.arange(1, len(sure) + 1)
        return cls(answered / len(sure), np.repeat(share, sizes).cumsum() / answered, name)

    def _draw(self, ax: Axes, name: str | None, labels: list[str], style: dict[str, Any]) -> None:
        label = f"{'' if name is None else format_label(name) + ': '}{self.accuracy[-1]:.3f} on all texts"
        style = {"lw": 1.6, "ms": 6, "label": label, **get_style(ax, len(labels)), **style}
        (self.line_,) = ax.plot(self.coverage, self.accuracy, markevery=[-1], **style)
        low, high = compute_wilson_intervals(self.accuracy, np.arange(1, len(self.accuracy) + 1))
        ax.fill_between(self.coverage, low, high, color=self.line_.get_color(), alpha=0.15, lw=0)
        # the intervals of the first few texts are wide and say little: the curves and all else set the scale
        few = min(len(low) - 1, max(10, len(low) // 20))
        bottom = min([float(self.accuracy[few:].min()), float(low[few:].min()), *([ax.get_ylim()[0]] * bool(labels))])
        ax.set(xlim=(0, 1.01), ylim=(max(0.0, bottom), 1.005), xlabel="coverage: share of the texts, surest first")
        ax.set_ylabel(f"accuracy, with {100 * LEVEL:g} % intervals")
