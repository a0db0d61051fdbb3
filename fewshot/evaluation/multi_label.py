"""How good a classifier of several labels a text is: F1, whole rows and single decisions, and a table of the labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fewshot.classifier import Classifier
from fewshot.errors import InputError
from fewshot.evaluation.metrics import compute_percentiles, draw_resamples
from fewshot.evaluation.mistakes import Judged, Mistakes, count_pairs, take_mistakes
from fewshot.evaluation.tables import make_class_table, make_intervals, print_evaluation, printed, render_html
from fewshot.inputs import match_columns
from fewshot.models.base import FloatArray, IntArray

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["MultiLabelEvaluation", "evaluate_multi_label"]


@dataclass(frozen=True, eq=False)
class MultiLabelEvaluation(Judged):
    """The metrics of a classifier that may give a text several labels; prints as a table.

    Attributes
    ----------
    metrics : DataFrame
        A row for each metric, with its value and the ends of its interval, low and high: micro-F1, over all decisions;
        macro-F1, the mean over the labels that occur among true or predicted labels; subset accuracy, the share of rows
        with all labels right; Hamming loss, the share of wrong decisions.
    labels : DataFrame
        A row for each label: precision, recall, f1, support (the number of rows with this label) and, with
        probabilities, "mean probability". A ratio of 0 to 0 is 0.
    n : int
        Number of rows.
    n_bootstrap : int
        Number of resamples.
    level : float
        Confidence level of the intervals.
    pairs : DataFrame or None
        How often one label was missed and another was predicted wrongly in the same row: true, predicted and count.
        None if the result is from JSON of an earlier version.
    mistakes : object or None
        What `errors` shows; None if the result is from JSON.
    """

    metrics: pd.DataFrame
    labels: pd.DataFrame
    n: int
    n_bootstrap: int
    level: float
    pairs: pd.DataFrame | None = None
    mistakes: Mistakes | None = field(default=None, repr=False, metadata={"json": False})

    def __str__(self) -> str:
        return print_evaluation(self, printed(self.labels, ["label", *map(str, self.labels.columns)]))

    def _repr_html_(self) -> str:
        return render_html(self.metrics, self.labels)


@dataclass(frozen=True, eq=False)
class _Decisions:
    """Whether each row has each label, truly and as predicted, of shape (n_rows, n_labels)."""

    names: list[Any]
    true: NDArray[np.bool_]
    said: NDArray[np.bool_]
    proba: FloatArray | None

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.true != self.said


def evaluate_multi_label(
    clf: Any,
    X: Any,
    indicator: tuple[IntArray, list[Any] | None],
    *,
    n_bootstrap: int,
    level: float,
    random_state: int,
) -> MultiLabelEvaluation:
    """Measure a fitted classifier of several labels a text; see `evaluate` for the parameters, which are checked."""
    d = _decide(clf, X, *indicator)
    n = len(d.true)
    once = np.ones((1, n), dtype=np.int64)
    values = [float(measure(d, once)[0]) for measure in _METRICS.values()]
    ends = []
    for measure in _METRICS.values():
        drawn = np.concatenate([measure(d, counts) for counts in draw_resamples(n, n_bootstrap, random_state)])
        ends.append(compute_percentiles(drawn, level))
    table = make_intervals("metric", list(_METRICS), values, ends)
    missed, added = d.true & ~d.said, d.said & ~d.true
    rows = np.flatnonzero(d.wrong.any(axis=1)).tolist()
    taken = [
        pair for i in rows for pair in product(np.flatnonzero(missed[i]).tolist(), np.flatnonzero(added[i]).tolist())
    ]
    pairs, mistakes = count_pairs(taken, d.names), _find_mistakes(clf, X, d, rows)
    return MultiLabelEvaluation(table, _by_label(d), n, int(n_bootstrap), float(level), pairs, mistakes)


def _decide(clf: Any, X: Any, true: IntArray, names: list[Any] | None) -> _Decisions:
    """Ask the classifier, and put the true labels into the order of its own."""
    several, proba = getattr(clf, "multi_label_", None), None
    said: NDArray[Any]
    if several is False:
        said = np.empty(0)
    elif several and isinstance(clf, Classifier):  # asked once: it predicts what is more probable than not
        proba = clf.predict_proba(X)
        said = proba > 0.5
    else:
        found = clf.predict(X)
        said = found.toarray() if hasattr(found, "toarray") else np.asarray(found)
    if said.ndim != 2:
        raise InputError(
            f"y is an indicator matrix, of several labels a text, and {type(clf).__name__} gives a text one class: "
            "pass the class of each row."
        )
    n_labels = len(said.T)
    classes = np.asarray(getattr(clf, "classes_", ()))  # some of scikit-learn's classifiers have two of each label
    known = classes.tolist() if classes.ndim == 1 and len(classes) == n_labels else list(range(n_labels))
    if isinstance(clf, Classifier) or (names is not None and set(names) == set(known) and len(names) == len(known)):
        true, names = match_columns((true, names), known), known
    if true.shape != said.shape:
        raise InputError(
            f"y has {true.shape[1]} columns, and {type(clf).__name__} predicts {n_labels} labels, {known}: give y "
            "a column for each of these."
        )
    if proba is None and hasattr(clf, "predict_proba"):
        proba = _probabilities(clf, X)
    if proba is not None and proba.shape != said.shape:
        raise InputError(
            f"{type(clf).__name__}.predict_proba must return an array of shape {said.shape}, or one of shape "
            f"({len(said)}, 2) for each label. Got {proba.shape}."
        )
    return _Decisions(known if names is None else names, true > 0, said > 0, proba)


def _probabilities(clf: Any, X: Any) -> FloatArray:
    """Each label's own probability; some of scikit-learn's classifiers return an array for each label."""
    found = clf.predict_proba(X)
    if isinstance(found, list):
        return np.stack([np.asarray(one)[:, -1] for one in found], axis=1)
    return np.asarray(found, dtype=np.float64)


def _micro_f1(d: _Decisions, counts: IntArray) -> FloatArray:
    hits, present = _hits_and_present(d, counts)
    return 2 * hits.sum(axis=1) / np.maximum(present.sum(axis=1), 1)


def _macro_f1(d: _Decisions, counts: IntArray) -> FloatArray:
    hits, present = _hits_and_present(d, counts)
    f1 = 2 * hits / np.maximum(present, 1)
    return f1.sum(axis=1) / np.maximum((present > 0).sum(axis=1), 1)


def _subset_accuracy(d: _Decisions, counts: IntArray) -> FloatArray:
    return counts @ ~d.wrong.any(axis=1) / counts.shape[1]


def _hamming_loss(d: _Decisions, counts: IntArray) -> FloatArray:
    return counts @ d.wrong.mean(axis=1) / counts.shape[1]


def _hits_and_present(d: _Decisions, counts: IntArray) -> tuple[FloatArray, FloatArray]:
    """Of each resample and label: how often it was rightly predicted, and how often it was true or predicted."""
    weights = counts.astype(np.float64)
    return weights @ (d.true & d.said), weights @ (d.true.astype(np.float64) + d.said)


#: Each returns its value under every resample, as those of one class a text do.
_METRICS: dict[str, Callable[[_Decisions, IntArray], FloatArray]] = {
    "micro-F1": _micro_f1,
    "macro-F1": _macro_f1,
    "subset accuracy": _subset_accuracy,
    "Hamming loss": _hamming_loss,
}


def _by_label(d: _Decisions) -> pd.DataFrame:
    hits, said, support = (one.sum(axis=0) for one in (d.true & d.said, d.said, d.true))
    return make_class_table("label", d.names, (hits, said, support), d.proba)


def _find_mistakes(clf: Any, X: Any, d: _Decisions, rows: list[int]) -> Mistakes:
    """The rows of which a label is wrong, ordered by the most probable of their wrong decisions."""
    probability = None
    if d.proba is not None:
        decided = np.where(d.said, d.proba, 1 - d.proba)
        sure = np.where(d.wrong, decided, 0).max(axis=1)
        rows = sorted(rows, key=lambda i: -sure[i])
        probability = sure[rows].tolist()
    true, said = ([tuple(d.names[k] for k in np.flatnonzero(one[i])) for i in rows] for one in (d.true, d.said))
    return take_mistakes(clf, X, rows, true=true, predicted=said, probability=probability)
