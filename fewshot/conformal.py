"""Answers that know how sure they are: sets of classes at a wanted coverage, or "none of these" at a wanted precision.

Why not MAPIE: its split-conformal classifier (1.6.0) asks X for its number of features and so refuses a list of texts,
and it has adaptive sets for three classes or more only. What is needed of it is one quantile of a list of scores.
"""

from __future__ import annotations

from math import ceil, floor
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import check_is_fitted

from fewshot.calibration.threshold import find_threshold
from fewshot.checks import between, check_seed, one_of
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.inputs import columns_of, take_labelled
from fewshot.models.base import FloatArray
from fewshot.persistence.mixin import KeptMixin
from fewshot.task.scale import levels_of, scale_of

__all__ = ["ConformalClassifier", "fit_threshold", "predict_or_none", "probabilities"]

_ORDINAL = "ordinal-aps"
_EPS = 1e-9  # 0.29 * 100 is a little below 29, and must not count as 28


class ConformalClassifier(KeptMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Predict sets of classes that contain the true class with probability ``1 - alpha`` (split conformal prediction).

    This guarantee holds for any classifier, if the calibration rows and the new rows are exchangeable, such as random
    draws from one source. It holds on average over new rows and over draws of the calibration rows, but not for each
    class.

    Parameters
    ----------
    classifier : estimator
        Any text classifier with ``predict_proba`` that gives each text one class. `fit` fits a clone of it on one part
        of the rows and calibrates on the rest. A ``sklearn.frozen.FrozenEstimator`` around a fitted (or zero-shot)
        classifier is not fitted again, and all rows are used for calibration. It must not have been fitted on them.
    alpha : float
        The share of sets that may miss the true class, above 0 and below 1.
    method : {"lac", "aps", "ordinal-aps"}
        The nonconformity score of a class. "lac" (Sadinle et al. 2019): 1 minus the probability of the class. It has
        the smallest sets on average; a set is empty if no class is probable enough. "aps" (Romano et al. 2020, without
        the random part, so that equal texts get equal sets): the total probability of all classes that are more
        probable. A set is never empty, so the coverage is at least the accuracy. "ordinal-aps" (Lu et al. 2022) is for
        ordered classes: each set is an interval of the scale. The interval starts at the most probable class, and takes
        in the more probable of its two neighbours at each step. The score of a class is the probability of the interval
        before the class joins it. A set is never empty.
    calibration_size : float or int
        Share or number of the rows that are used for calibration; ignored if the classifier is frozen.
    random_state : int, RandomState or None
        Seed of the split. The split is stratified by class if each class has enough rows.

    Attributes
    ----------
    classifier_ : estimator
        The fitted classifier.
    classes_ : ndarray of shape (n_classes,)
        The classes of the classifier.
    quantile_ : float
        The highest nonconformity score of a class in a set.
    n_calibration_ : int
        Number of calibration rows.

    Raises
    ------
    InputError
        When alpha needs more calibration rows, or these rows have a class that the classifier does not know.
    UnsupportedError
        When texts may have several labels, the classifier has no probabilities, or ``method`` is "ordinal-aps" and the
        classes are not ordered.

    References
    ----------
    Sadinle, Lei, Wasserman 2019 "Least Ambiguous Set-Valued Classifiers with Bounded Error Levels".
    Romano, Sesia, Candès 2020 "Classification with Valid and Adaptive Coverage".
    Lu, Angelopoulos, Pomerantz 2022 "Improving Trustworthiness of AI Disease Severity Rating in Medical Imaging with
    Ordinal Conformal Prediction Sets".

    Examples
    --------
    >>> from sklearn.frozen import FrozenEstimator
    >>> from fewshot import Classifier, ConformalClassifier, FakeLM
    >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
    >>> texts = ["fun", "dull", "fun fun", "dull dull", "not fun", "not dull"] * 2
    >>> labels = ["good", "poor", "good", "poor", "poor", "good"] * 2
    >>> conformal = ConformalClassifier(FrozenEstimator(clf), alpha=0.1).fit(texts, labels)
    >>> sets = conformal.predict_set(["fun fun fun", "as fun as dull"])
    >>> [conformal.classes_[chosen].tolist() for chosen in sets]
    [['good'], ['good', 'poor']]
    """

    def __init__(
        self,
        classifier: Any,
        alpha: float = 0.1,
        *,
        method: str = "lac",
        calibration_size: float = 0.5,
        random_state: Any = None,
    ) -> None:
        self.classifier = classifier
        self.alpha = alpha
        self.method = method
        self.calibration_size = calibration_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any) -> Self:
        """Fit the classifier on a part of the labelled rows and calibrate on the others; if frozen, calibrate on all.

        A failed fit leaves the previous state.

        Raises
        ------
        InputError
            When there are too few labelled rows for ``alpha``.
        """
        between("alpha", self.alpha, 0, 1, more=", such as 0.1")
        one_of("method", self.method, ("lac", "aps", _ORDINAL))
        check_seed(self.random_state)
        _check_probabilistic(self.classifier)
        X, labels = take_labelled(X, y)
        frozen = isinstance(self.classifier, FrozenEstimator)
        n = len(labels) if frozen else self._n_calibration(len(labels))
        needed = ceil(1 / self.alpha - 1 - _EPS)
        if n < needed:
            cure = "more labelled rows" if frozen else "more labelled rows, or a larger calibration_size"
            raise InputError(f"alpha={self.alpha} needs at least {needed} calibration rows. Got {n}: give {cure}.")
        classifier = self.classifier
        if not frozen:
            counts = np.unique(labels, return_counts=True)[1]
            fair = counts.min() >= 2 and len(counts) <= min(n, len(labels) - n)
            X_fit, X, y_fit, labels = train_test_split(
                X, labels, test_size=n, random_state=self.random_state, stratify=labels if fair else None
            )
            classifier = clone(classifier).fit(X_fit, y_fit)
        scores = _against(classifier, probabilities(classifier, X), self.method)
        against = np.sort(scores[np.arange(n), columns_of(labels, classifier.classes_)])
        # the ceil((n + 1) * (1 - alpha))-th smallest, counted from the end
        self.quantile_ = float(against[n - floor((n + 1) * self.alpha + _EPS)])
        self.classifier_, self.classes_, self.n_calibration_ = classifier, classifier.classes_, n
        self._method = self.method  # the quantile is of this method's scores
        return self

    def _n_calibration(self, n_rows: int) -> int:
        size = self.calibration_size
        is_share = isinstance(size, float | np.floating) and 0 < size < 1
        n = size if isinstance(size, int | np.integer) else ceil(size * n_rows) if is_share else 0
        if not 0 < n < n_rows:
            raise ParameterError(
                f"calibration_size must be a share of the rows, above 0 and below 1, or a number of rows from 1 to "
                f"{n_rows - 1}. The classifier learns from the other rows. Got {size!r}."
            )
        return int(n)

    def predict_set(self, X: Any) -> NDArray[np.bool_]:
        """Return which classes are in each row's set, of shape (n_texts, n_classes), in the order of ``classes_``."""
        check_is_fitted(self)
        return self.sets_of(probabilities(self.classifier_, X))

    def sets_of(self, proba: FloatArray) -> NDArray[np.bool_]:
        """Return the sets for class probabilities that are known already; both of shape (n_texts, n_classes)."""
        check_is_fitted(self)
        return _against(self.classifier_, proba, self._method) <= self.quantile_

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the classifier's own prediction for each row, of shape (n_texts,)."""
        check_is_fitted(self)
        return self.classifier_.predict(X)

    def predict_proba(self, X: Any) -> FloatArray:
        """Return the classifier's own probabilities, of shape (n_texts, n_classes)."""
        check_is_fitted(self)
        return self.classifier_.predict_proba(X)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def fit_threshold(classifier: Any, X: Any, y: Any, precision: float = 0.95, *, none_label: Any = "none") -> float:
    """Return the lowest threshold on the top class probability that reaches a precision on labelled rows.

    Answers are the predictions whose probability is not below the threshold. The precision is measured on these rows
    and is no guarantee for others, since the threshold is the most favourable one for these rows. So give a few hundred
    rows on which the classifier was not fitted.

    Parameters
    ----------
    classifier : estimator
        Any fitted text classifier with ``predict_proba`` that gives each text one class.
    X : list, array, Series or DataFrame
        Rows to measure on. The share of rows that belong to no class should be as in later use.
    y : list, array or Series of shape (n_texts,)
        Their classes, or ``none_label`` if no class fits: any answer to such a row is wrong.
    precision : float
        The share of answers that must be right, above 0 and at most 1.
    none_label : str or int
        The label of rows that belong to no class. It can't be one of the classes.

    Raises
    ------
    InputError
        When no threshold reaches the precision; the message says what the best one reaches.
    UnsupportedError
        When texts may have several labels, or the classifier has no probabilities.

    See Also
    --------
    predict_or_none : Predict only above the threshold.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, fit_threshold, predict_or_none
    >>> lm = FakeLM(lambda query: [query.prefix.count("fun"), query.prefix.count("dull")])
    >>> clf = Classifier(lm, "{{ text }} It was {{ label }}", {"good": "good", "poor": "poor"}).fit()
    >>> texts = ["fun, such fun", "dull, so dull", "it rained", "fun and dull"]
    >>> threshold = fit_threshold(clf, texts, ["good", "poor", "none", "none"], precision=0.9)
    >>> predict_or_none(clf, ["fun fun fun", "the shop opens at nine"], threshold).tolist()
    ['good', 'none']
    """
    between("precision", precision, 0, 1, with_high=True, more=", such as 0.95")  # before anything is computed
    X, labels = take_labelled(X, y)
    proba = probabilities(classifier, X)
    _check_none_label(none_label, classifier.classes_)
    known = [i for i, label in enumerate(labels) if label != none_label]
    right = np.zeros(len(labels), dtype=bool)  # so any answer to a row of no class is wrong
    right[known] = proba.argmax(axis=1)[known] == columns_of([labels[i] for i in known], classifier.classes_)
    return find_threshold(proba.max(axis=1), right, precision, of=f"{len(labels)} rows")


def predict_or_none(classifier: Any, X: Any, threshold: Any, *, none_label: Any = "none") -> NDArray[Any]:
    """Return the most probable class of each row, or ``none_label`` if its probability is below the threshold.

    Parameters
    ----------
    classifier, X
        As in `fit_threshold`, but without labels.
    threshold : float
        A probability, for example from `fit_threshold`.
    none_label : object, default="none"
        As in `fit_threshold`. It must be of the type of the classes.

    Returns
    -------
    ndarray of shape (n_texts,)

    Raises
    ------
    InputError
        When ``none_label`` is a class, or of another type than the classes, or the threshold is no probability.
    """
    if isinstance(threshold, bool) or not isinstance(threshold, float | int | np.number) or not 0 <= threshold <= 1:
        raise ParameterError(f"threshold must be a probability from 0 to 1, such as 0.8. Got {threshold!r}.")
    proba = probabilities(classifier, X)
    classes = np.asarray(classifier.classes_)
    _check_none_label(none_label, classes)
    if type(none_label) is not type(classes.tolist()[0]):  # numpy would turn the integer classes into strings
        raise ParameterError(
            f"none_label must be of the type of the classes {classes.tolist()}, such as -1 beside integers. Got "
            f"{none_label!r}."
        )
    return np.where(proba.max(axis=1) >= threshold, classes[proba.argmax(axis=1)], none_label)


def _check_probabilistic(classifier: Any) -> None:
    if isinstance(classifier, type) or not hasattr(classifier, "predict_proba"):
        raise UnsupportedError(
            f"classifier must be an estimator with predict_proba. Got {classifier!r}: wrap one that has scores only in "
            "sklearn.calibration.CalibratedClassifierCV."
        )


def probabilities(classifier: Any, X: Any, cure: str = "use one classifier a label") -> FloatArray:
    """The probabilities of a classifier, checked to be of classes that exclude each other."""
    _check_probabilistic(classifier)
    proba = np.asarray(classifier.predict_proba(X), dtype=np.float64)
    multi_label = getattr(classifier, "multi_label_", False) or proba.ndim != 2
    if multi_label or not np.allclose(proba.sum(axis=1), 1, atol=1e-3):
        raise UnsupportedError(
            f"The probabilities of {type(classifier).__name__} do not sum to 1 for each text, as where a text may have "
            f"several labels. Here a text has one class: {cure}."
        )
    return proba


def _against(classifier: Any, proba: FloatArray, method: str) -> FloatArray:
    """What speaks against each class of each text, of shape (n_texts, n_classes)."""
    if method == _ORDINAL:
        levels = levels_of(scale_of(classifier), np.asarray(classifier.classes_).tolist())
        return _before_in_growth(proba[:, np.argsort(levels)])[:, levels]
    if method == "lac":
        return 1 - proba
    order = np.argsort(-proba, axis=1, kind="stable")
    ranked = np.take_along_axis(proba, order, axis=1)
    above = np.zeros_like(proba)
    np.put_along_axis(above, order[:, 1:], np.cumsum(ranked, axis=1)[:, :-1], axis=1)
    return above


def _before_in_growth(proba: FloatArray) -> FloatArray:
    """The probability of the interval that each level is added to; of equal neighbours, the lower comes first."""
    n, n_levels = proba.shape
    rows, low = np.arange(n), proba.argmax(axis=1)
    high, mass, before = low.copy(), proba[rows, low], np.zeros_like(proba)
    for _ in range(n_levels - 1):
        below = np.where(low > 0, proba[rows, low - 1], -1.0)
        above = np.where(high < n_levels - 1, proba[rows, (high + 1) % n_levels], -1.0)
        down = below >= above
        low, high = low - down, high + ~down
        added = np.where(down, low, high)
        before[rows, added] = mass
        mass = mass + proba[rows, added]
    return before


def _check_none_label(none_label: Any, classes: Any) -> None:
    if none_label in np.asarray(classes).tolist():
        raise ParameterError(
            f"none_label must not be a class. Got {none_label!r}: choose another, such as 'none of these'."
        )
