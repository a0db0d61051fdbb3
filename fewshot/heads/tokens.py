"""A linear chain of tags: entity types around their names, with a detector of entities that all of them share."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.optimize import minimize
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from fewshot.checks import above, at_least
from fewshot.errors import InputError, ParameterError
from fewshot.heads.chain import Chains
from fewshot.models.base import FloatArray, IntArray

__all__ = ["DETECTOR", "NAMES", "NONE_WEIGHT", "OWN", "TRANSITION", "TokenCRF"]

#: The defaults, settled by benchmarks/settle/tagging.py on training rows of two sets.
NAMES, DETECTOR, OWN, TRANSITION, NONE_WEIGHT = 2.0, 0.03, 0.1, 0.1, 0.6
#: The most iterations of L-BFGS, its tolerance on the gradient, and the share of the loss that a step must gain.
_MAX_ITER, _TOL, _GAIN = 1000, 1e-5, 1e-6


class TokenCRF(BaseEstimator):  # type: ignore[misc]
    r"""A conditional random field of None and some types, of which each word of a text has one.

    The log-weight of None is 0, and that of type t is :math:`x \cdot (w + v_t) + b_t + \mathrm{names}\; z \cdot p_t`,
    where x is the vector of a word, z the part of it that an encoder gave, and :math:`p_t` the vector of the type's
    name. All types share the detector w, so that a few examples of each tell together what an entity looks like; the
    weaker the penalty on w is beside that on each :math:`v_t`, the more of it is learnt together. Types also share what
    a word says of the next one: there is one weight for a type after itself and one for a type after another type.
    Into None and out of it no weight is needed: the intercepts and these two say already what a word, a span and a
    group of spans that touch count for.

    Weights have the largest conditional likelihood of the tags, less penalties. Source: Lafferty, McCallum and Pereira
    (2001), "Conditional Random Fields: Probabilistic Models for Segmenting and Labeling Sequence Data".

    Parameters
    ----------
    names : float
        Weight of the names of the types; 0 leaves them out.
    detector : float
        Penalty on the shared weights: half of it times their squared norm is added to the negative log-likelihood.
    own : float
        Penalty on the weights of each type, alike. Intercepts have none.
    transition : float
        Penalty on the two weights of a type after a type, alike.
    none_weight : float
        What multiplies the weight of None once all is fitted. Below 1 more words are of a type, above 1 fewer.

    Attributes
    ----------
    coef_ : ndarray of shape (n_types, n_features)
        What multiplies a vector: the detector, the own weights and the names together.
    intercept_ : ndarray of shape (n_types,)
    transitions_ : ndarray of shape (1 + n_types, 1 + n_types)
        Log-weights of the second tag after the first; None comes first.
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
    >>> from fewshot.heads.tokens import TokenCRF
    >>> person, place = np.eye(3)[:2]
    >>> X = np.array([[0.9, 0.1, 0.0], [0.1, 0.9, 0.0], [0.0, 0.0, 1.0], [0.1, 0.0, 0.9]])
    >>> head = TokenCRF().fit(X, [1, 2, 0, 0], lengths=[1, 3], prior=[person, place])
    >>> head.log_weights([[0.8, 0.0, 0.1]]).argmax(axis=1).tolist()
    [1]
    """

    def __init__(
        self,
        names: float = NAMES,
        detector: float = DETECTOR,
        own: float = OWN,
        transition: float = TRANSITION,
        none_weight: float = NONE_WEIGHT,
    ) -> None:
        self.names = names
        self.detector = detector
        self.own = own
        self.transition = transition
        self.none_weight = none_weight

    def fit(self, X: Any, y: Any, lengths: Sequence[int], prior: Any) -> Self:
        """Fit the weights.

        Parameters
        ----------
        X : array of shape (n_words, n_features)
            Vectors of an encoder, and whatever features come after them; the words of one text after the other.
        y : array of shape (n_words,)
            0 for None, and the number of the type from 1 on.
        lengths : sequence of int
            Number of words of each text.
        prior : array of shape (n_types, n_vector_features)
            Vectors of the names of the types, of at most n_features.

        Raises
        ------
        InputError
            When y has no word of None or none of any type, or a number beyond the types.
        ParameterError
            When a parameter is out of its range, the lengths do not add to the words, or the prior has more features
            than X.
        """
        at_least("names", self.names, 0)
        for name in ("detector", "own", "transition", "none_weight"):
            above(name, getattr(self, name), 0)
        X = validate_data(self, X, dtype=np.float64)
        prior = check_array(prior, dtype=np.float64, input_name="prior")
        if prior.shape[1] > X.shape[1]:
            raise ParameterError(f"prior must have at most the {X.shape[1]} features of X. Got {prior.shape[1]}.")
        if min(lengths, default=0) < 0 or sum(lengths) != len(X):
            raise ParameterError(f"lengths must add to the {len(X)} words of X. Got {sum(lengths)} of {len(lengths)}.")
        return self._fit(X, _checked_tags(y, len(X), len(prior)), Chains(lengths), prior)

    def _fit(self, X: FloatArray, y: IntArray, chains: Chains, prior: FloatArray) -> Self:
        """Fit the detector and the transitions, and the weights of the types that have examples."""
        seen = np.unique(y[y > 0]) - 1
        targets = (y[:, None] == np.concatenate([[0], 1 + seen])).astype(np.float64)
        offsets = self.names * X[:, : prior.shape[1]] @ prior[seen].T
        rows, basis = _reduced(X)
        sizes = rows.shape[1], rows.shape[1] * len(seen), len(seen), 2
        penalties = np.repeat([self.detector, self.own, 0.0, self.transition], sizes)
        units = 1.0 / np.sqrt(np.maximum(penalties, 1.0))  # so that L-BFGS is not led astray by a large penalty
        objective = _Objective(rows, offsets, targets, chains, penalties, units)
        limits = {"maxiter": _MAX_ITER, "maxfun": 2 * _MAX_ITER, "gtol": _TOL, "ftol": _GAIN}
        found = minimize(objective, np.zeros(sum(sizes)), jac=True, method="L-BFGS-B", options=limits)
        detector, own, intercepts, transitions = objective.parts(found.x * units)
        self.detector_ = detector @ basis
        self.coef_ = np.tile(self.detector_, (len(prior), 1))
        self.coef_[:, : prior.shape[1]] += self.names * prior
        self.coef_[seen] += own @ basis
        self.intercept_ = np.full(len(prior), intercepts.mean())
        self.intercept_[seen] = intercepts
        self.transitions_ = _transitions(transitions, len(prior))
        self.n_iter_ = int(found.nit)
        return self

    def log_weights(self, X: Any) -> FloatArray:
        """Return the log-weights of the tags of words by themselves, of shape (n_words, 1 + n_types); None first."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False, ensure_min_samples=0)
        return _beside_none(X @ self.coef_.T + self.intercept_ - np.log(self.none_weight))


