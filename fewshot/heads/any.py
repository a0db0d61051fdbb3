"""Any scikit-learn classifier as a head: fitted on vectors, read as log-probabilities of all classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.base import clone
from sklearn.multiclass import OneVsRestClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.utils.validation import has_fit_parameter

from fewshot.errors import ParameterError, UnsupportedError
from fewshot.heads.counting import FLOOR
from fewshot.models.base import FloatArray

__all__ = ["fitted_head", "head_log_scores", "head_odds"]


def fitted_head(
    head: Any,
    vectors: FloatArray,
    targets: NDArray[np.int64],
    *,
    multi_label: bool = False,
    sample_weight: FloatArray | None = None,
    random_state: Any = None,
) -> Any:
    """Fit a clone of the head; with several labels a row, one for each.

    Parameters
    ----------
    head : classifier
    vectors : ndarray of shape (n_rows, n_features)
    targets : ndarray of shape (n_rows,) or (n_rows, n_labels)
        Numbers of the classes, or an indicator matrix.
    multi_label : bool
        Whether it is an indicator matrix.
    sample_weight : ndarray of shape (n_rows,), optional
    random_state : int, RandomState or None
        For a head that has none of its own.

    Raises
    ------
    ParameterError
        When the head is no estimator.
    UnsupportedError
        When the head gives no scores of classes, or can't use sample weights that are there.
    """
    if isinstance(head, type) or not hasattr(head, "get_params"):
        raise ParameterError(f"head must be a scikit-learn classifier, such as LogisticRegression(). Got {head!r:.80}.")
    head = clone(head)
    params = head.get_params()
    whole = isinstance(head, MultiOutputClassifier | ClassifierChain)
    if whole and not multi_label:
        raise UnsupportedError(
            f"{type(head).__name__} is a head for several labels a row, and y is one class a row: give the classifier "
            f"inside it, {params.get('estimator', params.get('base_estimator'))!r}, or an indicator matrix."
        )
    if "random_state" in params and params["random_state"] is None:
        head.set_params(random_state=random_state)
    if params.get("decision_function_shape") == "ovo":  # its columns are pairs of classes
        raise UnsupportedError(f"{type(head).__name__} scores pairs of classes: give it decision_function_shape='ovr'.")
    if not hasattr(head, "predict_proba") and not hasattr(head, "decision_function"):
        raise UnsupportedError(
            f"{type(head).__name__} has neither predict_proba nor decision_function: use another head."
        )
    weights = {}
    if sample_weight is not None:
        if not has_fit_parameter(head, "sample_weight") or multi_label:
            raise UnsupportedError(
                f"{type(head).__name__}.fit takes no sample_weight{' a label' if multi_label else ''}: leave it out, "
                "or use another head."
            )
        weights["sample_weight"] = sample_weight
    if multi_label and targets.shape[1] == 1:  # one column would be read as two classes
        targets = np.repeat(targets, 2, axis=1)
    if multi_label and not whole:
        head = OneVsRestClassifier(head)
    return head.fit(vectors, targets, **weights)


def head_log_scores(head: Any, vectors: FloatArray, n_classes: int) -> FloatArray:
    """Log-probabilities of all classes; decision values count as logits, and classes that it never saw are improbable.

    The head was fitted on the numbers of the classes.
    """
    scores = np.full((len(vectors), n_classes), FLOOR)
    if hasattr(head, "predict_proba"):
        with np.errstate(divide="ignore"):
            own = np.maximum(np.log(head.predict_proba(vectors)), FLOOR)
    else:
        own = np.asarray(head.decision_function(vectors), dtype=np.float64)
        own = log_softmax(np.stack([-own / 2, own / 2], axis=1) if own.ndim == 1 else own)
    scores[:, head.classes_] = own
    return log_softmax(scores, axis=1)


def head_odds(head: Any, vectors: FloatArray, seen: NDArray[np.int64], others: FloatArray) -> FloatArray:
    """Log-odds of each label: by a head that was fitted on those that are ``seen``, and as given for the others.

    Decision values are taken as log-odds where the head has some.
    """
    odds = np.tile(others, (len(vectors), 1))
    if hasattr(head, "predict_proba"):
        proba = head.predict_proba(vectors)
        if isinstance(proba, list):  # MultiOutputClassifier has an array of two columns for each label
            proba = np.stack([own[:, 1] for own in proba], axis=1)
        proba = np.clip(proba, np.exp(FLOOR), 1 - np.exp(FLOOR))
        own = np.log(proba) - np.log1p(-proba)
    else:
        own = np.asarray(head.decision_function(vectors), dtype=np.float64)
    odds[:, seen] = own[:, : len(seen)]
    return odds
