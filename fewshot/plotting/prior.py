"""PriorDisplay: what classifiers say of all texts together, against what is true of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.errors import InputError, ParameterError
from fewshot.evaluation.predictions import Predictions, check_named, take_probabilities
from fewshot.evaluation.report import Evaluation
from fewshot.models.base import FloatArray
from fewshot.plotting.axes import ask, draw_legend, format_label, get_axes, get_style, get_text_colour, need_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["PriorDisplay"]


class PriorDisplay:
    """The label bias: the mean predicted probability of each class against the share of texts of this class.

    A language model prefers some label words for all texts. Draw classifiers with and without calibration to see how
    much of this bias the calibration removes.

    Parameters
    ----------
    classes : sequence of shape (n_classes,)
    shares : ndarray of shape (n_classes,)
        The true shares of the classes.
    means : mapping of str to ndarray of shape (n_classes,)
        The mean predicted probabilities of each classifier.

    Attributes
    ----------
    distances : dict of str to float
        For each classifier, the total variation distance from the true shares: how much mean probability is on wrong
        classes.
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    bars_ : matplotlib BarContainer
        The true shares.
    lines_ : list of matplotlib Line2D
        The points of each classifier.

    See Also
    --------
    fewshot.calibration : The methods that remove the bias.

    References
    ----------
    Zhao et al. (2021), "Calibrate Before Use: Improving Few-Shot Performance of Language Models".

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting
    >>> from fewshot.plotting import PriorDisplay
    >>> lm = FakeLM(lambda query: [3.0, 3.0 * ("fun" in query.prefix)])  # prefers "bad"
    >>> X, words = ["fun", "dull"], {"bad": "bad", "good": "good"}
    >>> clfs = {
    ...     name: Classifier(lm, "{{ text }} {{ label }}", words, Prompting(calibration=calibration)).fit(X)
    ...     for name, calibration in [("as it is", None), ("calibrated", "batch")]
    ... }
    >>> display = PriorDisplay.from_estimators(clfs, X, ["good", "bad"])
    >>> {name: round(distance, 2) for name, distance in display.distances.items()}
    {'as it is': 0.23, 'calibrated': 0.0}
    """

    def __init__(self, classes: Any, shares: FloatArray, means: Mapping[str, FloatArray]) -> None:
        self.classes = classes
        self.shares = shares
        self.means = dict(means)

    @property
    def distances(self) -> dict[str, float]:
        """For each classifier, how much mean probability is on wrong classes."""
        return {name: float(np.abs(mean - self.shares).sum() / 2) for name, mean in self.means.items()}

    @classmethod
    def from_estimators(cls, clfs: Mapping[str, Any], X: Any, y: Any, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the mean predictions of fitted classifiers on labelled rows.

        Parameters
        ----------
        clfs : mapping of str to estimator
            Fitted text classifiers with ``predict_proba`` and the same classes, which give each text one class.
        X : list, array, Series or DataFrame
            Texts, or rows of fields.
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        ax : matplotlib Axes, optional
            None: the axes of a new figure, whose height fits the number of classes.
        **kwargs
            Passed to ``Axes.plot``, which draws the points.

        Raises
        ------
        InputError
            When a classifier does not know a label, or they have different classes.
        UnsupportedError
            When a classifier has no probabilities, or a text may have several labels.
        NotInstalledError
            When matplotlib is not installed.
        """
        check_named(clfs, 1)
        return cls._of({name: ask(clf, X, y) for name, clf in clfs.items()}).plot(ax, **kwargs)

    @classmethod
    def from_predictions(
        cls, y: Any, probas: Mapping[str, Any], *, classes: Any = None, ax: Axes | None = None, **kwargs: Any
    ) -> Self:
        """Draw the means of given probabilities.

        Parameters
        ----------
        y : list, array or Series of shape (n_texts,)
            The class of each row.
        probas : mapping of str to array of shape (n_texts, n_classes)
        classes : sequence of shape (n_classes,), optional
            The classes of the columns. None: the sorted labels.
        ax, **kwargs
            As for `from_estimators`.

        Raises
        ------
        ParameterError
            When ``probas`` is not a mapping, or is empty.
        """
        need_matplotlib()
        if not isinstance(probas, Mapping) or not probas:
            raise ParameterError("Give a mapping of names to probabilities, {'calibrated': clf.predict_proba(X), ...}.")
        return cls._of({name: take_probabilities(y, proba, classes) for name, proba in probas.items()}).plot(
            ax, **kwargs
        )

    @classmethod
    def from_results(cls, results: Mapping[str, Evaluation], *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the results of `fewshot.evaluate` for several classifiers on the same rows.

        Parameters
        ----------
        results : mapping of str to Evaluation
        ax, **kwargs
            As for `from_estimators`.

        Raises
        ------
        InputError
            When the results are of different rows or classes, or have no probabilities.
        """
        need_matplotlib()
        if not isinstance(results, Mapping) or not results:
            raise ParameterError("Give a mapping of names to evaluations, {'calibrated': evaluate(clf, X, y), ...}.")
        tables = {name: one.classes for name, one in results.items()}
        first = next(iter(tables.values()))
        for name, table in tables.items():
            if "mean probability" not in table:
                raise InputError(f"The evaluation {name!r} has no probabilities, and the plot is of them.")
            if table.index.tolist() != first.index.tolist() or table["support"].tolist() != first["support"].tolist():
                raise InputError(f"The evaluation {name!r} is of other rows or classes than the first.")
        support = first["support"].to_numpy(dtype=float)
        means = {name: table["mean probability"].to_numpy(dtype=float) for name, table in tables.items()}
        return cls(first.index.tolist(), support / support.sum(), means).plot(ax, **kwargs)

    @classmethod
    def _of(cls, found: Mapping[str, Predictions]) -> Self:
        first = next(iter(found.values()))
        means = {}
        for name, p in found.items():
            if set(p.classes) != set(first.classes):
                raise InputError(
                    f"The classifiers have different classes: the first {first.classes}, {name!r} {p.classes}."
                )
            means[name] = p.probabilities.mean(axis=0)[[p.classes.index(one) for one in first.classes]]
        shares = np.bincount(first.targets, minlength=len(first.classes)) / len(first.targets)
        return cls(first.classes, shares, means)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw a bar for each true share, and a point for each classifier's mean probability.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: the axes of a new figure, whose height fits the number of classes.
        **kwargs
            Passed to ``Axes.plot``, which draws the points.

        Returns
        -------
        PriorDisplay
            The display itself.
        """
        labels = [format_label(name, lines=2) for name in self.classes]
        ax = get_axes(ax, (6.4, 1.5 + 0.22 * len(self.means) + 0.2 * sum(2 + label.count("\n") for label in labels)))
        places = np.arange(len(labels))
        self.bars_ = ax.barh(
            places, self.shares, height=0.7, color=get_text_colour(ax), alpha=0.2, label="share of the texts"
        )
        self.lines_ = []
        for number, (name, mean) in enumerate(self.means.items()):
            label = f"{format_label(name)}: {100 * self.distances[name]:.0f} % of the probability misplaced"
            style = {"ls": "none", "ms": 6, "clip_on": False, "label": label, **get_style(ax, number), **kwargs}
            # one below the other within the bar, so that none hides another
            (line,) = ax.plot(mean, places + 0.6 * ((number + 0.5) / len(self.means) - 0.5), **style)
            self.lines_.append(line)
        ax.set_yticks(places, labels)
        ax.tick_params(axis="y", length=0)
        ax.set(ylim=(len(labels) - 0.4, -0.6), xlim=(0, None), xlabel="share of the texts, mean probability")
        draw_legend(ax, handles=[self.bars_, *self.lines_], loc="lower center", bbox_to_anchor=(0.5, 1.0))
        self.ax_, self.figure_ = ax, ax.figure
        return self
