"""Classifiers whose probabilities stand in the texts themselves, and rows that are simulated for them."""

from __future__ import annotations

import numpy as np
import pandas as pd
import sklearn
from packaging.version import Version
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss
from sklearn.pipeline import make_pipeline

from fewshot.datasets import load_tickets

TEXTS, LABELS = load_tickets()
METRICS = ["accuracy", "macro-F1", "log loss", "Brier", "ECE"]


class Recorded(ClassifierMixin, BaseEstimator):
    """A fitted classifier whose probabilities stand in the text itself: "0.2 0.8"."""

    def __init__(self, classes=("a", "b", "c"), part=0):
        self.classes = classes
        self.part = part

    @property
    def classes_(self):
        return np.array(self.classes)

    def predict_proba(self, X):
        return np.array([[float(number) for number in text.split("|")[self.part].split()] for text in X])

    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]


class Plain(Recorded):
    """The same without probabilities."""

    predict_proba = property()

    def predict(self, X):
        return Recorded(self.classes, self.part).predict(X)


def written(*probas):
    return ["|".join(" ".join(repr(float(p)) for p in row) for row in rows) for rows in zip(*probas, strict=True)]


def simulated(n, n_classes=3, seed=0, sharpness=2.0):
    """Labels drawn from a distribution of which the classifier sees an overconfident one."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(n_classes, 0.7), n)
    labels = np.array(list("abcdefgh")[:n_classes])[(true.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)]
    shown = (true + 0.01) ** sharpness
    return shown / shown.sum(axis=1, keepdims=True), labels.tolist()


def binned(confidence, right, bins=15):
    """The calibration error as benchmarks/against_setfit.py has it."""
    parts = [part for part in np.array_split(np.argsort(confidence, kind="stable"), bins) if len(part)]
    return sum(abs(confidence[part].mean() - right[part].mean()) * len(part) for part in parts) / len(right)


def reference(name, labels, proba, classes):
    """The metric by scikit-learn."""
    said = np.array(classes)[proba.argmax(axis=1)]
    if name == "accuracy":
        return accuracy_score(labels, said)
    if name == "macro-F1":
        return f1_score(labels, said, average="macro")
    if name == "log loss":
        return log_loss(labels, np.maximum(proba, 1e-9), labels=classes)
    if name == "Brier":
        if Version(sklearn.__version__) < Version("1.7"):  # it knew two classes only
            return ((proba - (np.array(labels)[:, None] == np.array(classes))) ** 2).sum(axis=1).mean()
        return brier_score_loss(labels, proba, labels=classes, scale_by_half=False)
    return binned(proba.max(axis=1), said == np.array(labels))


def tfidf():
    return make_pipeline(TfidfVectorizer(), LogisticRegression(C=10))


def frames_equal(one, other):
    for name, value in vars(one).items():
        if name == "mistakes":  # the rows themselves, which are not in JSON
            continue
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, getattr(other, name), check_exact=True)
        else:
            assert value == getattr(other, name)
