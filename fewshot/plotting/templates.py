"""TemplateDisplay: which wording is better, and by more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fewshot.errors import ParameterError
from fewshot.evaluation.comparison import Comparison
from fewshot.evaluation.metrics import HIGHER_IS_BETTER
from fewshot.evaluation.templates import TemplateRanking
from fewshot.models.base import FloatArray
from fewshot.plotting.axes import draw_legend, format_label, get_axes, get_style, get_text_colour, need_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["TemplateDisplay"]


class TemplateDisplay:
    """A comparison of templates, with the best one at the top.

    For a `TemplateRanking`, a bar extends one standard error to each side. It is the standard error of the difference
    from the best template on the same texts. If a bar reaches the line of the best template, there is little evidence
    that the template is worse.

    Parameters
    ----------
    names : sequence of str
        The names of the templates, the best first.
    values : ndarray of shape (n_templates,)
    metric : str
        The name of the metric of the values.
    low, high : ndarray of shape (n_templates,), optional
        Ends of the bars.
    bars : str, optional
        What the bars show, in words.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    container_ : matplotlib ErrorbarContainer
        Points and bars.

    See Also
    --------
    fewshot.select_template : Rank templates. fewshot.compare : Test whether one classifier is better than another.

    Examples
    --------
    >>> from fewshot import FakeLM, select_template
    >>> from fewshot.plotting import TemplateDisplay
    >>> lm = FakeLM(lambda query: [0.0, float("fun" in query.prefix) * ("was" in query.prefix)])
    >>> templates = ["{{ text }} {{ label }}", "{{ text }} It was {{ label }}"]
    >>> words = {"bad": "bad", "good": "good"}
    >>> ranking = select_template(templates, ["fun", "so fun", "dull", "sad"], model=lm, verbalizer=words)
    >>> display = TemplateDisplay.from_results(ranking)
    >>> [label.get_text() for label in display.ax_.get_yticklabels()]
    ['{{ text }} It was {{ label }}', '{{ text }} {{ label }}']
    """

    def __init__(
        self,
        names: Sequence[str],
        values: FloatArray,
        metric: str,
        *,
        low: FloatArray | None = None,
        high: FloatArray | None = None,
        bars: str | None = None,
    ) -> None:
        self.names = names
        self.values = values
        self.metric = metric
        self.low = low
        self.high = high
        self.bars = bars

    @classmethod
    def from_results(cls, results: TemplateRanking | Comparison, *, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw the result of `fewshot.select_template` or `fewshot.compare`.

        Parameters
        ----------
        results : TemplateRanking or Comparison
            A ranking, or a comparison of classifiers with different templates, under the names of the templates.
        ax : matplotlib Axes, optional
            None: the axes of a new figure, whose height fits the number of templates.
        **kwargs
            Passed to ``Axes.errorbar``.

        Raises
        ------
        InputError
            When ``results`` is something else.
        NotInstalledError
            When matplotlib is not installed.
        """
        need_matplotlib()
        if isinstance(results, TemplateRanking):
            values, errors = np.array(results.values), np.array(results.errors)
            names = [one.name or one.source for one in results.templates]
            bars = "standard error of the difference from the best"
            return cls(names, values, results.by, low=values - errors, high=values + errors, bars=bars).plot(
                ax, **kwargs
            )
        if isinstance(results, Comparison):
            table = results.values
            values, low, high = (table[column].to_numpy(dtype=float) for column in ("value", "low", "high"))
            bars = f"{100 * results.level:g} % intervals"
            return cls(table.index.tolist(), values, results.metric, low=low, high=high, bars=bars).plot(ax, **kwargs)
        raise ParameterError(
            f"results must be what select_template or compare returns. Got {type(results).__name__}: {results!r:.60}."
        )

    def plot(self, ax: Axes | None = None, **kwargs: Any) -> Self:
        """Draw a point for each template, with its bar if there is one.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: the axes of a new figure, whose height fits the number of templates.
        **kwargs
            Passed to ``Axes.errorbar``.

        Returns
        -------
        TemplateDisplay
            The display itself.
        """
        labels = [format_label(name, 40) for name in self.names]
        ax = get_axes(ax, (7.2, 1.2 + 0.2 * sum(2 + label.count("\n") for label in labels)))
        places = np.arange(len(labels))
        ax.axvline(self.values[0], color=get_text_colour(ax), lw=1, ls=(0, (4, 4)), alpha=0.6)
        ends = None if self.low is None or self.high is None else [self.values - self.low, self.high - self.values]
        style = {"ls": "none", "ms": 7, "elinewidth": 1.6, "label": self.bars, **get_style(ax, 0), **kwargs}
        self.container_ = ax.errorbar(self.values, places, xerr=ends, **style)
        ax.set_yticks(places, labels)
        ax.tick_params(axis="y", length=0)
        better = "higher" if self.metric in {*HIGHER_IS_BETTER, "mutual information"} else "lower"
        ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel=f"{self.metric} ({better} is better)")
        if self.bars is not None:
            draw_legend(ax, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        self.ax_, self.figure_ = ax, ax.figure
        return self
