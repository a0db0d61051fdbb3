"""label_errors: which labels are wrong, by what a classifier says of rows that it was not fitted on.

Why not cleanlab: of it one count and one ranking are needed, which are twenty lines here. In benchmarks/label_errors.py
they find flipped labels as well on the same probabilities, and cleanlab would be one more requirement.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from fewshot.checks import at_least, check_seed
from fewshot.conformal import probabilities
from fewshot.errors import InputError, UnsupportedError, printable
from fewshot.evaluation.predictions import check_classifier
from fewshot.evaluation.tables import make_frame, need_pandas
from fewshot.inputs import Row, as_rows, columns_of, take_labelled
from fewshot.labels import orders_of_classes
from fewshot.models.base import FloatArray, IntArray
from fewshot.tables import as_html, as_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LabelErrors", "judge_labels", "label_errors"]

_SHOWN = 20  # lines of a printed table
_WIDTH = 60  # characters of a printed text


@dataclass(frozen=True, eq=False)
class LabelErrors:
    """Labels that are probably wrong, the most probable errors first; prints as a table.

    Attributes
    ----------
    rows : DataFrame
        A row for each of these labels: "row", its number in X; "text"; "given", the class in y; "suggested", the most
        probable other class; "probability" of the given class, by which the rows are sorted; and "suggested
        probability". Rows of ``conflicts`` are not included.
    conflicts : DataFrame
        A row for each text that occurs with different labels: "text"; "rows", a tuple of row numbers; "labels", a tuple
        of their labels; "suggested", the most probable class, or "unknown" if none of the text's classes could be
        judged.
    unjudged : list
        Classes with only one text. A classifier can't know such a class without this text, so their rows are not
        judged.
    n : int
        Number of rows.
    """

    rows: pd.DataFrame
    conflicts: pd.DataFrame
    unjudged: list[Any]
    n: int

    def __str__(self) -> str:
        said = [f"{len(self.rows)} of {self.n} labels are probably wrong"]
        tables = [self._table(_WIDTH), self._conflicts(_WIDTH)]
        blocks = [f"{title}\n{as_text(header, rows)}{more}".lstrip() for title, header, rows, more in tables if rows]
        return "\n\n".join([*said, *blocks, *self._note()])

    def _repr_html_(self) -> str:
        parts = [f"<div>{len(self.rows)} of {self.n} labels are probably wrong</div>"]
        for title, header, rows, more in (self._table(None), self._conflicts(None)):
            if rows:
                parts += [f"<div>{title}</div>", as_html(header, rows), f"<div>{more}</div>"]
        return "".join([*parts, *(as_html([], [[note]], bare=True) for note in self._note())])

    def _table(self, width: int | None) -> tuple[str, list[str], list[list[str]], str]:
        header = ["row", "given", "suggested", "probability", "of the suggested", "text"]
        rows = [
            [str(number), _shown(given, width), _shown(other, width), f"{p:.3f}", f"{q:.3f}", _shown(text, width)]
            for number, text, given, other, p, q in self.rows.iloc[:_SHOWN, :6].itertuples(index=False)
        ]
        return "", header, rows, _more(len(self.rows))

    def _conflicts(self, width: int | None) -> tuple[str, list[str], list[list[str]], str]:
        rows = [
            [", ".join(map(str, numbers)), _shown(", ".join(map(str, labels)), width), str(best), _shown(text, width)]
            for text, numbers, labels, best in self.conflicts.head(_SHOWN).itertuples(index=False)
        ]
        title = f"{len(self.conflicts)} texts occur with different labels"
        return title, ["rows", "labels", "suggested", "text"], rows, _more(len(self.conflicts))

    def _note(self) -> list[str]:
        names = ", ".join(map(repr, self.unjudged[:5])) + (", ..." if len(self.unjudged) > 5 else "")
        return [f"Not judged, since they have a single text: {names}"] if self.unjudged else []


def label_errors(clf: Any, X: Any, y: Any, *, cv: int = 5, random_state: int = 0) -> LabelErrors:
    """Find labels that are probably wrong, by confident learning.

    The classifier is cross-validated: each fold is predicted by a clone that is fitted on all other folds. The
    threshold of a class is its mean probability over the rows with this label. For each row, consider the classes whose
    probability reaches their threshold. If the most probable of them is not the given label, the row counts as an error
    (Northcutt et al. 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels": the confident joint off its
    diagonal). This gives only the number of wrong labels. The rows that are reported are that many rows with the lowest
    probability of the given label, among those with a more probable class. This order found more flipped labels than
    the margin to the next class.

    Parameters
    ----------
    clf : estimator
        A text classifier with ``predict_proba`` that gives each text one class, fitted or not. A clone is fitted for
        each fold. This takes seconds for a `Classifier` with ``strategy=Embedding()``. With `Auto`, strategies are
        compared again in each fold.
    X : list, array, Series or DataFrame
        Texts, or rows of fields.
    y : list, array or Series of shape (n_texts,)
        The class of each row.
    cv : int
        Number of folds, at least 2. Folds are stratified by class, and equal texts are in the same fold.
    random_state : int
        Seed of the folds.

    Returns
    -------
    LabelErrors

    Raises
    ------
    InputError
        When fewer than two classes have two different texts, or an argument is not valid.
    UnsupportedError
        When texts may have several labels, or the classifier has no probabilities.
    NotInstalledError
        When pandas is not installed.

    Notes
    -----
    Texts that differ only in blanks count as equal. Some findings are not errors but ambiguous texts. If the classifier
    can't distinguish two classes, errors between them are not found. So read the rows, and correct them by hand.

    Examples
    --------
    >>> from sklearn.feature_extraction.text import TfidfVectorizer
    >>> from sklearn.linear_model import LogisticRegression
    >>> from sklearn.pipeline import make_pipeline
    >>> from fewshot import label_errors
    >>> X = [f"{word} {i}" for i in range(10) for word in ("refund", "crash")]
    >>> y = ["billing", "bug"] * 10
    >>> y[4] = "bug"
    >>> print(label_errors(make_pipeline(TfidfVectorizer(), LogisticRegression()), X, y))
    1 of 20 labels are probably wrong
    <BLANKLINE>
    row  given  suggested  probability  of the suggested  text
    4    bug    billing    0.211        0.789             refund 2
    """
    need_pandas()
    check_classifier(clf)
    at_least("cv", cv, 2, whole=True)
    check_seed(random_state)
    if not hasattr(clf, "predict_proba") or not hasattr(clf, "fit"):
        raise UnsupportedError(f"clf must be a classifier with fit and predict_proba. Got {type(clf).__name__}.")
    X, labels = take_labelled(X, y)
    rows = as_rows(X)
    groups = _number_texts(rows)
    judged, classes, unjudged = _judged(labels, groups)
    proba = np.full((len(rows), len(classes)), np.nan)
    for train, test in _split(labels, groups, judged, cv, random_state):
        fitted = clone(clf).fit(_take(X, train), [labels[i] for i in train])
        columns = columns_of(np.asarray(fitted.classes_).tolist(), classes)
        proba[test] = 0.0
        proba[np.ix_(np.asarray(test), columns)] = probabilities(fitted, _take(X, test))
    where = {name: i for i, name in enumerate(classes)}
    targets = np.array([where[labels[i]] for i in judged])
    suggested, confidence, wrong = judge_labels(proba[judged], targets)
    conflicts, conflicting = _conflicts(rows, labels, groups, proba, classes)
    order = [k for k in np.argsort(confidence, kind="stable").tolist() if wrong[k] and judged[k] not in conflicting]
    found: dict[str, list[Any]] = {
        "row": [judged[k] for k in order],
        "text": [rows[judged[k]] for k in order],
        "given": [labels[judged[k]] for k in order],
        "suggested": [classes[suggested[k]] for k in order],
        "probability": confidence[order].tolist(),
        "suggested probability": [float(proba[judged[k], suggested[k]]) for k in order],
    }
    return LabelErrors(make_frame(found), conflicts, unjudged, len(rows))


def judge_labels(proba: FloatArray, targets: IntArray) -> tuple[IntArray, FloatArray, NDArray[np.bool_]]:
    """What out-of-sample probabilities say of labels.

    Returns
    -------
    suggested : ndarray of shape (n_rows,)
        The most probable of the other classes.
    confidence : ndarray of shape (n_rows,)
        The probability of the label.
    wrong : ndarray of shape (n_rows,)
        Whether the label is probably wrong: as many as the confident joint has off its diagonal, the least confident
        ones of those of which another class is more probable.
    """
    every = np.arange(len(targets))
    confidence = proba[every, targets]
    counts = np.bincount(targets, minlength=proba.shape[1])
    sums = np.bincount(targets, weights=confidence, minlength=proba.shape[1])
    thresholds = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
    reached = np.where(proba >= thresholds, proba, -1.0)
    n_wrong = int(((reached.max(axis=1) >= 0) & (reached.argmax(axis=1) != targets)).sum())
    others = proba.copy()
    others[every, targets] = -1.0
    order = np.argsort(confidence, kind="stable")
    order = order[(others.max(axis=1) > confidence)[order]][:n_wrong]
    return others.argmax(axis=1), confidence, np.isin(every, order)


def _number_texts(rows: Sequence[Row]) -> list[int]:
    """For each row the number of the first row that is equal to it."""
    seen: dict[Any, int] = {}
    return [seen.setdefault(_key(row), i) for i, row in enumerate(rows)]


def _key(row: Row) -> Any:
    if isinstance(row, str):
        return " ".join(row.split())
    return tuple(sorted((str(name), " ".join(str(value).split())) for name, value in row.items()))


def _judged(labels: Sequence[Any], groups: Sequence[int]) -> tuple[list[int], list[Any], list[Any]]:
    """The rows of classes that have two texts, these classes, and the others."""
    texts: dict[Any, set[int]] = {}
    for label, group in zip(labels, groups, strict=True):
        texts.setdefault(label, set()).add(group)
    classes = sorted(name for name, own in texts.items() if len(own) > 1)
    if len(classes) < 2:
        raise InputError(
            f"Only {len(classes)} of the {len(texts)} classes have two different texts. A label is judged by the other "
            "texts of its class. Give at least two classes with two texts each."
        )
    known = set(classes)
    judged = [i for i, label in enumerate(labels) if label in known]
    return judged, classes, sorted(name for name in texts if name not in known)


def _split(
    labels: Sequence[Any], groups: Sequence[int], judged: Sequence[int], cv: int, seed: int
) -> Iterator[tuple[list[int], list[int]]]:
    """The rows to fit on and the others, fold by fold; a text goes where the first row of it goes."""
    firsts = sorted({groups[i] for i in judged})
    orders = orders_of_classes(labels, np.random.RandomState(seed), firsts)
    turn = [int(i) for own in orders.values() for i in own]  # class by class, so that each is spread over the folds
    fold = {i: k % cv for k, i in enumerate(turn)}
    for k in range(min(cv, len(turn))):
        test = [i for i in judged if fold[groups[i]] == k]
        yield [i for i in judged if fold[groups[i]] != k], test


def _take(X: Any, rows: Sequence[int]) -> Any:
    return X.iloc[rows] if hasattr(X, "iloc") else X[rows] if hasattr(X, "columns") else [X[i] for i in rows]


def _conflicts(
    rows: Sequence[Row], labels: Sequence[Any], groups: Sequence[int], proba: FloatArray, classes: Sequence[Any]
) -> tuple[pd.DataFrame, set[int]]:
    """The texts with different labels, and their rows."""
    members: dict[int, list[int]] = {}
    for i, group in enumerate(groups):
        members.setdefault(group, []).append(i)
    conflicting = [own for own in members.values() if len({labels[i] for i in own}) > 1]
    found: dict[str, list[Any]] = {"text": [], "rows": [], "labels": [], "suggested": []}
    for own in conflicting:
        known = [i for i in own if not np.isnan(proba[i]).any()]
        best = classes[int(proba[known].mean(axis=0).argmax())] if known else "unknown"
        cells = (rows[own[0]], tuple(own), tuple(labels[i] for i in own), best)
        for cell, column in zip(cells, found.values(), strict=True):
            column.append(cell)
    return make_frame(found), {i for own in conflicting for i in own}


def _shown(value: Any, width: int | None) -> str:
    """A cell on one line, cut to a width."""
    text = printable(" ".join(str(value).split()))
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def _more(n: int) -> str:
    return f"\n… and {n - _SHOWN} more" if n > _SHOWN else ""
