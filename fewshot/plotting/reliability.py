"""ReliabilityDisplay: whether answers are right as often as their probabilities say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.evaluation.metrics import bin_confidences
from fewshot.evaluation.predictions import Predictions, take_probabilities
from fewshot.models.base import FloatArray, IntArray
from fewshot.plotting.axes import (
    LEVEL,
    CurveDisplay,
    ask,
    compute_wilson_intervals,
    format_label,
    get_style,
    get_text_colour,
    need_matplotlib,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["ReliabilityDisplay"]

_IDEAL = "right as often as it says"


class ReliabilityDisplay(CurveDisplay):
    """Reliability diagram: the accuracy of the most probable class against its predicted probability.

    Points below the diagonal mean that the classifier is overconfident. The rows are sorted by this probability and
    divided into bins with equally many rows, as in `calibration_error`, so that all points are equally reliable.

    Parameters
    ----------
    confidence, accuracy : ndarray of shape (n_bins,)
        Mean probability of the most probable class, and the share of rows of that class.
    counts : ndarray of shape (n_bins,)
        Number of rows in each bin.
    name : str, optional
        The name of the classifier in the legend.

    Attributes
    ----------
    calibration_error : float
        The expected calibration error: the mean distance of the points from the diagonal.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    line_ : matplotlib Line2D
        The points.

    See Also
    --------
    fewshot.calibration_error : The expected calibration error alone.
    CoverageDisplay : Shows whether a classifier is right more often if it is more certain.

    References
    ----------
    Bröcker and Smith (2007), "Increasing the Reliability of Reliability Diagrams". Nguyen and O'Connor (2015),
    "Posterior Calibration and Exploratory Analysis for Natural Language Processing Models" (bins of equal size).

    Examples
    --------
    >>> from fewshot.plotting import ReliabilityDisplay
    >>> display = ReliabilityDisplay.from_predictions(
    ...     ["a", "a", "b", "b"], [[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.4, 0.6]], bins=2
    ... )
    >>> display.confidence.tolist(), display.accuracy.tolist(), display.counts.tolist()
    ([0.6, 0.9], [0.5, 1.0], [2, 2])
    >>> round(display.calibration_error, 3)
    0.1
    """

    _size = (5.2, 5.2)

    def __init__(self, confidence: FloatArray, accuracy: FloatArray, counts: IntArray, name: str | None = None) -> None:
        self.confidence = confidence
        self.accuracy = accuracy
        self.counts = counts
        self.name = name

    @property
    def calibration_error(self) -> float:
        """The expected calibration error."""
        return float(np.average(np.abs(self.confidence - self.accuracy), weights=self.counts))

    @classmethod
    def from_estimator(
        cls, clf: Any, X: Any, y: Any, *, bins: int = 15, name: str | None = None, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the reliability of a fitted classifier on labelled rows on which it was not fitted.

        Parameters
        ----------
        clf : estimator
            A fitted text classifier with ``predict_proba`` that gives each text one class.
        X : list, array, Series or DataFrame
            Texts, or rows of fields.
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        bins : int
            Number of bins.
        name : str, optional
            The name in the legend. None: the name of the estimator's class.
        ax : matplotlib Axes, optional
            The axes to draw in; several classifiers may share them.
        **kwargs
            Passed to ``Axes.plot``.

        Raises
        ------
        InputError
            When the classifier does not know a label, or ``bins`` is below 1.
        UnsupportedError
            When the classifier has no probabilities, or a text may have several labels.
        NotInstalledError
            When matplotlib is not installed.
        """
        return cls._of(ask(clf, X, y), bins, type(clf).__name__ if name is None else name).plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        proba: Any,
        *,
        classes: Any = None,
        bins: int = 15,
        name: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the reliability of given probabilities.

        Parameters
        ----------
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        proba : array of shape (n_texts, n_classes)
        classes : sequence of shape (n_classes,), optional
            The classes of the columns. None: the sorted labels.
        bins, name, ax, **kwargs
            As for `from_estimator`.
        """
        need_matplotlib()
        return cls._of(take_probabilities(y, proba, classes), bins, name).plot(ax, **kwargs)

    @classmethod
    def _of(cls, p: Predictions, bins: int, name: str | None) -> Self:
        return cls(*bin_confidences(p.probabilities.max(axis=1), p.right, bins), name)

    def _draw(self, ax: Axes, name: str | None, labels: list[str], style: dict[str, Any]) -> None:
        if _IDEAL not in labels:
            ax.axline((0, 0), slope=1, color=get_text_colour(ax), lw=1, ls=(0, (4, 4)), alpha=0.6, label=_IDEAL)
        low, high = compute_wilson_intervals(self.accuracy, self.counts)
        number = len(labels) - (_IDEAL in labels)
        style = {"lw": 1, "ms": 5, "label": self._label(name), **get_style(ax, number), **style}
        (self.line_,) = ax.plot(self.confidence, self.accuracy, **style)
        ax.vlines(self.confidence, low, high, color=self.line_.get_color(), lw=1, alpha=0.6)
        start = min(float(min(self.confidence.min(), low.min())), *([ax.get_xlim()[0]] if labels else [1.0]))
        limits = (max(-0.02, start - 0.02), 1.02)
        ax.set(xlim=limits, ylim=limits, aspect="equal", xlabel="mean probability of the predicted class")
        ax.set_ylabel(f"share that is right, with {100 * LEVEL:g} % intervals")

    def _label(self, name: str | None) -> str:
        least, most = int(self.counts.min()), int(self.counts.max())
        sizes = str(least) if least == most else f"{least}–{most}"
        number = f"{len(self.counts)} bin{'s' if len(self.counts) > 1 else ''} of {sizes} texts"
        return f"{'' if name is None else format_label(name) + chr(10)}ECE {self.calibration_error:.3f}, {number}"
