"""Logistic regression whose prior mean is the label names: from zero-shot to plain logistic regression."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import expit, log_expit, log_softmax, logit
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fewshot.checks import check_seed
from fewshot.errors import InputError, ParameterError
from fewshot.heads.counting import FLOOR, constant_odds, measure_spread, merge_equal, varying
from fewshot.heads.logistic import Choice, Problem, held_out_losses, make_folds, weigh_choices
from fewshot.models.base import FloatArray, IntArray

__all__ = ["LabelPriorLogisticRegression"]

#: The choices of tau and C for vectors whose variance is 1, and those of them where there are too few examples to
#: choose by cross-validation.
TAUS, CS = (0.0, 5.0, 10.0, 20.0), (0.0, 1.0, 10.0, 100.0, 1000.0)
DEFAULT_TAU, DEFAULT_C = 10.0, 10.0
#: Prior weight in the average of a choice of the label names alone (C 0), in choices with C 1. It is settled by
#: benchmarks/settle/frozen_head.py, on training rows of twelve sets, each of them left out once.
_ALONE = 3.0
#: The most rows of fits on folds.
_SEARCH_ROWS = 1500


class LabelPriorLogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Logistic regression whose prior mean is a zero-shot classifier.

    The class logits of a vector z are :math:`\tau\, z \cdot p_k + z \cdot v_k + b_k`, where :math:`p_k` is the vector
    of class k's prompt, and the penalty :math:`\lVert V \rVert^2 / 2C` is on V alone. So the label names are the mean
    of the prior. Without examples, the nearest class prompt wins; with many examples, the data decide; with few
    examples, both count.

    Parameters
    ----------
    tau : float or "auto"
        Weight of the label names. "auto" chooses among ``taus`` by cross-validation on the examples.
    C : float or "auto"
        Inverse strength of the penalty. With C = 0 there is no V, only the label names and intercepts. The intercepts
        then have a normal prior with mean 0 and variance 1: they minimise the weighted log loss plus :math:`\lVert b
        \rVert^2 / 2`. "auto" chooses among ``Cs`` in the same way.
    taus, Cs : sequence of float, optional
        The values to choose from. Tau = 0 (plain logistic regression) is always one of them. None: 0, 5, 10 and 20 for
        tau, and 0, 1, 10, 100 and 1000 for C, all divided by the variance of the examples. So they do not depend on the
        scale of the vectors, or on how similar all vectors of an encoder are.
    average : bool
        Whether to average the logits over all values, because with few examples the best one is often best by chance.
        Each pair of tau and C is weighted by its likelihood on held-out examples (pseudo-BMA: Yao et al. 2018, "Using
        Stacking to Average Bayesian Predictive Distributions") times a prior weight. The prior weight is the -1/4 power
        of C times the variance of the examples; for C = 0 it is 3. False: take the pair with the lowest log loss.
    class_weight : dict, "balanced" or None
        Weights of classes, as in scikit-learn.
    max_iter : int
        The most iterations of L-BFGS.
    tol : float
        Tolerance of L-BFGS on the gradient; fits on folds stop earlier.
    random_state : int, RandomState or None
        Seed of the folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features)
        The weights of the features: tau times the prior, plus V.
    intercept_ : ndarray of shape (n_classes,)
    choices_ : ndarray of shape (n_choices, 2)
        Every pair of tau and C in the average.
    shares_ : ndarray of shape (n_choices,)
        The weight of each pair in the average.
    tau_, C_ : float
        The average tau, and the C with the highest weight.
    names_weight_ : float
        The weight of the label names: the average tau divided by the default tau for vectors of the same variance.
    n_iter_ : int
        Number of iterations of the longest fit.
    cv_log_loss_ : dict
        Mean log loss on held-out examples of each (tau, C) that was tried on all folds; empty if none was. A pair that
        is 20 nats behind another after some folds is not tried on the rest.

    Notes
    -----
    If y is an indicator matrix, every column has its own logistic regression, with the same tau and C (one versus
    rest). The optimum is in the span of the examples, so with fewer examples than dimensions it is computed there.

    Examples
    --------
    >>> import numpy as np
    >>> from fewshot import LabelPriorLogisticRegression
    >>> prior = np.eye(2)
    >>> X = np.array([[1.0, 0.2], [0.9, 0.0], [0.1, 1.0], [0.0, 0.8]])
    >>> head = LabelPriorLogisticRegression(tau=10.0, C=1.0).fit(X, ["a", "a", "b", "b"], prior=prior)
    >>> head.predict([[0.7, 0.1]]).tolist()
    ['a']
    """

    def __init__(
        self,
        tau: float | Literal["auto"] = "auto",
        C: float | Literal["auto"] = "auto",
        *,
        taus: Sequence[float] | None = None,
        Cs: Sequence[float] | None = None,
        average: bool = True,
        class_weight: Any = None,
        max_iter: int = 200,
        tol: float = 1e-9,
        random_state: Any = 0,
    ) -> None:
        self.tau = tau
        self.C = C
        self.taus = taus
        self.Cs = Cs
        self.average = average
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any, prior: Any = None, sample_weight: Any = None, *, classes: Any = None) -> Self:
        """Fit the weights, and choose tau and C if they are "auto".

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples,), or an indicator matrix of shape (n_samples, n_classes)
        prior : array of shape (n_classes, n_features), optional
            Vectors of the class prompts, in the order of the sorted classes. None: plain logistic regression.
        sample_weight : array of shape (n_samples,), optional
        classes : array of shape (n_classes,), optional
            All classes. A class without examples in y keeps its prior, with the mean intercept. None: the classes of y.
            The classes of an indicator matrix are its columns. A column that is 1 for all rows, or for no row, keeps
            its prior, with the intercept that gives it this frequency.

        Raises
        ------
        InputError
            When y has only one class, or a class that is not in ``classes``; when the shape of the prior is not
            (n_classes, n_features); when C is below 0, or C is 0 and there is no prior.
        """
        X = validate_data(self, X, dtype=np.float64)
        y = _checked_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        return self._fit(X, self._targets(y, classes), prior, weights)

    def _fit(self, X: FloatArray, targets: FloatArray, prior: Any, weights: FloatArray) -> Self:
        """Fit to one column of targets a class, of which some may have no examples."""
        given = prior is not None
        prior = _checked_prior(prior, targets.shape[1], X.shape[1])
        # the same row twice is one of twice the weight, in the folds as well
        rows, merged = merge_equal([part.tobytes() for part in np.hstack([X + 0.0, targets])], weights)
        X, targets, weights = X[rows], targets[rows], weights if merged is None else merged
        seen = varying(targets)
        self._check_seen(seen, targets)
        weights = weights * self._class_weights(targets[:, seen], weights, seen)
        # the intercepts are free, so that the mean changes no optimum: without it they are found sooner
        mean, variance = measure_spread(X, weights)
        Z = X - mean
        # the optimum lies in the span of the examples: with fewer of them than dimensions, work there
        basis = np.linalg.qr(Z.T)[0] if len(Z) < Z.shape[1] else None
        Z = Z if basis is None else Z @ basis
        problem = Problem(
            Z / np.sqrt(variance), X @ prior[seen].T, targets[:, seen], weights, self.multilabel_, variance
        )
        counted = self._counted(problem, given)
        self.choices_, self.shares_ = np.array(list(counted)), np.array(list(counted.values()))
        optima = [problem.optimum(tau, C, max_iter=self.max_iter, tol=self.tol) for tau, C in counted]
        V = np.tensordot(self.shares_, [found.V for found in optima], 1) / np.sqrt(variance)
        V = V if basis is None else V @ basis.T
        self.tau_ = float(self.shares_ @ self.choices_[:, 0])
        self.C_ = float(self.choices_[self.shares_.argmax(), 1])
        self.names_weight_ = self.tau_ * variance / DEFAULT_TAU
        self.coef_ = self.tau_ * prior
        self.coef_[seen] += V
        own = self.shares_ @ np.array([found.b for found in optima]) - V @ mean
        self.intercept_ = np.empty(len(prior))
        self.intercept_[seen] = own
        unseen = np.setdiff1d(np.arange(len(prior)), seen)
        if self.multilabel_:  # a label that all rows have, or none, is as frequent among them as they say
            shares = expit(constant_odds(targets[:, unseen], weights))
            logits = X @ self.coef_[unseen].T
            self.intercept_[unseen] = [_intercept(*one, weights) for one in zip(logits.T, shares, strict=True)]
        else:  # the names speak for a class without examples, at the mean intercept; without names nothing does
            self.intercept_[unseen] = own.mean() + np.where(self.coef_[unseen].any(axis=1), 0.0, FLOOR)
        self.n_iter_ = max(found.n_iter for found in optima)
        return self

    def _targets(self, y: Any, classes: Any) -> FloatArray:
        """One column a class: 1 where a row is of it."""
        self.multilabel_ = type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            matrix = np.asarray(y, dtype=np.float64)
            self.classes_ = np.arange(matrix.shape[1])
            return matrix
        self.classes_ = np.unique(y if classes is None else classes)
        unknown = np.setdiff1d(y, self.classes_)
        if unknown.size:
            raise InputError(f"classes must hold every class of y. Got none that is {unknown.tolist()[0]!r}.")
        return np.eye(len(self.classes_))[np.searchsorted(self.classes_, y)]

    def _check_seen(self, seen: IntArray, targets: FloatArray) -> None:
        if self.multilabel_ and not len(seen):
            raise InputError("No label is on some rows and off others: there is nothing to learn.")
        if not self.multilabel_ and len(seen) < 2:
            raise InputError(
                "A classifier needs samples of at least 2 classes in the data. Got one class with any weight: "
                f"{self.classes_[targets.any(axis=0)]}."
            )

    def _class_weights(self, targets: FloatArray, weights: FloatArray, seen: IntArray) -> FloatArray:
        """The weight of each row by its class; "balanced" counts by the weights that rows have."""
        if self.class_weight is None or self.multilabel_:
            return np.ones(len(targets))
        if self.class_weight == "balanced":
            per_class = weights.sum() / (len(seen) * (weights @ targets))
        else:
            names = self.classes_[seen]
            per_class = compute_class_weight(self.class_weight, classes=names, y=names)
        return targets @ per_class

    def _counted(self, problem: Problem, given: bool) -> dict[Choice, float]:
        """How much each tau and C counts, by cross-validation; the defaults where there are too few examples."""
        check_seed(self.random_state)
        for name in ("tau", "C"):
            value = getattr(self, name)
            if not isinstance(value, Real) and value != "auto":
                raise ParameterError(f"{name} must be a number of at least 0, or 'auto'. Got {value!r:.80}.")
        self.cv_log_loss_: dict[Choice, float] = {}
        has_prior = bool(problem.offsets.any())
        taus, usual_tau = _choices(self.taus, TAUS, DEFAULT_TAU, problem.variance)
        Cs, usual_C = _choices(self.Cs, CS, DEFAULT_C, problem.variance)
        taus, Cs = sorted({0.0, *taus}) if has_prior else [0.0], sorted(Cs) if given else [usual_C]
        taus, Cs = taus if self.tau == "auto" else [float(self.tau)], Cs if self.C == "auto" else [float(self.C)]
        if not Cs[0] >= 0 or (Cs[-1] == 0 and not (has_prior and taus[-1])):
            raise ParameterError(f"C must be greater than 0, or 0 with a prior and a tau above 0. Got {Cs[0]}.")
        if len(problem.Z) > _SEARCH_ROWS:
            problem = problem.rows(check_random_state(self.random_state).permutation(len(problem.Z))[:_SEARCH_ROWS])
        splits = make_folds(problem, self.random_state)
        if len(taus) * len(Cs) == 1 or not splits:
            # nothing tells them apart: those of the given that are nearest to what is usual
            return {(min(taus, key=lambda tau: abs(tau - usual_tau)), min(Cs, key=lambda C: abs(C - usual_C))): 1.0}
        losses = held_out_losses(problem, taus, Cs, splits, max_iter=self.max_iter, tol=self.tol)
        self.cv_log_loss_ = {choice: loss / float(problem.weights.sum()) for choice, loss in losses.items()}
        return (
            weigh_choices(losses, _ALONE, problem.variance)
            if self.average
            else {min(losses, key=losses.__getitem__): 1.0}
        )

    def _logits(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        return X @ self.coef_.T + self.intercept_

    def decision_function(self, X: Any) -> FloatArray:
        """Return class logits, of shape (n_samples, n_classes), or for two classes their difference, (n_samples,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and not self.multilabel_ else logits

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Return log-probabilities, of shape (n_samples, n_classes)."""
        logits = self._logits(X)
        return log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1)

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities, of shape (n_samples, n_classes); when multi-label, they need not sum to 1."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class; when multi-label, an indicator matrix of labels above probability 0.5."""
        logits = self._logits(X)
        return (logits > 0).astype(np.int64) if self.multilabel_ else self.classes_[logits.argmax(axis=1)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _choices(
    given: Sequence[float] | None, own: Sequence[float], usual: float, variance: float
) -> tuple[list[float], float]:
    """The choices and the usual one. Own ones are for vectors of variance 1; given ones are taken as they are."""
    if given is None:
        return [one / variance for one in own], usual / variance
    return [float(one) for one in given], usual


def _checked_targets(y: Any) -> NDArray[Any]:
    """Labels, or an indicator matrix, without missing or infinite values."""
    if y is None:
        raise InputError(
            "This LabelPriorLogisticRegression estimator requires y to be passed, but the target y is None."
        )
    y = np.asarray(y)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    if type_of_target(y, input_name="y") != "multilabel-indicator":
        y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    return y


def _checked_prior(prior: Any, n_classes: int, dim: int) -> FloatArray:
    """The prior; nothing where there is none."""
    prior = np.zeros((n_classes, dim)) if prior is None else np.asarray(prior, dtype=np.float64)
    if prior.shape != (n_classes, dim):
        raise ParameterError(f"prior must be of shape {(n_classes, dim)}, a row for each class. Got {prior.shape}.")
    return prior


def _intercept(logits: FloatArray, share: float, weights: FloatArray) -> float:
    """The intercept at which the mean probability over the rows is a share."""
    bounds = logit(share) - logits.max(), logit(share) - logits.min()
    if bounds[0] == bounds[1]:
        return float(bounds[0])
    return float(brentq(lambda b: np.average(expit(logits + b), weights=weights) - share, *bounds))
