"""LearningCurveDisplay: what more labels bring."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.checks import one_of
from fewshot.errors import InputError, ParameterError
from fewshot.evaluation.answers import ANSWER_METRICS
from fewshot.evaluation.curve import LearningCurve
from fewshot.evaluation.metrics import HIGHER_IS_BETTER, METRICS, ORDERED_METRICS
from fewshot.evaluation.taggers import SPAN_METRICS
from fewshot.plotting.axes import draw_legend, format_label, get_axes, get_style, need_matplotlib

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["LearningCurveDisplay"]

_DRAWN = (*METRICS, *ORDERED_METRICS, *SPAN_METRICS, *ANSWER_METRICS, "seconds")
_LEAST = {"quadratic kappa": -1.0}  # bands end where values do
_ONE = ("accuracy", "macro-F1", "ECE", "quadratic kappa", "RPS", *SPAN_METRICS, *ANSWER_METRICS)
_MOST = {"Brier": 2.0, **dict.fromkeys(_ONE, 1.0)}
#: What tells of which kind of estimator results are, and is drawn by default, and what their shots are.
_SHOTS = {"entity F1": "mentions per type", "answer F1": "answered questions", "accuracy": "labelled texts per class"}
_CLOSE = 0.045  # of the width: labels of ticks that are nearer would touch


class LearningCurveDisplay:
    """Learning curves: a metric against labelled texts per class, mentions per type, or answered questions.

    The lines are means over the draws of labelled texts. The bands are one standard deviation above and below.

    Parameters
    ----------
    draws : DataFrame
        A row for each fit, with the columns name, shots and the metric, as in ``LearningCurve.draws``.
    metric : str
        "accuracy", "macro-F1", "log loss", "Brier" or "ECE", or a metric for ordered classes; for taggers "entity F1",
        "boundary F1", "precision" or "recall"; for extractors "answer F1" or "exact match"; or "seconds".

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of matplotlib Line2D
        One line for each classifier.

    See Also
    --------
    fewshot.learning_curve : Measures the metrics that are drawn here.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting, learning_curve
    >>> from fewshot.datasets import load_tickets
    >>> from fewshot.plotting import LearningCurveDisplay
    >>> lm = FakeLM(lambda query: [float(word in query.prefix) for word in query.candidates])
    >>> clfs = {"zero": Classifier(lm, strategy=Prompting()), "two shown": Classifier(lm, strategy=Prompting(shots=2))}
    >>> curve = learning_curve(clfs, *load_tickets(), shots=[0, 2, 4], draws=2)
    >>> display = LearningCurveDisplay.from_results(curve)
    >>> [line.get_label() for line in display.lines_]
    ['zero', 'two shown']
    """

    def __init__(self, draws: pd.DataFrame, metric: str = "accuracy") -> None:
        self.draws = draws
        self.metric = metric

    @classmethod
    def from_results(
        cls,
        results: LearningCurve | pd.DataFrame,
        *,
        metric: str | None = None,
        ax: Axes | None = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the result of `fewshot.learning_curve`.

        Parameters
        ----------
        results : LearningCurve or DataFrame
            The result, or its ``draws``, also a part of them or several joined.
        metric : str, optional
            A metric of the results, or "seconds". None: "accuracy"; for taggers "entity F1", for extractors "answer
            F1".
        ax : matplotlib Axes, optional
            None: the axes of a new figure.
        **kwargs
            Passed to ``Axes.plot``.

        Raises
        ------
        InputError
            When ``results`` is something else, or no classifier has the metric.
        NotInstalledError
            When matplotlib is not installed.
        """
        need_matplotlib()
        draws = results.draws if isinstance(results, LearningCurve) else results
        columns = list(getattr(draws, "columns", ()))
        if not {"name", "shots"} <= set(columns):
            raise ParameterError(
                "results must be what learning_curve returns, or its draws, a DataFrame with the columns name, shots "
                f"and the metrics. Got {f'the columns {columns}' if columns else type(results).__name__}."
            )
        metric = metric or _kind_of(columns)
        one_of("metric", metric, [name for name in _DRAWN if name in columns])
        if draws[metric].isna().all():
            raise InputError(f"There is no {metric} in the results: the classifiers have no probabilities.")
        return cls(draws, metric).plot(ax, **kwargs)

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw a line with its band for each classifier.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: the axes of a new figure.
        **kwargs
            Passed to ``Axes.plot``.

        Returns
        -------
        LearningCurveDisplay
            The display itself.
        """
        ax = get_axes(ax, (6.4, 4.4))
        taken = len(ax.get_legend_handles_labels()[1])
        draws = self.draws.dropna(subset=[self.metric])
        bottom, top = _LEAST.get(self.metric, 0.0), _MOST.get(self.metric, np.inf)
        self.lines_ = []
        for number, (name, own) in enumerate(draws.groupby("name", sort=False)):
            by_shots = own.groupby("shots")[self.metric].agg(["mean", "std"])
            shots, mean = by_shots.index.to_numpy(dtype=float), by_shots["mean"].to_numpy()
            spread = by_shots["std"].fillna(0.0).to_numpy()  # a single draw has none
            style = {"lw": 1.6, "ms": 5, "label": format_label(name), **get_style(ax, taken + number), **kwargs}
            (line,) = ax.plot(shots, mean, **style)
            low, high = np.maximum(mean - spread, bottom), np.minimum(mean + spread, top)
            ax.fill_between(shots, low, high, color=line.get_color(), alpha=0.15, lw=0)
            self.lines_.append(line)
        _mark_shots(ax, sorted({int(n) for n in draws["shots"]}))
        better = "higher" if self.metric in HIGHER_IS_BETTER else "lower"
        n_draws = int(draws.groupby(["name", "shots"]).size().max())
        ax.set_xlabel(_SHOTS[_kind_of(list(draws.columns))])
        ax.set_ylabel(f"{self.metric} ({better} is better)")
        draw_legend(ax, loc="best", title=f"mean ± standard deviation of {n_draws} draws" if n_draws > 1 else None)
        self.ax_, self.figure_ = ax, ax.figure
        return self


def _kind_of(columns: Sequence[str]) -> str:
    """The metric that says of which kind of estimator results are."""
    return next((name for name in _SHOTS if name in columns), "accuracy")


def _mark_shots(ax: Axes, shots: list[int]) -> None:
    """A logarithmic axis that begins at 0, with a tick at each number of shots and labels where there is room."""
    from matplotlib.ticker import NullLocator

    first = next((n for n in shots if n), 1)
    ax.set_xscale("symlog", base=2, linthresh=first, linscale=0.5)  # as far from 0 to the first as for a doubling
    places = [np.log2(n / first) + 1 if n else 0.0 for n in shots]
    width = max(places) - min(places) or 1.0
    labels, last = [], -np.inf
    for n, place in zip(shots, places, strict=True):
        roomy = place - last > _CLOSE * width
        labels.append(str(n) if roomy else "")
        last = place if roomy else last
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(shots, labels)
