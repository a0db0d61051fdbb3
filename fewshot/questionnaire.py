"""Questionnaire: several questions about one text, each with a classifier of its own."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from fewshot.checks import is_missing
from fewshot.classifier import Classifier
from fewshot.display.explanation import Explanation
from fewshot.display.preview import Preview
from fewshot.errors import InputError, ParameterError, UnsupportedError, at_question
from fewshot.extras import need
from fewshot.inputs import as_indicator, as_row, as_rows, as_weights
from fewshot.models.base import FloatArray
from fewshot.persistence.mixin import KeptMixin
from fewshot.prompts.pending import Pending, ask_together

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Questionnaire", "answered", "pending_of", "unfrozen"]


class Questionnaire(KeptMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Answer several questions about each text, with a classifier for each question.

    This is multi-output classification in scikit-learn's sense: Y has a column for each question. The answers are the
    same as those of each classifier alone. All queries to one language model go into one call, so that a text with
    which several prompts begin is computed once.

    Parameters
    ----------
    classifiers : mapping of str to estimator
        The classifier of each question, by the name of the question: a `Classifier`, or any other classifier of texts.
        Each gives a text one class. ``fit`` fits clones. A ``sklearn.frozen.FrozenEstimator`` around a fitted
        classifier is not fitted again.

    Attributes
    ----------
    classifiers_ : dict of str to estimator
        The fitted classifiers.
    classes_ : dict of str to ndarray
        The classes of each question.

    See Also
    --------
    Classifier : One question.

    Notes
    -----
    Prompts share their computation up to the first token that differs. To share the text, put it first and the question
    after it, as ``generic/listed`` does. Give all classifiers one model, by the same name or as the same object. If an
    instruction or demonstrations come first, the prompts of two questions already differ before the text, and the text
    is not shared. The strategies `Prompting` and `Auto` (if it chose `Prompting`) ask in one call. Other strategies,
    and classifiers inside other estimators, ask by themselves. Encoders cache their vectors, so each text is encoded
    once.

    Examples
    --------
    >>> from fewshot import Classifier, FakeLM, Prompting, Questionnaire
    >>> lm = FakeLM(lambda query: [float(query.prefix.count(word)) for word in query.candidates])
    >>> asked = {"team": ["billing", "support"], "angry": ["yes", "no"]}
    >>> form = "{{ text }} TEAM: {{ label }}", "{{ text }} Angry, yes or no? {{ label }}"
    >>> both = Questionnaire({name: Classifier(lm, t, strategy=Prompting()) for name, t in zip(asked, form)})
    >>> both.fit(None, asked).predict(["yes, the billing is wrong", "support was fine, no complaint"])
          team angry
    0  billing   yes
    1  support    no
    """

    def __init__(self, classifiers: Any) -> None:
        self.classifiers = classifiers

    def fit(self, X: Any = None, Y: Any = None, *, sample_weight: Any = None) -> Self:
        """Fit the classifier of each question.

        Parameters
        ----------
        X : list, array, Series, DataFrame or None
            Texts, or rows of fields. None is zero-shot.
        Y : DataFrame, mapping or None
            A column of classes for each question, of the length of X. A missing cell (None, NaN) leaves its row out of
            the fit of that question. A question without any labelled row is fitted on X without labels. If X is None, a
            mapping from questions to the names of their classes. None: the classes are those of the classifiers' own
            verbalizers or templates.
        sample_weight : array of shape (n_texts,), optional
            Weights of the rows, for all questions.

        Returns
        -------
        self
            A failed or interrupted fit leaves the previous state.

        Raises
        ------
        ParameterError
            When ``classifiers`` is no mapping of names to classifiers.
        InputError
            When the columns of Y are not the questions, or a classifier does not accept its column; the message names
            the question.
        UnsupportedError
            When a text may have several labels for one question.
        """
        self._check()
        columns = _columns(list(self.classifiers), X, Y)
        fitted = {}
        X = X if X is None or hasattr(X, "columns") else as_rows(X)
        for name, given in self.classifiers.items():
            with at_question(name):
                rows, y, weights = _labelled(X, columns[name], sample_weight)
                more = {} if weights is None else {"sample_weight": weights}
                fitted[name] = clone(given).fit(rows, y, **more)
                if getattr(fitted[name], "multi_label_", False):
                    raise UnsupportedError(_ONE_CLASS)
        self.classifiers_ = fitted
        return self

    def predict(self, X: Any) -> pd.DataFrame:
        """Return a table with a row for each text and a column for each question; it has the index of X, if any."""
        pandas = need("pandas", "The answers to a questionnaire are a table of")
        index = getattr(X, "index", None)  # of a list a method
        found = {name: np.asarray(clf.predict(rows)) for name, rows, clf in self._answering(self._all(X))}
        return pandas.DataFrame(found, index=None if callable(index) else index)

    def predict_proba(self, X: Any) -> dict[str, FloatArray]:
        """Return class probabilities of each question, of shape (n_texts, n_classes), in the order of ``classes_``."""
        return {name: clf.predict_proba(rows) for name, rows, clf in self._answering(self._all(X))}

    def score(self, X: Any, Y: Any, sample_weight: Any = None) -> float:
        """Return the mean accuracy of the questions, each measured on the rows with a label for this question.

        Raises
        ------
        InputError
            When no cell of Y has a label.
        """
        check_is_fitted(self, "classifiers_")
        columns = _columns(list(self.classifiers_), X, Y)
        labelled = {name: _labelled(X, column, sample_weight) for name, column in columns.items()}
        labelled = {name: own for name, own in labelled.items() if own[1] is not None}
        if not labelled:
            raise InputError("Y has no label to compare with: give some in at least one column.")
        found = []
        for name, rows, clf in self._answering({name: own[0] for name, own in labelled.items()}):
            with at_question(name):
                found.append(clf.score(rows, labelled[name][1], sample_weight=labelled[name][2]))
        return float(np.mean(found))

    def preview(self, X: Any) -> dict[str, Preview]:
        """Show the prompts of each question without asking the model."""
        rows = as_rows(X)
        return self._each("preview", rows)

    def explain(self, x: Any) -> dict[str, Explanation]:
        """Explain one row for each question; see `Classifier.explain`."""
        return self._each("explain", as_row(x))

    @property
    def classes_(self) -> dict[str, NDArray[Any]]:
        """The classes of each question."""
        check_is_fitted(self, "classifiers_")
        return {name: clf.classes_ for name, clf in self.classifiers_.items()}

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Return the parameters; when deep, also those of the classifiers, such as ``topic__strategy__shots``."""
        found = super().get_params(deep=False)
        if deep and isinstance(self.classifiers, Mapping):
            for name, clf in self.classifiers.items():
                found[name] = clf
                if hasattr(clf, "get_params") and not isinstance(clf, type):
                    found |= {f"{name}__{key}": value for key, value in clf.get_params(deep=True).items()}
        return found

    def set_params(self, **params: Any) -> Self:
        """Set parameters, also of the classifiers; a parameter with the name of a question replaces its classifier."""
        if "classifiers" in params:
            self.classifiers = params.pop("classifiers")
        replaced = {name: params.pop(name) for name in list(params) if name in self.classifiers}
        if replaced:
            self.classifiers = {**self.classifiers, **replaced}
        return super().set_params(**params)

    def _check(self) -> None:
        given = self.classifiers
        if not isinstance(given, Mapping) or not given:
            raise ParameterError(
                "classifiers must be a mapping of names to classifiers, {'topic': Classifier(...)}. Got "
                f"{given!r:.80}."
            )
        for name, clf in given.items():
            if not isinstance(name, str) or not name or "__" in name or name == "classifiers":
                raise ParameterError(
                    "The name of a question must be text without '__', and not 'classifiers', so that set_params "
                    f"reaches its classifier. Got {name!r}."
                )
            if isinstance(clf, type | Questionnaire) or not (hasattr(clf, "fit") and hasattr(clf, "predict")):
                raise ParameterError(
                    f"The question {name!r} needs a classifier, such as Classifier(). Got {clf!r:.80}."
                )

    def _all(self, X: Any) -> dict[str, Any]:
        """The same rows for every question; a frame stays one, since a pipeline may pick columns by name."""
        check_is_fitted(self, "classifiers_")
        rows = as_rows(X)
        return dict.fromkeys(self.classifiers_, X if hasattr(X, "columns") else rows)

    def _answering(self, rows: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """Questions with their rows and classifiers; a language model that these ask has answered already."""
        pending = {}
        for name, own in rows.items():
            with at_question(name):
                found = pending_of(self.classifiers_[name], own)
            if found is not None:
                pending[name] = found
        answering = {name: self.classifiers_[name] for name in rows}
        for (name, one), model in zip(pending.items(), ask_together(list(pending.values())), strict=True):
            with at_question(name):
                answering[name] = answered(answering[name], one.finish(model))
        return [(name, rows[name], clf) for name, clf in answering.items()]

    def _each(self, method: str, rows: Any) -> dict[str, Any]:
        check_is_fitted(self, "classifiers_")
        found = {}
        for name, clf in self.classifiers_.items():
            with at_question(name):
                if not hasattr(clf, method):
                    raise UnsupportedError(f"{type(clf).__name__} has no {method}.")
                found[name] = getattr(clf, method)(rows)
        return found

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        tags.target_tags.multi_output = True
        tags.target_tags.single_output = False
        return tags


_ONE_CLASS = (
    "a question of a questionnaire gives each text one class. Use Classifier alone where it has several labels."
)


class _Answered:
    """A strategy whose log-scores are there already."""

    def __init__(self, scores: FloatArray) -> None:
        self._scores = scores

    def log_scores(self, X: Any) -> FloatArray:
        return self._scores


def unfrozen(clf: Any) -> Any:
    """What is inside a ``FrozenEstimator``; anything else as it is."""
    return clf.estimator if isinstance(clf, FrozenEstimator) else clf


def pending_of(clf: Any, X: Any) -> Pending[FloatArray] | None:
    """What a classifier is about to ask of a language model; None where it asks by itself."""
    own = unfrozen(clf)
    if type(own) is not Classifier:
        return None
    found = getattr(own.strategy_, "pending", None)
    return None if found is None else found(as_rows(X))


def answered(clf: Any, scores: FloatArray) -> Classifier:
    """The classifier as it goes on once the log-scores of its next rows are known."""
    clf = copy(unfrozen(clf))
    clf.strategy_ = _Answered(scores)
    return clf


def _columns(names: list[str], X: Any, Y: Any) -> dict[str, Any]:
    """What Y says of each question; None where there is no Y."""
    if Y is None:
        return dict.fromkeys(names)
    if X is None and not isinstance(Y, Mapping):
        raise InputError(
            "Without X, Y must be a mapping with the classes of each question, {'topic': ['billing', 'bug']}. Got "
            f"{type(Y).__name__}."
        )
    columns = list(Y) if isinstance(Y, Mapping) else list(getattr(Y, "columns", ()))
    if not columns:
        raise InputError(
            f"Y must be a DataFrame or a mapping with a column for each question, {names}. Got {type(Y).__name__}."
        )
    missing = [name for name in names if name not in columns]
    odd = [name for name in columns if name not in names]
    if missing or odd:
        what = f"no column {missing[0]!r}" if missing else f"a column {odd[0]!r}, which is no question"
        raise InputError(
            f"Y has {what}: give a column for each of {names}. Where there is no label, leave the cell missing. Got "
            f"{columns}."
        )
    return {name: Y[name] for name in names}


def _labelled(X: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
    """The rows that have a label for a question, their labels and weights; of no labels at all, all rows."""
    if X is None or y is None:
        return X, y, sample_weight
    rows = as_rows(X)
    y = list(y)
    if len(y) != len(rows):
        raise InputError(f"X has {len(rows)} rows and its column of Y has {len(y)}: they must be of one length.")
    if as_indicator(y, len(y)) is not None:
        raise UnsupportedError(_ONE_CLASS)
    kept = [i for i, label in enumerate(y) if not is_missing(label)]
    if len(kept) == len(y):
        return X if hasattr(X, "columns") else rows, y, sample_weight
    if not kept:
        return X if hasattr(X, "columns") else rows, None, None
    weights = sample_weight
    if weights is not None:
        weights = as_weights(weights, len(rows))[kept]
    return X.iloc[kept] if hasattr(X, "iloc") else [rows[i] for i in kept], [y[i] for i in kept], weights