@dataclass(frozen=True)
class _Objective:
    """The penalised loss, with its gradient, of flat weights: detector, own weights, intercepts and transitions."""

    X: FloatArray
    offsets: FloatArray  # what the names alone say of each word, (n_words, n_types)
    targets: FloatArray  # 1 where a word has the tag, (n_words, 1 + n_types)
    chains: Chains
    penalties: FloatArray  # of each of the flat weights
    units: FloatArray  # what a step of 1 means for each

    def parts(self, flat: FloatArray) -> list[FloatArray]:
        """The detector, the own weights of shape (n_types, n_features), the intercepts and the transitions."""
        dim, n_types = self.X.shape[1], self.offsets.shape[1]
        detector, own, intercepts, transitions = np.split(flat, np.cumsum([dim, dim * n_types, n_types]))
        return [detector, own.reshape(n_types, dim), intercepts, transitions]

    @functools.cached_property
    def counts(self) -> FloatArray:
        """How often a type comes after itself, and after another type."""
        return _by_kind(self.chains.count(self.targets))

    def __call__(self, flat: FloatArray) -> tuple[float, FloatArray]:
        """The loss and its gradient."""
        flat = flat * self.units
        detector, own, intercepts, transitions = self.parts(flat)
        weights = _beside_none(self.X @ (detector + own).T + intercepts + self.offsets)
        found = self.chains.infer(weights, _transitions(transitions, len(intercepts)))
        true = (self.targets * weights).sum() + self.counts @ transitions
        loss = found.log_normalizer - true + self.penalties @ (flat * flat) / 2
        pull = (found.words - self.targets)[:, 1:]
        slopes = pull.T @ self.X
        changes = _by_kind(found.counts) - self.counts
        gradient = np.concatenate([slopes.sum(axis=0), slopes.ravel(), pull.sum(axis=0), changes])
        return float(loss), (gradient + self.penalties * flat) * self.units


def _reduced(X: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rows in an orthonormal basis of what they span, and the basis: few words have few weights.

    Nothing is lost, since penalised weights that fit best lie in that span.
    """
    if len(X) >= X.shape[1]:
        return X, np.eye(X.shape[1])
    basis, rows = np.linalg.qr(X.T)
    return np.ascontiguousarray(rows.T), basis.T


def _beside_none(weights: FloatArray) -> FloatArray:
    """The log-weights of types beside those of None, which are 0."""
    return np.pad(weights, ((0, 0), (1, 0)))


def _transitions(weights: FloatArray, n_types: int) -> FloatArray:
    """Log-weights of a tag after a tag, from those of a type after itself and after another one: None has 0."""
    made = np.zeros((1 + n_types, 1 + n_types))
    made[1:, 1:] = np.where(np.eye(n_types, dtype=bool), *weights)
    return made


def _by_kind(counts: FloatArray) -> FloatArray:
    """How often a type comes after itself, and after another type."""
    same = np.trace(counts[1:, 1:])
    return np.array([same, counts[1:, 1:].sum() - same])


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
