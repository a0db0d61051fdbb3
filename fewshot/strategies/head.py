"""Logistic regression whose prior mean is the label names: from zero-shot to the plain thing, with all between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_expit, log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.utils import assert_all_finite, check_random_state, column_or_1d, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fewshot.models.base import FloatArray

__all__ = ["LabelPriorLogisticRegression", "fitted_to_all"]

#: What is used where there are too few examples to choose by cross-validation.
DEFAULT_TAU, DEFAULT_C = 10.0, 10.0
#: Fits on folds stop when a step gains less than this share of the loss, and see this many rows at the most: their
#: losses are compared, their weights are not used.
SEARCH_GAIN, SEARCH_ROWS = 1e-3, 1500


class LabelPriorLogisticRegression(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    r"""Logistic regression around a classifier that needs no examples.

    The class logits of a vector z are :math:`\tau\, z \cdot p_k + z \cdot v_k + b_k`, where :math:`p_k` is the vector
    of class k's prompt and the penalty :math:`\lVert V \rVert^2 / 2C` is on V alone. So the label names are the mean of
    the prior: without examples the nearest class prompt wins, with many the data decide, with few both count.

    Parameters
    ----------
    tau : float or "auto"
        Weight of the label names. "auto" chooses from ``taus`` by cross-validated log loss on the examples.
    C : float or "auto"
        Inverse strength of the penalty. "auto" chooses from ``Cs`` after tau.
    taus, Cs : sequence of float
        The choices. Tau 0, plain logistic regression, is always among them.
    class_weight : dict, "balanced" or None
        Weights of classes, as in scikit-learn.
    max_iter : int
        Most iterations of L-BFGS.
    tol : float
        Its tolerance on the gradient; fits on folds stop earlier (`SEARCH_GAIN`).
    random_state : int, RandomState or None
        Shuffles the folds.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features)
        What multiplies a vector: tau times the prior, plus V.
    intercept_ : ndarray of shape (n_classes,)
    tau_, C_ : float
        The values that were used.
    n_iter_ : int
        Iterations of the last fit.
    cv_log_loss_ : dict
        Mean log loss on held-out examples of each (tau, C) that was tried; empty where nothing was.

    Notes
    -----
    With an indicator matrix y every column is a logistic regression of its own, with the same tau and C (one versus
    rest). The optimum lies in the span of the examples, so with fewer examples than dimensions it is found there.

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
        taus: Sequence[float] = (0.0, 5.0, 10.0, 20.0),
        Cs: Sequence[float] = (1.0, 10.0, 100.0),
        class_weight: Any = None,
        max_iter: int = 200,
        tol: float = 1e-9,
        random_state: Any = 0,
    ) -> None:
        self.tau = tau
        self.C = C
        self.taus = taus
        self.Cs = Cs
        self.class_weight = class_weight
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Any, y: Any, prior: Any = None, sample_weight: Any = None) -> Self:
        """Fit the weights, and choose tau and C where they are "auto".

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
        y : array of shape (n_samples,), or an indicator matrix of shape (n_samples, n_classes)
        prior : array of shape (n_classes, n_features), optional
            Vectors of the class prompts, in the order of the sorted classes. None: plain logistic regression.
        sample_weight : array of shape (n_samples,), optional

        Raises
        ------
        ValueError
            When there is one class only, or the prior's shape is not (n_classes, n_features).
        """
        X = validate_data(self, X, dtype=np.float64)
        y = _checked_targets(y)
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64)
        targets = self._targets(y)
        if self.class_weight is not None and not self.multilabel_:
            per_class = compute_class_weight(self.class_weight, classes=self.classes_, y=np.asarray(y))
            weights = weights * (targets @ per_class)
        offsets, prior = self._prior(X, prior, targets.shape[1])
        # the optimum lies in the span of the examples: with fewer of them than dimensions, work there
        basis = np.linalg.qr(X.T)[0] if len(X) < X.shape[1] else None
        Z = X if basis is None else X @ basis
        self.tau_, self.C_ = self._chosen(Z, offsets, targets, weights)
        V, b = self._solve(Z, self.tau_ * offsets, targets, weights, C=self.C_)
        V = V if basis is None else V @ basis.T
        self.coef_ = V + self.tau_ * prior
        self.intercept_ = b
        return self

    def _targets(self, y: Any) -> FloatArray:
        """One column a class: 1 where a row is of it."""
        self.multilabel_ = type_of_target(y) == "multilabel-indicator"
        if self.multilabel_:
            matrix = np.asarray(y, dtype=np.float64)
            self.classes_ = np.arange(matrix.shape[1])
            return matrix
        self.classes_, index = np.unique(np.asarray(y), return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"A classifier needs samples of at least 2 classes in the data. Got one class: {self.classes_}."
            )
        targets: FloatArray = np.eye(len(self.classes_))[index]
        return targets

    def _prior(self, X: FloatArray, prior: Any, n_classes: int) -> tuple[FloatArray, FloatArray]:
        """The prior's logits before tau, and the prior itself."""
        if prior is None:
            return np.zeros((len(X), n_classes)), np.zeros((n_classes, X.shape[1]))
        prior = np.asarray(prior, dtype=np.float64)
        if prior.shape != (n_classes, X.shape[1]):
            raise ValueError(
                f"prior must be of shape {(n_classes, X.shape[1])}, a row for each class. Got {prior.shape}."
            )
        return X @ prior.T, prior

    def _chosen(
        self, Z: FloatArray, offsets: FloatArray, targets: FloatArray, weights: FloatArray
    ) -> tuple[float, float]:
        """Tau and C with the lowest log loss on held-out examples, or the defaults where there are too few."""
        self.cv_log_loss_: dict[tuple[float, float], float] = {}
        has_prior = bool(offsets.any())
        taus = (
            [float(self.tau)] if self.tau != "auto" else sorted({0.0, *map(float, self.taus)}) if has_prior else [0.0]
        )
        Cs = [float(self.C)] if self.C != "auto" else sorted(map(float, self.Cs)) if has_prior else [DEFAULT_C]
        if len(Z) > SEARCH_ROWS:
            some = check_random_state(self.random_state).permutation(len(Z))[:SEARCH_ROWS]
            Z, offsets, targets, weights = Z[some], offsets[some], targets[some], weights[some]
        splits = list(self._folds(Z, targets))
        if len(taus) * len(Cs) == 1 or not splits:
            return (taus[0] if len(taus) == 1 else DEFAULT_TAU), (Cs[0] if len(Cs) == 1 else DEFAULT_C)

        def loss(choice: tuple[float, float]) -> float:
            if choice not in self.cv_log_loss_:
                tau, C = choice
                total = 0.0
                for train, test in splits:
                    V, b = self._solve(
                        Z[train],
                        tau * offsets[train],
                        targets[train],
                        weights[train],
                        C=C,
                        rough=True,
                    )
                    total += float(weights[test] @ self._losses(Z[test] @ V.T + b + tau * offsets[test], targets[test]))
                self.cv_log_loss_[choice] = float(total / weights.sum())
            return self.cv_log_loss_[choice]

        # in turn, tau first since C matters less, until neither changes
        best, C = (taus[0], 0.0), Cs[len(Cs) // 2]
        while True:
            tau = min(taus, key=lambda tau: loss((tau, C)))
            C = min(Cs, key=lambda C: loss((tau, C)))
            if (tau, C) == best:
                return best
            best = tau, C

    def _folds(self, Z: FloatArray, targets: FloatArray) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        counts = targets.sum(axis=0)
        most = 5 if targets.shape[1] <= 20 else 3  # many classes make every fit dear
        n = int(min(most, counts.min(), (len(targets) - counts).min()))
        if n < 2:
            return iter(())
        rng = check_random_state(self.random_state)
        if self.multilabel_:
            order = rng.permutation(len(targets))
            parts = [order[i::n] for i in range(n)]
            return ((np.setdiff1d(order, part), part) for part in parts)
        classes = targets.argmax(axis=1)
        groups = np.unique(Z.round(9), axis=0, return_inverse=True)[1].ravel()
        n_groups = int(groups.max()) + 1
        if len(set(zip(groups.tolist(), classes.tolist(), strict=True))) == n_groups:
            split: Iterator[Any] = StratifiedKFold(n, shuffle=True, random_state=rng).split(targets, classes)
            return split
        if n_groups < 2:
            return iter(())
        # the same sample in several classes, as one with a soft label is: never on both sides
        split = StratifiedGroupKFold(min(n, n_groups), shuffle=True, random_state=rng).split(targets, classes, groups)
        return split

    def _losses(self, logits: FloatArray, targets: FloatArray) -> FloatArray:
        if self.multilabel_:
            losses: FloatArray = -(targets * log_expit(logits) + (1 - targets) * log_expit(-logits)).sum(axis=1)
            return losses
        losses = -(targets * log_softmax(logits, axis=1)).sum(axis=1)
        return losses

    def _solve(
        self,
        Z: FloatArray,
        offsets: FloatArray,
        targets: FloatArray,
        weights: FloatArray,
        *,
        C: float,
        rough: bool = False,
    ) -> tuple[FloatArray, FloatArray]:
        """Minimise the weighted log loss plus the penalty on V; the intercepts are free."""
        n_classes, dim = targets.shape[1], Z.shape[1]

        def objective(flat: FloatArray) -> tuple[float, FloatArray]:
            V, b = flat[: n_classes * dim].reshape(n_classes, dim), flat[n_classes * dim :]
            logits = Z @ V.T + b + offsets
            loss = weights @ self._losses(logits, targets) + (V * V).sum() / (2 * C)
            probabilities = np.exp(log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1))
            pull = weights[:, None] * (probabilities - targets)
            return float(loss), np.concatenate([(pull.T @ Z + V / C).ravel(), pull.sum(axis=0)])

        first = np.zeros(n_classes * (dim + 1))
        gain = SEARCH_GAIN if rough else 64 * np.finfo(np.float64).eps
        limits = {"maxiter": self.max_iter, "gtol": self.tol, "ftol": gain}
        found = minimize(objective, first, jac=True, method="L-BFGS-B", options=limits)
        self.n_iter_ = int(found.nit)
        return found.x[: n_classes * dim].reshape(n_classes, dim), found.x[n_classes * dim :]

    def _logits(self, X: Any) -> FloatArray:
        check_is_fitted(self)
        X = validate_data(self, X, dtype=np.float64, reset=False)
        logits: FloatArray = X @ self.coef_.T + self.intercept_
        return logits

    def decision_function(self, X: Any) -> FloatArray:
        """Return class logits; for two classes their difference, of shape (n_samples,)."""
        logits = self._logits(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 and not self.multilabel_ else logits

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Return log-probabilities, of shape (n_samples, n_classes)."""
        logits = self._logits(X)
        logs: FloatArray = log_expit(logits) if self.multilabel_ else log_softmax(logits, axis=1)
        return logs

    def predict_proba(self, X: Any) -> FloatArray:
        """Return probabilities, of shape (n_samples, n_classes); of each label by itself when multi-label."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class, or the indicator matrix of labels above one half."""
        logits = self._logits(X)
        predicted: NDArray[Any] = (
            (logits > 0).astype(np.int64) if self.multilabel_ else self.classes_[logits.argmax(axis=1)]
        )
        return predicted

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags


def _checked_targets(y: Any) -> NDArray[Any]:
    """Labels, or an indicator matrix, without missing or infinite values."""
    if y is None:
        raise ValueError(
            "This LabelPriorLogisticRegression estimator requires y to be passed, but the target y is None."
        )
    y = np.asarray(y)
    if y.dtype.kind == "f":
        assert_all_finite(y, input_name="y")
    if type_of_target(y, input_name="y") != "multilabel-indicator":
        y = column_or_1d(y, warn=True)
    check_classification_targets(y)
    checked: NDArray[Any] = y
    return checked


def fitted_to_all(
    head: LabelPriorLogisticRegression,
    X: FloatArray,
    targets: NDArray[np.int64],
    prior: FloatArray,
    sample_weight: FloatArray | None = None,
) -> LabelPriorLogisticRegression:
    """Fit a head that knows all classes, also those without examples: these keep their prior, at the mean intercept.

    Parameters
    ----------
    head : LabelPriorLogisticRegression
    X : ndarray of shape (n_examples, n_features)
    targets : ndarray of shape (n_examples,) or (n_examples, n_classes)
        Numbers of the classes, or an indicator matrix.
    prior : ndarray of shape (n_classes, n_features)
    """
    several = targets.ndim == 2
    counts = targets.sum(axis=0) if several else np.bincount(targets, minlength=len(prior))
    # a label that no example has, or every one, teaches nothing
    seen = np.flatnonzero((counts > 0) & (counts < len(targets)))
    if several:
        targets = targets[:, seen]
        if len(seen) == 1:  # one column would be read as two classes
            targets = np.repeat(targets, 2, axis=1)
    own = prior[np.resize(seen, targets.shape[1]) if several else seen]
    head.fit(X, targets, prior=own, sample_weight=sample_weight)
    coef, intercept = head.tau_ * prior, np.full(len(prior), head.intercept_.mean())
    coef[seen], intercept[seen] = head.coef_[: len(seen)], head.intercept_[: len(seen)]
    head.coef_, head.intercept_, head.classes_ = coef, intercept, np.arange(len(coef))
    return head
