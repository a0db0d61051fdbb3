"""Logistic regression of words: entity types around their names, with a detector of entities that all of them share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.base import BaseEstimator
from sklearn.utils.validation import _check_sample_weight, check_array, check_is_fitted, validate_data

from fewshot.checks import above, at_least
from fewshot.errors import InputError, ParameterError
from fewshot.models.base import FloatArray, IntArray

__all__ = ["DETECTOR", "NAMES", "NONE_WEIGHT", "OWN", "TokenLogisticRegression"]

#: The defaults, settled by benchmarks/settle/tagging.py on training rows of two sets.
NAMES, DETECTOR, OWN, NONE_WEIGHT = 2.0, 0.03, 0.1, 0.25
#: The most iterations of L-BFGS, its tolerance on the gradient, and the share of the loss that a step must gain.
_MAX_ITER, _TOL, _GAIN = 1000, 1e-5, 1e-9


class TokenLogisticRegression(BaseEstimator):  # type: ignore[misc]
    r"""Multinomial logistic regression of None and some types, of which a word has one.

    The logit of None is 0, and that of type t is :math:`x \cdot (w + v_t) + b_t + \mathrm{names}\; z \cdot p_t`, where
    x is the vector of a word, z the part of it that an encoder gave, and :math:`p_t` the vector of the type's name. All
    types share the detector w, so that a few examples of each tell together what an entity looks like; the weaker the
    penalty on w is beside that on each :math:`v_t`, the more of it is learnt together.

    Parameters
    ----------
    names : float
        Weight of the names of the types; 0 leaves them out.
    detector : float
        Penalty on the shared weights: half of it times their squared norm is added to the sum of the log losses.
    own : float
        Penalty on the weights of each type, alike. Intercepts have none.
    none_weight : float
        Weight of a word of None; a word of a type has 1.

    Attributes
    ----------
    coef_ : ndarray of shape (n_types, n_features)
        What multiplies a vector: the detector, the own weights and the names together.
    intercept_ : ndarray of shape (n_types,)
    detector_ : ndarray of shape (n_features,)
        The shared weights.
    n_iter_ : int
        Iterations of L-BFGS.

    Notes
    -----
    A type without examples has its name, the detector and the mean intercept of the others.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot.heads.tokens import TokenLogisticRegression
    >>> person, place = np.eye(3)[:2]
    >>> X = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0], [0.1, 0.0, 0.9]])
    >>> head = TokenLogisticRegression().fit(X, [1, 2, 0, 0], prior=[person, place])
    >>> head.predict_proba([[0.8, 0.0, 0.1]]).argmax(axis=1).tolist()
    [1]
    """

    def __init__(
        self, names: float = NAMES, detector: float = DETECTOR, own: float = OWN, none_weight: float = NONE_WEIGHT
    ) -> None:
        self.names = names
        self.detector = detector
        self.own = own
        self.none_weight = none_weight

    def fit(self, X: Any, y: Any, prior: Any, sample_weight: Any = None) -> Self:
        """Fit the weights.

        Parameters
        ----------
        X : array of shape (n_words, n_features)
            Vectors of an encoder, and whatever features come after them.
        y : array of shape (n_words,)
            0 for None, and the number of the type from 1 on.
        prior : array of shape (n_types, n_vector_features)
            Vectors of the names of the types, of at most n_features.
        sample_weight : array of shape (n_words,), optional

        Raises
        ------
        InputError
            When y has no word of None or none of any type, or a number beyond the types.
        ParameterError
            When a parameter is out of its range, or the prior has more features than X.
        """
        at_least("names", self.names, 0)
        for name in ("detector", "own", "none_weight"):
            above(name, getattr(self, name), 0)
        X = validate_data(self, X, dtype=np.float64)
        prior = check_array(prior, dtype=np.float64, input_name="prior")
        if prior.shape[1] > X.shape[1]:
            raise ParameterError(f"prior must have at most the {X.shape[1]} features of X. Got {prior.shape[1]}.")
        y = _checked_tags(y, len(X), len(prior))
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64) * np.where(y == 0, self.none_weight, 1.0)
        return self._fit(X, y, prior, weights)

    def _fit(self, X: FloatArray, y: IntArray, prior: FloatArray, weights: FloatArray) -> Self:
        """Fit the detector, and the weights of the types that have examples."""
        seen = np.flatnonzero(np.bincount(y, weights, minlength=1 + len(prior))[1:])
        targets = (y[:, None] == np.concatenate([[0], 1 + seen])).astype(np.float64)
        offsets = self.names * X[:, : prior.shape[1]] @ prior[seen].T
        sizes = X.shape[1], X.shape[1] * len(seen), len(seen)
        penalties = np.repeat([self.detector, self.own, 0.0], sizes)
        objective = _Objective(X, offsets, targets, weights, penalties)
        first = np.zeros(sum(sizes))
        limits = {"maxiter": _MAX_ITER, "maxfun": 2 * _MAX_ITER, "gtol": _TOL, "ftol": _GAIN}
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options=limits)
        self.detector_, own, intercepts = objective.parts(found.x)
        self.coef_ = np.tile(self.detector_, (len(prior), 1))
        self.coef_[:, : prior.shape[1]] += self.names * prior
        self.coef_[seen] += own
        self.intercept_ = np.full(len(prior), intercepts.mean())
        self.intercept_[seen] = intercepts
        self.n_iter_ = int(found.nit)
        return self

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities, of shape (n_words, 1 + n_types): None comes first."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return np.exp(_log_probabilities(X @ self.coef_.T + self.intercept_))


@dataclass(frozen=True)
class _Objective:
    """The penalised loss of flat weights (detector, own weights, intercepts), with its gradient."""

    X: FloatArray
    offsets: FloatArray  # what the names alone say of each word, (n_words, n_types)
    targets: FloatArray  # 1 where a word has the tag, (n_words, 1 + n_types)
    weights: FloatArray
    penalties: FloatArray  # of each of the flat weights

    def parts(self, flat: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
        """The detector, the own weights of shape (n_types, n_features), and the intercepts."""
        dim, n_types = self.X.shape[1], self.offsets.shape[1]
        return flat[:dim], flat[dim : dim * (1 + n_types)].reshape(n_types, dim), flat[dim * (1 + n_types) :]

    def __call__(self, flat: FloatArray) -> tuple[float, FloatArray]:
        """The loss and its gradient."""
        detector, own, intercepts = self.parts(flat)
        logs = _log_probabilities(self.X @ (detector + own).T + intercepts + self.offsets)
        loss = -self.weights @ (self.targets * logs).sum(axis=1) + self.penalties @ (flat * flat) / 2
        pull = (self.weights[:, None] * (np.exp(logs) - self.targets))[:, 1:]
        slopes = pull.T @ self.X
        gradient = np.concatenate([slopes.sum(axis=0), slopes.ravel(), pull.sum(axis=0)])
        return float(loss), gradient + self.penalties * flat


def _log_probabilities(logits: FloatArray) -> FloatArray:
    """Of None, whose logit is 0, and of the types."""
    return log_softmax(np.pad(logits, ((0, 0), (1, 0))), axis=1)


def _checked_tags(y: Any, n_words: int, n_types: int) -> IntArray:
    """The tags as numbers: at least one word is of None, and one of a type."""
    tags = np.asarray(y)
    if tags.shape != (n_words,) or tags.dtype.kind not in "iu":
        raise InputError(f"y must be {n_words} whole numbers, one of each word. Got {tags.dtype} of {tags.shape}.")
    if tags.min() < 0 or tags.max() > n_types:
        raise InputError(f"y must be from 0 (None) to {n_types}, the last type. Got {tags.min()} to {tags.max()}.")
    if not tags.any():
        raise InputError("No word is of any type: there is nothing to learn. Add texts that have spans.")
    if tags.all():
        raise InputError("Every word is of a type. Add texts with words outside of any span: they say what None is.")
    return tags.astype(np.int64)
