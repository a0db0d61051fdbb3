"""Choose between strategies by cross-validation on the examples, and keep what was seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold
from sklearn.utils import check_random_state

from fewshot.demonstrations import select
from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray
from fewshot.strategies.base import Strategy
from fewshot.tables import as_text
from fewshot.task.task import Task

__all__ = [
    "Candidate",
    "Comparison",
    "Report",
    "Way",
    "cross_validated",
    "divergences",
    "draw_comparison",
    "mutual_information",
    "n_folds",
]

#: Examples that strategies are compared on; of more, as many of each class as there are, up to this sum.
_COMPARED = 128


@dataclass(frozen=True, eq=False)
class Candidate:
    """How a strategy did on examples that it was not shown.

    Attributes
    ----------
    name : str
        What it is called in the report.
    strategy : Strategy
        Not fitted.
    log_scores : ndarray of shape (n_rows, n_classes)
        Out-of-fold log-probabilities of the rows of `Report.rows`.
    log_loss, accuracy : float
        Their means over the rows.
    seconds : float
        For all folds.
    """

    name: str
    strategy: Strategy
    log_scores: FloatArray
    log_loss: float
    accuracy: float
    seconds: float

    def right(self, targets: IntArray) -> NDArray[np.bool_]:
        """Which rows are right, given the columns of the true classes."""
        return self.log_scores.argmax(axis=1) == targets


@dataclass(frozen=True, eq=False)
class Report:
    """The choice of `Auto` and its reasons. It prints as a table.

    Attributes
    ----------
    chosen : str
        Name of the chosen strategy.
    reasons : tuple of str
        The reasons, one sentence each.
    candidates : tuple of Candidate
        The strategies that were compared; empty if none were.
    rows : ndarray of int
        Row numbers of the examples that they were compared on.
    folds : int
        Number of folds of the cross-validation; 0 without one.
    information : tuple of (str, float)
        The mutual information (in nats) of texts and predictions, for each wording and format that was compared without
        labels.
    """

    chosen: str
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    rows: IntArray | None = None
    folds: int = 0
    information: tuple[tuple[str, float], ...] = ()

    def __str__(self) -> str:
        lines = [f"Chosen: {self.chosen}", *(f"- {reason}" for reason in self.reasons)]
        if self.candidates:
            header = [f"{'on held-out examples':39}", "log loss", "accuracy", "seconds"]
            rows = [
                [one.name, f"{one.log_loss:.3f}", f"{one.accuracy:.3f}", f"{one.seconds:.1f}"]
                for one in self.candidates
            ]
            lines.append(as_text(header, rows, right=True))
        if self.information:
            header = [f"{'without labels':39}", "mutual information"]
            lines.append(as_text(header, [[name, f"{value:.3f}"] for name, value in self.information], right=True))
        return "\n".join(lines)


def n_folds(targets: IntArray) -> int:
    """Folds of a cross-validation on examples: at most five, and at most the smallest class; 0 where that is below 2.

    Examples
    --------
    >>> import numpy as np
    >>> n_folds(np.array([0, 0, 0, 1, 1, 1])), n_folds(np.array([0, 0, 1]))
    (3, 0)
    """
    n = int(min(5, np.unique(targets, return_counts=True)[1].min()))
    return n if n >= 2 else 0


def mutual_information(log_proba: FloatArray) -> float:
    """Entropy of the mean prediction minus mean entropy of the predictions, in nats; a row is a text.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.strategies.comparison import mutual_information
    >>> sure_of_both, the_same_for_all = np.log([[0.99, 0.01], [0.01, 0.99]]), np.log([[0.99, 0.01], [0.99, 0.01]])
    >>> round(mutual_information(sure_of_both), 2), round(mutual_information(the_same_for_all), 2)
    (0.64, 0.0)
    """
    return float(divergences(log_proba).mean())


def divergences(log_proba: FloatArray) -> FloatArray:
    """KL divergence of each text's prediction from the mean prediction; their mean is the mutual information."""
    proba = np.exp(log_proba)
    mean = np.log(np.maximum(proba.mean(axis=0), 1e-300))
    return (proba * (np.maximum(log_proba, -690.0) - mean)).sum(axis=1)


def cross_validated(
    name: str,
    strategy: Strategy,
    task: Task,
    model: Any,
    *,
    X: Sequence[Row],
    y: Sequence[Any],
    folds: int,
    sample_weight: FloatArray | None = None,
    random_state: int = 0,
) -> Candidate:
    """Fit on all folds but one and score that one, for each; the same folds under the same seed.

    Parameters
    ----------
    name : str
        What the report calls the strategy.
    strategy : Strategy
        Cloned for each fold.
    task : Task
    model : LanguageModel or Encoder
    X : sequence of rows
    y : sequence
        The class of each row.
    folds : int
    sample_weight : ndarray of shape (n_texts,), optional
    random_state : int, default=0
        Seed of the folds and of each fit.
    """
    targets = task.index(y)
    started = time.perf_counter()
    log_scores = np.empty((len(X), len(task.classes)))
    splits = StratifiedKFold(folds, shuffle=True, random_state=random_state).split(targets, targets)
    for train, test in splits:
        weights = None if sample_weight is None else sample_weight[train]
        fitted = clone(strategy).fit(
            task,
            model,
            [X[i] for i in train],
            [y[i] for i in train],
            sample_weight=weights,
            random_state=random_state,
        )
        log_scores[test] = fitted.log_scores([X[i] for i in test])
    weights = np.ones(len(X)) if sample_weight is None else sample_weight
    loss = np.average(-log_scores[np.arange(len(X)), targets], weights=weights)
    accuracy = np.average(log_scores.argmax(axis=1) == targets, weights=weights)
    return Candidate(name, strategy, log_scores, float(loss), float(accuracy), time.perf_counter() - started)


class Way(NamedTuple):
    """A strategy that may be chosen, and what the folds try for it."""

    name: str
    final: Strategy
    on_folds: Strategy


@dataclass(frozen=True, eq=False)
class Comparison:
    """The labelled rows, and the folds of some of them that strategies are compared on."""

    task: Task
    X: Sequence[Row]
    y: Any
    sample_weight: FloatArray | None
    rows: IntArray  # numbers of the rows that are compared on
    folds: int  # 0 where a class has a single row
    seed: int

    def candidates(self, ways: Sequence[Way], model: Any) -> tuple[Candidate, ...]:
        """Each way by cross-validation on the same folds."""
        X, y = [self.X[i] for i in self.rows], [self.y[i] for i in self.rows]
        weights = None if self.sample_weight is None else self.sample_weight[self.rows]
        shared: dict[str, Any] = {"folds": self.folds, "sample_weight": weights, "random_state": self.seed}
        return tuple(cross_validated(way.name, way.on_folds, self.task, model, X=X, y=y, **shared) for way in ways)


def draw_comparison(
    task: Task, X: Sequence[Row], y: Any, sample_weight: FloatArray | None, random_state: Any
) -> Comparison:
    """Draw the rows that strategies are compared on; see `Comparison`."""
    targets = task.index(y)
    rng = check_random_state(random_state)
    seed = int(rng.randint(2**31 - 1))
    size = min(len(targets), max(_COMPARED, 2 * len(task.classes)))
    rows = np.sort(select("stratified", targets.tolist(), size, rng))
    return Comparison(task, X, y, sample_weight, rows, n_folds(targets[rows]), seed)
