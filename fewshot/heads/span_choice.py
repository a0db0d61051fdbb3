"""Softmax regression over candidates of which each question has its own: a conditional logit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from fewshot.checks import above
from fewshot.errors import InputError, ParameterError
from fewshot.models.base import FloatArray

__all__ = ["PENALTY", "SpanChoice"]

#: Of 0.1, 0.3, 1 and 3 by benchmarks/settle/answers.py, on training questions.
PENALTY = 1.0
#: The most iterations of L-BFGS, its tolerance on the gradient, and the share of the loss that a step must gain.
_MAX_ITER, _TOL, _GAIN = 300, 1e-4, 1e-6


class SpanChoice(BaseEstimator):  # type: ignore[misc]
    """A softmax over the candidates of each question, linear in what is known of a candidate.

    The log-weight of a candidate is the product of its features with one vector of weights. Weights have the largest
    likelihood of the right candidates, less a penalty; where several are right, their probabilities add. Source:
    McFadden (1974), "Conditional Logit Analysis of Qualitative Choice Behavior".

    Parameters
    ----------
    penalty : float
        Half of it times the squared norm of the weights is added to the negative log-likelihood of all questions.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,)
    n_iter_ : int
        Iterations of L-BFGS.

    Notes
    -----
    There is no intercept, since a softmax does not change when all its candidates gain the same. With one right
    candidate a question the loss is convex.

    Examples
    --------
    >>> from fewshot.heads.span_choice import SpanChoice
    >>> X = [[1.0, 0.0], [0.0, 1.0], [0.9, 0.3], [0.1, 0.8], [0.0, 0.0]]
    >>> head = SpanChoice().fit(X, lengths=[2, 3], right=[True, False, True, False, False])
    >>> head.log_weights([[0.2, 0.8], [0.8, 0.1]]).argmax()
    np.int64(1)
    """

    def __init__(self, penalty: float = PENALTY) -> None:
        self.penalty = penalty

    def fit(self, X: Any, lengths: Sequence[int], right: Any, offsets: Any = 0.0) -> Self:
        """Fit the weights.

        Parameters
        ----------
        X : array of shape (n_candidates, n_features)
            The candidates of one question after those of the other.
        lengths : sequence of int
            Number of candidates of each question.
        right : array of shape (n_candidates,)
            Whether each is right; every question has a right one.
        offsets : array of shape (n_candidates,), optional
            What is added to the log-weight of each while weights are fitted: the logarithm of how many candidates it
            stands for.

        Raises
        ------
        ParameterError
            When the penalty is not above 0, or the lengths do not add to the candidates.
        InputError
            When a question has no right candidate.
        """
        above("penalty", self.penalty, 0)
        X = validate_data(self, X, dtype=[np.float64, np.float32])
        right = np.asarray(right, dtype=bool)
        if min(lengths, default=0) < 1 or not sum(lengths) == len(X) == len(right):
            raise ParameterError(
                f"lengths must be above 0 and add to the {len(X)} candidates of X and the {len(right)} of right. "
                f"Got {sum(lengths)} of {len(lengths)}."
            )
        starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
        without = np.flatnonzero(~np.logical_or.reduceat(right, starts))
        if len(without):
            raise InputError(
                f"Question {without[0]} has no right candidate, and {len(without)} of {len(starts)} have none."
            )
        options = {"maxiter": _MAX_ITER, "gtol": _TOL, "ftol": _GAIN}
        objective = _Objective(X, starts, np.asarray(lengths), right, offsets, self.penalty)
        found = minimize(objective, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B", options=options)
        self.coef_ = found.x
        self.n_iter_ = int(found.nit)
        return self

    def log_weights(self, X: Any) -> FloatArray:
        """Return the log-weights of candidates; those of one question are to be normalised together."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False, ensure_min_samples=0)
        return np.asarray(X @ self.coef_, dtype=np.float64)


@dataclass(frozen=True)
class _Objective:
    """The penalised loss, with its gradient. The two large products are of the precision of X, all else is double."""

    X: Any
    starts: Any  # of the candidates of each question
    lengths: Any
    right: Any
    offsets: Any
    penalty: float

    def __call__(self, coef: FloatArray) -> tuple[float, FloatArray]:
        """The loss and its gradient."""
        weights = (self.X @ coef.astype(self.X.dtype)).astype(np.float64) + self.offsets
        every, log_all = _softmax(weights, self.starts, self.lengths)
        chosen, log_right = _softmax(np.where(self.right, weights, -np.inf), self.starts, self.lengths)
        gradient = (self.X.T @ (every - chosen).astype(self.X.dtype)).astype(np.float64)
        loss = (log_all - log_right).sum() + self.penalty * coef @ coef / 2
        return float(loss), gradient + self.penalty * coef


def _softmax(weights: FloatArray, starts: Any, lengths: Any) -> tuple[FloatArray, FloatArray]:
    """The probabilities of the candidates of each question, and the logarithm of what their weights add to."""
    highest = np.maximum.reduceat(weights, starts)
    shares = np.exp(weights - np.repeat(highest, lengths))
    totals = np.add.reduceat(shares, starts)
    return shares / np.repeat(totals, lengths), highest + np.log(totals)
