"""Which rows a classifier gets wrong, how sure it is of them, and which classes it takes for one another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fewshot.checks import at_least
from fewshot.errors import InputError
from fewshot.evaluation.predictions import Predictions
from fewshot.evaluation.tables import Result, make_frame
from fewshot.inputs import Row, as_rows
from fewshot.strategies.auto import chosen_of

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Judged", "Mistakes", "count_pairs", "find_mistakes", "take_mistakes"]

_KEPT_WITHOUT = "This result comes from JSON, {}: call evaluate again."


@dataclass(frozen=True, eq=False)
class Mistakes:
    """The wrong rows, those first of which the classifier was surest; without probabilities in their own order."""

    numbers: list[int]  # of the rows in X
    rows: list[Row]
    true: list[Any]
    predicted: list[Any]
    probability: list[float] | None  # of what was predicted
    true_probability: list[float] | None = None  # of the true class
    nearest: Callable[[Sequence[Row]], list[Any]] | None = None  # the labelled examples that are most like each row

    def frame(self, n: int | None) -> pd.DataFrame:
        """The first n as a table."""
        rows = self.rows[:n]
        columns: dict[str, Any] = {"row": self.numbers, "text": [_text_of(row) for row in rows]}
        columns |= {"true": self.true, "predicted": self.predicted}
        columns |= {"probability": self.probability, "true probability": self.true_probability}
        columns["nearest"] = None if self.nearest is None or not rows else self.nearest(rows)
        return make_frame({name: cells[:n] for name, cells in columns.items() if cells is not None})


class Judged(Result):
    """Base of the results that know which rows were wrong."""

    pairs: pd.DataFrame | None
    mistakes: Mistakes | None

    def errors(self, n: int | None = None) -> pd.DataFrame:
        """Return the wrong rows, those with the highest confidence first; without probabilities, in their order.

        Parameters
        ----------
        n : int, optional
            The most rows. None: all.

        Returns
        -------
        DataFrame
            The columns are: "row", its number in X; "text", the text, or a mapping if a row has several fields; "true"
            and "predicted"; with probabilities, "probability" of the predicted class and "true probability" of the true
            class. If the classifier compares vectors and has learnt from labels, "nearest" is a tuple of the most
            similar labelled examples, with text, label and cosine similarity. If a text may have several labels, true
            and predicted are tuples of labels, and the probability is that of the wrong decision with the highest
            confidence.

        Raises
        ------
        InputError
            When n is not a whole number of at least 0, or the result is from JSON, which has no rows.
        """
        at_least("n", n, 0, whole=True, optional=True)
        if self.mistakes is None:
            raise InputError(_KEPT_WITHOUT.format("which holds no rows"))
        return self.mistakes.frame(n)

    def confused(self, n: int = 5) -> pd.DataFrame:
        """Return the pairs of classes that are confused most often.

        Parameters
        ----------
        n : int
            The most pairs.

        Returns
        -------
        DataFrame
            A row for each pair, the most frequent first: true, predicted and count. If a text may have several labels,
            it counts the rows in which the first label was missed and the second was predicted wrongly.

        Raises
        ------
        InputError
            When n is not a whole number of at least 1, or the result is from JSON of an earlier version.
        """
        at_least("n", n, 1, whole=True)
        pairs = self._pairs
        wrong = pairs[pairs["true"] != pairs["predicted"]]
        return wrong.sort_values("count", ascending=False, kind="stable").head(n).reset_index(drop=True)

    @property
    def _pairs(self) -> pd.DataFrame:
        if self.pairs is None:
            raise InputError(_KEPT_WITHOUT.format("which an earlier version wrote without pairs of classes"))
        return self.pairs


def find_mistakes(clf: Any, X: Any, p: Predictions) -> Mistakes:
    """What a classifier of one class a text got wrong."""
    numbers = np.flatnonzero(~p.right)
    if p.proba is None:
        said = true = None
    else:
        numbers = numbers[np.argsort(-p.proba[numbers, p.predicted[numbers]], kind="stable")]
        said, true = (p.proba[numbers, columns[numbers]].tolist() for columns in (p.predicted, p.targets))
    labels, predicted = ([p.classes[i] for i in columns[numbers]] for columns in (p.targets, p.predicted))
    return take_mistakes(
        clf, X, numbers.tolist(), true=labels, predicted=predicted, probability=said, true_probability=true
    )


def take_mistakes(
    clf: Any,
    X: Any,
    numbers: list[int],
    *,
    true: list[Any],
    predicted: list[Any],
    probability: list[float] | None,
    true_probability: list[float] | None = None,
) -> Mistakes:
    """Wrong rows in their final order, with their texts.

    Parameters
    ----------
    clf : estimator
        Whose strategy may know what is near.
    X : list or DataFrame
        All rows.
    numbers : list of int
        Of the wrong ones.
    true, predicted : list
    probability, true_probability : list of float or None
    """
    rows = as_rows(X)
    strategy = chosen_of(getattr(clf, "strategy_", None))
    knows = bool(getattr(strategy, "examples_", ()))  # none in zero-shot, or where they were not kept
    nearest = strategy.nearest if knows and hasattr(strategy, "nearest") else None
    return Mistakes(numbers, [rows[i] for i in numbers], true, predicted, probability, true_probability, nearest)


def count_pairs(pairs: Sequence[tuple[int, int]], classes: Sequence[Any]) -> pd.DataFrame:
    """How often each pair of a true and a predicted class occurs, in the order of the classes."""
    counts = sorted(Counter(pairs).items())
    columns: dict[str, list[Any]] = {"true": [], "predicted": [], "count": []}
    for (a, b), count in counts:
        for cells, cell in zip(columns.values(), (classes[a], classes[b], count), strict=True):
            cells.append(cell)
    return make_frame(columns)


def _text_of(row: Row) -> Any:
    """The text of a row that has one, or its fields."""
    return row if isinstance(row, str) or len(row) > 1 else next(iter(row.values()))
