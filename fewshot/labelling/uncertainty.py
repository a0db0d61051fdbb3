"""Uncertainty: how unsure a classifier is of each row, from its probabilities."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from fewshot.errors import UnsupportedError, broken
from fewshot.models.base import FloatArray

__all__ = ["Guesses", "entropy", "guess", "margin"]

_SHOWN = 2  # classes that a sentence names


class Guesses(NamedTuple):
    """What a classifier says of rows: probabilities, the names of their columns, and whether each stands alone."""

    proba: FloatArray
    names: list[Any]
    several: bool  # a row may have several labels: its probabilities need not sum to 1

    def said(self, i: int) -> str:
        """The two likeliest classes of a row, or the two labels nearest to one half, in words."""
        own = self.proba[i]
        far = np.abs(own - 0.5) if self.several else -own
        shown = np.argsort(far, kind="stable")[:_SHOWN]
        unsure = margin(self._replace(proba=self.proba[i : i + 1]))[0] >= 0.5
        return ("unsure: " if unsure else "likely: ") + ", ".join(f"{self.names[j]} {own[j]:.2f}" for j in shown)


def guess(clf: Any, X: Any) -> Guesses:
    """Ask a fitted classifier for the probabilities of rows.

    Probabilities that do not sum to 1 for each row are those of labels that a row may have several of, as are the
    pairs that scikit-learn's classifiers of several outputs give.

    Raises
    ------
    UnsupportedError
        When the classifier has no probabilities, or gives something else for them.
    NotFittedError
        When it is not fitted.
    """
    if isinstance(clf, type) or not hasattr(clf, "predict_proba"):
        raise UnsupportedError(
            f"clf must be a fitted classifier with predict_proba, an encoder, or None. Got {clf!r}: wrap a classifier "
            "that has scores only in sklearn.calibration.CalibratedClassifierCV."
        )
    if isinstance(clf, BaseEstimator):
        check_is_fitted(clf)
    given = clf.predict_proba(X)
    pairs = isinstance(given, list)
    if pairs and any(np.shape(one)[1:] != (2,) for one in given):
        raise UnsupportedError(f"{type(clf).__name__} answers several questions of many classes: take each one alone.")
    proba = np.asarray([one[:, 1] for one in given], dtype=np.float64).T if pairs else np.asarray(given, np.float64)
    if proba.ndim != 2 or len(proba) != len(X):
        raise UnsupportedError(
            f"predict_proba of {type(clf).__name__} must be of shape {(len(X), 'n_classes')}. Got {proba.shape}."
        )
    if not np.isfinite(proba).all():
        raise broken(clf, "probabilities")
    if (proba < -1e-9).any() or (proba > 1 + 1e-6).any():
        raise UnsupportedError(f"predict_proba of {type(clf).__name__} gave numbers below 0 or above 1.")
    several = pairs or bool(getattr(clf, "multi_label_", False)) or not np.allclose(proba.sum(axis=1), 1, atol=1e-3)
    names = list(getattr(clf, "classes_", ()))
    if pairs or len(names) != proba.shape[1]:
        names = [f"label {j}" for j in range(proba.shape[1])]
    return Guesses(proba, names, several)


def entropy(guesses: Guesses) -> FloatArray:
    """The entropy of each row as a share of the most there can be, of shape (n_rows,); the mean of labels alone."""
    proba = np.clip(guesses.proba, 1e-300, 1)
    if guesses.several:
        other = np.clip(1 - guesses.proba, 1e-300, 1)
        return -(proba * np.log(proba) + other * np.log(other)).mean(axis=1) / np.log(2)
    return -(proba * np.log(proba)).sum(axis=1) / np.log(max(proba.shape[1], 2))


def margin(guesses: Guesses) -> FloatArray:
    """How near the two likeliest classes are, of shape (n_rows,): 1 less the difference of their probabilities.

    Where a row may have several labels, that of the label whose presence and absence are nearest to each other.
    """
    proba = guesses.proba
    if guesses.several:
        return 1 - np.abs(2 * proba - 1).min(axis=1)
    if proba.shape[1] == 1:
        return np.zeros(len(proba))
    second, first = np.sort(proba, axis=1)[:, -2:].T
    return 1 - (first - second)
