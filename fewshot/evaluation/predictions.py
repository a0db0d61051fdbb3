"""What a fitted classifier says of labelled rows, checked, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fewshot.checks import at_least, between
from fewshot.classifier import Classifier
from fewshot.conformal import probabilities
from fewshot.errors import InputError, ParameterError, UnsupportedError
from fewshot.inputs import as_labels, columns_of
from fewshot.models.base import FloatArray, IntArray
from fewshot.task.scale import levels_of, scale_of

__all__ = ["Predictions", "check_classifier", "check_named", "check_resampling", "predict", "take_probabilities"]

_CURE = "give evaluate an indicator matrix as y, or take each label alone"


@dataclass(frozen=True, eq=False)
class Predictions:
    """Labels and predictions as columns among the classes."""

    classes: list[Any]
    targets: IntArray
    predicted: IntArray
    proba: FloatArray | None  # of shape (n_rows, n_classes); None where the classifier has none
    scale: tuple[Any, ...] | None = None  # the classes, and perhaps more, lowest first; None where they have no order

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether each prediction is right."""
        return self.predicted == self.targets

    @property
    def probabilities(self) -> FloatArray:
        """The probabilities, which are there."""
        assert self.proba is not None
        return self.proba

    @property
    def levels(self) -> IntArray:
        """The place of each class on the scale, which is there."""
        return levels_of(self.scale, self.classes)

    def on(self, scale: tuple[Any, ...] | None) -> Predictions:
        """The same on a scale that it does not know of, where this has all its classes."""
        knows = self.scale is not None or scale is None or not set(self.classes) <= set(scale)
        return self if knows else replace(self, scale=scale)


def check_classifier(clf: Any, name: str = "clf") -> None:
    """Refuse what is no classifier, before anything is computed."""
    if isinstance(clf, type) or not callable(getattr(clf, "predict", None)):
        raise UnsupportedError(f"{name} must be a classifier of texts, such as Classifier(). Got {clf!r}.")


def check_named(clfs: Any, least: int) -> None:
    """Refuse what is no mapping of names to enough classifiers."""
    if not isinstance(clfs, Mapping) or len(clfs) < least:
        got = len(clfs) if isinstance(clfs, Mapping) else type(clfs).__name__
        raise ParameterError(f"Give a mapping of names to classifiers, {{'a': clf, ...}}, at least {least}. Got {got}.")
    for name, clf in clfs.items():
        if not isinstance(name, str):
            raise ParameterError(f"The name of a classifier must be a string. Got {name!r}.")
        check_classifier(clf, f"The classifier {name!r}")


def check_resampling(n_bootstrap: Any, level: Any) -> None:
    """Refuse numbers that make no interval."""
    at_least("n_bootstrap", n_bootstrap, 1, whole=True, more=", such as 1000")
    between("level", level, 0, 1, more=", such as 0.95")


def predict(clf: Any, X: Any, labels: list[Any]) -> Predictions:
    """Ask a fitted classifier about the rows; one that does not know a label, or gives a text several, is refused."""
    if getattr(clf, "multi_label_", False):
        raise UnsupportedError(
            f"{type(clf).__name__} was fitted for several labels a text. Here a text has one class: {_CURE}."
        )
    proba = probabilities(clf, X, _CURE) if hasattr(clf, "predict_proba") else None
    # our own prediction is the most probable class; others may have a threshold, and are asked
    said = None if isinstance(clf, Classifier) else np.asarray(clf.predict(X))
    if said is not None and said.ndim != 1:
        raise UnsupportedError(
            f"{type(clf).__name__} predicts an array of shape {said.shape}. Here a text has one class: {_CURE}."
        )
    known = getattr(clf, "classes_", None)
    if known is None:
        if proba is not None or said is None:
            raise UnsupportedError(f"{type(clf).__name__} has no classes_: its probabilities have no names.")
        known = sorted({*labels, *said.tolist()})
    classes = np.asarray(known).tolist()
    if proba is not None and proba.shape != (len(labels), len(classes)):
        raise InputError(
            f"{type(clf).__name__}.predict_proba must return an array of shape ({len(labels)}, {len(classes)}), a row "
            f"for each text and a column for each of classes_. Got {proba.shape}."
        )
    where = {name: i for i, name in enumerate(classes)}
    targets = columns_of(labels, classes)
    strange = [] if said is None else [label for label in said.tolist() if label not in where]
    if strange:
        raise InputError(f"{type(clf).__name__} predicts {strange[0]!r}, which is not among its classes, {classes}.")
    scale = scale_of(clf)
    if said is None:
        assert proba is not None
        return Predictions(classes, targets, proba.argmax(axis=1), proba, scale)
    predicted = np.array([where[label] for label in said.tolist()], dtype=np.int64)
    return Predictions(classes, targets, predicted, proba, scale)


def take_probabilities(y: Any, proba: Any, classes: Any = None) -> Predictions:
    """What probabilities that are there already say of rows; the predicted class is the most probable one.

    Raises
    ------
    InputError
        When the probabilities are no matrix with a row for each label and a column for each class, do not sum to 1, or
        a label is not among the classes.
    """
    labels = as_labels(y)
    found: FloatArray = np.asarray(proba, dtype=np.float64)
    names = sorted(set(labels)) if classes is None else np.asarray(classes).tolist()
    if found.shape != (len(labels), len(names)):
        cure = "" if classes is not None else ": pass classes=clf.classes_, since a class may have no row"
        raise InputError(
            f"The probabilities must be an array of shape ({len(labels)}, {len(names)}), a row for each label and a "
            f"column for each of the classes {names}. Got {found.shape}{cure}."
        )
    wrong = np.flatnonzero(~np.isclose(found.sum(axis=1), 1, atol=1e-3))
    if wrong.size:
        raise InputError(
            f"The probabilities of a row must sum to 1. Those of row {wrong[0]} sum to {found[wrong[0]].sum():.3g}: "
            "pass what predict_proba returns."
        )
    return Predictions(names, columns_of(labels, names), found.argmax(axis=1), found)
