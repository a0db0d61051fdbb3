"""Classifier: the door. A scikit-learn classifier of texts with pretrained transformers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.utils.validation import check_is_fitted

from fewshot.errors import InputError, UnsupportedError
from fewshot.models.base import FloatArray, kind_of
from fewshot.models.loading import load
from fewshot.preview import Preview
from fewshot.rows import as_labels, as_rows
from fewshot.strategies.auto import Auto
from fewshot.strategies.base import Task
from fewshot.task import gallery
from fewshot.task.template import Template
from fewshot.task.verbalizer import Verbalizer, as_verbalizer

__all__ = ["Classifier"]

_GENERIC = {"seq2seq": "generic/causal"}  # every other kind has a generic template of its own name


class Classifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Classify texts with a pretrained transformer, from label names alone or with a few examples.

    Parameters
    ----------
    model : str, Path, tuple or model, optional
        With what: a hub name, a folder, ``(model, tokenizer)``, a SentenceTransformer, or any LanguageModel or Encoder
        (see `load`). None: the default encoder, all-MiniLM-L6-v2.
    template : str or Template, optional
        What is asked: Jinja2 source with the hole ``{{ label }}``, or the name of a gallery template such as
        "sst2/it_was". None: the generic template of the model's kind.
    verbalizer : mapping, sequence or Verbalizer, optional
        The label words of each class: a mapping, or a list in sorted-class order. None: the template's own, else the
        class names.
    strategy : Strategy, optional
        How labelled texts are used: `Prompting`, `Embedding`, ... None: `Auto`.
    random_state : int, RandomState or None
        Seed of everything random in the strategy.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted classes.
    model_, template_, verbalizer_, strategy_ : objects
        What the four parameters became.

    Raises
    ------
    InputError
        When X or y is not what it should be; the message names the row.
    VerbalizerError
        When classes and label words do not fit together, as when classes are integers and no words are given.
    TemplateError
        When the template does not parse, or a row does not fill it.
    ModelLoadError
        When the model can't be had.

    See Also
    --------
    Prompting : Ask a language model, with or without demonstrations.
    Embedding : Sentence vectors with a scikit-learn classifier.

    Examples
    --------
    >>> from fewshot import Classifier
    >>> clf = Classifier().fit(None, ["billing", "bug report", "praise"])
    >>> clf.predict(["I was charged twice this month", "The app crashes on start"]).tolist()
    ['billing', 'bug report']
    """

    def __init__(
        self,
        model: Any = None,
        template: Any = None,
        verbalizer: Any = None,
        strategy: Any = None,
        *,
        random_state: Any = None,
    ) -> None:
        self.model = model
        self.template = template
        self.verbalizer = verbalizer
        self.strategy = strategy
        self.random_state = random_state

    def fit(self, X: Any = None, y: Any = None, *, sample_weight: Any = None) -> Self:
        """Get ready to predict, from nothing, from class names, or from labelled texts.

        Parameters
        ----------
        X : list, array, Series, DataFrame or None
            Texts, or rows of fields. None is zero-shot.
        y : list, array, Series or None
            The class of each row; with X None, the names of the classes. None: the classes are those of the verbalizer
            or of the template's label words.
        sample_weight : array of shape (n_texts,), optional
            Weights of the labelled rows, for strategies that can use them.

        Returns
        -------
        self
            A failed or interrupted fit leaves the previous state.
        """
        rows = None if X is None else as_rows(X)
        labels = None if y is None else as_labels(y, None if rows is None else len(rows))
        model = load(self.model)
        template = self._template(model)
        verbalizer, classes = self._verbalizer(template, labels)
        weights = _weights(sample_weight, rows, labels)
        strategy = Auto() if self.strategy is None else self.strategy
        if isinstance(strategy, type) or not callable(getattr(strategy, "log_scores", None)):
            raise InputError(f"strategy must be a strategy such as Prompting() or Embedding(). Got {self.strategy!r}.")
        strategy = clone(strategy)
        task = Task((template,), verbalizer, classes)
        strategy.fit(
            task,
            model,
            rows,
            None if rows is None else labels,
            sample_weight=weights,
            random_state=self.random_state,
        )
        self.model_, self.template_, self.verbalizer_ = model, template, verbalizer
        self.classes_, self.strategy_ = classes, strategy
        return self

    def _template(self, model: Any) -> Template:
        if isinstance(self.template, Template):
            return self.template
        if self.template is None:
            kind = kind_of(model)
            return gallery.get(_GENERIC.get(kind, f"generic/{kind}"))
        if isinstance(self.template, str):
            return Template(self.template) if "{{" in self.template else gallery.get(self.template)
        raise InputError(f"template must be source, a gallery name or a Template. Got {type(self.template).__name__}.")

    def _verbalizer(self, template: Template, labels: Sequence[Any] | None) -> tuple[Verbalizer, NDArray[Any]]:
        words = template.words if self.verbalizer is None else self.verbalizer
        seen = None if labels is None else _distinct(labels)
        if words is None:
            if seen is None:
                raise InputError("There are no classes: give names, fit(None, [...]), labelled rows, or a verbalizer.")
            named = seen
        else:
            given = words if isinstance(words, Verbalizer) else Verbalizer(words)
            if given.classes is None and seen is None:
                raise InputError(
                    "A list of label words needs the classes: give their names, fit(None, [...]), or a mapping."
                )
            if given.classes is not None and seen is not None:
                given.bind(seen)  # every class that occurs must have words
            named = list(given.classes) if given.classes is not None else (seen or [])
        if len(named) < 2:
            raise InputError(f"A classifier needs at least two classes. Got {named}.")
        return as_verbalizer(words, named), np.array(named)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row, of shape (n_texts,)."""
        best = self._log_scores(X).argmax(axis=1)
        return self.classes_[best]  # type: ignore[no-any-return]

    def predict_proba(self, X: Any) -> FloatArray:
        """Return class probabilities in the order of ``classes_``, of shape (n_texts, n_classes)."""
        return np.exp(self._log_scores(X))

    def predict_log_proba(self, X: Any) -> FloatArray:
        """Return log-probabilities in the order of ``classes_``, of shape (n_texts, n_classes)."""
        return self._log_scores(X)

    def decision_function(self, X: Any) -> FloatArray:
        """Return class log-scores, of shape (n_texts, n_classes), or for two classes their difference, (n_texts,)."""
        scores = self._log_scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def preview(self, X: Any) -> Preview:
        """Show the prompts, their token counts and what would be cut, before any compute is spent."""
        return self._asked("preview")(as_rows(X))  # type: ignore[no-any-return]

    def label_mass(self, X: Any) -> FloatArray:
        """Return the model's total probability of the label words' distinct first tokens, of shape (n_texts,).

        Near 0, the scores compare events that the model thinks hardly possible: choose other words or another template.
        """
        return self._asked("label_mass")(as_rows(X))  # type: ignore[no-any-return]

    def _asked(self, method: str) -> Any:
        check_is_fitted(self, "strategy_")
        found = getattr(self.strategy_, method, None)
        if found is None:
            raise UnsupportedError(f"{type(self.strategy_).__name__} has no {method}.")
        return found

    def _log_scores(self, X: Any) -> FloatArray:
        scores: FloatArray = self._asked("log_scores")(as_rows(X))
        return scores

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        tags.input_tags.one_d_array = True
        return tags


def _distinct(labels: Sequence[Any]) -> list[Any]:
    try:
        return sorted(set(labels))
    except TypeError as error:
        raise InputError(f"The classes can't be sorted: {error}. Make them all of one type.") from error


def _weights(sample_weight: Any, rows: Any, labels: Any) -> FloatArray | None:
    if sample_weight is None:
        return None
    if rows is None or labels is None:
        raise InputError("sample_weight needs labelled rows: call fit(X, y, sample_weight=...).")
    weights = np.asarray(sample_weight, dtype=np.float64)
    if weights.shape != (len(rows),):
        raise InputError(f"sample_weight must be {len(rows)} numbers, one a row. Got shape {weights.shape}.")
    bad = np.flatnonzero(~(np.isfinite(weights) & (weights >= 0)))
    if bad.size:
        raise InputError(f"sample_weight[{bad[0]}] must be a finite number of at least 0. Got {weights[bad[0]]}.")
    return weights
