"""Choose between strategies by cross-validation on the examples, and keep what was seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from fewshot.inputs import Row
from fewshot.models.base import FloatArray, IntArray
from fewshot.strategies.base import Strategy
from fewshot.tables import as_text
from fewshot.task.task import Task

__all__ = ["Candidate", "Report", "cross_validated", "n_folds"]


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
    """What `Auto` chose, and why; prints as a table.

    Attributes
    ----------
    chosen : str
        Name of the chosen strategy.
    reasons : tuple of str
        Why, one sentence each.
    candidates : tuple of Candidate
        What was compared; empty where nothing was.
    rows : ndarray of int
        The examples that were compared on.
    folds : int
        Of the cross-validation; 0 without one.
    """

    chosen: str
    reasons: tuple[str, ...]
    candidates: tuple[Candidate, ...] = ()
    rows: IntArray | None = None
    folds: int = 0

    def __str__(self) -> str:
        lines = [f"Chosen: {self.chosen}", *(f"- {reason}" for reason in self.reasons)]
        if self.candidates:
            header = [f"{'on held-out examples':39}", "log loss", "accuracy", "seconds"]
            rows = [
                [one.name, f"{one.log_loss:.3f}", f"{one.accuracy:.3f}", f"{one.seconds:.1f}"]
                for one in self.candidates
            ]
            lines.append(as_text(header, rows, right=True))
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
