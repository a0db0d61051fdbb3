"""What the plots share: the way to matplotlib, colours that colour-blind readers can tell apart, labels, intervals."""

from __future__ import annotations

import re
import textwrap
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from scipy.special import ndtri

from fewshot.errors import UnsupportedError
from fewshot.evaluation.predictions import Predictions, check_classifier, predict
from fewshot.extras import need
from fewshot.inputs import take_labelled
from fewshot.models.base import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = [
    "CurveDisplay",
    "ask",
    "compute_wilson_intervals",
    "draw_legend",
    "format_label",
    "get_axes",
    "get_style",
    "get_text_colour",
    "need_matplotlib",
]

#: Of Okabe and Ito (2008), "Color Universal Design", those that stand out first; markers differ besides.
_ON_WHITE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_ON_BLACK = ("#56B4E9", "#E69F00", "#009E73", "#CC79A7", "#F0E442", "#D55E00")
_MARKERS = ("o", "s", "D", "^", "v", "P", "X")
LEVEL = 0.95  # of the intervals
_TAG = re.compile(r"\{\{.*?\}\}")


class CurveDisplay(ABC):
    """What displays of one curve share: how it is drawn into axes that it may share with others."""

    _size: tuple[float, float]
    name: str | None
    line_: Any

    def plot(self, ax: Axes | None = None, *, name: str | None = None, **kwargs: Any) -> Self:
        """Draw the curve or the points, with a 95 % interval for each accuracy.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            None: the axes of a new figure.
        name : str, optional
            Replaces the name of the display.
        **kwargs
            Passed to ``Axes.plot``.

        Returns
        -------
        CoverageDisplay or ReliabilityDisplay
            The display itself.
        """
        ax = get_axes(ax, self._size)
        self._draw(ax, self.name if name is None else name, ax.get_legend_handles_labels()[1], kwargs)
        draw_legend(ax, loc="best")
        self.ax_, self.figure_ = ax, ax.figure
        return self

    @abstractmethod
    def _draw(self, ax: Axes, name: str | None, labels: list[str], style: dict[str, Any]) -> None:
        """Draw the curve beside those with the labels, and keep it as ``line_``."""


def need_matplotlib() -> None:
    """Raise before anything is computed where it could not be drawn."""
    need("matplotlib", "The plots are drawn by")


def ask(clf: Any, X: Any, y: Any) -> Predictions:
    """Ask a fitted classifier for the probabilities of labelled rows; one that has none is refused."""
    need_matplotlib()
    check_classifier(clf)
    if not hasattr(clf, "predict_proba"):
        raise UnsupportedError(f"{type(clf).__name__} has no predict_proba, and the plot is of probabilities.")
    X, labels = take_labelled(X, y)
    return predict(clf, X, labels)


def get_axes(ax: Axes | None, size: tuple[float, float]) -> Axes:
    """The axes to draw into: those given, or those of a new figure."""
    need_matplotlib()
    if ax is None:
        import matplotlib.pyplot as plt

        ax = plt.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def get_text_colour(ax: Axes) -> Any:
    """The colour of the axes' own text, which is seen on their background whatever the style."""
    return ax.xaxis.label.get_color()


def get_style(ax: Axes, number: int) -> dict[str, Any]:
    """Colour and marker of the classifier with this number; 42 of them differ."""
    from matplotlib.colors import to_rgb

    colours = _ON_BLACK if sum(to_rgb(get_text_colour(ax))) > 1.5 else _ON_WHITE
    return {"color": colours[number % len(colours)], "marker": _MARKERS[number % len(_MARKERS)]}


def format_label(name: Any, width: int = 32, lines: int = 3) -> str:
    """A name as a label: broken into lines, cut where it is very long, and never read as mathematics."""
    words = _TAG.sub(lambda tag: tag[0].replace(" ", "\0"), " ".join(str(name).split()))  # a tag is not broken
    text = "\n".join(textwrap.wrap(words, width, max_lines=lines, placeholder=" …")) or repr(str(name))
    text = text.replace("\0", " ").replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # matplotlib hides labels that begin with a low line


def draw_legend(ax: Axes, **params: Any) -> None:
    """Draw the legend anew, with all that was drawn into the axes so far."""
    style = {"framealpha": 0.8, "edgecolor": "none", "fontsize": "small", "title_fontsize": "small"}
    ax.legend(**{**style, "alignment": "left", **params})


def compute_wilson_intervals(share: FloatArray, n: Any) -> tuple[FloatArray, FloatArray]:
    """The ends of the intervals of shares of n rows each: Wilson (1927), "Probable Inference"."""
    z2 = ndtri((1 + LEVEL) / 2) ** 2
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n**2))) / (1 + z2 / n)
    return middle - half, middle + half
